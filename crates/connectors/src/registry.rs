//! Every connector there is. A target's `system` names one.

use crate::{Connector, envfile::EnvFile, mariadb::MariaDb, postgresql::PostgreSql, redis::Redis};

/// Every connector, in the order in which they are shown to people.
pub fn all() -> &'static [&'static dyn Connector] {
    &[&PostgreSql, &MariaDb, &Redis, &EnvFile]
}

/// The connector for a target's `system`, if there is one of that name.
pub fn by_name(system: &str) -> Option<&'static dyn Connector> {
    all()
        .iter()
        .copied()
        .find(|connector| connector.profile().name == system)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let mut seen = BTreeSet::new();
        for connector in all() {
            let name = connector.profile().name;
            assert!(seen.insert(name), "{name} is registered twice");
            assert_eq!(by_name(name).unwrap().profile().name, name);
        }
        assert!(by_name("no-such-system").is_none());
    }

    #[test]
    fn every_connector_documents_itself() {
        for connector in all() {
            let profile = connector.profile();
            assert!(
                profile.name.bytes().all(|b| b.is_ascii_lowercase()),
                "{}: lower-case letters only",
                profile.name
            );
            assert!(profile.description.ends_with('.'), "{}", profile.name);
            assert!(!profile.address.is_empty(), "{}", profile.name);
            assert!(!profile.strategies.is_empty(), "{}", profile.name);
            for (option, meaning) in profile.options {
                assert!(meaning.ends_with('.'), "{}: {option}", profile.name);
            }
        }
    }
}
