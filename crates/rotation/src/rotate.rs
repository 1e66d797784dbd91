//! The flow of one rotation, and its recovery: the same loop.
//!
//! Take the rotation up, ask the transition function, make its answer durable, act, look what came
//! of it, ask again. A worker that crashed leaves a recorded step; whoever takes it up begins at
//! the top with [`Event::Resumed`] and the transition function knows what that means there.

use pentad_model::{
    Credential, Rotation, Target, Timestamp, Version,
    rotation::{Control, Login, Step, Strategy},
};

use crate::{
    commit::{drift, old_gone},
    look::Who,
    machine::{self, Act, Event, Rules, Settle, Stop, transition},
    ports::{Commit, Draft, Effect, Failure, Ports, Session},
    seen::Seen,
};

#[cfg(any(test, feature = "sabotage"))]
pub use crate::settings::Sabotage;
pub use crate::settings::Settings;

/// Versions of one sort that a probe tries beside its own: abandoned ones, the latest first.
pub const MAX_ABANDONED: usize = 3;

/// When a paused rotation goes on by itself.
pub(crate) const NEVER: Timestamp = Timestamp(i64::MAX);

/// Runs rotations over its ports.
pub struct Engine<P> {
    pub(crate) ports: P,
    pub(crate) settings: Settings,
    #[cfg(any(test, feature = "sabotage"))]
    pub(crate) sabotage: Sabotage,
}

/// How a drive ended.
#[derive(Clone, Debug)]
pub enum Driven {
    /// The rotation has ended, at one of the final steps.
    Ended(Box<Rotation>),
    /// Nothing to do before its `resume_at`, or before somebody resumes it.
    Parked(Box<Rotation>),
    /// Another worker drives it now.
    Lost,
}

impl<P: Ports> Engine<P> {
    /// An engine over these ports.
    pub fn new(ports: P, settings: Settings) -> Self {
        Self {
            ports,
            settings,
            #[cfg(any(test, feature = "sabotage"))]
            sabotage: Sabotage::None,
        }
    }

    /// The same engine, broken on purpose.
    #[cfg(any(test, feature = "sabotage"))]
    #[must_use]
    pub fn sabotaged(mut self, sabotage: Sabotage) -> Self {
        self.sabotage = sabotage;
        self
    }

    /// The lease that a rotation made by this worker begins with.
    pub fn first_lease(&self) -> pentad_model::rotation::Lease {
        pentad_model::rotation::Lease {
            holder: self.settings.holder.clone(),
            epoch: 1,
            until: self.ports.now().plus(self.settings.lease),
        }
    }

    /// Drives a rotation as far as it goes now.
    pub async fn rotate(&self, rotation: Rotation) -> Driven {
        match self.drive(rotation).await {
            Ok(driven) => driven,
            Err(Interrupted::Lost) => Driven::Lost,
            // The journal itself can't be written: nothing more may be done, and nothing was. The
            // lease runs out and somebody takes the rotation up from its recorded step.
            Err(Interrupted::Journal(rotation)) => Driven::Parked(rotation),
        }
    }

    async fn drive(&self, rotation: Rotation) -> Result<Driven, Interrupted> {
        if rotation.progress.step.is_final() {
            return Ok(Driven::Ended(Box::new(rotation)));
        }
        if rotation.control == Control::Pause && self.ports.now() < rotation.resume_at {
            return Ok(Driven::Parked(Box::new(rotation)));
        }
        let mut held = self.claim(rotation).await?;
        let mut seen = Seen::from(Event::Resumed);
        loop {
            let rules = Rules {
                old_gone: old_gone(&held.rotation.evidence, seen.evidence.as_ref()),
                ..self.rules(&held)
            };
            let next = transition(&rules, held.rotation.progress, seen.event);
            let session = match self.session_for(&held, next.act, seen.session.take()).await {
                Ok(session) => session,
                Err(instead) => {
                    seen = instead;
                    continue;
                }
            };
            #[cfg(any(test, feature = "sabotage"))]
            if self.sabotage == Sabotage::IntentAfterEffect
                && let Some(session) = session
            {
                let mut ahead = held.clone();
                if let Some(draft) = &seen.draft {
                    ahead.rotation.to = Some(draft.number);
                    ahead.draft = Some(draft.clone());
                }
                ahead.rotation.progress = next.to;
                ahead.rotation.doubt_until = NEVER;
                let outcome = self.effect(&ahead, next.act, session).await;
                self.commit(&mut held, next, &mut seen, None).await?;
                seen = outcome;
                continue;
            }
            self.commit(&mut held, next, &mut seen, session.as_ref())
                .await?;
            seen = match (next.act, session) {
                // Asked for while the intent was being written: heed it before the effect.
                (_, Some(session)) if self.rules(&held).stop != rules.stop => {
                    self.ports.release(&held.rotation, session).await;
                    Seen::effect(machine::Effect::Throttled, "asked to end".to_owned())
                }
                (Act::Prepare | Act::Deliver | Act::Observe, _)
                    if held.rotation.control == Control::Pause =>
                {
                    Seen::not_now("paused")
                }
                (Act::Prepare, _) => self.prepare(&held).await,
                (Act::Apply | Act::Retire | Act::Undo, Some(session)) => {
                    self.effect(&held, next.act, session).await
                }
                (Act::Probe, _) => self.probe(&held).await,
                (Act::Verify, _) => self.verify(&held).await,
                (Act::Deliver, _) => self.deliver(&held).await,
                (Act::Observe, _) => self.observe(&held),
                (Act::Restore, _) => self.restore(&held).await,
                (Act::End, _) => return Ok(Driven::Ended(Box::new(held.rotation))),
                (Act::Wait | Act::Pause, _) => return Ok(Driven::Parked(Box::new(held.rotation))),
                (Act::Apply | Act::Retire | Act::Undo, None) => {
                    Seen::not_now("no session was opened for the effect")
                }
            };
        }
    }

    // ---- claim ------------------------------------------------------------------------------

    /// Makes this drive the holder: the epoch grows, so that nothing of an earlier one can be
    /// committed any more. Also where the lease is this worker's own: the same request may have
    /// reached it twice, and two drives under one epoch could not be told apart. Only the lease that
    /// a rotation was born with is taken up before it runs out: nobody has claimed it yet, whatever
    /// was asked of the rotation since. Its first commit is the claim then, and until that one nothing
    /// but looks happens.
    async fn claim(&self, mut rotation: Rotation) -> Result<Held, Interrupted> {
        let now = self.ports.now();
        let newborn = rotation.lease.epoch == 1 && rotation.lease.holder == self.settings.holder;
        let orphaned = (self.settings.is_dead)(&self.settings.holder, &rotation.lease.holder);
        if now < rotation.lease.until && !newborn && !orphaned {
            return Err(Interrupted::Lost);
        }
        if newborn
            && rotation.progress.step == Step::Planned
            && let Ok((credential, target)) = self.ports.subject(&rotation).await
        {
            return Ok(Held {
                rotation,
                credential,
                target,
                draft: None,
                claimed: false,
            });
        }
        let (expect, expect_epoch) = (rotation.revision, rotation.lease.epoch);
        rotation.lease.holder.clone_from(&self.settings.holder);
        rotation.lease.epoch += 1;
        rotation.lease.until = now.plus(self.settings.lease);
        rotation.revision += 1;
        rotation.updated_at = now;
        let note = format!("taken up at {}", rotation.progress.step);
        let claim = Commit {
            rotation: rotation.clone(),
            expect,
            expect_epoch,
            draft: None,
            to: None,
            settle: Settle::Keep,
            note,
        };
        rotation = self
            .ports
            .commit(claim)
            .await
            .map_err(|why| interrupted(why, &rotation))?;
        let subject = self.ports.subject(&rotation).await;
        let (credential, target) = subject.map_err(|why| interrupted(why, &rotation))?;
        Ok(Held {
            rotation,
            credential,
            target,
            draft: None,
            claimed: true,
        })
    }

    fn rules(&self, held: &Held) -> Rules {
        let binding = held.credential.binding.as_ref();
        let owned = held.rotation.overwrite || binding.is_some_and(|binding| binding.owned);
        #[cfg(any(test, feature = "sabotage"))]
        let owned = owned || self.sabotage == Sabotage::OverwriteForeign;
        Rules {
            strategy: held.rotation.strategy,
            owned,
            max_attempts: self.settings.max_attempts,
            consumers: binding.is_some_and(|binding| !binding.deliver_to.is_empty()),
            old_gone: old_gone(&held.rotation.evidence, None),
            stop: match held.rotation.control {
                Control::Run | Control::Pause => Stop::No,
                Control::Cancel => Stop::Cancel,
                Control::Rollback => Stop::Rollback,
            },
        }
    }

    // ---- decide and seal --------------------------------------------------------------------

    /// All that can be checked before anything is touched: the old value still logs in, a random
    /// one does not, and the new one pleases policy.
    async fn prepare(&self, held: &Held) -> Seen {
        if let Some((session, evidence)) = self.compare(held).await {
            return match self.draft(held).await {
                Ok(draft) => Seen {
                    draft: Some(draft.version),
                    session: Some(session),
                    ..Seen::from(Event::Prepared)
                },
                Err(why) => Seen {
                    session: Some(session),
                    ..Seen::at_start(why)
                },
            }
            .with(evidence);
        }
        let mut evidence = match self.look(held, &[Who::Old]).await {
            Ok(evidence) => evidence,
            Err(why) => return Seen::at_start(why),
        };
        if evidence.old == Login::Fails {
            // An earlier rotation's late effect is no drift.
            evidence.abandoned = match self.try_abandoned(held, &mut evidence).await {
                Ok(login) => login,
                Err(why) => return Seen::at_start(why),
            };
        }
        let owned = self.rules(held).owned;
        let late = evidence.abandoned == Login::Works;
        match (evidence.control, evidence.old) {
            (Login::Works, _) => {
                return Seen::refused(format!(
                    "{} lets anybody in at `{}`: a random password was accepted; make it check \
                     passwords before rotating",
                    held.rotation.target, held.rotation.from_account
                ));
            }
            (Login::CantTell, _) | (_, Login::CantTell) => {
                return Seen::not_now(evidence.note.clone()).with(evidence);
            }
            (Login::Fails, Login::Fails) if evidence.abandoned == Login::CantTell => {
                return Seen::not_now(evidence.note.clone()).with(evidence);
            }
            (Login::Fails, Login::Fails) if !owned && !late => {
                return Seen::refused(drift(&held.rotation)).with(evidence);
            }
            (Login::Fails, _) => {}
        }
        match self.draft(held).await {
            Ok(draft) => Seen {
                draft: Some(draft.version),
                ..Seen::from(Event::Prepared)
            }
            .with(evidence),
            Err(why) => Seen::at_start(why).with(evidence),
        }
    }

    async fn draft(&self, held: &Held) -> Result<Draft, Failure> {
        let mut why = String::new();
        for _ in 0..self.settings.max_drafts {
            let draft = self.ports.draft(&held.rotation, &held.credential).await?;
            let judged = self
                .ports
                .value(&held.rotation, &held.credential, &draft)
                .await?;
            if judged.accepted {
                return Ok(draft);
            }
            why = judged
                .findings
                .first()
                .map(|f| f.message.clone())
                .unwrap_or_default();
        }
        Err(Failure::Refused(format!(
            "policy refuses what the generator makes ({why}); change the credential's generator or \
             its policy"
        )))
    }

    // ---- effects: intent first ----------------------------------------------------------------

    /// Opens the session that the next effect will use, so that its connection is on record with
    /// the intent. Nothing happens at the target yet.
    async fn session_for(
        &self,
        held: &Held,
        act: Act,
        opened: Option<Session>,
    ) -> Result<Option<Session>, Seen> {
        match (opened, act.is_effect()) {
            (Some(session), true) => return Ok(Some(session)),
            (Some(session), false) => {
                self.ports.release(&held.rotation, session).await;
                return Ok(None);
            }
            (None, false) => return Ok(None),
            (None, true) => {}
        }
        match self.ports.session(&held.rotation, &held.target).await {
            Ok(session) => Ok(Some(session)),
            Err(why) if held.rotation.progress.step == Step::Planned => Err(Seen::at_start(why)),
            Err(why) => Err(Seen::later(why)),
        }
    }

    /// The one place where something at the target changes. What is known not to have been sent is
    /// [`Throttled`](machine::Effect::Throttled): nothing changed, not counted.
    async fn effect(&self, held: &Held, act: Act, session: Session) -> Seen {
        let effect = match self.ready(held, act).await {
            Ok(effect) => effect,
            Err(why) => {
                self.ports.release(&held.rotation, session).await;
                return Seen::effect(machine::Effect::Throttled, why.to_string());
            }
        };
        // Where no connection can be killed, time is the only fence: whoever overslept the moment
        // at which the effect had to begin does not begin it.
        let latest = held.rotation.doubt_until;
        if self.ports.now().plus(self.settings.effect_bound) > latest {
            self.ports.release(&held.rotation, session).await;
            return Seen::effect(
                machine::Effect::Throttled,
                "the moment to begin it has passed".to_owned(),
            );
        }
        match self.ports.effect(&held.rotation, session, effect).await {
            Ok(outcome) => Seen {
                resume_at: outcome.after.map(|after| self.ports.now().plus(after)),
                ..Seen::effect(outcome.effect, outcome.note)
            },
            Err(why) => Seen::effect(machine::Effect::Unknown, why.to_string()),
        }
    }

    /// Before the new value is taken back, its consumers have the old one again; both work so far.
    async fn ready(&self, held: &Held, act: Act) -> Result<Effect, Failure> {
        if act == Act::Undo && self.rules(held).consumers {
            self.hand_over(held, held.rotation.from).await?;
        }
        self.describe(held, act).await
    }

    /// What an act means at the target, by strategy.
    async fn describe(&self, held: &Held, act: Act) -> Result<Effect, Failure> {
        let rotation = &held.rotation;
        let overlap = rotation.strategy == Strategy::Overlap;
        Ok(match act {
            Act::Apply => Effect::Apply {
                account: rotation.to_account.clone(),
                new: self.ticket(held, Who::New).await?,
                old: if overlap {
                    Some(self.ticket(held, Who::Old).await?)
                } else {
                    None
                },
                like: (rotation.strategy == Strategy::Alternating)
                    .then(|| rotation.from_account.clone()),
            },
            Act::Retire => Effect::Retire {
                account: rotation.from_account.clone(),
                keep: if overlap {
                    Some(self.ticket(held, Who::New).await?)
                } else {
                    None
                },
            },
            _ => Effect::Retire {
                account: rotation.to_account.clone(),
                keep: if overlap {
                    Some(self.ticket(held, Who::Old).await?)
                } else {
                    None
                },
            },
        })
    }

    // ---- deliver, observe ---------------------------------------------------------------------

    async fn deliver(&self, held: &Held) -> Seen {
        let Some(to) = held.rotation.to else {
            return Seen::not_now("there is no new version to deliver");
        };
        match self.hand_over(held, to).await {
            Ok(()) => Seen::from(Event::Delivered),
            Err(why) => Seen::later(why),
        }
    }

    /// The old value to its consumers, who may have been given the new one.
    async fn restore(&self, held: &Held) -> Seen {
        match self.hand_over(held, held.rotation.from).await {
            Ok(()) => Seen::from(Event::Restored),
            Err(why) => Seen::later(why),
        }
    }

    async fn hand_over(&self, held: &Held, version: u32) -> Result<(), Failure> {
        if self.ports.now() >= held.rotation.lease.until {
            return Err(Failure::Lost);
        }
        self.ports
            .deliver(&held.rotation, &held.credential, version)
            .await
    }

    /// The retirement gate: so far, the agreed time.
    fn observe(&self, held: &Held) -> Seen {
        let until = held.rotation.observe_until;
        if self.ports.now() < until {
            Seen {
                resume_at: Some(until),
                ..Seen::not_now("the old version is in its grace")
            }
        } else {
            Seen::from(Event::GateOpen)
        }
    }
}

/// A rotation in this worker's hands.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) rotation: Rotation,
    pub(crate) credential: Credential,
    pub(crate) target: Target,
    /// The new version, as long as this worker made it itself.
    pub(crate) draft: Option<Version>,
    /// Whether this drive is the holder on record already; else its next commit makes it that.
    pub(crate) claimed: bool,
}

/// Why a drive stops in the middle.
pub(crate) enum Interrupted {
    Lost,
    Journal(Box<Rotation>),
}

pub(crate) fn interrupted(why: Failure, rotation: &Rotation) -> Interrupted {
    match why {
        Failure::Lost => Interrupted::Lost,
        Failure::NotNow(reason) | Failure::Refused(reason) => {
            tracing::warn!(rotation = %rotation.id, reason, "a step could not be made durable");
            Interrupted::Journal(Box::new(rotation.clone()))
        }
    }
}
