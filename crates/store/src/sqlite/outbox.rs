//! Audit records on their way to the log, and the memory that makes a second commit harmless.

use std::time::Duration;

use pentad_model::{Record, Timestamp};
use rusqlite::{Connection, params};

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

/// Puts a record in the outbox. `false`: it is there, or was within the last day, and what it tells of
/// was done.
pub(super) fn put(tx: &Connection, record: &Record, now: Timestamp) -> Result<bool, Failure> {
    let id = rows::id(record.id);
    let news = statement(
        tx,
        "INSERT INTO recent (id, at) VALUES (?1, ?2)
         ON CONFLICT (id) DO UPDATE SET at = ?2 WHERE at <= ?3",
    )?
    .execute(params![id, now.0, forgotten(now)])?;
    if news == 0 {
        return Ok(false);
    }
    let Body { text, sum } = encode(record)?;
    // The log may have been out of reach for longer than an id is remembered.
    let put = statement(
        tx,
        "INSERT INTO outbox (id, body, sum) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING",
    )?
    .execute(params![id, text, sum])?;
    Ok(put > 0)
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
