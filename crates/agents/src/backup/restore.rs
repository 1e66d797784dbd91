//! A store out of a backup, in a directory that holds none.
//!
//! What a restored system may not believe, and what becomes of it:
//!
//! | in the backup | restored as |
//! |---|---|
//! | a credential that is bound to a target | in doubt: it may have been rotated after the backup. It is [looked at](crate::operations) after the first start |
//! | an unfinished rotation | not going on by itself: one that had touched nothing has failed, every other one waits for a person, and begins with a look at its target when resumed. Its lease is void |
//! | a token | left out, unless it is asked for: one that was revoked after the backup would live again. A login's session always |
//! | the audit log | under a new name, with the old records as its beginning: if the old log went on after the backup, nobody can take the two for one log that forked. The first new record names the old log, its size and its root |
//! | everything else | as it was |

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use pentad_connectors::EFFECT_BOUND;
use pentad_keys::Keyring;
use pentad_model::{
    Credential, Id, Record, Rotation, Tenant, Timestamp,
    access::Token,
    rotation::{Control, Lease, NEVER, Progress, Step},
};
use pentad_store::{
    Collection, Document, SqliteStore,
    audit::{self, AuditError, AuditLog, Checkpoint},
    snapshot::{Item, Load},
};
use serde::{Deserialize, Serialize};

use super::{blocks::Content, chain::Chain};
use crate::{Fault, system::ROOT};

/// The document that tells of a restore.
pub const RESTORED: &str = "restored";

/// How a store is restored.
pub struct Plan {
    /// What is to stand in the store of where its root key comes from.
    pub root: serde_json::Value,
    /// The audit log's new name.
    pub log: String,
    /// Whether tokens that are no login's session live on.
    pub keep_tokens: bool,
    /// Whether the system that is started on it is to look at the targets. Not in a drill.
    pub look: bool,
    /// The present moment.
    pub now: Timestamp,
    /// The record of it; its detail is added here.
    pub record: Record,
}

/// What was restored.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Restored {
    /// Rows read, by their sort.
    pub rows: BTreeMap<String, u64>,
    /// Credentials that are in doubt now.
    pub in_doubt: u64,
    /// Rotations that wait for a person.
    pub waiting: u64,
    /// Rotations that ended before they had begun.
    pub ended: u64,
    /// Tokens that were left out.
    pub tokens_left_out: u64,
    /// Records of the old log.
    pub log_records: u64,
}

/// What is known of a restore, in the document [`RESTORED`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// From which backup.
    pub backup: Id,
    /// When that was taken.
    pub taken_at: Timestamp,
    /// When it was restored.
    pub restored_at: Timestamp,
    /// The old log's name.
    pub log: String,
    /// Where the look at the targets stands; `None` while none has been finished.
    #[serde(default)]
    pub looked: Option<Looked>,
}

/// What a look at all targets showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Looked {
    /// Stored values that work.
    pub works: u64,
    /// Stored values that are refused.
    pub drift: u64,
    /// Those of which nothing could be told yet.
    pub cant_tell: u64,
    /// Those whose rotation waits for a person.
    pub rotating: u64,
}

/// Fills a directory that is there and empty: the embedded store, and the log in `audit`. `progress` is
/// told how many rows have been written. Whoever asks removes what is left of a failure.
///
/// # Errors
/// [`Fault::Damaged`], [`Fault::Full`], [`Fault::Unavailable`].
pub fn restore(
    chain: &mut Chain,
    keyring: &Keyring,
    dir: &Path,
    plan: Plan,
    progress: &dyn Fn(u64),
) -> Result<Restored, Fault> {
    let store = Box::new(SqliteStore::load(dir)?);
    restore_into(chain, keyring, store, dir, plan, progress)
}

/// As [`restore`], with the store elsewhere, where it becomes there at the very end; in the directory
/// is the log.
///
/// # Errors
/// As those of [`restore`].
pub fn restore_into(
    chain: &mut Chain,
    keyring: &Keyring,
    store: Box<dyn Load>,
    dir: &Path,
    plan: Plan,
    progress: &dyn Fn(u64),
) -> Result<Restored, Fault> {
    let header = chain.header().clone();
    let manifest = chain.manifest().clone();
    let log_dir = dir.join("audit");
    DirBuilder::new()
        .mode(0o700)
        .create(&log_dir)
        .map_err(|e| disk(&log_dir, &e))?;
    let mut work = Work {
        store,
        log: Segments::new(log_dir.clone()),
        plan: &plan,
        taken_at: header.taken_at,
        restored: Restored::default(),
        written: 0,
    };
    chain.each(&mut |content| match content {
        Content::Rows(rows) => {
            for row in rows {
                let name = row.table.as_str().to_owned();
                *work.restored.rows.entry(name).or_default() += 1;
                work.row(row.parse()?)?;
                work.written += 1;
            }
            progress(work.written);
            Ok(())
        }
        Content::Log {
            name,
            offset,
            bytes,
        } => work.log.write(&name, offset, &bytes),
    })?;
    let Work {
        mut store,
        log,
        mut restored,
        ..
    } = work;
    for (table, count) in &manifest.rows {
        if restored.rows.get(table).copied().unwrap_or(0) != *count {
            return Err(damaged(format!(
                "the backup's manifest counts {count} {table}, its content does not"
            )));
        }
    }
    log.finish()?;
    restored.log_records = check_log(chain, keyring, &log_dir)?;
    store.insert(&Item::Document(document(
        ROOT,
        Collection::Key,
        plan.root.clone(),
    )))?;
    if plan.look {
        let origin = Origin {
            backup: header.id,
            taken_at: header.taken_at,
            restored_at: plan.now,
            log: header.log.clone(),
            looked: None,
        };
        let body = serde_json::to_value(origin).map_err(|e| Fault::internal(e.to_string()))?;
        store.insert(&Item::Document(document(RESTORED, Collection::State, body)))?;
    }
    let detail = format!(
        "backup {} of {}: log {} of {} records with root {} goes on as {}; {} credentials in doubt, \
         {} rotations wait, {} tokens left out",
        header.id,
        header.taken_at,
        header.log,
        manifest.log.size,
        manifest.log.root,
        plan.log,
        restored.in_doubt,
        restored.waiting,
        restored.tokens_left_out,
    );
    store.insert(&Item::Record(plan.record.detail(detail)))?;
    store.finish()?;
    Ok(restored)
}

/// The log that was written is the one that the manifest tells of, and the checkpoint that was signed
/// when the backup was taken holds for it. Answers how many records it has.
fn check_log(chain: &Chain, keyring: &Keyring, dir: &Path) -> Result<u64, Fault> {
    let (header, state) = (chain.header(), &chain.manifest().log);
    let unsound = |why: String| {
        damaged(format!(
            "the audit log in the backup does not verify: {why}"
        ))
    };
    let key = keyring.checkpoint_public_key();
    let checkpoint = Checkpoint::parse_and_verify(&state.checkpoint, &header.log, &key)
        .map_err(|error| unsound(error.to_string()))?;
    let report = audit::verify(dir, std::slice::from_ref(&checkpoint)).map_err(log_fault)?;
    if let Some(finding) = report.findings.first() {
        return Err(unsound(finding.to_string()));
    }
    let root = report.root.map(|root| root.to_string());
    if report.records != state.size || root.as_ref() != Some(&state.root) {
        return Err(unsound(format!(
            "it has {} records, the manifest says {}",
            report.records, state.size
        )));
    }
    // Its tree is made anew on opening; the old log's own word is kept beside it.
    let log = AuditLog::open(dir, audit::Options::default(), state.size).map_err(log_fault)?;
    if checkpoint.size > 0 {
        log.keep_checkpoint(&state.checkpoint).map_err(log_fault)?;
    }
    Ok(report.records)
}

/// A store while it is filled.
struct Work<'a> {
    store: Box<dyn Load>,
    log: Segments,
    plan: &'a Plan,
    taken_at: Timestamp,
    restored: Restored,
    written: u64,
}

impl Work<'_> {
    fn row(&mut self, item: Item) -> Result<(), Fault> {
        let item = match item {
            Item::Credential(credential) => Item::Credential(self.doubt(credential)),
            Item::Rotation(rotation) => Item::Rotation(self.park(rotation)),
            Item::Document(document) => match self.document(document) {
                Some(document) => Item::Document(document),
                None => return Ok(()),
            },
            other => other,
        };
        Ok(self.store.insert(&item)?)
    }

    /// What is rotated may have been rotated after the backup.
    fn doubt(&mut self, mut credential: Credential) -> Credential {
        if credential.binding.is_some() && credential.current.is_some() {
            credential.in_doubt = true;
            credential.revision += 1;
            credential.updated_at = self.plan.now;
            self.restored.in_doubt += 1;
        }
        credential
    }

    /// Nobody drives it on what was known when the backup was taken. Each step here begins with a look
    /// at the target, once a person has seen that the old system is gone and says go on.
    fn park(&mut self, mut rotation: Rotation) -> Rotation {
        let (step, word) = match rotation.progress.step {
            step if step.is_final() => return rotation,
            Step::Planned => (Step::Failed, "had not begun; rotate anew"),
            Step::Undoing | Step::UndoProbing => (Step::UndoProbing, PARKED),
            Step::Observing | Step::Retiring | Step::RetireProbing => (Step::Observing, PARKED),
            _ => (Step::Probing, PARKED),
        };
        match step {
            Step::Failed => self.restored.ended += 1,
            _ => self.restored.waiting += 1,
        }
        rotation.reason = Some(format!(
            "restored from a backup of {}, in which it stood at {} and {word}",
            self.taken_at, rotation.progress.step
        ));
        rotation.progress = Progress {
            step,
            ..rotation.progress
        };
        rotation.lease = Lease {
            holder: String::new(),
            epoch: rotation.lease.epoch + 1,
            until: Timestamp::default(),
        };
        // The connection may be anybody's by now: time is the fence.
        rotation.connection = None;
        rotation.doubt_until = self.plan.now.plus(EFFECT_BOUND * 2);
        rotation.control = Control::Pause;
        rotation.resume_at = NEVER;
        rotation.waits = 0;
        rotation.revision += 1;
        rotation.updated_at = self.plan.now;
        rotation
    }

    /// A document as it is to be; `None` if it is left out.
    fn document(&mut self, document: Document) -> Option<Document> {
        let home = document.tenant == Tenant::default_tenant();
        match document.collection {
            Collection::Token => {
                // What can't be read is no token that anybody could rely on.
                let token = serde_json::from_value::<Token>(document.body.clone()).ok();
                let is_session = token.is_none_or(|token| token.user.is_some());
                if self.plan.keep_tokens && !is_session {
                    return Some(document);
                }
                self.restored.tokens_left_out += 1;
                None
            }
            // In a drill nothing is destroyed while it is looked at.
            Collection::Retention if !self.plan.look => None,
            // Both are written anew.
            Collection::Key if home && document.name == ROOT => None,
            Collection::State if home && document.name == RESTORED => None,
            _ => Some(document),
        }
    }
}

const PARKED: &str = "waits: see that the old system is gone, then resume it; it begins with a look \
                      at its target";

fn document(name: &str, collection: Collection, body: serde_json::Value) -> Document {
    Document {
        collection,
        tenant: Tenant::default_tenant(),
        name: name.to_owned(),
        revision: 1,
        expires_at: None,
        body,
        seal: None,
    }
}

/// The log's segments while they are written, each from its beginning to its end.
struct Segments {
    dir: PathBuf,
    open: Option<(String, File, u64)>,
}

impl Segments {
    fn new(dir: PathBuf) -> Self {
        Self { dir, open: None }
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        if !audit::is_segment(name) {
            return Err(damaged(
                "the backup names a file that is no segment".to_owned(),
            ));
        }
        let path = self.dir.join(name);
        let open = match self.open.take() {
            Some(open) if open.0 == name => open,
            before => {
                sync(&self.dir, before)?;
                let mut options = OpenOptions::new();
                options.write(true).create_new(true).mode(0o600);
                let file = options.open(&path).map_err(|e| disk(&path, &e))?;
                (name.to_owned(), file, 0)
            }
        };
        let (_, file, end) = &open;
        if *end != offset {
            return Err(damaged("the backup's audit log has a gap".to_owned()));
        }
        file.write_all_at(bytes, offset)
            .map_err(|e| disk(&path, &e))?;
        let end = end + bytes.len() as u64;
        self.open = Some((open.0, open.1, end));
        Ok(())
    }

    fn finish(mut self) -> Result<(), Fault> {
        sync(&self.dir, self.open.take())?;
        let dir = File::open(&self.dir).and_then(|dir| dir.sync_all());
        dir.map_err(|e| disk(&self.dir, &e))
    }
}

fn sync(dir: &Path, open: Option<(String, File, u64)>) -> Result<(), Fault> {
    match open {
        Some((name, file, _)) => file.sync_all().map_err(|e| disk(&dir.join(name), &e)),
        None => Ok(()),
    }
}

fn damaged(message: String) -> Fault {
    Fault::Damaged { message }
}

fn disk(path: &Path, error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::Full,
        _ => Fault::Unavailable {
            message: format!("{}: {error}", path.display()),
        },
    }
}

fn log_fault(error: AuditError) -> Fault {
    let message = error.to_string();
    match error {
        AuditError::Full => Fault::Full,
        AuditError::Damaged { .. } => Fault::Damaged { message },
        _ => Fault::Unavailable { message },
    }
}

/// Removes a directory that a failed restore leaves; what can't be removed is private and empty of
/// plaintext.
pub fn discard(dir: &Path) {
    let _ = fs::remove_dir_all(dir);
}
