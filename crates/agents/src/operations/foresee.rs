//! What a put would do, without doing it: the preview of an import.
//!
//! It says whether a value is the one that is stored. That is an answer about the stored value, so it
//! is given only to who may read it, and each comparison is on record. What is compared are keyed
//! fingerprints: the stored value is not opened. A value that was used before, here or elsewhere, is
//! refused by the put itself and not foreseen.

use pentad_model::{
    Kind, Path, Verb, assessment::Assessment, record::Outcome, secret::Fingerprint,
};

use super::{Caller, Pentad, Put, Value};
use crate::{
    Fault,
    contract::{encryption as enc, validation as val},
    current::current,
    handoff::Bearer,
};

/// What a put would do.
#[derive(Clone, PartialEq, Debug)]
pub struct Foreseen {
    /// In a word.
    pub fate: Fate,
    /// The credential's kind, stored or to be.
    pub kind: Kind,
    /// The judgement on the value.
    pub assessment: Option<Assessment>,
    /// Why it would be refused.
    pub why: Option<String>,
}

/// What a put would do, in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Make a credential.
    New,
    /// Make another version.
    Changed,
    /// Store the value that is stored already.
    Same,
    /// Make another version, of the same value or of another: the caller may not read it.
    Exists,
    /// Nothing: it would be refused.
    Refused,
}

impl Pentad {
    /// What [`put`](Pentad::put) would do with these. Nothing is stored.
    pub async fn foresee(&self, caller: &Caller, path: &Path, put: Put) -> Result<Foreseen, Fault> {
        self.permit(caller, Verb::Write, path).await?;
        let tenant = &caller.context.tenant;
        let reader = &*self.0.reader;
        let stored = reader.credential(tenant, path).await?;
        let asked = put.kind.or(put.kind_if_new);
        let kind = stored
            .as_ref()
            .map_or(asked.unwrap_or(Kind::Secret), |stored| stored.kind);
        let refused = |why: String| Foreseen {
            fate: Fate::Refused,
            kind,
            assessment: None,
            why: Some(why),
        };
        if put.kind.is_some_and(|asked| asked != kind) {
            return Ok(refused(format!("it is a {kind}, and a kind never changes")));
        }
        if stored.as_ref().is_some_and(|it| it.deleted_at.is_some()) {
            return Ok(refused(format!(
                "it is deleted; `pentad restore {path}` first"
            )));
        }
        let Some(Value::Given(value)) = put.value else {
            return Err(Fault::invalid("a preview is of a value that is given"));
        };
        let limit = kind.profile().max_bytes;
        if value.is_empty() || value.len() > limit {
            return Ok(refused(format!(
                "a {kind} has 1 to {limit} bytes, this value has {}",
                value.len()
            )));
        }
        if stored.is_some() {
            match self.refuse_while_rotating(caller, path).await {
                Ok(()) => {}
                Err(Fault::Conflict { message }) => return Ok(refused(message)),
                Err(fault) => return Err(fault),
            }
        }
        let handoff = &self.0.handoff;
        let to_judge = handoff.deposit(tenant, value.clone(), Bearer::Validation)?;
        let to_compare = handoff.deposit(tenant, value, Bearer::Encryption)?;
        let ask = enc::FingerprintOf {
            value: to_compare.ticket(),
        };
        let fingerprint = self
            .0
            .encryption
            .fingerprint(&caller.context, caller.priority, ask)
            .await?;
        let mut fate = Fate::New;
        if stored.is_some() {
            fate = Fate::Exists;
            if caller.rights.access.allows(Verb::Read, path) {
                let present = current(reader, tenant, path).await?;
                let version = present.and_then(|(_, version)| version);
                let same = version.as_ref().is_some_and(|version| {
                    version.sealed.is_some() && version.fingerprint == fingerprint
                });
                let record = self
                    .record(caller, "credential.compare", Outcome::Done)
                    .on(path, version.map(|version| version.number));
                self.write_down(caller, record).await?;
                if same {
                    return Ok(Foreseen {
                        fate: Fate::Same,
                        kind,
                        assessment: None,
                        why: None,
                    });
                }
                fate = Fate::Changed;
            }
        }
        let judge = val::Judge {
            path: path.clone(),
            kind,
            policy: put
                .policy
                .or_else(|| stored.as_ref().and_then(|it| it.policy.clone())),
            account: put.binding.map(|binding| binding.account),
            value: to_judge.ticket(),
            // Nobody's: whether others have the value, or an earlier version had it, a put tells, which
            // leaves a trace. A preview can be asked again and again.
            fingerprint: Fingerprint([0; 32]),
            number: stored.map_or(0, |stored| stored.latest) + 1,
            drawn_bits: None,
        };
        let assessment = self
            .0
            .validation
            .judge(&caller.context, caller.priority, judge)
            .await?;
        let why = (!assessment.accepted && !put.accept_weak).then(|| {
            let first = assessment.findings.first();
            first.map_or_else(String::new, |finding| finding.message.clone())
        });
        Ok(Foreseen {
            fate: if why.is_some() { Fate::Refused } else { fate },
            kind,
            assessment: Some(assessment),
            why,
        })
    }
}
