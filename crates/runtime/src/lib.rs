//! Mailboxes, workers, supervision: what runs the agents, whichever they are.
//!
//! ```text
//!   Address::call ──envelope──▶ Transport ──▶ Mailbox (4 bounded lanes) ──▶ worker ──▶ Agent::handle
//!        ▲                                                                     │
//!        └────────────────────────────── reply, once ──────────────────────────┘
//!                        Supervisor: heartbeats, restarts, hand-over, quarantine
//! ```
//!
//! What always holds:
//!
//! * Lanes are bounded: a full one answers [`CallError::QueueFull`] at once; accepted work is never
//!   dropped.
//! * Critical work has workers reserved for it; the lower lanes age, so none starves.
//! * Each agent runs on threads of its own. A panic or a hang in one is contained: the agent is
//!   rebuilt by its factory, what it had not answered is handed to the successor, and a result of
//!   the old incarnation that comes late is refused.
//! * An envelope that crashed its agent [`QUARANTINE_AFTER`] times is set aside and reported.

use std::{future::Future, time::Duration};

use pentad_model::{Context, Id};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Crashes of its agent after which an envelope is set aside.
pub const QUARANTINE_AFTER: u32 = 3;

/// What travels between agents: owned, cloneable for hand-over, and serialisable, so that a
/// transport between processes or machines needs no change of the agents.
pub trait Message: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {}
impl<T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Message for T {}

/// An agent: a state and a handler. It is rebuilt from its factory after a crash, so its state
/// holds nothing that the store doesn't.
pub trait Agent: Send + Sync + Sized + 'static {
    /// Its name in logs, metrics and health.
    const NAME: &'static str;
    /// What may be asked of it.
    type Request: Message;
    /// What it answers.
    type Reply: Message;

    /// Answers one request. Idempotent by `envelope.id`: after a crash the same envelope is handed
    /// to the successor.
    fn handle(&self, envelope: Envelope<Self::Request>)
    -> impl Future<Output = Self::Reply> + Send;

    /// How long this request may take before the agent counts as hung.
    fn budget(request: &Self::Request) -> Duration;

    /// Whether this request computes for long (KDF, RSA key generation) and is to run on the
    /// threads for that, instead of the agent's I/O threads.
    fn is_heavy(_request: &Self::Request) -> bool {
        false
    }
}

/// A request under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope<R> {
    /// Identifies the request over all its attempts.
    pub id: Id,
    /// Who asked, for which tenant, under which correlation id.
    pub context: Context,
    /// The name of the sender: an agent's, or `interface`.
    pub from: String,
    /// Its lane.
    pub priority: Priority,
    /// 1 at first, one more after each crash.
    pub attempt: u32,
    /// The incarnation of the agent that handles it.
    pub incarnation: u64,
    /// What is asked.
    pub body: R,
}

/// The lanes of a mailbox.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Emergencies and steps of a rotation whose effect is in flight. Workers are reserved for it.
    Critical,
    /// A person waits.
    High,
    /// Programs.
    #[default]
    Normal,
    /// Whole-estate work.
    Background,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum CallError {
    /// The lane is full. Nothing was accepted; try again after this long.
    #[error("the {agent} agent's queue is full; try again in {retry_after:?}")]
    QueueFull {
        /// Whose queue.
        agent: String,
        /// When there is likely to be room.
        retry_after: Duration,
    },
    /// The envelope crashed the agent too often and was set aside.
    #[error(
        "the request crashed the {agent} agent {attempts} times and was set aside as {envelope}"
    )]
    Quarantined {
        /// Whose crash.
        agent: String,
        /// The envelope.
        envelope: Id,
        /// How often.
        attempts: u32,
    },
    /// The sender may not ask this of this agent.
    #[error("{from} may not ask this of the {agent} agent")]
    NotPermitted {
        /// The sender.
        from: String,
        /// The agent.
        agent: String,
    },
    /// The system is shutting down; the request was not accepted.
    #[error("the {agent} agent is stopping")]
    Stopping {
        /// Which agent.
        agent: String,
    },
}
