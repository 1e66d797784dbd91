//! What can be set for an agent, and why each default is what it is.

use std::{ops::RangeInclusive, time::Duration};

use crate::Priority;

/// How one agent is run. `Options::default()` suits an agent on a small server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Envelopes that may wait in each lane, critical first. Default 256, 1,024, 4,096, 16,384:
    /// people and emergencies had better hear at once that the agent is overloaded; whole-estate
    /// work has time.
    pub capacity: [usize; Priority::ALL.len()],
    /// An envelope that waited this long for each lane it is below critical counts as critical on
    /// a fair turn. Default 500 ms.
    pub aging: Duration,
    /// Every how many turns is a fair one. Default 4: what is old gets at least a quarter of the
    /// agent, what is urgent at least three.
    pub fair_turn: u32,
    /// Handlers at work at a time, the reserved ones included. Default 5 to 20.
    pub workers: RangeInclusive<usize>,
    /// Workers of those that take critical work only. Default 1.
    pub critical_workers: usize,
    /// Threads for heavy requests, of an agent that has such; one more is kept for critical ones.
    /// Default 2.
    pub compute_threads: usize,
    /// Threads that the agent's handlers share. Default 2, so that one that blocks by mistake does
    /// not stop the others at once.
    pub io_threads: usize,
    /// How long a request that is served [in turn](crate::Agent::is_in_turn) may take after which
    /// it hangs if [`passed_by`](Self::passed_by) later ones passed it. Default 1 s.
    pub patience: Duration,
    /// How many later requests of the same ask and lane must have passed one that hangs, those
    /// not counted that were at work beside it when it began. Default 32.
    pub passed_by: u64,
    /// How long a handler may hold one of these threads without giving it back, whatever its budget.
    /// Default 1 s: who waits for something outside lets go of the thread, and who computes for long
    /// is heavy.
    pub thread_budget: Duration,
    /// A worker is added when an envelope waited this long and nobody is idle. Default 5 ms.
    pub grow_after: Duration,
    /// Workers that were idle all this time leave. Default 10 s.
    pub shrink_after: Duration,
    /// Pause before the second restart in a row; the first is immediate, the later ones double it.
    /// Default 50 ms.
    pub backoff: Duration,
    /// The longest pause before a restart. Default 1 s.
    pub backoff_cap: Duration,
    /// An incarnation that lived this long is healthy: the next crash counts as the first again.
    /// Default 10 s.
    pub healthy_after: Duration,
    /// How long the factory may take before it counts as hung. Default 10 s.
    pub start_budget: Duration,
    /// How long the agent's threads may all be busy before it counts as hung, even if no envelope
    /// is over its budget. Default 1 s.
    pub heartbeat: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            capacity: [256, 1_024, 4_096, 16_384],
            aging: Duration::from_millis(500),
            fair_turn: 4,
            workers: 5..=20,
            critical_workers: 1,
            compute_threads: 2,
            io_threads: 2,
            patience: Duration::from_secs(1),
            passed_by: 32,
            thread_budget: Duration::from_secs(1),
            grow_after: Duration::from_millis(5),
            shrink_after: Duration::from_secs(10),
            backoff: Duration::from_millis(50),
            backoff_cap: Duration::from_secs(1),
            healthy_after: Duration::from_secs(10),
            start_budget: Duration::from_secs(10),
            heartbeat: Duration::from_secs(1),
        }
    }
}

impl Options {
    /// The pause before a restart, `crashes` of them in a row: none, then doubling to the cap.
    pub(crate) fn pause(&self, crashes: u32) -> Duration {
        match crashes {
            0 | 1 => Duration::ZERO,
            n => self
                .backoff
                .saturating_mul(1 << (n - 2).min(20))
                .min(self.backoff_cap),
        }
    }

    /// Makes what can't work work: at least one worker for each crew, one thread, one place.
    pub(crate) fn sane(mut self) -> Self {
        self.capacity = self.capacity.map(|places| places.max(1));
        self.fair_turn = self.fair_turn.max(2);
        self.critical_workers = self.critical_workers.max(1);
        let least = (*self.workers.start()).max(self.critical_workers + 1);
        self.workers = least..=(*self.workers.end()).max(least);
        self.compute_threads = self.compute_threads.max(1);
        self.io_threads = self.io_threads.max(1);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_immediate_and_later_ones_wait_up_to_the_cap() {
        let options = Options::default();
        let pauses: Vec<u128> = (1..=8).map(|n| options.pause(n).as_millis()).collect();
        assert_eq!(pauses, [0, 50, 100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(options.pause(u32::MAX), options.backoff_cap);
    }

    #[test]
    fn impossible_options_are_made_possible() {
        let options = Options {
            workers: 0..=0,
            critical_workers: 0,
            compute_threads: 0,
            io_threads: 0,
            capacity: [0; 4],
            fair_turn: 0,
            ..Options::default()
        }
        .sane();
        assert_eq!(options.workers, 2..=2);
        assert_eq!((options.critical_workers, options.compute_threads), (1, 1));
        assert_eq!(
            (options.io_threads, options.capacity, options.fair_turn),
            (1, [1; 4], 2)
        );
    }
}
