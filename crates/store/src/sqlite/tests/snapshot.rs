//! One moment of the store, and a store made of it.

use std::{path::Path, sync::Arc};

use pentad_model::{Id, Stage, clock::ManualClock, rotation::Step};
use rusqlite::Connection;

use super::{options, run};
use crate::{
    Change, Expect, Op, Reader, StoreError, Writer,
    conformance::samples::{
        NOW, change, create, credential, document, moved, path, record, rotation, staging, stored,
        tenant, version,
    },
    snapshot::{Row, Table},
    sqlite::{DATABASE, OpenOptions, SqliteStore, directory::UNFINISHED},
};

fn clocked() -> OpenOptions {
    options(Arc::new(ManualClock::at(NOW)))
}

async fn all(store: &SqliteStore) -> Result<Vec<Row>, StoreError> {
    let mut snapshot = store.snapshot().await?;
    let mut rows = Vec::new();
    while let Some(more) = snapshot.next().await? {
        rows.extend(more);
    }
    let counted: u64 = snapshot.counts.iter().map(|(_, count)| count).sum();
    assert_eq!(counted, rows.len() as u64);
    Ok(rows)
}

/// A store with something of each sort, changed since it was made.
async fn filled(dir: &Path) -> SqliteStore {
    let store = SqliteStore::create(dir, clocked()).unwrap();
    for at in ["a", "b/c", "d"] {
        store.commit(change(stored(at))).await.unwrap();
    }
    let retired = staging("a", 1, Stage::Current, Stage::Retired);
    let next = [
        Op::AddVersion {
            version: version("a", 2),
        },
        retired,
    ];
    let mut newer = credential("a");
    (newer.current, newer.latest, newer.revision) = (Some(2), 2, 9);
    let newer = Op::UpdateCredential {
        credential: newer,
        expect: 1,
    };
    store
        .commit(change(next.into_iter().chain([newer])))
        .await
        .unwrap();
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
    store
}

#[test]
fn a_store_made_of_a_snapshot_is_the_same_and_sound() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(async {
        let store = filled(from.path()).await;
        let rows = all(&store).await.unwrap();
        for table in Table::ALL {
            assert!(rows.iter().any(|row| row.table == *table), "{table:?}");
        }
        let mut loader = SqliteStore::load(to.path()).unwrap();
        for row in &rows {
            loader.insert(&row.parse().unwrap()).unwrap();
        }
        assert!(!to.path().join(DATABASE).exists(), "not before its end");
        loader.finish().unwrap();
        let loaded = SqliteStore::open(to.path(), clocked()).unwrap();
        // Revisions, destroyed values and all.
        assert_eq!(all(&loaded).await.unwrap(), rows);
        // What is derived from them agrees, too.
        assert_eq!(loaded.verify().await.unwrap(), []);
        let (sort, tenant) = (document("role").collection, tenant());
        let found = loaded.document(sort, &tenant, "role", NOW).await;
        assert_eq!(found.unwrap().unwrap().revision, 3);
        // And it goes on.
        loaded.commit(change(stored("new"))).await.unwrap();
    });
}

#[test]
fn a_snapshot_is_one_moment_whoever_writes_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let store = filled(dir.path()).await;
        let before = all(&store).await.unwrap();
        let mut snapshot = store.snapshot().await.unwrap();
        // After its moment, before a row was taken.
        store.commit(change(stored("later"))).await.unwrap();
        store.clear_outbox(u64::MAX).await.unwrap();
        let mut rows = Vec::new();
        while let Some(more) = snapshot.next().await.unwrap() {
            rows.extend(more);
        }
        assert_eq!(rows, before);
        assert_ne!(all(&store).await.unwrap(), before);
    });
}

#[test]
fn a_damaged_row_is_named_and_ends_the_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        drop(filled(dir.path()).await);
        let connection = Connection::open(dir.path().join(DATABASE)).unwrap();
        let flip = "UPDATE versions SET sealed = zeroblob(64) WHERE path = 'd'";
        assert_eq!(connection.execute(flip, []).unwrap(), 1);
        drop(connection);
        let store = SqliteStore::open(dir.path(), clocked()).unwrap();
        let StoreError::Corrupt { what, .. } = all(&store).await.unwrap_err() else {
            panic!("not named");
        };
        assert!(what.contains("/d 1"), "{what}");
    });
}

#[test]
fn a_store_that_was_not_filled_to_its_end_does_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut loader = SqliteStore::load(dir.path()).unwrap();
        loader
            .insert(&crate::snapshot::Item::Credential(credential("a")))
            .unwrap();
        let again = loader.insert(&crate::snapshot::Item::Credential(credential("a")));
        assert!(matches!(again, Err(StoreError::Exists { .. })));
        drop(loader);
        assert!(dir.path().join(UNFINISHED).exists());
        let none = SqliteStore::open(dir.path(), clocked());
        assert!(matches!(none, Err(StoreError::Absent { .. })));
        // It can be begun anew, and one that is there is left alone.
        SqliteStore::load(dir.path()).unwrap().finish().unwrap();
        assert!(matches!(
            SqliteStore::load(dir.path()),
            Err(StoreError::Exists { .. })
        ));
    });
}
