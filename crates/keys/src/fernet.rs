//! Fernet tokens, read: what Python's `cryptography` writes credentials files in.
//!
//! The form is <https://github.com/fernet/spec/blob/master/Spec.md>: base64url of `0x80`, a time (8
//! bytes), an IV (16), AES-128-CBC with PKCS #7 padding, and HMAC-SHA-256 over all before. Of the key's
//! 32 bytes, which are base64url text in a file, the first half signs and the second encrypts.
//!
//! Tokens are opened, never made: our own files are [`framed`](crate::framed). The time is not looked
//! at: a credentials file has no age at which it ends.

use aws_lc_rs::{
    cipher::{AES_128, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey},
    hmac,
    iv::FixedLength,
};
use base64::{Engine as _, alphabet, engine::GeneralPurpose, engine::general_purpose::PAD};
use pentad_model::Secret;
use zeroize::Zeroizing;

use crate::derive::KEY_LEN;

/// Base64url with padding, as both keys and tokens have it.
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, PAD);

const VERSION: u8 = 0x80;
/// Version, time, IV.
const HEAD: usize = 1 + 8 + 16;
const MAC: usize = 32;
const BLOCK: usize = 16;

/// Why a token does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FernetError {
    /// The key's text is not base64url of 32 bytes.
    #[error("the key is not 32 bytes in base64url, as Fernet's are")]
    Key,
    /// The text is no token.
    #[error("it is no Fernet token")]
    NotAToken,
    /// It was altered, or made under another key.
    #[error("the key does not open it: it is another one, or the file was altered")]
    Wrong,
}

/// The 32 bytes of a key from its text, white space around it forgiven.
///
/// # Errors
/// [`FernetError::Key`].
pub fn key(text: &Secret) -> Result<Secret, FernetError> {
    let text = text.expose().trim_ascii();
    let mut bytes = Zeroizing::new(vec![0; text.len() + 4]);
    let length = BASE64
        .decode_slice(text, &mut bytes)
        .map_err(|_| FernetError::Key)?;
    if length != KEY_LEN {
        return Err(FernetError::Key);
    }
    Ok(Secret::new(&bytes[..KEY_LEN]))
}

/// Whether a file's bytes look like a token.
pub fn is_token(bytes: &[u8]) -> bool {
    bytes.trim_ascii().starts_with(b"gAAAA")
}

/// Opens a token under the 32 bytes of a key.
///
/// # Errors
/// See [`FernetError`].
pub fn open(key: &Secret, token: &[u8]) -> Result<Secret, FernetError> {
    let (signing, encryption) = key
        .expose()
        .split_at_checked(KEY_LEN / 2)
        .filter(|(_, rest)| rest.len() == KEY_LEN / 2)
        .ok_or(FernetError::Key)?;
    let bytes = BASE64
        .decode(token.trim_ascii())
        .map_err(|_| FernetError::NotAToken)?;
    let whole = bytes.len() >= HEAD + BLOCK + MAC && bytes.first() == Some(&VERSION);
    if !whole || !(bytes.len() - HEAD - MAC).is_multiple_of(BLOCK) {
        return Err(FernetError::NotAToken);
    }
    let (signed, mac) = bytes.split_at(bytes.len() - MAC);
    let signing = hmac::Key::new(hmac::HMAC_SHA256, signing);
    // Before anything is decrypted, and in constant time: so padding tells nothing.
    hmac::verify(&signing, signed, mac).map_err(|_| FernetError::Wrong)?;
    let iv: [u8; BLOCK] = signed[HEAD - BLOCK..HEAD]
        .try_into()
        .map_err(|_| FernetError::NotAToken)?;
    let wrong = |_| FernetError::Wrong;
    let decrypting = UnboundCipherKey::new(&AES_128, encryption)
        .and_then(PaddedBlockDecryptingKey::cbc_pkcs7)
        .map_err(wrong)?;
    let mut buffer = Zeroizing::new(signed[HEAD..].to_vec());
    let context = DecryptionContext::Iv128(FixedLength::from(iv));
    let length = decrypting
        .decrypt(&mut buffer, context)
        .map_err(wrong)?
        .len();
    buffer.truncate(length);
    Ok(Secret::new(std::mem::take(&mut *buffer)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// <https://github.com/fernet/spec/blob/master/verify.json>
    const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const TOKEN: &str = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";

    fn spec() -> Secret {
        key(&Secret::new(format!("{KEY}\n"))).unwrap()
    }

    #[test]
    fn the_token_of_the_specification_opens() {
        let opened = open(&spec(), format!("{TOKEN}\n").as_bytes()).unwrap();
        assert_eq!(opened.expose_str(), Some("hello"));
        assert!(is_token(TOKEN.as_bytes()) && !is_token(b"{\"a\": \"b\"}"));
    }

    /// <https://github.com/fernet/spec/blob/master/invalid.json>, those that do not speak of time.
    #[test]
    fn the_wrong_tokens_of_the_specification_do_not() {
        for token in [
            // Incorrect MAC.
            "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykQUFBQUFBQUFBQQ==",
            // Too short.
            "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPA==",
            // Invalid base64.
            "%%%%%%%%%%%%%AECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1YsUD2Q==",
            // Payload size not a multiple of the block size.
            "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPOm73QeoCk9uGib28Xe5vz6oxq5nmxbx_v7mrfyudzUm",
            // Payload padding error.
            "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0ODz4LEpdELGQAad7aNEHbf-JkLPIpuiYRLQ3RtXatOYREu2FWke6CnJNYIbkuKNqOhw==",
            // Incorrect IV (causes padding error).
            "gAAAAAAdwJ6xBQECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAkLhFLHpGtDBRLRTZeUfWgHSv49TF2AUEZ1TIvcZjK1zQ==",
        ] {
            assert!(open(&spec(), token.as_bytes()).is_err(), "{token}");
        }
    }

    #[test]
    fn every_altered_byte_and_every_other_key_is_refused() {
        let bytes = BASE64.decode(TOKEN).unwrap();
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            let altered = BASE64.encode(altered);
            assert!(open(&spec(), altered.as_bytes()).is_err(), "{at}");
        }
        let other = Secret::new(vec![1; 32]);
        assert_eq!(open(&other, TOKEN.as_bytes()), Err(FernetError::Wrong));
        for short in ["", "AAAA", "not base64"] {
            assert_eq!(key(&Secret::new(short)), Err(FernetError::Key));
        }
    }
}
