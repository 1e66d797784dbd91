//! A simulated world around the real engine: a store with compare-and-set, a target whose
//! connections act late, a clock that is moved by hand. A seed decides about every fault.
//!
//! | module | holds |
//! |---|---|
//! | [`ports`] | what the engine asks for |
//! | [`judge`] | what the promises are held against, and when |
//! | [`adversity`] | what happens beside the engine: time, late effects, a third party, requests |
//!
//! What must hold ([`promises`](crate::promises)) is looked at after every change, and at every step
//! of the target and of the store.

pub(crate) mod adversity;
pub(crate) mod judge;
pub(crate) mod ports;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    task::Poll,
};

use pentad_model::{
    Credential, Id, Rotation, Stage, Timestamp, Version,
    credential::Origin,
    rotation::{Control, Lease, Progress, Step, Strategy},
    secret::{Fingerprint, Sealed},
};
use pentad_rotation::{
    ports::{Failure, Ticket},
    rotate::Sabotage,
};

use crate::promises::Versions;

/// What a decoy's ticket stands for.
const DECOY: u32 = 0;
/// The version that is rotated.
const OLD: u32 = 1;
/// A version that an earlier rotation abandoned.
const GHOST: u32 = 2;
/// What a third party sets: no version of ours.
const FOREIGN: u32 = 63;
/// The connection of an earlier rotation's effect.
const HAUNTED: &str = "an earlier rotation's";
pub(crate) const MAX_ATTEMPTS: u8 = 3;

/// A day to live through; with its seed it happens the same way each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Day {
    pub(crate) seed: u64,
    pub(crate) strategy: Strategy,
    pub(crate) owned: bool,
    /// A third party comes by.
    pub(crate) third_party: bool,
    /// An effect of an earlier rotation is still to come.
    pub(crate) haunted: bool,
    /// The target keeps one value an account, and proves which by a login.
    pub(crate) proves: bool,
    /// The old value logged in when it was taken over.
    pub(crate) adopted: bool,
    pub(crate) sabotage: Sabotage,
}

/// SplitMix64: a seed tells the whole story of a run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.roll().is_multiple_of(n)
    }
}

#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<Inner>>);

pub(crate) struct Inner {
    pub(crate) dice: Dice,
    /// Faults happen.
    pub(crate) chaos: bool,
    now: Timestamp,
    ids: u128,
    day: Day,
    // The store.
    pub(crate) row: Rotation,
    credential: Credential,
    versions: BTreeMap<u32, Version>,
    tickets: BTreeMap<Id, u32>,
    // The target.
    /// Which versions the accounts accept.
    accepts: BTreeMap<String, BTreeSet<u32>>,
    sessions: BTreeSet<String>,
    /// Effects that the target carries out later, by connection.
    late: BTreeMap<String, EffectOf>,
    killed: BTreeSet<String>,
    consumers: u32,
    // The third party, and what is known of it.
    acts: u8,
    dropped: BTreeSet<String>,
    locked: BTreeSet<String>,
    /// Anybody is let in.
    open: bool,
    meddled: bool,
    /// When somebody else last changed what logs in.
    acted: Option<Timestamp>,
    brought_back: Versions,
    /// Somebody asked it to end.
    stopped: bool,
    // The judgement.
    /// Something changed since the last look at the promises.
    changed: bool,
    /// The first promise that was broken.
    wrong: Option<String>,
}

/// An effect with its tickets redeemed.
#[derive(Clone)]
pub(crate) enum EffectOf {
    Apply(String, u32, Option<u32>),
    Retire(String, Option<u32>),
}

impl EffectOf {
    fn account(&self) -> &String {
        match self {
            Self::Apply(account, ..) | Self::Retire(account, _) => account,
        }
    }
}

impl Inner {
    fn id(&mut self) -> Id {
        self.ids += 1;
        Id::from_u128(self.ids)
    }

    fn connected(&mut self) -> Id {
        let id = self.id();
        self.sessions.insert(id.to_string());
        id
    }

    fn ticket(&mut self, version: u32) -> Ticket {
        let id = self.id();
        self.tickets.insert(id, version);
        Ticket(id)
    }

    pub(crate) fn fault(&mut self, n: u64) -> bool {
        self.chaos && self.dice.one_in(n)
    }

    /// Whether that is the one value that the account has.
    fn keeps_only(&self, account: &str, version: u32) -> bool {
        self.accepts[account].iter().eq([&version])
    }

    fn redeem(&mut self, ticket: Ticket) -> u32 {
        self.tickets
            .remove(&ticket.0)
            .expect("a ticket is for one use")
    }

    fn stage(&mut self, number: u32, stage: Stage) {
        if let Some(version) = self.versions.get_mut(&number) {
            version.stage = stage;
        }
    }

    pub(crate) fn arrive(&mut self, connection: &str) {
        if let Some(effect) = self.late.remove(connection) {
            self.carry_out(connection, effect);
        }
    }
}

impl World {
    pub(crate) fn new(day: Day) -> Self {
        let credential: Credential = serde_json::from_value(serde_json::json!({
            "tenant": "default", "path": "db/app", "kind": "password", "latest": 2,
            "current": 1, "revision": 1, "created_at": 0, "updated_at": 0,
            "binding": { "target": "pg", "account": "app", "alternate": "app_b",
                         "owned": day.owned, "grace_seconds": 3,
                         "deliver_to": ["/run/app.env"] },
        }))
        .unwrap();
        let inner = Inner {
            dice: Dice(day.seed),
            chaos: true,
            now: Timestamp(0),
            ids: 100,
            row: planned(&credential, day.strategy),
            versions: BTreeMap::new(),
            tickets: BTreeMap::new(),
            accepts: BTreeMap::from([
                ("app".into(), BTreeSet::from([OLD])),
                ("app_b".into(), BTreeSet::new()),
            ]),
            sessions: BTreeSet::new(),
            late: BTreeMap::new(),
            killed: BTreeSet::new(),
            consumers: OLD,
            acts: if day.third_party { 3 } else { 0 },
            dropped: BTreeSet::new(),
            locked: BTreeSet::new(),
            open: false,
            meddled: false,
            acted: None,
            brought_back: 0,
            stopped: false,
            changed: false,
            wrong: None,
            credential,
            day,
        };
        let world = Self(Arc::new(Mutex::new(inner)));
        let mut inner = world.lock();
        let mut old = version(&inner, OLD, Stage::Current, "app");
        if day.adopted {
            old.origin = Origin::Adopted;
        }
        inner.versions.insert(OLD, old);
        if day.haunted {
            let ghost = version(&inner, GHOST, Stage::Abandoned, "app");
            inner.versions.insert(GHOST, ghost);
            let effect = EffectOf::Apply("app".into(), GHOST, None);
            inner.late.insert(HAUNTED.into(), effect);
        }
        drop(inner);
        world
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
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

fn planned(credential: &Credential, strategy: Strategy) -> Rotation {
    let to_account = match strategy {
        Strategy::Alternating => "app_b",
        Strategy::InPlace | Strategy::Overlap => "app",
    };
    Rotation {
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
        from: OLD,
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
