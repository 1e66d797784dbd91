//! Identities: 128 bits, ordered by time (the layout of RFC 9562 UUID version 7).

use std::{cell::RefCell, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{clock::Timestamp, text::from_text};

/// Where randomness comes from. [`OsEntropy`] in production; a seeded one in tests.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes`. An operating system that can't is beyond repair: the process must not go on
    /// with guessable identities or keys, so this may abort.
    fn fill(&self, bytes: &mut [u8]);

    /// Sixteen bytes for what must be unique and is no secret, such as an [`Id`]: may be drawn from
    /// the same source in advance.
    fn unique(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        bytes
    }
}

/// The operating system's CSPRNG (`getrandom(2)`).
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        if getrandom::fill(bytes).is_err() {
            // No randomness means no safe key, nonce or token: nothing may continue.
            std::process::abort();
        }
    }

    /// A system call for each 256 of them.
    fn unique(&self) -> [u8; 16] {
        thread_local! {
            static DRAWN: RefCell<Drawn> = const { RefCell::new(Drawn { bytes: [0; DRAW], left: 0 }) };
        }
        DRAWN.with_borrow_mut(|drawn| {
            if drawn.left == 0 {
                self.fill(&mut drawn.bytes);
                drawn.left = DRAW;
            }
            let mut bytes = [0; 16];
            drawn.left -= bytes.len();
            let end = drawn.left + bytes.len();
            bytes.copy_from_slice(&drawn.bytes[drawn.left..end]);
            bytes
        })
    }
}

/// Bytes drawn in advance, a multiple of sixteen.
const DRAW: usize = 4096;

struct Drawn {
    bytes: [u8; DRAW],
    left: usize,
}

/// An identity that sorts by the time it was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u128);

impl Id {
    /// A new identity: 48 bits of milliseconds, 74 random bits, version and variant.
    pub fn generate(now: Timestamp, entropy: &dyn Entropy) -> Self {
        let time = u128::from(now.0.max(0).cast_unsigned() & 0xffff_ffff_ffff) << 80;
        let random = u128::from_be_bytes(entropy.unique()) & ((1 << 80) - 1);
        let versioned = (time | random) & !(0xf << 76) | (0x7 << 76);
        Self(versioned & !(0b11 << 62) | (0b10 << 62))
    }

    /// The sixteen bytes, most significant first.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// An identity from a number; for tests and for the nil identity.
    pub const fn from_u128(value: u128) -> Self {
        Self(value)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Text::of(*self).as_str())
    }
}

/// An identity as people see it. Made without the formatter: some are in every record, and a batch
/// writes thousands.
struct Text([u8; Text::LENGTH]);

impl Text {
    const LENGTH: usize = 36;

    fn of(id: Id) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; Self::LENGTH];
        // All places but those of the dashes.
        let places = (0..Self::LENGTH).filter(|place| !matches!(place, 8 | 13 | 18 | 23));
        let bytes = id.to_bytes();
        let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        for (place, nibble) in places.zip(nibbles) {
            text[place] = DIGITS[usize::from(nibble)];
        }
        Self(text)
    }

    fn as_str(&self) -> &str {
        // They are all ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id: expected 32 hexadecimal digits, with or without dashes")]
pub struct InvalidId(String);

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidId(text.chars().take(64).collect());
        let (mut value, mut count) = (0, 0_usize);
        for c in text.chars().filter(|c| *c != '-') {
            let digit = c.to_digit(16).ok_or_else(invalid)?;
            value = (value << 4) | u128::from(digit);
            count += 1;
        }
        match count {
            32 => Ok(Self(value)),
            _ => Err(invalid()),
        }
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Text::of(*self).as_str())
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, str::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_round_trip() {
        let early = Id::generate(Timestamp(1_000), &OsEntropy);
        let late = Id::generate(Timestamp(2_000), &OsEntropy);
        assert!(early < late);
        assert_eq!(early.to_string().parse::<Id>(), Ok(early));
        assert_eq!(&early.to_string()[14..15], "7");
        assert_eq!(
            Id::from_u128(0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978).to_string(),
            "01234567-89ab-cdef-0f1e-2d3c4b5a6978"
        );
    }

    #[test]
    fn no_two_ids_of_a_moment_are_equal() {
        let ids = || (0..1_000).map(|_| Id::generate(Timestamp(1), &OsEntropy));
        let other = std::thread::spawn(move || ids().collect::<Vec<_>>());
        let mut all: std::collections::BTreeSet<Id> = ids().collect();
        all.extend(other.join().unwrap_or_default());
        assert_eq!(all.len(), 2_000);
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        assert!("zz".parse::<Id>().is_err());
        let digits = |count| "1".repeat(count).parse::<Id>();
        assert!(digits(32).is_ok() && digits(31).is_err() && digits(33).is_err());
        assert!("+0000000000000000000000000000000".parse::<Id>().is_err());
    }
}
