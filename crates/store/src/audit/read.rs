//! Reading records back, a page at a time.
//!
//! Memory is bounded by a page, one chunk of the file (64 KiB, or one block if that is larger) and the
//! [indexes](super::sealed) of a few segments. A search walks backwards through the log, with a budget and
//! a range to resume at:
//!
//! 1. Groups of blocks whose [summary](super::summary) denies what is sought are passed over.
//! 2. Of the others each record is told by [its bytes](super::fields).
//! 3. What is found is decoded, and believed only then.
//!
//! So a page costs what it holds, and a hundredth of a millisecond for each megabyte that holds nothing
//! of it. Nothing is passed over on the word of a summary that is missing, torn or stale: then the
//! records are looked at, as if there were none.

use std::{fs::File, ops::Range, os::unix::fs::FileExt, path::PathBuf};

use pentad_model::Record;

use super::{
    Shared, block,
    error::AuditError,
    filter::Filter,
    index::{Index, Passed},
    sealed::Effort,
    seek,
    summary::Sought,
};

/// The most records in a page.
pub const MAX_PAGE: usize = 1000;
/// Chunks of a scan that are looked for, before a segment is read for its index.
const FEW: usize = 4;

/// A record in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its sequence number: the leaf's index in the tree.
    pub sequence: u64,
    /// What it says.
    pub record: Record,
    /// Its exact bytes: [`leaf_hash`](super::leaf_hash) of them is the leaf.
    pub leaf: Vec<u8>,
}

/// From which end to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The newest first.
    Newest,
    /// The oldest first.
    Oldest,
}

/// A page of records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// In the order asked for.
    pub entries: Vec<Entry>,
    /// What is left of the range: ask for it to go on. `None` if nothing is.
    pub next: Option<Range<u64>>,
    /// How many records were looked at. Many at once that can't be among those sought count as one.
    pub examined: u64,
}

impl Shared {
    /// Up to `limit` matching records of `range`, looking at `budget` records at most.
    pub(super) fn scan(
        &self,
        range: Range<u64>,
        order: Order,
        limit: usize,
        budget: u64,
        filter: &Filter,
    ) -> Result<Page, AuditError> {
        let mut left = range.start..range.end.min(self.layout.read().size);
        let (limit, budget) = (limit.clamp(1, MAX_PAGE), budget.max(1));
        // Searches begin with the newest; where all is read there is nothing to pass over.
        let sought = Sought::by(filter).filter(|_| order == Order::Newest);
        let mut page = Page {
            entries: Vec::new(),
            next: None,
            examined: 0,
        };
        let mut chunks = 0;
        while !left.is_empty() && page.entries.len() < limit && page.examined < budget {
            // Whoever goes through much of a segment is served by an index of it.
            let much = chunks >= FEW;
            let mut built = 0;
            if let Some(sought) = &sought {
                let pass = self.pass(left.end - 1, sought, budget - page.examined, much)?;
                left.end = pass.end.max(left.start);
                page.examined += pass.groups;
                built = pass.built;
                if !pass.found {
                    page.examined = budget.min(page.examined + built);
                    continue;
                }
                if left.is_empty() || page.examined == budget {
                    break;
                }
            }
            let next = match order {
                Order::Newest => left.end - 1,
                Order::Oldest => left.start,
            };
            let chunk = self.chunk(next, much)?;
            chunks += 1;
            while !left.is_empty() && page.entries.len() < limit && page.examined < budget {
                let sequence = match order {
                    Order::Newest => left.end - 1,
                    Order::Oldest => left.start,
                };
                let Some((leaf, offset)) = chunk.leaf(sequence) else {
                    break;
                };
                page.examined += 1;
                match order {
                    Order::Newest => left.end -= 1,
                    Order::Oldest => left.start += 1,
                }
                if sought.is_some() && !filter.may_take(leaf) {
                    continue;
                }
                let record: Record = serde_json::from_slice(leaf).map_err(|e| {
                    AuditError::damaged(&chunk.path, offset, format!("record {sequence}: {e}"))
                })?;
                if filter.matches(&record) {
                    let leaf = leaf.to_vec();
                    page.entries.push(Entry {
                        sequence,
                        record,
                        leaf,
                    });
                }
            }
            // After some of it was used, so that whoever goes on is further each time.
            page.examined = budget.min(page.examined + built);
        }
        page.next = (!left.is_empty()).then_some(left);
        Ok(page)
    }

    /// Passes over what can't be among those sought, from record `sequence` towards older ones, within
    /// its segment.
    fn pass(
        &self,
        sequence: u64,
        sought: &Sought,
        most: u64,
        much: bool,
    ) -> Result<Pass, AuditError> {
        let (numbers, passed) = {
            let layout = self.layout.read();
            let numbers = layout.numbers(sequence);
            let active = layout.is_active(numbers.start);
            let passed = active.then(|| layout.active.newest(sequence, sought, most));
            (numbers, passed)
        };
        let (passed, built) = match passed {
            Some(passed) => (passed, false),
            None => {
                let effort = if much { Effort::Built } else { Effort::Kept };
                match self.sealed(numbers.clone(), effort)? {
                    Some((index, built)) => (index.newest(sequence, sought, most), built),
                    None => (Passed::nothing(sequence), false),
                }
            }
        };
        Ok(Pass {
            end: passed.to.map_or(numbers.start, |to| to + 1),
            found: passed.to.is_some(),
            groups: passed.groups,
            built: if built {
                numbers.end - numbers.start
            } else {
                0
            },
        })
    }

    /// The part of a segment that holds a record, checked.
    fn chunk(&self, sequence: u64, much: bool) -> Result<Chunk, AuditError> {
        let place = self.locate(sequence, much)?;
        match (
            Chunk::read(place.path, place.range, sequence),
            place.index_of,
        ) {
            (Err(AuditError::Damaged { .. }), Some(numbers)) => {
                let path = self.layout.read().path(numbers.start);
                let range = self.rebuild(numbers)?.chunk(sequence);
                Chunk::read(path, range, sequence)
            }
            (read, _) => read,
        }
    }

    /// Where it is; with an index of a full segment if one is there or much of it will be read.
    fn locate(&self, sequence: u64, much: bool) -> Result<Place, AuditError> {
        let (path, numbers) = {
            let layout = self.layout.read();
            let numbers = layout.numbers(sequence);
            let path = layout.path(numbers.start);
            if layout.is_active(numbers.start) {
                return Ok(Place {
                    path,
                    range: layout.active.chunk(sequence),
                    index_of: None,
                });
            }
            (path, numbers)
        };
        if let Some((index, _)) = self.sealed(numbers.clone(), Effort::Cached)? {
            return Ok(Place::by(&index, path, numbers, sequence));
        }
        if !much && let Some(range) = seek::find(&path, numbers.clone(), sequence)? {
            return Ok(Place {
                path,
                range: Some(range),
                index_of: None,
            });
        }
        let index = match self.sealed(numbers.clone(), Effort::Built)? {
            Some((index, _)) => index,
            None => self.rebuild(numbers.clone())?,
        };
        Ok(Place::by(&index, path, numbers, sequence))
    }
}

/// How far a search came without reading records.
struct Pass {
    /// What is left ends before this record.
    end: u64,
    /// Whether the newest that is left may be among those sought.
    found: bool,
    /// Groups of blocks that can't hold what is sought.
    groups: u64,
    /// Records that were read to know that.
    built: u64,
}

/// Where a record is.
struct Place {
    path: PathBuf,
    range: Option<Range<u64>>,
    /// The records of the segment whose index says so, if it is one that was not made by reading the
    /// segment just now.
    index_of: Option<Range<u64>>,
}

impl Place {
    fn by(index: &Index, path: PathBuf, numbers: Range<u64>, sequence: u64) -> Self {
        Self {
            path,
            range: index.chunk(sequence),
            index_of: Some(numbers),
        }
    }
}

/// Some whole blocks.
struct Chunk {
    first: u64,
    /// Each record's bytes, and its block's offset in the file.
    leaves: Vec<(Range<usize>, u64)>,
    bytes: Vec<u8>,
    path: PathBuf,
}

impl Chunk {
    /// Reads them, and checks that the record is among them.
    fn read(path: PathBuf, range: Option<Range<u64>>, sequence: u64) -> Result<Self, AuditError> {
        let missing =
            |at| AuditError::damaged(&path, at, format!("record {sequence} is not there"));
        let range = range.ok_or_else(|| missing(0))?;
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        File::open(&path)
            .and_then(|file| file.read_exact_at(&mut bytes, range.start))
            .map_err(|e| AuditError::io(&path, &e))?;
        let mut leaves = Vec::new();
        let (mut at, mut first) = (0, None);
        while at < bytes.len() {
            let offset = range.start + at as u64;
            let block = block::decode(&bytes[at..])
                .map_err(|flaw| AuditError::damaged(&path, offset, flaw))?;
            let begin = *first.get_or_insert(block.first);
            super::recovery::check_number(&path, offset, begin + leaves.len() as u64, block.first)?;
            leaves.extend(
                block
                    .leaves
                    .iter()
                    .map(|r| (at + r.start..at + r.end, offset)),
            );
            at += block.length;
        }
        let first = first.unwrap_or(sequence);
        let there = first..first + leaves.len() as u64;
        if !there.contains(&sequence) {
            return Err(missing(range.start));
        }
        Ok(Self {
            first,
            leaves,
            bytes,
            path,
        })
    }

    fn leaf(&self, sequence: u64) -> Option<(&[u8], u64)> {
        let at = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        let (range, offset) = self.leaves.get(at)?;
        Some((&self.bytes[range.clone()], *offset))
    }
}
