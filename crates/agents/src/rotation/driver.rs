//! What runs when: takes rotations up, at once or when they fall due, a bounded number at a time
//! at each target.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use pentad_model::{
    Context, Id, Name, Rotation, Tenant, Timestamp,
    record::Outcome,
    rotation::{Control, Lease, Progress, Step},
};
use pentad_rotation::{Driven, Engine, rotate::Settings};
use pentad_runtime::Priority;
use pentad_store::{Change, Collection, Op};
use tokio::sync::{Notify, Semaphore};
use tracing::Instrument as _;

use super::{Desk, NEVER, ports::BusPorts};
use crate::contract::rotation::Planned;

/// How often the store is asked for what has fallen due, unless rung for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a rotation looks by itself whether what it waits for has ended.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long accepted rotations wait for the acceptance of others, at most.
const ACCEPTANCE_FIRST: Duration = Duration::from_millis(100);
/// Rotations taken up in one look, beside those being driven.
const TAKEN_AT_ONCE: usize = 1000;
/// Rotations at one target at once, where the target says nothing.
const AT_ONE_TARGET: usize = 16;

/// See the module.
pub struct Driver {
    desk: Arc<Desk>,
    engine: Engine<BusPorts>,
    holder: String,
    lease: Duration,
    driving: Mutex<HashSet<Id>>,
    targets: Mutex<HashMap<(Tenant, Name), Arc<Semaphore>>>,
    /// Rung when a rotation ends that others of its batch wait for.
    ends: Mutex<HashMap<Id, Arc<Notify>>>,
    bell: Notify,
    acceptance: Acceptance,
}

/// Requests that are being accepted. Drives begin when there is none, or after a moment: those who
/// wait to hear that theirs is durable go ahead of those who have heard.
#[derive(Default)]
struct Acceptance {
    under_way: AtomicUsize,
    none_left: Notify,
}

/// One that is being accepted, until it is dropped.
pub(super) struct Accepting<'a>(&'a Acceptance);

impl Acceptance {
    fn begin(&self) -> Accepting<'_> {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        Accepting(self)
    }

    /// Waits until none is under way, at most [`ACCEPTANCE_FIRST`].
    async fn ended(&self) {
        let ended = async {
            loop {
                // Asked for before the look, so that an end in between is not missed.
                let none_left = self.none_left.notified();
                if self.under_way.load(Ordering::Acquire) == 0 {
                    return;
                }
                none_left.await;
            }
        };
        let _ = tokio::time::timeout(ACCEPTANCE_FIRST, ended).await;
    }
}

impl Drop for Accepting<'_> {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}

/// Whether two holders, `NODE/PROCESS/INCARNATION`, are of one node.
fn same_node(mine: &str, theirs: &str) -> bool {
    let node = |holder: &str| holder.rsplitn(3, '/').nth(2).map(str::to_owned);
    node(mine).is_some_and(|mine| node(theirs) == Some(mine))
}

impl Driver {
    /// Starts driving: first what an earlier process left behind.
    pub fn start(desk: Arc<Desk>, holder: String) -> Arc<Self> {
        let mut settings = Settings::new(holder.clone());
        // An incarnation is started only when the one before it was given up. One process at a time
        // has the embedded store open, and one process at a time is a node of a shared one.
        settings.is_dead = match desk.reader.node() {
            None => |_, _| true,
            Some(_) => same_node,
        };
        let lease = settings.lease;
        let driver = Arc::new(Self {
            engine: Engine::new(BusPorts::new(Arc::clone(&desk)), settings),
            desk,
            holder,
            lease,
            driving: Mutex::default(),
            targets: Mutex::default(),
            ends: Mutex::default(),
            bell: Notify::new(),
            acceptance: Acceptance::default(),
        });
        tokio::spawn(Arc::clone(&driver).look_for_ever());
        driver
    }

    /// A rotation as it is first stored, its lease in this worker's hands.
    pub(super) fn fresh(&self, context: &Context, batch: Id, id: Id, planned: Planned) -> Rotation {
        let now = self.desk.clock.now();
        Rotation {
            id,
            tenant: context.tenant.clone(),
            path: planned.path,
            target: planned.target,
            strategy: planned.strategy,
            batch: Some(batch),
            after: Vec::new(),
            overwrite: false,
            progress: Progress {
                step: Step::Planned,
                attempt: 0,
                promoted: false,
            },
            lease: Lease {
                holder: self.holder.clone(),
                epoch: 1,
                until: now.plus(self.lease),
            },
            from: planned.from.0,
            from_account: planned.from.1,
            to: None,
            to_account: planned.to_account,
            connection: None,
            doubt_until: Timestamp::default(),
            observe_until: Timestamp::default(),
            control: Control::Run,
            resume_at: now,
            waits: 0,
            reason: None,
            evidence: Vec::new(),
            requested_by: context.principal.to_string(),
            correlation: context.correlation,
            revision: 1,
            created_at: now,
            updated_at: now,
        }
    }

    /// To be held while a request is being accepted.
    pub(super) fn accepting(&self) -> Accepting<'_> {
        self.acceptance.begin()
    }

    /// Asks for a look at what has fallen due.
    pub(super) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Drives what has just been accepted, once nobody waits to hear so: to begin a thousand takes as
    /// long as to accept some hundred.
    pub(super) fn take_up_accepted(self: &Arc<Self>, rotations: Vec<Rotation>) {
        let driver = Arc::clone(self);
        let begin = async move {
            driver.acceptance.ended().await;
            for rotation in rotations {
                driver.take_up(rotation);
            }
        };
        tokio::spawn(begin.in_current_span());
    }

    /// Drives a rotation in a task of its own, unless it is being driven.
    pub(super) fn take_up(self: &Arc<Self>, rotation: Rotation) {
        if self.driving.lock().insert(rotation.id) {
            let driver = Arc::clone(self);
            let span = span_of(&rotation);
            let drive = async move {
                let id = rotation.id;
                let _released = Released {
                    driver: Arc::clone(&driver),
                    id,
                };
                driver.drive(rotation).await;
            };
            tokio::spawn(drive.instrument(span));
        }
    }

    async fn look_for_ever(self: Arc<Self>) {
        // At first also what an earlier worker held: nobody else will.
        let mut ahead = self.lease * 2;
        loop {
            let now = self.desk.clock.now();
            let limit = TAKEN_AT_ONCE + self.driving.lock().len();
            match self.desk.reader.due_rotations(now.plus(ahead), limit).await {
                Ok(due) => {
                    let mine = due.into_iter().filter(|rotation| rotation.resume_at <= now);
                    mine.for_each(|rotation| self.take_up(rotation));
                    ahead = Duration::ZERO;
                }
                Err(error) => tracing::warn!(%error, "can't see which rotations are due"),
            }
            let _ = tokio::time::timeout(LOOK_EVERY, self.bell.notified()).await;
        }
    }

    async fn drive(self: &Arc<Self>, mut rotation: Rotation) {
        self.acceptance.ended().await;
        if rotation.progress.step == Step::Planned {
            match self.after_dependencies(rotation).await {
                Some(ready) => rotation = ready,
                None => return,
            }
        }
        let place = self.place(&rotation).await;
        let Ok(_at_target) = place.acquire_owned().await else {
            return;
        };
        let driven = loop {
            let id = rotation.id;
            let tenant = rotation.tenant.clone();
            match self.engine.rotate(rotation).await {
                Driven::Lost => match self.unclaimed(&tenant, id).await {
                    // Somebody asked something of it before this drive could claim it.
                    Some(stored) => rotation = stored,
                    None => break Driven::Lost,
                },
                driven => break driven,
            }
        };
        match driven {
            Driven::Ended(rotation) => {
                tracing::info!(
                    rotation = %rotation.id,
                    path = %rotation.path,
                    step = %rotation.progress.step,
                    correlation = %rotation.correlation,
                    "the rotation has ended"
                );
                self.ended(rotation.id);
            }
            Driven::Parked(rotation) if rotation.lease.until > self.desk.clock.now() => {
                // The step could not be made durable; the row is as it was. Look again soon.
                let driver = Arc::clone(self);
                tokio::spawn(async move {
                    tokio::time::sleep(LOOK_EVERY * 2).await;
                    let (tenant, id) = (&rotation.tenant, rotation.id);
                    if let Ok(Some(stored)) = driver.desk.reader.rotation(tenant, id).await {
                        driver.take_up(stored);
                    }
                });
            }
            Driven::Parked(rotation) => self.wake(&rotation),
            Driven::Lost => {
                tracing::debug!("another worker drives this rotation");
            }
        }
    }

    /// A rotation that nobody has ever claimed, under the lease that this worker gave it at its birth:
    /// nobody else will take it up before that runs out.
    async fn unclaimed(&self, tenant: &Tenant, id: Id) -> Option<Rotation> {
        let stored = self.desk.reader.rotation(tenant, id).await.ok()??;
        let newborn = stored.lease.epoch == 1 && stored.lease.holder == self.holder;
        (newborn && !stored.progress.step.is_final()).then_some(stored)
    }

    /// Looks again when a parked rotation falls due sooner than the next look.
    fn wake(self: &Arc<Self>, rotation: &Rotation) {
        let wait = rotation.resume_at.since(self.desk.clock.now());
        if rotation.resume_at != NEVER && wait < LOOK_EVERY {
            let driver = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                driver.ring();
            });
        }
    }

    /// Waits until all that it depends on is done, or somebody asks it to end. Where one of them was
    /// not rotated, it ends before it began.
    async fn after_dependencies(&self, mut rotation: Rotation) -> Option<Rotation> {
        for id in rotation.after.clone() {
            loop {
                // Asked for before the look, so that an end in between is not missed.
                let ended = Arc::clone(self.ends.lock().entry(id).or_default());
                let end = ended.notified();
                let stopped = match self.desk.reader.rotation(&rotation.tenant, id).await {
                    Ok(Some(earlier)) if earlier.progress.step == Step::Done => None,
                    Ok(Some(earlier)) if earlier.progress.step.is_final() => Some(format!(
                        "`{}`, on which it depends, was not rotated",
                        earlier.path
                    )),
                    Ok(None) => Some("one on which it depends was not begun".to_owned()),
                    Ok(Some(_)) | Err(_) => {
                        let _ = tokio::time::timeout(LOOK_AGAIN, end).await;
                        let (tenant, id) = (&rotation.tenant, rotation.id);
                        if let Ok(Some(stored)) = self.desk.reader.rotation(tenant, id).await {
                            rotation = stored;
                        }
                        if matches!(rotation.control, Control::Cancel | Control::Rollback) {
                            return Some(rotation);
                        }
                        continue;
                    }
                };
                self.ended(id);
                match stopped {
                    None => break,
                    Some(reason) => return self.give_up(&rotation, reason).await,
                }
            }
        }
        Some(rotation)
    }

    /// Wakes whoever waits for this rotation's end.
    fn ended(&self, id: Id) {
        if let Some(end) = self.ends.lock().remove(&id) {
            end.notify_waiters();
        }
    }

    async fn give_up(&self, stored: &Rotation, reason: String) -> Option<Rotation> {
        let mut rotation = stored.clone();
        rotation.control = Control::Cancel;
        rotation.reason = Some(reason.clone());
        rotation.revision += 1;
        let context = ports_context(&rotation);
        let record = self
            .desk
            .record(&context, "rotation.cancel", Outcome::Done)
            .on(&rotation.path, None)
            .detail(reason);
        let op = Op::UpdateRotation {
            rotation: rotation.clone(),
            expect: stored.revision,
        };
        let change = Box::new(Change::new(op, record));
        match self
            .desk
            .monitoring
            .commit(&context, Priority::Normal, change)
            .await
        {
            Ok(()) => Some(rotation),
            Err(_) => None,
        }
    }

    /// The places at a rotation's target. A target's changed limit counts for new processes.
    async fn place(&self, rotation: &Rotation) -> Arc<Semaphore> {
        let key = (rotation.tenant.clone(), rotation.target.clone());
        if let Some(place) = self.targets.lock().get(&key) {
            return Arc::clone(place);
        }
        let now = self.desk.clock.now();
        let name = rotation.target.as_str();
        let found = self
            .desk
            .reader
            .document(Collection::Target, &rotation.tenant, name, now)
            .await;
        let limit = found
            .ok()
            .flatten()
            .and_then(|document| document.body.get("concurrency")?.as_u64())
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(AT_ONE_TARGET);
        let place = Arc::new(Semaphore::new(limit.clamp(1, 1000)));
        Arc::clone(self.targets.lock().entry(key).or_insert(place))
    }
}

/// The span of one drive. A trace of its own, with a link to whoever asked: a drive may last for
/// hours after the answer. It names neither path nor account nor target.
fn span_of(rotation: &Rotation) -> tracing::Span {
    let span = tracing::info_span!(
        parent: None,
        "drive",
        rotation = %rotation.id,
        strategy = ?rotation.strategy,
        step = %rotation.progress.step,
        correlation = %rotation.correlation,
    );
    span.follows_from(tracing::Span::current());
    span
}

/// Takes a rotation off the list of those being driven, also when its task panics.
struct Released {
    driver: Arc<Driver>,
    id: Id,
}

impl Drop for Released {
    fn drop(&mut self) {
        self.driver.driving.lock().remove(&self.id);
    }
}

/// The context under which a rotation asks the other agents.
pub(super) fn ports_context(rotation: &Rotation) -> Context {
    Context {
        correlation: rotation.correlation,
        tenant: rotation.tenant.clone(),
        principal: pentad_model::Principal::Agent {
            name: "rotation".to_owned(),
        },
        origin: format!("rotation {}", rotation.id),
    }
}
