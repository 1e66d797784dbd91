//! Who may do what: verbs, principals and roles. The decision itself is `pentad-policy`'s.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Id, Name, Timestamp};

macro_rules! verbs {
    ($($(#[$doc:meta])* $variant:ident => $text:literal),+ $(,)?) => {
        /// What a principal may be allowed to do on a path.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Verb { $($(#[$doc])* $variant),+ }

        impl Verb {
            /// Every verb.
            pub const ALL: &'static [Verb] = &[$(Verb::$variant),+];

            /// Its name in roles, records and answers.
            pub fn as_str(self) -> &'static str {
                match self { $(Verb::$variant => $text),+ }
            }
        }
    };
}

verbs! {
    /// See that it exists, and its metadata.
    List => "list",
    /// Read its value.
    Read => "read",
    /// Store a new value or change its metadata.
    Write => "write",
    /// Delete and restore it.
    Delete => "delete",
    /// Destroy versions for good.
    Destroy => "destroy",
    /// Rotate it, and pause, resume, cancel or roll back its rotations.
    Rotate => "rotate",
    /// Check its strength and health.
    Check => "check",
    /// Read the audit log.
    Audit => "audit",
    /// Manage targets.
    Target => "target",
    /// Manage users, tokens and roles.
    Admin => "admin",
    /// See health, metrics and agents.
    Observe => "observe",
    /// Sign, verify, encrypt and decrypt with it as a key, without reading it.
    Use => "use",
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no verb.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a verb; known verbs: list, read, write, delete, destroy, rotate, check, audit, target, admin, observe, use"
)]
pub struct UnknownVerb(String);

impl FromStr for Verb {
    type Err = UnknownVerb;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Verb::ALL
            .iter()
            .copied()
            .find(|verb| verb.as_str() == text)
            .ok_or_else(|| UnknownVerb(text.chars().take(64).collect()))
    }
}

/// Who acts.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Principal {
    /// A user who logged in with a password.
    User {
        /// The user's name.
        name: Name,
    },
    /// The bearer of a token. The token itself never appears anywhere; its id does.
    Token {
        /// The token's id.
        id: Id,
        /// What it was named when it was made.
        name: Name,
    },
    /// Somebody with access to the store's directory and key, working without a server.
    Local {
        /// The operating system's name for that user.
        user: String,
    },
    /// One of the five agents, acting on its own (a resumed rotation, a scheduled check).
    Agent {
        /// The agent's name.
        name: String,
    },
    /// Nobody: a request before authentication.
    Anonymous,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { name } => write!(f, "user:{name}"),
            Self::Token { name, .. } => write!(f, "token:{name}"),
            Self::Local { user } => write!(f, "local:{user}"),
            Self::Agent { name } => write!(f, "agent:{name}"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

/// A role: rules by path pattern and verb. Deny by default; a `deny` rule beats every `allow`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Its name.
    pub name: Name,
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// What it allows and denies.
    pub rules: Vec<Rule>,
}

/// One rule of a role.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Allow or deny.
    #[serde(default)]
    pub effect: Effect,
    /// Path patterns: `*` is one segment, or part of one (`web-*`); `**` as the last segment is
    /// everything below.
    pub paths: Vec<String>,
    /// The verbs it speaks of.
    pub verbs: Vec<Verb>,
}

/// What a rule does when it matches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Allows.
    #[default]
    Allow,
    /// Denies, whatever other rules allow.
    Deny,
}

/// A user: logs in with a password, locked out after too many failures.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct User {
    /// The name.
    pub name: Name,
    /// Argon2id in PHC string form; made and checked by the encryption agent only.
    pub password_hash: String,
    /// Roles.
    pub roles: Vec<Name>,
    /// Consecutive failures.
    pub failures: u32,
    /// Refused until then, whatever the password.
    pub locked_until: Option<Timestamp>,
    /// When the user was made.
    pub created_at: Timestamp,
}

/// A token as it is stored: under the SHA-256 of its secret half, never the token itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Token {
    /// Its id, which records show.
    pub id: Id,
    /// A name for people.
    pub name: Name,
    /// Whose authority it carries: a user's login session, or its own.
    #[serde(default)]
    pub user: Option<Name>,
    /// The SHA-256, in hex, of the user's password hash when the user logged in: it ends with it.
    #[serde(default)]
    pub password: Option<String>,
    /// Roles.
    pub roles: Vec<Name>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Refused from then on.
    pub expires_at: Option<Timestamp>,
    /// Refused since then.
    pub revoked_at: Option<Timestamp>,
}
