//! Time that only goes forward, for ages and budgets.
//!
//! [`pentad_model::Clock`] follows the wall, and a wall clock steps: set back an hour by NTP, it
//! would make every envelope young again; set forward, it would declare every agent hung. So what
//! is measured here is measured on a [`Monotonic`] clock, handed in like the other.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// A moment on a [`Monotonic`] clock: the time since that clock began. Means nothing on another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Moment(pub Duration);

impl Moment {
    /// This moment plus `duration`, saturating.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How long after `earlier` this is; zero if it is before.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A clock that never goes back.
pub trait Monotonic: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Moment;
}

/// The operating system's `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug)]
pub struct SystemMonotonic(Instant);

impl Default for SystemMonotonic {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Monotonic for SystemMonotonic {
    fn now(&self) -> Moment {
        Moment(self.0.elapsed())
    }
}

/// A clock that moves only when told to, for tests.
#[derive(Debug, Default)]
pub struct ManualMonotonic(AtomicU64);

impl ManualMonotonic {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Monotonic for ManualMonotonic {
    fn now(&self) -> Moment {
        Moment(Duration::from_nanos(self.0.load(Ordering::SeqCst)))
    }
}
