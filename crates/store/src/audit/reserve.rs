//! Space kept back for a full disk.
//!
//! The file `reserve` holds [`SIZE`] bytes of allocated space. When a write finds no space,
//! essential records - an administrator's login, the refusal of an operation - get it: the file is
//! emptied and their write is tried once more. About a thousand such records fit. From then on
//! ordinary records are answered [`AuditError::Full`] until the reserve could be taken back, so that
//! they can't eat it. What it can't do: see [`Space`].

use std::path::Path;

use super::{error::AuditError, faults::Faults};
use crate::reserve::Space;

/// How much is kept back, in bytes.
pub(super) const SIZE: u64 = 512 << 10;

#[derive(Debug)]
pub(super) struct Reserve {
    space: Space,
    faults: Faults,
}

impl Reserve {
    /// Takes the reserve if there is space; that there is none is not an error, the log must open.
    pub(super) fn open(dir: &Path, faults: Faults) -> Self {
        let space = Space::at(dir.join("reserve"), SIZE);
        let mut reserve = Self { space, faults };
        if let Err(error) = reserve.take() {
            tracing::warn!(%error, "no space could be reserved for the audit log");
        }
        reserve
    }

    /// Allocates the space, durable when it returns.
    pub(super) fn take(&mut self) -> Result<(), AuditError> {
        if self.space.is_whole() {
            return Ok(());
        }
        let missing = SIZE - self.space.held();
        self.faults.take_space(missing)?;
        self.space.take().map_err(|error| {
            self.faults.give_space(missing);
            AuditError::io(self.space.path(), &error)
        })
    }

    /// Gives the space back to the file system, a part of it too: a disk that was almost full when
    /// it was taken left no more. Returns whether there was any.
    pub(super) fn release(&mut self) -> bool {
        self.faults.give_space(self.space.held());
        self.space.release(SIZE).unwrap_or_else(|error| {
            tracing::warn!(%error, "the audit log's reserve could not be released");
            false
        })
    }
}
