//! What can go wrong, by what the caller should do. Interfaces map these to statuses and exit
//! codes; nothing here knows of either.

use std::time::Duration;

use pentad_model::assessment::Assessment;
use pentad_runtime::{CallError, gate};
use pentad_store::StoreError;
use serde::{Deserialize, Serialize};

/// A failed request. Messages name the next step and never hold a value.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// The request itself is wrong: mend it.
    #[error("{message}")]
    Invalid {
        /// What is wrong with it, and what would be right.
        message: String,
    },
    /// No valid token, or a wrong user name or password.
    #[error("{message}")]
    Unauthenticated {
        /// What to do.
        message: String,
    },
    /// The caller's roles don't allow it.
    #[error("{message}")]
    Denied {
        /// Which rule said so, or that none allows it.
        message: String,
    },
    /// Too many failed tries.
    #[error("{message}")]
    LockedOut {
        /// Why.
        message: String,
        /// When it may be tried again.
        retry_after: Duration,
    },
    /// It does not exist, or the caller may not know that it does.
    #[error("{what} does not exist")]
    Missing {
        /// What.
        what: String,
        /// A name close to the one that was asked for.
        nearest: Option<String>,
    },
    /// It exists already, or somebody else was faster.
    #[error("{message}")]
    Conflict {
        /// What to do.
        message: String,
    },
    /// Policy refuses the value.
    #[error("policy refuses the value: {}", first(.assessment))]
    Refused {
        /// Why.
        assessment: Box<Assessment>,
    },
    /// The system is at work: nothing was accepted.
    #[error("{message}")]
    Busy {
        /// Which queue.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// A part is not available now; nothing was changed.
    #[error("{message}")]
    Unavailable {
        /// Which, and what to do.
        message: String,
    },
    /// The disk is full; nothing was changed.
    #[error("the disk is full: nothing was changed")]
    Full,
    /// Stored data can't be read or opened.
    #[error("{message}")]
    Damaged {
        /// What.
        message: String,
    },
    /// A target could not be reached, or refused.
    #[error("{message}")]
    Target {
        /// The target's words, and what to do.
        message: String,
    },
    /// Pentad's own fault. The message says what to report.
    #[error("internal error: {message}")]
    Internal {
        /// What happened; never a value.
        message: String,
    },
}

fn first(assessment: &Assessment) -> &str {
    assessment
        .findings
        .first()
        .map_or("no reason given", |finding| finding.message.as_str())
}

impl Fault {
    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid {
            message: message.into(),
        }
    }

    /// Something does not exist.
    pub fn missing(what: impl Into<String>) -> Self {
        Self::Missing {
            what: what.into(),
            nearest: None,
        }
    }

    /// Somebody else was faster, or it is there already.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::Conflict {
            message: message.into(),
        }
    }

    /// Pentad's own fault.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal {
            message: message.into(),
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Conflict { .. } | StoreError::Exists { .. } => Self::Conflict { message },
            StoreError::Missing { what } => Self::missing(what),
            StoreError::Full => Self::Full,
            StoreError::Invalid { .. } => Self::Invalid { message },
            StoreError::Corrupt { .. } => Self::Damaged { message },
            StoreError::ReadOnly { .. }
            | StoreError::Locked { .. }
            | StoreError::TooNew { .. }
            | StoreError::Absent { .. }
            | StoreError::Unavailable { .. }
            | StoreError::Fatal { .. } => Self::Unavailable { message },
        }
    }
}

impl From<CallError> for Fault {
    fn from(error: CallError) -> Self {
        let message = error.to_string();
        match error {
            CallError::QueueFull { retry_after, .. } => Self::Busy {
                message,
                retry_after,
            },
            CallError::Stopping { .. } | CallError::Unanswered { .. } => {
                Self::Unavailable { message }
            }
            CallError::Quarantined { .. } | CallError::NotPermitted { .. } => {
                Self::Internal { message }
            }
        }
    }
}

impl From<gate::Full> for Fault {
    fn from(full: gate::Full) -> Self {
        Self::Busy {
            message: full.to_string(),
            retry_after: full.retry_after,
        }
    }
}
