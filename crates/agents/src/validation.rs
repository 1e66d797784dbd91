//! The validation agent: judges values against policy, earlier versions and the estate, and judges
//! what a rotation's verification showed. It sees a value once, and keeps nothing of it.

use std::{sync::Arc, time::Duration};

use pentad_model::{Clock, Context, Id, assessment::Assessment};
use pentad_policy::{CredentialPolicy, evidence::Verdict as Judged, judge, judge_verification};
use pentad_runtime::{Agent, Envelope};
use pentad_store::{Collection, Reader};
use pentad_validation::{Words, measure_drawn, needs_estimate};

use crate::{
    Fault,
    contract::validation::{
        Holds, Judge, JudgeEvidence, Measured, Reply, Request, Validates, Verdict, dispatch,
    },
    documents::Documents,
    handoff::{Bearer, Handoff},
};

/// See the module.
#[derive(Clone)]
pub struct Validation {
    /// Where earlier fingerprints are.
    pub reader: Arc<dyn Reader>,
    /// Where policies are.
    pub documents: Documents,
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

    /// A judgement takes milliseconds, whatever the value; but one by a stored policy may wait for the
    /// encryption agent, who knows its seal.
    fn is_in_turn(request: &Request) -> bool {
        match request {
            Request::Judge(ask) | Request::Measure(ask) => ask.policy.is_none(),
            Request::Evidence(_) => true,
        }
    }

    /// Some microseconds, where guesses need no estimate (which takes milliseconds), and two look-ups
    /// by key at most.
    fn is_brief(request: &Request) -> bool {
        match request {
            Request::Judge(ask) | Request::Measure(ask) => {
                ask.policy.is_none() && !needs_estimate(ask.kind, ask.drawn_bits)
            }
            Request::Evidence(_) => true,
        }
    }

    fn budget(_: &Request) -> Duration {
        Duration::from_secs(2)
    }
}

impl Validates for Validation {
    async fn judge(&self, context: &Context, ask: Judge) -> Result<Assessment, Fault> {
        Ok(self.measure(context, ask).await?.assessment)
    }

    async fn measure(&self, context: &Context, ask: Judge) -> Result<Box<Measured>, Fault> {
        let value = self.handoff.redeem(ask.value, Bearer::Validation)?;
        let policy = self.policy(context, &ask).await?;
        let own: Vec<&str> = policy.words.iter().map(String::as_str).collect();
        let words = Words {
            path: Some(&ask.path),
            account: ask.account.as_deref(),
            organisation: &own,
        };
        let year = self.clock.now().year();
        let mut facts = measure_drawn(&value, ask.kind, &words, year, ask.drawn_bits);
        drop(value);
        // The versions before this one, as many as the policy bars.
        let oldest = policy.history_from(ask.number).unwrap_or(ask.number);
        let reuse = self
            .reader
            .reuse(
                &context.tenant,
                &ask.path,
                &ask.fingerprint,
                oldest..ask.number,
            )
            .await?;
        (facts.reused_from, facts.shared_with) = (reuse.earlier, reuse.shared_with);
        let assessment = judge(&policy, ask.kind, &facts);
        Ok(Box::new(Measured {
            facts,
            assessment,
            policy,
        }))
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
        let found = self
            .documents
            .find(context, Collection::Policy, name.as_str())
            .await?;
        found.map(|(policy, _)| policy).ok_or_else(|| {
            Fault::invalid(format!(
                "there is no credential policy `{name}`; see `pentad policy list`"
            ))
        })
    }
}
