//! What the engine asks for, answered by the simulated world.

use async_trait::async_trait;
use pentad_model::{
    Credential, Rotation, Stage, Target, Timestamp, Version,
    assessment::Assessment,
    rotation::{Control, Evidence, Login},
};
use pentad_policy::{evidence::Verdict as Judged, judge_verification};
use pentad_rotation::{
    Settle,
    machine::{self, Verdict},
    ports::{
        Commit, Draft, Effect, Failure, Journal, Judge, Outcome, Outside, Session, Shown, Ticket,
        Vault,
    },
};

use super::{DECOY, EffectOf, GHOST, World, pause, version};

#[async_trait]
impl Journal for World {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    async fn commit(&self, step: Commit) -> Result<Rotation, Failure> {
        self.reach().await?;
        let answer = {
            let mut world = self.lock();
            let before = world.view();
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
            world.committed(&before, &stored);
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
            drawn_bits: None,
        })
    }

    async fn open(
        &self,
        _: &Rotation,
        _: &Credential,
        version: &Version,
    ) -> Result<Ticket, Failure> {
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
        // The judge of the validation agent: a rule of its own here could hide what the real one does.
        Ok(match judge_verification(rotation.strategy, false, seen) {
            Judged::Holds { reason } => (Verdict::Holds, reason),
            Judged::Broken { reason } => (Verdict::Broken, reason),
            Judged::CantTell { reason } => (Verdict::CantTell, reason),
        })
    }
}

#[async_trait]
impl Outside for World {
    async fn session(&self, _: &Rotation, _: &Target) -> Result<Session, Failure> {
        self.reach().await?;
        let id = self.lock().connected();
        pause().await;
        Ok(Session {
            id,
            connection: Some(id.to_string()),
        })
    }

    async fn release(&self, _: &Rotation, _: Session) {}

    async fn effect(
        &self,
        _: &Rotation,
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
            let luck = match world.chaos {
                true => world.dice.roll() % 12,
                false => 0,
            };
            if world.killed.contains(&connection) {
                machine::Effect::Unknown
            } else if world.dropped.contains(effect.account()) {
                machine::Effect::RejectedStop
            } else {
                match luck {
                    7 => machine::Effect::RejectedValue,
                    8 => machine::Effect::RejectedStop,
                    9 => machine::Effect::Throttled,
                    10 => machine::Effect::Unknown,
                    5 | 11 => {
                        world.late.insert(connection, effect);
                        machine::Effect::Unknown
                    }
                    6 => {
                        world.carry_out(&connection, effect);
                        machine::Effect::Unknown
                    }
                    _ => {
                        world.carry_out(&connection, effect);
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

    async fn keeps(
        &self,
        _: &Rotation,
        session: &Session,
        account: &str,
        value: Ticket,
    ) -> Result<bool, Failure> {
        self.reach().await?;
        let mut world = self.lock();
        let version = world.redeem(value);
        let dead = session
            .connection
            .as_ref()
            .is_some_and(|it| world.killed.contains(it));
        Ok(!dead && !world.fault(40) && world.keeps_only(account, version))
    }

    fn proves(&self, _: &Target) -> bool {
        self.lock().day.proves
    }

    async fn login(
        &self,
        _: &Rotation,
        _: &Target,
        account: &str,
        value: Ticket,
    ) -> Result<Shown, Failure> {
        self.reach().await?;
        let mut world = self.lock();
        let version = world.redeem(value);
        let login = if world.fault(40) || world.locked.contains(account) {
            Login::CantTell
        } else if world.open || world.accepts[account].contains(&version) {
            Login::Works
        } else {
            Login::Fails
        };
        // Where anybody is let in, nothing is proven.
        let sole = world.day.proves && !world.open && world.keeps_only(account, version);
        Ok(Shown {
            login,
            sole: sole && login == Login::Works,
            note: String::new(),
        })
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
        world.changed = true;
        Ok(())
    }
}
