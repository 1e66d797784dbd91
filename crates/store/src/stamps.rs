//! What changed: so that whoever keeps what it read can tell whether it still holds.
//!
//! A stamp is taken *before* something is read from the store, and kept with it. The store moves the
//! stamps of whatever a change touched after the change is visible and before it is answered. So:
//!
//! * What was kept under a stamp that [holds](Stamps::holds) is as new as the last change that was
//!   answered to anybody.
//! * What was read while a change was under way is kept under a stamp that holds no more: it can't
//!   outlive the change, in whatever order the two go on.
//!
//! A store that several nodes change hears of the others' changes a moment later, and moves the stamps
//! then. There the first of these promises reads: *as new as what had been heard of*, and what that was
//! is never older than a bound. While nothing is heard no stamp holds, and everything is read from the
//! store again, so the bound holds always: with the database out of reach, or its feed cut off, too.
//!
//! Stamps are shared by many keys, so one may move without need; then something is read once more.
//! Taking one, looking at one and moving one cost some nanoseconds, no lock and no allocation.

use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pentad_model::{Path, Tenant};

use crate::{Collection, Op};

/// Stamps of everything: 128 KiB. A change moves one in so many of the others for nothing.
const STAMPS: usize = 16_384;

/// See the module.
#[derive(Debug)]
pub struct Stamps {
    hasher: RandomState,
    moved: Box<[AtomicU64]>,
    /// Of others' changes; `None`: there are no others.
    news: Option<News>,
}

/// Tells how long this machine has been running, the time that it slept included: it never goes back,
/// and goes on whatever happens to the time of day.
pub type Uptime = Arc<dyn Fn() -> Duration + Send + Sync>;

/// How far others' changes have been heard of.
struct News {
    uptime: Uptime,
    /// Until when that is recent enough; nanoseconds of `uptime`.
    until: AtomicU64,
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("News")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// How things stood with one key when it was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    place: usize,
    seen: u64,
}

impl Default for Stamps {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            moved: (0..STAMPS).map(|_| AtomicU64::new(0)).collect(),
            news: None,
        }
    }
}

/// That of the system. Source: `CLOCK_BOOTTIME` in clock_gettime(2).
pub(crate) fn uptime() -> Uptime {
    Arc::new(|| {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
    })
}

impl Stamps {
    /// That of a credential and its versions.
    pub fn of_credential(&self, tenant: &Tenant, path: &Path) -> Stamp {
        self.at(self.credential(tenant, path))
    }

    /// That of a document.
    pub fn of_document(&self, collection: Collection, tenant: &Tenant, name: &str) -> Stamp {
        self.at(self.document(collection, tenant, name))
    }

    /// Whether nothing that was answered since has changed what the stamp is of. Of others' changes:
    /// nothing that had been heard of, which is never longer ago than the store's bound.
    pub fn holds(&self, stamp: Stamp) -> bool {
        // In this order: who sees that news came sees what it moved.
        self.news.as_ref().is_none_or(News::is_recent) && self.at(stamp.place) == stamp
    }

    /// Those of a store that others change too. None holds until [`heard`](Self::heard).
    pub(crate) fn of_a_shared_store(uptime: Uptime) -> Self {
        let until = AtomicU64::new(0);
        Self {
            news: Some(News { uptime, until }),
            ..Self::default()
        }
    }

    /// What others changed up to a moment ago has been moved; that is good until this uptime.
    pub(crate) fn heard(&self, until: Duration) {
        if let Some(news) = &self.news {
            // Pairs with the `Acquire` of `is_recent`.
            news.until.store(nanoseconds(until), Ordering::Release);
        }
    }

    /// Moves all of them: anything may have changed.
    pub(crate) fn touch_all(&self) {
        for place in 0..self.moved.len() {
            self.touch_at(place);
        }
    }

    /// Moves that of a credential and its versions.
    pub(crate) fn touch_credential(&self, tenant: &Tenant, path: &Path) {
        self.touch_at(self.credential(tenant, path));
    }

    /// Moves that of a document.
    pub(crate) fn touch_document(&self, collection: Collection, tenant: &Tenant, name: &str) {
        self.touch_at(self.document(collection, tenant, name));
    }

    /// Moves the stamps of what a change's operations touched, whether it took effect or not.
    pub(crate) fn touch<'o>(&self, ops: impl IntoIterator<Item = &'o Op>) {
        for op in ops {
            let place = match op {
                Op::CreateCredential { credential } | Op::UpdateCredential { credential, .. } => {
                    self.credential(&credential.tenant, &credential.path)
                }
                Op::RemoveCredential { tenant, path, .. }
                | Op::SetStage { tenant, path, .. }
                | Op::DestroyVersion { tenant, path, .. } => self.credential(tenant, path),
                Op::AddVersion { version } => self.credential(&version.tenant, &version.path),
                Op::PutDocument { document, .. } => {
                    self.document(document.collection, &document.tenant, &document.name)
                }
                Op::RemoveDocument {
                    collection,
                    tenant,
                    name,
                } => self.document(*collection, tenant, name),
                // Nobody keeps rotations; and what is only looked at does not change.
                Op::CreateRotation { .. }
                | Op::UpdateRotation { .. }
                | Op::CheckDocument { .. } => continue,
            };
            self.touch_at(place);
        }
    }

    fn touch_at(&self, place: usize) {
        // Pairs with the `Acquire` of `at`: who sees it moved sees the change in the store.
        self.moved[place].fetch_add(1, Ordering::AcqRel);
    }

    fn at(&self, place: usize) -> Stamp {
        let seen = self.moved[place].load(Ordering::Acquire);
        Stamp { place, seen }
    }

    fn credential(&self, tenant: &Tenant, path: &Path) -> usize {
        self.place(("credential", tenant.as_str(), path.as_str()))
    }

    fn document(&self, collection: Collection, tenant: &Tenant, name: &str) -> usize {
        self.place((collection.as_str(), tenant.as_str(), name))
    }

    fn place(&self, key: impl Hash) -> usize {
        // Which remainder it is does not matter.
        (self.hasher.hash_one(key) % STAMPS as u64) as usize
    }
}

impl News {
    fn is_recent(&self) -> bool {
        nanoseconds((self.uptime)()) < self.until.load(Ordering::Acquire)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn where_others_change_the_store_nothing_holds_without_news() {
        let now = Arc::new(Mutex::new(Duration::from_secs(100)));
        let uptime = Arc::clone(&now);
        let stamps = Stamps::of_a_shared_store(Arc::new(move || *uptime.lock()));
        let of =
            |name: &str| stamps.of_document(Collection::Token, &Tenant::default_tenant(), name);
        let before = of("a");
        assert!(!stamps.holds(before), "nothing was heard yet");
        stamps.heard(Duration::from_secs(101));
        assert!(stamps.holds(before));
        *now.lock() = Duration::from_secs(101);
        assert!(!stamps.holds(before), "that was too long ago");
        stamps.heard(Duration::from_secs(102));
        assert!(stamps.holds(before));
        stamps.touch_document(Collection::Token, &Tenant::default_tenant(), "a");
        assert!(!stamps.holds(before));
        let after = of("a");
        assert!(stamps.holds(after));
        stamps.touch_all();
        assert!(!stamps.holds(after));
    }
}
