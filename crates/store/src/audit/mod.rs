//! The tamper-evident audit log: an append-only directory of its own, independent of the store.
//!
//! What it does: makes records durable before it answers, many at once with one fsync; keeps a
//! Merkle tree over them; proves that a record is in the log and that the log only ever grew; keeps
//! signed checkpoints; verifies all of it off line.
//!
//! What it refuses: to change or remove a record; to open a log that has damage which a crash does
//! not explain, or that lost records known to be durable; to append after a failed write or fsync.
//!
//! What always holds:
//!
//! * A record whose [`Position`] was answered is on disk, and stays at that position.
//! * A record whose id is among the newest [`Options::window`] is in the log once.
//! * The bytes of a record are never written differently again: they are the leaf.
//!
//! ```text
//! audit/
//!   lock                              held while a process has the log open
//!   reserve                           space kept back for a full disk
//!   segment-0000000000000000.log      blocks of records; the truth
//!   tree/level-00 …                   nodes of the tree; a cache
//!   checkpoints/checkpoints.log       signed notes; a convenience
//!   search/0000000000000000.index …   what is where in full segments; derived, may be removed
//!   aside/                            what a repair moved away
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `block`, `segment` | the file format, byte by byte |
//! | `writer`, `reserve`, `recent` | group commit, the full disk, idempotence |
//! | `recovery`, `repair` | opening after a crash, and after damage |
//! | `hash`, `tree`, `checkpoint`, `ledger` | Merkle tree, signed tree heads, their list |
//! | `read`, `seek` | pages and search |
//! | `filter`, `fields` | what is sought, and telling it by a record's bytes |
//! | `index`, `summary`, `sealed`, `shelf` | where records are and what is not among them; side files |
//! | `extent` | how far the log reaches, for backups |
//! | `verify`, `ahead`, `report`, `shape`, `hidden` | verification off line |

mod ahead;
mod block;
mod checkpoint;
mod error;
mod extent;
mod faults;
mod fields;
mod filter;
mod hash;
mod hidden;
mod index;
mod ledger;
mod read;
mod recent;
mod recovery;
mod repair;
mod report;
mod reserve;
mod sealed;
mod seek;
mod segment;
mod shape;
mod shelf;
mod summary;
mod tree;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    fs::{File, TryLockError},
    ops::Range,
    path::Path,
    sync::{Arc, OnceLock},
    thread::JoinHandle,
};

use parking_lot::{Mutex, RwLock};
use pentad_model::Record;
use tokio::sync::{mpsc, oneshot};

pub use checkpoint::{Checkpoint, CheckpointError, key_id};
pub use error::AuditError;
pub use extent::{Extent, Part, is_segment};
pub use filter::Filter;
pub use hash::{Frontier, Hash, leaf_hash};
pub use read::{Entry, MAX_PAGE, Order, Page};
pub use repair::{Repair, repair};
pub use report::{Finding, Report};
pub use verify::verify;

use writer::{Answer, Leaf, Request, Writer};

use crate::Waiting;

/// How a log is run. The defaults are right for production.
#[derive(Clone, Debug)]
pub struct Options {
    /// A segment that has so many bytes is sealed. 64 MiB: opening reads one segment whole, which
    /// this keeps below half a second.
    pub segment_bytes: u64,
    /// How many of the newest ids are remembered. 100,000, some 10 MB of memory: far more than an
    /// outbox hands over again after a crash.
    pub window: usize,
    /// How many requests may wait for the writer before callers wait to hand theirs in.
    pub queue: usize,
    faults: faults::Faults,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            window: 100_000,
            queue: 1024,
            faults: faults::Faults::default(),
        }
    }
}

/// Where a record is: its sequence number, from 0, which is its leaf's index in the tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position(pub u64);

/// What readers and the writer share.
#[derive(Debug)]
struct Shared {
    layout: RwLock<index::Layout>,
    tree: RwLock<tree::Tree>,
    sealed: sealed::Sealed,
    ledger: Mutex<ledger::Ledger>,
    /// Why nothing can be appended any more.
    failed: OnceLock<AuditError>,
}

impl Shared {
    fn health(&self) -> Result<(), AuditError> {
        match self.failed.get() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// For good: the first reason stays.
    fn fail(&self, error: AuditError) {
        let _ = self.failed.set(error);
    }
}

/// An open log.
///
/// Appending is asynchronous. Everything else reads files and answers in microseconds where they
/// are in memory, but may wait for a disk: call it from a thread that may block.
///
/// Dropping it waits until all that was handed in is written.
#[derive(Debug)]
pub struct AuditLog {
    requests: Option<mpsc::Sender<Request>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    _lock: File,
}

impl AuditLog {
    /// Opens the log in `dir`, or makes a new one if there is none.
    ///
    /// `high_water` is the number of records that the caller knows to be durable: the largest
    /// position ever answered, plus one, as far as it was noted. The log refuses to open with fewer
    /// ([`AuditError::BelowHighWater`]); 0 for a new log.
    pub fn open(dir: &Path, options: Options, high_water: u64) -> Result<Self, AuditError> {
        segment::make_dir(dir)?;
        let lock = lock(dir)?;
        let recovered = recovery::recover(dir, high_water, options.window, options.faults.clone())?;
        let shared = Arc::new(Shared {
            layout: RwLock::new(recovered.layout),
            tree: RwLock::new(recovered.tree),
            sealed: sealed::Sealed::default(),
            ledger: Mutex::default(),
            failed: OnceLock::new(),
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            active: recovered.active,
            recent: recovered.recent,
            reserve: reserve::Reserve::open(dir, options.faults.clone()),
            segment_bytes: options.segment_bytes,
            faults: options.faults,
        };
        let (requests, queue) = mpsc::channel(options.queue.max(1));
        let thread = std::thread::Builder::new()
            .name("audit-writer".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|e| AuditError::io(dir, &e))?;
        Ok(Self {
            requests: Some(requests),
            shared,
            thread: Some(thread),
            _lock: lock,
        })
    }

    /// Appends a record. It is durable when this returns its position.
    ///
    /// A record whose id is among the newest [`Options::window`] is not written again; the answer is
    /// its position. On any error the act that it tells of must not go on. Dropping the future does
    /// not take the record back.
    pub async fn append(&self, record: &Record) -> Result<Position, AuditError> {
        self.append_all(std::slice::from_ref(record))
            .await?
            .pop()
            .ok_or_else(stopped)
    }

    /// Appends records in one block: all of them or, on an error or a crash, none of the new ones.
    ///
    /// [`AuditError::TooLarge`] if they have more than 3 MiB.
    pub async fn append_all(&self, records: &[Record]) -> Result<Vec<Position>, AuditError> {
        self.submit(encode(records)?, false).await
    }

    /// As [`append_all`](Self::append_all), of records that were written down before: their bytes
    /// become leaves as they are.
    pub async fn append_waiting(&self, records: Vec<Waiting>) -> Result<Vec<Position>, AuditError> {
        let leaves = records.into_iter().map(|record| {
            let mut marks = summary::Marks::default();
            marks.add_leaf(record.body.as_bytes());
            Leaf::new(record.id, marks, record.body.into_bytes())
        });
        self.submit(leaves.collect(), false).await
    }

    /// How many of these, from the first one on, one append takes: at least one.
    pub fn fitting(waiting: &[Waiting]) -> usize {
        let mut bytes = 0;
        let fits = waiting.iter().take_while(|record| {
            bytes += record.body.len() + 4;
            bytes <= writer::MAX_REQUEST
        });
        fits.count().max(1)
    }

    /// As [`append`](Self::append), and on a full disk in the reserved space: for the few records
    /// without which nobody could free space, an administrator's login and the refusal of an
    /// operation. The reserve holds about a thousand.
    pub async fn append_essential(&self, record: &Record) -> Result<Position, AuditError> {
        self.submit(encode(std::slice::from_ref(record))?, true)
            .await?
            .pop()
            .ok_or_else(stopped)
    }

    async fn submit(&self, leaves: Vec<Leaf>, essential: bool) -> Answer {
        if leaves.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = leaves.iter().map(|leaf| leaf.bytes.len() + 4).sum();
        if bytes > writer::MAX_REQUEST {
            let max = writer::MAX_REQUEST;
            return Err(AuditError::TooLarge { bytes, max });
        }
        let (answer, answered) = oneshot::channel();
        let request = Request {
            leaves,
            essential,
            answer,
        };
        let requests = self.requests.as_ref().ok_or_else(stopped)?;
        requests.send(request).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Whether it can be appended to at all; if not, why it must be reopened.
    pub fn health(&self) -> Result<(), AuditError> {
        self.shared.health()
    }

    /// How many records are durable: the high-water mark to note.
    pub fn size(&self) -> u64 {
        self.shared.layout.read().size
    }

    /// The root over the first `size` records (RFC 9162).
    pub fn root(&self, size: u64) -> Result<Hash, AuditError> {
        self.shared.tree.read().root(size)
    }

    /// The tree head to sign: all that is durable now.
    pub fn head(&self, origin: &str) -> Result<Checkpoint, AuditError> {
        let size = self.size();
        Ok(Checkpoint {
            origin: origin.to_owned(),
            size,
            root: self.root(size)?,
        })
    }

    /// That record `index` is among the first `size` (RFC 9162 section 2.1.3).
    pub fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Hash>, AuditError> {
        self.shared.tree.read().inclusion(index, size)
    }

    /// That the first `old` of `new` records are what they were (RFC 9162 section 2.1.4).
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, AuditError> {
        self.shared.tree.read().consistency(old, new)
    }

    /// Keeps a signed checkpoint beside the log.
    ///
    /// Refused if it does not hold for this log: a log that publishes two histories is worse than
    /// none.
    pub fn keep_checkpoint(&self, note: &str) -> Result<(), AuditError> {
        let checkpoint = Checkpoint::parse_unverified(note)?;
        let found = self.root(checkpoint.size)?;
        if found != checkpoint.root {
            return Err(CheckpointError::Inconsistent {
                size: checkpoint.size,
                claimed: checkpoint.root,
                found,
            }
            .into());
        }
        let mut ledger = self.shared.ledger.lock();
        let dir = self.shared.layout.read().dir.clone();
        ledger.append(&dir, note)
    }

    /// The signed checkpoints kept beside the log, oldest first.
    pub fn checkpoints(&self) -> Result<Vec<String>, AuditError> {
        let dir = self.shared.layout.read().dir.clone();
        let _one_at_a_time = self.shared.ledger.lock();
        ledger::read(&dir)
    }

    /// Up to `limit` (at most [`MAX_PAGE`]) records of a range of sequence numbers. What is beyond
    /// the end is left out: `0..u64::MAX` is everything.
    pub fn page(&self, range: Range<u64>, order: Order, limit: usize) -> Result<Page, AuditError> {
        self.shared
            .scan(range, order, limit, u64::MAX, &Filter::default())
    }

    /// Up to `limit` matching records of a range, the newest first, looking at `budget` records at
    /// most. [`Page::next`] is the range to go on with; it can be kept for as long as one likes.
    pub fn search(
        &self,
        filter: &Filter,
        range: Range<u64>,
        limit: usize,
        budget: u64,
    ) -> Result<Page, AuditError> {
        self.shared
            .scan(range, Order::Newest, limit, budget, filter)
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has answered its callers by going away.
            let _ = thread.join();
        }
    }
}

fn encode(records: &[Record]) -> Result<Vec<Leaf>, AuditError> {
    let leaves = records.iter().map(|record| {
        let bytes = serde_json::to_vec(record).map_err(|e| AuditError::Fatal {
            reason: format!("a record has no JSON form: {e}"),
        })?;
        let mut marks = summary::Marks::default();
        marks.add(&fields::Fields::of(record));
        Ok(Leaf::new(record.id, marks, bytes))
    });
    leaves.collect()
}

fn stopped() -> AuditError {
    AuditError::Fatal {
        reason: "its writer stopped".to_owned(),
    }
}

/// Takes the directory for this process, for as long as the file is open.
fn lock(dir: &Path) -> Result<File, AuditError> {
    let path = dir.join("lock");
    let file = segment::writable()
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| AuditError::io(&path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AuditError::Locked {
            dir: dir.to_owned(),
        }),
        Err(TryLockError::Error(e)) => Err(AuditError::io(&path, &e)),
    }
}
