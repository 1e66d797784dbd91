//! Backups read back: an increment with all that it rests on, down to a full one.
//!
//! Opening a chain reads every file to its end, opens every frame in its place, and finds every block
//! that the newest recipe names. Nothing of a file is handed out before that. Memory: a frame or a
//! few, and some hundred bytes for each block.

use std::{
    collections::{HashMap, VecDeque},
    fs::{self, File},
    io::{BufReader, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use pentad_keys::{
    Keyring,
    framed::{FileError, FileKey, Prelude, Raw, Sort, address},
};
use pentad_model::Id;

use super::{
    BLOCKS, EXTENSION, MANIFEST, RECIPE,
    assemble::{Digest, digests},
    blocks::{self, Content},
    header::{Header, Manifest},
};
use crate::Fault;

/// The most files that a chain has: a year of daily increments.
const LONGEST: usize = 400;
/// Frames that are kept open: blocks come mostly in the order of their file.
const KEPT: usize = 8;

/// Why nothing is restored from a file.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// It can't be read.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// It is something else.
    #[error("{path} is no pentad backup")]
    NotABackup {
        /// Which file.
        path: PathBuf,
    },
    /// A later version of Pentad wrote it.
    #[error("{path}: {reason}")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// What is known of it.
        reason: String,
    },
    /// It was cut off, or is not finished.
    #[error("{path} is cut off: its end is missing; use another copy of it, or an earlier backup")]
    CutOff {
        /// Which file.
        path: PathBuf,
    },
    /// It was altered since it was written.
    #[error(
        "{path} is damaged, for it was altered since it was written: {what}; use another copy of it, \
         or an earlier backup"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It belongs to another root key.
    #[error("{path} is of another store: it was made under another root key")]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// It is an increment, and what it rests on is not there.
    #[error(
        "{path} is an increment of backup {parent}, which is not beside it; put that file into the \
         same directory"
    )]
    NoParent {
        /// Which file.
        path: PathBuf,
        /// The backup that it is an increment of.
        parent: Id,
    },
}

/// What can be told of a file without a key: not to be believed.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Its header.
    pub header: Header,
    /// Whether it holds the root key under a passphrase.
    pub note: Vec<u8>,
}

/// Looks at a file's beginning.
///
/// # Errors
/// [`ChainError`].
pub fn look(path: &Path) -> Result<Listed, ChainError> {
    let (_, listed, _) = begin(path)?;
    Ok(listed)
}

/// The backups in a directory, the oldest first; other files are passed over.
///
/// # Errors
/// [`ChainError::Io`].
pub fn list(dir: &Path) -> Result<Vec<Listed>, ChainError> {
    let failed = |error| ChainError::Io {
        path: dir.to_owned(),
        error,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|it| it == EXTENSION)
            && let Ok(listed) = look(&path)
        {
            found.push(listed);
        }
    }
    found.sort_by_key(|it| (it.header.taken_at, it.header.id));
    Ok(found)
}

fn begin(path: &Path) -> Result<(File, Listed, u64), ChainError> {
    let io = |error| ChainError::Io {
        path: path.to_owned(),
        error,
    };
    let mut file = File::open(path).map_err(io)?;
    let prelude = Prelude::read(Sort::Backup, &mut file).map_err(|error| said(path, error))?;
    let header = Header::parse(&prelude.header).map_err(|fault| match fault {
        Fault::Invalid { message } => ChainError::Newer {
            path: path.to_owned(),
            reason: message,
        },
        _ => damaged(path, "its header can't be read"),
    })?;
    let at = file.stream_position().map_err(io)?;
    let listed = Listed {
        path: path.to_owned(),
        size: file.metadata().map_err(io)?.len(),
        header,
        note: prelude.note,
    };
    Ok((file, listed, at))
}

fn said(path: &Path, error: FileError) -> ChainError {
    let path = path.to_owned();
    match error {
        FileError::NotOurs => ChainError::NotABackup { path },
        FileError::Newer { .. } => ChainError::Newer {
            path,
            reason: error.to_string(),
        },
        FileError::CutOff => ChainError::CutOff { path },
        FileError::Damaged { what } => damaged(&path, what),
        FileError::Io(error) => ChainError::Io { path, error },
    }
}

fn damaged(path: &Path, what: impl Into<String>) -> ChainError {
    ChainError::Damaged {
        path: path.to_owned(),
        what: what.into(),
    }
}

/// A backup with all that it rests on, every byte of it opened once.
pub struct Chain {
    /// The newest first.
    files: Vec<Open>,
    recipe: Vec<u8>,
    manifest: Manifest,
    spots: HashMap<Digest, Spot>,
    kept: VecDeque<Kept>,
}

/// An opened frame, by its file and its number.
type Kept = ((u32, u32), Arc<Vec<u8>>);

/// A file that was read to its end.
struct Open {
    listed: Listed,
    file: File,
    key: FileKey,
    /// Where each frame is, and how long.
    frames: Vec<(u64, u32)>,
}

/// Where a block is.
#[derive(Clone, Copy)]
struct Spot {
    file: u32,
    frame: u32,
    offset: u32,
    length: u32,
}

impl Chain {
    /// Opens a backup; its parents are looked for beside it. `progress` is told how many bytes have
    /// been read.
    ///
    /// # Errors
    /// [`ChainError`]; then nothing of it is to be used.
    pub fn open(
        newest: &Path,
        keyring: &Keyring,
        progress: &dyn Fn(u64),
    ) -> Result<Self, ChainError> {
        let (mut files, mut spots) = (Vec::new(), HashMap::new());
        let (mut path, mut read, mut top) = (newest.to_owned(), 0, None);
        loop {
            let number = u32::try_from(files.len()).unwrap_or(u32::MAX);
            let (file, recipe, manifest) = Open::read(&path, number, keyring, &mut spots, &|at| {
                progress(read + at);
            })?;
            read += file.listed.size;
            let parent = file.listed.header.parent;
            let log = file.listed.header.log.clone();
            files.push(file);
            top.get_or_insert((recipe, manifest));
            let Some(parent) = parent else { break };
            let missing = ChainError::NoParent {
                path: path.clone(),
                parent,
            };
            if files.len() >= LONGEST {
                return Err(missing);
            }
            let beside = match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
                Some(dir) => list(dir)?,
                None => list(Path::new("."))?,
            };
            let found = beside.into_iter().find(|it| it.header.id == parent);
            path = found.ok_or(missing)?.path;
            let known = |it: &Open| it.listed.header.id == parent;
            if files.iter().any(known) {
                return Err(damaged(&path, "it is an increment of itself"));
            }
            if look(&path)?.header.log != log {
                return Err(damaged(&path, "it is of another store than its increment"));
            }
        }
        let (recipe, manifest) = top.ok_or_else(|| damaged(newest, "there is nothing in it"))?;
        let chain = Self {
            files,
            recipe,
            manifest,
            spots,
            kept: VecDeque::new(),
        };
        for digest in chain.digests()? {
            if !chain.spots.contains_key(&digest) {
                return Err(damaged(newest, "a part is in none of its files"));
            }
        }
        Ok(chain)
    }

    /// The newest backup's header, which was found authentic.
    ///
    /// # Panics
    /// Never: a chain has a file.
    pub fn header(&self) -> &Header {
        &self.files[0].listed.header
    }

    /// What it holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How many files it is made of.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Bytes of all of its files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.listed.size).sum()
    }

    fn digests(&self) -> Result<impl Iterator<Item = Digest> + '_, ChainError> {
        let path = &self.files[0].listed.path;
        digests(&self.recipe).map_err(|fault| damaged(path, fault.to_string()))
    }

    /// Hands out each block of the backup in order.
    ///
    /// # Errors
    /// [`Fault::Damaged`] for a file that changes under our hands, and whatever `each` says.
    pub fn each(
        &mut self,
        each: &mut dyn FnMut(Content) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let order: Vec<Digest> = digests(&self.recipe)?.collect();
        for digest in order {
            let block = self.block(&digest).ok_or_else(|| Fault::Damaged {
                message: "the backup was altered while it was read; use another copy".to_owned(),
            })?;
            each(blocks::read(&block)?)?;
        }
        Ok(())
    }

    fn block(&mut self, digest: &Digest) -> Option<Vec<u8>> {
        let spot = *self.spots.get(digest)?;
        let key = (spot.file, spot.frame);
        let frame = match self.kept.iter().find(|(known, _)| *known == key) {
            Some((_, frame)) => Arc::clone(frame),
            None => {
                let file = self.files.get(spot.file as usize)?;
                let frame = Arc::new(file.frame(spot.frame)?);
                if self.kept.len() >= KEPT {
                    self.kept.pop_front();
                }
                self.kept.push_back((key, Arc::clone(&frame)));
                frame
            }
        };
        let begin = spot.offset as usize;
        let block = frame.get(begin..begin + spot.length as usize)?;
        (address(block) == *digest).then(|| block.to_vec())
    }
}

impl Open {
    /// Reads a file from its beginning to its end; notes where its blocks are. Answers its recipe and
    /// its manifest too.
    fn read(
        path: &Path,
        number: u32,
        keyring: &Keyring,
        spots: &mut HashMap<Digest, Spot>,
        progress: &dyn Fn(u64),
    ) -> Result<(Self, Vec<u8>, Manifest), ChainError> {
        let (file, listed, mut at) = begin(path)?;
        if listed.header.check != keyring.root_check() {
            return Err(ChainError::Foreign {
                path: path.to_owned(),
            });
        }
        let bad = |what: &str| damaged(path, what);
        let key = file_key(keyring, path, &file, &listed)?;
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        reader
            .seek(SeekFrom::Start(at))
            .map_err(|error| said(path, error.into()))?;
        let (mut frames, mut recipe, mut found) = (Vec::new(), Vec::new(), 0);
        let (mut begins, mut before) = (None, BLOCKS);
        let manifest = loop {
            let raw = Raw::read(&mut reader).map_err(|error| said(path, error))?;
            let raw = raw.ok_or_else(|| ChainError::CutOff {
                path: path.to_owned(),
            })?;
            let frame = frames.len() as u64;
            let opened = key.open(frame, &raw.bytes);
            let (place, plain) = opened
                .map_err(|_| bad(&format!("its part {frame}, at byte {at}, does not open")))?;
            frames.push((at, u32::try_from(raw.bytes.len()).unwrap_or(u32::MAX)));
            at += raw.bytes.len() as u64;
            progress(at);
            if place.kind < before || place.last != (place.kind == MANIFEST) {
                return Err(bad("its parts are not in their order"));
            }
            before = place.kind;
            match place.kind {
                BLOCKS => {
                    let here = |offset: usize, length: usize| {
                        Some(Spot {
                            file: number,
                            frame: u32::try_from(frame).ok()?,
                            offset: u32::try_from(offset).ok()?,
                            length: u32::try_from(length).ok()?,
                        })
                    };
                    found += note(plain.expose(), &here, spots)
                        .ok_or_else(|| bad("a part is not made of blocks"))?;
                }
                RECIPE => {
                    begins.get_or_insert(frame);
                    recipe.extend_from_slice(plain.expose());
                }
                MANIFEST => {
                    let manifest: Manifest = serde_json::from_slice(plain.expose())
                        .map_err(|_| bad("its manifest can't be read"))?;
                    break manifest;
                }
                _ => return Err(bad("it has parts of an unknown sort")),
            }
        };
        if Raw::read(&mut reader).map_or(true, |more| more.is_some()) {
            return Err(bad("something follows its end"));
        }
        let holds = manifest.new_blocks == found
            && manifest.blocks == recipe.len() as u64 / 32
            && begins.unwrap_or(manifest.recipe_from) == manifest.recipe_from
            && manifest.recipe == hex::encode(address(&recipe));
        if !holds {
            return Err(bad("its manifest says otherwise than its content"));
        }
        let open = Self {
            listed,
            file,
            key,
            frames,
        };
        Ok((open, recipe, manifest))
    }

    fn frame(&self, number: u32) -> Option<Vec<u8>> {
        let (at, length) = *self.frames.get(number as usize)?;
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, at).ok()?;
        let (_, plain) = self.key.open(number.into(), &bytes).ok()?;
        Some(plain.expose().to_vec())
    }
}

/// The key for a file's frames, bound to its header's very bytes.
fn file_key(
    keyring: &Keyring,
    path: &Path,
    file: &File,
    listed: &Listed,
) -> Result<FileKey, ChainError> {
    let bad = |what: &str| damaged(path, what);
    let mut start = file;
    let prelude = start
        .seek(SeekFrom::Start(0))
        .map_err(|error| said(path, error.into()))
        .and_then(|_| Prelude::read(Sort::Backup, &mut start).map_err(|error| said(path, error)))?;
    let salt = listed.header.salt();
    let salt = salt.map_err(|_| bad("its header can't be read"))?;
    keyring
        .backup_key(&salt, &prelude.header)
        .map_err(|error| bad(&error.to_string()))
}

/// Notes the blocks of a frame; how many there are, or `None` if it is not made of blocks.
fn note(
    frame: &[u8],
    here: &dyn Fn(usize, usize) -> Option<Spot>,
    spots: &mut HashMap<Digest, Spot>,
) -> Option<u64> {
    let (mut at, mut count) = (0, 0);
    while at < frame.len() {
        let length = frame.get(at..)?.first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let block = frame.get(at + 4..)?.get(..length)?;
        spots.entry(address(block)).or_insert(here(at + 4, length)?);
        at += 4 + length;
        count += 1;
    }
    Some(count)
}
