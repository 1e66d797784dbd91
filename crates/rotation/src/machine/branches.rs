//! The branches of [`transition`](super::transition) that need more than a line.

use pentad_model::rotation::{Login, Progress, Step, Strategy};

use super::{Act, Rules, Settle, Sight, Stop, Transition};

/// A rotation at a step, with its rules.
pub(super) struct At<'a> {
    pub(super) rules: &'a Rules,
    pub(super) at: Progress,
}

impl At<'_> {
    pub(super) fn stay(&self, act: Act) -> Transition {
        Transition {
            to: self.at,
            settle: Settle::Keep,
            act,
        }
    }

    pub(super) fn go(&self, step: Step, act: Act) -> Transition {
        Transition {
            to: Progress { step, ..self.at },
            settle: Settle::Keep,
            act,
        }
    }

    /// A new intent: one more attempt.
    pub(super) fn again(&self, step: Step, act: Act) -> Transition {
        let attempt = self.at.attempt.saturating_add(1);
        Transition {
            to: Progress {
                step,
                attempt,
                ..self.at
            },
            settle: Settle::Keep,
            act,
        }
    }

    /// The effect certainly did not happen: come back to the same intent, not counted.
    pub(super) fn throttled(&self, step: Step) -> Transition {
        let attempt = self.at.attempt.saturating_sub(1);
        Transition {
            to: Progress {
                step,
                attempt,
                ..self.at
            },
            settle: Settle::Keep,
            act: Act::Wait,
        }
    }

    /// As [`throttled`](Self::throttled). Where somebody asked to end it meanwhile, it ends: nothing
    /// changed, and what readers have was not seen to fail.
    pub(super) fn apply_throttled(&self) -> Transition {
        if self.rules.stop != Stop::No && !self.at.promoted && !self.rules.old_gone {
            self.end(Step::RolledBack, Settle::Old)
        } else {
            self.throttled(Step::Applying)
        }
    }

    pub(super) fn end(&self, step: Step, settle: Settle) -> Transition {
        let promoted = match settle {
            Settle::Keep => self.at.promoted,
            Settle::New | Settle::Retire => true,
            Settle::Old => false,
        };
        Transition {
            to: Progress {
                step,
                promoted,
                ..self.at
            },
            settle,
            act: Act::End,
        }
    }

    fn promote(&self, step: Step, act: Act) -> Transition {
        Transition {
            to: Progress {
                step,
                promoted: true,
                ..self.at
            },
            settle: Settle::New,
            act,
        }
    }

    fn exhausted(&self) -> bool {
        self.at.attempt >= self.rules.max_attempts
    }

    fn in_place(&self) -> bool {
        self.rules.strategy == Strategy::InPlace
    }

    /// Whether ending it now means taking the new value back, and that is possible: in place there
    /// is nothing to go back to but another rotation.
    pub(super) fn may_undo(&self) -> bool {
        self.rules.stop != Stop::No && !self.at.promoted && !self.in_place()
    }

    /// Not proven yet, so it may not even be there yet; and what was seen of the old version may be
    /// long ago: fence and look before taking anything back.
    pub(super) fn undo(&self) -> Transition {
        if self.rules.old_gone {
            self.go(Step::Probing, Act::Probe)
        } else {
            self.anew(Step::UndoProbing, Act::Probe)
        }
    }

    /// The target says that it has the new value. In place the old one stopped working at that
    /// moment, so the promotion follows at once: the shortest window. Elsewhere the proof comes
    /// first; and where what readers have was seen to fail, they are told so until it is there.
    pub(super) fn applied(&self) -> Transition {
        if self.in_place() {
            self.promote(Step::Verifying, Act::Verify)
        } else if self.at.promoted || self.rules.old_gone {
            self.go(Step::Probing, Act::Probe)
        } else {
            self.go(Step::Verifying, Act::Verify)
        }
    }

    /// The new value was seen to work. Where it is the only one that does, readers get it at once.
    fn arrived(&self, old: Login) -> Transition {
        let alone = match old {
            Login::Works => false,
            Login::Fails => true,
            Login::CantTell => self.rules.old_gone,
        };
        if self.in_place() || alone {
            self.promote(Step::Verifying, Act::Verify)
        } else {
            self.go(Step::Verifying, Act::Verify)
        }
    }

    /// The target's password rules refused the value: another one, or enough.
    pub(super) fn value_rejected(&self) -> Transition {
        if self.at.promoted {
            // A re-application of a promoted value: which one holds must be seen first.
            return self.go(Step::Probing, Act::Probe);
        }
        let enough = self.exhausted() || self.rules.stop != Stop::No;
        if enough && self.rules.old_gone {
            return self.go(Step::Probing, Act::Probe);
        }
        if enough {
            return self.end(Step::RolledBack, Settle::Old);
        }
        Transition {
            to: Progress {
                step: Step::Planned,
                ..self.at
            },
            settle: Settle::Old,
            act: Act::Prepare,
        }
    }

    /// Nothing changed, and trying again would end the same way. Where that leaves nothing that
    /// works, it is not over: a person mends what was in the way, and it goes on.
    pub(super) fn apply_rejected(&self) -> Transition {
        if self.at.promoted || self.rules.old_gone {
            return self.go(Step::Probing, Act::Pause);
        }
        self.end(Step::RolledBack, Settle::Old)
    }

    /// The convergence table: the one safe move after an unknown outcome.
    pub(super) fn converge(&self, sight: Sight) -> Transition {
        match (sight.new, sight.old) {
            (Login::Works, old) => self.arrived(old),
            (Login::CantTell, _) | (Login::Fails, Login::CantTell) => self.stay(Act::Wait),
            // The effect did not happen and, fenced, can't any more.
            (Login::Fails, Login::Works) => {
                let unwanted = match self.rules.stop {
                    Stop::No => false,
                    Stop::Cancel => !self.at.promoted,
                    Stop::Rollback => true,
                };
                if self.exhausted() || unwanted {
                    self.back_to_old()
                } else {
                    self.again(Step::Applying, Act::Apply)
                }
            }
            (Login::Fails, Login::Fails) => match sight.abandoned {
                Login::CantTell => self.stay(Act::Wait),
                // Neither version, but one that Pentad made: its own late effect, to be replaced.
                Login::Works if !self.exhausted() => self.again(Step::Applying, Act::Apply),
                Login::Fails if self.rules.owned && !self.exhausted() => {
                    self.again(Step::Applying, Act::Apply)
                }
                // Nobody else was there, so it has not diverged: it can't be applied.
                Login::Works => self.paused(Step::Probing),
                Login::Fails => self.end(Step::Diverged, Settle::Keep),
            },
        }
    }

    /// Proven: to its consumers, then to its readers; the other way round where the old version is
    /// gone, for its readers have nothing else.
    pub(super) fn verified(&self) -> Transition {
        if !self.rules.consumers {
            self.delivered()
        } else if self.rules.old_gone && !self.at.promoted {
            self.promote(Step::Delivering, Act::Deliver)
        } else {
            self.go(Step::Delivering, Act::Deliver)
        }
    }

    /// Waits; where the old version is gone, at a step that tells readers so.
    pub(super) fn unproven(&self) -> Transition {
        if self.rules.old_gone && !self.at.promoted {
            self.go(Step::Probing, Act::Wait)
        } else {
            self.stay(Act::Wait)
        }
    }

    pub(super) fn delivered(&self) -> Transition {
        if self.in_place() {
            self.end(Step::Done, Settle::Retire)
        } else {
            self.promote(Step::Observing, Act::Observe)
        }
    }

    /// It was applied, and yet a login shows otherwise: somebody else was there, or the target
    /// forgot it. See who holds the account, and count it. Where the probe keeps contradicting the
    /// verification, a person has to look.
    pub(super) fn broken(&self) -> Transition {
        if self.at.attempt > self.rules.max_attempts {
            return self.paused(Step::Probing);
        }
        let attempt = self.at.attempt.saturating_add(1);
        Transition {
            to: Progress {
                step: Step::Probing,
                attempt,
                ..self.at
            },
            settle: Settle::Keep,
            act: Act::Probe,
        }
    }

    /// Roll-back after promotion: only to a version that was just seen to work.
    pub(super) fn demote(&self, sight: Sight) -> Transition {
        match (sight.old, sight.new) {
            (Login::Works, _) => self.take_back(),
            (_, Login::Fails) => self.lost(),
            (Login::CantTell, _) | (_, Login::CantTell) => self.stay(Act::Wait),
            (Login::Fails, Login::Works) => self.stay(Act::Pause),
        }
    }

    /// Ends with the old version, which works, and without the new one, which does not. What was
    /// promoted beside an old account or key was delivered too: it goes back the way of a roll-back.
    fn back_to_old(&self) -> Transition {
        if self.at.promoted && !self.in_place() {
            self.take_back()
        } else {
            self.end(Step::RolledBack, Settle::Old)
        }
    }

    fn take_back(&self) -> Transition {
        Transition {
            to: Progress {
                step: Step::Undoing,
                attempt: 1,
                promoted: false,
            },
            settle: Settle::Old,
            act: Act::Undo,
        }
    }

    pub(super) fn retired(&self, sight: Sight) -> Transition {
        match (sight.new, sight.old) {
            (Login::Works, Login::Fails) => self.end(Step::Done, Settle::Retire),
            // Asked for while the effect was under way, and it did not happen.
            (Login::Works, Login::Works) if self.rules.stop == Stop::Rollback => self.take_back(),
            (Login::Works, Login::Works) if self.exhausted() => {
                self.go(Step::Observing, Act::Pause)
            }
            (Login::Works, Login::Works) => self.again(Step::Retiring, Act::Retire),
            (Login::Fails, _) => self.lost(),
            (Login::CantTell, _) | (_, Login::CantTell) => self.retire_later(),
        }
    }

    /// As long as nothing was sent, at a step where a pause or a roll-back is heeded.
    pub(super) fn retire_later(&self) -> Transition {
        if self.at.attempt == 0 {
            self.go(Step::Observing, Act::Wait)
        } else {
            self.stay(Act::Wait)
        }
    }

    /// The promoted value stopped working: the account is somebody else's doing now.
    fn lost(&self) -> Transition {
        Transition {
            to: Progress {
                step: Step::Probing,
                attempt: 1,
                ..self.at
            },
            settle: Settle::Keep,
            act: Act::Probe,
        }
    }

    pub(super) fn undone(&self, sight: Sight) -> Transition {
        match (sight.new, sight.old) {
            // It may be gone by somebody else's doing, before its consumers had the old one again.
            (Login::Fails, Login::Works) if self.rules.consumers => self.stay(Act::Restore),
            (Login::Fails, Login::Works) => self.end(Step::RolledBack, Settle::Old),
            (Login::Works, Login::Works) if self.exhausted() => self.paused(Step::UndoProbing),
            (Login::Works, Login::Works) => self.again(Step::Undoing, Act::Undo),
            // Somebody took the old value away. If the new one works, it is the last one that does:
            // taking it back as well would lock everybody out. So readers get it; and since its
            // consumers may have it too, going on from here must not forget that.
            (_, Login::Fails) => self.end(Step::Diverged, Settle::New),
            (Login::CantTell, _) | (_, Login::CantTell) => self.stay(Act::Wait),
        }
    }

    /// Stands still, in a step that begins with a probe, until a person has seen why it does not get
    /// on. Whoever resumes it has all attempts again.
    pub(super) fn paused(&self, step: Step) -> Transition {
        self.anew(step, Act::Pause)
    }

    /// To a step of another sort, with all attempts.
    pub(super) fn anew(&self, step: Step, act: Act) -> Transition {
        Transition {
            to: Progress {
                step,
                attempt: 0,
                ..self.at
            },
            settle: Settle::Keep,
            act,
        }
    }
}
