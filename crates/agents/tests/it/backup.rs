//! Backups of a system at work, restored elsewhere.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pentad_agents::{
    Fault, Pentad,
    backup::{
        Chain, ChainError, EXTENSION, RECIPE,
        restore::{self, Plan, Restored},
    },
    operations::{Backup, Parent, Put, Value},
};
use pentad_keys::{
    Keyring,
    framed::{Prelude, Raw, Sort},
    root,
};
use pentad_model::{
    Clock as _, Context, Id, Kind, Name, Principal, Record, Secret, SystemClock, Tenant, Timestamp,
    id::OsEntropy,
    record::Outcome,
    rotation::{Control, Lease, Login, NEVER, Progress, Step, Strategy},
};
use pentad_store::{Op, RotationQuery};

use crate::world::{self, World};

/// All of a backup's bytes.
async fn taken(mut backup: Backup) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(part) = backup.next().await {
        bytes.extend(part.unwrap());
    }
    bytes
}

async fn full(world: &World) -> Vec<u8> {
    let backup = world.pentad.back_up(&world.admin(), None).await;
    taken(backup.unwrap()).await
}

/// What an increment of this backup needs of it.
fn rests_on(file: &[u8]) -> Parent {
    let mut rest = file;
    let prelude = Prelude::read(Sort::Backup, &mut rest).unwrap();
    let mut bytes = prelude.to_bytes(Sort::Backup).unwrap();
    let (mut number, mut first) = (0, None);
    while let Some(raw) = Raw::read(&mut rest).unwrap() {
        if raw.kind >= RECIPE {
            first.get_or_insert(number);
            bytes.extend(raw.bytes);
        }
        number += 1;
    }
    Parent {
        bytes,
        first: first.unwrap(),
    }
}

async fn increment(world: &World, parent: &[u8]) -> Vec<u8> {
    let backup = world
        .pentad
        .back_up(&world.admin(), Some(rests_on(parent)))
        .await;
    taken(backup.unwrap()).await
}

/// The files in a directory of their own, the newest last.
fn kept(files: &[&[u8]]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let mut path = PathBuf::new();
    for (number, file) in files.iter().enumerate() {
        path = dir.path().join(format!("{number}.{EXTENSION}"));
        std::fs::write(&path, file).unwrap();
    }
    (dir, path)
}

fn keyring(key: &Path) -> Arc<Keyring> {
    let key = root::file::read(key).unwrap();
    Arc::new(Keyring::new(key, Arc::new(OsEntropy)).unwrap())
}

fn opened(world: &World, files: &[&[u8]]) -> Result<Chain, ChainError> {
    let (_dir, newest) = kept(files);
    let keyring = keyring(&world.dir.path().join("master.key"));
    Chain::open(&newest, &keyring, &|_| ())
}

fn plan(keyring: &Keyring, keep_tokens: bool) -> Plan {
    let now = SystemClock.now();
    let context = Context {
        correlation: Id::generate(now, &OsEntropy),
        tenant: Tenant::default_tenant(),
        principal: Principal::Local {
            user: "tester".to_owned(),
        },
        origin: "local".to_owned(),
    };
    let id = Id::generate(now, &OsEntropy);
    Plan {
        root: serde_json::to_value(keyring.root_check()).unwrap(),
        log: "pentad.after".to_owned(),
        keep_tokens,
        look: true,
        now,
        record: Record::new(id, now, &context, "system.restore", Outcome::Done),
    }
}

/// Restores into a directory laid out as a [`World`]'s is.
fn laid_out(
    world: &World,
    files: &[&[u8]],
    keep_tokens: bool,
) -> Result<(tempfile::TempDir, Restored), Fault> {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("master.key");
    std::fs::copy(world.dir.path().join("master.key"), &key).unwrap();
    let store = dir.path().join("store");
    std::fs::create_dir(&store).unwrap();
    let keyring = keyring(&key);
    let (_kept, newest) = kept(files);
    let mut chain = Chain::open(&newest, &keyring, &|_| ()).unwrap();
    let plan = plan(&keyring, keep_tokens);
    let restored = restore::restore(&mut chain, &keyring, &store, plan, &|_| ())?;
    std::fs::rename(store.join("audit"), dir.path().join("audit")).unwrap();
    Ok((dir, restored))
}

async fn restored(world: &World, files: &[&[u8]]) -> (World, Restored) {
    let (dir, restored) = laid_out(world, files, false).unwrap();
    let pentad = world::run(dir.path()).await;
    (World { dir, pentad }, restored)
}

async fn values(
    world: &World,
    paths: impl IntoIterator<Item = String>,
) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for path in paths {
        found.insert(path.clone(), world.get(&path).await);
    }
    found
}

fn paths(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("prod/{number:03}"))
}

async fn fill(world: &World, count: usize) {
    for (number, path) in paths(count).enumerate() {
        let value = format!("{number} Vq8%wLp2&zR5^tK9");
        world.put(&path, Kind::Password, &value).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_comes_back_and_the_log_goes_on() {
    let world = World::new().await;
    fill(&world, 40).await;
    let before = values(&world, paths(40)).await;
    let backup = full(&world).await;
    let (after, restored) = restored(&world, &[&backup]).await;
    assert_eq!(restored.rows["credentials"], 40);
    assert_eq!(values(&after, paths(40)).await, before);
    let proven = after.pentad.prove(&after.admin(), &|_| ()).await.unwrap();
    assert_eq!((proven.versions, proven.opened), (40, 40));
    // The old records are the new log's beginning, and the first new one says where it comes from.
    let page = after
        .pentad
        .audit_page(
            &after.admin(),
            pentad_agents::contract::monitoring::AuditQuery {
                action: Some("system.restore".to_owned()),
                limit: 10,
                ..Default::default()
            },
        )
        .await
        .unwrap();
    let (position, record) = &page.records[0];
    assert_eq!(*position, restored.log_records);
    assert!(record.detail.contains("pentad.test"), "{}", record.detail);
    assert!(restored.log_records > 80, "{restored:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_writes_is_one_moment() {
    let world = World::new().await;
    fill(&world, 30).await;
    let stop = Arc::new(AtomicBool::new(false));
    // Each round writes all of them in order: at any moment, those before have at most one more
    // version than those after.
    let writer = {
        let (pentad, admin, stop) = (world.pentad.clone(), world.admin(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                for (number, path) in paths(30).enumerate() {
                    let put = Put {
                        value: Some(Value::Given(Secret::new(format!(
                            "{rounds} {number} xW3$kq9!Zt{rounds} {number} xW3$kq9!Zt7pL2#vBn"
                        )))),
                        ..Put::default()
                    };
                    pentad
                        .put(&admin, &path.parse().unwrap(), put)
                        .await
                        .unwrap();
                }
                rounds += 1;
            }
            rounds
        })
    };
    let mut backups = Vec::new();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        backups.push(full(&world).await);
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writer.await.unwrap() > 0);
    for backup in backups {
        let (after, _) = restored(&world, &[&backup]).await;
        let mut latest = Vec::new();
        for path in paths(30) {
            let admin = after.admin();
            let found = after.pentad.describe(&admin, &path.parse().unwrap()).await;
            latest.push(found.unwrap().latest);
        }
        let steps = latest.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let (first, last) = (latest[0], latest[29]);
        assert!(steps <= 1 && first - last <= 1, "{latest:?}");
        let proven = after.pentad.prove(&after.admin(), &|_| ()).await.unwrap();
        assert_eq!(proven.opened, u64::from(latest.iter().sum::<u32>()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_increment_holds_what_changed_and_needs_its_parents() {
    let world = World::new().await;
    fill(&world, 400).await;
    let first = full(&world).await;
    world
        .put("prod/007", Kind::Password, "Another1! nQ7&vB2*")
        .await;
    let second = increment(&world, &first).await;
    let gone = "prod/009".parse().unwrap();
    world
        .pentad
        .delete(&world.admin(), &gone, None)
        .await
        .unwrap();
    world
        .put("prod/new", Kind::Password, "Another2! nQ7&vB2*")
        .await;
    let third = increment(&world, &second).await;
    for increment in [&second, &third] {
        assert!(
            increment.len() * 3 < first.len(),
            "{} {}",
            increment.len(),
            first.len()
        );
    }
    let (after, rows) = restored(&world, &[&first, &second, &third]).await;
    assert_eq!(rows.rows["credentials"], 401);
    assert_eq!(after.get("prod/007").await, "Another1! nQ7&vB2*");
    assert_eq!(after.get("prod/new").await, "Another2! nQ7&vB2*");
    let deleted = after.pentad.read(&after.admin(), &gone, None).await;
    assert!(matches!(deleted, Err(Fault::Missing { .. })), "{deleted:?}");
    let proven = after.pentad.prove(&after.admin(), &|_| ()).await.unwrap();
    assert_eq!((proven.versions, proven.opened), (402, 402));
    // Without one of those that it rests on, nothing.
    let missing = opened(&world, &[&first, &third]);
    assert!(matches!(missing, Err(ChainError::NoParent { .. })));
    let missing = opened(&world, &[&second]);
    assert!(matches!(missing, Err(ChainError::NoParent { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_increment_rests_on_a_backup_of_the_same_store_only() {
    let (world, other) = (World::new().await, World::new().await);
    let theirs = full(&other).await;
    let refused = world
        .pentad
        .back_up(&world.admin(), Some(rests_on(&theirs)))
        .await;
    assert!(matches!(refused, Err(Fault::Conflict { .. })));
    // What is sent is believed only as it was sealed.
    let ours = full(&world).await;
    let mut altered = rests_on(&ours);
    let at = altered.bytes.len() - 1;
    altered.bytes[at] ^= 1;
    let mut moved = rests_on(&ours);
    moved.first += 1;
    for parent in [altered, moved] {
        let refused = world.pentad.back_up(&world.admin(), Some(parent)).await;
        assert!(matches!(refused, Err(Fault::Damaged { .. })));
    }
    for length in [0, 10, 300] {
        let mut cut = rests_on(&ours);
        cut.bytes.truncate(cut.bytes.len() - 1 - length);
        let refused = world.pentad.back_up(&world.admin(), Some(cut)).await;
        assert!(matches!(
            refused,
            Err(Fault::Invalid { .. } | Fault::Damaged { .. })
        ));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_altered_cut_or_put_in_anothers_place_is_refused() {
    let world = World::new().await;
    fill(&world, 20).await;
    let backup = full(&world).await;
    assert!(opened(&world, &[&backup]).is_ok());
    // Every byte, one bit each; the crate of keys does every bit on a small file.
    let step = 97;
    for at in (0..backup.len()).step_by(step) {
        let mut altered = backup.clone();
        altered[at] ^= 1 << (at % 8);
        assert!(opened(&world, &[&altered]).is_err(), "byte {at}");
    }
    for length in (0..backup.len()).step_by(step) {
        assert!(opened(&world, &[&backup[..length]]).is_err(), "{length}");
    }
    let cut = opened(&world, &[&backup[..backup.len() - 1]]);
    assert!(matches!(cut, Err(ChainError::CutOff { .. })));
    let nothing = opened(&world, &[b"SQLite format 3\0"]);
    assert!(matches!(nothing, Err(ChainError::NotABackup { .. })));
    let mut newer = backup.clone();
    newer[8] = 9;
    assert!(matches!(
        opened(&world, &[&newer]),
        Err(ChainError::Newer { .. })
    ));
    // Another store's root key; another backup's frames under this one's header.
    let other = World::new().await;
    let foreign = opened(&other, &[&backup]);
    assert!(matches!(foreign, Err(ChainError::Foreign { .. })));
    let again = full(&world).await;
    let begin = |file: &[u8]| {
        let mut rest = file;
        Prelude::read(Sort::Backup, &mut rest).unwrap();
        file.len() - rest.len()
    };
    let mixed = [&backup[..begin(&backup)], &again[begin(&again)..]].concat();
    assert!(matches!(
        opened(&world, &[&mixed]),
        Err(ChainError::Damaged { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotated_credentials_come_back_in_doubt_and_are_tried() {
    let world = World::new().await;
    let file = world
        .env_file(&[("STAYS", "Stays-7hG2!kqW9"), ("MOVES", "Moves-3bX8!pLt6")])
        .await;
    world
        .put("prod/free", Kind::Password, "Free-5cV1!mNr4zz#tR5")
        .await;
    let backup = full(&world).await;
    // After the backup one of them is rotated: its value is lost with this machine.
    let moves: pentad_model::Path = "app/MOVES".parse().unwrap();
    let ask = pentad_agents::contract::rotation::Start {
        paths: vec![moves.clone()],
        strategy: None,
    };
    let started = world.pentad.rotate(&world.admin(), ask).await.unwrap();
    let ended = world.ended(started.rotations[0].1).await;
    assert_eq!(ended.progress.step, Step::Done);
    let now_there = std::fs::read_to_string(&file).unwrap();

    let (dir, summary) = laid_out(&world, &[&backup], false).unwrap();
    assert_eq!(summary.in_doubt, 2);
    // The same target, at the same place.
    let pentad = run_beside(dir.path(), world.dir.path()).await;
    let after = World { dir, pentad };
    let admin = after.admin();
    let in_doubt = async |path: &str| {
        let found = after.pentad.describe(&admin, &path.parse().unwrap()).await;
        found.unwrap().in_doubt
    };
    assert!(in_doubt("app/STAYS").await && in_doubt("app/MOVES").await);
    assert!(!in_doubt("prod/free").await, "nothing can differ from it");
    // Readers are told.
    let read = after.pentad.read(&admin, &moves, None).await.unwrap();
    assert!(read.of.in_doubt);

    let looked = looked_at(&after).await;
    assert_eq!((looked.works, looked.drift, looked.cant_tell), (1, 1, 0));
    assert!(!in_doubt("app/STAYS").await, "it was seen to work");
    assert!(in_doubt("app/MOVES").await, "it was seen to be refused");
    let again = after.pentad.look_after_restore(&mut HashSet::new()).await;
    assert_eq!(again.unwrap(), None, "all is told");
    let probed = after.pentad.probe(&admin, &moves).await.unwrap();
    assert_eq!(probed.login, Login::Fails);
    assert!(probed.note.starts_with("drift"), "{}", probed.note);
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        now_there,
        "nothing changed there"
    );

    // What works is taken over, and then it is in doubt no more.
    let value = now_there
        .lines()
        .find_map(|line| line.strip_prefix("MOVES="))
        .unwrap()
        .trim_matches(['"', '\''])
        .to_owned();
    let put = Put {
        value: Some(Value::Given(Secret::new(value))),
        ..Put::default()
    };
    after.pentad.adopt(&admin, &moves, put).await.unwrap();
    assert!(!in_doubt("app/MOVES").await);
    let probed = after.pentad.probe(&admin, &moves).await.unwrap();
    assert_eq!((probed.login, probed.in_doubt), (Login::Works, false));
}

/// What the first look at the targets showed, once the system has taken it by itself.
async fn looked_at(world: &World) -> restore::Looked {
    for _ in 0..6_000 {
        let origin = world.pentad.restored(&world.admin()).await.unwrap();
        if let Some(looked) = origin.unwrap().looked {
            return looked;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody looked at the targets");
}

/// As [`world::run`], with files of another directory admitted too.
async fn run_beside(dir: &Path, other: &Path) -> Pentad {
    world::run_with(dir, pentad_agents::Directories::below([dir, other])).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfinished_rotation_does_not_go_on_by_itself() {
    let world = World::new().await;
    let steps = [
        Step::Planned,
        Step::Applying,
        Step::Delivering,
        Step::Retiring,
        Step::Undoing,
    ];
    let names: Vec<String> = steps
        .iter()
        .map(|step| step.to_string().to_uppercase())
        .collect();
    let variables: Vec<(&str, &str)> = names
        .iter()
        .map(|name| (name.as_str(), "Xy7!kq2#Zp9w"))
        .collect();
    let file = world.env_file(&variables).await;
    let before = std::fs::read_to_string(&file).unwrap();
    let now = SystemClock.now();
    let rotation = |name: &str, step: Step| pentad_model::Rotation {
        id: Id::generate(now, &OsEntropy),
        tenant: Tenant::default_tenant(),
        path: format!("app/{name}").parse().unwrap(),
        target: "app".parse().unwrap(),
        strategy: Strategy::InPlace,
        batch: None,
        after: Vec::new(),
        overwrite: false,
        progress: Progress {
            step,
            attempt: 1,
            promoted: false,
        },
        lease: Lease {
            holder: "the old machine".to_owned(),
            epoch: 7,
            until: now.plus(Duration::from_secs(3600)),
        },
        from: 1,
        from_account: name.to_owned(),
        to: None,
        to_account: name.to_owned(),
        connection: Some("4711".to_owned()),
        doubt_until: Timestamp::default(),
        observe_until: Timestamp::default(),
        control: Control::Pause,
        resume_at: now.plus(Duration::from_secs(3600)),
        waits: 0,
        reason: None,
        evidence: Vec::new(),
        requested_by: "tester".to_owned(),
        correlation: Id::generate(now, &OsEntropy),
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    let ops = names
        .iter()
        .zip(steps)
        .map(|(name, step)| Op::CreateRotation {
            rotation: rotation(name, step),
        });
    let world = world.tampered_with(ops.collect()).await;
    let backup = full(&world).await;
    let (dir, summary) = laid_out(&world, &[&backup], false).unwrap();
    assert_eq!((summary.waiting, summary.ended), (4, 1));
    let pentad = run_beside(dir.path(), world.dir.path()).await;
    let after = World { dir, pentad };
    assert_eq!(looked_at(&after).await.rotating, 4);
    let query = RotationQuery {
        tenant: Tenant::default_tenant(),
        path: None,
        batch: None,
        unfinished: false,
        step: None,
        for_a_person: false,
        before: None,
        limit: 100,
    };
    let all = after
        .pentad
        .rotations(&after.admin(), query)
        .await
        .unwrap()
        .items;
    assert_eq!(all.len(), 5);
    for rotation in all {
        let was = rotation
            .path
            .as_str()
            .trim_start_matches("app/")
            .to_lowercase();
        let is = match was.as_str() {
            "planned" => Step::Failed,
            "retiring" => Step::Observing,
            "undoing" => Step::UndoProbing,
            _ => Step::Probing,
        };
        assert_eq!(rotation.progress.step, is, "{was}");
        assert_eq!(
            (rotation.lease.until, rotation.lease.epoch),
            (Timestamp(0), 8)
        );
        assert_eq!(rotation.connection, None);
        assert_eq!(rotation.resume_at, NEVER);
        assert_eq!(rotation.waits_for_a_person(), is != Step::Failed, "{was}");
        assert!(rotation.reason.unwrap().contains(&was));
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_live_on_only_if_asked_for_and_sessions_never() {
    let world = World::new().await;
    let new = || pentad_agents::operations::NewToken {
        name: "ci".parse::<Name>().unwrap(),
        roles: vec!["reader".parse().unwrap()],
        ttl: None,
    };
    let issued = world
        .pentad
        .create_token(&world.admin(), new())
        .await
        .unwrap();
    let backup = full(&world).await;
    for keep in [false, true] {
        let (dir, summary) = laid_out(&world, &[&backup], keep).unwrap();
        assert_eq!(summary.tokens_left_out, u64::from(!keep));
        let pentad = world::run(dir.path()).await;
        let id = pentad.correlation();
        let tenant = Tenant::default_tenant();
        let entered = pentad
            .authenticate(&issued.secret, &tenant, "test", id)
            .await;
        assert_eq!(entered.is_ok(), keep);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_tenants_are_in_it_and_only_the_default_ones_admin_makes_one() {
    let world = World::new().await;
    let acme: Tenant = "acme".parse().unwrap();
    world
        .pentad
        .create_tenant(&world.admin(), &acme)
        .await
        .unwrap();
    let id = world.pentad.correlation();
    let theirs = world.pentad.local(&acme, "tester", id).unwrap();
    let put = Put {
        kind: Some(Kind::Password),
        value: Some(Value::Given(Secret::new("Acme-7hG2!kqW9#tR5"))),
        ..Put::default()
    };
    let path = "prod/db".parse().unwrap();
    world.pentad.put(&theirs, &path, put).await.unwrap();
    let refused = world.pentad.back_up(&theirs, None).await;
    assert!(matches!(refused, Err(Fault::Denied { .. })));
    let backup = full(&world).await;
    let (after, _) = restored(&world, &[&backup]).await;
    let theirs = after.pentad.local(&acme, "tester", id).unwrap();
    let read = after.pentad.read(&theirs, &path, None).await.unwrap();
    assert_eq!(read.value.expose_str(), Some("Acme-7hG2!kqW9#tR5"));
    assert_eq!(
        after
            .pentad
            .prove(&after.admin(), &|_| ())
            .await
            .unwrap()
            .opened,
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_backup_is_made_at_a_time_and_one_that_nobody_takes_is_on_record() {
    let world = World::new().await;
    // More than waits for whoever takes it.
    let long = "Vq8%wLp2&zR5^tK9".repeat(4_000);
    for (number, path) in paths(40).enumerate() {
        let value = format!("{number} {long}");
        world.put(&path, Kind::Secret, &value).await;
    }
    let first = world.pentad.back_up(&world.admin(), None).await.unwrap();
    let second = world.pentad.back_up(&world.admin(), None).await;
    assert!(matches!(second, Err(Fault::Busy { .. })));
    drop(first);
    let ended = async || {
        let query = pentad_agents::contract::monitoring::AuditQuery {
            action: Some("backup.end".to_owned()),
            limit: 10,
            ..Default::default()
        };
        let page = world
            .pentad
            .audit_page(&world.admin(), query)
            .await
            .unwrap();
        page.records.first().map(|(_, record)| record.outcome)
    };
    for _ in 0..500 {
        if ended().await.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(ended().await, Some(Outcome::Failed));
    assert!(opened(&world, &[&full(&world).await]).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_does_not_open_is_named_by_the_proof() {
    let world = World::new().await;
    fill(&world, 5).await;
    let backup = full(&world).await;
    let (dir, _) = laid_out(&world, &[&backup], false).unwrap();
    let database = dir.path().join("store/pentad.db");
    {
        let connection = rusqlite::Connection::open(&database).unwrap();
        let (row, mut sealed): (i64, Vec<u8>) = connection
            .query_row(
                "SELECT row, sealed FROM versions WHERE path = 'prod/002'",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        let last = sealed.len() - 1;
        sealed[last] ^= 1;
        connection
            .execute(
                "UPDATE versions SET sealed = ?2, sealed_sum = ?3 WHERE row = ?1",
                rusqlite::params![row, sealed, crc32fast::hash(&sealed)],
            )
            .unwrap();
    }
    let pentad = world::run(dir.path()).await;
    let after = World { dir, pentad };
    let proven = after.pentad.prove(&after.admin(), &|_| ()).await.unwrap();
    assert_eq!((proven.versions, proven.opened), (5, 4));
    assert!(
        proven.problems[0].contains("prod/002"),
        "{:?}",
        proven.problems
    );
}
