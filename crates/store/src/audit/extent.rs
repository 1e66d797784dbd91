//! How far the log reaches at one moment: what a backup copies of it.
//!
//! Segments are only ever appended to, so the first bytes of each stay what they are: whoever copies
//! them while the log goes on has the log of that moment.

use std::{fs, path::PathBuf};

use super::{AuditLog, Hash, error::AuditError, segment};

/// The log at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extent {
    /// How many records it has.
    pub size: u64,
    /// The root over them (RFC 9162).
    pub root: Hash,
    /// Its segments, the oldest first.
    pub segments: Vec<Part>,
}

/// The whole blocks at the beginning of a segment's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// The file's name in the log's directory.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// How many bytes of it are durable blocks.
    pub length: u64,
}

impl AuditLog {
    /// How far the log reaches now. All that it names is durable.
    ///
    /// # Errors
    /// [`AuditError::Io`] if a segment can't be looked at.
    pub fn extent(&self) -> Result<Extent, AuditError> {
        let (size, parts) = {
            let layout = self.shared.layout.read();
            let part = |first: &u64| {
                let length = layout.is_active(*first).then(|| layout.active.end());
                (segment::name(*first), layout.path(*first), length)
            };
            let parts: Vec<_> = layout.firsts.iter().map(part).collect();
            (layout.size, parts)
        };
        let whole = |path: &PathBuf| {
            let metadata = fs::metadata(path).map_err(|error| AuditError::io(path, &error))?;
            Ok::<u64, AuditError>(metadata.len())
        };
        let segments = parts
            .into_iter()
            .map(|(name, path, length)| {
                // A sealed segment ends where its file ends.
                let length = length.map_or_else(|| whole(&path), Ok)?;
                Ok(Part { name, path, length })
            })
            .collect::<Result<_, AuditError>>()?;
        let root = self.root(size)?;
        Ok(Extent {
            size,
            root,
            segments,
        })
    }
}

/// Whether a name is that of a segment's file, and nothing else: one that a backup names is made into
/// a path.
pub fn is_segment(name: &str) -> bool {
    segment::parse_name(name).is_some()
}
