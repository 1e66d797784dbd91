//! Where everything lies, and whose it is.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use pentad_agents::{Directories, Limits};
use pentad_model::Secret;
use pentad_store::{audit, postgres::Address};

use crate::{
    config::Config,
    failure::{Exit, Failure},
    passphrase,
};

/// Segments of the audit log are not smaller, or files would outnumber records.
const SEGMENT_KIB_MIN: u32 = 16;

/// Where everything lies.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    /// The database that the store is in, unless it is in the directory.
    pub(super) database: Option<Address>,
    pub(crate) key_file: PathBuf,
    passphrase_file: PathBuf,
    pub(super) files: Directories,
    pub(super) limits: Limits,
    segment_kib: u32,
}

impl Place {
    pub(crate) fn of(config: &Config) -> Result<Self, Failure> {
        let dir = config.dir()?;
        let key_file = match config.store.key_file.as_os_str().is_empty() {
            true => dir.join("master.key"),
            false => config.store.key_file.clone(),
        };
        Ok(Self {
            dir,
            database: config.database()?,
            key_file,
            passphrase_file: config.store.passphrase_file.clone(),
            files: files(&config.files)?,
            limits: config.requests.limits(),
            segment_kib: config.audit.segment_kib,
        })
    }

    /// The store, as people are told of it.
    pub(crate) fn store(&self) -> String {
        match &self.database {
            None => self.dir.display().to_string(),
            Some(address) => address.to_string(),
        }
    }

    /// What a command is told to find it again. (An address is shown without its user.)
    pub(crate) fn arguments(&self) -> String {
        let dir = self.dir.display();
        match &self.database {
            None => format!("--dir {dir}"),
            Some(_) => format!("--dir {dir} --store ADDRESS"),
        }
    }

    /// The file that says which node of a shared store this directory is: its audit log's id.
    pub(super) fn node(&self) -> PathBuf {
        node_of(&self.dir)
    }

    /// The audit log's directory.
    pub(crate) fn audit(&self) -> PathBuf {
        self.dir.join("audit")
    }

    /// How the audit log is run.
    pub(super) fn audit_options(&self) -> audit::Options {
        let mut options = audit::Options::default();
        options.segment_bytes = u64::from(self.segment_kib.max(SEGMENT_KIB_MIN)) << 10;
        options
    }

    /// The file in which a running server says where it listens.
    pub(crate) fn address(&self) -> PathBuf {
        self.dir.join("address")
    }

    pub(super) fn passphrase(&self, new: bool) -> Result<Secret, Failure> {
        match (self.passphrase_file.as_os_str().is_empty(), new) {
            (false, _) => passphrase::from_file(&self.passphrase_file),
            (true, true) => passphrase::ask_twice("New passphrase of the store"),
            (true, false) => passphrase::ask("Passphrase of the store"),
        }
        .map_err(|failure| match failure.hint {
            None => failure.hint("PENTAD_PASSPHRASE_FILE names a file that holds it"),
            Some(_) => failure,
        })
    }
}

/// See [`Place::node`].
pub(super) fn node_of(dir: &Path) -> PathBuf {
    dir.join("node")
}

/// The directories that the operator named; a relative one would mean another place on each start.
fn files(settings: &crate::config::Files) -> Result<Directories, Failure> {
    match settings
        .below
        .iter()
        .find(|directory| !directory.is_absolute())
    {
        None => Ok(Directories::below(&settings.below)),
        Some(relative) => Err(Failure::usage(format!(
            "files.below: `{}` is not an absolute path",
            relative.display()
        ))),
    }
}

/// The directory, for its owner alone; one that others may enter is refused, not changed.
pub(super) fn private_directory(dir: &Path) -> Result<(), Failure> {
    pentad_store::durable::make_dir(dir).map_err(|error| Failure::file(dir.display(), &error))?;
    let mode = fs::metadata(dir)
        .map_err(|error| Failure::file(dir.display(), &error))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(Failure::new(
            Exit::Denied,
            format!(
                "{} is open to other users (mode {:04o})",
                dir.display(),
                mode & 0o7777
            ),
        )
        .hint(format!("chmod 700 {}", dir.display())));
    }
    Ok(())
}
