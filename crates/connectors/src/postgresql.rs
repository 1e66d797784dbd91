//! PostgreSQL 10 and later: roles that log in with a password.
//!
//! What is sent is a SCRAM-SHA-256 verifier that is computed here; the password itself never
//! crosses. PostgreSQL keeps one password a role, so there is no overlap: either the role's
//! password is replaced in place, or two roles take turns, the second made a member of the first
//! and switched to it at login, so that what it creates belongs to the first.
//!
//! What always holds:
//!
//! * An effect is one transaction, sent as one message: no client that pauses half-way can hold a
//!   lock or commit late.
//! * It runs under an advisory lock named after the role, and every wait in it is bounded.
//! * A connection is known by process id *and* start time, for process ids are reused.
//!
//! Not done: poolers that multiplex sessions (PgBouncer in transaction mode) as an administrating
//! address, because a fence must reach the very session of the effect.

mod login;
mod outcome;
mod recent;
mod scram;
mod session;
mod sql;
mod verifier;
mod wire;

use std::{io, time::Duration};

use async_trait::async_trait;
use bytes::BytesMut;
use login::Consumer;
use pentad_model::{
    Secret, Target,
    rotation::{Login, Strategy},
    target::Tls,
};
use postgres_protocol::message::frontend;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_postgres::{
    Client, Config, NoTls,
    config::SslMode,
    tls::{MakeTlsConnect, TlsConnect},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::{TlsConnector, client::TlsStream};
use wire::Wire;

use crate::{
    Admin, Attempt, ConnectError, Connector, Profile, Session,
    address::{self, Address},
    tls,
};

/// Connecting, TLS and authentication together.
const CONNECT_BOUND: Duration = Duration::from_secs(5);
/// How long the good-bye of a login may take.
const GOODBYE: Duration = Duration::from_secs(1);

static PROFILE: Profile = Profile {
    name: "postgresql",
    description: "PostgreSQL 10 or later: a role's password, sent as a SCRAM-SHA-256 verifier.",
    address: address::FORM,
    strategies: &[Strategy::Alternating, Strategy::InPlace],
    options: &[(
        "database",
        "The database that logins and sessions connect to; `postgres` if absent.",
    )],
    needs_admin: true,
    fences: true,
    proves: true,
};

/// See the [module](self).
pub(crate) struct PostgreSql;

#[async_trait]
impl Connector for PostgreSql {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn validate(&self, target: &Target) -> Result<(), ConnectError> {
        if let Address::Unix(path) = Address::checked(target, &PROFILE)? {
            socket_port(&path)?;
        }
        Ok(())
    }

    async fn open(
        &self,
        target: &Target,
        admin: Admin<'_>,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let Some(password) = admin.password else {
            return Err(ConnectError::Settings(
                "postgresql needs an administrating account with a password".into(),
            ));
        };
        let connected = connect(target, admin.account, password)
            .await
            .map_err(|f| f.into_connect_error(target, admin.account))?;
        let session = session::PostgreSqlSession::start(connected, target, admin.account).await?;
        Ok(Box::new(session))
    }

    async fn login(&self, target: &Target, account: &str, password: &Secret) -> Attempt {
        match timeout(CONNECT_BOUND, try_login(target, account, password)).await {
            Ok(Ok(sole)) => Attempt {
                login: Login::Works,
                sole,
                note: "logged in".into(),
            },
            Ok(Err(failure)) => failure.attempt(),
            Err(_) => Failure::TimedOut.attempt(),
        }
    }
}

/// An open connection and the task that drives it.
struct Connected {
    client: Client,
    _driver: Driver,
}

/// The task that moves a connection's bytes; it ends with its owner.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why nobody is logged in.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Settings(ConnectError),
    #[error("no answer within {} s", CONNECT_BOUND.as_secs())]
    TimedOut,
    #[error("{0}")]
    Network(io::Error),
    #[error("{}", outcome::explain(.0))]
    Server(tokio_postgres::Error),
    #[error(transparent)]
    Login(#[from] login::Refused),
}

impl Failure {
    /// A clear no is 28P01 (wrong password, or a role without one) alone. The rest of class 28 is
    /// about `pg_hba.conf` and NOLOGIN, where the password was never looked at; 3D000 (no such
    /// database) comes after the password from PostgreSQL, but before it from a pooler; 53300 and
    /// 57P03 are about the server's state. An expired VALID UNTIL is 28P01 too: the account's
    /// state tells.
    fn login(&self) -> Login {
        match self {
            Self::Login(login::Refused::Server(refusal)) if refusal.code == "28P01" => Login::Fails,
            _ => Login::CantTell,
        }
    }

    fn attempt(&self) -> Attempt {
        Attempt {
            login: self.login(),
            sole: false,
            note: self.to_string(),
        }
    }

    fn into_connect_error(self, target: &Target, account: &str) -> ConnectError {
        let (address, reason) = (target.address.clone(), self.to_string());
        match self {
            Self::Settings(error) => error,
            Self::Server(error) if code(&error).is_some_and(|c| c.starts_with("28")) => {
                ConnectError::Refused {
                    target: address,
                    account: account.to_owned(),
                    reason,
                }
            }
            Self::Server(error) if code(&error) == Some("3D000") => {
                ConnectError::Settings(format!("{reason}; set the option `database`"))
            }
            _ => ConnectError::Unreachable {
                target: address,
                reason,
            },
        }
    }
}

fn code(error: &tokio_postgres::Error) -> Option<&str> {
    error.code().map(|state| state.code())
}

fn database(target: &Target) -> &str {
    target
        .options
        .get("database")
        .map_or("postgres", String::as_str)
}

/// Logs in and out; whether it was a [proof](login).
async fn try_login(target: &Target, account: &str, password: &Secret) -> Result<bool, Failure> {
    let consumer = Consumer {
        account,
        database: database(target),
        password,
    };
    match Address::checked(target, &PROFILE).map_err(Failure::Settings)? {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(Failure::Network)?;
            in_and_out(&consumer, stream, None).await
        }
        Address::Tcp(host, port) => {
            let stream = tcp(&host, port).await?;
            if target.tls == Tls::Plain {
                return in_and_out(&consumer, stream, None).await;
            }
            let stream = secured(target, host, stream).await?;
            let certificates = stream.get_ref().1.peer_certificates();
            let certificate = certificates.and_then(|all| all.first()).cloned();
            in_and_out(&consumer, stream, certificate.as_ref()).await
        }
    }
}

async fn in_and_out<S>(
    consumer: &Consumer<'_>,
    stream: S,
    certificate: Option<&CertificateDer<'_>>,
) -> Result<bool, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut wire = Wire::new(stream);
    let proven = consumer.log_in(&mut wire, certificate).await?;
    // Logged in is what counts: a server that is slow to hear the good-bye changes nothing.
    let _ = timeout(GOODBYE, login::log_out(wire)).await;
    Ok(proven)
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(Failure::Network)?;
    stream.set_nodelay(true).map_err(Failure::Network)?;
    Ok(stream)
}

/// TLS over a stream, as PostgreSQL begins it.
async fn secured(
    target: &Target,
    host: String,
    mut stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Failure> {
    let config = tls::config(target).map_err(Failure::Settings)?;
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await.map_err(Failure::Network)?;
    // One byte and no more: whatever came behind it in the clear must not be read later as if it had
    // come out of TLS (CVE-2021-23222).
    let answer = stream.read_u8().await.map_err(Failure::Network)?;
    if answer != b'S' {
        return Err(Failure::Network(io::Error::other(
            "the server does not support TLS",
        )));
    }
    let name = ServerName::try_from(host).map_err(io::Error::other);
    let name = name.map_err(Failure::Network)?;
    let connecting = TlsConnector::from(config).connect(name, stream);
    connecting.await.map_err(Failure::Network)
}

/// Opens a connection that stays.
async fn connect(target: &Target, account: &str, password: &Secret) -> Result<Connected, Failure> {
    let address = Address::checked(target, &PROFILE).map_err(Failure::Settings)?;
    let mut config = Config::new();
    config
        .user(account)
        .password(password.expose())
        .application_name("pentad")
        .ssl_mode(SslMode::Disable)
        .dbname(database(target));
    let attempt = async {
        match address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(Failure::Network)?;
                start(&config, stream, NoTls).await
            }
            Address::Tcp(host, port) => {
                let stream = tcp(&host, port).await?;
                if target.tls == Tls::Plain {
                    return start(&config, stream, NoTls).await;
                }
                config.ssl_mode(SslMode::Require);
                let tls = tls::config(target).map_err(Failure::Settings)?;
                let tls = MakeTlsConnect::<TcpStream>::make_tls_connect(
                    &mut MakeRustlsConnect::new((*tls).clone()),
                    &host,
                );
                let tls = tls.map_err(|error| Failure::Network(io::Error::other(error)))?;
                start(&config, stream, tls).await
            }
        }
    };
    timeout(CONNECT_BOUND, attempt)
        .await
        .unwrap_or(Err(Failure::TimedOut))
}

/// Logs in over an open stream, to stay.
async fn start<S, T>(config: &Config, stream: S, tls: T) -> Result<Connected, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: TlsConnect<S>,
    T::Stream: Send + 'static,
{
    let connecting = config.connect_raw(stream, tls);
    let (client, connection) = connecting.await.map_err(Failure::Server)?;
    Ok(Connected {
        client,
        _driver: Driver(tokio::spawn(async move { drop(connection.await) })),
    })
}

/// PostgreSQL names a socket `<directory>/.s.PGSQL.<port>`; the client library wants the parts.
fn socket_port(path: &std::path::Path) -> Result<(&std::path::Path, u16), ConnectError> {
    path.file_name()
        .and_then(|name| name.to_str()?.strip_prefix(".s.PGSQL.")?.parse().ok())
        .and_then(|port| Some((path.parent()?, port)))
        .ok_or_else(|| {
            ConnectError::Settings(format!(
                "`{}` is not a PostgreSQL socket; expected unix:/directory/.s.PGSQL.5432",
                path.display()
            ))
        })
}
