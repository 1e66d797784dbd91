//! Where a bench keeps what it makes: a directory of its own, on a disk, gone at the end.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    config::{Config, Hidden, Store},
    failure::Failure,
    output::Output,
    session::Session,
    wiring::Place,
};

/// `TMPFS_MAGIC` of `statfs(2)`.
const TMPFS: i64 = 0x0102_1994;

/// A directory that is removed when it is dropped; below `under`, else where temporary files go.
pub(super) fn directory(under: Option<&Path>) -> Result<tempfile::TempDir, Failure> {
    let under = under.map_or_else(std::env::temp_dir, Path::to_owned);
    on_a_disk(&under)?;
    tempfile::Builder::new()
        .prefix("pentad-bench-")
        .tempdir_in(&under)
        .map_err(|error| Failure::file(under.display(), &error))
}

/// Refuses a file system in memory: there, making something durable costs nothing.
pub(super) fn on_a_disk(dir: &Path) -> Result<(), Failure> {
    let found = rustix::fs::statfs(dir)
        .map_err(|error| Failure::file(dir.display(), &std::io::Error::from(error)))?;
    if found.f_type == TMPFS {
        return Err(
            Failure::usage(format!("{} is in memory", dir.display())).hint(
                "there, making something durable costs nothing: name a directory on a disk with \
                 --scratch",
            ),
        );
    }
    Ok(())
}

/// Where a store of the bench's own lies, whatever the configuration says of the user's.
#[derive(Clone)]
pub(super) struct Home {
    config: Config,
}

impl Home {
    /// An embedded store.
    pub(super) fn embedded(session: &Session, dir: &Path) -> Self {
        let mut config = session.config.clone();
        config.store.dir = dir.to_owned();
        config.store.address = Hidden::default();
        config.store.key_file = PathBuf::new();
        config.store.passphrase_file = PathBuf::new();
        Self { config }
    }

    /// In the database that the configuration names, if it names one, in a schema beside the user's:
    /// its name goes on with `suffix`.
    pub(super) fn configured(session: &Session, dir: &Path, suffix: &str) -> Self {
        let mut home = Self::embedded(session, dir);
        let Hidden(address) = &session.config.store.address;
        if !address.is_empty() {
            home.config.store.address = Hidden(beside(address, suffix));
        }
        home
    }

    /// As the rest of the program knows it.
    pub(super) fn place(&self) -> Result<Place, Failure> {
        Place::of(&self.config)
    }

    /// Its directory.
    pub(super) fn dir(&self) -> &Path {
        &self.config.store.dir
    }

    /// Whether it is in a database.
    pub(super) fn is_shared(&self) -> bool {
        !self.config.store.address.0.is_empty()
    }

    /// A command whose store this is. An address may hold a password, and goes by the environment.
    pub(super) fn command(&self, program: &Path) -> Command {
        let Store {
            dir,
            address: Hidden(address),
            password_file,
            ..
        } = &self.config.store;
        let mut command = Command::new(program);
        command
            .arg("--dir")
            .arg(dir)
            .env("PENTAD_STORE", address)
            .env("PENTAD_STORE_PASSWORD_FILE", password_file)
            .env_remove("PENTAD_ADDR")
            .env_remove("PENTAD_KEY_FILE")
            .env_remove("PENTAD_PASSPHRASE_FILE");
        command
    }
}

/// An address with another schema.
fn beside(address: &str, suffix: &str) -> String {
    let (place, query) = address.split_once('?').unwrap_or((address, ""));
    let mut schema = "pentad".to_owned();
    let mut rest: Vec<&str> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.strip_prefix("schema=") {
            Some(name) => name.clone_into(&mut schema),
            None => rest.push(pair),
        }
    }
    let schema = format!("schema={schema}_{suffix}");
    rest.push(&schema);
    format!("{place}?{}", rest.join("&"))
}

/// Says so if other work takes the processors: the figures will be worse than this machine can do.
pub(super) fn note_if_busy(out: Output) {
    if let Some(share) = busy() {
        out.note(format!(
            "this machine is busy: tasks wait for a processor {share:.0} % of the time, so the \
             figures will be worse than it can do"
        ));
    }
}

/// The share of the last ten seconds in which tasks waited for a processor, in percent, if that is
/// more than an idle machine has. Source: `Documentation/accounting/psi.rst` of Linux.
fn busy() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/pressure/cpu").ok()?;
    let fields = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let share = fields
        .split(' ')
        .find_map(|field| field.strip_prefix("avg10="))?
        .parse()
        .ok()?;
    (share > 15.0).then_some(share)
}

/// So many of something in a time, a second.
pub(super) fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bench_has_a_schema_of_its_own() {
        for (address, expected) in [
            ("postgres://u@h/d", "postgres://u@h/d?schema=pentad_bench"),
            (
                "postgres://u@h/d?schema=s&sslmode=disable",
                "postgres://u@h/d?sslmode=disable&schema=s_bench",
            ),
        ] {
            assert_eq!(beside(address, "bench"), expected);
        }
    }
}
