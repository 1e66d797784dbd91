//! How an object becomes a row and a row an object.

use pentad_model::{Credential, Id, Rotation, Sealed, Stage, Timestamp, Version};
use rusqlite::{CachedStatement, Connection, Row};
use serde::{Serialize, de::DeserializeOwned};

use super::errors::Failure;
use crate::{Document, StoreError, read::MAX_PAGE};

/// An object's JSON text and the CRC-32 that is stored beside it.
pub(super) struct Body {
    pub(super) text: String,
    pub(super) sum: u32,
}

/// The row form of an object.
pub(super) fn encode<T: Serialize>(object: &T) -> Result<Body, Failure> {
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

/// A version from the columns `body`, `sum`, `sealed`, `sealed_sum`.
pub(super) fn decode_version(row: &Row<'_>, what: impl Fn() -> String) -> Result<Version, Failure> {
    let mut version: Version = decode(row, &what)?;
    let sealed: Option<Vec<u8>> = row.get(2)?;
    let sum: Option<u32> = row.get(3)?;
    if sealed.as_deref().map(crc32fast::hash) != sum {
        return Err(StoreError::Corrupt {
            what: what(),
            reason: "the checksum of its sealed value does not match".to_owned(),
        }
        .into());
    }
    version.sealed = sealed.map(Sealed::from_bytes);
    Ok(version)
}

/// The column of a version that says since when retention may destroy it; `None` for one that it may
/// not, or that has no value any more.
pub(super) fn old_at(version: &Version) -> Option<i64> {
    let old = matches!(version.stage, Stage::Retired | Stage::Revoked);
    (old && version.sealed.is_some()).then_some(version.staged_at.0)
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
