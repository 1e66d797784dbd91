#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const YEAR: u16 = 2026;

fn of(value: &str, kind: Kind) -> Facts {
    measure(&Secret::new(value), kind, &Words::default(), YEAR)
}

#[test]
fn real_values_show_their_weaknesses() {
    use Pattern::{Common, Context, Date, KeyboardWalk, Placeholder, Repeat, Sequence, Word};
    let path = "prod/orders/db".parse().unwrap();
    let words = Words {
        path: Some(&path),
        account: Some("billing"),
        organisation: &["Acme"],
    };
    for (value, expected) in [
        ("password", &[Placeholder, Common, Word][..]),
        ("P@ssw0rd2024", &[Date, Common, Word]),
        ("qwertyuiop", &[KeyboardWalk, Common, Word]),
        ("abcdefgh1234", &[Sequence]),
        ("hxhxhxhxhx", &[Repeat]),
        ("17.05.1999", &[Date]),
        ("Acme0rders!", &[Context]),
        ("b1ll1ng-7Xq", &[Context]),
        ("changeme", &[Placeholder]),
        ("correcthorsebatterystaple", &[Word]),
        ("k3Jx.9_vQm~2Lw-8rTz+5YbN", &[]),
    ] {
        let found = measure(&Secret::new(value), Kind::Password, &words, YEAR).patterns;
        for pattern in expected {
            assert!(
                found.contains(pattern),
                "{value}: {pattern:?} missing in {found:?}"
            );
        }
        let allowed = |p: &Pattern| {
            expected.contains(p) || (!expected.is_empty() && matches!(p, Word | Common))
        };
        assert!(found.iter().all(allowed), "{value}: {found:?}");
    }
}

#[test]
fn guesses_are_estimated_for_what_people_choose_only() {
    for kind in Kind::ALL {
        let estimated = of("k3Jx9vQm2Lw8", *kind).guesses_log10.is_some();
        assert_eq!(estimated, kind.profile().memorable, "{kind}");
    }
    assert_eq!(of("", Kind::Password).guesses_log10, Some(0.0));
}

#[test]
fn guesses_of_a_drawn_value_are_known_and_all_else_is_looked_at() {
    // What chance would hardly ever make, so that it shows what is looked at.
    let secret = Secret::new("abcdefghijklmnop-k3Jx.9_vQm~2Lw-");
    let of = |bits| measure_drawn(&secret, Kind::Database, &Words::default(), 2026, bits);
    let estimated = measure(&secret, Kind::Database, &Words::default(), 2026);
    let drawn = of(Some(SURE_BITS));
    let log10 = drawn.guesses_log10.unwrap();
    assert!((38.5..38.6).contains(&log10), "{log10}");
    assert!(drawn.patterns.contains(&Pattern::Sequence));
    // Where chance does not make sure, it is estimated as ever.
    assert_eq!(of(Some(SURE_BITS - 1)), estimated);
    assert_eq!(of(None), estimated);
    // What nobody types is not estimated either way.
    let key = measure_drawn(
        &secret,
        Kind::ApiKey,
        &Words::default(),
        2026,
        Some(SURE_BITS),
    );
    assert_eq!(key.guesses_log10, None);
}

#[test]
fn the_format_is_named() {
    assert_eq!(
        of("f81d4fae-7dec-11d0-a765-00a0c91e6bf6\n", Kind::ApiKey)
            .format
            .as_deref(),
        Some("uuid")
    );
    assert_eq!(of("hunter2", Kind::ApiKey).format, None);
}

#[test]
fn bytes_that_are_no_text_are_measured_too() {
    let facts = measure(
        &Secret::new([0xff; 32]),
        Kind::Secret,
        &Words::default(),
        YEAR,
    );
    assert_eq!(
        (facts.length, facts.entropy_bits, facts.format),
        (32, 0.0, None)
    );
}

#[test]
fn comparison_with_other_values_is_left_to_the_caller() {
    let facts = of("k3Jx9vQm2Lw8", Kind::Password);
    assert!(facts.reused_from.is_empty());
    assert_eq!(facts.shared_with, 0);
}

#[test]
fn a_hostile_value_of_a_mebibyte_is_measured_quickly() {
    const SIZE: usize = 1024 * 1024;
    let unit = |text: &str| text.chars().cycle().take(SIZE).collect::<String>();
    let values = [
        unit("a"),
        unit("4@8({[<3690!|$5+%2"),
        unit("password"),
        unit("-----BEGIN CERTIFICATE-----\n"),
        unit("."),
        unit("://:@"),
        unit("1/1/"),
        (0..SIZE as u32 / 4)
            .filter_map(|n| char::from_u32(0x1_0000 + n))
            .collect(),
    ];
    let path = "aaaa/pass/word".parse().unwrap();
    let organisation = vec!["a"; 10_000];
    let words = Words {
        path: Some(&path),
        account: Some("aaaaaaaa"),
        organisation: &organisation,
    };
    for value in values {
        let start = Instant::now();
        let facts = measure(&Secret::new(value), Kind::Password, &words, YEAR);
        let took = start.elapsed();
        // Generous: unoptimised, on a busy machine.
        assert!(
            took < Duration::from_secs(3),
            "{took:?} for {} characters",
            facts.length
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn measuring_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), index in 0usize..10) {
        measure(&Secret::new(bytes), Kind::ALL[index], &Words::default(), YEAR);
    }

    #[test]
    fn measuring_text_never_panics(text in "\\PC{0,200}", year: u16, account in "\\PC{0,20}") {
        let words = Words { account: Some(&account), ..Words::default() };
        measure(&Secret::new(text), Kind::Secret, &words, year);
    }

    #[test]
    fn facts_hold_no_part_of_the_value(text in "[a-zA-Z0-9]{12,40}") {
        let facts = format!("{:?}", of(&text, Kind::Password));
        prop_assert!(!facts.contains(&text[..12]));
    }

    #[test]
    fn a_generated_password_shows_no_weakness_that_is_refused(text in "[a-zA-Z0-9._~+-]{32}") {
        // Hardly one in a thousand repeats itself more; such a one may well be measured as weaker.
        let distinct: std::collections::BTreeSet<char> = text.chars().collect();
        prop_assume!(distinct.len() >= 20);
        let path = "prod/orders/db".parse().unwrap();
        let words = Words { path: Some(&path), account: Some("app"), organisation: &[] };
        let facts = measure(&Secret::new(text), Kind::Database, &words, YEAR);
        for pattern in [Pattern::Common, Pattern::Placeholder, Pattern::Context] {
            prop_assert!(!facts.patterns.contains(&pattern));
        }
        prop_assert!(facts.guesses_log10.is_some_and(|log10| log10 > 14.0));
        prop_assert!(facts.entropy_bits > 100.0);
    }

    #[test]
    fn entropy_grows_with_what_is_added(text in "[a-z]{1,30}", more in "[0-9]{1,10}") {
        let longer = format!("{text}{more}");
        prop_assert!(of(&longer, Kind::Token).entropy_bits >= of(&text, Kind::Token).entropy_bits);
    }
}
