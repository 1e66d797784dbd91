//! Making versions: seal, judge, stage.

use pentad_model::{
    Credential, Path, Rotation, Stage, Version, assessment::Assessment, credential::Origin,
    secret::Fingerprint,
};
use pentad_store::{Op, RotationQuery};

use super::{Caller, Pentad, Value};
use crate::{
    Fault,
    contract::encryption::{self as enc, Move},
    handoff::Bearer,
};

/// Why a credential's versions can't be moved now.
pub(super) fn is_rotated(running: &Rotation) -> Fault {
    let Rotation {
        path, id, progress, ..
    } = running;
    Fault::conflict(format!(
        "`{path}` is being rotated ({id}, at {}); wait for it, or `pentad rotation cancel {id}`",
        progress.step
    ))
}

/// A version ready to be committed, and what is to be committed with it.
pub(super) struct Made {
    /// The moves of others.
    pub(super) moves: Vec<Op>,
    pub(super) version: Version,
    pub(super) value_mac: Fingerprint,
    pub(super) assessment: Assessment,
}

impl Pentad {
    /// Seals a value and has it judged; `moves` is what becomes of others when it takes over. Refused
    /// values leave nothing behind.
    pub(super) async fn sealed_version(
        &self,
        caller: &Caller,
        credential: &Credential,
        value: Value,
        moves: &[Move],
        origin: Origin,
        accept_weak: bool,
    ) -> Result<Made, Fault> {
        let number = credential.latest + 1;
        let context = &caller.context;
        let path = &credential.path;
        let (sealed, to_judge, origin) = match value {
            Value::Given(value) => {
                let limit = credential.kind.profile().max_bytes;
                if value.is_empty() || value.len() > limit {
                    return Err(Fault::invalid(format!(
                        "a {} has 1 to {limit} bytes, this value has {}",
                        credential.kind,
                        value.len()
                    )));
                }
                let deposit = |value, bearer| {
                    let handoff = &self.0.handoff;
                    handoff.deposit(&context.tenant, value, bearer)
                };
                let to_judge = deposit(value.clone(), Bearer::Validation)?;
                let to_seal = deposit(value, Bearer::Encryption)?;
                let seal = enc::Seal {
                    path: path.clone(),
                    kind: credential.kind,
                    number,
                    stage: Stage::Current,
                    value: to_seal.ticket(),
                    moves: moves.to_vec(),
                };
                (
                    self.0
                        .encryption
                        .seal(context, caller.priority, seal)
                        .await?,
                    to_judge,
                    origin,
                )
            }
            Value::Generated => {
                let generator = credential
                    .generator
                    .clone()
                    .or_else(|| credential.kind.profile().generator.map(|make| make()))
                    .ok_or_else(|| {
                        Fault::invalid(format!(
                            "only its provider can make a {}; give the value",
                            credential.kind
                        ))
                    })?;
                let draft = enc::Draft {
                    path: path.clone(),
                    kind: credential.kind,
                    number,
                    stage: Stage::Current,
                    generator,
                    moves: moves.to_vec(),
                };
                let made = self
                    .0
                    .encryption
                    .draft(context, caller.priority, draft)
                    .await?;
                let to_judge = self.0.handoff.answer_for(made.to_judge);
                (made.value, to_judge, Origin::Generated)
            }
        };
        let now = self.0.clock.now();
        let version = Version {
            tenant: context.tenant.clone(),
            path: path.clone(),
            number,
            stage: Stage::Current,
            stage_mac: sealed.stage_mac,
            sealed: Some(sealed.sealed),
            fingerprint: sealed.fingerprint,
            account: credential
                .binding
                .as_ref()
                .map(|binding| binding.account.clone()),
            origin,
            derived_from: credential.current,
            created_by: context.principal.to_string(),
            created_at: now,
            staged_at: now,
        };
        let assessment = self
            .judge_version(caller, credential, &version, to_judge.ticket())
            .await?;
        if !assessment.accepted && !accept_weak {
            let record = self
                .record(
                    caller,
                    "credential.write",
                    pentad_model::record::Outcome::Denied,
                )
                .on(path, None)
                .detail(format!(
                    "policy refused the value, score {}",
                    assessment.score
                ));
            self.write_down(caller, record).await?;
            return Err(Fault::Refused {
                assessment: Box::new(assessment),
            });
        }
        Ok(Made {
            moves: self.set_stages(caller, path, moves, sealed.moved)?,
            version,
            value_mac: sealed.value_mac,
            assessment,
        })
    }

    /// The operations that move versions to other stages, with the MACs for them.
    pub(super) async fn moved(
        &self,
        caller: &Caller,
        path: &Path,
        moves: &[Move],
    ) -> Result<Vec<Op>, Fault> {
        if moves.is_empty() {
            return Ok(Vec::new());
        }
        let ask = enc::StageMacs {
            path: path.clone(),
            moves: moves.to_vec(),
        };
        let macs = self
            .0
            .encryption
            .stage_macs(&caller.context, caller.priority, ask)
            .await?;
        self.set_stages(caller, path, moves, macs)
    }

    fn set_stages(
        &self,
        caller: &Caller,
        path: &Path,
        moves: &[Move],
        macs: Vec<Fingerprint>,
    ) -> Result<Vec<Op>, Fault> {
        if macs.len() != moves.len() {
            return Err(Fault::internal("no MAC for a stage"));
        }
        let at = self.0.clock.now();
        let set = |(it, mac): (&Move, Fingerprint)| Op::SetStage {
            tenant: caller.context.tenant.clone(),
            path: path.clone(),
            number: it.number,
            from: it.from,
            to: it.to,
            mac,
            at,
        };
        Ok(moves.iter().zip(macs).map(set).collect())
    }

    /// While a rotation runs, its credential's versions are the rotation's to move.
    pub(super) async fn refuse_while_rotating(
        &self,
        caller: &Caller,
        path: &Path,
    ) -> Result<(), Fault> {
        let query = RotationQuery::running(&caller.context.tenant, path);
        match self.0.reader.rotations(&query).await?.items.first() {
            None => Ok(()),
            Some(running) => Err(is_rotated(running)),
        }
    }

    /// What to say when there is no such credential: only of what the caller may see.
    pub(super) async fn no_credential(&self, caller: &Caller, path: &Path) -> Fault {
        let nearest = self.nearest(caller, path).await;
        Fault::Missing {
            what: format!("`{path}`"),
            nearest: nearest.map(|near| near.to_string()),
        }
    }
}
