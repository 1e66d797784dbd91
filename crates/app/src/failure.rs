//! How a command fails: one line, what to do next, and an exit code that scripts can rely on.

use std::{fmt, io};

use serde_json::Value;

/// The exit codes. Zero is success; they never change their meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Nothing to say: the reader of our output went away.
    Silent = 0,
    /// Pentad's own fault.
    Internal = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Not authenticated, or not allowed.
    Denied = 3,
    /// It does not exist.
    Missing = 4,
    /// It exists already, or somebody else was faster.
    Conflict = 5,
    /// Policy refuses a value, or a check found one that it would refuse.
    Refused = 6,
    /// No server, too busy, store in use, target down, disk full: later it may work.
    Unavailable = 7,
    /// Stored data is damaged, or the audit log does not verify.
    Damaged = 8,
    /// Some of many failed.
    Partial = 9,
    /// A rotation diverged: a person must decide.
    Diverged = 10,
}

/// The table of `pentad help exit-codes`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   internal error
  2   the command line or the configuration is wrong
  3   not authenticated, or not allowed
  4   it does not exist
  5   conflict: it exists already, or somebody else was faster
  6   refused by policy; `check` found a value that policy refuses; `verify` a wrong signature
  7   unavailable: no server, busy, store in use, target down, disk full
  8   data is damaged, or the audit log does not verify
  9   some of many failed
  10  a rotation diverged and waits for `pentad rotation resolve`";

/// Why a command ended without success.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What happened, in one line. Never holds a value.
    pub(crate) message: String,
    /// The next step.
    pub(crate) hint: Option<String>,
    /// The API's problem, shown as it is with `--json`.
    pub(crate) problem: Option<Value>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
            problem: None,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Exit::Internal, message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unavailable, message)
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The HTTP status, if the API answered.
    pub(crate) fn status(&self) -> Option<u64> {
        self.problem.as_ref()?["status"].as_u64()
    }

    /// A failed read or write of what the user named.
    pub(crate) fn file(what: impl fmt::Display, error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::NotFound => Exit::Missing,
            io::ErrorKind::PermissionDenied => Exit::Denied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Exit::Unavailable,
            _ => Exit::Internal,
        };
        Self::new(exit, format!("{what}: {error}"))
    }
}

/// A write to standard output that nobody reads any more ends the program without a word.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Silent, ""),
            _ => Self::file("standard output", &error),
        }
    }
}

impl From<pentad_agents::Fault> for Failure {
    fn from(fault: pentad_agents::Fault) -> Self {
        use pentad_agents::Fault as F;
        let exit = match &fault {
            F::Invalid { .. } => Exit::Usage,
            F::Unauthenticated { .. } | F::Denied { .. } | F::LockedOut { .. } => Exit::Denied,
            F::Missing { .. } => Exit::Missing,
            F::Conflict { .. } => Exit::Conflict,
            F::Refused { .. } => Exit::Refused,
            F::Busy { .. } | F::Unavailable { .. } | F::Full | F::Target { .. } => {
                Exit::Unavailable
            }
            F::Damaged { .. } => Exit::Damaged,
            F::Internal { .. } => Exit::Internal,
        };
        Self::new(exit, fault.to_string())
    }
}
