#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pentad_model::{
    Credential, Kind, Stage, Tenant, Timestamp, Version,
    assessment::{Assessment, Facts, KeyFacts, Pattern},
    credential::Origin,
    secret::Fingerprint,
};
use proptest::prelude::*;

use super::*;
use crate::CredentialPolicy;

const DAY: i64 = 24 * 60 * 60 * 1000;
const NOW: Timestamp = Timestamp(2_000 * DAY);

fn credential(kind: Kind) -> Credential {
    Credential {
        tenant: Tenant::default_tenant(),
        path: "prod/db".parse().unwrap(),
        kind,
        description: String::new(),
        provider: None,
        tags: Default::default(),
        owner: Some("team-a".to_owned()),
        depends_on: Vec::new(),
        policy: None,
        generator: None,
        binding: None,
        expires_at: Some(NOW.plus(crate::schedule::DAY)),
        current: Some(1),
        latest: 1,
        in_doubt: false,
        revision: 1,
        created_at: NOW,
        updated_at: NOW,
        deleted_at: None,
    }
}

fn version(days_old: i64) -> Version {
    Version {
        tenant: Tenant::default_tenant(),
        path: "prod/db".parse().unwrap(),
        number: 1,
        stage: Stage::Current,
        stage_mac: Fingerprint([0; 32]),
        sealed: None,
        fingerprint: Fingerprint([0; 32]),
        account: None,
        origin: Origin::Generated,
        derived_from: None,
        created_by: "user:ann".to_owned(),
        created_at: Timestamp(NOW.0 - days_old * DAY),
        staged_at: NOW,
    }
}

/// What no check has anything against.
fn strong() -> Facts {
    Facts {
        length: 64,
        lower: true,
        upper: true,
        digit: true,
        special: true,
        entropy_bits: 200.0,
        guesses_log10: Some(19.2),
        patterns: Vec::new(),
        format: None,
        reused_from: Vec::new(),
        shared_with: 0,
        key: Some(KeyFacts {
            algorithm: "rsa".to_owned(),
            bits: 4096,
        }),
    }
}

/// A control of one check, judged for a password with these facts.
struct Case {
    credential: Credential,
    version: Version,
    facts: Facts,
    score: u8,
    policy: CredentialPolicy,
    sealed_by: Option<&'static str>,
    interval: Interval,
    exposure: Exposure,
    retention: Retention,
}

impl Case {
    fn good(kind: Kind) -> Self {
        Self {
            credential: credential(kind),
            version: version(1),
            facts: strong(),
            score: 100,
            policy: CredentialPolicy::builtin(kind),
            sealed_by: Some("AES-256-GCM"),
            interval: Interval::Never,
            exposure: Exposure::NotFound,
            retention: Retention::Covered,
        }
    }

    fn judged(&self, set: &RuleSet) -> Vec<Judged> {
        let assessment = Assessment {
            score: self.score,
            accepted: self.score > 30,
            findings: Vec::new(),
            rules: String::new(),
        };
        let subject = Subject {
            credential: &self.credential,
            version: Some(&self.version),
            measured: Ok(Measured {
                facts: &self.facts,
                assessment: &assessment,
                policy: &self.policy,
                sealed_by: self.sealed_by,
            }),
            retention: self.retention,
            interval: self.interval,
            exposure: self.exposure,
            now: NOW,
        };
        judge(set, &subject)
    }

    fn verdict(&self, check: &str) -> Verdict {
        let judged = self.judged(&set_of(check));
        assert_eq!(judged.len(), 1, "{judged:?}");
        assert!(!judged[0].because.is_empty());
        assert_eq!(
            judged[0].verdict == Verdict::Fail,
            !judged[0].advice.is_empty()
        );
        judged[0].verdict
    }
}

fn set_of(check: &str) -> RuleSet {
    let text = format!(
        "id = \"own\"\ntitle = \"Own\"\n[[controls]]\nid = \"1\"\ntitle = \"One\"\nchecks = [{check}]"
    );
    RuleSet::parse(&text).unwrap_or_else(|error| panic!("{check}: {error}"))
}

#[test]
fn every_built_in_set_parses_and_says_where_it_comes_from() {
    let sets = builtin();
    assert_eq!(sets.len(), BUILTIN.len());
    let ids: Vec<&str> = sets.iter().map(|set| set.id.as_str()).collect();
    assert!(ids.is_sorted() && ids.iter().collect::<BTreeSet<_>>().len() == ids.len());
    for set in &sets {
        assert!(set.source.starts_with("https://"), "{}", set.id);
        assert!(!set.edition.is_empty(), "{}", set.id);
        for control in &set.controls {
            let label = control.label();
            assert!(control.text.ends_with('.'), "{} {label}", set.id);
            assert!(!control.title.ends_with('.'), "{} {label}", set.id);
        }
        assert!(set.check_custom().is_err(), "{} is taken", set.id);
    }
}

#[test]
fn each_check_passes_the_good_fails_the_bad_and_never_passes_the_unknown() {
    type Change = fn(&mut Case);
    // A check, what makes it fail, and what makes it impossible to tell.
    let table: &[(&str, Change, Option<Change>)] = &[
        (
            "{ type = \"length\", min = 12 }",
            |c| c.facts.length = 11,
            None,
        ),
        (
            "{ type = \"alphanumeric\" }",
            |c| c.facts.digit = false,
            None,
        ),
        ("{ type = \"score\", min = 60 }", |c| c.score = 59, None),
        (
            "{ type = \"entropy\", min_bits = 64 }",
            |c| c.facts.entropy_bits = 63.0,
            None,
        ),
        ("{ type = \"accepted_by_policy\" }", |c| c.score = 1, None),
        (
            "{ type = \"blocklist\" }",
            |c| c.facts.patterns.push(Pattern::Common),
            None,
        ),
        (
            "{ type = \"no_composition_rules\" }",
            |c| c.policy.require_numbers = true,
            None,
        ),
        (
            "{ type = \"policy_allows_length\", characters = 64 }",
            |c| c.policy.max_length = Some(63),
            None,
        ),
        (
            "{ type = \"history\", versions = 4 }",
            |c| c.facts.reused_from.push(1),
            None,
        ),
        (
            "{ type = \"history\", versions = 4 }",
            |c| c.policy.history = 3,
            None,
        ),
        ("{ type = \"unique\" }", |c| c.facts.shared_with = 1, None),
        (
            "{ type = \"max_age\", days = 90 }",
            |c| c.version = version(91),
            Some(|c| c.version.origin = Origin::Adopted),
        ),
        (
            "{ type = \"no_rotation_by_age\" }",
            |c| c.interval = Interval::Days(90),
            Some(|c| c.interval = Interval::Unknown),
        ),
        (
            "{ type = \"owner\" }",
            |c| c.credential.owner = Some(" ".to_owned()),
            None,
        ),
        (
            "{ type = \"expiry\" }",
            |c| c.credential.expires_at = None,
            None,
        ),
        (
            "{ type = \"unexpired\" }",
            |c| c.credential.expires_at = Some(NOW),
            Some(|c| c.credential.expires_at = None),
        ),
        (
            "{ type = \"sealed\", algorithm = \"AES-256-GCM\" }",
            |c| c.sealed_by = Some("AES-128-CBC"),
            Some(|c| c.sealed_by = None),
        ),
        (
            "{ type = \"key_strength\", rsa_bits = 2048, ec_bits = 224 }",
            |c| c.facts.key.as_mut().unwrap().bits = 1024,
            Some(|c| c.facts.key = None),
        ),
        (
            "{ type = \"not_exposed\" }",
            |c| c.exposure = Exposure::Found,
            Some(|c| c.exposure = Exposure::Unknown),
        ),
        (
            "{ type = \"settled\" }",
            |c| c.credential.in_doubt = true,
            None,
        ),
        (
            "{ type = \"retention\" }",
            |c| c.retention = Retention::Uncovered,
            Some(|c| c.retention = Retention::Unknown),
        ),
    ];
    for (check, bad, doubtful) in table {
        let mut case = Case::good(Kind::Password);
        assert_eq!(case.verdict(check), Verdict::Pass, "{check}");
        bad(&mut case);
        assert_eq!(case.verdict(check), Verdict::Fail, "{check}");
        if let Some(doubtful) = doubtful {
            let mut case = Case::good(Kind::Password);
            doubtful(&mut case);
            assert_eq!(case.verdict(check), Verdict::NotAssessed, "{check}");
        }
    }
}

#[test]
fn an_interval_is_held_against_the_longest_allowed() {
    let check = "{ type = \"rotation_interval\", max_days = 90 }";
    for (interval, verdict) in [
        (Interval::Unknown, Verdict::NotAssessed),
        (Interval::Never, Verdict::Fail),
        (Interval::Days(90), Verdict::Pass),
        (Interval::Days(91), Verdict::Fail),
    ] {
        let mut case = Case::good(Kind::Database);
        case.interval = interval;
        assert_eq!(case.verdict(check), verdict, "{interval:?}");
    }
    assert_eq!(
        Case::good(Kind::Database).verdict("{ type = \"bound\" }"),
        Verdict::Fail
    );
}

#[test]
fn a_value_that_could_not_be_opened_passes_nothing_about_values() {
    let (credential, version) = (credential(Kind::Password), version(1));
    let subject = Subject {
        credential: &credential,
        version: Some(&version),
        measured: Err("it has no value"),
        retention: Retention::Unknown,
        interval: Interval::Unknown,
        exposure: Exposure::Unknown,
        now: NOW,
    };
    for set in builtin() {
        for (control, judged) in set.controls().zip(judge(&set, &subject)) {
            let without_value = control.checks.iter().all(|check| {
                use Check::{Expiry, MaxAge, Owner, Unexpired};
                matches!(check, Owner {} | Expiry {} | Unexpired {} | MaxAge { .. })
            });
            let passed = judged.verdict == Verdict::Pass;
            assert!(!passed || without_value, "{} {judged:?}", set.id);
        }
    }
}

#[test]
fn a_control_is_as_good_as_its_worst_check() {
    let mut case = Case::good(Kind::Password);
    case.exposure = Exposure::Unknown;
    let both = "{ type = \"owner\" }, { type = \"not_exposed\" }";
    assert_eq!(case.verdict(both), Verdict::NotAssessed);
    case.credential.owner = None;
    assert_eq!(case.verdict(both), Verdict::Fail);
}

#[test]
fn a_control_of_other_kinds_is_not_applicable() {
    let set = builtin()
        .into_iter()
        .find(|set| set.id.as_str() == "pci-dss-4.0.1");
    let set = set.unwrap();
    let judged = Case::good(Kind::ApiKey).judged(&set);
    let of = |label: &str| {
        judged
            .iter()
            .find(|one| one.control == label)
            .unwrap()
            .verdict
    };
    assert_eq!(of("8.3.6"), Verdict::NotApplicable);
    assert_eq!(of("8.3.2"), Verdict::Pass);
}

#[test]
fn what_is_about_the_system_is_said_once_and_never_passed() {
    for set in builtin() {
        let judged = judge_system(&set);
        assert_eq!(judged.len(), set.systemic().count());
        assert!(judged.iter().all(|one| one.verdict == Verdict::NotAssessed));
    }
}

#[test]
fn short_and_known_passwords_fail_where_the_framework_gives_the_number() {
    let mut case = Case::good(Kind::Password);
    case.facts.length = 13;
    let failing = |id: &str| -> Vec<String> {
        let set = builtin()
            .into_iter()
            .find(|set| set.id.as_str() == id)
            .unwrap();
        let judged = case.judged(&set);
        let failed = judged
            .into_iter()
            .filter(|one| one.verdict == Verdict::Fail);
        failed.map(|one| one.control).collect()
    };
    assert_eq!(failing("nist-800-63b-4"), ["3.1.1.2 (length)"]);
    assert!(failing("pci-dss-4.0.1").is_empty());
}

#[test]
fn a_set_that_means_nothing_is_refused_with_the_place() {
    for (text, told) in [
        ("", "missing field"),
        ("id = \"x\"\ntitle = \"X\"\ncontrols = []", "1 to 200"),
        (
            "id = \"x\"\ntitle = \"X\"\n[[controls]]\nid = \"1\"\ntitle = \"One\"\nchecks = []",
            "control `1`",
        ),
        (
            "id = \"x\"\ntitle = \"X\"\n[[controls]]\nid = \"1\"\ntitle = \"One\"\nchecks = [{ type = \"lenght\", min = 3 }]",
            "lenght",
        ),
        (
            "id = \"x\"\ntitle = \"X\"\n[[controls]]\nid = \"1\"\ntitle = \"One\"\nchecks = [{ type = \"score\", min = 101 }]",
            "0 to 100",
        ),
        (
            "id = \"x\"\ntitle = \"X\"\n[[controls]]\nid = \"1\"\ntitle = \"One\"\nchecks = [{ type = \"sealed\", algorithm = \"ROT13\" }]",
            "ROT13",
        ),
        (
            "id = \"x\"\ntitle = \"X\"\n[[controls]]\nid = \"1\"\ntitle = \"One\"\nchecks = [{ type = \"owner\" }, { type = \"audit_verified\" }]",
            "don't mix",
        ),
    ] {
        let error = RuleSet::parse(text).unwrap_err().to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
    let twice = "id = \"x\"\ntitle = \"X\"\n".to_owned()
        + &"[[controls]]\nid = \"1\"\ntitle = \"One\"\nchecks = [{ type = \"owner\" }]\n".repeat(2);
    assert!(
        RuleSet::parse(&twice)
            .unwrap_err()
            .to_string()
            .contains("twice")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_credential_is_counted_once_in_every_control(
        lengths in prop::collection::vec(0usize..40, 0..8), kind in 0usize..Kind::ALL.len(),
    ) {
        for set in builtin() {
            let judged: Vec<Vec<Judged>> = lengths.iter().map(|length| {
                let mut case = Case::good(Kind::ALL[kind]);
                case.facts.length = *length;
                case.judged(&set)
            }).collect();
            let counts = tally(&set, judged.iter().map(Vec::as_slice));
            prop_assert_eq!(counts.len(), set.controls().count());
            for Tally { passed, failed, not_assessed, not_applicable } in counts {
                let sum = passed + failed + not_assessed + not_applicable;
                prop_assert_eq!(sum, lengths.len() as u64);
            }
        }
    }

    #[test]
    fn parsing_never_panics(text in "\\PC{0,200}") {
        let _ = RuleSet::parse(&text);
    }
}
