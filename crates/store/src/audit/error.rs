//! What can go wrong in the audit log, by what the caller should do.

use std::{fmt, io, path::Path, path::PathBuf};

use super::checkpoint::CheckpointError;

/// A failure of the audit log. Cheap to clone, because one failed block answers many callers.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AuditError {
    /// No space. Nothing was recorded, so the act must be refused; the same call succeeds once
    /// there is space again. A record that matters even then goes to
    /// [`append_essential`](super::AuditLog::append_essential).
    #[error(
        "the disk is full: the act was not recorded and must not go on; free some space and try again"
    )]
    Full,
    /// More than a block may hold. The caller's fault; never the same again.
    #[error("{bytes} bytes of audit records at once are more than the {max} allowed: split them")]
    TooLarge {
        /// What was handed in.
        bytes: usize,
        /// What is allowed.
        max: usize,
    },
    /// A write or fsync failed. What the file holds is not known, nothing is appended any more:
    /// the log must be reopened.
    #[error("the audit log failed and takes no more records until it is reopened: {reason}")]
    Fatal {
        /// The system's words.
        reason: String,
    },
    /// Something in the log is damaged, and it is not a block that a crash cut short.
    #[error(
        "{file} is damaged at byte {offset}: {reason}; nothing was changed. `pentad audit verify` \
         lists all damage, `pentad audit repair` moves damaged files aside and keeps them"
    )]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What was found.
        reason: String,
    },
    /// Records are missing that are known to have been durable.
    #[error(
        "the audit log in {dir} ends after {size} records but {high_water} were durable: records \
         were removed or a disk was rolled back. Restore the newest copy of the directory; \
         `pentad audit verify` with a kept checkpoint says what is missing, `pentad audit repair` \
         accepts the loss on record"
    )]
    BelowHighWater {
        /// The log's directory.
        dir: PathBuf,
        /// Records that are there.
        size: u64,
        /// Records that were durable.
        high_water: u64,
    },
    /// Another process has the log open.
    #[error("another pentad server uses the audit log in {dir}; stop it first")]
    Locked {
        /// The log's directory.
        dir: PathBuf,
    },
    /// A file can't be opened, read or made.
    #[error("{path}: {reason}; check that it exists and that pentad may read and write it")]
    Io {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// The log has no such record or tree size (yet).
    #[error("{what} {asked} is beyond the audit log's {size} records")]
    OutOfRange {
        /// `record` or `tree size`.
        what: &'static str,
        /// What was asked for.
        asked: u64,
        /// How many records there are.
        size: u64,
    },
    /// A checkpoint does not hold for this log.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl AuditError {
    pub(super) fn io(path: &Path, error: &io::Error) -> Self {
        if is_full(error) {
            return Self::Full;
        }
        Self::Io {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }

    pub(super) fn damaged(file: &Path, offset: u64, reason: impl fmt::Display) -> Self {
        Self::Damaged {
            file: file.to_owned(),
            offset,
            reason: reason.to_string(),
        }
    }

    pub(super) fn fatal(what: &str, path: &Path, error: &io::Error) -> Self {
        Self::Fatal {
            reason: format!("{what} {}: {error}", path.display()),
        }
    }
}

/// Whether the system says that there is no space: `ENOSPC` or `EDQUOT`.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
