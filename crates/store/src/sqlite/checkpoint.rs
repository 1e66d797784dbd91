//! Moves the write-ahead log into the database, on a thread and a connection of its own, while the
//! writer goes on.
//!
//! A pass copies each page that the log has anew, and syncs twice: some milliseconds for a thousand
//! pages, in which nobody's change would be committed if the writer did it. What always holds:
//!
//! * The log begins anew only after all of it was moved, so a pass that overtook nobody is what bounds
//!   it: where the writer is faster than passes for so long that the log is [`LONGEST`] times as
//!   long as when a pass began, it waits for one.
//! * SQLite's own order of syncs: the log, then the database; a page is never only in the database
//!   before it is durable in the log.
//! * A failed fsync is fatal for the store, as in a commit.
//! * Who needs to know that nothing runs [settles](Checkpoints::settle).

use std::{
    fmt,
    sync::Arc,
    thread::{self, JoinHandle},
};

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::{errors::Failure, writer::Health};

/// Bytes of pages that the log has when a first pass begins: about SQLite's own default.
const FIRST: u32 = 4 << 20;

/// The log is this often as long when the writer waits for a pass that moves all of it: 12 MiB. It takes
/// a load that keeps the writer busy without a pause to get there.
const LONGEST: i32 = 3;

/// Decides, after each commit, whether a pass is due. Each one moves as much as was written since the
/// last: the fewer they are, the more changes of one page they write once.
#[derive(Debug)]
pub(super) struct Pace {
    /// Pages that the log has when a first pass begins.
    first: i32,
    /// What the log had after the last commit.
    pages: i32,
    /// What it has when the next pass begins.
    next: i32,
    /// What it has when the writer waits for one.
    longest: i32,
}

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    Nothing,
    /// A pass beside the writer.
    Pass,
    /// A pass that the writer waits for, so that the log begins anew.
    Wait,
}

impl Pace {
    /// That of a log whose pages have so many bytes.
    pub(super) fn new(page: u32) -> Self {
        Self::of(i32::try_from(FIRST / page.max(512)).unwrap_or(i32::MAX))
    }

    fn of(first: i32) -> Self {
        Self {
            first,
            pages: 0,
            next: first,
            longest: LONGEST * first,
        }
    }

    /// After a commit that left so many pages in the log.
    pub(super) fn after(&mut self, pages: i32) -> Due {
        if pages < self.pages {
            *self = Self::of(self.first);
        }
        self.pages = pages;
        if pages >= self.longest {
            // A reader of an old state may hinder it: then no commit after this one waits in vain.
            self.longest = pages.saturating_add(self.first);
            self.next = self.longest;
            Due::Wait
        } else if pages >= self.next {
            self.next = pages.saturating_mul(2);
            Due::Pass
        } else {
            Due::Nothing
        }
    }
}

/// The thread. Dropping it finishes the pass that runs.
pub(super) struct Checkpoints {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoints").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Desk {
    state: Mutex<State>,
    /// Rung at each change of it.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    asked: bool,
    runs: bool,
    ends: bool,
}

impl Checkpoints {
    pub(super) fn start(connection: Connection, health: Arc<Health>) -> std::io::Result<Self> {
        let desk = Arc::<Desk>::default();
        let own = Arc::clone(&desk);
        let thread = thread::Builder::new()
            .name("store-moves-log".to_owned())
            .spawn(move || own.run(&connection, &health))?;
        Ok(Self {
            desk,
            thread: Some(thread),
        })
    }

    /// Has a pass begin, if none waits to.
    pub(super) fn ask(&self) {
        self.desk.state.lock().asked = true;
        self.desk.changed.notify_all();
    }

    /// Waits until none runs or waits to. Returns whether one did.
    pub(super) fn settle(&self) -> bool {
        let mut state = self.desk.state.lock();
        let busy = state.asked || state.runs;
        while state.asked || state.runs {
            self.desk.changed.wait(&mut state);
        }
        busy
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.desk.state.lock().ends = true;
        self.desk.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn run(&self, connection: &Connection, health: &Health) {
        let mut state = self.state.lock();
        loop {
            while !state.asked && !state.ends {
                self.changed.wait(&mut state);
            }
            if state.ends {
                state.asked = false;
                self.changed.notify_all();
                return;
            }
            (state.asked, state.runs) = (false, true);
            drop(state);
            pass(connection, health);
            state = self.state.lock();
            state.runs = false;
            self.changed.notify_all();
        }
    }
}

fn pass(connection: &Connection, health: &Health) {
    if health.check().is_err() {
        return;
    }
    let moved = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    if let Err(failure) = moved {
        // Full or unreadable: everything stays in the log, and a later pass tries again.
        let error = Failure::from(failure).about(connection, || "the database".to_owned());
        health.note(&error);
        tracing::warn!(%error, "the write-ahead log could not be moved into the database");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: i32 = 1000;
    const LONG: i32 = LONGEST * PAGES;

    #[test]
    fn passes_begin_early_and_grow_rare() {
        let mut pace = Pace::of(PAGES);
        let seen: Vec<_> = (1..=LONG / 100)
            .map(|n| (n * 100, pace.after(n * 100)))
            .filter(|(_, due)| *due != Due::Nothing)
            .collect();
        let pass = |pages| (pages, Due::Pass);
        assert_eq!(seen, [pass(PAGES), pass(2 * PAGES), (LONG, Due::Wait)]);
    }

    #[test]
    fn a_log_that_began_anew_is_short_again() {
        let mut pace = Pace::of(PAGES);
        assert_eq!(pace.after(LONG), Due::Wait);
        assert_eq!(pace.after(10), Due::Nothing);
        assert_eq!(pace.after(PAGES), Due::Pass);
    }

    #[test]
    fn a_reader_that_hinders_passes_does_not_make_each_commit_wait() {
        let mut pace = Pace::of(PAGES);
        assert_eq!(pace.after(LONG), Due::Wait);
        assert_eq!(pace.after(LONG + 10), Due::Nothing);
        assert_eq!(pace.after(LONG + PAGES), Due::Wait);
    }
}
