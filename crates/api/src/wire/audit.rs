//! The audit log.

use pentad_agents::contract::monitoring as mon;
use pentad_model::{Id, Path, record};
use serde::Serialize;
use utoipa::ToSchema;

use super::Time;

/// One record: who did what to which credential, and how it ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct Record {
    /// Its position in the log.
    pub index: u64,
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: Id,
    /// When.
    pub at: Time,
    /// The request that caused it.
    #[schema(value_type = String, format = "uuid")]
    pub correlation: Id,
    /// Who.
    pub principal: String,
    /// From where.
    pub origin: String,
    /// What: `credential.read`, `rotation.step`, `auth.login`, …
    pub action: String,
    /// `done`, `denied` or `failed`.
    #[schema(value_type = String)]
    pub outcome: record::Outcome,
    /// On which credential.
    #[schema(value_type = Option<String>)]
    pub path: Option<Path>,
    /// On which version.
    pub version: Option<u32>,
    /// What else.
    pub detail: String,
    /// HMAC of the value under the audit key, in hexadecimal: equal for equal values.
    pub value_mac: Option<String>,
}

impl From<(u64, record::Record)> for Record {
    fn from((index, from): (u64, record::Record)) -> Self {
        Self {
            index,
            id: from.id,
            at: Time(from.at),
            correlation: from.correlation,
            principal: from.principal,
            origin: from.origin,
            action: from.action,
            outcome: from.outcome,
            path: from.path,
            version: from.version,
            detail: from.detail,
            value_mac: from.value_mac.map(|mac| mac.to_string()),
        }
    }
}

/// A signed checkpoint (C2SP tlog-checkpoint).
#[derive(Debug, Serialize, ToSchema)]
pub struct Checkpoint {
    /// The signed note; keep it elsewhere.
    pub note: String,
    /// The key that verifies it, in C2SP form.
    pub key: String,
    /// The log's size.
    pub size: u64,
}

impl From<mon::SignedCheckpoint> for Checkpoint {
    fn from(from: mon::SignedCheckpoint) -> Self {
        Self {
            note: from.note,
            key: from.key,
            size: from.size,
        }
    }
}

/// A Merkle proof (RFC 9162).
#[derive(Debug, Serialize, ToSchema)]
pub struct Proof {
    /// SHA-256 hashes in hexadecimal, in order.
    pub hashes: Vec<String>,
    /// The leaf: the record's text exactly as it was written, with an inclusion proof.
    pub leaf: Option<String>,
}

impl From<mon::Proof> for Proof {
    fn from(from: mon::Proof) -> Self {
        Self {
            hashes: from.hashes.iter().map(hex::encode).collect(),
            leaf: from.leaf,
        }
    }
}
