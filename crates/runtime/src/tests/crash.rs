//! Panics: contained, handed over, set aside.

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::{
    prelude::Rng as _,
    test_runner::{RngAlgorithm, TestRng},
};

use super::*;
use crate::{AgentState, CallError, Crash, chaos::Fault};

#[tokio::test]
async fn a_panic_restarts_the_agent_and_the_envelope_is_taken_up_again() {
    let bench = bench(options());
    assert_eq!(bench.ask(Ask::PanicFirst(2)).await, Ok((0, 3)));
    let health = bench.health();
    assert_eq!(
        (health.incarnation, health.restarts, health.handled),
        (3, 2, 1)
    );
    assert!(health.last_restart_ms.unwrap() < 2_000);
    let seen: Vec<_> = bench.world.seen.lock().iter().map(|s| (s.1, s.2)).collect();
    assert_eq!(seen, [(1, 1), (2, 2), (3, 3)]);
}

#[tokio::test]
async fn the_report_of_a_panic_shows_its_place_and_not_its_message() {
    let bench = bench(options());
    bench.ask(Ask::Panic).await.unwrap_err();
    let health = bench.health();
    let Some(Crash::Panic { place: Some(place) }) = &health.last_crash else {
        panic!("{health:?}")
    };
    assert!(place.contains("tests/mod.rs:"), "{place}");
    assert!(!format!("{health:?}").contains("secret"));
}

#[tokio::test]
async fn an_envelope_that_crashed_its_agent_three_times_is_set_aside_and_reported() {
    let bench = bench(options());
    let refused = bench.ask(Ask::Panic).await;
    let Err(CallError::Quarantined {
        agent,
        envelope,
        attempts: 3,
    }) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(agent, "subject");
    until("reported", || !bench.world.set_aside.lock().is_empty()).await;
    let reported = bench.world.set_aside.lock()[0].clone();
    assert_eq!((reported.envelope, reported.attempts), (envelope, 3));
    assert_eq!((reported.agent, reported.context), ("subject", context()));
    // And the agent serves on.
    assert_eq!(bench.ask(Ask::Echo(1)).await, Ok((1, 1)));
    assert_eq!(bench.health().quarantined, 1);
}

#[tokio::test]
async fn bystanders_of_crashes_are_handed_over_and_never_set_aside() {
    let bench = bench(options());
    let bystander = bench.send(Priority::Normal, Ask::Gate);
    until("in flight", || bench.health().in_flight == 1).await;
    for _ in 0..2 {
        // Both in flight when it crashes, each time.
        assert!(matches!(
            bench.ask(Ask::Panic).await,
            Err(CallError::Quarantined { .. })
        ));
    }
    bench.world.open(8);
    let (_, attempt) = bystander.await.unwrap().unwrap();
    assert!(attempt > 3, "{attempt}");
    assert_eq!(bench.health().quarantined, 2);
}

#[tokio::test]
async fn queued_work_survives_a_crash_in_order() {
    let bench = bench(Options {
        workers: 2..=2,
        ..options()
    });
    assert!(bench.supervisor.ready(Duration::from_secs(10)).await);
    let held = bench.send(Priority::Normal, Ask::Gate);
    until("held", || bench.health().in_flight == 1).await;
    let mut calls = vec![bench.send(Priority::Normal, Ask::PanicFirst(2))];
    until("queued", || bench.health().queued[2] == 1).await;
    for n in 0..20 {
        calls.push(bench.send(Priority::Normal, Ask::Echo(n)));
        until("queued", || bench.health().queued[2] == n as usize + 2).await;
    }
    bench.world.open(1);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    held.await.unwrap().unwrap();
    assert_eq!(*bench.world.order.lock(), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_factory_that_fails_or_panics_is_tried_again_and_work_waits() {
    let supervisor = Supervisor::start(Surroundings {
        pressure: Arc::new(Calm),
        ..Surroundings::system()
    })
    .unwrap();
    let tries = AtomicU32::new(0);
    let address = supervisor.spawn(
        move |_: Incarnation| match tries.fetch_add(1, Ordering::SeqCst) {
            0 => Err("no store"),
            1 => panic!("the factory, too"),
            _ => Ok(Other),
        },
        options(),
        |_, _| true,
    );
    assert_eq!(address.call(&context(), Priority::Normal, 5).await, Ok(5));
    let health = supervisor.health().remove(0);
    assert_eq!((health.restarts, health.incarnation), (2, 3));
    assert_eq!(health.last_crash, Some(Crash::NotStarted));
}

#[tokio::test]
async fn injected_faults_strike_one_envelope_each() {
    let bench = bench(options());
    assert!(bench.supervisor.inject("subject", Fault::Panic));
    assert!(!bench.supervisor.inject("nobody", Fault::Panic));
    assert_eq!(bench.ask(Ask::Echo(1)).await, Ok((1, 2)));
    assert_eq!(bench.ask(Ask::Echo(2)).await, Ok((2, 1)));
}

#[tokio::test]
async fn injected_faults_never_strike_the_same_envelope_twice() {
    let bench = bench(options());
    for _ in 0..5 {
        bench.supervisor.inject("subject", Fault::Panic);
    }
    // Five faults wait, and the envelope goes back to the head of its lane each time.
    for n in 0..5 {
        assert_eq!(bench.ask(Ask::Echo(n)).await, Ok((n, 2)));
    }
    let health = bench.health();
    assert_eq!((health.restarts, health.quarantined), (5, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn injected_faults_on_top_of_handlers_that_panic_lose_nothing() {
    let bench = bench(options());
    let mut calls = Vec::new();
    for n in 0..400u64 {
        let ask = match n % 10 {
            0 => Ask::PanicFirst(1),
            1 => Ask::PanicAfterEffect(1),
            2 => Ask::Sleep(Duration::from_millis(1)),
            3 => Ask::Compute(Duration::from_millis(1)),
            _ => Ask::Echo(n),
        };
        if n % 8 == 0 {
            bench.supervisor.inject("subject", Fault::Panic);
        }
        calls.push(bench.send(Priority::ALL[n as usize % 4], ask));
        if n % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // At worst one crash of its own and an injected one: so each one of them is answered.
    for call in calls {
        call.await.unwrap().unwrap();
    }
    until("settled", || bench.world.settled.lock().len() == 400).await;
    let health = bench.health();
    assert_eq!(
        (health.accepted, health.handled, health.quarantined),
        (400, 400, 0)
    );
    assert_eq!(bench.world.effects.lock().len(), 400);
    assert!(health.restarts >= 50, "{health:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_under_random_panics_take_effect_once_and_are_answered_once() {
    let bench = bench(options());
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut calls = Vec::new();
    for n in 0..1_000u64 {
        let ask = match rng.next_u32() % 100 {
            0..3 => Ask::PanicFirst(1),
            3..5 => Ask::PanicFirst(2),
            5..8 => Ask::PanicAfterEffect(1),
            8..20 => Ask::Sleep(Duration::from_millis(1)),
            20..24 => Ask::Compute(Duration::from_millis(1)),
            _ => Ask::Echo(n),
        };
        calls.push(bench.send(Priority::ALL[n as usize % 4], ask));
        if n % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // None crashes its agent three times by itself, and being there when others do does not count:
    // so each one of them is answered.
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let health = bench.health();
    assert_eq!(
        (health.accepted, health.handled, health.quarantined),
        (1_000, 1_000, 0)
    );
    assert_eq!(bench.world.effects.lock().len(), 1_000);
    assert!(health.restarts > 30, "{health:?}");
    assert_eq!(
        (health.in_flight, health.queued, health.state),
        (0, [0; 4], AgentState::Running)
    );
    eprintln!(
        "1000 calls, {} restarts, {} attempts cut short",
        health.restarts, health.failed
    );
}
