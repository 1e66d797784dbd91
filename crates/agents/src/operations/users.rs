//! Users: who logs in with a password.

use pentad_model::{
    Context, Name, Tenant, Verb,
    access::{Effect, User},
    record::Outcome,
};
use pentad_store::{Collection, Expect, Op, Page};

use super::{Caller, Login, Pentad, documents::encode, roles::verbs};
use crate::{Fault, contract::encryption as enc, handoff::Bearer};

impl Pentad {
    /// Makes a user, or sets an existing one's password and roles, which ends the user's logins.
    /// The roles allow nothing that the caller may not do everywhere.
    pub async fn put_user(
        &self,
        caller: &Caller,
        login: Login,
        roles: Vec<Name>,
    ) -> Result<(), Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        let tenant = &caller.context.tenant;
        let granted = self.known_roles(&caller.context, &roles).await?;
        self.may_grant(caller, &verbs(&granted, Effect::Allow))
            .await?;
        if login.password.len() < 12 {
            return Err(Fault::invalid(
                "a user's password has at least 12 characters",
            ));
        }
        let handoff = &self.0.handoff;
        let password = handoff.deposit(tenant, login.password, Bearer::Encryption)?;
        let hash = enc::HashPassword {
            password: password.ticket(),
        };
        let password_hash = self
            .0
            .encryption
            .hash_password(&caller.context, caller.priority, hash)
            .await?;
        let user = User {
            name: login.user,
            password_hash,
            roles,
            failures: 0,
            locked_until: None,
            created_at: self.0.clock.now(),
        };
        let record = self
            .record(caller, "user.write", Outcome::Done)
            .detail(user.name.to_string());
        let document = encode(Collection::User, tenant, user.name.as_str(), &user, None)?;
        self.replace(caller, document, record).await
    }

    /// Lets a locked user try again.
    pub async fn unlock_user(&self, caller: &Caller, name: &Name) -> Result<(), Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        let tenant = &caller.context.tenant;
        let found = self.user(&caller.context, name).await?;
        let (mut user, revision) = found.ok_or_else(|| Fault::missing(format!("user `{name}`")))?;
        user.failures = 0;
        user.locked_until = None;
        let record = self
            .record(caller, "user.unlock", Outcome::Done)
            .detail(name.to_string());
        self.commit(caller, vec![put_user_at(tenant, &user, revision)?], record)
            .await
    }

    /// Users, a page at a time, without their password hashes.
    pub async fn users(
        &self,
        caller: &Caller,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<User>, Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        let mut page: Page<User> = self.objects(caller, Collection::User, after, limit).await?;
        for user in &mut page.items {
            user.password_hash.clear();
        }
        Ok(page)
    }

    /// Removes a user, and with it the authority of the user's logins.
    pub async fn remove_user(&self, caller: &Caller, name: &Name) -> Result<(), Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        self.remove(caller, Collection::User, name.as_str(), "user.remove")
            .await
    }

    /// A user and the revision of its document.
    pub(super) async fn user(
        &self,
        context: &Context,
        name: &Name,
    ) -> Result<Option<(User, u64)>, Fault> {
        self.0
            .documents
            .find(context, Collection::User, name.as_str())
            .await
    }
}

/// Writes a user where nobody did since `revision` was seen.
pub(super) fn put_user_at(tenant: &Tenant, user: &User, revision: u64) -> Result<Op, Fault> {
    let document = encode(Collection::User, tenant, user.name.as_str(), user, None)?;
    Ok(Op::PutDocument {
        document,
        expect: Expect::Revision(revision),
    })
}
