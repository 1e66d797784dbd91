//! Audit records on their way to the log, and the memory that makes a second commit harmless.

use std::{sync::LazyLock, time::Duration};

use pentad_model::{Id, Timestamp};
use rusqlite::{Connection, params};

use super::{
    errors::Failure,
    rows::{self, Body, statement},
};

/// How long a record's id is remembered.
pub(super) const MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// Rows swept with each group besides as many as it added: so the sweep always gains on the growth,
/// and no commit pays for a day's rows at once.
const SWEEP: usize = 32;

/// Records that one statement puts in the outbox. More of them would save little; what there are fewer
/// is put one by one.
const AT_ONCE: usize = 32;

/// A record's id and its text.
pub(super) type Told = (Id, Body);

fn forgotten(now: Timestamp) -> i64 {
    let memory = i64::try_from(MEMORY.as_millis()).unwrap_or(i64::MAX);
    now.0.saturating_sub(memory)
}

/// Puts a record in the outbox. `false`: it is there, or was within the last day, and what it tells of
/// was done.
pub(super) fn put(
    tx: &Connection,
    id: Id,
    Body { text, sum }: &Body,
    now: Timestamp,
) -> Result<bool, Failure> {
    // The log may have been out of reach for longer than an id is remembered: so both are looked at.
    let put = statement(
        tx,
        "INSERT INTO outbox (id, at, body, sum) SELECT ?1, ?2, ?3, ?4
         WHERE NOT EXISTS (SELECT 1 FROM recent WHERE id = ?1 AND at > ?5)
         ON CONFLICT (id) DO NOTHING",
    )?
    .execute(params![rows::id(id), now.0, text, sum, forgotten(now)])?;
    Ok(put > 0)
}

/// Puts records in the outbox, those that are known excepted.
pub(super) fn put_all(tx: &Connection, records: &[Told], now: Timestamp) -> Result<(), Failure> {
    let (many, rest) = records.as_chunks::<AT_ONCE>();
    for records in many {
        if remembers_any(tx, records, now)? {
            one_by_one(tx, records, now)?;
        } else {
            put_new(tx, records, now)?;
        }
    }
    one_by_one(tx, rest, now)
}

fn one_by_one(tx: &Connection, records: &[Told], now: Timestamp) -> Result<(), Failure> {
    records
        .iter()
        .try_for_each(|(id, body)| put(tx, *id, body, now).map(drop))
}

/// Whether one of these was put there, and has left, within the last day.
fn remembers_any(
    tx: &Connection,
    records: &[Told; AT_ONCE],
    now: Timestamp,
) -> Result<bool, Failure> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let ids = ["?"; AT_ONCE].join(", ");
        format!("SELECT 1 FROM recent WHERE id IN ({ids}) AND at > ? LIMIT 1")
    });
    let mut select = statement(tx, &SQL)?;
    for (place, (id, _)) in (1..).zip(records) {
        select.raw_bind_parameter(place, rows::id(*id))?;
    }
    select.raw_bind_parameter(AT_ONCE + 1, forgotten(now))?;
    Ok(select.raw_query().next()?.is_some())
}

/// Puts records that are not remembered in the outbox, unless they are there.
fn put_new(tx: &Connection, records: &[Told; AT_ONCE], now: Timestamp) -> Result<(), Failure> {
    const WIDTH: usize = 4;
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let rows = ["(?, ?, ?, ?)"; AT_ONCE].join(", ");
        format!("INSERT INTO outbox (id, at, body, sum) VALUES {rows} ON CONFLICT (id) DO NOTHING")
    });
    let mut insert = statement(tx, &SQL)?;
    for (first, (id, Body { text, sum })) in (1..).step_by(WIDTH).zip(records) {
        insert.raw_bind_parameter(first, rows::id(*id))?;
        insert.raw_bind_parameter(first + 1, now.0)?;
        insert.raw_bind_parameter(first + 2, text)?;
        insert.raw_bind_parameter(first + 3, sum)?;
    }
    insert.raw_execute()?;
    Ok(())
}

/// Drops records up to and including position `through`; their ids are remembered for the rest of
/// their day.
pub(super) fn clear(tx: &Connection, through: u64) -> Result<(), Failure> {
    let through = i64::try_from(through).unwrap_or(i64::MAX);
    statement(
        tx,
        "INSERT INTO recent (id, at) SELECT id, at FROM outbox WHERE seq <= ?1
         ON CONFLICT (id) DO UPDATE SET at = excluded.at",
    )?
    .execute(params![through])?;
    statement(tx, "DELETE FROM outbox WHERE seq <= ?1")?.execute(params![through])?;
    Ok(())
}

/// Drops some of what nobody can see any more: ids older than a day, expired documents.
pub(super) fn sweep(tx: &Connection, added: usize, now: Timestamp) -> Result<(), Failure> {
    let limit = i64::try_from(added.saturating_add(SWEEP)).unwrap_or(i64::MAX);
    statement(
        tx,
        "DELETE FROM recent WHERE id IN
             (SELECT id FROM recent WHERE at <= ?1 ORDER BY at LIMIT ?2)",
    )?
    .execute(params![forgotten(now), limit])?;
    statement(
        tx,
        "DELETE FROM documents WHERE row IN
             (SELECT row FROM documents WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
    )?
    .execute(params![now.0, limit])?;
    Ok(())
}
