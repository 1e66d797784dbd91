//! The ready-made roles. Their names are reserved: a role that somebody writes can't change what
//! `admin` means.

use pentad_model::{
    Name, Verb,
    access::{Effect, Role, Rule},
};

/// Name, sentence and verbs; each role speaks of every path.
const ROLES: &[(&str, &str, &[Verb])] = &[
    (
        "admin",
        "Everything, users, tokens and roles included.",
        Verb::ALL,
    ),
    (
        "operator",
        "Daily work: credentials, rotations and targets; no users, no audit log, nothing for good.",
        &[
            Verb::List,
            Verb::Read,
            Verb::Write,
            Verb::Delete,
            Verb::Rotate,
            Verb::Check,
            Verb::Target,
            Verb::Observe,
            Verb::Use,
        ],
    ),
    (
        "reader",
        "Finds credentials and reads their values.",
        &[Verb::List, Verb::Read],
    ),
    (
        "auditor",
        "Reads the audit log and judges health, and sees no value.",
        &[Verb::List, Verb::Check, Verb::Audit, Verb::Observe],
    ),
    (
        "rotator",
        "Rotates and checks, and sees no value: for schedulers and pipelines.",
        &[Verb::List, Verb::Rotate, Verb::Check, Verb::Observe],
    ),
    (
        "signer",
        "Signs and decrypts with stored keys, and sees none; `list` will do for the public half.",
        &[Verb::List, Verb::Use],
    ),
];

/// The ready-made roles: `admin`, `operator`, `reader`, `auditor`, `rotator`, `signer`.
pub fn builtin_roles() -> Vec<Role> {
    ROLES
        .iter()
        .filter_map(|(name, description, verbs)| {
            // The names are literals; the test below parses each.
            let name = name.parse::<Name>().ok()?;
            Some(Role {
                name,
                description: (*description).to_owned(),
                rules: vec![Rule {
                    effect: Effect::Allow,
                    paths: vec!["**".to_owned()],
                    verbs: verbs.to_vec(),
                }],
            })
        })
        .collect()
}

/// Whether a ready-made role has this name.
pub fn is_builtin(name: &Name) -> bool {
    ROLES.iter().any(|(builtin, ..)| *builtin == name.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::Access;

    fn role(name: &str) -> Access {
        let role = builtin_roles()
            .into_iter()
            .find(|r| r.name.as_str() == name);
        Access::compile(&[role.unwrap()]).unwrap()
    }

    #[test]
    fn every_role_is_there_documented_and_compiles() {
        let roles = builtin_roles();
        assert_eq!(roles.len(), ROLES.len());
        for role in &roles {
            assert!(role.description.ends_with('.'), "{}", role.name);
            assert!(is_builtin(&role.name));
        }
        assert!(Access::compile(&roles).is_ok());
    }

    #[test]
    fn only_those_who_need_a_value_see_one() {
        let path = "prod/db".parse().unwrap();
        for (name, reads) in [
            ("admin", true),
            ("operator", true),
            ("reader", true),
            ("auditor", false),
            ("rotator", false),
            ("signer", false),
        ] {
            assert_eq!(role(name).allows(Verb::Read, &path), reads, "{name}");
        }
    }

    #[test]
    fn only_an_admin_makes_users_or_destroys() {
        for name in ["operator", "reader", "auditor", "rotator", "signer"] {
            assert!(!role(name).decide_system(Verb::Admin).allowed, "{name}");
            assert!(
                !role(name).allows(Verb::Destroy, &"a".parse().unwrap()),
                "{name}"
            );
        }
        assert!(role("admin").decide_system(Verb::Admin).allowed);
        assert!(role("auditor").decide_system(Verb::Audit).allowed);
    }
}
