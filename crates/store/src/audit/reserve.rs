//! Space kept back for a full disk.
//!
//! The file `reserve` holds [`SIZE`] bytes of allocated space (`fallocate`, or zeros where the file
//! system has no such call). When a write finds no space, essential records - an administrator's
//! login, the refusal of an operation - get it: the file is emptied and their write is tried once
//! more. About a thousand such records fit. From then on ordinary records are answered
//! [`AuditError::Full`] until the reserve could be taken back, so that they can't eat it.
//!
//! What it can't do: on file systems that copy on write (btrfs, ZFS) or compress, allocated space is
//! a hint only; and freed space may be taken by another process before the record is written. Keep
//! the log on a file system of its own where that matters.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate};

use super::{error::AuditError, faults::Faults, segment};

/// How much is kept back, in bytes.
pub(super) const SIZE: u64 = 512 << 10;

#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    faults: Faults,
    /// Whether the space is allocated.
    pub(super) held: bool,
}

impl Reserve {
    /// Takes the reserve if there is space; that there is none is not an error, the log must open.
    pub(super) fn open(dir: &Path, faults: Faults) -> Self {
        let mut reserve = Self {
            path: dir.join("reserve"),
            faults,
            held: false,
        };
        if let Err(error) = reserve.take() {
            tracing::warn!(%error, "no space could be reserved for the audit log");
        }
        reserve
    }

    /// Allocates the space, durable when it returns.
    pub(super) fn take(&mut self) -> Result<(), AuditError> {
        if self.held {
            return Ok(());
        }
        self.faults.take_space(SIZE)?;
        let attempt = || {
            let file = segment::writable()
                .create(true)
                .truncate(false)
                .open(&self.path)?;
            match fallocate(&file, FallocateFlags::empty(), 0, SIZE) {
                Ok(()) => {}
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => zeros(&file)?,
                Err(errno) => return Err(errno.into()),
            }
            file.sync_all()
        };
        attempt().map_err(|e| {
            self.faults.give_space(SIZE);
            // A failed allocation may keep what it got so far, and that may be the last there is.
            let _ = segment::writable()
                .open(&self.path)
                .and_then(|file| file.set_len(0));
            AuditError::io(&self.path, &e)
        })?;
        self.held = true;
        Ok(())
    }

    /// Gives the space back to the file system. Returns whether there was any.
    pub(super) fn release(&mut self) -> bool {
        if !self.held {
            return false;
        }
        self.held = false;
        self.faults.give_space(SIZE);
        // Freed space may only be handed out again after the file system's own commit, hence fsync.
        let emptied = segment::writable()
            .open(&self.path)
            .and_then(|file| file.set_len(0).and_then(|()| file.sync_all()));
        if let Err(error) = &emptied {
            tracing::warn!(%error, "the audit log's reserve could not be released");
        }
        emptied.is_ok()
    }
}

fn zeros(file: &File) -> io::Result<()> {
    file.write_all_at(&vec![0; SIZE as usize], 0)
}
