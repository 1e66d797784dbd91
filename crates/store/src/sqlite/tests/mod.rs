//! The embedded store under the conformance suite, and what only it can suffer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod creating;
mod faults;
mod measure;
mod opening;
pub(super) mod plans;
mod snapshot;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use pentad_model::clock::ManualClock;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{OpenOptions, SqliteStore};
use crate::conformance::{self, Bench, Lab, random, reference::Reference};

/// Makes embedded stores below one temporary directory.
struct Embedded {
    dir: TempDir,
    made: AtomicU32,
}

impl Embedded {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = AtomicU32::new(0);
        Self { dir, made }
    }
}

#[async_trait]
impl Lab for Embedded {
    type Store = SqliteStore;

    async fn fresh(&self, clock: Arc<ManualClock>) -> Arc<SqliteStore> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir.path().join(number.to_string());
        Arc::new(SqliteStore::create(dir, options(clock)).unwrap())
    }

    async fn reopen(&self, store: Arc<SqliteStore>) -> Arc<SqliteStore> {
        let store = Arc::into_inner(store).expect("nobody else holds it");
        let (dir, clock) = (
            store.path.parent().unwrap().to_owned(),
            ManualClock::default(),
        );
        drop(store);
        Arc::new(SqliteStore::open(dir, options(Arc::new(clock))).unwrap())
    }
}

fn options(clock: Arc<ManualClock>) -> OpenOptions {
    OpenOptions {
        clock,
        ..OpenOptions::default()
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

/// The suite holds for the reference as well: they mean the same by every word.
struct Imagined;

#[async_trait]
impl Lab for Imagined {
    type Store = Reference;

    async fn fresh(&self, clock: Arc<ManualClock>) -> Arc<Reference> {
        Arc::new(Reference::new(clock))
    }

    async fn reopen(&self, store: Arc<Reference>) -> Arc<Reference> {
        store
    }
}

#[test]
fn the_reference_passes_the_suite() {
    run(conformance::all(&Imagined));
}

macro_rules! a_test_each {
    ($($module:ident { $($case:ident,)+ })+) => {
        $(mod $module {
            $(
                #[test]
                fn $case() {
                    let lab = super::Embedded::new();
                    super::run(async {
                        let bench = super::Bench::new(&lab).await;
                        crate::conformance::$module::$case(&bench).await;
                    });
                }
            )+
        })+
    };
}

crate::for_each_case!(a_test_each);

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn random_changes_agree_with_the_reference(acts in random::acts()) {
        run(random::agrees_with_the_reference(&Embedded::new(), acts));
    }
}
