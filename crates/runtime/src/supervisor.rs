//! Owns the agents: starts them, watches over them, restarts them, stops them.
//!
//! One thread of its own, which runs nothing of the agents', makes a round each
//! [`TICK`] (at once after a crash). It declares an incarnation dead when a handler panicked, an
//! envelope ran over its budget, its threads run nothing any more, or its factory failed; then
//!
//! 1. results of that incarnation are refused from this moment on,
//! 2. what it had not answered goes back to the heads of its lanes, in order, with `attempt` + 1,
//! 3. a successor is made by the factory: at once after a first crash, with back-off after more,
//! 4. the dead one's runtime is ended in the background; a thread that blocks for ever is lost to
//!    the process, but to nobody else.
//!
//! Only the envelope that caused a crash counts it (see [`QUARANTINE_AFTER`]); the others that were
//! in flight see their `attempt` grow, and nothing else. What a dead incarnation was doing outside
//! may go on for a moment beside its successor: handlers are idempotent by envelope id and fence
//! their effects.
//!
//! [`QUARANTINE_AFTER`]: crate::QUARANTINE_AFTER

use std::{
    collections::HashSet,
    fmt::Display,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use parking_lot::RwLock;
use pentad_model::{
    Clock, SystemClock,
    id::{Entropy, OsEntropy},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    Address, Agent,
    alarm::Alarm,
    desk::{Desk, Door, Quarantined},
    health::{AgentHealth, AgentState},
    lend::Lending,
    moment::{Monotonic, SystemMonotonic},
    options::Options,
    panics,
    pressure::{Pressure, Stalls},
    ward::{Post, Ward},
};

/// How often the supervisor makes its round.
pub const TICK: Duration = Duration::from_millis(50);

/// The how-many-th incarnation of an agent it is, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Incarnation(pub u64);

/// What the supervisor needs from outside.
#[derive(Clone)]
pub struct Surroundings {
    /// For the time in envelope ids.
    pub clock: Arc<dyn Clock>,
    /// For the randomness in envelope ids.
    pub entropy: Arc<dyn Entropy>,
    /// For ages and budgets.
    pub monotonic: Arc<dyn Monotonic>,
    /// Tells whether the machine is short of processor or memory.
    pub pressure: Arc<dyn Pressure>,
    /// Told of each envelope that is set aside, on a thread where it may take its time.
    pub on_quarantine: Arc<dyn Fn(Quarantined) + Send + Sync>,
}

impl Surroundings {
    /// The operating system's. Quarantined envelopes are logged.
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            monotonic: Arc::new(SystemMonotonic::default()),
            pressure: Arc::new(Stalls::default()),
            on_quarantine: Arc::new(|_| {}),
        }
    }
}

/// See the module.
pub struct Supervisor {
    surroundings: Surroundings,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    wards: RwLock<Vec<Arc<dyn Ward>>>,
    /// The names of the agents: whoever else calls is outside.
    insiders: Arc<RwLock<HashSet<&'static str>>>,
    alarm: Arc<Alarm>,
    lending: Arc<Lending>,
    over: AtomicBool,
}

/// How a stop ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped {
    /// Accepted envelopes that were not answered in time; their callers were told so.
    pub unanswered: usize,
}

impl Supervisor {
    /// Starts supervising. Fails only if the system gives no thread.
    pub fn start(surroundings: Surroundings) -> io::Result<Self> {
        panics::install();
        let shared = Arc::new(Shared::default());
        let watched = shared.clone();
        let eyes = surroundings.clone();
        thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || watched.watch(&eyes))?;
        Ok(Self {
            surroundings,
            shared,
        })
    }

    /// Takes an agent under supervision and returns its address; work is accepted from now on and
    /// waits until the first incarnation serves.
    ///
    /// `factory` makes the agent's state, for each incarnation anew, on a thread where it may block
    /// and inside the agent's own runtime; an error, whose text is logged, or a panic is tried
    /// again with back-off. `permit` is asked for each envelope before it is accepted.
    ///
    /// Spawn an agent after those that it calls: [`stop`](Self::stop) goes backwards.
    pub fn spawn<A: Agent, E: Display>(
        &self,
        factory: impl Fn(Incarnation) -> Result<A, E> + Send + Sync + 'static,
        options: Options,
        permit: impl Fn(&str, &A::Request) -> bool + Send + Sync + 'static,
    ) -> Address<A> {
        let Surroundings {
            clock,
            entropy,
            monotonic,
            ..
        } = self.surroundings.clone();
        let desk = Arc::new(Desk::<A>::new(
            options.sane(),
            Box::new(permit),
            monotonic,
            self.shared.insiders.clone(),
            self.shared.alarm.clone(),
            self.shared.lending.clone(),
        ));
        self.shared.insiders.write().insert(A::NAME);
        self.shared
            .wards
            .write()
            .push(Post::new(desk.clone(), factory));
        self.shared.alarm.ring();
        Address::over(desk, clock, entropy)
    }

    /// The health of each agent, in the order in which they were spawned.
    pub fn health(&self) -> Vec<AgentHealth> {
        self.shared
            .wards
            .read()
            .iter()
            .map(|ward| ward.health())
            .collect()
    }

    /// Waits until every agent serves. `false`: one did not in time; its health says why. Needs a
    /// tokio runtime with time.
    pub async fn ready(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while !self
            .health()
            .iter()
            .all(|agent| agent.state == AgentState::Running)
        {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// Stops in good order: refuses work from outside at once, lets the agents finish what they
    /// accepted (and ask each other for it), the last spawned first, and ends them. What is not
    /// answered `within` this time is answered as unanswered. Needs a tokio runtime with time.
    pub async fn stop(&self, within: Duration) -> Stopped {
        let deadline = Instant::now() + within;
        let wards = self.shared.wards.read().clone();
        for ward in &wards {
            ward.close(Door::Insiders);
        }
        let mut unanswered = 0;
        for ward in wards.iter().rev() {
            // Those who call this one are gone.
            ward.close(Door::Closed);
            let finished = timeout_at(deadline, ward.emptied()).await.is_ok();
            let (left, gone) = ward.end();
            if let Some(gone) = gone {
                let patience = deadline.max(Instant::now() + Duration::from_millis(200));
                let _ = timeout_at(patience, gone).await;
            }
            tracing::info!(agent = ward.name(), finished, left, "the agent has stopped");
            unanswered += left;
        }
        Stopped { unanswered }
    }

    /// Has a fault strike the next envelope of an agent. `false`: there is no such agent.
    #[cfg(any(test, feature = "chaos"))]
    pub fn inject(&self, agent: &str, fault: crate::chaos::Fault) -> bool {
        let wards = self.shared.wards.read();
        let ward = wards.iter().find(|ward| ward.name() == agent);
        ward.inspect(|ward| ward.inject(fault)).is_some()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        self.shared.alarm.ring();
        for ward in self.shared.wards.write().drain(..).rev() {
            ward.end();
        }
    }
}

impl Shared {
    /// The supervisor's thread.
    fn watch(&self, surroundings: &Surroundings) {
        let clock = &surroundings.monotonic;
        let (mut last, mut next) = (clock.now(), TICK);
        while !self.over.load(Ordering::Acquire) {
            self.alarm.wait(next);
            let now = clock.now();
            // If this thread did not run either, the machine (or the process) stood still: nobody
            // is to blame for what was not done meanwhile.
            let pause = now.since(last).saturating_sub(TICK * 4);
            last = now;
            next = TICK;
            let pressed = surroundings.pressure.is_high(now);
            for ward in self.wards.read().clone() {
                if !pause.is_zero() {
                    ward.forgive(pause);
                }
                let due = ward.round(now, pressed);
                next = due.map_or(next, |due| due.min(next));
                report(ward.take_set_aside(), &surroundings.on_quarantine);
            }
        }
    }
}

/// Reports what was set aside on a thread of its own: the callback is not ours and may block.
fn report(set_aside: Vec<Quarantined>, callback: &Arc<dyn Fn(Quarantined) + Send + Sync>) {
    if set_aside.is_empty() {
        return;
    }
    for Quarantined {
        agent,
        envelope,
        context,
        attempts,
        ..
    } in &set_aside
    {
        let correlation = context.correlation;
        tracing::error!(agent, %envelope, %correlation, attempts, "envelope set aside");
    }
    let callback = callback.clone();
    let reported = thread::Builder::new()
        .name("quarantine".to_owned())
        .spawn(move || {
            for quarantined in set_aside {
                let report = AssertUnwindSafe(|| callback(quarantined));
                if let Err(payload) = catch_unwind(report) {
                    std::mem::forget(payload); // its drop may panic, too
                    tracing::error!("the callback for quarantined envelopes panicked");
                }
            }
        });
    if let Err(error) = reported {
        tracing::error!(%error, "no thread to report a quarantined envelope");
    }
}
