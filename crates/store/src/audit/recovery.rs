//! Opening a log, after a clean stop or a crash.
//!
//! A crash can cut the final block short, and nothing else: a block is acknowledged after its fsync,
//! the next one is written after that, a segment is sealed and durable before its successor exists.
//! So what a crash explains is mended silently, and everything else is refused with file and
//! offset:
//!
//! * Bytes after the last whole block of the last segment, with no whole block behind them, are
//!   cut - unless the log would then end below the high-water mark, which the store keeps.
//! * A missing segment, a missing seal, a gap in the numbering, a bad block that has good ones
//!   behind it: refused.
//!
//! Opening reads the last segment whole (checksums, numbers, tree), of older ones only their seals
//! and as much as the window of ids needs. `verify` reads all.

use std::path::Path;

use pentad_model::Id;
use serde::Deserialize;

use super::{
    block,
    error::AuditError,
    faults::Faults,
    hash::{Hash, leaf_hash},
    index::{Index, Layout},
    recent::Recent,
    segment::{self, Active, Halt, Walk},
    shape,
    summary::Marks,
    tree::Tree,
};

/// A log that is ready to be appended to.
pub(super) struct Recovered {
    pub(super) active: Active,
    pub(super) layout: Layout,
    pub(super) tree: Tree,
    pub(super) recent: Recent,
}

/// Opens the log in `dir`, which exists and is locked; a new one if it holds no segment.
pub(super) fn recover(
    dir: &Path,
    high_water: u64,
    window: usize,
    faults: Faults,
) -> Result<Recovered, AuditError> {
    let mut firsts = segment::list(dir)?;
    if firsts.is_empty() && high_water == 0 {
        Active::create(dir, 0, faults.clone())?;
        firsts.push(0);
    }
    let Some(&last) = firsts.last() else {
        return Err(below(dir, 0, high_water));
    };
    check_chain(dir, &firsts)?;

    let tail = Tail::scan(dir, last)?;
    if tail.next < high_water {
        return Err(match tail.torn {
            Some((offset, flaw)) => AuditError::damaged(
                &dir.join(segment::name(last)),
                offset,
                format!(
                    "{flaw}, and cutting it would lose records that were durable: the log would \
                     end after {} of {high_water}",
                    tail.next
                ),
            ),
            None => below(dir, tail.next, high_water),
        });
    }
    if let Some((offset, flaw)) = tail.torn {
        tracing::warn!(segment = last, offset, %flaw, "cut the torn end of the audit log");
    }
    let active = Active::reopen(dir, last, tail.last, tail.end, tail.sealed, faults)?;
    let tree = grow_tree(dir, &firsts, &tail)?;
    let recent = recent_ids(dir, &firsts, &tail, window)?;
    Ok(Recovered {
        active,
        layout: Layout {
            dir: dir.to_owned(),
            firsts,
            active: tail.index,
            size: tail.next,
        },
        tree,
        recent,
    })
}

fn below(dir: &Path, size: u64, high_water: u64) -> AuditError {
    AuditError::BelowHighWater {
        dir: dir.to_owned(),
        size,
        high_water,
    }
}

/// Every segment begins where the one before it ends, the first at 0.
pub(super) fn check_chain(dir: &Path, firsts: &[u64]) -> Result<(), AuditError> {
    let mut expected = 0;
    for (i, &first) in firsts.iter().enumerate() {
        if first != expected {
            return Err(AuditError::damaged(
                &dir.join(segment::name(expected)),
                0,
                format!("the segment is missing; the next one there begins at record {first}"),
            ));
        }
        if i + 1 < firsts.len() {
            expected = segment::read_seal(&dir.join(segment::name(first)))?;
        }
    }
    Ok(())
}

/// What the last segment holds.
struct Tail {
    index: Index,
    /// Offset of the last whole block.
    last: u64,
    /// Offset after it.
    end: u64,
    /// Sequence number after the last record.
    next: u64,
    sealed: bool,
    /// What follows the last whole block, if anything: where, and why it is none.
    torn: Option<(u64, block::Flaw)>,
    hashes: Vec<Hash>,
    ids: Vec<Id>,
}

impl Tail {
    fn scan(dir: &Path, first: u64) -> Result<Self, AuditError> {
        let path = dir.join(segment::name(first));
        let mut walk = Walk::open(&path)?;
        let mut tail = Self {
            index: Index::default(),
            last: 0,
            end: 0,
            next: first,
            sealed: false,
            torn: None,
            hashes: Vec::new(),
            ids: Vec::new(),
        };
        loop {
            match walk.next() {
                Ok(None) => return Ok(tail),
                Ok(Some((offset, block, bytes))) => {
                    if tail.sealed {
                        return Err(AuditError::damaged(&path, offset, "a block after the seal"));
                    }
                    check_number(&path, offset, tail.next, block.first)?;
                    let mut marks = Marks::default();
                    for range in &block.leaves {
                        let leaf = &bytes[range.clone()];
                        marks.add_leaf(leaf);
                        tail.hashes.push(leaf_hash(leaf));
                        tail.ids.push(id_of(&path, offset, leaf)?);
                    }
                    tail.index.note(block.first, block.length as u64, &marks);
                    tail.last = offset;
                    tail.end = offset + block.length as u64;
                    tail.next = block.end();
                    tail.sealed = block.is_seal();
                }
                Err(Halt::Io(error)) => return Err(error),
                Err(Halt::Flaw(offset, flaw)) => {
                    let rest = walk.rest(offset)?;
                    let followed =
                        block::find(&rest, 1).is_some_and(|(_, later)| later.first >= tail.next);
                    if tail.sealed || followed || !flaw.can_be_torn() {
                        return Err(AuditError::damaged(&path, offset, flaw));
                    }
                    tail.torn = Some((offset, flaw));
                    return Ok(tail);
                }
            }
        }
    }
}

/// A block's number must be the one expected.
pub(super) fn check_number(
    path: &Path,
    offset: u64,
    expected: u64,
    found: u64,
) -> Result<(), AuditError> {
    if found == expected {
        return Ok(());
    }
    Err(AuditError::damaged(
        path,
        offset,
        format!("the block begins with record {found}, expected {expected}"),
    ))
}

fn id_of(path: &Path, offset: u64, leaf: &[u8]) -> Result<Id, AuditError> {
    #[derive(Deserialize)]
    struct Identified {
        id: Id,
    }
    if let Some(id) = shape::recognise(leaf) {
        return Ok(id);
    }
    serde_json::from_slice::<Identified>(leaf)
        .map(|record| record.id)
        .map_err(|e| AuditError::damaged(path, offset, format!("a record can't be read: {e}")))
}

/// Walks a segment that has a seal, calling `each` with a record's number, block offset and bytes.
fn walk_sealed(
    dir: &Path,
    first: u64,
    mut each: impl FnMut(u64, u64, &[u8]) -> Result<(), AuditError>,
) -> Result<(), AuditError> {
    let path = dir.join(segment::name(first));
    let mut walk = Walk::open(&path)?;
    let mut next = first;
    loop {
        match walk.next() {
            Ok(None) => return Ok(()),
            Ok(Some((offset, block, bytes))) => {
                check_number(&path, offset, next, block.first)?;
                next = block.end();
                for (sequence, range) in (block.first..).zip(&block.leaves) {
                    each(sequence, offset, &bytes[range.clone()])?;
                }
            }
            Err(Halt::Io(error)) => return Err(error),
            Err(Halt::Flaw(offset, flaw)) => return Err(AuditError::damaged(&path, offset, flaw)),
        }
    }
}

/// The tree over all records. What the level files say of sealed segments is believed: it was
/// fsynced with the seal.
fn grow_tree(dir: &Path, firsts: &[u64], tail: &Tail) -> Result<Tree, AuditError> {
    let begin = firsts.last().copied().unwrap_or(0);
    let mut tree = Tree::open(dir, begin)?;
    let known = tree.size();
    if known < begin {
        tracing::warn!(
            known,
            begin,
            "the audit tree lacks nodes; reading older segments again"
        );
        let from = firsts.partition_point(|first| *first <= known) - 1;
        for &first in &firsts[from..firsts.len() - 1] {
            walk_sealed(dir, first, |sequence, _, leaf| {
                if sequence >= known {
                    tree.push(leaf_hash(leaf))?;
                }
                Ok(())
            })?;
            tree.flush()?;
        }
        tree.mended = true;
    }
    if tree.mended {
        // The next start will believe it, so it has to be there after a power cut too.
        match tree.sync() {
            Err(AuditError::Full) => tracing::warn!("no space for the audit tree's nodes"),
            synced => synced?,
        }
    }
    for &hash in &tail.hashes {
        tree.push(hash)?;
    }
    if let Err(error) = tree.flush() {
        tracing::warn!(%error, "the audit tree is kept in memory for now");
    }
    Ok(tree)
}

/// The window of ids, from as many segments as it takes.
fn recent_ids(
    dir: &Path,
    firsts: &[u64],
    tail: &Tail,
    window: usize,
) -> Result<Recent, AuditError> {
    let mut begin = firsts.len().saturating_sub(1);
    while begin > 0 && tail.next - firsts[begin] < window as u64 {
        begin -= 1;
    }
    let mut recent = Recent::new(window);
    for &first in &firsts[begin..firsts.len() - 1] {
        let path = dir.join(segment::name(first));
        walk_sealed(dir, first, |sequence, offset, leaf| {
            recent.insert(id_of(&path, offset, leaf)?, sequence);
            Ok(())
        })?;
    }
    let begin = tail.next - tail.ids.len() as u64;
    for (sequence, &id) in (begin..).zip(&tail.ids) {
        recent.insert(id, sequence);
    }
    Ok(recent)
}
