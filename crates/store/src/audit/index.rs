//! Where records are, and what is among them: which segment, and roughly where in it.
//!
//! A segment's blocks are taken in groups of [`STRIDE`] bytes, so a full segment of 64 MiB has about a
//! thousand. Of each its first record, its place, and a [`Summary`] are known, so that a search passes
//! over whole groups without reading them. Made as blocks are written, by walking a segment once, or
//! from a [side file](super::shelf).

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use super::{
    error::AuditError,
    segment::{self, Halt, Walk},
    summary::{Marks, Sought, Summary},
};

/// How many bytes of blocks are read at once, or one block if it is larger.
const STRIDE: u64 = 64 << 10;

/// The blocks of one segment.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    groups: Vec<Group>,
    /// Where the last whole block ends, in bytes.
    end: u64,
    /// What the last group holds, as long as blocks may still be added to it.
    open: Marks,
}

/// Some blocks that follow each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Group {
    /// The sequence number of its first record.
    pub(super) first: u64,
    /// Where it begins, in bytes.
    pub(super) offset: u64,
    /// What is in it, if that is known.
    pub(super) summary: Option<Summary>,
}

/// Where a search goes on in a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Passed {
    /// How many groups were passed over, that can't hold what is sought.
    pub(super) groups: u64,
    /// The record to go on with. `None`: before this segment.
    pub(super) to: Option<u64>,
}

impl Passed {
    /// Nothing was passed over.
    pub(super) fn nothing(sequence: u64) -> Self {
        Self {
            groups: 0,
            to: Some(sequence),
        }
    }
}

impl Index {
    /// Of these groups, all there are, up to the end of the last in bytes.
    pub(super) fn of(groups: Vec<Group>, end: u64) -> Self {
        Self {
            groups,
            end,
            open: Marks::default(),
        }
    }

    /// Takes note of the next block and of what its records hold.
    pub(super) fn note(&mut self, first: u64, length: u64, marks: &Marks) {
        if self
            .groups
            .last()
            .is_none_or(|group| self.end - group.offset >= STRIDE)
        {
            self.close();
            self.groups.push(Group {
                first,
                offset: self.end,
                summary: None,
            });
        }
        self.open.merge(marks);
        self.end += length;
    }

    /// No block follows in the last group.
    pub(super) fn close(&mut self) {
        let marks = std::mem::take(&mut self.open);
        if let Some(group) = self.groups.last_mut() {
            group.summary = marks.summary();
        }
    }

    /// Where the last whole block ends, in bytes.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Its groups, the oldest first.
    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The bytes to read for a record: whole blocks.
    pub(super) fn chunk(&self, sequence: u64) -> Option<Range<u64>> {
        let after = self.after(sequence);
        let begin = self.groups.get(after.checked_sub(1)?)?.offset;
        let end = self.groups.get(after).map_or(self.end, |next| next.offset);
        Some(begin..end)
    }

    /// The newest record, `sequence` or before, that may be among those sought; looks at `most` groups
    /// at most, and may then name one that isn't.
    pub(super) fn newest(&self, sequence: u64, sought: &Sought, most: u64) -> Passed {
        let mut to = sequence;
        for (passed, group) in (0..).zip(self.groups[..self.after(sequence)].iter().rev()) {
            let may_hold = |summary: &Summary| summary.may_hold(sought);
            if passed == most || group.summary.as_ref().is_none_or(may_hold) {
                return Passed {
                    groups: passed,
                    to: Some(to),
                };
            }
            let Some(before) = group.first.checked_sub(1) else {
                break;
            };
            to = before;
        }
        Passed {
            groups: self.after(sequence) as u64,
            to: None,
        }
    }

    /// How many groups begin at a record or before.
    fn after(&self, sequence: u64) -> usize {
        self.groups.partition_point(|group| group.first <= sequence)
    }

    /// The index of a segment that is not written to any more.
    pub(super) fn build(path: &Path) -> Result<Self, AuditError> {
        let mut index = Self::default();
        let mut walk = Walk::open(path)?;
        loop {
            match walk.next() {
                Ok(Some((_, block, bytes))) => {
                    let mut marks = Marks::default();
                    for leaf in &block.leaves {
                        marks.add_leaf(&bytes[leaf.clone()]);
                    }
                    index.note(block.first, block.length as u64, &marks);
                }
                Ok(None) => {
                    index.close();
                    return Ok(index);
                }
                Err(Halt::Io(error)) => return Err(error),
                Err(Halt::Flaw(offset, flaw)) => {
                    return Err(AuditError::damaged(path, offset, flaw));
                }
            }
        }
    }
}

/// All segments of an open log.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    /// First sequence numbers of all segments, ascending; the last is the active one's.
    pub(super) firsts: Vec<u64>,
    /// The active segment's blocks.
    pub(super) active: Index,
    /// How many records are durable.
    pub(super) size: u64,
}

impl Layout {
    /// The records of the segment that holds one of them.
    pub(super) fn numbers(&self, sequence: u64) -> Range<u64> {
        let after = self.firsts.partition_point(|first| *first <= sequence);
        let first = after.checked_sub(1).and_then(|at| self.firsts.get(at));
        let next = self.firsts.get(after).copied();
        first.copied().unwrap_or(0)..next.unwrap_or(self.size)
    }

    /// Whether that segment is the one written to.
    pub(super) fn is_active(&self, first: u64) -> bool {
        self.firsts.last() == Some(&first)
    }

    pub(super) fn path(&self, first: u64) -> PathBuf {
        self.dir.join(segment::name(first))
    }
}
