//! The integration agent: sessions, effects, fences and test logins at a target, and deliveries.

use async_trait::async_trait;
use pentad_model::{Credential, Rotation, Target, Timestamp, record::Outcome as Result_};
use pentad_rotation::{
    machine::Effect as Ending,
    ports::{Effect, Failure, Journal, Outcome, Outside, Session, Shown, Ticket, Vault},
};
use pentad_runtime::Priority;

use super::{BusPorts, failure, open, ports_context, store, urgency};
use crate::{
    contract::{encryption as enc, integration as int},
    current::believed,
    handoff::Bearer,
    integration,
};

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
    ) -> Result<Shown, Failure> {
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
        Ok(Shown {
            login: tried.login,
            sole: tried.sole,
            note: tried.note,
        })
    }

    async fn keeps(
        &self,
        rotation: &Rotation,
        session: &Session,
        account: &str,
        value: Ticket,
    ) -> Result<bool, Failure> {
        let ask = int::Compare {
            session: session.id,
            account: account.to_owned(),
            value,
        };
        let context = ports_context(rotation);
        let compared = self
            .desk
            .integration
            .compare(&context, urgency(rotation), ask);
        compared.await.map_err(failure)
    }

    fn proves(&self, target: &Target) -> bool {
        integration::profile(&target.system).is_ok_and(|profile| profile.proves)
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
            let value = self.open(rotation, credential, &version).await?;
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

impl BusPorts {
    /// A ticket for the password of a target's administrating account.
    async fn admin(
        &self,
        rotation: &Rotation,
        target: &Target,
    ) -> Result<Option<enc::Opened>, Failure> {
        let Some(path) = &target.admin_credential else {
            return Ok(None);
        };
        let admin = self
            .kept
            .subject(&*self.desk.reader, &target.tenant, path)
            .await?;
        believed(path, admin.current.as_ref()).map_err(failure)?;
        let Some(version) = &admin.current else {
            return Err(Failure::Refused(format!(
                "the administrating credential `{path}` of target `{}` has no value",
                target.name
            )));
        };
        let context = ports_context(rotation);
        let open = open(&admin.credential, version, Bearer::Integration)?;
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
}
