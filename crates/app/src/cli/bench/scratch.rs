//! Where a bench keeps what it makes: a directory of its own, on a disk, gone at the end.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{failure::Failure, output::Output, session::Session, wiring::Place};

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

/// A store of the bench's own, whatever the configuration says of the user's.
pub(super) fn place(session: &Session, dir: &Path) -> Result<Place, Failure> {
    let mut config = session.config.clone();
    config.store.dir = dir.to_owned();
    config.store.key_file = PathBuf::new();
    config.store.passphrase_file = PathBuf::new();
    Place::of(&config)
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
