//! What a side file of searches would hide: verification's look at it.
//!
//! A side file that is believed and denies what is in its segment takes records out of every answer to a
//! search, while the log and its tree stay what they are. No accident makes such a file; its checksum
//! and the root in it see to that.

use std::path::Path;

use super::{
    fields::Fields,
    index::Index,
    shelf::{self, Of},
    summary::Marks,
};

/// A segment's side file, while its records are walked over.
pub(super) struct Hidden {
    of: Of,
    index: Index,
    /// The group of the record before.
    at: usize,
    marks: Marks,
    /// The first record that is denied.
    record: Option<u64>,
}

impl Hidden {
    /// The side file of the segment that begins at `first`, if there is one that can be read.
    pub(super) fn open(dir: &Path, first: u64) -> Option<Self> {
        let (of, index) = shelf::load(dir, first)?;
        Some(Self {
            of,
            index,
            at: 0,
            marks: Marks::default(),
            record: None,
        })
    }

    /// Looks at the next record, whose fields may have been read already.
    pub(super) fn look(&mut self, sequence: u64, leaf: &[u8], fields: Option<&Fields<'_>>) {
        if self.record.is_some() {
            return;
        }
        let groups = self.index.groups();
        while groups
            .get(self.at + 1)
            .is_some_and(|next| next.first <= sequence)
        {
            self.at += 1;
        }
        let group = groups.get(self.at).filter(|group| group.first <= sequence);
        self.marks.clear();
        match fields {
            Some(fields) => self.marks.add(fields),
            None => self.marks.add_leaf(leaf),
        }
        let shown = group.is_some_and(|group| {
            let summary = group.summary.as_ref();
            summary.is_none_or(|summary| summary.covers(&self.marks))
        });
        if !shown {
            self.record = Some(sequence);
        }
    }

    /// The first record that searches don't find because of it, if it is of these records; if not,
    /// nobody believes it.
    pub(super) fn record(self, of: &Of) -> Option<u64> {
        self.record.filter(|_| self.of == *of)
    }
}
