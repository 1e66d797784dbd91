//! Known answers, checked before anything else at start: a library that computes wrongly (a bad
//! build, a broken processor) must not touch a secret.
//!
//! Each answer is published in the standard named; none is ours. The whole takes a few milliseconds.

use std::num::NonZeroU32;

use argon2::{Argon2, AssociatedData, ParamsBuilder};
use aws_lc_rs::{
    aead::{Aad, Nonce},
    hmac, pbkdf2,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use pentad_model::id::Entropy;

use crate::derive::aes_256_gcm;

/// A known answer did not come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cryptographic self-test failed at {test}: this build or this machine computes wrongly; do \
     not use it, reinstall Pentad or move it to another machine"
)]
pub struct SelfTestFailed {
    /// Which one.
    pub test: &'static str,
}

/// Runs every test.
///
/// # Errors
/// [`SelfTestFailed`] names the first that failed.
pub fn run() -> Result<(), SelfTestFailed> {
    KNOWN_ANSWERS.iter().try_for_each(KnownAnswer::check)
}

/// Whether a random source is evidently broken: stuck, or repeating itself. A source that passes
/// may still be bad; no test of its output can show that it is good.
///
/// # Errors
/// [`SelfTestFailed`] if it is.
pub fn check_entropy(entropy: &dyn Entropy) -> Result<(), SelfTestFailed> {
    let (mut one, mut two) = ([0; 32], [0; 32]);
    entropy.fill(&mut one);
    entropy.fill(&mut two);
    let constant = |block: &[u8; 32]| block.iter().all(|byte| *byte == block[0]);
    if one == two || constant(&one) || constant(&two) {
        return Err(SelfTestFailed {
            test: "random source",
        });
    }
    Ok(())
}

/// A computation and its published result, in hexadecimal.
struct KnownAnswer {
    test: &'static str,
    compute: fn() -> Option<Vec<u8>>,
    answer: &'static str,
}

impl KnownAnswer {
    fn check(&self) -> Result<(), SelfTestFailed> {
        let computed = (self.compute)();
        let expected = hex::decode(self.answer).ok();
        if computed.is_some() && computed == expected {
            Ok(())
        } else {
            Err(SelfTestFailed { test: self.test })
        }
    }
}

const KNOWN_ANSWERS: &[KnownAnswer] = &[
    KnownAnswer {
        test: "AES-256-GCM seal (McGrew and Viega, test case 16)",
        compute: gcm_seal,
        answer: GCM_SEALED,
    },
    KnownAnswer {
        test: "AES-256-GCM open (McGrew and Viega, test case 16)",
        compute: gcm_open,
        answer: GCM_PLAIN,
    },
    KnownAnswer {
        test: "HKDF-SHA-256 (RFC 5869, A.1)",
        compute: hkdf_sha256,
        answer: "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf\
                 34007208d5b887185865",
    },
    KnownAnswer {
        test: "HMAC-SHA-256 (RFC 4231, 4.3)",
        compute: hmac_sha256,
        answer: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    },
    KnownAnswer {
        test: "Ed25519 sign and verify (RFC 8032, 7.1, TEST 2)",
        compute: ed25519,
        answer: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c\
                 92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                 085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    },
    KnownAnswer {
        test: "PBKDF2-HMAC-SHA-256 (RFC 7914, 11)",
        compute: pbkdf2_sha256,
        answer: "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc\
                 49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783",
    },
    KnownAnswer {
        test: "scrypt (RFC 7914, 12)",
        compute: scrypt_small,
        answer: "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442\
                 fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906",
    },
    KnownAnswer {
        test: "Argon2id (RFC 9106, 5.3)",
        compute: argon2id_small,
        answer: "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659",
    },
];

const GCM_KEY: &str = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
const GCM_NONCE: &str = "cafebabefacedbaddecaf888";
const GCM_ASSOCIATED: &str = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
const GCM_PLAIN: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
const GCM_SEALED: &str = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                          8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
                          76fc6ece0f4e1768cddf8853bb2d551b";

fn gcm_seal() -> Option<Vec<u8>> {
    let mut text = hex::decode(GCM_PLAIN).ok()?;
    let key = aes_256_gcm(&bytes(GCM_KEY)?).ok()?;
    let nonce = Nonce::assume_unique_for_key(bytes(GCM_NONCE)?);
    let associated = Aad::from(bytes::<20>(GCM_ASSOCIATED)?);
    key.seal_in_place_append_tag(nonce, associated, &mut text)
        .ok()?;
    Some(text)
}

fn gcm_open() -> Option<Vec<u8>> {
    let key = aes_256_gcm(&bytes(GCM_KEY)?).ok()?;
    let open = |mut text: Vec<u8>| {
        let nonce = Nonce::assume_unique_for_key(bytes(GCM_NONCE)?);
        let associated = Aad::from(bytes::<20>(GCM_ASSOCIATED)?);
        key.open_in_place(nonce, associated, &mut text)
            .ok()
            .map(|plain| plain.to_vec())
    };
    let sealed = hex::decode(GCM_SEALED).ok()?;
    let mut altered = sealed.clone();
    if let Some(last) = altered.last_mut() {
        *last ^= 1;
    }
    // A library that accepts everything would pass a test that only opens what is right.
    if open(altered).is_some() {
        None
    } else {
        open(sealed)
    }
}

fn hkdf_sha256() -> Option<Vec<u8>> {
    use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
    struct FortyTwo;
    impl KeyType for FortyTwo {
        fn len(&self) -> usize {
            42
        }
    }
    let salt: [u8; 13] = bytes("000102030405060708090a0b0c")?;
    let info: [u8; 10] = bytes("f0f1f2f3f4f5f6f7f8f9")?;
    let mut out = vec![0; 42];
    let key = Salt::new(HKDF_SHA256, &salt).extract(&[0x0b; 22]);
    key.expand(&[&info], FortyTwo).ok()?.fill(&mut out).ok()?;
    Some(out)
}

fn hmac_sha256() -> Option<Vec<u8>> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
    let message = b"what do ya want for nothing?";
    let tag = hmac::sign(&key, message);
    let refuses = hmac::verify(&key, b"something else", tag.as_ref()).is_err();
    (refuses && hmac::verify(&key, message, tag.as_ref()).is_ok()).then(|| tag.as_ref().to_vec())
}

fn ed25519() -> Option<Vec<u8>> {
    let seed: [u8; 32] = bytes("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
    let signature = pair.try_sign(&[0x72]).ok()?;
    let public = UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref());
    let verifies = public.verify(&[0x72], signature.as_ref()).is_ok();
    let refuses = public.verify(&[0x73], signature.as_ref()).is_err();
    (verifies && refuses).then(|| [pair.public_key().as_ref(), signature.as_ref()].concat())
}

fn pbkdf2_sha256() -> Option<Vec<u8>> {
    let mut out = vec![0; 64];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        NonZeroU32::MIN,
        b"salt",
        b"passwd",
        &mut out,
    );
    Some(out)
}

fn scrypt_small() -> Option<Vec<u8>> {
    let cost = scrypt::Params::new(4, 1, 1).ok()?;
    let mut out = vec![0; 64];
    scrypt::scrypt(b"", b"", &cost, &mut out).ok()?;
    Some(out)
}

fn argon2id_small() -> Option<Vec<u8>> {
    let cost = ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .data(AssociatedData::new(&[4; 12]).ok()?)
        .output_len(32)
        .build()
        .ok()?;
    let (secret, mut out) = ([3; 8], vec![0; 32]);
    Argon2::new_with_secret(
        &secret,
        argon2::Algorithm::Argon2id,
        argon2::Version::V0x13,
        cost,
    )
    .ok()?
    .hash_password_into(&[1; 32], &[2; 16], &mut out)
    .ok()?;
    Some(out)
}

fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    hex::decode_to_slice(digits, &mut out).ok()?;
    Some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_known_answer_comes_out() {
        assert_eq!(run(), Ok(()));
    }

    #[test]
    fn every_test_can_fail_and_is_then_named() {
        for known in KNOWN_ANSWERS {
            let mut wrong = hex::decode(known.answer).unwrap();
            wrong[0] ^= 1;
            let wrong = KnownAnswer {
                answer: hex::encode(wrong).leak(),
                ..*known
            };
            assert_eq!(wrong.check(), Err(SelfTestFailed { test: known.test }));
            let dead = KnownAnswer {
                compute: || None,
                ..*known
            };
            assert_eq!(dead.check(), Err(SelfTestFailed { test: known.test }));
        }
    }

    #[test]
    fn a_stuck_random_source_is_refused() {
        use crate::testing::{SeededEntropy, StuckEntropy};
        assert_eq!(check_entropy(&SeededEntropy::new(1)), Ok(()));
        assert!(check_entropy(&StuckEntropy(0)).is_err());
        assert!(check_entropy(&StuckEntropy(0xa5)).is_err());
    }

    #[test]
    fn every_test_has_its_own_name() {
        let names: BTreeSet<_> = KNOWN_ANSWERS.iter().map(|known| known.test).collect();
        assert_eq!(names.len(), KNOWN_ANSWERS.len());
    }
}
