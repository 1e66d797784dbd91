//! Audit records on their way to the log, and the memory that makes a second commit harmless.
//!
//! A record waits under the id of the log that its node keeps, and only that node takes it from
//! there. Its position comes from the node's own row, so that none is ever given twice.

use std::{collections::HashSet, time::Duration};

use pentad_model::{Id, Record, Timestamp};

use super::{
    errors::Failure,
    feed,
    ops::any,
    rows::{Body, Value, column, encode},
    session::{Session, Step},
};
use crate::StoreError;

/// How long a record's id is remembered.
const MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// Rows swept with each group besides as many as it added: so the sweep always gains on the growth,
/// and no commit pays for a day's rows at once.
const SWEEP: usize = 32;

fn forgotten(now: Timestamp) -> i64 {
    let memory = i64::try_from(MEMORY.as_millis()).unwrap_or(i64::MAX);
    now.0.saturating_sub(memory)
}

/// Which of these records were committed within the last day, or wait in an outbox (the log may have
/// been out of reach for longer than a day).
const KNOWN: &str = "SELECT id FROM recent WHERE id = ANY ($1) AND at > $2
                     UNION SELECT id FROM outbox WHERE id = ANY ($1)";

/// See [`KNOWN`].
pub(super) async fn known(
    session: &Session,
    ids: &[Id],
    now: Timestamp,
) -> Result<HashSet<Id>, Failure> {
    let rows = session.query(KNOWN, &known_values(ids, now)).await?;
    let id = |row| -> Result<Id, Failure> {
        let bytes: &[u8] = column(row, 0)?;
        let bytes = bytes.try_into().map_err(|_| StoreError::Corrupt {
            what: "the ids of recent records".to_owned(),
            reason: "one has another length".to_owned(),
        })?;
        Ok(Id::from_u128(u128::from_be_bytes(bytes)))
    };
    rows.iter().map(id).collect()
}

/// Holds if none of these records is known.
pub(super) fn none_is_known(ids: &[Id], now: Timestamp) -> Step {
    Step {
        sql: KNOWN,
        values: known_values(ids, now).into(),
        reaches: Some(0),
    }
}

fn known_values(ids: &[Id], now: Timestamp) -> [Value; 2] {
    let ids: Vec<_> = ids.iter().map(|id| id.to_bytes().to_vec()).collect();
    [ids.into(), forgotten(now).into()]
}

/// Puts records into a log's outbox, at the positions after `last`.
pub(super) fn put(
    log: &str,
    last: i64,
    records: &[&Record],
    now: Timestamp,
) -> Result<Vec<Step>, StoreError> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let (mut ids, mut positions) = (Vec::new(), Vec::new());
    let (mut texts, mut sums) = (Vec::new(), Vec::new());
    for (position, record) in (last + 1..).zip(records) {
        let Body { text, sum } = encode(*record)?;
        ids.push(record.id.to_bytes().to_vec());
        positions.push(position);
        texts.push(text);
        sums.push(sum);
    }
    Ok(vec![
        any(
            "INSERT INTO recent (id, at) SELECT id, $2 FROM unnest($1::bytea[]) AS it (id)
             ON CONFLICT (id) DO UPDATE SET at = excluded.at",
            vec![ids.clone().into(), now.into()],
        ),
        any(
            "INSERT INTO outbox (log, position, id, body, sum)
             SELECT $1, position, id, body, sum
             FROM unnest($2::bigint[], $3::bytea[], $4::text[], $5::bigint[])
                  AS it (position, id, body, sum)",
            vec![
                log.into(),
                positions.into(),
                ids.into(),
                texts.into(),
                sums.into(),
            ],
        ),
    ])
}

/// Drops some of what nobody can see any more: ids older than a day, expired documents, the feed's
/// oldest rows.
pub(super) fn sweep(added: usize, now: Timestamp) -> Vec<Step> {
    let limit = i64::try_from(added.saturating_add(SWEEP)).unwrap_or(i64::MAX);
    vec![
        any(
            "DELETE FROM recent WHERE id IN
                 (SELECT id FROM recent WHERE at <= $1 ORDER BY at LIMIT $2)",
            vec![forgotten(now).into(), limit.into()],
        ),
        any(
            "DELETE FROM documents d USING
                 (SELECT collection, tenant, name FROM documents WHERE expires_at <= $1
                  ORDER BY expires_at LIMIT $2) old
             WHERE d.collection = old.collection AND d.tenant = old.tenant AND d.name = old.name",
            vec![now.into(), limit.into()],
        ),
        feed::sweep(limit),
    ]
}
