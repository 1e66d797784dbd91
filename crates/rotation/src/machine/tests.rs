//! The decisions, row by row, and what holds of all of them.

use Login::{CantTell, Fails, Works};
use Step::*;

use super::*;

const IN_PLACE: Rules = Rules {
    strategy: Strategy::InPlace,
    owned: false,
    max_attempts: 2,
    consumers: true,
    old_gone: false,
    stop: Stop::No,
};
const OVERLAP: Rules = Rules {
    strategy: Strategy::Overlap,
    ..IN_PLACE
};

fn at(step: Step, attempt: u8, promoted: bool) -> Progress {
    Progress {
        step,
        attempt,
        promoted,
    }
}

fn probed(new: Login, old: Login, abandoned: Login) -> Event {
    Event::Probed(Sight {
        new,
        old,
        abandoned,
    })
}

fn goes(rules: Rules, from: Progress, event: Event) -> (Step, Settle, Act) {
    let next = transition(&rules, from, event);
    (next.to.step, next.settle, next.act)
}

/// An effect is done, rejected (for its value, or for good), throttled, or unknown.
#[test]
fn an_effect_ends_in_one_of_four_ways() {
    let row = |attempt, effect| {
        goes(
            IN_PLACE,
            at(Applying, attempt, false),
            Event::Effect(effect),
        )
    };
    assert_eq!(row(1, Effect::Done), (Verifying, Settle::New, Act::Verify));
    assert_eq!(
        row(1, Effect::RejectedValue),
        (Planned, Settle::Old, Act::Prepare)
    );
    assert_eq!(
        row(2, Effect::RejectedValue),
        (RolledBack, Settle::Old, Act::End)
    );
    assert_eq!(
        row(1, Effect::RejectedStop),
        (RolledBack, Settle::Old, Act::End)
    );
    assert_eq!(
        row(1, Effect::Throttled),
        (Applying, Settle::Keep, Act::Wait)
    );
    assert_eq!(row(1, Effect::Unknown), (Probing, Settle::Keep, Act::Probe));
}

/// Nothing was sent, or nothing changed: there is nothing to fence, to look at or to wait for.
#[test]
fn what_is_to_end_does_so_where_its_effect_did_not_happen() {
    for stop in [Stop::Cancel, Stop::Rollback] {
        let row = |promoted, old_gone| {
            let rules = Rules {
                stop,
                old_gone,
                ..IN_PLACE
            };
            goes(
                rules,
                at(Applying, 1, promoted),
                Event::Effect(Effect::Throttled),
            )
        };
        assert_eq!(row(false, false), (RolledBack, Settle::Old, Act::End));
        let wait = (Applying, Settle::Keep, Act::Wait);
        assert_eq!(row(true, false), wait);
        assert_eq!(row(false, true), wait);
    }
}

/// The convergence table: what is done after an unknown outcome.
#[test]
fn convergence_by_what_logins_show() {
    let owned = Rules {
        owned: true,
        ..IN_PLACE
    };
    let row = |rules, attempt, new, old, abandoned| {
        goes(
            rules,
            at(Probing, attempt, false),
            probed(new, old, abandoned),
        )
    };
    let again = (Applying, Settle::Keep, Act::Apply);
    let wait = (Probing, Settle::Keep, Act::Wait);
    let pause = (Probing, Settle::Keep, Act::Pause);
    let diverged = (Diverged, Settle::Keep, Act::End);
    for old in [Works, Fails, CantTell] {
        assert_eq!(
            row(IN_PLACE, 1, Works, old, Fails),
            (Verifying, Settle::New, Act::Verify)
        );
        assert_eq!(row(IN_PLACE, 1, CantTell, old, Fails), wait);
    }
    assert_eq!(row(IN_PLACE, 1, Fails, Works, Fails), again);
    assert_eq!(
        row(IN_PLACE, 2, Fails, Works, Fails),
        (RolledBack, Settle::Old, Act::End)
    );
    assert_eq!(row(IN_PLACE, 1, Fails, CantTell, Fails), wait);
    assert_eq!(row(IN_PLACE, 1, Fails, Fails, Fails), diverged);
    assert_eq!(row(owned, 1, Fails, Fails, Fails), again);
    assert_eq!(row(owned, 2, Fails, Fails, Fails), diverged);
    assert_eq!(row(IN_PLACE, 1, Fails, Fails, Works), again);
    assert_eq!(row(IN_PLACE, 2, Fails, Fails, Works), pause);
    assert_eq!(row(IN_PLACE, 1, Fails, Fails, CantTell), wait);
}

#[test]
fn in_place_promotes_at_once_and_the_others_after_the_proof() {
    let verified = Event::Verified(Verdict::Holds);
    let done = Event::Effect(Effect::Done);
    assert_eq!(
        goes(OVERLAP, at(Applying, 1, false), done),
        (Verifying, Settle::Keep, Act::Verify)
    );
    assert_eq!(
        goes(OVERLAP, at(Verifying, 1, false), verified),
        (Delivering, Settle::Keep, Act::Deliver)
    );
    assert_eq!(
        goes(OVERLAP, at(Delivering, 1, false), Event::Delivered),
        (Observing, Settle::New, Act::Observe)
    );
    // What was seen at the verification may be days old: look again before taking the old one away.
    assert_eq!(
        goes(OVERLAP, at(Observing, 1, true), Event::GateOpen),
        (RetireProbing, Settle::Keep, Act::Probe)
    );
    assert_eq!(
        goes(
            OVERLAP,
            at(RetireProbing, 0, true),
            probed(Works, Works, Fails)
        ),
        (Retiring, Settle::Keep, Act::Retire)
    );
    assert_eq!(
        goes(
            OVERLAP,
            at(RetireProbing, 1, true),
            probed(Works, Fails, Fails)
        ),
        (Done, Settle::Retire, Act::End)
    );
    assert_eq!(
        goes(IN_PLACE, at(Verifying, 1, true), verified),
        (Delivering, Settle::Keep, Act::Deliver)
    );
    assert_eq!(
        goes(IN_PLACE, at(Delivering, 1, true), Event::Delivered),
        (Done, Settle::Retire, Act::End)
    );
}

#[test]
fn a_roll_back_needs_an_old_version_that_works() {
    let rules = Rules {
        stop: Stop::Rollback,
        ..OVERLAP
    };
    let observing = |new, old| goes(rules, at(Observing, 1, true), probed(new, old, Fails));
    assert_eq!(observing(Works, Works), (Undoing, Settle::Old, Act::Undo));
    assert_eq!(observing(Fails, Works), (Undoing, Settle::Old, Act::Undo));
    let wait = (Observing, Settle::Keep, Act::Wait);
    assert_eq!(observing(Works, CantTell), wait);
    assert_eq!(observing(CantTell, Fails), wait);
    let pause = (Observing, Settle::Keep, Act::Pause);
    assert_eq!(observing(Works, Fails), pause);
    // Neither works: readers have to be told, which waiting for a person here would not do.
    let probe = (Probing, Settle::Keep, Act::Probe);
    assert_eq!(observing(Fails, Fails), probe);
    let undone = |attempt, new, old| {
        goes(
            rules,
            at(UndoProbing, attempt, false),
            probed(new, old, Fails),
        )
    };
    // Somebody else may have taken the new one away before its consumers had the old one again.
    let restore = (UndoProbing, Settle::Keep, Act::Restore);
    assert_eq!(undone(1, Fails, Works), restore);
    assert_eq!(
        goes(rules, at(UndoProbing, 1, false), Event::Restored),
        (RolledBack, Settle::Old, Act::End)
    );
    assert_eq!(undone(1, Works, Works), (Undoing, Settle::Keep, Act::Undo));
    assert_eq!(
        undone(2, Works, Works),
        (UndoProbing, Settle::Keep, Act::Pause)
    );
    let diverged = (Diverged, Settle::New, Act::End);
    assert_eq!(undone(1, Works, Fails), diverged);
    assert_eq!(undone(1, CantTell, Fails), diverged);
}

#[test]
fn a_cancellation_takes_back_what_was_not_promoted() {
    let cancel = |rules| Rules {
        stop: Stop::Cancel,
        ..rules
    };
    let resumed = |rules, from| goes(cancel(rules), from, Event::Resumed);
    assert_eq!(
        resumed(OVERLAP, at(Planned, 0, false)),
        (RolledBack, Settle::Keep, Act::End)
    );
    assert_eq!(
        resumed(OVERLAP, at(Verifying, 1, false)),
        (UndoProbing, Settle::Keep, Act::Probe)
    );
    assert_eq!(
        resumed(OVERLAP, at(Delivering, 1, false)),
        (UndoProbing, Settle::Keep, Act::Probe)
    );
    assert_eq!(
        resumed(OVERLAP, at(Observing, 1, true)),
        (Observing, Settle::Keep, Act::Observe)
    );
    assert_eq!(
        resumed(IN_PLACE, at(Verifying, 1, true)),
        (Verifying, Settle::Keep, Act::Verify)
    );
}

/// A third party has ended the old version, and a look has shown it.
const ALONE: Rules = Rules {
    old_gone: true,
    ..OVERLAP
};

#[test]
fn the_only_version_that_works_is_promoted_at_once() {
    // Seen, not only said: a target may confirm what it does later.
    assert_eq!(
        goes(ALONE, at(Applying, 1, false), Event::Effect(Effect::Done)),
        (Probing, Settle::Keep, Act::Probe)
    );
    assert_eq!(
        goes(ALONE, at(Probing, 1, false), probed(Works, Fails, Fails)),
        (Verifying, Settle::New, Act::Verify)
    );
    // It was seen to be gone, and now can't be asked.
    assert_eq!(
        goes(ALONE, at(Probing, 1, false), probed(Works, CantTell, Fails)),
        (Verifying, Settle::New, Act::Verify)
    );
    assert_eq!(
        goes(OVERLAP, at(Applying, 2, true), Event::Effect(Effect::Done)),
        (Probing, Settle::Keep, Act::Probe)
    );
    let verified = Event::Verified(Verdict::Holds);
    assert_eq!(
        goes(ALONE, at(Verifying, 1, false), verified),
        (Delivering, Settle::New, Act::Deliver)
    );
    let nobody = Rules {
        consumers: false,
        ..ALONE
    };
    assert_eq!(
        goes(nobody, at(Verifying, 1, false), verified),
        (Observing, Settle::New, Act::Observe)
    );
}

/// A look that can tell of one version only is heeded for that one.
#[test]
fn a_version_that_readers_have_and_that_fails_is_in_doubt_whatever_else_can_t_be_told() {
    let doubtful = |rules, from, event| {
        let (step, settle, _) = goes(rules, from, event);
        assert!(step.in_doubt(), "{from:?} {event:?}: {step}");
        assert_eq!(settle, Settle::Keep);
    };
    let look = Event::Verified(Verdict::CantTell);
    doubtful(ALONE, at(Verifying, 1, false), look);
    let new_fails = probed(Fails, CantTell, Fails);
    doubtful(OVERLAP, at(RetireProbing, 1, true), new_fails);
    let rollback = Rules {
        stop: Stop::Rollback,
        ..OVERLAP
    };
    doubtful(rollback, at(Observing, 1, true), new_fails);
}

/// Nobody could pause it else while the target can't tell, and it would retire the old version as
/// soon as that is over.
#[test]
fn a_look_before_the_retirement_that_can_t_tell_leads_back_to_observing() {
    let later = |attempt, event| goes(OVERLAP, at(RetireProbing, attempt, true), event);
    for event in [Event::NotNow, probed(CantTell, Works, Fails)] {
        assert_eq!(later(0, event), (Observing, Settle::Keep, Act::Wait));
        assert_eq!(later(1, event), (RetireProbing, Settle::Keep, Act::Wait));
    }
}

#[test]
fn nothing_is_taken_back_where_the_old_version_is_gone() {
    let cancel = Rules {
        stop: Stop::Cancel,
        ..ALONE
    };
    let probe = (Probing, Settle::Keep, Act::Probe);
    for step in [Verifying, Delivering] {
        assert_eq!(goes(cancel, at(step, 1, false), Event::Resumed), probe);
    }
}

#[test]
fn rolled_back_is_never_said_of_a_version_that_is_gone() {
    let rejected = |rules, attempt, effect| {
        let event = Event::Effect(effect);
        goes(rules, at(Applying, attempt, false), event)
    };
    let owned = Rules {
        strategy: Strategy::InPlace,
        owned: true,
        ..ALONE
    };
    // A person mends what was in the way, and it goes on.
    assert_eq!(
        rejected(owned, 1, Effect::RejectedStop),
        (Probing, Settle::Keep, Act::Pause)
    );
    assert_eq!(
        rejected(owned, 1, Effect::RejectedValue),
        (Planned, Settle::Old, Act::Prepare)
    );
    let probe = (Probing, Settle::Keep, Act::Probe);
    assert_eq!(rejected(owned, 2, Effect::RejectedValue), probe);
    let cancel = Rules {
        stop: Stop::Cancel,
        ..owned
    };
    assert_eq!(rejected(cancel, 1, Effect::RejectedValue), probe);
    assert_eq!(
        goes(cancel, at(Planned, 1, false), Event::Prepared),
        (Failed, Settle::Keep, Act::End)
    );
}

fn events() -> Vec<Event> {
    let logins = [Works, Fails, CantTell];
    let mut all = vec![
        Event::Resumed,
        Event::Prepared,
        Event::Refused,
        Event::Delivered,
        Event::Restored,
        Event::GateOpen,
        Event::NotNow,
    ];
    all.extend(
        [
            Effect::Done,
            Effect::RejectedValue,
            Effect::RejectedStop,
            Effect::Throttled,
            Effect::Unknown,
        ]
        .map(Event::Effect),
    );
    all.extend([Verdict::Holds, Verdict::Broken, Verdict::CantTell].map(Event::Verified));
    for new in logins {
        for old in logins {
            all.extend(logins.map(|abandoned| probed(new, old, abandoned)));
        }
    }
    all
}

/// Every step, event and rule there is: it is total, the end is the end, and an effect is always
/// preceded by its intent.
#[test]
fn whatever_comes_there_is_an_answer() {
    for strategy in [Strategy::InPlace, Strategy::Overlap, Strategy::Alternating] {
        for stop in [Stop::No, Stop::Cancel, Stop::Rollback] {
            for bits in 0..16u8 {
                let rules = Rules {
                    strategy,
                    stop,
                    owned: bits & 1 != 0,
                    consumers: bits & 2 != 0,
                    max_attempts: [0, 2, 255][usize::from(bits % 3)],
                    old_gone: bits & 8 != 0,
                };
                for (step, attempt) in Step::ALL
                    .iter()
                    .flat_map(|s| [0, 1, 2, 255].map(|a| (*s, a)))
                {
                    for event in events() {
                        check(&rules, at(step, attempt, bits & 4 != 0), event);
                    }
                }
            }
        }
    }
}

fn check(rules: &Rules, from: Progress, event: Event) {
    let next = transition(rules, from, event);
    let to = next.to.step;
    let context = (rules, from, event, next);
    if from.step.is_final() {
        assert_eq!(
            (next.to, next.settle, next.act),
            (from, Settle::Keep, Act::End)
        );
    }
    assert_eq!(to.is_final(), next.act == Act::End, "{context:?}");
    assert_eq!(
        next.act == Act::Apply,
        to == Applying && next.act != Act::Wait,
        "{context:?}"
    );
    assert!(next.act != Act::Retire || to == Retiring, "{context:?}");
    assert!(next.act != Act::Undo || to == Undoing, "{context:?}");
    // Nothing is taken away but in the commit that holds the look that called for it.
    if matches!(next.act, Act::Retire | Act::Undo) {
        assert!(matches!(event, Event::Probed(_)), "{context:?}");
    }
    // An intent that is taken up anew may have had its effect: never repeated, always probed.
    if matches!(from.step, Applying | Retiring | Undoing) && event == Event::Resumed {
        assert_eq!(next.act, Act::Probe, "{context:?}");
    }
    match next.settle {
        Settle::Keep => assert_eq!(next.to.promoted, from.promoted, "{context:?}"),
        Settle::Old => assert!(!next.to.promoted, "{context:?}"),
        Settle::New | Settle::Retire => assert!(next.to.promoted, "{context:?}"),
    }
}
