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
//! * Each agent runs on threads of its own; brief requests may run on the asker's, as long as one
//!   of those threads is left over. A panic or a hang in one is contained: the agent is
//!   rebuilt by its factory, what it had not answered is handed to the successor, and a result of
//!   the old incarnation that comes late is refused.
//! * An envelope that crashed its agent [`QUARANTINE_AFTER`] times is set aside and reported.
//!
//! | file | holds |
//! |---|---|
//! | [`transport`] | the bus: what carries envelopes, and the address that callers hold |
//! | `mailbox` | four bounded lanes and the rule of the next turn; a plain data structure |
//! | `desk` | the accepted work of one agent, over all its incarnations; blame for crashes |
//! | `pool` | workers and how many of them |
//! | `lend` | brief requests, carried out on the asker's thread |
//! | `ward` | one agent under supervision: birth, watch, burial |
//! | [`gate`] | how many requests are carried out at a time, before any mailbox |
//! | [`supervisor`] | the round over all agents, and the stop |
//! | [`pressure`] | whether the machine is short of something |
//! | [`health`] | what an agent tells of itself |
//! | [`options`] | what can be set |
//! | `panics` | the hook that shows places and no messages |
//! | `chaos` | faults on order; for tests and with the feature of that name only |

use std::{future::Future, time::Duration};

use pentad_model::{Context, Id};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

mod alarm;
#[cfg(any(test, feature = "chaos"))]
pub mod chaos;
mod desk;
pub mod gate;
pub mod health;
mod lend;
mod mailbox;
pub mod moment;
pub mod options;
mod panics;
mod pool;
pub mod pressure;
pub mod supervisor;
#[cfg(test)]
mod tests;
pub mod transport;
mod ward;

pub use desk::Quarantined;
pub use health::{AgentHealth, AgentState, Crash};
pub use options::Options;
pub use supervisor::{Incarnation, Stopped, Supervisor, Surroundings};
pub use transport::{Address, Transport};

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

    /// The envelope is answered and won't be handed over any more: what the agent kept for another
    /// attempt at it can go. Not called for an attempt whose result was refused.
    fn settled(&self, _envelope: Id) {}

    /// What this request asks for, as spans name it: a word of the agent's own, never a part of
    /// what was sent.
    fn ask(_request: &Self::Request) -> &'static str {
        "request"
    }

    /// Whether requests like this one are served in the order in which they began, so that one
    /// that many later ones passed will never end: it hangs, and the agent with it. Say no where
    /// each waits for something of its own. A slow disk or a busy machine holds up all alike, so
    /// nobody is blamed for those.
    fn is_in_turn(_request: &Self::Request) -> bool {
        false
    }

    /// How long this request may take before the agent counts as hung, whatever others do.
    fn budget(request: &Self::Request) -> Duration;

    /// Whether this request takes microseconds of a processor and waits for nothing but this process's
    /// own queues and disk: it may then be carried out on the asker's own thread, which saves two
    /// changes of thread. Not for what calls outside or starts tasks.
    fn is_brief(_request: &Self::Request) -> bool {
        false
    }

    /// Whether it has requests that compute for long: only then are threads kept for these.
    const COMPUTES: bool = false;

    /// Whether this request computes for long (KDF, RSA key generation) and is to run on the
    /// threads for that, instead of the agent's I/O threads. Of no effect unless it
    /// [`COMPUTES`](Self::COMPUTES).
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
    /// The span in which it was asked: that of its handling becomes a child, so that one trace
    /// shows a request through all the agents. A handle, which does not leave the process.
    #[serde(skip, default = "tracing::Span::none")]
    pub span: tracing::Span,
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

impl Priority {
    /// Every lane, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Background];

    /// Its place in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        self as usize
    }
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
    /// The request was accepted, but the agent was stopped before it answered. Whether it took
    /// effect is not known: look, or ask again with the same idempotency key.
    #[error("the {agent} agent was stopped before it answered {envelope}; check what it did")]
    Unanswered {
        /// Which agent.
        agent: String,
        /// The envelope.
        envelope: Id,
    },
}
