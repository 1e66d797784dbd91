//! The log's own copies of its checkpoints: `checkpoints/checkpoints.log`, signed notes one after
//! the other, each followed by an empty line.
//!
//! They serve whoever asks for the latest one. They prove nothing: who can change the log can
//! change them. What proves is a copy kept elsewhere.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{checkpoint::Checkpoint, error::AuditError, segment};

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("checkpoints").join("checkpoints.log")
}

/// All whole notes, oldest first, and the length of the file up to the last of them.
///
/// Some 250 bytes each; the caller reads them all at once. A note cut short by a crash at the end
/// is left out.
pub(super) fn read(dir: &Path) -> Result<(Vec<String>, u64), AuditError> {
    let path = path(dir);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(error) => return Err(AuditError::io(&path, &error)),
    };
    let (mut notes, mut end) = (Vec::new(), 0);
    let mut parts = String::from_utf8_lossy(&bytes).into_owned();
    // Body and signatures are separated by an empty line, and so are notes.
    while let Some(blank) = parts.find("\n\n")
        && let Some(close) = parts[blank + 2..].find("\n\n")
    {
        let length = blank + 2 + close + 2;
        let rest = parts.split_off(length);
        parts.truncate(length - 1);
        notes.push(parts);
        end += length as u64;
        parts = rest;
    }
    Ok((notes, end))
}

/// Adds a note, durable when it returns. The caller serialises calls.
pub(super) fn append(dir: &Path, note: &str) -> Result<(), AuditError> {
    // A note of another shape would swallow its neighbours.
    Checkpoint::parse_unverified(note)?;
    let path = path(dir);
    segment::make_dir(&dir.join("checkpoints"))?;
    let (_, end) = read(dir)?;
    let attempt = || {
        let file = segment::writable()
            .create(true)
            .truncate(false)
            .open(&path)?;
        file.set_len(end)?;
        file.write_all_at(format!("{note}\n").as_bytes(), end)?;
        file.sync_all()
    };
    attempt().map_err(|e| AuditError::io(&path, &e))?;
    segment::sync_dir(&dir.join("checkpoints"))
}
