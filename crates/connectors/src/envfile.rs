//! A `.env` file: one variable is the account, its value the password.
//!
//! The address is the file's absolute path. There is no server and no administrator: whoever may
//! write the directory may rotate. A file that is missing is created, for its owner only.
//!
//! What always holds:
//!
//! * The file is replaced as a whole (written beside it, fsynced, renamed, directory fsynced): a
//!   reader sees the old or the new one. Mode and owner are kept; a symbolic link is followed.
//! * Every line but the variable's own keeps its bytes.
//! * Processes that change files of one directory take turns, by a lock on the directory.
//!
//! Not kept: extended attributes and access control lists.

mod format;

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use pentad_model::{
    Secret, Target,
    rotation::{Login, Strategy},
};
use rustix::fs::{FlockOperation, Gid, Uid, fchown, flock};
use zeroize::Zeroizing;

use crate::{
    AccountChange, AccountState, Admin, Attempt, Cause, Complaint, ConnectError, Connector, Fence,
    Outcome, Profile, Rejection, Session, address::check_options,
};

/// How long an effect waits for another process's.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// No `.env` file is larger; anything that is, is something else.
const SIZE_MAX: u64 = 1 << 20;

static PROFILE: Profile = Profile {
    name: "envfile",
    description: "A .env file on this machine: the value of one variable.",
    address: "the file's absolute path",
    strategies: &[Strategy::InPlace],
    options: &[],
    needs_admin: false,
    fences: false,
    proves: false,
};

/// See the [module](self).
pub(crate) struct EnvFile;

#[async_trait]
impl Connector for EnvFile {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn validate(&self, target: &Target) -> Result<(), ConnectError> {
        check_options(target, &PROFILE)?;
        let path = Path::new(&target.address);
        let plain = path
            .components()
            .all(|part| !matches!(part, std::path::Component::ParentDir));
        if !path.is_absolute() || path.file_name().is_none() || !plain {
            return Err(ConnectError::Settings(format!(
                "`{}` is not a file's absolute path without `..`",
                target.address
            )));
        }
        Ok(())
    }

    async fn open(
        &self,
        target: &Target,
        _admin: Admin<'_>,
    ) -> Result<Box<dyn Session>, ConnectError> {
        self.validate(target)?;
        let path = resolve(Path::new(&target.address)).map_err(|e| ConnectError::Unreachable {
            target: target.address.clone(),
            reason: e.to_string(),
        })?;
        Ok(Box::new(EnvFileSession { path }))
    }

    async fn login(&self, target: &Target, account: &str, password: &Secret) -> Attempt {
        let cant_tell = |note: String| Attempt {
            login: Login::CantTell,
            sole: false,
            note,
        };
        if let Err(error) = self.validate(target) {
            return cant_tell(error.to_string());
        }
        let path = PathBuf::from(&target.address);
        let read = off_thread(move || read(&path)).await;
        let text = match read {
            Ok(Some(text)) => text,
            Ok(None) => return cant_tell("there is no such file".into()),
            Err(error) => return cant_tell(error.to_string()),
        };
        let (login, note) = match format::value(&text, account) {
            Err(error) => (Login::CantTell, error.to_string()),
            Ok(None) => (Login::Fails, "the variable is not set".into()),
            Ok(Some(found)) if found == *password => (Login::Works, "the value is set".into()),
            Ok(Some(_)) => (Login::Fails, "another value is set".into()),
        };
        Attempt {
            login,
            sole: false,
            note,
        }
    }
}

struct EnvFileSession {
    path: PathBuf,
}

impl EnvFileSession {
    async fn set(&self, variable: &str, value: Option<Secret>) -> Outcome {
        let (path, variable) = (self.path.clone(), variable.to_owned());
        tokio::task::spawn_blocking(move || replace(&path, &variable, value.as_ref()))
            .await
            .unwrap_or_else(|_| Outcome::Unknown("the writing task ended early".into()))
    }
}

#[async_trait]
impl Session for EnvFileSession {
    /// Nothing outlives the call that makes it: there is nothing to kill.
    fn connection(&self) -> Option<&str> {
        None
    }

    async fn apply(&mut self, change: &AccountChange<'_>) -> Outcome {
        if change.strategy != Strategy::InPlace {
            return stop("a file holds one value: use the strategy in_place");
        }
        self.set(change.account, Some(change.new.clone())).await
    }

    async fn retire(&mut self, account: &str, keep: Option<&Secret>) -> Outcome {
        self.set(account, keep.cloned()).await
    }

    async fn fence(&mut self, _connection: &str) -> Fence {
        Fence::CantTell("a file has no connections to kill".into())
    }

    async fn account(&mut self, account: &str) -> AccountState {
        let path = self.path.clone();
        match off_thread(move || read(&path)).await {
            Err(error) => AccountState::CantTell(error.to_string()),
            Ok(None) => AccountState::Missing,
            Ok(Some(text)) => match format::value(&text, account) {
                Err(error) => AccountState::CantTell(error.to_string()),
                Ok(None) => AccountState::Missing,
                Ok(Some(_)) => AccountState::Open,
            },
        }
    }

    async fn check_itself(&mut self) -> Vec<Complaint> {
        let mut found = Vec::new();
        let mut add = |problem: String, remedy: &str| {
            found.push(Complaint {
                problem,
                remedy: remedy.to_owned(),
            });
        };
        let path = self.path.clone();
        // The real thing, short of the rename: a file beside it, with its owner.
        if let Err(error) = off_thread(move || beside(&path).map(drop)).await {
            let directory = self.path.parent().unwrap_or(Path::new("/"));
            add(
                format!(
                    "{} can't be replaced, for {} can't be written: {}",
                    self.path.display(),
                    directory.display(),
                    // Without the name of the file that was tried.
                    error.kind()
                ),
                "let the account that Pentad runs under write that directory, as the file's owner; \
                 the file is replaced as a whole, so the right to write the file is not enough",
            );
        }
        let path = self.path.clone();
        if let Err(error) = off_thread(move || read(&path)).await {
            add(
                format!("{} can't be read: {error}", self.path.display()),
                "let Pentad's account read the file",
            );
        }
        found
    }

    async fn check(&mut self, account: &str, strategy: Strategy) -> Vec<Complaint> {
        let mut found = Vec::new();
        let mut add = |problem: String, remedy: &str| {
            found.push(Complaint {
                problem,
                remedy: remedy.to_owned(),
            });
        };
        if strategy != Strategy::InPlace {
            add("a file holds one value".into(), "use the strategy in_place");
        }
        if let Err(error) = format::check_name(account) {
            add(error.to_string(), "name a variable: letters, digits and _");
        }
        found
    }
}

/// The file that a path leads to, through symbolic links; it may be missing, its directory not.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let missing = || io::Error::from(io::ErrorKind::NotFound);
            let directory = fs::canonicalize(path.parent().ok_or_else(missing)?)?;
            Ok(directory.join(path.file_name().ok_or_else(missing)?))
        }
        other => other,
    }
}

/// The file's bytes, `None` if there is none.
fn read(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if !metadata.is_file() || metadata.len() > SIZE_MAX {
        return Err(io::Error::other("not a .env file of at most 1 MiB"));
    }
    fs::read(path).map(|bytes| Some(Zeroizing::new(bytes)))
}

/// An empty file beside `path`, with its mode and owner, or for its owner only if it is new. Gone
/// when dropped.
fn beside(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let file = tempfile::Builder::new()
        .prefix(".pentad-")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(directory)?;
    if let Ok(old) = fs::metadata(path) {
        let new = file.as_file().metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            // Before the mode is widened, and before anything is in it.
            fchown(
                file.as_file(),
                Some(Uid::from_raw(old.uid())),
                Some(Gid::from_raw(old.gid())),
            )?;
        }
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
    }
    Ok(file)
}

/// The whole effect. Up to the rename nothing has changed; after it only its durability is open.
fn replace(path: &Path, variable: &str, value: Option<&Secret>) -> Outcome {
    let before_rename = || -> io::Result<Result<File, Outcome>> {
        let directory = File::open(path.parent().unwrap_or(Path::new("/")))?;
        if !lock(&directory)? {
            return Ok(Err(Outcome::Throttled(Duration::from_secs(1))));
        }
        let old = read(path)?.unwrap_or_default();
        let new = match format::with(&old, variable, value) {
            Ok(new) => new,
            Err(error) => return Ok(Err(error.into_outcome())),
        };
        let mut file = beside(path)?;
        file.write_all(&new)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(Ok(directory))
    };
    match before_rename() {
        Ok(Err(outcome)) => outcome,
        Err(error) => stop(format!("{} can't be replaced: {error}", path.display())),
        Ok(Ok(directory)) => match directory.sync_all() {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Unknown(format!("the directory could not be synced: {error}")),
        },
    }
}

/// Takes the directory's lock; `false` if another process keeps it. It goes with the file.
fn lock(directory: &File) -> io::Result<bool> {
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match flock(directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the reading task ended early")))
}

fn stop(message: impl Into<String>) -> Outcome {
    Outcome::Rejected(Rejection {
        cause: Cause::Stop,
        message: message.into(),
    })
}
