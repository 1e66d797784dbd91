//! What has fallen due by its time: the scans of retention. They read indices only, no row.

use pentad_model::{Timestamp, name::InvalidName};
use rusqlite::{Connection, Row};

use super::{Answer, page};
use crate::{Due, DueQuery, Page, StoreError, sqlite::errors::Failure};

pub(in crate::sqlite) fn old_versions(c: &Connection, query: &DueQuery) -> Answer<Page<Due>> {
    due(
        c,
        query,
        "SELECT old_at, path, number FROM versions INDEXED BY versions_old
         WHERE tenant = ?1 AND (old_at, path, number) > (?2, ?3, ?4) AND old_at <= ?5
         ORDER BY old_at, path, number LIMIT ?6",
    )
}

pub(in crate::sqlite) fn deleted_credentials(
    c: &Connection,
    query: &DueQuery,
) -> Answer<Page<Due>> {
    due(
        c,
        query,
        "SELECT deleted_at, path, 0 FROM credentials INDEXED BY credentials_by_deletion
         WHERE tenant = ?1 AND (deleted_at, path) > (?2, ?3) AND ?4 >= 0 AND deleted_at <= ?5
         ORDER BY deleted_at, path LIMIT ?6",
    )
}

fn due(c: &Connection, query: &DueQuery, sql: &str) -> Answer<Page<Due>> {
    let tenant = query.tenant.as_str();
    let (at, path, number) = match &query.after {
        Some(after) => (after.at.0, after.path.as_str(), after.number),
        None => (i64::MIN, "", 0),
    };
    page(
        c,
        sql,
        &[&tenant, &at, &path, &number, &query.until.0],
        query.limit,
        read,
    )
    .map_err(|failure| failure.about(c, || format!("what has fallen due in {tenant}")))
}

fn read(row: &Row<'_>) -> Result<Due, Failure> {
    let path: String = row.get(1)?;
    Ok(Due {
        at: Timestamp(row.get(0)?),
        number: row.get(2)?,
        path: path.parse().map_err(|error: InvalidName| {
            Failure::Store(StoreError::Corrupt {
                what: "an index of what has fallen due".to_owned(),
                reason: error.to_string(),
            })
        })?,
    })
}
