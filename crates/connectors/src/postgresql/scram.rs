//! The client's side of a SCRAM-SHA-256 exchange: RFC 5802 with the hash of RFC 7677, and
//! `tls-server-end-point` (RFC 5929 section 4) as channel binding.
//!
//! Written here, and not taken from the client library, for two reasons: the keys may be at hand
//! already, from the verifier that was [just made](super::recent), and a login must be able to tell
//! that the server has signed it. All cryptography is aws-lc's.
//!
//! What the server sends is believed only in the one form that RFC 5802 section 7 gives it, and its
//! iteration count is bounded.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::verifier::{Keys, MAX_ITERATIONS};

/// What is asked of the server over TLS whose certificate is known.
pub(super) const PLUS: &str = "SCRAM-SHA-256-PLUS";
/// What is asked of it elsewhere.
pub(super) const PLAIN: &str = "SCRAM-SHA-256";

/// Random bytes in our nonce; RFC 5802 leaves their number open, libpq takes 18.
pub(super) const NONCE: usize = 18;

/// How the exchange is bound to the TLS connection below it.
pub(super) enum Binding {
    /// There is no TLS, or its certificate has no digest to bind to.
    Impossible,
    /// We could, but the server does not offer it: said, so that both notice if somebody between
    /// took the offer away.
    NotOffered,
    /// The digest of the server's certificate.
    EndPoint(Vec<u8>),
}

impl Binding {
    fn header(&self) -> &'static str {
        match self {
            Self::Impossible => "n,,",
            Self::NotOffered => "y,,",
            Self::EndPoint(_) => "p=tls-server-end-point,,",
        }
    }

    fn data(&self) -> &[u8] {
        match self {
            Self::EndPoint(digest) => digest,
            Self::Impossible | Self::NotOffered => &[],
        }
    }
}

/// Why an exchange ended early. None of it says anything of the password.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the server's SCRAM message is malformed")]
    Malformed,
    #[error("the server did not take up our SCRAM nonce")]
    Nonce,
    #[error("the server asks for more SCRAM iterations than 100000")]
    Iterations,
    #[error("the server's SCRAM signature is wrong: it does not know the password")]
    Signature,
    #[error("the cryptographic library failed")]
    Library,
}

/// The first message is written; the server's is awaited.
pub(super) struct First {
    binding: Binding,
    nonce: String,
}

/// The proof is written; the server's signature is awaited.
pub(super) struct Last {
    keys: Keys,
    exchange: String,
}

impl First {
    /// Begins. PostgreSQL takes the user from the start-up message, so none is named here.
    pub(super) fn new(binding: Binding, nonce: [u8; NONCE]) -> Self {
        let nonce = STANDARD.encode(nonce);
        Self { binding, nonce }
    }

    /// `client-first-message`.
    pub(super) fn message(&self) -> String {
        format!("{}n=,r={}", self.binding.header(), self.nonce)
    }

    /// Takes `server-first-message`; `keys` finds or derives those of the password for a salt and a
    /// number of iterations. Answers with `client-final-message`.
    pub(super) fn answer(
        self,
        message: &[u8],
        keys: impl FnOnce(&[u8], NonZeroU32) -> Option<Keys>,
    ) -> Result<(String, Last), Broken> {
        let message = std::str::from_utf8(message).map_err(|_| Broken::Malformed)?;
        let (nonce, salt, iterations) = parse_first(message).ok_or(Broken::Malformed)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(Broken::Nonce);
        }
        if iterations > MAX_ITERATIONS {
            return Err(Broken::Iterations);
        }
        let keys = keys(&salt, iterations).ok_or(Broken::Library)?;

        let bound = [self.binding.header().as_bytes(), self.binding.data()].concat();
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(bound));
        let exchange = format!("n=,r={},{message},{without_proof}", self.nonce);
        let stored = hmac::Key::new(hmac::HMAC_SHA256, keys.stored_key());
        let signature = hmac::sign(&stored, exchange.as_bytes());
        let mut proof = Zeroizing::new([0; digest::SHA256_OUTPUT_LEN]);
        let pairs = keys.client_key.iter().zip(signature.as_ref());
        for (byte, (key, signature)) in proof.iter_mut().zip(pairs) {
            *byte = key ^ signature;
        }
        let answer = format!("{without_proof},p={}", STANDARD.encode(*proof));
        Ok((answer, Last { keys, exchange }))
    }
}

impl Last {
    /// Takes `server-final-message`: only who has the verifier of this very password can sign the
    /// exchange.
    pub(super) fn finish(self, message: &[u8]) -> Result<(), Broken> {
        let signature = message.strip_prefix(b"v=").ok_or(Broken::Malformed)?;
        let signature = STANDARD.decode(signature).map_err(|_| Broken::Malformed)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.keys.server_key.as_ref());
        let ours = hmac::sign(&key, self.exchange.as_bytes());
        constant_time::verify_slices_are_equal(ours.as_ref(), &signature)
            .map_err(|_| Broken::Signature)
    }
}

/// `r=NONCE,s=SALT,i=ITERATIONS`. Extensions are optional to offer and none is defined: PostgreSQL
/// sends none.
fn parse_first(message: &str) -> Option<(&str, Vec<u8>, NonZeroU32)> {
    let mut attributes = message.split(',');
    let mut next = |name| attributes.next()?.strip_prefix(name);
    let (nonce, salt, iterations) = (next("r=")?, next("s=")?, next("i=")?);
    // `m=`, which must be understood, would come first and is refused by that alone.
    if attributes.next().is_some() || !iterations.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let salt = STANDARD.decode(salt).ok()?;
    Some((nonce, salt, iterations.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;
    use crate::postgresql::verifier::Keys;

    fn first(binding: Binding, nonce: &str) -> First {
        First {
            binding,
            nonce: nonce.to_owned(),
        }
    }

    fn derive(salt: &[u8], iterations: NonZeroU32) -> Option<Keys> {
        Keys::derive(b"pencil", salt, iterations).ok()
    }

    /// The exchange of RFC 7677 section 3, which has a user where PostgreSQL has none: the messages
    /// are signed as they are, so the parts are compared without it.
    #[test]
    fn both_sides_prove_that_they_know_the_password() {
        let ours = first(Binding::Impossible, "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(ours.message(), "n,,n=,r=rOprNGfwEbeRWgbNEkqO");
        let theirs = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (answer, last) = ours.answer(theirs.as_bytes(), derive).unwrap();
        let (without_proof, proof) = answer.split_once(",p=").unwrap();
        assert_eq!(
            without_proof,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
        );

        // As the server does it, from what it keeps.
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let kept = derive(&salt, NonZeroU32::new(4096).unwrap()).unwrap();
        let exchange = format!("n=,r=rOprNGfwEbeRWgbNEkqO,{theirs},{without_proof}");
        let sign =
            |key: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), exchange.as_bytes());
        let client_key: Vec<u8> = STANDARD
            .decode(proof)
            .unwrap()
            .iter()
            .zip(sign(kept.stored_key()).as_ref())
            .map(|(a, b)| a ^ b)
            .collect();
        assert_eq!(
            digest::digest(&digest::SHA256, &client_key).as_ref(),
            kept.stored_key()
        );
        let signature = STANDARD.encode(sign(kept.server_key.as_ref()));
        last.finish(format!("v={signature}").as_bytes()).unwrap();
    }

    #[test]
    fn the_client_binds_to_the_certificate_and_says_when_it_could_have() {
        for (binding, header, bound) in [
            (Binding::Impossible, "n,,", "biws"),
            (Binding::NotOffered, "y,,", "eSws"),
            (
                Binding::EndPoint(b"digest".to_vec()),
                "p=tls-server-end-point,,",
                "cD10bHMtc2VydmVyLWVuZC1wb2ludCwsZGlnZXN0",
            ),
        ] {
            let ours = first(binding, "abc");
            assert_eq!(ours.message(), format!("{header}n=,r=abc"));
            let (answer, _) = ours.answer(b"r=abcd,s=AAAA,i=1", derive).unwrap();
            assert!(answer.starts_with(&format!("c={bound},r=abcd,p=")));
        }
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        let last = || {
            let ours = first(Binding::Impossible, "abc");
            ours.answer(b"r=abcd,s=AAAA,i=1", derive).unwrap().1
        };
        let zeros = format!("v={}", STANDARD.encode([0; 32]));
        for (message, broken) in [
            (zeros.as_str(), Broken::Signature),
            ("v=", Broken::Signature),
            ("v=AAAA", Broken::Signature),
            ("v=*", Broken::Malformed),
            ("e=other-error", Broken::Malformed),
            ("", Broken::Malformed),
        ] {
            assert_eq!(last().finish(message.as_bytes()), Err(broken), "{message}");
        }
    }

    #[test]
    fn a_first_message_of_another_form_is_refused() {
        for (message, broken) in [
            ("r=abc,s=AAAA,i=1", Broken::Nonce),
            ("r=xyzabc,s=AAAA,i=1", Broken::Nonce),
            ("r=abcd,s=AAAA,i=100001", Broken::Iterations),
            ("r=abcd,s=AAAA,i=0", Broken::Malformed),
            ("r=abcd,s=AAAA,i=+1", Broken::Malformed),
            ("r=abcd,s=AAAA,i=4294967296", Broken::Malformed),
            ("r=abcd,s=*,i=1", Broken::Malformed),
            ("r=abcd,s=AAAA,i=1,x=y", Broken::Malformed),
            ("m=x,r=abcd,s=AAAA,i=1", Broken::Malformed),
            ("s=AAAA,r=abcd,i=1", Broken::Malformed),
            ("", Broken::Malformed),
        ] {
            let ours = first(Binding::Impossible, "abc");
            let refused = ours.answer(message.as_bytes(), derive).err();
            assert_eq!(refused, Some(broken), "{message}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_server_sends_ends_in_an_error(message in prop::collection::vec(any::<u8>(), 0..200)) {
            let ours = first(Binding::Impossible, "abc");
            prop_assert!(ours.answer(&message, derive).is_err());
            let ours = first(Binding::Impossible, "abc");
            let (_, last) = ours.answer(b"r=abcd,s=AAAA,i=1", derive).unwrap();
            prop_assert!(last.finish(&message).is_err());
        }

        #[test]
        fn whatever_resembles_a_first_message_does_not_panic(
            message in "(m=)?r=abc[ -~]{0,8},s=[A-Za-z0-9+/=]{0,12},i=[0-9]{0,4}(,[ -~]{0,8})?"
        ) {
            let ours = first(Binding::Impossible, "abc");
            let _ = ours.answer(message.as_bytes(), derive);
        }
    }
}
