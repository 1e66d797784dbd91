//! What the disk does wrong on purpose.
//!
//! A *lie* is an fsync that is acknowledged and keeps nothing: for everybody above, it is as if the
//! program had forgotten to ask for it. A campaign that finds nothing then would find nothing ever.
//! A *failure* is an fsync that says EIO, once.

use clap::ValueEnum;

/// Files that lie or fail together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// Directories: their names.
    Directories,
    /// The audit log's segments.
    Segments,
    /// The levels of the audit log's tree.
    Tree,
    /// The audit log's own copies of its checkpoints.
    Checkpoints,
    /// SQLite's write-ahead log.
    Wal,
    /// SQLite's database file, at its checkpoints.
    Database,
    /// The same, while it is made.
    NewDatabase,
    /// The root key's file, while it is made.
    Key,
    /// All of them.
    Everything,
}

impl Kind {
    /// Whether it is written by `pentad init` alone.
    pub fn is_made_once(self) -> bool {
        matches!(self, Self::NewDatabase | Self::Key)
    }

    /// Whether a file or directory is of this kind, by the name it has when it is synced.
    fn holds(self, title: &str, directory: bool) -> bool {
        match self {
            Self::Directories => directory,
            Self::Everything => true,
            _ if directory => false,
            Self::Segments => title.starts_with("segment-"),
            Self::Tree => title.starts_with("level-"),
            Self::Checkpoints => title.starts_with("checkpoints.log"),
            Self::Wal => title.ends_with("-wal"),
            Self::Database => title == "pentad.db",
            Self::NewDatabase => title == "pentad.db.new",
            Self::Key => title.starts_with(".pentad-key-") || title == "master.key",
        }
    }
}

/// See the [module](self).
#[derive(Clone, Default, Debug)]
pub struct Faults {
    /// Whose fsyncs are acknowledged for nothing.
    pub lie: Option<Kind>,
    /// Whose fsync fails, once, after so many that succeeded.
    pub fail: Option<(Kind, u64)>,
    /// The file whose fsync failed.
    pub failed: Option<String>,
    /// Whether that was synced once more.
    pub again: bool,
}

impl Faults {
    /// Whether the fsync of this file is to be acknowledged for nothing.
    pub fn lies(&self, title: &str, directory: bool) -> bool {
        self.lie.is_some_and(|kind| kind.holds(title, directory))
    }

    /// Whether the fsync of this file is to fail now.
    pub fn fails(&mut self, title: &str, directory: bool) -> bool {
        self.again |= self.failed.as_deref() == Some(title);
        let Some((kind, after)) = &mut self.fail else {
            return false;
        };
        if !kind.holds(title, directory) {
            return false;
        }
        if *after > 0 {
            *after -= 1;
            return false;
        }
        self.fail = None;
        self.failed = Some(title.to_owned());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fsync_of_the_kind_fails_after_those_that_were_to_succeed() {
        let mut faults = Faults {
            fail: Some((Kind::Wal, 1)),
            ..Faults::default()
        };
        assert!(!faults.fails("pentad.db", false));
        assert!(!faults.fails("pentad.db-wal", false));
        assert!(faults.fails("pentad.db-wal", false));
        assert!(!faults.again);
        assert!(!faults.fails("pentad.db-wal", false), "once");
        assert_eq!(faults.failed.as_deref(), Some("pentad.db-wal"));
        assert!(faults.again);
    }

    #[test]
    fn directories_are_told_from_files() {
        assert!(Kind::Directories.holds("", true));
        assert!(!Kind::Directories.holds("pentad.db", false));
        assert!(!Kind::Segments.holds("segment-0000000000000000.log", true));
        assert!(Kind::Segments.holds("segment-0000000000000000.log", false));
    }
}
