//! Crashes, full disks, read-only directories, damaged pages.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path as FsPath, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use futures::future::join_all;
use pentad_model::{Id, Record, Sealed, clock::ManualClock};
use rusqlite::Connection;

use super::{options, run};
use crate::{
    CredentialQuery, Op, Reader, StoreError, Writer,
    conformance::samples::{NOW, change, create, credential, path, stored, tenant, version},
    read::MAX_PAGE,
    sqlite::{DATABASE, OpenOptions, SqliteStore},
};

fn plain() -> OpenOptions {
    options(Arc::new(ManualClock::at(NOW)))
}

/// A credential with a value of so many bytes, and its path.
fn heavy(at: &str, bytes: usize) -> Vec<Op> {
    let mut ops = stored(at);
    let mut second = version(at, 2);
    let content = (0..bytes).map(|n| n.to_le_bytes()[0] | 1).collect();
    second.sealed = Some(Sealed::from_bytes(content));
    ops.push(Op::AddVersion { version: second });
    ops
}

/// Runs one test of this binary in a process of its own, told its part by the environment.
fn again(test: &str, dir: &FsPath) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = format!("sqlite::tests::faults::{test}");
    command.args([name.as_str(), "--exact", "--nocapture"]);
    command.env("PENTAD_TEST_DIR", dir);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn part() -> Option<PathBuf> {
    std::env::var_os("PENTAD_TEST_DIR").map(PathBuf::from)
}

/// The other side of the test: commits from eight tasks and tells each success on standard output.
fn commit_until_killed(dir: &FsPath) {
    let store = SqliteStore::open(dir, plain()).unwrap();
    let life = std::process::id();
    run(join_all((0..8u128).map(|task| {
        let store = &store;
        async move {
            for n in 0u128.. {
                let at = format!("{life}/{task}/{n}");
                // Ids of this life: another's would be taken for changes done before.
                let mut change = change([create(credential(&at))]);
                let id = u128::from(life) << 64 | task << 32 | n;
                change.records[0].id = Id::from_u128(id);
                store.commit(change).await.unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "acknowledged {at}").unwrap();
                out.flush().unwrap();
            }
        }
    })));
}

#[test]
fn every_acknowledged_change_survives_a_kill() {
    if let Some(dir) = part() {
        return commit_until_killed(&dir);
    }
    let dir = tempfile::tempdir().unwrap();
    drop(SqliteStore::create(dir.path(), plain()).unwrap());
    let mut acknowledged = Vec::new();
    for round in 0..6u32 {
        let mut child = again("every_acknowledged_change_survives_a_kill", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Some hundred commits further each time, so in ever other phases of a commit; what it
        // told before it died is read to the end.
        let mut rest = 20 + round * 37;
        for line in lines.map_while(Result::ok) {
            if let Some((_, at)) = line.split_once("acknowledged ") {
                acknowledged.push(at.to_owned());
                rest = rest.saturating_sub(1);
                if rest == 0 {
                    child.kill().unwrap(); // SIGKILL
                }
            }
        }
        child.wait().unwrap();
        let store = SqliteStore::open(dir.path(), plain()).unwrap();
        for at in &acknowledged {
            let found = run(store.credential(&tenant(), &path(at))).unwrap();
            assert!(found.is_some(), "{at} was acknowledged and is gone");
        }
        assert_eq!(run(store.verify()), Ok(Vec::new()));
    }
    assert!(acknowledged.len() > 300, "{}", acknowledged.len());
}

/// Fills a store until it refuses, and shows that it goes on when there is room again.
fn fill_up(dir: &FsPath, limited: OpenOptions, make_room: impl FnOnce() -> OpenOptions) {
    let store = SqliteStore::create(dir, limited).unwrap();
    let mut kept = 0;
    let refused = loop {
        let at = format!("full/{kept}");
        match run(store.commit(change(heavy(&at, 20_000)))) {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 1000, "there was no limit");
    };
    assert_eq!(refused, StoreError::Full);
    assert!(kept > 0);
    // Nothing of it is there, reading goes on, and asking again gives the same answer.
    let gone = path(&format!("full/{kept}"));
    let found = run(store.credential(&tenant(), &gone));
    assert_eq!(found, Ok(None));
    let page = CredentialQuery::below(tenant(), "full/", MAX_PAGE);
    let count = |store: &SqliteStore| run(store.credentials(&page)).unwrap().items.len();
    assert_eq!(count(&store), kept);
    assert_eq!(run(store.outbox(MAX_PAGE)).unwrap().len(), kept);
    let retry = run(store.commit(change(heavy(gone.as_str(), 20_000))));
    assert_eq!(retry, Err(StoreError::Full));
    drop(store);
    let store = SqliteStore::open(dir, make_room()).unwrap();
    assert_eq!(count(&store), kept);
    run(store.commit(change(heavy(gone.as_str(), 20_000)))).unwrap();
    assert_eq!(count(&store), kept + 1);
    assert_eq!(run(store.verify()), Ok(Vec::new()));
}

#[test]
fn a_full_store_changes_nothing_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let limited = OpenOptions {
        max_bytes: Some(1 << 20),
        ..plain()
    };
    fill_up(dir.path(), limited, plain);
}

#[test]
fn one_change_that_does_not_fit_takes_no_other_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let limited = OpenOptions {
        max_bytes: Some(1 << 20),
        ..plain()
    };
    let store = SqliteStore::create(dir.path(), limited).unwrap();
    let results = run(join_all((0..30).map(|n| {
        let bytes = if n == 13 { 2 << 20 } else { 100 };
        store.commit(change(heavy(&format!("n/{n}"), bytes)))
    })));
    for (n, result) in results.into_iter().enumerate() {
        let expected = if n == 13 {
            Err(StoreError::Full)
        } else {
            Ok(())
        };
        assert_eq!(result, expected, "{n}");
    }
}

/// A file system in memory, unmounted at the end.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(at: &FsPath, options: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        done.is_ok_and(|status| status.success())
            .then(|| Self(at.to_owned()))
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let status = Command::new("mount")
            .args(["-o", &options])
            .arg(&self.0)
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[allow(clippy::print_stderr)]
fn not_permitted(what: &str) {
    eprintln!("skipped: {what} is not permitted here");
}

#[test]
fn a_full_disk_changes_nothing_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::tmpfs(&dir.path().join("disk"), "size=2m") else {
        return not_permitted("mounting");
    };
    let store = disk.0.join("store");
    fill_up(&store, plain(), || {
        disk.remount("size=64m");
        plain()
    });
}

#[test]
fn on_a_full_disk_essential_changes_get_the_reserve_and_others_do_not_eat_it() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::tmpfs(&dir.path().join("disk"), "size=7m") else {
        return not_permitted("mounting");
    };
    let at = disk.0.join("store");
    let mut store = SqliteStore::create(&at, plain()).unwrap();
    let small = |n: usize| change(stored(&format!("small/{n}")));
    // To the last byte, so that not even a small change finds space; and the log is due to be moved
    // into the database, which would take megabytes.
    let fill = |change: &dyn Fn(usize) -> crate::Change| {
        let full = (0..1000).find(|n| run(store.commit(change(*n))) == Err(StoreError::Full));
        assert!(full.is_some(), "there was no limit");
    };
    fill(&|n| change(heavy(&format!("large/{n}"), 20_000)));
    fill(&|n| small(100 + n));
    let mut greedy = 0;
    for n in 0..12 {
        assert_eq!(run(store.commit_essential(small(n))), Ok(()), "{n}");
        let refused = run(store.commit(change(heavy("big", 20_000))));
        assert_eq!(refused, Err(StoreError::Full));
        // Somebody else on the volume takes whatever is free.
        while fs::write(disk.0.join(format!("other-{greedy}")), [1; 4096]).is_ok() {
            greedy += 1;
        }
    }
    // A program that is started on the full disk finds everything, and is refused the same way.
    drop(store);
    store = SqliteStore::open(&at, plain()).unwrap();
    for n in 0..12 {
        let found = run(store.credential(&tenant(), &path(&format!("small/{n}"))));
        assert!(found.unwrap().is_some(), "{n}");
    }
    disk.remount("size=64m");
    run(store.commit(change(heavy("big", 20_000)))).unwrap();
    let reserve = fs::metadata(at.join("reserve")).unwrap();
    assert_eq!(reserve.len(), crate::sqlite::reserve::SIZE, "it is back");
    assert_eq!(run(store.verify()), Ok(Vec::new()));
}

#[test]
fn a_disk_that_was_made_read_only_is_told_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::tmpfs(&dir.path().join("disk"), "size=8m") else {
        return not_permitted("mounting");
    };
    let store = disk.0.join("store");
    drop(SqliteStore::create(&store, plain()).unwrap());
    disk.remount("ro");
    let opened = SqliteStore::open(&store, plain());
    assert!(
        matches!(opened, Err(StoreError::ReadOnly { .. })),
        "{opened:?}"
    );
    let made = SqliteStore::create(disk.0.join("other"), plain());
    assert!(matches!(made, Err(StoreError::ReadOnly { .. })), "{made:?}");
    disk.remount("rw");
    SqliteStore::open(&store, plain()).unwrap();
}

/// The other side of the test, as a user without rights.
fn open_without_rights(dir: &FsPath) {
    let opened = SqliteStore::open(dir, plain());
    let Err(StoreError::ReadOnly { path, .. }) = opened else {
        panic!("{opened:?}");
    };
    assert!(path.starts_with(dir), "{}", path.display());
}

#[test]
fn a_directory_without_the_right_to_write_is_named() {
    if let Some(dir) = part() {
        return open_without_rights(&dir);
    }
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    drop(SqliteStore::create(&store, plain()).unwrap());
    let allow = |path: &FsPath, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for entry in fs::read_dir(&store).unwrap() {
        allow(&entry.unwrap().path(), 0o444);
    }
    allow(&store, 0o555);
    allow(dir.path(), 0o755);
    let mut child = again("a_directory_without_the_right_to_write_is_named", &store);
    child.stdout(Stdio::null());
    if rustix::process::geteuid().is_root() {
        child.uid(65534).gid(65534); // rights mean nothing to root: somebody else tries
    }
    match child.status() {
        Ok(status) => assert!(status.success(), "{status}"),
        Err(_) => not_permitted("running as another user"),
    }
    allow(&store, 0o700);
}

#[test]
fn a_damaged_record_of_the_outbox_is_told_of_in_its_place_and_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::create(dir.path(), plain()).unwrap();
    for n in 0..3 {
        run(store.commit(change(heavy(&format!("n/{n}"), 10)))).unwrap();
    }
    let before = run(store.outbox(10)).unwrap();
    drop(store);
    let connection = Connection::open(dir.path().join(DATABASE)).unwrap();
    let position = before[1].position.cast_signed();
    let damage = "UPDATE outbox SET body = replace(body, 'credential', 'nothing') WHERE seq = ?1";
    assert_eq!(connection.execute(damage, [position]), Ok(1));
    drop(connection);
    let store = SqliteStore::open(dir.path(), plain()).unwrap();
    let after = run(store.outbox(10)).unwrap();
    assert_eq!([&after[0], &after[2]], [&before[0], &before[2]]);
    let told: Record = serde_json::from_str(&after[1].body).unwrap();
    let was: Record = serde_json::from_str(&before[1].body).unwrap();
    assert_eq!((told.id, told.action.as_str()), (was.id, "audit.damaged"));
    assert!(
        told.detail.contains(&format!("position {position}")),
        "{}",
        told.detail
    );
    assert_eq!(
        (after[1].id, after[1].position),
        (before[1].id, before[1].position)
    );
}

/// Damages one page after another; whatever is hit, it is named, and all else is readable.
#[test]
fn a_damaged_page_is_named_and_hinders_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::create(dir.path(), plain()).unwrap();
    const COUNT: usize = 120;
    let at = |n: usize| format!("n/{n:03}");
    for n in 0..COUNT {
        run(store.commit(change(heavy(&at(n), 6000)))).unwrap();
    }
    drop(store);
    let log = dir.path().join(format!("{DATABASE}-wal"));
    assert!(!log.exists(), "closing moves the log into the database");
    let file = dir.path().join(DATABASE);
    let sound = fs::read(&file).unwrap();
    // The table's pages, by SQLite's own account.
    let connection = Connection::open(&file).unwrap();
    let pages = |table: &str, kind: &str| -> Vec<usize> {
        let sql = "SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = ?2";
        let mut select = connection.prepare(sql).unwrap();
        let found = select
            .query_map([table, kind], |row| row.get::<_, isize>(0))
            .unwrap();
        found.map(|page| page.unwrap().cast_unsigned()).collect()
    };
    let (leaves, overflows) = (pages("versions", "leaf"), pages("versions", "overflow"));
    let credentials = pages("credentials", "leaf");
    let size: isize = connection
        .pragma_query_value(None, "page_size", |row| row.get(0))
        .unwrap();
    let size = size.cast_unsigned();
    drop(connection);
    let middle = |pages: &[usize]| pages[pages.len() / 2];
    for page in [middle(&leaves), middle(&overflows), middle(&credentials)] {
        let mut bytes = sound.clone();
        bytes[(page - 1) * size..page * size].fill(0xA5);
        fs::write(&file, bytes).unwrap();
        let store = SqliteStore::open(dir.path(), plain()).unwrap();
        let mut unreadable = Vec::new();
        for n in 0..COUNT {
            let path = path(&at(n));
            let read = [
                run(store.credential(&tenant(), &path)).map(|it| it.is_some()),
                run(store.version(&tenant(), &path, 1)).map(|it| it.is_some()),
                run(store.version(&tenant(), &path, 2)).map(|it| it.is_some()),
            ];
            for result in read {
                match result {
                    Ok(found) => assert!(found, "{path} vanished without a word"),
                    Err(StoreError::Corrupt { what, .. }) => {
                        assert!(what.contains(path.as_str()), "{what}");
                        unreadable.push(path.to_string());
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
        unreadable.dedup();
        assert!(!unreadable.is_empty(), "the damage was not noticed");
        assert!(unreadable.len() < COUNT / 2, "{}", unreadable.len());
        let damage = run(store.verify()).unwrap();
        for path in &unreadable {
            let named = damage
                .iter()
                .any(|it| it.what != "page" && it.which.contains(path.as_str()));
            assert!(named, "{path} is not named in {damage:?}");
        }
        // And writing goes on elsewhere.
        run(store.commit(change([create(credential("z"))]))).unwrap();
        drop(store);
    }
}

/// A bit that flips in a value is damage, even though the page is in order.
#[test]
fn a_flipped_bit_in_a_row_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::create(dir.path(), plain()).unwrap();
    run(store.commit(change(stored("a")))).unwrap();
    run(store.commit(change(stored("b")))).unwrap();
    drop(store);
    let connection = Connection::open(dir.path().join(DATABASE)).unwrap();
    connection
        .execute_batch(
            "UPDATE credentials SET body = replace(body, 'a sample', 'b sample') WHERE path = 'a';
             UPDATE versions SET sealed = zeroblob(64) WHERE path = 'b';
             UPDATE credentials SET current = 7 WHERE path = 'b'",
        )
        .unwrap();
    drop(connection);
    let store = SqliteStore::open(dir.path(), plain()).unwrap();
    let credential = run(store.credential(&tenant(), &path("a")));
    let version = run(store.version(&tenant(), &path("b"), 1));
    assert!(matches!(credential, Err(StoreError::Corrupt { .. })));
    assert!(matches!(version, Err(StoreError::Corrupt { .. })));
    let damage = run(store.verify()).unwrap();
    let found: Vec<_> = damage.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(found, ["credential", "credential", "version"], "{damage:?}");
}

#[test]
fn after_a_fatal_failure_everything_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::create(dir.path(), plain()).unwrap();
    let fatal = StoreError::Fatal {
        reason: "fsync".to_owned(),
    };
    store.health.note(&fatal);
    let write = run(store.commit(change([create(credential("a"))])));
    assert_eq!(write, Err(fatal.clone()));
    let read = run(store.credential(&tenant(), &path("a")));
    assert_eq!(read, Err(fatal.clone()));
    assert_eq!(run(store.verify()), Err(fatal));
    drop(store);
    let store = SqliteStore::open(dir.path(), plain()).unwrap();
    assert_eq!(run(store.credential(&tenant(), &path("a"))), Ok(None));
}

#[test]
fn the_write_ahead_log_stays_small() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::create(dir.path(), plain()).unwrap();
    for n in 0..40 {
        run(store.commit(change(heavy(&format!("n/{n}"), 1 << 20)))).unwrap();
    }
    let log = dir.path().join(format!("{DATABASE}-wal"));
    let size = fs::metadata(log).unwrap().len();
    assert!(size < 16 << 20, "{size}");
}
