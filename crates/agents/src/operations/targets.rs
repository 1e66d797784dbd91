//! Targets: the systems whose credentials are rotated.

use pentad_model::{
    Name, Target, Tenant, Verb,
    record::Outcome,
    rotation::Strategy,
};
use pentad_store::{Collection, CredentialQuery, Expect, Op, Page};

use super::{
    Caller, Pentad,
    access::{decode, encode},
};
use crate::{
    Fault,
    contract::{encryption as enc, integration as int},
    current::current,
    handoff::{Bearer, Ticket},
};

/// Accounts checked at once by `target check`.
const CHECKED_ACCOUNTS: usize = 20;

impl Pentad {
    /// Makes or replaces a target. Its settings are checked here, the target itself by
    /// [`Pentad::check_target`].
    pub async fn put_target(&self, caller: &Caller, mut target: Target) -> Result<Target, Fault> {
        self.permit_system(caller, Verb::Target).await?;
        target.tenant = caller.context.tenant.clone();
        crate::integration::validate(&target)?;
        if let Some(path) = &target.admin_credential {
            self.permit(caller, Verb::Read, path).await?;
            if self.0.reader.credential(&target.tenant, path).await?.is_none() {
                return Err(self.no_credential(caller, path).await);
            }
        }
        target.created_at = self.0.clock.now();
        let record =
            self.record(caller, "target.write", Outcome::Done).detail(target.name.to_string());
        let tenant = &target.tenant;
        let document = encode(Collection::Target, tenant, target.name.as_str(), &target, None)?;
        self.commit(caller, vec![Op::PutDocument { document, expect: Expect::Any }], record)
            .await?;
        Ok(target)
    }

    /// One target.
    pub async fn target(&self, caller: &Caller, name: &Name) -> Result<Target, Fault> {
        self.permit_system(caller, Verb::Observe).await?;
        self.target_of(&caller.context.tenant, name).await
    }

    /// Targets, a page at a time.
    pub async fn targets(
        &self,
        caller: &Caller,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Target>, Fault> {
        self.permit_system(caller, Verb::Observe).await?;
        self.objects(caller, Collection::Target, after, limit).await
    }

    /// Removes a target that no credential is bound to.
    pub async fn remove_target(&self, caller: &Caller, name: &Name) -> Result<(), Fault> {
        self.permit_system(caller, Verb::Target).await?;
        let bound = self.bound_to(caller, name, 1).await?;
        if let Some(credential) = bound.items.first() {
            return Err(Fault::conflict(format!(
                "`{}` is bound to target `{name}`; bind it elsewhere first",
                credential.path
            )));
        }
        self.remove(caller, Collection::Target, name.as_str(), "target.remove").await
    }

    /// Reaches out: rights of the administrating account, settings, and whether a random password
    /// is refused, for the first accounts bound there.
    pub async fn check_target(&self, caller: &Caller, name: &Name) -> Result<int::Checked, Fault> {
        self.permit_system(caller, Verb::Target).await?;
        let tenant = &caller.context.tenant;
        let target = self.target_of(tenant, name).await?;
        let bound = self.bound_to(caller, name, CHECKED_ACCOUNTS).await?;
        let profile = crate::integration::profile(&target.system)?;
        let accounts: Vec<(String, Strategy)> = bound
            .items
            .iter()
            .filter_map(|credential| credential.binding.as_ref())
            .filter_map(|binding| {
                let chosen = pentad_policy::choose_strategy(binding, profile.strategies).ok()?;
                Some((binding.account.clone(), chosen))
            })
            .collect();
        let decoy = match accounts.is_empty() {
            true => None,
            false => {
                let decoy = enc::Decoy {};
                Some(self.0.encryption.decoy(&caller.context, caller.priority, decoy).await?)
            }
        };
        let admin = self.admin_ticket(caller, &target).await?;
        let check = int::Check { target, admin, accounts, decoy };
        let checked = self.0.integration.check(&caller.context, caller.priority, check).await?;
        let record = self
            .record(caller, "target.check", Outcome::Done)
            .detail(format!("{name}: {} complaints", checked.complaints.len()));
        self.write_down(caller, record).await?;
        Ok(checked)
    }

    pub(super) async fn target_of(&self, tenant: &Tenant, name: &Name) -> Result<Target, Fault> {
        let now = self.0.clock.now();
        let stored =
            self.0.reader.document(Collection::Target, tenant, name.as_str(), now).await?;
        let document = stored.ok_or_else(|| Fault::missing(format!("target `{name}`")))?;
        let revision = document.revision;
        let mut target: Target = decode(document)?;
        target.revision = revision;
        Ok(target)
    }

    /// The administrating account's password, for one use by the integration agent.
    pub(super) async fn admin_ticket(
        &self,
        caller: &Caller,
        target: &Target,
    ) -> Result<Option<Ticket>, Fault> {
        let Some(path) = &target.admin_credential else { return Ok(None) };
        let current = current(&*self.0.reader, &target.tenant, path).await?;
        let Some((credential, Some(version))) = current else {
            return Err(Fault::missing(format!(
                "the administrating credential `{path}` of target `{}`",
                target.name
            )));
        };
        let sealed = version.sealed.ok_or_else(|| Fault::missing(format!("a value of `{path}`")))?;
        let open = enc::Open {
            path: path.clone(),
            kind: credential.kind,
            number: version.number,
            stage: version.stage,
            stage_mac: version.stage_mac,
            sealed,
            bearer: Bearer::Integration,
        };
        let opened = self.0.encryption.open(&caller.context, caller.priority, open).await?;
        let mut record = self
            .record(caller, "credential.use", Outcome::Done)
            .on(path, Some(version.number))
            .detail(format!("administers target {}", target.name));
        record.value_mac = Some(opened.value_mac);
        self.write_down(caller, record).await?;
        Ok(Some(opened.ticket))
    }

    async fn bound_to(
        &self,
        caller: &Caller,
        name: &Name,
        limit: usize,
    ) -> Result<Page<pentad_model::Credential>, Fault> {
        let mut query = CredentialQuery::below(caller.context.tenant.clone(), "", limit);
        query.target = Some(name.to_string());
        Ok(self.0.reader.credentials(&query).await?)
    }
}
