//! How much memory the bodies of all requests may take together.
//!
//! A body is read before its request has a place, and for a login before anybody knows who asks, so
//! the largest body times the number of connections would be what a flood can make the process hold.
//! Room is taken before bytes are kept, as they arrive: who announces much and sends nothing holds
//! nothing. It is given back with the answer, or when the request is given up. Where there is none,
//! the request is refused (`queue-full`, with a Retry-After) instead of waiting: what waits holds
//! what it has.
//!
//! The first [`FIRST`] bytes of each body come out of a share of their own, a quarter of the budget,
//! so that large bodies, however many, don't shut out small requests. What the HTTP library has in
//! its read buffers, and what a handler makes of a body, is not counted; the latter happens behind the
//! gate.

use std::{sync::Arc, time::Duration};

use pentad_agents::Fault;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// Bytes of each body that don't compete with those of large ones. All but few bodies are smaller.
pub(crate) const FIRST: usize = 16 << 10;

/// Bytes that a permit stands for.
const UNIT: usize = 1 << 10;

/// Large bodies end within moments, or not before the request's time-out.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How often one that waits looks, within that time.
const TRIES: u32 = 50;

/// The budget.
pub(crate) struct Bodies {
    first: Share,
    rest: Share,
}

type Share = Arc<Semaphore>;

impl Bodies {
    /// A budget of so many bytes, rounded down to KiB.
    pub(crate) fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT).min(Semaphore::MAX_PERMITS);
        let first = units / 4;
        Self {
            first: Arc::new(Semaphore::new(first)),
            rest: Arc::new(Semaphore::new(units - first)),
        }
    }

    /// Nothing yet, for one body.
    pub(crate) fn room(&self) -> Room {
        Room {
            first: Part::of(&self.first),
            rest: Part::of(&self.rest),
        }
    }
}

impl Bodies {
    /// Nothing yet, for a part of an answer. It takes nothing of what is kept for small requests: an answer
    /// has a thousand parts, and waits for whoever takes it.
    pub(crate) fn room_to_answer(&self) -> Room {
        Room {
            first: Part::of(&self.rest),
            rest: Part::of(&self.rest),
        }
    }
}

/// What one body holds of the budget. Given back on drop.
pub(crate) struct Room {
    first: Part,
    rest: Part,
}

impl Room {
    /// Makes it room for so many bytes in all, or refuses; then it is as large as it was.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let taken = self.first.grow(bytes.min(FIRST)).is_some()
            && self.rest.grow(bytes.saturating_sub(FIRST)).is_some();
        match taken {
            true => Ok(()),
            false => Err(Fault::Busy {
                message: "too many bytes of requests' bodies are under way".to_owned(),
                retry_after: RETRY_AFTER,
            }
            .into()),
        }
    }
}

impl Room {
    /// As [`grow`](Self::grow), and waits for room first: for work that has time. Not for long, since
    /// whoever waits holds what they have.
    pub(crate) async fn grow_in_time(&mut self, bytes: usize) -> Result<(), Problem> {
        for _ in 0..TRIES {
            if self.grow(bytes).is_ok() {
                return Ok(());
            }
            tokio::time::sleep(RETRY_AFTER / TRIES).await;
        }
        self.grow(bytes)
    }
}

struct Part {
    share: Share,
    held: Option<OwnedSemaphorePermit>,
}

impl Part {
    fn of(share: &Share) -> Self {
        Self {
            share: share.clone(),
            held: None,
        }
    }

    fn grow(&mut self, bytes: usize) -> Option<()> {
        let held = self
            .held
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(UNIT).saturating_sub(held);
        if more == 0 {
            return Some(());
        }
        let more = self
            .share
            .clone()
            .try_acquire_many_owned(u32::try_from(more).ok()?)
            .ok()?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    #[test]
    fn room_is_taken_as_it_grows_and_given_back() {
        let bodies = Bodies::new(128 * KIB);
        let mut one = bodies.room();
        assert!(one.grow(40 * KIB).is_ok() && one.grow(112 * KIB).is_ok());
        let mut other = bodies.room();
        assert!(other.grow(17 * KIB).is_err());
        drop(one);
        assert!(other.grow(112 * KIB).is_ok());
        assert!(other.grow(112 * KIB + 1).is_err());
        drop(other);
        assert_eq!(bodies.first.available_permits(), 32);
        assert_eq!(bodies.rest.available_permits(), 96);
    }

    #[test]
    fn large_bodies_leave_room_for_small_ones() {
        let bodies = Bodies::new(128 * KIB);
        let mut large = bodies.room();
        assert!(large.grow(112 * KIB).is_ok());
        assert!(large.grow(113 * KIB).is_err());
        let mut small = bodies.room();
        assert!(small.grow(1).is_ok() && small.grow(FIRST).is_ok());
        assert!(bodies.room().grow(1).is_err());
    }
}
