//! Checking stored credentials: strength, reuse, expiry, target.

use futures::{StreamExt, stream};
use pentad_model::{Credential, Path, Verb, assessment::Assessment, record::Outcome};
use pentad_store::{CredentialQuery, Page};
use serde::{Deserialize, Serialize};

use super::{Caller, Pentad};
use crate::{Fault, contract::encryption as enc, current::current, handoff::Bearer};

/// Judgements under way at once for one caller.
const AT_ONCE: usize = 16;

/// One checked credential.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checked {
    /// Which.
    pub path: Path,
    /// The judgement; `None` for a credential without a value.
    pub assessment: Option<Assessment>,
    /// Why it could not be judged.
    pub problem: Option<String>,
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
                let checked = self.judged(caller, &credential).await;
                let record = self
                    .record(caller, "credential.check", Outcome::Done)
                    .on(path, credential.current);
                self.write_down(caller, record).await?;
                Ok(checked)
            }
            None => Err(self.no_credential(caller, path).await),
        }
    }

    /// Judges a page of the estate, several at once.
    pub async fn check_page(
        &self,
        caller: &Caller,
        query: CredentialQuery,
    ) -> Result<Page<Checked>, Fault> {
        let prefix = query.prefix.clone();
        let page = self.visible(caller, Verb::Check, query).await?;
        let items: Vec<Checked> = stream::iter(page.items)
            .map(|credential| async move { self.judged(caller, &credential).await })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let record = self
            .record(caller, "credential.check", Outcome::Done)
            .detail(format!("{} below `{}`", items.len(), prefix));
        self.write_down(caller, record).await?;
        Ok(Page {
            items,
            more: page.more,
        })
    }

    async fn judged(&self, caller: &Caller, credential: &Credential) -> Checked {
        let path = credential.path.clone();
        match self.judge_current(caller, credential).await {
            Ok(assessment) => Checked {
                path,
                assessment,
                problem: None,
            },
            Err(fault) => Checked {
                path,
                assessment: None,
                problem: Some(fault.to_string()),
            },
        }
    }

    async fn judge_current(
        &self,
        caller: &Caller,
        credential: &Credential,
    ) -> Result<Option<Assessment>, Fault> {
        let (tenant, path) = (&credential.tenant, &credential.path);
        let current = current(&*self.0.reader, tenant, path).await?;
        let Some((_, Some(version))) = current else {
            return Ok(None);
        };
        let Some(sealed) = version.sealed.clone() else {
            return Ok(None);
        };
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
        let assessment = self
            .judge_version(caller, credential, &version, opened.ticket)
            .await?;
        Ok(Some(assessment))
    }
}
