//! Rotations: created once, moved under the fence of their revision.

use pentad_model::Rotation;
use rusqlite::{Connection, OptionalExtension, params};

use super::{credential_revision, exists, invalid};
use crate::{
    StoreError,
    sqlite::{
        errors::Failure,
        rows::{self, Body, encode, name, statement},
    },
};

pub(in crate::sqlite) fn create_rotation(
    tx: &Connection,
    rotation: &Rotation,
) -> Result<(), Failure> {
    let what = || name("rotation", &rotation.tenant, rotation.id);
    if rotation.revision != 1 {
        return Err(invalid(what(), "a new one has revision 1"));
    }
    if credential_revision(tx, &rotation.tenant, &rotation.path)?.is_none() {
        let what = name("credential", &rotation.tenant, &rotation.path);
        return Err(StoreError::Missing { what }.into());
    }
    refuse_second(tx, rotation)?;
    insert_rotation(tx, rotation)
}

/// Writes one that is not there, at the revision that it has.
pub(in crate::sqlite) fn insert_rotation(
    tx: &Connection,
    rotation: &Rotation,
) -> Result<(), Failure> {
    let what = || name("rotation", &rotation.tenant, rotation.id);
    let Body { text, sum } = encode(rotation)?;
    let inserted = statement(
        tx,
        "INSERT INTO rotations
             (tenant, id, path, batch, finished, due_at, revision, body, sum, step,
              for_a_person)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (tenant, id) DO NOTHING",
    )?
    .execute(params![
        rotation.tenant.as_str(),
        rows::id(rotation.id),
        rotation.path.as_str(),
        rotation.batch.map(rows::id),
        rotation.progress.step.is_final(),
        rows::due_at(rotation).0,
        rows::count(rotation.revision),
        text,
        sum,
        rotation.progress.step.as_str(),
        rotation.waits_for_a_person(),
    ])?;
    if inserted == 0 {
        return Err(exists(what()));
    }
    Ok(())
}

pub(in crate::sqlite) fn update_rotation(
    tx: &Connection,
    rotation: &Rotation,
    expect: u64,
) -> Result<(), Failure> {
    let what = || name("rotation", &rotation.tenant, rotation.id);
    if rotation.revision <= expect {
        return Err(invalid(what(), "its revision does not grow"));
    }
    let stored: Option<(i64, String)> = statement(
        tx,
        "SELECT revision, path FROM rotations WHERE tenant = ?1 AND id = ?2",
    )?
    .query_row(
        params![rotation.tenant.as_str(), rows::id(rotation.id)],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
    .optional()?;
    match stored {
        None => return Err(StoreError::Missing { what: what() }.into()),
        Some((revision, _)) if revision != rows::count(expect) => {
            return Err(StoreError::Conflict { what: what() }.into());
        }
        Some((_, path)) if path != rotation.path.as_str() => {
            return Err(invalid(what(), "it belongs to another credential"));
        }
        Some(_) => {}
    }
    refuse_second(tx, rotation)?;
    let Body { text, sum } = encode(rotation)?;
    statement(
        tx,
        "UPDATE rotations
         SET batch = ?3, finished = ?4, due_at = ?5, revision = ?6, body = ?7, sum = ?8,
             step = ?9, for_a_person = ?10
         WHERE tenant = ?1 AND id = ?2",
    )?
    .execute(params![
        rotation.tenant.as_str(),
        rows::id(rotation.id),
        rotation.batch.map(rows::id),
        rotation.progress.step.is_final(),
        rows::due_at(rotation).0,
        rows::count(rotation.revision),
        text,
        sum,
        rotation.progress.step.as_str(),
        rotation.waits_for_a_person(),
    ])?;
    Ok(())
}

/// A credential has one unfinished rotation at most.
fn refuse_second(tx: &Connection, rotation: &Rotation) -> Result<(), Failure> {
    if rotation.progress.step.is_final() {
        return Ok(());
    }
    let other: Option<[u8; 16]> = statement(
        tx,
        "SELECT id FROM rotations WHERE tenant = ?1 AND path = ?2 AND finished = 0 AND id <> ?3",
    )?
    .query_row(
        params![
            rotation.tenant.as_str(),
            rotation.path.as_str(),
            rows::id(rotation.id)
        ],
        |row| row.get(0),
    )
    .optional()?;
    match other {
        Some(_) => Err(exists(name(
            "an unfinished rotation of",
            &rotation.tenant,
            &rotation.path,
        ))),
        None => Ok(()),
    }
}
