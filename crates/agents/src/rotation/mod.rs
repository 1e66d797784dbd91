//! The rotation agent: accepts rotations, drives them through the engine, steers them.
//!
//! An accepted rotation is a row in the store before anybody hears that it was accepted; from then
//! on it is driven to its end whatever crashes. The flow itself is `pentad_rotation::rotate`; this
//! agent gives it the other four through [`ports`], decides what runs when in [`driver`], and makes
//! plans in [`plan`].

use std::{sync::Arc, time::Duration};

use pentad_model::{
    Clock, Context, Id, Record, Rotation, Timestamp,
    id::Entropy,
    record::Outcome,
    rotation::{Control, Progress, Step},
};
use pentad_runtime::{Agent, Envelope, Priority};
use pentad_store::{Change, Op, Reader};

use crate::{
    Fault,
    contract::{
        self,
        rotation::{
            Plan, Refused, Reply, Request, Resolution, Resolve, Rotates, Start, Started, Steer,
            dispatch,
        },
    },
    encryption::Encryption,
    integration::Integration,
    monitoring::Monitoring,
    validation::Validation,
};

mod driver;
mod plan;
mod ports;

pub use driver::Driver;

/// Rotations created in one commit.
const CREATED_AT_ONCE: usize = 250;
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
    /// For credentials, targets and rotations.
    pub reader: Arc<dyn Reader>,
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
        dispatch(self, &envelope.context, envelope.body).await
    }

    fn budget(_: &Request) -> Duration {
        Duration::from_secs(60)
    }
}

impl Rotates for RotationAgent {
    async fn plan(&self, context: &Context, ask: Start) -> Result<Plan, Fault> {
        plan::plan(&self.desk, context, &ask).await
    }

    async fn start(&self, context: &Context, ask: Start) -> Result<Started, Fault> {
        let plan = plan::plan(&self.desk, context, &ask).await?;
        let batch = self.desk.id();
        let mut refused = plan.refused;
        let mut rotations: Vec<Rotation> = Vec::new();
        let mut earlier: Vec<(pentad_model::Path, Id)> = Vec::new();
        for group in plan.groups {
            let before = earlier.clone();
            for planned in group {
                let rotation = self.driver.fresh(context, batch, planned, &before);
                earlier.push((rotation.path.clone(), rotation.id));
                rotations.push(rotation);
            }
        }
        self.only_direct_dependencies(context, &mut rotations, &earlier).await?;
        let mut started = Vec::with_capacity(rotations.len());
        for chunk in rotations.chunks(CREATED_AT_ONCE) {
            for rotation in self.create(context, chunk, &mut refused).await? {
                started.push((rotation.path.clone(), rotation.id));
                self.driver.take_up(rotation);
            }
        }
        Ok(Started { batch, rotations: started, refused })
    }

    async fn control(&self, context: &Context, ask: Steer) -> Result<Rotation, Fault> {
        let now = self.desk.clock.now();
        let what = match ask.control {
            Control::Run => "resume",
            Control::Pause => "pause",
            Control::Cancel => "cancel",
            Control::Rollback => "rollback",
        };
        self.edit(context, ask.id, &format!("rotation.{what}"), |rotation| {
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
        })
        .await
    }

    async fn resolve(&self, context: &Context, ask: Resolve) -> Result<Rotation, Fault> {
        let now = self.desk.clock.now();
        self.edit(context, ask.id, "rotation.resolve", |rotation| {
            if rotation.progress.step != Step::Diverged {
                return Err(Fault::conflict(format!(
                    "only a diverged rotation is resolved; this one is at {}",
                    rotation.progress.step
                )));
            }
            rotation.overwrite |= ask.how == Resolution::Overwrite;
            rotation.progress = Progress { step: Step::Probing, attempt: 1, ..rotation.progress };
            rotation.control = Control::Run;
            rotation.resume_at = now;
            rotation.reason = None;
            Ok(())
        })
        .await
    }
}

impl RotationAgent {
    /// Keeps of `after` what each credential itself depends on; the order of groups gave them all.
    async fn only_direct_dependencies(
        &self,
        context: &Context,
        rotations: &mut [Rotation],
        ids: &[(pentad_model::Path, Id)],
    ) -> Result<(), Fault> {
        for rotation in rotations.iter_mut().filter(|rotation| !rotation.after.is_empty()) {
            let path = &rotation.path;
            let found = self.desk.reader.credential(&context.tenant, path).await?;
            let needs = found.map(|credential| credential.depends_on).unwrap_or_default();
            rotation.after = ids
                .iter()
                .filter(|(path, _)| needs.contains(path))
                .map(|(_, id)| *id)
                .collect();
        }
        Ok(())
    }

    /// Creates rotations in one commit; where one of them is being rotated already, one by one, so
    /// that only that one is refused.
    async fn create(
        &self,
        context: &Context,
        chunk: &[Rotation],
        refused: &mut Vec<Refused>,
    ) -> Result<Vec<Rotation>, Fault> {
        match self.desk.create(context, chunk).await {
            Ok(()) => return Ok(chunk.to_vec()),
            Err(Fault::Conflict { .. }) => {}
            Err(fault) => return Err(fault),
        }
        let mut created = Vec::new();
        for rotation in chunk {
            match self.desk.create(context, std::slice::from_ref(rotation)).await {
                Ok(()) => created.push(rotation.clone()),
                Err(Fault::Conflict { .. }) => refused.push(Refused {
                    path: rotation.path.clone(),
                    reason: "it is being rotated already; see `pentad rotations`".to_owned(),
                }),
                Err(fault) => return Err(fault),
            }
        }
        Ok(created)
    }

    /// Changes what somebody may ask of a rotation, beside whoever drives it.
    async fn edit(
        &self,
        context: &Context,
        id: Id,
        action: &str,
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
            let op =
                Op::UpdateRotation { rotation: rotation.clone(), expect: stored.revision };
            let commit = Box::new(Change::new(op, record));
            match self.desk.monitoring.commit(context, Priority::High, commit).await {
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

    fn record(&self, context: &Context, action: &str, outcome: Outcome) -> Record {
        Record::new(self.id(), self.clock.now(), context, action, outcome)
    }

    async fn create(&self, context: &Context, rotations: &[Rotation]) -> Result<(), Fault> {
        let mut change = Change::default();
        for rotation in rotations {
            let record = self
                .record(context, "rotation.start", Outcome::Done)
                .on(&rotation.path, Some(rotation.from))
                .detail(format!("{} at {}", rotation.id, rotation.target));
            change.records.push(record);
            change.ops.push(Op::CreateRotation { rotation: rotation.clone() });
        }
        self.monitoring.commit(context, Priority::High, Box::new(change)).await
    }
}
