//! A rotation as it is persisted. What moves it is `pentad-rotation`'s transition function.

use std::ops::Not;

use serde::{Deserialize, Serialize};

use crate::{Id, Name, Path, Tenant, Timestamp};

/// How the old value gives way to the new one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// One account, one value: the new one replaces the old one at the target.
    InPlace,
    /// The target accepts both values for a while.
    Overlap,
    /// Two accounts with the same rights take turns.
    Alternating,
}

/// A rotation's recorded step. Steps named `…ing` before an outside effect are *intents*: written
/// before the effect, so that whoever finds one knows that the effect may have happened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Claimed; nothing outside was touched.
    Planned,
    /// Intent: give the new value to the target.
    Applying,
    /// Whether the target took the new value is unknown: fence, then probe.
    Probing,
    /// The target took it: log in with it as a consumer would.
    Verifying,
    /// Hand it to its consumers.
    Delivering,
    /// Promoted; the old value still works until the retirement gate opens.
    Observing,
    /// Intent: make the target refuse the old value.
    Retiring,
    /// Whether the target still takes the old value is to be seen: fence, then probe.
    RetireProbing,
    /// Intent: take the new value back from the target.
    Undoing,
    /// Whether the new value is gone from the target is to be seen: fence, then probe.
    UndoProbing,
    /// Ended: the new value is current, proven, and the old one refused.
    Done,
    /// Ended: the old value is current, as before.
    RolledBack,
    /// Ended before anything outside was touched.
    Failed,
    /// Ended, for a person to resolve: somebody else changed the account, and Pentad may not
    /// overwrite it. Everything is kept.
    Diverged,
}

impl Step {
    /// Every step.
    pub const ALL: &'static [Step] = &[
        Step::Planned,
        Step::Applying,
        Step::Probing,
        Step::Verifying,
        Step::Delivering,
        Step::Observing,
        Step::Retiring,
        Step::RetireProbing,
        Step::Undoing,
        Step::UndoProbing,
        Step::Done,
        Step::RolledBack,
        Step::Failed,
        Step::Diverged,
    ];

    /// Whether the rotation has ended.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Done | Self::RolledBack | Self::Failed | Self::Diverged
        )
    }

    /// Whether the target's state may differ from the store's while a rotation stands here, so that
    /// readers are told that the credential is in doubt.
    pub fn in_doubt(self) -> bool {
        matches!(self, Self::Applying | Self::Probing | Self::Diverged)
    }

    /// Its name in the store, in records and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Applying => "applying",
            Self::Probing => "probing",
            Self::Verifying => "verifying",
            Self::Delivering => "delivering",
            Self::Observing => "observing",
            Self::Retiring => "retiring",
            Self::RetireProbing => "retire_probing",
            Self::Undoing => "undoing",
            Self::UndoProbing => "undo_probing",
            Self::Done => "done",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Diverged => "diverged",
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a rotation stands: all that the transition function needs to know of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// The recorded step.
    pub step: Step,
    /// Effects begun, throttled ones not counted.
    pub attempt: u8,
    /// Whether the new version is the current one in the store.
    pub promoted: bool,
}

/// What somebody asked of a running rotation. It is obeyed at the next safe point.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Go on.
    #[default]
    Run,
    /// Stop at the next safe point and wait for `resume`.
    Pause,
    /// End it, taking back what was not promoted.
    Cancel,
    /// Make the old version current again, also after promotion, while the target accepts it.
    Rollback,
}

/// No time comes then: what is to go on then goes on when somebody says so.
pub const NEVER: Timestamp = Timestamp(i64::MAX);

/// The right to drive a rotation: held by one worker at a time. The epoch is the fencing token: it
/// grows with each holder, and nothing is committed under an older one.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Lease {
    /// The worker, by process and incarnation.
    pub holder: String,
    /// Grows by one with each holder.
    pub epoch: u64,
    /// Others may take over from then on.
    pub until: Timestamp,
}

/// One rotation of one credential.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rotation {
    /// Its id; also the token that an effect carries where the target can note one.
    pub id: Id,
    /// Whose credential.
    pub tenant: Tenant,
    /// Which credential.
    pub path: Path,
    /// At which target.
    pub target: Name,
    /// How.
    pub strategy: Strategy,
    /// Started together with others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Id>,
    /// Rotations of the same batch that must be done before this one begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Id>,
    /// Whether a person decided that somebody else's change of the account may be overwritten.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub overwrite: bool,
    /// Where it stands.
    pub progress: Progress,
    /// Who drives it.
    pub lease: Lease,
    /// The version that it replaces.
    pub from: u32,
    /// The account that the old version belongs to.
    pub from_account: String,
    /// The version that it makes, once that is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u32>,
    /// The account that the new version belongs to.
    pub to_account: String,
    /// The connection at the target on which the last intended effect runs, durable before the
    /// effect, so that a successor can kill it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// Where no connection can be killed: the last intended effect may still happen until then.
    pub doubt_until: Timestamp,
    /// The old version is not retired before then.
    pub observe_until: Timestamp,
    /// What somebody asked of it.
    pub control: Control,
    /// Nothing is to be done before then (back-off, throttling, grace).
    pub resume_at: Timestamp,
    /// Tries that could not tell, since the last progress; sets the back-off.
    pub waits: u32,
    /// Why it waits, failed or diverged; for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was seen at the target, the latest last; bounded.
    pub evidence: Vec<Evidence>,
    /// Who asked for it.
    pub requested_by: String,
    /// The request that started it.
    pub correlation: Id,
    /// Counts commits; every commit is a compare-and-set on it.
    pub revision: u64,
    /// When it was planned.
    pub created_at: Timestamp,
    /// When it last moved.
    pub updated_at: Timestamp,
}

impl Rotation {
    /// Whether it will not go on before a person has done something: it diverged, or it paused where
    /// what it needs is a person's to mend. Somebody who pauses one that told a reason has it here
    /// too. A diverged one stays so, also when a later value has settled it.
    pub fn waits_for_a_person(&self) -> bool {
        match self.progress.step {
            Step::Diverged => true,
            Step::Probing | Step::UndoProbing | Step::Observing => {
                self.control == Control::Pause && self.resume_at == NEVER && self.reason.is_some()
            }
            _ => false,
        }
    }
}

/// What a test login showed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Login {
    /// The target let us in.
    Works,
    /// The target refused the value.
    Fails,
    /// Neither: the target is down, the account locked or expired, or it lets anybody in.
    CantTell,
}

/// One observation at the target: what logins showed, or what one that is a proof says of the others.
/// The note tells which.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// When.
    pub at: Timestamp,
    /// At which step.
    pub step: Step,
    /// With the new version.
    pub new: Login,
    /// With the old version.
    pub old: Login,
    /// With any abandoned version.
    pub abandoned: Login,
    /// With a random value, which must be refused for the others to mean anything.
    pub control: Login,
    /// What the target said; never a value.
    pub note: String,
}
