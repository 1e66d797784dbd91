//! Several nodes on one store, sessions that are cut off, and databases that are refused.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use pentad_model::{Id, clock::ManualClock};

use super::{Database, PostgresStore, options, run};
use crate::{
    Change, CredentialQuery, Reader as _, StoreError, Writer as _,
    conformance::samples::{NOW, create, credential, path, record, tenant, update},
    postgres::feed::Touched,
};

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(NOW))
}

async fn made(lab: &Database, log: &str) -> PostgresStore {
    PostgresStore::create(lab.address(""), log, options(clock()))
        .await
        .unwrap()
}

async fn opened(lab: &Database, log: &str) -> Result<PostgresStore, StoreError> {
    PostgresStore::open(lab.address(""), log, options(clock())).await
}

fn told(id: u128, ops: impl IntoIterator<Item = crate::Op>) -> Change {
    Change {
        ops: ops.into_iter().collect(),
        records: vec![record(Id::from_u128(id))],
    }
}

#[test]
fn two_nodes_increment_one_row_and_none_gets_lost() {
    let lab = Database::new();
    run(async {
        let a = Arc::new(made(&lab, "a").await);
        let b = Arc::new(opened(&lab, "b").await.unwrap());
        a.commit(told(1, [create(credential("counter"))]))
            .await
            .unwrap();
        let tasks: Vec<_> = (0..40u128)
            .map(|task| {
                let store = Arc::clone(if task % 2 == 0 { &a } else { &b });
                tokio::spawn(async move {
                    for n in 0.. {
                        let found = store.credential(&tenant(), &path("counter")).await;
                        let mut it = found.unwrap().unwrap();
                        it.latest += 1;
                        match store
                            .commit(told(1000 + task * 1000 + n, [update(it)]))
                            .await
                        {
                            Ok(()) => return,
                            Err(StoreError::Conflict { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let found = a
            .credential(&tenant(), &path("counter"))
            .await
            .unwrap()
            .unwrap();
        assert_eq!((found.latest, found.revision), (40, 41));
        // Each node has the records of its own changes, and no other.
        let (mine, theirs) = (a.outbox(1000).await.unwrap(), b.outbox(1000).await.unwrap());
        assert_eq!((mine.len(), theirs.len()), (21, 20));
        // A change that the other node has done is done.
        b.commit(told(1, [create(credential("counter"))]))
            .await
            .unwrap();
        assert_eq!(b.outbox(1000).await.unwrap().len(), 20);
    });
}

#[test]
fn sessions_cut_off_under_load_change_nothing_twice_and_lose_nothing() {
    let lab = Database::new();
    run(async {
        let store = Arc::new(made(&lab, "a").await);
        let done = Arc::new(AtomicBool::new(false));
        let onlooker = lab.client().await;
        let ended = Arc::clone(&done);
        let progress = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&progress);
        let killer = tokio::spawn(async move {
            let (mut kills, mut next) = (0, 0);
            while !ended.load(Ordering::Relaxed) {
                // By what got through, not by time: as often on a fast machine as on a slow one.
                if seen.load(Ordering::Relaxed) < next {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
                next = seen.load(Ordering::Relaxed) + 12;
                let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                           WHERE datname = current_database() AND pid <> pg_backend_pid()
                             AND application_name = 'pentad'";
                kills += onlooker.query(cut, &[]).await.unwrap().len();
            }
            kills
        });
        let tasks: Vec<_> = (0..8u128)
            .map(|task| {
                let (store, progress) = (Arc::clone(&store), Arc::clone(&progress));
                tokio::spawn(async move {
                    let mut acknowledged = BTreeSet::new();
                    for n in 0..100u128 {
                        let at = format!("t{task}/{n}");
                        let change = told(1000 + task * 1000 + n, [create(credential(&at))]);
                        match store.commit(change).await {
                            Ok(()) => {
                                progress.fetch_add(1, Ordering::Relaxed);
                                assert!(acknowledged.insert(at));
                            }
                            // Never `Exists`: nobody else makes it, and nothing is done twice.
                            Err(StoreError::Unavailable { .. }) => {}
                            Err(error) => panic!("{at}: {error}"),
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        let mut acknowledged = BTreeSet::new();
        for task in tasks {
            acknowledged.extend(task.await.unwrap());
        }
        done.store(true, Ordering::Relaxed);
        let kills = killer.await.unwrap();
        assert!(kills > 10, "only {kills} sessions were cut off");
        let query = CredentialQuery::below(tenant(), "t", 1000);
        let stored = store.credentials(&query).await.unwrap().items;
        let stored: BTreeSet<_> = stored.iter().map(|it| it.path.to_string()).collect();
        assert!(
            acknowledged.is_subset(&stored),
            "an acknowledged change is missing"
        );
        // A change and its record are one act.
        let records = store.outbox(1000).await.unwrap();
        assert_eq!(records.len(), stored.len());
        assert!(
            acknowledged.len() > 200,
            "only {} got through",
            acknowledged.len()
        );
    });
}

#[test]
fn a_node_is_one_process_at_a_time() {
    let lab = Database::new();
    run(async {
        let first = made(&lab, "a").await;
        let second = opened(&lab, "a").await.unwrap_err();
        assert!(
            second.to_string().contains("another process is this node"),
            "{second}"
        );
        drop(first);
        opened(&lab, "a").await.unwrap();
    });
}

#[test]
fn records_of_a_node_that_is_gone_are_taken_over_once_and_in_order() {
    let lab = Database::new();
    run(async {
        let a = made(&lab, "a").await;
        let time = clock();
        let b = PostgresStore::open(lab.address(""), "b", options(Arc::clone(&time)));
        let b = b.await.unwrap();
        b.commit(told(50, [create(credential("own"))]))
            .await
            .unwrap();
        for id in 1..=5 {
            let change = told(id, [create(credential(&format!("x{id}")))]);
            a.commit(change).await.unwrap();
        }
        a.clear_outbox(2).await.unwrap();
        let an_hour = Duration::from_secs(3600);
        let restart = Duration::from_secs(60);
        time.advance(restart);
        // It lives.
        assert_eq!(b.adopt().await, Ok(0));
        drop(a);
        // It has gone a moment ago, and may come back.
        assert_eq!(adopted(&b).await, 0);
        time.advance(an_hour);
        assert_eq!(adopted(&b).await, 3);
        assert_eq!(b.adopt().await, Ok(0));
        b.commit(told(51, [create(credential("later"))]))
            .await
            .unwrap();
        let waiting = b.outbox(100).await.unwrap();
        let ids: Vec<_> = waiting.iter().map(|it| it.id).collect();
        assert_eq!(ids, [50, 3, 4, 5, 51].map(Id::from_u128));
        assert!(waiting.is_sorted_by_key(|it| it.position));
        // Should it come back after all, it has nothing twice and goes on.
        let a = opened(&lab, "a").await.unwrap();
        assert_eq!(a.outbox(100).await, Ok(Vec::new()));
        a.commit(told(6, [create(credential("back"))]))
            .await
            .unwrap();
        let position = a.outbox(100).await.unwrap()[0].position;
        assert_eq!(position, 6, "a position is never given twice");
        time.advance(an_hour);
        assert_eq!(b.adopt().await, Ok(0));
    });
}

/// What is adopted once the other node's session has ended at the server, too.
async fn adopted(store: &PostgresStore) -> u64 {
    // Its lock is free as soon as nobody but this node has a session that holds one.
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    for _ in 0..500 {
        let rows = store.lanes.query(held, &[]).await.unwrap();
        if rows[0].get::<_, i64>(0) == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    store.adopt().await.unwrap()
}

#[test]
fn another_node_sees_what_was_touched() {
    let lab = Database::new();
    run(async {
        let a = made(&lab, "a").await;
        let b = opened(&lab, "b").await.unwrap();
        let start = b.changes_since(u64::MAX).await.unwrap().position;
        let none = b.changes_since(start).await.unwrap();
        assert_eq!(
            (none.position, none.touched),
            (start, Some(BTreeSet::new()))
        );
        a.commit(told(1, [create(credential("x"))])).await.unwrap();
        a.commit(told(2, [create(credential("y"))])).await.unwrap();
        let news = b.changes_since(start).await.unwrap();
        let both = ["x", "y"].map(|at| Touched::Credential(tenant(), path(at)));
        assert_eq!(news.touched, Some(BTreeSet::from(both)));
        assert_eq!(
            b.changes_since(news.position).await.unwrap().touched,
            Some(BTreeSet::new())
        );
        // What was swept may have been anything.
        lab.sql("DELETE FROM pentad.feed").await;
        let lost = b.changes_since(start).await.unwrap();
        assert_eq!((lost.position, lost.touched), (news.position, None));
    });
}

#[test]
fn a_database_that_forgets_commits_is_refused_with_what_mends_it() {
    let lab = Database::new();
    run(async {
        drop(made(&lab, "a").await);
        let name = lab.name.clone();
        lab.sql(&format!(
            "ALTER DATABASE {name} SET synchronous_commit = off"
        ))
        .await;
        let refused = opened(&lab, "b").await.unwrap_err().to_string();
        assert!(
            refused.contains(&format!("ALTER DATABASE {name} RESET synchronous_commit")),
            "{refused}"
        );
        lab.sql(&format!("ALTER DATABASE {name} RESET synchronous_commit"))
            .await;
        opened(&lab, "b").await.unwrap();
    });
}

#[test]
fn what_is_no_store_or_a_newer_one_is_left_alone() {
    let lab = Database::new();
    run(async {
        let absent = opened(&lab, "a").await.unwrap_err();
        assert!(matches!(absent, StoreError::Absent { .. }), "{absent}");
        lab.sql("CREATE SCHEMA other; CREATE TABLE other.store (x int)")
            .await;
        let theirs = lab.address("schema=other");
        for refused in [
            PostgresStore::open(theirs.clone(), "a", options(clock())).await,
            PostgresStore::create(theirs, "a", options(clock())).await,
        ] {
            let refused = refused.unwrap_err();
            assert!(matches!(refused, StoreError::Invalid { .. }), "{refused}");
        }
        drop(made(&lab, "a").await);
        let again = PostgresStore::create(lab.address(""), "a", options(clock())).await;
        assert!(matches!(again, Err(StoreError::Exists { .. })));
        lab.sql("UPDATE pentad.store SET version = 99").await;
        let newer = opened(&lab, "a").await.unwrap_err();
        assert!(
            matches!(newer, StoreError::TooNew { found: 99, .. }),
            "{newer}"
        );
    });
}

#[test]
fn damage_is_named_and_nothing_else_is_harmed() {
    let lab = Database::new();
    run(async {
        let store = made(&lab, "a").await;
        for (id, at) in [(1, "x"), (2, "y")] {
            store
                .commit(told(id, [create(credential(at))]))
                .await
                .unwrap();
        }
        lab.sql(
            "UPDATE pentad.credentials SET body = replace(body, 'sample', 'simple')
                 WHERE path = 'x'",
        )
        .await;
        let damaged = store.credential(&tenant(), &path("x")).await;
        assert!(
            matches!(damaged, Err(StoreError::Corrupt { .. })),
            "{damaged:?}"
        );
        assert!(store.credential(&tenant(), &path("y")).await.is_ok());
        let report = store.verify().await.unwrap();
        assert_eq!(report.len(), 1);
        assert!(
            report[0].which.ends_with("/x: its checksum does not match"),
            "{report:?}"
        );
    });
}

#[test]
fn tls_is_checked_and_works() {
    let lab = Database::new();
    run(async {
        let ca = super::env("PENTAD_TEST_POSTGRES_CA");
        let good = lab.address(&format!("sslmode=verify-full&sslrootcert={ca}"));
        let store = PostgresStore::create(good, "a", options(clock()))
            .await
            .unwrap();
        store
            .commit(told(1, [create(credential("x"))]))
            .await
            .unwrap();
        // The system's authorities did not sign the server's certificate.
        let unknown = lab.address("sslmode=verify-full");
        let refused = PostgresStore::open(unknown, "b", options(clock())).await;
        assert!(
            matches!(refused, Err(StoreError::Unavailable { .. })),
            "{refused:?}"
        );
    });
}
