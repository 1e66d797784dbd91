//! SQLite's failures in the store's words: whose fault, retry or not, next step.

use std::path::PathBuf;

use rusqlite::{Connection, Error, ErrorCode, ffi};

use crate::StoreError;

/// A failure inside the embedded store: already decided, or still in SQLite's words.
#[derive(Debug)]
pub(super) enum Failure {
    Store(StoreError),
    Sqlite(Error),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Failure {
    /// Whether a row that it refers to is not there.
    pub(super) fn is_orphan(&self) -> bool {
        matches!(self, Self::Sqlite(Error::SqliteFailure(failure, _))
            if failure.extended_code == ffi::SQLITE_CONSTRAINT_FOREIGNKEY)
    }

    /// The caller's error. `what` names what was being read or written, should it be damaged.
    pub(super) fn about(
        self,
        connection: &Connection,
        what: impl FnOnce() -> String,
    ) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Sqlite(error) => {
                let path = connection.path().map(PathBuf::from).unwrap_or_default();
                translate(error, path, what)
            }
        }
    }
}

/// See [`Failure::about`].
pub(super) fn translate(error: Error, path: PathBuf, what: impl FnOnce() -> String) -> StoreError {
    let reason = error.to_string();
    let Error::SqliteFailure(failure, _) = error else {
        // Every other kind says that a row is not of the shape it was written in.
        return StoreError::Corrupt {
            what: what(),
            reason,
        };
    };
    match failure.extended_code {
        // After a failed fsync nobody knows what is on the disk, and the kernel has forgotten that
        // anything was to be written: a retry would report success for nothing. The same holds for
        // a write that the device refused.
        ffi::SQLITE_IOERR_FSYNC
        | ffi::SQLITE_IOERR_DIR_FSYNC
        | ffi::SQLITE_IOERR_WRITE
        | ffi::SQLITE_IOERR_TRUNCATE
        | ffi::SQLITE_IOERR_CLOSE
        | ffi::SQLITE_IOERR_DIR_CLOSE => return StoreError::Fatal { reason },
        // The shared-memory file of the write-ahead log could not grow.
        ffi::SQLITE_IOERR_SHMSIZE => return StoreError::Full,
        ffi::SQLITE_IOERR_NOMEM => return StoreError::Unavailable { reason },
        _ => {}
    }
    match failure.code {
        ErrorCode::DiskFull => StoreError::Full,
        ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
            StoreError::ReadOnly { path, reason }
        }
        // A read that the device refuses damages what is there, and nothing else.
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SystemIoFailure => {
            StoreError::Corrupt {
                what: what(),
                reason,
            }
        }
        ErrorCode::TooBig | ErrorCode::ConstraintViolation => StoreError::Invalid {
            what: what(),
            reason,
        },
        _ => StoreError::Unavailable { reason },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]

    use super::*;

    fn told(code: i32) -> StoreError {
        translate(
            Error::SqliteFailure(ffi::Error::new(code), None),
            PathBuf::from("/store"),
            || "credential t/p".to_owned(),
        )
    }

    #[test]
    fn a_failed_fsync_is_fatal_and_a_full_disk_is_not() {
        for code in [
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR_DIR_FSYNC,
            ffi::SQLITE_IOERR_WRITE,
        ] {
            assert!(matches!(told(code), StoreError::Fatal { .. }), "{code}");
        }
        assert_eq!(told(ffi::SQLITE_FULL), StoreError::Full);
        assert_eq!(told(ffi::SQLITE_IOERR_SHMSIZE), StoreError::Full);
    }

    #[test]
    fn damage_names_what_is_damaged() {
        for code in [
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_CORRUPT_INDEX,
            ffi::SQLITE_NOTADB,
            ffi::SQLITE_IOERR_READ,
            ffi::SQLITE_IOERR_SHORT_READ,
        ] {
            let StoreError::Corrupt { what, .. } = told(code) else {
                panic!("{code} is not damage: {:?}", told(code));
            };
            assert_eq!(what, "credential t/p");
        }
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        for code in [
            ffi::SQLITE_READONLY,
            ffi::SQLITE_READONLY_DIRECTORY,
            ffi::SQLITE_CANTOPEN,
        ] {
            assert!(matches!(told(code), StoreError::ReadOnly { .. }), "{code}");
        }
        assert!(matches!(
            told(ffi::SQLITE_BUSY),
            StoreError::Unavailable { .. }
        ));
    }
}
