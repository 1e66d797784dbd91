//! The targets as the campaign sees them: by each system's own client, straight to the server and
//! never through a proxy, so that nothing that Pentad believes is taken for the truth.

use std::fmt;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;

mod mariadb;
mod postgres;
mod redis;

/// A lock in the way of effects on an account. Lifted by dropping it: its connection ends, the
/// server forgets the lock, and what waited goes on.
pub enum Obstacle {
    /// An open transaction that has changed the role.
    Postgres(tokio_postgres::Client),
    /// A lock on the table of accounts.
    MariaDb(Box<mysql_async::Conn>),
}

/// A sort of target.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum System {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    MariaDb,
    /// Redis.
    Redis,
}

impl System {
    /// Every one.
    pub const ALL: &'static [System] = &[System::Postgres, System::MariaDb, System::Redis];

    /// As the command line and the environment name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadb",
            Self::Redis => "redis",
        }
    }

    /// As a Pentad target names it.
    pub fn connector(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::MariaDb => "mariadb",
            Self::Redis => "redis",
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for System {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL.iter().find(|system| system.name() == text) {
            Some(system) => Ok(*system),
            None => bail!("`{text}` is none of postgres, mariadb, redis"),
        }
    }
}

/// Where a real server is, and its administrating account.
#[derive(Clone)]
pub struct Place {
    /// `host:port`, without TLS.
    pub address: String,
    /// The account.
    pub admin: String,
    /// Its password.
    pub password: String,
}

impl Place {
    /// From the variables that `scripts/services.sh env` prints.
    pub fn of(system: System) -> Result<Self> {
        let prefix = format!("PENTAD_TEST_{}", system.name().to_uppercase());
        let variable = |suffix: &str| {
            let name = format!("{prefix}_{suffix}");
            std::env::var(&name).with_context(|| {
                format!(
                    "{name} is not set: `scripts/services.sh up`, then \
                     `eval \"$(scripts/services.sh env)\"`"
                )
            })
        };
        let file = variable("PASSWORD_FILE")?;
        let password = std::fs::read_to_string(&file).with_context(|| file.clone())?;
        Ok(Self {
            address: variable("ADDR")?,
            admin: variable("ADMIN")?,
            password,
        })
    }

    fn host_port(&self) -> Result<(&str, u16)> {
        let (host, port) = self
            .address
            .rsplit_once(':')
            .context("an address is host:port")?;
        Ok((host, port.parse()?))
    }
}

/// What the campaign does at a server itself.
#[async_trait]
pub trait Target: Send + Sync {
    /// Makes an account that may log in with this password.
    async fn create(&self, account: &str, password: &str) -> Result<()>;

    /// Takes accounts away again, those that exist.
    async fn remove(&self, accounts: &[String]) -> Result<()>;

    /// Logs in with a new connection. `Err` where the server said neither yes nor no.
    async fn login(&self, account: &str, password: &str) -> Result<bool>;

    /// Somebody else sets the password, past Pentad.
    async fn set_password(&self, account: &str, password: &str) -> Result<()>;

    /// The verifiers that the server holds for an account, as it stores them; empty if nothing logs
    /// in there, or there is no such account. That is how values are found that nobody knows.
    async fn verifiers(&self, account: &str) -> Result<Vec<String>>;

    /// What the server stores for this password, where that can be computed without its help.
    fn verifier(&self, password: &str) -> Option<String>;

    /// Makes every effect on the account wait at the server until the obstacle is lifted; `None`
    /// where the system has nothing of the kind.
    async fn obstruct(&self, _account: &str) -> Result<Option<Obstacle>> {
        Ok(None)
    }
}

/// The client for a system.
pub fn target(system: System) -> Result<Box<dyn Target>> {
    let place = Place::of(system)?;
    Ok(match system {
        System::Postgres => Box::new(postgres::Postgres(place)),
        System::MariaDb => Box::new(mariadb::MariaDb(place)),
        System::Redis => Box::new(redis::Redis(place)),
    })
}
