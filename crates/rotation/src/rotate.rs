//! The flow of one rotation, and its recovery: the same loop.
//!
//! Take the rotation up, ask the transition function, make its answer durable, act, look what came
//! of it, ask again. A worker that crashed leaves a recorded step; whoever takes it up begins at
//! the top with [`Event::Resumed`] and the transition function knows what that means there.

use std::time::Duration;

use pentad_model::{
    Credential, Rotation, Target, Timestamp, Version,
    rotation::{Control, Evidence, Login, Step, Strategy},
};

use crate::{
    machine::{self, Act, Event, Rules, Settle, Sight, Stop, Transition, Verdict, transition},
    ports::{Commit, Draft, Effect, Failure, Ports, Session, Ticket},
};

/// Abandoned versions that a probe tries, the latest first.
pub const MAX_ABANDONED: usize = 3;
/// Observations kept with a rotation.
const MAX_EVIDENCE: usize = 8;

/// When a paused rotation goes on by itself.
const NEVER: Timestamp = Timestamp(i64::MAX);

/// Runs rotations over its ports.
pub struct Engine<P> {
    ports: P,
    settings: Settings,
    #[cfg(any(test, feature = "sabotage"))]
    sabotage: Sabotage,
}

/// What an operator may tune.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This worker's name, by process and incarnation.
    pub holder: String,
    /// How long a holder keeps a rotation without a sign of life. Far longer than any effect.
    pub lease: Duration,
    /// The longest that an effect can take at a target once it was begun.
    pub effect_bound: Duration,
    /// Effects of one sort tried before giving up.
    pub max_attempts: u8,
    /// Values generated before the policy counts as one that the generator can't meet.
    pub max_drafts: u8,
    /// First and longest wait between tries.
    pub backoff: (Duration, Duration),
}

impl Settings {
    /// The defaults, for a worker of this name.
    ///
    /// A lease of 30 s outlasts the 5 s that an effect is bounded by several times, so that a slow
    /// holder is rarely mistaken for a dead one, and a dead one's work is taken up soon.
    pub fn new(holder: impl Into<String>) -> Self {
        Self {
            holder: holder.into(),
            lease: Duration::from_secs(30),
            effect_bound: Duration::from_secs(10),
            max_attempts: 5,
            max_drafts: 8,
            backoff: (Duration::from_millis(200), Duration::from_secs(30)),
        }
    }
}

/// Protocols broken on purpose, to show that the checks catch them.
#[cfg(any(test, feature = "sabotage"))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sabotage {
    /// None.
    #[default]
    None,
    /// The effect happens before its intent is durable.
    IntentAfterEffect,
    /// Values that were attempted are forgotten.
    DropAttempted,
    /// The connection of an earlier effect is left alive.
    NoFence,
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
        let mut held = self.claim(rotation).await?;
        let mut seen = Seen::from(Event::Resumed);
        loop {
            let rules = self.rules(&held);
            let next = transition(&rules, held.rotation.progress, seen.event);
            let session = match self.session_for(&held, next.act).await {
                Ok(session) => session,
                Err(instead) => {
                    seen = instead;
                    continue;
                }
            };
            #[cfg(any(test, feature = "sabotage"))]
            if self.sabotage == Sabotage::IntentAfterEffect {
                if let Some(session) = session {
                    let mut ahead = held.clone();
                    if let Some(draft) = &seen.draft {
                        ahead.rotation.to = Some(draft.number);
                        ahead.draft = Some(draft.clone());
                    }
                    ahead.rotation.progress = next.to;
                    let outcome = self.effect(&ahead, next.act, session).await;
                    self.commit(&mut held, next, &mut seen, None).await?;
                    seen = outcome;
                    continue;
                }
            }
            self.commit(&mut held, next, &mut seen, session.as_ref())
                .await?;
            seen = match (next.act, session) {
                (Act::Prepare, _) => self.prepare(&held).await,
                (Act::Apply | Act::Retire | Act::Undo, Some(session)) => {
                    self.effect(&held, next.act, session).await
                }
                (Act::Probe, _) => self.probe(&held).await,
                (Act::Verify, _) => self.verify(&held).await,
                (Act::Deliver, _) => self.deliver(&held).await,
                (Act::Observe, _) => self.observe(&held),
                (Act::End, _) => return Ok(Driven::Ended(Box::new(held.rotation))),
                (Act::Wait | Act::Pause, _) => return Ok(Driven::Parked(Box::new(held.rotation))),
                (Act::Apply | Act::Retire | Act::Undo, None) => {
                    Seen::not_now("no session was opened for the effect")
                }
            };
        }
    }

    // ---- claim ------------------------------------------------------------------------------

    /// Makes this worker the holder: the epoch grows, so that nothing of an earlier holder can be
    /// committed any more.
    async fn claim(&self, mut rotation: Rotation) -> Result<Held, Interrupted> {
        let now = self.ports.now();
        let lease = &rotation.lease;
        let ours = lease.holder == self.settings.holder && now < lease.until;
        if !ours {
            if now < lease.until {
                return Err(Interrupted::Lost);
            }
            let expect = rotation.revision;
            rotation.lease.holder.clone_from(&self.settings.holder);
            rotation.lease.epoch += 1;
            rotation.lease.until = now.plus(self.settings.lease);
            rotation.revision += 1;
            rotation.updated_at = now;
            let note = format!("taken up at {}", rotation.progress.step);
            let claim = Commit {
                rotation: rotation.clone(),
                expect,
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
        }
        let subject = self.ports.subject(&rotation).await;
        let (credential, target) = subject.map_err(|why| interrupted(why, &rotation))?;
        Ok(Held {
            rotation,
            credential,
            target,
            draft: None,
        })
    }

    fn rules(&self, held: &Held) -> Rules {
        let binding = held.credential.binding.as_ref();
        Rules {
            strategy: held.rotation.strategy,
            owned: binding.is_some_and(|binding| binding.owned),
            max_attempts: self.settings.max_attempts,
            consumers: binding.is_some_and(|binding| !binding.deliver_to.is_empty()),
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
        if held.rotation.control == Control::Pause {
            return Seen::not_now("paused");
        }
        let evidence = match self.look(held, &[Who::Old]).await {
            Ok(evidence) => evidence,
            Err(why) => return Seen::at_start(why),
        };
        let owned = self.rules(held).owned;
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
            (Login::Fails, Login::Fails) if !owned => {
                return Seen::refused(format!(
                    "drift: the stored version {} does not log in at {} any more; `pentad adopt` \
                     the value that does, or bind the credential with `owned`",
                    held.rotation.from, held.rotation.target
                ))
                .with(evidence);
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
    async fn session_for(&self, held: &Held, act: Act) -> Result<Option<Session>, Seen> {
        if !act.is_effect() {
            return Ok(None);
        }
        match self.ports.session(&held.rotation, &held.target).await {
            Ok(session) => Ok(Some(session)),
            Err(why) if held.rotation.progress.step == Step::Planned => Err(Seen::at_start(why)),
            Err(why) => Err(Seen::later(why)),
        }
    }

    /// Makes a transition durable: step, stages, evidence, lease and audit record in one act.
    async fn commit(
        &self,
        held: &mut Held,
        next: Transition,
        seen: &mut Seen,
        session: Option<&Session>,
    ) -> Result<(), Interrupted> {
        let idle = next.to == held.rotation.progress
            && next.settle == Settle::Keep
            && !matches!(next.act, Act::Wait | Act::Pause | Act::End)
            && session.is_none();
        if idle || held.rotation.progress.step.is_final() {
            return Ok(());
        }
        let now = self.ports.now();
        let draft = seen.draft.take();
        let rotation = self.moved(held, next, seen, session, draft.as_ref(), now);
        let step = Commit {
            expect: held.rotation.revision,
            note: note(&rotation, next.act),
            rotation,
            to: draft
                .as_ref()
                .map(|draft| draft.number)
                .or(held.rotation.to),
            draft: draft.clone(),
            settle: next.settle,
        };
        match self.ports.commit(step).await {
            Ok(stored) => {
                held.rotation = stored;
                held.draft = draft.or(held.draft.take());
                Ok(())
            }
            Err(why) => {
                if let Some(session) = session {
                    self.ports.release(&held.rotation, session.clone()).await;
                }
                Err(interrupted(why, &held.rotation))
            }
        }
    }

    fn moved(
        &self,
        held: &Held,
        next: Transition,
        seen: &Seen,
        session: Option<&Session>,
        draft: Option<&Version>,
        now: Timestamp,
    ) -> Rotation {
        let mut rotation = held.rotation.clone();
        let progressed = next.to != rotation.progress;
        rotation.progress = next.to;
        rotation.revision += 1;
        rotation.updated_at = now;
        rotation.lease.until = now.plus(self.settings.lease);
        rotation.waits = if progressed {
            0
        } else {
            rotation.waits.saturating_add(1)
        };
        rotation.reason.clone_from(&seen.reason);
        if let Some(evidence) = &seen.evidence {
            rotation.evidence.push(evidence.clone());
            let extra = rotation.evidence.len().saturating_sub(MAX_EVIDENCE);
            rotation.evidence.drain(..extra);
        }
        if let Some(draft) = draft {
            rotation.to = Some(draft.number);
        } else if next.to.step == Step::Planned {
            rotation.to = None;
        }
        if let Some(session) = session {
            rotation.connection.clone_from(&session.connection);
            rotation.doubt_until = now.plus(self.settings.effect_bound);
        }
        if next.settle == Settle::New {
            let grace = held
                .credential
                .binding
                .as_ref()
                .map_or(0, |b| b.grace_seconds);
            rotation.observe_until = now.plus(Duration::from_secs(u64::from(grace)));
        }
        match next.act {
            Act::Wait => {
                rotation.resume_at = match (rotation.control, seen.resume_at) {
                    (Control::Pause, _) => NEVER,
                    (_, Some(at)) => at.max(now),
                    (_, None) => now.plus(self.backoff(&rotation)),
                };
                rotation.lease.until = now;
            }
            Act::Pause => {
                rotation.control = Control::Pause;
                rotation.resume_at = NEVER;
                rotation.lease.until = now;
            }
            Act::End => rotation.lease.until = now,
            _ => rotation.resume_at = now,
        }
        rotation
    }

    /// Exponential with jitter that is the rotation's own, and never zero.
    fn backoff(&self, rotation: &Rotation) -> Duration {
        let (first, longest) = self.settings.backoff;
        let grown = first
            .saturating_mul(1 << rotation.waits.min(16))
            .min(longest);
        let salt = u32::from(rotation.id.to_bytes()[15]) + rotation.waits * 97;
        grown
            .mul_f64(0.75 + f64::from(salt % 256) / 512.0)
            .max(Duration::from_millis(1))
    }

    /// The one place where something outside changes.
    async fn effect(&self, held: &Held, act: Act, session: Session) -> Seen {
        let effect = match self.describe(held, act).await {
            Ok(effect) => effect,
            Err(why) => {
                self.ports.release(&held.rotation, session).await;
                return Seen::effect(machine::Effect::Unknown, why.to_string());
            }
        };
        match self.ports.effect(&held.rotation, session, effect).await {
            Ok(outcome) => Seen {
                resume_at: outcome.after.map(|after| self.ports.now().plus(after)),
                ..Seen::effect(outcome.effect, outcome.note)
            },
            Err(why) => Seen::effect(machine::Effect::Unknown, why.to_string()),
        }
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

    // ---- look: probe and verify ---------------------------------------------------------------

    /// After an unknown outcome: first make sure that nothing sent earlier can still happen, then
    /// log in with all that the target may hold.
    async fn probe(&self, held: &Held) -> Seen {
        if let Err(seen) = self.fence(held).await {
            return seen;
        }
        match self.look(held, &[Who::Abandoned, Who::Old, Who::New]).await {
            Err(why) => Seen::later(why),
            Ok(evidence) => {
                let sight = Sight {
                    new: evidence.new,
                    old: evidence.old,
                    abandoned: evidence.abandoned,
                };
                let seen = match evidence.control {
                    Login::Fails => Seen::from(Event::Probed(sight)),
                    _ => Seen::not_now(evidence.note.clone()),
                };
                Seen {
                    reason: Some(evidence.note.clone()),
                    ..seen
                }
                .with(evidence)
            }
        }
    }

    async fn fence(&self, held: &Held) -> Result<(), Seen> {
        #[cfg(any(test, feature = "sabotage"))]
        if self.sabotage == Sabotage::NoFence {
            return Ok(());
        }
        match &held.rotation.connection {
            Some(connection) => self
                .ports
                .fence(&held.rotation, &held.target, connection)
                .await
                .map_err(Seen::later),
            None if self.ports.now() < held.rotation.doubt_until => Err(Seen {
                resume_at: Some(held.rotation.doubt_until),
                ..Seen::not_now("the last effect may still happen; waiting for its bound to pass")
            }),
            None => Ok(()),
        }
    }

    /// Logs in as a consumer would, and lets the validation agent judge what was seen.
    async fn verify(&self, held: &Held) -> Seen {
        let evidence = match self.look(held, &[Who::Old, Who::New]).await {
            Ok(evidence) => evidence,
            Err(why) => return Seen::later(why),
        };
        match self.ports.evidence(&held.rotation, &evidence).await {
            Ok((verdict, reason)) => {
                let reason = (verdict != Verdict::Holds).then_some(reason);
                Seen {
                    reason,
                    ..Seen::from(Event::Verified(verdict))
                }
                .with(evidence)
            }
            Err(why) => Seen::later(why),
        }
    }

    /// Test logins in an order that suits targets which lock accounts after failures: those that
    /// should fail first, the one that should work last. Every probe has its control.
    async fn look(&self, held: &Held, whom: &[Who]) -> Result<Evidence, Failure> {
        let mut evidence = Evidence {
            at: self.ports.now(),
            step: held.rotation.progress.step,
            new: Login::CantTell,
            old: Login::CantTell,
            abandoned: Login::Fails,
            control: Login::CantTell,
            note: String::new(),
        };
        let account = match whom.last() {
            Some(Who::New) => &held.rotation.to_account,
            _ => &held.rotation.from_account,
        };
        let decoy = self.ports.decoy(&held.rotation).await?;
        evidence.control = self
            .log_in(held, account, decoy, "a random value", &mut evidence)
            .await?;
        if evidence.control != Login::Fails {
            return Ok(evidence);
        }
        for who in whom {
            match who {
                Who::Abandoned => {
                    evidence.abandoned = self.try_abandoned(held, &mut evidence).await?
                }
                Who::Old => {
                    let ticket = self.ticket(held, Who::Old).await?;
                    let account = &held.rotation.from_account;
                    evidence.old = self
                        .log_in(held, account, ticket, "old", &mut evidence)
                        .await?;
                }
                Who::New => {
                    let ticket = self.ticket(held, Who::New).await?;
                    let account = &held.rotation.to_account;
                    evidence.new = self
                        .log_in(held, account, ticket, "new", &mut evidence)
                        .await?;
                }
            }
        }
        Ok(evidence)
    }

    async fn try_abandoned(&self, held: &Held, evidence: &mut Evidence) -> Result<Login, Failure> {
        #[cfg(any(test, feature = "sabotage"))]
        if self.sabotage == Sabotage::DropAttempted {
            return Ok(Login::Fails);
        }
        let mut all = Login::Fails;
        for version in self.ports.abandoned(&held.rotation).await? {
            if Some(version.number) == held.rotation.to || version.sealed.is_none() {
                continue;
            }
            let ticket = self.ports.open(&held.rotation, &version).await?;
            let account = version
                .account
                .as_deref()
                .unwrap_or(&held.rotation.from_account);
            match self
                .log_in(held, account, ticket, "abandoned", evidence)
                .await?
            {
                Login::Works => return Ok(Login::Works),
                Login::CantTell => all = Login::CantTell,
                Login::Fails => {}
            }
        }
        Ok(all)
    }

    async fn log_in(
        &self,
        held: &Held,
        account: &str,
        ticket: Ticket,
        what: &str,
        evidence: &mut Evidence,
    ) -> Result<Login, Failure> {
        let (login, said) = self
            .ports
            .login(&held.rotation, &held.target, account, ticket)
            .await?;
        if !evidence.note.is_empty() {
            evidence.note.push_str("; ");
        }
        evidence.note.push_str(what);
        evidence.note.push_str(match login {
            Login::Works => " works",
            Login::Fails => " refused",
            Login::CantTell => " can't tell",
        });
        if login == Login::CantTell && !said.is_empty() {
            evidence.note.push_str(&format!(" ({said})"));
        }
        Ok(login)
    }

    async fn ticket(&self, held: &Held, who: Who) -> Result<Ticket, Failure> {
        let version = match (who, &held.draft, held.rotation.to) {
            (Who::New, Some(draft), Some(to)) if draft.number == to => draft.clone(),
            (Who::New, _, Some(to)) => self.ports.version(&held.rotation, to).await?,
            (Who::New, _, None) => {
                return Err(Failure::Refused(
                    "there is no new version to try".to_owned(),
                ));
            }
            _ => {
                self.ports
                    .version(&held.rotation, held.rotation.from)
                    .await?
            }
        };
        self.ports.open(&held.rotation, &version).await
    }

    // ---- deliver, observe ---------------------------------------------------------------------

    async fn deliver(&self, held: &Held) -> Seen {
        match self.ports.deliver(&held.rotation, &held.credential).await {
            Ok(()) => Seen::from(Event::Delivered),
            Err(why) => Seen::later(why),
        }
    }

    /// The retirement gate: so far, the agreed time.
    fn observe(&self, held: &Held) -> Seen {
        let until = held.rotation.observe_until;
        if held.rotation.control == Control::Pause {
            Seen::not_now("paused")
        } else if self.ports.now() < until {
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
struct Held {
    rotation: Rotation,
    credential: Credential,
    target: Target,
    /// The new version, as long as this worker made it itself.
    draft: Option<Version>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Abandoned,
    Old,
    New,
}

/// An event, with what else there is to keep of it.
struct Seen {
    event: Event,
    reason: Option<String>,
    evidence: Option<Evidence>,
    draft: Option<Version>,
    resume_at: Option<Timestamp>,
}

impl From<Event> for Seen {
    fn from(event: Event) -> Self {
        Self {
            event,
            reason: None,
            evidence: None,
            draft: None,
            resume_at: None,
        }
    }
}

impl Seen {
    fn not_now(reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
            ..Self::from(Event::NotNow)
        }
    }

    fn refused(reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
            ..Self::from(Event::Refused)
        }
    }

    fn effect(effect: machine::Effect, note: String) -> Self {
        let reason = (effect != machine::Effect::Done).then_some(note);
        Self {
            reason,
            ..Self::from(Event::Effect(effect))
        }
    }

    fn with(self, evidence: Evidence) -> Self {
        Self {
            evidence: Some(evidence),
            ..self
        }
    }

    /// A port's failure before anything was touched: what can't be mended by waiting ends it.
    fn at_start(why: Failure) -> Self {
        match why {
            Failure::Refused(reason) => Self::refused(reason),
            Failure::NotNow(_) | Failure::Lost => Self::later(why),
        }
    }

    fn later(why: Failure) -> Self {
        Self::not_now(why.to_string())
    }
}

enum Interrupted {
    Lost,
    Journal(Box<Rotation>),
}

fn interrupted(why: Failure, rotation: &Rotation) -> Interrupted {
    match why {
        Failure::Lost => Interrupted::Lost,
        Failure::NotNow(reason) | Failure::Refused(reason) => {
            tracing::warn!(rotation = %rotation.id, reason, "a step could not be made durable");
            Interrupted::Journal(Box::new(rotation.clone()))
        }
    }
}

fn note(rotation: &Rotation, act: Act) -> String {
    let mut note = format!(
        "{} attempt {}",
        rotation.progress.step, rotation.progress.attempt
    );
    if act == Act::Wait || act == Act::Pause {
        note.push_str(if act == Act::Wait {
            ", waits"
        } else {
            ", paused"
        });
    }
    if let Some(reason) = &rotation.reason {
        note.push_str(": ");
        note.push_str(reason);
    }
    note
}
