//! The rotation agent: accepts rotations, drives them through the engine, steers them.
//!
//! An accepted rotation is a row in the store before anybody hears that it was accepted; from then
//! on it is driven to its end whatever crashes. The flow itself is `pentad_rotation::rotate`; this
//! agent gives it the other four through [`ports`], decides what runs when in [`driver`], and makes
//! plans in [`plan`].

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use pentad_model::{
    Clock, Context, Credential, Id, Record, Rotation, Timestamp,
    id::Entropy,
    record::Outcome,
    rotation::{Control, Progress, Step},
};
use pentad_runtime::{Agent, Envelope, Priority};
use pentad_store::{Change, Op, Reader, RotationQuery};

use crate::{
    Fault,
    contract::{
        self,
        rotation::{
            Plan, Planned, Refused, Reply, Request, Resolution, Resolve, Rotates, Start, Started,
            Steer, dispatch,
        },
    },
    current::touch,
    documents::Documents,
    encryption::Encryption,
    integration::Integration,
    monitoring::{COMMIT_BOUND, Monitoring},
    validation::Validation,
};

mod driver;
mod plan;
mod ports;

pub use driver::Driver;

/// Credentials of a plan that is made at once.
const SMALL_PLAN: usize = 16;
/// Rotations created in one commit, with one fsync: everybody else's wait for theirs is bounded by this.
const CREATED_AT_ONCE: usize = 250;
/// Such commits at a time, where none depends on another: while one is being written, the next are made.
const COMMITS_AT_ONCE: usize = 4;
/// Into so many parts rotations are divided of which some can't be created: so few commits are needed to
/// find one of many, and hardly more than each alone where it is all of them.
const PARTS: usize = 8;
/// Tries of a compare-and-set before the asker is told to try again.
const TRIES: usize = 5;
/// When a paused rotation goes on by itself.
const NEVER: Timestamp = Timestamp(i64::MAX);

/// See the module.
pub struct RotationAgent {
    desk: Arc<Desk>,
    driver: Arc<Driver>,
}

/// What the agent works with.
pub struct Desk {
    /// For credentials and rotations.
    pub reader: Arc<dyn Reader>,
    /// For targets.
    pub documents: Documents,
    /// The encryption agent.
    pub encryption: contract::encryption::Client<Encryption>,
    /// The validation agent.
    pub validation: contract::validation::Client<Validation>,
    /// The monitoring agent.
    pub monitoring: contract::monitoring::Client<Monitoring>,
    /// The integration agent.
    pub integration: contract::integration::Client<Integration>,
    /// For leases and deadlines.
    pub clock: Arc<dyn Clock>,
    /// For ids.
    pub entropy: Arc<dyn Entropy>,
}

impl RotationAgent {
    /// An agent at this desk, under a holder's name that no earlier incarnation had. Its driver ends
    /// with the runtime that it is made in.
    pub fn at(desk: Arc<Desk>, holder: String) -> Self {
        let driver = Driver::start(Arc::clone(&desk), holder);
        Self { desk, driver }
    }
}

impl Agent for RotationAgent {
    const NAME: &'static str = "rotation";
    type Request = Request;
    type Reply = Reply;

    async fn handle(&self, envelope: Envelope<Request>) -> Reply {
        match envelope.body {
            // The envelope's id is the batch's: a second attempt after a crash finds what the first
            // one made.
            Request::Start(ask) => {
                let again = envelope.attempt > 1;
                let started = self.batch(&envelope.context, envelope.id, again, ask);
                Reply::Start(started.await)
            }
            other => dispatch(self, &envelope.context, other).await,
        }
    }

    fn ask(request: &Request) -> &'static str {
        request.name()
    }

    /// Small plans are a few look-ups each; a large one takes as long as it is large.
    fn is_in_turn(request: &Request) -> bool {
        matches!(request, Request::Plan(ask) if ask.paths.len() <= SMALL_PLAN)
    }

    fn budget(request: &Request) -> Duration {
        let each = |paths: &[pentad_model::Path], millis| {
            Duration::from_millis(millis)
                .saturating_mul(u32::try_from(paths.len()).unwrap_or(u32::MAX))
        };
        // Whoever waits for a commit outlasts it, and a restart of the monitoring agent: else it
        // would take the blame.
        let commit = COMMIT_BOUND + Duration::from_secs(5);
        match request {
            Request::Plan(ask) => Duration::from_secs(5) + each(&ask.paths, 5),
            Request::Start(ask) => commit + each(&ask.paths, 10),
            Request::Control(_) | Request::Resolve(_) => commit,
        }
    }
}

impl Rotates for RotationAgent {
    async fn plan(&self, context: &Context, ask: Start) -> Result<Plan, Fault> {
        plan::plan(&self.desk, context, &ask)
            .await
            .map(|(plan, _)| plan)
    }

    async fn start(&self, context: &Context, ask: Start) -> Result<Started, Fault> {
        self.batch(context, self.desk.id(), false, ask).await
    }

    async fn control(&self, context: &Context, ask: Steer) -> Result<Rotation, Fault> {
        let now = self.desk.clock.now();
        let what = match ask.control {
            Control::Run => "resume",
            Control::Pause => "pause",
            Control::Cancel => "cancel",
            Control::Rollback => "rollback",
        };
        self.edit(
            context,
            ask.id,
            &format!("rotation.{what}"),
            &[],
            |rotation| {
                if rotation.progress.step.is_final() {
                    return Err(Fault::conflict(format!(
                        "the rotation has ended ({})",
                        rotation.progress.step
                    )));
                }
                rotation.control = ask.control;
                let parked = matches!(rotation.progress.step, Step::Planned | Step::Observing);
                rotation.resume_at = match ask.control {
                    Control::Pause if parked && rotation.lease.until <= now => NEVER,
                    _ => now,
                };
                Ok(())
            },
        )
        .await
    }

    async fn resolve(&self, context: &Context, ask: Resolve) -> Result<Rotation, Fault> {
        let now = self.desk.clock.now();
        let untouched = [touch(&self.diverged(context, ask.id).await?)];
        self.edit(
            context,
            ask.id,
            "rotation.resolve",
            &untouched,
            |rotation| {
                if rotation.progress.step != Step::Diverged {
                    return Err(Fault::conflict(format!(
                        "only a diverged rotation is resolved; this one is at {}",
                        rotation.progress.step
                    )));
                }
                rotation.overwrite |= ask.how == Resolution::Overwrite;
                rotation.progress = Progress {
                    step: Step::Probing,
                    attempt: 1,
                    ..rotation.progress
                };
                rotation.control = Control::Run;
                rotation.resume_at = now;
                rotation.reason = None;
                Ok(())
            },
        )
        .await
    }
}

impl RotationAgent {
    /// Creates the rotations of a batch; if it is tried again, those that an earlier attempt created
    /// excepted.
    async fn batch(
        &self,
        context: &Context,
        batch: Id,
        again: bool,
        ask: Start,
    ) -> Result<Started, Fault> {
        let _accepting = self.driver.accepting();
        let mut ids = match again {
            true => self.made(context, batch).await?,
            false => BTreeMap::new(),
        };
        let (plan, seen) = plan::plan(&self.desk, context, &ask).await?;
        let mut refused = plan.refused;
        refused.retain(|refused| !ids.contains_key(&refused.path));
        let mut rotations: Vec<(pentad_model::Path, Id)> =
            ids.iter().map(|(path, id)| (path.clone(), *id)).collect();
        let mut planned: Vec<Planned> = plan.groups.into_iter().flatten().collect();
        planned.retain(|planned| !ids.contains_key(&planned.path));
        let new = self.desk.ids(planned.len());
        let mut fresh: Vec<Rotation> = Vec::with_capacity(planned.len());
        for (id, planned) in new.into_iter().zip(planned) {
            let mut rotation = self.driver.fresh(context, batch, id, planned);
            let needs = seen
                .get(&rotation.path)
                .map(|one| one.depends_on.as_slice());
            // Groups come in order: what it depends on has its id by now.
            let needs = needs.unwrap_or_default().iter();
            rotation.after = needs.filter_map(|path| ids.get(path)).copied().collect();
            ids.insert(rotation.path.clone(), rotation.id);
            fresh.push(rotation);
        }
        let mut accepted = Vec::with_capacity(fresh.len());
        let stored = self
            .create(context, fresh, &seen, &mut accepted, &mut refused)
            .await;
        let created = accepted.iter();
        rotations.extend(created.map(|rotation| (rotation.path.clone(), rotation.id)));
        self.driver.take_up_accepted(accepted);
        stored?;
        Ok(Started {
            batch,
            rotations,
            refused,
        })
    }

    /// What an earlier attempt at this batch created.
    async fn made(
        &self,
        context: &Context,
        batch: Id,
    ) -> Result<BTreeMap<pentad_model::Path, Id>, Fault> {
        let mut made = BTreeMap::new();
        let mut query = RotationQuery {
            tenant: context.tenant.clone(),
            path: None,
            batch: Some(batch),
            unfinished: false,
            step: None,
            for_a_person: false,
            before: None,
            limit: pentad_store::read::MAX_PAGE,
        };
        loop {
            let page = self.desk.reader.rotations(&query).await?;
            query.before = page.items.last().map(|rotation| rotation.id);
            made.extend(
                page.items
                    .into_iter()
                    .map(|rotation| (rotation.path, rotation.id)),
            );
            if !page.more {
                return Ok(made);
            }
        }
    }

    /// Creates rotations, many in one commit; where some of them are being rotated already, or were
    /// changed since they were planned, only these are refused.
    async fn create(
        &self,
        context: &Context,
        fresh: Vec<Rotation>,
        seen: &plan::Seen,
        accepted: &mut Vec<Rotation>,
        refused: &mut Vec<Refused>,
    ) -> Result<(), Fault> {
        // One that waits for another must never be there without it, or a drive that finds it ends it:
        // then each commit waits for the one before.
        let ordered = fresh.iter().any(|rotation| !rotation.after.is_empty());
        let at_once = if ordered { 1 } else { COMMITS_AT_ONCE };
        let mut waiting = VecDeque::from(divided(fresh, CREATED_AT_ONCE));
        while !waiting.is_empty() {
            let some = waiting.drain(..at_once.min(waiting.len()));
            let commits = some.map(|some| async {
                let created = self.desk.create(context, &some, seen).await;
                (some, created)
            });
            // All of them are waited for: one that was asked for is carried out.
            let (mut parts, mut failed) = (Vec::new(), None);
            for (some, created) in join_all(commits).await {
                match created {
                    Ok(()) => accepted.extend(some),
                    Err(Fault::Conflict { .. } | Fault::Missing { .. }) => match some.as_slice() {
                        [one] => refused.push(Refused {
                            path: one.path.clone(),
                            reason: "it is being rotated already, or was changed at this moment; \
                                     see `pentad rotations`"
                                .to_owned(),
                        }),
                        _ => {
                            let part = some.len().div_ceil(PARTS);
                            parts.extend(divided(some, part));
                        }
                    },
                    Err(fault) => failed = failed.or(Some(fault)),
                }
            }
            if let Some(fault) = failed {
                return Err(fault);
            }
            // Before what comes after them.
            for part in parts.into_iter().rev() {
                waiting.push_front(part);
            }
        }
        Ok(())
    }

    /// The credential of a diverged rotation, if it is still as that rotation left it: versions that
    /// came later, or another target, are nothing that an old rotation may settle.
    async fn diverged(&self, context: &Context, id: Id) -> Result<Credential, Fault> {
        let found = self.desk.reader.rotation(&context.tenant, id).await?;
        let rotation = found.ok_or_else(|| Fault::missing(format!("rotation {id}")))?;
        let found = self
            .desk
            .reader
            .credential(&context.tenant, &rotation.path)
            .await?;
        let credential = found.ok_or_else(|| Fault::missing(format!("`{}`", rotation.path)))?;
        let left = if rotation.progress.promoted {
            rotation.to
        } else {
            Some(rotation.from)
        };
        let target = credential.binding.as_ref().map(|binding| &binding.target);
        if credential.deleted_at.is_some()
            || credential.current != left
            || target != Some(&rotation.target)
        {
            return Err(Fault::conflict(format!(
                "`{}` was changed since this rotation; `pentad adopt` the value that works and \
                 rotate anew",
                rotation.path
            )));
        }
        Ok(credential)
    }

    /// Changes what somebody may ask of a rotation, beside whoever drives it.
    async fn edit(
        &self,
        context: &Context,
        id: Id,
        action: &str,
        with: &[Op],
        change: impl Fn(&mut Rotation) -> Result<(), Fault>,
    ) -> Result<Rotation, Fault> {
        for _ in 0..TRIES {
            let found = self.desk.reader.rotation(&context.tenant, id).await?;
            let stored = found.ok_or_else(|| Fault::missing(format!("rotation {id}")))?;
            let mut rotation = stored.clone();
            change(&mut rotation)?;
            rotation.revision += 1;
            rotation.updated_at = self.desk.clock.now();
            let record = self
                .desk
                .record(context, action, Outcome::Done)
                .on(&rotation.path, rotation.to)
                .detail(id.to_string());
            let mut commit = Box::new(Change {
                ops: with.to_vec(),
                records: vec![record],
            });
            commit.ops.push(Op::UpdateRotation {
                rotation: rotation.clone(),
                expect: stored.revision,
            });
            match self
                .desk
                .monitoring
                .commit(context, Priority::High, commit)
                .await
            {
                Ok(()) => {
                    self.driver.ring();
                    return Ok(rotation);
                }
                Err(Fault::Conflict { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        Err(Fault::conflict("the rotation moves too fast; try again"))
    }
}

impl Desk {
    fn id(&self) -> Id {
        Id::generate(self.clock.now(), &*self.entropy)
    }

    /// New ones in their order: the store's indexes by id then grow at their end.
    fn ids(&self, count: usize) -> Vec<Id> {
        let mut ids: Vec<Id> = (0..count).map(|_| self.id()).collect();
        ids.sort_unstable();
        ids
    }

    fn record(&self, context: &Context, action: &str, outcome: Outcome) -> Record {
        Record::new(self.id(), self.clock.now(), context, action, outcome)
    }

    /// Each with a touch of its credential: what was planned is what is rotated, and whoever is
    /// about to change or delete it is refused.
    async fn create(
        &self,
        context: &Context,
        rotations: &[Rotation],
        seen: &plan::Seen,
    ) -> Result<(), Fault> {
        let mut change = Change {
            ops: Vec::with_capacity(2 * rotations.len()),
            records: Vec::with_capacity(rotations.len()),
        };
        let now = self.clock.now();
        for (id, rotation) in self.ids(rotations.len()).into_iter().zip(rotations) {
            change.ops.extend(seen.get(&rotation.path).map(touch));
            let record = Record::new(id, now, context, "rotation.start", Outcome::Done)
                .on(&rotation.path, Some(rotation.from))
                .detail(format!("{} at {}", rotation.id, rotation.target));
            change.records.push(record);
            change.ops.push(Op::CreateRotation {
                rotation: rotation.clone(),
            });
        }
        self.monitoring
            .commit(context, Priority::High, Box::new(change))
            .await
    }
}

/// Pieces of so many, in order.
fn divided(mut rotations: Vec<Rotation>, each: usize) -> Vec<Vec<Rotation>> {
    let mut pieces = Vec::with_capacity(rotations.len().div_ceil(each));
    while !rotations.is_empty() {
        let last = (rotations.len() - 1) / each * each;
        pieces.push(rotations.split_off(last));
    }
    pieces.reverse();
    pieces
}
