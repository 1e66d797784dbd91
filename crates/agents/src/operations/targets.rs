//! Targets: the systems whose credentials are rotated.

use std::collections::HashMap;

use pentad_model::{
    Context, Name, Path, Target, Timestamp, Verb, record::Outcome, rotation::Strategy,
};
use pentad_store::{Collection, CredentialQuery, Expect, Op, Page, RotationQuery, read::MAX_PAGE};

use super::{Caller, Pentad, documents::encode};
use crate::{
    Fault,
    contract::{encryption as enc, integration as int},
    current::{current, touch},
    documents::decode,
    handoff::{Bearer, Deposit},
};

/// Accounts checked at once by `target check`.
const CHECKED_ACCOUNTS: usize = 20;

impl Pentad {
    /// Makes or replaces a target. Its settings are checked here, the target itself by
    /// [`Pentad::check_target`].
    pub async fn put_target(&self, caller: &Caller, mut target: Target) -> Result<Target, Fault> {
        self.permit_system(caller, Verb::Target).await?;
        target.tenant = caller.context.tenant.clone();
        let mut ops = Vec::new();
        crate::integration::validate(&target)?;
        if crate::integration::is_file(&target.system) {
            self.0.files.admit(&target.address).await?;
        }
        if let Some(path) = &target.admin_credential {
            self.permit(caller, Verb::Read, path).await?;
            let Some(credential) = self.0.reader.credential(&target.tenant, path).await? else {
                return Err(self.no_credential(caller, path).await);
            };
            if credential.deleted_at.is_some() {
                return Err(Fault::conflict(format!(
                    "`{path}` is deleted; `pentad restore {path}` first"
                )));
            }
            // Whoever deletes it at this moment is refused, or this is.
            ops.push(touch(&credential));
        }
        let name = target.name.as_str();
        let now = self.0.clock.now();
        let stored = self
            .0
            .reader
            .document(Collection::Target, &target.tenant, name, now)
            .await?;
        let revision = stored.map(|document| document.revision);
        let (before, forged) = match self.target_of(&caller.context, &target.name).await {
            Ok(before) => (Some(before), false),
            Err(Fault::Missing { .. }) => (None, false),
            // Nothing is sent to one that was not written by us: whoever may, puts it right.
            Err(Fault::Damaged { .. }) => (None, true),
            Err(fault) => return Err(fault),
        };
        if before
            .as_ref()
            .is_none_or(|before| leads_elsewhere(before, &target))
        {
            if !forged {
                self.refuse_while_rotating_at(caller, &target.name).await?;
            }
            self.permit_all_bound(caller, &target.name).await?;
        }
        target.created_at = before.map_or(now, |before| before.created_at);
        target.revision = revision.unwrap_or(0) + 1;
        let expect = revision.map_or(Expect::Absent, Expect::Revision);
        let record = self
            .record(caller, "target.write", Outcome::Done)
            .detail(target.name.to_string());
        let tenant = &target.tenant;
        let document = encode(
            Collection::Target,
            tenant,
            target.name.as_str(),
            &target,
            None,
        )?;
        ops.push(Op::PutDocument { document, expect });
        self.commit(caller, ops, record).await?;
        Ok(target)
    }

    /// One target.
    pub async fn target(&self, caller: &Caller, name: &Name) -> Result<Target, Fault> {
        self.permit_system(caller, Verb::Observe).await?;
        self.target_of(&caller.context, name).await
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
            let which = match caller.rights.access.allows(Verb::List, &credential.path) {
                true => format!("`{}`", credential.path),
                false => "a credential".to_owned(),
            };
            return Err(Fault::conflict(format!(
                "{which} is bound to target `{name}`; bind it elsewhere first"
            )));
        }
        self.refuse_while_rotating_at(caller, name).await?;
        self.remove(caller, Collection::Target, name.as_str(), "target.remove")
            .await
    }

    /// Reaches out: rights of the administrating account, settings, and whether a random password
    /// is refused, for the first accounts bound there.
    pub async fn check_target(&self, caller: &Caller, name: &Name) -> Result<int::Checked, Fault> {
        self.permit_system(caller, Verb::Target).await?;
        let target = self.target_of(&caller.context, name).await?;
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
                let decoy = self
                    .0
                    .encryption
                    .decoy(&caller.context, caller.priority, decoy)
                    .await?;
                Some(self.0.handoff.answer_for(decoy))
            }
        };
        let admin = self.admin_ticket(caller, &target).await?;
        let check = int::Check {
            target,
            admin: admin.as_ref().map(Deposit::ticket),
            accounts,
            decoy: decoy.as_ref().map(Deposit::ticket),
        };
        let checked = self
            .0
            .integration
            .check(&caller.context, caller.priority, check)
            .await?;
        let record = self
            .record(caller, "target.check", Outcome::Done)
            .detail(format!("{name}: {} complaints", checked.complaints.len()));
        self.write_down(caller, record).await?;
        Ok(checked)
    }

    /// The credentials that administer targets, each with why it must stay: without it nothing at its
    /// target could be rotated, nor another one be put in its place. All targets are walked; there
    /// are few, and an index would have to be trusted.
    pub(super) async fn administrators(
        &self,
        caller: &Caller,
    ) -> Result<HashMap<Path, String>, Fault> {
        let (mut found, mut after) = (HashMap::new(), None::<String>);
        loop {
            let (page, _) = self
                .0
                .documents
                .page(
                    &caller.context,
                    Collection::Target,
                    after.as_deref(),
                    MAX_PAGE,
                )
                .await?;
            after = page.items.last().map(|last| last.name.clone());
            // A forged one keeps its credential too, till it is removed. Nothing goes by one that
            // can't be read.
            for target in page
                .items
                .into_iter()
                .filter_map(|it| decode::<Target>(it).ok())
            {
                if let Some(path) = target.admin_credential {
                    let name = target.name;
                    let why = format!(
                        "`{path}` administers target `{name}`; give that another administrating \
                         credential (`pentad target put`) or remove it first"
                    );
                    found.insert(path, why);
                }
            }
            if !page.more {
                return Ok(found);
            }
        }
    }

    pub(super) async fn target_of(&self, context: &Context, name: &Name) -> Result<Target, Fault> {
        let found: Option<(Target, u64)> = self
            .0
            .documents
            .find(context, Collection::Target, name.as_str())
            .await?;
        let (mut target, revision) =
            found.ok_or_else(|| Fault::missing(format!("target `{name}`")))?;
        target.revision = revision;
        Ok(target)
    }

    /// The administrating account's password, for one use by the integration agent.
    pub(super) async fn admin_ticket(
        &self,
        caller: &Caller,
        target: &Target,
    ) -> Result<Option<Deposit>, Fault> {
        let Some(path) = &target.admin_credential else {
            return Ok(None);
        };
        let current = current(&*self.0.reader, &target.tenant, path).await?;
        let Some((credential, Some(version))) = current else {
            return Err(Fault::missing(format!(
                "the administrating credential `{path}` of target `{}`",
                target.name
            )));
        };
        let sealed = version
            .sealed
            .ok_or_else(|| Fault::missing(format!("a value of `{path}`")))?;
        let open = enc::Open {
            path: path.clone(),
            kind: credential.kind,
            number: version.number,
            stage: version.stage,
            stage_mac: version.stage_mac,
            sealed,
            bearer: Bearer::Integration,
        };
        let opened = self
            .0
            .encryption
            .open(&caller.context, caller.priority, open)
            .await?;
        let password = self.0.handoff.answer_for(opened.ticket);
        let mut record = self
            .record(caller, "credential.use", Outcome::Done)
            .on(path, Some(version.number))
            .detail(format!("administers target {}", target.name));
        record.value_mac = Some(opened.value_mac);
        self.write_down(caller, record).await?;
        Ok(Some(password))
    }

    /// Rotations speak to the target that they began at: what one server holds must not be looked
    /// for, or fenced, at another.
    async fn refuse_while_rotating_at(&self, caller: &Caller, name: &Name) -> Result<(), Fault> {
        let mut query = RotationQuery {
            tenant: caller.context.tenant.clone(),
            path: None,
            batch: None,
            unfinished: true,
            step: None,
            for_a_person: false,
            before: None,
            limit: MAX_PAGE,
        };
        loop {
            let page = self.0.reader.rotations(&query).await?;
            if page.items.iter().any(|rotation| rotation.target == *name) {
                return Err(Fault::conflict(format!(
                    "rotations are running at target `{name}`; wait for them or cancel them first"
                )));
            }
            query.before = page.items.last().map(|last| last.id);
            if !page.more {
                return Ok(());
            }
        }
    }

    /// Values are sent where a target's settings lead: only who may read them all decides about it.
    async fn permit_all_bound(&self, caller: &Caller, name: &Name) -> Result<(), Fault> {
        let mut query = CredentialQuery::below(caller.context.tenant.clone(), "", MAX_PAGE);
        query.target = Some(name.to_string());
        loop {
            let page = self.0.reader.credentials(&query).await?;
            let hidden = |path: &Path| !caller.rights.access.allows(Verb::Read, path);
            if page.items.iter().any(|credential| hidden(&credential.path)) {
                let why = format!(
                    "target `{name}` has credentials that {} may not read, and their values go \
                     where its settings lead",
                    caller.context.principal
                );
                let record = self
                    .record(caller, "target.write", Outcome::Denied)
                    .detail(why.clone());
                self.write_down(caller, record).await?;
                return Err(Fault::Denied { message: why });
            }
            query.after = page.items.last().map(|last| last.path.clone());
            if !page.more {
                return Ok(());
            }
        }
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

/// Whether more changes than how much is done at once.
fn leads_elsewhere(before: &Target, after: &Target) -> bool {
    let destination = |target: &Target| Target {
        concurrency: 0,
        lockout_limit: None,
        revision: 0,
        created_at: Timestamp::default(),
        ..target.clone()
    };
    destination(before) != destination(after)
}
