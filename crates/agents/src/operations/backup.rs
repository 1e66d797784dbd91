//! Making a backup while everything goes on, and proving a restored one.
//!
//! The order in which it is taken is what makes it consistent. First the log is checkpointed, which
//! empties the outbox into it; then the store's moment is fixed; then the log's. So each record that
//! the store has handed to the log is in the log that is copied, and each that it has not is in its
//! outbox there; what is in both is in the restored log once, by its id.

use std::{collections::HashSet, io::Read as _, os::unix::fs::FileExt as _};

use futures::{StreamExt as _, stream};
use pentad_keys::framed::{Prelude, Raw, Sort, address};
use pentad_model::{Context, Id, Kind, Tenant, Verb, Version, record::Outcome};
use pentad_runtime::Priority;
use pentad_store::{
    Collection,
    audit::{Extent, Part},
    snapshot::{Item, Snapshot},
};
use tokio::sync::{OwnedMutexGuard, mpsc};

use super::{Caller, Pentad};
use crate::{
    Fault,
    backup::{
        Header, MANIFEST, Manifest, RECIPE,
        assemble::{Assembler, Digest, Plain, digests},
        blocks::PIECE,
        header::LogState,
    },
    contract::{encryption as enc, monitoring as mon},
    system::ROOT,
};

/// Frames that wait for whoever takes them.
const AHEAD: usize = 4;
/// Bytes of the log that are read at once: some pieces.
const READ: u64 = 16 * PIECE;
/// Versions that are proven with one ask.
const PROVEN: usize = 64;
/// Asks under way at once: enough to keep every processor busy.
const AT_ONCE: usize = 8;
/// Problems that are named.
const NAMED: usize = 100;

/// A backup on its way out.
pub struct Backup {
    /// Its name.
    pub id: Id,
    /// When it was taken, as its header says.
    pub header: Vec<u8>,
    parts: mpsc::Receiver<Result<Vec<u8>, Fault>>,
}

impl Backup {
    /// The next bytes of the file; `None` at its end.
    ///
    /// # Errors
    /// Whatever keeps it from being finished: then what was handed out is no backup.
    pub async fn next(&mut self) -> Option<Result<Vec<u8>, Fault>> {
        self.parts.recv().await
    }
}

/// What an increment rests on: the parent's beginning, its recipe and its manifest, as they stand in
/// its file, and the number of the first of these frames.
#[derive(Clone, Debug)]
pub struct Parent {
    /// Prelude and frames.
    pub bytes: Vec<u8>,
    /// The number of the first frame.
    pub first: u64,
}

/// What a proof showed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Proven {
    /// Versions that have a value.
    pub versions: u64,
    /// Those whose value opens and is the one that its fingerprint tells of.
    pub opened: u64,
    /// What is wrong with others; the first hundred.
    pub problems: Vec<String>,
}

impl Pentad {
    /// Begins a backup of everything: all tenants, so only an admin of the default one may. It is on
    /// record before its first byte leaves, and so is how it ended.
    ///
    /// # Errors
    /// [`Fault::Busy`] while another one is made; [`Fault::Conflict`] if the parent is of another
    /// store.
    pub async fn back_up(&self, caller: &Caller, parent: Option<Parent>) -> Result<Backup, Fault> {
        self.permit_all_tenants(caller, "backup").await?;
        let alone = self.0.backing_up.clone().try_lock_owned();
        let alone = alone.map_err(|_| Fault::Busy {
            message: "another backup is being made".to_owned(),
            retry_after: std::time::Duration::from_secs(10),
        })?;
        let log = &self.0.desk.origin;
        let (parent, known) = match parent {
            None => (None, HashSet::new()),
            Some(parent) => {
                let (header, known) = self.recipe(caller, parent).await?;
                if header.log != *log {
                    return Err(Fault::conflict(format!(
                        "backup {} is of another store ({}); make a full one first",
                        header.id, header.log
                    )));
                }
                (Some(header.id), known)
            }
        };
        let checkpoint = self
            .0
            .monitoring
            .checkpoint(&caller.context, caller.priority, mon::Checkpoint {})
            .await?;
        let snapshot = self.0.reader.snapshot().await?;
        let desk = self.0.desk.clone();
        let extent =
            blocking(move || desk.audit.extent().map_err(crate::monitoring::fault)).await?;
        let id = self.id();
        let begin = enc::BeginBackup {
            id,
            parent,
            log: log.clone(),
            root: self.root_document().await?,
        };
        let header = self
            .0
            .encryption
            .begin_backup(&caller.context, caller.priority, begin)
            .await?;
        let what = match parent {
            None => format!("{id}, full"),
            Some(parent) => format!("{id}, what changed since {parent}"),
        };
        let record = self
            .record(caller, "backup.begin", Outcome::Done)
            .detail(what);
        self.write_down(caller, record).await?;
        let state = LogState {
            size: extent.size,
            root: extent.root.to_string(),
            checkpoint: checkpoint.note,
            key: checkpoint.key,
        };
        let (out, parts) = mpsc::channel(AHEAD);
        let work = Work {
            pentad: self.clone(),
            caller: caller.clone(),
            id,
            header: header.clone(),
            assembler: Assembler::new(known),
            number: 0,
            written: 0,
            out,
            _alone: alone,
        };
        tokio::spawn(work.run(snapshot, extent, state));
        Ok(Backup { id, header, parts })
    }

    /// The digests that a parent's recipe names. Every byte of it is opened by the encryption agent.
    async fn recipe(
        &self,
        caller: &Caller,
        parent: Parent,
    ) -> Result<(Header, HashSet<Digest>), Fault> {
        let mut bytes = parent.bytes.as_slice();
        let unsound =
            || Fault::invalid("this is no part of a backup that an increment can rest on");
        let prelude = Prelude::read(Sort::Backup, &mut bytes).map_err(|_| unsound())?;
        let header = Header::parse(&prelude.header)?;
        let (mut recipe, mut number) = (Vec::new(), parent.first);
        let manifest: Manifest = loop {
            let raw = Raw::read(&mut bytes).ok().flatten().ok_or_else(unsound)?;
            let open = enc::OpenFrame {
                header: prelude.header.clone(),
                number,
                frame: raw.bytes,
            };
            let opened = self
                .0
                .encryption
                .open_frame(&caller.context, Priority::Normal, open)
                .await?;
            number += 1;
            match (opened.kind, opened.last) {
                (RECIPE, false) => recipe.extend_from_slice(&opened.plain),
                (MANIFEST, true) => {
                    break serde_json::from_slice(&opened.plain).map_err(|_| unsound())?;
                }
                _ => return Err(unsound()),
            }
        };
        let whole = manifest.recipe_from == parent.first
            && manifest.recipe == hex::encode(address(&recipe))
            && bytes.bytes().next().is_none();
        if !whole {
            return Err(unsound());
        }
        let known = digests(&recipe)?.collect();
        Ok((header, known))
    }

    /// What the store says of where its root key comes from.
    async fn root_document(&self) -> Result<serde_json::Value, Fault> {
        let tenant = Tenant::default_tenant();
        let found = self
            .0
            .reader
            .document(Collection::Key, &tenant, ROOT, self.0.clock.now())
            .await?;
        Ok(found
            .ok_or_else(|| Fault::missing("the store's root document"))?
            .body)
    }

    /// Opens every sealed value of every tenant, several at once, and forgets it: nothing but what is
    /// wrong leaves the encryption agent. `progress` is told how many have been opened.
    ///
    /// # Errors
    /// What keeps the store from being read; what is wrong with a value is no error.
    pub async fn prove(
        &self,
        caller: &Caller,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Proven, Fault> {
        self.permit_all_tenants(caller, "prove").await?;
        let mut snapshot = self.0.reader.snapshot().await?;
        let mut proven = Proven::default();
        while let Some(rows) = snapshot.next().await? {
            let mut groups: Vec<(Tenant, Vec<(Kind, Version)>)> = Vec::new();
            for row in rows {
                if row.sealed.is_none() {
                    continue;
                }
                let Item::Version(version, _) = row.parse()? else {
                    continue;
                };
                let (tenant, path) = (&version.tenant, &version.path);
                let Some(credential) = self.0.reader.credential(tenant, path).await? else {
                    proven.versions += 1;
                    let problem = format!("`{path}` has a version and does not exist");
                    proven
                        .problems
                        .extend((proven.problems.len() < NAMED).then_some(problem));
                    continue;
                };
                let one = (credential.kind, version);
                match groups.last_mut() {
                    Some((of, group)) if *of == one.1.tenant && group.len() < PROVEN => {
                        group.push(one);
                    }
                    _ => groups.push((one.1.tenant.clone(), vec![one])),
                }
            }
            let asks = groups.into_iter().map(|(tenant, versions)| {
                let context = Context {
                    tenant,
                    ..caller.context.clone()
                };
                async move {
                    let count = versions.len() as u64;
                    let ask = enc::Prove { versions };
                    let agent = &self.0.encryption;
                    let found = agent.prove(&context, Priority::Normal, ask).await?;
                    Ok::<_, Fault>((count, found))
                }
            });
            let mut answers = stream::iter(asks).buffer_unordered(AT_ONCE);
            while let Some(answer) = answers.next().await {
                let (count, found) = answer?;
                let problems: Vec<String> = found.into_iter().flatten().collect();
                proven.versions += count;
                proven.opened += count - problems.len() as u64;
                let room = NAMED.saturating_sub(proven.problems.len());
                proven.problems.extend(problems.into_iter().take(room));
                progress(proven.versions);
            }
        }
        Ok(proven)
    }

    /// What is about every tenant's things is for admins of the default tenant.
    async fn permit_all_tenants(&self, caller: &Caller, what: &str) -> Result<(), Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        if caller.context.tenant == Tenant::default_tenant() {
            return Ok(());
        }
        let why = "a backup holds all tenants: it is made from the default one only";
        let record = self
            .record(caller, &format!("{what}.begin"), Outcome::Denied)
            .detail(why);
        self.write_down(caller, record).await?;
        Err(Fault::Denied {
            message: why.to_owned(),
        })
    }
}

/// A backup while it is made.
struct Work {
    pentad: Pentad,
    caller: Caller,
    id: Id,
    header: Vec<u8>,
    assembler: Assembler,
    number: u64,
    written: u64,
    /// Let go of before `out`: who has seen the end may begin another one.
    _alone: OwnedMutexGuard<()>,
    out: mpsc::Sender<Result<Vec<u8>, Fault>>,
}

impl Work {
    /// To its end, which is on record.
    async fn run(mut self, snapshot: Snapshot, extent: Extent, state: LogState) {
        let made = self.make(snapshot, extent, state).await;
        let (outcome, detail) = match &made {
            Ok(()) => (
                Outcome::Done,
                format!("{}, {} bytes", self.id, self.written),
            ),
            Err(fault) => (Outcome::Failed, format!("{}: {fault}", self.id)),
        };
        if let Err(fault) = &made {
            tracing::warn!(backup = %self.id, %fault, "a backup was not finished");
        }
        let (pentad, caller) = (&self.pentad, &self.caller);
        let record = pentad.record(caller, "backup.end", outcome).detail(detail);
        let recorded = pentad.write_down(caller, record).await;
        if let Err(fault) = made.and(recorded) {
            // Nobody to tell if nobody takes it any more.
            let _ = self.out.send(Err(fault)).await;
        }
    }

    async fn make(
        &mut self,
        mut snapshot: Snapshot,
        extent: Extent,
        state: LogState,
    ) -> Result<(), Fault> {
        let prelude = Prelude {
            header: self.header.clone(),
            note: Vec::new(),
        };
        let prelude = prelude.to_bytes(Sort::Backup);
        self.send(prelude.map_err(|error| Fault::internal(error.to_string()))?)
            .await?;
        while let Some(rows) = snapshot.next().await? {
            for row in rows {
                let frames = self.assembler.row(&row)?;
                self.seal(frames).await?;
            }
        }
        for part in extent.segments {
            self.segment(part).await?;
        }
        let assembler = std::mem::replace(&mut self.assembler, Assembler::new(HashSet::new()));
        let (frames, _) = assembler.finish(state)?;
        self.seal(frames).await
    }

    /// An empty segment too: it is where the log goes on.
    async fn segment(&mut self, part: Part) -> Result<(), Fault> {
        let mut at = 0;
        loop {
            let (path, length) = (part.path.clone(), (part.length - at).min(READ));
            let bytes = blocking(move || {
                let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
                let read =
                    std::fs::File::open(&path).and_then(|file| file.read_exact_at(&mut bytes, at));
                read.map_err(|error| Fault::Unavailable {
                    message: format!("{}: {error}", path.display()),
                })?;
                Ok(bytes)
            })
            .await?;
            let piece = usize::try_from(PIECE).unwrap_or(usize::MAX);
            let mut rest = bytes.as_slice();
            loop {
                let (now, later) = rest.split_at(rest.len().min(piece));
                let frames = self.assembler.log(&part.name, at, now)?;
                self.seal(frames).await?;
                at += now.len() as u64;
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            if at >= part.length {
                return Ok(());
            }
        }
    }

    async fn seal(&mut self, frames: Vec<Plain>) -> Result<(), Fault> {
        for Plain { kind, last, bytes } in frames {
            let ask = enc::SealFrame {
                header: self.header.clone(),
                number: self.number,
                kind,
                last,
                plain: bytes,
            };
            let agent = &self.pentad.0.encryption;
            let sealed = agent
                .seal_frame(&self.caller.context, Priority::Normal, ask)
                .await?;
            self.number += 1;
            self.send(sealed).await?;
        }
        Ok(())
    }

    async fn send(&mut self, bytes: Vec<u8>) -> Result<(), Fault> {
        self.written += bytes.len() as u64;
        self.out
            .send(Ok(bytes))
            .await
            .map_err(|_| Fault::Unavailable {
                message: "whoever asked for the backup went away".to_owned(),
            })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Fault::internal("reading the log was interrupted"))?
}
