//! What an agent tells of itself: counters and gauges, ready to be served or scraped.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What an agent is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Its first incarnation is being made.
    Starting,
    /// It serves.
    Running,
    /// It crashed; a successor is on the way. Work is still accepted and waits.
    Restarting,
    /// It finishes what it accepted and takes nothing new from outside.
    Stopping,
    /// It is gone.
    Stopped,
}

/// Why an incarnation ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Crash {
    /// A handler panicked at this `file:line`. The message is not kept: it may hold a secret.
    Panic {
        /// `file:line`.
        place: Option<String>,
    },
    /// An envelope ran over its budget.
    Hang,
    /// The agent's threads did not run anything for too long.
    NoHeartbeat,
    /// The factory returned an error, panicked or hung, or the system gave no thread.
    NotStarted,
}

/// The health of one agent. Durations are in the unit of their name; counters count since the
/// agent was spawned.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AgentHealth {
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub state: AgentState,
    /// The number of the present incarnation, from 1.
    pub incarnation: u64,
    /// Incarnations that crashed.
    pub restarts: u64,
    /// How long the last restart took, from the crash to serving again.
    pub last_restart_ms: Option<u64>,
    /// Why the last incarnation ended that did not end in peace.
    pub last_crash: Option<Crash>,
    /// Envelopes waiting in each lane: critical, high, normal, background.
    pub queued: [usize; 4],
    /// Envelopes being handled.
    pub in_flight: usize,
    /// Workers on the agent's I/O threads, the reserved ones included.
    pub workers: usize,
    /// Workers of those that are idle.
    pub idle: usize,
    /// Envelopes accepted.
    pub accepted: u64,
    /// Envelopes that the agent answered.
    pub handled: u64,
    /// Attempts that a crash cut short, of culprits and bystanders.
    pub failed: u64,
    /// Envelopes set aside after too many crashes.
    pub quarantined: u64,
    /// Calls refused because their lane was full.
    pub refused_full: u64,
    /// Calls refused because the sender may not ask that.
    pub refused_permission: u64,
    /// Results of dead incarnations that came late and were refused.
    pub late_refused: u64,
    /// Age of the oldest envelope that waits or is handled; 0 if there is none.
    pub oldest_ms: u64,
    /// Median service time, waiting not included (within 25 %).
    pub p50_us: u64,
    /// 99th percentile of the service time (within 25 %).
    pub p99_us: u64,
}

impl AgentHealth {
    /// Nothing counted yet.
    pub(crate) fn blank(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: AgentState::Starting,
            incarnation: 1,
            restarts: 0,
            last_restart_ms: None,
            last_crash: None,
            queued: [0; 4],
            in_flight: 0,
            workers: 0,
            idle: 0,
            accepted: 0,
            handled: 0,
            failed: 0,
            quarantined: 0,
            refused_full: 0,
            refused_permission: 0,
            late_refused: 0,
            oldest_ms: 0,
            p50_us: 0,
            p99_us: 0,
        }
    }
}

/// Service times in buckets a quarter of an octave wide: constant space, 25 % at most too high.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    buckets: [u64; 160],
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [0; 160],
            count: 0,
        }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[Self::bucket(micros)] += 1;
        self.count += 1;
    }

    /// The duration in microseconds that this share (0 to 1) of all does not exceed.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let rank = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank && seen > 0 {
                return Self::upper(bucket);
            }
        }
        0
    }

    /// 0 to 3 exactly, then the exponent and the two bits below the leading one.
    fn bucket(micros: u64) -> usize {
        if micros < 4 {
            return micros as usize;
        }
        let exponent = micros.ilog2();
        let quarter = (micros >> (exponent - 2)) & 3;
        ((exponent as usize - 1) * 4 + quarter as usize).min(159)
    }

    /// The largest value that falls into a bucket.
    fn upper(bucket: usize) -> u64 {
        if bucket < 4 {
            return bucket as u64;
        }
        let (exponent, quarter) = (bucket / 4 + 1, bucket as u64 % 4);
        ((5 + quarter) << (exponent - 2)) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_falls_into_the_bucket_that_covers_it() {
        for micros in (0..5_000).chain([1 << 20, (1 << 30) + 12_345, (1 << 40) - 1]) {
            let bucket = Histogram::bucket(micros);
            assert!(micros <= Histogram::upper(bucket), "{micros}");
            assert!(
                bucket == 0 || micros > Histogram::upper(bucket - 1),
                "{micros}"
            );
            assert!(Histogram::upper(bucket) <= micros + micros / 4, "{micros}");
        }
        assert_eq!(Histogram::bucket(u64::MAX), 159);
    }

    #[test]
    fn quantiles_are_of_what_was_recorded() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.99), 0);
        for ms in 1..=100 {
            histogram.record(Duration::from_millis(ms));
        }
        let (p50, p99) = (histogram.quantile(0.5), histogram.quantile(0.99));
        assert!((50_000..=62_500).contains(&p50), "{p50}");
        assert!((99_000..=124_000).contains(&p99), "{p99}");
    }
}
