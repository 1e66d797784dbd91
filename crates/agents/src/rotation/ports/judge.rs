//! The validation agent: is the value good enough, and what does the evidence show.

use async_trait::async_trait;
use pentad_model::{Credential, Rotation, assessment::Assessment, rotation::Evidence};
use pentad_rotation::{
    machine::Verdict,
    ports::{Draft, Failure, Judge},
};

use super::{BusPorts, failure, ports_context, urgency};
use crate::contract::validation as val;

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
            drawn_bits: draft.drawn_bits,
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
