//! The repair report: reads everything once and names what can't be read.
//!
//! On a session of its own, a page of keys at a time, so that it holds no old view of a busy
//! database and a row that breaks a read takes no others with it.

use pentad_model::{Credential, Record, Rotation, Tenant, Version};
use tokio_postgres::Row;

use super::{
    errors::{Failure, Remedy},
    rows::{self, VERSION, Value, column, decode},
    session::Session,
};
use crate::{Collection, Damage, Document, StoreError};

/// Rows read at a time.
const A_PAGE: i64 = 500;

/// One table: how its rows are walked, named and judged.
struct Table {
    what: &'static str,
    name: &'static str,
    /// The columns of the primary key, which are the last ones read.
    key: &'static [(&'static str, &'static str)],
    /// What is read before the key.
    columns: &'static str,
    /// Whether a row's columns agree with its content.
    check: fn(&Row) -> Result<bool, Failure>,
}

const TABLES: &[Table] = &[
    Table {
        what: "credential",
        name: "credentials",
        key: &[("tenant", "text"), ("path", "text")],
        columns: "body, sum, kind, target, owner, deleted, deleted_at, current, revision,
                  (SELECT coalesce(array_agg(key ORDER BY key), '{}') FROM tags t
                   WHERE t.tenant = credentials.tenant AND t.path = credentials.path
                     AND t.deleted = credentials.deleted),
                  (SELECT coalesce(array_agg(value ORDER BY key), '{}') FROM tags t
                   WHERE t.tenant = credentials.tenant AND t.path = credentials.path)",
        check: |row| {
            let it: Credential = decode(row, String::new)?;
            let keys: Vec<&[u8]> = column(row, 9)?;
            let values: Vec<&[u8]> = column(row, 10)?;
            let tags = it.tags.iter().map(|(k, v)| (k.as_bytes(), v.as_bytes()));
            Ok(column::<&str>(row, 2)? == it.kind.profile().name
                && column::<Option<&str>>(row, 3)? == rows::target(&it)
                && column::<Option<&[u8]>>(row, 4)? == it.owner.as_deref().map(str::as_bytes)
                && column::<bool>(row, 5)? == it.deleted_at.is_some()
                && column::<Option<i64>>(row, 6)? == it.deleted_at.map(|at| at.0)
                && column::<Option<i64>>(row, 7)? == it.current.map(i64::from)
                && column::<i64>(row, 8)? == rows::count(it.revision)
                && keys.len() == values.len()
                && keys.into_iter().zip(values).eq(tags)
                && column::<&str>(row, 11)? == it.tenant.as_str()
                && column::<&str>(row, 12)? == it.path.as_str())
        },
    },
    Table {
        what: "version",
        name: "versions",
        key: &[("tenant", "text"), ("path", "text"), ("number", "bigint")],
        columns: VERSION_AND_MORE,
        check: |row| {
            let it: Version = rows::version(row, 0, String::new)?;
            let old_at = rows::old_at(it.stage, it.staged_at).filter(|_| it.sealed.is_some());
            Ok(column::<&[u8]>(row, 8)? == it.fingerprint.0
                && column::<Option<i64>>(row, 9)? == old_at
                && column::<&str>(row, 10)? == it.tenant.as_str()
                && column::<&str>(row, 11)? == it.path.as_str()
                && column::<i64>(row, 12)? == i64::from(it.number))
        },
    },
    Table {
        what: "rotation",
        name: "rotations",
        key: &[("tenant", "text"), ("id", "bytea")],
        columns: "body, sum, path, batch, finished, due_at, revision, step, for_a_person",
        check: |row| {
            let it: Rotation = decode(row, String::new)?;
            Ok(column::<&str>(row, 2)? == it.path.as_str()
                && column::<Option<&[u8]>>(row, 3)?
                    == it
                        .batch
                        .map(|batch| batch.to_bytes())
                        .as_ref()
                        .map(|it| &it[..])
                && column::<bool>(row, 4)? == it.progress.step.is_final()
                && column::<i64>(row, 5)? == rows::due_at(&it).0
                && column::<i64>(row, 6)? == rows::count(it.revision)
                && column::<&str>(row, 7)? == it.progress.step.as_str()
                && column::<bool>(row, 8)? == it.waits_for_a_person()
                && column::<&str>(row, 9)? == it.tenant.as_str()
                && column::<&[u8]>(row, 10)? == it.id.to_bytes())
        },
    },
    Table {
        what: "document",
        name: "documents",
        key: &[
            ("collection", "text"),
            ("tenant", "text"),
            ("name", "bytea"),
        ],
        columns: "body, sum, name, revision, expires_at, collection, tenant",
        check: |row| {
            let it: Document = decode(row, String::new)?;
            let (collection, tenant): (&str, &str) = (column(row, 5)?, column(row, 6)?);
            let known = Collection::ALL
                .iter()
                .find(|known| known.as_str() == collection);
            Ok(known == Some(&it.collection)
                && tenant
                    .parse::<Tenant>()
                    .is_ok_and(|tenant| tenant == it.tenant)
                && column::<&[u8]>(row, 2)? == it.name.as_bytes()
                && column::<i64>(row, 3)? > 0
                && column::<Option<i64>>(row, 4)? == it.expires_at.map(|at| at.0))
        },
    },
    Table {
        what: "record",
        name: "outbox",
        key: &[("log", "text"), ("position", "bigint")],
        columns: "body, sum, id",
        check: |row| {
            let it: Record = decode(row, String::new)?;
            Ok(column::<&[u8]>(row, 2)? == it.id.to_bytes())
        },
    },
];

/// [`VERSION`] and what is derived.
const VERSION_AND_MORE: &str = "body, sum, sealed, sealed_sum, stage, stage_mac, staged_at, moved_sum, \
                                fingerprint, old_at";

/// Everything that can't be read.
pub(super) async fn verify(session: &Session) -> Result<Vec<Damage>, StoreError> {
    debug_assert!(VERSION_AND_MORE.starts_with(VERSION));
    let mut damage = Vec::new();
    // A page of large rows on a cold disk takes longer than a look-up may.
    session
        .batch("SET statement_timeout = '60s'; SET default_transaction_read_only = on")
        .await
        .map_err(|failure| failure.about(|| "the database".to_owned()))?;
    for table in TABLES {
        match walk(session, table, &mut damage).await {
            Ok(()) => {}
            Err(failure) if failure.remedy() == Remedy::None => {
                let error = failure.about(|| format!("the table of {}s", table.what));
                note(&mut damage, "page", format!("{}: {error}", table.name));
            }
            Err(failure) => return Err(failure.about(|| table.name.to_owned())),
        }
    }
    Ok(damage)
}

async fn walk(session: &Session, table: &Table, damage: &mut Vec<Damage>) -> Result<(), Failure> {
    let names: Vec<&str> = table.key.iter().map(|(name, _)| *name).collect();
    let names = names.join(", ");
    // The key as text, to be named and to go on after.
    let texts: Vec<String> = table
        .key
        .iter()
        .map(|(name, ty)| as_text(name, ty))
        .collect();
    let bounds: Vec<String> = (table.key.iter().zip(1..))
        .map(|((_, ty), place)| from_text(place, ty))
        .collect();
    let limit = table.key.len() + 1;
    let select = |condition: &str| {
        format!(
            "SELECT {}, {names}, ARRAY[{}] FROM {} {condition} ORDER BY {names} LIMIT ${}",
            table.columns,
            texts.join(", "),
            table.name,
            if condition.is_empty() { 1 } else { limit },
        )
    };
    let first = select("");
    let next = select(&format!("WHERE ({names}) > ({})", bounds.join(", ")));
    let mut after: Option<Vec<String>> = None;
    loop {
        let mut values: Vec<Value> = Vec::new();
        values.extend(
            after
                .iter()
                .flatten()
                .map(|text| Value::from(text.as_str())),
        );
        values.push(A_PAGE.into());
        let sql = if after.is_none() { &first } else { &next };
        let found = session.query(sql, &values).await?;
        for row in &found {
            let key: Vec<String> = column(row, row.len() - 1)?;
            let which = key.join("/");
            match (table.check)(row) {
                Ok(true) => {}
                Ok(false) => note(
                    damage,
                    table.what,
                    format!("{which}: its columns and its content disagree"),
                ),
                Err(failure) => {
                    let reason = match failure.about(String::new) {
                        StoreError::Corrupt { reason, .. } => reason,
                        error => error.to_string(),
                    };
                    note(damage, table.what, format!("{which}: {reason}"));
                }
            }
            after = Some(key);
        }
        if found.is_empty() {
            return Ok(());
        }
    }
}

fn as_text(name: &str, ty: &str) -> String {
    match ty {
        "bytea" => format!("encode({name}, 'hex')"),
        _ => format!("{name}::text"),
    }
}

fn from_text(place: usize, ty: &str) -> String {
    match ty {
        "bytea" => format!("decode(${place}::text, 'hex')"),
        "bigint" => format!("${place}::text::bigint"),
        _ => format!("${place}::text"),
    }
}

fn note(damage: &mut Vec<Damage>, what: &str, which: String) {
    damage.push(Damage {
        what: what.to_owned(),
        which,
    });
}
