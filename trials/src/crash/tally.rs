//! What a campaign counts, and how it shows it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

/// Shared by all lanes.
pub struct Tally {
    started: Instant,
    wanted: usize,
    drawn: AtomicUsize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    kills: usize,
    in_flight_kills: usize,
    effects: usize,
    by_trigger: BTreeMap<String, usize>,
    by_story: BTreeMap<String, usize>,
    by_effect: BTreeMap<String, usize>,
    by_step: BTreeMap<String, usize>,
    by_end: BTreeMap<String, usize>,
    logins: usize,
    rotations: usize,
    acknowledged: usize,
    verified: usize,
    disagreements: usize,
    lost: usize,
}

/// One kill.
pub struct Kill {
    /// What made it happen.
    pub trigger: String,
    /// What else happened.
    pub story: &'static str,
    /// For each effect in flight: the step of its rotation and where the effect was.
    pub effects: Vec<String>,
    /// The recorded steps of the round's unfinished rotations.
    pub steps: Vec<String>,
}

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// Store and target say different things, or a rotation does not end.
    Disagreement,
    /// Something that was acknowledged is gone, or the audit log does not verify.
    Lost,
}

impl Tally {
    /// A tally for so many kills.
    pub fn new(wanted: usize) -> Self {
        Self {
            started: Instant::now(),
            wanted,
            drawn: AtomicUsize::new(0),
            counts: Mutex::default(),
        }
    }

    /// The right to kill once more.
    pub fn draw(&self) -> bool {
        self.drawn.fetch_add(1, Ordering::Relaxed) < self.wanted
    }

    /// Whether all kills are drawn.
    pub fn exhausted(&self) -> bool {
        self.drawn.load(Ordering::Relaxed) >= self.wanted
    }

    /// Counts a kill; the progress line.
    pub fn killed(&self, kill: Kill) -> String {
        let mut counts = self.counts();
        counts.kills += 1;
        counts.in_flight_kills += usize::from(!kill.effects.is_empty());
        counts.effects += kill.effects.len();
        let line = format!(
            "{:>4}/{} {:>5.0}s  {:<22} {:<18} {}",
            counts.kills,
            self.wanted,
            self.started.elapsed().as_secs_f64(),
            kill.trigger,
            kill.story,
            kill.effects.join(", "),
        );
        *counts.by_trigger.entry(kill.trigger).or_default() += 1;
        *counts.by_story.entry(kill.story.to_owned()).or_default() += 1;
        for effect in kill.effects {
            *counts.by_effect.entry(effect).or_default() += 1;
        }
        for step in kill.steps {
            *counts.by_step.entry(step).or_default() += 1;
        }
        line
    }

    /// Counts how a rotation ended.
    pub fn ended(&self, step: &str) {
        *self.counts().by_end.entry(step.to_owned()).or_default() += 1;
    }

    /// Counts what was found wrong.
    pub fn wrong(&self, wrong: Wrong) {
        match wrong {
            Wrong::Disagreement => self.counts().disagreements += 1,
            Wrong::Lost => self.counts().lost += 1,
        }
    }

    /// Counts logins that were tried at the targets.
    pub fn logins(&self, count: usize) {
        self.counts().logins += count;
    }

    /// Counts rotations that were accepted.
    pub fn accepted(&self, count: usize) {
        self.counts().rotations += count;
    }

    /// Counts acknowledged writes and reads that were found again.
    pub fn found_again(&self, count: usize) {
        self.counts().acknowledged += count;
    }

    /// Counts a verification of the audit log.
    pub fn verified(&self) {
        self.counts().verified += 1;
    }

    /// Kills so far.
    pub fn kills(&self) -> usize {
        self.counts().kills
    }

    /// Whether nothing was found wrong.
    pub fn clean(&self) -> bool {
        let counts = self.counts();
        counts.disagreements == 0 && counts.lost == 0
    }

    /// All of it, for people; the last line for scripts.
    pub fn report(&self) -> String {
        let counts = self.counts();
        let seconds = self.started.elapsed().as_secs_f64();
        let mut text = String::new();
        let tables = [
            ("kills by trigger", &counts.by_trigger),
            ("kills by what else happened", &counts.by_story),
            ("effects in flight at the kill", &counts.by_effect),
            ("steps of unfinished rotations at the kill", &counts.by_step),
            ("how rotations ended", &counts.by_end),
        ];
        for (title, table) in tables {
            let _ = writeln!(text, "\n{title}");
            let most = table.values().copied().max().unwrap_or(1).max(1);
            for (name, count) in table {
                let _ = writeln!(
                    text,
                    "  {name:<44} {count:>5} {}",
                    "#".repeat(count * 30 / most)
                );
            }
        }
        let _ = writeln!(
            text,
            "\n{} rotations accepted; {} logins tried at the targets; {} acknowledged writes and \
             reads found again; {} verifications of the audit log\n\
             {} kills in {seconds:.0} s, {:.1} a minute; {} with effects in flight, {} such effects\n\
             crashes: {}, disagreements: {}, lost: {}",
            counts.rotations,
            counts.logins,
            counts.acknowledged,
            counts.verified,
            counts.kills,
            counts.kills as f64 * 60.0 / seconds.max(0.001),
            counts.in_flight_kills,
            counts.effects,
            counts.kills,
            counts.disagreements,
            counts.lost,
        );
        text
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
