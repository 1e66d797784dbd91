#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pentad_model::access::Rule;
use proptest::prelude::*;

use super::*;

fn role(name: &str, rules: &[(Effect, &str, &[Verb])]) -> Role {
    Role {
        name: name.parse().unwrap(),
        description: String::new(),
        rules: rules
            .iter()
            .map(|(effect, path, verbs)| Rule {
                effect: *effect,
                paths: vec![(*path).to_owned()],
                verbs: verbs.to_vec(),
            })
            .collect(),
    }
}

use Effect::{Allow, Deny};

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

#[test]
fn nothing_is_allowed_by_default() {
    for verb in Verb::ALL {
        assert!(!Access::default().allows(*verb, &path("a")));
        assert!(!Access::default().decide_system(*verb).allowed);
    }
}

#[test]
fn deny_beats_allow_in_any_role_and_order() {
    let wide = role("wide", &[(Allow, "**", &[Verb::Read])]);
    let guard = role("guard", &[(Deny, "prod/payroll/**", &[Verb::Read])]);
    for roles in [[wide.clone(), guard.clone()], [guard, wide]] {
        let access = Access::compile(&roles).unwrap();
        let decision = access.decide(Verb::Read, &path("prod/payroll/db"));
        assert!(!decision.allowed);
        assert_eq!(
            decision.because.to_string(),
            "role `guard`, rule 1 (`prod/payroll/**`) denies it"
        );
        assert!(access.allows(Verb::Read, &path("prod/orders/db")));
    }
}

#[test]
fn a_refusal_names_the_nearest_rule_and_what_it_lacks() {
    let team = role(
        "team",
        &[
            (Allow, "dev/**", &[Verb::Read]),
            (Allow, "prod/orders/*", &[Verb::List]),
        ],
    );
    let access = Access::compile(&[team]).unwrap();
    assert_eq!(
        access.explain(Verb::Read, &path("prod/orders/db")),
        "read on `prod/orders/db` is denied: no rule allows read here; nearest: role `team`, rule \
         2 (`prod/orders/*`) matches, but does not allow read"
    );
    assert_eq!(
        access.explain(Verb::List, &path("prod/orders/db/x")),
        "list on `prod/orders/db/x` is denied: no rule allows list here; nearest: role `team`, \
         rule 2 (`prod/orders/*`) allows list, but does not match"
    );
    assert_eq!(
        access.explain(Verb::Admin, &path("x")),
        "admin on `x` is denied: no rule allows admin here; no role speaks of it"
    );
}

#[test]
fn a_decision_serialises_with_its_rule() {
    let team = role("team", &[(Allow, "dev/**", &[Verb::Read])]);
    let access = Access::compile(&[team]).unwrap();
    let json = |verb, at| serde_json::to_value(access.decide(verb, &path(at))).unwrap();
    assert_eq!(
        json(Verb::Read, "dev/db"),
        serde_json::json!({ "allowed": true, "because": {
            "type": "allowed_by", "role": "team", "rule": 1, "pattern": "dev/**" } })
    );
    assert_eq!(
        json(Verb::Write, "dev/db")["because"]["nearest"],
        serde_json::json!({ "role": "team", "rule": 1, "pattern": "dev/**", "lacks": "verb" })
    );
}

#[test]
fn an_action_on_no_path_needs_the_whole_tenant() {
    let narrow = role("narrow", &[(Allow, "prod/**", &[Verb::Audit])]);
    assert!(
        !Access::compile(&[narrow])
            .unwrap()
            .decide_system(Verb::Audit)
            .allowed
    );

    let whole = role(
        "whole",
        &[
            (Allow, "**", &[Verb::Audit]),
            (Deny, "x/**", &[Verb::Audit]),
        ],
    );
    assert!(
        Access::compile(std::slice::from_ref(&whole))
            .unwrap()
            .decide_system(Verb::Audit)
            .allowed
    );

    let never = role("never", &[(Deny, "**", &[Verb::Audit])]);
    assert!(
        !Access::compile(&[whole, never])
            .unwrap()
            .decide_system(Verb::Audit)
            .allowed
    );
}

#[test]
fn a_bad_pattern_is_reported_with_its_place() {
    let bad = role(
        "bad",
        &[(Allow, "a", &[Verb::Read]), (Allow, "/b/**", &[Verb::Read])],
    );
    let error = Access::compile(&[bad]).unwrap_err().to_string();
    assert!(
        error.starts_with("role `bad`, rule 2, pattern `/b/**`: "),
        "{error}"
    );
}

#[test]
fn a_rule_that_says_nothing_is_refused() {
    let mut hollow = role("hollow", &[(Allow, "a", &[])]);
    assert!(Access::compile(std::slice::from_ref(&hollow)).is_err());
    hollow.rules[0].verbs = vec![Verb::Read];
    hollow.rules[0].paths.clear();
    assert!(Access::compile(&[hollow]).is_err());
}

#[test]
fn a_written_role_may_not_take_a_ready_made_name() {
    let fake = role("admin", &[(Allow, "a", &[Verb::Read])]);
    assert!(matches!(
        check_custom_role(&fake),
        Err(InvalidRole::Reserved(_))
    ));
    assert_eq!(
        check_custom_role(&role("mine", &[(Allow, "a", &[Verb::Read])])),
        Ok(())
    );
}

#[test]
fn scans_start_where_something_can_be_seen() {
    let access = Access::compile(&[role(
        "narrow",
        &[
            (Allow, "prod/web-*/db", &[Verb::List]),
            (Allow, "prod/web-1/**", &[Verb::List]),
            (Allow, "dev/**", &[Verb::List]),
            (Allow, "secret/a/**", &[Verb::List]),
            (Deny, "secret/**", &[Verb::List]),
        ],
    )])
    .unwrap();
    assert_eq!(access.scan_prefixes(Verb::List, ""), ["dev/", "prod/web-"]);
    assert_eq!(
        access.scan_prefixes(Verb::List, "prod/web-2/"),
        ["prod/web-2/"]
    );
    assert_eq!(access.scan_prefixes(Verb::List, "pr"), ["prod/web-"]);
    assert!(!access.may_allow_under(Verb::List, "stage/"));
    assert!(!access.may_allow_under(Verb::List, "secret/"));
    assert!(!access.may_allow_under(Verb::Read, ""));
}

fn any_role() -> impl Strategy<Value = Role> {
    let verb = prop::sample::select(Verb::ALL.to_vec());
    let segment = prop_oneof![Just("*".to_owned()), "[ab]", "[ab]\\*"];
    let pattern =
        (prop::collection::vec(segment, 0..3), any::<bool>()).prop_map(|(mut parts, below)| {
            if below || parts.is_empty() {
                parts.push("**".to_owned());
            }
            parts.join("/")
        });
    let rule = (
        prop_oneof![3 => Just(Allow), 1 => Just(Deny)],
        prop::collection::vec(pattern, 1..3),
        prop::collection::vec(verb, 1..4),
    )
        .prop_map(|(effect, paths, verbs)| Rule {
            effect,
            paths,
            verbs,
        });
    ("[a-z]{3}", prop::collection::vec(rule, 0..4)).prop_map(|(name, rules)| Role {
        name: name.parse().unwrap(),
        description: String::new(),
        rules,
    })
}

fn any_path() -> impl Strategy<Value = Path> {
    prop::collection::vec("[ab]{1,2}", 1..4).prop_map(|parts| path(&parts.join("/")))
}

proptest! {
    #[test]
    fn the_decision_agrees_with_the_rules_read_naively(
        roles in prop::collection::vec(any_role(), 0..4),
        at in any_path(),
    ) {
        let access = Access::compile(&roles).unwrap();
        for verb in Verb::ALL {
            let says = |effect| roles.iter().flat_map(|role| &role.rules).any(|rule| {
                rule.effect == effect
                    && rule.verbs.contains(verb)
                    && rule.paths.iter().any(|p| Pattern::parse(p).unwrap().matches(&at))
            });
            let expected = says(Allow) && !says(Deny);
            prop_assert_eq!(access.decide(*verb, &at).allowed, expected);
            prop_assert_eq!(access.allows(*verb, &at), expected);
        }
    }

    #[test]
    fn denying_more_never_allows_more(
        mut roles in prop::collection::vec(any_role(), 1..4),
        extra in any_role(),
        at in any_path(),
    ) {
        let before = Access::compile(&roles).unwrap();
        let mut extra = extra;
        extra.rules.iter_mut().for_each(|rule| rule.effect = Deny);
        roles.push(extra);
        let after = Access::compile(&roles).unwrap();
        for verb in Verb::ALL {
            prop_assert!(before.allows(*verb, &at) || !after.allows(*verb, &at));
            prop_assert!(
                before.decide_system(*verb).allowed || !after.decide_system(*verb).allowed
            );
        }
    }

    #[test]
    fn every_allowed_path_is_below_a_scan_prefix(
        roles in prop::collection::vec(any_role(), 0..4),
        at in any_path(),
        cut in 0usize..6,
    ) {
        let access = Access::compile(&roles).unwrap();
        let under = &at.as_str()[..cut.min(at.as_str().len())];
        if access.allows(Verb::List, &at) {
            let prefixes = access.scan_prefixes(Verb::List, under);
            prop_assert!(prefixes.iter().any(|p| at.as_str().starts_with(p.as_str())));
        }
    }
}
