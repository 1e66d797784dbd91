//! Brief requests: on the asker's thread where one is to spare, and as safe as on the agent's own.

use super::*;

fn brief(ask: Ask) -> Ask {
    Ask::Brief(Box::new(ask))
}

/// Whether all that was handled so far was handled on the agent's own threads.
fn on_its_own_threads(bench: &Bench) -> bool {
    let threads = bench.world.threads.lock();
    threads.iter().all(|name| name.starts_with("subject-"))
}

async fn ready(bench: &Bench) {
    assert!(bench.supervisor.ready(Duration::from_secs(10)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_brief_request_is_carried_out_on_the_askers_thread() {
    let bench = bench(options());
    ready(&bench).await;
    let asked = bench.send(Priority::Normal, brief(Ask::Echo(3)));
    assert_eq!(asked.await.unwrap(), Ok((3, 1)));
    assert!(!on_its_own_threads(&bench));
    let health = bench.health();
    assert_eq!(
        (health.accepted, health.handled, health.in_flight),
        (1, 1, 0)
    );
    assert_eq!(bench.world.settled.lock().len(), 1);
}

#[tokio::test]
async fn a_thread_that_is_the_only_one_is_not_lent() {
    let bench = bench(options());
    ready(&bench).await;
    assert_eq!(bench.ask(brief(Ask::Echo(3))).await, Ok((3, 1)));
    assert!(on_its_own_threads(&bench));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_on_the_askers_thread_is_the_agents_and_the_successor_answers() {
    let bench = bench(options());
    ready(&bench).await;
    let asked = bench.send(Priority::Normal, brief(Ask::PanicAfterEffect(2)));
    assert_eq!(asked.await.unwrap(), Ok((0, 3)));
    assert_eq!(bench.health().restarts, 2);
    // It took effect once.
    assert_eq!(
        bench.world.effects.lock().values().collect::<Vec<_>>(),
        [&1]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_brief_request_that_always_panics_is_set_aside() {
    let bench = bench(options());
    ready(&bench).await;
    let asked = bench.send(Priority::Normal, brief(Ask::Panic));
    let refused = asked.await.unwrap();
    let expected = matches!(
        refused,
        Err(crate::CallError::Quarantined { attempts: 3, .. })
    );
    assert!(expected, "{refused:?}");
    assert_eq!(bench.ask(Ask::Echo(1)).await.map(|reply| reply.0), Ok(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_asker_leaves_half_way_the_agent_finishes() {
    let bench = bench(options());
    ready(&bench).await;
    let asked = bench.send(Priority::Normal, brief(Ask::Gate));
    until("in flight", || bench.health().in_flight == 1).await;
    asked.abort();
    let _ = asked.await;
    bench.world.open(1);
    until("handled", || bench.health().handled == 1).await;
    assert_eq!(bench.world.effects.lock().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn one_that_blocks_costs_its_thread_and_not_the_last_one() {
    let bench = bench(options());
    ready(&bench).await;
    let stuck: Vec<_> = (0..4)
        .map(|_| bench.send(Priority::Normal, brief(Ask::BlockFirst)))
        .collect();
    // Two of three threads may be lent; the others block the agent's, and it is restarted.
    until("restarted", || bench.health().restarts >= 1).await;
    for n in 0..20 {
        let asked = bench.send(Priority::Normal, brief(Ask::Echo(n)));
        assert_eq!(asked.await.unwrap().map(|reply| reply.0), Ok(n));
    }
    bench.world.open(100);
    for asked in stuck {
        assert!(asked.await.unwrap().is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_brief_calls_under_random_panics_take_effect_once_and_are_answered_once() {
    let bench = bench(options());
    ready(&bench).await;
    let calls: Vec<_> = (0..1_000u64)
        .map(|n| {
            let ask = match n % 50 {
                0 => Ask::PanicAfterEffect(1),
                _ => Ask::Echo(n),
            };
            bench.send(Priority::Normal, brief(ask))
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(bench.world.effects.lock().len(), 1_000);
    let health = bench.health();
    assert_eq!((health.accepted, health.handled), (1_000, 1_000));
}
