//! The key file, `master.key`, on disk; its one line of text is in `text.rs`.
//!
//! What always holds: the file appears under its name whole and on disk, or not at all; an existing
//! one is never overwritten. What is refused on reading: a symbolic link, anything but a regular
//! file, another user's file, one that group or others can touch.

mod text;

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use pentad_model::id::Entropy;
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags},
    io::Errno,
    process::geteuid,
};
use zeroize::Zeroizing;

use self::text::Fault;
use super::RootKey;

/// Longer than any key file of ours; what is longer is not read to its end.
const MAX_FILE: u64 = 512;

/// Why a key file was not read or made. Each message says what to do; none holds key material.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is none.
    #[error("there is no key file at {path}; name the right one, or restore it from its backup")]
    Missing {
        /// Where it was sought.
        path: PathBuf,
    },
    /// One is there already; it is never overwritten.
    #[error("{path} exists already and is never overwritten; name another place")]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// A symbolic link: whoever may change the link chooses the key.
    #[error("{path} is a symbolic link; name the key file itself")]
    Symlink {
        /// Where.
        path: PathBuf,
    },
    /// A directory, device, pipe or socket.
    #[error("{path} is not a regular file; name the key file itself")]
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// Group or others have rights on it.
    #[error("{path} is open to other users (mode {mode:04o}); run: chmod 600 {path}")]
    Permissions {
        /// Where.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error(
        "{path} belongs to user id {owner}, not to {expected} who runs this; run as its owner, or: \
         chown {expected} {path}"
    )]
    Owner {
        /// Where.
        path: PathBuf,
        /// The user id that owns it.
        owner: u32,
        /// The user id of this process.
        expected: u32,
    },
    /// It does not begin as a key file does.
    #[error("{path} is not a Pentad key file; name the right file")]
    NotAKeyFile {
        /// Where.
        path: PathBuf,
    },
    /// A later version of Pentad wrote it.
    #[error("{path} has a format this version does not know; upgrade Pentad")]
    UnknownVersion {
        /// Where.
        path: PathBuf,
    },
    /// It was a key file, and is incomplete or altered.
    #[error("{path} is damaged (its checksum does not match); restore it from its backup")]
    Damaged {
        /// Where.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Writes a new key file: a private temporary file first, synced, then moved to its name without
/// replacing anything, then the directory synced. Only then may anything be sealed with it.
///
/// # Errors
/// [`KeyFileError::Exists`] if there is one; [`KeyFileError::Io`] with the system's reason. After
/// an error there is no key file that was not there before.
pub fn create(path: &Path, root: &RootKey, entropy: &dyn Entropy) -> Result<(), KeyFileError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists {
            path: path.to_owned(),
        },
        _ => KeyFileError::Io {
            path: path.to_owned(),
            source,
        },
    };
    let name = path.file_name().ok_or_else(|| KeyFileError::NotAFile {
        path: path.to_owned(),
    })?;
    let directory = open_directory(path).map_err(|e| failed(e.into()))?;
    let temporary = Temporary::create(&directory, entropy).map_err(failed)?;
    temporary
        .write(text::encode(root).as_bytes())
        .map_err(failed)?;
    temporary.persist(name).map_err(failed)?;
    rustix::fs::fsync(&directory).map_err(|error| {
        // Whether its name is on disk is not known, and a second fsync would not tell: a key that
        // seals nothing yet is better made anew.
        let _ = rustix::fs::unlinkat(&directory, name, AtFlags::empty());
        failed(error.into())
    })
}

/// Reads a key file that an earlier process made, for a store that nothing is sealed in yet: as
/// [`read`], and it is on disk under its name when this returns. That process may have ended between
/// the two.
///
/// # Errors
/// As [`read`]; [`KeyFileError::Io`] if it can't be synced.
pub fn adopt(path: &Path) -> Result<RootKey, KeyFileError> {
    let root = read(path)?;
    let failed = |source: io::Error| KeyFileError::Io {
        path: path.to_owned(),
        source,
    };
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(failed)?;
    let directory = open_directory(path).map_err(|e| failed(e.into()))?;
    match rustix::fs::fsync(&directory) {
        // A directory that is no place to write in, such as a read-only volume with the key.
        Ok(()) | Err(Errno::ROFS | Errno::INVAL) => Ok(root),
        Err(error) => Err(failed(error.into())),
    }
}

/// Reads a key file.
///
/// # Errors
/// See [`KeyFileError`]; everything the module refuses has its variant.
pub fn read(path: &Path) -> Result<RootKey, KeyFileError> {
    let at = || path.to_owned();
    // NONBLOCK: opening a pipe must not wait for its writer. It means nothing for a regular file.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| match e {
        Errno::NOENT => KeyFileError::Missing { path: at() },
        Errno::LOOP => KeyFileError::Symlink { path: at() },
        other => KeyFileError::Io {
            path: at(),
            source: other.into(),
        },
    })?;
    // All checks are on the open file, so that it can't be exchanged between check and use.
    let stat = rustix::fs::fstat(&file).map_err(|e| KeyFileError::Io {
        path: at(),
        source: e.into(),
    })?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(KeyFileError::NotAFile { path: at() });
    }
    let expected = geteuid().as_raw();
    if stat.st_uid != expected {
        return Err(KeyFileError::Owner {
            path: at(),
            owner: stat.st_uid,
            expected,
        });
    }
    let mode = stat.st_mode & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Permissions { path: at(), mode });
    }
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize + 1));
    File::from(file)
        .take(MAX_FILE)
        .read_to_end(&mut text)
        .map_err(|source| KeyFileError::Io { path: at(), source })?;
    text::decode(&text).map_err(|fault| match fault {
        Fault::NotAKeyFile => KeyFileError::NotAKeyFile { path: at() },
        Fault::UnknownVersion => KeyFileError::UnknownVersion { path: at() },
        Fault::Damaged => KeyFileError::Damaged { path: at() },
    })
}

fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    rustix::fs::openat(
        CWD,
        parent,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// A file of ours alone that disappears unless it is persisted.
struct Temporary<'a> {
    directory: &'a OwnedFd,
    name: String,
    file: OwnedFd,
    kept: bool,
}

impl<'a> Temporary<'a> {
    fn create(directory: &'a OwnedFd, entropy: &dyn Entropy) -> io::Result<Self> {
        let mut random = [0; 8];
        entropy.fill(&mut random);
        let name = format!(".pentad-key-{}.tmp", hex::encode(random));
        let file = rustix::fs::openat(
            directory,
            &name,
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )?;
        Ok(Self {
            directory,
            name,
            file,
            kept: false,
        })
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::from(self.file.try_clone()?);
        // A umask may have taken the owner's own rights; the mode is exactly this.
        rustix::fs::fchmod(&self.file, Mode::RUSR | Mode::WUSR)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// Gives it its name, unless that is taken.
    fn persist(mut self, name: &OsStr) -> io::Result<()> {
        let (directory, from) = (self.directory, self.name.as_str());
        match rustix::fs::renameat_with(directory, from, directory, name, RenameFlags::NOREPLACE) {
            Ok(()) => self.kept = true,
            // Some file systems (NFS, older FUSE) can't; a hard link never replaces either, and
            // dropping `self` removes the first name.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                rustix::fs::linkat(directory, from, directory, name, AtFlags::empty())?;
            }
            Err(other) => return Err(other.into()),
        }
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // Best effort: what stays behind is private, and never read.
            let _ = rustix::fs::unlinkat(self.directory, &self.name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;
    use crate::testing::SeededEntropy;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }
        fn key(&self) -> PathBuf {
            self.0.path().join("master.key")
        }
        fn with_key(seed: u64) -> (Self, RootKey) {
            let place = Self::new();
            let entropy = SeededEntropy::new(seed);
            let root = RootKey::generate(&entropy);
            create(&place.key(), &root, &entropy).unwrap();
            (place, root)
        }
        fn chmod(&self, mode: u32) {
            fs::set_permissions(self.key(), fs::Permissions::from_mode(mode)).unwrap();
        }
        fn error(&self) -> KeyFileError {
            read(&self.key()).err().expect("must be refused")
        }
    }

    #[test]
    fn a_created_key_reads_back_and_is_private_and_leaves_nothing_else() {
        let (place, root) = Place::with_key(1);
        assert!(read(&place.key()).unwrap().0 == root.0);
        let mode = fs::metadata(place.key()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_earlier_key_is_adopted_as_it_is() {
        let (place, root) = Place::with_key(8);
        assert!(adopt(&place.key()).unwrap().0 == root.0);
        place.chmod(0o644);
        assert!(matches!(
            adopt(&place.key()).err(),
            Some(KeyFileError::Permissions { .. })
        ));
    }

    #[test]
    fn an_existing_file_is_never_overwritten() {
        let (place, root) = Place::with_key(2);
        let entropy = SeededEntropy::new(3);
        let error = create(&place.key(), &RootKey::generate(&entropy), &entropy).unwrap_err();
        assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
        assert!(read(&place.key()).unwrap().0 == root.0);
        assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_dangling_link_in_its_place_is_not_followed_on_creation() {
        let place = Place::new();
        let elsewhere = place.0.path().join("elsewhere");
        symlink(&elsewhere, place.key()).unwrap();
        let entropy = SeededEntropy::new(4);
        let error = create(&place.key(), &RootKey::generate(&entropy), &entropy).unwrap_err();
        assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
        assert!(!elsewhere.exists());
    }

    #[test]
    fn group_and_others_must_have_no_rights() {
        let (place, _) = Place::with_key(5);
        for mode in [0o640, 0o604, 0o620, 0o601, 0o666] {
            place.chmod(mode);
            let error = place.error();
            assert!(
                matches!(error, KeyFileError::Permissions { .. }),
                "{mode:o}: {error}"
            );
            assert!(error.to_string().contains("chmod 600"));
        }
        place.chmod(0o400);
        assert!(read(&place.key()).is_ok());
    }

    #[test]
    fn links_directories_and_pipes_are_refused() {
        let (place, _) = Place::with_key(6);
        let link = place.0.path().join("link");
        symlink(place.key(), &link).unwrap();
        assert!(matches!(read(&link), Err(KeyFileError::Symlink { .. })));
        assert!(matches!(
            read(place.0.path()),
            Err(KeyFileError::NotAFile { .. })
        ));
        let pipe = place.0.path().join("pipe");
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(read(&pipe), Err(KeyFileError::NotAFile { .. })));
    }

    #[test]
    fn another_users_file_is_refused() {
        let (place, _) = Place::with_key(7);
        if std::os::unix::fs::chown(place.key(), Some(65_534), None).is_err() {
            // Only the superuser can give a file away; then /proc's own is somebody else's.
            let foreign = Path::new("/proc/1/cmdline");
            assert!(matches!(read(foreign), Err(KeyFileError::Owner { .. })));
            return;
        }
        assert!(matches!(
            place.error(),
            KeyFileError::Owner { owner: 65_534, .. }
        ));
    }

    #[test]
    fn a_missing_file_says_so() {
        assert!(matches!(Place::new().error(), KeyFileError::Missing { .. }));
    }
}
