//! Credential policies of a tenant's own.

use pentad_model::{Name, Verb, record::Outcome};
use pentad_policy::CredentialPolicy;
use pentad_store::{Collection, Page};

use super::{Caller, Pentad, documents::encode};
use crate::Fault;

impl Pentad {
    /// Makes or replaces a credential policy. It judges from the next value on; `check` tells how
    /// the stored ones fare.
    pub async fn put_policy(&self, caller: &Caller, policy: CredentialPolicy) -> Result<(), Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        policy
            .check()
            .map_err(|error| Fault::invalid(error.to_string()))?;
        let record = self
            .record(caller, "policy.write", Outcome::Done)
            .detail(policy.name.to_string());
        let tenant = &caller.context.tenant;
        let document = encode(
            Collection::Policy,
            tenant,
            policy.name.as_str(),
            &policy,
            None,
        )?;
        self.replace(caller, document, record).await
    }

    /// The tenant's policies, a page at a time.
    pub async fn policies(
        &self,
        caller: &Caller,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<CredentialPolicy>, Fault> {
        self.permit_system(caller, Verb::Observe).await?;
        self.objects(caller, Collection::Policy, after, limit).await
    }

    /// Removes a policy. Credentials that name it can't be given new values until they name
    /// another one: a missing policy never means that anything goes.
    pub async fn remove_policy(&self, caller: &Caller, name: &Name) -> Result<(), Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        self.remove(caller, Collection::Policy, name.as_str(), "policy.remove")
            .await
    }
}
