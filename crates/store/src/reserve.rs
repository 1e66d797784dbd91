//! Space kept back for a full disk: an allocated file that is emptied when it is needed.
//!
//! What it can't do: on file systems that copy on write (btrfs, ZFS) or compress, allocated space is
//! a hint only; and freed space may be taken by another process before it is used. Keep the store on
//! a file system of its own where that matters.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::PathBuf,
};

use rustix::fs::{FallocateFlags, fallocate};

/// A file of so many bytes, or an empty one.
#[derive(Debug)]
pub(crate) struct Space {
    path: PathBuf,
    size: u64,
    /// Whether the space is allocated.
    held: bool,
}

impl Space {
    /// Nothing is touched before [`take`](Self::take).
    pub(crate) fn at(path: PathBuf, size: u64) -> Self {
        let held = false;
        Self { path, size, held }
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Allocates the space, durable when it returns. Does nothing if it is held.
    pub(crate) fn take(&mut self) -> io::Result<()> {
        if self.held {
            return Ok(());
        }
        let attempt = || {
            let file = owner_only().create(true).truncate(false).open(&self.path)?;
            match fallocate(&file, FallocateFlags::empty(), 0, self.size) {
                Ok(()) => {}
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                    self.zeros(&file)?
                }
                Err(errno) => return Err(errno.into()),
            }
            file.sync_all()
        };
        attempt().inspect_err(|_| {
            // A failed allocation may keep what it got so far, and that may be the last there is.
            let _ = owner_only()
                .open(&self.path)
                .and_then(|file| file.set_len(0));
        })?;
        self.held = true;
        Ok(())
    }

    /// Gives the space back to the file system. Returns whether there was any.
    pub(crate) fn release(&mut self) -> io::Result<bool> {
        if !self.held {
            return Ok(false);
        }
        self.held = false;
        // Freed space may only be handed out again after the file system's own commit, hence fsync.
        let file = owner_only().open(&self.path)?;
        file.set_len(0)?;
        file.sync_all()?;
        Ok(true)
    }

    fn zeros(&self, file: &File) -> io::Result<()> {
        let block = [0; 64 << 10];
        for at in (0..self.size).step_by(block.len()) {
            let left = usize::try_from(self.size - at).unwrap_or(block.len());
            file.write_all_at(&block[..left.min(block.len())], at)?;
        }
        Ok(())
    }
}

fn owner_only() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fs, os::unix::fs::MetadataExt as _};

    use super::*;

    #[test]
    fn space_is_taken_given_back_and_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reserve");
        let mut space = Space::at(path.clone(), 200_000);
        assert!(!space.release().unwrap(), "there was none");
        for _ in 0..2 {
            space.take().unwrap();
            let file = fs::metadata(&path).unwrap();
            assert_eq!((file.len(), file.mode() & 0o777), (200_000, 0o600));
            assert!(file.blocks() * 512 >= 200_000, "allocated, not sparse");
            assert!(space.release().unwrap());
            assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        }
    }

    #[test]
    fn where_there_are_no_holes_zeros_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reserve");
        let space = Space::at(path.clone(), 100_000);
        space.zeros(&File::create(&path).unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 100_000);
    }
}
