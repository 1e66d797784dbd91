//! Repair: making a damaged log usable again without losing a byte or hiding the damage.
//!
//! The log is kept up to its first damage. The damaged segment and all later ones are moved into
//! `aside/`, none is deleted; the whole blocks before the damage are copied into a new file of the
//! damaged one's name. The log then goes on from there, so every checkpoint of a larger size will
//! fail to hold from now on: damage is never made to look as if it had not been. The caller records
//! the repair as the first thing in the repaired log.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use super::{
    error::AuditError,
    lock, segment,
    segment::{Halt, Walk},
};

/// What a repair did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Repair {
    /// How many records are in the log now: the new high-water mark.
    pub kept: u64,
    /// The files moved, where they are now.
    pub moved: Vec<PathBuf>,
    /// Records that can still be read in them, beyond those kept.
    pub readable_aside: u64,
}

/// Moves what is damaged aside. Changes nothing in a log that is whole or only torn at its end.
///
/// The server must be stopped ([`AuditError::Locked`] else).
pub fn repair(dir: &Path) -> Result<Repair, AuditError> {
    let _lock = lock(dir)?;
    let firsts = segments(dir)?;
    let (mut next, mut whole) = (0, 0);
    let mut cut = None;
    for (i, &first) in firsts.iter().enumerate() {
        if first != next {
            break;
        }
        let path = dir.join(segment::name(first));
        let (end, blocks_end, sealed) = good_prefix(&path, first)?;
        next = end;
        let length = fs::metadata(&path)
            .map_err(|e| AuditError::io(&path, &e))?
            .len();
        let last = i + 1 == firsts.len();
        if blocks_end < length || (!sealed && !last) {
            cut = Some(blocks_end);
            break;
        }
        whole = i + 1;
    }

    let mut done = Repair {
        kept: next,
        moved: Vec::new(),
        readable_aside: 0,
    };
    // From the end, so that a crash in between leaves a log that is repaired by repairing again.
    for &first in firsts[whole..].iter().rev() {
        let path = dir.join(segment::name(first));
        done.readable_aside += readable(&path, next)?;
        if first == firsts[whole]
            && let Some(end) = cut
        {
            let prefix = copy_prefix(&path, end)?;
            done.moved.push(move_aside(dir, &path)?);
            fs::rename(&prefix, &path).map_err(|e| AuditError::io(&path, &e))?;
        } else {
            done.moved.push(move_aside(dir, &path)?);
        }
        segment::sync_dir(dir)?;
    }
    done.moved.reverse();
    Ok(done)
}

/// All segments; one with a name that is none is moved aside first.
fn segments(dir: &Path) -> Result<Vec<u64>, AuditError> {
    loop {
        match segment::list(dir) {
            Err(AuditError::Damaged { file, .. }) => move_aside(dir, &file).map(|_| ())?,
            other => return other,
        }
    }
}

/// The whole, rightly numbered blocks at a segment's beginning: number after the last record,
/// offset after the last block, whether that is a seal.
fn good_prefix(path: &Path, first: u64) -> Result<(u64, u64, bool), AuditError> {
    let (mut next, mut end, mut sealed) = (first, 0, false);
    let mut walk = Walk::open(path)?;
    loop {
        match walk.next() {
            Ok(Some((offset, block, _))) if block.first == next && !sealed => {
                next = block.end();
                end = offset + block.length as u64;
                sealed = block.is_seal();
            }
            Err(Halt::Io(error)) => return Err(error),
            _ => return Ok((next, end, sealed)),
        }
    }
}

fn readable(path: &Path, from: u64) -> Result<u64, AuditError> {
    let mut walk = Walk::open(path)?;
    let mut records = 0;
    loop {
        match walk.next() {
            Ok(None) => return Ok(records),
            Ok(Some((_, block, _))) => {
                records += block.end().saturating_sub(block.first.max(from));
            }
            Err(Halt::Io(error)) => return Err(error),
            Err(Halt::Flaw(offset, _)) => {
                let rest = walk.rest(offset)?;
                match super::block::find(&rest, 1) {
                    Some((step, _)) => walk.jump(offset + step as u64)?,
                    None => return Ok(records),
                }
            }
        }
    }
}

/// Copies the first `end` bytes of a segment beside it, durable.
fn copy_prefix(path: &Path, end: u64) -> Result<PathBuf, AuditError> {
    // A name like `segment-….repair` would be taken for a renamed segment.
    let copy = path.with_file_name("repaired");
    let attempt = || {
        let mut from = File::open(path)?.take(end);
        let mut to = segment::writable()
            .create(true)
            .truncate(true)
            .open(&copy)?;
        io::copy(&mut from, &mut to)?;
        to.flush()?;
        to.sync_all()
    };
    attempt().map_err(|e| AuditError::io(&copy, &e))?;
    Ok(copy)
}

/// Moves a file into `aside/`, under the first free name.
fn move_aside(dir: &Path, path: &Path) -> Result<PathBuf, AuditError> {
    let aside = dir.join("aside");
    segment::make_dir(&aside)?;
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let target = (0u32..)
        .map(|n| aside.join(format!("{name}.{n}")))
        .find(|target| !target.exists())
        .unwrap_or_else(|| aside.join(&name));
    fs::rename(path, &target).map_err(|e| AuditError::io(path, &e))?;
    segment::sync_dir(&aside)?;
    Ok(target)
}
