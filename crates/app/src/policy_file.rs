//! A credential policy as a file, with its own tests.
//!
//! ```toml
//! name = "strict"
//! min_length = 20
//! words = ["Nordlicht"]
//!
//! [[tests]]
//! value = "n0rdl1cht-2026-n0rdl1cht"
//! accepted = false
//! because = "patterns"
//!
//! [[tests]]
//! value = "vXq7.Lw2pTx9~mRe4Kd8-bN3"
//! accepted = true
//! ```
//!
//! Tests run here, by the same measures and rules as in the server; nothing is sent. Their values
//! are examples for everybody to read, so a real one does not belong there.

use std::path::Path as FsPath;

use pentad_model::{Clock, Kind, Path, Secret, SystemClock, assessment::Severity};
use pentad_policy::{CredentialPolicy, judge};
use pentad_validation::{Words, measure};
use serde::Deserialize;
use serde_json::Value;

use crate::failure::{Exit, Failure};

/// A policy file that was read.
pub(crate) struct PolicyFile {
    pub(crate) policy: CredentialPolicy,
    /// What the file says, in the API's words; what it leaves out keeps its default.
    pub(crate) said: serde_json::Map<String, Value>,
    tests: Vec<Test>,
}

/// A value and what the policy is expected to say of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    value: String,
    accepted: bool,
    /// A rule that must be among those that refuse it.
    #[serde(default)]
    because: Option<String>,
    /// Default: the first kind that the policy judges, `password` for one of all kinds.
    #[serde(default)]
    kind: Option<Kind>,
    /// The path that it is stored under.
    #[serde(default)]
    path: Option<Path>,
    /// The account that it is for.
    #[serde(default)]
    account: Option<String>,
    /// How many other credentials have it.
    #[serde(default)]
    shared_with: u32,
    /// Whether the credential had it before.
    #[serde(default)]
    reused: bool,
}

impl PolicyFile {
    /// Reads a file; a mistake is told with its place.
    pub(crate) fn read(file: &FsPath) -> Result<Self, Failure> {
        let text =
            std::fs::read_to_string(file).map_err(|error| Failure::file(file.display(), &error))?;
        Self::parse(&text).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut table: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
        let tests = table
            .remove("tests")
            .unwrap_or(toml::Value::Array(Vec::new()));
        let tests: Vec<Test> = tests
            .try_into()
            .map_err(|error| format!("in a test: {error}"))?;
        if table.contains_key("version") {
            return Err("`version` is counted by Pentad; leave it out".to_owned());
        }
        let policy: CredentialPolicy = table
            .clone()
            .try_into()
            .map_err(|error| format!("{error}"))?;
        policy.check().map_err(|error| error.to_string())?;
        table.remove("name");
        let said = match serde_json::to_value(table) {
            Ok(Value::Object(said)) => said,
            _ => return Err("it has no JSON form".to_owned()),
        };
        Ok(Self {
            policy,
            said,
            tests,
        })
    }

    /// Runs its tests; answers how many there are. The first that fails is told by its number,
    /// never by its value.
    pub(crate) fn test(&self) -> Result<usize, Failure> {
        for (number, test) in (1..).zip(&self.tests) {
            self.one(test).map_err(|why| {
                Failure::new(
                    Exit::Refused,
                    format!("policy {}, test {number}: {why}", self.policy.name),
                )
                .hint("mend the policy, or what the test expects")
            })?;
        }
        Ok(self.tests.len())
    }

    fn one(&self, test: &Test) -> Result<(), String> {
        let first = self.policy.kinds.first().copied();
        let kind = test.kind.or(first).unwrap_or(Kind::Password);
        let own: Vec<&str> = self.policy.words.iter().map(String::as_str).collect();
        let words = Words {
            path: test.path.as_ref(),
            account: test.account.as_deref(),
            organisation: &own,
        };
        let year = SystemClock.now().year();
        let mut facts = measure(&Secret::new(test.value.as_str()), kind, &words, year);
        facts.shared_with = test.shared_with;
        facts.reused_from.extend(test.reused.then_some(1));
        let judged = judge(&self.policy, kind, &facts);
        let refusing: Vec<&str> = judged
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Refuse)
            .map(|finding| finding.rule.as_str())
            .collect();
        match (test.accepted, judged.accepted) {
            (true, false) => Err(format!(
                "expected to pass, refused by {}",
                refusing.join(", ")
            )),
            (false, true) => Err(format!(
                "expected to be refused, passed with {}",
                judged.score
            )),
            _ => match &test.because {
                Some(rule) if !refusing.contains(&rule.as_str()) => Err(format!(
                    "expected to be refused by {rule}, refused by {}",
                    refusing.join(", ")
                )),
                _ => Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const STRICT: &str = r#"
name = "strict"
kinds = ["password"]
min_length = 20
words = ["Nordlicht"]

[[tests]]
value = "n0rdl1cht-2026-n0rdl1cht"
accepted = false
because = "patterns"

[[tests]]
value = "vXq7.Lw2pTx9~mRe4Kd8-bN3"
accepted = true

[[tests]]
value = "vXq7.Lw2pTx9~mRe4Kd8-bN3"
reused = true
accepted = false
because = "history"
"#;

    #[test]
    fn a_policys_tests_run_and_are_counted() {
        let file = PolicyFile::parse(STRICT).unwrap();
        assert_eq!(file.test().unwrap(), 3);
        assert_eq!(file.said["min_length"], 20);
        assert!(!file.said.contains_key("name") && !file.said.contains_key("tests"));
    }

    #[test]
    fn a_test_that_fails_is_told_by_its_number_and_not_by_its_value() {
        for (from, to, told) in [
            (
                "min_length = 20",
                "min_length = 30",
                "test 2: expected to pass, refused by length",
            ),
            (
                "words = [\"Nordlicht\"]",
                "",
                "test 1: expected to be refused",
            ),
            (
                "because = \"history\"",
                "because = \"length\"",
                "test 3: expected to be refused by length",
            ),
        ] {
            let file = PolicyFile::parse(&STRICT.replace(from, to)).unwrap();
            let failure = file.test().unwrap_err();
            assert!(failure.message.contains(told), "{}", failure.message);
            assert!(!failure.message.contains("vXq7"), "{}", failure.message);
        }
    }

    #[test]
    fn a_file_that_means_nothing_is_refused() {
        for (text, told) in [
            ("min_length = 3", "name"),
            ("name = \"x\"\nmin_lenght = 3", "min_lenght"),
            ("name = \"x\"\nversion = 3", "version"),
            ("name = \"builtin.password\"", "builtin"),
            ("name = \"x\"\n[[tests]]\nvalue = \"a\"", "accepted"),
        ] {
            let error = PolicyFile::parse(text).err().unwrap();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
