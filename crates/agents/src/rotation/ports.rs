//! The other four agents, as the rotation flow sees them: each port asks over the bus.

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;
use pentad_model::{
    Credential, Id, Record, Rotation, Stage, Target, Timestamp, Version,
    assessment::Assessment,
    credential::{Binding, Origin},
    record::Outcome as Result_,
    rotation::{Control, Evidence, Login, Step},
};
use pentad_rotation::{
    Settle,
    machine::{Effect as Ending, Verdict},
    ports::{
        Commit, Draft, Effect, Failure, Journal, Judge, Outcome, Outside, Session, Ticket, Vault,
    },
    rotate::MAX_ABANDONED,
};
use pentad_runtime::Priority;
use pentad_store::{Change, Collection, Op};

use super::{Desk, driver::ports_context};
use crate::{
    Fault,
    contract::{encryption as enc, integration as int, validation as val},
    current::current,
    handoff::Bearer,
};

/// Tries of a commit whose credential was changed by somebody else meanwhile.
const TRIES: usize = 8;
/// Versions looked through for abandoned ones.
const LOOKED_THROUGH: usize = 50;

/// See the module.
pub(super) struct BusPorts {
    desk: std::sync::Arc<Desk>,
    /// Uses of administrating credentials, to be recorded with the next commit of their rotation:
    /// before any effect that they made possible.
    uses: Mutex<HashMap<Id, Vec<Record>>>,
}

impl BusPorts {
    pub(super) fn new(desk: std::sync::Arc<Desk>) -> Self {
        Self {
            desk,
            uses: Mutex::default(),
        }
    }

    /// A ticket for the password of a target's administrating account.
    async fn admin(
        &self,
        rotation: &Rotation,
        target: &Target,
    ) -> Result<Option<enc::Opened>, Failure> {
        let Some(path) = &target.admin_credential else {
            return Ok(None);
        };
        let current = current(&*self.desk.reader, &target.tenant, path)
            .await
            .map_err(failure)?;
        let Some((credential, Some(version))) = current else {
            return Err(Failure::Refused(format!(
                "the administrating credential `{path}` of target `{}` does not exist",
                target.name
            )));
        };
        let context = ports_context(rotation);
        let open = open(&credential, &version, Bearer::Integration)?;
        let opened = self
            .desk
            .encryption
            .open(&context, urgency(rotation), open)
            .await
            .map_err(failure)?;
        let mut record = self
            .desk
            .record(&context, "credential.use", Result_::Done)
            .on(path, Some(version.number))
            .detail(format!("administers target {}", target.name));
        record.value_mac = Some(opened.value_mac);
        self.uses
            .lock()
            .entry(rotation.id)
            .or_default()
            .push(record);
        Ok(Some(opened))
    }

    async fn credential(&self, rotation: &Rotation) -> Result<Credential, Failure> {
        let found = self
            .desk
            .reader
            .credential(&rotation.tenant, &rotation.path)
            .await
            .map_err(store)?;
        found.ok_or_else(|| Failure::Refused(format!("`{}` does not exist", rotation.path)))
    }

    /// One commit, translated: the rotation's own row first (the fence), then the versions' stages,
    /// then the credential.
    async fn change(&self, step: &Commit, expect: u64) -> Result<Change, Failure> {
        let rotation = &step.rotation;
        let now = self.desk.clock.now();
        let mut ops = vec![Op::UpdateRotation {
            rotation: rotation.clone(),
            expect,
        }];
        let mut credential = self.credential(rotation).await?;
        let before = credential.clone();
        if let Some(draft) = &step.draft {
            credential.latest = credential.latest.max(draft.number);
            ops.push(Op::AddVersion {
                version: draft.clone(),
            });
        }
        self.settle(step, &mut credential, &mut ops, now).await?;
        credential.in_doubt = rotation.progress.step.in_doubt();
        if credential != before {
            credential.revision += 1;
            credential.updated_at = now;
            ops.push(Op::UpdateCredential {
                credential,
                expect: before.revision,
            });
        }
        let mut records = self.uses.lock().remove(&rotation.id).unwrap_or_default();
        let outcome = match rotation.progress.step {
            Step::Failed | Step::Diverged | Step::RolledBack => Result_::Failed,
            _ => Result_::Done,
        };
        let record = self
            .desk
            .record(&ports_context(rotation), "rotation.step", outcome)
            .on(&rotation.path, step.to)
            .detail(format!("{}: {}", rotation.id, step.note));
        records.insert(0, record);
        Ok(Change { ops, records })
    }

    /// Brings the stages to where `settle` wants them; those that are there already stay.
    async fn settle(
        &self,
        step: &Commit,
        credential: &mut Credential,
        ops: &mut Vec<Op>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let (old, new) = match step.settle {
            Settle::Keep => return Ok(()),
            Settle::New => (Stage::Previous, Stage::Current),
            Settle::Old => (Stage::Current, Stage::Abandoned),
            Settle::Retire => (Stage::Retired, Stage::Current),
        };
        let rotation = &step.rotation;
        let mut moves = Vec::with_capacity(2);
        for (number, stage) in [(Some(rotation.from), old), (step.to, new)] {
            let Some(number) = number else { continue };
            let (tenant, path) = (&rotation.tenant, &rotation.path);
            let found = self
                .desk
                .reader
                .version(tenant, path, number)
                .await
                .map_err(store)?;
            if let Some(version) = found.filter(|version| version.stage != stage) {
                moves.push((number, version.stage, stage));
            }
            if stage == Stage::Current {
                credential.current = Some(number);
            }
        }
        let ask = enc::StageMacs {
            path: rotation.path.clone(),
            moves: moves.iter().map(|(number, _, to)| (*number, *to)).collect(),
        };
        let context = ports_context(rotation);
        let macs = match moves.is_empty() {
            true => Vec::new(),
            false => self
                .desk
                .encryption
                .stage_macs(&context, urgency(rotation), ask)
                .await
                .map_err(failure)?,
        };
        for ((number, from, to), mac) in moves.into_iter().zip(macs) {
            ops.push(Op::SetStage {
                tenant: rotation.tenant.clone(),
                path: rotation.path.clone(),
                number,
                from,
                to,
                mac,
                at: now,
            });
        }
        if step.settle == Settle::Retire {
            self.destroy_abandoned(rotation, ops, now).await?;
        }
        Ok(())
    }

    /// A later version has been proven: what was abandoned longer ago than any effect's bound is
    /// forgotten.
    async fn destroy_abandoned(
        &self,
        rotation: &Rotation,
        ops: &mut Vec<Op>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        for version in self.abandoned(rotation).await? {
            let proven_gone = rotation.doubt_until > version.staged_at
                && now.since(version.staged_at) > pentad_connectors::EFFECT_BOUND * 2;
            if proven_gone && version.sealed.is_some() {
                ops.push(Op::DestroyVersion {
                    tenant: rotation.tenant.clone(),
                    path: rotation.path.clone(),
                    number: version.number,
                    at: now,
                });
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Journal for BusPorts {
    fn now(&self) -> Timestamp {
        self.desk.clock.now()
    }

    async fn commit(&self, mut step: Commit) -> Result<Rotation, Failure> {
        let context = ports_context(&step.rotation);
        let mut expect = step.expect;
        for _ in 0..TRIES {
            let change = Box::new(self.change(&step, expect).await?);
            let uses: Vec<Record> = change.records.iter().skip(1).cloned().collect();
            let id = step.rotation.id;
            let urgency = urgency(&step.rotation);
            match self.desk.monitoring.commit(&context, urgency, change).await {
                Ok(()) => {
                    tracing::info!(
                        target: "pentad::rotation",
                        rotation = %id,
                        path = %step.rotation.path,
                        step = %step.rotation.progress.step,
                        attempt = step.rotation.progress.attempt,
                        correlation = %step.rotation.correlation,
                        "rotation step"
                    );
                    return Ok(step.rotation);
                }
                Err(Fault::Conflict { .. } | Fault::Missing { .. }) => {}
                Err(fault) => {
                    self.uses.lock().entry(id).or_default().extend(uses);
                    return Err(failure(fault));
                }
            }
            self.uses.lock().entry(id).or_default().extend(uses);
            // Either the credential was edited beside us, or somebody asked something of the
            // rotation, or another worker has it.
            let tenant = &step.rotation.tenant;
            let stored = self.desk.reader.rotation(tenant, id).await.map_err(store)?;
            let Some(stored) = stored else {
                return Err(Failure::Lost);
            };
            if stored.revision == expect {
                continue;
            }
            if stored.lease.epoch != step.expect_epoch || step.is_claim() {
                return Err(Failure::Lost);
            }
            expect = stored.revision;
            step.rotation.revision = stored.revision + 1;
            step.rotation.control = stored.control;
            if stored.control != Control::Pause {
                // What was asked is to be heeded now, not when a wait is over.
                step.rotation.resume_at = step.rotation.resume_at.min(self.desk.clock.now());
            }
        }
        Err(Failure::NotNow(
            "the credential is being changed too often; trying again".to_owned(),
        ))
    }

    async fn subject(&self, rotation: &Rotation) -> Result<(Credential, Target), Failure> {
        let credential = self.credential(rotation).await?;
        let context = ports_context(rotation);
        let binding = self.desk.documents.binding(&context, &credential).await;
        // A rotation carries no seal. Whatever its row says, it goes where the binding leads.
        let leads = |binding: &Binding| {
            binding.target == rotation.target
                && binding.names(&rotation.from_account)
                && binding.names(&rotation.to_account)
        };
        if !binding.map_err(failure)?.as_ref().is_some_and(leads) {
            return Err(Failure::Refused(format!(
                "`{}` is not bound to this rotation's target and accounts; rotate it anew",
                rotation.path
            )));
        }
        let name = rotation.target.as_str();
        let found: Option<(Target, u64)> = self
            .desk
            .documents
            .find(&context, Collection::Target, name)
            .await
            .map_err(failure)?;
        let (mut target, revision) = found
            .ok_or_else(|| Failure::Refused(format!("target `{name}` does not exist any more")))?;
        target.revision = revision;
        Ok((credential, target))
    }

    async fn version(&self, rotation: &Rotation, number: u32) -> Result<Version, Failure> {
        let (tenant, path) = (&rotation.tenant, &rotation.path);
        let found = self
            .desk
            .reader
            .version(tenant, path, number)
            .await
            .map_err(store)?;
        found.ok_or_else(|| Failure::Refused(format!("`{path}` has no version {number}")))
    }

    async fn abandoned(&self, rotation: &Rotation) -> Result<Vec<Version>, Failure> {
        let (tenant, path) = (&rotation.tenant, &rotation.path);
        let page = self
            .desk
            .reader
            .versions(tenant, path, None, LOOKED_THROUGH)
            .await
            .map_err(store)?;
        Ok(page
            .items
            .into_iter()
            .filter(|version| version.stage == Stage::Abandoned && version.sealed.is_some())
            .take(MAX_ABANDONED)
            .collect())
    }
}

#[async_trait]
impl Vault for BusPorts {
    async fn draft(&self, rotation: &Rotation, credential: &Credential) -> Result<Draft, Failure> {
        let generator = credential
            .generator
            .clone()
            .or_else(|| credential.kind.profile().generator.map(|make| make()))
            .ok_or_else(|| {
                Failure::Refused(format!(
                    "only its provider can make a {}; give the credential a `generator`",
                    credential.kind
                ))
            })?;
        // Another attempt may have used up the number that was next when this drive began.
        let number = self.credential(rotation).await?.latest + 1;
        let ask = enc::Draft {
            path: rotation.path.clone(),
            kind: credential.kind,
            number,
            stage: Stage::Pending,
            generator,
        };
        let context = ports_context(rotation);
        let made = self
            .desk
            .encryption
            .draft(&context, urgency(rotation), ask)
            .await
            .map_err(failure)?;
        let now = self.desk.clock.now();
        let version = Version {
            tenant: rotation.tenant.clone(),
            path: rotation.path.clone(),
            number,
            stage: Stage::Pending,
            stage_mac: made.value.stage_mac,
            sealed: Some(made.value.sealed),
            fingerprint: made.value.fingerprint,
            account: Some(rotation.to_account.clone()),
            origin: Origin::Rotation { id: rotation.id },
            derived_from: Some(rotation.from),
            created_by: context.principal.to_string(),
            created_at: now,
            staged_at: now,
        };
        Ok(Draft {
            version,
            to_judge: made.to_judge,
        })
    }

    async fn open(&self, rotation: &Rotation, version: &Version) -> Result<Ticket, Failure> {
        // The label carries a MAC, the rotation's row does not: whatever that names, what was
        // retired is never tried, sent or promoted again. A version is retired as a rotation ends.
        if version.stage == Stage::Retired {
            return Err(Failure::Refused(format!(
                "version {} of `{}` is retired; rotate it anew",
                version.number, version.path
            )));
        }
        let credential = self.credential(rotation).await?;
        let ask = open(&credential, version, Bearer::Integration)?;
        let context = ports_context(rotation);
        let opened = self
            .desk
            .encryption
            .open(&context, urgency(rotation), ask)
            .await
            .map_err(failure)?;
        Ok(opened.ticket)
    }

    async fn decoy(&self, rotation: &Rotation) -> Result<Ticket, Failure> {
        let context = ports_context(rotation);
        self.desk
            .encryption
            .decoy(&context, urgency(rotation), enc::Decoy {})
            .await
            .map_err(failure)
    }
}

#[async_trait]
impl Judge for BusPorts {
    async fn value(
        &self,
        rotation: &Rotation,
        credential: &Credential,
        draft: &Draft,
    ) -> Result<Assessment, Failure> {
        let ask = val::Judge {
            path: rotation.path.clone(),
            kind: credential.kind,
            policy: credential.policy.clone(),
            account: Some(rotation.to_account.clone()),
            value: draft.to_judge,
            fingerprint: draft.version.fingerprint,
            number: draft.version.number,
        };
        let context = ports_context(rotation);
        self.desk
            .validation
            .judge(&context, urgency(rotation), ask)
            .await
            .map_err(failure)
    }

    async fn evidence(
        &self,
        rotation: &Rotation,
        evidence: &Evidence,
    ) -> Result<(Verdict, String), Failure> {
        let ask = val::JudgeEvidence {
            strategy: rotation.strategy,
            after_retirement: false,
            evidence: evidence.clone(),
        };
        let context = ports_context(rotation);
        let judged = self
            .desk
            .validation
            .evidence(&context, urgency(rotation), ask)
            .await
            .map_err(failure)?;
        let verdict = match judged.verdict {
            val::Holds::Yes => Verdict::Holds,
            val::Holds::No => Verdict::Broken,
            val::Holds::CantTell => Verdict::CantTell,
        };
        Ok((verdict, judged.reason))
    }
}

#[async_trait]
impl Outside for BusPorts {
    async fn session(&self, rotation: &Rotation, target: &Target) -> Result<Session, Failure> {
        let admin = self
            .admin(rotation, target)
            .await?
            .map(|opened| opened.ticket);
        let ask = int::OpenSession {
            target: target.clone(),
            admin,
        };
        let context = ports_context(rotation);
        let opened = self
            .desk
            .integration
            .session(&context, urgency(rotation), ask)
            .await
            .map_err(failure)?;
        Ok(Session {
            id: opened.session,
            connection: opened.connection,
        })
    }

    async fn release(&self, rotation: &Rotation, session: Session) {
        let ask = int::Release {
            session: session.id,
        };
        let context = ports_context(rotation);
        // If it can't be given back, the integration agent drops it by itself after a while.
        let _ = self
            .desk
            .integration
            .release(&context, urgency(rotation), ask)
            .await;
    }

    async fn effect(
        &self,
        rotation: &Rotation,
        session: Session,
        effect: Effect,
    ) -> Result<Outcome, Failure> {
        let bound = i64::try_from(pentad_connectors::EFFECT_BOUND.as_millis()).unwrap_or(0);
        let ask = int::RunEffect {
            session: session.id,
            effect: match effect {
                Effect::Apply {
                    account,
                    new,
                    old,
                    like,
                } => int::Effect::Apply {
                    account,
                    new,
                    old,
                    like,
                },
                Effect::Retire { account, keep } => int::Effect::Retire { account, keep },
            },
            strategy: rotation.strategy,
            // Begun later than this, it could outlast the time for which the credential is held in
            // doubt.
            deadline: Timestamp(rotation.doubt_until.0.saturating_sub(bound)),
        };
        let context = ports_context(rotation);
        let ended = self
            .desk
            .integration
            .effect(&context, Priority::Critical, ask)
            .await
            .map_err(failure)?;
        let (effect, note, after) = match ended {
            int::Ended::Done => (Ending::Done, String::new(), None),
            int::Ended::RejectedValue { note } => (Ending::RejectedValue, note, None),
            int::Ended::RejectedStop { note } => (Ending::RejectedStop, note, None),
            int::Ended::Throttled { after } => (
                Ending::Throttled,
                "the target asks to wait".to_owned(),
                Some(after),
            ),
            int::Ended::Unknown { note } => (Ending::Unknown, note, None),
        };
        Ok(Outcome {
            effect,
            note,
            after,
        })
    }

    async fn fence(
        &self,
        rotation: &Rotation,
        target: &Target,
        connection: &str,
    ) -> Result<(), Failure> {
        let admin = self
            .admin(rotation, target)
            .await?
            .map(|opened| opened.ticket);
        let connection = connection.to_owned();
        let ask = int::Fence {
            target: target.clone(),
            admin,
            connection,
        };
        let context = ports_context(rotation);
        match self
            .desk
            .integration
            .fence(&context, Priority::Critical, ask)
            .await
        {
            Ok(int::Fenced::Gone) => Ok(()),
            Ok(int::Fenced::CantTell { note }) => Err(Failure::NotNow(note)),
            Err(fault) => Err(failure(fault)),
        }
    }

    async fn login(
        &self,
        rotation: &Rotation,
        target: &Target,
        account: &str,
        value: Ticket,
    ) -> Result<(Login, String), Failure> {
        let ask = int::TestLogin {
            target: target.clone(),
            account: account.to_owned(),
            value,
        };
        let context = ports_context(rotation);
        let tried = self
            .desk
            .integration
            .login(&context, urgency(rotation), ask)
            .await
            .map_err(failure)?;
        Ok((tried.login, tried.note))
    }

    async fn deliver(
        &self,
        rotation: &Rotation,
        credential: &Credential,
        number: u32,
    ) -> Result<(), Failure> {
        let files = credential
            .binding
            .as_ref()
            .map(|b| b.deliver_to.clone())
            .unwrap_or_default();
        let version = self.version(rotation, number).await?;
        let context = ports_context(rotation);
        for file in files {
            // A worker that slept must not deliver what was taken back meanwhile.
            let stored = self
                .desk
                .reader
                .rotation(&rotation.tenant, rotation.id)
                .await
                .map_err(store)?;
            if stored.is_none_or(|stored| stored.lease.epoch != rotation.lease.epoch) {
                return Err(Failure::Lost);
            }
            let value = self.open(rotation, &version).await?;
            let ask = int::Deliver { file, value };
            self.desk
                .integration
                .deliver(&context, urgency(rotation), ask)
                .await
                .map_err(failure)?;
        }
        Ok(())
    }
}

fn open(credential: &Credential, version: &Version, bearer: Bearer) -> Result<enc::Open, Failure> {
    let sealed = version.sealed.clone().ok_or_else(|| {
        Failure::Refused(format!(
            "version {} of `{}` was destroyed",
            version.number, version.path
        ))
    })?;
    Ok(enc::Open {
        path: version.path.clone(),
        kind: credential.kind,
        number: version.number,
        stage: version.stage,
        stage_mac: version.stage_mac,
        sealed,
        bearer,
    })
}

/// Steps around an effect in flight go ahead of everything.
fn urgency(rotation: &Rotation) -> Priority {
    match rotation.progress.step {
        Step::Applying | Step::Probing | Step::Retiring | Step::Undoing => Priority::Critical,
        _ => Priority::Normal,
    }
}

fn failure(fault: Fault) -> Failure {
    let message = fault.to_string();
    match fault {
        Fault::Invalid { .. }
        | Fault::Denied { .. }
        | Fault::Missing { .. }
        | Fault::Refused { .. }
        | Fault::Damaged { .. }
        | Fault::Target { .. } => Failure::Refused(message),
        _ => Failure::NotNow(message),
    }
}

fn store(error: pentad_store::StoreError) -> Failure {
    failure(Fault::from(error))
}
