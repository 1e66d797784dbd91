//! Drives the real engine through bad days in a simulated world ([`simulation`]): lost replies
//! before and after the effect, late effects, refusals, an unreachable target, a journal that fails
//! before and after the commit, a drive that is dropped at any await point, a second engine that
//! takes over when the lease has run out, requests by people; and a third party, which sets the
//! account to a value of its own, drops it, restores it from a backup, locks it, kills sessions, or
//! makes the target let anybody in.
//!
//! After the chaos one engine goes on without faults and has to come to an end. What must hold, then
//! and at every moment before, is what the model check holds the protocol to: [`promises`].
//!
//! `PENTAD_ENGINE_DAYS` (1000 if absent) is how many days each strategy lives through.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod promises;
mod simulation;

use std::{collections::BTreeMap, future::Future, pin::Pin, task::Context};

use pentad_model::rotation::{Step, Strategy};
use pentad_rotation::{
    Driven, Engine,
    rotate::{Sabotage, Settings},
};
use simulation::{Day, MAX_ATTEMPTS, World};

/// Days that each strategy lives through, alone and with a third party.
const DAYS: u32 = 1_000;
/// Ticks of chaos, and ticks in which calm has to lead to an end.
const CHAOS: u32 = 400;
const LONGEST: u32 = 20_000;

type Drive<'a> = Pin<Box<dyn Future<Output = Driven> + 'a>>;

/// Two engines and the chaos; then one, and calm. Where it ended, or the first broken promise.
fn live(day: Day) -> Result<Step, String> {
    let world = World::new(day);
    // Now and then the same worker is asked twice: one holder, two drives.
    let twice = day.seed.is_multiple_of(3);
    let engines: Vec<Engine<World>> = (0..2)
        .map(|i| {
            let settings = Settings {
                max_attempts: MAX_ATTEMPTS,
                ..Settings::new(format!("worker-{}", if twice { 0 } else { i }))
            };
            Engine::new(world.clone(), settings).sabotaged(day.sabotage)
        })
        .collect();
    let mut drives: [Option<Drive<'_>>; 2] = [None, None];
    let mut context = Context::from_waker(futures::task::noop_waker_ref());
    for tick in 0..LONGEST {
        let which = {
            let mut inner = world.lock();
            inner.chaos = tick < CHAOS;
            if tick == CHAOS {
                inner.calm();
                drives = [None, None];
            }
            if let Some(wrong) = inner.judge() {
                return Err(wrong);
            }
            if inner.row.progress.step.is_final() && tick > CHAOS {
                return Ok(inner.row.progress.step);
            }
            inner.adversity();
            let which = usize::from(inner.chaos && inner.dice.one_in(2));
            if inner.fault(60) {
                drives[which] = None;
            }
            which
        };
        if let Some(drive) = &mut drives[which] {
            if drive.as_mut().poll(&mut context).is_ready() {
                drives[which] = None;
            }
        } else {
            let row = world.lock().row.clone();
            if !row.progress.step.is_final() {
                drives[which] = Some(Box::pin(engines[which].rotate(row)));
            }
        }
    }
    let row = world.lock().row.clone();
    Err(format!(
        "{day:?}: S4: no end, at {:?} ({:?})",
        row.progress, row.reason
    ))
}

const STRATEGIES: [Strategy; 3] = [Strategy::InPlace, Strategy::Overlap, Strategy::Alternating];

/// Alone at the target.
fn day(seed: u64, strategy: Strategy) -> Day {
    Day {
        seed,
        strategy,
        owned: seed.is_multiple_of(2),
        third_party: false,
        haunted: false,
        proves: seed & 4 != 0 && strategy != Strategy::Overlap,
        adopted: seed & 8 != 0,
        sabotage: Sabotage::None,
    }
}

/// How often which end was seen, by strategy and ownership.
type Ends = BTreeMap<(Strategy, bool, Step), u32>;

fn thousands(of: impl Fn(Day) -> Day) -> Ends {
    let mut ends = Ends::new();
    for seed in 0..u64::from(days()) {
        for strategy in STRATEGIES {
            let day = of(day(seed, strategy));
            match live(day) {
                Ok(step) => *ends.entry((strategy, day.owned, step)).or_default() += 1,
                Err(wrong) => panic!("{wrong}"),
            }
        }
    }
    ends
}

fn days() -> u32 {
    let set = std::env::var("PENTAD_ENGINE_DAYS").ok();
    set.and_then(|n| n.parse().ok()).unwrap_or(DAYS)
}

/// A test world in which nothing ever gets through would prove nothing. `at_least` is for [`DAYS`].
fn seen(ends: &Ends, owned: bool, step: Step, at_least: u32) {
    for strategy in STRATEGIES {
        let seen = ends.get(&(strategy, owned, step)).copied();
        let enough = at_least * days() / DAYS;
        assert!(seen.unwrap_or(0) >= enough, "{ends:#?}");
    }
}

#[test]
fn thousands_of_bad_days_end_in_agreement() {
    let ends = thousands(|day| day);
    for owned in [false, true] {
        seen(&ends, owned, Step::Done, 50);
        seen(&ends, owned, Step::RolledBack, 50);
    }
}

#[test]
fn thousands_of_bad_days_with_a_third_party_end_in_agreement_or_tell() {
    let ends = thousands(|day| Day {
        third_party: true,
        ..day
    });
    for owned in [false, true] {
        seen(&ends, owned, Step::Done, 15);
        seen(&ends, owned, Step::RolledBack, 50);
        seen(&ends, owned, Step::Diverged, 15);
        seen(&ends, owned, Step::Failed, 5);
    }
}

#[test]
fn a_late_effect_of_an_earlier_rotation_is_no_drift() {
    for seed in 0..500 {
        let haunted = Day {
            haunted: true,
            owned: false,
            ..day(seed, Strategy::InPlace)
        };
        live(haunted).unwrap();
    }
}

// ---- broken engines are caught ----------------------------------------------------------------

fn found(day: impl Fn(u64) -> Day) -> Option<String> {
    (0..2_000).find_map(|seed| live(day(seed)).err())
}

fn caught(sabotage: Sabotage, haunted: bool) {
    let found = found(|seed| Day {
        sabotage,
        haunted,
        owned: false,
        ..day(seed, Strategy::InPlace)
    });
    println!("{found:?}");
    assert!(found.is_some(), "{sabotage:?} was not caught");
}

#[test]
fn an_intent_after_its_effect_is_caught() {
    caught(Sabotage::IntentAfterEffect, false);
}

#[test]
fn dropping_attempted_values_is_caught() {
    caught(Sabotage::DropAttempted, true);
}

#[test]
fn probing_without_a_fence_is_caught() {
    caught(Sabotage::NoFence, false);
}

/// Broken in a way that only a third party reveals: alone, this engine keeps every promise.
fn caught_with_a_third_party(sabotage: Sabotage, at: &[Strategy], wrong: &[&str]) {
    for &strategy in at {
        let alone = |seed| Day {
            sabotage,
            owned: false,
            ..day(seed, strategy)
        };
        assert_eq!((0..200).find_map(|seed| live(alone(seed)).err()), None);
        let found = found(|seed| Day {
            third_party: true,
            ..alone(seed)
        });
        println!("{found:?}");
        let found = found.unwrap_or_default();
        let told = wrong.iter().any(|wrong| found.contains(wrong));
        assert!(
            told,
            "{sabotage:?} with {strategy:?} was not caught: {found}"
        );
    }
}

#[test]
fn overwriting_what_is_not_ours_is_caught() {
    // With two accounts that take turns, what is set is the one that the binding names for it.
    let one_account = [Strategy::InPlace, Strategy::Overlap];
    caught_with_a_third_party(Sabotage::OverwriteForeign, &one_account, &["S7"]);
}

#[test]
fn believing_a_probe_whose_control_failed_is_caught() {
    caught_with_a_third_party(Sabotage::NoControl, &STRATEGIES, &["S1", "S3"]);
}

#[test]
fn believing_that_a_login_which_was_merely_let_in_is_a_proof_is_caught() {
    let one_account_or_two = [Strategy::InPlace, Strategy::Alternating];
    caught_with_a_third_party(Sabotage::LetInIsProof, &one_account_or_two, &["S1", "S3"]);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        failure_persistence: None,
        ..proptest::test_runner::Config::default()
    })]
    #[test]
    fn any_day_ends_in_agreement(
        seed: u64,
        strategy in 0usize..3,
        owned: bool,
        third_party: bool,
    ) {
        let day = Day { owned, third_party, ..day(seed, STRATEGIES[strategy]) };
        let end = live(day);
        proptest::prop_assert!(end.is_ok(), "{end:?}");
    }
}
