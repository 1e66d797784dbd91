//! Values that occur nowhere else, and the forms in which they might show.

use std::fmt::Write as _;

/// A value to look for.
#[derive(Clone)]
pub struct Bait {
    /// Which door it went through.
    pub name: String,
    /// The value.
    pub value: String,
    forms: Vec<Vec<u8>>,
}

impl Bait {
    /// A bait for a door.
    pub fn kept(name: &str, value: &str) -> Self {
        Self {
            name: name.to_owned(),
            value: value.to_owned(),
            forms: forms(value.as_bytes()),
        }
    }

    /// The form in which it is in `bytes`, if it is.
    pub fn shows_in(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| occurs(bytes, form) > 0)
    }
}

/// As it is, in hexadecimal, in base64 at each of the three alignments, and as UTF-16.
pub fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![
        value.to_vec(),
        hex::encode(value).into(),
        hex::encode_upper(value).into(),
    ];
    for shift in 0..3 {
        for url in [false, true] {
            forms.push(base64_inside(value, shift, url));
        }
    }
    forms.push(value.iter().flat_map(|byte| [*byte, 0]).collect());
    let mut percent = String::new();
    for byte in value {
        let _ = write!(percent, "%{byte:02X}");
    }
    forms.push(percent.into());
    forms
}

/// The letters of base64 that depend on `value` alone, with `shift` bytes before it.
fn base64_inside(value: &[u8], shift: usize, url: bool) -> Vec<u8> {
    let alphabet: &[u8; 64] = match url {
        false => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        true => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    };
    let bit = |index: usize| (value[index / 8] >> (7 - index % 8)) & 1;
    let first = (6 - shift * 8 % 6) % 6;
    let mut letters = Vec::new();
    let mut at = first;
    while at + 6 <= value.len() * 8 {
        let six = (at..at + 6).fold(0u8, |sum, index| sum << 1 | bit(index));
        letters.push(alphabet[usize::from(six)]);
        at += 6;
    }
    letters
}

/// How often `needle` is in `bytes`.
pub fn occurs(bytes: &[u8], needle: &[u8]) -> usize {
    let Some(first) = needle.first() else {
        return 0;
    };
    let mut count = 0;
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        rest = &rest[at..];
        if rest.starts_with(needle) {
            count += 1;
        }
        rest = &rest[1..];
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bait_shows_in_every_form() {
        let bait = Bait::kept("x", "q7Zk2vXpT9");
        // base64 of "…q7Zk2vXpT9…" after zero, one and two other bytes.
        for text in [
            "cTdaazJ2WHBUOQ==",
            "YXE3WmsydlhwVDk=",
            "YWFxN1prMnZYcFQ5",
            "x q7Zk2vXpT9 y",
        ] {
            assert!(bait.shows_in(text.as_bytes()), "{text}");
        }
        assert!(bait.shows_in(hex::encode("q7Zk2vXpT9").as_bytes()));
        assert!(!bait.shows_in(b"q7Zk2vXpT8"));
        assert_eq!(occurs(b"q7Zk2vXpT9q7Zk2vXpT9", b"q7Zk2vXpT9"), 2);
    }
}
