//! Checking stored credentials: strength, reuse, risk, and what a framework's controls say.

use futures::{StreamExt, stream};
use pentad_model::{
    Credential, Path, Verb, Version,
    assessment::{Assessment, Facts},
    record::Outcome,
};
use pentad_policy::{
    CredentialPolicy,
    compliance::{Exposure, Interval, Measured, Retention, Subject},
    risk::{self, Risk},
};
use pentad_store::CredentialQuery;
use serde::{Deserialize, Serialize};

use super::{Caller, Pentad, listing::Listed};
use crate::{
    Fault,
    contract::{encryption as enc, validation as val},
    current::current,
    handoff::Bearer,
};

/// Judgements under way at once for one caller.
const AT_ONCE: usize = 16;

/// One checked credential.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checked {
    /// Which.
    pub path: Path,
    /// The judgement; `None` for a credential without a value.
    pub assessment: Option<Assessment>,
    /// How urgently somebody should look at it.
    pub risk: Risk,
    /// Why it could not be judged.
    pub problem: Option<String>,
}

/// What was found of a credential and its current value.
pub(super) struct Examined {
    pub(super) credential: Credential,
    version: Option<Version>,
    /// `Ok(None)` where there is no value.
    measured: Result<Option<Value>, Fault>,
}

struct Value {
    facts: Facts,
    assessment: Assessment,
    policy: CredentialPolicy,
    sealed_by: Option<&'static str>,
}

impl Pentad {
    /// Judges one stored credential.
    pub async fn check(&self, caller: &Caller, path: &Path) -> Result<Checked, Fault> {
        self.permit(caller, Verb::Check, path).await?;
        let stored = self
            .0
            .reader
            .credential(&caller.context.tenant, path)
            .await?;
        match stored.filter(|credential| credential.deleted_at.is_none()) {
            Some(credential) => {
                let number = credential.current;
                let examined = self.examine(caller, credential).await;
                let record = self
                    .record(caller, "credential.check", Outcome::Done)
                    .on(path, number);
                self.write_down(caller, record).await?;
                Ok(self.checked(examined))
            }
            None => Err(self.no_credential(caller, path).await),
        }
    }

    /// Judges a page of the estate, several at once.
    pub async fn check_page(
        &self,
        caller: &Caller,
        query: CredentialQuery,
    ) -> Result<Listed<Checked>, Fault> {
        let prefix = query.prefix.clone();
        let page = self.examine_page(caller, query).await?;
        let record = self
            .record(caller, "credential.check", Outcome::Done)
            .detail(format!("{} below `{}`", page.items.len(), prefix));
        self.write_down(caller, record).await?;
        Ok(page.map(|one| self.checked(one)))
    }

    /// Opens and measures a page of what the caller may check, several at once. Nothing is on
    /// record yet.
    pub(super) async fn examine_page(
        &self,
        caller: &Caller,
        query: CredentialQuery,
    ) -> Result<Listed<Examined>, Fault> {
        let page = self.visible(caller, Verb::Check, query).await?;
        let items = stream::iter(page.items)
            .map(|credential| self.examine(caller, credential))
            .buffered(AT_ONCE)
            .collect()
            .await;
        Ok(Listed {
            items,
            next: page.next,
        })
    }

    fn checked(&self, examined: Examined) -> Checked {
        let now = self.0.clock.now();
        let risk = examined.subject(now, Retention::Unknown, |subject| risk::weigh(&subject));
        let (assessment, problem) = match examined.measured {
            Ok(value) => (value.map(|value| value.assessment), None),
            Err(fault) => (None, Some(fault.to_string())),
        };
        Checked {
            path: examined.credential.path,
            assessment,
            risk,
            problem,
        }
    }

    async fn examine(&self, caller: &Caller, credential: Credential) -> Examined {
        match self.measure_current(caller, &credential).await {
            Ok(Some((version, value))) => Examined {
                credential,
                version: Some(version),
                measured: Ok(value),
            },
            Ok(None) => Examined {
                credential,
                version: None,
                measured: Ok(None),
            },
            Err(fault) => Examined {
                credential,
                version: None,
                measured: Err(fault),
            },
        }
    }

    async fn measure_current(
        &self,
        caller: &Caller,
        credential: &Credential,
    ) -> Result<Option<(Version, Option<Value>)>, Fault> {
        let (tenant, path) = (&credential.tenant, &credential.path);
        let current = current(&*self.0.reader, tenant, path).await?;
        let Some((_, Some(version))) = current else {
            return Ok(None);
        };
        let Some(sealed) = version.sealed.clone() else {
            return Ok(Some((version, None)));
        };
        let sealed_by = pentad_keys::envelope::algorithm(&sealed);
        let open = enc::Open {
            path: path.clone(),
            kind: credential.kind,
            number: version.number,
            stage: version.stage,
            stage_mac: version.stage_mac,
            sealed,
            bearer: Bearer::Validation,
        };
        let opened = self
            .0
            .encryption
            .open(&caller.context, caller.priority, open)
            .await?;
        let value = self.0.handoff.answer_for(opened.ticket);
        let ask = judge_ask(credential, &version, value.ticket());
        let val::Measured {
            facts,
            assessment,
            policy,
        } = *self
            .0
            .validation
            .measure(&caller.context, caller.priority, ask)
            .await?;
        let value = Value {
            facts,
            assessment,
            policy,
            sealed_by,
        };
        Ok(Some((version, Some(value))))
    }
}

impl Examined {
    /// Hands what is known to a judge.
    pub(super) fn subject<T>(
        &self,
        now: pentad_model::Timestamp,
        retention: Retention,
        judge: impl FnOnce(Subject<'_>) -> T,
    ) -> T {
        let why;
        let measured = match &self.measured {
            Ok(Some(value)) => Ok(Measured {
                facts: &value.facts,
                assessment: &value.assessment,
                policy: &value.policy,
                sealed_by: value.sealed_by,
            }),
            Ok(None) => Err("it has no value"),
            Err(fault) => {
                why = fault.to_string();
                Err(why.as_str())
            }
        };
        judge(Subject {
            credential: &self.credential,
            version: self.version.as_ref(),
            measured,
            retention,
            // Nothing in Pentad rotates a credential for its age alone.
            interval: Interval::Never,
            // No list of breached values is asked.
            exposure: Exposure::Unknown,
            now,
        })
    }
}

/// What the validation agent is asked of a stored version.
pub(super) fn judge_ask(
    credential: &Credential,
    version: &Version,
    value: crate::handoff::Ticket,
) -> val::Judge {
    val::Judge {
        path: credential.path.clone(),
        kind: credential.kind,
        policy: credential.policy.clone(),
        account: version.account.clone(),
        value,
        fingerprint: version.fingerprint,
        number: version.number,
        // Nobody remembers how a stored value came about.
        drawn_bits: None,
    }
}
