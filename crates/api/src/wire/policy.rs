//! Credential policies.

use pentad_model::{Kind, Name, assessment::Pattern};
use pentad_policy::CredentialPolicy;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a policy asks of a value. What is left out has the default.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyContent {
    /// One sentence for people.
    pub description: Option<String>,
    /// The kinds that it judges; all if none is named.
    #[schema(value_type = Option<Vec<String>>)]
    pub kinds: Option<Vec<Kind>>,
    /// Characters at least; 15.
    pub min_length: Option<usize>,
    /// Characters at most; the kind's own limit.
    pub max_length: Option<usize>,
    /// An upper-case letter; no.
    pub require_uppercase: Option<bool>,
    /// A lower-case letter; no.
    pub require_lowercase: Option<bool>,
    /// A digit; no.
    pub require_numbers: Option<bool>,
    /// A character that is neither letter nor digit; no.
    pub require_special_chars: Option<bool>,
    /// Estimated guesses at least, as a power of ten, for what people choose; 10.
    pub min_guesses_log10: Option<f64>,
    /// Entropy in bits at least, for what nobody chooses; 64.
    pub min_entropy_bits: Option<f64>,
    /// Patterns that refuse a value: `common`, `word`, `keyboard_walk`, `sequence`, `repeat`,
    /// `date`, `placeholder`, `context`; common, placeholder, context.
    #[schema(value_type = Option<Vec<String>>)]
    pub forbid_patterns: Option<Vec<Pattern>>,
    /// Earlier versions whose value may not return, 1000 at most; 24.
    pub history: Option<u32>,
    /// The organisation's own dictionary: a value built on one of these has the pattern `context`;
    /// none.
    pub words: Option<Vec<String>>,
    /// Whether the same value elsewhere refuses it; no.
    pub forbid_shared: Option<bool>,
    /// Formats that a value must have one of; any.
    pub formats: Option<Vec<String>>,
}

/// A credential policy.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Policy {
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// What it asks.
    #[serde(flatten)]
    pub content: PolicyContent,
}

impl PolicyContent {
    /// The policy of this name.
    pub(crate) fn into_policy(self, name: Name) -> CredentialPolicy {
        let mut policy = CredentialPolicy::named(name);
        policy.max_length = self.max_length;
        macro_rules! take {
            ($($field:ident),+) => {
                $(if let Some(asked) = self.$field { policy.$field = asked; })+
            };
        }
        take!(
            description,
            kinds,
            min_length,
            require_uppercase,
            require_lowercase,
            require_numbers,
            require_special_chars,
            min_guesses_log10,
            min_entropy_bits,
            forbid_patterns,
            history,
            words,
            forbid_shared,
            formats
        );
        policy
    }
}

impl From<CredentialPolicy> for Policy {
    fn from(from: CredentialPolicy) -> Self {
        Self {
            name: from.name,
            content: PolicyContent {
                description: Some(from.description),
                kinds: Some(from.kinds),
                min_length: Some(from.min_length),
                max_length: from.max_length,
                require_uppercase: Some(from.require_uppercase),
                require_lowercase: Some(from.require_lowercase),
                require_numbers: Some(from.require_numbers),
                require_special_chars: Some(from.require_special_chars),
                min_guesses_log10: Some(from.min_guesses_log10),
                min_entropy_bits: Some(from.min_entropy_bits),
                forbid_patterns: Some(from.forbid_patterns),
                history: Some(from.history),
                words: Some(from.words),
                forbid_shared: Some(from.forbid_shared),
                formats: Some(from.formats),
            },
        }
    }
}
