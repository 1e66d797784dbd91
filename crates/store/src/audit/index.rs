//! Where records are: which segment, and roughly where in it.
//!
//! A sparse index, one entry for each [`STRIDE`] bytes of a segment, so a full segment of 64 MiB has
//! about a thousand. Kept in memory only; made by walking a segment once.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use super::{
    block::Block,
    error::AuditError,
    segment::{self, Halt, Walk},
};

/// How many bytes of blocks are read at once, or one block if it is larger.
const STRIDE: u64 = 64 << 10;

/// The blocks of one segment.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Sequence number and offset of some blocks, ascending; the first block is among them.
    entries: Vec<(u64, u64)>,
    /// Where the last whole block ends, in bytes.
    end: u64,
}

impl Index {
    /// Takes note of the next block.
    pub(super) fn note(&mut self, first: u64, length: u64) {
        if self
            .entries
            .last()
            .is_none_or(|(_, offset)| self.end - offset >= STRIDE)
        {
            self.entries.push((first, self.end));
        }
        self.end += length;
    }

    /// Where the last whole block ends, in bytes.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The bytes to read for a record: whole blocks.
    pub(super) fn chunk(&self, sequence: u64) -> Option<Range<u64>> {
        let after = self
            .entries
            .partition_point(|(first, _)| *first <= sequence);
        let (_, begin) = self.entries.get(after.checked_sub(1)?)?;
        let end = self
            .entries
            .get(after)
            .map_or(self.end, |(_, offset)| *offset);
        Some(*begin..end)
    }

    /// The index of a segment that is not written to any more.
    pub(super) fn build(path: &Path) -> Result<Self, AuditError> {
        let mut index = Self::default();
        let mut walk = Walk::open(path)?;
        loop {
            match walk.next() {
                Ok(Some((_, Block { first, length, .. }, _))) => index.note(first, length as u64),
                Ok(None) => return Ok(index),
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
    /// The first sequence number of the segment that holds a record.
    pub(super) fn segment_of(&self, sequence: u64) -> Option<u64> {
        let after = self.firsts.partition_point(|first| *first <= sequence);
        self.firsts.get(after.checked_sub(1)?).copied()
    }

    /// The first sequence number of the segment after this one.
    pub(super) fn next_segment(&self, first: u64) -> Option<u64> {
        let after = self.firsts.partition_point(|other| *other <= first);
        self.firsts.get(after).copied()
    }

    /// Whether that segment is the one written to.
    pub(super) fn is_active(&self, first: u64) -> bool {
        self.firsts.last() == Some(&first)
    }

    pub(super) fn path(&self, first: u64) -> PathBuf {
        self.dir.join(segment::name(first))
    }
}
