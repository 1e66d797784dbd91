//! Drives the real engine over a simulated world: a target whose connections act late, a store with
//! compare-and-set, a clock that is moved by hand. A seed decides about every fault: lost replies
//! before and after the effect, late effects, refusals, an unreachable target, a journal that fails
//! before and after the commit, a drive that is dropped at any await point, a second engine that
//! takes over when the lease has run out, requests by people.
//!
//! After the chaos one engine goes on without faults. What must hold then is in [`Inner::verdict`].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use pentad_model::{
    Credential, Id, Rotation, Stage, Target, Timestamp, Version,
    assessment::Assessment,
    credential::Origin,
    rotation::{Control, Evidence, Lease, Login, Progress, Step, Strategy},
    secret::{Fingerprint, Sealed},
};
use pentad_rotation::{
    Driven, Engine, Settle,
    machine::{self, Verdict},
    ports::{
        Commit, Draft, Effect, Failure, Journal, Judge, Outcome, Outside, Session, Ticket, Vault,
    },
    rotate::{Sabotage, Settings},
};

/// What a decoy's ticket stands for.
const DECOY: u32 = 0;
/// A version that an earlier rotation abandoned.
const GHOST: u32 = 2;

/// SplitMix64: a seed tells the whole story of a run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.roll().is_multiple_of(n)
    }
}

#[derive(Clone)]
struct World(Arc<Mutex<Inner>>);

struct Inner {
    dice: Dice,
    /// Faults happen.
    chaos: bool,
    now: Timestamp,
    ids: u128,
    row: Rotation,
    credential: Credential,
    versions: BTreeMap<u32, Version>,
    tickets: BTreeMap<Id, u32>,
    /// Which versions the accounts accept.
    accepts: BTreeMap<String, BTreeSet<u32>>,
    /// Effects that the target carries out later, by connection.
    late: BTreeMap<String, (Strategy, EffectOf)>,
    killed: BTreeSet<String>,
    consumers: u32,
    haunted: bool,
}

/// An effect with its tickets redeemed.
#[derive(Clone)]
enum EffectOf {
    Apply(String, u32, Option<u32>),
    Retire(String, Option<u32>),
}

impl Inner {
    fn id(&mut self) -> Id {
        self.ids += 1;
        Id::from_u128(self.ids)
    }

    fn ticket(&mut self, version: u32) -> Ticket {
        let id = self.id();
        self.tickets.insert(id, version);
        Ticket(id)
    }

    fn fault(&mut self, n: u64) -> bool {
        self.chaos && self.dice.one_in(n)
    }

    fn redeem(&mut self, ticket: Ticket) -> u32 {
        self.tickets
            .remove(&ticket.0)
            .expect("a ticket is for one use")
    }

    fn run(&mut self, effect: EffectOf) {
        let (account, accepted) = match effect {
            EffectOf::Apply(account, new, old) => (account, [Some(new), old]),
            EffectOf::Retire(account, keep) => (account, [keep, None]),
        };
        let set = accepted.into_iter().flatten().collect();
        self.accepts.insert(account, set);
    }

    fn arrive(&mut self, connection: &str) {
        if let Some((_, effect)) = self.late.remove(connection) {
            self.run(effect);
        }
    }

    fn stage(&mut self, number: u32, stage: Stage) {
        if let Some(version) = self.versions.get_mut(&number) {
            version.stage = stage;
        }
    }

    /// What is wrong with the way it ended, if anything is. Nobody else touched the account.
    fn verdict(&self) -> Option<String> {
        let step = self.row.progress.step;
        let end = format!("{step} ({:?})", self.row.reason);
        if step == Step::Diverged {
            return Some(format!("{end}, and nobody else was there"));
        }
        if self.haunted {
            // A target that breaks its own bound: it must at least be recognised.
            return (step == Step::Failed).then_some(end);
        }
        let current: Vec<u32> = self
            .versions
            .values()
            .filter(|version| version.stage == Stage::Current)
            .map(|version| version.number)
            .collect();
        let accepted: Vec<u32> = self.accepts.values().flatten().copied().collect();
        if current.len() != 1 || accepted != current {
            return Some(format!("{end}: current {current:?}, accepted {accepted:?}"));
        }
        let account = self.versions[&current[0]].account.clone().unwrap();
        if !self.accepts[&account].contains(&current[0]) {
            return Some(format!("{end}: accepted at another account"));
        }
        if self.consumers != current[0] {
            return Some(format!("{end}: consumers have {}", self.consumers));
        }
        None
    }
}

impl World {
    fn new(seed: u64, strategy: Strategy, owned: bool, haunted: bool) -> Self {
        let credential: Credential = serde_json::from_value(serde_json::json!({
            "tenant": "default", "path": "db/app", "kind": "password", "latest": 2,
            "current": 1, "revision": 1, "created_at": 0, "updated_at": 0,
            "binding": { "target": "pg", "account": "app", "alternate": "app_b", "owned": owned,
                         "grace_seconds": 3, "deliver_to": ["/run/app.env"] },
        }))
        .unwrap();
        let to_account = match strategy {
            Strategy::Alternating => "app_b",
            Strategy::InPlace | Strategy::Overlap => "app",
        };
        let row = Rotation {
            id: Id::from_u128(7),
            tenant: credential.tenant.clone(),
            path: credential.path.clone(),
            target: "pg".parse().unwrap(),
            strategy,
            batch: None,
            after: Vec::new(),
            overwrite: false,
            progress: Progress {
                step: Step::Planned,
                attempt: 0,
                promoted: false,
            },
            lease: Lease {
                holder: "worker-0".into(),
                epoch: 1,
                until: Timestamp(30_000),
            },
            from: 1,
            from_account: "app".into(),
            to: None,
            to_account: to_account.into(),
            connection: None,
            doubt_until: Timestamp(0),
            observe_until: Timestamp(0),
            control: Control::Run,
            resume_at: Timestamp(0),
            waits: 0,
            reason: None,
            evidence: Vec::new(),
            requested_by: "user:test".into(),
            correlation: Id::from_u128(8),
            revision: 1,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        };
        let mut inner = Inner {
            dice: Dice(seed),
            chaos: true,
            now: Timestamp(0),
            ids: 100,
            versions: BTreeMap::new(),
            tickets: BTreeMap::new(),
            accepts: BTreeMap::from([("app".into(), BTreeSet::from([1]))]),
            late: BTreeMap::new(),
            killed: BTreeSet::new(),
            consumers: 1,
            haunted,
            credential,
            row,
        };
        let old = version(&inner, 1, Stage::Current, "app");
        inner.versions.insert(1, old);
        if haunted {
            let ghost = version(&inner, GHOST, Stage::Abandoned, "app");
            inner.versions.insert(GHOST, ghost);
            let effect = EffectOf::Apply("app".into(), GHOST, None);
            inner.late.insert("ghost".into(), (strategy, effect));
        }
        Self(Arc::new(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Every port is an await point before and after what it does, where a drive may be dropped or
    /// overtaken; and may fail.
    async fn reach(&self) -> Result<(), Failure> {
        pause().await;
        let mut world = self.lock();
        if world.fault(40) {
            return Err(Failure::NotNow("unreachable".into()));
        }
        Ok(())
    }
}

fn version(world: &Inner, number: u32, stage: Stage, account: &str) -> Version {
    Version {
        tenant: world.credential.tenant.clone(),
        path: world.credential.path.clone(),
        number,
        stage,
        stage_mac: Fingerprint([0; 32]),
        sealed: Some(Sealed::from_bytes(vec![0])),
        fingerprint: Fingerprint([0; 32]),
        account: Some(account.into()),
        origin: Origin::Put,
        derived_from: None,
        created_by: "test".into(),
        created_at: world.now,
        staged_at: world.now,
    }
}

/// Gives way once.
async fn pause() {
    let mut yielded = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut yielded, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

#[async_trait]
impl Journal for World {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    async fn commit(&self, step: Commit) -> Result<Rotation, Failure> {
        self.reach().await?;
        let answer = {
            let mut world = self.lock();
            let stored = world.row.clone();
            let claim = step.is_claim();
            let mut row = step.rotation;
            let asked = stored.revision != step.expect;
            if stored.lease.epoch != step.expect_epoch || asked && claim {
                return Err(Failure::Lost);
            }
            if asked {
                // Only a request came between.
                row.control = stored.control;
                if row.control != Control::Pause {
                    row.resume_at = row.resume_at.min(world.now);
                }
                row.revision = stored.revision + 1;
            }
            if let Some(draft) = step.draft {
                let taken = world.versions.insert(draft.number, draft);
                assert!(taken.is_none(), "a version number is used once");
            }
            let (from, to) = (row.from, step.to.unwrap_or(DECOY));
            let stages = match step.settle {
                Settle::Keep => None,
                Settle::New => Some((Stage::Previous, Stage::Current)),
                Settle::Old => Some((Stage::Current, Stage::Abandoned)),
                Settle::Retire => Some((Stage::Retired, Stage::Current)),
            };
            if let Some((old, new)) = stages {
                world.stage(from, old);
                world.stage(to, new);
            }
            let waits = row.waits > stored.waits;
            assert!(
                !waits || asked || row.resume_at > row.updated_at,
                "a wait of zero"
            );
            world.row = row.clone();
            row
        };
        pause().await;
        if self.lock().fault(40) {
            return Err(Failure::NotNow("committed, but the answer was lost".into()));
        }
        Ok(answer)
    }

    async fn subject(&self, _: &Rotation) -> Result<(Credential, Target), Failure> {
        self.reach().await?;
        let target = serde_json::json!({
            "tenant": "default", "name": "pg", "system": "postgresql", "address": "127.0.0.1:5432",
        });
        Ok((
            self.lock().credential.clone(),
            serde_json::from_value(target).unwrap(),
        ))
    }

    async fn version(&self, _: &Rotation, number: u32) -> Result<Version, Failure> {
        self.reach().await?;
        Ok(self.lock().versions[&number].clone())
    }

    async fn abandoned(&self, _: &Rotation) -> Result<Vec<Version>, Failure> {
        self.reach().await?;
        let world = self.lock();
        let mut all: Vec<Version> = world
            .versions
            .values()
            .filter(|version| version.stage == Stage::Abandoned)
            .cloned()
            .collect();
        all.reverse();
        Ok(all)
    }
}

#[async_trait]
impl Vault for World {
    async fn draft(&self, rotation: &Rotation, _: &Credential) -> Result<Draft, Failure> {
        self.reach().await?;
        let mut world = self.lock();
        let number = world.versions.keys().max().copied().unwrap_or(0).max(GHOST) + 1;
        Ok(Draft {
            version: version(&world, number, Stage::Pending, &rotation.to_account),
            to_judge: world.ticket(number),
        })
    }

    async fn open(&self, _: &Rotation, version: &Version) -> Result<Ticket, Failure> {
        self.reach().await?;
        Ok(self.lock().ticket(version.number))
    }

    async fn decoy(&self, _: &Rotation) -> Result<Ticket, Failure> {
        self.reach().await?;
        Ok(self.lock().ticket(DECOY))
    }
}

#[async_trait]
impl Judge for World {
    async fn value(
        &self,
        _: &Rotation,
        _: &Credential,
        draft: &Draft,
    ) -> Result<Assessment, Failure> {
        self.reach().await?;
        self.lock().redeem(draft.to_judge);
        Ok(Assessment {
            score: 90,
            accepted: true,
            findings: Vec::new(),
            rules: "test".into(),
        })
    }

    async fn evidence(
        &self,
        rotation: &Rotation,
        seen: &Evidence,
    ) -> Result<(Verdict, String), Failure> {
        self.reach().await?;
        let in_place = rotation.strategy == Strategy::InPlace;
        Ok(match (seen.new, seen.old) {
            (Login::Works, Login::Fails) => (Verdict::Holds, String::new()),
            (Login::Works, Login::Works) if !in_place => (Verdict::Holds, String::new()),
            (Login::CantTell, _) | (_, Login::CantTell) => (Verdict::CantTell, "can't tell".into()),
            _ => (Verdict::Broken, "broken".into()),
        })
    }
}

#[async_trait]
impl Outside for World {
    async fn session(&self, _: &Rotation, _: &Target) -> Result<Session, Failure> {
        self.reach().await?;
        let id = self.lock().id();
        pause().await;
        Ok(Session {
            id,
            connection: Some(id.to_string()),
        })
    }

    async fn release(&self, _: &Rotation, _: Session) {}

    async fn effect(
        &self,
        rotation: &Rotation,
        session: Session,
        effect: Effect,
    ) -> Result<Outcome, Failure> {
        self.reach().await?;
        let connection = session.connection.unwrap();
        let outcome = {
            let mut world = self.lock();
            let effect = match effect {
                Effect::Apply {
                    account, new, old, ..
                } => {
                    let new = world.redeem(new);
                    let old = old.map(|old| world.redeem(old));
                    EffectOf::Apply(account, new, old)
                }
                Effect::Retire { account, keep } => {
                    let keep = keep.map(|keep| world.redeem(keep));
                    EffectOf::Retire(account, keep)
                }
            };
            let luck = if world.chaos {
                world.dice.roll() % 12
            } else {
                0
            };
            if world.killed.contains(&connection) {
                machine::Effect::Unknown
            } else {
                match luck {
                    7 => machine::Effect::RejectedValue,
                    8 => machine::Effect::RejectedStop,
                    9 => machine::Effect::Throttled,
                    10 => machine::Effect::Unknown,
                    5 | 11 => {
                        world.late.insert(connection, (rotation.strategy, effect));
                        machine::Effect::Unknown
                    }
                    6 => {
                        world.run(effect);
                        machine::Effect::Unknown
                    }
                    _ => {
                        world.run(effect);
                        machine::Effect::Done
                    }
                }
            }
        };
        pause().await;
        Ok(Outcome {
            effect: outcome,
            note: format!("{outcome:?}"),
            after: None,
        })
    }

    async fn fence(&self, _: &Rotation, _: &Target, connection: &str) -> Result<(), Failure> {
        self.reach().await?;
        let mut world = self.lock();
        world.late.remove(connection);
        world.killed.insert(connection.to_owned());
        Ok(())
    }

    async fn login(
        &self,
        _: &Rotation,
        _: &Target,
        account: &str,
        value: Ticket,
    ) -> Result<(Login, String), Failure> {
        self.reach().await?;
        let mut world = self.lock();
        let version = world.redeem(value);
        if world.fault(40) {
            return Ok((Login::CantTell, "too many connections".into()));
        }
        let works = world
            .accepts
            .get(account)
            .is_some_and(|set| set.contains(&version));
        Ok((
            if works { Login::Works } else { Login::Fails },
            String::new(),
        ))
    }

    async fn deliver(
        &self,
        rotation: &Rotation,
        _: &Credential,
        version: u32,
    ) -> Result<(), Failure> {
        self.reach().await?;
        let mut world = self.lock();
        if world.row.lease.epoch != rotation.lease.epoch {
            return Err(Failure::Lost);
        }
        world.consumers = version;
        Ok(())
    }
}

// ---- a run ------------------------------------------------------------------------------------

type Drive<'a> = Pin<Box<dyn Future<Output = Driven> + 'a>>;

/// Two engines, crashes, requests, late effects; then calm. The end's verdict.
fn run(
    seed: u64,
    strategy: Strategy,
    owned: bool,
    haunted: bool,
    sabotage: Sabotage,
) -> Result<Step, String> {
    let world = World::new(seed, strategy, owned, haunted);
    // Now and then the same worker is asked twice: one holder, two drives.
    let twice = seed.is_multiple_of(3);
    let engines: Vec<Engine<World>> = (0..2)
        .map(|i| {
            let settings = Settings {
                max_attempts: 3,
                ..Settings::new(format!("worker-{}", if twice { 0 } else { i }))
            };
            Engine::new(world.clone(), settings).sabotaged(sabotage)
        })
        .collect();
    let mut drives: [Option<Drive<'_>>; 2] = [None, None];
    let mut context = Context::from_waker(futures::task::noop_waker_ref());
    for tick in 0..20_000 {
        let which = {
            let mut inner = world.lock();
            inner.chaos = tick < 400;
            if tick == 400 {
                // What is still on its way arrives, if it can.
                let all: Vec<String> = inner.late.keys().cloned().collect();
                for connection in all {
                    inner.arrive(&connection);
                }
                drives = [None, None];
            }
            if inner.row.progress.step.is_final() && tick > 400 {
                return match inner.verdict() {
                    None => Ok(inner.row.progress.step),
                    Some(wrong) => Err(format!("seed {seed}: {wrong}")),
                };
            }
            adversity(&mut inner);
            let which = if inner.chaos {
                usize::from(inner.dice.one_in(2))
            } else {
                0
            };
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
        "seed {seed}: no end, at {:?} ({:?})",
        row.progress, row.reason
    ))
}

/// What happens beside the engines.
fn adversity(world: &mut Inner) {
    let quick = if world.fault(50) {
        31_000
    } else {
        world.dice.roll() % 100
    };
    world.now = world.now.plus(Duration::from_millis(quick));
    if world.dice.one_in(20)
        && let Some(connection) = world.late.keys().next().cloned()
    {
        world.arrive(&connection);
    }
    let request = if world.fault(80) {
        match world.dice.roll() % 4 {
            0 => Control::Pause,
            1 => Control::Rollback,
            2 => Control::Cancel,
            _ => Control::Run,
        }
    } else if world.row.control == Control::Pause && !world.chaos {
        Control::Run
    } else {
        return;
    };
    if !world.row.progress.step.is_final() {
        world.row.control = request;
        world.row.resume_at = world.now;
        world.row.revision += 1;
    }
}

const STRATEGIES: [Strategy; 3] = [Strategy::InPlace, Strategy::Overlap, Strategy::Alternating];

#[test]
fn thousands_of_bad_days_end_in_agreement() {
    let mut ends: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..3_000 {
        for strategy in STRATEGIES {
            match run(seed, strategy, seed % 2 == 0, false, Sabotage::None) {
                Ok(step) => *ends.entry(format!("{strategy:?} {step}")).or_default() += 1,
                Err(wrong) => panic!("{strategy:?}: {wrong}"),
            }
        }
    }
    // A test world in which nothing ever gets through would prove nothing.
    for strategy in STRATEGIES {
        for end in [Step::Done, Step::RolledBack] {
            let seen = ends.get(&format!("{strategy:?} {end}")).copied();
            assert!(seen.unwrap_or(0) > 300, "{ends:?}");
        }
    }
}

#[test]
fn a_late_effect_of_an_earlier_rotation_is_no_drift() {
    for seed in 0..500 {
        run(seed, Strategy::InPlace, false, true, Sabotage::None).unwrap();
    }
}

fn caught(haunted: bool, sabotage: Sabotage) {
    let found =
        (0..2_000).find_map(|seed| run(seed, Strategy::InPlace, false, haunted, sabotage).err());
    assert!(found.is_some(), "{sabotage:?} was not caught");
}

#[test]
fn an_intent_after_its_effect_is_caught() {
    caught(false, Sabotage::IntentAfterEffect);
}

#[test]
fn dropping_attempted_values_is_caught() {
    caught(true, Sabotage::DropAttempted);
}

#[test]
fn probing_without_a_fence_is_caught() {
    caught(false, Sabotage::NoFence);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        failure_persistence: None,
        ..proptest::test_runner::Config::default()
    })]
    #[test]
    fn any_day_ends_in_agreement(seed: u64, strategy in 0usize..3, owned: bool) {
        let end = run(seed, STRATEGIES[strategy], owned, false, Sabotage::None);
        proptest::prop_assert!(end.is_ok(), "{end:?}");
    }
}
