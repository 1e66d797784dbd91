//! Credentials, their versions and values.

use std::collections::BTreeMap;

use pentad_agents::operations;
use pentad_model::{Kind, Name, Path, Stage, credential, kind::Generator, rotation::Strategy};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Assessment, Base64Value, Shown, ShownBase64, TextValue, Time};
use crate::problem::Problem;

/// A credential's metadata; never its value.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Credential {
    /// Where it is.
    #[schema(value_type = String, example = "prod/orders/db")]
    pub path: Path,
    /// What it is; GET /v1/kinds lists the kinds.
    #[schema(value_type = String, example = "database")]
    pub kind: Kind,
    /// For people.
    pub description: String,
    /// Who issued it.
    pub provider: Option<String>,
    /// Free labels.
    pub tags: BTreeMap<String, String>,
    /// A person or team.
    pub owner: Option<String>,
    /// Credentials that are rotated before this one.
    #[schema(value_type = Vec<String>)]
    pub depends_on: Vec<Path>,
    /// The credential policy that judges its values; the built-in one if null.
    #[schema(value_type = Option<String>)]
    pub policy: Option<Name>,
    /// How its new values are made; by its kind if null.
    #[schema(value_type = Option<Object>)]
    pub generator: Option<Generator>,
    /// Where and how it is rotated.
    pub binding: Option<Binding>,
    /// When its value stops working by itself.
    pub expires_at: Option<Time>,
    /// The number of its current version, if it has one.
    pub current: Option<u32>,
    /// The highest version number ever given.
    pub latest: u32,
    /// Whether the target may hold another value just now.
    pub in_doubt: bool,
    /// Counts changes; the ETag.
    pub revision: u64,
    /// When it was made.
    pub created_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
    /// Soft-deleted since.
    pub deleted_at: Option<Time>,
}

impl From<credential::Credential> for Credential {
    fn from(from: credential::Credential) -> Self {
        Self {
            path: from.path,
            kind: from.kind,
            description: from.description,
            provider: from.provider,
            tags: from.tags,
            owner: from.owner,
            depends_on: from.depends_on,
            policy: from.policy,
            generator: from.generator,
            binding: from.binding.map(Into::into),
            expires_at: from.expires_at.map(Time),
            current: from.current,
            latest: from.latest,
            in_doubt: from.in_doubt,
            revision: from.revision,
            created_at: Time(from.created_at),
            updated_at: Time(from.updated_at),
            deleted_at: from.deleted_at.map(Time),
        }
    }
}

/// Ties a credential to an account on a target.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The target's name.
    #[schema(value_type = String)]
    pub target: Name,
    /// The account at the target.
    pub account: String,
    /// The second account, for alternating users.
    #[serde(default)]
    pub alternate: Option<String>,
    /// `in_place`, `overlap` or `alternating`; the connector's first choice if not given.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub strategy: Option<Strategy>,
    /// Whether Pentad owns the account: somebody else's change may be overwritten.
    #[serde(default)]
    pub owned: bool,
    /// How long the previous version stays valid at the target after promotion, in seconds.
    #[serde(default)]
    pub grace_seconds: u32,
    /// Files that receive each new value, written atomically.
    #[serde(default)]
    pub deliver_to: Vec<String>,
}

impl From<credential::Binding> for Binding {
    fn from(from: credential::Binding) -> Self {
        Self {
            target: from.target,
            account: from.account,
            alternate: from.alternate,
            strategy: from.strategy,
            owned: from.owned,
            grace_seconds: from.grace_seconds,
            deliver_to: from.deliver_to,
        }
    }
}

impl From<Binding> for credential::Binding {
    fn from(from: Binding) -> Self {
        Self {
            target: from.target,
            account: from.account,
            alternate: from.alternate,
            strategy: from.strategy,
            owned: from.owned,
            grace_seconds: from.grace_seconds,
            deliver_to: from.deliver_to,
        }
    }
}

/// What to store. A field that is not given leaves what is stored as it is. At most one of `value`,
/// `value_base64` and `generate`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// Its kind, for a new credential (`secret` if not given); it never changes afterwards.
    #[schema(value_type = Option<String>, example = "password")]
    pub kind: Option<Kind>,
    /// The value, as text.
    #[schema(value_type = Option<String>, format = Password)]
    pub value: Option<TextValue>,
    /// The value, as standard base64.
    #[schema(value_type = Option<String>, format = Byte)]
    pub value_base64: Option<Base64Value>,
    /// Let Pentad make the value, by the credential's generator.
    #[serde(default)]
    pub generate: bool,
    /// For people.
    pub description: Option<String>,
    /// Who issued it.
    pub provider: Option<String>,
    /// Replaces all tags.
    pub tags: Option<BTreeMap<String, String>>,
    /// A person or team.
    pub owner: Option<String>,
    /// Credentials to rotate before this one.
    #[schema(value_type = Option<Vec<String>>)]
    pub depends_on: Option<Vec<Path>>,
    /// The credential policy.
    #[schema(value_type = Option<String>)]
    pub policy: Option<Name>,
    /// How its new values are made, such as
    /// `{"type": "password", "length": 32, "alphabet": "safe"}`.
    #[schema(value_type = Option<Object>)]
    pub generator: Option<Generator>,
    /// Where and how it is rotated.
    pub binding: Option<Binding>,
    /// When it stops working by itself.
    pub expires_at: Option<Time>,
    /// Store a value that policy would refuse; the findings are on record.
    #[serde(default)]
    pub accept_weak: bool,
}

impl Put {
    /// As the operations take it.
    pub(crate) fn into_operation(self, expect: Option<u64>) -> Result<operations::Put, Problem> {
        let value = match (self.value, self.value_base64, self.generate) {
            (None, None, false) => None,
            (Some(TextValue(value)), None, false) | (None, Some(Base64Value(value)), false) => {
                Some(operations::Value::Given(value))
            }
            (None, None, true) => Some(operations::Value::Generated),
            _ => {
                return Err(Problem::invalid(
                    "give at most one of `value`, `value_base64` and `generate`",
                ));
            }
        };
        Ok(operations::Put {
            kind: self.kind,
            kind_if_new: None,
            value,
            description: self.description,
            provider: self.provider,
            tags: self.tags,
            owner: self.owner,
            depends_on: self.depends_on,
            policy: self.policy,
            generator: self.generator,
            binding: self.binding.map(Into::into),
            expires_at: self.expires_at.map(|Time(moment)| moment),
            expect,
            accept_weak: self.accept_weak,
        })
    }
}

/// What was stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stored {
    /// The credential as it is now.
    pub credential: Credential,
    /// The judgement on the value, if one was stored.
    pub assessment: Option<Assessment>,
}

impl From<operations::Stored> for Stored {
    fn from(from: operations::Stored) -> Self {
        Self {
            credential: from.credential.into(),
            assessment: from.assessment.map(Into::into),
        }
    }
}

/// A value that was read; `value` if it is UTF-8, else `value_base64`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reading {
    /// Of which credential.
    #[schema(value_type = String)]
    pub path: Path,
    /// Which version.
    pub version: u32,
    /// What it is.
    #[schema(value_type = String)]
    pub kind: Kind,
    /// Where in its life the version is: `current`, `previous`, `retired` or `revoked`.
    #[schema(value_type = String)]
    pub stage: Stage,
    /// The account at the target that it belongs to.
    pub account: Option<String>,
    /// The value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Shown>,
    /// The value, as standard base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<ShownBase64>,
    /// Whether the target may hold another value just now: if it refuses this one, read again.
    pub in_doubt: bool,
    /// When the version was made.
    pub created_at: Time,
    /// When the value stops working by itself.
    pub expires_at: Option<Time>,
}

impl From<operations::Reading> for Reading {
    fn from(from: operations::Reading) -> Self {
        let operations::Reading { path, of, value } = from;
        let (value, value_base64) = match value.expose_str().is_some() {
            true => (Some(Shown(value)), None),
            false => (None, Some(ShownBase64(value))),
        };
        Self {
            path,
            version: of.number,
            kind: of.kind,
            stage: of.stage,
            account: of.account.as_deref().map(str::to_owned),
            value,
            value_base64,
            in_doubt: of.in_doubt,
            created_at: Time(of.created_at),
            expires_at: of.expires_at.map(Time),
        }
    }
}

/// A version, without its value.
#[derive(Debug, Serialize, ToSchema)]
pub struct Version {
    /// 1, 2, 3, …
    pub number: u32,
    /// Where in its life it is.
    #[schema(value_type = String)]
    pub stage: Stage,
    /// The account at the target that it belongs to.
    pub account: Option<String>,
    /// How it came to be: `{"type": "put" | "generated" | "adopted"}` or
    /// `{"type": "rotation", "id": …}`.
    #[schema(value_type = Object)]
    pub origin: credential::Origin,
    /// The version that it replaced.
    pub derived_from: Option<u32>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Time,
    /// When it last changed its stage.
    pub staged_at: Time,
}

impl From<credential::Version> for Version {
    fn from(from: credential::Version) -> Self {
        Self {
            number: from.number,
            stage: from.stage,
            account: from.account,
            origin: from.origin,
            derived_from: from.derived_from,
            created_by: from.created_by,
            created_at: Time(from.created_at),
            staged_at: Time(from.staged_at),
        }
    }
}
