//! The operations of a change, as statements that need no look before them: each carries its
//! precondition, and reaches no row where that does not hold. Only then [`why`] looks.

use pentad_model::{Credential, Path, Rotation, Stage, Tenant, Timestamp, Version};

use super::{
    errors::Failure,
    rows::{self, Body, Value, column, encode, moved_sum, sum},
    session::{Session, Step},
};
use crate::{
    Collection, Document, Expect, Op, StoreError,
    subject::{name, subject, version_name},
};

/// What an operation needs to be done, or why it never can be.
pub(super) fn steps(op: &Op, now: Timestamp) -> Result<Vec<Step>, StoreError> {
    match op {
        Op::CreateCredential { credential } => create_credential(credential),
        Op::UpdateCredential { credential, expect } => update_credential(credential, *expect),
        Op::RemoveCredential {
            tenant,
            path,
            expect,
        } => Ok(vec![one(
            // Versions and tags go with it, by foreign key.
            "DELETE FROM credentials WHERE tenant = $1 AND path = $2 AND revision = $3 AND deleted",
            vec![
                tenant.as_str().into(),
                path.as_str().into(),
                rows::count(*expect).into(),
            ],
        )]),
        Op::AddVersion { version } => add_version(version),
        Op::SetStage {
            tenant,
            path,
            number,
            from,
            to,
            mac,
            at,
        } => Ok(vec![one(
            "UPDATE versions
             SET stage = $5, stage_mac = $6, staged_at = $7, moved_sum = $8,
                 old_at = CASE WHEN sealed IS NOT NULL THEN $9::bigint END
             WHERE tenant = $1 AND path = $2 AND number = $3 AND stage = $4",
            vec![
                tenant.as_str().into(),
                path.as_str().into(),
                (*number).into(),
                from.as_str().into(),
                to.as_str().into(),
                (*mac).into(),
                (*at).into(),
                moved_sum(to.as_str(), &mac.0, *at).into(),
                rows::old_at(*to, *at).into(),
            ],
        )]),
        Op::DestroyVersion {
            tenant,
            path,
            number,
            stage,
            at,
        } => Ok(vec![one(
            "UPDATE versions v
             SET sealed = NULL, sealed_sum = NULL, old_at = NULL,
                 destroyed_at = CASE WHEN v.sealed IS NULL THEN v.destroyed_at ELSE $6 END
             FROM credentials c
             WHERE v.tenant = $1 AND v.path = $2 AND v.number = $3 AND v.stage = $4
               AND v.stage <> $5 AND c.tenant = $1 AND c.path = $2
               AND c.current IS DISTINCT FROM $3",
            vec![
                tenant.as_str().into(),
                path.as_str().into(),
                (*number).into(),
                stage.as_str().into(),
                Stage::Current.as_str().into(),
                (*at).into(),
            ],
        )]),
        Op::CreateRotation { rotation } => create_rotation(rotation),
        Op::UpdateRotation { rotation, expect } => update_rotation(rotation, *expect),
        Op::PutDocument { document, expect } => put_document(document, *expect, now),
        Op::RemoveDocument {
            collection,
            tenant,
            name,
        } => {
            let mut values = document_key(*collection, tenant, name);
            values.push(now.into());
            Ok(vec![one(
                "DELETE FROM documents WHERE collection = $1 AND tenant = $2 AND name = $3
                   AND (expires_at IS NULL OR expires_at > $4)",
                values,
            )])
        }
        Op::CheckDocument {
            collection,
            tenant,
            name,
            expect,
        } => {
            let mut values = document_key(*collection, tenant, name);
            values.push(now.into());
            Ok(match expect {
                Expect::Any => Vec::new(),
                Expect::Absent => vec![one(
                    "SELECT 1 WHERE NOT EXISTS (
                         SELECT FROM documents WHERE collection = $1 AND tenant = $2 AND name = $3
                           AND (expires_at IS NULL OR expires_at > $4))",
                    values,
                )],
                Expect::Revision(expect) => {
                    values.push(rows::count(*expect).into());
                    vec![one(
                        "SELECT 1 FROM documents WHERE collection = $1 AND tenant = $2 AND name = $3
                           AND (expires_at IS NULL OR expires_at > $4) AND revision = $5",
                        values,
                    )]
                }
            })
        }
    }
}

/// A step whose precondition holds when it reaches its one row.
fn one(sql: &'static str, values: Vec<Value>) -> Step {
    Step {
        sql,
        values,
        reaches: Some(1),
    }
}

/// A step without a precondition.
pub(super) fn any(sql: &'static str, values: Vec<Value>) -> Step {
    Step {
        sql,
        values,
        reaches: None,
    }
}

fn create_credential(credential: &Credential) -> Result<Vec<Step>, StoreError> {
    if credential.revision != 1 {
        let what = name("credential", &credential.tenant, &credential.path);
        return Err(invalid(what, "a new one has revision 1"));
    }
    insert_credential(credential)
}

/// One that is not there, with the revision that it has.
pub(super) fn insert_credential(credential: &Credential) -> Result<Vec<Step>, StoreError> {
    let mut steps = vec![one(
        "INSERT INTO credentials
             (tenant, path, kind, target, owner, deleted, deleted_at, current, revision, body, sum)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (tenant, path) DO NOTHING",
        credential_row(credential)?,
    )];
    if !credential.tags.is_empty() {
        steps.push(put_tags(credential));
    }
    Ok(steps)
}

fn update_credential(credential: &Credential, expect: u64) -> Result<Vec<Step>, StoreError> {
    if credential.revision <= expect {
        let what = name("credential", &credential.tenant, &credential.path);
        return Err(invalid(what, "its revision does not grow"));
    }
    let mut values = credential_row(credential)?;
    values.push(rows::count(expect).into());
    let mut steps = vec![
        one(
            "UPDATE credentials
             SET kind = $3, target = $4, owner = $5, deleted = $6, deleted_at = $7, current = $8,
                 revision = $9, body = $10, sum = $11
             WHERE tenant = $1 AND path = $2 AND revision = $12",
            values,
        ),
        any(
            "DELETE FROM tags WHERE tenant = $1 AND path = $2 AND key <> ALL ($3)",
            vec![
                credential.tenant.as_str().into(),
                credential.path.as_str().into(),
                tag_keys(credential).into(),
            ],
        ),
    ];
    if !credential.tags.is_empty() {
        steps.push(put_tags(credential));
    }
    Ok(steps)
}

fn credential_row(credential: &Credential) -> Result<Vec<Value>, StoreError> {
    let Body { text, sum } = encode(credential)?;
    Ok(vec![
        credential.tenant.as_str().into(),
        credential.path.as_str().into(),
        credential.kind.profile().name.into(),
        rows::target(credential).into(),
        credential.owner.as_deref().map(str::as_bytes).into(),
        credential.deleted_at.is_some().into(),
        credential.deleted_at.into(),
        credential.current.map(i64::from).into(),
        rows::count(credential.revision).into(),
        text.into(),
        sum.into(),
    ])
}

/// Makes the tag rows agree with the credential; writes only those that don't.
fn put_tags(credential: &Credential) -> Step {
    let values = credential
        .tags
        .values()
        .map(|value| value.clone().into_bytes());
    any(
        "INSERT INTO tags (tenant, path, key, value, deleted)
         SELECT $1, $2, key, value, $5 FROM unnest($3::bytea[], $4::bytea[]) AS tag (key, value)
         ON CONFLICT (tenant, path, key) DO UPDATE
             SET value = excluded.value, deleted = excluded.deleted
             WHERE (tags.value, tags.deleted) IS DISTINCT FROM (excluded.value, excluded.deleted)",
        vec![
            credential.tenant.as_str().into(),
            credential.path.as_str().into(),
            tag_keys(credential).into(),
            values.collect::<Vec<_>>().into(),
            credential.deleted_at.is_some().into(),
        ],
    )
}

fn tag_keys(credential: &Credential) -> Vec<Vec<u8>> {
    let keys = credential.tags.keys();
    keys.map(|key| key.clone().into_bytes()).collect()
}

fn add_version(version: &Version) -> Result<Vec<Step>, StoreError> {
    if version.number == 0 {
        let what = version_name(&version.tenant, &version.path, version.number);
        return Err(invalid(what, "versions count from 1"));
    }
    // The sealed bytes have a column of their own; base64 in the body would be a third longer.
    let mut metadata = version.clone();
    let sealed = metadata.sealed.take();
    let sealed = sealed.as_ref().map(|sealed| sealed.as_bytes());
    let body = encode(&metadata)?;
    let (stage, at) = (version.stage, version.staged_at);
    Ok(vec![one(
        "INSERT INTO versions
             (tenant, path, number, stage, stage_mac, staged_at, moved_sum, fingerprint, body, sum,
              sealed, sealed_sum, old_at)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13
         FROM credentials c WHERE c.tenant = $1 AND c.path = $2
         ON CONFLICT (tenant, path, number) DO NOTHING",
        vec![
            version.tenant.as_str().into(),
            version.path.as_str().into(),
            version.number.into(),
            stage.as_str().into(),
            version.stage_mac.into(),
            at.into(),
            moved_sum(stage.as_str(), &version.stage_mac.0, at).into(),
            version.fingerprint.into(),
            body.text.into(),
            body.sum.into(),
            sealed.into(),
            sealed.map(sum).into(),
            sealed.and_then(|_| rows::old_at(stage, at)).into(),
        ],
    )])
}

/// Notes of a version when its value was destroyed.
pub(super) fn destroyed_at(version: &Version, at: Timestamp) -> Step {
    one(
        "UPDATE versions SET destroyed_at = $4 WHERE tenant = $1 AND path = $2 AND number = $3",
        vec![
            version.tenant.as_str().into(),
            version.path.as_str().into(),
            version.number.into(),
            at.into(),
        ],
    )
}

/// One that is not there, of a credential that may be gone.
pub(super) fn insert_rotation(rotation: &Rotation) -> Result<Step, StoreError> {
    Ok(one(
        "INSERT INTO rotations
             (tenant, id, path, batch, finished, for_a_person, step, due_at, revision, body, sum)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (tenant, id) DO NOTHING",
        rotation_row(rotation)?,
    ))
}

/// One that is not there, with the revision that it has.
pub(super) fn insert_document(document: &Document) -> Result<Step, StoreError> {
    let mut stored = document.clone();
    stored.revision = 0;
    let Body { text, sum } = encode(&stored)?;
    let mut values = document_key(document.collection, &document.tenant, &document.name);
    values.extend([
        rows::count(document.revision).into(),
        document.expires_at.into(),
        text.into(),
        sum.into(),
    ]);
    Ok(one(
        "INSERT INTO documents (collection, tenant, name, revision, expires_at, body, sum)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (collection, tenant, name) DO NOTHING",
        values,
    ))
}

fn create_rotation(rotation: &Rotation) -> Result<Vec<Step>, StoreError> {
    if rotation.revision != 1 {
        let what = name("rotation", &rotation.tenant, rotation.id);
        return Err(invalid(what, "a new one has revision 1"));
    }
    Ok(vec![one(
        "INSERT INTO rotations
             (tenant, id, path, batch, finished, for_a_person, step, due_at, revision, body, sum)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
         FROM credentials c WHERE c.tenant = $1 AND c.path = $3
           AND ($5 OR NOT EXISTS (SELECT FROM rotations o
                                  WHERE o.tenant = $1 AND o.path = $3 AND NOT o.finished))
         ON CONFLICT (tenant, id) DO NOTHING",
        rotation_row(rotation)?,
    )])
}

fn update_rotation(rotation: &Rotation, expect: u64) -> Result<Vec<Step>, StoreError> {
    if rotation.revision <= expect {
        let what = name("rotation", &rotation.tenant, rotation.id);
        return Err(invalid(what, "its revision does not grow"));
    }
    let mut values = rotation_row(rotation)?;
    values.push(rows::count(expect).into());
    Ok(vec![one(
        "UPDATE rotations
         SET batch = $4, finished = $5, for_a_person = $6, step = $7, due_at = $8, revision = $9,
             body = $10, sum = $11
         WHERE tenant = $1 AND id = $2 AND path = $3 AND revision = $12
           AND ($5 OR NOT EXISTS (SELECT FROM rotations o
                                  WHERE o.tenant = $1 AND o.path = $3 AND NOT o.finished
                                    AND o.id <> $2))",
        values,
    )])
}

fn rotation_row(rotation: &Rotation) -> Result<Vec<Value>, StoreError> {
    let Body { text, sum } = encode(rotation)?;
    Ok(vec![
        rotation.tenant.as_str().into(),
        rotation.id.into(),
        rotation.path.as_str().into(),
        rotation.batch.into(),
        rotation.progress.step.is_final().into(),
        rotation.waits_for_a_person().into(),
        rotation.progress.step.as_str().into(),
        rows::due_at(rotation).into(),
        rows::count(rotation.revision).into(),
        text.into(),
        sum.into(),
    ])
}

/// One that has expired does not exist, swept or not.
fn put_document(
    document: &Document,
    expect: Expect,
    now: Timestamp,
) -> Result<Vec<Step>, StoreError> {
    let mut stored = document.clone();
    stored.revision = 0;
    let Body { text, sum } = encode(&stored)?;
    let mut values = document_key(document.collection, &document.tenant, &document.name);
    values.extend([
        document.expires_at.into(),
        text.into(),
        sum.into(),
        now.into(),
    ]);
    Ok(vec![match expect {
        Expect::Any => one(
            "INSERT INTO documents AS d (collection, tenant, name, revision, expires_at, body, sum)
             VALUES ($1, $2, $3, 1, $4, $5, $6)
             ON CONFLICT (collection, tenant, name) DO UPDATE
                 SET revision = CASE WHEN d.expires_at <= $7 THEN 1 ELSE d.revision + 1 END,
                     expires_at = excluded.expires_at, body = excluded.body, sum = excluded.sum",
            values,
        ),
        Expect::Absent => one(
            "INSERT INTO documents AS d (collection, tenant, name, revision, expires_at, body, sum)
             VALUES ($1, $2, $3, 1, $4, $5, $6)
             ON CONFLICT (collection, tenant, name) DO UPDATE
                 SET revision = 1, expires_at = excluded.expires_at, body = excluded.body,
                     sum = excluded.sum
                 WHERE d.expires_at <= $7",
            values,
        ),
        Expect::Revision(expect) => {
            values.push(rows::count(expect).into());
            one(
                "UPDATE documents
                 SET revision = revision + 1, expires_at = $4, body = $5, sum = $6
                 WHERE collection = $1 AND tenant = $2 AND name = $3
                   AND (expires_at IS NULL OR expires_at > $7) AND revision = $8",
                values,
            )
        }
    }])
}

fn document_key(collection: Collection, tenant: &Tenant, key: &str) -> Vec<Value> {
    vec![
        collection.as_str().into(),
        tenant.as_str().into(),
        key.as_bytes().into(),
    ]
}

/// Why an operation reached no row; asked in the transaction in which it did not.
pub(super) async fn why(session: &Session, op: &Op, now: Timestamp) -> Result<StoreError, Failure> {
    let what = || subject(op);
    let missing = || StoreError::Missing { what: what() };
    let conflict = || StoreError::Conflict { what: what() };
    let exists = || StoreError::Exists { what: what() };
    let credential = async |tenant: &Tenant, path: &Path| -> Result<bool, Failure> {
        let sql = "SELECT 1 FROM credentials WHERE tenant = $1 AND path = $2";
        let values = [tenant.as_str().into(), path.as_str().into()];
        Ok(!session.query(sql, &values).await?.is_empty())
    };
    Ok(match op {
        Op::CreateCredential { .. } => exists(),
        Op::UpdateCredential {
            credential: Credential { tenant, path, .. },
            ..
        }
        | Op::RemoveCredential { tenant, path, .. } => match credential(tenant, path).await? {
            true => conflict(),
            false => missing(),
        },
        Op::AddVersion {
            version: Version { tenant, path, .. },
        } => match credential(tenant, path).await? {
            true => exists(),
            false => StoreError::Missing {
                what: name("credential", tenant, path),
            },
        },
        Op::SetStage {
            tenant,
            path,
            number,
            ..
        }
        | Op::DestroyVersion {
            tenant,
            path,
            number,
            ..
        } => {
            let sql = "SELECT 1 FROM versions WHERE tenant = $1 AND path = $2 AND number = $3";
            let values = [
                tenant.as_str().into(),
                path.as_str().into(),
                (*number).into(),
            ];
            match session.query(sql, &values).await?.is_empty() {
                true => missing(),
                false => conflict(),
            }
        }
        Op::CreateRotation { rotation } => {
            let Rotation { tenant, path, .. } = rotation;
            if !credential(tenant, path).await? {
                let what = name("credential", tenant, path);
                return Ok(StoreError::Missing { what });
            }
            match unfinished(session, rotation).await? {
                true => second(rotation),
                false => exists(),
            }
        }
        Op::UpdateRotation { rotation, expect } => {
            let sql = "SELECT revision, path FROM rotations WHERE tenant = $1 AND id = $2";
            let values = [rotation.tenant.as_str().into(), rotation.id.into()];
            let found = session.query(sql, &values).await?;
            let Some(row) = found.first() else {
                return Ok(missing());
            };
            if column::<i64>(row, 0)? != rows::count(*expect) {
                return Ok(conflict());
            }
            match column::<&str>(row, 1)? == rotation.path.as_str() {
                true => second(rotation),
                false => invalid(what(), "it belongs to another credential"),
            }
        }
        Op::PutDocument {
            document:
                Document {
                    collection,
                    tenant,
                    name,
                    ..
                },
            expect,
        }
        | Op::CheckDocument {
            collection,
            tenant,
            name,
            expect,
        } => {
            let mut values = document_key(*collection, tenant, name);
            values.push(now.into());
            let sql = "SELECT 1 FROM documents WHERE collection = $1 AND tenant = $2 AND name = $3
                         AND (expires_at IS NULL OR expires_at > $4)";
            let is_there = !session.query(sql, &values).await?.is_empty();
            match (expect, is_there) {
                (Expect::Absent, _) => exists(),
                (_, false) => missing(),
                (_, true) => conflict(),
            }
        }
        Op::RemoveDocument { .. } => missing(),
    })
}

/// Whether another rotation of the credential is unfinished.
async fn unfinished(session: &Session, rotation: &Rotation) -> Result<bool, Failure> {
    let sql =
        "SELECT 1 FROM rotations WHERE tenant = $1 AND path = $2 AND NOT finished AND id <> $3";
    let values = [
        rotation.tenant.as_str().into(),
        rotation.path.as_str().into(),
        rotation.id.into(),
    ];
    let other = !session.query(sql, &values).await?.is_empty();
    Ok(other && !rotation.progress.step.is_final())
}

fn second(rotation: &Rotation) -> StoreError {
    StoreError::Exists {
        what: name(
            "an unfinished rotation of",
            &rotation.tenant,
            &rotation.path,
        ),
    }
}

fn invalid(what: String, reason: &str) -> StoreError {
    let reason = reason.to_owned();
    StoreError::Invalid { what, reason }
}
