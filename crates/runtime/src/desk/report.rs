//! What an agent tells of its work: its health, and when there is likely to be room again.

use std::time::Duration;

use super::{Desk, Door, Phase, State};
use crate::{
    Agent, Priority,
    health::{AgentHealth, AgentState},
    options::Options,
    pool::Crew,
};

impl<A: Agent> Desk<A> {
    /// Counters and gauges of this moment.
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
    /// How long a quarter of the lane will take at the pace seen lately: who comes back then finds
    /// room for more than one.
    pub(super) fn retry_after(
        &self,
        priority: Priority,
        heavy: bool,
        options: &Options,
    ) -> Duration {
        let (lanes, hands) = match heavy {
            true => (&self.heavy, options.compute_threads),
            false => (&self.light, self.workers),
        };
        let quarter = lanes.depths()[priority.index()] as u32 / 4 + 1;
        (self.service.saturating_mul(quarter) / hands.max(1) as u32)
            .clamp(Duration::from_millis(5), Duration::from_secs(30))
    }
}
