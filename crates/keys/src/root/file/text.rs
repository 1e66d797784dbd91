//! A root key as text: one line,
//! `pentad-root-key:1:<64 hexadecimal digits>:<16 hexadecimal digits>` and a line feed.
//!
//! `1` is the format's version; the last part is the start of SHA-256 over all that precedes its
//! colon, so that a damaged file is told from a wrong key.

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::{derive::Key, root::RootKey};

const TAG: &str = "pentad-root-key";
const VERSION: &str = "1";
const CHECKSUM_LEN: usize = 8;

/// What is wrong with a key file's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    NotAKeyFile,
    UnknownVersion,
    Damaged,
}

/// The key's line, with its line feed.
pub(super) fn encode(root: &RootKey) -> Zeroizing<String> {
    let mut digits = Zeroizing::new([0u8; 64]);
    // Infallible: 64 digits for 32 bytes.
    let _ = hex::encode_to_slice(root.0.expose(), digits.as_mut());
    let mut text = Zeroizing::new(String::with_capacity(128));
    text.push_str(TAG);
    text.push(':');
    text.push_str(VERSION);
    text.push(':');
    text.extend(digits.iter().copied().map(char::from));
    let checksum = hex::encode(checksum(text.as_bytes()));
    text.push(':');
    text.push_str(&checksum);
    text.push('\n');
    text
}

/// The key in a file's bytes; a missing last line feed is forgiven, nothing else.
pub(super) fn decode(text: &[u8]) -> Result<RootKey, Fault> {
    let text = text
        .strip_prefix(TAG.as_bytes())
        .ok_or(Fault::NotAKeyFile)?;
    let text = text.strip_prefix(b":").ok_or(Fault::NotAKeyFile)?;
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut parts = line.split(|byte| *byte == b':');
    let (version, key, sum) = (parts.next(), parts.next(), parts.next());
    if version != Some(VERSION.as_bytes()) {
        let known_shape =
            version.is_some_and(|v| !v.is_empty() && v.iter().all(u8::is_ascii_digit));
        return Err(if known_shape {
            Fault::UnknownVersion
        } else {
            Fault::Damaged
        });
    }
    let (Some(digits), Some(sum), None) = (key, sum, parts.next()) else {
        return Err(Fault::Damaged);
    };
    let root = Key::filled(|out| hex::decode_to_slice(digits, out))
        .map(RootKey)
        .map_err(|_| Fault::Damaged)?;
    // Against the canonical text, so that upper-case digits are no second form of the same key.
    let canonical = encode(&root);
    let canonical_sum = canonical.trim_end().rsplit(':').next().unwrap_or_default();
    if canonical_sum.as_bytes() == sum {
        Ok(root)
    } else {
        Err(Fault::Damaged)
    }
}

fn checksum(text: &[u8]) -> [u8; CHECKSUM_LEN] {
    let full = digest(&SHA256, text);
    let mut start = [0; CHECKSUM_LEN];
    start.copy_from_slice(&full.as_ref()[..CHECKSUM_LEN]);
    start
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::testing::SeededEntropy;

    fn root(seed: u64) -> RootKey {
        RootKey::generate(&SeededEntropy::new(seed))
    }

    #[test]
    fn a_key_round_trips() {
        let root = root(1);
        assert!(decode(encode(&root).as_bytes()).unwrap().0 == root.0);
    }

    #[test]
    fn damage_is_told_from_other_files_and_later_formats() {
        let root = root(8);
        let text = encode(&root);
        let fault = |text: &str| decode(text.as_bytes()).err();
        assert_eq!(fault("hello"), Some(Fault::NotAKeyFile));
        assert_eq!(fault(""), Some(Fault::NotAKeyFile));
        assert_eq!(
            fault(&text.replacen(":1:", ":2:", 1)),
            Some(Fault::UnknownVersion)
        );
        assert_eq!(fault(&text[..text.len() - 2]), Some(Fault::Damaged));
        assert_eq!(fault(&format!("{}x", text.as_str())), Some(Fault::Damaged));
        assert!(
            fault(text.trim_end()).is_none(),
            "an editor may drop the last line feed"
        );
    }

    #[test]
    fn every_single_character_matters() {
        let root = root(9);
        let text = encode(&root);
        for at in 0..text.len() - 1 {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            assert!(decode(&bytes).is_err(), "position {at}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_files_never_panic_and_never_open(
            tail in prop::collection::vec(any::<u8>(), 0..200),
            tagged in any::<bool>(),
        ) {
            let mut bytes = if tagged { b"pentad-root-key:1:".to_vec() } else { Vec::new() };
            bytes.extend(tail);
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
