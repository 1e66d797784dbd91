//! The one thread that writes, with group commit.
//!
//! It takes every change that was queued while the last commit ran, carries all out in one
//! transaction, commits once (one fsync), and then answers all. Where the precondition of one fails,
//! the transaction begins anew with each change in a savepoint, so that those alone are rolled back
//! that can't be carried out; savepoints cost a copy of each page that a change writes, and nearly no
//! group needs them. What always holds:
//!
//! * Nothing is answered before `COMMIT` returned, and the stamps of what changed were moved.
//! * A failed `COMMIT` fails the whole group.
//! * After a failed fsync nothing is tried again: the outcome on disk is unknown until the store is
//!   reopened.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicI32, Ordering},
};

use pentad_model::{Clock, Record, Timestamp};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{
    checkpoint::{Checkpoints, Due, Pace},
    errors::Failure,
    ops, outbox,
    reserve::Reserve,
    rows::{Body, encode, statement},
};
use crate::{Change, Op, Stamps, StoreError};

/// Changes that share one transaction at most; bounds the time that the first of them waits.
const MAX_GROUP: usize = 256;

/// Why the store refuses everything, once it does.
#[derive(Debug, Default)]
pub(super) struct Health(OnceLock<String>);

impl Health {
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.0.get() {
            Some(reason) => Err(StoreError::Fatal {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Takes note of a failure that no retry mends.
    pub(super) fn note(&self, error: &StoreError) {
        if let StoreError::Fatal { reason } = error {
            tracing::error!(
                reason,
                "the store failed and refuses everything from now on"
            );
            // The first reason stays: later ones are its consequences.
            let _ = self.0.set(reason.clone());
        }
    }
}

/// A task for the writer, with the way back for its answer.
pub(super) struct Job {
    pub(super) task: Task,
    /// Whether it may use the reserved space.
    pub(super) essential: bool,
    pub(super) answer: oneshot::Sender<Result<(), StoreError>>,
}

pub(super) enum Task {
    Commit(Prepared),
    ClearOutbox(u64),
}

/// A change with the texts that it writes, as far as they are known before its turn.
pub(super) struct Prepared {
    pub(super) ops: Vec<Op>,
    /// Of each of them.
    pub(super) bodies: Vec<Body>,
    pub(super) records: Vec<outbox::Told>,
}

impl Prepared {
    /// To be made where many are at once, which on the writer's thread they are not.
    pub(super) fn of(mut change: Change) -> Result<Self, StoreError> {
        let record = |record: &Record| encode(record).map(|body| (record.id, body));
        Ok(Self {
            bodies: change
                .ops
                .iter_mut()
                .map(ops::body)
                .collect::<Result<_, _>>()?,
            ops: change.ops,
            records: change
                .records
                .iter()
                .map(record)
                .collect::<Result<_, _>>()?,
        })
    }
}

/// Owns the connection that writes.
pub(super) struct Writer {
    /// Let go of before the connection: the last one to close moves the log, and it is this one.
    checkpoints: Checkpoints,
    pub(super) connection: Connection,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) health: Arc<Health>,
    stamps: Arc<Stamps>,
    reserve: Reserve,
    log_pages: Arc<AtomicI32>,
    pace: Pace,
}

/// What became of each of a group's tasks.
type Results = Vec<Result<(), StoreError>>;

/// Whose work a task that can't be carried out leaves as it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// Nobody's: none is expected to fail, or there is one task only.
    All,
    /// That of each other one.
    Each,
}

/// Why a group was not committed.
struct Aborted {
    /// Whose task broke the transaction, if one did.
    by: Option<usize>,
    error: StoreError,
}

impl Writer {
    pub(super) fn new(
        mut connection: Connection,
        clock: Arc<dyn Clock>,
        health: Arc<Health>,
        stamps: Arc<Stamps>,
        reserve: Reserve,
        checkpoints: Checkpoints,
    ) -> rusqlite::Result<Self> {
        // SQLite would checkpoint inside COMMIT and drop the checkpoint's errors; so it happens
        // elsewhere, and a failed fsync is seen.
        let log_pages = Arc::new(AtomicI32::new(0));
        let counted = Arc::clone(&log_pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            counted.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        let page = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        Ok(Self {
            checkpoints,
            connection,
            clock,
            health,
            stamps,
            reserve,
            log_pages,
            pace: Pace::new(page),
        })
    }

    /// Serves until every sender is gone and the queue is empty.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.blocking_recv() {
            let mut group = vec![first];
            while group.len() < MAX_GROUP {
                match queue.try_recv() {
                    Ok(job) => group.push(job),
                    Err(_) => break,
                }
            }
            self.serve_what_has_space(group);
            self.checkpoint_if_due();
        }
    }

    /// While the reserve is out, ordinary changes would eat what it freed.
    fn serve_what_has_space(&mut self, group: Vec<Job>) {
        let (group, refused) = match self.reserve.is_still_out() {
            true => group.into_iter().partition(|job| job.essential),
            false => (group, Vec::new()),
        };
        for job in refused {
            reply(job, Err(StoreError::Full));
        }
        if !group.is_empty() {
            self.serve(group);
        }
    }

    fn serve(&mut self, group: Vec<Job>) {
        match self.attempt(&group) {
            Ok(results) => {
                for (job, result) in group.into_iter().zip(results) {
                    self.answer(job, result);
                }
            }
            Err(Aborted {
                by: Some(culprit),
                error,
            }) if group.len() > 1 && self.health.check().is_ok() => {
                // One of them broke the transaction for all (it did not fit on the disk): the
                // others get another try, each alone, so that none suffers from a neighbour.
                for (position, job) in group.into_iter().enumerate() {
                    if position == culprit {
                        self.answer(job, Err(error.clone()));
                    } else {
                        self.serve(vec![job]);
                    }
                }
            }
            Err(Aborted { error, .. }) => {
                for job in group {
                    self.answer(job, Err(error.clone()));
                }
            }
        }
    }

    /// Answers; a change that found no space is tried again once the log has given back what it can,
    /// and an essential one then in the reserved space.
    fn answer(&mut self, job: Job, result: Result<(), StoreError>) {
        if result == Err(StoreError::Full) && self.moves_log() {
            return self.serve(vec![job]);
        }
        if result == Err(StoreError::Full) && job.essential && self.reserve.release() {
            tracing::warn!("the disk is full: the store uses its reserved space");
            return self.serve(vec![job]);
        }
        // Whatever became of it: a commit that failed may yet be on disk.
        if let Task::Commit(change) = &job.task {
            self.stamps.touch(&change.ops);
        }
        reply(job, result);
    }

    /// Moves the log, which then begins anew in the space that it has. Whether there was anything to
    /// move; never while the reserve is out, whose space the database would take.
    fn moves_log(&mut self) -> bool {
        if !self.reserve.is_out() && self.log_pages.swap(0, Ordering::Relaxed) > 0 {
            self.checkpoints.ask();
        }
        self.checkpoints.settle()
    }

    /// One transaction over the whole group; each task's own result, once they are durable.
    fn attempt(&mut self, group: &[Job]) -> Result<Results, Aborted> {
        match self.attempt_with(group, Keep::All)? {
            Some(results) => Ok(results),
            None => self
                .attempt_with(group, Keep::Each)
                .map(Option::unwrap_or_default),
        }
    }

    /// The same; `None`: one of several can't be carried out, nothing was, and with [`Keep::All`] the
    /// others' work could not be kept.
    fn attempt_with(&mut self, group: &[Job], keep: Keep) -> Result<Option<Results>, Aborted> {
        self.health
            .check()
            .map_err(|error| Aborted { by: None, error })?;
        let now = self.clock.now();
        self.run_sql("BEGIN IMMEDIATE")?;
        let mut results = Vec::with_capacity(group.len());
        for (position, job) in group.iter().enumerate() {
            let result = match keep {
                Keep::All => carry_out(&self.connection, &job.task, now),
                Keep::Each => self.in_savepoint(&job.task, now),
            };
            if let Err(error) = &result {
                self.health.note(error);
                let fatal = matches!(error, StoreError::Fatal { .. });
                // SQLite gives up the whole transaction on some failures.
                if fatal || self.connection.is_autocommit() {
                    self.roll_back();
                    return Err(Aborted {
                        by: Some(position),
                        error: error.clone(),
                    });
                }
                if keep == Keep::All && group.len() > 1 {
                    self.roll_back();
                    return Ok(None);
                }
            }
            results.push(result);
        }
        if results.iter().all(Result::is_err) {
            self.roll_back();
            return Ok(Some(results));
        }
        self.sweep(group, now)?;
        self.run_sql("COMMIT")?;
        Ok(Some(results))
    }

    fn in_savepoint(&self, task: &Task, now: Timestamp) -> Result<(), StoreError> {
        let tx = &self.connection;
        let plain = |failure: rusqlite::Error| Failure::from(failure).about(tx, database);
        let run = |sql| statement(tx, sql)?.execute([]).map(drop);
        run("SAVEPOINT change").map_err(plain)?;
        let result = carry_out(tx, task, now);
        if result.is_err() && !tx.is_autocommit() {
            run("ROLLBACK TO change").map_err(plain)?;
        }
        if !tx.is_autocommit() {
            run("RELEASE change").map_err(plain)?;
        }
        result
    }

    /// Sweeping is a courtesy: if it fails, the group is still committed, unless SQLite gave up the
    /// transaction.
    fn sweep(&self, group: &[Job], now: Timestamp) -> Result<(), Aborted> {
        let added = group.iter().map(|job| match &job.task {
            Task::Commit(change) => change.records.len(),
            Task::ClearOutbox(_) => 0,
        });
        let Err(failure) = outbox::sweep(&self.connection, added.sum(), now) else {
            return Ok(());
        };
        let error = failure.about(&self.connection, database);
        self.health.note(&error);
        tracing::warn!(%error, "expired rows could not be swept");
        if matches!(error, StoreError::Fatal { .. }) || self.connection.is_autocommit() {
            self.roll_back();
            return Err(Aborted { by: None, error });
        }
        Ok(())
    }

    fn run_sql(&self, sql: &str) -> Result<(), Aborted> {
        let run = || statement(&self.connection, sql)?.execute([]);
        run().map(drop).map_err(|failure| {
            let error = Failure::from(failure).about(&self.connection, database);
            self.health.note(&error);
            self.roll_back();
            Aborted { by: None, error }
        })
    }

    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            // An open transaction of unknown content must not take in the next group.
            self.health.note(&StoreError::Fatal {
                reason: format!("a transaction could not be rolled back: {error}"),
            });
        }
    }

    fn checkpoint_if_due(&mut self) {
        // A checkpoint makes the database larger: it would take what the reserve has freed.
        if self.reserve.is_out() {
            return;
        }
        match self.pace.after(self.log_pages.load(Ordering::Relaxed)) {
            Due::Nothing => {}
            Due::Pass => self.checkpoints.ask(),
            Due::Wait => {
                self.checkpoints.ask();
                self.checkpoints.settle();
            }
        }
    }
}

fn carry_out(tx: &Connection, task: &Task, now: Timestamp) -> Result<(), StoreError> {
    let change = match task {
        Task::ClearOutbox(through) => {
            return outbox::clear(tx, *through)
                .map_err(|failure| failure.about(tx, || "the outbox".to_owned()));
        }
        Task::Commit(change) => change,
    };
    let about_outbox = |failure: Failure| failure.about(tx, || "the outbox".to_owned());
    // The first record's id is the change's: one that is known was carried out before.
    let (first, others) = match change.records.split_first() {
        Some((first, others)) => (Some(first), others),
        None => (None, &[][..]),
    };
    if let Some((id, body)) = first
        && !outbox::put(tx, *id, body, now).map_err(about_outbox)?
    {
        return Ok(());
    }
    ops::many::apply_all(tx, &change.ops, &change.bodies, now)?;
    outbox::put_all(tx, others, now).map_err(about_outbox)
}

fn reply(job: Job, result: Result<(), StoreError>) {
    // Whoever asked may have given up waiting; the change stands or falls all the same.
    let _ = job.answer.send(result);
}

fn database() -> String {
    "the database".to_owned()
}
