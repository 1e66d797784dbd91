//! A bench: a system's real server, and how an account is made there without the connector.

use std::path::PathBuf;

use async_trait::async_trait;
use mysql_async::prelude::Queryable as _;
use pentad_connectors::{AccountChange, Admin, Attempt, Connector, Outcome, Session, registry};
use pentad_model::{
    Name, Secret, Target, Tenant,
    id::{Entropy as _, OsEntropy},
    rotation::{Login, Strategy},
    target::Tls,
};

#[async_trait]
pub(crate) trait Bench: Send + Sync {
    /// The connector's name.
    fn system(&self) -> &'static str;
    /// The target, without TLS.
    fn target(&self) -> Target;
    /// The administrating account.
    fn admin(&self) -> (String, Option<Secret>);
    /// Makes an account that may log in with `password`, by the system's own client.
    async fn create(&self, account: &str, password: &Secret);
    /// Makes an administrating account that may look but not change accounts; `None` where the
    /// system has no accounts.
    async fn onlooker(&self, _account: &str, _password: &Secret) -> bool {
        true
    }
    /// Everything that the server wrote: logs, account files.
    async fn written(&self) -> Vec<u8>;
    /// An account's name as awkward as the system allows.
    fn awkward(&self) -> String;

    fn connector(&self) -> &'static dyn Connector {
        registry::by_name(self.system()).expect("registered")
    }
    async fn open(&self) -> Box<dyn Session> {
        self.open_at(&self.target()).await
    }
    async fn open_at(&self, target: &Target) -> Box<dyn Session> {
        let (account, password) = self.admin();
        let admin = Admin {
            account: &account,
            password: password.as_ref(),
        };
        self.connector().open(target, admin).await.expect("opens")
    }
    async fn login(&self, account: &str, password: &Secret) -> Login {
        self.attempt(account, password).await.login
    }
    async fn attempt(&self, account: &str, password: &Secret) -> Attempt {
        let target = self.target();
        self.connector().login(&target, account, password).await
    }
}

/// A bench for every registered connector.
pub(crate) fn all() -> Vec<Box<dyn Bench>> {
    registry::all()
        .iter()
        .map(|connector| -> Box<dyn Bench> {
            match connector.profile().name {
                "postgresql" => Box::new(PostgreSql),
                "mariadb" => Box::new(MariaDb),
                "redis" => Box::new(Redis),
                "envfile" => Box::new(EnvFile::default()),
                other => panic!("{other} is registered, but has no bench: write one here"),
            }
        })
        .collect()
}

/// A change for tests.
pub(crate) fn change<'a>(
    strategy: Strategy,
    account: &'a str,
    new: &'a Secret,
    old: Option<&'a Secret>,
) -> AccountChange<'a> {
    AccountChange {
        account,
        new,
        old,
        like: None,
        strategy,
    }
}

pub(crate) fn is_stop(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Rejected(r) if r.cause == pentad_connectors::Cause::Stop)
}

pub(crate) fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    OsEntropy.fill(&mut random);
    hex::encode(random)
}

/// A value as a generator makes them, with what needs quoting.
pub(crate) fn password() -> Secret {
    Secret::new(format!("{}'\"\\ $x#%", random_hex(12)))
}

pub(crate) fn account() -> String {
    format!("app_{}", random_hex(6))
}

/// What `./dev services env` prints.
pub(crate) fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: these tests need the real servers. Run `./dev services up`, then \
             `eval \"$(./dev services env)\"`"
        )
    })
}

pub(crate) fn target(system: &str, address: String) -> Target {
    Target {
        tenant: "default".parse::<Tenant>().unwrap(),
        name: "bench".parse::<Name>().unwrap(),
        system: system.into(),
        address,
        admin_account: None,
        admin_credential: None,
        tls: Tls::Plain,
        ca_pem: None,
        concurrency: 1,
        lockout_limit: None,
        options: Default::default(),
        revision: 0,
        created_at: Default::default(),
    }
}

fn admin_of(prefix: &str) -> (String, Option<Secret>) {
    let file = env(&format!("PENTAD_TEST_{prefix}_PASSWORD_FILE"));
    (
        env(&format!("PENTAD_TEST_{prefix}_ADMIN")),
        Some(Secret::new(std::fs::read(file).unwrap())),
    )
}

fn text(secret: &Secret) -> &str {
    secret.expose_str().unwrap()
}

// ------------------------------------------------------------------------------- PostgreSQL

pub(crate) struct PostgreSql;

impl PostgreSql {
    /// An administrator's connection of the tests' own.
    pub(crate) async fn client(&self) -> tokio_postgres::Client {
        let (user, password) = self.admin();
        self.client_as(&user, &password.unwrap()).await
    }

    pub(crate) async fn client_as(&self, user: &str, password: &Secret) -> tokio_postgres::Client {
        let (host, port) = host_port("POSTGRES");
        let (client, connection) = tokio_postgres::Config::new()
            .host(host)
            .port(port)
            .user(user)
            .password(password.expose())
            .dbname("postgres")
            .connect(tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
    }
}

#[async_trait]
impl Bench for PostgreSql {
    fn system(&self) -> &'static str {
        "postgresql"
    }
    fn target(&self) -> Target {
        target(self.system(), env("PENTAD_TEST_POSTGRES_ADDR"))
    }
    fn admin(&self) -> (String, Option<Secret>) {
        admin_of("POSTGRES")
    }
    async fn create(&self, account: &str, password: &Secret) {
        // The server quotes; nothing of the connector's own quoting is used.
        let client = self.client().await;
        let row = client
            .query_one(
                "SELECT format('SET log_statement = none; CREATE ROLE %I LOGIN PASSWORD %L', \
                 $1::text, $2::text)",
                &[&account, &"placeholder"],
            )
            .await
            .unwrap();
        let statement: String = row.get(0);
        let quoted = text(password).replace('\\', "\\\\").replace('\'', "''");
        let statement = statement.replace("'placeholder'", &format!("E'{quoted}'"));
        client.batch_execute(&statement).await.unwrap();
    }
    async fn onlooker(&self, account: &str, password: &Secret) -> bool {
        self.create(account, password).await;
        true
    }
    async fn written(&self) -> Vec<u8> {
        std::fs::read(env("PENTAD_TEST_POSTGRES_LOG")).unwrap()
    }
    fn awkward(&self) -> String {
        format!("Ö\"'\\; -- ☃{}", random_hex(4))
    }
}

// ---------------------------------------------------------------------------------- MariaDB

pub(crate) struct MariaDb;

impl MariaDb {
    pub(crate) async fn client(&self) -> mysql_async::Conn {
        let (user, password) = self.admin();
        let (host, port) = host_port("MARIADB");
        let opts = mysql_async::OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port)
            .user(Some(user))
            .pass(password.as_ref().map(text))
            .prefer_socket(false);
        mysql_async::Conn::new(opts).await.unwrap()
    }
}

#[async_trait]
impl Bench for MariaDb {
    fn system(&self) -> &'static str {
        "mariadb"
    }
    fn target(&self) -> Target {
        target(self.system(), env("PENTAD_TEST_MARIADB_ADDR"))
    }
    fn admin(&self) -> (String, Option<Secret>) {
        admin_of("MARIADB")
    }
    async fn create(&self, account: &str, password: &Secret) {
        let mut client = self.client().await;
        client
            .query_drop("SET SESSION sql_log_off = 1")
            .await
            .unwrap();
        let quote = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
        client
            .query_drop(format!(
                "CREATE USER '{}'@'%' IDENTIFIED BY '{}'",
                quote(account),
                quote(text(password))
            ))
            .await
            .unwrap();
    }
    async fn onlooker(&self, account: &str, password: &Secret) -> bool {
        self.create(account, password).await;
        true
    }
    async fn written(&self) -> Vec<u8> {
        let mut all = std::fs::read(env("PENTAD_TEST_MARIADB_LOG")).unwrap();
        all.extend(std::fs::read(env("PENTAD_TEST_MARIADB_GENERAL_LOG")).unwrap());
        all
    }
    fn awkward(&self) -> String {
        format!("Ö\"'\\; -- ☃{}", random_hex(4))
    }
}

// ------------------------------------------------------------------------------------ Redis

pub(crate) struct Redis;

impl Redis {
    pub(crate) async fn client(&self) -> redis::aio::MultiplexedConnection {
        let (user, password) = self.admin();
        let (host, port) = host_port("REDIS");
        let password = password.unwrap();
        let url = format!("redis://{user}:{}@{host}:{port}", text(&password));
        redis::Client::open(url)
            .unwrap()
            .get_multiplexed_async_connection()
            .await
            .unwrap()
    }

    pub(crate) async fn set_user(&self, account: &str, rules: &[&str]) {
        redis::cmd("ACL")
            .arg("SETUSER")
            .arg(account)
            .arg(rules)
            .exec_async(&mut self.client().await)
            .await
            .unwrap();
    }
}

#[async_trait]
impl Bench for Redis {
    fn system(&self) -> &'static str {
        "redis"
    }
    fn target(&self) -> Target {
        target(self.system(), env("PENTAD_TEST_REDIS_ADDR"))
    }
    fn admin(&self) -> (String, Option<Secret>) {
        admin_of("REDIS")
    }
    async fn create(&self, account: &str, password: &Secret) {
        let rule = format!(">{}", text(password));
        self.set_user(account, &["on", &rule, "~*", "+@all"]).await;
    }
    async fn onlooker(&self, account: &str, password: &Secret) -> bool {
        self.create(account, password).await;
        self.set_user(account, &["-acl|setuser"]).await;
        true
    }
    async fn written(&self) -> Vec<u8> {
        let log = PathBuf::from(env("PENTAD_TEST_REDIS_LOG"));
        let mut all = std::fs::read(&log).unwrap();
        all.extend(std::fs::read(log.with_file_name("users.acl")).unwrap());
        let slow: redis::Value = redis::cmd("SLOWLOG")
            .arg("GET")
            .arg("-1")
            .query_async(&mut self.client().await)
            .await
            .unwrap();
        all.extend(format!("{slow:?}").bytes());
        all
    }
    fn awkward(&self) -> String {
        format!("Ö\"'\\;--☃{}", random_hex(4))
    }
}

// ------------------------------------------------------------------------------------- .env

pub(crate) struct EnvFile {
    directory: tempfile::TempDir,
}

impl Default for EnvFile {
    fn default() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }
}

impl EnvFile {
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("app.env")
    }
}

#[async_trait]
impl Bench for EnvFile {
    fn system(&self) -> &'static str {
        "envfile"
    }
    fn target(&self) -> Target {
        target(self.system(), self.path().to_str().unwrap().into())
    }
    fn admin(&self) -> (String, Option<Secret>) {
        (String::new(), None)
    }
    async fn create(&self, account: &str, password: &Secret) {
        let quoted = text(password).replace('\\', "\\\\").replace('"', "\\\"");
        std::fs::write(self.path(), format!("# mine\n{account}=\"{quoted}\"\n")).unwrap();
    }
    async fn onlooker(&self, _account: &str, _password: &Secret) -> bool {
        false
    }
    async fn written(&self) -> Vec<u8> {
        Vec::new()
    }
    fn awkward(&self) -> String {
        format!("_Ab9_{}", random_hex(4))
    }
}

pub(crate) fn host_port(prefix: &str) -> (String, u16) {
    let address = env(&format!("PENTAD_TEST_{prefix}_ADDR"));
    let (host, port) = address.rsplit_once(':').unwrap();
    (host.to_owned(), port.parse().unwrap())
}
