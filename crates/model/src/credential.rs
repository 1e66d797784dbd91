//! A credential, its immutable versions, and the stages these pass through.

use std::{collections::BTreeMap, ops::Not};

use serde::{Deserialize, Serialize};

use crate::{
    Id, Kind, Name, Path, Sealed, Tenant, Timestamp, kind::Generator, rotation::Strategy,
    secret::Fingerprint,
};

/// A credential's metadata. Its values are [`Version`]s.
///
/// What is empty is not written: most is, and a credential is written with each of its values.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Credential {
    /// Whose it is.
    pub tenant: Tenant,
    /// Where it is.
    pub path: Path,
    /// What it is.
    pub kind: Kind,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who issued it, for example `github` or `postgresql`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// A person or team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Credentials that must be rotated before this one in a batch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Path>,
    /// The credential policy that judges its values; the built-in one if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Name>,
    /// How its new values are made; by its kind if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<Generator>,
    /// Where and how it is rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// When its value stops working by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The number of its current version, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<u32>,
    /// The highest version number ever given.
    pub latest: u32,
    /// Whether the target may hold another value just now (a rotation's effect is in flight or its
    /// outcome unknown, or a value was put that nobody has shown to work there). Readers are told.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub in_doubt: bool,
    /// Counts changes; the ETag.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Soft-deleted since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
}

/// Ties a credential to an account on a target.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The target's name.
    pub target: Name,
    /// The account at the target.
    pub account: String,
    /// The second account, for alternating users.
    #[serde(default)]
    pub alternate: Option<String>,
    /// How it is rotated; the connector's first choice if not given.
    #[serde(default)]
    pub strategy: Option<Strategy>,
    /// Whether Pentad owns the account: somebody else's change may be overwritten.
    #[serde(default)]
    pub owned: bool,
    /// How long the previous version stays valid at the target after promotion, in seconds
    /// (overlap and alternating users).
    #[serde(default)]
    pub grace_seconds: u32,
    /// Files that receive each new value, written atomically.
    #[serde(default)]
    pub deliver_to: Vec<String>,
}

impl Binding {
    /// Whether this is the account, or the second one.
    pub fn names(&self, account: &str) -> bool {
        self.account == account || self.alternate.as_deref() == Some(account)
    }
}

/// One immutable value of a credential.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Version {
    /// Whose it is.
    pub tenant: Tenant,
    /// Which credential's.
    pub path: Path,
    /// 1, 2, 3, …
    pub number: u32,
    /// Where in its life it is.
    pub stage: Stage,
    /// HMAC over tenant, path, number and stage, so that a storage attacker can't promote an old
    /// version. Made and checked by the encryption agent.
    pub stage_mac: Fingerprint,
    /// The value; `None` once destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
    /// Keyed digest of the value, to find reuse without opening anything.
    pub fingerprint: Fingerprint,
    /// The account at the target that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// How it came to be.
    pub origin: Origin,
    /// The version that it replaces. Of puts in a row that nobody has shown to work, each points to the
    /// version from before the first: the one that the target may still hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived_from: Option<u32>,
    /// Who made it (a principal's text form).
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it last changed its stage.
    pub staged_at: Timestamp,
}

/// How a version came to be.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Origin {
    /// Somebody put it.
    Put,
    /// Pentad generated it on request.
    Generated,
    /// Taken over from a target without resetting it.
    Adopted,
    /// Made by a rotation.
    Rotation {
        /// Which.
        id: Id,
    },
}

macro_rules! stages {
    ($($(#[$doc:meta])* $variant:ident => $text:literal),+ $(,)?) => {
        /// Where in its life a version is.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Stage { $($(#[$doc])* $variant),+ }

        impl Stage {
            /// Every stage.
            pub const ALL: &'static [Stage] = &[$(Stage::$variant),+];

            /// Its name in the store and in answers.
            pub fn as_str(self) -> &'static str {
                match self { $(Stage::$variant => $text),+ }
            }
        }
    };
}

stages! {
    /// Sealed with a rotation's intent; not handed to readers.
    Pending => "pending",
    /// What readers get.
    Current => "current",
    /// Was current; the target may still accept it (grace, overlap).
    Previous => "previous",
    /// The target accepts it no longer.
    Retired => "retired",
    /// Was sent to a target and not promoted. Kept, and probed with, until a later version has been
    /// proven and the old effect's bound has passed.
    Abandoned => "abandoned",
    /// Declared compromised.
    Revoked => "revoked",
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
