//! The log as a whole.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod durability;
mod measure;
mod reading;
mod recovering;
mod searching;
mod tampering;

use std::path::Path;

use pentad_model::{Id, Record, Timestamp, record::Outcome};

use super::*;

/// Record number `n`, always the same.
fn record(n: u64) -> Record {
    let tenant = if n.is_multiple_of(3) {
        "acme"
    } else {
        "default"
    };
    Record {
        id: Id::from_u128(0x1000 + u128::from(n)),
        at: Timestamp(1_764_000_000_000 + n as i64 * 1000),
        correlation: Id::from_u128(u128::from(n / 2)),
        tenant: tenant.parse().unwrap(),
        principal: format!("user:{}", n % 5),
        origin: "10.0.0.1".to_owned(),
        action: if n.is_multiple_of(2) {
            "credential.read"
        } else {
            "rotation.step"
        }
        .to_owned(),
        outcome: Outcome::Done,
        path: Some(format!("db/{}/password", n % 4).parse().unwrap()),
        version: Some(1),
        detail: String::new(),
        value_mac: None,
    }
}

fn records(range: std::ops::Range<u64>) -> Vec<Record> {
    range.map(record).collect()
}

fn open(dir: &Path, high_water: u64) -> Result<AuditLog, AuditError> {
    AuditLog::open(dir, small(), high_water)
}

/// Segments of a few blocks.
fn small() -> Options {
    Options {
        segment_bytes: 4 << 10,
        ..Options::default()
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Appends the records of `range`, `step` in a block.
fn fill(log: &AuditLog, range: std::ops::Range<u64>, step: usize) {
    let range = range.collect::<Vec<_>>();
    run(async {
        for numbers in range.chunks(step) {
            let batch: Vec<_> = numbers.iter().map(|n| record(*n)).collect();
            let positions = log.append_all(&batch).await.unwrap();
            assert_eq!(positions[0], Position(numbers[0]));
        }
    });
}

fn all(log: &AuditLog) -> Vec<Record> {
    let mut found = Vec::new();
    let mut rest = Some(0..u64::MAX);
    while let Some(range) = rest {
        let page = log.page(range, Order::Oldest, 100).unwrap();
        found.extend(page.entries.into_iter().map(|entry| entry.record));
        rest = page.next;
    }
    found
}
