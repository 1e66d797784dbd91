//! Explores the rotation protocol exhaustively at small bounds.
//!
//! The real [`transition`](pentad_rotation::machine::transition) decides; around it stands a model
//! of what `rotate.rs` does (claim, open a session, commit, act) and of a world that is as hostile
//! as the protocol allows for:
//!
//! * two workers; each may crash, sleep for any time and wake with stale knowledge at any point;
//!   a lease may expire at any time;
//! * an effect is a message on a connection, which the target runs at any later moment, unless the
//!   connection was killed first (the fence); its reply may be lost, or refuse, or throttle;
//! * a third party sets an account to a value of its own, drops it, restores it from a backup, or
//!   makes the target let anybody in and later stops that; also between two logins of one look;
//! * somebody asks for a pause, a cancellation or a roll-back, at any moment, and resolves what
//!   diverged, with or without leave to overwrite.
//!
//! What must hold in every state and of every step is in [`promises`]; the broken protocols at the
//! end must be caught by it. The parts of the model are listed in [`model`].
//!
//! Bounds: two workers, and what these variables say. With the defaults a configuration takes a few
//! seconds; with 3, 3 and 2 the largest has 7.6 million states, for which it takes two minutes and
//! 2.1 GB in the development profile.
//!
//! | variable | is | default |
//! |---|---|---|
//! | `PENTAD_MODEL_ATTEMPTS` | effects of one sort before giving up, and so new values; at most 3 | 2 |
//! | `PENTAD_MODEL_REQUESTS` | requests by people; one less where something else is odd | 2 |
//! | `PENTAD_MODEL_ACTS` | acts of the third party | 1 |
//!
//! Each test prints how many states it has seen (`cargo nextest run --no-capture`).
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod model;
mod promises;

use model::{
    sabotage::Protocol,
    world::{MOST_ATTEMPTS, Model},
};
use pentad_model::rotation::Strategy;

/// Our protocol at a target of somebody else's, or of our own; a third party comes by.
fn ours(strategy: Strategy, owned: bool) -> Model {
    Model {
        strategy,
        owned,
        consumers: true,
        attempts: bound("PENTAD_MODEL_ATTEMPTS", 2).min(MOST_ATTEMPTS),
        acts: bound("PENTAD_MODEL_ACTS", 1),
        requests: bound("PENTAD_MODEL_REQUESTS", 2),
        haunted: false,
        sluggish: false,
        protocol: Protocol::Ours,
    }
}

fn bound(variable: &str, default: u8) -> u8 {
    let set = std::env::var(variable).ok();
    set.and_then(|n| n.parse().ok()).unwrap_or(default)
}

// ---- our protocol holds -----------------------------------------------------------------------

fn holds(model: Model) {
    let began = std::time::Instant::now();
    match model.explore() {
        Ok(states) => println!(
            "{:<12} owned {:<5} consumers {:<5} attempts {} acts {} requests {} haunted {:<5} sluggish {:<5} \
             {states:>9} states, {:.1?}",
            format!("{:?}", model.strategy),
            model.owned,
            model.consumers,
            model.attempts,
            model.acts,
            model.requests,
            model.haunted,
            model.sluggish,
            began.elapsed()
        ),
        Err(way) => panic!("{model:?}\n{way}"),
    }
}

#[test]
fn in_place_never_disagrees_for_good() {
    holds(ours(Strategy::InPlace, false));
}

#[test]
fn in_place_never_disagrees_for_good_on_an_account_of_its_own() {
    holds(ours(Strategy::InPlace, true));
}

#[test]
fn overlap_never_disagrees_for_good() {
    holds(ours(Strategy::Overlap, false));
}

#[test]
fn overlap_never_disagrees_for_good_on_an_account_of_its_own() {
    holds(ours(Strategy::Overlap, true));
}

#[test]
fn alternating_never_disagrees_for_good() {
    holds(ours(Strategy::Alternating, false));
}

#[test]
fn alternating_never_disagrees_for_good_on_an_account_of_its_own() {
    holds(ours(Strategy::Alternating, true));
}

/// Somebody ends the old version while the new one is taken back; what diverged so is put right by
/// a second act of theirs, and resolved.
#[test]
fn what_diverged_while_it_was_taken_back_is_resolved_without_disagreement() {
    holds(Model {
        attempts: 1,
        acts: 2,
        requests: 2,
        ..ours(Strategy::Overlap, false)
    });
}

/// What is proven is current at once.
#[test]
fn without_consumers_it_never_disagrees_for_good() {
    for strategy in [Strategy::InPlace, Strategy::Overlap] {
        let model = ours(strategy, false);
        holds(Model {
            consumers: false,
            requests: model.requests.saturating_sub(1),
            ..model
        });
    }
}

/// A target that says "done" before it is: the proof before the promotion is what it takes.
#[test]
fn a_target_that_confirms_too_soon_is_survived() {
    for strategy in [Strategy::Overlap, Strategy::Alternating] {
        let model = ours(strategy, false);
        holds(Model {
            sluggish: true,
            requests: model.requests.saturating_sub(1),
            ..model
        });
    }
}

/// An earlier rotation's effect arrives after its bound: it is recognised, not called somebody
/// else's.
#[test]
fn a_late_effect_of_an_earlier_rotation_is_recognised() {
    let model = ours(Strategy::InPlace, false);
    holds(Model {
        haunted: true,
        requests: model.requests.saturating_sub(1),
        ..model
    });
}

// ---- broken protocols are caught --------------------------------------------------------------

fn caught(model: Model, wrong: &str) {
    match model.explore() {
        Ok(states) => panic!("{model:?} was not caught in {states} states"),
        Err(way) => {
            println!("{:?}: {way}\n", model.protocol);
            assert!(way.starts_with(wrong), "expected {wrong}, found {way}");
        }
    }
}

/// Alone, and asked for nothing.
fn sabotaged(protocol: Protocol, strategy: Strategy) -> Model {
    Model {
        protocol,
        acts: 0,
        requests: 0,
        ..ours(strategy, false)
    }
}

#[test]
fn an_intent_after_its_effect_is_caught() {
    caught(
        sabotaged(Protocol::IntentAfterEffect, Strategy::InPlace),
        "S5",
    );
}

#[test]
fn a_forgotten_value_is_caught() {
    caught(sabotaged(Protocol::ValueForgotten, Strategy::InPlace), "S5");
}

#[test]
fn not_probing_with_abandoned_values_is_caught() {
    let model = sabotaged(Protocol::AbandonedForgotten, Strategy::InPlace);
    caught(
        Model {
            haunted: true,
            ..model
        },
        "S2",
    );
}

#[test]
fn probing_without_a_fence_is_caught() {
    caught(sabotaged(Protocol::NoFence, Strategy::InPlace), "S8");
}

#[test]
fn repeating_instead_of_probing_is_caught() {
    caught(
        sabotaged(Protocol::RepeatInsteadOfProbe, Strategy::InPlace),
        "S8",
    );
}

#[test]
fn promoting_before_the_proof_is_caught() {
    let model = sabotaged(Protocol::PromoteBeforeVerify, Strategy::Overlap);
    caught(
        Model {
            sluggish: true,
            ..model
        },
        "S3",
    );
}

#[test]
fn taking_away_on_an_old_look_is_caught() {
    caught(
        sabotaged(Protocol::TakeAwayUnseen, Strategy::Overlap),
        "S10",
    );
}

/// Broken in a way that only a third party reveals: alone, these protocols keep every promise.
fn caught_with_a_third_party(protocol: Protocol, strategy: Strategy, wrong: &str) {
    let alone = sabotaged(protocol, strategy);
    holds(alone);
    caught(Model { acts: 1, ..alone }, wrong);
}

#[test]
fn overwriting_what_is_not_ours_is_caught() {
    for strategy in [Strategy::InPlace, Strategy::Overlap] {
        caught_with_a_third_party(Protocol::OverwriteForeign, strategy, "S7");
    }
}

#[test]
fn believing_a_probe_whose_control_failed_is_caught() {
    for strategy in [Strategy::InPlace, Strategy::Overlap, Strategy::Alternating] {
        caught_with_a_third_party(Protocol::NoControl, strategy, "S3");
    }
}
