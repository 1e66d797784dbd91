//! What PostgreSQL's answer to an effect means.
//!
//! Every effect is one transaction. So the *severity* decides first, and the SQLSTATE
//! (<https://www.postgresql.org/docs/current/errcodes-appendix.html>) only says what to do:
//!
//! * `ERROR`: the transaction is aborted, nothing changed. That holds for every code, also for one
//!   raised during COMMIT: once the commit record is being written the server is in a critical
//!   section, where an error becomes a PANIC.
//! * `FATAL`, `PANIC`: the session or server ended, at any moment, also while COMMIT waited for a
//!   standby with the change durable already. Unknown.
//! * no answer at all: unknown.
//!
//! | SQLSTATE of an `ERROR` | raised by | outcome |
//! |---|---|---|
//! | 55P03, 57014 | `lock_timeout`, `statement_timeout`: another session holds the role | throttled |
//! | XX000 `tuple concurrently ...` | two ALTER ROLE of one role at once | throttled |
//! | 40001, 40P01 | serialisation failure, deadlock | throttled |
//! | 23505, 42710 | the idle role was created by another session meanwhile | throttled |
//! | class 53 | out of disk, memory, locks | throttled |
//! | 22023, 28P01 | `passwordcheck`, `credcheck`: the server's rules refuse the value | value |
//! | 42501 | no right | stop, with the statement that grants it |
//! | 42704 | no such role | stop |
//! | 25006 | a standby or a read-only server | stop |
//! | any other | | stop |

use std::{error::Error as _, fmt::Write as _, time::Duration};

use tokio_postgres::error::{DbError, Severity};

use crate::{Cause, Outcome, Rejection};

/// How long to wait before an effect that met a lock or a crowded server is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a failed effect means. `grant` is the statement that gives the missing right.
pub(super) fn of_error(error: &tokio_postgres::Error, grant: &str) -> Outcome {
    match error.as_db_error() {
        Some(db) if db.parsed_severity() == Some(Severity::Error) => of_refusal(db, grant),
        _ => Outcome::Unknown(explain(error)),
    }
}

fn of_refusal(db: &DbError, grant: &str) -> Outcome {
    let code = db.code().code();
    let said = format!("{} ({code})", db.message());
    match code {
        "55P03" | "57014" | "40001" | "40P01" | "23505" | "42710" => Outcome::Throttled(AGAIN),
        "XX000" if db.message().starts_with("tuple concurrently") => Outcome::Throttled(AGAIN),
        _ if code.starts_with("53") => Outcome::Throttled(AGAIN),
        "22023" | "28P01" => rejected(Cause::Value, said),
        "42501" => rejected(Cause::Stop, format!("{said}; grant it: {grant}")),
        "25006" => rejected(
            Cause::Stop,
            format!("{said}; the target's address must lead to the primary"),
        ),
        _ => rejected(Cause::Stop, said),
    }
}

pub(super) fn rejected(cause: Cause, message: impl Into<String>) -> Outcome {
    Outcome::Rejected(Rejection {
        cause,
        message: message.into(),
    })
}

/// An error with its causes: the library's own text leaves them out. No value is in them: what we
/// send holds none, and a login's is never echoed.
pub(super) fn explain(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} ({})", db.message(), db.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
