//! What the rows of a batch of rotations cost the writer, on request:
//! `cargo test --release -p pentad-store -- --ignored --nocapture a_batch_costs`.
//!
//! Time of this thread, so that a busy machine hardly matters; the fsync is not in it.

#![allow(clippy::print_stdout)]

use std::time::Duration;

use pentad_model::{Clock as _, Id, SystemClock, credential::Binding, id::OsEntropy};
use rusqlite::Connection;

use super::run;
use crate::{
    Change, Op, OpenOptions, SqliteStore, Writer,
    conformance::samples::{binding, change, record, rotation, stored, tenant},
    sqlite::{DATABASE, ops, outbox, writer::Prepared, writing},
};

const BATCH: usize = 1000;

fn thread_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// As the rotation agent starts one: a touch of the credential, the rotation, a record.
fn start(round: u64) -> Change {
    let id = || Id::generate(SystemClock.now(), &OsEntropy);
    let batch = id();
    let mut it = Change::default();
    for n in 0..BATCH {
        let at = format!("bench/roles/{n}");
        let Some(Op::CreateCredential { mut credential }) = stored(&at).into_iter().next() else {
            panic!("a sample begins with its credential");
        };
        credential.revision = round + 1;
        credential.binding = Some(bound(n));
        it.ops.push(Op::UpdateCredential {
            credential,
            expect: round,
        });
        let mut rotation = rotation(0, &at);
        (rotation.id, rotation.batch) = (id(), Some(batch));
        rotation.from_account = bound(n).account;
        rotation.to_account = bound(n).account;
        let mut record = record(id());
        record.path = Some(rotation.path.clone());
        record.version = Some(1);
        record.detail = format!("{} at {}", rotation.id, rotation.target);
        it.records.push(record);
        it.ops.push(Op::CreateRotation { rotation });
    }
    it
}

fn bound(n: usize) -> Binding {
    let account = format!("bench_0190c2b1d4e57a9c8b3f2e1d0c9b8a76_r{n}");
    Binding {
        account,
        ..binding("bench")
    }
}

fn finish(connection: &Connection) {
    connection
        .execute_batch("UPDATE rotations SET finished = 1; DELETE FROM outbox")
        .unwrap();
}

#[test]
#[ignore = "measures for some seconds"]
fn what_a_row_of_a_batch_costs() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::create(dir.path(), OpenOptions::default()).unwrap();
    run(async {
        for n in 0..BATCH {
            let mut ops = stored(&format!("bench/roles/{n}"));
            if let Op::CreateCredential { credential } = &mut ops[0] {
                credential.binding = Some(bound(n));
            }
            store.commit(change(ops)).await.unwrap();
        }
    });
    assert_eq!(tenant().as_str(), "default");
    drop(store);
    let connection = writing(&dir.path().join(DATABASE), None).unwrap();
    for round in 1..=12 {
        let change = Prepared::of(start(round)).unwrap();
        let now = SystemClock.now();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut parts = [Duration::ZERO; 3];
        let mut timed = |part: usize, act: &mut dyn FnMut()| {
            let began = thread_time();
            act();
            parts[part] += thread_time() - began;
        };
        timed(0, &mut || {
            ops::many::apply_all(&connection, &change.ops, &change.bodies, now).unwrap();
        });
        timed(1, &mut || {
            outbox::put_all(&connection, &change.records, now)
                .map_err(drop)
                .unwrap();
        });
        timed(2, &mut || connection.execute_batch("COMMIT").unwrap());
        let each = parts.map(|part| part.as_secs_f64() * 1e6 / BATCH as f64);
        println!(
            "us a rotation: touch and rotation {:.1}, record {:.1}, commit {:.1}; {:.1} together",
            each[0],
            each[1],
            each[2],
            each.iter().sum::<f64>()
        );
        finish(&connection);
    }
}
