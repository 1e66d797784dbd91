//! Making, opening, refusing.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use pentad_model::{
    Stage,
    clock::ManualClock,
    rotation::{Control, NEVER, Step},
};
use rusqlite::Connection;

use super::{options, run};
use crate::{
    Due, DueQuery, Op, Reader, RotationQuery, StoreError, Writer,
    conformance::samples::{
        NOW, OWNER, change, create, credential, path, rotation, tenant, version,
    },
    sqlite::{
        DATABASE, OpenOptions, SqliteStore,
        directory::{self, UNFINISHED},
        schema,
    },
};

fn at(dir: &Path) -> OpenOptions {
    let _ = dir;
    options(Arc::new(ManualClock::at(NOW)))
}

#[test]
fn files_are_readable_by_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("deep/store");
    let store = SqliteStore::create(&dir, at(&dir)).unwrap();
    run(store.commit(change([create(credential("a"))]))).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let mut files = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        files += 1;
    }
    assert_eq!(files, 5, "database, log, shared memory, lock, reserve");
}

#[test]
fn a_log_that_a_killed_process_left_is_written_over_itself_before_it_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::create(dir.path(), at(dir.path())).unwrap();
    run(store.commit(change([create(credential("a"))]))).unwrap();
    // What a kill leaves: the files as they are, without a close.
    let killed = tempfile::tempdir().unwrap();
    for name in ["pentad.db", "pentad.db-wal"] {
        fs::copy(dir.path().join(name), killed.path().join(name)).unwrap();
    }
    drop(store);
    let log = killed.path().join("pentad.db-wal");
    let bytes = fs::read(&log).unwrap();
    assert!(bytes.len() > 4096);
    let long_ago = std::time::UNIX_EPOCH;
    let file = fs::File::options().write(true).open(&log).unwrap();
    file.set_modified(long_ago).unwrap();
    directory::settle(killed.path()).unwrap();
    assert_eq!(fs::read(&log).unwrap(), bytes);
    assert!(fs::metadata(&log).unwrap().modified().unwrap() > long_ago);
    let store = SqliteStore::open(killed.path(), at(killed.path())).unwrap();
    assert!(
        run(store.credential(&tenant(), &path("a")))
            .unwrap()
            .is_some()
    );
}

#[test]
fn a_new_stores_log_has_its_name_before_the_first_commit() {
    let dir = tempfile::tempdir().unwrap();
    let _store = SqliteStore::create(dir.path(), at(dir.path())).unwrap();
    assert!(dir.path().join("pentad.db-wal").exists());
}

#[test]
fn a_second_opener_is_told_who_holds_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let first = SqliteStore::create(dir.path(), at(dir.path())).unwrap();
    let second = SqliteStore::open(dir.path(), at(dir.path()));
    let expected = StoreError::Locked {
        path: dir.path().to_owned(),
        pid: std::process::id(),
    };
    assert_eq!(second.unwrap_err(), expected);
    drop(first);
    SqliteStore::open(dir.path(), at(dir.path())).unwrap();
}

#[test]
fn a_directory_without_a_store_is_left_without_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let opened = SqliteStore::open(&path, at(&path));
    assert_eq!(
        opened.unwrap_err(),
        StoreError::Absent { path: path.clone() }
    );
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    let nowhere = path.join("nowhere");
    let opened = SqliteStore::open(&nowhere, at(&path));
    assert_eq!(opened.unwrap_err(), StoreError::Absent { path: nowhere });
}

#[test]
fn a_store_is_not_made_over_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::create(dir.path(), at(dir.path())).unwrap();
    run(store.commit(change([create(credential("a"))]))).unwrap();
    drop(store);
    let again = SqliteStore::create(dir.path(), at(dir.path()));
    assert!(matches!(again, Err(StoreError::Exists { .. })), "{again:?}");
    let store = SqliteStore::open(dir.path(), at(dir.path())).unwrap();
    let found = run(store.credential(&tenant(), &path("a"))).unwrap();
    assert!(found.is_some());
}

#[test]
fn a_store_that_was_half_made_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(UNFINISHED), b"half a page").unwrap();
    let opened = SqliteStore::open(dir.path(), at(dir.path()));
    assert!(matches!(opened, Err(StoreError::Absent { .. })));
    SqliteStore::create(dir.path(), at(dir.path())).unwrap();
    assert!(!dir.path().join(UNFINISHED).exists());
}

#[test]
fn a_newer_schema_is_refused_and_left_untouched() {
    let dir = tempfile::tempdir().unwrap();
    drop(SqliteStore::create(dir.path(), at(dir.path())).unwrap());
    let file = dir.path().join(DATABASE);
    let newer = schema::VERSION + 1;
    let connection = Connection::open(&file).unwrap();
    connection
        .pragma_update(None, "user_version", newer)
        .unwrap();
    drop(connection);
    let before = fs::read(&file).unwrap();
    let opened = SqliteStore::open(dir.path(), at(dir.path()));
    let expected = StoreError::TooNew {
        found: newer,
        known: schema::VERSION,
    };
    assert_eq!(opened.unwrap_err(), expected);
    assert_eq!(fs::read(&file).unwrap(), before);
}

/// The header of the database is behind: the newer schema is in the write-ahead log alone, as after
/// a crash of the newer program.
#[test]
fn a_newer_schema_in_the_log_is_refused_as_well() {
    let dir = tempfile::tempdir().unwrap();
    drop(SqliteStore::create(dir.path(), at(dir.path())).unwrap());
    drop(SqliteStore::open(dir.path(), at(dir.path())).unwrap());
    let file = dir.path().join(DATABASE);
    let connection = Connection::open(&file).unwrap();
    connection
        .pragma_update(None, "user_version", schema::VERSION + 1)
        .unwrap();
    // While the other still runs, its log is not moved into the database.
    let copy = tempfile::tempdir().unwrap();
    for name in [DATABASE, "pentad.db-wal"] {
        fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let before = fs::read(copy.path().join(DATABASE)).unwrap();
    let opened = SqliteStore::open(copy.path(), at(dir.path()));
    assert!(
        matches!(opened, Err(StoreError::TooNew { .. })),
        "{opened:?}"
    );
    drop(connection);
    let header = |bytes: &[u8]| bytes[60..64].to_vec();
    assert_eq!(header(&before), schema::VERSION.to_be_bytes());
}

#[test]
fn what_is_no_store_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(DATABASE);
    let foreign = Connection::open(&file).unwrap();
    foreign.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(foreign);
    let refused = |reason: &str| {
        let before = fs::read(&file).unwrap();
        let opened = SqliteStore::open(dir.path(), at(dir.path()));
        let Err(StoreError::Corrupt { reason: found, .. }) = opened else {
            panic!("{opened:?}");
        };
        assert_eq!(found, reason);
        assert_eq!(fs::read(&file).unwrap(), before);
    };
    refused("it is not a pentad store");
    fs::write(&file, [7; 4096]).unwrap();
    refused("its header is not a database's");
    fs::write(&file, b"SQLite format 3\0").unwrap();
    refused("it is cut off");
}

#[test]
fn a_store_of_the_first_schema_learns_what_is_asked_by_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::create(dir.path(), at(dir.path())).unwrap();
    let mut owned = credential("a");
    owned.owner = Some(OWNER.to_owned());
    let mut deleted = credential("b");
    deleted.deleted_at = Some(NOW);
    let mut old = version("a", 1);
    (old.stage, old.staged_at) = (Stage::Retired, NOW);
    let mut paused = rotation(2, "b");
    paused.progress.step = Step::Observing;
    (paused.control, paused.resume_at) = (Control::Pause, NEVER);
    paused.reason = Some("permission denied".to_owned());
    let ops = [
        create(owned),
        create(deleted),
        Op::AddVersion { version: old },
        Op::CreateRotation {
            rotation: rotation(1, "a"),
        },
        Op::CreateRotation { rotation: paused },
    ];
    let change = change(ops);
    run(store.commit(change.clone())).unwrap();
    drop(store);
    let raw = Connection::open(dir.path().join(DATABASE)).unwrap();
    raw.execute_batch(
        "DROP INDEX versions_by_value;
         CREATE INDEX versions_by_fingerprint ON versions (tenant, fingerprint, path)
             WHERE stage = 'current';
         ALTER TABLE versions DROP COLUMN stage_mac; ALTER TABLE versions DROP COLUMN staged_at;
         ALTER TABLE versions DROP COLUMN moved_sum;
         DROP INDEX versions_old; ALTER TABLE versions DROP COLUMN old_at;
         DROP INDEX credentials_by_deletion; ALTER TABLE credentials DROP COLUMN deleted_at;
         DROP INDEX credentials_by_owner; ALTER TABLE credentials DROP COLUMN owner;
         DROP INDEX rotations_by_step; ALTER TABLE rotations DROP COLUMN step;
         DROP INDEX rotations_for_a_person; ALTER TABLE rotations DROP COLUMN for_a_person;
         DROP INDEX rotations_by_path;
         CREATE INDEX rotations_by_path ON rotations (tenant, path, id);
         INSERT INTO recent SELECT id, at FROM outbox; ALTER TABLE outbox DROP COLUMN at;
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(raw);
    let store = SqliteStore::open(dir.path(), at(dir.path())).unwrap();
    let query = DueQuery {
        tenant: tenant(),
        until: NOW,
        after: None,
        limit: 10,
    };
    let due = |at: &str, number| Due {
        at: NOW,
        path: path(at),
        number,
    };
    let found = run(store.old_versions(&query)).unwrap();
    assert_eq!(found.items, [due("a", 1)]);
    let found = run(store.deleted_credentials(&query)).unwrap();
    assert_eq!(found.items, [due("b", 0)]);
    let found = run(store.owned_credentials(&tenant(), OWNER, None, 10)).unwrap();
    assert_eq!(found.items.len(), 1);
    let standing = |step, for_a_person| {
        let query = RotationQuery {
            tenant: tenant(),
            path: None,
            batch: None,
            unfinished: false,
            step,
            for_a_person,
            before: None,
            limit: 10,
        };
        run(store.rotations(&query)).unwrap().items.len()
    };
    let counts = [Step::Planned, Step::Done].map(|step| standing(Some(step), false));
    assert_eq!((counts, standing(None, true)), ([1, 0], 1));
    // What was done is still known as done, before and after its record moved on.
    assert_eq!(run(store.commit(change.clone())), Ok(()));
    run(store.clear_outbox(u64::MAX)).unwrap();
    assert_eq!(run(store.commit(change)), Ok(()));
    assert_eq!(run(store.outbox(10)), Ok(Vec::new()));
    assert_eq!(run(store.verify()), Ok(Vec::new()));
}
