//! The tables, and how an older store becomes a newer one.
//!
//! A row holds its object as JSON in `body`, with a CRC-32 beside it (SQLite has none on its pages:
//! a flipped bit would otherwise read as another value), and typed columns for what queries ask
//! about. The columns are derived from the body, never the other way round, but for what moves of a
//! version; `verify` compares them.
//!
//! To change the schema: append one script to [`MIGRATIONS`]. A script that was ever released is
//! never edited.

use rusqlite::{Connection, TransactionBehavior};

use super::errors::Failure;
use crate::StoreError;

/// Says "Pentad" to `file(1)` and to ourselves: `PRAGMA application_id`.
pub(super) const APPLICATION_ID: i32 = 0x504e_5444;

/// Bytes of a new store's pages. A put changes five of them that have nothing else in common, and each
/// is written twice, into the log and into the database: half of SQLite's 4 KiB makes a fifth more puts.
/// A store that is there keeps its own.
const PAGE: u32 = 2048;

/// The highest schema this program knows.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

const MIGRATIONS: &[&str] = &[FIRST, SECOND, THIRD, FOURTH, FIFTH, SIXTH, SEVENTH];

/// Brings a store up to date, each step in a transaction of its own. One that is newer than this
/// program is left untouched.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Failure> {
    let found = version(connection)?;
    if found > VERSION {
        return Err(StoreError::TooNew {
            found,
            known: VERSION,
        }
        .into());
    }
    if found == 0 {
        connection.pragma_update(None, "page_size", PAGE)?;
    }
    for (number, script) in (1..).zip(MIGRATIONS).skip(found as usize) {
        let step = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step.execute_batch(script)?;
        step.pragma_update(None, "application_id", APPLICATION_ID)?;
        step.pragma_update(None, "user_version", number)?;
        step.commit()?;
    }
    Ok(())
}

/// The schema that a store has; 0 if it has none yet.
pub(super) fn version(connection: &Connection) -> Result<u32, Failure> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

const FIRST: &str = "
CREATE TABLE credentials (
    row      INTEGER PRIMARY KEY,
    tenant   TEXT NOT NULL,
    path     TEXT NOT NULL,
    kind     TEXT NOT NULL,
    target   TEXT,
    deleted  INTEGER NOT NULL,
    current  INTEGER,
    revision INTEGER NOT NULL,
    body     TEXT NOT NULL,
    sum      INTEGER NOT NULL,
    UNIQUE (tenant, path)
) STRICT;
CREATE INDEX credentials_by_state ON credentials (tenant, deleted, path);
CREATE INDEX credentials_by_kind ON credentials (tenant, deleted, kind, path);
CREATE INDEX credentials_by_target ON credentials (tenant, deleted, target, path)
    WHERE target IS NOT NULL;

CREATE TABLE tags (
    tenant  TEXT NOT NULL,
    path    TEXT NOT NULL,
    key     TEXT NOT NULL,
    value   TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    PRIMARY KEY (tenant, path, key),
    FOREIGN KEY (tenant, path) REFERENCES credentials (tenant, path) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_by_key ON tags (tenant, deleted, key, path);
CREATE INDEX tags_by_value ON tags (tenant, deleted, key, value, path);

CREATE TABLE versions (
    row          INTEGER PRIMARY KEY,
    tenant       TEXT NOT NULL,
    path         TEXT NOT NULL,
    number       INTEGER NOT NULL,
    stage        TEXT NOT NULL,
    fingerprint  BLOB NOT NULL,
    body         TEXT NOT NULL,
    sum          INTEGER NOT NULL,
    sealed       BLOB,
    sealed_sum   INTEGER,
    destroyed_at INTEGER,
    UNIQUE (tenant, path, number),
    FOREIGN KEY (tenant, path) REFERENCES credentials (tenant, path) ON DELETE CASCADE
) STRICT;
CREATE INDEX versions_by_fingerprint ON versions (tenant, fingerprint, path)
    WHERE stage = 'current';

-- No foreign key: the history of rotations outlives the credential.
CREATE TABLE rotations (
    row      INTEGER PRIMARY KEY,
    tenant   TEXT NOT NULL,
    id       BLOB NOT NULL,
    path     TEXT NOT NULL,
    batch    BLOB,
    finished INTEGER NOT NULL,
    due_at   INTEGER NOT NULL, -- the later of resume_at and the lease's end
    revision INTEGER NOT NULL,
    body     TEXT NOT NULL,
    sum      INTEGER NOT NULL,
    UNIQUE (tenant, id)
) STRICT;
CREATE INDEX rotations_by_path ON rotations (tenant, path, id);
CREATE INDEX rotations_by_batch ON rotations (tenant, batch, id) WHERE batch IS NOT NULL;
CREATE INDEX rotations_unfinished ON rotations (tenant, id) WHERE finished = 0;
CREATE UNIQUE INDEX rotations_one_a_credential ON rotations (tenant, path) WHERE finished = 0;
CREATE INDEX rotations_due ON rotations (due_at, id) WHERE finished = 0;

CREATE TABLE documents (
    row        INTEGER PRIMARY KEY,
    collection TEXT NOT NULL,
    tenant     TEXT NOT NULL,
    name       TEXT NOT NULL,
    revision   INTEGER NOT NULL,
    expires_at INTEGER,
    body       TEXT NOT NULL,
    sum        INTEGER NOT NULL,
    UNIQUE (collection, tenant, name)
) STRICT;
CREATE INDEX documents_by_expiry ON documents (expires_at) WHERE expires_at IS NOT NULL;

-- AUTOINCREMENT: a position is never given twice, not even after the outbox was emptied.
CREATE TABLE outbox (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    id   BLOB NOT NULL UNIQUE,
    body TEXT NOT NULL,
    sum  INTEGER NOT NULL
) STRICT;

-- The records of the last day, so that committing a change again is harmless.
CREATE TABLE recent (
    id BLOB PRIMARY KEY,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX recent_by_time ON recent (at);
";

/// What retention and erasure ask about: when a version became old, when a credential was deleted,
/// whose it is. A damaged body gives zero or nothing here, and is told by whoever reads the row.
const SECOND: &str = "
-- When it was retired or revoked, while it has its value.
ALTER TABLE versions ADD COLUMN old_at INTEGER;
UPDATE versions SET old_at = coalesce(CAST(json_extract(body, '$.staged_at') AS INTEGER), 0)
    WHERE sealed IS NOT NULL AND stage IN ('retired', 'revoked') AND json_valid(body);
CREATE INDEX versions_old ON versions (tenant, old_at, path, number) WHERE old_at IS NOT NULL;

ALTER TABLE credentials ADD COLUMN deleted_at INTEGER;
ALTER TABLE credentials ADD COLUMN owner TEXT;
UPDATE credentials SET deleted_at = CAST(json_extract(body, '$.deleted_at') AS INTEGER),
                       owner = CAST(json_extract(body, '$.owner') AS TEXT)
    WHERE json_valid(body);
CREATE INDEX credentials_by_deletion ON credentials (tenant, deleted_at, path)
    WHERE deleted_at IS NOT NULL;
CREATE INDEX credentials_by_owner ON credentials (tenant, owner, path) WHERE owner IS NOT NULL;
";

/// Where a rotation stands, for who asks for those that diverged. A damaged body gives no step here,
/// and is told by whoever reads the row.
const THIRD: &str = "
ALTER TABLE rotations ADD COLUMN step TEXT NOT NULL DEFAULT '';
UPDATE rotations SET step = coalesce(CAST(json_extract(body, '$.progress.step') AS TEXT), '')
    WHERE json_valid(body);
CREATE INDEX rotations_by_step ON rotations (tenant, step, id);
";

/// Which rotations wait for a person: those that diverged and those that paused themselves. A damaged
/// body gives no here, and is told by whoever reads the row.
const FOURTH: &str = "
ALTER TABLE rotations ADD COLUMN for_a_person INTEGER NOT NULL DEFAULT 0;
UPDATE rotations SET for_a_person = 1
    WHERE step = 'diverged'
       OR (step IN ('probing', 'undo_probing', 'observing')
           AND CASE WHEN json_valid(body) THEN json_extract(body, '$.control') = 'pause'
                   AND json_extract(body, '$.resume_at') = 9223372036854775807
                   AND json_extract(body, '$.reason') IS NOT NULL
               ELSE 0 END);
CREATE INDEX rotations_for_a_person ON rotations (tenant, id) WHERE for_a_person = 1;
";

/// Every version by its fingerprint, and not the current ones alone: whether a credential had a value
/// before is one seek then, and its history is not read.
const FIFTH: &str = "
DROP INDEX versions_by_fingerprint;
CREATE INDEX versions_by_value ON versions (tenant, fingerprint, stage, path, number);
";

/// Less to write when a rotation is accepted, and each time it moves: nearly all of its indexes are of
/// what is under way, or of what has ended. A record's id is remembered from when it leaves the outbox;
/// as long as it waits there, it is known by that.
const SIXTH: &str = "
DROP INDEX rotations_by_path;
CREATE INDEX rotations_by_path ON rotations (tenant, path, id) WHERE finished = 1;
DROP INDEX rotations_by_step;
CREATE INDEX rotations_by_step ON rotations (tenant, step, id) WHERE finished = 1;

-- When the record was put there, by the store's clock.
ALTER TABLE outbox ADD COLUMN at INTEGER NOT NULL DEFAULT 0;
UPDATE outbox SET at = coalesce((SELECT r.at FROM recent r WHERE r.id = outbox.id), 0);
DELETE FROM recent WHERE id IN (SELECT id FROM outbox);
";

/// Less to write when a version takes over. What moves of the one before lies in columns of its own, so
/// that a move reads and rewrites no body; empty as long as it never moved, then the body tells
/// (`moved_sum` is over all three, `stage` included). And the index of fingerprints does not change with
/// it.
const SEVENTH: &str = "
DROP INDEX versions_by_value;
CREATE INDEX versions_by_value ON versions (tenant, fingerprint, path, number);

ALTER TABLE versions ADD COLUMN stage_mac BLOB;
ALTER TABLE versions ADD COLUMN staged_at INTEGER;
ALTER TABLE versions ADD COLUMN moved_sum INTEGER;
";
