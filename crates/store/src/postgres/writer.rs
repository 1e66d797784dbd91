//! The one task that writes, with group commit, on a session of its own.
//!
//! It takes every change that was queued while the last commit ran and carries all of them out in
//! one transaction that costs two round trips: everything up to the last operation is sent at once,
//! and COMMIT when all of it held. Only if something did not hold is the group carried out again,
//! each change in a savepoint, so that a refused one takes no other with it. What always holds:
//!
//! * Nothing is answered before COMMIT returned, and the stamps of what changed were moved.
//! * One transaction at a time writes to the store, of all nodes: it holds the store's advisory lock
//!   from its first statement to its end. So what a precondition saw is so until the commit, nobody
//!   waits for anybody's row, and positions in the feed are in the order of the commits.
//! * A COMMIT whose reply was lost is not guessed at. The group's number is written with it; a new
//!   session that has got the lock knows that the old transaction has ended, reads the number, and
//!   knows how. A group that was not committed is carried out again.
//! * This session also holds the node's own lock: as long as it lives, nobody else is this node.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use pentad_model::{Clock, Id, Timestamp};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{
    adoption,
    errors::{Failure, Remedy, lost},
    feed::{self, Touched},
    ops::{self, any},
    outbox,
    rows::{Value, column},
    session::{Connector, Session, Step, lock_key},
};
use crate::{Change, Stamps, StoreError};

/// Changes that share one transaction at most; bounds the time that the first of them waits.
const MAX_GROUP: usize = 256;
/// How long a database that has just been lost is waited for before a change is refused. A restart
/// of the server takes about so long.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a commit whose outcome is not known is looked after before that is said.
const DOUBT: Duration = Duration::from_secs(8);
/// Between two tries to reach the database.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the same group is tried at a database that answers.
const TRIES: u32 = 5;
/// How long a former session of this very node may take to end.
const FORMER: Duration = Duration::from_secs(5);

const CARRIED_OUT: &str = "BEGIN";

/// What is asked of the writer, with the way back for its answer.
pub(super) enum Job {
    /// A change.
    Commit(Change, Asker),
    /// To take over what dead nodes left.
    Adopt(oneshot::Sender<Result<u64, StoreError>>),
}

type Asker = oneshot::Sender<Result<(), StoreError>>;

/// Owns the session that writes.
pub(super) struct Writer {
    connector: Arc<Connector>,
    clock: Arc<dyn Clock>,
    stamps: Arc<Stamps>,
    /// This node, by its audit log's id.
    log: String,
    /// The key of the store's lock.
    lock: i64,
    desk: Option<Desk>,
}

/// A session with the node's lock, and what it knows of the node's row.
struct Desk {
    session: Session,
    last_group: i64,
    last_position: i64,
}

/// How a try to commit a group ended without its answers.
struct Broken {
    failure: Failure,
    /// COMMIT was sent, as this number, and the answers would be these: they hold if it was
    /// committed.
    sent: Option<(i64, Answers)>,
}

type Answers = Vec<Result<(), StoreError>>;

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        let sent = None;
        Self { failure, sent }
    }
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Failure::from(error).into()
    }
}

impl Writer {
    /// Takes the node's lock, or says who has it.
    pub(super) async fn start(
        connector: Arc<Connector>,
        clock: Arc<dyn Clock>,
        stamps: Arc<Stamps>,
        log: String,
    ) -> Result<Self, StoreError> {
        let lock = lock_key(connector.schema(), "write", "");
        let mut writer = Self {
            connector,
            clock,
            stamps,
            log,
            lock,
            desk: None,
        };
        let desk = writer.open_desk().await;
        writer.desk = Some(desk.map_err(|failure| failure.about(database))?);
        Ok(writer)
    }

    /// Serves until every sender is gone and the queue is empty.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut look = interval(adoption::EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut next = tokio::select! {
                job = queue.recv() => match job {
                    Some(job) => Some(job),
                    None => return,
                },
                _ = look.tick() => {
                    if let Err(error) = self.adopt().await {
                        tracing::warn!(%error, "what dead nodes left could not be looked at");
                    }
                    continue;
                }
            };
            let mut group = Vec::new();
            while let Some(job) = next.take() {
                match job {
                    Job::Commit(change, asker) => group.push((change, asker)),
                    Job::Adopt(asker) => {
                        let _ = asker.send(self.adopt().await);
                    }
                }
                if group.len() < MAX_GROUP {
                    next = queue.try_recv().ok();
                }
            }
            if !group.is_empty() {
                self.serve(group).await;
            }
        }
    }

    /// Takes over what dead nodes left; answers how many records that were.
    async fn adopt(&mut self) -> Result<u64, StoreError> {
        let desk = self.desk.take().filter(|desk| !desk.session.is_closed());
        let mut desk = match desk {
            Some(desk) => desk,
            None => {
                let opened = self.open_desk().await;
                opened.map_err(|failure| failure.about(database))?
            }
        };
        let (schema, last) = (self.connector.schema(), desk.last_position);
        let (session, now) = (&desk.session, self.clock.now());
        let adopted = adoption::adopt(session, schema, self.lock, &self.log, last, now).await;
        // Else the transaction ends with its session, and the next one reads how it ended.
        let adopted = adopted.map_err(|failure| failure.about(database))?;
        desk.last_position += adopted;
        self.desk = Some(desk);
        Ok(adopted.max(0).cast_unsigned())
    }

    async fn serve(&mut self, group: Vec<(Change, Asker)>) {
        let (changes, askers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let answers = self.settle(&changes).await;
        // Whether it took effect or not: who lost a race must read anew, and what is not known may be
        // so.
        for change in &changes {
            self.stamps.touch(&change.ops);
        }
        for (asker, answer) in askers.into_iter().zip(answers) {
            // Whoever asked may have given up waiting; the change stands or falls all the same.
            let _ = asker.send(answer);
        }
    }

    /// Commits a group, whatever it takes within bounds, and says how each ended.
    async fn settle(&mut self, group: &[Change]) -> Answers {
        let began = Instant::now();
        let mut sent: Option<(i64, Answers)> = None;
        let mut tries = 0;
        loop {
            let broken = match self.attempt(group, &mut sent).await {
                Ok(answers) => return answers,
                Err(broken) => broken,
            };
            if broken.sent.is_some() {
                sent = broken.sent;
            }
            let remedy = broken.failure.remedy();
            if remedy != Remedy::Again {
                // Whatever is left of the transaction ends with its session.
                self.desk = None;
            }
            let error = broken.failure.about(database);
            tries += 1;
            let in_vain = match (&sent, remedy) {
                (Some(_), _) => began.elapsed() >= DOUBT,
                (None, Remedy::None) => true,
                (None, Remedy::Again) => tries >= TRIES,
                (None, Remedy::Reconnect) => {
                    // Who finds the database gone for longer is told at once.
                    let gone = self.connector.failing_for().unwrap_or_default();
                    began.elapsed() >= PATIENCE || gone >= PATIENCE || tries >= 20 * TRIES
                }
            };
            if in_vain {
                return given_up(group, sent, error);
            }
            tracing::warn!(%error, "the store's database is tried again");
            sleep(PAUSE).await;
        }
    }

    /// One transaction over the whole group, or a look at how the last one ended.
    async fn attempt(
        &mut self,
        group: &[Change],
        sent: &mut Option<(i64, Answers)>,
    ) -> Result<Answers, Broken> {
        let mut desk = match self.desk.take() {
            Some(desk) if !desk.session.is_closed() => desk,
            _ => {
                let opened = self.open_desk().await;
                // Not being able to reach it may pass, whatever the reason.
                opened.map_err(|failure| match failure {
                    Failure::Store(error) if is_passing(&error) => Broken {
                        failure: Failure::Lost(error),
                        sent: None,
                    },
                    failure => failure.into(),
                })?
            }
        };
        if let Some((number, answers)) = sent.take() {
            // The new session has read the node's row under the store's lock.
            if desk.last_group >= number {
                self.desk = Some(desk);
                return Ok(answers);
            }
        }
        let now = self.clock.now();
        let done = self.transact(&mut desk, group, now).await;
        if done.is_ok()
            || done
                .as_ref()
                .is_err_and(|broken| broken.failure.remedy() == Remedy::Again)
        {
            self.desk = Some(desk);
        }
        done
    }

    async fn transact(
        &self,
        desk: &mut Desk,
        group: &[Change],
        now: Timestamp,
    ) -> Result<Answers, Broken> {
        match self.together(desk, group, now).await? {
            Some(answers) => Ok(answers),
            None => self.one_by_one(desk, group, now).await,
        }
    }

    /// All at once, in the hope that every precondition holds. `None`: one did not, and nothing
    /// happened.
    async fn together(
        &self,
        desk: &mut Desk,
        group: &[Change],
        now: Timestamp,
    ) -> Result<Option<Answers>, Broken> {
        let ids: Vec<Id> = ids(group).collect();
        let mut steps = self.opening();
        if !ids.is_empty() {
            steps.push(outbox::none_is_known(&ids, now));
        }
        let mut book = Book::default();
        for change in group {
            // The same one twice in a group is done once.
            if change.id().is_some_and(|id| book.knows(id)) {
                continue;
            }
            for op in &change.ops {
                match ops::steps(op, now) {
                    Ok(more) => steps.extend(more),
                    Err(_) => return Ok(None),
                }
            }
            book.enter(change);
        }
        let number = desk.last_group + 1;
        steps.extend(book.steps(&self.log, number, desk.last_position, now)?);
        let results = desk.session.pipeline(Some(CARRIED_OUT), &steps).await?;
        let mut held = true;
        let wants = std::iter::once(None).chain(steps.iter().map(|step| step.reaches));
        for (result, wants) in results.into_iter().zip(wants) {
            match result {
                Ok(reached) => held &= wants.is_none_or(|wants| wants == reached),
                // After the first failure the others only say that there was one.
                Err(failure) if failure.remedy() == Remedy::None && !is_everybodys(&failure) => {
                    held = false;
                    break;
                }
                Err(failure) => return Err(self.after_rollback(desk, failure).await),
            }
        }
        if !held {
            desk.session.batch("ROLLBACK").await?;
            return Ok(None);
        }
        let answers = vec![Ok(()); group.len()];
        self.commit(desk, &book, number, answers).await.map(Some)
    }

    /// Each change in a savepoint.
    async fn one_by_one(
        &self,
        desk: &mut Desk,
        group: &[Change],
        now: Timestamp,
    ) -> Result<Answers, Broken> {
        let done = self.each(desk, group, now).await;
        match done {
            Ok((book, answers)) if answers.iter().all(Result::is_err) => {
                drop(book);
                desk.session.batch("ROLLBACK").await?;
                Ok(answers)
            }
            Ok((book, answers)) => {
                let number = desk.last_group + 1;
                let steps = book.steps(&self.log, number, desk.last_position, now)?;
                let results = desk.session.pipeline(None, &steps).await?;
                for (result, step) in results.into_iter().zip(&steps) {
                    let held = match result {
                        Ok(reached) => step.reaches.is_none_or(|wants| wants == reached),
                        Err(failure) => return Err(self.after_rollback(desk, failure).await),
                    };
                    if !held {
                        let gone = lost("the node's row is gone from the database").into();
                        return Err(self.after_rollback(desk, gone).await);
                    }
                }
                self.commit(desk, &book, number, answers).await
            }
            Err(failure) => Err(self.after_rollback(desk, failure).await),
        }
    }

    async fn each<'c>(
        &self,
        desk: &Desk,
        group: &'c [Change],
        now: Timestamp,
    ) -> Result<(Book<'c>, Answers), Failure> {
        let session = &desk.session;
        for result in session.pipeline(Some(CARRIED_OUT), &self.opening()).await? {
            result?;
        }
        let ids: Vec<Id> = ids(group).collect();
        let mut book = Book {
            known: outbox::known(session, &ids, now).await?,
            ..Book::default()
        };
        let mut answers = Vec::with_capacity(group.len());
        for change in group {
            if change.id().is_some_and(|id| book.knows(id)) {
                answers.push(Ok(()));
                continue;
            }
            session.batch("SAVEPOINT change").await?;
            let answer = match carry_out(session, change, now).await {
                Ok(()) => {
                    book.enter(change);
                    session.batch("RELEASE change").await?;
                    Ok(())
                }
                Err(failure) if failure.remedy() != Remedy::None || is_everybodys(&failure) => {
                    return Err(failure);
                }
                Err(failure) => {
                    session.batch("ROLLBACK TO change; RELEASE change").await?;
                    Err(failure.about(|| subject(change)))
                }
            };
            answers.push(answer);
        }
        Ok((book, answers))
    }

    /// What every transaction begins with: the store's lock, and a last look at what a commit is
    /// worth here.
    fn opening(&self) -> Vec<Step> {
        vec![
            any("SELECT pg_advisory_xact_lock($1)", vec![self.lock.into()]),
            any(
                // An error, not an empty answer: it concerns everybody.
                "SELECT 1 / (current_setting('fsync') = 'on'
                         AND current_setting('full_page_writes') = 'on')::int",
                Vec::new(),
            ),
        ]
    }

    async fn commit(
        &self,
        desk: &mut Desk,
        book: &Book<'_>,
        number: i64,
        answers: Answers,
    ) -> Result<Answers, Broken> {
        // A refusal of COMMIT (57P01 while it waits for a standby) is no clear no either.
        if let Err(failure) = desk.session.batch("COMMIT").await {
            return Err(Broken {
                failure: Failure::Lost(failure.about(database)),
                sent: Some((number, answers)),
            });
        }
        desk.last_group = number;
        desk.last_position += i64::try_from(book.records.len()).unwrap_or(0);
        Ok(answers)
    }

    /// A failure inside a transaction, which is ended if that can be.
    async fn after_rollback(&self, desk: &Desk, failure: Failure) -> Broken {
        let failure = match failure.code() {
            // Our own look at the settings.
            Some("22012") => lost(
                "fsync or full_page_writes was turned off at the database: what is stored would \
                 not survive the loss of power. ALTER SYSTEM RESET fsync; ALTER SYSTEM RESET \
                 full_page_writes; SELECT pg_reload_conf()",
            )
            .into(),
            _ => failure,
        };
        if failure.remedy() == Remedy::Reconnect {
            return failure.into();
        }
        match desk.session.batch("ROLLBACK").await {
            Ok(()) => failure.into(),
            Err(worse) => worse.into(),
        }
    }

    /// A session that holds the node's lock, and has read the node's row when no transaction of a
    /// former one was left.
    async fn open_desk(&self) -> Result<Desk, Failure> {
        let session = self.connector.connect().await?;
        self.become_the_node(&session).await?;
        session.batch("BEGIN").await?;
        session
            .execute("SELECT pg_advisory_xact_lock($1)", &[self.lock.into()])
            .await?;
        let sql = "INSERT INTO nodes (log, last_group, last_position) VALUES ($1, 0, 0)
                   ON CONFLICT (log) DO UPDATE SET last_group = nodes.last_group
                   RETURNING last_group, last_position";
        let rows = session.query(sql, &[self.log.as_str().into()]).await?;
        let row = rows
            .first()
            .ok_or_else(|| lost("the node's row can't be read"))?;
        let (last_group, last_position) = (column(row, 0)?, column(row, 1)?);
        session.batch("COMMIT").await?;
        Ok(Desk {
            session,
            last_group,
            last_position,
        })
    }

    /// Takes the node's lock. A former session of this node may still be ending.
    async fn become_the_node(&self, session: &Session) -> Result<(), Failure> {
        let key: Value = lock_key(self.connector.schema(), "node", &self.log).into();
        let key = [key];
        let until = Instant::now() + FORMER;
        loop {
            let rows = session
                .query("SELECT pg_try_advisory_lock($1)", &key)
                .await?;
            let taken = rows.first().map(|row| column::<bool>(row, 0)).transpose()?;
            if taken == Some(true) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(lost(format!(
                    "another process is this node ({}) at the database. Of a directory there is \
                     one process; a copy of one is a node of its own: remove its file `node`",
                    self.log
                ))
                .into());
            }
            sleep(PAUSE).await;
        }
    }
}

/// What a group adds besides its operations.
#[derive(Default)]
struct Book<'c> {
    known: std::collections::HashSet<Id>,
    records: Vec<&'c pentad_model::Record>,
    touched: BTreeSet<Touched>,
}

impl<'c> Book<'c> {
    fn knows(&self, id: Id) -> bool {
        self.known.contains(&id)
    }

    fn enter(&mut self, change: &'c Change) {
        for record in &change.records {
            if self.known.insert(record.id) {
                self.records.push(record);
            }
        }
        self.touched.extend(feed::touched(change));
    }

    fn steps(
        &self,
        log: &str,
        number: i64,
        last_position: i64,
        now: Timestamp,
    ) -> Result<Vec<Step>, StoreError> {
        let added = i64::try_from(self.records.len()).unwrap_or(0);
        let mut steps = outbox::put(log, last_position, &self.records, now)?;
        steps.extend(feed::put(log, &self.touched)?);
        steps.extend(outbox::sweep(self.records.len(), now));
        steps.push(Step {
            sql: "UPDATE nodes SET last_group = $2, last_position = $3 WHERE log = $1",
            values: vec![log.into(), number.into(), (last_position + added).into()],
            reaches: Some(1),
        });
        Ok(steps)
    }
}

/// A change's operations, one after the other; the first that does not hold says why.
fn carry_out<'a>(
    session: &'a Session,
    change: &'a Change,
    now: Timestamp,
) -> BoxFuture<'a, Result<(), Failure>> {
    Box::pin(async move {
        for op in &change.ops {
            for step in ops::steps(op, now)? {
                let reached = session.execute(step.sql, &step.values).await?;
                if step.reaches.is_some_and(|wants| wants != reached) {
                    return Err(ops::why(session, op, now).await?.into());
                }
            }
        }
        Ok(())
    })
}

fn ids(group: &[Change]) -> impl Iterator<Item = Id> {
    let records = group.iter().flat_map(|change| &change.records);
    records.map(|record| record.id)
}

/// Whether a failure of one statement is about the database, not about the change that it came from.
fn is_everybodys(failure: &Failure) -> bool {
    match failure.code() {
        // Division by zero: our own look at the settings. 25P02: an earlier one failed.
        Some("22012") => true,
        // A constraint, a value that does not fit.
        Some(code) => !(code.starts_with("22") || code.starts_with("23") || code == "54000"),
        None => matches!(failure, Failure::Silence(_) | Failure::Lost(_)),
    }
}

fn is_passing(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable { .. })
}

fn given_up(group: &[Change], sent: Option<(i64, Answers)>, error: StoreError) -> Answers {
    let Some((_, answers)) = sent else {
        return vec![Err(error); group.len()];
    };
    // What was refused, was refused whatever became of the commit.
    let unknown = lost(format!(
        "it was lost while a change was being committed, and whether that took effect will be known \
         when it is back; look before you repeat it ({error})"
    ));
    let known = |answer: Result<(), StoreError>| answer.and_then(|()| Err(unknown.clone()));
    answers.into_iter().map(known).collect()
}

fn subject(change: &Change) -> String {
    change
        .ops
        .first()
        .map_or_else(database, crate::subject::subject)
}

fn database() -> String {
    "the database".to_owned()
}
