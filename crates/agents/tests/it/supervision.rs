//! An agent dies or hangs under load: nothing accepted is lost, the others go on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use pentad_model::Kind;
use pentad_runtime::chaos::Fault as Chaos;

use crate::world::World;

/// Reads in a loop until told to stop; answers how many succeeded and how many failed.
async fn readers(world: Arc<World>, stop: Arc<AtomicBool>) -> (usize, usize) {
    let (good, bad) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (world, stop) = (world.clone(), stop.clone());
            let (good, bad) = (good.clone(), bad.clone());
            tokio::spawn(async move {
                let path = "a".parse().unwrap();
                while !stop.load(Ordering::Relaxed) {
                    match world.pentad.read(&world.admin(), &path, None).await {
                        Ok(_) => good.fetch_add(1, Ordering::Relaxed),
                        Err(_) => bad.fetch_add(1, Ordering::Relaxed),
                    };
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    (good.load(Ordering::Relaxed), bad.load(Ordering::Relaxed))
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_hung_agents_come_back_and_no_request_fails() {
    let world = Arc::new(World::new().await);
    world.put("a", Kind::Secret, "first-Value-11").await;
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(readers(world.clone(), stop.clone()));
    for agent in [
        "encryption",
        "monitoring",
        "validation",
        "integration",
        "rotation",
    ] {
        let before = restarts(&world, agent);
        assert!(world.pentad.supervisor().inject(agent, Chaos::Panic));
        poke(&world, agent).await;
        let begun = Instant::now();
        while restarts(&world, agent) == before {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{agent} was not restarted"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    let (good, bad) = load.await.unwrap();
    assert_eq!(bad, 0);
    assert!(good > 0);
    assert_eq!(world.get("a").await, "first-Value-11");
}

fn restarts(world: &World, agent: &str) -> u64 {
    let health = world.pentad.supervisor().health();
    health
        .into_iter()
        .find(|found| found.name == agent)
        .unwrap()
        .restarts
}

/// Gives an agent that reads don't need something to do, so that the fault strikes.
async fn poke(world: &World, agent: &str) {
    match agent {
        "validation" => {
            let _ = world
                .pentad
                .check(&world.admin(), &"a".parse().unwrap())
                .await;
        }
        "integration" => {
            world.env_file(&[("A", "old-value-000A")]).await;
        }
        "rotation" => {
            let start = pentad_agents::contract::rotation::Start {
                paths: vec!["a".parse().unwrap()],
                strategy: None,
            };
            let _ = world.pentad.plan(&world.admin(), start).await;
        }
        _ => {}
    }
}
