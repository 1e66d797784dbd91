//! One entry of the audit log.

use serde::{Deserialize, Serialize};

use crate::{Context, Id, Path, Tenant, Timestamp, secret::Fingerprint};

/// Who did what to which credential, and how it ended. Values never appear, keyed digests do.
///
/// A leaf of the audit tree is the JSON text of one record, exactly as it was written; fields are
/// only ever added.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Makes appending idempotent: a record is in the log once, however often it was handed over.
    pub id: Id,
    /// When.
    pub at: Timestamp,
    /// The request that caused it.
    pub correlation: Id,
    /// Whose credentials.
    pub tenant: Tenant,
    /// Who, in text form (`user:ann`, `token:ci`, `agent:rotation`).
    pub principal: String,
    /// From where.
    pub origin: String,
    /// What: `credential.read`, `rotation.step`, `auth.login`, …
    pub action: String,
    /// How it ended.
    pub outcome: Outcome,
    /// On which credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
    /// On which version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// What else, for example a step, a target, a reason. Never a value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// HMAC of the value under the audit key, to prove later which value was meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_mac: Option<Fingerprint>,
}

/// How an act ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// Policy or rights refused it.
    Denied,
    /// It was tried and failed.
    Failed,
}

impl Record {
    /// A record of `action` by the caller of `context`.
    pub fn new(id: Id, at: Timestamp, context: &Context, action: &str, outcome: Outcome) -> Self {
        Self {
            id,
            at,
            correlation: context.correlation,
            tenant: context.tenant.clone(),
            principal: context.principal.to_string(),
            origin: context.origin.clone(),
            action: action.to_owned(),
            outcome,
            path: None,
            version: None,
            detail: String::new(),
            value_mac: None,
        }
    }

    /// Names the credential.
    #[must_use]
    pub fn on(mut self, path: &Path, version: Option<u32>) -> Self {
        self.path = Some(path.clone());
        self.version = version;
        self
    }

    /// Adds what else there is to say.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}
