//! The look-ups and pages. Every one seeks in an index; a test holds each statement against
//! `EXPLAIN QUERY PLAN`.

pub(super) mod due;
pub(super) mod listing;
pub(super) mod reuse;

use pentad_model::{Credential, Id, Path, Rotation, Tenant, Timestamp, Version, rotation::Step};
use rusqlite::{Connection, Params, Row, ToSql, params};
use serde::de::DeserializeOwned;

use super::{
    errors::Failure,
    rows::{self, decode, statement},
};
use crate::{
    Collection, CredentialQuery, Document, Page, RotationQuery, StoreError, Waiting,
    read::MAX_PAGE,
    subject::{name, version_name},
};

type Answer<T> = Result<T, StoreError>;
/// A living credential and its current version, if they are there.
type Current = Option<(Credential, Option<Version>)>;

/// Sorts after every continuation of a path prefix: paths are ASCII.
const AFTER_ANY_PATH: char = char::MAX;

pub(super) fn credential(
    c: &Connection,
    tenant: &Tenant,
    path: &Path,
) -> Answer<Option<Credential>> {
    let what = || name("credential", tenant, path);
    one(
        c,
        "SELECT body, sum FROM credentials WHERE tenant = ?1 AND path = ?2",
        params![tenant.as_str(), path.as_str()],
        |row| decode(row, what),
    )
    .map_err(|failure| failure.about(c, what))
}

pub(super) fn current(c: &Connection, tenant: &Tenant, path: &Path) -> Answer<Current> {
    let what = || name("credential", tenant, path);
    // Two statements in one view rather than a join: damage is then told apart.
    let _one_view = View::of(c).map_err(|failure| failure.about(c, what))?;
    current_in_view(c, tenant, path).map_err(|failure| failure.about(c, what))
}

/// One view for all: a lock taken and let go for each costs as much as the look-up.
pub(super) fn currents(c: &Connection, tenant: &Tenant, paths: &[Path]) -> Answer<Vec<Current>> {
    let _one_view =
        View::of(c).map_err(|failure| failure.about(c, || format!("credentials of {tenant}")))?;
    let each = paths.iter().map(|path| {
        current_in_view(c, tenant, path)
            .map_err(|failure| failure.about(c, || name("credential", tenant, path)))
    });
    each.collect()
}

fn current_in_view(c: &Connection, tenant: &Tenant, path: &Path) -> Result<Current, Failure> {
    let what = || name("credential", tenant, path);
    let found: Option<(Credential, Option<u32>)> = one(
        c,
        "SELECT body, sum, current FROM credentials
         WHERE tenant = ?1 AND path = ?2 AND deleted = 0",
        params![tenant.as_str(), path.as_str()],
        |row| Ok((decode(row, what)?, row.get(2)?)),
    )?;
    let Some((credential, current)) = found else {
        return Ok(None);
    };
    let version = match current {
        Some(number) => version(c, tenant, path, number)?,
        None => None,
    };
    Ok(Some((credential, version)))
}

/// What is read while it lives is of one moment. Its statements are kept, unlike those of the
/// library's own transactions.
struct View<'c>(&'c Connection);

impl<'c> View<'c> {
    fn of(connection: &'c Connection) -> Result<Self, Failure> {
        statement(connection, "BEGIN")?.execute([])?;
        Ok(Self(connection))
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        let end = || statement(self.0, "COMMIT")?.execute([]);
        if end().is_err() && !self.0.is_autocommit() {
            // Nothing was written; an open view would keep the write-ahead log from being emptied.
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}

pub(super) fn version(
    c: &Connection,
    tenant: &Tenant,
    path: &Path,
    number: u32,
) -> Answer<Option<Version>> {
    let what = || version_name(tenant, path, number);
    one(
        c,
        "SELECT body, sum, sealed, sealed_sum, stage, stage_mac, staged_at, moved_sum FROM versions
         WHERE tenant = ?1 AND path = ?2 AND number = ?3",
        params![tenant.as_str(), path.as_str(), number],
        |row| rows::version(row, what),
    )
    .map_err(|failure| failure.about(c, what))
}

pub(super) fn versions(
    c: &Connection,
    tenant: &Tenant,
    path: &Path,
    before: Option<u32>,
    limit: usize,
) -> Answer<Page<Version>> {
    let below = before.map_or(i64::MAX, i64::from);
    page(
        c,
        "SELECT body, sum, sealed, sealed_sum, stage, stage_mac, staged_at, moved_sum, number
         FROM versions
         WHERE tenant = ?1 AND path = ?2 AND number < ?3 ORDER BY number DESC LIMIT ?4",
        &[&tenant.as_str(), &path.as_str(), &below],
        limit,
        |row| {
            let number = row.get(8)?;
            rows::version(row, || version_name(tenant, path, number))
        },
    )
    .map_err(|failure| failure.about(c, || name("versions of", tenant, path)))
}

/// The credential first: a rotation that starts behind this look-up changes its revision.
pub(super) fn credential_to_write(
    c: &Connection,
    tenant: &Tenant,
    path: &Path,
) -> Answer<(Option<Credential>, Option<Rotation>)> {
    // There is one at most, and nearly always none: no page is made for it.
    let running = || -> Result<Option<Rotation>, Failure> {
        let mut select = statement(
            c,
            "SELECT body, sum, lower(hex(id)) FROM rotations INDEXED BY rotations_one_a_credential
             WHERE tenant = ?1 AND path = ?2 AND finished = 0",
        )?;
        let mut found = select.query(params![tenant.as_str(), path.as_str()])?;
        let row = found.next()?;
        row.map(|row| keyed(row, "rotation", tenant)).transpose()
    };
    let found = credential(c, tenant, path)?;
    let running =
        running().map_err(|failure| failure.about(c, || name("rotation of", tenant, path)))?;
    Ok((found, running))
}

/// The rarest filter leads, by its own index in the order of the paths; the others are checked on
/// the rows that it finds.
pub(super) fn credentials(c: &Connection, query: &CredentialQuery) -> Answer<Page<Credential>> {
    // One lower bound, for SQLite seeks to one only. Nothing sorts between a path and that path
    // with a zero byte after it.
    let after = query.after.as_ref().map(|path| format!("{path}\0"));
    let from = match &after {
        Some(after) if *after > query.prefix => after,
        _ => &query.prefix,
    };
    let to = format!("{}{AFTER_ANY_PATH}", query.prefix);
    let tenant = query.tenant.as_str();
    let kind = query.kind.map(|kind| kind.profile().name);

    let mut values: Vec<&dyn ToSql> = vec![&tenant, &query.deleted, from, &to];
    let mut bind = |value| {
        values.push(value);
        values.len()
    };
    let mut conditions = String::new();
    let mut condition = |column: &str, place: usize| {
        conditions.push_str(&format!(" AND {column} = ?{place}"));
    };
    let tags_index = query.tag.as_ref().map(|(key, value)| {
        condition("t.key", bind(key));
        match value {
            Some(value) => {
                condition("t.value", bind(value));
                "tags_by_value"
            }
            None => "tags_by_key",
        }
    });
    if let Some(target) = &query.target {
        condition("c.target", bind(target));
    }
    if let Some(kind) = &kind {
        condition("c.kind", bind(kind));
    }
    let (tables, lead) = match (tags_index, &query.target, kind) {
        (Some(index), _, _) => (
            format!(
                "tags t INDEXED BY {index}
                 CROSS JOIN credentials c ON c.tenant = t.tenant AND c.path = t.path"
            ),
            "t",
        ),
        (None, Some(_), _) => indexed("credentials_by_target"),
        (None, None, Some(_)) => indexed("credentials_by_kind"),
        (None, None, None) => indexed("credentials_by_state"),
    };
    let limit = values.len() + 1;
    let sql = format!(
        "SELECT c.body, c.sum, c.path FROM {tables}
         WHERE {lead}.tenant = ?1 AND {lead}.deleted = ?2
           AND {lead}.path >= ?3 AND {lead}.path < ?4{conditions}
         ORDER BY {lead}.path LIMIT ?{limit}"
    );
    page(c, &sql, &values, query.limit, |row| {
        keyed(row, "credential", &query.tenant)
    })
    .map_err(|failure| {
        failure.about(c, || {
            name("credentials below", &query.tenant, &query.prefix)
        })
    })
}

pub(super) fn owned_credentials(
    c: &Connection,
    tenant: &Tenant,
    owner: &str,
    after: Option<&Path>,
    limit: usize,
) -> Answer<Page<Credential>> {
    let from = after.map(|path| format!("{path}\0")).unwrap_or_default();
    page(
        c,
        "SELECT body, sum, path FROM credentials INDEXED BY credentials_by_owner
         WHERE tenant = ?1 AND owner = ?2 AND path >= ?3 ORDER BY path LIMIT ?4",
        &[&tenant.as_str(), &owner, &from],
        limit,
        |row| keyed(row, "credential", tenant),
    )
    .map_err(|failure| failure.about(c, || format!("credentials of an owner in {tenant}")))
}

fn indexed(index: &str) -> (String, &'static str) {
    (format!("credentials c INDEXED BY {index}"), "c")
}

pub(super) fn rotation(c: &Connection, tenant: &Tenant, id: Id) -> Answer<Option<Rotation>> {
    let what = || name("rotation", tenant, id);
    one(
        c,
        "SELECT body, sum FROM rotations WHERE tenant = ?1 AND id = ?2",
        params![tenant.as_str(), rows::id(id)],
        |row| decode(row, what),
    )
    .map_err(|failure| failure.about(c, what))
}

pub(super) fn rotations(c: &Connection, query: &RotationQuery) -> Answer<Page<Rotation>> {
    let tenant = query.tenant.as_str();
    let path = query.path.as_ref().map(Path::as_str);
    let batch = query.batch.map(rows::id);
    let before = query.before.map(rows::id);
    let step = query.step.map(Step::as_str);

    let mut values: Vec<&dyn ToSql> = vec![&tenant];
    let mut conditions = String::new();
    if let Some(path) = &path {
        values.push(path);
        conditions.push_str(&format!(" AND path = ?{}", values.len()));
    }
    if let Some(batch) = &batch {
        values.push(batch);
        conditions.push_str(&format!(" AND batch = ?{}", values.len()));
    }
    if let Some(step) = &step {
        values.push(step);
        conditions.push_str(&format!(" AND step = ?{}", values.len()));
    }
    if let Some(before) = &before {
        values.push(before);
        conditions.push_str(&format!(" AND id < ?{}", values.len()));
    }
    if query.for_a_person {
        conditions.push_str(" AND for_a_person = 1");
    }
    let of = |index: &str, which: &str| {
        format!(
            "SELECT body, sum, lower(hex(id)), id FROM rotations INDEXED BY {index}
             WHERE tenant = ?1{conditions}{which}"
        )
    };
    let (ended, under_way) = (" AND finished = 1", " AND finished = 0");
    let either = if query.unfinished { under_way } else { "" };
    let ends = query.step.is_some_and(Step::is_final);
    // The rarest leads: a page costs O(log n) and its own rows, and of a credential or a batch, and of
    // those under way where they are asked for by their step, what the other conditions pass over.
    let rows = match (&path, &batch, step) {
        (Some(_), _, _) if query.unfinished => of("rotations_one_a_credential", under_way),
        (_, Some(_), _) => of("rotations_by_batch", either),
        (Some(_), None, _) => format!(
            "{} UNION ALL {}",
            of("rotations_one_a_credential", under_way),
            of("rotations_by_path", ended)
        ),
        (None, None, _) if query.for_a_person => of("rotations_for_a_person", either),
        (None, None, Some(_)) if ends && query.unfinished => {
            let (items, more) = (Vec::new(), false);
            return Ok(Page { items, more });
        }
        (None, None, Some(_)) if ends => of("rotations_by_step", ended),
        (None, None, Some(_)) => of("rotations_unfinished", under_way),
        (None, None, None) if query.unfinished => of("rotations_unfinished", under_way),
        (None, None, None) => of("sqlite_autoindex_rotations_1", ""),
    };
    let limit = values.len() + 1;
    let sql = format!("{rows} ORDER BY id DESC LIMIT ?{limit}");
    page(c, &sql, &values, query.limit, |row| {
        keyed(row, "rotation", &query.tenant)
    })
    .map_err(|failure| failure.about(c, || format!("rotations of {tenant}")))
}

pub(super) fn due_rotations(c: &Connection, now: Timestamp, limit: usize) -> Answer<Vec<Rotation>> {
    let select = || -> Result<_, Failure> {
        let mut due = Vec::new();
        let mut select = statement(
            c,
            "SELECT body, sum, tenant, lower(hex(id)) FROM rotations INDEXED BY rotations_due
             WHERE finished = 0 AND due_at <= ?1 ORDER BY due_at, id",
        )?;
        let mut found = select.query(params![now.0])?;
        let limit = limit.min(MAX_PAGE);
        while due.len() < limit
            && let Some(row) = found.next()?
        {
            let (tenant, id): (String, String) = (row.get(2)?, row.get(3)?);
            match decode(row, || name("rotation", &tenant, &id)) {
                Ok(rotation) => due.push(rotation),
                // One damaged row must not keep all the others from being resumed for ever; it is
                // told by its own look-up and by `verify`.
                Err(Failure::Store(error)) => tracing::error!(%error, "a rotation is passed over"),
                Err(failure) => return Err(failure),
            }
        }
        Ok(due)
    };
    select().map_err(|failure| failure.about(c, || "due rotations".to_owned()))
}

/// In one view, as [`currents`].
pub(super) fn documents_named(
    c: &Connection,
    collection: Collection,
    tenant: &Tenant,
    names: &[String],
    now: Timestamp,
) -> Answer<Vec<Option<Document>>> {
    let _one_view =
        View::of(c).map_err(|failure| failure.about(c, || format!("documents of {tenant}")))?;
    let each = names.iter();
    each.map(|name| document(c, collection, tenant, name, now))
        .collect()
}

pub(super) fn document(
    c: &Connection,
    collection: Collection,
    tenant: &Tenant,
    key: &str,
    now: Timestamp,
) -> Answer<Option<Document>> {
    let what = || name(collection.as_str(), tenant, key);
    one(
        c,
        "SELECT body, sum, name, revision, expires_at FROM documents
         WHERE collection = ?1 AND tenant = ?2 AND name = ?3
           AND (expires_at IS NULL OR expires_at > ?4)",
        params![collection.as_str(), tenant.as_str(), key, now.0],
        |row| at_its_place(row, collection, tenant),
    )
    .map_err(|failure| failure.about(c, what))
}

pub(super) fn documents(
    c: &Connection,
    collection: Collection,
    tenant: &Tenant,
    after: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Answer<Page<Document>> {
    let from = after.map(|name| format!("{name}\0")).unwrap_or_default();
    page(
        c,
        "SELECT body, sum, name, revision, expires_at FROM documents
         WHERE collection = ?1 AND tenant = ?2 AND name >= ?3
           AND (expires_at IS NULL OR expires_at > ?4)
         ORDER BY name LIMIT ?5",
        &[&collection.as_str(), &tenant.as_str(), &from, &now.0],
        limit,
        |row| at_its_place(row, collection, tenant),
    )
    .map_err(|failure| failure.about(c, || name("documents in", tenant, collection.as_str())))
}

/// A document where it was found. Its place, revision and end are those of its row, whatever the
/// object says of itself: so the seal of a row that somebody copied elsewhere is not good there.
fn at_its_place(
    row: &Row<'_>,
    collection: Collection,
    tenant: &Tenant,
) -> Result<Document, Failure> {
    let object: Document = keyed(row, collection.as_str(), tenant)?;
    let expires_at: Option<i64> = row.get(4)?;
    Ok(Document {
        collection,
        tenant: tenant.clone(),
        name: row.get(2)?,
        revision: row.get::<_, i64>(3)?.cast_unsigned(),
        expires_at: expires_at.map(Timestamp),
        ..object
    })
}

pub(super) fn outbox(c: &Connection, limit: usize) -> Answer<Vec<Waiting>> {
    let select = || -> Result<Vec<_>, Failure> {
        let mut waiting = Vec::new();
        let mut select = statement(
            c,
            "SELECT body, sum, seq, id FROM outbox WHERE seq > 0 ORDER BY seq LIMIT ?1",
        )?;
        let mut found = select.query(params![rows::limit(limit)])?;
        while let Some(row) = found.next()? {
            let (seq, id): (i64, [u8; 16]) = (row.get(2)?, row.get(3)?);
            let (position, id) = (seq.cast_unsigned(), Id::from_u128(u128::from_be_bytes(id)));
            let what = || format!("audit record {seq} in the outbox");
            waiting.push(match rows::text(row, what) {
                Ok(body) => Waiting { position, id, body },
                Err(Failure::Store(error @ StoreError::Corrupt { .. })) => {
                    tracing::error!(%error, "the log will say so in its place");
                    Waiting::damaged(position, id)
                }
                Err(failure) => return Err(failure),
            });
        }
        Ok(waiting)
    };
    select().map_err(|failure| failure.about(c, || "the outbox".to_owned()))
}

fn one<T>(
    c: &Connection,
    sql: &str,
    key: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    let mut select = statement(c, sql)?;
    let mut found = select.query(key)?;
    found.next()?.map(read).transpose()
}

/// A row's object; its third column is its key within the tenant, for errors.
fn keyed<T: DeserializeOwned>(row: &Row<'_>, what: &str, tenant: &Tenant) -> Result<T, Failure> {
    let key: String = row.get(2)?;
    decode(row, || name(what, tenant, key))
}

/// Runs a statement whose last parameter is its limit. One row more than asked tells whether there
/// are more.
fn page<T>(
    c: &Connection,
    sql: &str,
    values: &[&dyn ToSql],
    limit: usize,
    mut read: impl FnMut(&Row<'_>) -> Result<T, Failure>,
) -> Result<Page<T>, Failure> {
    let limit = limit.min(MAX_PAGE);
    let probe = rows::limit(limit) + 1;
    let mut values = values.to_vec();
    values.push(&probe);
    let mut select = statement(c, sql)?;
    let mut found = select.query(values.as_slice())?;
    let mut items = Vec::new();
    while let Some(row) = found.next()? {
        if items.len() == limit {
            return Ok(Page { items, more: true });
        }
        items.push(read(row)?);
    }
    Ok(Page { items, more: false })
}
