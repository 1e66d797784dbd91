//! What it costs. `cargo nextest run -p pentad-runtime --release --run-ignored all figures
//! --no-capture` shows figures; the default run only checks the logic.

use super::*;

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

async fn timed(bench: &Bench, callers: usize, each: usize) {
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let other = bench.other.clone();
            tokio::spawn(async move {
                let (context, mut times) = (context(), Vec::with_capacity(each));
                for n in 0..each as u64 {
                    let start = Instant::now();
                    other.call(&context, Priority::High, n).await.unwrap();
                    times.push(start.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    times.sort();
    let (p50, p99) = (quantile(&times, 0.5), quantile(&times, 0.99));
    eprintln!("echo, {callers} callers: p50 {p50:?}, p99 {p99:?}, {rate:.0} calls/s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a check"]
async fn figures_of_the_call_path() {
    let bench = bench(options());
    bench.supervisor.ready(Duration::from_secs(10)).await;
    timed(&bench, 1, 2_000).await;
    timed(&bench, 1, 50_000).await;
    timed(&bench, 64, 5_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn critical_work_passes_a_flood_of_background_work() {
    let bench = bench(options());
    assert!(bench.supervisor.ready(Duration::from_secs(10)).await);
    // Ten times what twenty workers can do in the time of the test.
    let flood: Vec<_> = (0..2_000)
        .map(|_| bench.send(Priority::Background, Ask::Sleep(Duration::from_millis(10))))
        .collect();
    until("flooded", || bench.health().accepted >= 2_000).await;
    let mut times = Vec::new();
    for n in 0..100 {
        let start = Instant::now();
        let reply = bench
            .subject
            .call(&context(), Priority::Critical, Ask::Echo(n))
            .await;
        assert_eq!(reply, Ok((n, 1)));
        times.push(start.elapsed());
    }
    // The flood is not over: so critical work did not wait for it.
    assert!(bench.health().queued[3] > 0);
    times.sort();
    eprintln!(
        "critical under flood: p50 {:?}, p99 {:?}",
        quantile(&times, 0.5),
        quantile(&times, 0.99)
    );
    for call in flood {
        call.await.unwrap().unwrap();
    }
}
