//! The indexes of full segments: in memory the latest used, the others in [side files](super::shelf).

use std::{fs, ops::Range, path::Path, sync::Arc};

use parking_lot::Mutex;

use super::{
    Shared,
    error::AuditError,
    index::Index,
    segment,
    shelf::{self, Of},
};

/// How many are kept in memory, up to half a megabyte each.
const CACHED: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    /// By the segment's first record; the latest used last.
    cached: Mutex<Vec<(u64, Arc<Index>)>>,
    /// Held while a segment is read for its index: who wants the same one waits for it instead of
    /// reading it too.
    building: Mutex<()>,
}

/// What may be done for an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effort {
    /// Nothing.
    Cached,
    /// Its side file may be read: less than a millisecond.
    Kept,
    /// The segment may be read: some hundred milliseconds.
    Built,
}

impl Sealed {
    fn get(&self, first: u64) -> Option<Arc<Index>> {
        let mut cached = self.cached.lock();
        let at = cached.iter().position(|(cached, _)| *cached == first)?;
        let hit = cached.remove(at);
        let index = Arc::clone(&hit.1);
        cached.push(hit);
        Some(index)
    }

    fn put(&self, first: u64, index: Arc<Index>) {
        let mut cached = self.cached.lock();
        cached.retain(|(cached, _)| *cached != first);
        if cached.len() >= CACHED {
            cached.remove(0);
        }
        cached.push((first, index));
    }

    fn forget(&self, first: u64) {
        self.cached.lock().retain(|(cached, _)| *cached != first);
    }
}

impl Shared {
    /// The index of the full segment of these records, and whether the segment was read for it. `None`
    /// if that takes more effort.
    pub(super) fn sealed(
        &self,
        numbers: Range<u64>,
        effort: Effort,
    ) -> Result<Option<(Arc<Index>, bool)>, AuditError> {
        let first = numbers.start;
        let cached = self.sealed.get(first);
        if cached.is_some() || effort == Effort::Cached {
            return Ok(cached.map(|index| (index, false)));
        }
        let dir = self.layout.read().dir.clone();
        // Without the tree no side file is believed, and none is written; records are found all the same.
        let of = self.of(&dir, numbers).ok();
        if let Some(index) = of.as_ref().and_then(|of| shelf::read(&dir, of)) {
            let index = Arc::new(index);
            self.sealed.put(first, Arc::clone(&index));
            return Ok(Some((index, false)));
        }
        if effort == Effort::Kept {
            return Ok(None);
        }
        let _one_at_a_time = self.sealed.building.lock();
        if let Some(index) = self.sealed.get(first) {
            return Ok(Some((index, false)));
        }
        let index = Index::build(&dir.join(segment::name(first)))?;
        Ok(Some((self.keep(&dir, first, of, index), true)))
    }

    /// Takes the index of the segment that was just filled.
    pub(super) fn fill(&self, numbers: Range<u64>, mut index: Index) {
        index.close();
        let dir = self.layout.read().dir.clone();
        let first = numbers.start;
        let of = self.of(&dir, numbers).ok();
        self.keep(&dir, first, of, index);
    }

    /// Forgets an index that did not lead to the segment's records, and reads these: what is derived
    /// must not make a sound log look damaged.
    pub(super) fn rebuild(&self, numbers: Range<u64>) -> Result<Arc<Index>, AuditError> {
        let dir = self.layout.read().dir.clone();
        let first = numbers.start;
        self.sealed.forget(first);
        shelf::remove(&dir, first);
        let index = Index::build(&dir.join(segment::name(first)))?;
        let of = self.of(&dir, numbers).ok();
        Ok(self.keep(&dir, first, of, index))
    }

    fn keep(&self, dir: &Path, first: u64, of: Option<Of>, index: Index) -> Arc<Index> {
        if let Some(of) = of {
            shelf::keep(dir, &of, &index);
        }
        let index = Arc::new(index);
        self.sealed.put(first, Arc::clone(&index));
        index
    }

    fn of(&self, dir: &Path, numbers: Range<u64>) -> Result<Of, AuditError> {
        let path = dir.join(segment::name(numbers.start));
        let metadata = fs::metadata(&path).map_err(|e| AuditError::io(&path, &e))?;
        let root = self.tree.read().root(numbers.end)?;
        Ok(Of {
            numbers,
            length: metadata.len(),
            root,
        })
    }
}
