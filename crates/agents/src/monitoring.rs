//! The monitoring agent: the only one that changes the store, and the keeper of the audit log.
//!
//! A change and its record are one act: the record is committed with the change in the store's
//! outbox, and moves from there to the audit log in the background. What changes nothing (reads,
//! refusals) is written to the log itself. Both are durable before the asker hears of it; if the
//! record can't be written, the operation has failed.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pentad_model::{Clock, Context, Id, Principal, Record, Tenant, id::Entropy, record::Outcome};
use pentad_runtime::{Agent, Envelope, Priority};
use pentad_store::{
    Change, Collection, Document, Expect, Op, Reader, Writer,
    audit::{self, AuditError, AuditLog},
};
use tokio::sync::{Mutex, Notify};

use crate::{
    Fault,
    contract::{
        self,
        encryption::{CheckpointKey, SignCheckpoint},
        monitoring::{
            AuditPage, AuditQuery, Checkpoint, Consistency, Inclusion, Monitors, Proof, Reply,
            Request, SignedCheckpoint, dispatch,
        },
    },
    documents,
    encryption::Encryption,
};

/// The document in which the log's size is noted: the log may never have fewer records again.
pub const HIGH_WATER: &str = "audit-high-water";

/// [`HIGH_WATER`], where several nodes with a log each share the store: each notes its own.
pub fn high_water_of(node: Option<&str>) -> String {
    match node {
        None => HIGH_WATER.to_owned(),
        Some(node) => format!("{HIGH_WATER}/{node}"),
    }
}

/// Records moved from the outbox at a time: what gathers under a heavy load.
const DRAINED: usize = 512;
/// Bytes of a record's detail; what a target says goes in there, and a block of the log is bounded.
const LONGEST_DETAIL: usize = 2048;
/// How long committed records gather in the outbox before they move to the log: they are durable
/// already, and every move costs two fsyncs that commits wait behind.
const GATHER: Duration = Duration::from_millis(50);
/// How often the high-water mark is noted at most.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// Records that one search looks at before it hands back a cursor.
const SEARCHED: u64 = 200_000;

/// How long a commit or a record may take: what waits for one may take longer.
pub const COMMIT_BOUND: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Clone)]
pub struct Monitoring {
    desk: Arc<Desk>,
}

/// What the agent's handlers and its background task share.
pub struct Desk {
    /// The only writing half of the store.
    pub writer: Arc<dyn Writer>,
    /// For the outbox.
    pub reader: Arc<dyn Reader>,
    /// The log. It outlives a restart of the agent: its own thread holds the files.
    pub audit: Arc<AuditLog>,
    /// For signatures.
    pub encryption: contract::encryption::Client<Encryption>,
    /// The log's name in checkpoints.
    pub origin: String,
    /// For the high-water mark's pace.
    pub clock: Arc<dyn Clock>,
    /// For ids.
    pub entropy: Arc<dyn Entropy>,
    /// Rung after each commit.
    pub drain: Notify,
    /// The size that was last noted, and when.
    pub noted: (AtomicU64, AtomicU64),
    /// Records that are in the log, and could not be taken out of the outbox yet. For whoever moves
    /// them there, one at a time.
    pub uncleared: Mutex<HashSet<Id>>,
}

impl Monitoring {
    /// An agent at this desk. Its background task ends with the runtime that it is made in.
    pub fn at(desk: Arc<Desk>) -> Self {
        tokio::spawn(drain_for_ever(Arc::clone(&desk)));
        Self { desk }
    }
}

impl Agent for Monitoring {
    const NAME: &'static str = "monitoring";
    const COMPUTES: bool = true;
    type Request = Request;
    type Reply = Reply;

    async fn handle(&self, envelope: Envelope<Request>) -> Reply {
        dispatch(self, &envelope.context, envelope.body).await
    }

    fn ask(request: &Request) -> &'static str {
        request.name()
    }

    /// Both wait for an fsync that they share, the earlier ones for an earlier one; but a change with
    /// a document to be sealed waits for the encryption agent first, and others pass it by right.
    fn is_in_turn(request: &Request) -> bool {
        match request {
            Request::Commit(change) | Request::CommitEssential(change) => {
                !documents::needs_seal(change)
            }
            Request::Record(_) => true,
            _ => false,
        }
    }

    fn budget(request: &Request) -> Duration {
        match request {
            // An fsync of a bad or busy disk takes seconds, and a restart makes no disk faster.
            Request::Commit(_) | Request::CommitEssential(_) | Request::Record(_) => COMMIT_BOUND,
            // Two signatures by the encryption agent, which may be restarted meanwhile.
            Request::Checkpoint(_) => Duration::from_secs(10),
            // Up to 200,000 records are read.
            _ => Duration::from_secs(20),
        }
    }

    /// They hand over to the threads that write, and wait for these.
    fn is_brief(request: &Request) -> bool {
        matches!(
            request,
            Request::Commit(_) | Request::CommitEssential(_) | Request::Record(_)
        )
    }

    fn is_heavy(request: &Request) -> bool {
        matches!(
            request,
            Request::Page(_) | Request::Inclusion(_) | Request::Consistency(_)
        )
    }
}

impl Monitors for Monitoring {
    async fn commit(&self, context: &Context, ask: Box<Change>) -> Result<(), Fault> {
        let change = self.desk.prepare(context, ask).await?;
        self.desk.writer.commit(change).await?;
        self.desk.drain.notify_one();
        Ok(())
    }

    async fn commit_essential(&self, context: &Context, ask: Box<Change>) -> Result<(), Fault> {
        if !is_login(&ask) {
            return Err(Fault::internal("space is kept back for logins alone"));
        }
        let change = self.desk.prepare(context, ask).await?;
        self.desk.writer.commit_essential(change).await?;
        self.desk.drain.notify_one();
        Ok(())
    }

    async fn record(&self, _: &Context, mut ask: Vec<Record>) -> Result<(), Fault> {
        ask.iter_mut().for_each(shorten);
        let audit = &self.desk.audit;
        let written = match (audit.append_all(&ask).await, essential(&ask)) {
            (Err(AuditError::Full), Some(record)) => audit.append_essential(record).await.map(drop),
            (done, _) => done.map(drop),
        };
        written.map_err(fault)
    }

    async fn page(&self, context: &Context, ask: AuditQuery) -> Result<AuditPage, Fault> {
        self.desk.drain().await?;
        let filter = audit::Filter {
            tenant: Some(context.tenant.clone()),
            path: ask.path.map(|path| path.to_string()),
            principal: ask.principal,
            action: ask.action,
            correlation: ask.correlation,
            since: ask.since,
            until: None,
        };
        let range = 0..ask.before.unwrap_or(u64::MAX);
        let page = self
            .desk
            .audit
            .search(&filter, range, ask.limit, SEARCHED)
            .map_err(fault)?;
        Ok(AuditPage {
            records: page
                .entries
                .into_iter()
                .map(|e| (e.sequence, e.record))
                .collect(),
            before: page.next.map(|range| range.end),
        })
    }

    async fn checkpoint(
        &self,
        context: &Context,
        _: Checkpoint,
    ) -> Result<SignedCheckpoint, Fault> {
        self.desk.checkpoint(context).await
    }

    async fn inclusion(&self, context: &Context, ask: Inclusion) -> Result<Proof, Fault> {
        let log = &self.desk.audit;
        let hashes = bytes(log.inclusion_proof(ask.index, ask.size).map_err(fault)?);
        let page = log
            .page(
                ask.index..ask.index.saturating_add(1),
                audit::Order::Oldest,
                1,
            )
            .map_err(fault)?;
        // The leaf is shown to its own tenant only; the proof alone tells nothing.
        let leaf = page
            .entries
            .into_iter()
            .find(|entry| entry.record.tenant == context.tenant)
            .map(|entry| String::from_utf8_lossy(&entry.leaf).into_owned());
        Ok(Proof { hashes, leaf })
    }

    async fn consistency(&self, _: &Context, ask: Consistency) -> Result<Proof, Fault> {
        let hashes = bytes(
            self.desk
                .audit
                .consistency_proof(ask.old, ask.new)
                .map_err(fault)?,
        );
        Ok(Proof { hashes, leaf: None })
    }
}

impl Desk {
    /// What is to be committed: with its records bounded, its documents sealed and the log's size.
    async fn prepare(&self, context: &Context, mut ask: Box<Change>) -> Result<Change, Fault> {
        if ask.records.is_empty() {
            return Err(Fault::internal("a change without a record"));
        }
        ask.records.iter_mut().for_each(shorten);
        documents::seal(&self.encryption, context, &mut ask).await?;
        self.note_size(&mut ask);
        Ok(*ask)
    }

    /// Adds the log's size to a change that is committed anyway, once a second at most: no fsync of
    /// its own.
    fn note_size(&self, change: &mut Change) {
        let now = self.clock.now();
        let size = self.audit.size();
        let last = self.noted.1.load(Ordering::Relaxed);
        let now_ms = now.0.max(0).cast_unsigned();
        let due = now_ms.saturating_sub(last) >= NOTE_EVERY.as_millis() as u64;
        if due && size > self.noted.0.load(Ordering::Relaxed) {
            self.noted.0.store(size, Ordering::Relaxed);
            self.noted.1.store(now_ms, Ordering::Relaxed);
            change.ops.push(high_water(self.reader.node(), size));
        }
    }

    /// Signs the present head of the log and keeps the note beside it.
    async fn checkpoint(&self, context: &Context) -> Result<SignedCheckpoint, Fault> {
        self.drain().await?;
        let head = self.audit.head(&self.origin).map_err(fault)?;
        let body = head
            .body()
            .map_err(|error| Fault::internal(error.to_string()))?;
        let ask = SignCheckpoint { body };
        let signature = self
            .encryption
            .sign_checkpoint(context, Priority::High, ask)
            .await?;
        let key = self
            .encryption
            .checkpoint_key(context, Priority::High, CheckpointKey {})
            .await?;
        let note = head
            .with_signature(&self.origin, &key, &signature)
            .map_err(|error| Fault::internal(error.to_string()))?;
        if head.size > 0 {
            self.audit.keep_checkpoint(&note).map_err(fault)?;
        }
        Ok(SignedCheckpoint {
            note,
            key: verifier_key(&self.origin, &key)?,
            size: head.size,
        })
    }

    /// Moves what the outbox holds to the log. Records are in the log once, by their ids, whatever
    /// is repeated after a crash between the two steps.
    async fn drain(&self) -> Result<(), Fault> {
        let mut uncleared = self.uncleared.lock().await;
        loop {
            let mut batch = self.reader.outbox(DRAINED).await?;
            let found = batch.len();
            batch.truncate(AuditLog::fitting(&batch));
            let Some(last) = batch.last().map(|waiting| waiting.position) else {
                return Ok(());
            };
            let full = found == DRAINED || batch.len() < found;
            batch.retain(|waiting| !uncleared.contains(&waiting.id));
            let ids: Vec<Id> = batch.iter().map(|waiting| waiting.id).collect();
            self.audit.append_waiting(batch).await.map_err(fault)?;
            uncleared.extend(ids);
            self.writer.clear_outbox(last).await?;
            uncleared.clear();
            if !full {
                return Ok(());
            }
        }
    }
}

/// The one background task: drains when rung, and at least every few seconds.
async fn drain_for_ever(desk: Arc<Desk>) {
    loop {
        if let Err(fault) = desk.drain().await {
            tracing::warn!(%fault, "audit records wait in the outbox; trying again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let _ = tokio::time::timeout(Duration::from_secs(5), desk.drain.notified()).await;
        tokio::time::sleep(GATHER).await;
    }
}

/// Moves what an earlier process left in the outbox, and signs and notes what is there: at start
/// and at the end.
pub async fn settle(desk: &Desk) -> Result<(), Fault> {
    let context = Context {
        correlation: Id::generate(desk.clock.now(), &*desk.entropy),
        tenant: Tenant::default_tenant(),
        principal: Principal::Agent {
            name: Monitoring::NAME.to_owned(),
        },
        origin: Monitoring::NAME.to_owned(),
    };
    let signed = desk.checkpoint(&context).await?;
    let change = Change {
        ops: vec![high_water(desk.reader.node(), signed.size)],
        records: Vec::new(),
    };
    Ok(desk.writer.commit(change).await?)
}

fn bytes(hashes: Vec<audit::Hash>) -> Vec<[u8; 32]> {
    hashes.into_iter().map(|hash| hash.0).collect()
}

/// The record that may use the log's reserve, if these are it: without it nobody could get in to
/// free space, or be refused cleanly. What strangers try may not: a thousand wrong tokens would use
/// the reserve up. Nor may the records of a request about many things: one would be enough to do so.
fn essential(records: &[Record]) -> Option<&Record> {
    let [record] = records else {
        return None;
    };
    let known = record.principal != Principal::Anonymous.to_string();
    let refused = record.outcome != Outcome::Done;
    (known && (refused || record.action.starts_with("auth."))).then_some(record)
}

/// Whether a change is a login, or counts the attempt at one: all that may use the store's reserve.
/// Whose login does is decided where the user is known.
fn is_login(change: &Change) -> bool {
    let login = |record: &Record| record.action.starts_with("auth.");
    !change.ops.is_empty() && !change.records.is_empty() && change.records.iter().all(login)
}

fn shorten(record: &mut Record) {
    if record.detail.len() > LONGEST_DETAIL {
        let end = record
            .detail
            .floor_char_boundary(LONGEST_DETAIL - '…'.len_utf8());
        record.detail.truncate(end);
        record.detail.push('…');
    }
}

fn high_water(node: Option<&str>, size: u64) -> Op {
    Op::PutDocument {
        document: Document {
            collection: Collection::State,
            tenant: Tenant::default_tenant(),
            name: high_water_of(node),
            revision: 0,
            expires_at: None,
            body: size.into(),
            seal: None,
        },
        expect: Expect::Any,
    }
}

/// The verifier key of a C2SP signed note: `<name>+<key id>+<base64 of 0x01 and the key>`.
fn verifier_key(name: &str, key: &[u8; 32]) -> Result<String, Fault> {
    let id = audit::key_id(name, key).map_err(|error| Fault::internal(error.to_string()))?;
    let mut typed = vec![0x01];
    typed.extend_from_slice(key);
    Ok(format!(
        "{name}+{}+{}",
        hex::encode(id),
        STANDARD.encode(typed)
    ))
}

pub(crate) fn fault(error: AuditError) -> Fault {
    let message = error.to_string();
    match error {
        AuditError::Full => Fault::Full,
        AuditError::OutOfRange { .. } => Fault::Invalid { message },
        _ => Fault::Unavailable { message },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use pentad_model::{Timestamp, id::OsEntropy};

    use super::*;

    fn record(principal: Principal, outcome: Outcome) -> Record {
        let id = Id::generate(Timestamp(0), &OsEntropy);
        let context = Context {
            correlation: id,
            tenant: Tenant::default_tenant(),
            principal,
            origin: String::new(),
        };
        Record::new(id, Timestamp(0), &context, "auth.login", outcome)
    }

    #[test]
    fn strangers_do_not_use_up_the_reserve() {
        let ann = Principal::User {
            name: "ann".parse().unwrap(),
        };
        for outcome in [Outcome::Done, Outcome::Failed] {
            assert!(essential(&[record(ann.clone(), outcome)]).is_some());
        }
        let stranger = record(Principal::Anonymous, Outcome::Failed);
        assert_eq!(essential(&[stranger]), None);
    }

    #[test]
    fn one_request_about_many_things_does_not_use_up_the_reserve() {
        let ann = Principal::User {
            name: "ann".parse().unwrap(),
        };
        let refused = record(ann, Outcome::Failed);
        assert_eq!(essential(&[refused.clone(), refused]), None);
        assert_eq!(essential(&[]), None);
    }

    #[test]
    fn of_changes_only_logins_may_use_the_stores_reserve() {
        let of = |ops, action: &str| {
            let mut record = record(Principal::Anonymous, Outcome::Done);
            record.action = action.to_owned();
            is_login(&Change {
                ops,
                records: vec![record],
            })
        };
        assert!(of(vec![high_water(None, 1)], "auth.attempt"));
        assert!(!of(Vec::new(), "auth.attempt"), "a name that nobody has");
        assert!(!of(vec![high_water(None, 1)], "credential.write"));
        assert!(!is_login(&Change::default()));
    }

    #[test]
    fn a_long_detail_is_shortened_between_characters() {
        let mut long = record(Principal::Anonymous, Outcome::Done).detail("ü".repeat(5000));
        shorten(&mut long);
        assert!(long.detail.len() <= LONGEST_DETAIL && long.detail.ends_with("ü…"));
    }
}
