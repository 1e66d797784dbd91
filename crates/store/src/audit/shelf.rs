//! Side files: the [index](super::index) of each full segment, so that a search need not read the
//! segment to know that nothing of it is sought.
//!
//! `search/<first sequence number, 16 digits>.index`, about a hundredth of its segment. All numbers are
//! big-endian.
//!
//! | byte | length | content |
//! |---|---|---|
//! | 0 | 4 | magic `PAUX` |
//! | 4 | 4 | format version, 1 |
//! | 8 | 8 | sequence number of the segment's first record |
//! | 16 | 8 | that of the next segment's |
//! | 24 | 8 | the segment's length in bytes |
//! | 32 | 32 | the root over all records before the next segment (RFC 9162) |
//! | 64 | 4 | number of groups |
//! | 68 | … | each group: its first record, its offset, earliest and latest time, 8 bytes each; 4 bytes: the number of 64-bit words of its filter, or `0xffff_ffff` if there is none; the words |
//! | end | 4 | CRC-32 (ISO-HDLC, as in zlib) of all before |
//!
//! What it refuses: a file that is torn, damaged, out of order, of another format, or of other records than those in
//! the log now, as after a repair: the root tells. Such a file is as good as none, and is made again from
//! the segment.
//!
//! What always holds: it is derived, so nothing is synced, no failure to write it fails anything else, and
//! `search/` may be removed at any time, with the log open or not. Whoever can write it can hide
//! records from searches, though not from reading the log; [`verify`](super::verify) compares it with
//! the records and says so.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    ops::Range,
    path::{Path, PathBuf},
};

use pentad_model::Timestamp;

use super::{
    error::AuditError,
    hash::Hash,
    index::{Group, Index},
    segment,
    summary::Summary,
};

const MAGIC: [u8; 4] = *b"PAUX";
const VERSION: u32 = 1;
/// Of a group of which nothing is known.
const UNKNOWN: u32 = u32::MAX;

/// What an index is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Of {
    /// The records of the segment.
    pub(super) numbers: Range<u64>,
    /// The segment's length in bytes.
    pub(super) length: u64,
    /// The root over all records up to its end.
    pub(super) root: Hash,
}

/// Where the index of the segment that begins at `first` is kept.
pub(super) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join("search").join(format!("{first:016}.index"))
}

/// Keeps an index, if there is space. Whoever reads finds the whole of it, or another one, or none.
pub(super) fn keep(dir: &Path, of: &Of, index: &Index) {
    let path = path(dir, of.numbers.start);
    if let Err(error) = attempt(dir, &path, &encode(of, index)) {
        tracing::debug!(%error, segment = of.numbers.start, "an index of the audit log was not kept");
    }
}

fn attempt(dir: &Path, path: &Path, bytes: &[u8]) -> Result<(), AuditError> {
    segment::make_dir(&dir.join("search"))?;
    let new = path.with_extension("new");
    let written = || -> io::Result<()> {
        let mut file = segment::writable().create(true).truncate(true).open(&new)?;
        file.write_all(bytes)?;
        fs::rename(&new, path)
    };
    written().map_err(|error| {
        let _ = fs::remove_file(&new);
        AuditError::io(path, &error)
    })
}

/// The index that is kept of a segment, if it is whole and of these records.
pub(super) fn read(dir: &Path, of: &Of) -> Option<Index> {
    let (found, index) = load(dir, of.numbers.start)?;
    (found == *of).then_some(index)
}

/// The index that is kept of the segment that begins at `first`, and what it says that it is of.
pub(super) fn load(dir: &Path, first: u64) -> Option<(Of, Index)> {
    let mut bytes = Vec::new();
    File::open(path(dir, first))
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .ok()?;
    decode(&bytes)
}

/// Removes the index of a segment that did not lead to its records.
pub(super) fn remove(dir: &Path, first: u64) {
    // It is made again, and written over this one.
    let _ = fs::remove_file(path(dir, first));
}

fn encode(of: &Of, index: &Index) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_be_bytes());
    for number in [of.numbers.start, of.numbers.end, of.length] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(of.root.0);
    bytes.extend((index.groups().len() as u32).to_be_bytes());
    for group in index.groups() {
        bytes.extend(group.first.to_be_bytes());
        bytes.extend(group.offset.to_be_bytes());
        let summary = group.summary.as_ref();
        let span = summary.map_or((0, 0), |it| (it.earliest.0, it.latest.0));
        bytes.extend(span.0.to_be_bytes());
        bytes.extend(span.1.to_be_bytes());
        let words = summary.map_or(UNKNOWN, |it| it.bits.len() as u32);
        bytes.extend(words.to_be_bytes());
        for word in summary.iter().flat_map(|it| it.bits.iter()) {
            bytes.extend(word.to_be_bytes());
        }
    }
    let checksum = crc32fast::hash(&bytes);
    bytes.extend(checksum.to_be_bytes());
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Option<(Of, Index)> {
    let (content, checksum) = bytes.split_last_chunk::<4>()?;
    (u32::from_be_bytes(*checksum) == crc32fast::hash(content)).then_some(())?;
    let mut rest = content;
    (take::<4>(&mut rest)? == MAGIC).then_some(())?;
    (u32::from_be_bytes(take(&mut rest)?) == VERSION).then_some(())?;
    let mut number = || Some(u64::from_be_bytes(take(&mut rest)?));
    let (first, next, length) = (number()?, number()?, number()?);
    let root = Hash(take(&mut rest)?);
    let count = u32::from_be_bytes(take(&mut rest)?);
    let mut groups = Vec::new();
    for _ in 0..count {
        groups.push(group(&mut rest)?);
    }
    rest.is_empty().then_some(())?;
    // What is out of order could be read in two ways, by a search and by verification.
    let ascends = |pair: &[Group]| pair[0].first < pair[1].first && pair[0].offset < pair[1].offset;
    let begins = groups
        .first()
        .is_some_and(|it| (it.first, it.offset) == (first, 0));
    let ends = groups
        .last()
        .is_some_and(|it| it.first <= next && it.offset < length);
    (begins && ends && groups.windows(2).all(ascends)).then_some(())?;
    let of = Of {
        numbers: first..next,
        length,
        root,
    };
    Some((of, Index::of(groups, length)))
}

fn group(rest: &mut &[u8]) -> Option<Group> {
    let mut number = || Some(u64::from_be_bytes(take(rest)?));
    let (first, offset) = (number()?, number()?);
    let (earliest, latest) = (number()?.cast_signed(), number()?.cast_signed());
    let words = u32::from_be_bytes(take(rest)?);
    let summary = match words {
        UNKNOWN => None,
        words => {
            let (bits, after) = rest.split_at_checked(words as usize * 8)?;
            *rest = after;
            Some(Summary {
                earliest: Timestamp(earliest),
                latest: Timestamp(latest),
                bits: bits
                    .as_chunks()
                    .0
                    .iter()
                    .map(|word| u64::from_be_bytes(*word))
                    .collect(),
            })
        }
    };
    Some(Group {
        first,
        offset,
        summary,
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}
