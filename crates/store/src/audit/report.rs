//! What verification found, in words.

use std::{ops::Range, path::PathBuf};

use super::hash::Hash;

/// More findings than this are counted, not kept.
const MAX_FINDINGS: usize = 1000;

/// What verification found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// How many records there are, as far as they are numbered without a gap.
    pub records: u64,
    /// How many segments.
    pub segments: usize,
    /// The root over these records; `None` if they could not all be read.
    pub root: Option<Hash>,
    /// What is wrong, in the order of the log; at most 1,000 findings.
    pub findings: Vec<Finding>,
    /// Findings beyond those kept.
    pub more: u64,
    /// The size of the largest trusted checkpoint that holds: all records before are proven.
    pub proven: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_intact(&self) -> bool {
        self.findings.is_empty()
    }

    pub(super) fn add(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }
}

/// Something wrong with a log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Finding {
    /// A trusted checkpoint does not hold: records were changed, removed or exchanged.
    #[error(
        "the trusted checkpoint of {origin} at {size} records has root {expected}, the log has \
         {found}: records before {size} were changed"
    )]
    Checkpoint {
        /// Its origin.
        origin: String,
        /// Its size.
        size: u64,
        /// Its root.
        expected: Hash,
        /// The log's.
        found: Hash,
    },
    /// A trusted checkpoint covers records that are not there.
    #[error(
        "the trusted checkpoint of {origin} covers {size} records, the log can be read up to \
         {found} only"
    )]
    Missing {
        /// Its origin.
        origin: String,
        /// Its size.
        size: u64,
        /// How many records can be read without a gap.
        found: u64,
    },
    /// Bytes that are no whole block.
    #[error("{file} at byte {offset}: {reason}; record {expected} was to begin there")]
    Block {
        /// Which file.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// The record that was to begin there.
        expected: u64,
        /// What is wrong.
        reason: String,
    },
    /// Records are missing between two blocks or segments, or come twice.
    #[error("{file} at byte {offset}: expected record {expected}, found record {found}")]
    Gap {
        /// Which file.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// The number expected.
        expected: u64,
        /// The number found.
        found: u64,
    },
    /// A segment has no seal though another follows, or something follows its seal.
    #[error("{file}: {reason}")]
    Segment {
        /// Which file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A record is no JSON of a record.
    #[error("record {sequence} can't be read: {reason}")]
    Record {
        /// Which.
        sequence: u64,
        /// Why.
        reason: String,
    },
    /// The level files say otherwise of these records. If a trusted checkpoint fails too, this is
    /// where; if none does, only the level files are wrong and can be removed.
    #[error("records {} to {} differ from the stored tree", .records.start, .records.end - 1)]
    Tree {
        /// Which records.
        records: Range<u64>,
    },
    /// A side file of searches denies what is in the log. Somebody made it so.
    #[error(
        "{file} hides record {sequence} and maybe others from searches; remove the file, and it is \
         made again"
    )]
    Hidden {
        /// Which file.
        file: PathBuf,
        /// The first record that it hides.
        sequence: u64,
    },
    /// A checkpoint stored beside the log does not hold.
    #[error("checkpoint {number} in the log's own list does not hold: {reason}")]
    Stored {
        /// Its place in the list, from 0.
        number: usize,
        /// Why.
        reason: String,
    },
}
