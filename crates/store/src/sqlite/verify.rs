//! The repair report: reads everything once and names what can't be read.
//!
//! Keys are walked in an index, which lies on other pages than the rows: so a row that can't be
//! read is still named. Where the index itself is damaged, its table is walked by row number.

use rusqlite::{Connection, ErrorCode, Row, types::ValueRef};

use pentad_model::{Credential, Record, Rotation, Version};

use super::{
    errors::Failure,
    rows::{self, decode},
};
use crate::{Damage, Document, StoreError};

/// Findings of SQLite's own check that are reported at most.
const MAX_PAGES: u32 = 1000;

/// Numbers of a damaged table that are looked at one by one. A page has some dozens of rows, but what is
/// damaged may name any number as the next.
const MOST_LOST: u32 = 1000;

/// One table: how its rows are named and judged.
struct Table {
    what: &'static str,
    /// Row number and name of each row, from an index alone.
    keys: &'static str,
    /// The number of the row behind one, from the table alone.
    next: &'static str,
    row: &'static str,
    check: fn(&Row<'_>) -> Result<bool, Failure>,
}

const TABLES: &[Table] = &[
    Table {
        what: "credential",
        keys: "SELECT row, tenant || '/' || path FROM credentials
               INDEXED BY sqlite_autoindex_credentials_1 ORDER BY tenant, path",
        next: "SELECT min(row) FROM credentials WHERE row > ?1",
        row: "SELECT body, sum, tenant, path, kind, target, deleted, current, revision, deleted_at,
                     owner
              FROM credentials WHERE row = ?1",
        check: |row| {
            let it: Credential = decode(row, String::new)?;
            Ok(row.get::<_, String>(2)? == it.tenant.as_str()
                && row.get::<_, String>(3)? == it.path.as_str()
                && row.get::<_, String>(4)? == it.kind.profile().name
                && row.get::<_, Option<String>>(5)?.as_deref() == rows::target(&it)
                && row.get::<_, bool>(6)? == it.deleted_at.is_some()
                && row.get::<_, Option<u32>>(7)? == it.current
                && row.get::<_, i64>(8)? == rows::count(it.revision)
                && row.get::<_, Option<i64>>(9)? == it.deleted_at.map(|at| at.0)
                && row.get::<_, Option<String>>(10)? == it.owner)
        },
    },
    Table {
        what: "version",
        keys: "SELECT row, tenant || '/' || path || ' version ' || number FROM versions
               INDEXED BY sqlite_autoindex_versions_1 ORDER BY tenant, path, number",
        next: "SELECT min(row) FROM versions WHERE row > ?1",
        row: "SELECT body, sum, sealed, sealed_sum, stage, stage_mac, staged_at, moved_sum,
                     tenant, path, number, fingerprint, old_at
              FROM versions WHERE row = ?1",
        check: |row| {
            let it: Version = rows::version(row, String::new)?;
            Ok(row.get::<_, String>(4)? == it.stage.as_str()
                && row.get::<_, String>(8)? == it.tenant.as_str()
                && row.get::<_, String>(9)? == it.path.as_str()
                && row.get::<_, u32>(10)? == it.number
                && row.get::<_, [u8; 32]>(11)? == it.fingerprint.0
                && row.get::<_, Option<i64>>(12)? == rows::old_since(&it))
        },
    },
    Table {
        what: "rotation",
        keys: "SELECT row, tenant || '/' || lower(hex(id)) FROM rotations
               INDEXED BY sqlite_autoindex_rotations_1 ORDER BY tenant, id",
        next: "SELECT min(row) FROM rotations WHERE row > ?1",
        row: "SELECT body, sum, tenant, id, path, batch, finished, due_at, revision, step,
                     for_a_person
              FROM rotations WHERE row = ?1",
        check: |row| {
            let it: Rotation = decode(row, String::new)?;
            Ok(row.get::<_, String>(2)? == it.tenant.as_str()
                && row.get::<_, [u8; 16]>(3)? == rows::id(it.id)
                && row.get::<_, String>(4)? == it.path.as_str()
                && row.get::<_, Option<[u8; 16]>>(5)? == it.batch.map(rows::id)
                && row.get::<_, bool>(6)? == it.progress.step.is_final()
                && row.get::<_, i64>(7)? == rows::due_at(&it).0
                && row.get::<_, i64>(8)? == rows::count(it.revision)
                && row.get::<_, String>(9)? == it.progress.step.as_str()
                && row.get::<_, bool>(10)? == it.waits_for_a_person())
        },
    },
    Table {
        what: "document",
        keys: "SELECT row, collection || ' ' || tenant || '/' || name FROM documents
               INDEXED BY sqlite_autoindex_documents_1 ORDER BY collection, tenant, name",
        next: "SELECT min(row) FROM documents WHERE row > ?1",
        row: "SELECT body, sum, collection, tenant, name, expires_at, revision
              FROM documents WHERE row = ?1",
        check: |row| {
            let it: Document = decode(row, String::new)?;
            Ok(row.get::<_, String>(2)? == it.collection.as_str()
                && row.get::<_, String>(3)? == it.tenant.as_str()
                && row.get::<_, String>(4)? == it.name
                && row.get::<_, Option<i64>>(5)? == it.expires_at.map(|at| at.0)
                && row.get::<_, i64>(6)? == rows::count(it.revision))
        },
    },
    Table {
        what: "record",
        keys: "SELECT seq, 'outbox ' || lower(hex(id)) FROM outbox
               INDEXED BY sqlite_autoindex_outbox_1 ORDER BY id",
        next: "SELECT min(seq) FROM outbox WHERE seq > ?1",
        row: "SELECT body, sum, id FROM outbox WHERE seq = ?1",
        check: |row| {
            let it: Record = decode(row, String::new)?;
            Ok(row.get::<_, [u8; 16]>(2)? == rows::id(it.id))
        },
    },
];

/// Everything that can't be read, on a connection of its own.
pub(super) fn verify(connection: &Connection) -> Result<Vec<Damage>, StoreError> {
    let mut damage = Vec::new();
    // One view of the store for the whole walk; writers go on meanwhile.
    let view = connection.unchecked_transaction();
    if let Err(error) = &view {
        note(&mut damage, "page", error.to_string());
    }
    check_pages(connection, &mut damage);
    for table in TABLES {
        walk(connection, table, &mut damage);
    }
    Ok(damage)
}

/// SQLite's own opinion, page by page.
fn check_pages(connection: &Connection, damage: &mut Vec<Damage>) {
    let mut read = || -> rusqlite::Result<()> {
        let mut check = connection.prepare(&format!("PRAGMA integrity_check({MAX_PAGES})"))?;
        let mut found = check.query([])?;
        while let Some(row) = found.next()? {
            for line in row
                .get::<_, String>(0)?
                .lines()
                .filter(|line| *line != "ok")
            {
                note(damage, "page", line.to_owned());
            }
        }
        Ok(())
    };
    if let Err(error) = read() {
        note(
            damage,
            "page",
            format!("the check of pages ended early: {error}"),
        );
    }
}

fn walk(connection: &Connection, table: &Table, damage: &mut Vec<Damage>) {
    match by_index(connection, table, damage) {
        Ok(()) => {}
        Err(error) => {
            note(
                damage,
                "page",
                format!("the index of {}s: {error}", table.what),
            );
            if let Err(error) = by_number(connection, table, damage) {
                note(damage, "page", format!("the {}s: {error}", table.what));
            }
        }
    }
}

fn by_index(
    connection: &Connection,
    table: &Table,
    damage: &mut Vec<Damage>,
) -> rusqlite::Result<()> {
    let mut keys = connection.prepare(table.keys)?;
    let mut found = keys.query([])?;
    while let Some(key) = found.next()? {
        let number = key.get(0)?;
        let which = match key.get_ref(1)? {
            ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            _ => format!("row {number}"),
        };
        match judge(connection, table, number) {
            Ok(Some(true)) => {}
            Ok(Some(false)) => note(damage, table.what, format!("{which}: {DISAGREES}")),
            Ok(None) => note(damage, table.what, format!("{which}: its row is gone")),
            Err(reason) => note(damage, table.what, format!("{which}: {reason}")),
        }
    }
    Ok(())
}

/// Where the next row can't be found, number by number, until one behind the damage can.
fn by_number(
    connection: &Connection,
    table: &Table,
    damage: &mut Vec<Damage>,
) -> rusqlite::Result<()> {
    let (mut number, mut lost) = (0_i64, 0);
    loop {
        let next = connection.query_row(table.next, [number], |row| row.get::<_, Option<i64>>(0));
        number = match next {
            Ok(Some(next)) if next > number => next,
            Ok(None) => return Ok(()),
            Err(error) if lost == MOST_LOST || !is_damage(&error) => return Err(error),
            // Damaged, or out of order.
            _ if lost == MOST_LOST => return Ok(()),
            _ => {
                lost += 1;
                number.saturating_add(1)
            }
        };
        match judge(connection, table, number) {
            Ok(Some(true) | None) => {}
            Ok(Some(false)) => note(damage, table.what, format!("row {number}: {DISAGREES}")),
            Err(reason) => note(damage, table.what, format!("row {number}: {reason}")),
        }
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
}

const DISAGREES: &str = "its columns and its content disagree";

/// Whether a row is sound; `None` if there is none, `Err` if it can't be read.
fn judge(connection: &Connection, table: &Table, number: i64) -> Result<Option<bool>, String> {
    let read = || -> Result<Option<bool>, Failure> {
        let mut select = connection.prepare_cached(table.row)?;
        let mut found = select.query([number])?;
        found.next()?.map(table.check).transpose()
    };
    read().map_err(|failure| match failure {
        Failure::Store(StoreError::Corrupt { reason, .. }) => reason,
        Failure::Store(error) => error.to_string(),
        Failure::Sqlite(error) => error.to_string(),
    })
}

fn note(damage: &mut Vec<Damage>, what: &str, which: String) {
    damage.push(Damage {
        what: what.to_owned(),
        which,
    });
}
