//! Key pairs: RSA, ECDSA and Ed25519 as PKCS#8 PEM (RFC 5958, RFC 8410), Ed25519 in OpenSSH's form.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair,
    },
};
use pentad_model::{Secret, id::Entropy, kind::generator::Curve};
use ssh_key::{
    LineEnding, PrivateKey,
    private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData},
    public::Ed25519PublicKey,
};

use super::GenerateError;
use crate::{derive::Key, pem, residue::scrubbed};

const MAX_COMMENT: usize = 256;

pub(super) fn rsa(bits: u16) -> Result<Secret, GenerateError> {
    let size = match bits {
        2048 => KeySize::Rsa2048,
        3072 => KeySize::Rsa3072,
        4096 => KeySize::Rsa4096,
        other => return Err(GenerateError::RsaBits(other)),
    };
    let der: Pkcs8V1Der<'_> = RsaKeyPair::generate(size)?.as_der()?;
    Ok(pem::encode("PRIVATE KEY", der.as_ref()))
}

pub(super) fn ecdsa(curve: Curve) -> Result<Secret, GenerateError> {
    let algorithm = match curve {
        Curve::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
        Curve::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
    };
    let document = EcdsaKeyPair::generate(algorithm)?.to_pkcs8v1()?;
    Ok(pem::encode("PRIVATE KEY", document.as_ref()))
}

pub(super) fn ed25519(entropy: &dyn Entropy) -> Result<Secret, GenerateError> {
    let seed = Key::random(entropy);
    let document = Ed25519KeyPair::from_seed_unchecked(seed.expose())?.to_pkcs8v1()?;
    Ok(pem::encode("PRIVATE KEY", document.as_ref()))
}

pub(super) fn ssh(comment: &str, entropy: &dyn Entropy) -> Result<Secret, GenerateError> {
    if comment.chars().count() > MAX_COMMENT || comment.chars().any(char::is_control) {
        return Err(GenerateError::Comment);
    }
    let seed = Key::random(entropy);
    // The public half is AWS-LC's, so that no second implementation of the curve is linked.
    let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose())?;
    let public = Ed25519PublicKey::try_from(pair.public_key().as_ref())
        .map_err(|_| GenerateError::Primitive)?;
    // `ssh_key` hands its private key on by value, and the copies are not cleansed.
    let text = scrubbed(|| {
        let private = Ed25519PrivateKey::from_bytes(seed.expose());
        PrivateKey::new(
            KeypairData::Ed25519(Ed25519Keypair { public, private }),
            comment,
        )
        .and_then(|key| key.to_openssh(LineEnding::LF))
    })
    .map_err(|_| GenerateError::Primitive)?;
    Ok(Secret::new(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    use super::*;
    use crate::{
        operations::{SignatureAlgorithm, public_key, sign, verify},
        testing::SeededEntropy,
    };

    fn signs(algorithm: SignatureAlgorithm, key: &Secret) {
        let public = public_key(key).unwrap();
        let signature = sign(algorithm, key, b"message").unwrap();
        assert!(
            verify(algorithm, &public, b"message", &signature).is_ok(),
            "{algorithm:?}"
        );
        assert!(
            verify(algorithm, &public, b"massage", &signature).is_err(),
            "{algorithm:?}"
        );
    }

    #[test]
    fn generated_pairs_sign() {
        signs(
            SignatureAlgorithm::Ed25519,
            &ed25519(&SeededEntropy::new(1)).unwrap(),
        );
        signs(
            SignatureAlgorithm::EcdsaP256Sha256,
            &ecdsa(Curve::P256).unwrap(),
        );
        signs(
            SignatureAlgorithm::EcdsaP384Sha384,
            &ecdsa(Curve::P384).unwrap(),
        );
        signs(SignatureAlgorithm::RsaPssSha256, &rsa(2048).unwrap());
    }

    #[test]
    fn larger_rsa_keys_have_the_size_asked_for() {
        for bits in [3072u16, 4096] {
            let der = pem::decode("PRIVATE KEY", rsa(bits).unwrap().expose()).unwrap();
            let pair = RsaKeyPair::from_pkcs8(&der).unwrap();
            assert_eq!(pair.public_modulus_len() * 8, usize::from(bits));
        }
    }

    #[test]
    fn weak_and_unusual_rsa_sizes_are_refused() {
        for bits in [0, 512, 1024, 2047, 8192] {
            assert_eq!(rsa(bits), Err(GenerateError::RsaBits(bits)));
        }
    }

    #[test]
    fn an_ed25519_key_is_the_shape_of_rfc_8410() {
        // RFC 8410 section 10.3: 48 bytes, the seed being the last 32.
        let key = ed25519(&SeededEntropy::new(5)).unwrap();
        let der = pem::decode("PRIVATE KEY", key.expose()).unwrap();
        let prefix = hex::decode("302e020100300506032b657004220420").unwrap();
        assert_eq!(der[..16], prefix[..]);
        assert_eq!(der[16..], Key::random(&SeededEntropy::new(5)).expose()[..]);
    }

    #[test]
    fn an_openssh_key_reads_back_with_its_comment_and_signs() {
        let text = ssh("deploy@ci", &SeededEntropy::new(1)).unwrap();
        let key = PrivateKey::from_openssh(text.expose()).unwrap();
        assert_eq!(key.comment(), "deploy@ci");
        let pair = key.key_data().ed25519().unwrap();
        let signer =
            Ed25519KeyPair::from_seed_and_public_key(pair.private.as_ref(), pair.public.as_ref())
                .unwrap();
        let public = UnparsedPublicKey::new(&ED25519, pair.public.as_ref());
        assert!(public.verify(b"m", signer.sign(b"m").as_ref()).is_ok());
    }

    #[test]
    fn a_comment_stays_on_its_line() {
        for comment in ["a\nb", "a\0", &"x".repeat(257)] {
            let refused = ssh(comment, &SeededEntropy::new(1));
            assert_eq!(refused, Err(GenerateError::Comment));
        }
    }
}
