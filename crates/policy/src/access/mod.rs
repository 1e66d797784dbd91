//! Who may do what: roles compiled into a decision that names its reason.
//!
//! Deny by default; a `deny` rule beats every `allow`, in whatever role and order. Compiled once
//! for a principal's roles, an allowed request is decided without allocating.
//!
//! **Actions that are on no path** (making users, managing targets, reading the whole audit log,
//! seeing health) are asked with [`Access::decide_system`]. They count as actions on everything:
//! allowed when a rule allows the verb on `**`, unless one denies it on `**`. A rule on a narrower
//! pattern doesn't speak of them; whoever answers about paths (audit records, say) also asks
//! [`Access::allows`] for each.
//!
//! ```
//! use pentad_model::Verb;
//! use pentad_policy::access::{Access, builtin_roles};
//!
//! let reader = builtin_roles().into_iter().find(|role| role.name.as_str() == "reader");
//! let access = Access::compile(reader.as_slice())?;
//! let path = "prod/orders/db".parse()?;
//! assert!(access.decide(Verb::Read, &path).allowed);
//! assert!(!access.decide(Verb::Write, &path).allowed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{fmt, sync::Arc};

use pentad_model::{
    Name, Path, Verb,
    access::{Effect, Role},
};
use serde::{Serialize, Serializer, ser::SerializeStruct};

mod builtin;
mod pattern;
mod seek;

pub use builtin::{builtin_roles, is_builtin};
pub use pattern::InvalidPattern;
pub(crate) use pattern::Pattern;
pub use seek::{Guide, Seek};

/// Why a role can't be used. Whoever wrote the role mends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRole {
    /// A pattern that means nothing.
    #[error("role `{role}`, rule {rule}, pattern `{pattern}`: {cause}")]
    Pattern {
        /// The role.
        role: Name,
        /// Which rule, from 1.
        rule: usize,
        /// The pattern, shortened.
        pattern: String,
        /// What is wrong with it.
        cause: InvalidPattern,
    },
    /// A rule that can never match.
    #[error("role `{role}`, rule {rule} has no {what}; add some or remove the rule")]
    Empty {
        /// The role.
        role: Name,
        /// Which rule, from 1.
        rule: usize,
        /// `paths` or `verbs`.
        what: &'static str,
    },
    /// The name of a ready-made role.
    #[error("`{0}` is a ready-made role and can't be changed; choose another name")]
    Reserved(Name),
}

/// Checks a role that somebody wrote: sound rules, and not the name of a ready-made one.
pub fn check_custom_role(role: &Role) -> Result<(), InvalidRole> {
    if is_builtin(&role.name) {
        return Err(InvalidRole::Reserved(role.name.clone()));
    }
    Access::compile(std::slice::from_ref(role)).map(drop)
}

/// What a set of roles allows. The default allows nothing.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// One entry for each pattern of each rule. Denying ones come first, so that the first match
    /// decides.
    entries: Vec<Entry>,
    /// How many of them deny.
    denying: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    pattern: Pattern,
    verbs: VerbSet,
    name: RuleRef,
}

/// Verbs as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct VerbSet(u32);

impl VerbSet {
    fn of(verbs: &[Verb]) -> Self {
        Self(verbs.iter().fold(0, |bits, verb| bits | 1 << *verb as u32))
    }

    fn has(self, verb: Verb) -> bool {
        self.0 & (1 << verb as u32) != 0
    }
}

/// A decision with its reason. Making one doesn't allocate: rules are named by reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Whether it may be done.
    pub allowed: bool,
    /// Why; its `Display` is a sentence for people.
    pub because: Reason,
}

/// Why something is allowed or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reason {
    /// This rule allows it, and none denies it.
    AllowedBy(RuleRef),
    /// This rule denies it.
    DeniedBy(RuleRef),
    /// No rule allows it.
    NoRule {
        /// The verb that was asked for.
        verb: Verb,
        /// The allowing rule that comes nearest.
        nearest: Option<Nearest>,
    },
}

/// Where to find a rule: its role, its number there, and which of its patterns. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRef(Arc<Place>);

#[derive(Debug, PartialEq, Eq)]
struct Place {
    role: Name,
    rule: usize,
    pattern: String,
}

impl RuleRef {
    /// The role.
    pub fn role(&self) -> &Name {
        &self.0.role
    }

    /// Which of its rules, from 1.
    pub fn rule(&self) -> usize {
        self.0.rule
    }

    /// Which pattern.
    pub fn pattern(&self) -> &str {
        &self.0.pattern
    }
}

/// As `role`, `rule`, `pattern`.
impl Serialize for RuleRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("RuleRef", 3)?;
        out.serialize_field("role", self.role())?;
        out.serialize_field("rule", &self.rule())?;
        out.serialize_field("pattern", self.pattern())?;
        out.end()
    }
}

/// An allowing rule that almost matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Nearest {
    /// The rule.
    #[serde(flatten)]
    pub rule: RuleRef,
    /// What it lacks.
    pub lacks: Lack,
}

/// What keeps the nearest rule from allowing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    /// It matches the path, but doesn't name the verb.
    Verb,
    /// It names the verb, but doesn't match the path.
    Path,
}

impl Access {
    /// Compiles roles. Ready-made ones pass too; for roles that somebody writes, use
    /// [`check_custom_role`] before storing them.
    pub fn compile(roles: &[Role]) -> Result<Self, InvalidRole> {
        let mut denying = Vec::new();
        let mut allowing = Vec::new();
        for role in roles {
            for (number, rule) in (1..).zip(&role.rules) {
                let empty = |what| InvalidRole::Empty {
                    role: role.name.clone(),
                    rule: number,
                    what,
                };
                if rule.paths.is_empty() {
                    return Err(empty("paths"));
                }
                if rule.verbs.is_empty() {
                    return Err(empty("verbs"));
                }
                for text in &rule.paths {
                    let pattern = Pattern::parse(text).map_err(|cause| InvalidRole::Pattern {
                        role: role.name.clone(),
                        rule: number,
                        pattern: text.chars().take(64).collect(),
                        cause,
                    })?;
                    let name = RuleRef(Arc::new(Place {
                        role: role.name.clone(),
                        rule: number,
                        pattern: text.clone(),
                    }));
                    let entry = Entry {
                        pattern,
                        verbs: VerbSet::of(&rule.verbs),
                        name,
                    };
                    match rule.effect {
                        Effect::Deny => denying.push(entry),
                        Effect::Allow => allowing.push(entry),
                    }
                }
            }
        }
        let count = denying.len();
        denying.append(&mut allowing);
        Ok(Self {
            entries: denying,
            denying: count,
        })
    }

    /// Whether `verb` may be done on `path`. For filtering lists; it looks for no reasons.
    pub fn allows(&self, verb: Verb, path: &Path) -> bool {
        self.first(|entry| entry.verbs.has(verb) && entry.pattern.matches(path))
            .is_some_and(|index| index >= self.denying)
    }

    /// Whether `verb` may be done on `path`, and why.
    pub fn decide(&self, verb: Verb, path: &Path) -> Decision {
        match self.first(|entry| entry.verbs.has(verb) && entry.pattern.matches(path)) {
            Some(index) => self.decided_by(index),
            None => no_rule(verb, self.nearest(verb, path)),
        }
    }

    /// Whether an action that is on no path may be done; see the module's documentation.
    pub fn decide_system(&self, verb: Verb) -> Decision {
        match self.first(|entry| entry.verbs.has(verb) && entry.pattern.is_everything()) {
            Some(index) => self.decided_by(index),
            None => {
                let named = self.allowing().find(|entry| entry.verbs.has(verb));
                let whole = || self.allowing().find(|entry| entry.pattern.is_everything());
                let nearest = match named {
                    Some(entry) => Some((entry, Lack::Path)),
                    None => whole().map(|entry| (entry, Lack::Verb)),
                };
                no_rule(
                    verb,
                    nearest.map(|(entry, lacks)| Nearest {
                        rule: entry.name.clone(),
                        lacks,
                    }),
                )
            }
        }
    }

    /// The decision in words, such as ``read on `prod/db` is denied: ...``.
    pub fn explain(&self, verb: Verb, path: &Path) -> String {
        let decision = self.decide(verb, path);
        let outcome = if decision.allowed {
            "allowed"
        } else {
            "denied"
        };
        format!("{verb} on `{path}` is {outcome}: {}", decision.because)
    }

    /// Whether `verb` might be allowed on some path that begins with the text `prefix`. `false` is
    /// certain; `true` may be wrong where several denying rules together leave nothing.
    pub fn may_allow_under(&self, verb: Verb, prefix: &str) -> bool {
        !self.scan_prefixes(verb, prefix).is_empty()
    }

    /// Where to look for paths that begin with the text `under` and on which `verb` is allowed:
    /// text prefixes, sorted, none of which begins with another. Everything allowed is below one
    /// of them; not everything below them is allowed, so ask [`Access::allows`] for each path.
    pub fn scan_prefixes(&self, verb: Verb, under: &str) -> Vec<String> {
        let mut prefixes: Vec<&str> = self
            .allowing()
            .filter(|entry| entry.verbs.has(verb) && entry.pattern.may_match_under(under))
            .map(|entry| {
                let literal = entry.pattern.literal_prefix();
                if literal.len() > under.len() {
                    literal
                } else {
                    under
                }
            })
            .filter(|prefix| {
                !self
                    .denies()
                    .any(|entry| entry.verbs.has(verb) && entry.pattern.covers(prefix))
            })
            .collect();
        prefixes.sort_unstable();
        // Sorted, a prefix stands before all that it covers.
        prefixes.dedup_by(|later, earlier| later.starts_with(&**earlier));
        prefixes.into_iter().map(str::to_owned).collect()
    }

    fn first(&self, matches: impl Fn(&Entry) -> bool) -> Option<usize> {
        self.entries.iter().position(matches)
    }

    fn denies(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().take(self.denying)
    }

    fn allowing(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().skip(self.denying)
    }

    fn decided_by(&self, index: usize) -> Decision {
        let rule = self.entries[index].name.clone();
        if index < self.denying {
            Decision {
                allowed: false,
                because: Reason::DeniedBy(rule),
            }
        } else {
            Decision {
                allowed: true,
                because: Reason::AllowedBy(rule),
            }
        }
    }

    /// A rule that matches the path and lacks the verb comes before one that has the verb and
    /// agrees with most of the path.
    fn nearest(&self, verb: Verb, path: &Path) -> Option<Nearest> {
        let by_path = self.allowing().find(|entry| entry.pattern.matches(path));
        if let Some(entry) = by_path {
            return Some(Nearest {
                rule: entry.name.clone(),
                lacks: Lack::Verb,
            });
        }
        self.allowing()
            .filter(|entry| entry.verbs.has(verb))
            .max_by_key(|entry| entry.pattern.agreement(path))
            .map(|entry| Nearest {
                rule: entry.name.clone(),
                lacks: Lack::Path,
            })
    }
}

fn no_rule(verb: Verb, nearest: Option<Nearest>) -> Decision {
    Decision {
        allowed: false,
        because: Reason::NoRule { verb, nearest },
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllowedBy(rule) => write!(f, "{rule} allows it"),
            Self::DeniedBy(rule) => write!(f, "{rule} denies it"),
            Self::NoRule { verb, nearest } => {
                write!(f, "no rule allows {verb} here")?;
                match nearest {
                    None => f.write_str("; no role speaks of it"),
                    Some(Nearest {
                        rule,
                        lacks: Lack::Verb,
                    }) => {
                        write!(f, "; nearest: {rule} matches, but does not allow {verb}")
                    }
                    Some(Nearest {
                        rule,
                        lacks: Lack::Path,
                    }) => {
                        write!(f, "; nearest: {rule} allows {verb}, but does not match")
                    }
                }
            }
        }
    }
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place {
            role,
            rule,
            pattern,
        } = &*self.0;
        write!(f, "role `{role}`, rule {rule} (`{pattern}`)")
    }
}

#[cfg(test)]
mod tests;
