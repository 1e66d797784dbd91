//! Deterministic randomness and ready keyrings for this crate's tests.

#![allow(clippy::unwrap_used)]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use aws_lc_rs::digest::{SHA256, digest};
use pentad_model::{Tenant, id::Entropy};

use crate::{Keyring, RootKey};

/// SHA-256 of a seed and a counter: repeatable, and never the same twice.
pub(crate) struct SeededEntropy {
    seed: u64,
    counter: AtomicU64,
}

impl SeededEntropy {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            counter: AtomicU64::new(0),
        }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let count = self.counter.fetch_add(1, Ordering::Relaxed);
            let mut input = self.seed.to_be_bytes().to_vec();
            input.extend_from_slice(&count.to_be_bytes());
            let block = digest(&SHA256, &input);
            chunk.copy_from_slice(&block.as_ref()[..chunk.len()]);
        }
    }
}

/// A source that is broken: the same byte for ever.
pub(crate) struct StuckEntropy(pub(crate) u8);

impl Entropy for StuckEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

pub(crate) fn tenant(name: &str) -> Tenant {
    name.parse().unwrap()
}

/// A keyring with a key for each of the tenants.
pub(crate) fn keyring(seed: u64, tenants: &[&str]) -> Keyring {
    let entropy = Arc::new(SeededEntropy::new(seed));
    let root = RootKey::generate(entropy.as_ref());
    let keyring = Keyring::new(root, entropy).unwrap();
    for name in tenants {
        let wrapped = keyring.create_tenant_key(&tenant(name)).unwrap();
        keyring.load_tenant_key(&wrapped).unwrap();
    }
    keyring
}
