//! The PostgreSQL store under the conformance suite, and what only it can suffer. They need the real
//! server: `./dev services up`, then `eval "$(./dev services env)"`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod following;
mod led;
mod outages;
pub(super) mod plans;
mod snapshot;
mod trouble;

use std::{
    future::Future,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use pentad_model::clock::ManualClock;
use proptest::{prelude::*, test_runner::TestRunner};
use tokio_postgres::NoTls;

use super::{Address, PostgresOptions, PostgresStore};
use crate::conformance::{Bench, Lab, random};

/// What `./dev services env` prints.
fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: these tests need the real servers. Run `./dev services up`, then \
             `eval \"$(./dev services env)\"`"
        )
    })
}

/// A database of a test's own, dropped with it.
pub(super) struct Database {
    name: String,
    made: AtomicU32,
}

impl Database {
    pub(super) fn new() -> Self {
        let name = format!("store_{:016x}", rand());
        admin(format!(
            "CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"
        ));
        let made = AtomicU32::new(0);
        Self { name, made }
    }

    pub(super) fn address(&self, more: &str) -> Address {
        let (place, user) = (
            env("PENTAD_TEST_POSTGRES_ADDR"),
            env("PENTAD_TEST_POSTGRES_ADMIN"),
        );
        let address: Address = format!("postgres://{user}@{place}/{}?{more}", self.name)
            .parse()
            .unwrap();
        let file = env("PENTAD_TEST_POSTGRES_PASSWORD_FILE");
        address.with_password_file(PathBuf::from(file)).unwrap()
    }

    /// Statements of an onlooker, in the test's database.
    pub(super) async fn sql(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.unwrap();
    }

    pub(super) async fn client(&self) -> tokio_postgres::Client {
        client(&self.name).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        admin(format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

fn rand() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(std::process::id())
}

async fn client(database: &str) -> tokio_postgres::Client {
    let place = env("PENTAD_TEST_POSTGRES_ADDR");
    let (host, port) = place.rsplit_once(':').unwrap();
    let mut config = tokio_postgres::Config::new();
    config
        .host(host)
        .port(port.parse().unwrap())
        .user(env("PENTAD_TEST_POSTGRES_ADMIN"))
        .password(std::fs::read(env("PENTAD_TEST_POSTGRES_PASSWORD_FILE")).unwrap())
        .dbname(database);
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A statement of the server's administrator, from anywhere.
fn admin(sql: String) {
    let work = move || {
        run(async { client("postgres").await.batch_execute(&sql).await }).unwrap();
    };
    // On a thread of its own: a runtime can't be made inside another.
    std::thread::spawn(work).join().unwrap();
}

#[async_trait]
impl Lab for Database {
    type Store = PostgresStore;

    async fn fresh(&self, clock: Arc<ManualClock>) -> Arc<PostgresStore> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let address = self.address(&format!("schema=s{number}"));
        Arc::new(
            PostgresStore::create(address, "log", options(clock))
                .await
                .unwrap(),
        )
    }

    async fn reopen(&self, store: Arc<PostgresStore>) -> Arc<PostgresStore> {
        let store = Arc::into_inner(store).expect("nobody else holds it");
        let (address, log) = (store.connector.address().clone(), store.log.clone());
        drop(store);
        let clock = Arc::new(ManualClock::default());
        Arc::new(
            PostgresStore::open(address, &log, options(clock))
                .await
                .unwrap(),
        )
    }
}

pub(super) fn options(clock: Arc<ManualClock>) -> PostgresOptions {
    PostgresOptions {
        clock,
        readers: 2,
        ..PostgresOptions::default()
    }
}

pub(super) fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

macro_rules! a_test_each {
    ($($module:ident { $($case:ident,)+ })+) => {
        $(mod $module {
            $(
                #[test]
                fn $case() {
                    let lab = super::Database::new();
                    super::run(async {
                        let bench = super::Bench::new(&lab).await;
                        crate::conformance::$module::$case(&bench).await;
                    });
                }
            )+
        })+
    };
}

crate::for_each_case!(a_test_each);

#[test]
fn random_changes_agree_with_the_reference() {
    let config = ProptestConfig {
        cases: 24,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    // One database for all cases, a schema each: making one takes longer than a case.
    let lab = Database::new();
    let agrees = |acts| {
        run(random::agrees_with_the_reference(&lab, acts));
        Ok(())
    };
    TestRunner::new(config)
        .run(&random::acts(), agrees)
        .unwrap();
}
