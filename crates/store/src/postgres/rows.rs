//! How an object becomes a row and a row an object.

use bytes::BytesMut;
use pentad_model::{
    Credential, Id, Rotation, Sealed, Stage, Timestamp, Version, secret::Fingerprint,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio_postgres::{
    Row,
    types::{FromSql, IsNull, ToSql, Type, to_sql_checked},
};

use super::errors::Failure;
use crate::{Document, StoreError, Waiting, read::MAX_PAGE, subject::name};

/// One parameter of a statement, owned, and never shown.
#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    Bytes(Vec<u8>),
    Int(i64),
    Bool(bool),
    MaybeText(Option<String>),
    MaybeBytes(Option<Vec<u8>>),
    MaybeInt(Option<i64>),
    Texts(Vec<String>),
    Bytess(Vec<Vec<u8>>),
    Ints(Vec<i64>),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Text(it) => it.to_sql_checked(ty, out),
            Self::Bytes(it) => it.to_sql_checked(ty, out),
            Self::Int(it) => it.to_sql_checked(ty, out),
            Self::Bool(it) => it.to_sql_checked(ty, out),
            Self::MaybeText(it) => it.to_sql_checked(ty, out),
            Self::MaybeBytes(it) => it.to_sql_checked(ty, out),
            Self::MaybeInt(it) => it.to_sql_checked(ty, out),
            Self::Texts(it) => it.to_sql_checked(ty, out),
            Self::Bytess(it) => it.to_sql_checked(ty, out),
            Self::Ints(it) => it.to_sql_checked(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

macro_rules! values {
    ($($from:ty => $variant:ident: $how:expr),+ $(,)?) => {
        $(impl From<$from> for Value {
            fn from(it: $from) -> Self {
                let how: fn($from) -> _ = $how;
                Self::$variant(how(it))
            }
        })+
    };
}

values! {
    &str => Text: str::to_owned,
    String => Text: |it| it,
    Option<&str> => MaybeText: |it| it.map(str::to_owned),
    i64 => Int: |it| it,
    u32 => Int: i64::from,
    Timestamp => Int: |it| it.0,
    bool => Bool: |it| it,
    Option<i64> => MaybeInt: |it| it,
    Option<Timestamp> => MaybeInt: |it| it.map(|it| it.0),
    &[u8] => Bytes: <[u8]>::to_vec,
    Id => Bytes: |it| it.to_bytes().to_vec(),
    Fingerprint => Bytes: |it| it.0.to_vec(),
    Option<Id> => MaybeBytes: |it| it.map(|it| it.to_bytes().to_vec()),
    Option<&[u8]> => MaybeBytes: |it| it.map(<[u8]>::to_vec),
    Vec<String> => Texts: |it| it,
    Vec<Vec<u8>> => Bytess: |it| it,
    Vec<i64> => Ints: |it| it,
}

/// An object's JSON text and the CRC-32 that is stored beside it.
pub(super) struct Body {
    pub(super) text: String,
    pub(super) sum: i64,
}

/// The row form of an object.
pub(super) fn encode<T: Serialize>(object: &T) -> Result<Body, StoreError> {
    let text = serde_json::to_string(object).map_err(|error| StoreError::Invalid {
        what: "an object".to_owned(),
        reason: error.to_string(),
    })?;
    let sum = sum(text.as_bytes());
    Ok(Body { text, sum })
}

pub(super) fn sum(bytes: &[u8]) -> i64 {
    i64::from(crc32fast::hash(bytes))
}

/// A column of a row; another type than expected is damage to the schema.
pub(super) fn column<'r, T: FromSql<'r>>(row: &'r Row, place: usize) -> Result<T, Failure> {
    Ok(row.try_get(place)?)
}

/// The object of a row whose first two columns are `body` and `sum`.
pub(super) fn decode<T: DeserializeOwned>(
    row: &Row,
    what: impl Fn() -> String,
) -> Result<T, Failure> {
    decode_at(row, 0, what)
}

/// A row's text as it was written; its first two columns are `body` and `sum`.
pub(super) fn text(row: &Row, what: impl FnOnce() -> String) -> Result<String, Failure> {
    text_at(row, 0, what).map(str::to_owned)
}

fn text_at(row: &Row, from: usize, what: impl FnOnce() -> String) -> Result<&str, Failure> {
    let (body, stored): (&str, i64) = (column(row, from)?, column(row, from + 1)?);
    if sum(body.as_bytes()) == stored {
        return Ok(body);
    }
    Err(StoreError::Corrupt {
        what: what(),
        reason: "its checksum does not match".to_owned(),
    }
    .into())
}

/// As [`decode`], of the columns that begin at `from`.
pub(super) fn decode_at<T: DeserializeOwned>(
    row: &Row,
    from: usize,
    what: impl Fn() -> String,
) -> Result<T, Failure> {
    let body = text_at(row, from, &what)?;
    serde_json::from_str(body).map_err(|error| {
        let (what, reason) = (what(), error.to_string());
        StoreError::Corrupt { what, reason }.into()
    })
}

/// The columns that [`version`] reads, in its order.
pub(super) const VERSION: &str =
    "body, sum, sealed, sealed_sum, stage, stage_mac, staged_at, moved_sum";

/// The sum over what moves of a version.
pub(super) fn moved_sum(stage: &str, mac: &[u8], at: Timestamp) -> i64 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(stage.as_bytes());
    hash.update(&[0]);
    hash.update(mac);
    hash.update(&at.0.to_be_bytes());
    i64::from(hash.finalize())
}

/// A version from the columns [`VERSION`], which begin at `from`.
pub(super) fn version(
    row: &Row,
    from: usize,
    what: impl Fn() -> String,
) -> Result<Version, Failure> {
    let corrupt = |reason: &str| {
        let reason = reason.to_owned();
        Failure::Store(StoreError::Corrupt {
            what: what(),
            reason,
        })
    };
    let (body, stored): (&str, i64) = (column(row, from)?, column(row, from + 1)?);
    if sum(body.as_bytes()) != stored {
        return Err(corrupt("its checksum does not match"));
    }
    let mut version: Version =
        serde_json::from_str(body).map_err(|error| corrupt(&error.to_string()))?;
    let sealed: Option<&[u8]> = column(row, from + 2)?;
    if sealed.map(sum) != column(row, from + 3)? {
        return Err(corrupt("the checksum of its sealed value does not match"));
    }
    let (stage, mac): (&str, &[u8]) = (column(row, from + 4)?, column(row, from + 5)?);
    let at = Timestamp(column(row, from + 6)?);
    let stored: i64 = column(row, from + 7)?;
    let known = Stage::ALL.iter().find(|known| known.as_str() == stage);
    match (known, mac.try_into(), moved_sum(stage, mac, at) == stored) {
        (Some(stage), Ok(mac), true) => {
            version.stage = *stage;
            version.stage_mac = Fingerprint(mac);
            version.staged_at = at;
        }
        _ => return Err(corrupt("the checksum of its stage does not match")),
    }
    version.sealed = sealed.map(|sealed| Sealed::from_bytes(sealed.to_vec()));
    Ok(version)
}

/// The columns that [`document`] reads, in its order.
pub(super) const DOCUMENT: &str = "body, sum, name, revision, expires_at";

/// A document where it was found. Its place, revision and end are those of its row, whatever the
/// object says of itself: so the seal of a row that somebody copied elsewhere is not good there.
pub(super) fn document(
    row: &Row,
    collection: crate::Collection,
    tenant: &pentad_model::Tenant,
) -> Result<Document, Failure> {
    let name_bytes: &[u8] = column(row, 2)?;
    let what = || {
        name(
            collection.as_str(),
            tenant,
            String::from_utf8_lossy(name_bytes),
        )
    };
    let object: Document = decode(row, what)?;
    let expires_at: Option<i64> = column(row, 4)?;
    Ok(Document {
        collection,
        tenant: tenant.clone(),
        name: String::from_utf8(name_bytes.to_vec()).map_err(|error| StoreError::Corrupt {
            what: what(),
            reason: error.to_string(),
        })?,
        revision: column::<i64>(row, 3)?.cast_unsigned(),
        expires_at: expires_at.map(Timestamp),
        ..object
    })
}

/// The column of a version that says since when retention may destroy it; `None` for one that it
/// may not.
pub(super) fn old_at(stage: Stage, at: Timestamp) -> Option<i64> {
    matches!(stage, Stage::Retired | Stage::Revoked).then_some(at.0)
}

/// The column of a credential that is derived from its binding.
pub(super) fn target(credential: &Credential) -> Option<&str> {
    let binding = credential.binding.as_ref();
    binding.map(|binding| binding.target.as_str())
}

/// When a rotation may be taken up: when nobody drives it and it has nothing to wait for.
pub(super) fn due_at(rotation: &Rotation) -> Timestamp {
    rotation.resume_at.max(rotation.lease.until)
}

/// The column form of a count: compared for equality alone, so the bits may be taken as they are.
pub(super) fn count(value: u64) -> i64 {
    value.cast_signed()
}

/// The column form of a page's limit.
pub(super) fn limit(asked: usize) -> i64 {
    i64::try_from(asked.min(MAX_PAGE)).unwrap_or(0)
}

/// A record of the outbox; the row's columns are `body`, `sum`, `position`, `id`.
pub(super) fn waiting(row: &Row) -> Result<Waiting, Failure> {
    let (position, id): (i64, &[u8]) = (column(row, 2)?, column(row, 3)?);
    let what = || format!("audit record {position} in the outbox");
    let id = id.try_into().map_err(|_| StoreError::Corrupt {
        what: what(),
        reason: "its id has not 16 bytes".to_owned(),
    })?;
    let (position, id) = (
        position.cast_unsigned(),
        Id::from_u128(u128::from_be_bytes(id)),
    );
    match text(row, what) {
        Ok(body) => Ok(Waiting { position, id, body }),
        Err(Failure::Store(error @ StoreError::Corrupt { .. })) => {
            tracing::error!(%error, "the log will say so in its place");
            Ok(Waiting::damaged(position, id))
        }
        Err(failure) => Err(failure),
    }
}
