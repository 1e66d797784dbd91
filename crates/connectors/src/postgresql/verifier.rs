//! PostgreSQL's SCRAM-SHA-256 verifier, computed here, so that the password never crosses to the
//! server, its logs or its statement statistics.
//!
//! RFC 5802 section 3 and RFC 7677; the stored form is that of PostgreSQL's `pg_authid`:
//! `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, base64.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, error::Unspecified, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::{Zeroize as _, Zeroizing};

use super::recent;

/// RFC 7677's minimum and PostgreSQL's default. It only matters for values that can be guessed.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

/// The most iterations that are carried out because a server asks for them, or an account's verifier
/// has them, as in PostgreSQL's client libraries: some 10 ms. Who impersonates a server could ask for
/// four billion, and an account sets its own.
pub(super) const MAX_ITERATIONS: NonZeroU32 = NonZeroU32::new(100_000).unwrap();

/// Random bytes in a verifier's salt, as PostgreSQL's own have.
pub(super) const SALT: usize = 16;

/// What SCRAM derives from a password, a salt and a number of iterations (RFC 5802 section 3). With
/// the client's key one can log in, and with the server's pass for the server.
pub(super) struct Keys {
    pub(super) client_key: Zeroizing<[u8; digest::SHA256_OUTPUT_LEN]>,
    pub(super) server_key: Zeroizing<[u8; digest::SHA256_OUTPUT_LEN]>,
    stored_key: digest::Digest,
}

/// The SHA-256 of the base64 of a StoredKey.
pub(super) type StoredDigest = [u8; digest::SHA256_OUTPUT_LEN];

/// A verifier as PostgreSQL keeps it, and what it was made of.
pub(super) struct Verifier {
    pub(super) text: String,
    pub(super) salt: [u8; SALT],
    pub(super) keys: Keys,
}

impl Verifier {
    /// The iterations of every verifier that is made here.
    pub(super) const ITERATIONS: NonZeroU32 = ITERATIONS;

    /// The verifier of `password` with `salt`.
    ///
    /// # Errors
    /// Only if the cryptographic library fails, which it does out of memory.
    pub(super) fn of(password: &[u8], salt: [u8; SALT]) -> Result<Self, Unspecified> {
        let keys = Keys::derive(password, &salt, ITERATIONS)?;
        let text = format!(
            "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
            STANDARD.encode(salt),
            STANDARD.encode(keys.stored_key()),
            STANDARD.encode(keys.server_key.as_ref()),
        );
        Ok(Self { text, salt, keys })
    }
}

/// Whether `password` is the one of a verifier, by its part between the dollar signs
/// (`<iterations>:<salt>`) and the SHA-256 of its StoredKey's base64, in hex. `None` where that can't
/// be told: another form, or more iterations than anybody means.
pub(super) fn is_of(password: &[u8], parameters: &str, stored_key: &str) -> Option<bool> {
    let (iterations, salt) = parameters.split_once(':')?;
    let iterations = iterations.parse().ok().filter(|n| *n <= MAX_ITERATIONS)?;
    let salt = STANDARD.decode(salt).ok()?;
    let ours = match recent::digest(password, &salt, iterations) {
        Some(digest) => digest,
        None => Keys::derive(password, &salt, iterations).ok()?.digest(),
    };
    let theirs = hex::decode(stored_key).ok()?;
    Some(constant_time::verify_slices_are_equal(&ours, &theirs).is_ok())
}

impl Keys {
    /// Derives them.
    ///
    /// # Errors
    /// Only if the cryptographic library fails, which it does out of memory.
    pub(super) fn derive(
        password: &[u8],
        salt: &[u8],
        iterations: NonZeroU32,
    ) -> Result<Self, Unspecified> {
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
        // They are written where they are zeroised, not into a `Tag`.
        let mut client_key = Zeroizing::new([0u8; digest::SHA256_OUTPUT_LEN]);
        hmac::sign_to_buffer(&key, b"Client Key", client_key.as_mut())?;
        let mut server_key = Zeroizing::new([0u8; digest::SHA256_OUTPUT_LEN]);
        hmac::sign_to_buffer(&key, b"Server Key", server_key.as_mut())?;
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        Ok(Self {
            client_key,
            server_key,
            stored_key,
        })
    }

    /// What an administrator may see of a verifier without being able to use it.
    pub(super) fn digest(&self) -> StoredDigest {
        let text = STANDARD.encode(self.stored_key());
        let mut digest = [0; digest::SHA256_OUTPUT_LEN];
        digest.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        digest
    }

    /// What the server keeps to recognise the client's key.
    pub(super) fn stored_key(&self) -> &[u8] {
        self.stored_key.as_ref()
    }
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
        let keys = Keys::derive(b"pencil", &salt, ITERATIONS).unwrap();
        let stored = keys.stored_key();
        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let sign =
            |key: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes());
        assert_eq!(
            STANDARD.encode(sign(keys.server_key.as_ref())),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        // ClientKey = ClientProof XOR ClientSignature, and StoredKey = H(ClientKey).
        let proof = STANDARD
            .decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
            .unwrap();
        let client_key: Vec<u8> = proof
            .iter()
            .zip(sign(stored).as_ref())
            .map(|(a, b)| a ^ b)
            .collect();
        assert_eq!(
            digest::digest(&digest::SHA256, &client_key).as_ref(),
            stored
        );
    }

    #[test]
    fn the_form_is_that_of_pg_authid() {
        let verifier = Verifier::of(b"pencil", [7; 16]).unwrap().text;
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
        let (parameters, stored) = parts(&Verifier::of(b"pencil", [7; 16]).unwrap().text);
        assert_eq!(is_of(b"pencil", &parameters, &stored), Some(true));
        assert_eq!(is_of(b"pencil2", &parameters, &stored), Some(false));
        let (other, _) = parts(&Verifier::of(b"pencil", [8; 16]).unwrap().text);
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
