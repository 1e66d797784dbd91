//! What happens beside the engine, one tick after the other.

use std::{collections::BTreeSet, time::Duration};

use pentad_model::rotation::{Control, Progress, Step};

use super::{FOREIGN, Inner, OLD};
use crate::promises::bit;

impl Inner {
    /// One tick: time passes, and whatever comes of it.
    pub(crate) fn adversity(&mut self) {
        let quick = match self.fault(50) {
            true => 31_000,
            // Never nothing: what the third party does and what is seen afterwards differ in time.
            false => 1 + self.dice.roll() % 100,
        };
        self.now = self.now.plus(Duration::from_millis(quick));
        if self.dice.one_in(20)
            && let Some(connection) = self.late.keys().next().cloned()
        {
            self.arrive(&connection);
        }
        if self.acts > 0 && self.fault(80) {
            self.acts -= 1;
            self.third_party();
        }
        self.people();
    }

    /// From now on nothing goes wrong any more. What is still on its way arrives, if it can; what
    /// stood in the way of a look is mended. What was set, or is gone, stays so.
    pub(crate) fn calm(&mut self) {
        let all: Vec<String> = self.late.keys().cloned().collect();
        for connection in all {
            self.arrive(&connection);
        }
        self.locked.clear();
        if self.open {
            self.open = false;
            self.acted();
        }
    }

    fn third_party(&mut self) {
        self.meddled = true;
        let account = match self.dice.one_in(2) {
            true => self.row.from_account.clone(),
            false => self.row.to_account.clone(),
        };
        match self.dice.roll() % 8 {
            0..=2 => {
                self.dropped.remove(&account);
                self.accepts.insert(account, BTreeSet::from([FOREIGN]));
                self.acted();
            }
            3 => {
                self.accepts.insert(account.clone(), BTreeSet::new());
                self.dropped.insert(account);
                self.acted();
            }
            4 => {
                self.dropped.clear();
                for accepted in self.accepts.values_mut() {
                    accepted.clear();
                }
                let old = self.row.from_account.clone();
                self.accepts.insert(old, BTreeSet::from([OLD]));
                self.acted();
                self.brought_back |= bit(OLD);
            }
            5 => {
                if !self.locked.remove(&account) {
                    self.locked.insert(account);
                }
            }
            6 => {
                self.open = !self.open;
                self.acted();
                // A look in the middle may be told anything.
                self.brought_back = !0;
            }
            _ => {
                self.late.clear();
                let sessions = std::mem::take(&mut self.sessions);
                self.killed.extend(sessions);
            }
        }
    }

    /// Somebody else has changed what logs in.
    fn acted(&mut self) {
        self.acted = Some(self.now);
        self.changed = true;
    }

    fn people(&mut self) {
        if self.row.progress.step == Step::Diverged && self.fault(20) {
            return self.resolve();
        }
        let request = if self.fault(80) {
            match self.dice.roll() % 4 {
                0 => Control::Pause,
                1 => Control::Rollback,
                2 => Control::Cancel,
                _ => Control::Run,
            }
        } else if self.row.control == Control::Pause && !self.chaos {
            Control::Run
        } else {
            return;
        };
        if !self.row.progress.step.is_final() {
            self.stopped |= matches!(request, Control::Cancel | Control::Rollback);
            self.row.control = request;
            self.row.resume_at = self.now;
            self.row.revision += 1;
        }
    }
    /// A person has looked at what diverged, as `pentad rotation resolve` lets them.
    fn resolve(&mut self) {
        self.row.overwrite |= self.dice.one_in(2);
        self.row.progress = Progress {
            step: Step::Probing,
            attempt: 1,
            ..self.row.progress
        };
        self.row.control = Control::Run;
        self.row.resume_at = self.now;
        self.row.reason = None;
        self.row.revision += 1;
        self.changed = true;
    }
}
