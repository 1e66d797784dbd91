//! Users, tokens and roles.

use pentad_agents::operations;
use pentad_model::{Id, Name, Path, Principal, Tenant, Verb, access};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Password, Shown, Time};

/// A user name and a password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user's name.
    #[schema(value_type = String)]
    pub user: Name,
    /// The password.
    #[schema(value_type = String, format = Password)]
    pub password: Password,
}

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// A name for people.
    #[schema(value_type = String)]
    pub name: Name,
    /// Its roles.
    #[schema(value_type = Vec<String>)]
    pub roles: Vec<Name>,
    /// How long it is good for, in seconds; for ever if not given.
    #[serde(default)]
    pub ttl_seconds: Option<u64>,
}

/// A token, without its text.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Token {
    /// Its id, which records show.
    #[schema(value_type = String, format = "uuid")]
    pub id: Id,
    /// A name for people.
    #[schema(value_type = String)]
    pub name: Name,
    /// The user whose login it is, if it is one.
    #[schema(value_type = Option<String>)]
    pub user: Option<Name>,
    /// Roles.
    #[schema(value_type = Vec<String>)]
    pub roles: Vec<Name>,
    /// When it was made.
    pub created_at: Time,
    /// Refused from then on.
    pub expires_at: Option<Time>,
    /// Refused since then.
    pub revoked_at: Option<Time>,
}

impl From<access::Token> for Token {
    fn from(from: access::Token) -> Self {
        Self {
            id: from.id,
            name: from.name,
            user: from.user,
            roles: from.roles,
            created_at: Time(from.created_at),
            expires_at: from.expires_at.map(Time),
            revoked_at: from.revoked_at.map(Time),
        }
    }
}

/// A token that was just made: the only answer that ever holds its text.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenIssued {
    /// The token's text, `pntd_…`.
    pub token: Shown,
    /// Its id, which records show.
    #[schema(value_type = String, format = "uuid")]
    pub id: Id,
    /// A name for people.
    #[schema(value_type = String)]
    pub name: Name,
    /// Roles.
    #[schema(value_type = Vec<String>)]
    pub roles: Vec<Name>,
    /// When it was made.
    pub created_at: Time,
    /// Refused from then on.
    pub expires_at: Option<Time>,
}

impl From<operations::TokenIssued> for TokenIssued {
    fn from(from: operations::TokenIssued) -> Self {
        let operations::TokenIssued { token, secret } = from;
        Self {
            token: Shown(secret),
            id: token.id,
            name: token.name,
            roles: token.roles,
            created_at: Time(token.created_at),
            expires_at: token.expires_at.map(Time),
        }
    }
}

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
pub struct WhoAmI {
    /// As records show it: `user:ann`, `token:ci`, `local:root`.
    #[schema(example = "user:ann")]
    pub principal: String,
    /// `{"type": "user", "name": …}`, `{"type": "token", "id": …, "name": …}` or
    /// `{"type": "local", "user": …}`.
    #[schema(value_type = Object)]
    pub details: Principal,
    /// The tenant asked about.
    #[schema(value_type = String)]
    pub tenant: Tenant,
    /// Where the request came from.
    pub origin: String,
}

/// A user's password and roles.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// At least 12 characters.
    #[schema(value_type = String, format = Password)]
    pub password: Password,
    /// Roles.
    #[schema(value_type = Vec<String>)]
    pub roles: Vec<Name>,
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub struct User {
    /// The name.
    #[schema(value_type = String)]
    pub name: Name,
    /// Roles.
    #[schema(value_type = Vec<String>)]
    pub roles: Vec<Name>,
    /// Wrong passwords since the last right one.
    pub failures: u32,
    /// Refused until then, whatever the password.
    pub locked_until: Option<Time>,
    /// When the user was made.
    pub created_at: Time,
}

impl From<access::User> for User {
    fn from(from: access::User) -> Self {
        Self {
            name: from.name,
            roles: from.roles,
            failures: from.failures,
            locked_until: from.locked_until.map(Time),
            created_at: Time(from.created_at),
        }
    }
}

/// What a role allows and denies.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleContent {
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// Deny by default; a `deny` beats every `allow`.
    pub rules: Vec<Rule>,
}

/// A role.
#[derive(Debug, Serialize, ToSchema)]
pub struct Role {
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// One sentence for people.
    pub description: String,
    /// What it allows and denies.
    pub rules: Vec<Rule>,
}

/// One rule of a role.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `allow` (the default) or `deny`.
    #[serde(default)]
    pub effect: Effect,
    /// Path patterns: `*` is one segment, or part of one (`web-*`); `**` as the last segment is
    /// everything below.
    pub paths: Vec<String>,
    /// list, read, write, delete, destroy, rotate, check, audit, target, admin, observe, use.
    #[schema(value_type = Vec<String>)]
    pub verbs: Vec<Verb>,
}

/// What a rule does when it matches.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Allows.
    #[default]
    Allow,
    /// Denies, whatever other rules allow.
    Deny,
}

impl RoleContent {
    /// As the operations take it.
    pub(crate) fn into_role(self, name: Name) -> access::Role {
        let rule = |rule: Rule| access::Rule {
            effect: match rule.effect {
                Effect::Allow => access::Effect::Allow,
                Effect::Deny => access::Effect::Deny,
            },
            paths: rule.paths,
            verbs: rule.verbs,
        };
        access::Role {
            name,
            description: self.description,
            rules: self.rules.into_iter().map(rule).collect(),
        }
    }
}

impl From<access::Role> for Role {
    fn from(from: access::Role) -> Self {
        let rule = |rule: access::Rule| Rule {
            effect: match rule.effect {
                access::Effect::Allow => Effect::Allow,
                access::Effect::Deny => Effect::Deny,
            },
            paths: rule.paths,
            verbs: rule.verbs,
        };
        Self {
            name: from.name,
            description: from.description,
            rules: from.rules.into_iter().map(rule).collect(),
        }
    }
}

/// A question about roles.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// Whoever has these roles…
    #[schema(value_type = Vec<String>)]
    pub roles: Vec<Name>,
    /// … may do this …
    #[schema(value_type = String, example = "read")]
    pub verb: Verb,
    /// … here?
    #[schema(value_type = String)]
    pub path: Path,
}

/// The answer, with its reason.
#[derive(Debug, Serialize, ToSchema)]
pub struct Decision {
    /// Whether it may be done.
    pub allowed: bool,
    /// Why: the rule, or what is missing.
    pub because: String,
}
