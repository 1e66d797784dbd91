//! The tables, and how an older store becomes a newer one.
//!
//! As in the embedded store a row holds its object as JSON in `body` with a CRC-32 beside it, and
//! typed columns for what queries ask about. Two things differ, so that an operation is one statement
//! that needs no look before it:
//!
//! * What moves of a version (`stage`, its MAC, its time) is in columns alone, with a sum of its own.
//! * A document's revision is in its column alone; its body has 0 there.
//!
//! Text is compared byte by byte (`COLLATE "C"`), as Rust and SQLite do. What a user may write
//! freely (tags, owners, documents' names) is `bytea`: PostgreSQL's text has no zero byte.
//!
//! To change the schema: append one script to [`MIGRATIONS`]. A script that was ever released is
//! never edited. It runs while other nodes of an older version may be at work.

use tokio_postgres::Client;

use super::{
    errors::{Failure, lost},
    session::lock_key,
};
use crate::StoreError;

/// Says that a schema is a store of ours.
const APPLICATION: &str = "pentad";

/// The highest schema this program knows.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

const MIGRATIONS: &[&str] = &[FIRST];

/// What a schema of the database holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// It does not exist, or is empty.
    Nothing,
    /// Tables of somebody else.
    Foreign,
    /// A store of this version.
    Store(u32),
}

/// Looks, and changes nothing.
pub(super) async fn find(client: &Client, schema: &str) -> Result<Found, Failure> {
    let row = client
        .query_one(
            "SELECT to_regclass($1 || '.store') IS NOT NULL,
                    EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                            WHERE n.nspname = $1)",
            &[&schema],
        )
        .await?;
    if !row.try_get::<_, bool>(0)? {
        let any: bool = row.try_get(1)?;
        return Ok(if any { Found::Foreign } else { Found::Nothing });
    }
    let mark = format!("SELECT application, version FROM {schema}.store");
    let found = match client.query(&mark, &[]).await {
        Ok(rows) => rows,
        // A table of that name with other columns.
        Err(error)
            if error
                .as_db_error()
                .is_some_and(|e| e.code().code() == "42703") =>
        {
            return Ok(Found::Foreign);
        }
        Err(error) => return Err(error.into()),
    };
    let Some(row) = found.first() else {
        return Ok(Found::Foreign);
    };
    match row.try_get::<_, &str>(0)? {
        APPLICATION => {
            let version: i32 = row.try_get(1)?;
            Ok(Found::Store(u32::try_from(version).unwrap_or(u32::MAX)))
        }
        _ => Ok(Found::Foreign),
    }
}

/// Brings a store up to date, each step in a transaction of its own, one process at a time. One that
/// is newer than this program is left untouched. `make`: where there is none, one is made.
pub(super) async fn migrate(client: &Client, schema: &str, make: bool) -> Result<(), Failure> {
    let key = lock_key(schema, "migrate", "");
    client
        .execute("SELECT pg_advisory_lock($1)", &[&key])
        .await?;
    let done = steps(client, schema, make).await;
    let _ = client
        .execute("SELECT pg_advisory_unlock($1)", &[&key])
        .await;
    done
}

/// Makes a new one within the transaction that is under way, which has its schema as search path from
/// then on; [`StoreError::Exists`] if there is one.
pub(super) async fn make_within(client: &Client, schema: &str) -> Result<(), Failure> {
    let key = lock_key(schema, "migrate", "");
    client
        .execute("SELECT pg_advisory_xact_lock($1)", &[&key])
        .await?;
    match find(client, schema).await? {
        Found::Nothing => {}
        Found::Store(_) => {
            let what = format!("a pentad store in the schema {schema} of this database");
            return Err(StoreError::Exists { what }.into());
        }
        Found::Foreign => return Err(foreign(schema).into()),
    }
    let prepare = format!("CREATE SCHEMA IF NOT EXISTS {schema}; SET LOCAL search_path = {schema}");
    client.batch_execute(&prepare).await?;
    for (number, script) in (1u32..).zip(MIGRATIONS) {
        let script = format!("{script}; UPDATE store SET version = {number}");
        client.batch_execute(&script).await?;
    }
    let usual = format!("SET LOCAL search_path = pg_catalog, {schema}, pg_temp");
    Ok(client.batch_execute(&usual).await?)
}

async fn steps(client: &Client, schema: &str, make: bool) -> Result<(), Failure> {
    let found = match (find(client, schema).await?, make) {
        (Found::Store(_), true) => {
            let what = format!("a pentad store in the schema {schema} of this database");
            return Err(StoreError::Exists { what }.into());
        }
        (Found::Store(found), false) => found,
        (Found::Nothing, true) => 0,
        (Found::Nothing, false) => return Err(lost("the store's schema is gone").into()),
        (Found::Foreign, _) => return Err(foreign(schema).into()),
    };
    if found > VERSION {
        let known = VERSION;
        return Err(StoreError::TooNew { found, known }.into());
    }
    for (number, script) in (1u32..).zip(MIGRATIONS).skip(found as usize) {
        let script = format!(
            "BEGIN; CREATE SCHEMA IF NOT EXISTS {schema}; SET LOCAL search_path = {schema}; {script};
             UPDATE store SET version = {number}; COMMIT"
        );
        if let Err(error) = client.batch_execute(&script).await {
            let _ = client.batch_execute("ROLLBACK").await;
            return Err(error.into());
        }
    }
    Ok(())
}

pub(super) fn foreign(schema: &str) -> StoreError {
    StoreError::Invalid {
        what: format!("the schema {schema} of this database"),
        reason: "it holds something else than a pentad store; name another with ?schema=NAME"
            .to_owned(),
    }
}

const FIRST: &str = r#"
-- One row. `changes`: the position of the last group in the feed. Fill factors leave room for rows
-- that every group updates, so that no index has to follow.
CREATE TABLE store (
    only_one    boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    application text NOT NULL,
    version     integer NOT NULL,
    changes     bigint NOT NULL
) WITH (fillfactor = 20);
INSERT INTO store (application, version, changes) VALUES ('pentad', 0, 0);

-- A row a node, by its audit log's id. `last_group` tells after a lost connection whether a group
-- was committed; `last_position` is the last one given in its outbox, and never given again.
CREATE TABLE nodes (
    log           text COLLATE "C" PRIMARY KEY,
    last_group    bigint NOT NULL,
    last_position bigint NOT NULL,
    made_at       timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

CREATE TABLE credentials (
    tenant     text COLLATE "C" NOT NULL,
    path       text COLLATE "C" NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    target     text COLLATE "C",
    owner      bytea,
    deleted    boolean NOT NULL,
    deleted_at bigint,
    current    bigint,
    revision   bigint NOT NULL,
    body       text NOT NULL,
    sum        bigint NOT NULL,
    PRIMARY KEY (tenant, path)
);
CREATE INDEX credentials_by_state ON credentials (tenant, deleted, path);
CREATE INDEX credentials_by_kind ON credentials (tenant, deleted, kind, path);
CREATE INDEX credentials_by_target ON credentials (tenant, deleted, target, path)
    WHERE target IS NOT NULL;
CREATE INDEX credentials_by_deletion ON credentials (tenant, deleted_at, path)
    WHERE deleted_at IS NOT NULL;
CREATE INDEX credentials_by_owner ON credentials (tenant, owner, path) WHERE owner IS NOT NULL;

CREATE TABLE tags (
    tenant  text COLLATE "C" NOT NULL,
    path    text COLLATE "C" NOT NULL,
    key     bytea NOT NULL,
    value   bytea NOT NULL,
    deleted boolean NOT NULL,
    PRIMARY KEY (tenant, path, key),
    FOREIGN KEY (tenant, path) REFERENCES credentials ON DELETE CASCADE
);
CREATE INDEX tags_by_key ON tags (tenant, deleted, key, path);
CREATE INDEX tags_by_value ON tags (tenant, deleted, key, value, path);

-- `moved_sum`: over stage, stage_mac and staged_at.
CREATE TABLE versions (
    tenant       text COLLATE "C" NOT NULL,
    path         text COLLATE "C" NOT NULL,
    number       bigint NOT NULL,
    stage        text COLLATE "C" NOT NULL,
    stage_mac    bytea NOT NULL,
    staged_at    bigint NOT NULL,
    moved_sum    bigint NOT NULL,
    fingerprint  bytea NOT NULL,
    body         text NOT NULL,
    sum          bigint NOT NULL,
    sealed       bytea,
    sealed_sum   bigint,
    destroyed_at bigint,
    old_at       bigint,
    PRIMARY KEY (tenant, path, number),
    FOREIGN KEY (tenant, path) REFERENCES credentials ON DELETE CASCADE
);
-- Sealed bytes don't compress.
ALTER TABLE versions ALTER COLUMN sealed SET STORAGE EXTERNAL;
CREATE INDEX versions_by_fingerprint ON versions (tenant, fingerprint, path)
    WHERE stage = 'current';
CREATE INDEX versions_old ON versions (tenant, old_at, path, number) WHERE old_at IS NOT NULL;

-- No foreign key: the history of rotations outlives the credential.
CREATE TABLE rotations (
    tenant       text COLLATE "C" NOT NULL,
    id           bytea NOT NULL,
    path         text COLLATE "C" NOT NULL,
    batch        bytea,
    finished     boolean NOT NULL,
    for_a_person boolean NOT NULL,
    step         text COLLATE "C" NOT NULL,
    due_at       bigint NOT NULL, -- the later of resume_at and the lease's end
    revision     bigint NOT NULL,
    body         text NOT NULL,
    sum          bigint NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX rotations_by_path ON rotations (tenant, path, id);
CREATE INDEX rotations_by_batch ON rotations (tenant, batch, id) WHERE batch IS NOT NULL;
CREATE INDEX rotations_by_step ON rotations (tenant, step, id);
CREATE INDEX rotations_unfinished ON rotations (tenant, id) WHERE NOT finished;
CREATE UNIQUE INDEX rotations_one_a_credential ON rotations (tenant, path) WHERE NOT finished;
CREATE INDEX rotations_due ON rotations (due_at, id) WHERE NOT finished;
CREATE INDEX rotations_for_a_person ON rotations (tenant, id) WHERE for_a_person;

CREATE TABLE documents (
    collection text COLLATE "C" NOT NULL,
    tenant     text COLLATE "C" NOT NULL,
    name       bytea NOT NULL,
    revision   bigint NOT NULL,
    expires_at bigint,
    body       text NOT NULL,
    sum        bigint NOT NULL,
    PRIMARY KEY (collection, tenant, name)
);
CREATE INDEX documents_by_expiry ON documents (expires_at) WHERE expires_at IS NOT NULL;

-- Each node drains its own.
CREATE TABLE outbox (
    log      text COLLATE "C" NOT NULL REFERENCES nodes,
    position bigint NOT NULL,
    id       bytea NOT NULL UNIQUE,
    body     text NOT NULL,
    sum      bigint NOT NULL,
    PRIMARY KEY (log, position)
);

-- The records of the last day, so that committing a change again is harmless.
CREATE TABLE recent (
    id bytea PRIMARY KEY,
    at bigint NOT NULL
);
CREATE INDEX recent_by_time ON recent (at);

-- What the groups of the last minutes touched, without a gap, for those who keep copies.
CREATE TABLE feed (
    position bigint PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    log      text COLLATE "C" NOT NULL,
    touched  text NOT NULL
);
CREATE INDEX feed_by_time ON feed (at)
"#;
