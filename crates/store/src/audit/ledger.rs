//! The log's own copies of its checkpoints: `checkpoints/checkpoints.log`, signed notes one after
//! the other, each followed by an empty line.
//!
//! They serve whoever asks for the latest one. They prove nothing: who can change the log can
//! change them. What proves is a copy kept elsewhere.
//!
//! A note that was answered is on disk. One that a power cut tore is left out, and overwritten by the
//! next. After a failed write or fsync none is added until the log is reopened.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    checkpoint::Checkpoint,
    error::{AuditError, is_full},
    segment,
};

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("checkpoints").join("checkpoints.log")
}

/// The list, open for more notes.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Why nothing can be added any more.
    failed: Option<AuditError>,
}

/// What is in the file.
#[derive(Default)]
struct Listed {
    /// Where each note begins, and the note; the oldest first.
    notes: Vec<(u64, String)>,
    /// Where the last of them ends.
    end: u64,
}

/// All whole notes, oldest first.
///
/// Some 250 bytes each; the caller reads them all at once. What a power cut left of the last one is
/// left out.
pub(super) fn read(dir: &Path) -> Result<Vec<String>, AuditError> {
    let listed = list(dir)?;
    Ok(listed.notes.into_iter().map(|(_, note)| note).collect())
}

impl Ledger {
    /// Adds a note, durable when it returns.
    pub(super) fn append(&mut self, dir: &Path, note: &str) -> Result<(), AuditError> {
        // A note of another shape would swallow its neighbours.
        Checkpoint::parse_unverified(note)?;
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let appended = append(dir, note);
        if let Err(error @ AuditError::Fatal { .. }) = &appended {
            tracing::error!(%error, "no checkpoint is kept beside the log any more");
            self.failed = Some(error.clone());
        }
        appended
    }
}

fn append(dir: &Path, note: &str) -> Result<(), AuditError> {
    let path = path(dir);
    segment::make_dir(&dir.join("checkpoints"))?;
    let listed = list(dir)?;
    // The last one is written once more: an earlier process may have ended over its failed fsync, and
    // then it is in memory only.
    let (begin, text) = match listed.notes.last() {
        Some((begin, last)) => (*begin, format!("{last}\n{note}\n")),
        None => (0, format!("{note}\n")),
    };
    let file = segment::writable()
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| AuditError::io(&path, &e))?;
    let fatal = |what| move |e: std::io::Error| AuditError::fatal(what, &path, &e);
    file.set_len(listed.end).map_err(fatal.clone()("cutting"))?;
    if let Err(error) = file.write_all_at(text.as_bytes(), begin) {
        if !is_full(&error) {
            return Err(fatal("writing")(error));
        }
        file.set_len(listed.end).map_err(fatal("cutting"))?;
        return Err(AuditError::Full);
    }
    file.sync_all().map_err(fatal("fsync of"))?;
    segment::sync_dir(&dir.join("checkpoints"))
}

fn list(dir: &Path) -> Result<Listed, AuditError> {
    let path = path(dir);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Listed::default()),
        Err(error) => return Err(AuditError::io(&path, &error)),
    };
    let mut listed = Listed::default();
    let mut begin = 0;
    // Body and signatures are separated by an empty line, and so are notes.
    while let Some(blank) = find_blank(&bytes, begin)
        && let Some(close) = find_blank(&bytes, blank)
    {
        let note = String::from_utf8_lossy(&bytes[begin..close - 1]).into_owned();
        listed.notes.push((begin as u64, note));
        begin = close;
    }
    listed.end = begin as u64;
    // A torn one may have the shape of a note.
    if let Some((begin, last)) = listed.notes.last()
        && Checkpoint::parse_unverified(last).is_err()
    {
        listed.end = *begin;
        listed.notes.pop();
    }
    Ok(listed)
}

/// The offset after the next empty line's end.
fn find_blank(bytes: &[u8], from: usize) -> Option<usize> {
    let at = bytes
        .get(from..)?
        .windows(2)
        .position(|two| two == b"\n\n")?;
    Some(from + at + 2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    use super::*;
    use crate::audit::hash::Hash;

    fn note(size: u64) -> String {
        let head = Checkpoint {
            origin: "pentad/test".to_owned(),
            size,
            root: Hash([7; 32]),
        };
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let signature = key.sign(head.body().unwrap().as_bytes());
        head.with_signature("pentad/test", key.public_key().as_ref(), signature.as_ref())
            .unwrap()
    }

    fn kept(dir: &Path) -> Vec<u64> {
        let notes = read(dir).unwrap();
        let size = |note: &String| Checkpoint::parse_unverified(note).unwrap().size;
        notes.iter().map(size).collect()
    }

    #[test]
    fn whatever_a_power_cut_leaves_of_the_last_note_the_others_stay_and_more_can_be_added() {
        for torn in 0..note(3).len() {
            // Cut off, the beginning lost, the end garbage.
            for shape in 0..3 {
                let dir = tempfile::tempdir().unwrap();
                let mut ledger = Ledger::default();
                for size in 1..=3 {
                    ledger.append(dir.path(), &note(size)).unwrap();
                }
                let file = path(dir.path());
                let mut bytes = fs::read(&file).unwrap();
                let begin = bytes.len() - note(3).len() - 1;
                match shape {
                    0 => bytes.truncate(begin + torn),
                    1 => bytes[begin..=begin + torn].fill(0),
                    _ => bytes[begin + torn..].fill(0xee),
                }
                fs::write(&file, &bytes).unwrap();
                assert_eq!(kept(dir.path()), [1, 2], "{shape} at {torn}");
                Ledger::default().append(dir.path(), &note(4)).unwrap();
                assert_eq!(kept(dir.path()), [1, 2, 4], "{shape} at {torn}");
            }
        }
    }

    #[test]
    fn a_damaged_note_that_has_others_behind_it_stays_to_be_seen() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::default();
        for size in 1..=3 {
            ledger.append(dir.path(), &note(size)).unwrap();
        }
        let file = path(dir.path());
        let mut bytes = fs::read(&file).unwrap();
        bytes[3] = 0;
        fs::write(&file, &bytes).unwrap();
        assert_eq!(read(dir.path()).unwrap().len(), 3);
        ledger.append(dir.path(), &note(4)).unwrap();
        assert_eq!(read(dir.path()).unwrap().len(), 4);
    }
}
