//! Reading and proving the audit log.

use pentad_model::{Record, Verb, record::Outcome};

use super::{Caller, Pentad};
use crate::{Fault, contract::monitoring as mon};

impl Pentad {
    /// A page of the audit log, the newest first, of the caller's tenant: what the caller may audit.
    /// The records of one credential may also be read by whoever audits only that.
    pub async fn audit_page(
        &self,
        caller: &Caller,
        query: mon::AuditQuery,
    ) -> Result<mon::AuditPage, Fault> {
        match &query.path {
            Some(path) => self.permit(caller, Verb::Audit, path).await?,
            None => self.permit_system(caller, Verb::Audit).await?,
        }
        let mut record = self.record(caller, "audit.read", Outcome::Done);
        record.path.clone_from(&query.path);
        let mut page = self
            .0
            .monitoring
            .page(&caller.context, caller.priority, query)
            .await?;
        page.records.retain(|(_, record)| may_audit(caller, record));
        self.write_down(caller, record).await?;
        Ok(page)
    }

    /// A fresh signed checkpoint; whoever keeps it can later prove that nothing before it changed.
    pub async fn checkpoint(&self, caller: &Caller) -> Result<mon::SignedCheckpoint, Fault> {
        self.permit_system(caller, Verb::Audit).await?;
        self.0
            .monitoring
            .checkpoint(&caller.context, caller.priority, mon::Checkpoint {})
            .await
    }

    /// Proof that a record is in the log.
    pub async fn inclusion(
        &self,
        caller: &Caller,
        index: u64,
        size: u64,
    ) -> Result<mon::Proof, Fault> {
        self.permit_system(caller, Verb::Audit).await?;
        let ask = mon::Inclusion { index, size };
        let mut proof = self
            .0
            .monitoring
            .inclusion(&caller.context, caller.priority, ask)
            .await?;
        proof.leaf = proof.leaf.filter(|leaf| {
            serde_json::from_str(leaf).is_ok_and(|record| may_audit(caller, &record))
        });
        Ok(proof)
    }

    /// Proof that a log of one size is a beginning of the log of another.
    pub async fn consistency(
        &self,
        caller: &Caller,
        old: u64,
        new: u64,
    ) -> Result<mon::Proof, Fault> {
        self.permit_system(caller, Verb::Audit).await?;
        let ask = mon::Consistency { old, new };
        self.0
            .monitoring
            .consistency(&caller.context, caller.priority, ask)
            .await
    }
}

fn may_audit(caller: &Caller, record: &Record) -> bool {
    record
        .path
        .as_ref()
        .is_none_or(|path| caller.rights.access.allows(Verb::Audit, path))
}
