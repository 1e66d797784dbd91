//! A test login: in as a consumer gets in, and out again.
//!
//! Of PostgreSQL's protocol (its documentation, section "Message Flow") this is the start-up and no
//! more, so that a login costs neither a task nor a second derivation of what is [at
//! hand](super::recent), and tells how the server asked for the password.
//!
//! **A login is a proof where the server asked for SCRAM.** A client that is merely let in learns
//! nothing: `trust` lets anybody in. With SCRAM the server signs the exchange with a key that only the
//! verifier of this very password yields (RFC 5802 section 3, `ServerSignature`), and without that
//! signature there is no login here. PostgreSQL keeps one verifier a role. So such a login shows at
//! once that the value works, that passwords are checked, and that any other value is refused there.
//!
//! GSSAPI, SSPI and certificates are not spoken: whoever logs in that way has no password to rotate.

use std::io;

use aws_lc_rs::digest;
use bytes::BytesMut;
use fallible_iterator::FallibleIterator as _;
use pentad_model::{
    Secret,
    id::{Entropy as _, OsEntropy},
};
use postgres_protocol::{
    authentication::md5_hash,
    message::{
        backend::{AuthenticationSaslBody, Message},
        frontend,
    },
};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use x509_cert::{
    Certificate,
    der::{
        Decode as _,
        oid::db::rfc5912::{
            ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, SHA_1_WITH_RSA_ENCRYPTION,
            SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION, SHA_512_WITH_RSA_ENCRYPTION,
        },
    },
};
use zeroize::Zeroizing;

use super::{
    recent,
    scram::{Binding, Broken, First, NONCE, PLAIN, PLUS},
    verifier::Keys,
    wire::{Refusal, Wire},
};

/// Why nobody is logged in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("{} ({})", .0.message, .0.code)]
    Server(Refusal),
    #[error("{0}")]
    Network(#[from] io::Error),
    #[error("{0}")]
    Scram(#[from] Broken),
    #[error("the server asks for a password in a way that is not spoken here")]
    Unspoken,
    #[error("the server sent a message that has no place in a login")]
    OutOfPlace,
}

/// Who logs in.
pub(super) struct Consumer<'a> {
    pub(super) account: &'a str,
    pub(super) database: &'a str,
    pub(super) password: &'a Secret,
}

impl Consumer<'_> {
    /// Logs in over an open stream, and answers with whether that was a proof. `certificate` is the
    /// server's, where the stream is TLS.
    pub(super) async fn log_in<S>(
        &self,
        wire: &mut Wire<S>,
        certificate: Option<&CertificateDer<'_>>,
    ) -> Result<bool, Refused>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let parameters = [
            ("client_encoding", "UTF8"),
            ("user", self.account),
            ("database", self.database),
            ("application_name", "pentad"),
        ];
        wire.send(|buffer| frontend::startup_message(parameters, buffer))
            .await?;
        let proven = self.authenticate(wire, certificate).await?;
        // The database, its own limits and the role's are looked at after the password.
        loop {
            match wire.next().await? {
                Message::ReadyForQuery(_) => return Ok(proven),
                Message::BackendKeyData(_)
                | Message::ParameterStatus(_)
                | Message::NoticeResponse(_) => {}
                other => return Err(unexpected(&other)),
            }
        }
    }

    async fn authenticate<S>(
        &self,
        wire: &mut Wire<S>,
        certificate: Option<&CertificateDer<'_>>,
    ) -> Result<bool, Refused>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let proven = match wire.next().await? {
            Message::AuthenticationOk => return Ok(false),
            Message::AuthenticationCleartextPassword => {
                let password = self.password.expose();
                wire.send(|buffer| frontend::password_message(password, buffer))
                    .await?;
                false
            }
            Message::AuthenticationMd5Password(asked) => {
                let (account, password) = (self.account.as_bytes(), self.password.expose());
                let hash = Zeroizing::new(md5_hash(account, password, asked.salt()));
                wire.send(|buffer| frontend::password_message(hash.as_bytes(), buffer))
                    .await?;
                false
            }
            Message::AuthenticationSasl(offer) => {
                self.exchange(wire, &offer, certificate).await?;
                true
            }
            Message::AuthenticationKerberosV5
            | Message::AuthenticationScmCredential
            | Message::AuthenticationGss
            | Message::AuthenticationSspi => return Err(Refused::Unspoken),
            other => return Err(unexpected(&other)),
        };
        match wire.next().await? {
            Message::AuthenticationOk => Ok(proven),
            other => Err(unexpected(&other)),
        }
    }

    /// SCRAM, until the server has signed.
    async fn exchange<S>(
        &self,
        wire: &mut Wire<S>,
        offer: &AuthenticationSaslBody,
        certificate: Option<&CertificateDer<'_>>,
    ) -> Result<(), Refused>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut plain, mut plus) = (false, false);
        let mut mechanisms = offer.mechanisms();
        while let Some(mechanism) = mechanisms.next()? {
            plain |= mechanism == PLAIN;
            plus |= mechanism == PLUS;
        }
        let (binding, mechanism) = match certificate.and_then(end_point) {
            Some(digest) if plus => (Binding::EndPoint(digest), PLUS),
            Some(_) if plain => (Binding::NotOffered, PLAIN),
            None if plain => (Binding::Impossible, PLAIN),
            _ => return Err(Refused::Unspoken),
        };
        let mut nonce = [0; NONCE];
        OsEntropy.fill(&mut nonce);
        let first = First::new(binding, nonce);
        let message = first.message();
        wire.send(|buffer| frontend::sasl_initial_response(mechanism, message.as_bytes(), buffer))
            .await?;
        let (answer, last) = match wire.next().await? {
            Message::AuthenticationSaslContinue(body) => {
                let password = self.password.expose();
                first.answer(body.data(), |salt, iterations| {
                    recent::take(password, salt, iterations)
                        .or_else(|| Keys::derive(password, salt, iterations).ok())
                })?
            }
            other => return Err(unexpected(&other)),
        };
        wire.send(|buffer| frontend::sasl_response(answer.as_bytes(), buffer))
            .await?;
        match wire.next().await? {
            Message::AuthenticationSaslFinal(body) => Ok(last.finish(body.data())?),
            other => Err(unexpected(&other)),
        }
    }
}

/// Says good-bye, so that the server frees the slot now and logs no lost connection.
pub(super) async fn log_out<S>(mut wire: Wire<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let terminate = |buffer: &mut BytesMut| {
        frontend::terminate(buffer);
        Ok(())
    };
    if wire.send(terminate).await.is_ok() {
        let _ = wire.stream.shutdown().await;
    }
}

fn unexpected(message: &Message) -> Refused {
    match message {
        Message::ErrorResponse(body) => Refused::Server(Refusal::of(body)),
        _ => Refused::OutOfPlace,
    }
}

/// A certificate's digest for `tls-server-end-point` (RFC 5929 section 4.1): by the hash of its own
/// signature, with SHA-256 in place of MD5 and SHA-1. `None` where the signature has no hash of its
/// own (Ed25519) or names it in parameters (RSASSA-PSS).
fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    let hash = match parsed.signature_algorithm.oid {
        SHA_1_WITH_RSA_ENCRYPTION | SHA_256_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_256 => {
            &digest::SHA256
        }
        SHA_384_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_384 => &digest::SHA384,
        SHA_512_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_512 => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(hash, certificate).as_ref().to_vec())
}

#[cfg(test)]
mod tests;
