//! The systems whose credentials are rotated, one file a system.
//!
//! A connector carries out one effect at one target and says truthfully how it ended. It decides
//! nothing: when to apply, probe or retire is the rotation protocol's. It touches no store and no
//! key. What every connector keeps to, and the shared contract suite checks:
//!
//! * [`Outcome::Rejected`] means that the target refused and *nothing changed*. Whatever leaves
//!   that open (time-out, lost connection, server error) is [`Outcome::Unknown`].
//! * Every effect is idempotent: the same call again leaves the same state.
//! * A session's effects are bounded at the target (`lock_timeout`, `statement_timeout`) by
//!   [`EFFECT_BOUND`], shorter than any lease.
//! * [`Session::fence`] returns [`Fence::Gone`] only when no effect of that connection can happen
//!   any more.
//! * The password itself crosses to the target only where its protocol leaves no other way.
//!
//! | module | holds |
//! |---|---|
//! | [`registry`] | every connector; the contract suite and the documentation walk it |
//! | `postgresql`, `mariadb`, `redis`, `envfile` | one system each |
//! | `address`, `tls` | what the networked ones share: where to connect, whom to trust |
//!
//! An address must lead to *one* server. Behind a load balancer over several writers a fence could
//! reach another server than the effect did, and its "gone" would mean nothing.
//!
//! To add a system: write `src/<name>.rs` with a [`Connector`], and add its line to
//! [`registry`]. The contract suite picks it up.

mod address;
mod envfile;
mod mariadb;
mod postgresql;
mod redis;
pub mod registry;
mod tls;

use std::time::Duration;

use async_trait::async_trait;
use pentad_model::{
    Secret, Target,
    rotation::{Login, Strategy},
};

/// The longest that an effect may take at the target, waiting for locks included.
pub const EFFECT_BOUND: Duration = Duration::from_secs(5);

/// A kind of system.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// What it is and can do.
    fn profile(&self) -> &'static Profile;

    /// Checks a target's settings without reaching out: address form, options known, TLS rules.
    fn validate(&self, target: &Target) -> Result<(), ConnectError>;

    /// Opens an administrating session. No effect happens before one is asked for.
    async fn open(
        &self,
        target: &Target,
        admin: Admin<'_>,
    ) -> Result<Box<dyn Session>, ConnectError>;

    /// Logs in as a consumer would, with a connection of its own.
    ///
    /// [`Login::CantTell`] for everything but the target's clear yes or no: unreachable, too many
    /// connections, locked or expired account.
    async fn login(&self, target: &Target, account: &str, password: &Secret) -> Attempt;
}

/// The administrating account, for systems that have one.
#[derive(Clone, Copy, Debug)]
pub struct Admin<'a> {
    /// Its name at the target; empty for systems without one.
    pub account: &'a str,
    /// Its password; `None` for systems without one.
    pub password: Option<&'a Secret>,
}

/// An administrating session at a target, used by one rotation at a time.
#[async_trait]
pub trait Session: Send {
    /// What identifies this connection at the target so that a successor can kill it; `None` where
    /// the target has no such thing. Never reused by the target for another connection (a process
    /// id alone is not enough).
    fn connection(&self) -> Option<&str>;

    /// Whether its connection is still up, as far as is known without asking the target.
    fn is_alive(&self) -> bool {
        true
    }

    /// Makes the target accept `change.new` for the account; with [`Strategy::Overlap`] the old
    /// value stays valid beside it. For [`Strategy::Alternating`] the account is the idle one,
    /// created with the rights of `change.like` if it is missing.
    async fn apply(&mut self, change: &AccountChange<'_>) -> Outcome;

    /// Makes the target refuse every value of the account but `keep`; with `keep` `None`, every
    /// value (the idle account of alternating users).
    async fn retire(&mut self, account: &str, keep: Option<&Secret>) -> Outcome;

    /// Kills another connection and waits until it is gone.
    async fn fence(&mut self, connection: &str) -> Fence;

    /// What the account's state says about a refused login: a wrong password, or an account that
    /// is locked, expired or missing, where a test login means nothing.
    async fn account(&mut self, account: &str) -> AccountState;

    /// Whether `value` is the one that the target keeps for the account, by what an administrator may
    /// see of it: a login's half that no log counts and no limit knows of. A login shows more (that
    /// the account is let in from here), so this replaces none that decides what works.
    async fn keeps(&mut self, _account: &str, _value: &Secret) -> Keeps {
        Keeps::CantTell("this system does not show what it keeps".into())
    }

    /// What stands in the way of every account there. Nothing, for most systems: rights are seen at
    /// an account.
    async fn check_itself(&mut self) -> Vec<Complaint> {
        Vec::new()
    }

    /// Whether the administrating account may do what a rotation of `account` with `strategy`
    /// needs; one finding a missing right, with the statement that grants it.
    async fn check(&mut self, account: &str, strategy: Strategy) -> Vec<Complaint>;
}

/// A new value for an account.
#[derive(Debug)]
pub struct AccountChange<'a> {
    /// The account that gets it.
    pub account: &'a str,
    /// The new value.
    pub new: &'a Secret,
    /// The value that stays valid beside it, with [`Strategy::Overlap`].
    pub old: Option<&'a Secret>,
    /// With [`Strategy::Alternating`]: the account whose rights the idle one must have.
    pub like: Option<&'a str>,
    /// How.
    pub strategy: Strategy,
}

/// How an effect ended. There is no fifth way, and `Unknown` is never guessed away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The target confirmed.
    Done,
    /// The target refused; nothing changed.
    Rejected(Rejection),
    /// Not now: nothing changed, try again after this long.
    Throttled(Duration),
    /// Nobody knows whether it happened; the text says why.
    Unknown(String),
}

/// Why a target refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    /// What to do about it.
    pub cause: Cause,
    /// The target's words, with what to do; never a value.
    pub message: String,
}

/// What a refusal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// The target's password rules refused the value: make another one.
    Value,
    /// Rights, a missing account, a syntax the target does not know: a person must act.
    Stop,
}

/// How fencing ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fence {
    /// The connection is gone; nothing it sent can take effect any more.
    Gone,
    /// Whether it is gone can't be told yet.
    CantTell(String),
}

/// A test login's result with the target's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// What it showed.
    pub login: Login,
    /// Of a login that works: whether the target proved by it that this is the one value that it
    /// keeps for the account, so that every other one is refused there. Where it is only let in,
    /// that says nothing of other values.
    pub sole: bool,
    /// The target's words for people; never a value.
    pub note: String,
}

/// What a target keeps for an account, compared with a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Keeps {
    /// This value and no other, and the account may log in.
    This,
    /// Another one, or none.
    Another,
    /// It does not tell; the text says why.
    CantTell(String),
}

/// An account's state, as the administrating session sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccountState {
    /// Exists, may log in.
    Open,
    /// Exists, but a login is refused whatever the password (locked, expired, NOLOGIN).
    Barred(String),
    /// Does not exist.
    Missing,
    /// Can't be told.
    CantTell(String),
}

/// A missing right or a setting in the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complaint {
    /// What is wrong.
    pub problem: String,
    /// The statement or setting that mends it.
    pub remedy: String,
}

/// What a connector is and can do.
#[derive(Debug)]
pub struct Profile {
    /// Its name in a target's `system`.
    pub name: &'static str,
    /// One sentence for people.
    pub description: &'static str,
    /// What a target's `address` looks like.
    pub address: &'static str,
    /// The strategies it can carry out, the best first.
    pub strategies: &'static [Strategy],
    /// Options that it knows, with their meaning.
    pub options: &'static [(&'static str, &'static str)],
    /// Whether it needs an administrating account.
    pub needs_admin: bool,
    /// Whether a connection can be killed from another one, so that no late effect is possible.
    /// Where it can't, a doubtful credential is probed again after [`EFFECT_BOUND`].
    pub fences: bool,
    /// Whether a login there may be a proof ([`Attempt::sole`]), so that it is worth trying before
    /// the ones that should be refused.
    pub proves: bool,
}

/// Why no session could be opened. Nothing happened at the target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The target can't be reached now.
    #[error("{target} can't be reached: {reason}")]
    Unreachable {
        /// Its address.
        target: String,
        /// The system's words.
        reason: String,
    },
    /// The administrating account was refused.
    #[error("{target} refuses the administrating account `{account}`: {reason}")]
    Refused {
        /// Its address.
        target: String,
        /// The account.
        account: String,
        /// The target's words.
        reason: String,
    },
    /// The target's settings can't work.
    #[error("the target's settings are wrong: {0}")]
    Settings(String),
}
