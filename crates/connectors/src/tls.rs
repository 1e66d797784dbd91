//! Whom a target's TLS certificate must be signed by: the target's own CA, else the system's.
//!
//! There is no switch to skip verification. The cryptography is aws-lc, named explicitly, so that
//! nothing depends on a process-wide default.

use std::sync::{Arc, OnceLock};

use pentad_model::Target;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use crate::ConnectError;

/// A client configuration that trusts `target`'s CA, or the system's where it names none.
pub(crate) fn config(target: &Target) -> Result<Arc<ClientConfig>, ConnectError> {
    let roots = match &target.ca_pem {
        Some(pem) => roots_of(pem)?,
        None => native_roots()?,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| ConnectError::Settings(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The trust anchors of a PEM text.
pub(crate) fn roots_of(pem: &str) -> Result<RootCertStore, ConnectError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        certificate
            .map_err(|e| e.to_string())
            .and_then(|c| roots.add(c).map_err(|e| e.to_string()))
            .map_err(|e| ConnectError::Settings(format!("ca_pem can't be read: {e}")))?;
    }
    if roots.is_empty() {
        return Err(ConnectError::Settings(
            "ca_pem holds no certificate; expected PEM, `-----BEGIN CERTIFICATE-----`".into(),
        ));
    }
    Ok(roots)
}

/// The certificates that the system trusts, DER; for libraries that build their own configuration.
pub(crate) fn native_certificates() -> Result<&'static [CertificateDer<'static>], ConnectError> {
    // Read once: it is a directory full of files, and a probe must stay fast.
    static NATIVE: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    let certificates = NATIVE.get_or_init(|| rustls_native_certs::load_native_certs().certs);
    if certificates.is_empty() {
        return Err(ConnectError::Settings(
            "the system has no CA certificates: install ca-certificates, or set ca_pem".into(),
        ));
    }
    Ok(certificates)
}

fn native_roots() -> Result<RootCertStore, ConnectError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(native_certificates()?.iter().cloned());
    Ok(roots)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_ca_that_is_none_is_refused_with_advice() {
        for pem in [
            "",
            "hello",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let message = roots_of(pem).unwrap_err().to_string();
            assert!(message.contains("ca_pem"), "{message}");
        }
    }
}
