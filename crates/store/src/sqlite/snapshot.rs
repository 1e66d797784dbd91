//! One moment of the database: a read transaction on a connection of its own.
//!
//! In write-ahead mode a reader sees the database as it was when its transaction first read, and
//! hinders no writer (<https://www.sqlite.org/isolation.html>). Meanwhile the log can't be written
//! over, so it grows with what is written: a snapshot that nobody takes rows from for
//! [`STALL`] is given up.

use std::{path::Path as FsPath, time::Duration};

use pentad_model::Timestamp;
use rusqlite::{Connection, Row as SqlRow, types::ValueRef};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{errors::Failure, reading, rows};
use crate::{
    StoreError,
    snapshot::{Batch, Row, Snapshot, Table},
};

/// How long a snapshot waits for whoever reads it.
const STALL: Duration = Duration::from_secs(60);
/// Bytes of rows that are handed over at once, about.
const BATCH: usize = 256 << 10;
/// Batches that wait for the reader.
const AHEAD: usize = 8;

/// Where a table's rows come from: body, checksum, and of versions what [`rows::version`] reads and when
/// it was destroyed; at the end the key. In the order in which they lie in the file.
fn select(table: Table) -> (&'static str, &'static str) {
    match table {
        Table::Credentials => (
            "SELECT count(*) FROM credentials",
            "SELECT body, sum, tenant || '/' || path FROM credentials ORDER BY row",
        ),
        Table::Versions => (
            "SELECT count(*) FROM versions",
            "SELECT body, sum, sealed, sealed_sum, stage, stage_mac, staged_at, moved_sum,
                    destroyed_at, tenant || '/' || path || ' ' || number
             FROM versions ORDER BY row",
        ),
        Table::Rotations => (
            "SELECT count(*) FROM rotations",
            "SELECT body, sum, tenant || '/' || lower(hex(id)) FROM rotations ORDER BY row",
        ),
        Table::Documents => (
            "SELECT count(*) FROM documents",
            "SELECT body, sum, collection || ' ' || tenant || '/' || name FROM documents
             ORDER BY row",
        ),
        Table::Outbox => (
            "SELECT count(*) FROM outbox",
            "SELECT body, sum, lower(hex(id)) FROM outbox ORDER BY seq",
        ),
    }
}

/// Columns of versions.
const MOVED: usize = 7;
const DESTROYED: usize = 8;

/// Takes a snapshot; its moment has passed when this returns.
pub(super) async fn snapshot(path: &FsPath) -> Result<Snapshot, StoreError> {
    let (batches, received) = mpsc::channel(AHEAD);
    let (begun, has_begun) = oneshot::channel();
    let (path, runtime) = (path.to_owned(), Handle::current());
    tokio::task::spawn_blocking(move || {
        let connection = match reading(&path) {
            Ok(connection) => connection,
            Err(error) => return drop(begun.send(Err(error))),
        };
        let send = |batch: Batch| {
            let sent = batches.send_timeout(batch, STALL);
            runtime.block_on(sent).is_ok()
        };
        let about = |failure: Failure| failure.about(&connection, || path.display().to_string());
        let counts = match begin(&connection) {
            Ok(counts) => counts,
            Err(failure) => return drop(begun.send(Err(about(failure)))),
        };
        if begun.send(Ok(counts)).is_err() {
            return;
        }
        for table in Table::ALL {
            match walk(&connection, *table, &send) {
                Ok(true) => {}
                // Nobody reads any more.
                Ok(false) => return,
                Err(failure) => {
                    send(Batch::Failed(about(failure)));
                    return;
                }
            }
        }
        send(Batch::End);
    });
    let counts = has_begun.await.map_err(|_| StoreError::Unavailable {
        reason: "no snapshot could be taken".to_owned(),
    })??;
    Ok(Snapshot::new(counts, received))
}

/// Begins the transaction, which lasts as long as the connection, and reads, which fixes its moment.
fn begin(connection: &Connection) -> Result<Vec<(Table, u64)>, Failure> {
    connection.execute_batch("BEGIN DEFERRED")?;
    Table::ALL
        .iter()
        .map(|table| {
            let count: i64 = connection.query_row(select(*table).0, [], |row| row.get(0))?;
            Ok((*table, count.max(0).cast_unsigned()))
        })
        .collect()
}

/// Hands out a table; `false` if nobody reads any more.
fn walk(
    connection: &Connection,
    table: Table,
    send: &dyn Fn(Batch) -> bool,
) -> Result<bool, Failure> {
    let mut rows = connection.prepare(select(table).1)?;
    let mut found = rows.query([])?;
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        let row = checked(table, row)?;
        bytes += row.body.len() + row.sealed.as_ref().map_or(0, Vec::len);
        batch.push(row);
        if bytes >= BATCH {
            bytes = 0;
            if !send(Batch::Rows(std::mem::take(&mut batch))) {
                return Ok(false);
            }
        }
    }
    Ok(batch.is_empty() || send(Batch::Rows(batch)))
}

/// A row whose checksums are right. A damaged one is named and ends the snapshot: a backup that
/// leaves something out without a word is worse than none.
fn checked(table: Table, row: &SqlRow<'_>) -> Result<Row, Failure> {
    let key: String = row.get(row.as_ref().column_count() - 1)?;
    let what = || format!("{} `{key}`", table.as_str());
    let (body, sealed, destroyed_at) = match table {
        Table::Versions if row.get_ref(MOVED)? != ValueRef::Null => {
            let mut version = rows::version(row, what)?;
            let sealed = version
                .sealed
                .take()
                .map(|sealed| sealed.as_bytes().to_vec());
            (rows::encode(&version)?.text, sealed, row.get(DESTROYED)?)
        }
        Table::Versions => (
            rows::text(row, what)?,
            rows::sealed(row, what)?,
            row.get(DESTROYED)?,
        ),
        _ => (rows::text(row, what)?, None, None),
    };
    Ok(Row {
        table,
        body: body.into_bytes(),
        sealed,
        destroyed_at: destroyed_at.map(Timestamp),
        key,
    })
}
