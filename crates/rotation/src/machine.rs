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
//! one is promoted as soon as it is seen, and nothing says "rolled back". What readers have and was
//! seen to fail is in doubt ([`Step::in_doubt`]), whatever else the look could not tell.
//!
//! Whoever loads a rotation from the store begins with [`Event::Resumed`]: at an intent that means
//! that the effect may have happened, so the answer is always to fence and probe.

mod branches;

use pentad_model::rotation::{Login, Progress, Step, Strategy};

use branches::At;

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
        (Step::RetireProbing, Event::NotNow) => from.retire_later(),
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
        (Step::Applying, Event::Effect(Effect::Throttled)) => from.apply_throttled(),
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

#[cfg(test)]
mod tests;
