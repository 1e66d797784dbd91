//! What may be asked of the rotation agent.

use pentad_model::{
    Id, Path, Rotation,
    rotation::{Control, Strategy},
};
use serde::{Deserialize, Serialize};

super::contract! {
    /// What may be asked of the rotation agent. The tenant is the context's.
    agent "rotation" handled by Rotates;

    /// Shows what rotating these would do; nothing is touched.
    plan(Plan: Start) -> Plan;
    /// Accepts rotations: durable when answered, driven from then on.
    start(Start: Start) -> Started;
    /// Asks something of a running rotation.
    control(Control: Steer) -> Rotation;
    /// A person's decision on a diverged rotation.
    resolve(Resolve: Resolve) -> Rotation;
}

/// See [`Rotates::start`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    /// Which credentials.
    pub paths: Vec<Path>,
    /// Instead of the one that binding and connector would choose.
    pub strategy: Option<Strategy>,
}

/// What would happen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// In the order of rotation: each group after those before it.
    pub groups: Vec<Vec<Planned>>,
    /// What can't be rotated, and why.
    pub refused: Vec<Refused>,
}

/// One rotation of a plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Planned {
    /// The credential.
    pub path: Path,
    /// Where.
    pub target: pentad_model::Name,
    /// How.
    pub strategy: Strategy,
    /// Why so.
    pub because: String,
    /// The version and the account that it replaces.
    pub from: (u32, String),
    /// The account that it goes to.
    pub to_account: String,
    /// What can't be undone from which step on.
    pub point_of_no_return: String,
}

/// One credential that can't be rotated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// The credential.
    pub path: Path,
    /// Why, and what to do.
    pub reason: String,
}

/// What was accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Started {
    /// Of all of them together.
    pub batch: Id,
    /// Each with its id.
    pub rotations: Vec<(Path, Id)>,
    /// What was not accepted, and why.
    pub refused: Vec<Refused>,
}

/// See [`Rotates::control`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Steer {
    /// Which rotation.
    pub id: Id,
    /// What.
    pub control: Control,
}

/// See [`Rotates::resolve`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resolve {
    /// Which rotation.
    pub id: Id,
    /// How.
    pub how: Resolution,
}

/// What to do with a diverged rotation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// Look again: somebody put the account right.
    Retry,
    /// Overwrite what somebody else set.
    Overwrite,
}
