//! Space kept back for the few changes that a full disk must not refuse.
//!
//! The file `reserve` holds [`SIZE`] bytes. When an essential change finds no space, the file gives
//! back [`PORTION`] of them and the change is tried once more, as long as there are any. Portions,
//! because others on the same volume, the audit log first, eat what is freed and not used at once.
//! A login takes two commits of some eight pages. Who asks decides what is essential, and bounds what
//! strangers can ask for: logins of administrators, a few failed ones in a row. Until the reserve is whole again, ordinary changes
//! are answered [`StoreError::Full`](crate::StoreError::Full). What it can't do: see [`Space`].

use std::{io::ErrorKind, path::Path};

use crate::reserve::Space;

/// How much is kept back, in bytes.
pub(super) const SIZE: u64 = 1 << 20;
/// How much is given back at a time, in bytes: room for one small change.
const PORTION: u64 = 64 << 10;

#[derive(Debug)]
pub(super) struct Reserve {
    space: Space,
    /// It was needed, or never found space, and is not whole yet.
    out: bool,
}

impl Reserve {
    /// Takes the reserve if there is space; that there is none is not an error, the store must open.
    pub(super) fn open(dir: &Path) -> Self {
        let space = Space::at(dir.join("reserve"), SIZE);
        let mut reserve = Self { space, out: false };
        if let Err(error) = reserve.take() {
            tracing::warn!(%error, "no space could be reserved for the store");
        }
        reserve
    }

    /// Whether the reserve is out; takes it back if there is space again.
    pub(super) fn is_still_out(&mut self) -> bool {
        self.take().is_err() && self.out
    }

    /// Whether the reserve is out.
    pub(super) fn is_out(&self) -> bool {
        self.out
    }

    /// Gives a portion back to the file system. Returns whether there was any.
    pub(super) fn release(&mut self) -> bool {
        self.out = true;
        self.space.release(PORTION).unwrap_or_else(|error| {
            tracing::warn!(%error, "the store's reserve could not be released");
            false
        })
    }

    fn take(&mut self) -> std::io::Result<()> {
        let taken = self.space.take();
        // Where no reserve can be made at all, the store works without one.
        self.out = taken.as_ref().is_err_and(|error| {
            matches!(
                error.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded
            )
        });
        taken
    }
}
