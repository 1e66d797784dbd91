//! What is remembered of verifiers that were set from here, so that it is not derived again.
//!
//! **Keys, for the login that shows that the verifier arrived.**
//! A login with SCRAM derives its keys from the password, the salt and the number of iterations that
//! the server sends; making the verifier derived the same ones. RFC 5802 section 5.1 lets a client keep
//! them, since that saves it the derivation. With them one can log in, so they are kept as one keeps
//! a password: zeroised, few, for [seconds](KEPT), and for one use. They are given out only for the
//! salt and number that they were derived with, and only to whoever has the same password.
//!
//! **Digests, for the next comparison.** Nobody logs in with the digest of a StoredKey, so it is
//! remembered for longer. Where it is not (another process set the verifier, or thousands were set
//! since), the comparison derives it.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU32,
    sync::LazyLock,
    time::Duration,
};

use aws_lc_rs::hmac;
use parking_lot::Mutex;
use pentad_model::id::{Entropy as _, OsEntropy};
use tokio::{task::AbortHandle, time::Instant};
use zeroize::Zeroizing;

use super::verifier::{Keys, SALT, StoredDigest};

/// How long keys wait for their login. It follows within milliseconds; where it is late, the keys are
/// derived again.
const KEPT: Duration = Duration::from_secs(5);
/// More are not kept: the oldest go.
const MOST: usize = 1024;
/// Digests that are remembered: half a megabyte.
const DIGESTS: usize = 4096;

static RECENT: LazyLock<Recent> = LazyLock::new(|| Recent::new(KEPT));

/// Keeps the keys that a verifier which the server has now was made with.
pub(super) fn keep(password: &[u8], salt: [u8; SALT], iterations: NonZeroU32, keys: Keys) {
    RECENT.keep(password, salt, iterations, keys);
}

/// Gives out the keys of a password for a salt and a number of iterations, if they are here; then
/// they no longer are.
pub(super) fn take(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Option<Keys> {
    RECENT.take(password, salt, iterations)
}

/// The [digest](Keys::digest) of the verifier that was set from here for this password with this
/// salt and number of iterations.
pub(super) fn digest(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Option<StoredDigest> {
    RECENT.digest(password, salt, iterations)
}

struct Recent {
    /// Tells passwords apart without keeping them, or a digest that would outlive this process.
    tags: hmac::Key,
    kept: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The oldest first.
    entries: VecDeque<Entry>,
    digests: HashMap<[u8; SALT], Digest>,
    /// Their salts, the oldest first.
    salts: VecDeque<[u8; SALT]>,
    /// Drops what nobody came for; ends when there is nothing left.
    sweeper: Option<AbortHandle>,
}

struct Entry {
    salt: [u8; SALT],
    iterations: NonZeroU32,
    password: hmac::Tag,
    keys: Keys,
    until: Instant,
}

struct Digest {
    iterations: NonZeroU32,
    password: hmac::Tag,
    stored: StoredDigest,
}

impl Recent {
    fn new(kept: Duration) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        OsEntropy.fill(key.as_mut());
        Self {
            tags: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()),
            kept,
            state: Mutex::default(),
        }
    }

    fn keep(&'static self, password: &[u8], salt: [u8; SALT], iterations: NonZeroU32, keys: Keys) {
        let password = hmac::sign(&self.tags, password);
        let digest = Digest {
            iterations,
            password,
            stored: keys.digest(),
        };
        let entry = Entry {
            salt,
            iterations,
            password,
            keys,
            until: Instant::now() + self.kept,
        };
        let mut state = self.state.lock();
        state.drop_late();
        if state.entries.len() >= MOST {
            state.entries.pop_front();
        }
        state.entries.push_back(entry);
        if state.salts.len() >= DIGESTS
            && let Some(oldest) = state.salts.pop_front()
        {
            state.digests.remove(&oldest);
        }
        if state.digests.insert(salt, digest).is_none() {
            state.salts.push_back(salt);
        }
        // One that belonged to a runtime that has ended has ended with it.
        if state.sweeper.as_ref().is_none_or(AbortHandle::is_finished) {
            state.sweeper = Some(tokio::spawn(self.sweep()).abort_handle());
        }
    }

    fn take(&self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Option<Keys> {
        let mut state = self.state.lock();
        state.drop_late();
        let at = state.entries.iter().position(|entry| {
            entry.salt == salt
                && entry.iterations == iterations
                && hmac::verify(&self.tags, password, entry.password.as_ref()).is_ok()
        })?;
        state.entries.remove(at).map(|entry| entry.keys)
    }

    fn digest(&self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Option<StoredDigest> {
        let state = self.state.lock();
        let found = state.digests.get(salt)?;
        let same = found.iterations == iterations
            && hmac::verify(&self.tags, password, found.password.as_ref()).is_ok();
        same.then_some(found.stored)
    }

    async fn sweep(&'static self) {
        loop {
            tokio::time::sleep(self.kept).await;
            let mut state = self.state.lock();
            state.drop_late();
            if state.entries.is_empty() {
                state.sweeper = None;
                return;
            }
        }
    }
}

impl State {
    fn drop_late(&mut self) {
        let now = Instant::now();
        while self.entries.front().is_some_and(|entry| entry.until <= now) {
            self.entries.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const FEW: NonZeroU32 = NonZeroU32::new(2).unwrap();
    const MORE: NonZeroU32 = NonZeroU32::new(3).unwrap();

    fn recent(kept: Duration) -> &'static Recent {
        Box::leak(Box::new(Recent::new(kept)))
    }

    fn keys() -> Keys {
        Keys::derive(b"pencil", &[7; SALT], FEW).unwrap()
    }

    fn len(recent: &Recent) -> usize {
        recent.state.lock().entries.len()
    }

    #[tokio::test]
    async fn only_the_same_password_salt_and_number_get_them_and_once() {
        let recent = recent(KEPT);
        recent.keep(b"pencil", [7; SALT], FEW, keys());
        assert!(recent.take(b"pencil2", &[7; SALT], FEW).is_none());
        assert!(recent.take(b"pencil", &[8; SALT], FEW).is_none());
        assert!(recent.take(b"pencil", &[7; SALT - 1], FEW).is_none());
        assert!(recent.take(b"pencil", &[7; SALT], MORE).is_none());
        let taken = recent.take(b"pencil", &[7; SALT], FEW).unwrap();
        assert_eq!(taken.stored_key(), keys().stored_key());
        assert!(recent.take(b"pencil", &[7; SALT], FEW).is_none());
    }

    #[tokio::test]
    async fn a_digest_is_remembered_for_the_same_password_salt_and_number() {
        let recent = recent(KEPT);
        recent.keep(b"pencil", [7; SALT], FEW, keys());
        drop(recent.take(b"pencil", &[7; SALT], FEW));
        for _ in 0..2 {
            let digest = recent.digest(b"pencil", &[7; SALT], FEW);
            assert_eq!(digest, Some(keys().digest()));
        }
        assert_eq!(recent.digest(b"pencil2", &[7; SALT], FEW), None);
        assert_eq!(recent.digest(b"pencil", &[8; SALT], FEW), None);
        assert_eq!(recent.digest(b"pencil", &[7; SALT - 1], FEW), None);
        assert_eq!(recent.digest(b"pencil", &[7; SALT], MORE), None);
    }

    #[tokio::test]
    async fn they_are_few() {
        let recent = recent(KEPT);
        for number in 0..=DIGESTS {
            let mut salt = [0; SALT];
            salt[..8].copy_from_slice(&number.to_be_bytes());
            recent.keep(b"pencil", salt, FEW, keys());
        }
        assert_eq!(len(recent), MOST);
        let oldest = &[0; SALT];
        assert!(recent.take(b"pencil", oldest, FEW).is_none());
        assert!(recent.digest(b"pencil", oldest, FEW).is_none());
        let state = recent.state.lock();
        assert_eq!((state.digests.len(), state.salts.len()), (DIGESTS, DIGESTS));
    }

    #[tokio::test]
    async fn what_nobody_comes_for_is_dropped_by_itself() {
        let recent = recent(Duration::from_millis(1));
        for salt in [[7; SALT], [8; SALT]] {
            recent.keep(b"pencil", salt, FEW, keys());
            while recent.state.lock().sweeper.is_some() {
                tokio::task::yield_now().await;
            }
            assert_eq!(len(recent), 0);
        }
    }
}
