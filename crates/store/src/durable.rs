//! Directories whose names survive a power cut.
//!
//! An fsync of a file keeps its bytes, not its name: a name is on disk once its directory was
//! fsynced. `docs/durability.md` has the order for every file.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

/// Makes a directory that only its owner may enter, with those above it that are missing, and makes
/// their names durable.
///
/// One that is there already may have been made a moment ago by somebody whom the power left before
/// the fsync, so its name is made durable as well - unless the directory above may not be read: then
/// others made it, and others answer for it.
///
/// # Errors
/// The system's. After a failed fsync nothing is known of the name.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.as_os_str().is_empty() || dir == Path::new("/") {
        return Ok(());
    }
    let above = parent(dir);
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => return sync_dir(above),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_dir(above)?;
            DirBuilder::new().mode(0o700).create(dir)?;
            return sync_dir(above);
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        Err(_) if dir.is_dir() => {} // a volume's top, or on a read-only one
        Err(error) => return Err(error),
    }
    match sync_dir(above) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// The system's. It must not be tried again: the second fsync may succeed and mean nothing.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The directory that holds a path's name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn missing_directories_are_made_for_their_owner_only() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("a/b/c");
        make_dir(&dir).unwrap();
        make_dir(&dir).unwrap();
        for made in ["a", "a/b", "a/b/c"] {
            let mode = std::fs::metadata(top.path().join(made)).unwrap();
            assert_eq!(mode.permissions().mode() & 0o777, 0o700, "{made}");
        }
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let top = tempfile::tempdir().unwrap();
        std::fs::write(top.path().join("a"), "").unwrap();
        assert!(make_dir(&top.path().join("a")).is_err());
        assert!(make_dir(&top.path().join("a/b")).is_err());
    }

    #[test]
    fn a_name_alone_lies_in_the_working_directory() {
        assert_eq!(parent(Path::new("store")), Path::new("."));
        assert_eq!(parent(Path::new("/store")), Path::new("/"));
        assert_eq!(parent(Path::new("a/store")), Path::new("a"));
    }
}
