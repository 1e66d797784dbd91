//! What may be asked of the integration agent.

use std::time::Duration;

use pentad_model::{
    Id, Target, Timestamp,
    rotation::{Login, Strategy},
};
use serde::{Deserialize, Serialize};

use crate::handoff::Ticket;

super::contract! {
    /// What may be asked of the integration agent.
    agent "integration" handled by Integrates;

    /// Opens an administrating session at a target; nothing happens there yet.
    session(Session: OpenSession) -> Opened;
    /// Gives a session back unused.
    release(Release: Release) -> ();
    /// Whether a value is what the target keeps for an account, as a session may see it.
    compare(Compare: Compare) -> bool;
    /// Carries out an effect on a session, which is used up by it.
    effect(Effect: RunEffect) -> Ended;
    /// Kills the connection of an earlier effect and waits until it is gone.
    fence(Fence: Fence) -> Fenced;
    /// Logs in as a consumer would.
    login(Login: TestLogin) -> Tried;
    /// Checks rights, settings and, with a decoy, that the target refuses a random value.
    check(Check: Check) -> Checked;
    /// Writes a value to a consumer's file, atomically.
    deliver(Deliver: Deliver) -> ();
}

/// See [`Integrates::session`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenSession {
    /// Where.
    pub target: Target,
    /// The administrating account's password.
    pub admin: Option<Ticket>,
}

/// An open session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Opened {
    /// Its number.
    pub session: Id,
    /// What identifies its connection at the target.
    pub connection: Option<String>,
}

/// See [`Integrates::release`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Release {
    /// The session.
    pub session: Id,
}

/// See [`Integrates::compare`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Compare {
    /// The session.
    pub session: Id,
    /// The account.
    pub account: String,
    /// The value.
    pub value: Ticket,
}

/// See [`Integrates::effect`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunEffect {
    /// The session.
    pub session: Id,
    /// What to do.
    pub effect: Effect,
    /// How.
    pub strategy: Strategy,
    /// Not to be begun after that: the intent's bound has passed.
    pub deadline: Timestamp,
}

/// What to do at a target.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Effect {
    /// Make it accept `new` at `account`.
    Apply {
        /// The account.
        account: String,
        /// The new value.
        new: Ticket,
        /// The value that stays valid beside it.
        old: Option<Ticket>,
        /// The account whose rights it must have.
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

/// How an effect ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Ended {
    /// The target confirmed.
    Done,
    /// The target's rules refuse the value; nothing changed.
    RejectedValue {
        /// Its words.
        note: String,
    },
    /// The target refuses, and a person must act; nothing changed.
    RejectedStop {
        /// Its words.
        note: String,
    },
    /// Not now; nothing changed.
    Throttled {
        /// When to try again.
        after: Duration,
    },
    /// Nobody knows.
    Unknown {
        /// Why.
        note: String,
    },
}

/// See [`Integrates::fence`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fence {
    /// Where.
    pub target: Target,
    /// The administrating account's password.
    pub admin: Option<Ticket>,
    /// The connection to kill.
    pub connection: String,
}

/// How fencing ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Fenced {
    /// It is gone; nothing that it sent can happen any more.
    Gone,
    /// That can't be told yet.
    CantTell {
        /// Why.
        note: String,
    },
}

/// See [`Integrates::login`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TestLogin {
    /// Where.
    pub target: Target,
    /// The account.
    pub account: String,
    /// The value.
    pub value: Ticket,
}

/// What a test login showed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tried {
    /// Works, fails, or can't tell.
    pub login: Login,
    /// Whether the target proved that this is the one value that it keeps for the account.
    pub sole: bool,
    /// The target's words.
    pub note: String,
}

/// See [`Integrates::check`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// Where.
    pub target: Target,
    /// The administrating account's password.
    pub admin: Option<Ticket>,
    /// Accounts to be rotated there, with the strategy.
    pub accounts: Vec<(String, Strategy)>,
    /// A random value, which must be refused.
    pub decoy: Option<Ticket>,
}

/// What a check found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Checked {
    /// What is wrong and what mends it; empty if all is well.
    pub complaints: Vec<Complaint>,
    /// What was seen.
    pub notes: Vec<String>,
}

/// Something in the way of a rotation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Complaint {
    /// What is wrong.
    pub problem: String,
    /// What mends it.
    pub remedy: String,
}

/// See [`Integrates::deliver`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deliver {
    /// The file.
    pub file: String,
    /// The value.
    pub value: Ticket,
}
