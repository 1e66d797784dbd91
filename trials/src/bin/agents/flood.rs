//! Critical requests beside ten times more background work than can be done.
//!
//! Every request is a task of the front runtime, as a server's are; whoever asks and measures has a
//! thread of its own, as clients are elsewhere.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use pentad_agents::Fault;
use pentad_runtime::Priority;
use tokio::{runtime::Handle, time::sleep};

use crate::world::{Work, World};

/// What a critical request may take longer under a flood.
const SLACK: Duration = Duration::from_millis(10);
/// How many times more is offered than can be done.
const TIMES: f64 = 10.0;
/// What is urgent: between them they need all agents but integration.
const CRITICAL: [Work; 4] = [Work::Read, Work::Plan, Work::Check, Work::Write];
/// What is offered: judging a page of the estate, planning, reading.
const BACKGROUND: [Work; 3] = [Work::Sweep, Work::Plan, Work::Read];

pub(crate) async fn flood(world: &Arc<World>) -> Result<bool> {
    sleep(Duration::from_secs(2)).await;
    let idle = critical(world, Duration::from_secs(8)).await?;
    let capacity = capacity(world).await?;

    let tally = Arc::new(Tally::default());
    let offering = {
        let (world, tally, front) = (Arc::clone(world), Arc::clone(&tally), Handle::current());
        thread::spawn(move || offer(&world, &front, capacity * TIMES, &tally))
    };
    sleep(Duration::from_secs(2)).await;
    let flooded = critical(world, Duration::from_secs(10)).await;
    tally.stop.store(true, Ordering::Relaxed);
    offering
        .join()
        .map_err(|_| anyhow!("the offering thread panicked"))?;
    let flooded = flooded?;

    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{capacity:.0}/s can be done; offered in the background {:.0}/s ({:.1} times as much): {} \
         done, {} refused as busy, {} failed",
        tally.pace(),
        tally.pace() / capacity,
        count(&tally.done),
        count(&tally.busy),
        count(&tally.failed)
    );
    for (work, idle) in &idle.0 {
        let under_flood = flooded.of(*work);
        println!(
            "critical {work:?}: p50 {:.2} ms idle, {:.2} ms under flood; p99 {:.2} and {:.2} ({} asked)",
            ms(quantile(idle, 0.5)),
            ms(quantile(under_flood, 0.5)),
            ms(quantile(idle, 0.99)),
            ms(quantile(under_flood, 0.99)),
            under_flood.len()
        );
    }
    let (p99, flood99) = (quantile(&idle.all(), 0.99), quantile(&flooded.all(), 0.99));
    println!(
        "critical_p99_idle_ms: {:.2}, critical_p99_flood_ms: {:.2}, offered: {:.1}",
        ms(p99),
        ms(flood99),
        tally.pace() / capacity
    );
    Ok(flood99 <= p99 + SLACK
        && count(&tally.failed) == 0
        && count(&tally.busy) > 0
        && count(&tally.done) > 0)
}

/// How much background work can be done a second, if nothing else is. Asked as normal work: the
/// background lane is put off where the machine is short of something, and callers that wait for
/// their answers would measure the wait.
async fn capacity(world: &Arc<World>) -> Result<f64> {
    let done = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let tasks: Vec<_> = (0..64)
        .map(|caller| {
            let (world, done) = (Arc::clone(world), Arc::clone(&done));
            tokio::spawn(async move {
                for work in BACKGROUND.iter().cycle().skip(caller) {
                    if begun.elapsed() > Duration::from_secs(5) {
                        break;
                    }
                    world.carry_out(*work, Priority::Normal).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, Fault>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}

#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    offered: AtomicU64,
    micros: AtomicU64,
    done: AtomicU64,
    busy: AtomicU64,
    failed: AtomicU64,
}

impl Tally {
    fn pace(&self) -> f64 {
        let micros = self.micros.load(Ordering::Relaxed).max(1);
        self.offered.load(Ordering::Relaxed) as f64 * 1e6 / micros as f64
    }
}

/// Offers work at this pace, whether or not the earlier ones were answered.
fn offer(world: &Arc<World>, front: &Handle, pace: f64, tally: &Arc<Tally>) {
    let begun = Instant::now();
    let mut offered = 0;
    while !tally.stop.load(Ordering::Relaxed) {
        let due = (begun.elapsed().as_secs_f64() * pace) as u64;
        while offered < due {
            let work = BACKGROUND[offered as usize % BACKGROUND.len()];
            offered += 1;
            let (world, tally) = (Arc::clone(world), Arc::clone(tally));
            front.spawn(async move {
                let counter = match world.carry_out(work, Priority::Background).await {
                    Ok(()) => &tally.done,
                    Err(Fault::Busy { .. }) => &tally.busy,
                    Err(_) => &tally.failed,
                };
                counter.fetch_add(1, Ordering::Relaxed);
            });
        }
        tally.offered.store(offered, Ordering::Relaxed);
        let micros = begun.elapsed().as_micros() as u64;
        tally.micros.store(micros, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(1));
    }
}

/// Times of critical requests, sorted, by what was asked.
struct Times(Vec<(Work, Vec<Duration>)>);

impl Times {
    fn of(&self, work: Work) -> &[Duration] {
        let found = self.0.iter().find(|(of, _)| *of == work);
        found.map_or(&[], |(_, times)| times)
    }

    fn all(&self) -> Vec<Duration> {
        let mut all: Vec<Duration> = self
            .0
            .iter()
            .flat_map(|(_, times)| times)
            .copied()
            .collect();
        all.sort();
        all
    }
}

/// Asks critical requests, one after the other.
async fn critical(world: &Arc<World>, during: Duration) -> Result<Times> {
    let (world, front) = (Arc::clone(world), Handle::current());
    let (told, times) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        let _ = told.send(ask(&world, &front, during));
    });
    times.await.context("the asking thread panicked")?
}

fn ask(world: &Arc<World>, front: &Handle, during: Duration) -> Result<Times> {
    let client = tokio::runtime::Builder::new_current_thread().build()?;
    let mut times = Times(CRITICAL.map(|work| (work, Vec::new())).into());
    let begun = Instant::now();
    while begun.elapsed() < during {
        for (work, times) in &mut times.0 {
            let (world, work) = (Arc::clone(world), *work);
            let asked = Instant::now();
            let answer =
                front.spawn(async move { world.carry_out(work, Priority::Critical).await });
            client.block_on(answer)??;
            times.push(asked.elapsed());
            thread::sleep(Duration::from_millis(2));
        }
    }
    for (_, times) in &mut times.0 {
        times.sort();
    }
    Ok(times)
}

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let at = (sorted.len().saturating_sub(1)) as f64 * share;
    sorted.get(at.ceil() as usize).copied().unwrap_or_default()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
