//! Reading records back, a page at a time.
//!
//! Memory is bounded by a page and one chunk of the file (64 KiB, or one block if that is larger).
//! Search walks backwards through the records themselves, with a budget and a range to resume at;
//! an index that follows the log can answer faster later and would not change the contract.

use std::{fs::File, ops::Range, os::unix::fs::FileExt, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use pentad_model::{Id, Record, Tenant, Timestamp};

use super::{Shared, block, error::AuditError, index::Index, seek};

/// The most records in a page.
pub const MAX_PAGE: usize = 1000;
/// Chunks of a scan that are looked for, before an index is made.
const FEW: usize = 4;
/// How many segments' indexes are kept in memory, some 16 KiB each.
const CACHED: usize = 16;

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
    /// How many records were looked at.
    pub examined: u64,
}

/// Which records to find. All that is given must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Of this tenant.
    pub tenant: Option<Tenant>,
    /// On this path, or, if the text ends with `/`, on any that begins with it.
    pub path: Option<String>,
    /// By this principal, in text form.
    pub principal: Option<String>,
    /// This action, or, if the text ends with `.`, any that begins with it.
    pub action: Option<String>,
    /// Of this request.
    pub correlation: Option<Id>,
    /// Not before then.
    pub since: Option<Timestamp>,
    /// Before then.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// Whether a record is among those sought.
    pub fn matches(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>, open: char| match (wanted, found) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(w), Some(found)) if w.ends_with(open) => found.starts_with(w),
            (Some(w), Some(found)) => found == w,
        };
        self.tenant.as_ref().is_none_or(|t| *t == record.tenant)
            && is(&self.path, record.path.as_ref().map(|p| p.as_str()), '/')
            && self
                .principal
                .as_ref()
                .is_none_or(|p| *p == record.principal)
            && is(&self.action, Some(&record.action), '.')
            && self.correlation.is_none_or(|c| c == record.correlation)
            && self.since.is_none_or(|since| since <= record.at)
            && self.until.is_none_or(|until| record.at < until)
    }
}

/// The indexes of sealed segments, the latest used last.
pub(super) type Cache = Mutex<Vec<(u64, Arc<Index>)>>;

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
        let mut page = Page {
            entries: Vec::new(),
            next: None,
            examined: 0,
        };
        let mut chunks = 0;
        while !left.is_empty() {
            let next = match order {
                Order::Newest => left.end - 1,
                Order::Oldest => left.start,
            };
            // Whoever goes through much of a segment is served by an index of it.
            let chunk = self.chunk(next, chunks >= FEW)?;
            chunks += 1;
            loop {
                if left.is_empty() || page.entries.len() == limit || page.examined == budget {
                    break;
                }
                let sequence = match order {
                    Order::Newest => left.end - 1,
                    Order::Oldest => left.start,
                };
                let Some((leaf, offset)) = chunk.leaf(sequence) else {
                    break;
                };
                let record: Record = serde_json::from_slice(leaf).map_err(|e| {
                    AuditError::damaged(&chunk.path, offset, format!("record {sequence}: {e}"))
                })?;
                page.examined += 1;
                match order {
                    Order::Newest => left.end -= 1,
                    Order::Oldest => left.start += 1,
                }
                if filter.matches(&record) {
                    let leaf = leaf.to_vec();
                    page.entries.push(Entry {
                        sequence,
                        record,
                        leaf,
                    });
                }
            }
            if page.entries.len() == limit || page.examined == budget {
                break;
            }
        }
        page.next = (!left.is_empty()).then_some(left);
        Ok(page)
    }

    /// The part of a segment that holds a record, checked.
    fn chunk(&self, sequence: u64, much: bool) -> Result<Chunk, AuditError> {
        let (path, range) = self.locate(sequence, much)?;
        let missing = || AuditError::damaged(&path, 0, format!("record {sequence} is not there"));
        let range = range.ok_or_else(missing)?;
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
        let chunk = Chunk {
            first: first.unwrap_or(sequence),
            leaves,
            bytes,
            path,
        };
        match chunk.leaf(sequence) {
            Some(_) => Ok(chunk),
            None => Err(AuditError::damaged(
                &chunk.path,
                range.start,
                format!("record {sequence} is not there"),
            )),
        }
    }

    /// Where it is; with an index of a full segment if one is there or much of it will be read.
    fn locate(
        &self,
        sequence: u64,
        much: bool,
    ) -> Result<(PathBuf, Option<Range<u64>>), AuditError> {
        let (path, first, next) = {
            let layout = self.layout.read();
            let first = layout.segment_of(sequence).unwrap_or(0);
            let path = layout.path(first);
            if layout.is_active(first) {
                return Ok((path, layout.active.chunk(sequence)));
            }
            (path, first, layout.next_segment(first))
        };
        let mut cache = self.cache.lock();
        if let Some(at) = cache.iter().position(|(cached, _)| *cached == first) {
            let hit = cache.remove(at);
            let range = hit.1.chunk(sequence);
            cache.push(hit);
            return Ok((path, range));
        }
        drop(cache);
        if !much
            && let Some(next) = next
            && let Some(range) = seek::find(&path, first..next, sequence)?
        {
            return Ok((path, Some(range)));
        }
        let index = Arc::new(Index::build(&path)?);
        let range = index.chunk(sequence);
        let mut cache = self.cache.lock();
        if cache.len() >= CACHED {
            cache.remove(0);
        }
        cache.push((first, index));
        Ok((path, range))
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
    fn leaf(&self, sequence: u64) -> Option<(&[u8], u64)> {
        let at = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        let (range, offset) = self.leaves.get(at)?;
        Some((&self.bytes[range.clone()], *offset))
    }
}
