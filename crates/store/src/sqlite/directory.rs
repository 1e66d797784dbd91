//! The store's directory: who may open it, and what is in it.
//!
//! | file | holds |
//! |---|---|
//! | `pentad.db`, `-wal`, `-shm` | the database, readable by its owner only |
//! | `lock` | the process that has the store open, under an advisory lock |
//! | `reserve` | space kept back for a full disk |
//!
//! The lock is the kernel's (`flock`): it goes with the process however that ends, so a stale file
//! never keeps anybody out.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    os::unix::fs::{FileExt as _, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::{StoreError, durable};

/// The database's name in the directory.
pub(super) const DATABASE: &str = "pentad.db";

/// What `create` builds before the store exists: renamed when complete, so that a crash leaves no
/// half-made store.
pub(super) const UNFINISHED: &str = "pentad.db.new";

/// Held while the store is open.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Makes the directory, for its owner only, durably.
pub(super) fn make(dir: &Path) -> Result<(), StoreError> {
    durable::make_dir(dir).map_err(|error| unwritable(dir, error))
}

/// Takes the directory for this process.
pub(super) fn lock(dir: &Path) -> Result<Lock, StoreError> {
    let path = dir.join("lock");
    let mut file = owner_only()
        .create(true)
        .open(&path)
        .map_err(|error| unwritable(&path, error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // Not known if the holder has not written it yet.
            let pid = match file.read_to_string(&mut text) {
                Ok(_) => text.trim().parse().unwrap_or(0),
                Err(_) => 0,
            };
            return Err(StoreError::Locked {
                path: dir.to_owned(),
                pid,
            });
        }
        Err(error) => return Err(unwritable(&path, error.into())),
    }
    let write_pid = |file: &mut File| -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    match write_pid(&mut file).map_err(|error| unwritable(&path, error)) {
        // The number is for people; a full disk must not keep the store from being opened.
        Ok(()) | Err(StoreError::Full) => Ok(Lock { _file: file }),
        Err(error) => Err(error),
    }
}

/// A new, empty file for the database; SQLite gives its companions the same mode.
pub(super) fn blank(path: &Path) -> Result<(), StoreError> {
    owner_only()
        .create(true)
        .truncate(true)
        .open(path)
        .map(drop)
        .map_err(|error| unwritable(path, error))
}

/// Gives the finished database its name, durably.
pub(super) fn publish(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(DATABASE);
    fs::rename(dir.join(UNFINISHED), &path).map_err(|error| unwritable(&path, error))?;
    sync(dir)
}

/// Where the database is, if there is one, and the schema that its header tells: read without
/// opening it as a database, which could write to it.
pub(super) fn find(dir: &Path) -> Result<(PathBuf, Header), StoreError> {
    let path = dir.join(DATABASE);
    let mut bytes = [0; 72];
    let read = File::open(&path).and_then(|mut file| file.read_exact(&mut bytes));
    match read {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::Absent {
                path: dir.to_owned(),
            });
        }
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(damaged(&path, "it is cut off"));
        }
        Err(error) => return Err(unwritable(&path, error)),
    }
    if !bytes.starts_with(b"SQLite format 3\0") {
        return Err(damaged(&path, "its header is not a database's"));
    }
    // https://www.sqlite.org/fileformat.html, section 1.3: big-endian at 60 and 68.
    let field = |at: usize| {
        bytes[at..at + 4]
            .iter()
            .fold(0, |n, b| n << 8 | u32::from(*b))
    };
    let header = Header {
        schema: field(60),
        application: field(68),
    };
    Ok((path, header))
}

/// What a database's header says of it.
pub(super) struct Header {
    pub(super) schema: u32,
    pub(super) application: u32,
}

/// A damaged database file.
pub(super) fn damaged(path: &Path, reason: &str) -> StoreError {
    StoreError::Corrupt {
        what: path.display().to_string(),
        reason: reason.to_owned(),
    }
}

/// Makes what an earlier process may have left in memory alone durable, before anything is built on
/// it.
///
/// That process may have ended between the database's rename and its fsync; or because an fsync of
/// the write-ahead log failed. Then the kernel goes on showing commits that the disk never got,
/// takes their pages for clean, and later commits would follow a gap that only a power cut reveals.
/// So the log, a few megabytes at most, is written over itself. (The database needs no such care:
/// a checkpoint that was not finished is done again from the log.) The names are synced by
/// [`sync`], once the log has its own.
pub(super) fn settle(dir: &Path) -> Result<(), StoreError> {
    let log = dir.join(format!("{DATABASE}-wal"));
    match owner_only().open(&log) {
        Ok(file) => write_over_itself(&file)
            .and_then(|()| file.sync_all())
            .map_err(|error| not_synced(&log, &error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unwritable(&log, error)),
    }
}

fn write_over_itself(file: &File) -> io::Result<()> {
    let mut bytes = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut bytes, at)?;
        if read == 0 {
            return Ok(());
        }
        file.write_all_at(&bytes[..read], at)?;
        at += read as u64;
    }
}

/// Makes the names in a directory durable. A failure is fatal: see fsync in the writer.
pub(super) fn sync(dir: &Path) -> Result<(), StoreError> {
    durable::sync_dir(dir).map_err(|error| not_synced(dir, &error))
}

fn not_synced(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Fatal {
        reason: format!("{} could not be synchronised: {error}", path.display()),
    }
}

fn owner_only() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

fn unwritable(path: &Path, error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::ReadOnly {
            path: path.to_owned(),
            reason: error.to_string(),
        },
    }
}
