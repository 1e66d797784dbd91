//! PEM (RFC 7468) in zeroising buffers: the crates at hand leave copies of what they encode.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pentad_model::Secret;
use zeroize::Zeroizing;

/// Characters a line.
const LINE: usize = 64;

/// Encodes `der` under `label`, for example `PRIVATE KEY`.
pub(crate) fn encode(label: &str, der: &[u8]) -> Secret {
    let digits = Zeroizing::new(STANDARD.encode(der));
    // Exact, so that the vector never grows and leaves a copy behind.
    let frame = 2 * label.len() + "-----BEGIN -----\n-----END -----\n".len();
    let mut text = Vec::with_capacity(frame + digits.len() + digits.len().div_ceil(LINE));
    text.extend_from_slice(b"-----BEGIN ");
    text.extend_from_slice(label.as_bytes());
    text.extend_from_slice(b"-----\n");
    for line in digits.as_bytes().chunks(LINE) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(b"-----END ");
    text.extend_from_slice(label.as_bytes());
    text.extend_from_slice(b"-----\n");
    Secret::new(text)
}

/// The DER of the first block under `label` in `text`; other blocks, such as the certificate that
/// precedes its key, are passed over. `None` if there is none or it is not base64.
pub(crate) fn decode(label: &str, text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let mut digits = Zeroizing::new(Vec::with_capacity(body.len()));
    digits.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    let mut der = Zeroizing::new(vec![0; digits.len()]);
    let length = STANDARD
        .decode_slice(digits.as_slice(), der.as_mut_slice())
        .ok()?;
    der.truncate(length);
    Some(der)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_have_64_characters_and_the_buffer_did_not_grow() {
        let pem = encode("PRIVATE KEY", &[7; 100]);
        let text = pem.expose_str().unwrap();
        assert!(text.lines().all(|line| line.len() <= 64));
        assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert!(text.ends_with("-----END PRIVATE KEY-----\n"));
    }

    proptest! {
        #[test]
        fn der_round_trips(der in prop::collection::vec(any::<u8>(), 0..500)) {
            let pem = encode("X", &der);
            let crlf = pem.expose_str().unwrap().replace('\n', "\r\n");
            prop_assert_eq!(&*decode("X", pem.expose()).unwrap(), &der);
            prop_assert_eq!(&*decode("X", crlf.as_bytes()).unwrap(), &der);
            prop_assert!(decode("Y", pem.expose()).is_none());
        }

        #[test]
        fn arbitrary_text_never_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let framed = [b"-----BEGIN X-----", text.as_slice(), b"-----END X-----"].concat();
            let _ = decode("X", &text);
            let _ = decode("X", &framed);
        }
    }
}
