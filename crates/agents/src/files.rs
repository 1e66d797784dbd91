//! Where Pentad may touch files of others: nowhere, until the operator names directories.
//!
//! A `.env` target and a consumer's file are written with the rights of Pentad's own account. Without
//! a list, whoever may bind a credential could overwrite any file that this account may write, and
//! whoever may make a target could guess at any that it may read.
//!
//! A path counts as where it leads to through symbolic links. Whoever may replace directories below
//! a named one can still redirect a write between the look and the use: name directories that only
//! the consumers' administrators may change.

use std::{
    io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use crate::Fault;

/// The directories below which files may be read and replaced. The default is none.
#[derive(Clone, Debug, Default)]
pub struct Directories(Arc<[PathBuf]>);

impl Directories {
    /// All below these; relative ones count for nothing.
    pub fn below<P: Into<PathBuf>>(directories: impl IntoIterator<Item = P>) -> Self {
        let absolute = directories
            .into_iter()
            .map(Into::into)
            .filter(|one| one.is_absolute());
        Self(absolute.collect())
    }

    /// The file that this path leads to, if it may be touched.
    pub async fn admit(&self, file: &str) -> Result<PathBuf, Fault> {
        let (all, path) = (self.clone(), PathBuf::from(file));
        let found = tokio::task::spawn_blocking(move || all.find(&path)).await;
        found.map_err(|_| Fault::internal("looking for a file was interrupted"))?
    }

    fn find(&self, file: &Path) -> Result<PathBuf, Fault> {
        let elsewhere = || {
            Fault::invalid(format!(
                "`{}` is not below a directory in which Pentad may touch files: its operator names \
                 these in `files.below` (PENTAD_FILES_BELOW)",
                file.display()
            ))
        };
        let plain = file.components().all(|part| part != Component::ParentDir);
        if !plain || !self.0.iter().any(|directory| below(file, directory)) {
            return Err(elsewhere());
        }
        let unreachable = |error: io::Error| Fault::Unavailable {
            message: format!("`{}`: {error}", file.display()),
        };
        let found = resolve(file).map_err(unreachable)?;
        let real = self
            .0
            .iter()
            .filter_map(|directory| directory.canonicalize().ok());
        match real.into_iter().any(|directory| below(&found, &directory)) {
            true => Ok(found),
            false => Err(elsewhere()),
        }
    }
}

fn below(file: &Path, directory: &Path) -> bool {
    file != directory && file.starts_with(directory)
}

/// Through symbolic links; the file itself may be missing, its directory not.
fn resolve(file: &Path) -> io::Result<PathBuf> {
    match (file.canonicalize(), file.parent(), file.file_name()) {
        (Err(error), Some(parent), Some(name)) if error.kind() == io::ErrorKind::NotFound => {
            Ok(parent.canonicalize()?.join(name))
        }
        (found, ..) => found,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nothing_may_be_touched_by_default() {
        assert!(Directories::default().find(Path::new("/tmp/x")).is_err());
    }

    #[test]
    fn only_what_leads_below_a_named_directory_may_be_touched() {
        let root = tempfile::tempdir().unwrap();
        let (inside, outside) = (root.path().join("in"), root.path().join("out"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("door")).unwrap();
        std::os::unix::fs::symlink(outside.join("file"), inside.join("link")).unwrap();
        let named = Directories::below([inside.clone()]);
        assert_eq!(
            named.find(&inside.join("new")).unwrap(),
            inside.canonicalize().unwrap().join("new")
        );
        for refused in ["door/file", "door/new", "link", "../out/file", ""] {
            let refused = inside.join(refused);
            assert!(
                matches!(named.find(&refused), Err(Fault::Invalid { .. })),
                "{}",
                refused.display()
            );
        }
        assert!(named.find(&outside.join("file")).is_err());
        assert!(named.find(Path::new("in/new")).is_err());
    }
}
