//! What the target shows: fence, probe, verify. Nothing here changes anything at the target but the
//! connection that a fence kills.
//!
//! It never guesses: a login counts only beside a random value that was refused at the same account,
//! or where the target proved by it that it keeps that one value; and only after nothing sent earlier
//! can happen any more.

use pentad_model::{
    Stage, Timestamp,
    credential::Origin,
    rotation::{Evidence, Login},
};

#[cfg(any(test, feature = "sabotage"))]
use crate::settings::Sabotage;
use crate::{
    machine::{Event, Sight, Verdict},
    ports::{Failure, Ports, Session, Shown, Ticket},
    rotate::{Engine, Held},
    seen::Seen,
};

/// What the note says of a login that is a proof.
const PROVEN: &str = ", and the target proves that others are refused";

/// Whose value to try.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Abandoned,
    Old,
    New,
}

impl<P: Ports> Engine<P> {
    /// After an unknown outcome: first make sure that nothing sent earlier can still happen, then
    /// log in with all that the target may hold.
    pub(crate) async fn probe(&self, held: &Held) -> Seen {
        if let Err(seen) = self.fence(held).await {
            return seen;
        }
        match self.look(held, &[Who::Old, Who::New, Who::Abandoned]).await {
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
    pub(crate) async fn verify(&self, held: &Held) -> Seen {
        let evidence = match self.look(held, &[Who::Old, Who::New]).await {
            Ok(evidence) => evidence,
            Err(why) => return Seen::later(why),
        };
        if evidence.control != Login::Fails {
            return Seen::not_now(evidence.note.clone()).with(evidence);
        }
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

    /// The look before a rotation, without a login: where the old value logged in beside a control
    /// when it was made or taken over, and the target says that it keeps it. The session that it said
    /// so on is for the effect. Whatever this can't tell is left to [`look`](Self::look).
    pub(crate) async fn compare(&self, held: &Held) -> Option<(Session, Evidence)> {
        let rotation = &held.rotation;
        if !self.ports.proves(&held.target) || held.credential.in_doubt {
            return None;
        }
        let old = self.ports.version(rotation, rotation.from).await.ok()?;
        let logged_in = matches!(old.origin, Origin::Rotation { .. } | Origin::Adopted);
        if !logged_in || old.stage != Stage::Current {
            return None;
        }
        let at = self.ports.now();
        let opened = self.ports.open(rotation, &held.credential, &old).await;
        let value = opened.ok()?;
        let session = self.ports.session(rotation, &held.target).await.ok()?;
        let account = &rotation.from_account;
        match self.ports.keeps(rotation, &session, account, value).await {
            Ok(true) => {}
            _ => {
                self.ports.release(rotation, session).await;
                return None;
            }
        }
        let evidence = Evidence {
            old: Login::Works,
            control: Login::Fails,
            note: "the target keeps the old value, which logged in before".to_owned(),
            ..self.nothing_yet(held, at)
        };
        Some((session, evidence))
    }

    fn nothing_yet(&self, held: &Held, at: Timestamp) -> Evidence {
        Evidence {
            at,
            step: held.rotation.progress.step,
            new: Login::CantTell,
            old: Login::CantTell,
            abandoned: Login::Fails,
            control: Login::CantTell,
            note: String::new(),
        }
    }

    /// Test logins. One that is a proof is enough for its account; else all of them, each with its
    /// control.
    pub(crate) async fn look(&self, held: &Held, whom: &[Who]) -> Result<Evidence, Failure> {
        if self.ports.proves(&held.target)
            && let Some(evidence) = self.look_for_proof(held, whom).await?
        {
            return Ok(evidence);
        }
        self.look_at_all(held, whom).await
    }

    /// Logs in until each account has shown by a proof what it keeps. `None` where one does not.
    async fn look_for_proof(&self, held: &Held, whom: &[Who]) -> Result<Option<Evidence>, Failure> {
        let one_account = held.rotation.from_account == held.rotation.to_account;
        let mut evidence = Evidence {
            control: Login::Fails,
            ..self.nothing_yet(held, self.ports.now())
        };
        if whom.contains(&Who::New) {
            let shown = self.try_new(held, &mut evidence).await?;
            evidence.new = shown.login;
            if shown.sole && one_account {
                evidence.old = Login::Fails;
                evidence.note.push_str(PROVEN);
                return Ok(Some(evidence));
            }
            if !shown.sole && !one_account {
                return Ok(None);
            }
        }
        if whom.contains(&Who::Old) {
            let shown = self.try_old(held, &mut evidence).await?;
            evidence.old = shown.login;
            if !shown.sole {
                return Ok(None);
            }
            if one_account && whom.contains(&Who::New) {
                evidence.new = Login::Fails;
            }
            evidence.note.push_str(PROVEN);
        }
        Ok(Some(evidence))
    }

    /// In an order that suits targets which lock accounts after failures: those that should fail
    /// first, then the one that should work. Every probe has its control.
    async fn look_at_all(&self, held: &Held, whom: &[Who]) -> Result<Evidence, Failure> {
        let mut evidence = self.nothing_yet(held, self.ports.now());
        // Both accounts: a target may ask for passwords at one and let anybody in at the other.
        let old = &held.rotation.from_account;
        let new = Some(&held.rotation.to_account)
            .filter(|account| whom.contains(&Who::New) && *account != old);
        for account in std::iter::once(old).chain(new) {
            let decoy = self.ports.decoy(&held.rotation).await?;
            evidence.control = self
                .log_in(held, account, decoy, "a random value", &mut evidence)
                .await?
                .login;
            #[cfg(any(test, feature = "sabotage"))]
            if self.sabotage == Sabotage::NoControl {
                evidence.control = Login::Fails;
            }
            if evidence.control != Login::Fails {
                return Ok(evidence);
            }
        }
        for who in whom {
            match who {
                // Last, and only where it decides: an effect that arrives while we look is seen.
                Who::Abandoned if evidence.old == Login::Fails && evidence.new == Login::Fails => {
                    evidence.abandoned = self.try_abandoned(held, &mut evidence).await?
                }
                Who::Abandoned => {}
                Who::Old => evidence.old = self.try_old(held, &mut evidence).await?.login,
                Who::New => evidence.new = self.try_new(held, &mut evidence).await?.login,
            }
        }
        Ok(evidence)
    }

    async fn try_old(&self, held: &Held, evidence: &mut Evidence) -> Result<Shown, Failure> {
        let ticket = self.ticket(held, Who::Old).await?;
        let account = &held.rotation.from_account;
        self.log_in(held, account, ticket, "old", evidence).await
    }

    async fn try_new(&self, held: &Held, evidence: &mut Evidence) -> Result<Shown, Failure> {
        let ticket = self.ticket(held, Who::New).await?;
        let account = &held.rotation.to_account;
        self.log_in(held, account, ticket, "new", evidence).await
    }

    pub(crate) async fn try_abandoned(
        &self,
        held: &Held,
        evidence: &mut Evidence,
    ) -> Result<Login, Failure> {
        #[cfg(any(test, feature = "sabotage"))]
        if self.sabotage == Sabotage::DropAttempted {
            return Ok(Login::Fails);
        }
        let mut all = Login::Fails;
        for version in self.ports.abandoned(&held.rotation).await? {
            if Some(version.number) == held.rotation.to || version.sealed.is_none() {
                continue;
            }
            let ticket = self
                .ports
                .open(&held.rotation, &held.credential, &version)
                .await?;
            let account = version
                .account
                .as_deref()
                .unwrap_or(&held.rotation.from_account);
            let what = match version.stage {
                Stage::Previous => "displaced by a put",
                _ => "abandoned",
            };
            let shown = self.log_in(held, account, ticket, what, evidence).await?;
            match shown.login {
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
    ) -> Result<Shown, Failure> {
        let shown = self
            .ports
            .login(&held.rotation, &held.target, account, ticket)
            .await?;
        if !evidence.note.is_empty() {
            evidence.note.push_str("; ");
        }
        evidence.note.push_str(what);
        evidence.note.push_str(match shown.login {
            Login::Works => " works",
            Login::Fails => " refused",
            Login::CantTell => " can't tell",
        });
        if shown.login == Login::CantTell && !shown.note.is_empty() {
            evidence.note.push_str(&format!(" ({})", shown.note));
        }
        #[cfg(any(test, feature = "sabotage"))]
        if self.sabotage == Sabotage::LetInIsProof {
            return Ok(Shown {
                sole: shown.login == Login::Works,
                ..shown
            });
        }
        Ok(shown)
    }

    pub(crate) async fn ticket(&self, held: &Held, who: Who) -> Result<Ticket, Failure> {
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
        self.ports
            .open(&held.rotation, &held.credential, &version)
            .await
    }
}
