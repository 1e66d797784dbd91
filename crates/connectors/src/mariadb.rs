//! MariaDB 10.4 and later, and MySQL 8: accounts that log in with a password.
//!
//! On MariaDB an account may have several passwords: `IDENTIFIED VIA mysql_native_password USING
//! '*OLD' OR mysql_native_password USING '*NEW'`. The verifier, `SHA1(SHA1(password))`, is computed
//! here, so the password never crosses. It is unsalted: good for generated values, which nobody can
//! guess, and for nothing else.
//!
//! MySQL has `RETAIN CURRENT PASSWORD`, which takes the password itself; there it crosses, over
//! TLS or inside this machine. **The MySQL side was written from MySQL's reference manual
//! (section 8.2.15) and has not been tried against a server.**
//!
//! An account is written `user` (meaning `'user'@'%'`) or `user@host`.
//!
//! What always holds:
//!
//! * Effects run under `GET_LOCK` and with bounded waits.
//! * A session is known by its connection id *and* a random lock that it holds all its life. The
//!   server frees that lock when the session has ended, also at a restart, after which ids begin
//!   anew; so "nobody holds it" means that the session is gone, and an id that holds it is it.
//!
//! Not done: Galera clusters, whose nodes don't share `GET_LOCK`; name the writer's own address.

mod account;
mod outcome;
mod session;

use std::time::Duration;

use async_trait::async_trait;
use mysql_async::{Conn, OptsBuilder, SslOpts};
use pentad_model::{
    Secret, Target,
    rotation::{Login, Strategy},
    target::Tls,
};
use tokio::time::timeout;

use crate::{
    Admin, Attempt, ConnectError, Connector, Profile, Session,
    address::{self, Address},
    tls,
};

/// Connecting, TLS and authentication together.
const CONNECT_BOUND: Duration = Duration::from_secs(5);

static PROFILE: Profile = Profile {
    name: "mariadb",
    description: "MariaDB 10.4 or later: an account's passwords, sent as native verifiers; MySQL 8 \
                  (untried).",
    address: address::FORM,
    strategies: &[Strategy::Overlap, Strategy::InPlace],
    options: &[],
    needs_admin: true,
    fences: true,
    proves: false,
};

/// See the [module](self).
pub(crate) struct MariaDb;

#[async_trait]
impl Connector for MariaDb {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn validate(&self, target: &Target) -> Result<(), ConnectError> {
        Address::checked(target, &PROFILE).map(drop)
    }

    async fn open(
        &self,
        target: &Target,
        admin: Admin<'_>,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let Some(password) = admin.password else {
            return Err(ConnectError::Settings(
                "mariadb needs an administrating account with a password".into(),
            ));
        };
        let conn = connect(target, admin.account, password)
            .await
            .map_err(|f| f.into_connect_error(target, admin.account))?;
        Ok(Box::new(
            session::MariaDbSession::start(conn, target, admin.account).await?,
        ))
    }

    async fn login(&self, target: &Target, account: &str, password: &Secret) -> Attempt {
        let user = account::Account::parse(account).user;
        match connect(target, user, password).await {
            Ok(conn) => {
                // Says good-bye; the answer is known already.
                let _ = timeout(Duration::from_secs(1), conn.disconnect()).await;
                Attempt {
                    login: Login::Works,
                    sole: false,
                    note: "logged in".into(),
                }
            }
            Err(failure) => Attempt {
                login: failure.login(),
                sole: false,
                note: failure.to_string(),
            },
        }
    }
}

/// Why nobody is logged in.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Settings(ConnectError),
    #[error("no answer within {} s", CONNECT_BOUND.as_secs())]
    TimedOut,
    #[error("{}", outcome::explain(.0))]
    Server(mysql_async::Error),
}

impl Failure {
    /// A clear no is 1045 alone. A locked account (4151, MySQL 3118), an expired password (1820,
    /// 1862), a blocked host (1129) or account (4150), too many connections (1040, 1203, 1226) and
    /// a plugin that takes no password (1698) say nothing about the value.
    fn login(&self) -> Login {
        match self {
            Self::Server(error) if outcome::code(error) == Some(1045) => Login::Fails,
            _ => Login::CantTell,
        }
    }

    fn into_connect_error(self, target: &Target, account: &str) -> ConnectError {
        let (address, reason) = (target.address.clone(), self.to_string());
        match self {
            Self::Settings(error) => error,
            Self::Server(error)
                if matches!(outcome::code(&error), Some(1045 | 1698 | 4151 | 3118)) =>
            {
                ConnectError::Refused {
                    target: address,
                    account: account.to_owned(),
                    reason,
                }
            }
            _ => ConnectError::Unreachable {
                target: address,
                reason,
            },
        }
    }
}

async fn connect(target: &Target, user: &str, password: &Secret) -> Result<Conn, Failure> {
    let opts = options(target, user, password).map_err(Failure::Settings)?;
    match timeout(CONNECT_BOUND, Conn::new(opts)).await {
        Ok(result) => result.map_err(Failure::Server),
        Err(_) => Err(Failure::TimedOut),
    }
}

fn options(target: &Target, user: &str, password: &Secret) -> Result<OptsBuilder, ConnectError> {
    let address = Address::checked(target, &PROFILE)?;
    let Some(text) = password.expose_str() else {
        return Err(ConnectError::Settings("the password is not UTF-8".into()));
    };
    let opts = OptsBuilder::default()
        .user(Some(user))
        .pass(Some(text))
        .stmt_cache_size(0)
        // Else the library would ask the server for both, and, on loopback, leave the connection
        // for the server's socket.
        .max_allowed_packet(Some(1 << 20))
        .wait_timeout(Some(28_800))
        .prefer_socket(false);
    Ok(match address {
        Address::Unix(path) => opts.socket(Some(path.to_string_lossy().into_owned())),
        Address::Tcp(host, port) => opts
            .ip_or_hostname(host)
            .tcp_port(port)
            .ssl_opts(match target.tls {
                Tls::Plain => None,
                Tls::Verify => Some(ssl_opts(target)?),
            }),
    })
}

/// The library builds its TLS configuration itself, from the process's provider: aws-lc, the only
/// one in this build. Its own bundled roots are left out, for only the system's are kept current.
fn ssl_opts(target: &Target) -> Result<SslOpts, ConnectError> {
    let roots = match &target.ca_pem {
        Some(pem) => vec![pem.clone().into_bytes().into()],
        None => tls::native_certificates()?
            .iter()
            .map(|certificate| certificate.to_vec().into())
            .collect(),
    };
    Ok(SslOpts::default()
        .with_root_certs(roots)
        .with_disable_built_in_roots(true))
}
