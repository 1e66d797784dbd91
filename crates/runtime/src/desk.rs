//! The accepted work of one agent: it outlives the incarnations that do it.
//!
//! ```text
//!   post ──▶ mailbox ──take──▶ in flight ──finish──▶ answer, once
//!               ▲                  │
//!               └──── crash: hand over, in order; the culprit counts ──▶ quarantine
//! ```
//!
//! What always holds:
//!
//! * An accepted envelope is in exactly one place (a lane, or in flight) until it is answered, and
//!   the means to answer it goes with it: it is answered at most once, and not lost.
//! * Only the present incarnation takes or finishes. The number rises in the same breath in which
//!   a crash is declared, so whatever the dead one still brings is refused.
//! * Nothing of the agent's (its handler, its `Clone`, its `budget`) runs under the lock.
//!
//! Here is the way of an envelope in peace; [`blame`] holds what a crash does to it, [`life`] the
//! incarnations and their workers, [`report`] what is told of it all.

mod blame;
mod life;
mod report;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    task::{Context as TaskContext, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use pentad_model::Id;
use tokio::sync::{Notify, oneshot};

use crate::{
    Agent, CallError, Envelope, Priority,
    alarm::Alarm,
    health::{AgentHealth, Histogram},
    lend::{Lender, Lending, Lent},
    mailbox::{Appetite, Mailbox},
    moment::{Moment, Monotonic},
    options::Options,
    pool::{Crew, Parked, Pulse},
    transport::{Permit, Transport},
};

pub use blame::Quarantined;

/// Who is let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    Open,
    /// Only the other agents, so that they can finish what they accepted.
    Insiders,
    Closed,
}

/// Where the present incarnation is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// To be made at this moment.
    Due(Moment),
    /// In the making since.
    Starting(Moment),
    /// Serving since.
    Running(Moment),
    Stopped,
}

struct Accepted<A: Agent> {
    envelope: Arc<Envelope<A::Request>>,
    attempt: u32,
    crashes: u32,
    since: Moment,
    order: u64,
    budget: Duration,
    heavy: bool,
    /// In which line it stands, if its ask is served in turn.
    line: Option<Line>,
    answer: oneshot::Sender<Result<A::Reply, CallError>>,
}

/// Requests of one ask and lane, where they are served in turn.
type Line = (&'static str, Priority);

struct Flight<A: Agent> {
    accepted: Accepted<A>,
    started: Moment,
    /// How many of its line had ended when it began.
    ended_before: u64,
    /// How many were at work when it began.
    beside: u64,
    /// Time in which the whole process stood still, and the handler with it.
    forgiven: Duration,
    pulse: Arc<Pulse>,
}

/// What became of an accepted envelope at first.
struct Posted<A: Agent> {
    /// Brings the answer, whoever gives it.
    answer: oneshot::Receiver<Result<A::Reply, CallError>>,
    /// It did not go to the mailbox: the asker carries it out.
    here: Option<Lent<A>>,
}

/// What a worker gets to do.
pub(crate) struct Task<R> {
    pub(crate) order: u64,
    pub(crate) attempt: u32,
    pub(crate) envelope: Arc<Envelope<R>>,
}

struct State<A: Agent> {
    door: Door,
    phase: Phase,
    incarnation: u64,
    light: Mailbox<Accepted<A>>,
    heavy: Mailbox<Accepted<A>>,
    in_flight: BTreeMap<u64, Flight<A>>,
    parked: Parked,
    /// The present incarnation, for what is carried out on askers' threads.
    serving: Option<Arc<A>>,
    workers: usize,
    dismissed: usize,
    spared: bool,
    next_order: u64,
    crashes_in_a_row: u32,
    down_since: Option<Moment>,
    service: Duration,
    /// How many of each line have ended. There are as many lines as an agent has asks and lanes.
    ended: Vec<(Line, u64)>,
    times: Histogram,
    set_aside: Vec<Quarantined>,
    /// The counters of the health report live in it; the gauges are filled in when it is asked for.
    tally: AgentHealth,
}

/// See the module.
pub(crate) struct Desk<A: Agent> {
    pub(crate) options: Options,
    pub(crate) clock: Arc<dyn Monotonic>,
    #[cfg(any(test, feature = "chaos"))]
    pub(crate) faults: crate::chaos::Faults,
    permit: Box<Permit<A::Request>>,
    insiders: Arc<RwLock<HashSet<&'static str>>>,
    alarm: Arc<Alarm>,
    lending: Arc<Lending>,
    emptied: Notify,
    state: Mutex<State<A>>,
}

#[async_trait]
impl<A: Agent> Transport<A> for Desk<A> {
    async fn send(&self, envelope: Envelope<A::Request>) -> Result<A::Reply, CallError> {
        let id = envelope.id;
        let Posted { mut answer, here } = self.post(envelope)?;
        if let Some(here) = here {
            tokio::select! {
                biased;
                // The incarnation died meanwhile, and its successor was quicker.
                answered = &mut answer => return answered.unwrap_or_else(|_| Err(unanswered::<A>(id))),
                () = here.carry_out(self) => {}
            }
        }
        // The desk keeps the sender until it answers, so it is gone only when the desk is.
        answer.await.unwrap_or_else(|_| Err(unanswered::<A>(id)))
    }
}

impl<A: Agent> Desk<A> {
    pub(crate) fn new(
        options: Options,
        permit: Box<Permit<A::Request>>,
        clock: Arc<dyn Monotonic>,
        insiders: Arc<RwLock<HashSet<&'static str>>>,
        alarm: Arc<Alarm>,
        lending: Arc<Lending>,
    ) -> Self {
        let state = State {
            door: Door::Open,
            phase: Phase::Due(clock.now()),
            incarnation: 1,
            light: Mailbox::new(&options),
            heavy: Mailbox::new(&options),
            in_flight: BTreeMap::new(),
            parked: Parked::default(),
            serving: None,
            workers: 0,
            dismissed: 0,
            spared: false,
            next_order: 0,
            crashes_in_a_row: 0,
            down_since: None,
            service: Duration::from_millis(1),
            ended: Vec::new(),
            times: Histogram::default(),
            set_aside: Vec::new(),
            tally: AgentHealth::blank(A::NAME),
        };
        Self {
            options,
            clock,
            #[cfg(any(test, feature = "chaos"))]
            faults: crate::chaos::Faults::default(),
            permit,
            insiders,
            alarm,
            lending,
            emptied: Notify::new(),
            state: Mutex::new(state),
        }
    }

    /// Accepts an envelope, or says why not. The answer comes through what it returns.
    fn post(&self, envelope: Envelope<A::Request>) -> Result<Posted<A>, CallError> {
        let agent = || A::NAME.to_owned();
        if !(self.permit)(&envelope.from, &envelope.body) {
            self.state.lock().tally.refused_permission += 1;
            return Err(CallError::NotPermitted {
                from: envelope.from,
                agent: agent(),
            });
        }
        let (answer, answered) = oneshot::channel();
        let priority = envelope.priority;
        let budget = A::budget(&envelope.body);
        let heavy = A::COMPUTES && A::is_heavy(&envelope.body);
        let line = A::is_in_turn(&envelope.body).then(|| (A::ask(&envelope.body), priority));
        let inside = || self.insiders.read().contains(envelope.from.as_str());
        let lender = self.lender(&envelope.body, heavy);
        let since = self.clock.now();

        let mut state = self.state.lock();
        match state.door {
            Door::Open => {}
            Door::Insiders if inside() => {}
            Door::Insiders | Door::Closed => return Err(CallError::Stopping { agent: agent() }),
        }
        let lane = if heavy { &state.heavy } else { &state.light };
        if lane.admits(priority).is_err() {
            state.tally.refused_full += 1;
            let retry_after = state.retry_after(priority, heavy, &self.options);
            return Err(CallError::QueueFull {
                agent: agent(),
                retry_after,
            });
        }
        let order = state.next_order;
        state.next_order += 1;
        state.tally.accepted += 1;
        let accepted = Accepted {
            envelope: Arc::new(envelope),
            attempt: 1,
            crashes: 0,
            since,
            order,
            budget,
            heavy,
            line,
            answer,
        };
        let mut posted = Posted {
            answer: answered,
            here: None,
        };
        // Nobody who waits is passed by.
        if let (Some(lender), Some(agent)) = (lender, &state.serving)
            && state.light.len() == 0
            && state.in_flight.len() < self.options.capacity[priority.index()]
        {
            let task = Task {
                order,
                attempt: 1,
                envelope: accepted.envelope.clone(),
            };
            let here = Lent::new(lender, agent.clone(), state.incarnation, task);
            state.take_off(accepted, since, here.pulse());
            posted.here = Some(here);
            return Ok(posted);
        }
        state.lanes(heavy).push(priority, since, accepted);
        let waker = state.parked.call(heavy, priority);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(posted)
    }

    /// The asker's thread, if the request may be carried out there.
    fn lender(&self, request: &A::Request, heavy: bool) -> Option<Lender> {
        #[cfg(any(test, feature = "chaos"))]
        if self.faults.are_waiting() {
            return None; // faults strike the agent's own threads
        }
        (!heavy && A::is_brief(request))
            .then(|| self.lending.lender())
            .flatten()
    }

    /// Gives back what was taken and not answered: whoever carried it out went away.
    pub(crate) fn give_back(&self, incarnation: u64, order: u64) {
        let mut state = self.state.lock();
        if state.incarnation != incarnation {
            return; // it was handed over already
        }
        let Some(Flight { accepted, .. }) = state.in_flight.remove(&order) else {
            return;
        };
        let (lane, since) = (accepted.envelope.priority, accepted.since);
        state.lanes(accepted.heavy).put_back(lane, since, accepted);
        let waker = state.parked.call(false, lane);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next task for a worker of this crew; `None` tells it to leave.
    pub(crate) fn poll_take(
        &self,
        seat: u64,
        incarnation: u64,
        crew: Crew,
        pulse: &Arc<Pulse>,
        cx: &TaskContext<'_>,
    ) -> Poll<Option<Task<A::Request>>> {
        let started = self.clock.now();
        let mut state = self.state.lock();
        if state.incarnation != incarnation || state.phase == Phase::Stopped {
            return Poll::Ready(None);
        }
        if crew == Crew::General && state.dismissed > 0 {
            state.dismissed -= 1;
            state.workers -= 1;
            return Poll::Ready(None);
        }
        let appetite = match crew {
            Crew::Critical | Crew::ComputeCritical => Appetite::Critical,
            Crew::General | Crew::Compute if state.spared => Appetite::Spared,
            Crew::General | Crew::Compute => Appetite::Any,
        };
        let Some((_, accepted)) = state.lanes(crew.is_compute()).take(started, appetite) else {
            state.parked.park(seat, crew, cx.waker());
            return Poll::Pending;
        };
        let task = Task {
            order: accepted.order,
            attempt: accepted.attempt,
            envelope: accepted.envelope.clone(),
        };
        state.take_off(accepted, started, pulse);
        Poll::Ready(Some(task))
    }

    /// Delivers a result. `false`: it comes from an incarnation that is dead already, and is refused.
    pub(crate) fn finish(&self, incarnation: u64, order: u64, reply: A::Reply) -> bool {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if state.incarnation != incarnation {
            state.tally.late_refused += 1;
            return false;
        }
        let Some(flight) = state.in_flight.remove(&order) else {
            return false;
        };
        let took = now.since(flight.started);
        state.times.record(took);
        // A moving average over the last ten or so, for the estimate of `retry_after`.
        state.service = (state.service * 9 + took) / 10;
        state.tally.handled += 1;
        if let Some(line) = flight.accepted.line {
            match state.ended.iter_mut().find(|(known, _)| *known == line) {
                Some((_, ended)) => *ended += 1,
                None => state.ended.push((line, 1)),
            }
        }
        let empty = state.door != Door::Open && state.is_empty();
        drop(state);
        // The caller may be gone; the work is done all the same.
        let _ = flight.accepted.answer.send(Ok(reply));
        if empty {
            self.emptied.notify_waiters();
        }
        true
    }

    pub(crate) fn close(&self, door: Door) {
        self.state.lock().door = door;
    }

    /// Resolves once nothing waits and nothing is in flight.
    pub(crate) async fn emptied(&self) {
        loop {
            let mut emptied = std::pin::pin!(self.emptied.notified());
            emptied.as_mut().enable();
            if self.state.lock().is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// The end: whatever is left is answered as unanswered. Returns how many those were.
    pub(crate) fn end(&self) -> usize {
        let mut state = self.state.lock();
        state.door = Door::Closed;
        state.phase = Phase::Stopped;
        state.incarnation += 1;
        state.workers = 0;
        let _last = state.serving.take();
        let mut left: Vec<Accepted<A>> = std::mem::take(&mut state.in_flight)
            .into_values()
            .map(|f| f.accepted)
            .collect();
        left.extend(state.light.drain());
        left.extend(state.heavy.drain());
        let wakers = state.parked.call_all();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        let count = left.len();
        for accepted in left {
            let id = accepted.envelope.id;
            let _ = accepted.answer.send(Err(unanswered::<A>(id)));
        }
        count
    }
}

impl<A: Agent> State<A> {
    fn lanes(&mut self, heavy: bool) -> &mut Mailbox<Accepted<A>> {
        if heavy {
            &mut self.heavy
        } else {
            &mut self.light
        }
    }

    /// From here on it is in flight.
    fn take_off(&mut self, accepted: Accepted<A>, started: Moment, pulse: &Arc<Pulse>) {
        let flight = Flight {
            ended_before: accepted.line.map_or(0, |line| self.ended_of(line)),
            beside: self.in_flight.len() as u64,
            started,
            forgiven: Duration::ZERO,
            pulse: pulse.clone(),
            accepted,
        };
        self.in_flight.insert(flight.accepted.order, flight);
    }

    fn ended_of(&self, line: Line) -> u64 {
        let known = self.ended.iter().find(|(known, _)| *known == line);
        known.map_or(0, |(_, ended)| *ended)
    }

    fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.light.len() + self.heavy.len() == 0
    }
}

fn unanswered<A: Agent>(envelope: Id) -> CallError {
    CallError::Unanswered {
        agent: A::NAME.to_owned(),
        envelope,
    }
}
