//! What the acceptance of a batch costs, on request:
//! `cargo test --release -p pentad-agents --test it -- --ignored --nocapture what_accepting`.

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use pentad_agents::contract::rotation::Start;

use crate::world::World;

const BATCH: usize = 1000;

/// What all threads of this process took of the processors.
fn process_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let of = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let nanos = text.split(' ').next().and_then(|it| it.parse().ok());
        nanos.unwrap_or(0_u64)
    };
    drop(stat);
    Duration::from_nanos(tasks.flatten().map(of).sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for some seconds"]
async fn what_accepting_a_thousand_costs() {
    let world = World::new().await;
    let names: Vec<String> = (0..BATCH).map(|n| format!("V{n}")).collect();
    let variables: Vec<(&str, &str)> = names
        .iter()
        .map(|name| (name.as_str(), "old-value-0001"))
        .collect();
    world.env_file(&variables).await;
    let start = || Start {
        paths: names
            .iter()
            .map(|name| format!("app/{name}").parse().unwrap())
            .collect(),
        strategy: None,
    };
    for _ in 0..10 {
        let (began, cpu) = (Instant::now(), process_time());
        let plan = world.pentad.plan(&world.admin(), start()).await.unwrap();
        let (took, cpu) = (began.elapsed(), process_time() - cpu);
        assert_eq!(plan.groups[0].len(), BATCH);
        println!("plan: {took:.1?}, {cpu:.1?} of processor");
    }
    let (began, cpu) = (Instant::now(), process_time());
    let started = world.pentad.rotate(&world.admin(), start()).await.unwrap();
    let (took, cpu) = (began.elapsed(), process_time() - cpu);
    assert_eq!(started.rotations.len(), BATCH);
    println!("accepted: {took:.1?}, {cpu:.1?} of processor");
}
