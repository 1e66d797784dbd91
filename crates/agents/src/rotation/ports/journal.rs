//! The store, by way of the monitoring agent: what is committed, and what is there.

use async_trait::async_trait;
use pentad_model::{
    Credential, Record, Rotation, Stage, Target, Timestamp, Version,
    credential::Binding,
    record::Outcome as Result_,
    rotation::{Control, Step},
};
use pentad_rotation::{
    Settle, in_doubt,
    ports::{Commit, Failure, Journal},
    rotate::MAX_ABANDONED,
};
use pentad_store::{Change, Op};

use super::{BusPorts, failure, ports_context, store, urgency};
use crate::{
    Fault,
    contract::encryption as enc,
    displaced::{LOOKED_THROUGH, MAX_DISPLACED, displaced_among},
};

/// Tries of a commit whose credential was changed by somebody else meanwhile.
const TRIES: usize = 8;

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
        let (reader, documents) = (&*self.desk.reader, &self.desk.documents);
        let target = self
            .kept
            .target(reader, documents, &context, &rotation.target)
            .await?;
        Ok((credential, Target::clone(&target)))
    }

    async fn version(&self, rotation: &Rotation, number: u32) -> Result<Version, Failure> {
        let found = self.find(rotation, number).await?;
        found
            .ok_or_else(|| Failure::Refused(format!("`{}` has no version {number}", rotation.path)))
    }

    async fn abandoned(&self, rotation: &Rotation) -> Result<Vec<Version>, Failure> {
        let latest = self.latest(rotation).await?;
        let mut all = self.displaced(rotation, &latest).await?;
        all.truncate(MAX_DISPLACED);
        all.extend(never_promoted(&latest).cloned());
        Ok(all)
    }
}

impl BusPorts {
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
        credential.in_doubt = in_doubt(rotation, credential.in_doubt);
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
        // What ends it asks about more than its own two.
        let latest = match step.settle {
            Settle::Retire => self.latest(rotation).await?,
            _ => Vec::new(),
        };
        let mut moves = Vec::with_capacity(2);
        for (number, stage) in [(Some(rotation.from), old), (step.to, new)] {
            let Some(number) = number else { continue };
            let found = match latest.iter().find(|version| version.number == number) {
                Some(version) => Some(version.clone()),
                None => self.find(rotation, number).await?,
            };
            if let Some(version) = found.filter(|version| version.stage != stage) {
                moves.push(entry(&version, stage));
            }
            if stage == Stage::Current {
                credential.current = Some(number);
            }
        }
        if step.settle == Settle::Retire {
            // Another one has been proven.
            let earlier = self.displaced(rotation, &latest).await?;
            moves.extend(earlier.iter().map(|it| entry(it, Stage::Retired)));
        }
        let ask = enc::StageMacs {
            path: rotation.path.clone(),
            moves: moves.clone(),
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
        for (it, mac) in moves.into_iter().zip(macs) {
            ops.push(Op::SetStage {
                tenant: rotation.tenant.clone(),
                path: rotation.path.clone(),
                number: it.number,
                from: it.from,
                to: it.to,
                mac,
                at: now,
            });
        }
        if step.settle == Settle::Retire {
            destroy_abandoned(rotation, &latest, ops, now);
        }
        Ok(())
    }

    /// One version, if it is there.
    async fn find(&self, rotation: &Rotation, number: u32) -> Result<Option<Version>, Failure> {
        let subject = self.subject_of(rotation).await?;
        let current = subject.current.as_ref();
        if let Some(current) = current.filter(|current| current.number == number) {
            return Ok(Some(current.clone()));
        }
        let (tenant, path) = (&rotation.tenant, &rotation.path);
        let reader = &*self.desk.reader;
        reader.version(tenant, path, number).await.map_err(store)
    }

    /// The latest versions.
    async fn latest(&self, rotation: &Rotation) -> Result<Vec<Version>, Failure> {
        let (tenant, path) = (&rotation.tenant, &rotation.path);
        let reader = &*self.desk.reader;
        let page = reader.versions(tenant, path, None, LOOKED_THROUGH).await;
        Ok(page.map_err(store)?.items)
    }

    /// What puts displaced before this rotation, in the order in which it is worth trying.
    async fn displaced(
        &self,
        rotation: &Rotation,
        latest: &[Version],
    ) -> Result<Vec<Version>, Failure> {
        let known = latest.iter().find(|it| it.number == rotation.from);
        let from = match known {
            Some(from) => from.clone(),
            None => self.version(rotation, rotation.from).await?,
        };
        let mut all = displaced_among(&*self.desk.reader, latest, &from)
            .await
            .map_err(store)?;
        all.retain(|version| Some(version.number) != rotation.to);
        Ok(all)
    }
}

/// A version's move to another stage.
fn entry(version: &Version, to: Stage) -> enc::Move {
    enc::Move {
        number: version.number,
        from: version.stage,
        label: Some(version.stage_mac),
        to,
    }
}

/// What rotations before this one sent, or may have sent, and did not promote.
fn never_promoted(latest: &[Version]) -> impl Iterator<Item = &Version> {
    latest
        .iter()
        .filter(|version| version.stage == Stage::Abandoned && version.sealed.is_some())
        .take(MAX_ABANDONED)
}

/// A later version has been proven: what was abandoned longer ago than any effect's bound is
/// forgotten.
fn destroy_abandoned(rotation: &Rotation, latest: &[Version], ops: &mut Vec<Op>, now: Timestamp) {
    for version in never_promoted(latest) {
        let proven_gone = rotation.doubt_until > version.staged_at
            && now.since(version.staged_at) > pentad_connectors::EFFECT_BOUND * 2;
        if proven_gone {
            ops.push(Op::DestroyVersion {
                tenant: rotation.tenant.clone(),
                path: rotation.path.clone(),
                number: version.number,
                stage: version.stage,
                at: now,
            });
        }
    }
}
