//! Which key a PEM text holds: its algorithm and size, read from its structure alone.
//!
//! Certificates (RFC 5280), private keys in the forms of PKCS #8 (RFC 5958), PKCS #1 (RFC 8017),
//! SEC 1 (RFC 5915) and OpenSSH. Nothing is verified: a size is what the file says. Encrypted keys
//! tell nothing, but OpenSSH's, whose public half is in the clear.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pentad_model::assessment::KeyFacts;
use zeroize::Zeroizing;

use self::der::Der;

mod der;

/// Longer texts hold no single key.
const LONGEST: usize = 64 * 1024;

/// The key of the first block that holds one. A private key comes before a certificate's public
/// one where both are there: they are the same key.
pub(crate) fn of(text: &str) -> Option<KeyFacts> {
    if text.len() > LONGEST {
        return None;
    }
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let (label, body) = after.split_once("-----")?;
        let (body, behind) = body.split_once("-----END ")?;
        if let Some(found) = block(label, body) {
            return Some(found);
        }
        rest = behind;
    }
    None
}

fn block(label: &str, body: &str) -> Option<KeyFacts> {
    let body: Zeroizing<String> =
        Zeroizing::new(body.chars().filter(|c| !c.is_ascii_whitespace()).collect());
    let bytes = Zeroizing::new(STANDARD.decode(body.as_bytes()).ok()?);
    match label {
        "CERTIFICATE" => certificate(&bytes),
        "PRIVATE KEY" => pkcs8(&bytes),
        "RSA PRIVATE KEY" => rsa_private(&bytes),
        "EC PRIVATE KEY" => {
            let mut key = Der(&bytes).sequence()?;
            key.integer()?;
            Some(ecdsa(field_bits(key.octets()?.len())))
        }
        "OPENSSH PRIVATE KEY" => openssh(&bytes),
        _ => None,
    }
}

fn certificate(bytes: &[u8]) -> Option<KeyFacts> {
    let mut signed = Der(bytes).sequence()?.sequence()?;
    signed.optional(der::VERSION);
    signed.integer()?; // its serial number
    for _signature_issuer_validity_subject in 0..4 {
        signed.sequence()?;
    }
    let mut public = signed.sequence()?;
    let algorithm = public.sequence()?;
    by_identifier(algorithm, || rsa_public(public.bits()?))
}

fn pkcs8(bytes: &[u8]) -> Option<KeyFacts> {
    let mut key = Der(bytes).sequence()?;
    key.integer()?;
    let algorithm = key.sequence()?;
    by_identifier(algorithm, || rsa_private(key.octets()?))
}

/// By an AlgorithmIdentifier; only an RSA key must be looked into.
fn by_identifier(
    mut algorithm: Der<'_>,
    rsa: impl FnOnce() -> Option<KeyFacts>,
) -> Option<KeyFacts> {
    match algorithm.identifier()? {
        // 1.2.840.113549.1.1.1 and .10, rsaEncryption and RSASSA-PSS
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01 | 0x0a] => rsa(),
        // 1.2.840.10045.2.1, id-ecPublicKey, with a named curve
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01] => {
            let bits = match algorithm.identifier()? {
                [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07] => 256, // secp256r1
                [0x2b, 0x81, 0x04, 0x00, 0x0a] => 256,                   // secp256k1
                [0x2b, 0x81, 0x04, 0x00, 0x21] => 224,                   // secp224r1
                [0x2b, 0x81, 0x04, 0x00, 0x22] => 384,                   // secp384r1
                [0x2b, 0x81, 0x04, 0x00, 0x23] => 521,                   // secp521r1
                [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x01] => 192, // secp192r1
                _ => return None,
            };
            Some(ecdsa(bits))
        }
        [0x2b, 0x65, 0x70] => Some(key("ed25519", 256)), // 1.3.101.112
        [0x2b, 0x65, 0x71] => Some(key("ed448", 448)),   // 1.3.101.113
        // 1.2.840.10040.4.1
        [0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01] => {
            let mut parameters = algorithm.sequence()?;
            Some(key("dsa", bits_of(parameters.integer()?)))
        }
        _ => None,
    }
}

fn rsa_public(bytes: &[u8]) -> Option<KeyFacts> {
    let modulus = Der(bytes).sequence()?.integer()?;
    Some(key("rsa", bits_of(modulus)))
}

fn rsa_private(bytes: &[u8]) -> Option<KeyFacts> {
    let mut fields = Der(bytes).sequence()?;
    fields.integer()?; // its version
    Some(key("rsa", bits_of(fields.integer()?)))
}

/// PROTOCOL.key of OpenSSH: three strings about the encryption, a count, the public key.
fn openssh(bytes: &[u8]) -> Option<KeyFacts> {
    let mut file = bytes.strip_prefix(b"openssh-key-v1\0")?;
    for _cipher_kdf_options in 0..3 {
        string(&mut file)?;
    }
    let (_count, rest) = file.split_at_checked(4)?;
    file = rest;
    let mut public = string(&mut file)?;
    match string(&mut public)? {
        b"ssh-ed25519" | b"sk-ssh-ed25519@openssh.com" => Some(key("ed25519", 256)),
        b"ssh-rsa" => {
            string(&mut public)?; // the exponent
            Some(key("rsa", bits_of(string(&mut public)?)))
        }
        b"ssh-dss" => Some(key("dsa", bits_of(string(&mut public)?))),
        b"ecdsa-sha2-nistp256" | b"sk-ecdsa-sha2-nistp256@openssh.com" => Some(ecdsa(256)),
        b"ecdsa-sha2-nistp384" => Some(ecdsa(384)),
        b"ecdsa-sha2-nistp521" => Some(ecdsa(521)),
        _ => None,
    }
}

/// An SSH string (RFC 4251, section 5).
fn string<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = from.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (text, rest) = rest.split_at_checked(length)?;
    *from = rest;
    Some(text)
}

/// The bits of an unsigned number, big end first.
fn bits_of(number: &[u8]) -> u32 {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = number.get(zeros..).unwrap_or_default();
    let Some(first) = number.first() else {
        return 0;
    };
    let whole = u32::try_from(number.len() - 1).unwrap_or(u32::MAX / 8);
    whole.saturating_mul(8) + (8 - first.leading_zeros())
}

/// The field's size, by the bytes of a private key; P-521's are a whole number of bytes.
fn field_bits(bytes: usize) -> u32 {
    match bytes {
        66 => 521,
        _ => u32::try_from(bytes).unwrap_or(0).saturating_mul(8),
    }
}

fn ecdsa(bits: u32) -> KeyFacts {
    key("ecdsa", bits)
}

fn key(algorithm: &str, bits: u32) -> KeyFacts {
    KeyFacts {
        algorithm: algorithm.to_owned(),
        bits,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn told(text: &str) -> Option<(String, u32)> {
        of(text).map(|found| (found.algorithm, found.bits))
    }

    #[test]
    fn keys_and_certificates_tell_algorithm_and_size() {
        for (algorithm, name, bits) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, "ecdsa", 256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, "ecdsa", 384),
            (&rcgen::PKCS_ED25519, "ed25519", 256),
            (&rcgen::PKCS_RSA_SHA256, "rsa", 2048),
        ] {
            let pair = KeyPair::generate_for(algorithm).unwrap();
            let expected = Some((name.to_owned(), bits));
            assert_eq!(told(&pair.serialize_pem()), expected);
            let params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            let certificate = params.self_signed(&pair).unwrap().pem();
            assert_eq!(told(&certificate), expected);
            // Whatever stands before it, and in either order.
            let both = format!("a remark\n{certificate}{}", pair.serialize_pem());
            assert_eq!(told(&both), expected);
        }
    }

    #[test]
    fn older_forms_are_read_too() {
        let pem = |label: &str, bytes: &[u8]| {
            let body = STANDARD.encode(bytes);
            format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
        };
        // SEQUENCE { INTEGER 0, INTEGER of 1024 bits }
        let mut rsa = vec![
            0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x02, 0x81, 0x81, 0x00, 0xff,
        ];
        rsa.resize(rsa.len() + 127, 0x55);
        assert_eq!(
            told(&pem("RSA PRIVATE KEY", &rsa)),
            Some(("rsa".to_owned(), 1024))
        );
        let mut ec = vec![0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20];
        ec.resize(ec.len() + 32, 0x55);
        assert_eq!(
            told(&pem("EC PRIVATE KEY", &ec)),
            Some(("ecdsa".to_owned(), 256))
        );
    }

    #[test]
    fn openssh_keys_tell_theirs() {
        let string = |text: &[u8]| {
            let mut out = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
            out.extend_from_slice(text);
            out
        };
        let file = |public: Vec<u8>| {
            let mut bytes = b"openssh-key-v1\0".to_vec();
            bytes.extend([string(b"none"), string(b"none"), string(b"")].concat());
            bytes.extend(1u32.to_be_bytes());
            bytes.extend(string(&public));
            let body = STANDARD.encode(&bytes);
            format!(
                "-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----\n"
            )
        };
        let mut modulus = vec![0, 0x80];
        modulus.resize(385, 1);
        for (public, algorithm, bits) in [
            (
                [string(b"ssh-ed25519"), string(&[7; 32])].concat(),
                "ed25519",
                256,
            ),
            (
                [string(b"ssh-rsa"), string(&[1, 0, 1]), string(&modulus)].concat(),
                "rsa",
                3072,
            ),
            (
                [string(b"ecdsa-sha2-nistp521"), string(b"nistp521")].concat(),
                "ecdsa",
                521,
            ),
        ] {
            assert_eq!(told(&file(public)), Some((algorithm.to_owned(), bits)));
        }
    }

    #[test]
    fn what_is_cut_or_unknown_tells_nothing() {
        let pair = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let der = pair.serialize_der();
        for end in [0, 1, 2, 5, 20, 28] {
            let body = STANDARD.encode(&der[..end]);
            let cut = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
            assert_eq!(told(&cut), None, "{end}");
        }
        assert_eq!(told("hunter2"), None);
        assert_eq!(told("-----BEGIN PRIVATE KEY-----"), None);
    }

    proptest! {
        #[test]
        fn reading_never_panics(label in "(PRIVATE KEY|RSA PRIVATE KEY|EC PRIVATE KEY|CERTIFICATE|OPENSSH PRIVATE KEY)",
                                bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let body = STANDARD.encode(&bytes);
            let _ = of(&format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----"));
            let mut file = b"openssh-key-v1\0".to_vec();
            file.extend(&bytes);
            let _ = openssh(&file);
        }
    }
}
