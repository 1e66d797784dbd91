//! Passwords and tokens.
//!
//! Every character is uniform over its alphabet: a random byte that falls into the incomplete last
//! multiple of the alphabet's size is thrown away, not folded. A password that lacks one of the
//! alphabet's classes is thrown away whole, so that the result is uniform over all passwords that
//! have them: forcing characters into chosen positions would favour some.

use pentad_model::{Secret, id::Entropy, kind::Alphabet};
use zeroize::Zeroizing;

use super::GenerateError;

const MIN_PASSWORD: u16 = 12;
const MAX_PASSWORD: u16 = 256;
const MIN_TOKEN: u16 = 16;
const MAX_TOKEN: u16 = 512;
const MAX_PREFIX: usize = 64;

/// The rarest acceptance, 12 characters of `Safe`, is above 1 in 2, so that a sound source fails
/// this often with a chance below 2^-100.
const MAX_PASSWORD_DRAWS: u32 = 128;

const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const SAFE: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+";
const PRINTABLE: &[u8] =
    b"!#$%&()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_abcdefghijklmnopqrstuvwxyz{|}~";
const HEX: &[u8] = b"0123456789abcdef";
const BASE64_URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A password with each class of character that `alphabet` has.
pub(super) fn password(
    length: u16,
    alphabet: Alphabet,
    entropy: &dyn Entropy,
) -> Result<Secret, GenerateError> {
    within("password", length, MIN_PASSWORD, MAX_PASSWORD)?;
    let characters = characters(alphabet);
    let wanted = classes(characters);
    let mut source = Characters::of(characters, entropy);
    for _ in 0..MAX_PASSWORD_DRAWS {
        let mut drawn = Zeroizing::new(Vec::with_capacity(length.into()));
        source.draw_into(&mut drawn, length)?;
        if classes(&drawn) == wanted {
            return Ok(Secret::new(std::mem::take(&mut *drawn)));
        }
    }
    Err(GenerateError::Entropy)
}

/// A token: `prefix` and random characters.
pub(super) fn token(
    prefix: &str,
    length: u16,
    alphabet: Alphabet,
    entropy: &dyn Entropy,
) -> Result<Secret, GenerateError> {
    within("token", length, MIN_TOKEN, MAX_TOKEN)?;
    if prefix.len() > MAX_PREFIX || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(GenerateError::Prefix);
    }
    let mut drawn = Zeroizing::new(Vec::with_capacity(prefix.len() + usize::from(length)));
    drawn.extend_from_slice(prefix.as_bytes());
    Characters::of(characters(alphabet), entropy).draw_into(&mut drawn, length)?;
    Ok(Secret::new(std::mem::take(&mut *drawn)))
}

/// Bits of so many characters, each uniform over the alphabet, rounded down.
pub(super) fn bits(length: u16, alphabet: Alphabet) -> u16 {
    let each = (characters(alphabet).len() as f64).log2();
    // Bounded by 512 characters of seven bits: what is beyond that is not made.
    (f64::from(length.min(MAX_TOKEN)) * each) as u16
}

fn within(what: &'static str, given: u16, min: u16, max: u16) -> Result<(), GenerateError> {
    if (min..=max).contains(&given) {
        Ok(())
    } else {
        Err(GenerateError::Length {
            what,
            min,
            max,
            given,
        })
    }
}

fn characters(alphabet: Alphabet) -> &'static [u8] {
    match alphabet {
        Alphabet::Alphanumeric => ALPHANUMERIC,
        Alphabet::Safe => SAFE,
        Alphabet::Printable => PRINTABLE,
        Alphabet::Hex => HEX,
        Alphabet::Base64Url => BASE64_URL,
    }
}

/// Which of lower case, upper case, digit and other occur.
fn classes(text: &[u8]) -> [bool; 4] {
    let mut found = [false; 4];
    for byte in text {
        found[match byte {
            b'a'..=b'z' => 0,
            b'A'..=b'Z' => 1,
            b'0'..=b'9' => 2,
            _ => 3,
        }] = true;
    }
    found
}

/// A stream of uniform characters.
struct Characters<'a> {
    alphabet: &'static [u8],
    entropy: &'a dyn Entropy,
    buffer: Zeroizing<[u8; 64]>,
    used: usize,
}

impl<'a> Characters<'a> {
    /// At least 128 of 256 bytes are accepted for each of our alphabets, so that this many in a row
    /// are refused with a chance below 2^-100.
    const MAX_REFUSED: u32 = 128;

    fn of(alphabet: &'static [u8], entropy: &'a dyn Entropy) -> Self {
        Self {
            alphabet,
            entropy,
            buffer: Zeroizing::new([0; 64]),
            used: 64,
        }
    }

    fn draw_into(&mut self, out: &mut Vec<u8>, length: u16) -> Result<(), GenerateError> {
        for _ in 0..length {
            out.push(self.draw()?);
        }
        Ok(())
    }

    fn draw(&mut self) -> Result<u8, GenerateError> {
        let size = self.alphabet.len();
        let accepted = 256 - 256 % size;
        for _ in 0..Self::MAX_REFUSED {
            let byte = usize::from(self.byte());
            if byte < accepted {
                return Ok(self.alphabet[byte % size]);
            }
        }
        Err(GenerateError::Entropy)
    }

    fn byte(&mut self) -> u8 {
        if self.used == self.buffer.len() {
            self.entropy.fill(self.buffer.as_mut());
            self.used = 0;
        }
        self.used += 1;
        self.buffer[self.used - 1]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::testing::{SeededEntropy, StuckEntropy};

    const ALL: [Alphabet; 5] = [
        Alphabet::Alphanumeric,
        Alphabet::Safe,
        Alphabet::Printable,
        Alphabet::Hex,
        Alphabet::Base64Url,
    ];

    #[test]
    fn alphabets_are_as_the_model_describes_them() {
        let sizes = ALL.map(|alphabet| characters(alphabet).len());
        assert_eq!(sizes, [62, 67, 90, 16, 64]);
        for alphabet in ALL {
            let set: BTreeSet<_> = characters(alphabet).iter().collect();
            assert_eq!(
                set.len(),
                characters(alphabet).len(),
                "doubled in {alphabet:?}"
            );
        }
        let printable: Vec<u8> = (b'!'..=b'~').filter(|b| !b"\"'`\\".contains(b)).collect();
        assert_eq!(PRINTABLE, printable);
    }

    proptest! {
        #[test]
        fn passwords_have_their_length_alphabet_and_classes(
            seed: u64, length in 12u16..=256, which in 0..ALL.len(),
        ) {
            let value = password(length, ALL[which], &SeededEntropy::new(seed)).unwrap();
            prop_assert_eq!(value.len(), usize::from(length));
            prop_assert!(value.expose().iter().all(|byte| characters(ALL[which]).contains(byte)));
            prop_assert_eq!(classes(value.expose()), classes(characters(ALL[which])));
        }
    }

    #[test]
    fn characters_are_uniform_at_every_position() {
        // 40,000 draws over 67 characters: chi-squared with 66 degrees of freedom exceeds 130 with
        // a chance of about 1e-5; folding (256 mod 67 = 55) would push it above 2,000.
        let entropy = SeededEntropy::new(7);
        let mut source = Characters::of(SAFE, &entropy);
        let mut seen = BTreeMap::new();
        let draws = 40_000;
        for _ in 0..draws {
            *seen.entry(source.draw().unwrap()).or_insert(0u32) += 1;
        }
        let expected = f64::from(draws) / SAFE.len() as f64;
        let chi_squared: f64 = SAFE
            .iter()
            .map(|c| f64::from(seen.get(c).copied().unwrap_or(0)) - expected)
            .map(|difference| difference * difference / expected)
            .sum();
        assert!(chi_squared < 130.0, "{chi_squared}");
    }

    #[test]
    fn a_token_shows_its_prefix_and_its_random_length() {
        let value = token("pk_live_", 40, Alphabet::Hex, &SeededEntropy::new(1)).unwrap();
        let random = value
            .expose_str()
            .unwrap()
            .strip_prefix("pk_live_")
            .unwrap();
        assert_eq!(random.len(), 40);
        assert!(random.bytes().all(|byte| HEX.contains(&byte)));
    }

    #[test]
    fn two_draws_differ() {
        let entropy = SeededEntropy::new(1);
        let draw = || token("", 40, Alphabet::Alphanumeric, &entropy).unwrap();
        assert_ne!(draw(), draw());
    }

    #[test]
    fn bounds_are_kept_and_named() {
        let entropy = SeededEntropy::new(1);
        for length in [0, 11, 257, u16::MAX] {
            let error = password(length, Alphabet::Safe, &entropy).unwrap_err();
            assert!(error.to_string().contains("12 to 256"), "{error}");
        }
        for length in [0, 15, 513] {
            let error = token("", length, Alphabet::Hex, &entropy).unwrap_err();
            assert!(error.to_string().contains("16 to 512"), "{error}");
        }
        for prefix in ["a b", "a\n", "ü", &"x".repeat(65)] {
            let error = token(prefix, 16, Alphabet::Hex, &entropy).unwrap_err();
            assert_eq!(error, GenerateError::Prefix);
        }
    }

    #[test]
    fn a_stuck_source_ends_in_an_error_not_in_a_loop_or_a_weak_password() {
        for byte in [0, 255] {
            let stuck = password(12, Alphabet::Safe, &StuckEntropy(byte));
            assert_eq!(stuck, Err(GenerateError::Entropy));
        }
    }
}
