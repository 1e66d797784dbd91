//! The one writer: group commit.
//!
//! Whatever arrived while the last fsync ran becomes one block, is fsynced once, and only then are
//! its callers answered. An idle log answers after one fsync, a busy one after two at most, and its
//! throughput grows with the number of callers.

use std::{collections::HashMap, sync::Arc};

use pentad_model::Id;
use tokio::sync::{mpsc, oneshot};

use super::{
    Position, Shared, block,
    error::AuditError,
    faults::Faults,
    hash::{Hash, leaf_hash},
    recent::Recent,
    reserve::Reserve,
    segment::Active,
    summary::Marks,
};

/// A group takes no more requests once it has so many bytes: with the largest request it still
/// fits one block.
const GROUP: usize = 1 << 20;
/// The largest request, in bytes of payload.
pub(super) const MAX_REQUEST: usize = block::MAX_PAYLOAD - GROUP;

/// A record on its way to the log.
pub(super) struct Leaf {
    pub(super) id: Id,
    pub(super) bytes: Vec<u8>,
    pub(super) hash: Hash,
    /// What it can be searched by.
    pub(super) marks: Marks,
}

impl Leaf {
    pub(super) fn new(id: Id, marks: Marks, bytes: Vec<u8>) -> Self {
        let hash = leaf_hash(&bytes);
        Self {
            id,
            bytes,
            hash,
            marks,
        }
    }
}

pub(super) type Answer = Result<Vec<Position>, AuditError>;

/// Records that are appended together.
pub(super) struct Request {
    pub(super) leaves: Vec<Leaf>,
    /// Whether they may use the reserved space.
    pub(super) essential: bool,
    pub(super) answer: oneshot::Sender<Answer>,
}

impl Request {
    fn size(&self) -> usize {
        self.leaves.iter().map(|leaf| leaf.bytes.len() + 4).sum()
    }

    fn finish(self, answer: Answer) {
        // A caller that went away needs no answer; its records are in the log or not, and are
        // recognised by their ids when they come again.
        let _ = self.answer.send(answer);
    }
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) active: Active,
    pub(super) recent: Recent,
    pub(super) reserve: Reserve,
    pub(super) segment_bytes: u64,
    pub(super) faults: Faults,
}

impl Writer {
    /// Serves until every sender is gone.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(request) = requests.blocking_recv() {
            let mut size = request.size();
            let mut group = vec![request];
            while size < GROUP
                && let Ok(request) = requests.try_recv()
            {
                size += request.size();
                group.push(request);
            }
            self.commit(group);
        }
    }

    fn commit(&mut self, group: Vec<Request>) {
        // While the reserve is out, ordinary records would eat what it freed.
        let (group, refused) = match self.reserve.take() {
            Ok(()) => (group, Vec::new()),
            Err(_) => group.into_iter().partition(|request| request.essential),
        };
        refuse(refused, &AuditError::Full);

        let error = match self.write(&group) {
            Ok(positions) => return answer(group, positions),
            Err(error) => error,
        };
        if error != AuditError::Full {
            return refuse(group, &error);
        }
        let (essential, ordinary) = group.into_iter().partition(|request| request.essential);
        refuse(ordinary, &error);
        let essential: Vec<Request> = essential;
        if essential.is_empty() {
            return;
        }
        if !self.reserve.release() {
            return refuse(essential, &error);
        }
        tracing::warn!("the disk is full: the audit log uses its reserved space");
        match self.write(&essential) {
            Ok(positions) => answer(essential, positions),
            Err(error) => refuse(essential, &error),
        }
    }

    /// Makes the new records of a group durable; the positions of all its records.
    fn write(&mut self, group: &[Request]) -> Result<Vec<Vec<Position>>, AuditError> {
        self.shared.health()?;
        let first = self.shared.layout.read().size;
        let mut fresh: Vec<&Leaf> = Vec::new();
        let mut ids: HashMap<Id, u64> = HashMap::new();
        let mut place = |leaf| {
            let &Leaf { id, .. } = leaf;
            let known = self.recent.position(id).or_else(|| ids.get(&id).copied());
            Position(known.unwrap_or_else(|| {
                let sequence = first + fresh.len() as u64;
                fresh.push(leaf);
                ids.insert(id, sequence);
                sequence
            }))
        };
        let positions = group
            .iter()
            .map(|request| request.leaves.iter().map(&mut place).collect())
            .collect();
        if fresh.is_empty() {
            return Ok(positions);
        }
        let block = block::encode(first, fresh.iter().map(|leaf| leaf.bytes.as_slice()));
        if let Err(error) = self.append(first, &block) {
            if let AuditError::Full = error {
                return Err(error);
            }
            // Whatever it is, the file's state is not known any more.
            let fatal = match error {
                AuditError::Fatal { .. } => error,
                other => AuditError::Fatal {
                    reason: other.to_string(),
                },
            };
            tracing::error!(error = %fatal, "the audit log stopped");
            self.shared.fail(fatal.clone());
            return Err(fatal);
        }
        self.publish(first, &fresh, block.len() as u64);
        Ok(positions)
    }

    /// Appends a block, in a new segment if the present one is full.
    fn append(&mut self, first: u64, block: &[u8]) -> Result<(), AuditError> {
        if !self.active.sealed && self.active.end >= self.segment_bytes {
            let seal = block::seal(first);
            self.active.append(&seal)?;
            self.active.sealed = true;
            let mut layout = self.shared.layout.write();
            layout
                .active
                .note(first, seal.len() as u64, &Marks::default());
        }
        if self.active.sealed {
            // What the tree says of all before the new segment is believed at the next start. Here
            // and not with the seal: of a sealed segment that is the last one, a start makes the
            // nodes again.
            self.shared.tree.write().sync()?;
            let dir = self.shared.layout.read().dir.clone();
            self.active = Active::create(&dir, first, self.faults.clone())?;
            let mut layout = self.shared.layout.write();
            let began = layout.firsts.last().copied().unwrap_or(0);
            layout.firsts.push(first);
            let full = std::mem::take(&mut layout.active);
            drop(layout);
            self.shared.fill(began..first, full);
        }
        self.active.append(block)
    }

    /// Shows durable records to readers.
    fn publish(&mut self, first: u64, fresh: &[&Leaf], length: u64) {
        let mut tree = self.shared.tree.write();
        let grown = fresh.iter().try_for_each(|leaf| tree.push(leaf.hash));
        if let Err(error) = grown {
            // The records are durable and will be answered; the tree is made anew on reopening.
            tracing::error!(%error, "the audit tree failed");
            self.shared.fail(AuditError::Fatal {
                reason: format!("the tree: {error}"),
            });
        } else if let Err(error) = tree.flush() {
            tracing::warn!(%error, "the audit tree is kept in memory for now");
        }
        drop(tree);
        for (sequence, leaf) in (first..).zip(fresh) {
            self.recent.insert(leaf.id, sequence);
        }
        let mut marks = Marks::default();
        fresh.iter().for_each(|leaf| marks.merge(&leaf.marks));
        let mut layout = self.shared.layout.write();
        layout.active.note(first, length, &marks);
        layout.size = first + fresh.len() as u64;
    }
}

fn answer(group: Vec<Request>, positions: Vec<Vec<Position>>) {
    for (request, positions) in group.into_iter().zip(positions) {
        request.finish(Ok(positions));
    }
}

fn refuse(group: Vec<Request>, error: &AuditError) {
    for request in group {
        request.finish(Err(error.clone()));
    }
}
