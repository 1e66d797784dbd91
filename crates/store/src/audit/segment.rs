//! Segment files: their names, their making, appending to them, walking their blocks.
//!
//! `segment-<first sequence number, 16 digits>.log` is blocks one after the other, nothing between
//! or after. All but the last segment end with a seal.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufReader, Read, Seek, SeekFrom},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{
    block::{self, Block, Flaw, HEADER},
    error::{AuditError, is_full},
    faults::Faults,
};
use crate::durable;

/// The file name of the segment that begins at `first`.
pub(super) fn name(first: u64) -> String {
    format!("segment-{first:016}.log")
}

/// The first sequence number in a segment's file name.
pub(super) fn parse_name(file: &str) -> Option<u64> {
    let digits = file.strip_prefix("segment-")?.strip_suffix(".log")?;
    let first = digits.parse().ok()?;
    (name(first) == file).then_some(first)
}

/// The first sequence numbers of all segments, ascending.
///
/// A name that begins like a segment's and isn't one is refused: it is a segment that somebody
/// renamed.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, AuditError> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| AuditError::io(dir, &e))? {
        let entry = entry.map_err(|e| AuditError::io(dir, &e))?;
        let file = entry.file_name();
        let Some(file) = file.to_str().filter(|name| name.starts_with("segment-")) else {
            continue;
        };
        match parse_name(file) {
            Some(first) => firsts.push(first),
            None => {
                return Err(AuditError::damaged(
                    &entry.path(),
                    0,
                    "the name is not a segment's",
                ));
            }
        }
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// Makes a directory that only its owner may enter, and makes its name durable.
pub(super) fn make_dir(dir: &Path) -> Result<(), AuditError> {
    durable::make_dir(dir).map_err(|e| AuditError::io(dir, &e))
}

/// Makes the names in a directory durable. A failure is for good, whatever its reason: also one for
/// want of space has dropped what was to be written.
pub(super) fn sync_dir(dir: &Path) -> Result<(), AuditError> {
    durable::sync_dir(dir).map_err(|e| AuditError::fatal("fsync of", dir, &e))
}

/// How every file of the log is opened for writing: readable by its owner only.
pub(super) fn writable() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Active {
    file: File,
    path: PathBuf,
    /// Where its last whole, durable block ends.
    pub(super) end: u64,
    /// Whether a seal was written: nothing may follow.
    pub(super) sealed: bool,
    faults: Faults,
}

impl Active {
    /// A new segment, durable with its name.
    pub(super) fn create(dir: &Path, first: u64, faults: Faults) -> Result<Self, AuditError> {
        let path = dir.join(name(first));
        faults.take_space(HEADER as u64)?;
        // A crash, or a full disk, may have left the empty file of an earlier try.
        let file = writable()
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| AuditError::io(&path, &e))?;
        let end = file
            .metadata()
            .map_err(|e| AuditError::io(&path, &e))?
            .len();
        if end != 0 {
            return Err(AuditError::damaged(&path, 0, "a new segment is not empty"));
        }
        file.sync_all()
            .map_err(|e| AuditError::fatal("fsync of", &path, &e))?;
        sync_dir(dir)?;
        Ok(Self {
            file,
            path,
            end,
            sealed: false,
            faults,
        })
    }

    /// The last segment, after recovery found that its whole blocks end at `end` and that the last
    /// of them begins at `last`.
    ///
    /// Cuts what follows, and writes the last block once more before it is fsynced: after a failed
    /// fsync the system may show, from memory, bytes that the disk never got, and takes them for
    /// clean. Only the last block can be such.
    pub(super) fn reopen(
        dir: &Path,
        first: u64,
        last: u64,
        end: u64,
        sealed: bool,
        faults: Faults,
    ) -> Result<Self, AuditError> {
        let path = dir.join(name(first));
        let attempt = || {
            let file = writable().open(&path)?;
            if file.metadata()?.len() > end {
                file.set_len(end)?;
            }
            let mut bytes = vec![0; usize::try_from(end - last).unwrap_or(0)];
            file.read_exact_at(&mut bytes, last)?;
            file.write_all_at(&bytes, last)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = attempt().map_err(|e| AuditError::io(&path, &e))?;
        sync_dir(dir)?;
        Ok(Self {
            file,
            path,
            end,
            sealed,
            faults,
        })
    }

    /// Writes one block at the end and makes it durable.
    ///
    /// Without space, the file is as it was before and may be tried again later. Any other failure
    /// is for good: whether the block is there is not known, and a second fsync may say yes and
    /// mean nothing.
    pub(super) fn append(&mut self, block: &[u8]) -> Result<(), AuditError> {
        let written = self
            .faults
            .write(block.len() as u64)
            .and_then(|()| self.file.write_all_at(block, self.end));
        if let Err(error) = written {
            if !is_full(&error) {
                return Err(AuditError::fatal("writing", &self.path, &error));
            }
            self.file
                .set_len(self.end)
                .map_err(|e| AuditError::fatal("cutting", &self.path, &e))?;
            return Err(AuditError::Full);
        }
        self.faults
            .sync()
            .and_then(|()| self.file.sync_data())
            .map_err(|e| AuditError::fatal("fsync of", &self.path, &e))?;
        self.end += block.len() as u64;
        Ok(())
    }
}

/// The end of a sealed segment: the sequence number that its seal names, in one short read.
pub(super) fn read_seal(path: &Path) -> Result<u64, AuditError> {
    let file = File::open(path).map_err(|e| AuditError::io(path, &e))?;
    let length = file.metadata().map_err(|e| AuditError::io(path, &e))?.len();
    let at = length.saturating_sub(HEADER as u64);
    let mut bytes = vec![0; HEADER.min(usize::try_from(length).unwrap_or(HEADER))];
    file.read_exact_at(&mut bytes, at)
        .map_err(|e| AuditError::io(path, &e))?;
    match block::decode(&bytes) {
        Ok(block) if block.is_seal() => Ok(block.first),
        _ => Err(AuditError::damaged(
            path,
            at,
            "the segment has a successor but no seal at its end",
        )),
    }
}

/// Walks the blocks of a segment from its beginning, one in memory at a time.
pub(super) struct Walk {
    file: BufReader<File>,
    path: PathBuf,
    offset: u64,
    buffer: Vec<u8>,
}

/// A block with its offset in the file and its bytes.
pub(super) type Found<'a> = (u64, Block, &'a [u8]);

/// Why a walk ended early.
pub(super) enum Halt {
    /// The file can't be read.
    Io(AuditError),
    /// No block begins at this offset.
    Flaw(u64, Flaw),
}

impl Walk {
    pub(super) fn open(path: &Path) -> Result<Self, AuditError> {
        let file = File::open(path).map_err(|e| AuditError::io(path, &e))?;
        Ok(Self {
            file: BufReader::with_capacity(256 << 10, file),
            path: path.to_owned(),
            offset: 0,
            buffer: Vec::new(),
        })
    }

    /// The next block with its offset and bytes; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Found<'_>>, Halt> {
        self.buffer.clear();
        self.fill(HEADER)?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let flaw = |flaw| Halt::Flaw(self.offset, flaw);
        let length = block::length(&self.buffer).map_err(flaw)?;
        self.fill(length)?;
        let block = block::decode(&self.buffer).map_err(|f| Halt::Flaw(self.offset, f))?;
        let offset = self.offset;
        self.offset += length as u64;
        Ok(Some((offset, block, &self.buffer)))
    }

    /// All that follows `offset`; at most a segment.
    pub(super) fn rest(&mut self, offset: u64) -> Result<Vec<u8>, AuditError> {
        let mut rest = Vec::new();
        self.file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| self.file.read_to_end(&mut rest))
            .map_err(|e| AuditError::io(&self.path, &e))?;
        Ok(rest)
    }

    /// Goes on at another offset, where a whole block was found.
    pub(super) fn jump(&mut self, offset: u64) -> Result<(), AuditError> {
        self.offset = offset;
        self.file
            .seek(SeekFrom::Start(offset))
            .map(|_| ())
            .map_err(|e| AuditError::io(&self.path, &e))
    }

    fn fill(&mut self, upto: usize) -> Result<(), Halt> {
        let want = upto.saturating_sub(self.buffer.len()) as u64;
        (&mut self.file)
            .take(want)
            .read_to_end(&mut self.buffer)
            .map(|_| ())
            .map_err(|e| Halt::Io(AuditError::io(&self.path, &e)))
    }
}
