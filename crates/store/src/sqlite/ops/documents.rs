//! Documents: one that has expired does not exist, swept or not.

use pentad_model::Timestamp;
use rusqlite::{Connection, params};

use super::exists;
use crate::{
    Document, Expect, StoreError,
    sqlite::{
        errors::Failure,
        rows::{self, Body, decode, encode, name, statement},
    },
};

pub(super) fn put_document(
    tx: &Connection,
    document: &Document,
    expect: Expect,
    now: Timestamp,
) -> Result<(), Failure> {
    let key = params![
        document.collection.as_str(),
        document.tenant.as_str(),
        document.name
    ];
    let mut select = statement(
        tx,
        "SELECT body, sum FROM documents WHERE collection = ?1 AND tenant = ?2 AND name = ?3",
    )?;
    let what = || {
        name(
            document.collection.as_str(),
            &document.tenant,
            &document.name,
        )
    };
    let stored = match select.query(key)?.next()? {
        Some(row) => Some(decode::<Document>(row, what)?),
        None => None,
    };
    let living = stored.filter(|stored| !rows::expired(stored, now));
    let revision = living.map(|living| living.revision);
    match (expect, revision) {
        (Expect::Absent, Some(_)) => return Err(exists(what())),
        (Expect::Revision(_), None) => return Err(StoreError::Missing { what: what() }.into()),
        (Expect::Revision(expect), Some(stored)) if expect != stored => {
            return Err(StoreError::Conflict { what: what() }.into());
        }
        _ => {}
    }
    let mut next = document.clone();
    next.revision = revision.unwrap_or(0).saturating_add(1);
    let Body { text, sum } = encode(&next)?;
    statement(
        tx,
        "INSERT INTO documents (collection, tenant, name, revision, expires_at, body, sum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (collection, tenant, name) DO UPDATE SET
             revision = excluded.revision, expires_at = excluded.expires_at,
             body = excluded.body, sum = excluded.sum",
    )?
    .execute(params![
        next.collection.as_str(),
        next.tenant.as_str(),
        next.name,
        rows::count(next.revision),
        next.expires_at.map(|at| at.0),
        text,
        sum,
    ])?;
    Ok(())
}
