//! Redis 6 and later (and Valkey): ACL users that log in with `AUTH user password`.
//!
//! What is sent is the password's SHA-256 (`ACL SETUSER u #<hex>`), so that the password reaches
//! neither the wire nor `MONITOR` nor the slow log. Logging in has no other way than sending it.
//!
//! What always holds:
//!
//! * The change and its saving (`ACL SAVE`, or `CONFIG REWRITE` for a server without an ACL file)
//!   are one `MULTI`: a lost connection can't leave a change that the next restart undoes.
//! * If the saving fails, the user's former passwords are put back, all of them.
//! * `nopass` never survives: a change begins with `resetpass`, or adds a password, which ends it.
//! * A connection is known by its id *and* the server run's id.
//! * A missing user is refused: `ACL SETUSER` alone would create it.
//!
//! Not done: clusters and replicas. Redis does not replicate users; each node is a target.

mod session;

use std::{sync::LazyLock, time::Duration};

use async_trait::async_trait;
use pentad_model::{
    Secret, Target,
    rotation::{Login, Strategy},
};
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, aio::MultiplexedConnection};
use tokio::{task::JoinHandle, time::timeout};

use crate::{
    Admin, Attempt, ConnectError, Connector, EFFECT_BOUND, Profile, Session,
    address::{self, Address},
};

/// Connecting, TLS and authentication together.
const CONNECT_BOUND: Duration = Duration::from_secs(5);

static PROFILE: Profile = Profile {
    name: "redis",
    description: "Redis 6 or later, or Valkey: an ACL user's passwords, sent as SHA-256.",
    address: address::FORM,
    strategies: &[Strategy::Overlap, Strategy::InPlace],
    options: &[(
        "persist",
        "`yes` (default): users are saved with each change, or the change is taken back; `no`: \
         they live in the server's memory only.",
    )],
    needs_admin: true,
    fences: true,
    proves: false,
};

/// See the [module](self).
pub(crate) struct Redis;

#[async_trait]
impl Connector for Redis {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn validate(&self, target: &Target) -> Result<(), ConnectError> {
        persists(target)?;
        Address::checked(target, &PROFILE).map(drop)
    }

    async fn open(
        &self,
        target: &Target,
        admin: Admin<'_>,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let Some(password) = admin.password else {
            return Err(ConnectError::Settings(
                "redis needs an administrating account with a password".into(),
            ));
        };
        let persist = persists(target)?;
        let connected = connect(target, admin.account, password)
            .await
            .map_err(|f| f.into_connect_error(target, admin.account))?;
        Ok(Box::new(
            session::RedisSession::start(connected, target, admin.account, persist).await?,
        ))
    }

    async fn login(&self, target: &Target, account: &str, password: &Secret) -> Attempt {
        match connect(target, account, password).await {
            Ok(_connected) => Attempt {
                login: Login::Works,
                sole: false,
                note: "logged in".into(),
            },
            Err(failure) => Attempt {
                login: failure.login(),
                sole: false,
                note: failure.to_string(),
            },
        }
    }
}

fn persists(target: &Target) -> Result<bool, ConnectError> {
    match target.options.get("persist").map(String::as_str) {
        None | Some("yes") => Ok(true),
        Some("no") => Ok(false),
        Some(other) => Err(ConnectError::Settings(format!(
            "the option `persist` is `{other}`; expected `yes` or `no`"
        ))),
    }
}

/// An authenticated connection and the task that drives it; the task ends with this value.
struct Connected {
    redis: MultiplexedConnection,
    driver: JoinHandle<()>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Why nobody is logged in.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Connect(ConnectError),
    #[error("no answer within {} s", CONNECT_BOUND.as_secs())]
    TimedOut,
    #[error("{}", explain(.0))]
    Server(RedisError),
}

impl Failure {
    /// A clear no is WRONGPASS alone. A user that is switched off gets it too: the account's state
    /// tells. `LOADING`, `max number of clients reached` and the like say nothing.
    fn login(&self) -> Login {
        match self {
            Self::Server(error) if error.code() == Some("WRONGPASS") => Login::Fails,
            _ => Login::CantTell,
        }
    }

    fn into_connect_error(self, target: &Target, account: &str) -> ConnectError {
        let (address, reason) = (target.address.clone(), self.to_string());
        match self {
            Self::Connect(error) => error,
            Self::Server(error) if error.code() == Some("WRONGPASS") => ConnectError::Refused {
                target: address,
                account: account.to_owned(),
                reason,
            },
            _ => ConnectError::Unreachable {
                target: address,
                reason,
            },
        }
    }
}

/// The library sends nothing of its own: who logs in is said by the AUTH below. (Static, because
/// the connection's driver borrows it.)
static NOBODY: LazyLock<RedisConnectionInfo> =
    LazyLock::new(|| RedisConnectionInfo::default().set_skip_set_lib_name());

/// Connects as `account` and nobody else: the two-word AUTH is sent as it is, and nothing falls
/// back to the default user.
async fn connect(target: &Target, account: &str, password: &Secret) -> Result<Connected, Failure> {
    let address = Address::checked(target, &PROFILE).map_err(Failure::Connect)?;
    let attempt = async {
        let stream = address.stream(target).await.map_err(Failure::Connect)?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(EFFECT_BOUND));
        let (redis, driver) = MultiplexedConnection::new_with_config(&NOBODY, stream, config)
            .await
            .map_err(Failure::Server)?;
        let mut connected = Connected {
            redis,
            driver: tokio::spawn(driver),
        };
        redis::cmd("AUTH")
            .arg(account)
            .arg(password.expose())
            .exec_async(&mut connected.redis)
            .await
            .map_err(Failure::Server)?;
        Ok(connected)
    };
    timeout(CONNECT_BOUND, attempt)
        .await
        .unwrap_or(Err(Failure::TimedOut))
}

/// The server's words, without what we sent: an error about a rule quotes the rule.
fn explain(error: &RedisError) -> String {
    let mut text = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    };
    if let Some(start) = text.find("modifier '") {
        text.truncate(start + "modifier".len());
    }
    text
}
