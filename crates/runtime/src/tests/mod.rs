//! The runtime as its callers see it: real agents, threads, panics and hangs.
//!
//! Times are the system's here, since what is tested is threads that block; but nothing is asserted
//! about time that a slow machine could break, but the promise that a restart takes under 2 s.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod bus;
mod crash;
mod figures;
mod hang;
mod lend;
mod pool;
mod start;
mod stop;

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use pentad_model::{Context, Id, Principal, Tenant};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::{
    Address, Agent, Envelope, Incarnation, Options, Priority, Quarantined, Supervisor,
    Surroundings, pressure::Calm,
};

/// What the agents of the tests do on demand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    Echo(u64),
    /// Wait for a permit of the world's gate.
    Gate,
    Sleep(Duration),
    Compute(Duration),
    Panic,
    /// Panic on the first so many attempts.
    PanicFirst(u32),
    /// Take effect, then panic on the first so many attempts.
    PanicAfterEffect(u32),
    Hang,
    /// Block the thread on the first attempt until the world's gate opens.
    BlockFirst,
    /// Block the thread always.
    Block,
    /// Block the thread on the first attempt, well within the budget.
    Loiter,
    /// Ask the other agent.
    Forward,
    /// Be served in turn: wait for a permit of the world's gate.
    Turn,
    /// Be served in turn, and wait on the first attempt for what never comes.
    TurnStuck,
    /// The same, where the agent calls it brief.
    Brief(Box<Ask>),
}

/// What outlives the incarnations, as a store would.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) effects: Mutex<HashMap<Id, u32>>,
    pub(crate) order: Mutex<Vec<u64>>,
    pub(crate) seen: Mutex<Vec<(Id, u32, u64)>>,
    pub(crate) other: Mutex<Option<Address<Other>>>,
    pub(crate) set_aside: Mutex<Vec<Quarantined>>,
    pub(crate) threads: Mutex<Vec<String>>,
    /// The envelopes that nobody will be asked for again.
    pub(crate) settled: Mutex<Vec<Id>>,
    gate: Gate,
}

struct Gate(Semaphore);
impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl World {
    pub(crate) fn open(&self, permits: usize) {
        self.gate.0.add_permits(permits);
    }
}

pub(crate) struct Subject(Arc<World>);
pub(crate) struct Other;

impl Agent for Subject {
    const NAME: &'static str = "subject";
    const COMPUTES: bool = true;
    type Request = Ask;
    type Reply = (u64, u32);

    async fn handle(&self, envelope: Envelope<Ask>) -> (u64, u32) {
        let world = &self.0;
        world
            .seen
            .lock()
            .push((envelope.id, envelope.attempt, envelope.incarnation));
        world
            .threads
            .lock()
            .extend(thread::current().name().map(str::to_owned));
        let mut value = 0;
        let body = match envelope.body {
            Ask::Brief(body) => *body,
            body => body,
        };
        match body {
            Ask::Echo(n) => {
                world.order.lock().push(n);
                value = n;
            }
            Ask::Gate | Ask::Turn => world.gate.0.acquire().await.unwrap().forget(),
            Ask::Sleep(time) => tokio::time::sleep(time).await,
            Ask::Compute(time) => thread::sleep(time),
            Ask::Panic => panic!("a message that may hold a secret"),
            Ask::PanicFirst(n) if envelope.attempt <= n => panic!("again"),
            Ask::TurnStuck if envelope.attempt == 1 => std::future::pending().await,
            Ask::Hang => std::future::pending().await,
            Ask::BlockFirst if envelope.attempt == 1 => {
                while world.gate.0.try_acquire().is_err() {
                    thread::sleep(Duration::from_millis(2));
                }
                value = 666;
            }
            Ask::Block => thread::sleep(Duration::from_secs(20)),
            Ask::Loiter if envelope.attempt == 1 => thread::sleep(Duration::from_secs(5)),
            Ask::Forward => {
                let other = world.other.lock().clone().unwrap();
                value = other.call(&context(), Priority::High, 7).await.unwrap();
            }
            Ask::PanicAfterEffect(n) => {
                world
                    .effects
                    .lock()
                    .entry(envelope.id)
                    .or_insert(envelope.attempt);
                assert!(envelope.attempt > n, "after the effect");
            }
            Ask::PanicFirst(_) | Ask::BlockFirst | Ask::Loiter | Ask::TurnStuck | Ask::Brief(_) => {
            }
        }
        world
            .effects
            .lock()
            .entry(envelope.id)
            .or_insert(envelope.attempt);
        (value, envelope.attempt)
    }

    fn settled(&self, envelope: Id) {
        self.0.settled.lock().push(envelope);
    }

    fn budget(request: &Ask) -> Duration {
        match request {
            Ask::Brief(request) => Self::budget(request),
            Ask::Hang | Ask::Block | Ask::BlockFirst => Duration::from_millis(200),
            _ => Duration::from_secs(20),
        }
    }

    fn is_in_turn(request: &Ask) -> bool {
        matches!(request, Ask::Turn | Ask::TurnStuck)
    }

    fn is_brief(request: &Ask) -> bool {
        matches!(request, Ask::Brief(_))
    }

    fn is_heavy(request: &Ask) -> bool {
        matches!(request, Ask::Compute(_))
    }
}

impl Agent for Other {
    const NAME: &'static str = "other";
    type Request = u64;
    type Reply = u64;

    async fn handle(&self, envelope: Envelope<u64>) -> u64 {
        envelope.body
    }

    fn budget(_: &u64) -> Duration {
        Duration::from_secs(20)
    }
}

pub(crate) fn context() -> Context {
    Context {
        correlation: Id::from_u128(7),
        tenant: "acme".parse::<Tenant>().unwrap(),
        principal: Principal::Anonymous,
        origin: "local".to_owned(),
    }
}

/// Options for tests: a crash loop does not slow them down.
pub(crate) fn options() -> Options {
    Options {
        backoff: Duration::from_millis(1),
        backoff_cap: Duration::from_millis(5),
        ..Options::default()
    }
}

pub(crate) struct Bench {
    pub(crate) world: Arc<World>,
    pub(crate) supervisor: Supervisor,
    pub(crate) subject: Address<Subject>,
    pub(crate) other: Address<Other>,
}

pub(crate) fn bench(options: Options) -> Bench {
    let world = Arc::new(World::default());
    let told = world.clone();
    let supervisor = Supervisor::start(Surroundings {
        pressure: Arc::new(Calm),
        on_quarantine: Arc::new(move |quarantined| told.set_aside.lock().push(quarantined)),
        ..Surroundings::system()
    })
    .unwrap();
    let made = world.clone();
    let other = supervisor.spawn(
        |_: Incarnation| Ok::<_, Infallible>(Other),
        Options::default(),
        |from, _| from != "stranger",
    );
    let subject = supervisor.spawn(
        move |_: Incarnation| Ok::<_, Infallible>(Subject(made.clone())),
        options,
        |_, _| true,
    );
    *world.other.lock() = Some(other.from(Subject::NAME));
    Bench {
        world,
        supervisor,
        subject: subject.from("interface"),
        other: other.from("interface"),
    }
}

impl Bench {
    pub(crate) async fn ask(&self, ask: Ask) -> Result<(u64, u32), crate::CallError> {
        self.subject.call(&context(), Priority::Normal, ask).await
    }

    /// Calls without waiting for the answer.
    pub(crate) fn send(
        &self,
        priority: Priority,
        ask: Ask,
    ) -> tokio::task::JoinHandle<Result<(u64, u32), crate::CallError>> {
        let subject = self.subject.clone();
        tokio::spawn(async move { subject.call(&context(), priority, ask).await })
    }

    pub(crate) fn health(&self) -> crate::AgentHealth {
        self.supervisor.health().remove(1)
    }
}

/// Waits for what other threads bring about.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "never happened: {what}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
