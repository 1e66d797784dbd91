//! Audit records in the outbox, and idempotent commits.

#![allow(missing_docs)]

use std::time::Duration;

use pentad_model::{Id, Record};

use super::{Bench, Lab, samples::*};
use crate::{Change, Op, Reader, Writer};

const HOUR: Duration = Duration::from_secs(3600);

async fn ids<L: Lab>(bench: &Bench<'_, L>) -> Vec<Id> {
    let records = bench.store.outbox(100).await.unwrap();
    records.into_iter().map(|waiting| waiting.id).collect()
}

fn told(ids: &[u128], ops: impl IntoIterator<Item = Op>) -> Change {
    Change {
        ops: ops.into_iter().collect(),
        records: ids.iter().map(|id| record(Id::from_u128(*id))).collect(),
    }
}

pub async fn records_wait_in_order_until_cleared<L: Lab>(bench: &Bench<'_, L>) {
    let store = &bench.store;
    store.commit(told(&[9, 3], [])).await.unwrap();
    store.commit(told(&[7, 1], [])).await.unwrap();
    assert_eq!(ids(bench).await, [9, 3, 7, 1].map(Id::from_u128));
    let first = store.outbox(3).await.unwrap();
    assert_eq!(first.len(), 3);
    assert!(first.is_sorted_by_key(|waiting| waiting.position));
    let written: Record = serde_json::from_str(&first[0].body).unwrap();
    assert_eq!(written, record(Id::from_u128(9)));
    store.clear_outbox(first[2].position).await.unwrap();
    assert_eq!(ids(bench).await, [1].map(Id::from_u128));
    let last = store.outbox(3).await.unwrap()[0].position;
    store.clear_outbox(u64::MAX).await.unwrap();
    assert_eq!(ids(bench).await, []);
    // A position is never given twice.
    store.commit(told(&[8], [])).await.unwrap();
    assert!(store.outbox(1).await.unwrap()[0].position > last);
}

pub async fn a_change_is_committed_once_within_a_day<L: Lab>(bench: &Bench<'_, L>) {
    let store = &bench.store;
    let change = told(&[5], [create(credential("a"))]);
    store.commit(change.clone()).await.unwrap();
    store.clear_outbox(u64::MAX).await.unwrap();
    bench.clock.advance(23 * HOUR);
    assert_eq!(store.commit(change.clone()).await, Ok(()));
    assert_eq!(ids(bench).await, [], "it is not told twice");
    // After a day it is another change, and its precondition fails.
    bench.clock.advance(2 * HOUR);
    assert!(store.commit(change).await.is_err());
    // A failed change is not remembered as done.
    assert!(
        store
            .commit(told(&[6], [create(credential("a"))]))
            .await
            .is_err()
    );
    store
        .commit(told(&[6], [create(credential("b"))]))
        .await
        .unwrap();
    let found = store.credential(&tenant(), &path("b")).await.unwrap();
    assert!(found.is_some());
}

pub async fn a_waiting_record_is_known_for_longer_than_a_day<L: Lab>(bench: &Bench<'_, L>) {
    let change = told(&[5], [create(credential("a"))]);
    bench.store.commit(change.clone()).await.unwrap();
    bench.clock.advance(72 * HOUR);
    assert_eq!(bench.store.commit(told(&[6], [])).await, Ok(()));
    assert_eq!(bench.store.commit(change).await, Ok(()));
    assert_eq!(ids(bench).await, [5, 6].map(Id::from_u128));
}

pub async fn a_record_is_written_once<L: Lab>(bench: &Bench<'_, L>) {
    let store = &bench.store;
    store.commit(told(&[1, 2], [])).await.unwrap();
    // The second record is known, the first is not: the change is done, its news told.
    let change = told(&[3, 2, 3], [create(credential("a"))]);
    store.commit(change).await.unwrap();
    assert_eq!(ids(bench).await, [1, 2, 3].map(Id::from_u128));
    let found = store.credential(&tenant(), &path("a")).await.unwrap();
    assert!(found.is_some());
}

/// More of them than any store writes at once.
pub async fn of_many_records_those_that_are_known_are_not_written_again<L: Lab>(
    bench: &Bench<'_, L>,
) {
    let store = &bench.store;
    let commit = |ids: Vec<u128>| async move { store.commit(told(&ids, [])).await.unwrap() };
    // Some have left, some wait.
    commit(vec![40, 90]).await;
    store.clear_outbox(u64::MAX).await.unwrap();
    commit(vec![20, 70]).await;
    commit((1..=100).collect()).await;
    let news = (1..=100).filter(|id| ![20, 40, 70, 90].contains(id));
    let expected: Vec<Id> = [20, 70]
        .into_iter()
        .chain(news)
        .map(Id::from_u128)
        .collect();
    assert_eq!(ids(bench).await, expected);
    // What has left is forgotten a day after it was written down.
    store.clear_outbox(u64::MAX).await.unwrap();
    bench.clock.advance(25 * HOUR);
    commit((1..=100).collect()).await;
    assert_eq!(ids(bench).await.len(), 100);
}
