#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::num::NonZeroU32;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};

use super::*;

const READY: &[u8] = b"S\0\0\0\x08a\0b\0K\0\0\0\x0c\0\0\0\x01\0\0\0\x02Z\0\0\0\x05I";
const LET_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0";

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag][..], &length, body].concat()
}

fn authentication(number: u32, body: &[u8]) -> Vec<u8> {
    message(b'R', &[&number.to_be_bytes()[..], body].concat())
}

fn refusal(code: &str) -> Vec<u8> {
    message(b'E', format!("SFATAL\0C{code}\0Mwords\0\0").as_bytes())
}

fn offer() -> Vec<u8> {
    authentication(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")
}

/// A server's end of a connection.
struct Server(DuplexStream);

impl Server {
    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    async fn start_up(&mut self) -> Vec<u8> {
        let length = self.0.read_u32().await.unwrap() as usize;
        let mut body = vec![0; length - 4];
        self.0.read_exact(&mut body).await.unwrap();
        body
    }

    async fn hear(&mut self) -> Vec<u8> {
        assert_eq!(self.0.read_u8().await.unwrap(), b'p');
        self.start_up().await
    }

    /// SCRAM as a server does it that keeps the verifier of `password`, up to its signature.
    async fn scram(&mut self, password: &[u8]) -> String {
        self.start_up().await;
        self.send(&offer()).await;
        let first = self.hear().await;
        let first = String::from_utf8(first[b"SCRAM-SHA-256\0".len() + 4..].to_vec()).unwrap();
        let nonce = first.strip_prefix("n,,n=,r=").unwrap();
        let theirs = format!("r={nonce}more,s=AAAA,i=2");
        self.send(&authentication(11, theirs.as_bytes())).await;
        let last = String::from_utf8(self.hear().await).unwrap();
        let (without_proof, _) = last.split_once(",p=").unwrap();
        let exchange = format!("n=,r={nonce},{theirs},{without_proof}");
        let keys = Keys::derive(password, &[0; 3], NonZeroU32::new(2).unwrap()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, keys.server_key.as_ref());
        STANDARD.encode(hmac::sign(&key, exchange.as_bytes()))
    }
}

/// Logs in at a server that acts like this.
async fn at<F>(server: impl FnOnce(Server) -> F) -> Result<bool, Refused>
where
    F: Future<Output = ()>,
{
    let (client, other) = duplex(1 << 16);
    let password = Secret::new("pencil");
    let consumer = Consumer {
        account: "app",
        database: "postgres",
        password: &password,
    };
    let log_in = async {
        let mut wire = Wire::new(client);
        let result = consumer.log_in(&mut wire, None).await;
        log_out(wire).await;
        result
    };
    tokio::join!(log_in, server(Server(other))).0
}

#[tokio::test]
async fn a_signed_login_is_a_proof() {
    let proven = at(|mut server| async move {
        let signature = server.scram(b"pencil").await;
        server
            .send(&authentication(12, format!("v={signature}").as_bytes()))
            .await;
        server.send(LET_IN).await;
        server.send(READY).await;
        let mut rest = Vec::new();
        server.0.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"X\0\0\0\x04", "a good-bye");
    });
    assert!(proven.await.unwrap());
}

#[tokio::test]
async fn a_server_that_can_t_sign_is_not_believed() {
    for password in [&b"pencil2"[..], b""] {
        let refused = at(|mut server| async move {
            let signature = server.scram(password).await;
            server
                .send(&authentication(12, format!("v={signature}").as_bytes()))
                .await;
            server.send(LET_IN).await;
            server.send(READY).await;
        });
        let refused = refused.await.unwrap_err();
        assert!(matches!(refused, Refused::Scram(Broken::Signature)));
    }
    // Nor one that leaves the signature away.
    let refused = at(|mut server| async move {
        server.scram(b"pencil").await;
        server.send(LET_IN).await;
        server.send(READY).await;
    });
    assert!(matches!(refused.await.unwrap_err(), Refused::OutOfPlace));
}

#[tokio::test]
async fn being_let_in_or_asked_in_another_way_is_no_proof() {
    let unasked = at(|mut server| async move {
        let start = server.start_up().await;
        assert!(start.ends_with(
            b"client_encoding\0UTF8\0user\0app\0database\0postgres\0application_name\0pentad\0\0"
        ));
        server.send(LET_IN).await;
        server.send(READY).await;
    });
    assert!(!unasked.await.unwrap());
    let clear = at(|mut server| async move {
        server.start_up().await;
        server.send(&authentication(3, b"")).await;
        assert_eq!(server.hear().await, b"pencil\0");
        server.send(LET_IN).await;
        server.send(READY).await;
    });
    assert!(!clear.await.unwrap());
    // As PostgreSQL's documentation has it: md5(md5(password, user), salt).
    let md5 = at(|mut server| async move {
        server.start_up().await;
        server.send(&authentication(5, b"salt")).await;
        assert!(server.hear().await.starts_with(b"md5"));
        server.send(LET_IN).await;
        server.send(READY).await;
    });
    assert!(!md5.await.unwrap());
}

#[tokio::test]
async fn a_refusal_is_heard_at_every_moment() {
    for moment in 0..4 {
        let refused = at(|mut server| async move {
            match moment {
                0 => drop(server.start_up().await),
                1 => {
                    server.start_up().await;
                    server.send(&offer()).await;
                    server.hear().await;
                }
                2 => drop(server.scram(b"pencil2").await),
                _ => {
                    server.start_up().await;
                    server.send(LET_IN).await;
                }
            }
            server.send(&refusal("53300")).await;
        });
        let refused = refused.await.unwrap_err();
        assert_eq!(refused.to_string(), "words (53300)", "{moment}");
        assert!(matches!(refused, Refused::Server(Refusal { code, .. }) if code == "53300"));
    }
}

#[tokio::test]
async fn what_is_no_login_ends_in_an_error() {
    let strange = [
        authentication(7, b""),
        authentication(10, b"SCRAM-SHA-512\0\0"),
        authentication(10, b"SCRAM-SHA-256"),
        authentication(11, b"r=a,s=AAAA,i=1"),
        message(b'D', b"\0\0"),
        [LET_IN, LET_IN].concat(),
        READY.to_vec(),
        b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
        Vec::new(),
    ];
    for bytes in strange {
        let refused = at(|mut server| async move {
            server.start_up().await;
            server.send(&bytes).await;
        });
        refused.await.unwrap_err();
    }
}

#[test]
fn certificates_are_bound_to_by_the_hash_of_their_signature() {
    let bound = |pem: &str| {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        (end_point(&certificate), certificate)
    };
    let (sha256, certificate) = bound(ECDSA_SHA_256);
    let digest = digest::digest(&digest::SHA256, &certificate);
    assert_eq!(sha256.as_deref(), Some(digest.as_ref()));
    let (sha384, certificate) = bound(ECDSA_SHA_384);
    let digest = digest::digest(&digest::SHA384, &certificate);
    assert_eq!(sha384.as_deref(), Some(digest.as_ref()));
    assert_eq!(bound(ED25519).0, None);
    assert_eq!(end_point(&CertificateDer::from(vec![1, 2, 3])), None);
    assert_eq!(end_point(&CertificateDer::from(Vec::new())), None);
}

const ECDSA_SHA_256: &str = "-----BEGIN CERTIFICATE-----
MIIBfTCCASOgAwIBAgIUFHGGUmL4wwDcLuJpMVJXBwvoINcwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MB4XDTI2MTEzMDA5NDI1MVoXDTM2MTEyNzA5
NDI1MVowFDESMBAGA1UEAwwJbG9jYWxob3N0MFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAE4kwAwzooHcbsI90uyqPxsZ6yamOq+XO3chkRFSWEQbqwvBQ5RyMVoDSg
srnZ4X7jk1QAuqwIDIdQ0WMrUMKyw6NTMFEwHQYDVR0OBBYEFCbrf+wMbRR71NMt
hpi7+c1WReEqMB8GA1UdIwQYMBaAFCbrf+wMbRR71NMthpi7+c1WReEqMA8GA1Ud
EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhAOSAwO8VxJZ+4iyLvFvMomqv
rt/q7FdAcIyEA3/253vyAiAGsK5MCz16NGiVzYMkuZgQ3/iwSYurKt0Xx9LzKELG
+w==
-----END CERTIFICATE-----";
const ECDSA_SHA_384: &str = "-----BEGIN CERTIFICATE-----
MIIBfTCCASOgAwIBAgIUbBO+8gL90WTC9SJyorVlX+EqgNgwCgYIKoZIzj0EAwMw
FDESMBAGA1UEAwwJbG9jYWxob3N0MB4XDTI2MTEzMDA5NDI1MVoXDTM2MTEyNzA5
NDI1MVowFDESMBAGA1UEAwwJbG9jYWxob3N0MFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAEGN05p6j0+rHZXOz7owNv+v7Kgmp+kMOBJLFPyXfhd3Yf600idD4qnykt
Q1cZeONRT0cxwAYYTgqxeT5fZYtRqKNTMFEwHQYDVR0OBBYEFHmE4u8a9Fz4WxIT
8GvkMWe1faVzMB8GA1UdIwQYMBaAFHmE4u8a9Fz4WxIT8GvkMWe1faVzMA8GA1Ud
EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwMDSAAwRQIhAO1QlAMqIzQBuTIWombKTI/G
zfcdzbO1J1+WJrcBvE4yAiAcQH0spD3mZT+4hzs59TDdhtV1Xq8+yvMJU6WAZpPi
qA==
-----END CERTIFICATE-----";
const ED25519: &str = "-----BEGIN CERTIFICATE-----
MIIBPDCB76ADAgECAhRTdC5u+zEvAKD9d29zgZDOmbTwoDAFBgMrZXAwFDESMBAG
A1UEAwwJbG9jYWxob3N0MB4XDTI2MTEzMDA5NDI1MVoXDTM2MTEyNzA5NDI1MVow
FDESMBAGA1UEAwwJbG9jYWxob3N0MCowBQYDK2VwAyEAyRLX9Df7YdtfIc9yHU+L
FSQrhs28aflzRhLiI3Ae7AGjUzBRMB0GA1UdDgQWBBSCt6/OByFbEmZ63xWCv65i
61Q9eTAfBgNVHSMEGDAWgBSCt6/OByFbEmZ63xWCv65i61Q9eTAPBgNVHRMBAf8E
BTADAQH/MAUGAytlcANBAOO71I3m3xDxO477IrJQzTcIgraCZt/AwFOezINdH5fq
Awwqk5benmC+SNLUGSzSDSe7bevqaPTXDLLRJLSwcgc=
-----END CERTIFICATE-----";
