//! Starting, watching and steering rotations, and taking over credentials that exist.

use pentad_model::{
    Id, Path, Rotation, Verb,
    credential::{Binding, Origin},
    record::Outcome,
    rotation::{Control, Login, Step},
};
use pentad_store::{RotationQuery, read::MAX_PAGE};

use super::{Caller, Pentad, Put, Stored, Value, bindings::Bound};
use crate::{
    Fault,
    contract::{integration as int, rotation as rot},
    handoff::Bearer,
};

/// Rotations that one listing looks at before it hands back where to go on: what a caller may not
/// see costs as much to look at as what it may.
const LOOKED_AT: usize = 2 * MAX_PAGE;

/// A page of rotations, the newest first.
#[derive(Clone, PartialEq, Debug)]
pub struct Rotations {
    /// Those that are asked for and that the caller may see; perhaps none, with more to come.
    pub items: Vec<Rotation>,
    /// Where to go on, as `before` of the next query; `None` at the end.
    pub next: Option<Id>,
}

impl Pentad {
    /// What rotating these would do; nothing is touched.
    pub async fn plan(&self, caller: &Caller, start: rot::Start) -> Result<rot::Plan, Fault> {
        self.permit_all(caller, &start.paths).await?;
        self.0
            .rotation
            .plan(&caller.context, caller.priority, start)
            .await
    }

    /// Starts rotations. Durable when answered; they are driven from then on.
    pub async fn rotate(&self, caller: &Caller, start: rot::Start) -> Result<rot::Started, Fault> {
        self.permit_all(caller, &start.paths).await?;
        self.0
            .rotation
            .start(&caller.context, caller.priority, start)
            .await
    }

    async fn permit_all(&self, caller: &Caller, paths: &[Path]) -> Result<(), Fault> {
        if paths.is_empty() {
            return Err(Fault::invalid("name at least one credential to rotate"));
        }
        for path in paths {
            self.permit(caller, Verb::Rotate, path).await?;
        }
        Ok(())
    }

    /// One rotation.
    pub async fn rotation(&self, caller: &Caller, id: Id) -> Result<Rotation, Fault> {
        let found = self.0.reader.rotation(&caller.context.tenant, id).await?;
        let missing = || Fault::missing(format!("rotation {id}"));
        let rotation = found.ok_or_else(missing)?;
        match self.permit(caller, Verb::List, &rotation.path).await {
            Ok(()) => Ok(rotation),
            // The refusal would name the path; whoever only has the id may not know it.
            Err(Fault::Denied { .. }) => Err(missing()),
            Err(fault) => Err(fault),
        }
    }

    /// Rotations, the newest first, of credentials that the caller may see. One request looks at
    /// [`LOOKED_AT`] rotations at most.
    pub async fn rotations(
        &self,
        caller: &Caller,
        mut query: RotationQuery,
    ) -> Result<Rotations, Fault> {
        query.tenant = caller.context.tenant.clone();
        let nothing_to_see = match &query.path {
            Some(path) => !caller.rights.access.allows(Verb::List, path),
            None => !caller.rights.access.may_allow_under(Verb::List, ""),
        };
        let mut items = Vec::new();
        if nothing_to_see {
            return Ok(Rotations { items, next: None });
        }
        let wanted = query.limit.clamp(1, MAX_PAGE);
        // One more than wanted tells whether there are more.
        query.limit = wanted + 1;
        let mut left = LOOKED_AT;
        loop {
            let page = self.0.reader.rotations(&query).await?;
            left = left.saturating_sub(page.items.len());
            query.before = page.items.last().map(|last| last.id).or(query.before);
            for rotation in page.items {
                if !caller.rights.access.allows(Verb::List, &rotation.path)
                    || query.for_a_person && self.is_settled(&rotation).await?
                {
                    continue;
                }
                if items.len() == wanted {
                    let next = items.last().map(|last: &Rotation| last.id);
                    return Ok(Rotations { items, next });
                }
                items.push(rotation);
            }
            if !page.more || left == 0 {
                let next = query.before.filter(|_| page.more);
                return Ok(Rotations { items, next });
            }
            query.limit = MAX_PAGE.min(left);
        }
    }

    /// Those of [`rotations`](Self::rotations) that wait for a person: that diverged, where the
    /// version that they left is still the current one and no later rotation of it diverged; and that
    /// paused themselves where a person has to mend something. Two look-ups for each that diverged.
    pub async fn rotations_for_a_person(
        &self,
        caller: &Caller,
        mut query: RotationQuery,
    ) -> Result<Rotations, Fault> {
        let waits = |step| {
            matches!(
                step,
                Step::Diverged | Step::Probing | Step::UndoProbing | Step::Observing
            )
        };
        if query.step.is_some_and(|step| !waits(step)) {
            return Err(Fault::invalid(
                "only a rotation at diverged, probing, undo_probing or observing waits for a person: \
                 ask for no other step",
            ));
        }
        query.for_a_person = true;
        self.rotations(caller, query).await
    }

    /// Whether a rotation that diverged waits no more: the version that it left is not the current
    /// one any more. Whatever was put, adopted or rotated since has settled it.
    async fn is_settled(&self, rotation: &Rotation) -> Result<bool, Fault> {
        if rotation.progress.step != Step::Diverged {
            return Ok(false);
        }
        let (tenant, path) = (&rotation.tenant, &rotation.path);
        let left = match rotation.progress.promoted {
            true => rotation.to,
            false => Some(rotation.from),
        };
        let credential = self.0.reader.credential(tenant, path).await?;
        if credential.is_none_or(|found| found.deleted_at.is_some() || found.current != left) {
            return Ok(true);
        }
        let newest = RotationQuery {
            tenant: tenant.clone(),
            path: Some(path.clone()),
            batch: None,
            unfinished: false,
            step: Some(Step::Diverged),
            for_a_person: false,
            before: None,
            limit: 1,
        };
        let newest = self.0.reader.rotations(&newest).await?;
        Ok(newest.items.first().is_none_or(|it| it.id != rotation.id))
    }

    /// Asks a running rotation to pause, go on, end, or roll back.
    pub async fn steer(
        &self,
        caller: &Caller,
        id: Id,
        control: Control,
    ) -> Result<Rotation, Fault> {
        let rotation = self.rotation(caller, id).await?;
        self.permit(caller, Verb::Rotate, &rotation.path).await?;
        let steer = rot::Steer { id, control };
        self.0
            .rotation
            .control(&caller.context, caller.priority, steer)
            .await
    }

    /// A person's decision on a diverged rotation.
    pub async fn resolve(
        &self,
        caller: &Caller,
        id: Id,
        how: rot::Resolution,
    ) -> Result<Rotation, Fault> {
        let rotation = self.rotation(caller, id).await?;
        self.permit(caller, Verb::Rotate, &rotation.path).await?;
        let resolve = rot::Resolve { id, how };
        self.0
            .rotation
            .resolve(&caller.context, caller.priority, resolve)
            .await
    }

    /// Takes over an account that exists, without resetting it: the value must log in at the
    /// target, and a random one must not. For a credential that is stored already this is how drift
    /// is mended.
    pub async fn adopt(&self, caller: &Caller, path: &Path, put: Put) -> Result<Stored, Fault> {
        self.permit(caller, Verb::Write, path).await?;
        self.permit(caller, Verb::Rotate, path).await?;
        let stored = self
            .0
            .reader
            .credential(&caller.context.tenant, path)
            .await?;
        let binding: Binding = match (&put.binding, &stored) {
            (Some(given), stored) => {
                if self.is_bound(caller, stored.as_ref(), given).await? != Bound::So {
                    self.permit_binding(caller, path, Some(given)).await?;
                }
                given.clone()
            }
            (None, Some(stored)) => self.bound(caller, stored).await?.ok_or_else(unbound)?,
            (None, None) => return Err(unbound()),
        };
        let Some(Value::Given(value)) = &put.value else {
            return Err(Fault::invalid(
                "to adopt a credential, give the value that works now",
            ));
        };
        let target = self.target_of(&caller.context, &binding.target).await?;
        let decoy = crate::contract::encryption::Decoy {};
        let control = self
            .0
            .encryption
            .decoy(&caller.context, caller.priority, decoy)
            .await?;
        let handoff = &self.0.handoff;
        let control = handoff.answer_for(control);
        let tenant = &caller.context.tenant;
        let given = handoff.deposit(tenant, value.clone(), Bearer::Integration)?;
        let mut seen = Vec::with_capacity(2);
        for value in [&control, &given] {
            let account = binding.account.clone();
            let login = int::TestLogin {
                target: target.clone(),
                account,
                value: value.ticket(),
            };
            seen.push(
                self.0
                    .integration
                    .login(&caller.context, caller.priority, login)
                    .await?,
            );
        }
        let problem = match (seen[0].login, seen[1].login) {
            (Login::Fails, Login::Works) => None,
            (Login::Works, _) => Some(format!(
                "{} accepts a random password for `{}`: it checks none",
                target.name, binding.account
            )),
            (_, Login::Fails) => Some(format!(
                "{} refuses this value for `{}`: {}",
                target.name, binding.account, seen[1].note
            )),
            (Login::CantTell, _) | (_, Login::CantTell) => {
                let mut notes: Vec<&str> = seen.iter().map(|tried| tried.note.as_str()).collect();
                notes.dedup();
                Some(format!("{} can't tell: {}", target.name, notes.join("; ")))
            }
        };
        if let Some(message) = problem {
            let record = self
                .record(caller, "credential.adopt", Outcome::Failed)
                .on(path, None)
                .detail(message.clone());
            self.write_down(caller, record).await?;
            return Err(Fault::Target { message });
        }
        // It is in use as it is: a weak one is taken over all the same, and reported as weak.
        let put = Put {
            accept_weak: true,
            ..put
        };
        self.store(caller, path, put, Origin::Adopted).await
    }
}

fn unbound() -> Fault {
    Fault::invalid("to adopt a credential, say its target and account")
}
