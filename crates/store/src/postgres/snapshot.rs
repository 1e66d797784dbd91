//! One moment of the database: a read-only transaction of the isolation `REPEATABLE READ` on a session
//! of its own.
//!
//! It hinders no writer. Rows are read in keyset pages, so each statement is short and what waits in
//! memory is bounded, and take the form that they have in the embedded store: what stands in columns
//! here (a version's stage, a document's revision) goes back into the object. So a backup of this
//! store can be restored as an embedded one.
//!
//! Of the outbox it has the records of all nodes: those of others may be nowhere else yet.
//!
//! While it is read PostgreSQL keeps what is deleted; whoever takes no rows for [`STALL`] is cut off.

use std::{sync::Arc, time::Duration};

use pentad_model::{Tenant, Timestamp, Version};
use tokio::{sync::mpsc, time::timeout};
use tokio_postgres::Row as SqlRow;

use super::{
    errors::Failure,
    rows::{self, DOCUMENT, VERSION, Value, column, sum},
    session::{Connector, Session},
};
use crate::{
    Collection, StoreError,
    snapshot::{Batch, Row, Snapshot, Table},
};

/// How long a snapshot waits for whoever reads it.
const STALL: Duration = Duration::from_secs(60);
/// How long counting may take.
const COUNTED: Duration = Duration::from_secs(300);
/// Bytes of rows that are handed over at once, about.
const BATCH: usize = 256 << 10;
/// Rows of the first page of a table, before it is known how large they are, and of any.
const A_PAGE: (usize, usize) = (64, 2000);
/// Batches that wait for the reader.
const AHEAD: usize = 8;

/// Where a table's rows come from.
struct Source {
    name: &'static str,
    /// What is read before the key.
    columns: String,
    /// The columns of an index that orders the rows, which are read last.
    key: &'static [&'static str],
    /// Where the key's values begin: before all.
    first: Vec<Value>,
    /// The row, whose key begins at this column.
    read: fn(&SqlRow, usize) -> Result<Row, Failure>,
}

fn source(table: Table) -> Source {
    let text = || Value::from("");
    let bytes = || Value::from(&b""[..]);
    match table {
        Table::Credentials => Source {
            name: "credentials",
            columns: "body, sum".to_owned(),
            key: &["tenant", "path"],
            first: vec![text(), text()],
            read: |row, key| {
                let (tenant, path): (&str, &str) = (column(row, key)?, column(row, key + 1)?);
                as_it_is(row, Table::Credentials, format!("{tenant}/{path}"))
            },
        },
        Table::Versions => Source {
            name: "versions",
            columns: format!("{VERSION}, destroyed_at"),
            key: &["tenant", "path", "number"],
            first: vec![text(), text(), 0i64.into()],
            read: version,
        },
        Table::Rotations => Source {
            name: "rotations",
            columns: "body, sum".to_owned(),
            key: &["tenant", "id"],
            first: vec![text(), bytes()],
            read: |row, key| {
                let (tenant, id): (&str, &[u8]) = (column(row, key)?, column(row, key + 1)?);
                as_it_is(
                    row,
                    Table::Rotations,
                    format!("{tenant}/{}", hex::encode(id)),
                )
            },
        },
        Table::Documents => Source {
            name: "documents",
            columns: DOCUMENT.to_owned(),
            key: &["collection", "tenant", "name"],
            first: vec![text(), text(), bytes()],
            read: document,
        },
        Table::Outbox => Source {
            name: "outbox",
            columns: "body, sum".to_owned(),
            // Ids are given in the order of time.
            key: &["id"],
            first: vec![bytes()],
            read: |row, key| {
                let id: &[u8] = column(row, key)?;
                as_it_is(row, Table::Outbox, hex::encode(id))
            },
        },
    }
}

/// Takes a snapshot; its moment has passed when this returns.
pub(super) async fn snapshot(connector: &Arc<Connector>) -> Result<Snapshot, StoreError> {
    let begun = begin(connector).await;
    let (session, counts) = begun.map_err(|failure| failure.about(about))?;
    let (batches, received) = mpsc::channel(AHEAD);
    connector.runtime().spawn(async move {
        for table in Table::ALL {
            match walk(&session, &source(*table), &batches).await {
                Ok(true) => {}
                // Nobody reads any more.
                Ok(false) => return,
                Err(failure) => {
                    send(&batches, Batch::Failed(failure.about(about))).await;
                    return;
                }
            }
        }
        // It read nothing but this one moment to its end.
        let last = match session.batch("COMMIT").await {
            Ok(()) => Batch::End,
            Err(failure) => Batch::Failed(failure.about(about)),
        };
        send(&batches, last).await;
    });
    Ok(Snapshot::new(counts, received))
}

/// Begins the transaction, which lasts as long as the session, and reads, which fixes its moment.
async fn begin(connector: &Connector) -> Result<(Session, Vec<(Table, u64)>), Failure> {
    let session = connector.connect().await?;
    let patience = 2 * STALL.as_secs();
    session
        .batch(&format!(
            "SET statement_timeout = '{}s'; SET idle_in_transaction_session_timeout = '{patience}s';
             BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            COUNTED.as_secs()
        ))
        .await?;
    let each = Table::ALL.iter().map(|table| {
        let Source { name, .. } = source(*table);
        format!("(SELECT count(*) FROM {name})")
    });
    let sql = format!("SELECT {}", each.collect::<Vec<_>>().join(", "));
    let counted = timeout(COUNTED, session.client().query_one(&sql, &[])).await;
    let row = counted.map_err(|_| Failure::Silence(COUNTED.as_secs()))??;
    let counts = Table::ALL.iter().enumerate().map(|(place, table)| {
        let count: i64 = column(&row, place)?;
        Ok((*table, count.max(0).cast_unsigned()))
    });
    let counts = counts.collect::<Result<_, Failure>>()?;
    Ok((session, counts))
}

/// Hands out a table; `false` if nobody reads any more.
async fn walk(
    session: &Session,
    source: &Source,
    batches: &mpsc::Sender<Batch>,
) -> Result<bool, Failure> {
    let Source { name, columns, .. } = source;
    let names = source.key.join(", ");
    let bounds: Vec<String> = (1..=source.key.len()).map(|n| format!("${n}")).collect();
    let sql = format!(
        "SELECT {columns}, {names} FROM {name} WHERE ({names}) > ({}) ORDER BY {names} LIMIT ${}",
        bounds.join(", "),
        source.key.len() + 1
    );
    let key = columns.split(',').count();
    let mut after = source.first.clone();
    let mut limit = A_PAGE.0;
    loop {
        let mut values = after.clone();
        values.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
        let found = session.query(&sql, &values).await?;
        let Some(last) = found.last() else {
            return Ok(true);
        };
        after = key_of(last, key, &source.first)?;
        let rows = found.iter().map(|row| (source.read)(row, key));
        let rows: Vec<Row> = rows.collect::<Result<_, _>>()?;
        let length = |row: &Row| row.body.len() + row.sealed.as_ref().map_or(0, Vec::len);
        let bytes: usize = rows.iter().map(length).sum();
        let is_last = rows.len() < limit;
        // As many as make a batch, if the next ones are like these.
        limit = (BATCH * rows.len() / bytes.max(1)).clamp(1, A_PAGE.1);
        if !send(batches, Batch::Rows(rows)).await {
            return Ok(false);
        }
        if is_last {
            return Ok(true);
        }
    }
}

async fn send(batches: &mpsc::Sender<Batch>, batch: Batch) -> bool {
    batches.send_timeout(batch, STALL).await.is_ok()
}

/// The key of a row, each part of the type of `like`.
fn key_of(row: &SqlRow, from: usize, like: &[Value]) -> Result<Vec<Value>, Failure> {
    let parts = like.iter().enumerate().map(|(place, like)| {
        let place = from + place;
        Ok(match like {
            Value::Bytes(_) => column::<&[u8]>(row, place)?.into(),
            Value::Int(_) => column::<i64>(row, place)?.into(),
            _ => column::<&str>(row, place)?.into(),
        })
    });
    parts.collect()
}

/// A row whose object says all of it, and whose checksum is right. A damaged one is named and ends the
/// snapshot: a backup that leaves something out without a word is worse than none.
fn as_it_is(row: &SqlRow, table: Table, key: String) -> Result<Row, Failure> {
    let (body, stored): (&str, i64) = (column(row, 0)?, column(row, 1)?);
    if sum(body.as_bytes()) != stored {
        return Err(damaged(table, &key, "its checksum does not match"));
    }
    Ok(Row {
        table,
        key,
        body: body.as_bytes().to_vec(),
        sealed: None,
        destroyed_at: None,
    })
}

fn version(row: &SqlRow, key: usize) -> Result<Row, Failure> {
    let (tenant, path): (&str, &str) = (column(row, key)?, column(row, key + 1)?);
    let number: i64 = column(row, key + 2)?;
    let name = format!("{tenant}/{path} {number}");
    let found = rows::version(row, 0, || format!("{} `{name}`", Table::Versions.as_str()))?;
    let destroyed_at: Option<i64> = column(row, key - 1)?;
    let sealed = found.sealed.as_ref().map(|it| it.as_bytes().to_vec());
    let body = rows::encode(&Version {
        sealed: None,
        ..found
    })?;
    Ok(Row {
        table: Table::Versions,
        key: name,
        body: body.text.into_bytes(),
        sealed,
        destroyed_at: destroyed_at.map(Timestamp),
    })
}

fn document(row: &SqlRow, key: usize) -> Result<Row, Failure> {
    let (collection, tenant): (&str, &str) = (column(row, key)?, column(row, key + 1)?);
    let bytes: &[u8] = column(row, key + 2)?;
    let name = format!("{collection} {tenant}/{}", String::from_utf8_lossy(bytes));
    let known = Collection::ALL.iter().find(|it| it.as_str() == collection);
    let (Some(known), Ok(tenant)) = (known, tenant.parse::<Tenant>()) else {
        return Err(damaged(
            Table::Documents,
            &name,
            "its sort or its tenant is not known",
        ));
    };
    let found = rows::document(row, *known, &tenant)?;
    Ok(Row {
        table: Table::Documents,
        key: name,
        body: rows::encode(&found)?.text.into_bytes(),
        sealed: None,
        destroyed_at: None,
    })
}

fn damaged(table: Table, key: &str, reason: &str) -> Failure {
    Failure::Store(StoreError::Corrupt {
        what: format!("{} `{key}`", table.as_str()),
        reason: reason.to_owned(),
    })
}

fn about() -> String {
    "a snapshot of the database".to_owned()
}
