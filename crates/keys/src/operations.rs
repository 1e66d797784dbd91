//! Working with stored key pairs: sign, verify, encrypt, decrypt, so that a private key need not
//! leave.
//!
//! | operation | algorithms |
//! |---|---|
//! | sign, verify | Ed25519 (RFC 8032); ECDSA P-256/SHA-256 and P-384/SHA-384, ASN.1 signatures (FIPS 186-5); RSA-PSS with SHA-256, salt as long as the hash (RFC 8017) |
//! | encrypt, decrypt | RSA-OAEP with SHA-256, MGF1 with SHA-256, no label (RFC 8017) |
//!
//! Private keys are PKCS#8 PEM (`PRIVATE KEY`), the first in the text, so that a certificate with
//! its key will do. Public keys are `PUBLIC KEY` PEM. RSA keys below 2048 or above 8192 bits are
//! refused, as are PKCS#1 v1.5 and SHA-1, which have no name here.

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{
        OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
        PrivateDecryptingKey, PublicEncryptingKey,
    },
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1,
        ECDSA_P384_SHA384_ASN1_SIGNING, ED25519, EcdsaKeyPair, EcdsaSigningAlgorithm,
        Ed25519KeyPair, KeyPair, RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256, RsaKeyPair,
        UnparsedPublicKey, VerificationAlgorithm,
    },
};
use pentad_model::Secret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::pem;

const MIN_RSA_BYTES: usize = 2048 / 8;
const MAX_RSA_BYTES: usize = 8192 / 8;
/// Longer than any PEM key accepted, with a chain of certificates before it.
const MAX_KEY_TEXT: usize = 256 * 1024;

/// How to sign.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureAlgorithm {
    /// Ed25519.
    Ed25519,
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384Sha384,
    /// RSA-PSS with SHA-256.
    RsaPssSha256,
}

/// Why an operation was not done. Never says more about a key or a plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// Not a PKCS#8 PEM private key of the algorithm's type, or an RSA key of a refused size.
    #[error(
        "the credential is not a PKCS#8 PEM private key for this algorithm (RSA: 2048 to 8192 bits)"
    )]
    PrivateKey,
    /// Not a PEM public key for this algorithm.
    #[error("not a PEM public key for this algorithm (RSA: 2048 to 8192 bits)")]
    PublicKey,
    /// The signature is not one of this message by this key.
    #[error("the signature does not verify")]
    BadSignature,
    /// The plaintext does not fit into one RSA block.
    #[error("the plaintext may have at most {max} bytes under this key")]
    TooLong {
        /// The limit, in bytes.
        max: usize,
    },
    /// The ciphertext was not made for this key, or altered.
    #[error("the ciphertext can't be decrypted with this key")]
    Undecryptable,
    /// The cryptographic library failed.
    #[error("the cryptographic library failed; try again, and check the machine's memory")]
    Primitive,
}

/// What a private key signs with: its type decides, so that nobody can ask for less.
///
/// # Errors
/// [`OperationError::PrivateKey`].
pub fn algorithm(key: &Secret) -> Result<SignatureAlgorithm, OperationError> {
    let der = private_der(key)?;
    Ok(
        if Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).is_ok() {
            SignatureAlgorithm::Ed25519
        } else if EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der).is_ok() {
            SignatureAlgorithm::EcdsaP256Sha256
        } else if EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &der).is_ok() {
            SignatureAlgorithm::EcdsaP384Sha384
        } else {
            rsa_pair(&der)?;
            SignatureAlgorithm::RsaPssSha256
        },
    )
}

/// Signs `message`. ECDSA signatures are ASN.1 DER, the others raw bytes.
///
/// # Errors
/// [`OperationError::PrivateKey`] if `key` is not one for `algorithm`.
pub fn sign(
    algorithm: SignatureAlgorithm,
    key: &Secret,
    message: &[u8],
) -> Result<Vec<u8>, OperationError> {
    let der = private_der(key)?;
    let refused = |_| OperationError::PrivateKey;
    let failed = |_| OperationError::Primitive;
    match algorithm {
        SignatureAlgorithm::Ed25519 => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(refused)?;
            pair.try_sign(message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(failed)
        }
        SignatureAlgorithm::EcdsaP256Sha256 => {
            sign_ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, &der, message)
        }
        SignatureAlgorithm::EcdsaP384Sha384 => {
            sign_ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, &der, message)
        }
        SignatureAlgorithm::RsaPssSha256 => {
            let pair = rsa_pair(&der)?;
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(
                &RSA_PSS_SHA256,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .map_err(failed)?;
            Ok(signature)
        }
    }
}

/// Verifies a signature with a PEM public key.
///
/// # Errors
/// [`OperationError::PublicKey`], [`OperationError::BadSignature`].
pub fn verify(
    algorithm: SignatureAlgorithm,
    public_key: &str,
    message: &[u8],
    signature: &[u8],
) -> Result<(), OperationError> {
    let verification: &'static dyn VerificationAlgorithm = match algorithm {
        SignatureAlgorithm::Ed25519 => &ED25519,
        SignatureAlgorithm::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
        SignatureAlgorithm::EcdsaP384Sha384 => &ECDSA_P384_SHA384_ASN1,
        SignatureAlgorithm::RsaPssSha256 => &RSA_PSS_2048_8192_SHA256,
    };
    let der = public_der(public_key)?;
    let key = UnparsedPublicKey::new(verification, der.as_slice());
    // Apart, so that an unfit key is not reported as a bad signature.
    key.parse().map_err(|_| OperationError::PublicKey)?;
    key.verify(message, signature)
        .map_err(|_| OperationError::BadSignature)
}

/// The PEM public key (SubjectPublicKeyInfo, RFC 5280) of a private key of any type known here.
///
/// # Errors
/// [`OperationError::PrivateKey`].
pub fn public_key(key: &Secret) -> Result<String, OperationError> {
    let der = private_der(key)?;
    let public: PublicKeyX509Der<'_> =
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der) {
            pair.public_key().as_der()
        } else if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der) {
            pair.public_key().as_der()
        } else if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &der) {
            pair.public_key().as_der()
        } else {
            rsa_pair(&der)?.public_key().as_der()
        }
        .map_err(|_| OperationError::Primitive)?;
    let text = pem::encode("PUBLIC KEY", public.as_ref());
    text.expose_str()
        .map(str::to_owned)
        .ok_or(OperationError::Primitive)
}

/// Encrypts for the owner of an RSA key. The plaintext may have the key's bytes less 66: 190 for
/// 2048 bits.
///
/// # Errors
/// [`OperationError::PublicKey`], [`OperationError::TooLong`].
pub fn encrypt(public_key: &str, plaintext: &Secret) -> Result<Vec<u8>, OperationError> {
    let der = public_der(public_key)?;
    let key = PublicEncryptingKey::from_der(&der).map_err(|_| OperationError::PublicKey)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| OperationError::PublicKey)?;
    accept_rsa_size(key.key_size_bytes(), OperationError::PublicKey)?;
    let max = key.max_plaintext_size(&OAEP_SHA256_MGF1SHA256);
    if plaintext.len() > max {
        return Err(OperationError::TooLong { max });
    }
    let mut ciphertext = vec![0; key.ciphertext_size()];
    let length = key
        .encrypt(
            &OAEP_SHA256_MGF1SHA256,
            plaintext.expose(),
            &mut ciphertext,
            None,
        )
        .map_err(|_| OperationError::Primitive)?
        .len();
    ciphertext.truncate(length);
    Ok(ciphertext)
}

/// Decrypts with an RSA private key.
///
/// # Errors
/// [`OperationError::PrivateKey`]; [`OperationError::Undecryptable`] for whatever is wrong with the
/// ciphertext, which is all that a caller may learn (Manger's attack).
pub fn decrypt(key: &Secret, ciphertext: &[u8]) -> Result<Secret, OperationError> {
    let der = private_der(key)?;
    let key = PrivateDecryptingKey::from_pkcs8(&der).map_err(|_| OperationError::PrivateKey)?;
    let key = OaepPrivateDecryptingKey::new(key).map_err(|_| OperationError::PrivateKey)?;
    accept_rsa_size(key.key_size_bytes(), OperationError::PrivateKey)?;
    let mut plaintext = Zeroizing::new(vec![0; key.min_output_size()]);
    let length = key
        .decrypt(
            &OAEP_SHA256_MGF1SHA256,
            ciphertext,
            plaintext.as_mut_slice(),
            None,
        )
        .map_err(|_| OperationError::Undecryptable)?
        .len();
    plaintext.truncate(length);
    Ok(Secret::new(std::mem::take(&mut *plaintext)))
}

fn private_der(key: &Secret) -> Result<Zeroizing<Vec<u8>>, OperationError> {
    if key.len() > MAX_KEY_TEXT {
        return Err(OperationError::PrivateKey);
    }
    pem::decode("PRIVATE KEY", key.expose()).ok_or(OperationError::PrivateKey)
}

fn public_der(key: &str) -> Result<Zeroizing<Vec<u8>>, OperationError> {
    if key.len() > MAX_KEY_TEXT {
        return Err(OperationError::PublicKey);
    }
    pem::decode("PUBLIC KEY", key.as_bytes()).ok_or(OperationError::PublicKey)
}

fn sign_ecdsa(
    algorithm: &'static EcdsaSigningAlgorithm,
    der: &[u8],
    message: &[u8],
) -> Result<Vec<u8>, OperationError> {
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, der).map_err(|_| OperationError::PrivateKey)?;
    pair.sign(&SystemRandom::new(), message)
        .map(|signature| signature.as_ref().to_vec())
        .map_err(|_| OperationError::Primitive)
}

fn rsa_pair(der: &[u8]) -> Result<RsaKeyPair, OperationError> {
    let pair = RsaKeyPair::from_pkcs8(der).map_err(|_| OperationError::PrivateKey)?;
    accept_rsa_size(pair.public_modulus_len(), OperationError::PrivateKey)?;
    Ok(pair)
}

/// Checked here as well as in the library, whose own limits are not the same for each operation.
fn accept_rsa_size(bytes: usize, refusal: OperationError) -> Result<(), OperationError> {
    if (MIN_RSA_BYTES..=MAX_RSA_BYTES).contains(&bytes) {
        Ok(())
    } else {
        Err(refusal)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::LazyLock;

    use pentad_model::{
        Timestamp,
        kind::{Generator, generator::Curve},
    };
    use proptest::prelude::*;

    use super::*;
    use crate::{generate::generate, testing::SeededEntropy};

    fn make(recipe: &Generator) -> Secret {
        generate(recipe, Timestamp(0), &SeededEntropy::new(1)).unwrap()
    }

    /// One for all tests: making one takes long.
    static RSA: LazyLock<Secret> = LazyLock::new(|| make(&Generator::Rsa { bits: 2048 }));

    /// A 1024-bit key, made once with `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024`.
    const RSA_1024: &str = include_str!("operations/rsa_1024_for_refusal.pem");

    #[test]
    fn what_is_encrypted_decrypts_with_its_own_key_alone() {
        let public = public_key(&RSA).unwrap();
        let plaintext = Secret::new("session key");
        let ciphertext = encrypt(&public, &plaintext).unwrap();
        assert_eq!(decrypt(&RSA, &ciphertext).unwrap(), plaintext);
        let other = make(&Generator::Rsa { bits: 2048 });
        assert_eq!(
            decrypt(&other, &ciphertext),
            Err(OperationError::Undecryptable)
        );
        let mut altered = ciphertext.clone();
        altered[7] ^= 1;
        assert_eq!(decrypt(&RSA, &altered), Err(OperationError::Undecryptable));
        assert_eq!(decrypt(&RSA, &[]), Err(OperationError::Undecryptable));
    }

    #[test]
    fn the_longest_plaintext_is_190_bytes_for_2048_bits() {
        let public = public_key(&RSA).unwrap();
        let longest = Secret::new(vec![1; 190]);
        let ciphertext = encrypt(&public, &longest).unwrap();
        assert_eq!(decrypt(&RSA, &ciphertext).unwrap(), longest);
        let more = Secret::new(vec![1; 191]);
        assert_eq!(
            encrypt(&public, &more),
            Err(OperationError::TooLong { max: 190 })
        );
        let nothing = encrypt(&public, &Secret::new("")).unwrap();
        assert!(decrypt(&RSA, &nothing).unwrap().is_empty());
    }

    #[test]
    fn a_1024_bit_key_is_refused_everywhere() {
        let key = Secret::new(RSA_1024);
        let refused = OperationError::PrivateKey;
        assert_eq!(
            sign(SignatureAlgorithm::RsaPssSha256, &key, b"m"),
            Err(refused)
        );
        assert_eq!(decrypt(&key, &[0; 128]), Err(refused));
        assert_eq!(public_key(&key), Err(refused));
    }

    #[test]
    fn a_key_of_another_type_is_refused() {
        let ed25519 = make(&Generator::Ed25519);
        let p256 = make(&Generator::Ecdsa { curve: Curve::P256 });
        for (algorithm, key) in [
            (SignatureAlgorithm::EcdsaP256Sha256, &ed25519),
            (SignatureAlgorithm::EcdsaP384Sha384, &p256),
            (SignatureAlgorithm::RsaPssSha256, &p256),
            (SignatureAlgorithm::Ed25519, &RSA),
        ] {
            assert_eq!(sign(algorithm, key, b"m"), Err(OperationError::PrivateKey));
            let public = public_key(key).unwrap();
            let verified = verify(algorithm, &public, b"m", &[0; 64]);
            assert!(verified.is_err(), "{algorithm:?}");
        }
        assert_eq!(decrypt(&p256, &[0; 256]), Err(OperationError::PrivateKey));
    }

    #[test]
    fn the_type_of_a_key_decides_how_it_signs() {
        let (p256, p384) = (Curve::P256, Curve::P384);
        for (key, expected) in [
            (make(&Generator::Ed25519), SignatureAlgorithm::Ed25519),
            (
                make(&Generator::Ecdsa { curve: p256 }),
                SignatureAlgorithm::EcdsaP256Sha256,
            ),
            (
                make(&Generator::Ecdsa { curve: p384 }),
                SignatureAlgorithm::EcdsaP384Sha384,
            ),
            (RSA.clone(), SignatureAlgorithm::RsaPssSha256),
        ] {
            assert_eq!(algorithm(&key), Ok(expected));
            let signature = sign(expected, &key, b"m").unwrap();
            let public = public_key(&key).unwrap();
            assert_eq!(verify(expected, &public, b"m", &signature), Ok(()));
        }
        let refused = Err(OperationError::PrivateKey);
        assert_eq!(algorithm(&Secret::new(RSA_1024)), refused);
        assert_eq!(algorithm(&Secret::new("hunter2")), refused);
    }

    #[test]
    fn a_signature_of_another_key_does_not_verify() {
        let entropy = SeededEntropy::new(1);
        let [one, two] =
            [0, 1].map(|_| generate(&Generator::Ed25519, Timestamp(0), &entropy).unwrap());
        let algorithm = SignatureAlgorithm::Ed25519;
        let signature = sign(algorithm, &one, b"m").unwrap();
        let public = public_key(&two).unwrap();
        let verified = verify(algorithm, &public, b"m", &signature);
        assert_eq!(verified, Err(OperationError::BadSignature));
    }

    proptest! {
        #[test]
        fn arbitrary_keys_never_panic(der in prop::collection::vec(any::<u8>(), 0..200)) {
            let key = pem::encode("PRIVATE KEY", &der);
            prop_assert!(sign(SignatureAlgorithm::RsaPssSha256, &key, b"m").is_err());
            prop_assert!(sign(SignatureAlgorithm::Ed25519, &key, b"m").is_err());
            prop_assert!(public_key(&key).is_err() && decrypt(&key, b"c").is_err());
            let public = pem::encode("PUBLIC KEY", &der);
            let public = public.expose_str().unwrap();
            prop_assert!(encrypt(public, &Secret::new("x")).is_err());
            prop_assert!(verify(SignatureAlgorithm::EcdsaP256Sha256, public, b"m", b"s").is_err());
        }
    }
}
