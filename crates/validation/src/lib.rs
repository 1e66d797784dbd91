//! Pure checks of a credential's strength and format.
//!
//! [`measure`] turns a value into [`Facts`]; whether they are good enough is `pentad-policy`'s to
//! say. What always holds:
//!
//! * Facts hold no part of the value: lengths, yes and no, names of patterns and formats.
//! * No I/O, no randomness. The year is handed in; zxcvbn alone asks the system's clock for it,
//!   to weigh years in a password.
//! * Any value is measured in time linear in its length: what costs more looks at a bounded
//!   beginning only.
//! * Copies of a value made here are zeroised. zxcvbn's own are not, so it sees memorable kinds
//!   only, 64 characters at a time.
//!
//! | module | finds |
//! |---|---|
//! | [`format`](mod@format) | what a value looks like, by a table of formats with their examples |
//! | `pattern` | walks, runs, repeats, dates, stand-ins, words of its own surroundings |
//! | `key` | the algorithm and size of a private key or certificate |
//! | `guesses` | how many guesses a person's choice takes |
//! | `characters` | length, classes, entropy |

use pentad_model::{
    Kind, Path, Secret,
    assessment::{Facts, Pattern},
};
use zeroize::Zeroizing;

mod characters;
pub mod format;
mod guesses;
mod key;
mod pattern;

/// Patterns are looked for in so many characters from the beginning.
const HEAD: usize = 4096;

/// The words that a guesser of this credential would try first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Words<'a> {
    /// The credential's path.
    pub path: Option<&'a Path>,
    /// The account at the target.
    pub account: Option<&'a str>,
    /// The organisation's names and products.
    pub organisation: &'a [&'a str],
}

/// Bits of chance from which on guesses are known and need no estimate.
///
/// Whatever order a guesser goes by, that of zxcvbn included: a value that was drawn uniformly from
/// 2^128 is among its first 2^64, where zxcvbn stops counting, with a chance of 2^-64.
const SURE_BITS: u16 = 128;

/// Whether guesses of such a value would be estimated: milliseconds of work, where all else is
/// microseconds for a value of common length.
pub fn needs_estimate(kind: Kind, drawn_bits: Option<u16>) -> bool {
    kind.profile().memorable && drawn_bits.is_none_or(|bits| bits < SURE_BITS)
}

/// Measures a value. `now_year` is the present year, such as 2026.
///
/// `reused_from` and `shared_with` stay empty: only the caller can compare with other values.
/// Guesses are estimated for memorable kinds (see [`Kind::profile`]) whose value is text.
pub fn measure(secret: &Secret, kind: Kind, words: &Words<'_>, now_year: u16) -> Facts {
    measure_drawn(secret, kind, words, now_year, None)
}

/// As [`measure`], of a value of which is known that it was drawn uniformly from 2^`drawn_bits`, by
/// whoever drew it. With [enough](SURE_BITS) of them the guesses that it takes are known, and not
/// estimated, which is most of what measuring costs; all else is looked at as ever.
pub fn measure_drawn(
    secret: &Secret,
    kind: Kind,
    words: &Words<'_>,
    now_year: u16,
    drawn_bits: Option<u16>,
) -> Facts {
    let mut facts = match secret.expose_str() {
        Some(text) => characters::of_text(text),
        None => characters::of_bytes(secret.expose()),
    };
    let Some(text) = secret.expose_str() else {
        return facts;
    };
    facts.format = format::recognise(text).map(|found| found.label());
    facts.key = key::of(text);
    let head: Zeroizing<Vec<char>> = Zeroizing::new(text.chars().take(HEAD).collect());
    facts.patterns = pattern::find(&head, words, now_year);
    let sure = drawn_bits.filter(|bits| *bits >= SURE_BITS);
    if !kind.profile().memorable {
    } else if let Some(bits) = sure {
        facts.guesses_log10 = Some(f64::from(bits) * std::f64::consts::LOG10_2);
    } else {
        let estimate = guesses::estimate(&head);
        facts.guesses_log10 = Some(estimate.log10);
        let listed = [
            (estimate.common, Pattern::Common),
            (estimate.word, Pattern::Word),
        ];
        facts.patterns.extend(
            listed
                .into_iter()
                .filter(|(found, _)| *found)
                .map(|(_, p)| p),
        );
    }
    facts
}

#[cfg(test)]
mod tests;
