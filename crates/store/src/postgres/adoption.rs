//! Audit records of a node that is gone, which nobody else would take to a log.
//!
//! Each node drains the outbox of its own log. What a node had committed and not drained when its
//! machine was lost for good waits in the database; another node takes it over into its own outbox,
//! and so into its log. What always holds:
//!
//! * Only from a node that is dead: its lock is free, and is held by us until this is committed. So
//!   the node can't come back in the middle of it.
//! * Only what is older than [`PATIENCE`]: a node that restarts drains its own.
//! * A record is in one outbox at a time. It may be in two *logs*, if the dead node had drained it and
//!   not yet said so; it has the same id in both.

use std::time::Duration;

use pentad_model::Timestamp;

use super::{
    errors::Failure,
    rows::{Value, column},
    session::{Session, lock_key},
};

/// How old records are that are taken over.
pub(super) const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// Between two looks.
pub(super) const EVERY: Duration = Duration::from_secs(60);
/// Records taken over at a time from one node.
const AT_ONCE: i64 = 1000;

/// Takes over what dead nodes left, into the outbox of `log` behind position `last`, in one
/// transaction under the store's lock. Answers how many records that were.
pub(super) async fn adopt(
    session: &Session,
    schema: &str,
    store_lock: i64,
    log: &str,
    last: i64,
    now: Timestamp,
) -> Result<i64, Failure> {
    // A look without the lock first: there is nothing nearly always.
    if others(session, log).await?.is_empty() {
        return Ok(0);
    }
    session.batch("BEGIN").await?;
    let lock = "SELECT pg_advisory_xact_lock($1)";
    session.execute(lock, &[store_lock.into()]).await?;
    let patience = i64::try_from(PATIENCE.as_millis()).unwrap_or(i64::MAX);
    let before = now.0.saturating_sub(patience);
    let mut adopted = 0;
    for dead in others(session, log).await? {
        let key: Value = lock_key(schema, "node", &dead).into();
        let free = "SELECT pg_try_advisory_xact_lock($1)";
        let rows = session.query(free, &[key]).await?;
        let is_free = rows.first().map(|row| column::<bool>(row, 0)).transpose()?;
        if is_free != Some(true) {
            continue;
        }
        let moved = session
            .execute(
                "UPDATE outbox o SET log = $2, position = $3 + old.nth
                 FROM (SELECT position, row_number() OVER (ORDER BY position) AS nth
                       FROM outbox x
                       WHERE log = $1 AND NOT EXISTS
                           (SELECT FROM recent r WHERE r.id = x.id AND r.at > $4)
                       ORDER BY position LIMIT $5) old
                 WHERE o.log = $1 AND o.position = old.position",
                &[
                    dead.as_str().into(),
                    log.into(),
                    (last + adopted).into(),
                    before.into(),
                    AT_ONCE.into(),
                ],
            )
            .await?;
        if moved > 0 {
            tracing::warn!(
                node = dead,
                records = moved,
                "audit records of a node that is gone are taken over"
            );
        }
        adopted += i64::try_from(moved).unwrap_or(0);
    }
    let note = "UPDATE nodes SET last_position = $2 WHERE log = $1";
    let values = [log.into(), (last + adopted).into()];
    session.execute(note, &values).await?;
    session.batch("COMMIT").await?;
    Ok(adopted)
}

/// The other nodes that have records in their outbox.
async fn others(session: &Session, log: &str) -> Result<Vec<String>, Failure> {
    let sql = "SELECT n.log FROM nodes n
               WHERE n.log <> $1 AND EXISTS (SELECT FROM outbox o WHERE o.log = n.log)";
    let rows = session.query(sql, &[log.into()]).await?;
    rows.iter().map(|row| column(row, 0)).collect()
}
