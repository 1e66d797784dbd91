//! What must hold of a rotation, whoever else is at the target: one text for both checks, the model
//! (`model_check.rs`) and the simulation that runs the real engine (`engine.rs`).
//!
//! A third party can always act a moment after the last look, and nobody can know. So the question
//! is never *whether* one acted, but whether a look that began after its act is on record
//! ([`Third`]):
//!
//! | act | what must hold |
//! |---|---|
//! | none, or seen | everything below |
//! | not seen yet | everything below, but that the current version logs in ("unless unseen"), and that what the third party itself brought back does not |
//!
//! * **S1** Who ends `done` or `rolled_back` has a current version that logs in (unless unseen), no
//!   other version of its own that does, and consumers that have it. Who ends `failed` has touched
//!   nothing.
//! * **S2** `diverged` and `failed` are said only where somebody else was there, and `diverged` of an
//!   account of our own only when all attempts are used up, or the old version is gone that a
//!   roll-back needs. (`failed` is also said where a rotation that is to end before it began finds a
//!   late value of an earlier rotation.)
//! * **S3** Where the current version does not log in, the step says that it is in doubt (unless
//!   unseen). Not at `planned`, where the very next thing is a look.
//! * **S4** From everywhere, calm leads to an end. Checked by whoever drives, not here.
//! * **S5** A version that logs in, or may still come, is kept. At `diverged`, all of them are.
//! * **S6** The end says which version is current.
//! * **S7** On an account that is not our own, nothing is carried out after a look has shown that
//!   no version of ours logs in there. The account whose turn it is (alternating) is Pentad's to
//!   set: the binding names it, and what it holds before is never known.
//! * **S8** Nothing is carried out but on the connection on record, so that a successor can kill it
//!   and two workers' effects never interleave.
//! * **S9** Nothing that is carried out ends the last version that logs in (unless unseen). Neither
//!   this nor S7 is asked of what a target had confirmed before it did it: nobody can hold that back.
//! * **S10** A version is taken away (retired, undone) only by an intent that is committed with the
//!   look that called for it: what was seen days ago is no reason.

use pentad_model::rotation::{Progress, Step};
use pentad_rotation::machine::Act;

/// Versions, as bits by their numbers.
pub(crate) type Versions = u64;

/// One version's bit.
pub(crate) fn bit(version: u32) -> Versions {
    1 << version
}

/// What is known of a third party's changes of what logs in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Third {
    /// There were none.
    Quiet,
    /// There was one since the last look that is on record.
    Unseen,
    /// A look that began after the last one is on record.
    Seen,
}

/// A rotation, its store and its target at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// Where it stands.
    pub(crate) progress: Progress,
    /// Whether somebody else's change may be overwritten.
    pub(crate) owned: bool,
    /// Effects of one sort tried before giving up.
    pub(crate) max_attempts: u8,
    /// What is known of a third party.
    pub(crate) third: Third,
    /// Whether anybody else did anything at all, also what changes no password.
    pub(crate) meddled: bool,
    /// Whether a version of an earlier rotation came late, and somebody asked this one to end.
    pub(crate) haunted_and_stopped: bool,
    /// The version that it replaces.
    pub(crate) from: u32,
    /// The version that it makes, if there is one.
    pub(crate) to: Option<u32>,
    /// The store's current version.
    pub(crate) current: u32,
    /// The version that consumers have.
    pub(crate) consumers: u32,
    /// Versions that log in, each at its own account.
    pub(crate) logs_in: Versions,
    /// Versions whose effect is still on its way.
    pub(crate) on_their_way: Versions,
    /// Versions that the store keeps for probes.
    pub(crate) kept: Versions,
    /// Versions that earlier rotations abandoned.
    pub(crate) earlier: Versions,
    /// Versions that somebody else brought back, and nobody saw yet.
    pub(crate) brought_back: Versions,
}

/// What the target is about to carry out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CarriedOut {
    /// Whether its connection is the one on record.
    pub(crate) on_record: bool,
    /// Whether its account accepts only what somebody else has set, and is not the one whose turn
    /// it is.
    pub(crate) foreign: bool,
    /// Whether the target has said already that it was done: what was seen since may call for
    /// anything, but nobody can hold it back.
    pub(crate) belied: bool,
    /// What logs in afterwards.
    pub(crate) logs_in: Versions,
}

impl View {
    /// S1, S2, S3, S5, S6: what is wrong with this moment.
    pub(crate) fn broken(&self) -> Option<&'static str> {
        let step = self.progress.step;
        let unseen = self.third == Third::Unseen;
        let current_fails = self.logs_in & bit(self.current) == 0 && !unseen;
        let others = self.logs_in & !bit(self.current) & !self.brought_back;
        match step {
            Step::Done | Step::RolledBack => {
                // Also while effects are on their way: their arrival leads to moments that are
                // looked at too.
                if current_fails {
                    return Some("S1: ended, and the current version does not log in");
                }
                if others != 0 {
                    return Some("S1: ended, and another version logs in");
                }
                if self.consumers != self.current {
                    return Some("S1: ended, and the consumers have another version");
                }
                if (step == Step::Done) == (self.current == self.from) {
                    return Some("S6: the end does not say which version is current");
                }
            }
            Step::Failed => {
                if !self.meddled && !self.haunted_and_stopped {
                    return Some("S2: failed, and nobody else was there");
                }
                let touched = others & !self.earlier != 0;
                if touched || self.current != self.from || self.consumers != self.current {
                    return Some("S1: failed, and something was touched");
                }
            }
            Step::Diverged => {
                if !self.meddled {
                    return Some("S2: diverged, and nobody else was there");
                }
                let both = bit(self.from) | self.to.map_or(0, bit);
                if both & !self.kept != 0 {
                    return Some("S5: diverged, and not everything is kept");
                }
            }
            Step::Planned => {}
            _ if current_fails && !step.in_doubt() => {
                return Some("S3: the current version does not log in, and nobody is told");
            }
            _ => {}
        }
        let needed = (self.logs_in & !self.brought_back) | self.on_their_way;
        (needed & !self.kept != 0).then_some("S5: a value that works or still may is forgotten")
    }

    /// S2: what is wrong with going from here to `diverged`, `third` being what is known then.
    pub(crate) fn diverges(&self, third: Third) -> Option<&'static str> {
        let Progress { step, attempt, .. } = self.progress;
        if third == Third::Quiet {
            return Some("S2: diverged, and nobody else has changed anything");
        }
        // A roll-back whose old version is gone is for a person, owned or not.
        let gave_up = attempt >= self.max_attempts || step == Step::UndoProbing;
        (self.owned && !gave_up)
            .then_some("S2: diverged with attempts left on an account of our own")
    }

    /// S7, S8, S9: what is wrong with carrying this out now.
    pub(crate) fn carries_out(&self, what: &CarriedOut) -> Option<&'static str> {
        if !what.on_record {
            return Some("S8: an effect came over a connection that is not on record");
        }
        if what.belied {
            return None;
        }
        if what.foreign && !self.owned && self.third == Third::Seen {
            return Some("S7: somebody else's account was overwritten, knowing it");
        }
        let last = self.logs_in != 0 && what.logs_in == 0;
        (last && self.third != Third::Unseen)
            .then_some("S9: the last version that logs in was taken away")
    }
}

/// S10: what is wrong with committing this act, `looked` telling whether a look goes with it.
pub(crate) fn takes_away(act: Act, looked: bool) -> Option<&'static str> {
    let blind = matches!(act, Act::Retire | Act::Undo) && !looked;
    blind.then_some("S10: a version is taken away on what was seen long ago")
}
