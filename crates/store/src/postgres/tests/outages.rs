//! Servers that are set wrongly, full, read-only, paused, gone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pentad_model::{Id, clock::ManualClock};
use tokio::time::{sleep, timeout};

use super::{Database, PostgresStore, cluster::Cluster, options, run};
use crate::{
    Change, CredentialQuery, Reader as _, StoreError, Writer as _,
    conformance::samples::{NOW, create, credential, path, record, tenant},
    postgres::Address,
};

/// Longer than any answer may take: that of the database, another try to reach it, and a look.
const BOUND: Duration = Duration::from_secs(20);

async fn made(address: Address) -> PostgresStore {
    let clock = Arc::new(ManualClock::at(NOW));
    PostgresStore::create(address, "a", options(clock))
        .await
        .unwrap()
}

async fn opened(address: Address, log: &str) -> Result<PostgresStore, StoreError> {
    let clock = Arc::new(ManualClock::at(NOW));
    PostgresStore::open(address, log, options(clock)).await
}

fn told(id: u128, at: &str) -> Change {
    Change::new(create(credential(at)), record(Id::from_u128(id)))
}

/// Commits until it takes effect: what is refused meanwhile is refused as unavailable.
async fn commits_again(store: &PostgresStore, id: u128, at: &str) {
    let began = Instant::now();
    loop {
        match timeout(BOUND, store.commit(told(id, at))).await.unwrap() {
            Ok(()) => return,
            Err(StoreError::Unavailable { .. }) if began.elapsed() < BOUND => {
                sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn unavailable<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Unavailable { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_disk_of_the_server_is_told_and_leaves_nothing() {
    let lab = Database::new();
    run(async {
        let store = Arc::new(made(lab.address("")).await);
        // In PostgreSQL's own words, where it would say them: as a row is written.
        lab.sql(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
             CREATE TRIGGER full_disk BEFORE INSERT ON pentad.credentials FOR EACH ROW
                 WHEN (NEW.path LIKE 'large/%') EXECUTE FUNCTION full_disk()",
        )
        .await;
        let tasks: Vec<_> = (0..30u128)
            .map(|n| {
                let at = format!("{}/{n}", ["large", "small"][n as usize % 2]);
                let (store, change) = (Arc::clone(&store), told(n + 1, &at));
                tokio::spawn(async move { (at, store.commit(change).await) })
            })
            .collect();
        let mut done = Vec::new();
        for task in tasks {
            let (at, answer) = task.await.unwrap();
            match answer {
                Ok(()) => done.push(at),
                // Others of the same group are refused with it: the disk is everybody's.
                Err(error) => assert_eq!(error, StoreError::Full, "{at}"),
            }
        }
        assert!(done.iter().all(|at| at.starts_with("small/")));
        done.sort();
        let query = CredentialQuery::below(tenant(), "", 1000);
        let stored = store.credentials(&query).await.unwrap().items;
        let stored: Vec<_> = stored.iter().map(|it| it.path.to_string()).collect();
        assert_eq!(stored, done);
        assert_eq!(store.outbox(1000).await.unwrap().len(), done.len());
        // With space again it goes on.
        lab.sql("DROP TRIGGER full_disk ON pentad.credentials")
            .await;
        store.commit(told(1, "large/0")).await.unwrap();
    });
}

#[test]
fn a_read_only_database_is_told_as_such() {
    let lab = Database::new();
    run(async {
        let store = made(lab.address("")).await;
        let name = lab.name.clone();
        // For sessions to come, and those that are there are ended.
        lab.sql(&format!(
            "ALTER DATABASE {name} SET default_transaction_read_only = on"
        ))
        .await;
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        lab.sql(others).await;
        let reason = unavailable(store.commit(told(1, "x")).await);
        assert!(reason.contains("read-only"), "{reason}");
        assert_eq!(store.credential(&tenant(), &path("x")).await, Ok(None));
        let administrator = lab.client().await;
        for sql in [
            "SET default_transaction_read_only = off",
            &format!("ALTER DATABASE {name} RESET default_transaction_read_only"),
        ] {
            administrator.batch_execute(sql).await.unwrap();
        }
        lab.sql(others).await;
        commits_again(&store, 1, "x").await;
    });
}

#[test]
fn a_standby_is_refused_and_one_that_took_over_is_found() {
    let primary = Cluster::new();
    run(async {
        let standby = primary.standby();
        let both = format!("127.0.0.1:{},127.0.0.1:{}", standby.port, primary.port);
        let either = primary.address_of(&both, "target_session_attrs=read-write");
        let store = made(either).await;
        store.commit(told(1, "before")).await.unwrap();
        let reason = unavailable(opened(standby.address(""), "b").await);
        assert!(reason.contains("standby"), "{reason}");
        // The standby has it before the primary ends: what replication promises is not ours to test.
        let began = Instant::now();
        while !received(&standby).await {
            assert!(began.elapsed() < BOUND);
            sleep(Duration::from_millis(20)).await;
        }
        primary.cut();
        standby.promote();
        commits_again(&store, 2, "after").await;
        for at in ["before", "after"] {
            assert!(
                store
                    .credential(&tenant(), &path(at))
                    .await
                    .unwrap()
                    .is_some()
            );
        }
    });
}

async fn received(standby: &Cluster) -> bool {
    let sql =
        "DO $$ BEGIN PERFORM 1 / count(*) FROM pentad.credentials WHERE path = 'before'; END $$";
    standby.try_sql(sql).await
}

#[test]
fn a_server_that_forgets_what_it_was_given_is_refused() {
    let server = Cluster::new();
    run(async {
        let store = made(server.address("")).await;
        for (n, setting) in (1..).zip(["fsync", "full_page_writes"]) {
            let off = format!("ALTER SYSTEM SET {setting} = off");
            server.sql(&[&off, "SELECT pg_reload_conf()"]).await;
            // The sessions that are there hear of it between two statements.
            let began = Instant::now();
            let reason = loop {
                match store.commit(told(100 * n, &format!("{setting}/not"))).await {
                    Err(error) => break unavailable::<()>(Err(error)),
                    Ok(()) => assert!(began.elapsed() < BOUND),
                }
            };
            assert!(
                reason.contains(&format!("ALTER SYSTEM RESET {setting}")),
                "{reason}"
            );
            let reason = unavailable(opened(server.address(""), "b").await);
            assert!(reason.contains(&format!("{setting} = off")), "{reason}");
            let reset = format!("ALTER SYSTEM RESET {setting}");
            server.sql(&[&reset, "SELECT pg_reload_conf()"]).await;
            commits_again(&store, 100 * n + 1, &format!("{setting}/again")).await;
        }
    });
}

#[test]
fn a_server_that_hangs_is_told_within_the_bound_and_taken_up_again() {
    let server = Cluster::new();
    run(async {
        let store = Arc::new(made(server.address("")).await);
        store.commit(told(1, "before")).await.unwrap();
        assert!(store.credential(&tenant(), &path("before")).await.is_ok());
        server.signal("STOP");
        let began = Instant::now();
        let reader = Arc::clone(&store);
        let read = tokio::spawn(async move { reader.credential(&tenant(), &path("before")).await });
        let written = timeout(BOUND, store.commit(told(2, "meanwhile"))).await;
        unavailable(written.expect("a change is answered"));
        unavailable(
            timeout(BOUND, read)
                .await
                .expect("a look-up is answered")
                .unwrap(),
        );
        // Who comes later is told sooner.
        let later = Instant::now();
        unavailable(store.commit(told(3, "later")).await);
        assert!(later.elapsed() < BOUND / 2, "it took {:?}", later.elapsed());
        assert!(began.elapsed() < 2 * BOUND);
        server.signal("CONT");
        commits_again(&store, 4, "after").await;
        // What was answered with "not known" is done or not, and once.
        commits_again(&store, 2, "meanwhile").await;
        for at in ["before", "meanwhile", "after"] {
            assert!(
                store
                    .credential(&tenant(), &path(at))
                    .await
                    .unwrap()
                    .is_some()
            );
        }
        let records = store.outbox(1000).await.unwrap();
        assert_eq!(
            records
                .iter()
                .filter(|it| it.id == Id::from_u128(2))
                .count(),
            1
        );
    });
}
