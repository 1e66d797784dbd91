//! Documents: one that has expired does not exist, swept or not.

use pentad_model::{Tenant, Timestamp};
use rusqlite::{Connection, params};

use super::exists;
use crate::{
    Collection, Document, Expect, StoreError,
    sqlite::{
        errors::Failure,
        rows::{self, Body, decode, encode, statement},
    },
    subject::name,
};

pub(super) fn put_document(
    tx: &Connection,
    document: &Document,
    expect: Expect,
    now: Timestamp,
) -> Result<(), Failure> {
    let (collection, tenant) = (document.collection, &document.tenant);
    let revision = revision(tx, collection, tenant, &document.name, expect, now)?;
    let mut next = document.clone();
    next.revision = revision.unwrap_or(0).saturating_add(1);
    write_document(tx, &next)
}

/// Writes it over whatever is there, at the revision that it has.
pub(in crate::sqlite) fn write_document(tx: &Connection, next: &Document) -> Result<(), Failure> {
    let Body { text, sum } = encode(next)?;
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

pub(super) fn check_document(
    tx: &Connection,
    collection: Collection,
    tenant: &Tenant,
    key: &str,
    expect: Expect,
    now: Timestamp,
) -> Result<(), Failure> {
    revision(tx, collection, tenant, key, expect, now).map(drop)
}

/// The revision of a document that is what was expected; `None` if it does not exist.
fn revision(
    tx: &Connection,
    collection: Collection,
    tenant: &Tenant,
    key: &str,
    expect: Expect,
    now: Timestamp,
) -> Result<Option<u64>, Failure> {
    let mut select = statement(
        tx,
        "SELECT body, sum FROM documents WHERE collection = ?1 AND tenant = ?2 AND name = ?3",
    )?;
    let what = || name(collection.as_str(), tenant, key);
    let stored = match select
        .query(params![collection.as_str(), tenant.as_str(), key])?
        .next()?
    {
        Some(row) => Some(decode::<Document>(row, what)?),
        None => None,
    };
    let living = stored.filter(|stored| !rows::expired(stored, now));
    let revision = living.map(|living| living.revision);
    match (expect, revision) {
        (Expect::Absent, Some(_)) => Err(exists(what())),
        (Expect::Revision(_), None) => Err(StoreError::Missing { what: what() }.into()),
        (Expect::Revision(expect), Some(stored)) if expect != stored => {
            Err(StoreError::Conflict { what: what() }.into())
        }
        _ => Ok(revision),
    }
}
