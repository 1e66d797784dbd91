//! The validation agent: judges values against policy, earlier versions and the estate, and judges
//! what a rotation's verification showed. It sees a value once, and keeps nothing of it.

use std::{sync::Arc, time::Duration};

use pentad_model::{Clock, Context, Id, Stage, assessment::Assessment};
use pentad_policy::{CredentialPolicy, evidence::Verdict as Judged, judge, judge_verification};
use pentad_runtime::{Agent, Envelope};
use pentad_store::{Collection, Reader};
use pentad_validation::{Words, measure};

use crate::{
    Fault,
    contract::validation::{
        Holds, Judge, JudgeEvidence, Reply, Request, Validates, Verdict, dispatch,
    },
    handoff::{Bearer, Handoff},
};

/// Earlier versions compared with for reuse.
const HISTORY: usize = 100;

/// See the module.
#[derive(Clone)]
pub struct Validation {
    /// Where policies and earlier fingerprints are.
    pub reader: Arc<dyn Reader>,
    /// Where the value comes from.
    pub handoff: Handoff,
    /// For the present year, which people put into passwords.
    pub clock: Arc<dyn Clock>,
}

impl Agent for Validation {
    const NAME: &'static str = "validation";
    type Request = Request;
    type Reply = Reply;

    async fn handle(&self, envelope: Envelope<Request>) -> Reply {
        let turn = Self {
            handoff: self.handoff.during(envelope.id),
            ..self.clone()
        };
        dispatch(&turn, &envelope.context, envelope.body).await
    }

    fn settled(&self, envelope: Id) {
        self.handoff.settle(envelope);
    }

    fn ask(request: &Request) -> &'static str {
        request.name()
    }

    fn budget(_: &Request) -> Duration {
        Duration::from_secs(2)
    }
}

impl Validates for Validation {
    async fn judge(&self, context: &Context, ask: Judge) -> Result<Assessment, Fault> {
        let value = self.handoff.redeem(ask.value, Bearer::Validation)?;
        let words = Words {
            path: Some(&ask.path),
            account: ask.account.as_deref(),
            organisation: &[],
        };
        let mut facts = measure(&value, ask.kind, &words, self.clock.now().year());
        drop(value);
        let policy = self.policy(context, &ask).await?;
        let history = self
            .reader
            .versions(&context.tenant, &ask.path, None, HISTORY)
            .await?;
        let oldest = policy.history_from(ask.number).unwrap_or(u32::MAX);
        facts.reused_from = history
            .items
            .iter()
            .filter(|version| version.number != ask.number && version.number >= oldest)
            .filter(|version| !matches!(version.stage, Stage::Pending))
            .filter(|version| version.fingerprint == ask.fingerprint)
            .map(|version| version.number)
            .collect();
        facts.shared_with = self
            .reader
            .shared_with(&context.tenant, &ask.path, &ask.fingerprint)
            .await?;
        Ok(judge(&policy, ask.kind, &facts))
    }

    async fn evidence(&self, _: &Context, ask: JudgeEvidence) -> Result<Verdict, Fault> {
        let judged = judge_verification(ask.strategy, ask.after_retirement, &ask.evidence);
        let (verdict, reason) = match judged {
            Judged::Holds { reason } => (Holds::Yes, reason),
            Judged::Broken { reason } => (Holds::No, reason),
            Judged::CantTell { reason } => (Holds::CantTell, reason),
        };
        Ok(Verdict { verdict, reason })
    }
}

impl Validation {
    async fn policy(&self, context: &Context, ask: &Judge) -> Result<CredentialPolicy, Fault> {
        let Some(name) = &ask.policy else {
            return Ok(CredentialPolicy::builtin(ask.kind));
        };
        let now = self.clock.now();
        let stored = self
            .reader
            .document(Collection::Policy, &context.tenant, name.as_str(), now)
            .await?;
        let document = stored.ok_or_else(|| {
            Fault::invalid(format!(
                "there is no credential policy `{name}`; see `pentad policy list`"
            ))
        })?;
        serde_json::from_value(document.body).map_err(|error| Fault::Damaged {
            message: format!("credential policy `{name}`: {error}"),
        })
    }
}
