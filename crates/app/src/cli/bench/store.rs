//! `pentad bench store`: commits and reads of the embedded store, beside bare SQLite on the same disk.
//!
//! A commit is what storing a new value is: a credential and its sealed version, with the record that
//! tells of it. The floor of commits is one row of the same size inserted in a transaction of its
//! own, durable (`synchronous=FULL`), by one connection: what group commit starts from, and with many
//! writers exceeds. The floor of reads is the same row by its key, by a prepared statement in the
//! thread that asks: no queue, no other thread, no object made of it.

use std::{
    path::{Path as FilePath, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use pentad_model::Tenant;
use pentad_store::{Change, OpenOptions, Reader as _, SqliteStore, StoreError, Writer as _};
use rusqlite::{Connection, params};
use serde::Serialize;

use super::{
    audit::record,
    crypto, estate,
    report::{print, rounded},
    scratch::{self, rate},
};
use crate::{failure::Failure, session::Session};

/// How many at once.
const AT_ONCE: [u64; 3] = [1, 16, 64];
/// How long each measurement runs.
const SPAN: Duration = Duration::from_secs(2);
/// Credentials that are read.
const READ: u64 = 10_000;

/// Measure the embedded store: commits and reads
///
/// With 1, 16 and 64 at once, beside bare SQLite. The store is a throw-away one. The last line is
/// JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad bench store
  pentad bench store --scratch /var/lib/pentad    # on the disk that a real store would be on")]
pub(super) struct Args {
    /// Where the throw-away store is made; on the disk that a real one would be on
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// All figures.
#[derive(Debug, Serialize)]
struct Figures {
    commits: Vec<Rate>,
    /// Transactions a second of bare SQLite, one connection.
    sqlite_transactions_per_second: f64,
    reads: Vec<Rate>,
    /// Look-ups a second of bare SQLite, one connection.
    sqlite_reads_per_second: f64,
}

/// So many at once.
#[derive(Debug, Serialize)]
struct Rate {
    at_once: u64,
    per_second: f64,
    /// Beside bare SQLite.
    ratio: f64,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let out = session.output;
        scratch::note_if_busy(out);
        let scratch = scratch::directory(self.scratch.as_deref())?;
        out.note("bare SQLite");
        let bare = Bare::make(&scratch.path().join("bare.db")).map_err(internal)?;
        let (transactions, look_ups) = bare.measure().map_err(internal)?;
        drop(bare);
        out.note("the store");
        let store = SqliteStore::create(scratch.path().join("store"), OpenOptions::default());
        let store = Arc::new(store.map_err(failed)?);
        let mut figures = Figures {
            commits: Vec::new(),
            sqlite_transactions_per_second: rounded(transactions, 0),
            reads: Vec::new(),
            sqlite_reads_per_second: rounded(look_ups, 0),
        };
        let made = Arc::new(AtomicU64::new(0));
        let keyring = Arc::new(crypto::keyring()?);
        for at_once in AT_ONCE {
            let (store, made) = (Arc::clone(&store), Arc::clone(&made));
            let keyring = Arc::clone(&keyring);
            let per_second = repeat(at_once, move || {
                let (store, keyring) = (Arc::clone(&store), Arc::clone(&keyring));
                let number = made.fetch_add(1, Ordering::Relaxed);
                async move {
                    let change = Change {
                        ops: estate::created(&keyring, number..number + 1)?,
                        records: vec![record(number)],
                    };
                    store.commit(change).await.map_err(failed)
                }
            });
            figures
                .commits
                .push(Rate::of(at_once, per_second.await?, transactions));
        }
        let count = made.load(Ordering::Relaxed).min(READ);
        let next = Arc::new(AtomicU64::new(0));
        for at_once in AT_ONCE {
            let (store, next) = (Arc::clone(&store), Arc::clone(&next));
            let per_second = repeat(at_once, move || {
                let store = Arc::clone(&store);
                let number = next.fetch_add(7919, Ordering::Relaxed) % count;
                async move {
                    let path = estate::path(number)?;
                    let tenant = Tenant::default_tenant();
                    let found = store.current(&tenant, &path).await.map_err(failed)?;
                    found
                        .map(drop)
                        .ok_or_else(|| internal("a credential is gone"))
                }
            });
            figures
                .reads
                .push(Rate::of(at_once, per_second.await?, look_ups));
        }
        print(out, &figures.text(), &figures)
    }
}

impl Rate {
    fn of(at_once: u64, per_second: f64, floor: f64) -> Self {
        Self {
            at_once,
            per_second: rounded(per_second, 0),
            ratio: rounded(per_second / floor, 3),
        }
    }
}

impl Figures {
    fn text(&self) -> String {
        let mut lines = Vec::new();
        for (name, rates, floor) in [
            (
                "commits",
                &self.commits,
                self.sqlite_transactions_per_second,
            ),
            ("reads", &self.reads, self.sqlite_reads_per_second),
        ] {
            for rate in rates {
                lines.push(format!(
                    "{name:<8} {:>3} at once  {:>8.0} a second, {:.2} times bare SQLite's {floor:.0}",
                    rate.at_once, rate.per_second, rate.ratio,
                ));
            }
        }
        lines.join("\n")
    }
}

/// How often an act succeeds in a second, by so many tasks.
async fn repeat<F>(
    at_once: u64,
    act: impl Fn() -> F + Clone + Send + 'static,
) -> Result<f64, Failure>
where
    F: Future<Output = Result<(), Failure>> + Send,
{
    let begin = Instant::now();
    let tasks = (0..at_once).map(|_| {
        let act = act.clone();
        tokio::spawn(async move {
            let mut done = 0;
            while begin.elapsed() < SPAN {
                act().await?;
                done += 1;
            }
            Ok::<u64, Failure>(done)
        })
    });
    let mut done = 0;
    for task in try_join_all(tasks).await.map_err(internal)? {
        done += task?;
    }
    Ok(rate(done, begin.elapsed()))
}

/// SQLite with the settings that make a commit durable, and nothing else.
struct Bare(Connection);

impl Bare {
    fn make(file: &FilePath) -> rusqlite::Result<Self> {
        let connection = Connection::open(file)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.execute_batch("CREATE TABLE t (k TEXT PRIMARY KEY, v BLOB NOT NULL) STRICT")?;
        Ok(Self(connection))
    }

    /// Transactions a second, and look-ups a second.
    fn measure(&self) -> rusqlite::Result<(f64, f64)> {
        // As large as a credential, its version and its record together.
        let row = vec![0x5a_u8; 2500];
        let mut insert = self.0.prepare("INSERT INTO t VALUES (?1, ?2)")?;
        let (begin, mut made) = (Instant::now(), 0u64);
        while begin.elapsed() < SPAN {
            // Each statement alone is a transaction.
            insert.execute(params![format!("team/{made}"), row])?;
            made += 1;
        }
        let transactions = rate(made, begin.elapsed());
        let mut select = self.0.prepare("SELECT v FROM t WHERE k = ?1")?;
        let (begin, mut read) = (Instant::now(), 0u64);
        while begin.elapsed() < SPAN {
            for _ in 0..64 {
                let key = format!("team/{}", read * 7919 % made);
                let value: Vec<u8> = select.query_row([key], |row| row.get(0))?;
                std::hint::black_box(value);
                read += 1;
            }
        }
        Ok((transactions, rate(read, begin.elapsed())))
    }
}

fn failed(error: StoreError) -> Failure {
    Failure::from(pentad_agents::Fault::from(error))
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::internal(error.to_string())
}
