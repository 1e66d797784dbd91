//! Reading and proving the audit log.

use pentad_model::Verb;

use super::{Caller, Pentad};
use crate::{Fault, contract::monitoring as mon};

impl Pentad {
    /// A page of the audit log, the newest first, of the caller's tenant.
    pub async fn audit_page(
        &self,
        caller: &Caller,
        query: mon::AuditQuery,
    ) -> Result<mon::AuditPage, Fault> {
        self.permit_system(caller, Verb::Audit).await?;
        self.0.monitoring.page(&caller.context, caller.priority, query).await
    }

    /// A fresh signed checkpoint; whoever keeps it can later prove that nothing before it changed.
    pub async fn checkpoint(&self, caller: &Caller) -> Result<mon::SignedCheckpoint, Fault> {
        self.permit_system(caller, Verb::Audit).await?;
        self.0.monitoring.checkpoint(&caller.context, caller.priority, mon::Checkpoint {}).await
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
        self.0.monitoring.inclusion(&caller.context, caller.priority, ask).await
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
        self.0.monitoring.consistency(&caller.context, caller.priority, ask).await
    }
}
