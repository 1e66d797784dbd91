//! What the flow needs of others. The agents implement these over the bus, so that the five are the
//! way a rotation really goes; the property tests implement them over a simulated world.

use std::time::Duration;

use async_trait::async_trait;
use pentad_model::{
    Credential, Id, Rotation, Target, Timestamp, Version,
    assessment::Assessment,
    rotation::{Evidence, Login},
};

use crate::machine::{Settle, Verdict};

/// A plaintext value, by the number of the one use that it is good for. The value itself never
/// passes through this crate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct Ticket(pub Id);

/// An open session at a target, held by the integration agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// Its number there.
    pub id: Id,
    /// What identifies its connection at the target, if anything does.
    pub connection: Option<String>,
}

/// All five agents, as the flow sees them.
pub trait Ports: Journal + Vault + Judge + Outside {}
impl<T: Journal + Vault + Judge + Outside> Ports for T {}

/// The durable state and the audit record of every step: the monitoring agent.
#[async_trait]
pub trait Journal: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;

    /// Commits a step and its record in one act, if this worker still holds the rotation; answers
    /// with the rotation as it then is, which may carry a request that somebody made meanwhile.
    ///
    /// Where the stored epoch is not [`Commit::expect_epoch`], it is [`Failure::Lost`]; also where a
    /// claim ([`Commit::is_claim`]) does not find the revision [`Commit::expect`]: the holder moved
    /// on meanwhile. Where any other commit does not find that revision, a request came between,
    /// since every drive has an epoch of its own: the step is committed on top of it, with the stored
    /// `control`, and, if that is no pause, with a `resume_at` of now at the latest, so that neither
    /// the step nor the request is lost.
    async fn commit(&self, step: Commit) -> Result<Rotation, Failure>;

    /// The credential being rotated and its target.
    async fn subject(&self, rotation: &Rotation) -> Result<(Credential, Target), Failure>;

    /// One version of the credential.
    async fn version(&self, rotation: &Rotation, number: u32) -> Result<Version, Failure>;

    /// What the target may hold beside the versions of this rotation: those that a put displaced and
    /// nobody has proven another one since (stage previous), then those that were attempted before and
    /// not promoted, the latest first; at most [`MAX_ABANDONED`](crate::rotate::MAX_ABANDONED) of
    /// each.
    async fn abandoned(&self, rotation: &Rotation) -> Result<Vec<Version>, Failure>;
}

/// One step, to be made durable.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The rotation as it will be.
    pub rotation: Rotation,
    /// The revision that it must have now.
    pub expect: u64,
    /// The epoch that it must have now: this drive's own, and for a claim the one before.
    pub expect_epoch: u64,
    /// The new version, in the commit that holds its intent.
    pub draft: Option<Version>,
    /// The new version that `settle` speaks of.
    pub to: Option<u32>,
    /// What happens to the stages of `to` and of the rotation's `from`. Idempotent: a stage that is
    /// as it should be stays.
    pub settle: Settle,
    /// What the record says.
    pub note: String,
}

impl Commit {
    /// Whether it makes its drive the holder. The new epoch alone does not tell the holder: two that
    /// claim at once both propose the same one.
    pub fn is_claim(&self) -> bool {
        self.rotation.lease.epoch != self.expect_epoch
    }
}

/// Keys and values: the encryption agent.
#[async_trait]
pub trait Vault: Send + Sync {
    /// Makes the next version, sealed, and a ticket for whoever judges it.
    async fn draft(&self, rotation: &Rotation, credential: &Credential) -> Result<Draft, Failure>;

    /// A ticket for one use of a version's value by the integration agent.
    async fn open(
        &self,
        rotation: &Rotation,
        credential: &Credential,
        version: &Version,
    ) -> Result<Ticket, Failure>;

    /// A ticket for one use of a random value that belongs to nobody: the control of a probe.
    async fn decoy(&self, rotation: &Rotation) -> Result<Ticket, Failure>;
}

/// A new value, sealed but not yet stored.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The version, in stage pending.
    pub version: Version,
    /// For the validation agent.
    pub to_judge: Ticket,
    /// From how many values it was drawn uniformly, as a power of two, if it is such a text.
    pub drawn_bits: Option<u16>,
}

/// Judgement: the validation agent.
#[async_trait]
pub trait Judge: Send + Sync {
    /// Judges a new value against policy and the earlier ones.
    async fn value(
        &self,
        rotation: &Rotation,
        credential: &Credential,
        draft: &Draft,
    ) -> Result<Assessment, Failure>;

    /// Judges what a verification showed.
    async fn evidence(
        &self,
        rotation: &Rotation,
        evidence: &Evidence,
    ) -> Result<(Verdict, String), Failure>;
}

/// The world: the integration agent.
#[async_trait]
pub trait Outside: Send + Sync {
    /// Opens an administrating session; nothing happens at the target yet.
    async fn session(&self, rotation: &Rotation, target: &Target) -> Result<Session, Failure>;

    /// Gives the session back without having used it.
    async fn release(&self, rotation: &Rotation, session: Session);

    /// Carries out an effect on a session, which is used up by it.
    async fn effect(
        &self,
        rotation: &Rotation,
        session: Session,
        effect: Effect,
    ) -> Result<Outcome, Failure>;

    /// Kills the connection of an earlier effect; `Ok` only when nothing it sent can happen any
    /// more.
    async fn fence(
        &self,
        rotation: &Rotation,
        target: &Target,
        connection: &str,
    ) -> Result<(), Failure>;

    /// Whether `value` is what the target keeps for the account, by what an administrator may see;
    /// `false` also where that can't be told.
    async fn keeps(
        &self,
        rotation: &Rotation,
        session: &Session,
        account: &str,
        value: Ticket,
    ) -> Result<bool, Failure>;

    /// Logs in at an account as a consumer would.
    async fn login(
        &self,
        rotation: &Rotation,
        target: &Target,
        account: &str,
        value: Ticket,
    ) -> Result<Shown, Failure>;

    /// Whether a login at this target may be a proof, [`Shown::sole`].
    fn proves(&self, target: &Target) -> bool;

    /// Hands a version to the credential's consumers: the new one, or, before the new one is taken
    /// back and before a roll-back ends, the old one again. Idempotent. Checks last thing before it writes that the rotation's
    /// epoch is still the stored one ([`Failure::Lost`] if not), so that a worker that slept can't
    /// deliver what was taken back meanwhile.
    async fn deliver(
        &self,
        rotation: &Rotation,
        credential: &Credential,
        version: u32,
    ) -> Result<(), Failure>;
}

/// What a login showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Works, fails, or can't tell.
    pub login: Login,
    /// Of one that works: whether the target proved by it that it keeps this value alone for the
    /// account, so that every other one, a random one too, is refused there.
    pub sole: bool,
    /// The target's words; never a value.
    pub note: String,
}

/// What to do at the target.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Make it accept `new` at `account`.
    Apply {
        /// The account.
        account: String,
        /// The new value.
        new: Ticket,
        /// The value that stays valid beside it (overlap).
        old: Option<Ticket>,
        /// The account whose rights it must have (alternating).
        like: Option<String>,
    },
    /// Make it refuse every value of `account` but `keep`.
    Retire {
        /// The account.
        account: String,
        /// The value that stays valid.
        keep: Option<Ticket>,
    },
}

/// How an effect ended, with the target's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// How.
    pub effect: crate::machine::Effect,
    /// The target's words, and what to do; never a value.
    pub note: String,
    /// With [`Throttled`](crate::machine::Effect::Throttled): when to try again.
    pub after: Option<Duration>,
}

/// Why a port could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Somebody else drives the rotation now: stop at once, touch nothing.
    #[error("another worker has taken over this rotation")]
    Lost,
    /// It may work later.
    #[error("{0}")]
    NotNow(String),
    /// It won't work until a person mends something.
    #[error("{0}")]
    Refused(String),
}
