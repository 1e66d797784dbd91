//! Audit records on their way to the log, and the memory that makes a second commit harmless.

use std::time::Duration;

use pentad_model::{Id, Record, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    errors::Failure,
    rows::{self, Body, encode, statement},
};

/// How long a record's id is remembered.
pub(super) const MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// Rows swept with each group besides as many as it added: so the sweep always gains on the growth,
/// and no commit pays for a day's rows at once.
const SWEEP: usize = 32;

fn forgotten(now: Timestamp) -> i64 {
    let memory = i64::try_from(MEMORY.as_millis()).unwrap_or(i64::MAX);
    now.0.saturating_sub(memory)
}

/// Whether a change that begins with this record has been committed within the last day.
pub(super) fn known(tx: &Connection, id: Id, now: Timestamp) -> Result<bool, Failure> {
    let recent = statement(tx, "SELECT 1 FROM recent WHERE id = ?1 AND at > ?2")?
        .query_row(params![rows::id(id), forgotten(now)], |_| Ok(()))
        .optional()?;
    if recent.is_some() {
        return Ok(true);
    }
    // The log may have been out of reach for longer than a day.
    let waiting = statement(tx, "SELECT 1 FROM outbox WHERE id = ?1")?
        .query_row(params![rows::id(id)], |_| Ok(()))
        .optional()?;
    Ok(waiting.is_some())
}

/// Puts a record in the outbox, unless it is or was there.
pub(super) fn put(tx: &Connection, record: &Record, now: Timestamp) -> Result<(), Failure> {
    let id = rows::id(record.id);
    let news = statement(
        tx,
        "INSERT INTO recent (id, at) VALUES (?1, ?2)
         ON CONFLICT (id) DO UPDATE SET at = ?2 WHERE at <= ?3",
    )?
    .execute(params![id, now.0, forgotten(now)])?;
    if news == 0 {
        return Ok(());
    }
    let Body { text, sum } = encode(record)?;
    // The log may have been out of reach for longer than an id is remembered.
    statement(
        tx,
        "INSERT INTO outbox (id, body, sum) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING",
    )?
    .execute(params![id, text, sum])?;
    Ok(())
}

/// Drops records up to and including position `through`.
pub(super) fn clear(tx: &Connection, through: u64) -> Result<(), Failure> {
    let through = i64::try_from(through).unwrap_or(i64::MAX);
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
