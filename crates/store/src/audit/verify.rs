//! Verification off line, from the segments alone: the user's proof that nothing was changed.
//!
//! It recomputes every checksum, number, leaf and root. It believes neither the level files nor the
//! stored checkpoints; it compares with them only to say where a difference begins. What it
//! believes are the checkpoints handed in, which the verifier kept elsewhere and whose signatures
//! [`Checkpoint::parse_and_verify`] checked. Against such a checkpoint every change, removal,
//! exchange or cut among the records that it covers is found. What came after the newest of them
//! is only as trustworthy as the disk.
//!
//! Two threads share the work: one reads and hashes, the other follows it and checks.
//!
//! Side files of searches are held against the records too: one that would hide some is found.
//!
//! It changes nothing and takes no lock; of a log in use, the final block may be half written.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read},
    ops::{Bound, Range},
    path::Path,
};

use pentad_model::Record;

use super::{
    ahead::{self, Step},
    checkpoint::Checkpoint,
    error::AuditError,
    hash::{Frontier, Hash},
    hidden::Hidden,
    ledger,
    report::{Finding, Report},
    segment, shape,
    shelf::{self, Of},
    tree::level_path,
};

/// Checks the log in `dir` against checkpoints that the verifier kept.
///
/// An error means that it could not be read, not that it is bad.
pub fn verify(dir: &Path, trusted: &[Checkpoint]) -> Result<Report, AuditError> {
    let mut report = Report::default();
    let stored = stored_checkpoints(dir, &mut report)?;
    let mut sizes: BTreeMap<u64, Option<Hash>> = trusted
        .iter()
        .chain(stored.iter().map(|(_, checkpoint)| checkpoint))
        .map(|checkpoint| (checkpoint.size, None))
        .collect();

    let mut check = Check {
        frontier: Frontier::default(),
        unbroken: true,
        next: 0,
        leaves: StoredLeaves::open(dir),
        differing: None,
        asked: 0,
        sizes: &mut sizes,
        hidden: None,
        report: &mut report,
    };
    check.reach();
    let firsts = match segment::list(dir) {
        Ok(firsts) => firsts,
        Err(AuditError::Damaged { file, reason, .. }) => {
            check.report.add(Finding::Segment { file, reason });
            segments_that_parse(dir)?
        }
        Err(error) => return Err(error),
    };
    for (i, &first) in firsts.iter().enumerate() {
        check.segment(
            &dir.join(segment::name(first)),
            first,
            i + 1 == firsts.len(),
        )?;
    }
    check.close_difference();

    let size = check.frontier.size;
    let root = check.unbroken.then(|| check.frontier.root());
    report.segments = firsts.len();
    report.records = size;
    report.root = root;
    for checkpoint in trusted {
        judge(checkpoint, size, &sizes, &mut report);
    }
    for (number, checkpoint) in stored {
        let reason = match sizes.get(&checkpoint.size).copied().flatten() {
            Some(found) if found == checkpoint.root => continue,
            Some(found) => format!("it has root {}, the log {found}", checkpoint.root),
            None => format!("it covers {} records, the log has {size}", checkpoint.size),
        };
        report.add(Finding::Stored { number, reason });
    }
    Ok(report)
}

fn judge(
    checkpoint: &Checkpoint,
    readable: u64,
    sizes: &BTreeMap<u64, Option<Hash>>,
    report: &mut Report,
) {
    let &Checkpoint { size, root, .. } = checkpoint;
    let origin = checkpoint.origin.clone();
    match sizes.get(&size).copied().flatten() {
        Some(found) if found == root => report.proven = report.proven.max(size),
        Some(found) => report.add(Finding::Checkpoint {
            origin,
            size,
            expected: root,
            found,
        }),
        None => report.add(Finding::Missing {
            origin,
            size,
            found: readable,
        }),
    }
}

fn stored_checkpoints(
    dir: &Path,
    report: &mut Report,
) -> Result<Vec<(usize, Checkpoint)>, AuditError> {
    let mut stored = Vec::new();
    for (number, note) in ledger::read(dir)?.iter().enumerate() {
        match Checkpoint::parse_unverified(note) {
            Ok(checkpoint) => stored.push((number, checkpoint)),
            Err(error) => report.add(Finding::Stored {
                number,
                reason: error.to_string(),
            }),
        }
    }
    Ok(stored)
}

fn segments_that_parse(dir: &Path) -> Result<Vec<u64>, AuditError> {
    let mut firsts: Vec<u64> = std::fs::read_dir(dir)
        .map_err(|e| AuditError::io(dir, &e))?
        .filter_map(|entry| segment::parse_name(entry.ok()?.file_name().to_str()?))
        .collect();
    firsts.sort_unstable();
    Ok(firsts)
}

/// A walk over the whole log.
struct Check<'a> {
    frontier: Frontier,
    /// Whether every record so far was there, so that roots mean something.
    unbroken: bool,
    /// The number that the next record must have.
    next: u64,
    leaves: StoredLeaves,
    /// Records whose stored leaf differs, as long as they follow each other.
    differing: Option<Range<u64>>,
    /// The next size at which somebody asks for the root.
    asked: u64,
    /// Roots at the sizes that somebody asks for.
    sizes: &'a mut BTreeMap<u64, Option<Hash>>,
    /// The segment's side file.
    hidden: Option<Hidden>,
    report: &'a mut Report,
}

impl Check<'_> {
    fn segment(&mut self, path: &Path, first: u64, last: bool) -> Result<(), AuditError> {
        let mut sealed = false;
        self.hidden = path.parent().and_then(|dir| Hidden::open(dir, first));
        let mut length = 0;
        if first != self.next {
            self.gap(path, 0, first);
        }
        ahead::walk(path, |step| match step {
            Step::Block {
                offset,
                block,
                bytes,
                hashes,
            } => {
                if sealed {
                    self.report.add(Finding::Segment {
                        file: path.to_owned(),
                        reason: format!("a block follows the seal at byte {offset}"),
                    });
                }
                if block.first != self.next {
                    self.gap(path, offset, block.first);
                }
                sealed = block.is_seal();
                length = offset + block.length as u64;
                for (leaf, hash) in block.leaves.into_iter().zip(hashes) {
                    self.record(&bytes[leaf], hash);
                }
            }
            Step::Flaw { offset, flaw } => {
                self.unbroken = false;
                self.report.add(Finding::Block {
                    file: path.to_owned(),
                    offset,
                    expected: self.next,
                    reason: flaw.to_string(),
                });
            }
        })?;
        if let Some(hidden) = self.hidden.take()
            && self.unbroken
        {
            let of = Of {
                numbers: first..self.next,
                length,
                root: self.frontier.root(),
            };
            if let Some(sequence) = hidden.record(&of) {
                let file = shelf::path(path.parent().unwrap_or(path), first);
                self.report.add(Finding::Hidden { file, sequence });
            }
        }
        if !sealed && !last {
            self.report.add(Finding::Segment {
                file: path.to_owned(),
                reason: "it has a successor but no seal at its end".to_owned(),
            });
        }
        Ok(())
    }

    fn gap(&mut self, path: &Path, offset: u64, found: u64) {
        self.unbroken = false;
        self.report.add(Finding::Gap {
            file: path.to_owned(),
            offset,
            expected: self.next,
            found,
        });
        self.next = found;
    }

    fn record(&mut self, leaf: &[u8], hash: Hash) {
        let sequence = self.next;
        // A block's numbers don't overflow; those of several could, in a forged log.
        self.next = self.next.saturating_add(1);
        let read = shape::read(leaf);
        if read.is_none()
            && let Err(error) = serde_json::from_slice::<Record>(leaf)
        {
            self.report.add(Finding::Record {
                sequence,
                reason: error.to_string(),
            });
        }
        if let Some(hidden) = &mut self.hidden {
            hidden.look(sequence, leaf, read.as_ref().map(|(_, fields)| fields));
        }
        if self
            .leaves
            .get(sequence)
            .is_some_and(|stored| stored != hash)
        {
            match &mut self.differing {
                Some(range) if range.end == sequence => range.end += 1,
                _ => {
                    self.close_difference();
                    self.differing = Some(sequence..sequence.saturating_add(1));
                }
            }
        }
        if self.unbroken {
            self.frontier.push(hash);
            self.reach();
        }
    }

    fn reach(&mut self) {
        if self.frontier.size < self.asked {
            return;
        }
        let later = (Bound::Excluded(self.frontier.size), Bound::Unbounded);
        let next = self.sizes.range(later).next();
        self.asked = next.map_or(u64::MAX, |(size, _)| *size);
        if let Some(root) = self.sizes.get_mut(&self.frontier.size) {
            *root = Some(self.frontier.root());
        }
    }

    fn close_difference(&mut self) {
        if let Some(records) = self.differing.take() {
            self.report.add(Finding::Tree { records });
        }
    }
}

/// The leaf hashes of the level file, read along with the segments.
struct StoredLeaves {
    file: Option<BufReader<File>>,
    at: u64,
}

impl StoredLeaves {
    fn open(dir: &Path) -> Self {
        Self {
            file: File::open(level_path(dir, 0)).ok().map(BufReader::new),
            at: 0,
        }
    }

    /// The stored hash of a record; numbers must ascend. `None` where nothing is stored.
    fn get(&mut self, sequence: u64) -> Option<Hash> {
        let skip = sequence.checked_sub(self.at)?;
        let file = self.file.as_mut()?;
        if skip > 0 {
            let bytes = i64::try_from(skip).ok()?.checked_mul(32)?;
            file.seek_relative(bytes).ok()?;
        }
        let mut bytes = [0; 32];
        self.at = sequence.saturating_add(1);
        if file.read_exact(&mut bytes).is_err() {
            self.file = None;
            return None;
        }
        Some(Hash(bytes))
    }
}
