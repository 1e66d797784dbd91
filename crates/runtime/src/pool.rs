//! Workers: who takes envelopes from the desk and has the agent handle them.
//!
//! | crew | takes | runs on |
//! |---|---|---|
//! | critical | light, critical lane only | the agent's I/O threads |
//! | general | light, every lane | the agent's I/O threads |
//! | compute | heavy, every lane | a thread of its own each |
//! | compute, critical | heavy, critical lane only | a thread of its own |
//!
//! A worker takes one envelope at a time and pulls it when it is free, so the least loaded one gets
//! the next; between idle ones the one that waits longest goes first (round robin). Heavy requests
//! have lanes of their own: the ones that compute never stand in the way of those that wait for
//! I/O.
//!
//! A panic unwinds the worker, and [`Handling`] reports it on the way: one mechanism for the
//! handler and for whatever it drops.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    thread,
    time::Duration,
};

use tracing::Instrument;

use crate::{
    Agent, Envelope, Priority,
    desk::{Desk, Task},
    health::Crash,
    moment::{Moment, Monotonic},
    options::Options,
    panics,
};

/// What a worker is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Crew {
    Critical,
    General,
    Compute,
    ComputeCritical,
}

impl Crew {
    pub(crate) fn is_compute(self) -> bool {
        matches!(self, Crew::Compute | Crew::ComputeCritical)
    }
}

/// One worker, until the desk sends it home.
pub(crate) async fn work<A: Agent>(
    desk: Arc<Desk<A>>,
    agent: Arc<A>,
    incarnation: u64,
    crew: Crew,
    seat: u64,
) {
    let pulse = Arc::new(Pulse::default());
    loop {
        // A worker that always finds work would never let go of its thread otherwise.
        tokio::task::coop::consume_budget().await;
        let task = poll_fn(|cx| desk.poll_take(seat, incarnation, crew, &pulse, cx)).await;
        let Some(task) = task else { return };
        let handling = Handling {
            desk: &desk,
            incarnation,
            order: task.order,
        };
        let reply = {
            let mut handled = pin!(handle(&desk, &agent, incarnation, &task));
            poll_fn(|cx| pulse.during(&*desk.clock, || handled.as_mut().poll(cx))).await
        };
        if desk.finish(incarnation, handling.order, reply) {
            agent.settled(task.envelope.id);
        }
    }
}

/// Has the agent answer one envelope, in a span of its own.
pub(crate) async fn handle<A: Agent>(
    desk: &Desk<A>,
    agent: &A,
    incarnation: u64,
    task: &Task<A::Request>,
) -> A::Reply {
    let envelope = Envelope {
        attempt: task.attempt,
        incarnation,
        ..Envelope::clone(&task.envelope)
    };
    let span = tracing::debug_span!(
        parent: &envelope.span,
        "handle",
        agent = A::NAME,
        ask = A::ask(&envelope.body),
        envelope = %envelope.id,
        correlation = %envelope.context.correlation,
        attempt = envelope.attempt,
    );
    let handled = async {
        #[cfg(any(test, feature = "chaos"))]
        desk.faults.strike(envelope.id).await;
        #[cfg(not(any(test, feature = "chaos")))]
        let _ = desk;
        agent.handle(envelope).await
    };
    handled.instrument(span).await
}

/// Reports the crash if the worker unwinds while it handles an envelope.
struct Handling<'a, A: Agent> {
    desk: &'a Desk<A>,
    incarnation: u64,
    order: u64,
}

impl<A: Agent> Drop for Handling<'_, A> {
    fn drop(&mut self) {
        if thread::panicking() {
            let cause = Crash::Panic {
                place: panics::take_place(),
            };
            self.desk.crash(self.incarnation, &[self.order], cause);
        }
    }
}

/// Since when a worker's handler has been holding its thread.
#[derive(Debug, Default)]
pub(crate) struct Pulse(AtomicU64);

impl Pulse {
    /// Beats while `work` holds the thread.
    pub(crate) fn during<T>(&self, clock: &dyn Monotonic, work: impl FnOnce() -> T) -> T {
        self.enter(clock.now());
        let done = work();
        self.leave();
        done
    }

    fn enter(&self, now: Moment) {
        let nanos = u64::try_from(now.0.as_nanos()).unwrap_or(u64::MAX);
        self.0.store(nanos.max(1), Ordering::Relaxed);
    }

    fn leave(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// How long the handler has been holding its thread; zero if it does not.
    pub(crate) fn busy_for(&self, now: Moment) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => now.since(Moment(Duration::from_nanos(since))),
        }
    }
}

/// Idle workers, longest idle first.
#[derive(Debug, Default)]
pub(crate) struct Parked(VecDeque<(u64, Crew, Waker)>);

impl Parked {
    /// A worker found nothing to take.
    pub(crate) fn park(&mut self, seat: u64, crew: Crew, waker: &Waker) {
        match self.0.iter_mut().find(|parked| parked.0 == seat) {
            Some(parked) => parked.2.clone_from(waker),
            None => self.0.push_back((seat, crew, waker.clone())),
        }
    }

    /// Whom to wake for work like this: for critical work a reserved one, if one is idle.
    pub(crate) fn call(&mut self, heavy: bool, priority: Priority) -> Option<Waker> {
        let (general, reserved) = match heavy {
            true => (Crew::Compute, Crew::ComputeCritical),
            false => (Crew::General, Crew::Critical),
        };
        let find = |crew| self.0.iter().position(|parked| parked.1 == crew);
        let at = match priority {
            Priority::Critical => find(reserved).or_else(|| find(general)),
            _ => find(general),
        };
        self.0.remove(at?).map(|(_, _, waker)| waker)
    }

    pub(crate) fn call_all(&mut self) -> Vec<Waker> {
        self.0.drain(..).map(|(_, _, waker)| waker).collect()
    }

    pub(crate) fn idle(&self, crew: Crew) -> usize {
        self.0.iter().filter(|parked| parked.1 == crew).count()
    }
}

/// What the staffing rule looks at. Workers on the I/O threads only; idle counts general ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) workers: usize,
    pub(crate) idle: usize,
    pub(crate) waiting: usize,
    pub(crate) waited: Duration,
}

/// What the staffing rule says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Advice {
    Keep,
    Grow(usize),
    Shrink(usize),
}

/// Grows at once when envelopes wait and nobody is idle; shrinks by those workers that nobody
/// needed during all of `shrink_after`. Under pressure it shrinks to the least, and does not grow.
#[derive(Debug, Default)]
pub(crate) struct Staffing {
    window: Option<(Moment, usize)>,
}

impl Staffing {
    pub(crate) fn advise(
        &mut self,
        now: Moment,
        load: Load,
        options: &Options,
        pressed: bool,
    ) -> Advice {
        let (least, most) = (*options.workers.start(), *options.workers.end());
        let surplus = load.workers.saturating_sub(least);
        if pressed {
            self.window = None;
            return if surplus > 0 {
                Advice::Shrink(surplus)
            } else {
                Advice::Keep
            };
        }
        if load.waiting > 0 && load.idle == 0 && load.waited >= options.grow_after {
            self.window = None;
            return match most.saturating_sub(load.workers).min(load.waiting) {
                0 => Advice::Keep,
                more => Advice::Grow(more),
            };
        }
        let (since, idlest) = self.window.unwrap_or((now, usize::MAX));
        let spare = idlest.min(load.idle);
        self.window = Some((since, spare));
        if now.since(since) < options.shrink_after {
            return Advice::Keep;
        }
        self.window = None;
        match surplus.min(spare) {
            0 => Advice::Keep,
            fewer => Advice::Shrink(fewer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(workers: usize, idle: usize, waiting: usize, waited_ms: u64) -> Load {
        Load {
            workers,
            idle,
            waiting,
            waited: Duration::from_millis(waited_ms),
        }
    }

    #[test]
    fn the_pool_grows_by_what_waits_up_to_its_most() {
        let options = Options::default();
        let mut staffing = Staffing::default();
        let mut advise = |load| staffing.advise(Moment::default(), load, &options, false);
        assert_eq!(advise(load(5, 0, 3, 4)), Advice::Keep);
        assert_eq!(advise(load(5, 0, 3, 5)), Advice::Grow(3));
        assert_eq!(advise(load(5, 1, 3, 50)), Advice::Keep);
        assert_eq!(advise(load(8, 0, 500, 50)), Advice::Grow(12));
        assert_eq!(advise(load(20, 0, 500, 50)), Advice::Keep);
    }

    #[test]
    fn the_pool_shrinks_by_those_who_were_idle_all_the_time() {
        let options = Options::default();
        let mut staffing = Staffing::default();
        let mut advise =
            |s, load| staffing.advise(Moment(Duration::from_secs(s)), load, &options, false);
        assert_eq!(advise(0, load(20, 19, 0, 0)), Advice::Keep);
        assert_eq!(advise(5, load(20, 4, 0, 0)), Advice::Keep);
        assert_eq!(advise(10, load(20, 19, 0, 0)), Advice::Shrink(4));
        assert_eq!(advise(11, load(16, 15, 0, 0)), Advice::Keep);
        assert_eq!(advise(21, load(16, 15, 0, 0)), Advice::Shrink(11));
        assert_eq!(advise(22, load(5, 4, 0, 0)), Advice::Keep);
        assert_eq!(advise(40, load(5, 4, 0, 0)), Advice::Keep);
    }

    #[test]
    fn under_pressure_the_pool_shrinks_to_its_least_and_does_not_grow() {
        let options = Options::default();
        let mut staffing = Staffing::default();
        let mut advise = |load| staffing.advise(Moment::default(), load, &options, true);
        assert_eq!(advise(load(12, 0, 90, 900)), Advice::Shrink(7));
        assert_eq!(advise(load(5, 0, 90, 900)), Advice::Keep);
    }
}
