//! What a node keeps in memory while others change the store.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use pentad_model::{Id, clock::ManualClock};

use super::{Database, PostgresOptions, PostgresStore, options, run};
use crate::{
    Change, Collection, Document, Expect, Op, Reader as _, Stamp, StoreError, Writer as _,
    conformance::samples::{NOW, create, credential, path, record, tenant, update},
};

/// Far longer than anything here should take.
const PATIENCE: Duration = Duration::from_secs(20);

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(NOW))
}

/// Two nodes on one store.
async fn nodes(lab: &Database) -> (PostgresStore, PostgresStore) {
    let a = PostgresStore::create(lab.address(""), "a", options(clock())).await;
    let b = PostgresStore::open(lab.address(""), "b", options(clock())).await;
    (a.unwrap(), b.unwrap())
}

fn told(id: u128, op: Op) -> Change {
    Change::new(op, record(Id::from_u128(id)))
}

fn of(store: &PostgresStore, at: &str) -> Stamp {
    store.stamps().unwrap().of_credential(&tenant(), &path(at))
}

fn holds(store: &PostgresStore, stamp: Stamp) -> bool {
    store.stamps().unwrap().holds(stamp)
}

/// Waits until something is so; says how long that took.
async fn until(what: &str, mut so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    began.elapsed()
}

/// Waits until stamps hold that are taken now.
async fn hears(store: &PostgresStore) {
    until("it hears of others", || holds(store, of(store, "heard"))).await;
}

#[test]
fn a_change_at_one_node_is_seen_at_another_within_a_second() {
    let lab = Database::new();
    run(async {
        let (a, b) = nodes(&lab).await;
        a.commit(told(1, create(credential("x")))).await.unwrap();
        let token = Document {
            collection: Collection::Token,
            tenant: tenant(),
            name: "t".to_owned(),
            revision: 0,
            expires_at: None,
            body: "a token".into(),
            seal: None,
        };
        let put = Op::PutDocument {
            document: token,
            expect: Expect::Any,
        };
        a.commit(told(2, put)).await.unwrap();
        for round in 0..3 {
            hears(&b).await;
            let kept = of(&b, "x");
            let other = of(&b, "y");
            let mut it = b.credential(&tenant(), &path("x")).await.unwrap().unwrap();
            it.latest += 1;
            a.commit(told(10 + round, update(it))).await.unwrap();
            let took = until("the change is seen", || !holds(&b, kept)).await;
            assert!(took < Duration::from_secs(1), "it took {took:?}");
            // And nothing else was forgotten for it.
            hears(&b).await;
            assert!(!holds(&b, kept) && holds(&b, other));
        }
        let stamps = b.stamps().unwrap();
        let of_token = || stamps.of_document(Collection::Token, &tenant(), "t");
        let kept = of_token();
        let revoke = Op::RemoveDocument {
            collection: Collection::Token,
            tenant: tenant(),
            name: "t".to_owned(),
        };
        a.commit(told(20, revoke)).await.unwrap();
        let took = until("the token is gone", || !stamps.holds(kept)).await;
        assert!(took < Duration::from_secs(1), "it took {took:?}");
    });
}

#[test]
fn a_nodes_own_changes_are_seen_when_they_are_answered() {
    let lab = Database::new();
    run(async {
        let (a, _b) = nodes(&lab).await;
        hears(&a).await;
        let kept = of(&a, "x");
        a.commit(told(1, create(credential("x")))).await.unwrap();
        assert!(!holds(&a, kept));
        // Who was refused reads anew: what it decided by may have been kept.
        let kept = of(&a, "x");
        let refused = a.commit(told(2, create(credential("x")))).await;
        assert!(matches!(refused, Err(StoreError::Exists { .. })));
        assert!(!holds(&a, kept));
    });
}

#[test]
fn with_the_feed_cut_off_nothing_kept_is_used() {
    let lab = Database::new();
    run(async {
        let (a, late) = nodes(&lab).await;
        drop(late);
        // This node's time is ours.
        let now = Arc::new(Mutex::new(Duration::from_secs(1000)));
        let uptime = Arc::clone(&now);
        let ours = PostgresOptions {
            uptime: Arc::new(move || *uptime.lock()),
            ..options(clock())
        };
        let b = PostgresStore::open(lab.address(""), "c", ours)
            .await
            .unwrap();
        hears(&b).await;
        let kept = of(&b, "x");
        let blocker = lab.client().await;
        let cut = "BEGIN; LOCK TABLE pentad.feed IN ACCESS EXCLUSIVE MODE";
        blocker.batch_execute(cut).await.unwrap();
        *now.lock() += super::super::follower::BOUND;
        // Whatever was answered before the cut was asked before it.
        assert!(!holds(&b, kept) && !holds(&b, of(&b, "x")));
        // Look-ups go to the database, and are right.
        assert_eq!(b.credential(&tenant(), &path("x")).await, Ok(None));
        blocker.batch_execute("ROLLBACK").await.unwrap();
        a.commit(told(1, create(credential("x")))).await.unwrap();
        hears(&b).await;
        until("the change is heard of", || !holds(&b, kept)).await;
        hears(&b).await;
        assert!(
            !holds(&b, kept),
            "what was kept before the change is used again"
        );
    });
}

#[test]
fn a_new_session_begins_with_everything_forgotten() {
    let lab = Database::new();
    run(async {
        let (a, b) = nodes(&lab).await;
        hears(&a).await;
        hears(&b).await;
        let kept = of(&b, "x");
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        lab.sql(cut).await;
        // It may be another database now, with another past.
        until("it is forgotten", || !holds(&b, kept)).await;
        hears(&b).await;
        assert!(!holds(&b, kept));
    });
}
