//! Self-signed X.509 certificates (RFC 5280) with an ECDSA P-256 key, PEM, certificate first.
//!
//! The subject alternative names are what clients compare (RFC 9525); the first name is also the
//! common name. It is a leaf: it may authenticate servers and clients, and not sign certificates.

use std::{net::IpAddr, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use pentad_model::{Secret, Timestamp, id::Entropy};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    PublicKeyData, SerialNumber, SigningKey,
};

use super::GenerateError;
use crate::pem;

const MAX_NAMES: usize = 100;
const MAX_DAYS: u16 = 3650;
/// RFC 5280's upper bound of a common name.
const MAX_COMMON_NAME: usize = 64;
/// RFC 1035: a name without its last dot, and a label.
const MAX_HOST_NAME: usize = 253;
const MAX_LABEL: usize = 63;
/// 9000-01-01, in milliseconds: with the longest validity still a four-digit year.
const LATEST: i64 = 221_845_392_000_000;

pub(super) fn self_signed(
    names: &[String],
    days: u16,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Secret, GenerateError> {
    check_names(names)?;
    if !(1..=MAX_DAYS).contains(&days) {
        return Err(GenerateError::Days(days));
    }
    if !(0..LATEST).contains(&now.0) {
        return Err(GenerateError::Clock);
    }

    let failed = |_: rcgen::Error| GenerateError::Primitive;
    let mut certificate = CertificateParams::new(names).map_err(failed)?;
    let start = Duration::from_secs(now.0.unsigned_abs() / 1000);
    // rcgen takes the `time` crate's moments; 1970 plus a duration is one without that crate.
    certificate.not_before = rcgen::date_time_ymd(1970, 1, 1) + start;
    certificate.not_after =
        certificate.not_before + Duration::from_secs(u64::from(days) * 24 * 60 * 60);
    certificate.serial_number = Some(serial_number(entropy));
    certificate.distinguished_name = DistinguishedName::new();
    if let Some(first) = names.first() {
        certificate
            .distinguished_name
            .push(DnType::CommonName, first.as_str());
    }
    certificate.is_ca = IsCa::ExplicitNoCa;
    certificate.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    certificate.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];

    let key = CertificateKey(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?);
    let signed = certificate.self_signed(&key).map_err(failed)?;
    let public = pem::encode("CERTIFICATE", signed.der());
    let private = pem::encode("PRIVATE KEY", key.0.to_pkcs8v1()?.as_ref());
    Ok(Secret::new([public.expose(), private.expose()].concat()))
}

fn check_names(names: &[String]) -> Result<(), GenerateError> {
    if !(1..=MAX_NAMES).contains(&names.len()) {
        return Err(GenerateError::NameCount);
    }
    for (index, name) in names.iter().enumerate() {
        let fits = index > 0 || name.len() <= MAX_COMMON_NAME;
        if !fits || !(name.parse::<IpAddr>().is_ok() || is_host_name(name)) {
            return Err(GenerateError::HostName(name.chars().take(64).collect()));
        }
    }
    Ok(())
}

/// Letters, digits and inner hyphens (RFC 1123), with `*` as the whole first label at most.
fn is_host_name(name: &str) -> bool {
    let labels = name.strip_prefix("*.").unwrap_or(name);
    name.len() <= MAX_HOST_NAME
        && labels.split('.').all(|label| {
            (1..=MAX_LABEL).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// 126 random bits in 16 bytes: positive, never zero, always of the same length.
fn serial_number(entropy: &dyn Entropy) -> SerialNumber {
    let mut serial = [0; 16];
    entropy.fill(&mut serial);
    serial[0] = serial[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&serial)
}

/// Signs for rcgen, whose own key type would keep an unzeroised copy of the private key.
struct CertificateKey(EcdsaKeyPair);

impl PublicKeyData for CertificateKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for CertificateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0
            .sign(&SystemRandom::new(), message)
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| rcgen::Error::RingUnspecified)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

    use super::*;
    use crate::{
        operations::{SignatureAlgorithm, public_key, sign, verify},
        testing::SeededEntropy,
    };

    const NOW: Timestamp = Timestamp(1_764_000_000_123);

    fn make(names: &[&str], days: u16, now: Timestamp) -> Result<Secret, GenerateError> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        self_signed(&names, days, now, &SeededEntropy::new(1))
    }

    #[test]
    fn the_certificate_says_what_was_asked_and_verifies_under_its_own_key() {
        let names = ["db.example.org", "*.example.org", "10.0.0.1", "2001:db8::1"];
        let text = make(&names, 90, NOW).unwrap();
        assert!(text.expose().starts_with(b"-----BEGIN CERTIFICATE-----"));
        let der = pem::decode("CERTIFICATE", text.expose()).unwrap();
        let (rest, certificate) = X509Certificate::from_der(&der).unwrap();
        assert!(rest.is_empty());
        certificate.verify_signature(None).unwrap();

        assert_eq!(certificate.subject().to_string(), "CN=db.example.org");
        assert_eq!(certificate.subject(), certificate.issuer());
        assert_eq!(certificate.validity().not_before.timestamp(), 1_764_000_000);
        assert_eq!(
            certificate.validity().not_after.timestamp(),
            1_764_000_000 + 90 * 24 * 60 * 60
        );
        assert!(!certificate.is_ca());
        let alternatives = certificate.subject_alternative_name().unwrap().unwrap();
        let found: Vec<String> = alternatives
            .value
            .general_names
            .iter()
            .map(|name| match name {
                GeneralName::DNSName(name) => (*name).to_owned(),
                GeneralName::IPAddress([a, b, c, d]) => IpAddr::from([*a, *b, *c, *d]).to_string(),
                GeneralName::IPAddress(bytes) => {
                    IpAddr::from(<[u8; 16]>::try_from(*bytes).unwrap()).to_string()
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(found, names);
    }

    #[test]
    fn the_private_key_belongs_to_the_certificate() {
        let text = make(&["localhost"], 1, NOW).unwrap();
        let algorithm = SignatureAlgorithm::EcdsaP256Sha256;
        let signature = sign(algorithm, &text, b"m").unwrap();
        let der = pem::decode("CERTIFICATE", text.expose()).unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let certified = pem::encode("PUBLIC KEY", certificate.public_key().raw);
        assert!(verify(algorithm, certified.expose_str().unwrap(), b"m", &signature).is_ok());
        assert_eq!(public_key(&text).unwrap(), certified.expose_str().unwrap());
    }

    #[test]
    fn serial_numbers_are_random_and_positive() {
        let entropy = SeededEntropy::new(1);
        let (one, two) = (serial_number(&entropy), serial_number(&entropy));
        assert_ne!(one, two);
        assert!(one.to_bytes()[0] < 0x80 && one.to_bytes()[0] >= 0x40);
    }

    #[test]
    fn names_that_are_no_hosts_are_refused() {
        for bad in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "a_b",
            "a b",
            "ü.org",
            "*",
            "a.*.b",
            "a\0",
            "http://a",
            &"x".repeat(64),
        ] {
            let error = make(&[bad], 1, NOW).unwrap_err();
            assert!(
                matches!(error, GenerateError::HostName(_)),
                "{bad:?}: {error}"
            );
        }
        assert_eq!(make(&[], 1, NOW), Err(GenerateError::NameCount));
        assert_eq!(make(&["a"; 101], 1, NOW), Err(GenerateError::NameCount));
    }

    #[test]
    fn validity_and_clock_are_bounded() {
        for days in [0, 3651, u16::MAX] {
            assert_eq!(make(&["a"], days, NOW), Err(GenerateError::Days(days)));
        }
        for now in [i64::MIN, -1, LATEST, i64::MAX] {
            assert_eq!(make(&["a"], 1, Timestamp(now)), Err(GenerateError::Clock));
        }
        assert!(make(&["a"], MAX_DAYS, Timestamp(LATEST - 1)).is_ok());
    }
}
