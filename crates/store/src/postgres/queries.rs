//! The look-ups and pages, one statement each. Every one walks an index; a test holds each statement
//! against `EXPLAIN`.

use std::{collections::HashMap, ops::Range};

use pentad_model::{
    Credential, Id, Path, Rotation, Stage, Tenant, Timestamp, Version, name::InvalidName,
    rotation::Step, secret::Fingerprint,
};
use serde::de::DeserializeOwned;
use tokio_postgres::Row;

use super::{
    errors::Failure,
    lanes::Lanes,
    rows::{self, DOCUMENT, VERSION, Value, column, decode, decode_at},
};
use crate::{
    Collection, CredentialQuery, Document, Due, DueQuery, Page, Reuse, RotationQuery, StoreError,
    Waiting,
    read::MAX_PAGE,
    subject::{name, version_name},
};

pub(super) type Answer<T> = Result<T, StoreError>;

/// Counting credentials with the same value stops here.
const MAX_SHARED: i64 = 1000;

/// Sorts after every continuation of a path prefix: paths are ASCII.
pub(super) const AFTER_ANY_PATH: char = char::MAX;

pub(super) async fn credential(
    lanes: &Lanes,
    tenant: &Tenant,
    path: &Path,
) -> Answer<Option<Credential>> {
    let what = || name("credential", tenant, path);
    let sql = "SELECT body, sum FROM credentials WHERE tenant = $1 AND path = $2";
    one(lanes, sql, &key(tenant, path), |row| decode(row, what))
        .await
        .map_err(|failure| failure.about(what))
}

/// Living credentials of a tenant with their current versions; a path is still to be named.
const CURRENT: &str =
    "SELECT c.body, c.sum, c.current, v.body, v.sum, v.sealed, v.sealed_sum, v.stage,
            v.stage_mac, v.staged_at, v.moved_sum, c.path
     FROM credentials c
     LEFT JOIN versions v ON v.tenant = c.tenant AND v.path = c.path AND v.number = c.current
     WHERE c.tenant = $1 AND NOT c.deleted";

pub(super) async fn current(
    lanes: &Lanes,
    tenant: &Tenant,
    path: &Path,
) -> Answer<Option<(Credential, Option<Version>)>> {
    let what = || name("credential", tenant, path);
    let sql = format!("{CURRENT} AND c.path = $2");
    one(lanes, &sql, &key(tenant, path), |row| {
        living(row, tenant, path.as_str())
    })
    .await
    .map_err(|failure| failure.about(what))
}

/// As [`current`], of all of these in one statement.
pub(super) async fn currents(
    lanes: &Lanes,
    tenant: &Tenant,
    paths: &[Path],
) -> Answer<Vec<Option<(Credential, Option<Version>)>>> {
    let sql = format!("{CURRENT} AND c.path = ANY ($2::text[])");
    let mut found = HashMap::new();
    for paths in paths.chunks(MAX_PAGE) {
        let texts: Vec<String> = paths.iter().map(Path::to_string).collect();
        let values = [tenant.as_str().into(), texts.into()];
        let read = async {
            for row in &lanes.query(&sql, &values).await? {
                let path: &str = column(row, 11)?;
                found.insert(path.to_owned(), living(row, tenant, path)?);
            }
            Ok(())
        };
        read.await
            .map_err(|failure: Failure| failure.about(|| format!("credentials of {tenant}")))?;
    }
    let each = paths.iter().map(|path| found.get(path.as_str()).cloned());
    Ok(each.collect())
}

/// A living credential and its current version from the columns of [`CURRENT`].
fn living(
    row: &Row,
    tenant: &Tenant,
    path: &str,
) -> Result<(Credential, Option<Version>), Failure> {
    let credential = decode(row, || name("credential", tenant, path))?;
    let number = column::<Option<i64>>(row, 2)?.map(number).transpose()?;
    let version = match (number, column::<Option<&str>>(row, 3)?) {
        (Some(number), Some(_)) => Some(rows::version(row, 3, || {
            name(&format!("version {number} of"), tenant, path)
        })?),
        _ => None,
    };
    Ok((credential, version))
}

pub(super) async fn version(
    lanes: &Lanes,
    tenant: &Tenant,
    path: &Path,
    number: u32,
) -> Answer<Option<Version>> {
    let what = || version_name(tenant, path, number);
    let sql =
        format!("SELECT {VERSION} FROM versions WHERE tenant = $1 AND path = $2 AND number = $3");
    let values = [tenant.as_str().into(), path.as_str().into(), number.into()];
    one(lanes, &sql, &values, |row| rows::version(row, 0, what))
        .await
        .map_err(|failure| failure.about(what))
}

pub(super) async fn versions(
    lanes: &Lanes,
    tenant: &Tenant,
    path: &Path,
    before: Option<u32>,
    limit: usize,
) -> Answer<Page<Version>> {
    let sql = format!(
        "SELECT {VERSION}, number FROM versions
         WHERE tenant = $1 AND path = $2 AND number < $3 ORDER BY number DESC LIMIT $4"
    );
    let below = before.map_or(i64::MAX, i64::from);
    let values = vec![tenant.as_str().into(), path.as_str().into(), below.into()];
    page(lanes, &sql, values, limit, |row| {
        let number = number(column(row, 8)?)?;
        rows::version(row, 0, || version_name(tenant, path, number))
    })
    .await
    .map_err(|failure| failure.about(|| name("versions of", tenant, path)))
}

/// In one statement, so of one moment: a rotation that begins after it changes the credential.
pub(super) async fn credential_to_write(
    lanes: &Lanes,
    tenant: &Tenant,
    path: &Path,
) -> Answer<(Option<Credential>, Option<Rotation>)> {
    let what = || name("credential", tenant, path);
    let sql = "SELECT c.body, c.sum, r.body, r.sum
               FROM (VALUES (1)) always
               LEFT JOIN credentials c ON c.tenant = $1 AND c.path = $2
               LEFT JOIN rotations r ON r.tenant = $1 AND r.path = $2 AND NOT r.finished";
    let found = one(lanes, sql, &key(tenant, path), |row| {
        let credential = column::<Option<&str>>(row, 0)?
            .map(|_| decode(row, what))
            .transpose()?;
        let running = column::<Option<&str>>(row, 2)?
            .map(|_| decode_at(row, 2, || name("the rotation of", tenant, path)))
            .transpose()?;
        Ok((credential, running))
    })
    .await;
    let found = found.map_err(|failure| failure.about(what))?;
    Ok(found.unwrap_or_default())
}

/// Both at once; of the versions no value is fetched.
pub(super) async fn reuse(
    lanes: &Lanes,
    tenant: &Tenant,
    path: &Path,
    fingerprint: &Fingerprint,
    earlier: Range<u32>,
) -> Answer<Reuse> {
    let own = async {
        let sql = "SELECT number FROM versions
                   WHERE tenant = $1 AND path = $2 AND number >= $3 AND number < $4
                     AND fingerprint = $5 AND stage <> $6
                   ORDER BY number DESC";
        let values = [
            tenant.as_str().into(),
            path.as_str().into(),
            earlier.start.into(),
            earlier.end.into(),
            (*fingerprint).into(),
            Stage::Pending.as_str().into(),
        ];
        let read = async {
            let found = lanes.query(sql, &values).await?;
            let numbers = found.iter().map(|row| number(column(row, 0)?));
            numbers.collect::<Result<Vec<u32>, Failure>>()
        };
        read.await
            .map_err(|failure| failure.about(|| name("fingerprints of", tenant, path)))
    };
    let others = shared_with(lanes, tenant, path, fingerprint);
    let (earlier, shared_with) = tokio::try_join!(own, others)?;
    Ok(Reuse {
        earlier,
        shared_with,
    })
}

pub(super) async fn shared_with(
    lanes: &Lanes,
    tenant: &Tenant,
    path: &Path,
    fingerprint: &Fingerprint,
) -> Answer<u32> {
    // The index gives the paths in order, so a path with several such versions is one.
    let sql = "SELECT count(*) FROM (
                   SELECT DISTINCT v.path FROM versions v
                   JOIN credentials c ON c.tenant = v.tenant AND c.path = v.path
                   WHERE v.tenant = $1 AND v.fingerprint = $2 AND v.stage = 'current'
                     AND v.path <> $3 AND NOT c.deleted AND v.number = c.current
                   ORDER BY v.path LIMIT $4) others";
    let values = [
        tenant.as_str().into(),
        (*fingerprint).into(),
        path.as_str().into(),
        MAX_SHARED.into(),
    ];
    let count = one(lanes, sql, &values, |row| number(column(row, 0)?)).await;
    let count = count.map_err(|failure| failure.about(|| name("fingerprints of", tenant, path)))?;
    Ok(count.unwrap_or(0))
}

pub(super) async fn credentials(
    lanes: &Lanes,
    query: &CredentialQuery,
) -> Answer<Page<Credential>> {
    let (sql, values) = credentials_sql(query);
    page(lanes, &sql, values, query.limit, |row| {
        keyed(row, "credential", &query.tenant)
    })
    .await
    .map_err(|failure| failure.about(|| name("credentials below", &query.tenant, &query.prefix)))
}

/// The rarest filter leads, by its own index in the order of the paths; the others are checked on
/// the rows that it finds.
fn credentials_sql(query: &CredentialQuery) -> (String, Vec<Value>) {
    let after = query.after.as_ref().map(Path::as_str);
    // One lower bound. Nothing sorts between a path and what comes after it.
    let (from, compare) = match after {
        Some(after) if after >= query.prefix.as_str() => (after, ">"),
        _ => (query.prefix.as_str(), ">="),
    };
    let to = format!("{}{AFTER_ANY_PATH}", query.prefix);
    let mut values: Vec<Value> = vec![
        query.tenant.as_str().into(),
        query.deleted.into(),
        from.into(),
        to.into(),
    ];
    let mut conditions = String::new();
    let mut condition = |column: &str, value: Value| {
        values.push(value);
        conditions.push_str(&format!(" AND {column} = ${}", values.len()));
    };
    if let Some((key, value)) = &query.tag {
        condition("t.key", key.as_bytes().into());
        if let Some(value) = value {
            condition("t.value", value.as_bytes().into());
        }
    }
    if let Some(target) = &query.target {
        condition("c.target", target.as_str().into());
    }
    if let Some(kind) = query.kind {
        condition("c.kind", kind.profile().name.into());
    }
    let (tables, lead) = match query.tag {
        Some(_) => (
            "tags t JOIN credentials c ON c.tenant = t.tenant AND c.path = t.path",
            "t",
        ),
        None => ("credentials c", "c"),
    };
    let limit = values.len() + 1;
    let sql = format!(
        "SELECT c.body, c.sum, c.path FROM {tables}
         WHERE {lead}.tenant = $1 AND {lead}.deleted = $2
           AND {lead}.path {compare} $3 AND {lead}.path < $4{conditions}
         ORDER BY {lead}.path LIMIT ${limit}"
    );
    (sql, values)
}

pub(super) async fn owned_credentials(
    lanes: &Lanes,
    tenant: &Tenant,
    owner: &str,
    after: Option<&Path>,
    limit: usize,
) -> Answer<Page<Credential>> {
    let values = vec![
        tenant.as_str().into(),
        owner.as_bytes().into(),
        after.map_or("", Path::as_str).into(),
    ];
    page(
        lanes,
        "SELECT body, sum, path FROM credentials
         WHERE tenant = $1 AND owner = $2 AND path > $3 ORDER BY path LIMIT $4",
        values,
        limit,
        |row| keyed(row, "credential", tenant),
    )
    .await
    .map_err(|failure| failure.about(|| format!("credentials of an owner in {tenant}")))
}

pub(super) async fn rotation(lanes: &Lanes, tenant: &Tenant, id: Id) -> Answer<Option<Rotation>> {
    let what = || name("rotation", tenant, id);
    let sql = "SELECT body, sum FROM rotations WHERE tenant = $1 AND id = $2";
    one(lanes, sql, &[tenant.as_str().into(), id.into()], |row| {
        decode(row, what)
    })
    .await
    .map_err(|failure| failure.about(what))
}

pub(super) async fn rotations(lanes: &Lanes, query: &RotationQuery) -> Answer<Page<Rotation>> {
    let mut values: Vec<Value> = vec![query.tenant.as_str().into()];
    let mut conditions = String::new();
    let mut condition = |compare: &str, value: Value| {
        values.push(value);
        conditions.push_str(&format!(" AND {compare} ${}", values.len()));
    };
    if let Some(path) = &query.path {
        condition("path =", path.as_str().into());
    }
    if let Some(batch) = query.batch {
        condition("batch =", Some(batch).into());
    }
    if let Some(step) = query.step {
        condition("step =", Step::as_str(step).into());
    }
    if let Some(before) = query.before {
        condition("id <", before.into());
    }
    if query.unfinished {
        conditions.push_str(" AND NOT finished");
    }
    if query.for_a_person {
        conditions.push_str(" AND for_a_person");
    }
    let limit = values.len() + 1;
    let sql = format!(
        "SELECT body, sum, encode(id, 'hex') FROM rotations
         WHERE tenant = $1{conditions} ORDER BY id DESC LIMIT ${limit}"
    );
    page(lanes, &sql, values, query.limit, |row| {
        keyed(row, "rotation", &query.tenant)
    })
    .await
    .map_err(|failure| failure.about(|| format!("rotations of {}", query.tenant)))
}

pub(super) async fn due_rotations(
    lanes: &Lanes,
    now: Timestamp,
    limit: usize,
) -> Answer<Vec<Rotation>> {
    let limit = limit.min(MAX_PAGE);
    // A damaged row must not keep all the others from being resumed for ever: a few more are read,
    // and those that can't be are passed over. They are told by their own look-up and by `verify`.
    const SPARE: i64 = 64;
    let sql = "SELECT body, sum, tenant, encode(id, 'hex') FROM rotations
               WHERE NOT finished AND due_at <= $1 ORDER BY due_at, id LIMIT $2";
    let values = [now.into(), (rows::limit(limit) + SPARE).into()];
    let read = async {
        let mut due = Vec::new();
        for row in &lanes.query(sql, &values).await? {
            if due.len() == limit {
                break;
            }
            let (tenant, id): (&str, &str) = (column(row, 2)?, column(row, 3)?);
            match decode(row, || name("rotation", tenant, id)) {
                Ok(rotation) => due.push(rotation),
                Err(Failure::Store(error)) => tracing::error!(%error, "a rotation is passed over"),
                Err(failure) => return Err(failure),
            }
        }
        Ok(due)
    };
    read.await
        .map_err(|failure: Failure| failure.about(|| "due rotations".to_owned()))
}

pub(super) async fn old_versions(lanes: &Lanes, query: &DueQuery) -> Answer<Page<Due>> {
    due(
        lanes,
        query,
        "SELECT old_at, path, number FROM versions
         WHERE tenant = $1 AND (old_at, path, number) > ($2, $3, $4) AND old_at <= $5
         ORDER BY old_at, path, number LIMIT $6",
    )
    .await
}

pub(super) async fn deleted_credentials(lanes: &Lanes, query: &DueQuery) -> Answer<Page<Due>> {
    due(
        lanes,
        query,
        "SELECT deleted_at, path, 0::bigint FROM credentials
         WHERE tenant = $1 AND (deleted_at, path) > ($2, $3) AND $4::bigint >= 0
           AND deleted_at <= $5
         ORDER BY deleted_at, path LIMIT $6",
    )
    .await
}

async fn due(lanes: &Lanes, query: &DueQuery, sql: &str) -> Answer<Page<Due>> {
    let (at, path, after) = match &query.after {
        Some(after) => (after.at.0, after.path.as_str(), after.number),
        None => (i64::MIN, "", 0),
    };
    let values = vec![
        query.tenant.as_str().into(),
        at.into(),
        path.into(),
        after.into(),
        query.until.into(),
    ];
    page(lanes, sql, values, query.limit, |row| {
        Ok(Due {
            at: Timestamp(column(row, 0)?),
            number: number(column(row, 2)?)?,
            path: column::<&str>(row, 1)?
                .parse()
                .map_err(|error: InvalidName| corrupt("what has fallen due", error))?,
        })
    })
    .await
    .map_err(|failure| failure.about(|| format!("what has fallen due in {}", query.tenant)))
}

pub(super) async fn document(
    lanes: &Lanes,
    collection: Collection,
    tenant: &Tenant,
    key: &str,
    now: Timestamp,
) -> Answer<Option<Document>> {
    let sql = format!(
        "SELECT {DOCUMENT} FROM documents WHERE collection = $1 AND tenant = $2 AND name = $3
           AND (expires_at IS NULL OR expires_at > $4)"
    );
    let values = [
        collection.as_str().into(),
        tenant.as_str().into(),
        key.as_bytes().into(),
        now.into(),
    ];
    one(lanes, &sql, &values, |row| {
        rows::document(row, collection, tenant)
    })
    .await
    .map_err(|failure| failure.about(|| name(collection.as_str(), tenant, key)))
}

/// As [`document`], of all of these in one statement.
pub(super) async fn documents_named(
    lanes: &Lanes,
    collection: Collection,
    tenant: &Tenant,
    names: &[String],
    now: Timestamp,
) -> Answer<Vec<Option<Document>>> {
    let sql = format!(
        "SELECT {DOCUMENT} FROM documents
         WHERE collection = $1 AND tenant = $2 AND name = ANY ($3::bytea[])
           AND (expires_at IS NULL OR expires_at > $4)"
    );
    let mut found = HashMap::new();
    for names in names.chunks(MAX_PAGE) {
        let bytes: Vec<Vec<u8>> = names.iter().map(|it| it.clone().into_bytes()).collect();
        let values = [
            collection.as_str().into(),
            tenant.as_str().into(),
            bytes.into(),
            now.into(),
        ];
        let read = async {
            for row in &lanes.query(&sql, &values).await? {
                let document = rows::document(row, collection, tenant)?;
                found.insert(document.name.clone(), document);
            }
            Ok(())
        };
        read.await.map_err(|failure: Failure| {
            failure.about(|| name("documents in", tenant, collection.as_str()))
        })?;
    }
    let each = names.iter().map(|name| found.get(name).cloned());
    Ok(each.collect())
}

pub(super) async fn documents(
    lanes: &Lanes,
    collection: Collection,
    tenant: &Tenant,
    after: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Answer<Page<Document>> {
    // The empty name is a name: nothing is before it.
    let compare = if after.is_some() { ">" } else { ">=" };
    let sql = format!(
        "SELECT {DOCUMENT} FROM documents
         WHERE collection = $1 AND tenant = $2 AND name {compare} $3
           AND (expires_at IS NULL OR expires_at > $4)
         ORDER BY name LIMIT $5"
    );
    let values = vec![
        collection.as_str().into(),
        tenant.as_str().into(),
        after.unwrap_or_default().as_bytes().into(),
        now.into(),
    ];
    page(lanes, &sql, values, limit, |row| {
        rows::document(row, collection, tenant)
    })
    .await
    .map_err(|failure| failure.about(|| name("documents in", tenant, collection.as_str())))
}

pub(super) async fn outbox(lanes: &Lanes, log: &str, limit: usize) -> Answer<Vec<Waiting>> {
    let sql =
        "SELECT body, sum, position, id FROM outbox WHERE log = $1 ORDER BY position LIMIT $2";
    let read = async {
        let values = [log.into(), rows::limit(limit).into()];
        let found = lanes.query(sql, &values).await?;
        found
            .iter()
            .map(rows::waiting)
            .collect::<Result<_, Failure>>()
    };
    read.await
        .map_err(|failure| failure.about(|| "the outbox".to_owned()))
}

async fn one<T>(
    lanes: &Lanes,
    sql: &str,
    values: &[Value],
    read: impl FnOnce(&Row) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    let found = lanes.query(sql, values).await?;
    found.first().map(read).transpose()
}

/// Runs a statement whose last parameter is its limit. One row more than asked tells whether there
/// are more.
async fn page<T>(
    lanes: &Lanes,
    sql: &str,
    mut values: Vec<Value>,
    limit: usize,
    read: impl Fn(&Row) -> Result<T, Failure>,
) -> Result<Page<T>, Failure> {
    let limit = limit.min(MAX_PAGE);
    values.push((rows::limit(limit) + 1).into());
    let found = lanes.query(sql, &values).await?;
    let items = found.iter().take(limit).map(read);
    Ok(Page {
        items: items.collect::<Result<_, _>>()?,
        more: found.len() > limit,
    })
}

/// A row's object; its third column is its key within the tenant, for errors.
pub(super) fn keyed<T: DeserializeOwned>(
    row: &Row,
    what: &str,
    tenant: &Tenant,
) -> Result<T, Failure> {
    let key: &str = column(row, 2)?;
    decode(row, || name(what, tenant, key))
}

fn key(tenant: &Tenant, path: &Path) -> [Value; 2] {
    [tenant.as_str().into(), path.as_str().into()]
}

fn number(stored: i64) -> Result<u32, Failure> {
    u32::try_from(stored).map_err(|error| corrupt("a version's number", error))
}

fn corrupt(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::Store(StoreError::Corrupt {
        what: what.to_owned(),
        reason: error.to_string(),
    })
}
