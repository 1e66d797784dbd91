//! The bus: how an envelope reaches an agent and its reply comes back.
//!
//! A [`Transport`] carries; an [`Address`] is what callers hold. Neither knows where the agent
//! lives: in this process ([`Supervisor::spawn`](crate::Supervisor::spawn)), behind a socket or on
//! another machine. So agents are wired once and moved without touching them.
//!
//! To add a transport: implement [`Transport`] for a type that delivers the envelope and waits for
//! its one reply, and wrap it with [`Address::over`].

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use pentad_model::{Clock, Context, Id, id::Entropy};

use crate::{Agent, CallError, Envelope, Priority};

/// Carries envelopes to one agent.
#[async_trait]
pub trait Transport<A: Agent>: Send + Sync + 'static {
    /// Delivers the envelope and waits for its reply, which comes once. Whoever drops the returned
    /// future only stops waiting: what was accepted is carried out.
    async fn send(&self, envelope: Envelope<A::Request>) -> Result<A::Reply, CallError>;
}

/// Whether this sender may ask this of the agent: the typed table of who asks what. Called for each
/// envelope before it is accepted, on the caller's thread: pure and quick.
pub type Permit<R> = dyn Fn(&str, &R) -> bool + Send + Sync;

/// The name under which an [`Address`] speaks until [`Address::from`] gives it one. No permission
/// table should know it.
pub const UNNAMED: &str = "unnamed";

/// A handle to an agent, in the name of one sender. Cheap to clone.
///
/// Holding an address is the right to speak as that sender: whoever wires the agents together
/// derives one for each of them and hands out no other.
pub struct Address<A: Agent> {
    transport: Arc<dyn Transport<A>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    from: Arc<str>,
}

impl<A: Agent> Address<A> {
    /// An address over a transport, with the sources of envelope ids.
    pub fn over(
        transport: Arc<dyn Transport<A>>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            transport,
            clock,
            entropy,
            from: UNNAMED.into(),
        }
    }

    /// The same agent, addressed in the name of `sender`: an agent's name, or `interface`.
    pub fn from(&self, sender: &str) -> Self {
        Self {
            from: sender.into(),
            ..self.clone()
        }
    }

    /// Asks, and waits for the answer. The request is accepted or refused at once; once accepted it
    /// is carried out even if the caller stops waiting.
    pub async fn call(
        &self,
        context: &Context,
        priority: Priority,
        body: A::Request,
    ) -> Result<A::Reply, CallError> {
        let envelope = Envelope {
            id: Id::generate(self.clock.now(), &*self.entropy),
            context: context.clone(),
            from: self.from.as_ref().to_owned(),
            priority,
            attempt: 1,
            incarnation: 0,
            span: tracing::Span::current(),
            body,
        };
        self.transport.send(envelope).await
    }
}

impl<A: Agent> Clone for Address<A> {
    fn clone(&self) -> Self {
        Self {
            transport: self.transport.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            from: self.from.clone(),
        }
    }
}

impl<A: Agent> fmt::Debug for Address<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({} from {})", A::NAME, self.from)
    }
}
