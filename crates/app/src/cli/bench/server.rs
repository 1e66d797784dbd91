//! The PostgreSQL server that the bench rotates at, over connections of the bench's own: what is
//! measured here owes nothing to a connector.
//!
//! The server must be on this machine: the bench speaks to it without TLS, as Pentad itself does
//! with loopback addresses only.

use std::{net::IpAddr, num::NonZeroU32, path::Path, str::FromStr as _, time::Duration};

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use pentad_model::{
    Secret,
    id::{Entropy as _, OsEntropy},
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{
    Client, Config, NoTls, SimpleQueryMessage,
    config::{Host, SslMode},
    error::SqlState,
};

use crate::{
    failure::{Exit, Failure},
    passphrase,
};

/// Connecting and logging in together, at the longest.
const CONNECT_BOUND: Duration = Duration::from_secs(10);
/// Of a verifier, as PostgreSQL's own has them.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4_096).unwrap();
/// Roles in one statement.
const AT_ONCE: usize = 50;
/// Tries to drop the roles: one that is being changed at this very moment can't be.
const TRIES: usize = 5;

/// Where the server is and who administers it.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) database: String,
    pub(super) admin: String,
    pub(super) password: Secret,
}

/// What a login showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    Works,
    Refused,
    CantTell(String),
}

/// An open connection.
pub(super) struct Connection {
    client: Client,
    driver: JoinHandle<()>,
}

/// A role of the bench, with the value that logs in.
#[derive(Clone)]
pub(super) struct Role {
    pub(super) name: String,
    pub(super) value: Secret,
}

impl Role {
    /// A role that does not exist yet.
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            value: random(),
        }
    }
}

/// What is sent instead of a password: SCRAM-SHA-256 with 4,096 iterations, computed here.
pub(super) struct Verifier(String);

impl Verifier {
    pub(super) fn of(value: &Secret) -> Self {
        let mut salt = [0u8; 16];
        OsEntropy.fill(&mut salt);
        let [stored, server] = scram_keys(value, &salt).map(|key| STANDARD.encode(key));
        let salt = STANDARD.encode(salt);
        Self(format!("SCRAM-SHA-256${ITERATIONS}:{salt}${stored}:{server}"))
    }
}

/// A value that nobody has: 192 random bits.
pub(super) fn random() -> Secret {
    let mut bytes = zeroize::Zeroizing::new([0u8; 24]);
    OsEntropy.fill(&mut *bytes);
    Secret::new(hex::encode(*bytes))
}

impl Server {
    /// From `postgres://USER@HOST:PORT/DATABASE`. The password is in `password_file`, in
    /// `password`, or in the URL where that came from the environment.
    pub(super) fn parse(
        url: &str,
        from_arguments: bool,
        password_file: Option<&Path>,
        password: Option<Secret>,
    ) -> Result<Self, Failure> {
        const FORM: &str = "expected postgres://USER@127.0.0.1:5432/postgres";
        let config = Config::from_str(url)
            .map_err(|_| Failure::usage("the target is not an address").hint(FORM))?;
        let in_url = config.get_password().map(Secret::new);
        if in_url.is_some() && from_arguments {
            return Err(
                Failure::usage("a password on the command line can be read by others")
                    .hint("change it, and give it with --password-file or PENTAD_BENCH_PASSWORD"),
            );
        }
        let host = match config.get_hosts() {
            [Host::Tcp(host)] if is_local(host) => host.clone(),
            [Host::Tcp(host)] => {
                return Err(Failure::usage(format!("`{host}` is not on this machine"))
                    .hint("the bench speaks without TLS: use a server here, or a tunnel to one"));
            }
            _ => return Err(Failure::usage("the target names no one host").hint(FORM)),
        };
        let admin = config.get_user().filter(|user| !user.is_empty());
        let admin = admin.ok_or_else(|| Failure::usage("the target names no user").hint(FORM))?;
        let password = match password_file {
            Some(file) => passphrase::from_file(file)?,
            None => password.or(in_url).ok_or_else(|| {
                Failure::usage(format!("there is no password for `{admin}`"))
                    .hint("give it with --password-file or PENTAD_BENCH_PASSWORD")
            })?,
        };
        Ok(Self {
            host,
            port: config.get_ports().first().copied().unwrap_or(5432),
            database: config.get_dbname().unwrap_or("postgres").to_owned(),
            admin: admin.to_owned(),
            password,
        })
    }

    /// The same server behind a proxy on this machine.
    pub(super) fn at_port(&self, port: u16) -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port,
            ..self.clone()
        }
    }

    /// How many rotations the server can have at once: each holds an administrating connection and
    /// makes test logins one after another, and one that ends lingers for a moment.
    pub(super) async fn room(&self) -> Result<u16, Failure> {
        let admin = self.admin().await?;
        let setting = "SELECT current_setting('max_connections')::int \
             - current_setting('superuser_reserved_connections')::int \
             - (SELECT count(*) FROM pg_stat_activity)::int";
        let rows = admin
            .client
            .simple_query(setting)
            .await
            .map_err(|e| self.failed(&e))?;
        admin.close().await;
        let free: i64 = rows
            .iter()
            .find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
                _ => None,
            })
            .unwrap_or(0);
        Ok(u16::try_from(free / 3).unwrap_or(0).max(1))
    }

    /// Makes the roles, each with its value. On a failure some of them may exist.
    pub(super) async fn create(&self, roles: &[Role]) -> Result<(), Failure> {
        let admin = self.admin().await?;
        for roles in roles.chunks(AT_ONCE) {
            let statements: String = roles
                .iter()
                .map(|role| {
                    let Verifier(verifier) = Verifier::of(&role.value);
                    format!("CREATE ROLE {} LOGIN PASSWORD '{verifier}';", role.name)
                })
                .collect();
            admin
                .client
                .batch_execute(&statements)
                .await
                .map_err(|e| self.failed(&e))?;
        }
        admin.close().await;
        Ok(())
    }

    /// Drops those of the roles that exist.
    pub(super) async fn drop(&self, roles: &[Role]) -> Result<(), Failure> {
        let mut done = Ok(());
        for _ in 0..TRIES {
            done = self.try_to_drop(roles).await;
            if done.is_ok() {
                return done;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let prefix = roles.first().and_then(|role| role.name.rsplit_once('_'));
        let prefix = prefix.map_or("bench", |(prefix, _)| prefix);
        done.map_err(|failure| {
            failure.hint(format!(
                "roles of the bench may be left: drop those named {prefix}_*"
            ))
        })
    }

    async fn try_to_drop(&self, roles: &[Role]) -> Result<(), Failure> {
        let admin = self.admin().await?;
        for roles in roles.chunks(AT_ONCE) {
            let names: Vec<&str> = roles.iter().map(|role| role.name.as_str()).collect();
            let statement = format!("DROP ROLE IF EXISTS {}", names.join(", "));
            admin
                .client
                .batch_execute(&statement)
                .await
                .map_err(|e| self.failed(&e))?;
        }
        admin.close().await;
        Ok(())
    }

    /// Opens an administrating connection.
    pub(super) async fn admin(&self) -> Result<Connection, Failure> {
        match self.connect(&self.admin, &self.password).await {
            Ok(connection) => Ok(connection),
            Err(Some(error)) => Err(self.failed(&error)),
            Err(None) => Err(Failure::unavailable(format!(
                "{}:{} did not answer within {} s",
                self.host,
                self.port,
                CONNECT_BOUND.as_secs()
            ))),
        }
    }

    /// Logs in as a consumer would, and out again.
    pub(super) async fn login(&self, role: &str, value: &Secret) -> Seen {
        match self.connect(role, value).await {
            Ok(connection) => {
                connection.close().await;
                Seen::Works
            }
            Err(Some(error)) if error.code() == Some(&SqlState::INVALID_PASSWORD) => Seen::Refused,
            Err(Some(error)) => Seen::CantTell(words(&error)),
            Err(None) => Seen::CantTell("no answer in time".to_owned()),
        }
    }

    /// Whether `value` is what the server keeps for the role: the salt and a key's digest are fetched,
    /// and the value's own key is derived from them.
    pub(super) async fn keeps(
        &self,
        admin: &Connection,
        role: &str,
        value: &Secret,
    ) -> Result<bool, Failure> {
        let statement = format!(
            "SELECT split_part(split_part(rolpassword, '$', 2), ':', 2), \
             encode(sha256(split_part(split_part(rolpassword, '$', 3), ':', 1)::bytea), 'hex') \
             FROM pg_authid WHERE rolname = '{role}'"
        );
        let rows = admin.client.simple_query(&statement).await;
        let kept = rows.map_err(|error| self.failed(&error))?;
        let kept = kept.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((row.get(0)?.to_owned(), row.get(1)?.to_owned())),
            _ => None,
        });
        Ok(kept.is_some_and(|(salt, stored)| stored_key_digest(value, &salt) == Some(stored)))
    }

    /// Gives a role another value: the verifier alone crosses.
    pub(super) async fn alter(
        &self,
        admin: &Connection,
        role: &str,
        Verifier(verifier): &Verifier,
    ) -> Result<(), Failure> {
        let statement = format!("ALTER ROLE {role} PASSWORD '{verifier}'");
        admin
            .client
            .batch_execute(&statement)
            .await
            .map_err(|error| self.failed(&error))
    }

    async fn connect(
        &self,
        user: &str,
        password: &Secret,
    ) -> Result<Connection, Option<tokio_postgres::Error>> {
        let mut config = Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .dbname(&self.database)
            .user(user)
            .password(password.expose())
            .application_name("pentad bench")
            .ssl_mode(SslMode::Disable);
        match timeout(CONNECT_BOUND, config.connect(NoTls)).await {
            Ok(Ok((client, connection))) => {
                let driver = tokio::spawn(async move { drop(connection.await) });
                Ok(Connection { client, driver })
            }
            Ok(Err(error)) => Err(Some(error)),
            Err(_) => Err(None),
        }
    }

    fn failed(&self, error: &tokio_postgres::Error) -> Failure {
        let exit = match error.code() {
            Some(code) if code.code().starts_with("28") => Exit::Denied,
            Some(code) if code.code() == "42501" => Exit::Denied,
            _ => Exit::Unavailable,
        };
        Failure::new(
            exit,
            format!("{}:{}: {}", self.host, self.port, words(error)),
        )
    }
}

impl Connection {
    /// Says good-bye and waits until the server has heard it.
    pub(super) async fn close(self) {
        let Self { client, mut driver } = self;
        drop(client);
        if timeout(Duration::from_secs(1), &mut driver).await.is_err() {
            driver.abort();
        }
    }
}

/// A value's StoredKey and ServerKey (RFC 5802 section 3).
fn scram_keys(value: &Secret, salt: &[u8]) -> [[u8; digest::SHA256_OUTPUT_LEN]; 2] {
    let mut salted = zeroize::Zeroizing::new([0u8; digest::SHA256_OUTPUT_LEN]);
    let hash = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(hash, ITERATIONS, salt, value.expose(), salted.as_mut());
    let key = hmac::Key::new(hmac::HMAC_SHA256, salted.as_ref());
    let mut keys = [[0; digest::SHA256_OUTPUT_LEN]; 2];
    let client_key = hmac::sign(&key, b"Client Key");
    keys[0].copy_from_slice(digest::digest(&digest::SHA256, client_key.as_ref()).as_ref());
    keys[1].copy_from_slice(hmac::sign(&key, b"Server Key").as_ref());
    keys
}

/// The SHA-256 of the base64 of a value's StoredKey, in hex.
fn stored_key_digest(value: &Secret, salt: &str) -> Option<String> {
    let [stored_key, _] = scram_keys(value, &STANDARD.decode(salt).ok()?);
    let text = STANDARD.encode(stored_key);
    Some(hex::encode(digest::digest(&digest::SHA256, text.as_bytes())))
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The server's own words, which never hold a value: statements carry verifiers only, and an error
/// does not repeat them.
fn words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(server) => format!("{} ({})", server.message(), server.code().code()),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn parse(url: &str, from_arguments: bool) -> Result<Server, Failure> {
        Server::parse(url, from_arguments, None, Some(Secret::new("p")))
    }

    #[test]
    fn a_target_is_an_address_on_this_machine() {
        let server = parse("postgres://admin@127.0.0.1:6000/app", true).unwrap();
        assert_eq!((server.host.as_str(), server.port), ("127.0.0.1", 6000));
        assert_eq!(
            (server.database.as_str(), server.admin.as_str()),
            ("app", "admin")
        );
        let server = parse("postgres://admin@localhost", true).unwrap();
        assert_eq!((server.port, server.database.as_str()), (5432, "postgres"));
        for wrong in [
            "postgres://admin@db.example/x",
            "postgres://127.0.0.1",
            "nonsense",
            "",
        ] {
            assert!(parse(wrong, true).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_in_an_argument_is_refused_and_not_repeated() {
        let refused = parse("postgres://admin:hunter2@127.0.0.1", true)
            .err()
            .unwrap();
        assert!(!format!("{refused:?}").contains("hunter2"));
        let url = "postgres://admin:hunter2@127.0.0.1";
        let server = Server::parse(url, false, None, None).unwrap();
        assert!(server.password == Secret::new("hunter2"));
    }
}
