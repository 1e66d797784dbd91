//! Kills and hangs each of the five agents of a running system under load, and floods it.
//!
//! ```text
//! cargo run --release -p pentad-trials --features agents --bin agents
//! ```
//!
//! Unlike the campaigns it links the crates, since faults are injected in process; so it stands
//! behind a feature, and no other build has faults on order compiled in.
//!
//! What must hold, or it ends with status 1:
//!
//! * A killed agent serves again within 2 s, a hung one within 2 s of the moment at which it counts
//!   as hung; no request fails and no acknowledged write is lost.
//! * What does not need that agent goes on with at least 80 % of its throughput. Outages are
//!   measured between two windows without fault, several times, and the median counts.
//! * A critical request takes at most 10 ms longer (99th percentile) while ten times more
//!   background work is offered than can be done.
#![allow(clippy::print_stdout)] // the report is its purpose

use std::{
    path::{Path as FilePath, PathBuf},
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Parser;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use pentad_agents::{
    Caller, Fault, Parts, Pentad,
    contract::rotation::Start,
    files::Directories,
    operations::{Put, Value},
    system,
};
use pentad_keys::{Keyring, RootKey, root};
use pentad_model::{
    Id, Kind, Path, Secret, SystemClock, Target, Tenant, credential::Binding, id::OsEntropy,
    target::Tls,
};
use pentad_runtime::{AgentHealth, Priority, chaos::Fault as Chaos};
use pentad_store::{
    audit::{self, AuditLog},
    sqlite::{OpenOptions, SqliteStore},
};
use tokio::{task::JoinHandle, time::sleep};

/// The longest that a restart may take.
const RESTART: Duration = Duration::from_secs(2);
/// The least share of its throughput that unaffected work keeps.
const LEAST: f64 = 0.8;
/// What a critical request may take longer under a flood.
const SLACK: Duration = Duration::from_millis(10);
/// No budget is longer.
const HUNG: Duration = Duration::from_secs(90);
/// The target that the credentials below `app/` are bound to.
const TARGET: &str = "app";

/// Kills and hangs agents under load, and floods them.
#[derive(Parser)]
struct Options {
    /// Credentials in the store.
    #[arg(long, default_value_t = 1_000)]
    credentials: usize,
    /// Times that each fault is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a window without fault, in milliseconds.
    #[arg(long, default_value_t = 1_000)]
    window: u64,
    /// Only this agent; the critical latency is then left out.
    #[arg(long)]
    agent: Option<String>,
    /// Only the critical latency.
    #[arg(long)]
    flood: bool,
    /// Flood with reads instead of plans. A read looks into the store before it comes to any
    /// mailbox, and the store's queue knows no priority.
    #[arg(long)]
    reads: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let world = Arc::new(World::new(options.credentials).await?);
    let mut held = true;
    if !options.flood {
        held &= outages(&world, &options).await?;
    }
    if options.agent.is_none() {
        held &= flood(
            &world,
            if options.reads {
                Work::Read
            } else {
                Work::Plan
            },
        )
        .await?;
    }
    world.pentad.stop(Duration::from_secs(10)).await;
    Ok(if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

// ---- Outages -------------------------------------------------------------------------------------

/// An agent, what works without it, and what does not.
struct Subject {
    agent: &'static str,
    unaffected: &'static [Work],
    affected: &'static [Work],
}

const SUBJECTS: [Subject; 5] = [
    Subject {
        agent: "encryption",
        unaffected: &[Work::Describe, Work::Plan],
        affected: &[Work::Read, Work::Write, Work::Check],
    },
    Subject {
        agent: "validation",
        unaffected: &[Work::Read, Work::Describe, Work::Target, Work::Plan],
        affected: &[Work::Check, Work::Write],
    },
    Subject {
        agent: "monitoring",
        unaffected: &[Work::Describe, Work::Check, Work::Plan],
        affected: &[Work::Write, Work::Read],
    },
    Subject {
        agent: "integration",
        unaffected: &[
            Work::Read,
            Work::Write,
            Work::Check,
            Work::Describe,
            Work::Plan,
        ],
        affected: &[Work::Target, Work::Adopt],
    },
    Subject {
        agent: "rotation",
        unaffected: &[
            Work::Read,
            Work::Write,
            Work::Check,
            Work::Describe,
            Work::Target,
        ],
        affected: &[Work::Plan],
    },
];

const FAULTS: [(&str, Chaos); 3] = [
    ("killed", Chaos::Panic),
    ("hangs", Chaos::HangAsync),
    ("blocks", Chaos::HangBlocking),
];

/// One row of the table.
struct Row {
    /// Requests a second of what does not need the agent, without fault and with it.
    baseline: f64,
    outage: f64,
    /// Requests a second of what needs it, without fault.
    affected: f64,
    /// From the fault to the moment at which the agent counts as dead.
    found: Duration,
    /// From there until it answered again.
    restart: Duration,
    faults: u64,
    share: f64,
}

async fn outages(world: &Arc<World>, options: &Options) -> Result<bool> {
    println!(
        "{:12} {:7} {:>7} {:>9} {:>9} {:>9} {:>6} {:>9} {:>11}",
        "agent",
        "fault",
        "faults",
        "base/s",
        "outage/s",
        "needs/s",
        "share",
        "found ms",
        "restart ms"
    );
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    let subjects: Vec<&Subject> = SUBJECTS
        .iter()
        .filter(|subject| {
            options
                .agent
                .as_deref()
                .is_none_or(|only| only == subject.agent)
        })
        .collect();
    for subject in &subjects {
        let unaffected = Load::start(world, subject.unaffected, 6, Duration::ZERO);
        let affected = Load::start(world, subject.affected, 3, Duration::from_millis(2));
        sleep(Duration::from_millis(500)).await;
        for (name, fault) in FAULTS {
            let row = measure(world, subject.agent, fault, &unaffected, &affected, options).await?;
            println!(
                "{:12} {:7} {:>7} {:>9.0} {:>9.0} {:>9.0} {:>6.2} {:>9} {:>11}",
                subject.agent,
                name,
                row.faults,
                row.baseline,
                row.outage,
                row.affected,
                row.share,
                row.found.as_millis(),
                row.restart.as_millis()
            );
            rows.push(row);
        }
        for load in [unaffected, affected] {
            failed.extend(load.end().await?);
        }
    }
    for failure in failed.iter().take(10) {
        println!("failed: {failure}");
    }
    let set_aside: u64 = world.health().iter().map(|agent| agent.quarantined).sum();
    let lost = world.lost().await;
    println!(
        "writes acknowledged: {}, set aside: {set_aside}",
        world.ledger().len()
    );
    let slowest = rows.iter().map(|row| row.restart).max().unwrap_or_default();
    let least = rows
        .iter()
        .map(|row| row.share)
        .fold(f64::INFINITY, f64::min);
    println!(
        "agents: {}, faults: {}, slowest_restart_ms: {}, failed: {}, lost: {lost}, \
         least_throughput: {least:.2}",
        subjects.len(),
        rows.len(),
        slowest.as_millis(),
        failed.len()
    );
    Ok(slowest < RESTART && failed.is_empty() && set_aside == 0 && lost == 0 && least >= LEAST)
}

/// Windows without fault around each outage; medians of all.
async fn measure(
    world: &World,
    agent: &str,
    fault: Chaos,
    unaffected: &Load,
    affected: &Load,
    options: &Options,
) -> Result<Row> {
    let window = Duration::from_millis(options.window);
    let calm = async || {
        let (work, needs) = (unaffected.mark(), affected.mark());
        sleep(window).await;
        (unaffected.rate(work), affected.rate(needs))
    };
    let (mut bases, mut outages, mut needs, mut shares) = (vec![], vec![], vec![], vec![]);
    let (mut found, mut restart, mut faults) = (Duration::ZERO, Duration::ZERO, 0);
    let mut before = calm().await;
    for _ in 0..options.rounds {
        let mark = unaffected.mark();
        // A killed agent is back within milliseconds. It is killed again and again, so that there is
        // an outage of a window's length to look at.
        while mark.0.elapsed() < window {
            let strike = strike(world, agent, fault, affected).await?;
            found = found.max(strike.0);
            restart = restart.max(strike.1);
            faults += 1;
        }
        let outage = unaffected.rate(mark);
        let after = calm().await;
        let base = f64::midpoint(before.0, after.0);
        shares.push(outage / base);
        bases.push(base);
        outages.push(outage);
        needs.push(f64::midpoint(before.1, after.1));
        before = after;
    }
    Ok(Row {
        baseline: median(bases),
        outage: median(outages),
        affected: median(needs),
        found,
        restart,
        faults,
        share: median(shares),
    })
}

/// One fault: how long until the agent counted as dead, and from there until it answered.
async fn strike(
    world: &World,
    agent: &str,
    fault: Chaos,
    affected: &Load,
) -> Result<(Duration, Duration)> {
    let crashes = world.agent(agent)?.restarts;
    let begun = Instant::now();
    if !world.pentad.supervisor().inject(agent, fault) {
        bail!("there is no {agent} agent");
    }
    while world.agent(agent)?.restarts == crashes {
        if begun.elapsed() > HUNG {
            bail!("the {agent} agent hangs and nobody notices");
        }
        sleep(Duration::from_millis(1)).await;
    }
    let dead = Instant::now();
    // Whatever is answered now was carried out by the successor, or was queued for it.
    let answered = affected.done();
    while affected.done() < answered + affected.callers {
        if dead.elapsed() > HUNG {
            bail!("the {agent} agent does not come back");
        }
        sleep(Duration::from_millis(1)).await;
    }
    let reported = world.agent(agent)?.last_restart_ms.unwrap_or_default();
    Ok((
        dead - begun,
        dead.elapsed().max(Duration::from_millis(reported)),
    ))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

// ---- Load ----------------------------------------------------------------------------------------

/// A request, named after what it asks of Pentad.
#[derive(Clone, Copy)]
enum Work {
    /// Metadata: no agent.
    Describe,
    /// A value: encryption, monitoring.
    Read,
    /// A new credential: encryption, validation, monitoring.
    Write,
    /// A judgement: encryption, validation.
    Check,
    /// A look at a target: encryption, integration, monitoring.
    Target,
    /// Two test logins, then a new version: all but rotation.
    Adopt,
    /// What a rotation would do: rotation.
    Plan,
}

/// Callers that ask without pause, each the next kind of work in turn.
struct Load {
    callers: u64,
    shared: Arc<Counters>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Counters {
    stop: AtomicBool,
    done: AtomicU64,
    failed: Mutex<Vec<String>>,
}

impl Load {
    fn start(world: &Arc<World>, kinds: &'static [Work], callers: usize, pause: Duration) -> Self {
        let shared = Arc::new(Counters::default());
        let tasks = (0..callers)
            .map(|caller| {
                let (world, shared) = (Arc::clone(world), Arc::clone(&shared));
                tokio::spawn(async move {
                    for kind in kinds.iter().cycle().skip(caller) {
                        if shared.stop.load(Ordering::Relaxed) {
                            return;
                        }
                        match world.carry_out(*kind, Priority::Normal).await {
                            Ok(()) => drop(shared.done.fetch_add(1, Ordering::Relaxed)),
                            Err(fault) => lock(&shared.failed).push(fault.to_string()),
                        }
                        if !pause.is_zero() {
                            sleep(pause).await;
                        }
                    }
                })
            })
            .collect();
        Self {
            callers: callers as u64,
            shared,
            tasks,
        }
    }

    fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    fn mark(&self) -> (Instant, u64) {
        (Instant::now(), self.done())
    }

    /// Requests a second since then.
    fn rate(&self, (since, done): (Instant, u64)) -> f64 {
        (self.done() - done) as f64 / since.elapsed().as_secs_f64()
    }

    /// What failed.
    async fn end(self) -> Result<Vec<String>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            tokio::time::timeout(HUNG, task)
                .await
                .context("a request is never answered")??;
        }
        Ok(std::mem::take(&mut *lock(&self.shared.failed)))
    }
}

// ---- Flood ---------------------------------------------------------------------------------------

async fn flood(world: &Arc<World>, work: Work) -> Result<bool> {
    sleep(Duration::from_secs(2)).await;
    let idle = critical(world, work, Duration::from_secs(5)).await?;

    // How much of it can be done. Not asked as background work: where the machine is short of
    // something that is put off, and callers that wait for their answers would measure the wait.
    let done = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let tasks: Vec<JoinHandle<Result<(), Fault>>> = (0..256)
        .map(|_| {
            let (world, done) = (Arc::clone(world), Arc::clone(&done));
            tokio::spawn(async move {
                while begun.elapsed() < Duration::from_secs(4) {
                    world.carry_out(work, Priority::Normal).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let capacity = done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();

    // Ten times as much, whatever becomes of it.
    let tally = Arc::new(Tally::default());
    let offering = tokio::spawn(offer(
        Arc::clone(world),
        work,
        capacity * 10.0,
        Arc::clone(&tally),
    ));
    sleep(Duration::from_secs(2)).await;
    let flooded = critical(world, work, Duration::from_secs(10)).await;
    tally.stop.store(true, Ordering::Relaxed);
    offering.await??;
    let flooded = flooded?;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{capacity:.0}/s can be done; offered in the background {:.0}/s, {} done, {} refused as busy, {} \
         failed",
        tally.pace(),
        count(&tally.done),
        count(&tally.busy),
        count(&tally.failed)
    );
    let (p50, p99) = (quantile(&idle, 0.5), quantile(&idle, 0.99));
    let (flood50, flood99) = (quantile(&flooded, 0.5), quantile(&flooded, 0.99));
    println!("critical_p50_idle_ms: {:.2}", ms(p50));
    println!("critical_p50_flood_ms: {:.2}", ms(flood50));
    println!("critical_p99_idle_ms: {:.2}", ms(p99));
    println!("critical_p99_flood_ms: {:.2}", ms(flood99));
    Ok(flood99 <= p99 + SLACK && count(&tally.failed) == 0 && count(&tally.busy) > 0)
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
async fn offer(world: Arc<World>, work: Work, pace: f64, tally: Arc<Tally>) -> Result<()> {
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    while !tally.stop.load(Ordering::Relaxed) {
        let due = (begun.elapsed().as_secs_f64() * pace) as u64;
        while tally.offered.load(Ordering::Relaxed) < due {
            tally.offered.fetch_add(1, Ordering::Relaxed);
            let (world, tally) = (Arc::clone(&world), Arc::clone(&tally));
            tasks.spawn(async move {
                let counter = match world.carry_out(work, Priority::Background).await {
                    Ok(()) => &tally.done,
                    Err(Fault::Busy { .. }) => &tally.busy,
                    Err(_) => &tally.failed,
                };
                counter.fetch_add(1, Ordering::Relaxed);
            });
        }
        while tasks.try_join_next().is_some() {}
        sleep(Duration::from_millis(1)).await;
    }
    tally
        .micros
        .store(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
    // What waits still is not waited for: at ten times the capacity that would take as long again.
    tasks.shutdown().await;
    Ok(())
}

/// Times of critical requests, one after the other, sorted.
async fn critical(world: &World, work: Work, during: Duration) -> Result<Vec<Duration>> {
    let begun = Instant::now();
    let mut times = Vec::new();
    while begun.elapsed() < during {
        let asked = Instant::now();
        world.carry_out(work, Priority::Critical).await?;
        times.push(asked.elapsed());
        sleep(Duration::from_millis(2)).await;
    }
    times.sort();
    Ok(times)
}

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let at = (sorted.len().saturating_sub(1)) as f64 * share;
    sorted.get(at.ceil() as usize).copied().unwrap_or_default()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

// ---- World ---------------------------------------------------------------------------------------

/// A system on an embedded store in a directory of its own.
struct World {
    pentad: Pentad,
    paths: Vec<Path>,
    bound: Vec<(Path, String)>,
    turn: AtomicU64,
    /// What was acknowledged: where, and the value.
    ledger: Mutex<Vec<(Path, String)>>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new(credentials: usize) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let key = dir.path().join("master.key");
        root::file::create(&key, &RootKey::generate(&OsEntropy), &OsEntropy)?;
        let pentad = serve(dir.path(), &key).await?;
        let mut world = Self {
            pentad,
            paths: Vec::new(),
            bound: Vec::new(),
            turn: AtomicU64::new(0),
            ledger: Mutex::default(),
            _dir: dir,
        };
        for number in 0..credentials {
            world.paths.push(format!("estate/{number}").parse()?);
        }
        stream::iter(&world.paths)
            .map(|path| world.store(path, Priority::High))
            .buffer_unordered(64)
            .try_collect::<()>()
            .await?;
        world.bind_targets().await?;
        Ok(world)
    }

    /// A `.env` file as a target, with some credentials bound to it.
    async fn bind_targets(&mut self) -> Result<()> {
        let file: PathBuf = self._dir.path().join("app.env");
        let accounts: Vec<(String, String)> = (0..16)
            .map(|n| (format!("ACCOUNT_{n}"), self.fresh_value()))
            .collect();
        let text: String = accounts
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        std::fs::write(&file, text)?;
        let target = Target {
            tenant: Tenant::default_tenant(),
            name: TARGET.parse()?,
            system: "envfile".to_owned(),
            address: file.display().to_string(),
            admin_account: None,
            admin_credential: None,
            tls: Tls::default(),
            ca_pem: None,
            concurrency: 16,
            lockout_limit: None,
            options: Default::default(),
            revision: 0,
            created_at: Default::default(),
        };
        self.pentad
            .put_target(&self.caller(Priority::High)?, target)
            .await?;
        for (name, value) in accounts {
            let path: Path = format!("app/{name}").parse()?;
            self.adopt(&path, &name, &value, Priority::High).await?;
            self.bound.push((path, value));
        }
        Ok(())
    }

    async fn carry_out(&self, work: Work, priority: Priority) -> Result<(), Fault> {
        let caller = self.caller(priority)?;
        match work {
            Work::Describe => drop(self.pentad.describe(&caller, self.any()).await?),
            Work::Read => drop(self.pentad.read(&caller, self.any(), None).await?),
            Work::Write => {
                let path = format!("new/{}", self.turn());
                let path = path.parse().map_err(|_| Fault::invalid("no path"))?;
                self.store(&path, priority).await?;
            }
            Work::Check => {
                let checked = self.pentad.check(&caller, self.any()).await?;
                if let Some(problem) = checked.problem {
                    return Err(Fault::internal(problem));
                }
            }
            Work::Target => {
                let name = TARGET.parse().map_err(|_| Fault::invalid("no name"))?;
                let checked = self.pentad.check_target(&caller, &name).await?;
                if let Some(complaint) = checked.complaints.first() {
                    return Err(Fault::internal(complaint.problem.clone()));
                }
            }
            Work::Adopt => {
                let turn = self.turn();
                let value = self.bound[turn as usize % 16].1.clone();
                let path = format!("adopted/{turn}");
                let path = path.parse().map_err(|_| Fault::invalid("no path"))?;
                self.adopt(&path, &format!("ACCOUNT_{}", turn % 16), &value, priority)
                    .await?;
            }
            Work::Plan => {
                let paths = self
                    .bound
                    .iter()
                    .take(4)
                    .map(|(path, _)| path.clone())
                    .collect();
                let plan = self
                    .pentad
                    .plan(
                        &caller,
                        Start {
                            paths,
                            strategy: None,
                        },
                    )
                    .await?;
                if let Some(refused) = plan.refused.first() {
                    return Err(Fault::internal(refused.reason.clone()));
                }
            }
        }
        Ok(())
    }

    async fn store(&self, path: &Path, priority: Priority) -> Result<(), Fault> {
        let value = self.fresh_value();
        let put = Put {
            kind: Some(Kind::Secret),
            value: Some(Value::Given(Secret::new(value.as_str()))),
            accept_weak: true,
            ..Put::default()
        };
        self.pentad.put(&self.caller(priority)?, path, put).await?;
        lock(&self.ledger).push((path.clone(), value));
        Ok(())
    }

    async fn adopt(
        &self,
        path: &Path,
        account: &str,
        value: &str,
        priority: Priority,
    ) -> Result<(), Fault> {
        let binding = Binding {
            target: TARGET.parse().map_err(|_| Fault::invalid("no name"))?,
            account: account.to_owned(),
            alternate: None,
            strategy: None,
            owned: false,
            grace_seconds: 0,
            deliver_to: Vec::new(),
        };
        let put = Put {
            kind: Some(Kind::Database),
            value: Some(Value::Given(Secret::new(value))),
            binding: Some(binding),
            ..Put::default()
        };
        self.pentad
            .adopt(&self.caller(priority)?, path, put)
            .await?;
        lock(&self.ledger).push((path.clone(), value.to_owned()));
        Ok(())
    }

    /// How many acknowledged writes are not there, or not with their value.
    async fn lost(&self) -> usize {
        let mut lost = 0;
        for (path, value) in self.ledger() {
            let Ok(caller) = self.caller(Priority::High) else {
                return usize::MAX;
            };
            let read = self.pentad.read(&caller, &path, None).await;
            let there = read.is_ok_and(|read| read.value.expose_str().is_some_and(|s| s == value));
            lost += usize::from(!there);
        }
        lost
    }

    fn ledger(&self) -> Vec<(Path, String)> {
        lock(&self.ledger).clone()
    }

    fn caller(&self, priority: Priority) -> Result<Caller, Fault> {
        let id = self.pentad.correlation();
        let mut caller = self.pentad.local(&Tenant::default_tenant(), "trial", id)?;
        caller.priority = priority;
        Ok(caller)
    }

    fn turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    fn any(&self) -> &Path {
        &self.paths[self.turn() as usize % self.paths.len()]
    }

    /// A value that was never there before.
    fn fresh_value(&self) -> String {
        format!("Q7v{}", Id::generate(Default::default(), &OsEntropy))
    }

    fn health(&self) -> Vec<AgentHealth> {
        self.pentad.supervisor().health()
    }

    fn agent(&self, name: &str) -> Result<AgentHealth> {
        let found = self.health().into_iter().find(|agent| agent.name == name);
        found.ok_or_else(|| anyhow!("there is no {name} agent"))
    }
}

async fn serve(dir: &FilePath, key: &FilePath) -> Result<Pentad> {
    let store = SqliteStore::create(dir.join("store"), OpenOptions::default())?;
    let keyring = Keyring::new(root::file::read(key)?, Arc::new(OsEntropy))?;
    let check = serde_json::to_value(keyring.root_check())?;
    system::initialise(&store, &keyring, check, &SystemClock, &OsEntropy).await?;
    let store = Arc::new(store);
    let parts = Parts {
        keyring: Arc::new(keyring),
        reader: store.clone(),
        writer: store,
        audit: AuditLog::open(&dir.join("audit"), audit::Options::default(), 0)?,
        origin: "pentad.trial".to_owned(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
    };
    Ok(system::start_with(parts, Directories::below([dir])).await?)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
