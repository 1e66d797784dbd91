//! How an object becomes a row and a row an object.

use pentad_model::{
    Credential, Id, Rotation, Sealed, Stage, Timestamp, Version, secret::Fingerprint,
};
use rusqlite::{CachedStatement, Connection, Row};
use serde::{Serialize, de::DeserializeOwned};

use super::errors::Failure;
use crate::{Document, StoreError, read::MAX_PAGE};

/// An object's JSON text and the CRC-32 that is stored beside it.
#[derive(Default)]
pub(super) struct Body {
    pub(super) text: String,
    pub(super) sum: u32,
}

/// The row form of an object.
pub(super) fn encode<T: Serialize>(object: &T) -> Result<Body, StoreError> {
    let text = serde_json::to_string(object).map_err(|error| StoreError::Invalid {
        what: "an object".to_owned(),
        reason: error.to_string(),
    })?;
    let sum = crc32fast::hash(text.as_bytes());
    Ok(Body { text, sum })
}

/// The object of a row whose first two columns are `body` and `sum`.
pub(super) fn decode<T: DeserializeOwned>(
    row: &Row<'_>,
    what: impl FnOnce() -> String,
) -> Result<T, Failure> {
    let damaged =
        |reason: String| move |what: String| Failure::Store(StoreError::Corrupt { what, reason });
    let failed = match (row.get_ref(0), row.get::<_, u32>(1)) {
        (Ok(body), Ok(sum)) => match body.as_bytes() {
            Ok(bytes) if crc32fast::hash(bytes) == sum => match serde_json::from_slice(bytes) {
                Ok(object) => return Ok(object),
                Err(error) => damaged(error.to_string()),
            },
            Ok(_) => damaged("its checksum does not match".to_owned()),
            Err(error) => damaged(error.to_string()),
        },
        (Err(error), _) | (_, Err(error)) => return Err(error.into()),
    };
    Err(failed(what()))
}

/// A row's text as it was written; its first two columns are `body` and `sum`.
pub(super) fn text(row: &Row<'_>, what: impl FnOnce() -> String) -> Result<String, Failure> {
    let (text, sum): (String, u32) = (row.get(0)?, row.get(1)?);
    match crc32fast::hash(text.as_bytes()) == sum {
        true => Ok(text),
        false => Err(corrupt(what(), "its checksum does not match")),
    }
}

/// A version's sealed value, from its columns `sealed` and `sealed_sum`, the third and fourth.
pub(super) fn sealed(
    row: &Row<'_>,
    what: impl FnOnce() -> String,
) -> Result<Option<Vec<u8>>, Failure> {
    let (sealed, sum): (Option<Vec<u8>>, Option<u32>) = (row.get(2)?, row.get(3)?);
    match sealed.as_deref().map(crc32fast::hash) == sum {
        true => Ok(sealed),
        false => {
            let reason = "the checksum of its sealed value does not match";
            Err(corrupt(what(), reason))
        }
    }
}

fn corrupt(what: String, reason: &str) -> Failure {
    let reason = reason.to_owned();
    StoreError::Corrupt { what, reason }.into()
}

/// The sum over what moves of a version.
pub(super) fn moved_sum(stage: &str, mac: &[u8], at: Timestamp) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(stage.as_bytes());
    hash.update(&[0]);
    hash.update(mac);
    hash.update(&at.0.to_be_bytes());
    hash.finalize()
}

/// A version from the columns `body`, `sum`, `sealed`, `sealed_sum`, `stage`, `stage_mac`, `staged_at`,
/// `moved_sum`. What its last move wrote in the latter stands for what the body says.
pub(super) fn version(row: &Row<'_>, what: impl Fn() -> String) -> Result<Version, Failure> {
    let mut version: Version = decode(row, &what)?;
    version.sealed = sealed(row, &what)?.map(Sealed::from_bytes);
    let Some(moved): Option<u32> = row.get(7)? else {
        return Ok(version);
    };
    let (stage, mac, at): (String, [u8; 32], i64) = (row.get(4)?, row.get(5)?, row.get(6)?);
    let known = Stage::ALL.iter().find(|known| known.as_str() == stage);
    match known.filter(|_| moved_sum(&stage, &mac, Timestamp(at)) == moved) {
        Some(stage) => version.stage = *stage,
        None => return Err(corrupt(what(), "the checksum of its stage does not match")),
    }
    version.stage_mac = Fingerprint(mac);
    version.staged_at = Timestamp(at);
    Ok(version)
}

/// The column of a version that says since when retention may destroy it, as long as it has its value;
/// `None` for one that it may not.
pub(super) fn old_at(stage: Stage, at: Timestamp) -> Option<i64> {
    matches!(stage, Stage::Retired | Stage::Revoked).then_some(at.0)
}

/// The same, of a whole version.
pub(super) fn old_since(version: &Version) -> Option<i64> {
    let old_at = old_at(version.stage, version.staged_at);
    old_at.filter(|_| version.sealed.is_some())
}

/// The columns of a credential that are derived from its body.
pub(super) fn target(credential: &Credential) -> Option<&str> {
    credential
        .binding
        .as_ref()
        .map(|binding| binding.target.as_str())
}

/// When a rotation may be taken up: when nobody drives it and it has nothing to wait for.
pub(super) fn due_at(rotation: &Rotation) -> Timestamp {
    rotation.resume_at.max(rotation.lease.until)
}

/// Whether a document is gone at `now`.
pub(super) fn expired(document: &Document, now: Timestamp) -> bool {
    document.expires_at.is_some_and(|until| until <= now)
}

/// The column form of an id: its bytes sort as it does.
pub(super) fn id(id: Id) -> [u8; 16] {
    id.to_bytes()
}

/// The column form of a count. SQLite has signed integers only; counts are compared for equality
/// alone, so the bits may be taken as they are.
pub(super) fn count(value: u64) -> i64 {
    value.cast_signed()
}

/// The column form of a page's limit.
pub(super) fn limit(asked: usize) -> i64 {
    i64::try_from(asked.min(MAX_PAGE)).unwrap_or(0)
}

/// A prepared statement, kept for the next time.
pub(super) fn statement<'c>(
    connection: &'c Connection,
    sql: &str,
) -> rusqlite::Result<CachedStatement<'c>> {
    #[cfg(test)]
    super::tests::plans::note(sql);
    connection.prepare_cached(sql)
}
