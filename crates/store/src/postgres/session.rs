//! A session at the database: how it is opened, what it refuses, and how statements run in it.
//!
//! What always holds in one:
//!
//! * `synchronous_commit` is on: what is answered is on disk. A database whose settings say
//!   otherwise (for itself, the role or the server), or that runs without `fsync` or
//!   `full_page_writes`, is refused with the statement that mends it.
//! * Every wait is bounded, by the server and, should that be out of reach, by us.
//! * Statements are prepared once; their plans walk indices in order and never sort a table.

use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};

use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_postgres::{Client, Error, NoTls, Row, Statement, types::ToSql};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    address::Address,
    errors::{Failure, explain, lost},
    rows::Value,
};
use crate::StoreError;

/// How long a reply may take: longer than what the server itself allows a statement.
const REPLY: Duration = Duration::from_secs(7);
/// Connecting to one host of an address, from the first packet to the end of the login: a server that
/// hangs has its connections accepted by the system, and says nothing.
const CONNECT: Duration = Duration::from_secs(5);
/// Waits between tries to connect: the first, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// PostgreSQL 13.
const OLDEST: i32 = 130_000;

/// Opens sessions; after a failure it waits a little longer each time, and says so meanwhile
/// without asking the database.
pub(super) struct Connector {
    address: Address,
    runtime: Handle,
    failing: Mutex<Option<Failing>>,
}

struct Failing {
    since: Instant,
    until: Instant,
    wait: Duration,
    error: StoreError,
}

impl Connector {
    /// Sessions live on this runtime, whoever asks for them.
    pub(super) fn new(address: Address, runtime: Handle) -> Self {
        let failing = Mutex::new(None);
        Self {
            address,
            runtime,
            failing,
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn schema(&self) -> &str {
        &self.address.schema
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// How long the database has been out of reach.
    pub(super) fn failing_for(&self) -> Option<Duration> {
        let failing = self.failing.lock();
        failing.as_ref().map(|failing| failing.since.elapsed())
    }

    /// A session at the store's schema, ready for statements.
    pub(super) async fn connect(&self) -> Result<Session, Failure> {
        if let Some(failing) = &mut *self.failing.lock() {
            if Instant::now() < failing.until {
                return Err(failing.error.clone().into());
            }
            // One tries at a time, and nobody waits for him.
            failing.until = Instant::now() + CONNECT;
        }
        let opened = self.connect_at_once().await;
        let mut failing = self.failing.lock();
        match opened {
            Ok(session) => {
                *failing = None;
                Ok(session)
            }
            Err(failure) => {
                let error = failure.about(|| "the database".to_owned());
                let now = Instant::now();
                let (since, wait) = match failing.take() {
                    Some(before) => (before.since, (before.wait * 2).min(BACK_OFF.1)),
                    None => (now, BACK_OFF.0),
                };
                *failing = Some(Failing {
                    since,
                    until: now + wait,
                    wait,
                    error: error.clone(),
                });
                Err(error.into())
            }
        }
    }

    /// As [`connect`](Self::connect), whatever failed before.
    pub(super) async fn connect_at_once(&self) -> Result<Session, Failure> {
        let address = self.address.clone();
        // There, so that the session outlives the runtime of whoever happened to ask first.
        let opened = self.runtime.spawn(async move {
            let session = Session::open(&address).await?;
            session.prepare_for(&address.schema).await?;
            Ok(session)
        });
        opened.await.unwrap_or_else(|_| Err(closing().into()))
    }
}

/// One connection, whose requests may overlap: the server answers them in turn.
pub(super) struct Session {
    client: Client,
    statements: Mutex<HashMap<String, Statement>>,
    _driver: Driver,
}

/// The task that moves a connection's bytes; it ends with its session.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A statement of a change, and how many rows it must reach: none fewer, or the change's
/// precondition does not hold.
pub(super) struct Step {
    pub(super) sql: &'static str,
    pub(super) values: Vec<Value>,
    pub(super) reaches: Option<u64>,
}

impl Session {
    /// Connected, and nothing more.
    pub(super) async fn open(address: &Address) -> Result<Self, Failure> {
        let config = address.config()?;
        let connecting = async {
            Ok::<_, Error>(match address.tls() {
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    (client, tokio::spawn(connection.map(drop)))
                }
                Some(tls) => {
                    let tls = MakeRustlsConnect::new(Arc::unwrap_or_clone(tls));
                    let (client, connection) = config.connect(tls).await?;
                    (client, tokio::spawn(connection.map(drop)))
                }
            })
        };
        let hosts = u32::try_from(config.get_hosts().len()).unwrap_or(1);
        let bound = CONNECT * hosts.max(1);
        let (client, driver) = match timeout(bound, connecting).await {
            Ok(connected) => connected.map_err(unconnected)?,
            Err(_) => return Err(Failure::Silence(bound.as_secs())),
        };
        Ok(Self {
            client,
            statements: Mutex::default(),
            _driver: Driver(driver),
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Refuses what would break our promises, and makes the settings ours.
    async fn prepare_for(&self, schema: &str) -> Result<(), Failure> {
        let commit = self.check().await?;
        let settings = format!(
            "SET search_path = pg_catalog, {schema}, pg_temp; SET synchronous_commit = {commit};
             SET default_transaction_isolation = 'read committed';
             SET statement_timeout = '5s'; SET lock_timeout = '4s';
             SET idle_in_transaction_session_timeout = '5s';
             SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5;
             SET tcp_keepalives_count = 3;
             SET client_min_messages = warning; SET standard_conforming_strings = on;
             SET jit = off;
             -- Pages are read off an index in its order, whatever the statistics say or lack: a
             -- plan that sorts is a page that takes as long as the estate is large.
             SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off;
             SET enable_hashjoin = off; SET enable_mergejoin = off;
             SET plan_cache_mode = force_generic_plan"
        );
        self.batch(&settings).await
    }

    /// The setting of `synchronous_commit` to use, or what is to be changed at the server first.
    async fn check(&self) -> Result<&'static str, Failure> {
        let asked = self.client.query_one(
            "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(),
                    current_setting('server_encoding'), current_setting('fsync'),
                    current_setting('full_page_writes'), s.reset_val, s.source,
                    quote_ident(current_user), quote_ident(current_database())
             FROM pg_settings s WHERE s.name = 'synchronous_commit'",
            &[],
        );
        let row = bounded(REPLY, asked).await?;
        let text = |place: usize| row.try_get::<_, &str>(place).unwrap_or_default();
        if row.try_get::<_, i32>(0)? < OLDEST {
            return Err(lost("the database is older than PostgreSQL 13: upgrade it").into());
        }
        if row.try_get::<_, bool>(1)? {
            return Err(lost(
                "the database is a standby; the address must lead to the primary, or list both with \
                 target_session_attrs=read-write",
            )
            .into());
        }
        if text(2) != "UTF8" {
            return Err(lost(format!(
                "the database's encoding is {}: make it with ENCODING 'UTF8'",
                text(2)
            ))
            .into());
        }
        for (place, setting) in [(3, "fsync"), (4, "full_page_writes")] {
            if text(place) != "on" {
                return Err(lost(format!(
                    "the database runs with {setting} = {}: what is stored would not survive the \
                     loss of power. ALTER SYSTEM RESET {setting}; SELECT pg_reload_conf(); or the \
                     same in postgresql.conf",
                    text(place)
                ))
                .into());
            }
        }
        match text(5) {
            "off" => Err(lost(format!(
                "synchronous_commit is off ({}): a commit that was answered could be lost. {}",
                text(6),
                mend(text(6), text(7), text(8))
            ))
            .into()),
            "remote_apply" => Ok("remote_apply"),
            _ => Ok("on"),
        }
    }

    /// Statements without parameters, as one message.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Failure> {
        bounded(REPLY, self.client.batch_execute(sql)).await
    }

    pub(super) async fn query(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Failure> {
        let statement = self.statement(sql).await?;
        bounded(REPLY, self.client.query(&statement, &parameters(values))).await
    }

    pub(super) async fn execute(&self, sql: &str, values: &[Value]) -> Result<u64, Failure> {
        let statement = self.statement(sql).await?;
        bounded(REPLY, self.client.execute(&statement, &parameters(values))).await
    }

    /// Runs statements one after the other without waiting for their answers in between, `first`
    /// (without parameters) before all. Returns how many rows each reached.
    pub(super) async fn pipeline(
        &self,
        first: Option<&str>,
        steps: &[Step],
    ) -> Result<Vec<Result<u64, Failure>>, Failure> {
        // Each is prepared before, for that has to be waited for.
        let mut statements = Vec::with_capacity(steps.len());
        for step in steps {
            statements.push(self.statement(step.sql).await?);
        }
        type Answer<'a> = Pin<Box<dyn Future<Output = Result<u64, Error>> + Send + 'a>>;
        let mut answers: Vec<Answer<'_>> = Vec::with_capacity(steps.len() + 1);
        if let Some(sql) = first {
            answers.push(
                self.client
                    .batch_execute(sql)
                    .map(|done| done.map(|()| 0))
                    .boxed(),
            );
        }
        for (step, statement) in steps.iter().zip(&statements) {
            let run = async move {
                let parameters = parameters(&step.values);
                self.client.execute(statement, &parameters).await
            };
            answers.push(run.boxed());
        }
        // A request is sent when its future is first polled: once each, in their order, and only
        // then is any of them waited for.
        let mut early: Vec<Option<Result<u64, Error>>> = Vec::with_capacity(answers.len());
        for answer in &mut answers {
            early.push(answer.as_mut().now_or_never());
        }
        let all = async {
            let mut results = Vec::with_capacity(answers.len());
            for (answer, early) in answers.into_iter().zip(early) {
                let result = match early {
                    Some(result) => result,
                    None => answer.await,
                };
                results.push(result.map_err(Failure::from));
            }
            results
        };
        timeout(REPLY, all)
            .await
            .map_err(|_| Failure::Silence(REPLY.as_secs()))
    }

    async fn statement(&self, sql: &str) -> Result<Statement, Failure> {
        #[cfg(test)]
        super::tests::plans::note(sql);
        if let Some(known) = self.statements.lock().get(sql) {
            return Ok(known.clone());
        }
        let made = bounded(REPLY, self.client.prepare(sql)).await?;
        self.statements.lock().insert(sql.to_owned(), made.clone());
        Ok(made)
    }
}

/// What the server did not say itself is about the way to it, not about what it keeps.
fn unconnected(error: Error) -> Failure {
    if error.as_db_error().is_some() {
        return error.into();
    }
    let reason = explain(&error);
    Failure::Lost(match reason.contains("password missing") {
        true => lost(format!(
            "{reason}: name a file that holds it (store.password_file, PENTAD_STORE_PASSWORD_FILE)"
        )),
        false => lost(reason),
    })
}

fn parameters(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|it| it as &(dyn ToSql + Sync)).collect()
}

async fn bounded<T>(
    bound: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Failure> {
    match timeout(bound, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Failure::Silence(bound.as_secs())),
    }
}

/// What brings `synchronous_commit` back, by where it was turned off.
fn mend(source: &str, role: &str, database: &str) -> String {
    match source {
        "database user" => {
            format!("ALTER ROLE {role} IN DATABASE {database} RESET synchronous_commit")
        }
        "user" => format!("ALTER ROLE {role} RESET synchronous_commit"),
        "database" => format!("ALTER DATABASE {database} RESET synchronous_commit"),
        _ => "ALTER SYSTEM RESET synchronous_commit, and remove it from postgresql.conf; then \
              SELECT pg_reload_conf()"
            .to_owned(),
    }
}

/// The advisory lock of a purpose in a schema, for one of its things: the same for every process of
/// ours, whatever its version.
pub(super) fn lock_key(schema: &str, purpose: &str, thing: &str) -> i64 {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(format!("pentad/store/{schema}/{purpose}/{thing}"));
    let mut key = [0; 8];
    key.copy_from_slice(&hash[..8]);
    i64::from_be_bytes(key)
}

pub(super) fn closing() -> StoreError {
    lost("it is closing")
}
