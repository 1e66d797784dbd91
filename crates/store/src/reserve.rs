//! Space kept back for a full disk: an allocated file that is emptied when it is needed.
//!
//! What it can't do: on file systems that copy on write (btrfs, ZFS) or compress, allocated space is
//! a hint only; and freed space may be taken by another process before it is used. Keep the store on
//! a file system of its own where that matters.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::PathBuf,
};

use rustix::fs::{FallocateFlags, fallocate};

/// A file that holds up to `size` bytes.
#[derive(Debug)]
pub(crate) struct Space {
    path: PathBuf,
    size: u64,
    /// How much is allocated.
    held: u64,
}

impl Space {
    /// Nothing is changed before [`take`](Self::take); what an earlier process left counts.
    pub(crate) fn at(path: PathBuf, size: u64) -> Self {
        let held = std::fs::metadata(&path).map_or(0, |file| {
            let allocated = file.blocks().saturating_mul(512);
            file.len().min(allocated).min(size)
        });
        Self { path, size, held }
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.held == self.size
    }

    /// How much there is, at most the size.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    /// Allocates what is missing, durable when it returns. Does nothing if it is whole. What is
    /// held is kept if there is no more.
    pub(crate) fn take(&mut self) -> io::Result<()> {
        if self.is_whole() {
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
                .and_then(|file| file.set_len(self.held));
        })?;
        self.held = self.size;
        Ok(())
    }

    /// Gives up to so many bytes back to the file system. Returns whether there were any.
    pub(crate) fn release(&mut self, bytes: u64) -> io::Result<bool> {
        if self.held == 0 {
            return Ok(false);
        }
        self.held = self.held.saturating_sub(bytes);
        // Freed space may only be handed out again after the file system's own commit, hence fsync.
        let file = owner_only().open(&self.path)?;
        file.set_len(self.held)?;
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

    use std::fs;

    use super::*;

    #[test]
    fn space_is_taken_given_back_in_portions_and_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reserve");
        let mut space = Space::at(path.clone(), 200_000);
        assert!(!space.release(1).unwrap(), "there was none");
        for _ in 0..2 {
            space.take().unwrap();
            let file = fs::metadata(&path).unwrap();
            assert_eq!((file.len(), file.mode() & 0o777), (200_000, 0o600));
            assert!(file.blocks() * 512 >= 200_000, "allocated, not sparse");
            assert!(space.release(150_000).unwrap());
            assert_eq!(fs::metadata(&path).unwrap().len(), 50_000);
            // A later process finds what is left.
            space = Space::at(path.clone(), 200_000);
            assert!(space.release(150_000).unwrap());
            assert_eq!(fs::metadata(&path).unwrap().len(), 0);
            assert!(!space.release(1).unwrap());
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
