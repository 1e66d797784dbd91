//! `pentad bench audit`: how fast records become durable, and how fast they are verified, each
//! beside what this machine could do at best.
//!
//! What runs, in this order, on logs of the bench's own:
//!
//! 1. So many writers at once each append one record after another, waiting for each to be durable.
//! 2. The floor: one thread writes the very same blocks to a plain file, with one `fdatasync` each.
//! 3. A log of so many records is made, and verified off line against a trusted checkpoint.
//! 4. The floor: the same leaves, in memory, are hashed to the same root by the same code, on one
//!    thread, as verification runs on one.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use pentad_model::{
    Clock as _, Context, Id, Principal, Record, SystemClock, Tenant, id::OsEntropy,
    record::Outcome, secret::Fingerprint,
};
use pentad_store::audit::{self, AuditLog, Frontier, Options, Order, leaf_hash};
use serde::Serialize;

use super::{
    report::{ms, percentile, print, rounded},
    scratch::{self, rate},
};
use crate::{
    failure::{Exit, Failure},
    progress::Progress,
    session::Session,
};

/// Records of one request while a log is filled: far below what a block holds.
const FILL: u64 = 2000;
/// How often verification and its floor run; the fastest of each counts.
const ROUNDS: usize = 3;

/// Measure the audit log: durable appends, and verification
///
/// Appends from many writers at once, beside one writer that syncs the same blocks; verifies a log,
/// beside merely hashing it. The logs are throw-away ones. The last line is JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad bench audit
  pentad bench audit --records 100000 --writers 16 --json
  pentad bench audit --scratch /var/lib/pentad    # on the disk that a real log would be on")]
pub(super) struct Args {
    /// Records of the log that is verified
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    records: u64,
    /// Writers at once
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    writers: u16,
    /// Records that are appended by them, all together
    #[arg(long, value_name = "N", default_value_t = 200_000,
          value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    appends: u64,
    /// Where the throw-away logs are made; on the disk that a real one would be on
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// All figures.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    /// Writers at once.
    pub(super) writers: u16,
    /// Records that they appended.
    pub(super) appends: u64,
    /// Durable records a second.
    pub(super) append_per_second: f64,
    /// How long one waited until its record was durable: the median, and the 99th percentile.
    pub(super) append_p50_ms: f64,
    /// See above.
    pub(super) append_p99_ms: f64,
    /// Blocks, and so fsyncs, that these became.
    pub(super) blocks: u64,
    /// The same blocks written by one thread to a plain file, each with its `fdatasync`: records a
    /// second.
    pub(super) floor_per_second: f64,
    /// `append_per_second` / `floor_per_second`: 1 means that the log costs nothing.
    pub(super) append_ratio: f64,
    /// Records that were verified.
    pub(super) records: u64,
    /// How long that took, on one thread.
    pub(super) verify_seconds: f64,
    /// Records verified a second.
    pub(super) verify_per_second: f64,
    /// How long merely hashing the same leaves and nodes takes, on one thread.
    pub(super) hash_seconds: f64,
    /// `verify_seconds` / `hash_seconds`.
    pub(super) verify_ratio: f64,
    /// From opening the verified log until it could be appended to.
    pub(super) open_ms: f64,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let figures = self.measure(session).await?;
        print(session.output, &figures.text(), &figures)
    }

    async fn measure(&self, session: &Session) -> Result<Figures, Failure> {
        let out = session.output;
        scratch::note_if_busy(out);
        let scratch = scratch::directory(self.scratch.as_deref())?;
        out.note(format!("{} writers at once", self.writers));
        let appended = scratch.path().join("appended");
        let (took, waits) = append(&appended, self.writers, self.appends).await?;
        out.note("the floor: the same blocks to a plain file");
        let blocks = blocks_of(&appended)?;
        let floor = write_plainly(&scratch.path().join("plain"), &appended, &blocks)?;

        let dir = scratch.path().join("verified");
        let progress = Progress::new(out, self.records as usize);
        let filled = fill(&dir, self.records, &progress).await;
        progress.end();
        let head = filled?;
        out.note("verifying, and hashing alone");
        let (mut verified, mut hashed) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            verified = verified.min(verify(&dir, &head)?);
            hashed = hashed.min(hash(&dir, &head)?);
        }
        let begin = Instant::now();
        drop(AuditLog::open(&dir, Options::default(), self.records).map_err(failed)?);
        let opened = begin.elapsed();

        let appends = waits.len() as u64;
        let (append, plain) = (rate(appends, took), rate(appends, floor));
        Ok(Figures {
            writers: self.writers,
            appends,
            append_per_second: rounded(append, 0),
            append_p50_ms: ms(percentile(&waits, 50)),
            append_p99_ms: ms(percentile(&waits, 99)),
            blocks: blocks.len() as u64,
            floor_per_second: rounded(plain, 0),
            append_ratio: rounded(append / plain, 3),
            records: self.records,
            verify_seconds: rounded(verified.as_secs_f64(), 3),
            verify_per_second: rounded(rate(self.records, verified), 0),
            hash_seconds: rounded(hashed.as_secs_f64(), 3),
            verify_ratio: rounded(verified.as_secs_f64() / hashed.as_secs_f64(), 2),
            open_ms: ms(opened),
        })
    }
}

impl Figures {
    fn text(&self) -> String {
        format!(
            "appended     {append:.0} durable records a second by {writers} writers; each waited \
             p50 {p50:.2} ms, p99 {p99:.2} ms\n\
             floor        {floor:.0} a second: one thread, the same {blocks} blocks, one fdatasync \
             each; the log reaches {ratio:.0} %\n\
             verified     {records} records in {verify:.2} s, {verify_rate:.0} a second\n\
             floor        {hash:.2} s for hashing the same leaves and nodes: verifying takes \
             {verify_ratio:.2} times as long\n\
             opened       in {open:.0} ms",
            append = self.append_per_second,
            writers = self.writers,
            p50 = self.append_p50_ms,
            p99 = self.append_p99_ms,
            floor = self.floor_per_second,
            blocks = self.blocks,
            ratio = self.append_ratio * 100.0,
            records = self.records,
            verify = self.verify_seconds,
            verify_rate = self.verify_per_second,
            hash = self.hash_seconds,
            verify_ratio = self.verify_ratio,
            open = self.open_ms,
        )
    }
}

/// Appends `count` records by so many writers; how long it took, and each of them.
pub(super) async fn append(
    dir: &FilePath,
    writers: u16,
    count: u64,
) -> Result<(Duration, Vec<Duration>), Failure> {
    let log = Arc::new(AuditLog::open(dir, Options::default(), 0).map_err(failed)?);
    let each = count.div_ceil(u64::from(writers));
    let begin = Instant::now();
    let tasks = (0..u64::from(writers)).map(|writer| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let mut waits = Vec::with_capacity(each as usize);
            for n in 0..each {
                let record = record(writer * each + n);
                let begin = Instant::now();
                log.append(&record).await?;
                waits.push(begin.elapsed());
            }
            Ok(waits)
        })
    });
    let done = try_join_all(tasks).await;
    let took = begin.elapsed();
    let waits = done
        .map_err(|error| Failure::internal(error.to_string()))?
        .into_iter()
        .collect::<Result<Vec<Vec<Duration>>, _>>()
        .map_err(failed)?;
    Ok((took, waits.concat()))
}

/// Where the blocks of a log's segments begin and how long they are. The length of the payload is
/// at byte 20 of the header's 28, big-endian: the format is documented in `pentad-store`.
fn blocks_of(dir: &FilePath) -> Result<Vec<(PathBuf, u64, usize)>, Failure> {
    let io = |error| Failure::file(dir.display(), &error);
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .map_err(io)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "log"))
        .collect();
    files.sort_unstable();
    let mut blocks = Vec::new();
    for path in files {
        let file = File::open(&path).map_err(io)?;
        let (mut at, mut header) = (0, [0; 28]);
        while file.read_exact_at(&mut header, at).is_ok() {
            let payload = header[20..24]
                .iter()
                .fold(0, |n, byte| n << 8 | usize::from(*byte));
            blocks.push((path.clone(), at, header.len() + payload));
            at += (header.len() + payload) as u64;
        }
    }
    Ok(blocks)
}

/// Writes the same blocks again, to one file, and syncs after each.
fn write_plainly(
    to: &FilePath,
    dir: &FilePath,
    blocks: &[(PathBuf, u64, usize)],
) -> Result<Duration, Failure> {
    let io = |error| Failure::file(dir.display(), &error);
    let mut bytes = Vec::with_capacity(blocks.len());
    for (path, at, length) in blocks {
        let mut block = vec![0; *length];
        let file = File::open(path).map_err(io)?;
        file.read_exact_at(&mut block, *at).map_err(io)?;
        bytes.push(block);
    }
    let file = File::create_new(to).map_err(io)?;
    let begin = Instant::now();
    let mut at = 0;
    for block in &bytes {
        file.write_all_at(block, at).map_err(io)?;
        file.sync_data().map_err(io)?;
        at += block.len() as u64;
    }
    Ok(begin.elapsed())
}

/// A log of `count` records; its head.
pub(super) async fn fill(
    dir: &FilePath,
    count: u64,
    progress: &Progress,
) -> Result<audit::Checkpoint, Failure> {
    let log = AuditLog::open(dir, Options::default(), 0).map_err(failed)?;
    let mut done = log.size();
    while done < count {
        let next = (done + FILL).min(count);
        let records: Vec<Record> = (done..next).map(record).collect();
        log.append_all(&records).await.map_err(failed)?;
        done = next;
        progress.at(done as usize, "records for the audit log");
    }
    log.head("bench").map_err(failed)
}

fn verify(dir: &FilePath, head: &audit::Checkpoint) -> Result<Duration, Failure> {
    let begin = Instant::now();
    let report = audit::verify(dir, std::slice::from_ref(head)).map_err(failed)?;
    let took = begin.elapsed();
    if !report.is_intact() || report.proven != head.size {
        return Err(Failure::new(
            Exit::Damaged,
            "a log that was just written is not intact",
        ));
    }
    Ok(took)
}

/// Reads the leaves, a thousand at a time, and hashes them; only the hashing counts.
fn hash(dir: &FilePath, head: &audit::Checkpoint) -> Result<Duration, Failure> {
    let log = AuditLog::open(dir, Options::default(), 0).map_err(failed)?;
    let (mut took, mut tree, mut left) = (Duration::ZERO, Frontier::default(), Some(0..head.size));
    while let Some(range) = left {
        let page = log
            .page(range, Order::Oldest, audit::MAX_PAGE)
            .map_err(failed)?;
        let begin = Instant::now();
        for entry in &page.entries {
            tree.push(leaf_hash(&entry.leaf));
        }
        took += begin.elapsed();
        left = page.next;
    }
    match tree.root() == head.root {
        true => Ok(took),
        false => Err(Failure::internal("hashing the leaves gives another root")),
    }
}

/// A record as a read of a credential leaves one.
pub(super) fn record(number: u64) -> Record {
    let now = SystemClock.now();
    let context = Context {
        correlation: Id::generate(now, &OsEntropy),
        tenant: Tenant::default_tenant(),
        principal: Principal::Agent {
            name: format!("bench-{}", number % 97),
        },
        origin: "127.0.0.1:40000".to_owned(),
    };
    let id = Id::generate(now, &OsEntropy);
    let mut record = Record::new(id, now, &context, "credential.read", Outcome::Done);
    let path = format!("team-{}/app-{}/db", number % 1000, number / 1000 % 1000);
    record.path = path.parse().ok();
    record.version = Some(1);
    let mut mac = [0; 32];
    mac[..8].copy_from_slice(&number.to_be_bytes());
    record.value_mac = Some(Fingerprint(mac));
    record
}

fn failed(error: audit::AuditError) -> Failure {
    let exit = match error {
        audit::AuditError::Full => Exit::Unavailable,
        _ => Exit::Internal,
    };
    Failure::new(exit, error.to_string())
}
