//! PostgreSQL's SCRAM-SHA-256 verifier, computed here, so that the password never crosses to the
//! server, its logs or its statement statistics.
//!
//! RFC 5802 section 3 and RFC 7677; the stored form is that of PostgreSQL's `pg_authid`:
//! `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, base64.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, error::Unspecified, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::{Zeroize as _, Zeroizing};

/// RFC 7677's minimum and PostgreSQL's default. It only matters for values that can be guessed.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

/// The most that is computed for a verifier that somebody else made: a second or so.
const MAX_ITERATIONS: NonZeroU32 = NonZeroU32::new(4_000_000).unwrap();

/// The verifier of `password` with `salt`.
///
/// # Errors
/// Only if the cryptographic library fails, which it does out of memory.
pub(super) fn scram_sha_256(password: &[u8], salt: [u8; 16]) -> Result<String, Unspecified> {
    let (stored_key, server_key) = keys(password, &salt, ITERATIONS)?;
    Ok(format!(
        "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored_key),
        STANDARD.encode(server_key),
    ))
}

/// Whether `password` is the one of a verifier, by its part between the dollar signs
/// (`<iterations>:<salt>`) and the SHA-256 of its StoredKey's base64, in hex. `None` where that can't
/// be told: another form, or more iterations than anybody means.
pub(super) fn is_of(password: &[u8], parameters: &str, stored_key: &str) -> Option<bool> {
    let (iterations, salt) = parameters.split_once(':')?;
    let iterations = iterations.parse().ok().filter(|n| *n <= MAX_ITERATIONS)?;
    let salt = STANDARD.decode(salt).ok()?;
    let (ours, _) = keys(password, &salt, iterations).ok()?;
    let ours = digest::digest(&digest::SHA256, STANDARD.encode(ours).as_bytes());
    let theirs = hex::decode(stored_key).ok()?;
    Some(constant_time::verify_slices_are_equal(ours.as_ref(), &theirs).is_ok())
}

fn keys(
    password: &[u8],
    salt: &[u8],
    iterations: NonZeroU32,
) -> Result<(digest::Digest, hmac::Tag), Unspecified> {
    let prepared = prepare(password);
    let mut salted = Zeroizing::new([0u8; digest::SHA256_OUTPUT_LEN]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        &prepared,
        salted.as_mut(),
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, salted.as_ref());
    // Who has the client's key can log in: it is written where it is zeroised, not into a `Tag`.
    let mut client_key = Zeroizing::new([0u8; digest::SHA256_OUTPUT_LEN]);
    hmac::sign_to_buffer(&key, b"Client Key", client_key.as_mut())?;
    Ok((
        digest::digest(&digest::SHA256, client_key.as_ref()),
        hmac::sign(&key, b"Server Key"),
    ))
}

/// SASLprep (RFC 4013) as PostgreSQL's server and clients do it: what can't be prepared (not
/// UTF-8, prohibited characters) is taken as it is.
fn prepare(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let prepared = std::str::from_utf8(password)
        .ok()
        .and_then(|text| stringprep::saslprep(text).ok());
    match prepared {
        Some(text) => {
            let mut text = text.into_owned();
            let bytes = Zeroizing::new(text.as_bytes().to_vec());
            text.zeroize();
            bytes
        }
        None => Zeroizing::new(password.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    /// The exchange of RFC 7677 section 3: the server's signature and the client's proof follow
    /// from exactly the two keys that the verifier holds.
    #[test]
    fn keys_are_those_of_rfc_7677() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let (stored, server) = keys(b"pencil", &salt, ITERATIONS).unwrap();
        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let sign =
            |key: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes());
        assert_eq!(
            STANDARD.encode(sign(server.as_ref())),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        // ClientKey = ClientProof XOR ClientSignature, and StoredKey = H(ClientKey).
        let proof = STANDARD
            .decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
            .unwrap();
        let client_key: Vec<u8> = proof
            .iter()
            .zip(sign(stored.as_ref()).as_ref())
            .map(|(a, b)| a ^ b)
            .collect();
        assert_eq!(
            digest::digest(&digest::SHA256, &client_key).as_ref(),
            stored.as_ref()
        );
    }

    #[test]
    fn the_form_is_that_of_pg_authid() {
        let verifier = scram_sha_256(b"pencil", [7; 16]).unwrap();
        assert!(verifier.starts_with("SCRAM-SHA-256$4096:BwcHBwcHBwcHBwcHBwcHBw==$"));
        assert_eq!(verifier.split(['$', ':']).count(), 5);
        assert!(!verifier.contains('\''));
    }

    #[test]
    fn a_verifier_tells_its_own_password_from_another() {
        let parts = |verifier: &str| -> (String, String) {
            let (parameters, keys) = verifier["SCRAM-SHA-256$".len()..].split_once('$').unwrap();
            let stored = keys.split_once(':').unwrap().0;
            let digest = digest::digest(&digest::SHA256, stored.as_bytes());
            (parameters.to_owned(), hex::encode(digest))
        };
        let (parameters, stored) = parts(&scram_sha_256(b"pencil", [7; 16]).unwrap());
        assert_eq!(is_of(b"pencil", &parameters, &stored), Some(true));
        assert_eq!(is_of(b"pencil2", &parameters, &stored), Some(false));
        let (other, _) = parts(&scram_sha_256(b"pencil", [8; 16]).unwrap());
        assert_eq!(is_of(b"pencil", &other, &stored), Some(false));
        assert_eq!(is_of(b"pencil", &parameters, &stored[2..]), Some(false));
        for unknown in ["", "4096", "0:AAAA", "x:AAAA", "4096:*", "4294967295:AAAA"] {
            assert_eq!(is_of(b"pencil", unknown, &stored), None, "{unknown}");
        }
        assert_eq!(is_of(b"pencil", &parameters, "not hex"), None);
    }

    #[test]
    fn saslprep_is_applied_and_what_it_refuses_is_taken_as_it_is() {
        assert_eq!(&*prepare("\u{2168}".as_bytes()), b"IX"); // RFC 4013 section 3
        assert_eq!(&*prepare(b"a\x07b"), b"a\x07b");
        assert_eq!(&*prepare(b"\xff\xfe"), b"\xff\xfe");
    }
}
