//! What probes and restores showed.

use pentad_agents::{backup::restore, operations};
use serde::Serialize;
use utoipa::ToSchema;

use super::time::Time;

/// What a probe showed.
#[derive(Debug, Serialize, ToSchema)]
pub struct Probed {
    /// Of which credential.
    pub path: String,
    /// `works`, `fails` (drift), or `cant_tell`.
    pub login: &'static str,
    /// What was seen, and what to do.
    pub note: String,
    /// Whether it is in doubt now.
    pub in_doubt: bool,
}

impl From<operations::Probed> for Probed {
    fn from(from: operations::Probed) -> Self {
        use pentad_model::rotation::Login;
        Self {
            path: from.path.to_string(),
            login: match from.login {
                Login::Works => "works",
                Login::Fails => "fails",
                Login::CantTell => "cant_tell",
            },
            note: from.note,
            in_doubt: from.in_doubt,
        }
    }
}

/// Whether this store came out of a backup.
#[derive(Debug, Serialize, ToSchema)]
pub struct Restored {
    /// Out of which; null if it did not.
    pub restore: Option<Restore>,
}

/// A restore.
#[derive(Debug, Serialize, ToSchema)]
pub struct Restore {
    /// From which backup.
    pub backup: String,
    /// When that was taken: what happened after is not here.
    pub taken_at: Time,
    /// When it was restored.
    pub restored_at: Time,
    /// The name of the audit log that this one goes on from.
    pub log: String,
    /// What the look at the targets showed; null while it is under way.
    pub looked: Option<Looked>,
}

/// A look at all targets.
#[derive(Debug, Serialize, ToSchema)]
pub struct Looked {
    /// Stored values that work.
    pub works: u64,
    /// Stored values that are refused: those credentials stay in doubt until somebody acts.
    pub drift: u64,
    /// Those of which nothing could be told yet; they are tried again.
    pub cant_tell: u64,
    /// Those whose rotation waits for a person.
    pub rotating: u64,
}

impl From<restore::Origin> for Restore {
    fn from(from: restore::Origin) -> Self {
        Self {
            backup: from.backup.to_string(),
            taken_at: from.taken_at.into(),
            restored_at: from.restored_at.into(),
            log: from.log,
            looked: from.looked.map(|looked| Looked {
                works: looked.works,
                drift: looked.drift,
                cant_tell: looked.cant_tell,
                rotating: looked.rotating,
            }),
        }
    }
}
