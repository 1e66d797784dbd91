//! PostgreSQL's failures in the store's words: whose fault, retry or not, next step.

use tokio_postgres::{Error, error::DbError};

use crate::StoreError;

/// A failure at the database: already decided, or still in PostgreSQL's words.
#[derive(Debug)]
pub(super) enum Failure {
    Store(StoreError),
    Postgres(Error),
    /// No answer within the bound, so many seconds.
    Silence(u64),
    /// Already in the store's words, of something that a new session may mend.
    Lost(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Postgres(error)
    }
}

/// What is left to be done after a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Remedy {
    /// The session is of no use any more; another one may do it.
    Reconnect,
    /// The database gave the transaction up for a reason that passes: again, in the same session.
    Again,
    /// The same would happen again.
    None,
}

impl Failure {
    /// The caller's error. `what` names what was being read or written.
    pub(super) fn about(self, what: impl FnOnce() -> String) -> StoreError {
        match self {
            Self::Store(error) | Self::Lost(error) => error,
            Self::Postgres(error) => translate(&error, what),
            Self::Silence(seconds) => lost(format!("no answer of the database within {seconds} s")),
        }
    }

    pub(super) fn remedy(&self) -> Remedy {
        match self {
            Self::Store(_) => Remedy::None,
            Self::Postgres(error) => remedy(error),
            Self::Silence(_) | Self::Lost(_) => Remedy::Reconnect,
        }
    }

    /// The server's code, such as `23505`.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Postgres(error) => code(error),
            Self::Store(_) | Self::Silence(_) | Self::Lost(_) => None,
        }
    }
}

fn code(error: &Error) -> Option<&str> {
    error.code().map(|state| state.code())
}

fn remedy(error: &Error) -> Remedy {
    match code(error) {
        None if is_broken(error) => Remedy::Reconnect,
        None => Remedy::None,
        // serialization_failure, deadlock_detected
        Some("40001" | "40P01") => Remedy::Again,
        // The server ends the session, or a newer schema made its prepared statements useless.
        Some(code) if code.starts_with("57P") || code.starts_with("08") => Remedy::Reconnect,
        Some("25P03" | "0A000" | "26000") => Remedy::Reconnect,
        Some(_) => Remedy::None,
    }
}

/// Whether the connection broke, or never was. What else has no code is about the shape of a row.
fn is_broken(error: &Error) -> bool {
    let mut cause = Some(error as &(dyn std::error::Error + 'static));
    while let Some(it) = cause {
        if it.is::<std::io::Error>() {
            return true;
        }
        cause = it.source();
    }
    error.is_closed()
}

/// See [`Failure::about`].
pub(super) fn translate(error: &Error, what: impl FnOnce() -> String) -> StoreError {
    let Some(told) = error.as_db_error() else {
        let reason = explain(error);
        return match is_broken(error) {
            true => lost(reason),
            false => StoreError::Corrupt {
                what: what(),
                reason,
            },
        };
    };
    let reason = told_by(told);
    match told.code().code() {
        // disk_full. (53400 and temp_file_limit are settings, and told as such.)
        "53100" => StoreError::Full,
        "53300" => lost(format!(
            "{reason}: raise max_connections there, or give this store fewer"
        )),
        "25006" => lost(format!(
            "{reason}: the database is read-only or a standby; the address must lead to the \
             primary"
        )),
        "55P03" => lost(format!(
            "{reason}: another node has been writing for too long"
        )),
        "57014" => lost(format!("{reason}: the database is too slow at the moment")),
        "28P01" => lost(format!(
            "{reason}: check the password that the store is given"
        )),
        "28000" => lost(format!("{reason}: check pg_hba.conf of the database")),
        "3D000" => lost(format!(
            "{reason}: create it with `createdb`, or name another"
        )),
        "42501" => lost(format!(
            "{reason}: the schema must belong to the account that the store uses"
        )),
        // Class XX: what is on the disk can't be read. 22: a value that can't be.
        code if code.starts_with("XX") => StoreError::Corrupt {
            what: what(),
            reason,
        },
        // A row too large for an index; a constraint; a value out of range.
        code if code == "54000" || code.starts_with("23") || code.starts_with("22") => {
            StoreError::Invalid {
                what: what(),
                reason,
            }
        }
        _ => lost(reason),
    }
}

/// The database can't be had at the moment, in the words of whoever said so.
pub(super) fn lost(reason: impl Into<String>) -> StoreError {
    StoreError::Unavailable {
        reason: reason.into(),
    }
}

/// The server's words without its details: these repeat values.
fn told_by(error: &DbError) -> String {
    format!(
        "the database says: {} ({})",
        error.message(),
        error.code().code()
    )
}

/// The whole chain: the library's own words stop at "error connecting to server".
pub(super) fn explain(error: &Error) -> String {
    if let Some(told) = error.as_db_error() {
        return told_by(told);
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
