//! Who the server is: a given certificate, a self-signed one, or, on loopback, nobody.
//!
//! A self-signed certificate is made once, in `tls/` of the store's directory, for the address that
//! is listened at; clients are given it as `PENTAD_CACERT`. It is good for machines that one person
//! sets up; a certificate of one's own CA is better.

use std::{
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use pentad_store::durable;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version,
};
use sha2::{Digest as _, Sha256};

use super::TlsConfig;
use crate::{
    config,
    failure::{Exit, Failure},
    wiring::Place,
};

/// The server's certificate chain and key.
pub(super) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// Where the self-signed certificate lies.
    self_signed: Option<PathBuf>,
}

impl Identity {
    /// The one that the settings ask for; `None` for plain HTTP on loopback.
    pub(super) fn choose(
        place: &Place,
        settings: &config::Server,
        bound: SocketAddr,
    ) -> Result<Option<Self>, Failure> {
        let (cert, key) = (&settings.tls_cert, &settings.tls_key);
        match (cert.as_os_str().is_empty(), key.as_os_str().is_empty()) {
            (false, false) => Self::read(cert, key, None).map(Some),
            (true, true) if bound.ip().is_loopback() => Ok(None),
            (true, true) => Self::self_signed(place, bound).map(Some),
            _ => Err(Failure::usage("a certificate and its key belong together")
                .hint("give both --tls-cert and --tls-key")),
        }
    }

    /// What people are told of it.
    pub(super) fn remark(&self) -> Option<String> {
        let path = self.self_signed.as_ref()?;
        let digest = Sha256::digest(self.chain.first()?);
        let fingerprint: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        Some(format!(
            "self-signed certificate {}\n  SHA-256 {}\n  clients need a copy: export PENTAD_CACERT={}",
            path.display(),
            fingerprint.join(":"),
            path.display()
        ))
    }

    /// The settings of every connection.
    pub(super) fn config(self, tls12: bool) -> Result<TlsConfig, Failure> {
        let versions: &[_] = if tls12 {
            &[&version::TLS13, &version::TLS12]
        } else {
            &[&version::TLS13]
        };
        let mut config = ServerConfig::builder_with_protocol_versions(versions)
            .with_no_client_auth()
            .with_single_cert(self.chain, self.key)
            .map_err(|error| {
                Failure::usage(format!(
                    "the certificate and its key don't go together: {error}"
                ))
                .hint("--tls-cert is the chain, the server's own first; --tls-key its key")
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn read(cert: &Path, key: &Path, self_signed: Option<PathBuf>) -> Result<Self, Failure> {
        let text =
            |path: &Path| fs::read(path).map_err(|error| Failure::file(path.display(), &error));
        let mode = fs::metadata(key)
            .map_err(|error| Failure::file(key.display(), &error))?
            .permissions()
            .mode();
        if mode & 0o007 != 0 {
            return Err(Failure::new(
                Exit::Denied,
                format!(
                    "{} is open to everybody (mode {:04o})",
                    key.display(),
                    mode & 0o7777
                ),
            )
            .hint(format!("chmod 600 {}", key.display())));
        }
        let wrong = |path: &Path, what| {
            Failure::usage(format!("{} holds no {what} in PEM form", path.display()))
        };
        let chain = CertificateDer::pem_slice_iter(&text(cert)?)
            .collect::<Result<Vec<_>, _>>()
            .ok()
            .filter(|chain| !chain.is_empty())
            .ok_or_else(|| wrong(cert, "certificate"))?;
        let bytes = zeroize::Zeroizing::new(text(key)?);
        let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| wrong(key, "private key"))?;
        Ok(Self {
            chain,
            key,
            self_signed,
        })
    }

    fn self_signed(place: &Place, bound: SocketAddr) -> Result<Self, Failure> {
        let dir = place.dir.join("tls");
        let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        if !cert.exists() || !key.exists() {
            let made = make(bound).map_err(|error| Failure::internal(error.to_string()))?;
            let pem = zeroize::Zeroizing::new(made.signing_key.serialize_pem());
            let public = made.cert.pem();
            keep(&dir, [(&key, pem.as_bytes()), (&cert, public.as_bytes())])
                .map_err(|error| Failure::file(dir.display(), &error))?;
        }
        Self::read(&cert, &key, Some(cert.clone()))
    }
}

/// For the names under which the server can be reached, as far as they can be known.
fn make(bound: SocketAddr) -> Result<rcgen::CertifiedKey<rcgen::KeyPair>, rcgen::Error> {
    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    if !bound.ip().is_unspecified() {
        names.push(bound.ip().to_string());
    }
    names.extend(
        fs::read_to_string("/etc/hostname")
            .ok()
            .map(|name| name.trim().to_owned()),
    );
    names.retain(|name| !name.is_empty());
    names.dedup();
    rcgen::generate_simple_self_signed(names)
}

/// Makes key and certificate durable before anybody is shown the fingerprint. After a crash or a power
/// cut at any moment both are there and fit, or the certificate is missing and both are made anew.
fn keep(dir: &Path, [key, cert]: [(&PathBuf, &[u8]); 2]) -> io::Result<()> {
    durable::make_dir(dir)?;
    match fs::remove_file(cert.0) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => durable::sync_dir(dir)?,
    }
    for (path, bytes) in [key, cert] {
        let new = path.with_extension("new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        durable::sync_dir(dir)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_certificate_is_the_last_to_appear_and_the_first_to_go() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("tls");
        let (key, cert) = (dir.join("key.pem"), dir.join("cert.pem"));
        for text in ["one", "two"] {
            keep(&dir, [(&key, text.as_bytes()), (&cert, text.as_bytes())]).unwrap();
            assert_eq!(fs::read_to_string(&key).unwrap(), text);
            assert_eq!(fs::read_to_string(&cert).unwrap(), text);
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "nothing is left");
        }
        let mode = fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // The key can't be written: the old certificate, which would not fit, is gone already.
        fs::create_dir(dir.join("key.new")).unwrap();
        keep(&dir, [(&key, b"three"), (&cert, b"three")]).unwrap_err();
        assert!(!cert.exists());
    }
}
