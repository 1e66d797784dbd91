//! What MariaDB's answer to an effect means.
//!
//! Changing an account is one statement and no transaction. So a refusal means "nothing changed"
//! only where it is known to be raised *before* the change, and every other answer is unknown.
//! <https://mariadb.com/kb/en/mariadb-error-code-reference/>
//!
//! | error | why nothing changed | outcome |
//! |---|---|---|
//! | 1205, 1213 | waits for the tables come first | throttled |
//! | 1040, 1041, 1203, 1226 | out of connections, memory or quota; at statement start | throttled |
//! | 1819 | the value is checked first | value |
//! | 1044, 1142, 1227, 1370 | rights are checked first | stop, with the grant |
//! | 1064, 1372, 1470, 1524 | syntax, verifier form, name length, unknown plugin: parsed first | stop |
//! | 1290, 1792, 1836 | read-only, or `strict_password_validation`: checked first | stop |
//! | 1396 | the one account does not exist | stop |
//!
//! Not among them, though tempting: 1317 and 1969 (interrupted, out of time), which come at any
//! moment.

use std::time::Duration;

use mysql_async::Error;

use crate::{Cause, Outcome, Rejection};

/// How long to wait before an effect that met a lock or a crowded server is tried again.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// What a failed effect means. `grant` is the statement that gives the missing right.
pub(super) fn of_error(error: &Error, grant: &str) -> Outcome {
    let said = explain(error);
    match code(error) {
        Some(1205 | 1213 | 1040 | 1041 | 1203 | 1226) => Outcome::Throttled(AGAIN),
        Some(1819) => rejected(Cause::Value, said),
        Some(1044 | 1142 | 1227 | 1370) => {
            rejected(Cause::Stop, format!("{said}; grant it: {grant}"))
        }
        Some(1396) => rejected(Cause::Stop, format!("{said}: there is no such account")),
        Some(1064 | 1290 | 1372 | 1470 | 1524 | 1792 | 1836) => rejected(Cause::Stop, said),
        _ => Outcome::Unknown(said),
    }
}

pub(super) fn rejected(cause: Cause, message: impl Into<String>) -> Outcome {
    Outcome::Rejected(Rejection {
        cause,
        message: message.into(),
    })
}

/// The server's error number, if it was the server that spoke.
pub(super) fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Server(server) => Some(server.code),
        _ => None,
    }
}

/// The error in words. A syntax error quotes the statement, where MySQL's may hold a value.
pub(super) fn explain(error: &Error) -> String {
    match error {
        Error::Server(server) if server.code == 1064 => {
            "the server does not know the statement's syntax (1064); it must be MariaDB 10.4 or \
             MySQL 8.0.14 at least"
                .into()
        }
        Error::Server(server) => format!("{} ({})", server.message, server.code),
        other => other.to_string(),
    }
}
