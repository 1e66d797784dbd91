//! Hangs: found, contained, fenced.

use super::*;
use crate::{CallError, Crash, chaos::Fault};

/// While the subject hangs and is restarted, the other agent serves; returns its calls before and
/// during, over the same time.
async fn recovers_from(bench: &Bench, fault: Ask) -> (u64, u64) {
    assert!(bench.supervisor.ready(Duration::from_secs(10)).await);
    let span = Duration::from_millis(300);
    let rate = async |during: Duration| {
        let (start, mut calls) = (Instant::now(), 0u64);
        while start.elapsed() < during {
            bench
                .other
                .call(&context(), Priority::Normal, 1)
                .await
                .unwrap();
            calls += 1;
        }
        calls
    };
    let before = rate(span).await;
    let hung = bench.send(Priority::Normal, fault);
    until("in flight", || bench.health().in_flight == 1).await;
    let start = Instant::now();
    let during = rate(span).await;
    until("restarted", || bench.health().incarnation == 2).await;
    assert_eq!(bench.ask(Ask::Echo(1)).await.map(|reply| reply.0), Ok(1));
    let recovered = start.elapsed();
    assert!(recovered < Duration::from_secs(2), "{recovered:?}");
    eprintln!(
        "recovered in {recovered:?} (budget 200 ms, restart {:?} ms); other agent: {before} calls \
         before, {during} during",
        bench.health().last_restart_ms
    );
    assert_eq!(bench.health().last_crash, Some(Crash::Hang));
    hung.abort();
    (before, during)
}

#[tokio::test]
async fn an_async_hang_is_recovered_from_and_others_serve_on() {
    let (_, during) = recovers_from(&bench(options()), Ask::Hang).await;
    assert!(during > 0);
}

#[tokio::test]
async fn a_blocking_hang_is_recovered_from_and_others_serve_on() {
    let (_, during) = recovers_from(&bench(options()), Ask::Block).await;
    assert!(during > 0);
}

#[tokio::test]
async fn an_envelope_that_always_hangs_is_set_aside() {
    let bench = bench(options());
    let refused = bench.ask(Ask::Hang).await;
    assert!(
        matches!(refused, Err(CallError::Quarantined { attempts: 3, .. })),
        "{refused:?}"
    );
    assert_eq!(bench.ask(Ask::Echo(1)).await, Ok((1, 1)));
}

#[tokio::test]
async fn a_late_result_of_a_dead_incarnation_is_refused() {
    let bench = bench(options());
    // Blocks incarnation 1; its successor answers 0. Then the gate opens and the first one brings
    // 666.
    assert_eq!(bench.ask(Ask::BlockFirst).await, Ok((0, 2)));
    bench.world.open(1);
    until("refused", || bench.health().late_refused == 1).await;
    assert_eq!(bench.health().handled, 1);
    // Two attempts ended, one was settled.
    until("settled", || !bench.world.settled.lock().is_empty()).await;
    assert_eq!(bench.world.settled.lock().len(), 1);
}

#[tokio::test]
async fn a_blocked_thread_takes_the_blame_and_not_what_it_starves() {
    // One thread: while it is blocked, the sleeper can't go on, and its budget is the shorter one.
    let bench = bench(Options {
        io_threads: 1,
        heartbeat: Duration::from_millis(400),
        ..options()
    });
    assert!(bench.supervisor.ready(Duration::from_secs(10)).await);
    let sleeper = bench.send(Priority::Normal, Ask::Sleep(Duration::from_millis(50)));
    until("asleep", || bench.health().in_flight == 1).await;
    let blocked = bench.ask(Ask::Block).await;
    assert!(
        matches!(blocked, Err(CallError::Quarantined { .. })),
        "{blocked:?}"
    );
    sleeper.await.unwrap().unwrap();
    assert_eq!(bench.health().quarantined, 1);
}

#[tokio::test]
async fn a_handler_that_does_not_let_go_of_its_thread_hangs_whatever_its_budget() {
    let bench = bench(Options {
        thread_budget: Duration::from_millis(200),
        heartbeat: Duration::from_secs(60),
        ..options()
    });
    // Its budget is 20 s.
    assert_eq!(bench.ask(Ask::Loiter).await, Ok((0, 2)));
    assert_eq!(bench.health().last_crash, Some(Crash::Hang));
    // What computes has a thread of its own, and is held to its budget only.
    let compute = Ask::Compute(Duration::from_millis(400));
    assert_eq!(bench.ask(compute).await, Ok((0, 1)));
}

/// Budgets of 20 s, which no test waits for.
fn patient() -> Options {
    Options {
        patience: Duration::from_millis(50),
        passed_by: 8,
        workers: 8..=8,
        ..options()
    }
}

#[tokio::test]
async fn a_request_that_many_later_ones_passed_hangs_long_before_its_budget_is_over() {
    let bench = bench(patient());
    let stuck = bench.send(Priority::Normal, Ask::TurnStuck);
    until("in flight", || bench.health().in_flight == 1).await;
    bench.world.open(100);
    while bench.health().incarnation == 1 {
        bench.ask(Ask::Turn).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(bench.health().last_crash, Some(Crash::Hang));
    assert_eq!(stuck.await.unwrap().unwrap(), (0, 2));
}

#[tokio::test]
async fn nobody_is_blamed_where_all_wait_alike_or_in_another_lane() {
    let bench = bench(patient());
    let waiting: Vec<_> = (0..4)
        .map(|_| bench.send(Priority::Background, Ask::Turn))
        .collect();
    until("in flight", || bench.health().in_flight == 4).await;
    // In another lane, and of an ask that has no turn.
    for _ in 0..40 {
        bench.ask(Ask::Echo(1)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(bench.health().incarnation, 1);
    bench.world.open(4);
    for one in waiting {
        assert_eq!(one.await.unwrap().unwrap(), (0, 1));
    }
}

#[tokio::test]
async fn injected_hangs_are_recovered_from() {
    let bench = bench(Options {
        heartbeat: Duration::from_secs(60),
        ..options()
    });
    for fault in [Fault::HangAsync, Fault::HangBlocking] {
        bench.supervisor.inject("subject", fault);
        assert_eq!(bench.ask(Ask::BlockFirst).await, Ok((0, 2)));
    }
}
