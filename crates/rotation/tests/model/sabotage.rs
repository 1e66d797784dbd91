//! Protocols that are broken on purpose, which the search must catch.

use pentad_model::rotation::{Progress, Step};
use pentad_rotation::machine::{Act, Effect, Event, Rules, Settle, Transition, transition};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    Ours,
    IntentAfterEffect,
    /// The new value is not kept with the intent: a successor makes another one.
    ValueForgotten,
    /// Probes don't try what was abandoned before.
    AbandonedForgotten,
    NoFence,
    RepeatInsteadOfProbe,
    PromoteBeforeVerify,
    /// Every account is treated as our own.
    OverwriteForeign,
    /// A login counts though a random value logs in too.
    NoControl,
    /// The new value is taken back, or the old one retired, on what an earlier look showed.
    TakeAwayUnseen,
}

impl Protocol {
    /// The real decision, or a broken one.
    pub(crate) fn decide(self, rules: Rules, at: Progress, event: Event) -> Transition {
        let to = |step, promoted, settle, act| Transition {
            to: Progress {
                step,
                promoted,
                ..at
            },
            settle,
            act,
        };
        match (self, at.step, event) {
            (Self::RepeatInsteadOfProbe, Step::Applying, Event::Resumed) => {
                to(Step::Applying, false, Settle::Keep, Act::Apply)
            }
            (Self::ValueForgotten, Step::Applying, Event::Resumed) => {
                to(Step::Planned, false, Settle::Keep, Act::Prepare)
            }
            (Self::PromoteBeforeVerify, Step::Applying, Event::Effect(Effect::Done)) => {
                to(Step::Verifying, true, Settle::New, Act::Verify)
            }
            (Self::TakeAwayUnseen, Step::Observing, Event::GateOpen) => {
                to(Step::Retiring, at.promoted, Settle::Keep, Act::Retire)
            }
            (Self::OverwriteForeign, ..) => transition(
                &Rules {
                    owned: true,
                    ..rules
                },
                at,
                event,
            ),
            _ => transition(&rules, at, event),
        }
    }
}
