//! How many guesses a person's choice takes, by zxcvbn (Wheeler, USENIX Security 2016).
//!
//! zxcvbn has three limits that matter here, and what is done about each:
//!
//! * Its cost grows faster than linearly, and with the number of digits and signs that may stand
//!   for letters it multiplies. So it sees pieces of [`FIRST`], then [`PIECE`] characters, at most
//!   [`PIECES`] of these, and a piece full of such signs in halves.
//! * It ignores what is behind 100 characters, and stops counting at 2^64. So estimates of pieces
//!   are added up; a piece seen before counts as a repetition.
//! * It indexes text by bytes in places, and a panic there would name the text. So it sees ASCII
//!   only: other characters are replaced, neighbours by neighbours, so that runs and repeats stay.

use std::collections::HashSet;

use zeroize::Zeroizing;
use zxcvbn::{matching::patterns::MatchPattern, zxcvbn};

use crate::pattern::run;

/// Characters of the first piece: more than anybody types.
const FIRST: usize = 64;
/// Characters of each further piece.
const PIECE: usize = 32;
/// Further pieces looked at; what is behind adds nothing.
const PIECES: usize = 6;
/// Different signs that zxcvbn may read as letters, above which a piece is halved.
const MANY_SUBSTITUTES: usize = 6;

/// What zxcvbn found.
pub(crate) struct Estimate {
    /// Guesses as a power of ten; 0 for nothing.
    pub(crate) log10: f64,
    /// At least half of it is one common password.
    pub(crate) common: bool,
    /// At least a third of it is made of words or names. Not to be seen where zxcvbn stopped
    /// counting, which is no loss: so many words are strong.
    pub(crate) word: bool,
}

/// Estimates the guesses that `text` takes. A repeated block counts once, and then how often.
pub(crate) fn estimate(text: &[char]) -> Estimate {
    let period = run::period(text);
    let block = if period * 2 <= text.len() {
        &text[..period]
    } else {
        text
    };
    let times = if block.is_empty() {
        1
    } else {
        text.len().div_ceil(block.len())
    };
    let mut estimate = block_estimate(block);
    estimate.log10 += (times as f64).log10();
    estimate
}

fn block_estimate(text: &[char]) -> Estimate {
    let ascii: Zeroizing<String> = Zeroizing::new(text.iter().map(|c| stand_in(*c)).collect());
    let (first, rest) = ascii.split_at(FIRST.min(ascii.len()));
    let mut found = Found::default();
    let mut log10 = first_piece(first, &mut found);
    let mut seen: HashSet<&str> = HashSet::from([first]);
    let mut repeats: u32 = 0;
    for piece in pieces(rest).take(PIECES) {
        if seen.insert(piece) && !first.contains(piece) {
            log10 += single(piece, &mut found);
        } else {
            repeats += 1;
        }
    }
    log10 += f64::from(repeats + 1).log10();
    Estimate {
        log10: log10.max(0.0),
        common: found.common * 2 >= text.len() && found.common > 0,
        word: found.words * 3 >= text.len() && found.words > 0,
    }
}

/// Characters that were recognised.
#[derive(Default)]
struct Found {
    /// By the longest common password.
    common: usize,
    /// By words and names, all together.
    words: usize,
}

fn first_piece(text: &str, found: &mut Found) -> f64 {
    let substitutes: HashSet<u8> = text
        .bytes()
        .filter(|byte| b"4@8({[<369017!|$5+%2".contains(byte))
        .collect();
    if substitutes.len() <= MANY_SUBSTITUTES {
        return single(text, found);
    }
    pieces(text).map(|piece| single(piece, found)).sum()
}

fn single(text: &str, found: &mut Found) -> f64 {
    if text.is_empty() {
        return 0.0;
    }
    let entropy = zxcvbn(text, &[]);
    for part in entropy.sequence() {
        let length = part.j + 1 - part.i;
        if length < 4 {
            continue;
        }
        if let MatchPattern::Dictionary(dictionary) = &part.pattern {
            // The list's type is not exported; its name is all there is, and a test guards it.
            if format!("{:?}", dictionary.dictionary_name) == "Passwords" {
                found.common = found.common.max(length);
            }
            found.words += length;
        }
    }
    entropy.guesses_log10()
}

/// Cuts ASCII text into pieces.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let ends = (PIECE..text.len() + PIECE).step_by(PIECE);
    ends.map(|end| &text[end - PIECE..end.min(text.len())])
}

/// Itself, or for a character outside ASCII a letter, neighbours for neighbours.
fn stand_in(c: char) -> char {
    match c {
        _ if c.is_ascii() => c,
        _ => char::from(b'a' + (u32::from(c) % 26) as u8),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Estimate {
        estimate(&text.chars().collect::<Vec<_>>())
    }

    #[test]
    fn known_passwords_take_the_guesses_they_should() {
        for (text, low, high) in [
            ("", 0.0, 0.0),
            ("password", 0.0, 1.0),
            ("P@ssw0rd1", 1.0, 5.0),
            ("Summer2024!", 3.0, 9.0),
            ("correct horse battery staple", 10.0, 20.0),
            ("qwertyuiop", 0.0, 4.0),
            ("k3Jx.9_vQm~2Lw-8rTz+5YbN", 18.0, 25.0),
            ("пароль", 4.0, 7.0),
        ] {
            let log10 = of(text).log10;
            assert!((low..=high).contains(&log10), "{text}: {log10}");
        }
    }

    #[test]
    fn common_passwords_and_words_are_told_apart() {
        for (text, common, word) in [
            ("password", true, true),
            ("P@ssw0rd12", true, true),
            ("correcthorsebatterystaple", false, true),
            ("k3Jx.9_vQm~2Lw-8rTz+5YbN", false, false),
        ] {
            let found = of(text);
            assert_eq!((found.common, found.word), (common, word), "{text}");
        }
    }

    #[test]
    fn what_is_behind_the_hundredth_character_counts() {
        let long =
            "k3Jx.9_vQm~2Lw-8rTz+5YbN7Hd%pF4s".repeat(2) + "Zq8&gWt=1cXo6#Ej?Ka*0Uu^Ml3/Vi;Py";
        assert!(of(&long).log10 > of(&long[..64]).log10);
        // A repetition adds next to nothing.
        assert!(of(&"a".repeat(4096)).log10 < 6.0);
        assert!(of(&"4@8({[<3690!|$5+%2".repeat(200)).log10 < 23.0);
        assert!(of(&"password".repeat(3)).common);
    }

    #[test]
    fn hostile_text_costs_little() {
        // Every sign that may be a letter, mixed; then runs that make repeats hard to find.
        // Letters in between, so that nothing repeats and no block is counted once.
        let cycle = |signs: &str| {
            let letters = (0u32..).map(|n| char::from(b'a' + (n * n / 7 % 26) as u8));
            signs
                .chars()
                .cycle()
                .zip(letters)
                .flat_map(|(a, b)| [a, a, b])
                .take(4096)
                .collect()
        };
        let signs: String = cycle("4@8({[<369017!|$5+%2");
        let few_signs: String = cycle("({[<1|");
        let almost = format!("{}b", "a".repeat(4095));
        let words = "passwordletmeindragon".repeat(200);
        for text in [signs, few_signs, almost, words] {
            let start = Instant::now();
            of(&text);
            // Generous: unoptimised, on a busy machine.
            let took = start.elapsed();
            assert!(took < Duration::from_secs(3), "{took:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn estimating_never_panics(text in "\\PC{0,120}") {
            let estimate = of(&text);
            prop_assert!(estimate.log10.is_finite() && estimate.log10 >= 0.0);
        }

        #[test]
        fn a_longer_random_password_is_no_weaker(text in "[a-zA-Z0-9._~+-]{40}") {
            let mut last = 0.0;
            for length in (4..=40).step_by(12) {
                let log10 = of(&text[..length]).log10;
                prop_assert!(log10 >= last, "{} at {}", log10, length);
                last = log10;
            }
        }
    }
}
