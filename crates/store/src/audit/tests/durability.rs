//! Group commit, idempotence, full disks, failing disks, killed processes.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::atomic::Ordering::SeqCst,
};

use super::*;
use crate::audit::{faults::Faults, reserve};

fn with_faults() -> (Options, Faults) {
    let faults = Faults::default();
    let options = Options {
        faults: faults.clone(),
        ..Options::default()
    };
    (options, faults)
}

// The writer is a thread of its own: holding up its fsync holds up no task of this runtime.
#[allow(clippy::await_holding_lock)]
#[test]
fn what_arrives_during_an_fsync_shares_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let (options, faults) = with_faults();
    let log = Arc::new(AuditLog::open(dir.path(), options, 0).unwrap());
    run(async {
        let held = faults.0.gate.lock();
        let mut waiting = Vec::new();
        for n in 0..101 {
            let log = Arc::clone(&log);
            waiting.push(tokio::spawn(async move { log.append(&record(n)).await }));
            while n == 0 && faults.0.syncs.load(SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        }
        let queue = log.requests.as_ref().unwrap();
        while queue.max_capacity() - queue.capacity() < 100 {
            tokio::task::yield_now().await;
        }
        drop(held);
        for (n, append) in waiting.into_iter().enumerate() {
            assert_eq!(append.await.unwrap(), Ok(Position(n as u64)));
        }
    });
    assert_eq!(faults.0.syncs.load(SeqCst), 2);
    assert_eq!(all(&log), records(0..101));
}

#[test]
fn a_full_queue_makes_callers_wait_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        queue: 2,
        ..small()
    };
    let log = AuditLog::open(dir.path(), options, 0).unwrap();
    run(async {
        let appends = (0..200).map(|n| {
            let log = &log;
            async move { log.append(&record(n)).await.unwrap() }
        });
        let mut positions = futures::future::join_all(appends).await;
        positions.sort_unstable();
        assert_eq!(positions, (0..200).map(Position).collect::<Vec<_>>());
    });
    assert_eq!(log.size(), 200);
}

#[test]
fn a_record_is_in_the_log_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 0).unwrap();
    fill(&log, 0..30, 7);
    run(async {
        assert_eq!(log.append(&record(3)).await, Ok(Position(3)));
        let mixed = [record(30), record(5), record(30), record(31)];
        assert_eq!(
            log.append_all(&mixed).await.unwrap(),
            [30, 5, 30, 31].map(Position)
        );
    });
    drop(log);
    let log = open(dir.path(), 32).unwrap();
    assert_eq!(run(log.append(&record(0))), Ok(Position(0)));
    assert_eq!(all(&log), records(0..32));
}

#[test]
fn ids_older_than_the_window_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        window: 10,
        ..small()
    };
    let log = AuditLog::open(dir.path(), options, 0).unwrap();
    fill(&log, 0..30, 7);
    assert_eq!(run(log.append(&record(20))), Ok(Position(20)));
    assert_eq!(run(log.append(&record(19))), Ok(Position(30)));
}

#[test]
fn too_much_at_once_is_the_callers_fault() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 0).unwrap();
    let big = record(0).detail("x".repeat(3 << 20));
    assert!(matches!(
        run(log.append(&big)),
        Err(AuditError::TooLarge { .. })
    ));
    let large = record(0).detail("x".repeat((3 << 20) - 1000));
    assert_eq!(run(log.append(&large)), Ok(Position(0)));
    assert_eq!(all(&log), [large]);
}

#[test]
fn a_full_disk_refuses_cleanly_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let (options, faults) = with_faults();
    faults.0.space.store(reserve::SIZE + 1000, SeqCst);
    let log = AuditLog::open(dir.path(), options, 0).unwrap();
    run(async {
        assert_eq!(log.append(&record(0)).await, Ok(Position(0)));
        let many = records(1..100);
        assert_eq!(log.append_all(&many).await, Err(AuditError::Full));
        assert_eq!(
            log.append(&record(1)).await,
            Ok(Position(1)),
            "it still fits"
        );
        faults.0.space.store(0, SeqCst);
        assert_eq!(log.append(&record(2)).await, Err(AuditError::Full));

        // The reserve serves essential records, and no others.
        let login = record(500);
        assert_eq!(log.append_essential(&login).await, Ok(Position(2)));
        assert_eq!(log.append(&record(2)).await, Err(AuditError::Full));
        assert_eq!(log.append_essential(&record(501)).await, Ok(Position(3)));

        // With space again, everything goes on, and the reserve is back.
        faults.0.space.fetch_add(reserve::SIZE, SeqCst);
        assert_eq!(log.append(&record(2)).await, Ok(Position(4)));
        let reserve = dir.path().join("reserve");
        assert_eq!(reserve.metadata().unwrap().len(), reserve::SIZE);
    });
    drop(log);
    let log = AuditLog::open(dir.path(), Options::default(), 5).unwrap();
    let expected = [record(0), record(1), record(500), record(501), record(2)];
    assert_eq!(all(&log), expected);
    assert!(
        verify(dir.path(), &[log.head("t").unwrap()])
            .unwrap()
            .is_intact()
    );
}

#[test]
fn a_reserve_that_is_only_partly_there_serves_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let (options, faults) = with_faults();
    let reserve = dir.path().join("reserve");
    std::fs::write(&reserve, vec![1; 100_000]).unwrap();
    // A log, and not enough to make the reserve whole.
    faults.0.space.store(10_000, SeqCst);
    let log = AuditLog::open(dir.path(), options, 0).unwrap();
    assert_eq!(reserve.metadata().unwrap().len(), 100_000);
    faults.0.space.store(0, SeqCst);
    run(async {
        assert_eq!(log.append(&record(0)).await, Err(AuditError::Full));
        assert_eq!(log.append_essential(&record(1)).await, Ok(Position(0)));
        assert_eq!(reserve.metadata().unwrap().len(), 0);
        assert_eq!(log.append(&record(2)).await, Err(AuditError::Full));
        faults.0.space.fetch_add(reserve::SIZE, SeqCst);
        assert_eq!(log.append(&record(2)).await, Ok(Position(1)));
    });
    assert_eq!(reserve.metadata().unwrap().len(), reserve::SIZE);
}

#[test]
fn after_a_failed_fsync_nothing_is_appended_until_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let (options, faults) = with_faults();
    let log = AuditLog::open(dir.path(), options, 0).unwrap();
    run(async {
        assert_eq!(log.append(&record(0)).await, Ok(Position(0)));
        faults.0.fail_sync.store(true, SeqCst);
        let refused = log.append(&record(1)).await;
        assert!(
            matches!(refused, Err(AuditError::Fatal { .. })),
            "{refused:?}"
        );
        faults.0.fail_sync.store(false, SeqCst);
        assert_eq!(log.append(&record(2)).await, refused);
        assert_eq!(log.append_essential(&record(3)).await, refused);
        assert_eq!(log.size(), 1);
    });
    drop(log);
    // Whether record 1 survived is open; handing it over again is safe either way.
    let log = open(dir.path(), 1).unwrap();
    assert_eq!(run(log.append(&record(1))), Ok(Position(1)));
    assert_eq!(all(&log), records(0..2));
}

#[test]
fn a_failed_write_is_fatal() {
    let dir = tempfile::tempdir().unwrap();
    let (options, faults) = with_faults();
    let log = AuditLog::open(dir.path(), options, 0).unwrap();
    faults.0.fail_write.store(true, SeqCst);
    assert!(matches!(
        run(log.append(&record(0))),
        Err(AuditError::Fatal { .. })
    ));
    faults.0.fail_write.store(false, SeqCst);
    assert!(matches!(
        run(log.append(&record(0))),
        Err(AuditError::Fatal { .. })
    ));
}

#[test]
fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 0).unwrap();
    assert!(matches!(
        open(dir.path(), 0),
        Err(AuditError::Locked { .. })
    ));
    assert!(matches!(repair(dir.path()), Err(AuditError::Locked { .. })));
    drop(log);
    open(dir.path(), 0).unwrap();
}

const CHILD: &str = "PENTAD_AUDIT_TEST_DIR";

/// Not a test of its own: the process that the next one kills. It appends for as long as it lives
/// and says on its output what was acknowledged.
#[test]
#[ignore = "run by acknowledged_records_survive_kill_9"]
fn appending_child() {
    let Ok(dir) = std::env::var(CHILD) else {
        return;
    };
    let log = Arc::new(open(Path::new(&dir), 0).unwrap());
    let first = log.size();
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    runtime.block_on(async {
        let writers = (0..8).map(|writer| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                for n in 0.. {
                    let number = first + n * 8 + writer;
                    let Position(at) = log.append(&record(number)).await.unwrap();
                    // One write call a line, so that lines of several writers don't mix.
                    let line = format!("ack {at} {number}\n");
                    std::io::stderr().write_all(line.as_bytes()).unwrap();
                }
            })
        });
        futures::future::join_all(writers).await;
    });
}

#[test]
fn acknowledged_records_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--nocapture", "appending_child"])
            .env(CHILD, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = 0;
        while let Some(Ok(line)) = lines.next() {
            let words: Vec<_> = line.split(' ').collect();
            let ["ack", at, number] = words[..] else {
                continue;
            };
            acknowledged.push((at.parse::<u64>().unwrap(), number.parse::<u64>().unwrap()));
            seen += 1;
            if seen == 40 + round * 13 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= 40, "the child died by itself");

        let high_water = acknowledged.iter().map(|(at, _)| at + 1).max().unwrap();
        let log = open(dir.path(), high_water).unwrap();
        let found = all(&log);
        for &(at, number) in &acknowledged {
            assert_eq!(found[at as usize], record(number));
        }
        let report = verify(dir.path(), &[log.head("t").unwrap()]).unwrap();
        assert!(report.is_intact(), "{:?}", report.findings);
    }
}

/// What a target says may make a record long: as many as the outbox hands over at a time are more than
/// one append takes, and must not stay there for ever.
#[tokio::test]
async fn what_is_too_much_for_one_append_is_cut_to_what_fits() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 0).unwrap();
    let waiting = |n| {
        let long = record(n).detail("\u{1}".repeat(2048));
        Waiting {
            position: n + 1,
            id: long.id,
            body: serde_json::to_string(&long).unwrap(),
        }
    };
    let mut left: Vec<Waiting> = (0..512).map(waiting).collect();
    assert!(log.append_waiting(left.clone()).await.is_err());
    let mut goes = 0;
    while !left.is_empty() {
        let rest = left.split_off(AuditLog::fitting(&left));
        log.append_waiting(left).await.unwrap();
        (left, goes) = (rest, goes + 1);
    }
    assert_eq!((log.size(), goes), (512, 3));
    let alone = "x".repeat(8 << 20);
    let alone = Waiting {
        body: alone,
        ..waiting(0)
    };
    assert_eq!(AuditLog::fitting(&[alone]), 1);
}
