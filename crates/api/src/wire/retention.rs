//! Retention and erasure.

use pentad_agents::operations;
use pentad_model::{Name, Path};
use pentad_policy::retention;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What a retention rule says. It either holds, or says what goes.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetentionContent {
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// Path patterns, as in roles.
    pub paths: Vec<String>,
    /// Of each credential, so many of the newest old versions keep their value.
    #[serde(default)]
    pub keep_versions: Option<u32>,
    /// An old version keeps its value for so many days.
    #[serde(default)]
    pub keep_days: Option<u32>,
    /// A soft-deleted credential is removed for good after so many days.
    #[serde(default)]
    pub deleted_days: Option<u32>,
    /// Nothing that it matches is destroyed, whatever other rules say.
    #[serde(default)]
    pub hold: bool,
}

/// A retention rule.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RetentionRule {
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// What it says.
    #[serde(flatten)]
    pub content: RetentionContent,
}

impl RetentionContent {
    /// The rule of this name.
    pub(crate) fn into_rule(self, name: Name) -> retention::RetentionRule {
        retention::RetentionRule {
            name,
            description: self.description,
            paths: self.paths,
            keep_versions: self.keep_versions,
            keep_days: self.keep_days,
            deleted_days: self.deleted_days,
            hold: self.hold,
        }
    }
}

impl From<retention::RetentionRule> for RetentionRule {
    fn from(from: retention::RetentionRule) -> Self {
        Self {
            name: from.name,
            content: RetentionContent {
                description: from.description,
                paths: from.paths,
                keep_versions: from.keep_versions,
                keep_days: from.keep_days,
                deleted_days: from.deleted_days,
                hold: from.hold,
            },
        }
    }
}

/// Which page of a walk.
#[derive(Clone, Debug, Default, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Walk {
    /// The `next` of the page before.
    pub after: Option<String>,
    /// Things to look at, 1 to 500; 100 if not given.
    pub limit: Option<usize>,
}

/// One page of a walk: what goes, and what is due and stays for now.
#[derive(Debug, Serialize, ToSchema)]
pub struct Walked {
    /// What is, or would be, destroyed.
    pub items: Vec<Gone>,
    /// What is due and can't go now; it comes up again.
    pub kept: Vec<Kept>,
    /// Things that were looked at.
    pub looked_at: usize,
    /// Where to go on; null at the end.
    pub next: Option<String>,
}

/// What goes of one credential.
#[derive(Debug, Serialize, ToSchema)]
pub struct Gone {
    /// Which.
    #[schema(value_type = String)]
    pub path: Path,
    /// The versions whose values go.
    pub versions: Vec<u32>,
    /// Whether the credential goes as a whole.
    pub credential: bool,
    /// The rule that decided.
    #[schema(value_type = String)]
    pub rule: Name,
}

/// What stays for now.
#[derive(Debug, Serialize, ToSchema)]
pub struct Kept {
    /// Which.
    #[schema(value_type = String)]
    pub path: Path,
    /// Why.
    pub why: String,
}

impl From<operations::Walked> for Walked {
    fn from(from: operations::Walked) -> Self {
        let gone = from.gone.into_iter().map(|gone| Gone {
            path: gone.path,
            versions: gone.versions,
            credential: gone.credential,
            rule: gone.rule,
        });
        let kept = from.kept.into_iter().map(|kept| Kept {
            path: kept.path,
            why: kept.why,
        });
        Self {
            items: gone.collect(),
            kept: kept.collect(),
            looked_at: from.looked_at,
            next: from.next.map(|place| place.to_text()),
        }
    }
}

/// Whom to erase; one of both at least.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Erase {
    /// As credentials name them as their owner: the whole text.
    pub owner: Option<String>,
    /// As a user.
    #[schema(value_type = Option<String>)]
    pub user: Option<Name>,
}

/// What an erasure did, and what it could not.
#[derive(Debug, Serialize, ToSchema)]
pub struct Erased {
    /// Credentials that named the person as their owner, and name nobody now.
    pub credentials: usize,
    /// Whether there are more: send it again.
    pub more: bool,
    /// Of these, some whose description or tags mention the person: for somebody to look at.
    #[schema(value_type = Vec<String>)]
    pub mentions: Vec<Path>,
    /// Whether there was such a user; it is gone.
    pub user: bool,
    /// Logins of the user that were removed.
    pub logins: usize,
    /// What stays, and why.
    pub remains: Vec<&'static str>,
}

/// What no erasure takes back.
const REMAINS: [&str; 3] = [
    "audit records name who acted: the log proves that none was changed, so none can be",
    "versions and rotations name who made them, in the same form as the records",
    "free texts of other credentials, names of paths and tokens, and earlier backups are not searched",
];

impl From<operations::Erased> for Erased {
    fn from(from: operations::Erased) -> Self {
        Self {
            credentials: from.credentials,
            more: from.more,
            mentions: from.mentions,
            user: from.user,
            logins: from.logins,
            remains: REMAINS.to_vec(),
        }
    }
}
