//! The incarnations of an agent, one after the other, and the workers of the present one.

use std::{sync::Arc, task::Waker, time::Duration};

use super::{Desk, Phase};
use crate::{
    Agent, Priority,
    moment::Moment,
    pool::{Crew, Load},
};

impl<A: Agent> Desk<A> {
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
    pub(crate) fn born(&self, incarnation: u64, workers: usize, agent: &Arc<A>) -> bool {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if state.incarnation != incarnation || !matches!(state.phase, Phase::Starting(_)) {
            return false;
        }
        state.phase = Phase::Running(now);
        state.serving = Some(Arc::clone(agent));
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
    pub(crate) fn load(&self, now: Moment) -> Load {
        let state = self.state.lock();
        Load {
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
}
