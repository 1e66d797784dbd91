//! One agent under supervision: makes its incarnations, watches over the present one, buries the
//! dead.
//!
//! Everything of the agent's that may hang or panic (its factory, its drop) runs on a thread that
//! nobody waits for; a round of the supervisor never blocks.

use std::{
    fmt::Display,
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::oneshot,
};

use crate::{
    Agent, Incarnation,
    desk::{Desk, Door, Phase, Quarantined},
    health::{AgentHealth, Crash},
    moment::Moment,
    panics,
    pool::{Advice, Crew, Staffing, work},
};

/// A handler that holds its thread this long blocks it.
const BLOCKING: Duration = Duration::from_millis(150);

/// An agent of any type, as the supervisor sees it.
pub(crate) trait Ward: Send + Sync {
    fn name(&self) -> &'static str;
    /// Looks after the agent. Returns in how long it wants to be looked after again, if that is
    /// known.
    fn round(&self, now: Moment, pressed: bool) -> Option<Duration>;
    fn forgive(&self, pause: Duration);
    fn health(&self) -> AgentHealth;
    fn take_set_aside(&self) -> Vec<Quarantined>;
    fn close(&self, door: Door);
    fn emptied(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// Ends it. Returns how many envelopes were left unanswered, and what tells that its threads
    /// are gone.
    fn end(&self) -> (usize, Option<oneshot::Receiver<()>>);
    #[cfg(any(test, feature = "chaos"))]
    fn inject(&self, fault: crate::chaos::Fault);
}

type Factory<A> = dyn Fn(Incarnation) -> Result<A, String> + Send + Sync;

pub(crate) struct Post<A: Agent> {
    desk: Arc<Desk<A>>,
    factory: Box<Factory<A>>,
    life: Mutex<Option<Life<A>>>,
    staffing: Mutex<Staffing>,
    seats: AtomicU64,
    /// For the threads that make an incarnation.
    this: Weak<Self>,
}

/// An incarnation that serves.
struct Life<A> {
    number: u64,
    agent: Arc<A>,
    runtime: Threads,
    heartbeat: Heartbeat,
}

#[derive(Default)]
struct Heartbeat {
    sent: Option<Moment>,
    beaten: Arc<AtomicBool>,
}

impl<A: Agent> Post<A> {
    pub(crate) fn new<E: Display>(
        desk: Arc<Desk<A>>,
        factory: impl Fn(Incarnation) -> Result<A, E> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            desk,
            factory: Box::new(move |incarnation| factory(incarnation).map_err(|e| e.to_string())),
            life: Mutex::new(None),
            staffing: Mutex::default(),
            seats: AtomicU64::new(0),
            this: this.clone(),
        })
    }

    /// Has the incarnation made on a thread of its own.
    fn make(&self, number: u64) {
        let Some(this) = self.this.upgrade() else {
            return;
        };
        let made = thread::Builder::new()
            .name(format!("{}-start", A::NAME))
            .spawn(move || {
                panics::adopt_thread(A::NAME);
                // Contains the factory, and a tokio that can't start its threads.
                let born = catch_unwind(AssertUnwindSafe(|| this.give_birth(number)));
                let why = match born {
                    Ok(Ok(())) => return,
                    Ok(Err(why)) => why,
                    Err(payload) => {
                        std::mem::forget(payload); // its drop may panic, too
                        "the factory panicked".to_owned()
                    }
                };
                tracing::error!(
                    agent = A::NAME,
                    incarnation = number,
                    why,
                    "the agent did not start"
                );
                this.desk.crash(number, &[], Crash::NotStarted);
            });
        if made.is_err() {
            self.desk.crash(number, &[], Crash::NotStarted);
        }
    }

    fn give_birth(&self, number: u64) -> Result<(), String> {
        let options = &self.desk.options;
        let runtime = Threads::start::<A>(options.io_threads)
            .map_err(|error| format!("its runtime has no threads: {error}"))?;
        let handle = runtime.handle();
        let agent = {
            let _inside = handle.enter();
            Arc::new((self.factory)(Incarnation(number))?)
        };
        let general = options
            .workers
            .start()
            .saturating_sub(options.critical_workers);
        let life = Life {
            number,
            agent,
            runtime,
            heartbeat: Heartbeat::default(),
        };
        let crews = [
            (Crew::ComputeCritical, 1),
            (Crew::Compute, options.compute_threads),
        ];
        for (crew, count) in crews.into_iter().filter(|_| A::COMPUTES) {
            for _ in 0..count {
                self.compute(&life, crew)
                    .map_err(|error| format!("no thread: {error}"))?;
            }
        }

        let mut present = self.life.lock();
        // From here on it may crash, and be buried as soon as the lock is free.
        if !self
            .desk
            .born(number, *options.workers.start(), &life.agent)
        {
            drop(present);
            return Ok(()); // it took too long and has a successor; `life` ends here
        }
        self.hire(&life, Crew::Critical, options.critical_workers);
        self.hire(&life, Crew::General, general);
        let before = present.replace(life);
        drop(present);
        drop(before);
        tracing::info!(agent = A::NAME, incarnation = number, "the agent serves");
        Ok(())
    }

    fn hire(&self, life: &Life<A>, crew: Crew, count: usize) {
        for _ in 0..count {
            let seat = self.seats.fetch_add(1, Ordering::Relaxed);
            let worker = work(
                self.desk.clone(),
                life.agent.clone(),
                life.number,
                crew,
                seat,
            );
            life.runtime.handle().spawn(worker);
        }
    }

    fn compute(&self, life: &Life<A>, crew: Crew) -> io::Result<()> {
        let seat = self.seats.fetch_add(1, Ordering::Relaxed);
        let worker = work(
            self.desk.clone(),
            life.agent.clone(),
            life.number,
            crew,
            seat,
        );
        let handle = life.runtime.handle().clone();
        thread::Builder::new()
            .name(format!("{}-compute", A::NAME))
            .spawn(move || {
                panics::adopt_thread(A::NAME);
                handle.block_on(worker);
            })?;
        Ok(())
    }

    /// Ends a dead incarnation on a thread that nobody joins: its own threads may hang for ever.
    fn bury(&self, life: Life<A>) -> Option<oneshot::Receiver<()>> {
        let (done, gone) = oneshot::channel();
        let buried = thread::Builder::new()
            .name(format!("{}-end", A::NAME))
            .spawn(move || {
                panics::adopt_thread(A::NAME);
                let Life { agent, runtime, .. } = life;
                runtime.end();
                drop(agent);
                let _ = done.send(());
            });
        buried.is_ok().then_some(gone)
    }

    /// Whether the present incarnation's threads still run what is given to them.
    fn feel_pulse(&self, life: &mut Life<A>, now: Moment) {
        let Heartbeat { sent, beaten } = &mut life.heartbeat;
        match *sent {
            Some(at) if !beaten.load(Ordering::Acquire) => {
                if now.since(at) > self.desk.options.heartbeat {
                    self.desk.stalled(life.number, now, BLOCKING);
                }
            }
            _ => {
                *sent = Some(now);
                *beaten = Arc::default();
                let beaten = beaten.clone();
                life.runtime
                    .handle()
                    .spawn(async move { beaten.store(true, Ordering::Release) });
            }
        }
    }

    fn staff(&self, life: &Life<A>, now: Moment, pressed: bool) {
        let advice =
            self.staffing
                .lock()
                .advise(now, self.desk.load(now), &self.desk.options, pressed);
        match advice {
            Advice::Keep => {}
            Advice::Shrink(fewer) => self.desk.dismiss(fewer),
            Advice::Grow(more) => {
                if self.desk.enlist(life.number, more) {
                    self.hire(life, Crew::General, more);
                }
            }
        }
    }
}

impl<A: Agent> Ward for Post<A> {
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn round(&self, now: Moment, pressed: bool) -> Option<Duration> {
        self.desk.inspect(now, BLOCKING);
        let mut present = self.life.lock();
        let (number, phase) = self.desk.phase();
        if let Some(dead) = present.take_if(|life| life.number != number) {
            let health = self.desk.health();
            tracing::error!(
                agent = A::NAME,
                incarnation = dead.number,
                crash = ?health.last_crash,
                to_hand_over = health.queued.iter().sum::<usize>(),
                "the agent crashed and is restarted"
            );
            self.bury(dead);
        }
        if let (Phase::Running(_), Some(life)) = (phase, present.as_mut()) {
            self.feel_pulse(life, now);
            self.staff(life, now, pressed);
        }
        drop(present);
        self.desk.spare(pressed);
        if let Phase::Starting(since) = phase
            && now.since(since) > self.desk.options.start_budget
        {
            self.desk.crash(number, &[], Crash::NotStarted);
        }
        if let Some(number) = self.desk.begin(now) {
            self.make(number);
        }
        match self.desk.phase().1 {
            Phase::Due(at) => Some(at.since(now)),
            _ => None,
        }
    }

    fn forgive(&self, pause: Duration) {
        self.desk.forgive(pause);
        if let Some(life) = &mut *self.life.lock() {
            life.heartbeat.sent = life.heartbeat.sent.map(|at| at.plus(pause));
        }
    }

    fn health(&self) -> AgentHealth {
        self.desk.health()
    }

    fn take_set_aside(&self) -> Vec<Quarantined> {
        self.desk.take_set_aside()
    }

    fn close(&self, door: Door) {
        self.desk.close(door);
    }

    fn emptied(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.desk.emptied())
    }

    fn end(&self) -> (usize, Option<oneshot::Receiver<()>>) {
        // Locked over both, as in a round: between them it would look like a crash.
        let mut present = self.life.lock();
        let left = self.desk.end();
        let life = present.take();
        drop(present);
        (left, life.and_then(|life| self.bury(life)))
    }

    #[cfg(any(test, feature = "chaos"))]
    fn inject(&self, fault: crate::chaos::Fault) {
        self.desk.faults.inject(fault);
    }
}

/// A runtime that is ended in the background, wherever it is dropped: tokio's own drop waits for
/// threads, and panics where one may not wait.
struct Threads(Option<Runtime>, Handle);

impl Threads {
    fn start<A: Agent>(count: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name(format!("{}-io", A::NAME))
            .on_thread_start(|| panics::adopt_thread(A::NAME))
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self(Some(runtime), handle))
    }

    fn handle(&self) -> &Handle {
        &self.1
    }

    /// Ends it and waits a moment for its threads, so that what they hold is dropped in order.
    fn end(mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
