//! One moment of the store, and an embedded store made of it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use pentad_model::{Id, Stage, clock::ManualClock, rotation::Step};

use super::{Database, PostgresStore, options, run};
use crate::{
    Change, Expect, Op, OpenOptions, Reader, SqliteStore, StoreError, Writer,
    conformance::samples::{
        NOW, change, create, credential, document, moved, path, record, rotation, staging, stored,
        tenant, version,
    },
    snapshot::{Item, Load, Row, Snapshot, Table},
};

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(NOW))
}

async fn made(lab: &Database) -> PostgresStore {
    let made = PostgresStore::create(lab.address(""), "log", options(clock())).await;
    made.unwrap()
}

async fn rows(mut snapshot: Snapshot) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    while let Some(more) = snapshot.next().await? {
        rows.extend(more);
    }
    let counted: u64 = snapshot.counts.iter().map(|(_, count)| count).sum();
    assert_eq!(counted, rows.len() as u64);
    Ok(rows)
}

async fn all(store: &impl Reader) -> Result<Vec<Row>, StoreError> {
    rows(store.snapshot().await?).await
}

/// What the rows say, in the order of their keys: stores have orders of their own.
fn said(rows: &[Row]) -> Vec<(Table, String, Item)> {
    let each = rows.iter().map(|row| {
        let item = row.parse().unwrap();
        (row.table, row.key.clone(), item)
    });
    let mut all: Vec<_> = each.collect();
    all.sort_by(|left, right| (left.0, &left.1).cmp(&(right.0, &right.1)));
    all
}

/// Something of each sort, changed since it was made.
async fn fill(store: &impl Writer) {
    for at in ["a", "b/c", "d"] {
        store.commit(change(stored(at))).await.unwrap();
    }
    let mut newer = credential("a");
    (newer.current, newer.latest, newer.revision) = (Some(2), 2, 9);
    let ops = [
        Op::AddVersion {
            version: version("a", 2),
        },
        staging("a", 1, Stage::Current, Stage::Retired),
        Op::UpdateCredential {
            credential: newer,
            expect: 1,
        },
    ];
    store.commit(change(ops)).await.unwrap();
    let destroyed = Op::DestroyVersion {
        tenant: tenant(),
        path: path("a"),
        number: 1,
        stage: Stage::Retired,
        at: NOW,
    };
    store.commit(change([destroyed])).await.unwrap();
    let first = rotation(1, "b/c");
    let begun = [Op::CreateRotation {
        rotation: first.clone(),
    }];
    store.commit(change(begun)).await.unwrap();
    store
        .commit(change([moved(&first, Step::Applying)]))
        .await
        .unwrap();
    for expect in [Expect::Absent, Expect::Revision(1), Expect::Revision(2)] {
        let put = Op::PutDocument {
            document: document("role"),
            expect,
        };
        store.commit(change([put])).await.unwrap();
    }
    let told = Change {
        ops: vec![create(credential("told"))],
        records: vec![record(Id::from_u128(77))],
    };
    store.commit(told).await.unwrap();
}

#[test]
fn a_snapshot_says_what_one_of_the_embedded_store_says() {
    let lab = Database::new();
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let clocked = || OpenOptions {
        clock: clock(),
        ..OpenOptions::default()
    };
    run(async {
        let store = made(&lab).await;
        fill(&store).await;
        let mine = all(&store).await.unwrap();
        for table in Table::ALL {
            assert!(mine.iter().any(|row| row.table == *table), "{table:?}");
        }
        let embedded = SqliteStore::create(from.path(), clocked()).unwrap();
        fill(&embedded).await;
        // Records of samples have ids of their own each time.
        let but_records = |rows: &[Row]| -> Vec<_> {
            let all = said(rows).into_iter();
            all.filter(|(table, ..)| *table != Table::Outbox).collect()
        };
        let theirs = all(&embedded).await.unwrap();
        assert_eq!(but_records(&mine), but_records(&theirs));
        assert_eq!(mine.len(), theirs.len());
        // And an embedded store can be made of it, whole and sound.
        let mut loader = SqliteStore::load(to.path()).unwrap();
        for row in &mine {
            loader.insert(&row.parse().unwrap()).unwrap();
        }
        loader.finish().unwrap();
        let loaded = SqliteStore::open(to.path(), clocked()).unwrap();
        assert_eq!(said(&all(&loaded).await.unwrap()), said(&mine));
        assert_eq!(loaded.verify().await.unwrap(), []);
    });
}

#[test]
fn a_store_made_of_a_snapshot_is_the_same_and_sound() {
    let lab = Database::new();
    run(async {
        let store = made(&lab).await;
        fill(&store).await;
        // The history of a rotation outlives its credential.
        let mut gone = credential("told");
        (gone.deleted_at, gone.revision) = (Some(NOW), 2);
        let update = Op::UpdateCredential {
            credential: gone,
            expect: 1,
        };
        let mut ended = rotation(2, "told");
        ended.progress.step = Step::Done;
        let ended = Op::CreateRotation { rotation: ended };
        let remove = Op::RemoveCredential {
            tenant: tenant(),
            path: path("told"),
            expect: 2,
        };
        store.commit(change([ended, update, remove])).await.unwrap();
        let rows = all(&store).await.unwrap();
        let items: Vec<Item> = rows.iter().map(|row| row.parse().unwrap()).collect();
        let address = || lab.address("schema=other");
        // One that is given up, and one whose row comes twice, leave nothing.
        for twice in [false, true] {
            let loader = PostgresStore::load(address(), "other").await.unwrap();
            let some = items[..3].to_vec();
            let failed = tokio::task::spawn_blocking(move || {
                let mut loader: Box<dyn Load> = Box::new(loader);
                for item in some.iter().chain(&some[..usize::from(twice)]) {
                    loader.insert(item)?;
                }
                if twice { loader.finish() } else { Ok(()) }
            });
            assert_eq!(failed.await.unwrap().is_err(), twice);
            let none = PostgresStore::open(address(), "other", options(clock())).await;
            assert!(matches!(none, Err(StoreError::Absent { .. })), "{none:?}");
        }
        let loader = PostgresStore::load(address(), "other").await.unwrap();
        let loading = tokio::task::spawn_blocking(move || {
            let mut loader: Box<dyn Load> = Box::new(loader);
            for item in &items {
                loader.insert(item)?;
            }
            loader.finish()
        });
        loading.await.unwrap().unwrap();
        let other = PostgresStore::open(address(), "other", options(clock())).await;
        let other = other.unwrap();
        assert_eq!(said(&all(&other).await.unwrap()), said(&rows));
        assert_eq!(other.verify().await.unwrap(), []);
        // Its records wait for the node, and it goes on.
        let waiting = other.outbox(100).await.unwrap().len();
        other.commit(change(stored("new"))).await.unwrap();
        assert_eq!(other.outbox(100).await.unwrap().len(), waiting + 1);
        let again = PostgresStore::load(address(), "third").await;
        assert!(matches!(again, Err(StoreError::Exists { .. })));
    });
}

#[test]
fn a_snapshot_is_one_moment_whoever_writes_meanwhile() {
    let lab = Database::new();
    run(async {
        let store = Arc::new(made(&lab).await);
        fill(&*store).await;
        // More than one page of each.
        for n in 0..300 {
            store
                .commit(change(stored(&format!("many/{n:03}"))))
                .await
                .unwrap();
        }
        let before = all(&*store).await.unwrap();
        let snapshot = store.snapshot().await.unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let (writes, ended) = (Arc::clone(&store), Arc::clone(&done));
        // Before, between and behind what is there, while it is read.
        let writer = tokio::spawn(async move {
            let mut n = 0;
            while !ended.load(Ordering::Relaxed) || n < 10 {
                for at in [
                    format!("_first/{n}"),
                    format!("many/1{n}x"),
                    format!("z/{n}"),
                ] {
                    writes.commit(change(stored(&at))).await.unwrap();
                }
                writes.clear_outbox(u64::MAX).await.unwrap();
                n += 1;
            }
        });
        let seen = rows(snapshot).await.unwrap();
        done.store(true, Ordering::Relaxed);
        writer.await.unwrap();
        assert_eq!(said(&seen), said(&before));
        let later = store.credential(&tenant(), &path("z/9")).await.unwrap();
        assert!(later.is_some());
    });
}

#[test]
fn a_damaged_row_is_named_and_ends_the_snapshot() {
    let lab = Database::new();
    run(async {
        let store = made(&lab).await;
        fill(&store).await;
        lab.sql("UPDATE pentad.versions SET sealed = '\\x00' WHERE path = 'd'")
            .await;
        let StoreError::Corrupt { what, .. } = all(&store).await.unwrap_err() else {
            panic!("not named");
        };
        assert!(what.contains("/d 1"), "{what}");
    });
}
