//! Rotations: created once, moved under the fence of their revision.

use std::sync::LazyLock;

use pentad_model::Rotation;
use rusqlite::{Connection, OptionalExtension, ToSql, params};

use super::{credential_revision, exists, invalid};
use crate::{
    StoreError,
    sqlite::{
        errors::Failure,
        rows::{self, Body, encode, statement},
    },
    subject::name,
};

/// Rotations that one statement writes. More of them would save little; what there are fewer is
/// written one by one.
pub(in crate::sqlite) const AT_ONCE: usize = 32;

const COLUMNS: &str = "tenant, id, path, batch, finished, due_at, revision, body, sum, step,
                       for_a_person";
const WIDTH: usize = 11;

static INSERT_ONE: LazyLock<String> = LazyLock::new(|| insert(1));
static INSERT_MANY: LazyLock<String> = LazyLock::new(|| insert(AT_ONCE));

fn insert(rows: usize) -> String {
    let row = format!("({})", ["?"; WIDTH].join(", "));
    let rows = vec![row; rows].join(", ");
    format!("INSERT INTO rotations ({COLUMNS}) VALUES {rows} ON CONFLICT DO NOTHING")
}

/// A new one, of a credential that is there.
pub(super) fn begin(tx: &Connection, rotation: &Rotation, body: &Body) -> Result<(), Failure> {
    may_begin(tx, rotation, false)?;
    insert_rotations(tx, &[(rotation, body)])
}

/// Refuses to begin one that is not new, or whose credential is not there.
pub(super) fn may_begin(
    tx: &Connection,
    rotation: &Rotation,
    credential_is_there: bool,
) -> Result<(), Failure> {
    if rotation.revision != 1 {
        let what = name("rotation", &rotation.tenant, rotation.id);
        return Err(invalid(what, "a new one has revision 1"));
    }
    if !credential_is_there && credential_revision(tx, &rotation.tenant, &rotation.path)?.is_none()
    {
        let what = name("credential", &rotation.tenant, &rotation.path);
        return Err(StoreError::Missing { what }.into());
    }
    Ok(())
}

/// A new rotation and the body that is written of it.
pub(in crate::sqlite) type New<'a> = (&'a Rotation, &'a Body);

/// Writes some that are not there, each at the revision that it has.
pub(in crate::sqlite) fn insert_rotations(
    tx: &Connection,
    rotations: &[New<'_>],
) -> Result<(), Failure> {
    let (many, rest) = rotations.as_chunks::<AT_ONCE>();
    for rotations in many {
        insert_by(tx, &INSERT_MANY, rotations)?;
    }
    for rotation in rest {
        insert_by(tx, &INSERT_ONE, std::slice::from_ref(rotation))?;
    }
    Ok(())
}

fn insert_by(tx: &Connection, sql: &str, rotations: &[New<'_>]) -> Result<(), Failure> {
    let mut insert = statement(tx, sql)?;
    for (first, (rotation, Body { text, sum })) in (1..).step_by(WIDTH).zip(rotations) {
        let columns: [&dyn ToSql; WIDTH] = [
            &rotation.tenant.as_str(),
            &rows::id(rotation.id),
            &rotation.path.as_str(),
            &rotation.batch.map(rows::id),
            &rotation.progress.step.is_final(),
            &rows::due_at(rotation).0,
            &rows::count(rotation.revision),
            text,
            sum,
            &rotation.progress.step.as_str(),
            &rotation.waits_for_a_person(),
        ];
        for (place, column) in (first..).zip(columns) {
            insert.raw_bind_parameter(place, column)?;
        }
    }
    if insert.raw_execute()? == rotations.len() {
        return Ok(());
    }
    // Some were there, or another one of their credential is under way.
    for (rotation, _) in rotations {
        refuse_second(tx, rotation)?;
    }
    let one_of = rotations
        .first()
        .map(|(it, _)| name("rotation", &it.tenant, it.id));
    Err(exists(one_of.unwrap_or_default()))
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
