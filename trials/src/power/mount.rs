//! The [`Disk`] as a mounted file system (FUSE), with a switch that cuts its power.
//!
//! ```text
//! pentad ──write, fsync, rename──▶ kernel ──/dev/fuse──▶ Face ──▶ Disk
//!                                                          │
//!                                     frozen: nothing is done or answered any more
//! ```
//!
//! What always holds:
//!
//! * Once it is frozen, no operation takes effect and none is answered, an fsync neither; the
//!   requests wait until [`Mount::release`], which is called when the process is dead already.
//! * An fsync takes a moment, as a disk's does, and keeps what was there when it began.
//! * Writes go through: no writeback cache. Only a shared mapping's pages (SQLite's `-shm`, which no
//!   start reads) may be in the kernel's memory.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::mount::{UnmountFlags, unmount};
use tokio::sync::watch;

use super::{
    disk::{Disk, Edit, Ino, Refusal, Stamp, Status},
    faults::{Faults, Kind},
};
use crate::dice::Dice;

/// How long the kernel may believe what it was told: nobody else changes anything.
const TTL: Duration = Duration::from_secs(3600);
/// How long an fsync takes at most, in microseconds.
const FLUSH: u64 = 1200;
/// Lines of the trace that are kept.
const TRACE: usize = 4000;

/// A mounted disk. Dropped, it is unmounted, whatever still uses it.
pub struct Mount {
    point: PathBuf,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
    frozen: watch::Receiver<bool>,
}

impl Mount {
    /// Mounts a disk on an empty directory.
    pub fn new(point: &Path, disk: Disk, faults: Faults, dice: Dice) -> Result<Self> {
        let (switch, frozen) = watch::channel(false);
        let (flushes, due) = mpsc::channel();
        let shared = Arc::new(Shared(Mutex::new(State {
            disk,
            faults,
            switch,
            released: false,
            left: None,
            parked: Vec::new(),
            flushes: Some(flushes),
            happened: 0,
            trace: std::collections::VecDeque::new(),
        })));
        let flusher = Arc::clone(&shared);
        thread::Builder::new()
            .name("disk".to_owned())
            .spawn(move || flusher.flush(&due, dice))?;
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("pentad-power".to_owned()),
            MountOption::NoAtime,
            MountOption::NoDev,
        ];
        let face = Face(Arc::clone(&shared));
        let session = fuser::spawn_mount(face, point, &config)
            .with_context(|| format!("can't mount on {}", point.display()))?;
        Ok(Self {
            point: point.to_owned(),
            shared,
            session: Some(session),
            frozen,
        })
    }

    /// Freezes at the so-many-th change or fsync from now on.
    pub fn freeze_in(&self, changes: u64) {
        self.shared.state().left = Some(changes);
    }

    /// The moment of the cut: nothing takes effect or is answered any more.
    pub fn freeze(&self) {
        self.shared.state().freeze();
    }

    /// Returns once it is frozen.
    pub async fn frozen(&self) {
        // The sender lives as long as the state does.
        let _ = self.frozen.clone().wait_for(|frozen| *frozen).await;
    }

    /// Lets what waits fail. Only for when nobody is alive to hear it.
    pub fn release(&self) {
        let mut state = self.shared.state();
        state.freeze();
        state.released = true;
        let parked = std::mem::take(&mut state.parked);
        drop(state);
        // A reply that is dropped says EIO.
        drop(parked);
    }

    /// Changes and fsyncs so far.
    pub fn happened(&self) -> u64 {
        self.shared.state().happened
    }

    /// The fsync that failed on demand, if one did.
    pub fn failed(&self) -> Option<String> {
        self.shared.state().faults.failed.clone()
    }

    /// Has an fsync of this kind fail, once, after so many that succeed from now on.
    pub fn fail(&self, kind: Kind, after: u64) {
        self.shared.state().faults.fail = Some((kind, after));
    }

    /// Whether a file was synced once more after its fsync failed.
    pub fn synced_again(&self) -> bool {
        self.shared.state().faults.again
    }

    /// The last operations, the oldest first.
    pub fn trace(&self) -> String {
        let state = self.shared.state();
        state.trace.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Unmounts; the disk as it is, with what is not durable yet.
    pub fn end(mut self) -> Disk {
        self.detach();
        std::mem::take(&mut self.shared.state().disk)
    }

    fn detach(&mut self) {
        self.release();
        let Some(session) = self.session.take() else {
            return;
        };
        // Lazily: a process on its way out may still hold something open.
        let _ = unmount(&self.point, UnmountFlags::DETACH);
        let _ = session.umount_and_join();
        self.shared.state().flushes = None;
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.detach();
    }
}

struct Shared(Mutex<State>);

struct State {
    disk: Disk,
    faults: Faults,
    switch: watch::Sender<bool>,
    released: bool,
    /// Changes and fsyncs until it freezes by itself.
    left: Option<u64>,
    /// Requests that nobody answers until [`Mount::release`].
    parked: Vec<Box<dyn Send>>,
    /// None once it is unmounted: then the disk's thread ends.
    flushes: Option<mpsc::Sender<Flush>>,
    happened: u64,
    trace: std::collections::VecDeque<String>,
}

/// An fsync under way.
struct Flush {
    ino: Ino,
    until: Stamp,
    reply: ReplyEmpty,
}

impl State {
    fn freeze(&mut self) {
        self.left = None;
        self.switch.send_replace(true);
    }

    fn is_frozen(&self) -> bool {
        *self.switch.borrow()
    }

    /// One of the moments at which the power may go. Whether it is still there.
    fn tick(&mut self, what: impl FnOnce() -> String) -> bool {
        if self.is_frozen() {
            return false;
        }
        self.happened += 1;
        let goes = self.left.is_some_and(|left| left <= 1);
        self.left = self.left.map(|left| left.saturating_sub(1));
        let line = what();
        if goes {
            self.note(format!("{line}   <- the power goes before this"));
            self.freeze();
            return false;
        }
        self.note(line);
        true
    }

    fn note(&mut self, line: String) {
        if self.trace.len() >= TRACE {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk's own thread: one fsync after the other, each takes a moment.
    fn flush(&self, due: &mpsc::Receiver<Flush>, mut dice: Dice) {
        while let Ok(Flush { ino, until, reply }) = due.recv() {
            thread::sleep(Duration::from_micros(dice.between(20, FLUSH)));
            let mut state = self.state();
            let title = state.disk.title(ino).to_owned();
            if !state.tick(|| format!("  flushing {title}")) {
                state.park(reply);
                continue;
            }
            let directory = state.disk.content(ino).is_err();
            if state.faults.fails(&title, directory) {
                state.disk.forget(ino, until);
                state.note(format!("  FAILED {title}"));
                reply.error(Errno::EIO);
                continue;
            }
            if state.faults.lies(&title, directory) {
                state.note(format!("  LIED {title}"));
            } else {
                state.disk.keep(ino, until);
            }
            // On disk, and the process does not know it yet.
            match state.tick(|| format!("  synced {title}")) {
                true => reply.ok(),
                false => state.park(reply),
            }
        }
    }
}

impl State {
    fn park(&mut self, reply: impl Send + 'static) {
        if !self.released {
            self.parked.push(Box::new(reply));
        }
    }
}

/// What the kernel talks to.
struct Face(Arc<Shared>);

impl Face {
    /// Answers a question, unless the power is gone.
    fn look<R: Send + 'static>(&self, reply: R, answer: impl FnOnce(&Disk, R)) {
        let mut state = self.0.state();
        match state.is_frozen() {
            true => state.park(reply),
            false => answer(&state.disk, reply),
        }
    }

    /// Carries a change out, unless the power is gone or goes now.
    fn act<R: Send + 'static>(
        &self,
        reply: R,
        what: impl FnOnce(&Disk) -> String,
        carry_out: impl FnOnce(&mut State, R),
    ) {
        let mut state = self.0.state();
        let line = what(&state.disk);
        match state.tick(|| line) {
            true => carry_out(&mut state, reply),
            false => state.park(reply),
        }
    }

    fn sync(&self, ino: INodeNo, reply: ReplyEmpty) {
        self.act(
            reply,
            |disk| format!("fsync {}", disk.title(ino.0)),
            |state, reply| {
                let until = state.disk.stamp();
                let flush = Flush {
                    ino: ino.0,
                    until,
                    reply,
                };
                // Where nobody takes it, the reply is dropped, and says EIO.
                if let Some(flushes) = &state.flushes {
                    let _ = flushes.send(flush);
                }
            },
        );
    }
}

fn errno(refusal: Refusal) -> Errno {
    match refusal {
        Refusal::Missing => Errno::ENOENT,
        Refusal::Exists => Errno::EEXIST,
        Refusal::NotADirectory => Errno::ENOTDIR,
        Refusal::IsADirectory => Errno::EISDIR,
        Refusal::NotEmpty => Errno::ENOTEMPTY,
    }
}

fn attributes(status: Status) -> FileAttr {
    let epoch = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(status.ino),
        size: status.length,
        blocks: status.length.div_ceil(512),
        atime: epoch,
        mtime: epoch,
        ctime: epoch,
        crtime: epoch,
        kind: match status.directory {
            true => FileType::Directory,
            false => FileType::RegularFile,
        },
        perm: status.mode,
        nlink: status.links,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn name(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}

const GENERATION: Generation = Generation(0);
const HANDLE: FileHandle = FileHandle(0);

impl Filesystem for Face {
    fn lookup(&self, _: &Request, parent: INodeNo, wanted: &OsStr, reply: ReplyEntry) {
        self.look(reply, |disk, reply| {
            let found = disk.lookup(parent.0, &name(wanted));
            match found.and_then(|ino| disk.status(ino)) {
                Ok(status) => reply.entry(&TTL, &attributes(status), GENERATION),
                Err(refusal) => reply.error(errno(refusal)),
            }
        });
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.look(reply, |disk, reply| match disk.status(ino.0) {
            Ok(status) => reply.attr(&TTL, &attributes(status)),
            Err(refusal) => reply.error(errno(refusal)),
        });
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let what = |disk: &Disk| format!("setattr {} {size:?} {mode:?}", disk.title(ino.0));
        self.act(reply, what, |state, reply| {
            let edits = mode
                .map(|mode| Edit::Mode((mode & 0o7777) as u16))
                .into_iter()
                .chain(size.map(Edit::Resize));
            let mut edited = Ok(());
            for edit in edits {
                edited = edited.and_then(|()| state.disk.edit(ino.0, edit));
            }
            match edited.and_then(|()| state.disk.status(ino.0)) {
                Ok(status) => reply.attr(&TTL, &attributes(status)),
                Err(refusal) => reply.error(errno(refusal)),
            }
        });
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        wanted: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let wanted = name(wanted);
        self.act(
            reply,
            |_| format!("mkdir {wanted}"),
            |state, reply| {
                let mode = (mode & !umask & 0o7777) as u16;
                let made = state.disk.make(parent.0, &wanted, true, mode);
                match made.and_then(|ino| state.disk.status(ino)) {
                    Ok(status) => reply.entry(&TTL, &attributes(status), GENERATION),
                    Err(refusal) => reply.error(errno(refusal)),
                }
            },
        );
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        wanted: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let wanted = name(wanted);
        self.act(
            reply,
            |_| format!("create {wanted}"),
            |state, reply| {
                let mode = (mode & !umask & 0o7777) as u16;
                let made = state.disk.make(parent.0, &wanted, false, mode);
                match made.and_then(|ino| state.disk.status(ino)) {
                    Ok(status) => reply.created(
                        &TTL,
                        &attributes(status),
                        GENERATION,
                        HANDLE,
                        FopenFlags::FOPEN_KEEP_CACHE,
                    ),
                    Err(refusal) => reply.error(errno(refusal)),
                }
            },
        );
    }

    fn unlink(&self, _: &Request, parent: INodeNo, gone: &OsStr, reply: ReplyEmpty) {
        let gone = name(gone);
        self.act(
            reply,
            |_| format!("unlink {gone}"),
            |state, reply| answer(reply, state.disk.remove(parent.0, &gone, false)),
        );
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, gone: &OsStr, reply: ReplyEmpty) {
        let gone = name(gone);
        self.act(
            reply,
            |_| format!("rmdir {gone}"),
            |state, reply| answer(reply, state.disk.remove(parent.0, &gone, true)),
        );
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        old: &OsStr,
        new_parent: INodeNo,
        new: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (old, new) = (name(old), name(new));
        self.act(
            reply,
            |_| format!("rename {old} {new}"),
            |state, reply| {
                if flags.contains(RenameFlags::RENAME_EXCHANGE) {
                    return reply.error(Errno::EINVAL);
                }
                let replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
                let renamed = state
                    .disk
                    .rename((parent.0, &old), (new_parent.0, &new), replace);
                answer(reply, renamed);
            },
        );
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, wanted: &OsStr, reply: ReplyEntry) {
        let wanted = name(wanted);
        self.act(
            reply,
            |_| format!("link {wanted}"),
            |state, reply| {
                let linked = state.disk.link(ino.0, parent.0, &wanted);
                match linked.and_then(|()| state.disk.status(ino.0)) {
                    Ok(status) => reply.entry(&TTL, &attributes(status), GENERATION),
                    Err(refusal) => reply.error(errno(refusal)),
                }
            },
        );
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.look(reply, |_, reply| {
            reply.opened(HANDLE, FopenFlags::FOPEN_KEEP_CACHE);
        });
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.look(reply, |disk, reply| match disk.content(ino.0) {
            Ok(bytes) => {
                let from = (offset as usize).min(bytes.len());
                let to = (from + size as usize).min(bytes.len());
                reply.data(&bytes[from..to]);
            }
            Err(refusal) => reply.error(errno(refusal)),
        });
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let what = |disk: &Disk| format!("write {} {offset} +{}", disk.title(ino.0), data.len());
        self.act(reply, what, |state, reply| {
            let edit = Edit::Write {
                at: offset,
                bytes: data.to_vec(),
            };
            match state.disk.edit(ino.0, edit) {
                Ok(()) => reply.written(data.len() as u32),
                Err(refusal) => reply.error(errno(refusal)),
            }
        });
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let what = |disk: &Disk| format!("fallocate {} {}", disk.title(ino.0), offset + length);
        self.act(reply, what, |state, reply| {
            if mode != 0 {
                return reply.error(Errno::EOPNOTSUPP);
            }
            let grown = match state.disk.status(ino.0) {
                Ok(status) if status.length >= offset + length => Ok(()),
                Ok(_) => state.disk.edit(ino.0, Edit::Resize(offset + length)),
                Err(refusal) => Err(refusal),
            };
            answer(reply, grown);
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // A close keeps nothing, and must not keep a dying process from ending.
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(ino, reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(ino, reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut state = self.0.state();
        if state.is_frozen() {
            return state.park(reply);
        }
        let names = match state.disk.names(ino.0) {
            Ok(names) => names,
            Err(refusal) => return reply.error(errno(refusal)),
        };
        let here = [(".".to_owned(), ino.0), ("..".to_owned(), ino.0)];
        let entries = here
            .into_iter()
            .chain(names.iter().map(|(name, ino)| (name.clone(), *ino)));
        for (position, (name, ino)) in entries.enumerate().skip(offset as usize) {
            let kind = match state.disk.content(ino) {
                Ok(_) => FileType::RegularFile,
                Err(_) => FileType::Directory,
            };
            if reply.add(INodeNo(ino), position as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = 1 << 20;
        reply.statfs(blocks, blocks, blocks, blocks, blocks, 4096, 255, 4096);
    }
}

fn answer(reply: ReplyEmpty, done: Result<(), Refusal>) {
    match done {
        Ok(()) => reply.ok(),
        Err(refusal) => reply.error(errno(refusal)),
    }
}

/// Whether FUSE can be mounted here, and if not, why.
pub fn possible() -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(io::Error::other("only root may mount without fusermount"));
    }
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .map(drop)
}
