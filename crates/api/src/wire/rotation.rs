//! Rotations.

use pentad_agents::contract::rotation as rot;
use pentad_model::{
    Id, Kind, Name, Path, rotation,
    rotation::{Control, Login, Step, Strategy},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// What to rotate: `paths` or `filter`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// These credentials.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub paths: Option<Vec<Path>>,
    /// All that match and are bound to a target.
    #[serde(default)]
    pub filter: Option<Filter>,
    /// Instead of the one that binding and connector would choose.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "in_place")]
    pub strategy: Option<Strategy>,
    /// Answer what would happen, and touch nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// Which credentials; all conditions hold at once.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Paths that begin so.
    #[serde(default)]
    pub prefix: String,
    /// Of this kind.
    #[schema(value_type = Option<String>)]
    pub kind: Option<Kind>,
    /// With this tag: `k` or `k=v`.
    pub tag: Option<String>,
    /// Bound to this target.
    #[schema(value_type = Option<String>)]
    pub target: Option<Name>,
}

/// What would happen.
#[derive(Debug, Serialize, ToSchema)]
pub struct Plan {
    /// In the order of rotation: each group after those before it.
    pub groups: Vec<Vec<Planned>>,
    /// What can't be rotated, and why.
    pub refused: Vec<Refused>,
}

/// One rotation of a plan.
#[derive(Debug, Serialize, ToSchema)]
pub struct Planned {
    /// The credential.
    #[schema(value_type = String)]
    pub path: Path,
    /// Where.
    #[schema(value_type = String)]
    pub target: Name,
    /// How.
    #[schema(value_type = String)]
    pub strategy: Strategy,
    /// Why so.
    pub because: String,
    /// The version that it replaces.
    pub from_version: u32,
    /// The account that this version belongs to.
    pub from_account: String,
    /// The account that the new version goes to.
    pub to_account: String,
    /// What can't be undone from which step on.
    pub point_of_no_return: String,
}

/// One credential that can't be rotated.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refused {
    /// The credential.
    #[schema(value_type = String)]
    pub path: Path,
    /// Why, and what to do.
    pub reason: String,
}

impl From<rot::Refused> for Refused {
    fn from(from: rot::Refused) -> Self {
        Self {
            path: from.path,
            reason: from.reason,
        }
    }
}

impl From<rot::Plan> for Plan {
    fn from(from: rot::Plan) -> Self {
        let one = |planned: rot::Planned| Planned {
            path: planned.path,
            target: planned.target,
            strategy: planned.strategy,
            because: planned.because,
            from_version: planned.from.0,
            from_account: planned.from.1,
            to_account: planned.to_account,
            point_of_no_return: planned.point_of_no_return,
        };
        Self {
            groups: from
                .groups
                .into_iter()
                .map(|group| group.into_iter().map(one).collect())
                .collect(),
            refused: from.refused.into_iter().map(Into::into).collect(),
        }
    }
}

/// What was accepted; it is durable and driven from now on.
#[derive(Debug, Serialize, ToSchema)]
pub struct Started {
    /// Of all of them together: GET /v1/rotations?batch=…
    #[schema(value_type = String, format = "uuid")]
    pub batch: Id,
    /// Each with its id.
    pub rotations: Vec<StartedOne>,
    /// What was not accepted, and why.
    pub refused: Vec<Refused>,
}

/// One started rotation.
#[derive(Debug, Serialize, ToSchema)]
pub struct StartedOne {
    /// The credential.
    #[schema(value_type = String)]
    pub path: Path,
    /// The rotation.
    #[schema(value_type = String, format = "uuid")]
    pub id: Id,
}

impl From<rot::Started> for Started {
    fn from(from: rot::Started) -> Self {
        Self {
            batch: from.batch,
            rotations: from
                .rotations
                .into_iter()
                .map(|(path, id)| StartedOne { path, id })
                .collect(),
            refused: from.refused.into_iter().map(Into::into).collect(),
        }
    }
}

/// One rotation of one credential.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rotation {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: Id,
    /// Which credential.
    #[schema(value_type = String)]
    pub path: Path,
    /// At which target.
    #[schema(value_type = String)]
    pub target: Name,
    /// How.
    #[schema(value_type = String)]
    pub strategy: Strategy,
    /// Started together with others.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub batch: Option<Id>,
    /// Where it stands; `done`, `rolled_back`, `failed` and `diverged` are ends.
    #[schema(value_type = String, example = "done")]
    pub step: Step,
    /// Effects begun.
    pub attempt: u8,
    /// Whether the new version is the current one.
    pub promoted: bool,
    /// Whether it has ended.
    pub ended: bool,
    /// The version that it replaces.
    pub from_version: u32,
    /// The account that the old version belongs to.
    pub from_account: String,
    /// The version that it makes, once that is sealed.
    pub to_version: Option<u32>,
    /// The account that the new version belongs to.
    pub to_account: String,
    /// What somebody asked of it: `run`, `pause`, `cancel` or `rollback`.
    #[schema(value_type = String)]
    pub control: Control,
    /// Nothing is done before then.
    pub resume_at: Time,
    /// The old version is not retired before then.
    pub observe_until: Time,
    /// Why it waits, failed or diverged.
    pub reason: Option<String>,
    /// What was seen at the target, the latest last.
    pub evidence: Vec<Evidence>,
    /// Who asked for it.
    pub requested_by: String,
    /// The request that started it.
    #[schema(value_type = String, format = "uuid")]
    pub correlation: Id,
    /// Counts commits.
    pub revision: u64,
    /// When it was planned.
    pub created_at: Time,
    /// When it last moved.
    pub updated_at: Time,
}

/// One observation at the target: `works`, `fails` or `cant_tell`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Evidence {
    /// When.
    pub at: Time,
    /// At which step.
    #[schema(value_type = String)]
    pub step: Step,
    /// With the new version.
    #[schema(value_type = String)]
    pub new: Login,
    /// With the old version.
    #[schema(value_type = String)]
    pub old: Login,
    /// With any abandoned version.
    #[schema(value_type = String)]
    pub abandoned: Login,
    /// With a random value, which must be refused for the others to mean anything.
    #[schema(value_type = String)]
    pub control: Login,
    /// What the target said.
    pub note: String,
}

impl From<rotation::Rotation> for Rotation {
    fn from(from: rotation::Rotation) -> Self {
        let evidence = from
            .evidence
            .into_iter()
            .map(|seen| Evidence {
                at: Time(seen.at),
                step: seen.step,
                new: seen.new,
                old: seen.old,
                abandoned: seen.abandoned,
                control: seen.control,
                note: seen.note,
            })
            .collect();
        Self {
            id: from.id,
            path: from.path,
            target: from.target,
            strategy: from.strategy,
            batch: from.batch,
            step: from.progress.step,
            attempt: from.progress.attempt,
            promoted: from.progress.promoted,
            ended: from.progress.step.is_final(),
            from_version: from.from,
            from_account: from.from_account,
            to_version: from.to,
            to_account: from.to_account,
            control: from.control,
            resume_at: Time(from.resume_at),
            observe_until: Time(from.observe_until),
            reason: from.reason,
            evidence,
            requested_by: from.requested_by,
            correlation: from.correlation,
            revision: from.revision,
            created_at: Time(from.created_at),
            updated_at: Time(from.updated_at),
        }
    }
}

/// What to do with a diverged rotation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resolve {
    /// `retry`: look again, somebody put the account right; `overwrite`: overwrite what somebody
    /// else set.
    #[schema(value_type = String, example = "retry")]
    pub how: rot::Resolution,
}
