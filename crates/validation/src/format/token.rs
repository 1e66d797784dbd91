//! Tokens with a prefix, an alphabet, and sometimes a checksum.

use std::ops::RangeInclusive;

use super::Fit;

/// Whether `text` has that many characters, all of the alphabet. The alphabet must be ASCII.
pub(super) fn all(
    text: &str,
    length: RangeInclusive<usize>,
    alphabet: impl Fn(char) -> bool,
) -> bool {
    length.contains(&text.len()) && text.chars().all(alphabet)
}

/// A fixed prefix, then that many characters of the alphabet.
pub(super) fn prefixed(
    text: &str,
    prefix: &str,
    length: RangeInclusive<usize>,
    alphabet: impl Fn(char) -> bool,
) -> Fit {
    text.strip_prefix(prefix)
        .is_some_and(|rest| all(rest, length, alphabet))
        .into()
}

/// GitHub's form: 30 random characters of base 62, then their CRC-32 in six digits of base 62
/// ("Behind GitHub's new authentication token formats", github.blog, 2021). Longer tokens of the
/// same family keep the checksum at the end.
pub(super) fn crc32_base62(text: &str, prefixes: &[&str]) -> Fit {
    let Some(rest) = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)) else {
        return Fit::No;
    };
    if !all(rest, 36..=255, |c| c.is_ascii_alphanumeric()) {
        return Fit::No;
    }
    let (random, checksum) = rest.split_at(rest.len() - CHECKSUM);
    if base62(crc32fast::hash(random.as_bytes())) == checksum.as_bytes() {
        Fit::Yes
    } else {
        Fit::BadChecksum
    }
}

/// Digits of the checksum.
const CHECKSUM: usize = 6;

fn base62(mut number: u32) -> [u8; CHECKSUM] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = [b'0'; CHECKSUM];
    for place in text.iter_mut().rev() {
        *place = DIGITS[(number % 62) as usize];
        number /= 62;
    }
    text
}

/// Five groups of hexadecimal digits.
pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
