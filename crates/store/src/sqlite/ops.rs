//! The operations of a change, inside the writer's transaction. Each checks its precondition where
//! it writes, so that nothing can come between.

pub(super) mod documents;
pub(super) mod many;
pub(super) mod rotations;

use pentad_model::{Credential, Path, Stage, Tenant, Timestamp, Version};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    errors::Failure,
    rows::{self, Body, encode, statement},
};
use crate::{
    Op, StoreError,
    subject::{name, subject, version_name},
};

/// The body that an operation writes, made before its turn: the one thread that writes has more to
/// do. Empty for operations whose bodies depend on what is stored, or that write none.
pub(super) fn body(op: &mut Op) -> Result<Body, StoreError> {
    match op {
        Op::CreateCredential { credential } | Op::UpdateCredential { credential, .. } => {
            encode(credential)
        }
        Op::AddVersion { version } => version_body(version),
        Op::CreateRotation { rotation } => encode(rotation),
        _ => Ok(Body::default()),
    }
}

/// Carries out one operation with its [`body`], or says why it can't be.
pub(super) fn apply(tx: &Connection, op: &Op, body: &Body, now: Timestamp) -> Result<(), Failure> {
    match op {
        Op::CreateCredential { credential } => create_credential(tx, credential, body),
        Op::UpdateCredential { credential, expect } => {
            update_credential(tx, credential, body, *expect)
        }
        Op::RemoveCredential {
            tenant,
            path,
            expect,
        } => remove_credential(tx, tenant, path, *expect),
        Op::AddVersion { version } => add_version(tx, version, body),
        Op::SetStage {
            tenant,
            path,
            number,
            from,
            to,
            mac,
            at,
        } => {
            let moved = statement(
                tx,
                "UPDATE versions
                 SET stage = ?5, stage_mac = ?6, staged_at = ?7, moved_sum = ?8,
                     old_at = CASE WHEN sealed IS NOT NULL THEN ?9 END
                 WHERE tenant = ?1 AND path = ?2 AND number = ?3 AND stage = ?4",
            )?
            .execute(params![
                tenant.as_str(),
                path.as_str(),
                number,
                from.as_str(),
                to.as_str(),
                mac.0,
                at.0,
                rows::moved_sum(to.as_str(), &mac.0, *at),
                rows::old_at(*to, *at),
            ])?;
            if moved > 0 {
                return Ok(());
            }
            match has_version(tx, tenant, path, *number)? {
                true => Err(conflict(op)),
                false => Err(missing(op)),
            }
        }
        Op::DestroyVersion {
            tenant,
            path,
            number,
            stage,
            at,
        } => {
            let is_free = statement(
                tx,
                "SELECT v.stage = ?4 AND v.stage <> ?5 AND c.current IS NOT v.number
                 FROM versions v JOIN credentials c ON c.tenant = v.tenant AND c.path = v.path
                 WHERE v.tenant = ?1 AND v.path = ?2 AND v.number = ?3",
            )?
            .query_row(
                params![
                    tenant.as_str(),
                    path.as_str(),
                    number,
                    stage.as_str(),
                    Stage::Current.as_str()
                ],
                |row| row.get(0),
            )
            .optional()?;
            match is_free {
                None => return Err(missing(op)),
                Some(false) => return Err(conflict(op)),
                Some(true) => {}
            }
            statement(
                tx,
                "UPDATE versions
                 SET sealed = NULL, sealed_sum = NULL, destroyed_at = ?4, old_at = NULL
                 WHERE tenant = ?1 AND path = ?2 AND number = ?3 AND sealed IS NOT NULL",
            )?
            .execute(params![tenant.as_str(), path.as_str(), number, at.0])?;
            Ok(())
        }
        Op::CreateRotation { rotation } => rotations::begin(tx, rotation, body),
        Op::UpdateRotation { rotation, expect } => {
            rotations::update_rotation(tx, rotation, *expect)
        }
        Op::PutDocument { document, expect } => documents::put_document(tx, document, *expect, now),
        Op::RemoveDocument {
            collection,
            tenant,
            name,
        } => {
            let removed = statement(
                tx,
                "DELETE FROM documents WHERE collection = ?1 AND tenant = ?2 AND name = ?3
                 AND (expires_at IS NULL OR expires_at > ?4)",
            )?
            .execute(params![collection.as_str(), tenant.as_str(), name, now.0])?;
            if removed == 0 {
                return Err(missing(op));
            }
            Ok(())
        }
        Op::CheckDocument {
            collection,
            tenant,
            name,
            expect,
        } => documents::check_document(tx, *collection, tenant, name, *expect, now),
    }
}

fn missing(op: &Op) -> Failure {
    let what = subject(op);
    StoreError::Missing { what }.into()
}

fn conflict(op: &Op) -> Failure {
    let what = subject(op);
    StoreError::Conflict { what }.into()
}

fn exists(what: String) -> Failure {
    StoreError::Exists { what }.into()
}

fn invalid(what: String, reason: &str) -> Failure {
    let reason = reason.to_owned();
    StoreError::Invalid { what, reason }.into()
}

/// Why a compare-and-set on a revision found no row.
fn lost_race(what: String, stored: Option<i64>) -> Failure {
    match stored {
        None => StoreError::Missing { what }.into(),
        Some(_) => StoreError::Conflict { what }.into(),
    }
}

fn create_credential(tx: &Connection, credential: &Credential, body: &Body) -> Result<(), Failure> {
    let what = || name("credential", &credential.tenant, &credential.path);
    if credential.revision != 1 {
        return Err(invalid(what(), "a new one has revision 1"));
    }
    insert_credential(tx, credential, body)
}

/// Writes one that is not there, at the revision that it has.
pub(super) fn insert_credential(
    tx: &Connection,
    credential: &Credential,
    Body { text, sum }: &Body,
) -> Result<(), Failure> {
    let what = || name("credential", &credential.tenant, &credential.path);
    let inserted = statement(
        tx,
        "INSERT INTO credentials
             (tenant, path, kind, target, deleted, current, revision, body, sum, deleted_at, owner)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (tenant, path) DO NOTHING",
    )?
    .execute(params![
        credential.tenant.as_str(),
        credential.path.as_str(),
        credential.kind.profile().name,
        rows::target(credential),
        credential.deleted_at.is_some(),
        credential.current,
        rows::count(credential.revision),
        text,
        sum,
        credential.deleted_at.map(|at| at.0),
        credential.owner,
    ])?;
    if inserted == 0 {
        return Err(exists(what()));
    }
    set_tags(tx, credential)
}

fn update_credential(
    tx: &Connection,
    credential: &Credential,
    Body { text, sum }: &Body,
    expect: u64,
) -> Result<(), Failure> {
    let what = || name("credential", &credential.tenant, &credential.path);
    if credential.revision <= expect {
        return Err(invalid(what(), "its revision does not grow"));
    }
    let (tenant, path) = (credential.tenant.as_str(), credential.path.as_str());
    let row = params![
        tenant,
        path,
        credential.kind.profile().name,
        rows::target(credential),
        credential.deleted_at.is_some(),
        credential.current,
        rows::count(credential.revision),
        text,
        sum,
        rows::count(expect),
        credential.deleted_at.map(|at| at.0),
        credential.owner,
    ];
    // Nearly always nothing changes that an index is about, and then none is written. Most have no
    // tags: that they had none either is seen on the way.
    if credential.tags.is_empty() {
        let updated = statement(
            tx,
            "UPDATE credentials SET current = ?6, revision = ?7, body = ?8, sum = ?9
             WHERE tenant = ?1 AND path = ?2 AND revision = ?10 AND kind = ?3 AND target IS ?4
               AND deleted = ?5 AND deleted_at IS ?11 AND owner IS ?12
               AND NOT EXISTS (SELECT 1 FROM tags WHERE tenant = ?1 AND path = ?2)",
        )?
        .execute(row)?;
        if updated > 0 {
            return Ok(());
        }
    }
    let mut updated = statement(
        tx,
        "UPDATE credentials SET current = ?6, revision = ?7, body = ?8, sum = ?9
         WHERE tenant = ?1 AND path = ?2 AND revision = ?10 AND kind = ?3 AND target IS ?4
           AND deleted = ?5 AND deleted_at IS ?11 AND owner IS ?12",
    )?
    .execute(row)?;
    if updated == 0 {
        updated = statement(
            tx,
            "UPDATE credentials
             SET kind = ?3, target = ?4, deleted = ?5, current = ?6, revision = ?7, body = ?8,
                 sum = ?9, deleted_at = ?11, owner = ?12
             WHERE tenant = ?1 AND path = ?2 AND revision = ?10",
        )?
        .execute(row)?;
    }
    if updated == 0 {
        let stored = credential_revision(tx, &credential.tenant, &credential.path)?;
        return Err(lost_race(what(), stored));
    }
    set_tags(tx, credential)
}

fn remove_credential(
    tx: &Connection,
    tenant: &Tenant,
    path: &Path,
    expect: u64,
) -> Result<(), Failure> {
    // Versions and tags go with it, by foreign key.
    let removed = statement(
        tx,
        "DELETE FROM credentials
         WHERE tenant = ?1 AND path = ?2 AND revision = ?3 AND deleted = 1",
    )?
    .execute(params![tenant.as_str(), path.as_str(), rows::count(expect)])?;
    if removed == 0 {
        let stored = credential_revision(tx, tenant, path)?;
        return Err(lost_race(name("credential", tenant, path), stored));
    }
    Ok(())
}

fn credential_revision(
    tx: &Connection,
    tenant: &Tenant,
    path: &Path,
) -> Result<Option<i64>, Failure> {
    Ok(statement(
        tx,
        "SELECT revision FROM credentials WHERE tenant = ?1 AND path = ?2",
    )?
    .query_row(params![tenant.as_str(), path.as_str()], |row| row.get(0))
    .optional()?)
}

/// Makes the tag rows agree with the credential; writes only if they don't.
fn set_tags(tx: &Connection, credential: &Credential) -> Result<(), Failure> {
    let key = params![credential.tenant.as_str(), credential.path.as_str()];
    let deleted = credential.deleted_at.is_some();
    let stored = statement(
        tx,
        "SELECT key, value, deleted FROM tags WHERE tenant = ?1 AND path = ?2 ORDER BY key",
    )?
    .query_map(key, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
    .collect::<rusqlite::Result<Vec<(String, String, bool)>>>()?;
    let same = stored.len() == credential.tags.len()
        && stored
            .iter()
            .zip(&credential.tags)
            .all(|(row, (key, value))| row.0 == *key && row.1 == *value && row.2 == deleted);
    if same {
        return Ok(());
    }
    statement(tx, "DELETE FROM tags WHERE tenant = ?1 AND path = ?2")?.execute(key)?;
    let mut insert = statement(
        tx,
        "INSERT INTO tags (tenant, path, key, value, deleted) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for (tag, value) in &credential.tags {
        insert.execute(params![
            credential.tenant.as_str(),
            credential.path.as_str(),
            tag,
            value,
            deleted
        ])?;
    }
    Ok(())
}

/// The sealed bytes have a column of their own; base64 in the body would be a third longer.
pub(super) fn version_body(version: &mut Version) -> Result<Body, StoreError> {
    let sealed = version.sealed.take();
    let body = encode(version);
    version.sealed = sealed;
    body
}

pub(super) fn add_version(
    tx: &Connection,
    version: &Version,
    Body { text, sum }: &Body,
) -> Result<(), Failure> {
    let what = || version_name(&version.tenant, &version.path, version.number);
    if version.number == 0 {
        return Err(invalid(what(), "versions count from 1"));
    }
    let sealed = version.sealed.as_ref().map(|sealed| sealed.as_bytes());
    let inserted = statement(
        tx,
        "INSERT INTO versions
             (tenant, path, number, stage, fingerprint, body, sum, sealed, sealed_sum, old_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (tenant, path, number) DO NOTHING",
    )?
    .execute(params![
        version.tenant.as_str(),
        version.path.as_str(),
        version.number,
        version.stage.as_str(),
        version.fingerprint.0,
        text,
        sum,
        sealed,
        sealed.map(crc32fast::hash),
        rows::old_since(version),
    ]);
    match inserted.map_err(Failure::from) {
        Ok(0) => Err(exists(what())),
        Ok(_) => Ok(()),
        Err(failure) if failure.is_orphan() => {
            let what = name("credential", &version.tenant, &version.path);
            Err(StoreError::Missing { what }.into())
        }
        Err(failure) => Err(failure),
    }
}

fn has_version(
    tx: &Connection,
    tenant: &Tenant,
    path: &Path,
    number: u32,
) -> Result<bool, Failure> {
    let mut select = statement(
        tx,
        "SELECT 1 FROM versions WHERE tenant = ?1 AND path = ?2 AND number = ?3",
    )?;
    Ok(select.exists(params![tenant.as_str(), path.as_str(), number])?)
}
