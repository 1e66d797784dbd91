//! What can go wrong in a store, by what the caller should do.

use std::path::PathBuf;

/// A store's failure.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    /// A precondition did not hold: somebody else was faster. Read again and decide anew.
    #[error("{what} was changed by somebody else meanwhile")]
    Conflict {
        /// What the precondition was about.
        what: String,
    },
    /// It exists already.
    #[error("{what} exists already")]
    Exists {
        /// What.
        what: String,
    },
    /// It does not exist.
    #[error("{what} does not exist")]
    Missing {
        /// What.
        what: String,
    },
    /// The change contradicts itself or the contract of [`Op`](crate::Op): a bug in the caller. The
    /// same change never succeeds.
    #[error("{what} can't be stored: {reason}")]
    Invalid {
        /// What.
        what: String,
        /// Which rule it breaks.
        reason: String,
    },
    /// The disk is full. Nothing was changed; free some space and try again.
    #[error("the disk is full: nothing was changed; free some space and try again")]
    Full,
    /// The directory or the database can't be written. Nothing was changed.
    #[error("{path} can't be written: {reason}")]
    ReadOnly {
        /// Which file or directory.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// Another process has the store open.
    #[error(
        "another pentad server uses {path} (process {pid}); stop it, or talk to it with PENTAD_ADDR"
    )]
    Locked {
        /// The store's directory.
        path: PathBuf,
        /// The holder, as far as known; 0 if not.
        pid: u32,
    },
    /// The store was written by a newer Pentad.
    #[error(
        "the store has schema {found}, this pentad knows schemas up to {known}: use the newer pentad"
    )]
    TooNew {
        /// The store's schema version.
        found: u32,
        /// The highest one this program knows.
        known: u32,
    },
    /// Something stored can't be read. Everything else is unharmed.
    #[error("{what} is damaged: {reason}; `pentad store verify` lists all that is")]
    Corrupt {
        /// What.
        what: String,
        /// How.
        reason: String,
    },
    /// There is no store there.
    #[error("there is no pentad store in {path}; make one with `pentad init`")]
    Absent {
        /// The directory.
        path: PathBuf,
    },
    /// The store can't be reached or is closing; the same call may succeed later.
    #[error("the store is not available: {reason}")]
    Unavailable {
        /// The system's words.
        reason: String,
    },
    /// The system failed in a way that no retry mends (a failed fsync): the process must restart.
    #[error("the store failed and must be reopened: {reason}")]
    Fatal {
        /// The system's words.
        reason: String,
    },
}
