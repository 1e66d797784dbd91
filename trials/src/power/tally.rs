//! What a campaign counts, and how it shows it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::weather::Weather;

/// Shared by all lanes.
pub struct Tally {
    began: Instant,
    wanted: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    drawn: usize,
    cuts: usize,
    by_moment: BTreeMap<&'static str, usize>,
    by_mood: BTreeMap<String, usize>,
    unkept: (usize, usize),
    left: usize,
    gone: usize,
    torn: usize,
    after: BTreeMap<&'static str, usize>,
    acknowledged: u64,
    looked: usize,
    verified: usize,
    rotations: usize,
    missing: usize,
    lost: usize,
    stop_at_fault: bool,
}

/// How a start after a cut went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// It succeeded.
    Started,
    /// It was refused, named its repair, and that was carried out.
    Repaired,
    /// The power went once more before it was up.
    CutAgain,
}

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// Something acknowledged is not there, or is undone, or has no record.
    Missing,
    /// The store as a whole: it does not start and names no repair that works, or its audit log does
    /// not verify.
    Lost,
}

impl Tally {
    /// A tally for so many cuts.
    pub fn new(wanted: usize) -> Self {
        Self {
            began: Instant::now(),
            wanted,
            counts: Mutex::default(),
        }
    }

    /// As [`new`](Self::new), and the first fault is enough.
    pub fn until_a_fault(wanted: usize) -> Self {
        let tally = Self::new(wanted);
        tally.counts().stop_at_fault = true;
        tally
    }

    /// The right to cut once more.
    pub fn draw(&self) -> bool {
        let mut counts = self.counts();
        if counts.drawn >= self.wanted || (counts.stop_at_fault && counts.missing + counts.lost > 0)
        {
            return false;
        }
        counts.drawn += 1;
        true
    }

    /// Counts a cut; the progress line.
    pub fn cut(&self, moment: &'static str, unkept: (usize, usize), weather: &Weather) -> String {
        let mut counts = self.counts();
        counts.cuts += 1;
        *counts.by_moment.entry(moment).or_default() += 1;
        *counts
            .by_mood
            .entry(format!("{:?}", weather.mood()).to_lowercase())
            .or_default() += 1;
        counts.unkept.0 += unkept.0;
        counts.unkept.1 += unkept.1;
        counts.left += weather.left;
        counts.gone += weather.lost;
        counts.torn += weather.torn;
        format!(
            "{:>5}/{} {:>5.0}s  {moment:<14} {:>3} edits and {:>2} names not synced, {:?}",
            counts.cuts,
            self.wanted,
            self.began.elapsed().as_secs_f64(),
            unkept.0,
            unkept.1,
            weather.mood(),
        )
    }

    /// Counts the start that followed a cut.
    pub fn after(&self, after: After) {
        let name = match after {
            After::Started => "started",
            After::Repaired => "repaired",
            After::CutAgain => "cut again",
        };
        *self.counts().after.entry(name).or_default() += 1;
    }

    /// Counts things that were looked at again.
    pub fn looked(&self, many: usize) {
        self.counts().looked += many;
    }

    /// Counts acknowledged requests.
    pub fn acknowledged(&self, many: u64) {
        self.counts().acknowledged += many;
    }

    /// Counts a verification of the audit log.
    pub fn verified(&self) {
        self.counts().verified += 1;
    }

    /// Counts a rotation that was looked at.
    pub fn rotated(&self) {
        self.counts().rotations += 1;
    }

    /// Counts what was found wrong; the finding's number.
    pub fn wrong(&self, wrong: Wrong) -> usize {
        let mut counts = self.counts();
        match wrong {
            Wrong::Missing => counts.missing += 1,
            Wrong::Lost => counts.lost += 1,
        }
        counts.missing + counts.lost
    }

    /// Cuts so far.
    pub fn cuts(&self) -> usize {
        self.counts().cuts
    }

    /// Whether nothing was found wrong.
    pub fn clean(&self) -> bool {
        let counts = self.counts();
        counts.missing == 0 && counts.lost == 0
    }

    /// All of it, for people; the last line for scripts.
    pub fn report(&self) -> String {
        let counts = self.counts();
        let seconds = self.began.elapsed().as_secs_f64();
        let mut text = String::from("\ncuts by moment\n");
        let most = counts.by_moment.values().copied().max().unwrap_or(1).max(1);
        for (name, count) in &counts.by_moment {
            let bar = "#".repeat(count * 30 / most);
            let _ = writeln!(text, "  {name:<18} {count:>5} {bar}");
        }
        let moods: Vec<String> = counts
            .by_mood
            .iter()
            .map(|(mood, count)| format!("{mood} {count}"))
            .collect();
        let after = |name| counts.after.get(name).copied().unwrap_or(0);
        let _ = writeln!(
            text,
            "what survived of the unsynced: {}\n{} edits of files and {} of names were not synced at a \
             cut: {} survived, {} did not, {} were torn\n{} acknowledged requests; {} things \
             looked at again, {} rotations, {} verifications of the audit log\n\
             {} cuts in {seconds:.0} s, {:.1} a minute",
            moods.join(", "),
            counts.unkept.0,
            counts.unkept.1,
            counts.left,
            counts.gone,
            counts.torn,
            counts.acknowledged,
            counts.looked,
            counts.rotations,
            counts.verified,
            counts.cuts,
            counts.cuts as f64 * 60.0 / seconds.max(0.001),
        );
        let _ = write!(
            text,
            "cuts: {}, started: {}, repaired: {}, cut again: {}, missing: {}, lost: {}",
            counts.cuts,
            after("started"),
            after("repaired"),
            after("cut again"),
            counts.missing,
            counts.lost,
        );
        text
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
