//! Roles: what they allow, who may hand them out, and why one allows or denies.

use pentad_model::{
    Context, Name, Verb,
    access::{Effect, Role},
    record::Outcome,
};
use pentad_policy::access::{Access, builtin_roles};
use pentad_store::{Collection, Page};
use serde::Serialize;

use super::{Caller, Pentad, documents::encode};
use crate::Fault;

/// A decision with its reason in words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Explained {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The rule that says so, or the one that comes nearest.
    pub because: String,
}

impl Pentad {
    /// Makes or replaces a role. It neither allows nor stops denying what the caller may not do
    /// everywhere.
    pub async fn put_role(&self, caller: &Caller, role: Role) -> Result<(), Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        if builtin_roles()
            .iter()
            .any(|builtin| builtin.name == role.name)
        {
            return Err(Fault::invalid(format!(
                "`{}` is a ready-made role; choose another name",
                role.name
            )));
        }
        Access::compile(std::slice::from_ref(&role)).map_err(|e| Fault::invalid(e.to_string()))?;
        let mut gained = verbs(std::slice::from_ref(&role), Effect::Allow);
        gained.extend(self.denied_by(caller, &role.name).await?);
        self.may_grant(caller, &gained).await?;
        let record = self
            .record(caller, "role.write", Outcome::Done)
            .detail(role.name.to_string());
        let tenant = &caller.context.tenant;
        let document = encode(Collection::Role, tenant, role.name.as_str(), &role, None)?;
        self.replace(caller, document, record).await
    }

    /// The ready-made roles and a page of the tenant's own.
    pub async fn roles(
        &self,
        caller: &Caller,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Role>, Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        let mut page: Page<Role> = self.objects(caller, Collection::Role, after, limit).await?;
        if after.is_none() {
            page.items.splice(0..0, builtin_roles());
        }
        Ok(page)
    }

    /// Removes a role of the tenant's own: what it allowed is allowed no more, and what it denied is
    /// denied no more.
    pub async fn remove_role(&self, caller: &Caller, name: &Name) -> Result<(), Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        let denied = self.denied_by(caller, name).await?;
        self.may_grant(caller, &denied).await?;
        self.remove(caller, Collection::Role, name.as_str(), "role.remove")
            .await
    }

    /// Why these roles would or would not allow a verb on a path.
    pub async fn explain(
        &self,
        caller: &Caller,
        roles: &[Name],
        verb: Verb,
        path: &pentad_model::Path,
    ) -> Result<Explained, Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        let roles = self.known_roles(&caller.context, roles).await?;
        let access = Access::compile(&roles).map_err(|e| Fault::internal(e.to_string()))?;
        let decision = access.decide(verb, path);
        let because = decision.because.to_string();
        Ok(Explained {
            allowed: decision.allowed,
            because,
        })
    }

    pub(super) async fn known_roles(
        &self,
        context: &Context,
        names: &[Name],
    ) -> Result<Vec<Role>, Fault> {
        let roles = self.roles_named(context, names).await?;
        match names
            .iter()
            .find(|name| roles.iter().all(|role| role.name != **name))
        {
            None => Ok(roles),
            Some(name) => Err(Fault::invalid(format!(
                "there is no role `{name}`; see `pentad role list`"
            ))),
        }
    }

    pub(super) async fn roles_named(
        &self,
        context: &Context,
        names: &[Name],
    ) -> Result<Vec<Role>, Fault> {
        let builtin = builtin_roles();
        let mut roles = Vec::with_capacity(names.len());
        for name in names {
            match builtin.iter().find(|role| role.name == *name) {
                Some(role) => roles.push(role.clone()),
                // A role that was removed allows nothing any more.
                None => roles.extend(self.stored_role(context, name).await?),
            }
        }
        Ok(roles)
    }

    async fn stored_role(&self, context: &Context, name: &Name) -> Result<Option<Role>, Fault> {
        let found = self
            .0
            .documents
            .find(context, Collection::Role, name.as_str())
            .await?;
        Ok(found.map(|(role, _)| role))
    }

    /// What a stored role denies: everything, for all that is known, if it was not written by us.
    async fn denied_by(&self, caller: &Caller, name: &Name) -> Result<Vec<Verb>, Fault> {
        match self.stored_role(&caller.context, name).await {
            Ok(role) => Ok(verbs(role.as_slice(), Effect::Deny)),
            Err(Fault::Damaged { .. }) => Ok(Verb::ALL.to_vec()),
            Err(fault) => Err(fault),
        }
    }

    /// Nobody hands out what they don't have everywhere, nor lifts a denial of it: else the right
    /// to manage roles would be the right to everything.
    pub(super) async fn may_grant(&self, caller: &Caller, verbs: &[Verb]) -> Result<(), Fault> {
        let Some(verb) = verbs.iter().find(|verb| !caller.has_everywhere(**verb)) else {
            return Ok(());
        };
        let why = format!("to hand out `{verb}` one needs it on every path");
        let record = self
            .record(caller, "access.grant", Outcome::Denied)
            .detail(why.clone());
        self.write_down(caller, record).await?;
        Err(Fault::Denied { message: why })
    }
}

impl Pentad {
    /// Decides what takes effect on every path at once, or is carried out there by the system: it
    /// needs the right everywhere, without exception.
    pub(super) async fn permit_everywhere(
        &self,
        caller: &Caller,
        verb: Verb,
        action: &str,
    ) -> Result<(), Fault> {
        self.permit_system(caller, verb).await?;
        if caller.has_everywhere(verb) {
            return Ok(());
        }
        let why = format!(
            "it takes effect on every path, and a rule denies {} to {verb} on some; ask somebody \
             who may everywhere",
            caller.context.principal
        );
        let record = self
            .record(caller, action, Outcome::Denied)
            .detail(why.clone());
        self.write_down(caller, record).await?;
        Err(Fault::Denied { message: why })
    }
}

impl Caller {
    /// Whether the caller may do this on every path, without exception.
    pub(super) fn has_everywhere(&self, verb: Verb) -> bool {
        self.rights.access.decide_system(verb).allowed && !self.rights.denied.contains(&verb)
    }
}

/// The verbs that some rule of these roles allows, or denies.
pub(super) fn verbs(roles: &[Role], effect: Effect) -> Vec<Verb> {
    let rules = roles.iter().flat_map(|role| &role.rules);
    rules
        .filter(|rule| rule.effect == effect)
        .flat_map(|rule| rule.verbs.clone())
        .collect()
}
