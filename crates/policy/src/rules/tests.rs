#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use pentad_model::assessment::Pattern;
use proptest::prelude::*;

use super::*;

/// Facts that every built-in policy for passwords accepts.
fn strong() -> Facts {
    Facts {
        length: 24,
        lower: true,
        upper: true,
        digit: true,
        special: true,
        entropy_bits: 105.0,
        guesses_log10: Some(19.2),
        patterns: Vec::new(),
        format: None,
        reused_from: Vec::new(),
        shared_with: 0,
        key: None,
    }
}

fn builtin(kind: Kind, facts: &Facts) -> Assessment {
    judge(&CredentialPolicy::builtin(kind), kind, facts)
}

fn custom(toml_like: serde_json::Value) -> CredentialPolicy {
    serde_json::from_value(toml_like).unwrap()
}

/// The rules that refuse, and those that warn.
fn rules(assessment: &Assessment, severity: Severity) -> Vec<&str> {
    let of = |f: &&Finding| f.severity == severity;
    assessment
        .findings
        .iter()
        .filter(of)
        .map(|f| f.rule.as_str())
        .collect()
}

#[test]
fn every_rule_is_documented_once() {
    let mut seen = BTreeSet::new();
    for rule in RULES {
        assert!(seen.insert(rule.name), "{} twice", rule.name);
        assert!(rule.description.ends_with('.'), "{}", rule.name);
    }
}

#[test]
fn a_generated_password_is_accepted_without_a_word() {
    for kind in [Kind::Password, Kind::Database] {
        let assessment = builtin(kind, &strong());
        assert!(assessment.accepted);
        assert_eq!(assessment.findings, []);
        assert_eq!(assessment.score, 100);
    }
}

#[test]
fn each_fault_is_found_by_its_rule() {
    type Fault = fn(&mut Facts);
    let table: &[(Kind, Fault, &str, Severity)] = &[
        (
            Kind::Password,
            |f| f.length = 14,
            "length",
            Severity::Refuse,
        ),
        (
            Kind::Password,
            |f| f.guesses_log10 = Some(9.9),
            "guesses",
            Severity::Refuse,
        ),
        (
            Kind::Database,
            |f| f.guesses_log10 = Some(13.0),
            "guesses",
            Severity::Refuse,
        ),
        (
            Kind::Password,
            |f| f.patterns = vec![Pattern::Common],
            "patterns",
            Severity::Refuse,
        ),
        (
            Kind::Password,
            |f| f.patterns = vec![Pattern::Context],
            "patterns",
            Severity::Refuse,
        ),
        (
            Kind::Password,
            |f| f.patterns = vec![Pattern::Date],
            "patterns",
            Severity::Warning,
        ),
        (
            Kind::Secret,
            |f| f.patterns = vec![Pattern::Placeholder],
            "patterns",
            Severity::Refuse,
        ),
        (
            Kind::ApiKey,
            |f| f.entropy_bits = 63.0,
            "entropy",
            Severity::Refuse,
        ),
        (
            Kind::ApiKey,
            |f| f.format = Some("github_token:bad_checksum".into()),
            "format",
            Severity::Warning,
        ),
        (
            Kind::Certificate,
            |f| f.format = None,
            "format",
            Severity::Refuse,
        ),
        (
            Kind::Certificate,
            |f| f.format = Some("jwt".into()),
            "format",
            Severity::Refuse,
        ),
        (
            Kind::Password,
            |f| f.reused_from = vec![3],
            "history",
            Severity::Refuse,
        ),
        (
            Kind::Password,
            |f| f.shared_with = 2,
            "shared",
            Severity::Warning,
        ),
    ];
    for (kind, fault, rule, severity) in table {
        let mut facts = strong();
        fault(&mut facts);
        let assessment = builtin(*kind, &facts);
        assert_eq!(
            rules(&assessment, *severity),
            [*rule],
            "{kind}: {assessment:?}"
        );
        assert_eq!(assessment.accepted, *severity != Severity::Refuse);
        assert!(assessment.score < 100);
    }
}

#[test]
fn a_passphrase_of_words_is_welcome() {
    let facts = Facts {
        patterns: vec![Pattern::Word],
        upper: false,
        digit: false,
        ..strong()
    };
    assert_eq!(builtin(Kind::Password, &facts).findings, []);
}

#[test]
fn findings_come_gravest_first() {
    let facts = Facts {
        length: 3,
        shared_with: 1,
        patterns: vec![Pattern::Date, Pattern::Common],
        ..strong()
    };
    let found = builtin(Kind::Password, &facts);
    let severities: Vec<_> = found.findings.iter().map(|f| f.severity).collect();
    assert!(severities.is_sorted_by(|a, b| a >= b), "{severities:?}");
    assert_eq!(rules(&found, Severity::Refuse), ["length", "patterns"]);
}

#[test]
fn the_five_settings_of_the_library_interface_are_keys_of_a_policy() {
    let policy = custom(serde_json::json!({
        "name": "legacy", "min_length": 12, "require_special_chars": true,
        "require_numbers": true, "require_uppercase": true, "require_lowercase": true,
    }));
    assert_eq!(policy.check(), Ok(()));
    let facts = Facts {
        length: 12,
        ..strong()
    };
    assert!(judge(&policy, Kind::Password, &facts).accepted);
    let plain = Facts {
        length: 12,
        lower: false,
        upper: false,
        digit: false,
        special: false,
        ..strong()
    };
    assert_eq!(
        rules(&judge(&policy, Kind::Password, &plain), Severity::Refuse),
        ["classes"; 4]
    );
}

#[test]
fn a_policy_of_only_a_name_has_the_documented_defaults() {
    let name: pentad_model::Name = "plain".parse().unwrap();
    assert_eq!(
        custom(serde_json::json!({ "name": "plain" })),
        CredentialPolicy::named(name)
    );
    let unknown = serde_json::json!({ "name": "plain", "min_lenght": 3 });
    assert!(serde_json::from_value::<CredentialPolicy>(unknown).is_err());
}

#[test]
fn a_policy_that_nothing_can_meet_is_refused() {
    let checked = |json| custom(json).check();
    assert_eq!(
        checked(serde_json::json!({ "name": "x", "min_length": 20, "max_length": 10 })),
        Err(InvalidPolicy::Lengths { min: 20, max: 10 })
    );
    for (key, limit) in [("min_guesses_log10", 19), ("min_entropy_bits", 4096)] {
        for bad in [-1.0, 1e9] {
            assert_eq!(
                checked(serde_json::json!({ "name": "x", key: bad })),
                Err(InvalidPolicy::Number(key, limit))
            );
        }
    }
    assert_eq!(
        checked(serde_json::json!({ "name": "x", "history": 1001 })),
        Err(InvalidPolicy::History(1001))
    );
    for bad in [vec!["abc".to_owned()], vec!["acme".to_owned(); 1001]] {
        assert_eq!(
            checked(serde_json::json!({ "name": "x", "words": bad })),
            Err(InvalidPolicy::Words)
        );
    }
    assert_eq!(
        checked(serde_json::json!({ "name": "builtin.password" })),
        Err(InvalidPolicy::Reserved)
    );
}

#[test]
fn history_bars_so_many_versions_before_the_new_one() {
    let mut policy = CredentialPolicy::builtin(Kind::Password);
    policy.history = 3;
    assert_eq!(policy.history_from(10), Some(7));
    assert_eq!(policy.history_from(2), Some(1));
    policy.history = 0;
    assert_eq!(policy.history_from(10), None);
    let facts = Facts {
        reused_from: vec![9],
        ..strong()
    };
    assert!(judge(&policy, Kind::Password, &facts).accepted);
}

#[test]
fn a_policy_for_another_kind_says_that_it_did_not_judge() {
    let policy = CredentialPolicy::builtin(Kind::Password);
    let assessment = judge(
        &policy,
        Kind::Certificate,
        &Facts {
            length: 1,
            ..strong()
        },
    );
    assert!(assessment.accepted);
    assert_eq!(rules(&assessment, Severity::Info), ["applies"]);
}

#[test]
fn every_kind_has_a_built_in_policy() {
    for kind in Kind::ALL {
        let policy = CredentialPolicy::builtin(*kind);
        assert_eq!(policy.name.as_str(), format!("builtin.{kind}"));
        assert!(policy.applies_to(*kind));
        let mut unreserved = policy.clone();
        unreserved.name = "x".parse().unwrap();
        assert_eq!(unreserved.check(), Ok(()));
    }
}

proptest! {
    #[test]
    fn the_score_grows_with_strength_and_never_leaves_its_range(
        guesses in 0.0..30.0f64, more in 0.0..5.0f64, bits in 0.0..300.0f64, memorable: bool,
    ) {
        let kind = if memorable { Kind::Password } else { Kind::Token };
        let facts = |extra: f64| Facts {
            guesses_log10: memorable.then_some(guesses + extra),
            entropy_bits: bits + extra * 10.0,
            ..strong()
        };
        let (weak, better) = (builtin(kind, &facts(0.0)), builtin(kind, &facts(more)));
        prop_assert!(weak.score <= better.score);
        prop_assert!(better.score <= 100);
    }

    #[test]
    fn a_value_is_accepted_exactly_when_no_finding_refuses(
        length in 0usize..40, guesses in 0.0..20.0f64, shared in 0u32..3,
        forbid_shared: bool, reused: bool, digit: bool,
    ) {
        let mut policy = CredentialPolicy::builtin(Kind::Password);
        policy.forbid_shared = forbid_shared;
        policy.require_numbers = true;
        let facts = Facts {
            length, digit, guesses_log10: Some(guesses), shared_with: shared,
            reused_from: if reused { vec![1] } else { vec![] }, ..strong()
        };
        let found = judge(&policy, Kind::Password, &facts);
        prop_assert_eq!(found.accepted, rules(&found, Severity::Refuse).is_empty());
        prop_assert!(found.accepted || found.score <= score::REFUSED);
    }
}
