//! Places for work with stored keys: how many parcels of it are at the encryption agent at a time.
//!
//! The agent's threads for what computes also check passwords. Key work never goes before a login
//! (see [`urgency`]), and what of it is with the agent, or deposited for it, has two bounds: one for
//! each caller over all of their requests, and one for all callers. Who gets no place waits, and
//! deposits nothing meanwhile; callers take turns, because none waits for more places than one has.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use pentad_model::{Context, Principal, Tenant};
use pentad_runtime::Priority;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Fault;

/// Parcels of one caller: twice the agent's threads, so that none of them waits for the next one.
pub(super) const EACH: usize = 4;
/// Parcels of all callers. With requests of 2 MiB it is half of a tenant's share of the hand-off:
/// key work alone can't refuse a login.
pub(super) const ALL: usize = 16;

/// See the module.
pub(crate) struct Bench {
    callers: Mutex<HashMap<(Tenant, Principal), Weak<Semaphore>>>,
    all: Arc<Semaphore>,
}

/// A place, until it is dropped.
#[must_use = "its place is given away when it is dropped"]
pub(super) struct Seat {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Default for Bench {
    fn default() -> Self {
        Self {
            callers: Mutex::default(),
            all: Arc::new(Semaphore::new(ALL)),
        }
    }
}

impl Bench {
    /// Waits for a place for one parcel.
    pub(super) async fn sit(&self, context: &Context) -> Result<Seat, Fault> {
        let closed = |_| Fault::internal("no more places for key work are given");
        let own = self.of(context).acquire_owned().await.map_err(closed)?;
        let all = self.all.clone().acquire_owned().await.map_err(closed)?;
        Ok(Seat {
            _own: own,
            _all: all,
        })
    }

    /// The caller's own places, known for as long as somebody sits or waits there.
    fn of(&self, context: &Context) -> Arc<Semaphore> {
        let caller = (context.tenant.clone(), context.principal.clone());
        let mut callers = self.callers.lock();
        if let Some(places) = callers.get(&caller).and_then(Weak::upgrade) {
            return places;
        }
        callers.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(EACH));
        callers.insert(caller, Arc::downgrade(&places));
        places
    }
}

/// How urgent key work is: never more than a program's, whoever asks.
pub(super) fn urgency(caller: Priority) -> Priority {
    caller.max(Priority::Normal)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::FutureExt as _;
    use pentad_model::Id;

    use super::*;

    fn somebody(name: &str) -> Context {
        Context {
            correlation: Id::from_u128(1),
            tenant: Tenant::default_tenant(),
            principal: Principal::User {
                name: name.parse().unwrap(),
            },
            origin: "test".to_owned(),
        }
    }

    fn sit(bench: &Bench, name: &str) -> Option<Seat> {
        bench.sit(&somebody(name)).now_or_never()?.ok()
    }

    #[test]
    fn one_caller_takes_some_places_and_leaves_the_others() {
        let bench = Bench::default();
        let mut seats: Vec<Seat> = (0..EACH).map(|_| sit(&bench, "a").unwrap()).collect();
        assert!(sit(&bench, "a").is_none());
        assert!(sit(&bench, "b").is_some());
        seats.pop();
        assert!(sit(&bench, "a").is_some());
    }

    #[test]
    fn all_callers_together_have_a_bound_and_are_forgotten_when_they_leave() {
        let bench = Bench::default();
        let seats: Vec<Seat> = (0..ALL)
            .map(|n| sit(&bench, &format!("u{n}")).unwrap())
            .collect();
        assert!(sit(&bench, "late").is_none());
        drop(seats);
        assert!(sit(&bench, "late").is_some());
        assert_eq!(bench.callers.lock().len(), 1);
    }

    #[test]
    fn key_work_never_goes_before_a_login() {
        assert_eq!(urgency(Priority::Critical), Priority::Normal);
        assert_eq!(urgency(Priority::High), Priority::Normal);
        assert_eq!(urgency(Priority::Background), Priority::Background);
    }
}
