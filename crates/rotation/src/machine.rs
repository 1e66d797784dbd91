//! The transition function: one pure piece of code that the engine runs, the model checker explores
//! and the property tests drive.
//!
//! ```text
//! in place     planned → applying ─(promote)→ verifying → delivering → done
//! overlap,     planned → applying → verifying → delivering ─(promote)→ observing
//! alternating          → retire_probing → retiring → retire_probing → done
//!
//! applying ─unknown→ probing ─ new works ────────────→ as if confirmed
//!                            ├ only old works ───────→ applying again, or rolled_back
//!                            └ neither: ours ────────→ applying again
//!                                       somebody's ──→ diverged
//! cancel, rollback: … → undo_probing → undoing → undo_probing → rolled_back
//! ```
//!
//! A version is taken away (retired, undone) only on a look that is committed with the intent: what
//! was seen earlier may be long ago, and what is unproven may still be on its way. Where a look
//! showed that the old version is gone, there is nothing to go back to ([`Rules::old_gone`]): the new
//! one is promoted as soon as it is seen, and nothing says "rolled back".
//!
//! Whoever loads a rotation from the store begins with [`Event::Resumed`]: at an intent that means
//! that the effect may have happened, so the answer is always to fence and probe.

use pentad_model::rotation::{Login, Progress, Step, Strategy};

/// What holds for the whole of one rotation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rules {
    /// How the old value gives way.
    pub strategy: Strategy,
    /// Whether somebody else's change of the account may be overwritten.
    pub owned: bool,
    /// Effects of one sort tried before giving up.
    pub max_attempts: u8,
    /// Whether there is anybody to deliver to.
    pub consumers: bool,
    /// Whether the last look on record showed that the old version does not log in: there is nothing
    /// to go back to.
    pub old_gone: bool,
    /// Whether somebody asked to end it.
    pub stop: Stop,
}

/// A request to end a rotation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Stop {
    /// None.
    #[default]
    No,
    /// Take back what was not promoted; what was promoted goes on.
    Cancel,
    /// Make the old version current again, as long as the target accepts it.
    Rollback,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// A holder took the rotation up from the store.
    Resumed,
    /// The new value is made and judged, and a session is open.
    Prepared,
    /// It can't begin: policy, drift, missing rights. Nothing outside was touched.
    Refused,
    /// The effect ended.
    Effect(Effect),
    /// The last effect's connection is gone for certain, and this is what logins showed.
    Probed(Sight),
    /// The verification was judged.
    Verified(Verdict),
    /// All consumers have it.
    Delivered,
    /// All consumers have the old version again.
    Restored,
    /// Nobody uses the old version any more, or the deadline policy decided.
    GateOpen,
    /// Target, fence or consumer can't be reached or can't tell: keep all, try later.
    NotNow,
}

/// How an effect ended; see `pentad_connectors::Outcome`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    /// Confirmed.
    Done,
    /// Refused because of the value; nothing changed.
    RejectedValue,
    /// Refused for a reason that a person must mend; nothing changed.
    RejectedStop,
    /// Not now; nothing changed.
    Throttled,
    /// Nobody knows.
    Unknown,
}

/// What logins showed, with a random value refused beside them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Sight {
    /// With the new version.
    pub new: Login,
    /// With the old version.
    pub old: Login,
    /// With any version that was attempted before and not promoted.
    pub abandoned: Login,
}

/// A judged verification.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// As it should be.
    Holds,
    /// Not as it should be.
    Broken,
    /// Can't be told.
    CantTell,
}

/// What the commit does to the versions' stages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Settle {
    /// Nothing.
    Keep,
    /// The new version is current, the old one previous.
    New,
    /// The old version is current, the new one abandoned.
    Old,
    /// The new version is current, the old one retired.
    Retire,
}

/// What the holder does once the transition is durable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Act {
    /// Make, judge and seal a new value.
    Prepare,
    /// Effect: give the new value to the target.
    Apply,
    /// Fence the recorded connection, then log in with everything.
    Probe,
    /// Log in as a consumer would, and judge what was seen.
    Verify,
    /// Hand the new value to its consumers.
    Deliver,
    /// See whether the retirement gate is open.
    Observe,
    /// Effect: make the target refuse the old value.
    Retire,
    /// Effect: take the new value back.
    Undo,
    /// Hand the old value to its consumers again.
    Restore,
    /// Come back later, in the same step.
    Wait,
    /// Stand still until a person resumes it.
    Pause,
    /// Nothing; it has ended.
    End,
}

impl Act {
    /// Whether it touches the outside, so that a connection must be on record first.
    pub fn is_effect(self) -> bool {
        matches!(self, Self::Apply | Self::Retire | Self::Undo)
    }
}

/// The next step, what it does to the stages, and what to do then.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Transition {
    /// Where the rotation stands from now on.
    pub to: Progress,
    /// What happens to the stages in the same commit.
    pub settle: Settle,
    /// What to do once that is durable.
    pub act: Act,
}

/// Decides. Total: an event that makes no sense at a step leaves it there, to be taken up anew.
pub fn transition(rules: &Rules, at: Progress, event: Event) -> Transition {
    let from = At { rules, at };
    match (at.step, event) {
        (step, _) if step.is_final() => from.stay(Act::End),
        (_, Event::NotNow) => from.stay(Act::Wait),

        // "As before" is what a roll-back promises, and no more of a version that is gone.
        (Step::Planned, _) if rules.stop != Stop::No && rules.old_gone => {
            from.end(Step::Failed, Settle::Keep)
        }
        (Step::Planned, _) if rules.stop != Stop::No => from.end(Step::RolledBack, Settle::Keep),
        (Step::Planned, Event::Prepared) => from.again(Step::Applying, Act::Apply),
        (Step::Planned, Event::Refused) => from.end(Step::Failed, Settle::Keep),
        (Step::Planned, _) => from.stay(Act::Prepare),

        (Step::Applying, Event::Effect(Effect::Done)) => from.applied(),
        (Step::Applying, Event::Effect(Effect::Throttled)) => from.throttled(Step::Applying),
        (Step::Applying, Event::Effect(Effect::RejectedValue)) => from.value_rejected(),
        (Step::Applying, Event::Effect(Effect::RejectedStop)) => from.apply_rejected(),
        (Step::Applying, _) => from.go(Step::Probing, Act::Probe),
        (Step::Probing, Event::Probed(sight)) => from.converge(sight),
        (Step::Probing, _) => from.stay(Act::Probe),

        (Step::Verifying | Step::Delivering, _) if from.may_undo() => from.undo(),
        (Step::Verifying, Event::Verified(Verdict::Holds)) => from.verified(),
        (Step::Verifying, Event::Verified(Verdict::Broken)) => from.broken(),
        (Step::Verifying, Event::Verified(Verdict::CantTell)) => from.unproven(),
        (Step::Verifying, _) => from.stay(Act::Verify),

        (Step::Delivering, Event::Delivered) => from.delivered(),
        (Step::Delivering, _) => from.stay(Act::Deliver),

        (Step::Observing, Event::Probed(sight)) if rules.stop == Stop::Rollback => {
            from.demote(sight)
        }
        (Step::Observing, _) if rules.stop == Stop::Rollback => from.stay(Act::Probe),
        (Step::Observing, Event::GateOpen) => from.anew(Step::RetireProbing, Act::Probe),
        (Step::Observing, _) => from.stay(Act::Observe),

        (Step::Retiring, Event::Effect(Effect::Throttled)) => from.throttled(Step::Retiring),
        (Step::Retiring, Event::Effect(Effect::RejectedValue | Effect::RejectedStop)) => {
            from.go(Step::Observing, Act::Pause)
        }
        (Step::Retiring, _) => from.go(Step::RetireProbing, Act::Probe),
        (Step::RetireProbing, Event::Probed(sight)) => from.retired(sight),
        (Step::RetireProbing, _) => from.stay(Act::Probe),

        (Step::Undoing, Event::Effect(Effect::Throttled)) => from.throttled(Step::Undoing),
        (Step::Undoing, Event::Effect(Effect::RejectedValue | Effect::RejectedStop)) => {
            from.paused(Step::UndoProbing)
        }
        (Step::Undoing, _) => from.go(Step::UndoProbing, Act::Probe),
        (Step::UndoProbing, Event::Probed(sight)) => from.undone(sight),
        (Step::UndoProbing, Event::Restored) => from.end(Step::RolledBack, Settle::Old),
        (Step::UndoProbing, _) => from.stay(Act::Probe),

        // Covered by the first arm; the compiler can't see it.
        (Step::Done | Step::RolledBack | Step::Failed | Step::Diverged, _) => from.stay(Act::End),
    }
}

/// A rotation at a step, with its rules: the branches of [`transition`] that need more than a line.
struct At<'a> {
    rules: &'a Rules,
    at: Progress,
}

impl At<'_> {
    fn stay(&self, act: Act) -> Transition {
        Transition {
            to: self.at,
            settle: Settle::Keep,
            act,
        }
    }

    fn go(&self, step: Step, act: Act) -> Transition {
        Transition {
            to: Progress { step, ..self.at },
            settle: Settle::Keep,
            act,
        }
    }

    /// A new intent: one more attempt; the count starts anew where the sort of effect changes.
    fn again(&self, step: Step, act: Act) -> Transition {
        let same_sort = match step {
            Step::Retiring => self.at.step == Step::RetireProbing,
            Step::Undoing => self.at.step == Step::UndoProbing,
            _ => true,
        };
        let attempt = if same_sort {
            self.at.attempt.saturating_add(1)
        } else {
            1
        };
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
    fn throttled(&self, step: Step) -> Transition {
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

    fn end(&self, step: Step, settle: Settle) -> Transition {
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
    fn may_undo(&self) -> bool {
        self.rules.stop != Stop::No && !self.at.promoted && !self.in_place()
    }

    /// Not proven yet, so it may not even be there yet; and what was seen of the old version may be
    /// long ago: fence and look before taking anything back.
    fn undo(&self) -> Transition {
        if self.rules.old_gone {
            self.go(Step::Probing, Act::Probe)
        } else {
            self.anew(Step::UndoProbing, Act::Probe)
        }
    }

    /// The target says that it has the new value. In place the old one stopped working at that
    /// moment, so the promotion follows at once: the shortest window. Elsewhere the proof comes
    /// first, and at once where the old version is gone already.
    fn applied(&self) -> Transition {
        if self.in_place() {
            self.promote(Step::Verifying, Act::Verify)
        } else if self.rules.old_gone && !self.at.promoted {
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
    fn value_rejected(&self) -> Transition {
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
    fn apply_rejected(&self) -> Transition {
        if self.at.promoted || self.rules.old_gone {
            return self.go(Step::Probing, Act::Pause);
        }
        self.end(Step::RolledBack, Settle::Old)
    }

    /// The convergence table: the one safe move after an unknown outcome.
    fn converge(&self, sight: Sight) -> Transition {
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
    fn verified(&self) -> Transition {
        if !self.rules.consumers {
            self.delivered()
        } else if self.rules.old_gone && !self.at.promoted {
            self.promote(Step::Delivering, Act::Deliver)
        } else {
            self.go(Step::Delivering, Act::Deliver)
        }
    }

    /// Waits; where the old version is gone, at a step that tells readers so.
    fn unproven(&self) -> Transition {
        if self.rules.old_gone && !self.at.promoted {
            self.go(Step::Probing, Act::Wait)
        } else {
            self.stay(Act::Wait)
        }
    }

    fn delivered(&self) -> Transition {
        if self.in_place() {
            self.end(Step::Done, Settle::Retire)
        } else {
            self.promote(Step::Observing, Act::Observe)
        }
    }

    /// It was applied, and yet a login shows otherwise: somebody else was there, or the target
    /// forgot it. See who holds the account, and count it. Where the probe keeps contradicting the
    /// verification, a person has to look.
    fn broken(&self) -> Transition {
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
    fn demote(&self, sight: Sight) -> Transition {
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

    fn retired(&self, sight: Sight) -> Transition {
        match (sight.new, sight.old) {
            (Login::Works, Login::Fails) => self.end(Step::Done, Settle::Retire),
            // Asked for while the effect was under way, and it did not happen.
            (Login::Works, Login::Works) if self.rules.stop == Stop::Rollback => self.take_back(),
            (Login::Works, Login::Works) if self.exhausted() => {
                self.go(Step::Observing, Act::Pause)
            }
            (Login::Works, Login::Works) => self.again(Step::Retiring, Act::Retire),
            (Login::Fails, _) => self.lost(),
            (Login::CantTell, _) | (_, Login::CantTell) => self.stay(Act::Wait),
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

    fn undone(&self, sight: Sight) -> Transition {
        match (sight.new, sight.old) {
            // It may be gone by somebody else's doing, before its consumers had the old one again.
            (Login::Fails, Login::Works) if self.rules.consumers => self.stay(Act::Restore),
            (Login::Fails, Login::Works) => self.end(Step::RolledBack, Settle::Old),
            (Login::Works, Login::Works) if self.exhausted() => self.paused(Step::UndoProbing),
            (Login::Works, Login::Works) => self.again(Step::Undoing, Act::Undo),
            // Somebody took the old value away. If the new one works, it is the last one that does:
            // taking it back as well would lock everybody out.
            (_, Login::Fails) => self.end(Step::Diverged, Settle::Keep),
            (Login::CantTell, _) | (_, Login::CantTell) => self.stay(Act::Wait),
        }
    }

    /// Stands still, in a step that begins with a probe, until a person has seen why it does not get
    /// on. Whoever resumes it has all attempts again.
    fn paused(&self, step: Step) -> Transition {
        self.anew(step, Act::Pause)
    }

    /// To a step of another sort, with all attempts.
    fn anew(&self, step: Step, act: Act) -> Transition {
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

#[cfg(test)]
mod tests;
