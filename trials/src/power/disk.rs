//! A disk that remembers what is durable.
//!
//! Every file and directory exists twice: as processes see it *now*, which is what a page cache
//! would show, and as it was *kept* at its last fsync. Between the two lies a list of what happened
//! since. An fsync applies a file's part of that list to what is kept; a power cut applies whatever
//! part chance says (see [`weather`](super::weather)).
//!
//! The reading of POSIX is the strict one:
//!
//! * An fsync or fdatasync of a file keeps its bytes and its length, and nothing else: not its name.
//! * A name (made, removed, renamed, linked) is kept by an fsync of its directory and by nothing
//!   else. ext4 and XFS keep a new file's name with the file; a program must not rely on it.
//! * A rename is one event: both of its names change or neither does.
//! * Nothing is kept by waiting, by closing, or because something later was.
//!
//! A failed fsync of a file is Linux's: what was to be written counts as written from then on, is
//! still shown to readers, and no later fsync has anything to write. It is gone at the cut. Of a
//! directory it is a journal's: the names stay unkept until a later fsync succeeds, for a file system
//! that can't write its journal stops altogether and forgets nothing quietly.

use std::collections::BTreeMap;

use super::weather::Weather;

/// A file's or directory's number.
pub type Ino = u64;

/// The top directory.
pub const ROOT: Ino = 1;

/// The order in which things happened.
pub type Stamp = u64;

/// What was done to a file's content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// Bytes were written at an offset.
    Write {
        /// Where.
        at: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// The length was set: cut, or grown with zeros.
    Resize(u64),
    /// Permission bits.
    Mode(u16),
}

/// A file's content and rights.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Content {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u16,
}

impl Content {
    /// Carries an edit out.
    pub fn apply(&mut self, edit: &Edit) {
        match edit {
            Edit::Write { at, bytes } => {
                let (at, end) = (*at as usize, *at as usize + bytes.len());
                if self.bytes.len() < end {
                    self.bytes.resize(end, 0);
                }
                self.bytes[at..end].copy_from_slice(bytes);
            }
            Edit::Resize(length) => self.bytes.resize(*length as usize, 0),
            Edit::Mode(mode) => self.mode = *mode,
        }
    }
}

/// The names in a directory.
pub type Names = BTreeMap<String, Ino>;

#[derive(Clone, Debug)]
enum Body {
    File {
        now: Content,
        kept: Content,
        since: Vec<(Stamp, Edit)>,
    },
    Directory {
        now: Names,
        kept: Names,
        mode: u16,
    },
}

/// A change of names that happens whole or not at all: `None` takes a name away.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Naming {
    at: Stamp,
    parts: Vec<(Ino, String, Option<Ino>)>,
}

/// Why an operation was refused: the errors that a program can meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// `ENOENT`.
    Missing,
    /// `EEXIST`.
    Exists,
    /// `ENOTDIR`.
    NotADirectory,
    /// `EISDIR`.
    IsADirectory,
    /// `ENOTEMPTY`.
    NotEmpty,
}

type Done<T> = Result<T, Refusal>;

/// What `stat` shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// Its number.
    pub ino: Ino,
    /// Whether it is a directory.
    pub directory: bool,
    /// Length in bytes.
    pub length: u64,
    /// Permission bits.
    pub mode: u16,
    /// How many names it has.
    pub links: u32,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Disk {
    nodes: BTreeMap<Ino, Body>,
    /// The last name that each file had, so that a file can be told by its name.
    titles: BTreeMap<Ino, String>,
    namings: Vec<Naming>,
    next: Ino,
    clock: Stamp,
}

impl Default for Disk {
    fn default() -> Self {
        let top = Body::Directory {
            now: Names::new(),
            kept: Names::new(),
            mode: 0o700,
        };
        Self {
            nodes: BTreeMap::from([(ROOT, top)]),
            titles: BTreeMap::new(),
            namings: Vec::new(),
            next: ROOT + 1,
            clock: 0,
        }
    }
}

impl Disk {
    /// What a name leads to.
    pub fn lookup(&self, directory: Ino, name: &str) -> Done<Ino> {
        let names = self.names(directory)?;
        names.get(name).copied().ok_or(Refusal::Missing)
    }

    /// The names in a directory, as seen now.
    pub fn names(&self, directory: Ino) -> Done<&Names> {
        match self.nodes.get(&directory) {
            Some(Body::Directory { now, .. }) => Ok(now),
            Some(Body::File { .. }) => Err(Refusal::NotADirectory),
            None => Err(Refusal::Missing),
        }
    }

    /// What `stat` shows now.
    pub fn status(&self, ino: Ino) -> Done<Status> {
        let (directory, length, mode) = match self.nodes.get(&ino).ok_or(Refusal::Missing)? {
            Body::File { now, .. } => (false, now.bytes.len() as u64, now.mode),
            Body::Directory { mode, .. } => (true, 4096, *mode),
        };
        Ok(Status {
            ino,
            directory,
            length,
            mode,
            links: 1 + u32::from(directory),
        })
    }

    /// The last name that a file had; nothing for the top directory.
    pub fn title(&self, ino: Ino) -> &str {
        self.titles.get(&ino).map_or("", String::as_str)
    }

    /// A file's content, as seen now.
    pub fn content(&self, ino: Ino) -> Done<&[u8]> {
        match self.nodes.get(&ino) {
            Some(Body::File { now, .. }) => Ok(&now.bytes),
            Some(Body::Directory { .. }) => Err(Refusal::IsADirectory),
            None => Err(Refusal::Missing),
        }
    }

    /// Makes a file or directory under a free name.
    pub fn make(&mut self, parent: Ino, name: &str, directory: bool, mode: u16) -> Done<Ino> {
        if self.names(parent)?.contains_key(name) {
            return Err(Refusal::Exists);
        }
        let ino = self.next;
        self.next += 1;
        let body = match directory {
            true => Body::Directory {
                now: Names::new(),
                kept: Names::new(),
                mode,
            },
            false => {
                let empty = Content {
                    bytes: Vec::new(),
                    mode,
                };
                Body::File {
                    now: empty.clone(),
                    kept: empty,
                    since: Vec::new(),
                }
            }
        };
        self.nodes.insert(ino, body);
        self.name(vec![(parent, name.to_owned(), Some(ino))]);
        Ok(ino)
    }

    /// Gives a file one more name.
    pub fn link(&mut self, ino: Ino, parent: Ino, name: &str) -> Done<()> {
        if self.names(parent)?.contains_key(name) {
            return Err(Refusal::Exists);
        }
        self.content(ino)?;
        self.name(vec![(parent, name.to_owned(), Some(ino))]);
        Ok(())
    }

    /// Takes a name away; of a directory, if it is empty.
    pub fn remove(&mut self, parent: Ino, name: &str, directory: bool) -> Done<()> {
        let ino = self.lookup(parent, name)?;
        match (&self.nodes[&ino], directory) {
            (Body::File { .. }, false) => {}
            (Body::Directory { now, .. }, true) if now.is_empty() => {}
            (Body::Directory { .. }, true) => return Err(Refusal::NotEmpty),
            (Body::Directory { .. }, false) => return Err(Refusal::IsADirectory),
            (Body::File { .. }, true) => return Err(Refusal::NotADirectory),
        }
        self.name(vec![(parent, name.to_owned(), None)]);
        Ok(())
    }

    /// Moves a name, over another one unless `replace` is false.
    pub fn rename(&mut self, from: (Ino, &str), to: (Ino, &str), replace: bool) -> Done<()> {
        let ino = self.lookup(from.0, from.1)?;
        match self.lookup(to.0, to.1) {
            Ok(_) if !replace => return Err(Refusal::Exists),
            Ok(other) if other == ino => return Ok(()),
            Ok(other) => match &self.nodes[&other] {
                Body::Directory { now, .. } if !now.is_empty() => return Err(Refusal::NotEmpty),
                _ => {}
            },
            Err(Refusal::Missing) => {}
            Err(other) => return Err(other),
        }
        self.name(vec![
            (from.0, from.1.to_owned(), None),
            (to.0, to.1.to_owned(), Some(ino)),
        ]);
        Ok(())
    }

    /// Changes a file. A directory's mode is changed for good at once: no program rests on it.
    pub fn edit(&mut self, ino: Ino, edit: Edit) -> Done<()> {
        self.clock += 1;
        let stamp = self.clock;
        match self.nodes.get_mut(&ino).ok_or(Refusal::Missing)? {
            Body::File { now, since, .. } => {
                now.apply(&edit);
                since.push((stamp, edit));
                Ok(())
            }
            Body::Directory { mode, .. } => match edit {
                Edit::Mode(bits) => {
                    *mode = bits;
                    Ok(())
                }
                _ => Err(Refusal::IsADirectory),
            },
        }
    }

    /// Everything until now: what an fsync that begins now is about.
    pub fn stamp(&self) -> Stamp {
        self.clock
    }

    /// An fsync that succeeded: what happened to a file, or to a directory's names, up to `until` is
    /// kept.
    pub fn keep(&mut self, ino: Ino, until: Stamp) {
        match self.nodes.get_mut(&ino) {
            Some(Body::File { kept, since, .. }) => {
                let rest = since.split_off(since.partition_point(|(at, _)| *at <= until));
                for (_, edit) in std::mem::replace(since, rest) {
                    kept.apply(&edit);
                }
            }
            Some(Body::Directory { .. }) => {
                let (done, rest) = self.take_namings(ino, until);
                self.namings = rest;
                for naming in done {
                    self.keep_naming(&naming);
                }
            }
            None => {}
        }
    }

    /// An fsync of a file that failed: what was to be kept never will be, and nothing says so any
    /// more.
    pub fn forget(&mut self, ino: Ino, until: Stamp) {
        if let Some(Body::File { since, .. }) = self.nodes.get_mut(&ino) {
            since.retain(|(at, _)| *at > until);
        }
    }

    /// How much is not durable yet: edits and namings.
    pub fn unkept(&self) -> (usize, usize) {
        let edits = self.nodes.values().map(|body| match body {
            Body::File { since, .. } => since.len(),
            Body::Directory { .. } => 0,
        });
        (edits.sum(), self.namings.len())
    }

    /// The disk after a power cut: all that is kept, and of the rest what the weather leaves.
    pub fn cut(&self, weather: &mut Weather) -> Self {
        let mut left = self.clone();
        for naming in std::mem::take(&mut left.namings) {
            if weather.naming() {
                left.keep_naming(&naming);
            }
        }
        // Found from the top: what no name leads to is gone.
        let (mut nodes, mut titles) = (BTreeMap::new(), BTreeMap::new());
        let mut waiting = vec![ROOT];
        while let Some(ino) = waiting.pop() {
            let Some(body) = left.nodes.remove(&ino) else {
                continue;
            };
            let body = match body {
                Body::Directory { kept, mode, .. } => {
                    for (name, inner) in &kept {
                        waiting.push(*inner);
                        titles.insert(*inner, name.clone());
                    }
                    Body::Directory {
                        now: kept.clone(),
                        kept,
                        mode,
                    }
                }
                Body::File { kept, since, .. } => {
                    let edits = since.into_iter().map(|(_, edit)| edit).collect();
                    let kept = weather.file(kept, edits);
                    Body::File {
                        now: kept.clone(),
                        kept,
                        since: Vec::new(),
                    }
                }
            };
            nodes.insert(ino, body);
        }
        Self {
            nodes,
            titles,
            namings: Vec::new(),
            next: self.next,
            clock: self.clock,
        }
    }

    /// Writes everything below the top into a real directory, for whoever wants to look.
    pub fn write_to(&self, real: &std::path::Path) -> std::io::Result<()> {
        self.write_below(ROOT, real)
    }

    fn write_below(&self, directory: Ino, real: &std::path::Path) -> std::io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::create_dir_all(real)?;
        for (name, ino) in self.names(directory).into_iter().flatten() {
            let path = real.join(name);
            match &self.nodes[ino] {
                Body::Directory { mode, .. } => {
                    self.write_below(*ino, &path)?;
                    let mode = std::fs::Permissions::from_mode(u32::from(*mode));
                    std::fs::set_permissions(&path, mode)?;
                }
                Body::File { now, .. } => {
                    std::fs::write(&path, &now.bytes)?;
                    let mode = std::fs::Permissions::from_mode(u32::from(now.mode));
                    std::fs::set_permissions(&path, mode)?;
                }
            }
        }
        Ok(())
    }

    fn name(&mut self, parts: Vec<(Ino, String, Option<Ino>)>) {
        self.clock += 1;
        for (directory, name, to) in &parts {
            if let Some(Body::Directory { now, .. }) = self.nodes.get_mut(directory) {
                set(now, name, *to);
            }
            if let Some(ino) = to {
                self.titles.insert(*ino, name.clone());
            }
        }
        self.namings.push(Naming {
            at: self.clock,
            parts,
        });
    }

    fn keep_naming(&mut self, naming: &Naming) {
        for (directory, name, to) in &naming.parts {
            if let Some(Body::Directory { kept, .. }) = self.nodes.get_mut(directory) {
                set(kept, name, *to);
            }
        }
    }

    /// The namings that touch a directory up to `until`, and all others.
    fn take_namings(&mut self, directory: Ino, until: Stamp) -> (Vec<Naming>, Vec<Naming>) {
        std::mem::take(&mut self.namings)
            .into_iter()
            .partition(|naming| {
                naming.at <= until && naming.parts.iter().any(|(dir, _, _)| *dir == directory)
            })
    }
}

fn set(names: &mut Names, name: &str, to: Option<Ino>) {
    match to {
        Some(ino) => names.insert(name.to_owned(), ino),
        None => names.remove(name),
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    fn write(at: u64, bytes: &[u8]) -> Edit {
        Edit::Write {
            at,
            bytes: bytes.to_vec(),
        }
    }

    /// The disk after a cut that leaves nothing but what is kept.
    fn bare(disk: &Disk) -> Disk {
        disk.cut(&mut Weather::merciless())
    }

    #[test]
    fn without_an_fsync_nothing_is_left() {
        let mut disk = Disk::default();
        let file = disk.make(ROOT, "a", false, 0o600).unwrap();
        disk.edit(file, write(0, b"abc")).unwrap();
        assert_eq!(disk.content(file).unwrap(), b"abc");
        assert!(bare(&disk).names(ROOT).unwrap().is_empty());
    }

    #[test]
    fn a_files_fsync_keeps_its_bytes_and_its_directorys_its_name() {
        let mut disk = Disk::default();
        let file = disk.make(ROOT, "a", false, 0o600).unwrap();
        disk.edit(file, write(0, b"abc")).unwrap();
        disk.keep(file, disk.stamp());
        assert_eq!(bare(&disk).lookup(ROOT, "a"), Err(Refusal::Missing));
        disk.keep(ROOT, disk.stamp());
        assert_eq!(bare(&disk).content(file).unwrap(), b"abc");
        disk.edit(file, write(3, b"def")).unwrap();
        assert_eq!(bare(&disk).content(file).unwrap(), b"abc");
    }

    #[test]
    fn a_directorys_fsync_keeps_no_bytes() {
        let mut disk = Disk::default();
        let file = disk.make(ROOT, "a", false, 0o600).unwrap();
        disk.edit(file, write(0, b"abc")).unwrap();
        disk.keep(ROOT, disk.stamp());
        assert_eq!(bare(&disk).content(file).unwrap(), b"");
    }

    #[test]
    fn a_directory_whose_name_is_not_kept_takes_everything_along() {
        let mut disk = Disk::default();
        let inner = disk.make(ROOT, "d", true, 0o700).unwrap();
        let file = disk.make(inner, "a", false, 0o600).unwrap();
        disk.keep(file, disk.stamp());
        disk.keep(inner, disk.stamp());
        assert!(bare(&disk).names(ROOT).unwrap().is_empty());
        disk.keep(ROOT, disk.stamp());
        assert_eq!(bare(&disk).lookup(inner, "a"), Ok(file));
    }

    #[test]
    fn a_rename_between_directories_is_kept_whole_by_either() {
        for which in [0, 1] {
            let mut disk = Disk::default();
            let dirs = ["x", "y"].map(|name| disk.make(ROOT, name, true, 0o700).unwrap());
            let file = disk.make(dirs[0], "a", false, 0o600).unwrap();
            for ino in [ROOT, dirs[0], dirs[1]] {
                disk.keep(ino, disk.stamp());
            }
            disk.rename((dirs[0], "a"), (dirs[1], "b"), true).unwrap();
            assert_eq!(bare(&disk).lookup(dirs[0], "a"), Ok(file));
            assert_eq!(bare(&disk).lookup(dirs[1], "b"), Err(Refusal::Missing));
            disk.keep(dirs[which], disk.stamp());
            assert_eq!(bare(&disk).lookup(dirs[0], "a"), Err(Refusal::Missing));
            assert_eq!(bare(&disk).lookup(dirs[1], "b"), Ok(file));
        }
    }

    #[test]
    fn an_fsync_is_about_what_was_there_when_it_began() {
        let mut disk = Disk::default();
        let file = disk.make(ROOT, "a", false, 0o600).unwrap();
        disk.keep(ROOT, disk.stamp());
        disk.edit(file, write(0, b"early")).unwrap();
        let began = disk.stamp();
        disk.edit(file, write(5, b"late")).unwrap();
        disk.keep(file, began);
        assert_eq!(bare(&disk).content(file).unwrap(), b"early");
        disk.keep(file, disk.stamp());
        assert_eq!(bare(&disk).content(file).unwrap(), b"earlylate");
    }

    #[test]
    fn after_a_failed_fsync_readers_see_what_no_later_one_keeps() {
        let mut disk = Disk::default();
        let file = disk.make(ROOT, "a", false, 0o600).unwrap();
        disk.keep(ROOT, disk.stamp());
        disk.edit(file, write(0, b"lost")).unwrap();
        disk.forget(file, disk.stamp());
        disk.keep(file, disk.stamp());
        assert_eq!(disk.content(file).unwrap(), b"lost");
        assert_eq!(bare(&disk).content(file).unwrap(), b"");
        // Written once more, it is as good as new.
        disk.edit(file, write(0, b"lost")).unwrap();
        disk.keep(file, disk.stamp());
        assert_eq!(bare(&disk).content(file).unwrap(), b"lost");
    }

    #[test]
    fn a_removed_file_comes_back_until_its_directory_is_kept() {
        let mut disk = Disk::default();
        let file = disk.make(ROOT, "a", false, 0o600).unwrap();
        disk.keep(ROOT, disk.stamp());
        disk.remove(ROOT, "a", false).unwrap();
        assert_eq!(disk.lookup(ROOT, "a"), Err(Refusal::Missing));
        assert_eq!(bare(&disk).lookup(ROOT, "a"), Ok(file));
        disk.keep(ROOT, disk.stamp());
        assert_eq!(bare(&disk).lookup(ROOT, "a"), Err(Refusal::Missing));
    }
}
