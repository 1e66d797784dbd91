//! Workers come and go; what computes does not stand in the way.

use super::*;

#[tokio::test]
async fn the_pool_grows_while_work_waits_and_shrinks_when_it_is_idle() {
    let bench = bench(Options {
        shrink_after: Duration::from_millis(200),
        ..options()
    });
    assert!(bench.supervisor.ready(Duration::from_secs(10)).await);
    assert_eq!(bench.health().workers, 5);
    let calls: Vec<_> = (0..40)
        .map(|_| bench.send(Priority::Normal, Ask::Gate))
        .collect();
    until("all hands at work", || bench.health().workers == 20).await;
    // One is reserved for critical work.
    until("nineteen in flight", || bench.health().in_flight == 19).await;
    bench.world.open(40);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    until("back to the least", || bench.health().workers == 5).await;
    assert_eq!(bench.ask(Ask::Echo(3)).await, Ok((3, 1)));
}

#[tokio::test]
async fn heavy_requests_run_on_threads_of_their_own() {
    let bench = bench(options());
    assert!(bench.supervisor.ready(Duration::from_secs(10)).await);
    let heavy: Vec<_> = (0..6)
        .map(|_| bench.send(Priority::High, Ask::Compute(Duration::from_millis(100))))
        .collect();
    until("computing", || bench.health().in_flight == 2).await;
    for n in 0..50 {
        assert_eq!(bench.ask(Ask::Echo(n)).await, Ok((n, 1)));
    }
    for call in heavy {
        call.await.unwrap().unwrap();
    }
    let threads = bench.world.threads.lock();
    assert_eq!(
        threads
            .iter()
            .filter(|name| *name == "subject-compute")
            .count(),
        6
    );
    assert_eq!(
        threads.iter().filter(|name| *name == "subject-io").count(),
        50
    );
}

#[tokio::test]
async fn critical_work_finds_a_worker_though_all_others_are_held() {
    let bench = bench(Options {
        workers: 5..=5,
        ..options()
    });
    let held: Vec<_> = (0..10)
        .map(|_| bench.send(Priority::High, Ask::Gate))
        .collect();
    until("all held", || bench.health().in_flight == 4).await;
    let reply = bench
        .subject
        .call(&context(), Priority::Critical, Ask::Echo(9))
        .await;
    assert_eq!(reply, Ok((9, 1)));
    bench.world.open(10);
    for call in held {
        call.await.unwrap().unwrap();
    }
}
