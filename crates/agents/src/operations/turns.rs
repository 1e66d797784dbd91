//! Logins of one user take turns, two at a time.
//!
//! Each attempt is counted as a failure until its password was found right, so that guesses made at
//! once have all paid. Without turns, right passwords given at once (a script on many machines) would
//! be counted against each other, and lock their user out. Two at a time are well below what is free,
//! also where another process serves the same store.
//!
//! Users share a turnstile by chance: there are [`STILES`] for any number of names, known or not.

use std::hash::{BuildHasher as _, RandomState};

use pentad_model::{Name, Tenant};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Fault;

/// Turnstiles: more than passwords can be checked in the time that one login takes.
const STILES: usize = 256;
/// Attempts of one user under way.
const AT_ONCE: usize = 2;

/// See the module.
pub(crate) struct Turns {
    stiles: Vec<Semaphore>,
    which: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            stiles: (0..STILES).map(|_| Semaphore::new(AT_ONCE)).collect(),
            which: RandomState::new(),
        }
    }
}

impl Turns {
    /// Waits for this user's turn, which lasts until it is dropped. The longest waiting one is next.
    pub(super) async fn wait(
        &self,
        tenant: &Tenant,
        user: &Name,
    ) -> Result<SemaphorePermit<'_>, Fault> {
        let closed = || Fault::internal("no more turns to log in are given");
        let hash = self.which.hash_one((tenant.as_str(), user.as_str()));
        let at = usize::try_from(hash % STILES as u64).unwrap_or_default();
        let stile = self.stiles.get(at).ok_or_else(closed)?;
        stile.acquire().await.map_err(|_| closed())
    }
}
