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

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    task::{Context as TaskContext, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use pentad_model::{Context, Id};
use tokio::sync::{Notify, oneshot};

use crate::{
    Agent, CallError, Envelope, Priority, QUARANTINE_AFTER,
    alarm::Alarm,
    health::{AgentHealth, AgentState, Crash, Histogram},
    mailbox::{Appetite, Mailbox},
    moment::{Moment, Monotonic},
    options::Options,
    pool::{Crew, Parked, Pulse},
    transport::{Permit, Transport},
};

/// An envelope that was set aside, without its body: that may hold what nobody may see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quarantined {
    /// The agent that it crashed.
    pub agent: &'static str,
    /// Which envelope.
    pub envelope: Id,
    /// Who caused it, for which tenant.
    pub context: Context,
    /// Who sent it.
    pub from: String,
    /// Crashes that it caused.
    pub attempts: u32,
}

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
    answer: oneshot::Sender<Result<A::Reply, CallError>>,
}

struct Flight<A: Agent> {
    accepted: Accepted<A>,
    started: Moment,
    /// Time in which the whole process stood still, and the handler with it.
    forgiven: Duration,
    pulse: Arc<Pulse>,
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
    workers: usize,
    dismissed: usize,
    spared: bool,
    next_order: u64,
    crashes_in_a_row: u32,
    down_since: Option<Moment>,
    service: Duration,
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
    emptied: Notify,
    state: Mutex<State<A>>,
}

#[async_trait]
impl<A: Agent> Transport<A> for Desk<A> {
    async fn send(&self, envelope: Envelope<A::Request>) -> Result<A::Reply, CallError> {
        let id = envelope.id;
        let answer = self.post(envelope)?;
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
    ) -> Self {
        let state = State {
            door: Door::Open,
            phase: Phase::Due(clock.now()),
            incarnation: 1,
            light: Mailbox::new(&options),
            heavy: Mailbox::new(&options),
            in_flight: BTreeMap::new(),
            parked: Parked::default(),
            workers: 0,
            dismissed: 0,
            spared: false,
            next_order: 0,
            crashes_in_a_row: 0,
            down_since: None,
            service: Duration::from_millis(1),
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
            emptied: Notify::new(),
            state: Mutex::new(state),
        }
    }

    /// Accepts an envelope, or says why not. The answer comes through what it returns.
    fn post(
        &self,
        envelope: Envelope<A::Request>,
    ) -> Result<oneshot::Receiver<Result<A::Reply, CallError>>, CallError> {
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
        let (budget, heavy) = (A::budget(&envelope.body), A::is_heavy(&envelope.body));
        let inside = || self.insiders.read().contains(envelope.from.as_str());
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
        let envelope = Arc::new(envelope);
        state.lanes(heavy).push(
            priority,
            since,
            Accepted {
                envelope,
                attempt: 1,
                crashes: 0,
                since,
                order,
                budget,
                heavy,
                answer,
            },
        );
        let waker = state.parked.call(heavy, priority);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(answered)
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
        let flight = Flight {
            accepted,
            started,
            forgiven: Duration::ZERO,
            pulse: pulse.clone(),
        };
        state.in_flight.insert(task.order, flight);
        Poll::Ready(Some(task))
    }

    /// Delivers a result, unless it comes from an incarnation that is dead already.
    pub(crate) fn finish(&self, incarnation: u64, order: u64, reply: A::Reply) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if state.incarnation != incarnation {
            state.tally.late_refused += 1;
            return;
        }
        let Some(flight) = state.in_flight.remove(&order) else {
            return;
        };
        let took = now.since(flight.started);
        state.times.record(took);
        // A moving average over the last ten or so, for the estimate of `retry_after`.
        state.service = (state.service * 9 + took) / 10;
        state.tally.handled += 1;
        let empty = state.door != Door::Open && state.is_empty();
        drop(state);
        // The caller may be gone; the work is done all the same.
        let _ = flight.accepted.answer.send(Ok(reply));
        if empty {
            self.emptied.notify_waiters();
        }
    }

    /// Declares an incarnation dead and hands over what it had not answered. Of these, `culprits`
    /// caused the crash, and count it; the others just go back. Does nothing for an incarnation
    /// that is dead already. May be called while unwinding: nothing in here panics or is foreign,
    /// but the wakers of tokio.
    pub(crate) fn crash(&self, incarnation: u64, culprits: &[u64], cause: Crash) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if state.incarnation != incarnation || state.phase == Phase::Stopped {
            return;
        }
        if let Phase::Running(since) = state.phase
            && now.since(since) >= self.options.healthy_after
        {
            state.crashes_in_a_row = 0;
        }
        state.crashes_in_a_row = state.crashes_in_a_row.saturating_add(1);
        state.phase = Phase::Due(now.plus(self.options.pause(state.crashes_in_a_row)));
        state.incarnation += 1;
        state.down_since.get_or_insert(now);
        state.tally.restarts += 1;
        state.tally.last_crash = Some(cause);
        state.workers = 0;
        state.dismissed = 0;
        let leaving = state.parked.call_all();
        let mut refused = Vec::new();
        // Last first, each to the head of its lane: so they stand there in their old order.
        for (order, Flight { mut accepted, .. }) in
            std::mem::take(&mut state.in_flight).into_iter().rev()
        {
            state.tally.failed += 1;
            accepted.attempt = accepted.attempt.saturating_add(1);
            accepted.crashes += u32::from(culprits.contains(&order));
            if accepted.crashes >= QUARANTINE_AFTER {
                state.tally.quarantined += 1;
                state.set_aside.push(Quarantined {
                    agent: A::NAME,
                    envelope: accepted.envelope.id,
                    context: accepted.envelope.context.clone(),
                    from: accepted.envelope.from.clone(),
                    attempts: accepted.crashes,
                });
                refused.push(accepted);
                continue;
            }
            let (lane, since, heavy) = (accepted.envelope.priority, accepted.since, accepted.heavy);
            state.lanes(heavy).put_back(lane, since, accepted);
        }
        let empty = state.door != Door::Open && state.is_empty();
        drop(state);

        for accepted in refused {
            let _ = accepted.answer.send(Err(CallError::Quarantined {
                agent: A::NAME.to_owned(),
                envelope: accepted.envelope.id,
                attempts: accepted.crashes,
            }));
        }
        leaving.into_iter().for_each(Waker::wake);
        if empty {
            self.emptied.notify_waiters();
        }
        self.alarm.ring();
    }

    /// Looks for envelopes over their budget and declares the incarnation dead if there is one.
    ///
    /// Who is to blame: of those over budget, the ones that hold a thread at this moment; if none
    /// of them does, those that have held one of the shared threads for long and so keep the others
    /// from running; if there are none either, all that are over budget.
    pub(crate) fn inspect(&self, now: Moment, blocking: Duration) {
        let state = self.state.lock();
        let incarnation = state.incarnation;
        let overdue = |flight: &Flight<A>| {
            now.since(flight.started) > flight.accepted.budget.saturating_add(flight.forgiven)
        };
        let holds = |flight: &Flight<A>| flight.pulse.busy_for(now) >= blocking;
        let those = |blamed: &dyn Fn(&Flight<A>) -> bool| -> Vec<u64> {
            state
                .in_flight
                .iter()
                .filter(|(_, f)| blamed(f))
                .map(|(order, _)| *order)
                .collect()
        };
        if !state.in_flight.values().any(overdue) {
            return;
        }
        let starved = state
            .in_flight
            .values()
            .any(|f| overdue(f) && !f.accepted.heavy);
        let culprits = [
            those(&|f| overdue(f) && holds(f)),
            those(&|f| starved && !f.accepted.heavy && holds(f)),
            those(&overdue),
        ]
        .into_iter()
        .find(|blamed| !blamed.is_empty())
        .unwrap_or_default();
        drop(state);
        self.crash(incarnation, &culprits, Crash::Hang);
    }

    /// Declares dead an incarnation whose threads run nothing; those that hold them are to blame.
    pub(crate) fn stalled(&self, incarnation: u64, now: Moment, blocking: Duration) {
        let state = self.state.lock();
        let holding = |f: &Flight<A>| !f.accepted.heavy && f.pulse.busy_for(now) >= blocking;
        let culprits: Vec<u64> = state
            .in_flight
            .iter()
            .filter(|(_, f)| holding(f))
            .map(|(order, _)| *order)
            .collect();
        drop(state);
        self.crash(incarnation, &culprits, Crash::NoHeartbeat);
    }

    /// The process stood still this long: what was in flight is not to blame for it.
    pub(crate) fn forgive(&self, pause: Duration) {
        for flight in self.state.lock().in_flight.values_mut() {
            flight.forgiven = flight.forgiven.saturating_add(pause);
        }
    }

    /// If an incarnation is due by now: its number. It counts as starting from here.
    pub(crate) fn begin(&self, now: Moment) -> Option<u64> {
        let mut state = self.state.lock();
        match state.phase {
            Phase::Due(at) if at <= now => {
                state.phase = Phase::Starting(now);
                Some(state.incarnation)
            }
            _ => None,
        }
    }

    /// The incarnation is made and serves with this many workers. `false`: it is dead already.
    pub(crate) fn born(&self, incarnation: u64, workers: usize) -> bool {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if state.incarnation != incarnation || !matches!(state.phase, Phase::Starting(_)) {
            return false;
        }
        state.phase = Phase::Running(now);
        state.workers = workers;
        if let Some(since) = state.down_since.take() {
            state.tally.last_restart_ms = u64::try_from(now.since(since).as_millis()).ok();
        }
        true
    }

    pub(crate) fn phase(&self) -> (u64, Phase) {
        let state = self.state.lock();
        (state.incarnation, state.phase)
    }

    /// What the staffing rule looks at: workers, idle ones, waiting envelopes, the longest wait.
    pub(crate) fn load(&self, now: Moment) -> crate::pool::Load {
        let state = self.state.lock();
        crate::pool::Load {
            workers: state.workers - state.dismissed,
            idle: state
                .parked
                .idle(Crew::General)
                .saturating_sub(state.dismissed),
            waiting: state.light.len(),
            waited: state
                .light
                .oldest()
                .map_or(Duration::ZERO, |oldest| now.since(oldest)),
        }
    }

    /// Counts workers that were just added; `false` if the incarnation is not the present one.
    pub(crate) fn enlist(&self, incarnation: u64, more: usize) -> bool {
        let mut state = self.state.lock();
        let present = state.incarnation == incarnation && matches!(state.phase, Phase::Running(_));
        if present {
            state.workers += more;
        }
        present
    }

    /// Sends so many general workers home, as they get idle.
    pub(crate) fn dismiss(&self, fewer: usize) {
        let mut state = self.state.lock();
        state.dismissed += fewer;
        let wakers: Vec<Waker> = (0..fewer)
            .filter_map(|_| state.parked.call(false, Priority::Normal))
            .collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Defers background work, or stops to. What aged meanwhile is offered to who is idle.
    pub(crate) fn spare(&self, spared: bool) {
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut state.spared, spared);
        let (light, heavy) = (state.light.len(), state.heavy.len());
        if !before || light + heavy == 0 {
            return;
        }
        let wakers: Vec<Waker> = (0..light)
            .map_while(|_| state.parked.call(false, Priority::Normal))
            .collect();
        let compute: Vec<Waker> = (0..heavy)
            .map_while(|_| state.parked.call(true, Priority::Normal))
            .collect();
        drop(state);
        wakers.into_iter().chain(compute).for_each(Waker::wake);
    }

    /// What was set aside and not reported yet.
    pub(crate) fn take_set_aside(&self) -> Vec<Quarantined> {
        std::mem::take(&mut self.state.lock().set_aside)
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

    pub(crate) fn health(&self) -> AgentHealth {
        let now = self.clock.now();
        let state = self.state.lock();
        let (light, heavy) = (state.light.depths(), state.heavy.depths());
        let flights = state.in_flight.values().map(|flight| flight.accepted.since);
        let oldest = flights
            .chain(state.light.oldest())
            .chain(state.heavy.oldest())
            .min();
        AgentHealth {
            state: match (state.phase, state.door) {
                (Phase::Stopped, _) => AgentState::Stopped,
                (_, Door::Insiders | Door::Closed) => AgentState::Stopping,
                (Phase::Running(_), Door::Open) => AgentState::Running,
                (_, Door::Open) if state.tally.restarts == 0 => AgentState::Starting,
                (_, Door::Open) => AgentState::Restarting,
            },
            incarnation: state.incarnation,
            queued: std::array::from_fn(|lane| light[lane] + heavy[lane]),
            in_flight: state.in_flight.len(),
            workers: state.workers,
            idle: state.parked.idle(Crew::General) + state.parked.idle(Crew::Critical),
            oldest_ms: oldest.map_or(0, |since| now.since(since).as_millis() as u64),
            p50_us: state.times.quantile(0.5),
            p99_us: state.times.quantile(0.99),
            ..state.tally.clone()
        }
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

    fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.light.len() + self.heavy.len() == 0
    }

    /// How long a quarter of the lane will take at the pace seen lately: who comes back then finds
    /// room for more than one.
    fn retry_after(&self, priority: Priority, heavy: bool, options: &Options) -> Duration {
        let (lanes, hands) = match heavy {
            true => (&self.heavy, options.compute_threads),
            false => (&self.light, self.workers),
        };
        let quarter = lanes.depths()[priority.index()] as u32 / 4 + 1;
        (self.service.saturating_mul(quarter) / hands.max(1) as u32)
            .clamp(Duration::from_millis(5), Duration::from_secs(30))
    }
}

fn unanswered<A: Agent>(envelope: Id) -> CallError {
    CallError::Unanswered {
        agent: A::NAME.to_owned(),
        envelope,
    }
}
