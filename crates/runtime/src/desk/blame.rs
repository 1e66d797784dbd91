//! Crashes: who is to blame for one, and what becomes of those that were in flight.
//!
//! The culprits count the crash and are set aside after the third; bystanders only go back to their
//! places.

use std::{task::Waker, time::Duration};

use pentad_model::{Context, Id};

use super::{Desk, Door, Flight, Phase};
use crate::{Agent, CallError, QUARANTINE_AFTER, health::Crash, moment::Moment};

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

impl<A: Agent> Desk<A> {
    /// Looks for envelopes over their budget, for those that too many later ones passed, and for
    /// light ones that hold a shared thread for longer than anybody may; declares the incarnation
    /// dead if there is one.
    ///
    /// Who is to blame: of those overdue, the ones that hold a thread at this moment; if none
    /// of them does, those that have held one of the shared threads for long and so keep the others
    /// from running; if there are none either, all that are overdue.
    pub(crate) fn inspect(&self, now: Moment, blocking: Duration) {
        let state = self.state.lock();
        let incarnation = state.incarnation;
        let thread_budget = self.options.thread_budget;
        let passed = |flight: &Flight<A>| {
            let ended = flight.accepted.line.map(|line| state.ended_of(line));
            let later = ended.map_or(0, |ended| ended - flight.ended_before);
            // Whoever was at work when it began may have been before it in the line.
            later >= flight.beside + self.options.passed_by
        };
        let overdue = |flight: &Flight<A>| {
            let over =
                |spent: Duration, budget: Duration| spent > budget.saturating_add(flight.forgiven);
            over(now.since(flight.started), flight.accepted.budget)
                || over(now.since(flight.started), self.options.patience) && passed(flight)
                || !flight.accepted.heavy && over(flight.pulse.busy_for(now), thread_budget)
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
        // Dropped when the lock is free: it is the agent's.
        let _dead = state.serving.take();
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

    /// What was set aside and not reported yet.
    pub(crate) fn take_set_aside(&self) -> Vec<Quarantined> {
        std::mem::take(&mut self.state.lock().set_aside)
    }
}
