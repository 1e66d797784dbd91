//! Rotations: created once, moved under the fence of their revision.

use pentad_model::Rotation;
use rusqlite::{Connection, OptionalExtension, params};

use super::{credential_revision, exists, invalid};
use crate::{
    StoreError,
    sqlite::{
        errors::Failure,
        rows::{self, Body, encode, statement},
    },
    subject::name,
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
         ON CONFLICT DO NOTHING",
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
        // Either it is there, or another one of its credential is under way.
        refuse_second(tx, rotation)?;
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
    let stored: Option<Stored> = statement(
        tx,
        "SELECT row, revision, path, batch, finished, for_a_person
         FROM rotations WHERE tenant = ?1 AND id = ?2",
    )?
    .query_row(
        params![rotation.tenant.as_str(), rows::id(rotation.id)],
        |row| {
            Ok(Stored {
                row: row.get(0)?,
                revision: row.get(1)?,
                path: row.get(2)?,
                batch: row.get(3)?,
                finished: row.get(4)?,
                for_a_person: row.get(5)?,
            })
        },
    )
    .optional()?;
    let Some(stored) = stored else {
        return Err(StoreError::Missing { what: what() }.into());
    };
    if stored.revision != rows::count(expect) {
        return Err(StoreError::Conflict { what: what() }.into());
    }
    if stored.path != rotation.path.as_str() {
        return Err(invalid(what(), "it belongs to another credential"));
    }
    let (batch, finished) = (
        rotation.batch.map(rows::id),
        rotation.progress.step.is_final(),
    );
    let for_a_person = rotation.waits_for_a_person();
    let Body { text, sum } = encode(rotation)?;
    // Nearly always it goes on as what it was, and then few indexes are written.
    let same =
        stored.batch == batch && stored.finished == finished && stored.for_a_person == for_a_person;
    if same {
        statement(
            tx,
            "UPDATE rotations SET due_at = ?2, revision = ?3, body = ?4, sum = ?5, step = ?6
             WHERE row = ?1",
        )?
        .execute(params![
            stored.row,
            rows::due_at(rotation).0,
            rows::count(rotation.revision),
            text,
            sum,
            rotation.progress.step.as_str(),
        ])?;
        return Ok(());
    }
    refuse_second(tx, rotation)?;
    statement(
        tx,
        "UPDATE rotations
         SET batch = ?2, finished = ?3, due_at = ?4, revision = ?5, body = ?6, sum = ?7,
             step = ?8, for_a_person = ?9
         WHERE row = ?1",
    )?
    .execute(params![
        stored.row,
        batch,
        finished,
        rows::due_at(rotation).0,
        rows::count(rotation.revision),
        text,
        sum,
        rotation.progress.step.as_str(),
        for_a_person,
    ])?;
    Ok(())
}

/// The columns of a rotation that an update asks about.
struct Stored {
    row: i64,
    revision: i64,
    path: String,
    batch: Option<[u8; 16]>,
    finished: bool,
    for_a_person: bool,
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
