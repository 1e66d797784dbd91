//! Checkpoints: what the log was at one size, signed, to be kept by others.
//!
//! The text is a C2SP tlog-checkpoint (<https://c2sp.org/tlog-checkpoint>) in a signed note
//! (<https://c2sp.org/signed-note>) with Ed25519 (RFC 8032, signature type `0x01`):
//!
//! ```text
//! pentad.example/log
//! 20852163
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//!
//! — pentad.example/log Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
//! ```
//!
//! The signature is over the three lines with their newlines. The key is not here: whoever holds it
//! signs [`Checkpoint::body`]. Extension lines are refused, because no verifier of ours could judge
//! them; signatures by other keys (witnesses) are allowed and ignored.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::hash::Hash;

/// The longest note that is looked at. Room for sixteen signatures of 5 kB, as the standard asks.
const MAX_NOTE: usize = 128 << 10;
const ED25519_TYPE: u8 = 1;
const DASH: &str = "\u{2014} ";

/// The log at one size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Which log: a name that no other log has, by custom a URL without scheme.
    pub origin: String,
    /// How many records.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

/// Why a text is not a checkpoint to rely on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It is not a signed note with a checkpoint in it.
    #[error("this is not a checkpoint: {0}")]
    Malformed(&'static str),
    /// An origin or key name that a note can't hold.
    #[error("`{0}` can't name a log or key: it must not be empty nor hold spaces, `+` or controls")]
    Name(String),
    /// The key is not an Ed25519 public key.
    #[error("the public key has {0} bytes, an Ed25519 key has 32")]
    Key(usize),
    /// None of its signatures is by the key asked for.
    #[error("the checkpoint is not signed by key `{0}`")]
    Unsigned(String),
    /// A signature claims to be by that key and is not.
    #[error("the signature of key `{0}` is wrong: the checkpoint was forged or damaged")]
    Forged(String),
    /// It speaks of another tree than this log's.
    #[error("the checkpoint at {size} records has root {claimed}, this log has {found}")]
    Inconsistent {
        /// Its size.
        size: u64,
        /// Its root.
        claimed: Hash,
        /// The log's root at that size.
        found: Hash,
    },
}

use CheckpointError::Malformed;

impl Checkpoint {
    /// The text to sign: origin, size, base64 of the root, each with its newline.
    pub fn body(&self) -> Result<String, CheckpointError> {
        check_name(&self.origin)?;
        Ok(format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.root.0)
        ))
    }

    /// The whole signed note. The signature is checked first: a wrong one must not leave the house.
    ///
    /// `name` is the key's name, by custom the origin; `signature` is Ed25519 over
    /// [`body`](Self::body).
    pub fn with_signature(
        &self,
        name: &str,
        public_key: &[u8],
        signature: &[u8],
    ) -> Result<String, CheckpointError> {
        let body = self.body()?;
        let mut bytes = key_id(name, public_key)?.to_vec();
        UnparsedPublicKey::new(&ED25519, public_key)
            .verify(body.as_bytes(), signature)
            .map_err(|_| CheckpointError::Forged(name.to_owned()))?;
        bytes.extend_from_slice(signature);
        Ok(format!("{body}\n{DASH}{name} {}\n", STANDARD.encode(bytes)))
    }

    /// The checkpoint in a signed note, if the key of that name signed it.
    pub fn parse_and_verify(
        text: &str,
        name: &str,
        public_key: &[u8],
    ) -> Result<Self, CheckpointError> {
        let id = key_id(name, public_key)?;
        let (body, signatures) = split(text)?;
        let checkpoint = Self::parse_body(body)?;
        let mut signed = false;
        for line in signatures.lines() {
            let (signer, bytes) = parse_signature(line)?;
            if signer != name || bytes[..4] != id {
                continue;
            }
            UnparsedPublicKey::new(&ED25519, public_key)
                .verify(body.as_bytes(), &bytes[4..])
                .map_err(|_| CheckpointError::Forged(name.to_owned()))?;
            signed = true;
        }
        if signed {
            Ok(checkpoint)
        } else {
            Err(CheckpointError::Unsigned(name.to_owned()))
        }
    }

    /// The checkpoint in a signed note, whoever signed it. For comparing with the log it was taken
    /// from; never a reason to trust that log.
    pub fn parse_unverified(text: &str) -> Result<Self, CheckpointError> {
        let (body, signatures) = split(text)?;
        for line in signatures.lines() {
            parse_signature(line)?;
        }
        Self::parse_body(body)
    }

    fn parse_body(body: &str) -> Result<Self, CheckpointError> {
        let mut lines = body.lines();
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(Malformed("it has other than three lines of text"));
        };
        check_name(origin)?;
        let digits = size.bytes().all(|b| b.is_ascii_digit());
        if !digits || (size.starts_with('0') && size != "0") {
            return Err(Malformed("the size is not a plain decimal number"));
        }
        let size = size
            .parse()
            .map_err(|_| Malformed("the size is not a 64-bit number"))?;
        let root = STANDARD
            .decode(root)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(Malformed("the root is not the base64 of 32 bytes"))?;
        Ok(Self {
            origin: origin.to_owned(),
            size,
            root: Hash(root),
        })
    }
}

/// The key id of the standard: the first four bytes of SHA-256 over name, newline, type, key.
pub fn key_id(name: &str, public_key: &[u8]) -> Result<[u8; 4], CheckpointError> {
    check_name(name)?;
    if public_key.len() != 32 {
        return Err(CheckpointError::Key(public_key.len()));
    }
    let hash = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', ED25519_TYPE])
        .chain_update(public_key)
        .finalize();
    Ok([hash[0], hash[1], hash[2], hash[3]])
}

/// The text with its last newline, and the signature lines.
fn split(text: &str) -> Result<(&str, &str), CheckpointError> {
    if text.len() > MAX_NOTE {
        return Err(Malformed("it is longer than any checkpoint"));
    }
    if text.chars().any(|c| c < ' ' && c != '\n') {
        return Err(Malformed("it holds control characters"));
    }
    let blank = text
        .rfind("\n\n")
        .ok_or(Malformed("there is no blank line before the signatures"))?;
    let (body, signatures) = (&text[..=blank], &text[blank + 2..]);
    if signatures.is_empty() || !signatures.ends_with('\n') {
        return Err(Malformed("there is no whole signature line"));
    }
    Ok((body, signatures))
}

fn parse_signature(line: &str) -> Result<(&str, Vec<u8>), CheckpointError> {
    let (name, signature) = line
        .strip_prefix(DASH)
        .and_then(|rest| rest.split_once(' '))
        .ok_or(Malformed("a signature line is not `— name base64`"))?;
    check_name(name)?;
    let bytes = STANDARD
        .decode(signature)
        .map_err(|_| Malformed("a signature is not base64"))?;
    if bytes.len() < 5 {
        return Err(Malformed("a signature is too short"));
    }
    Ok((name, bytes))
}

fn check_name(name: &str) -> Result<(), CheckpointError> {
    let bad = |c: char| c == '+' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.chars().any(bad) {
        return Err(CheckpointError::Name(name.chars().take(64).collect()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "pentad.example/log";

    fn key() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
    }

    fn checkpoint(size: u64) -> Checkpoint {
        Checkpoint {
            origin: NAME.to_owned(),
            size,
            root: Hash([size as u8; 32]),
        }
    }

    fn note(size: u64) -> String {
        let signature = key().sign(checkpoint(size).body().unwrap().as_bytes());
        let key = key();
        checkpoint(size)
            .with_signature(NAME, key.public_key().as_ref(), signature.as_ref())
            .unwrap()
    }

    fn verify(text: &str) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::parse_and_verify(text, NAME, key().public_key().as_ref())
    }

    /// Key and note published in the documentation of golang.org/x/mod/sumdb/note, whose format
    /// the standard is.
    #[test]
    fn the_key_id_is_the_published_one() {
        let key = STANDARD
            .decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
            .unwrap();
        assert_eq!(key[0], ED25519_TYPE);
        assert_eq!(
            key_id("PeterNeumann", &key[1..]).unwrap(),
            [0xc7, 0x4f, 0x20, 0xa3]
        );
    }

    #[test]
    fn the_standards_own_example_parses() {
        let text = "example.com/behind-the-sofa\n20852163\n\
            CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
            \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";
        let parsed = Checkpoint::parse_unverified(text).unwrap();
        assert_eq!(parsed.origin, "example.com/behind-the-sofa");
        assert_eq!(parsed.size, 20_852_163);
        assert!(text.starts_with(&parsed.body().unwrap()));
        assert_eq!(
            verify(text),
            Err(CheckpointError::Unsigned(NAME.to_owned()))
        );
    }

    #[test]
    fn a_signed_checkpoint_reads_back() {
        assert_eq!(verify(&note(0)), Ok(checkpoint(0)));
        assert_eq!(verify(&note(u64::MAX)), Ok(checkpoint(u64::MAX)));
        // A witness's signature beside ours is no hindrance.
        let witness = STANDARD.encode([9; 76]);
        let text = format!("{}{DASH}witness.example {witness}\n", note(3));
        assert_eq!(verify(&text), Ok(checkpoint(3)));
    }

    #[test]
    fn a_changed_checkpoint_is_forged() {
        let text = note(41).replace("\n41\n", "\n42\n");
        assert_eq!(verify(&text), Err(CheckpointError::Forged(NAME.to_owned())));
        let signed = checkpoint(1).with_signature(NAME, key().public_key().as_ref(), &[0; 64]);
        assert_eq!(signed, Err(CheckpointError::Forged(NAME.to_owned())));
    }

    #[test]
    fn a_name_cannot_smuggle_another_checkpoint() {
        let mut evil = checkpoint(1);
        evil.origin = "log\n999".to_owned();
        assert!(matches!(evil.body(), Err(CheckpointError::Name(_))));
    }

    #[test]
    fn sloppy_notes_are_refused() {
        let good = note(41);
        for (from, to) in [
            ("\n41\n", "\n041\n"),
            ("\n41\n", "\n+41\n"),
            ("\n41\n", "\n 41\n"),
            ("\n41\n", "\n\n"),
            ("\n41\n", "\n99999999999999999999\n"),
            ("=\n\n", "=\nextension\n\n"),
            ("=\n\n", "\n\n"),
            ("\n\n", "\n"),
            ("\n41\n", "\r\n41\n"),
            ("\u{2014} ", "- "),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert!(matches!(verify(&bad), Err(Malformed(_))), "{bad}");
        }
        assert!(matches!(verify(good.trim_end()), Err(Malformed(_))));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            prop_assert!(verify(&text).is_err());
        }

        #[test]
        fn a_mangled_note_never_verifies(
            at in 0usize..10_000, with in prop::sample::select(vec!["", "\n", " ", "—", "A", "0", "=", "+"]),
            drop in 0usize..3,
        ) {
            let good = note(41);
            let chars: Vec<char> = good.chars().collect();
            let at = at % (chars.len() + 1);
            let mut mangled: String = chars[..at].iter().collect();
            mangled.push_str(with);
            mangled.extend(&chars[(at + drop).min(chars.len())..]);
            prop_assert!(mangled == good || verify(&mangled).is_err());
        }
    }
}
