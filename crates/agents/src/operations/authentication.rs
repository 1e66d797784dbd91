//! Authentication: who bears a token, and a password exchanged for one.
//!
//! What always holds:
//!
//! * A failed authentication is on record before it is answered, and tells nothing of why: users who
//!   don't exist cost as much time as those who do.
//! * An attempt is counted as a failure before its password is looked at, so that guesses made at
//!   once have all paid, and those of one user take [turns](super::turns); a user is locked out after
//!   [`FREE_FAILURES`], for longer each time. One that can't be counted, on a full disk, is not looked
//!   at.
//! * On a full disk only administrators log in, in the space that the store keeps back, and only
//!   after fewer than [`FREE_ON_A_FULL_DISK`] failures in a row: strangers can't use that space up.
//!   All others, whoever they name, wait as long as ever and hear the same: that the disk is full.

use std::time::Duration;

use pentad_model::{
    Context, Id, Name, Principal, Secret, Tenant, Timestamp, Verb,
    access::{Role, Token, User},
    record::Outcome,
};
use pentad_policy::access::{Access, builtin_roles};
use pentad_runtime::Priority;
use pentad_store::{Change, Collection};

use super::{
    Caller, Pentad, Rights, TokenIssued,
    tokens::{password_mark, put_token, token_name},
    users::put_user_at,
};
use crate::{
    Fault,
    contract::encryption as enc,
    handoff::Bearer,
    hot::{Authority, Seen},
};

/// Wrong passwords before a user is locked out.
const FREE_FAILURES: u32 = 5;
/// Attempts of one administrator in a row, the wrong ones not taken back, for which the store's
/// reserve is used: a slip of the finger is free, and with a few administrators strangers get at a
/// part of the reserve only.
const FREE_ON_A_FULL_DISK: u32 = 2;
/// The first lockout; each further failure doubles it.
const FIRST_LOCKOUT: Duration = Duration::from_secs(30);
/// The longest lockout.
const LONGEST_LOCKOUT: Duration = Duration::from_secs(3600);
/// Tries to count an attempt while others of the same user are counted.
const LOGIN_TRIES: usize = 16;
/// How long a login lasts.
const LOGIN_LIFE: Duration = Duration::from_secs(12 * 3600);

/// A user name and a password.
#[derive(Debug)]
pub struct Login {
    /// The user's name.
    pub user: Name,
    /// The password.
    pub password: Secret,
}

/// What an attempt to log in was counted against.
struct Charged {
    /// The user, if there is one and the attempt was counted.
    user: Option<User>,
    /// The disk is full: it was not counted, or in reserved space.
    full: bool,
}

impl Pentad {
    /// Who bears this token. A wrong, revoked or expired one is on record.
    pub async fn authenticate(
        &self,
        token: &Secret,
        tenant: &Tenant,
        origin: &str,
        correlation: Id,
    ) -> Result<Caller, Fault> {
        let stranger = Context {
            correlation,
            tenant: tenant.clone(),
            principal: Principal::Anonymous,
            origin: origin.to_owned(),
        };
        let now = self.0.clock.now();
        let find = |seen| self.authority(&stranger, token, now, seen);
        let Some(authority) = self.0.hot.authority(&stranger, token, now, find).await? else {
            self.record_failed_login(tenant, origin, correlation, "token")
                .await?;
            return Err(Fault::Unauthenticated {
                message: "the token is unknown, expired or revoked; log in again or ask for a new \
                          one (`pentad token create`)"
                    .to_owned(),
            });
        };
        Ok(Caller::with(stranger, &authority))
    }

    /// What a token stands for at this moment, if it is good.
    async fn authority(
        &self,
        stranger: &Context,
        token: &Secret,
        now: Timestamp,
        mut seen: Seen,
    ) -> Result<Option<(Authority, Seen)>, Fault> {
        let (tenant, name) = (&stranger.tenant, token_name(token));
        seen.document(&*self.0.reader, Collection::Token, tenant, &name);
        let documents = &self.0.documents;
        let stored: Option<(Token, u64)> =
            documents.find(stranger, Collection::Token, &name).await?;
        let good = stored.map(|(token, _)| token).filter(|token| {
            token.revoked_at.is_none() && token.expires_at.is_none_or(|until| now < until)
        });
        let Some(token) = good else { return Ok(None) };
        let until = token.expires_at;
        let Some((principal, names)) = self.bearer(stranger, token, &mut seen).await? else {
            return Ok(None);
        };
        for name in &names {
            seen.document(&*self.0.reader, Collection::Role, tenant, name.as_str());
        }
        let context = Context {
            principal: principal.clone(),
            ..stranger.clone()
        };
        let roles = self.roles_named(&context, &names).await?;
        // A person waits for the one; the other is a program's.
        let priority = match principal {
            Principal::User { .. } => Priority::High,
            _ => Priority::Normal,
        };
        let rights = Rights::of(&roles)?;
        let authority = Authority {
            principal,
            rights,
            priority,
            until,
        };
        Ok(Some((authority, seen)))
    }

    /// Whose a good token is, and the names of its roles. A login has the roles that its user has
    /// now, and ends when the user is removed or given another password.
    async fn bearer(
        &self,
        context: &Context,
        token: Token,
        seen: &mut Seen,
    ) -> Result<Option<(Principal, Vec<Name>)>, Fault> {
        let Some(name) = token.user else {
            return Ok(Some((
                Principal::Token {
                    id: token.id,
                    name: token.name,
                },
                token.roles,
            )));
        };
        let (reader, tenant) = (&*self.0.reader, &context.tenant);
        seen.document(reader, Collection::User, tenant, name.as_str());
        let user = self.user(context, &name).await?.map(|(user, _)| user);
        // One from before marks were kept has its time alone.
        let user = user.filter(|user| match &token.password {
            Some(mark) => *mark == password_mark(user),
            None => user.created_at <= token.created_at,
        });
        Ok(user.map(|user| (Principal::User { name }, user.roles)))
    }

    /// Somebody who works on the store's own directory, with its key in hand: no role could keep
    /// from them what they hold, so they act as admin, on record under their own name.
    pub fn local(&self, tenant: &Tenant, user: &str, correlation: Id) -> Result<Caller, Fault> {
        let admin: Vec<Role> = builtin_roles()
            .into_iter()
            .filter(|role| role.name.as_str() == "admin")
            .collect();
        let context = Context {
            correlation,
            tenant: tenant.clone(),
            principal: Principal::Local {
                user: user.to_owned(),
            },
            origin: "local".to_owned(),
        };
        Caller::new(context, &admin, Priority::High)
    }

    /// Exchanges a password for a token. Unknown users cost as much time as known ones; a user is
    /// locked out after [`FREE_FAILURES`] wrong passwords, for longer each time.
    ///
    /// # Errors
    /// [`Fault::Full`] on a full disk, for whoever is not let in; also for a wrong password.
    pub async fn login(
        &self,
        login: Login,
        tenant: &Tenant,
        origin: &str,
        correlation: Id,
    ) -> Result<TokenIssued, Fault> {
        let context = Context {
            correlation,
            tenant: tenant.clone(),
            principal: Principal::Anonymous,
            origin: origin.to_owned(),
        };
        // Attempts under way count as failures: of right ones made at once, each waits its turn.
        let _turn = self.0.turns.wait(tenant, &login.user).await?;
        let Charged { user, full } = match self.charge(&context, &login.user).await {
            // Nobody was charged, so no password is compared; it takes as long as if one were.
            Err(Fault::Full) => Charged {
                user: None,
                full: true,
            },
            charged => charged?,
        };
        let handoff = &self.0.handoff;
        let password = handoff.deposit(tenant, login.password, Bearer::Encryption)?;
        let check = enc::CheckPassword {
            password: password.ticket(),
            hash: user.as_ref().map(|user| user.password_hash.clone()),
        };
        let right = self
            .0
            .encryption
            .check_password(&context, Priority::High, check)
            .await?;
        let admitted = match &user {
            Some(user) if right => self.logged_in(&context, user).await?,
            _ => None,
        };
        if let Some(issued) = admitted {
            return Ok(issued);
        }
        let who = match user {
            Some(user) => format!("user {}", user.name),
            None if full => "not looked at: the disk is full".to_owned(),
            None => "unknown user".to_owned(),
        };
        let recorded = self
            .record_failed_login(tenant, origin, correlation, &who)
            .await;
        if full {
            return Err(Fault::Full);
        }
        recorded?;
        Err(Fault::Unauthenticated {
            message: "wrong user name or password".to_owned(),
        })
    }

    /// Counts an attempt as a failure before its password is looked at: of guesses made at once,
    /// each has paid. Who logs in has it taken back.
    async fn charge(&self, context: &Context, name: &Name) -> Result<Charged, Fault> {
        let tenant = &context.tenant;
        for _ in 0..LOGIN_TRIES {
            let now = self.0.clock.now();
            let record =
                pentad_model::Record::new(self.id(), now, context, "auth.attempt", Outcome::Done);
            let Some((mut user, revision)) = self.user(context, name).await? else {
                // Made durable like that of a known user, so that time does not tell them apart.
                let change = Change {
                    ops: Vec::new(),
                    records: vec![record.detail("unknown user")],
                };
                self.0
                    .monitoring
                    .commit(context, Priority::High, Box::new(change))
                    .await?;
                return Ok(Charged {
                    user: None,
                    full: false,
                });
            };
            if let Some(until) = user.locked_until.filter(|until| now < *until) {
                let (origin, correlation) = (&context.origin, context.correlation);
                let who = format!("user {name}, locked");
                self.record_failed_login(tenant, origin, correlation, &who)
                    .await?;
                return Err(Fault::LockedOut {
                    message: "too many wrong passwords; wait, or ask an admin for `pentad user \
                              unlock`"
                        .to_owned(),
                    retry_after: until.since(now),
                });
            }
            user.failures = user.failures.saturating_add(1);
            user.locked_until = lockout(user.failures).map(|lock| now.plus(lock));
            let record = record.detail(format!("user {name}, number {}", user.failures));
            let change = Change::new(put_user_at(tenant, &user, revision)?, record);
            match self.commit_login(context, &user, change).await {
                Ok(full) => {
                    let user = Some(user);
                    return Ok(Charged { user, full });
                }
                // Another attempt was counted meanwhile, or the user was changed: look again.
                Err(Fault::Conflict { .. } | Fault::Missing { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        Err(too_many_logins())
    }

    /// Takes the counted failures back and issues the token, as one act. `None` if the user was
    /// removed or given another password since that one was found right.
    async fn logged_in(
        &self,
        context: &Context,
        checked: &User,
    ) -> Result<Option<TokenIssued>, Fault> {
        let tenant = &context.tenant;
        let principal = Principal::User {
            name: checked.name.clone(),
        };
        let context = Context {
            principal,
            ..context.clone()
        };
        for _ in 0..LOGIN_TRIES {
            let found = self.user(&context, &checked.name).await?;
            let same = found.filter(|(user, _)| user.password_hash == checked.password_hash);
            let Some((mut user, revision)) = same else {
                return Ok(None);
            };
            user.failures = 0;
            user.locked_until = None;
            let until = self.0.clock.now().plus(LOGIN_LIFE);
            let (token, secret) =
                self.mint(&user.name, Some(&user), user.roles.clone(), Some(until));
            let record = pentad_model::Record::new(
                self.id(),
                token.created_at,
                &context,
                "auth.login",
                Outcome::Done,
            );
            let ops = vec![
                put_user_at(tenant, &user, revision)?,
                put_token(tenant, &token, &secret)?,
            ];
            let change = Change {
                ops,
                records: vec![record],
            };
            match self.commit_login(&context, &user, change).await {
                Ok(_) => return Ok(Some(TokenIssued { token, secret })),
                Err(Fault::Conflict { .. } | Fault::Missing { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        Err(too_many_logins())
    }

    /// Makes a part of a login durable; on a full disk in reserved space, if it is for this user.
    /// Answers whether the disk is full.
    async fn commit_login(
        &self,
        context: &Context,
        user: &User,
        change: Change,
    ) -> Result<bool, Fault> {
        let monitoring = &self.0.monitoring;
        let ask = Box::new(change.clone());
        match monitoring.commit(context, Priority::High, ask).await {
            Err(Fault::Full) if self.has_reserved_space(context, user).await => {
                let ask = Box::new(change);
                monitoring
                    .commit_essential(context, Priority::High, ask)
                    .await?;
                Ok(true)
            }
            done => done.map(|()| false),
        }
    }

    /// Whether the store's reserve is for this user: who may do everything, and whom nobody is
    /// guessing at. Looked up on a full disk only, so that elsewhere it takes no time that would
    /// tell users apart.
    async fn has_reserved_space(&self, context: &Context, user: &User) -> bool {
        if user.failures > FREE_ON_A_FULL_DISK {
            return false;
        }
        let Ok(roles) = self.roles_named(context, &user.roles).await else {
            return false;
        };
        Access::compile(&roles).is_ok_and(|access| access.decide_system(Verb::Admin).allowed)
    }

    async fn record_failed_login(
        &self,
        tenant: &Tenant,
        origin: &str,
        correlation: Id,
        what: &str,
    ) -> Result<(), Fault> {
        let context = Context {
            correlation,
            tenant: tenant.clone(),
            principal: Principal::Anonymous,
            origin: origin.to_owned(),
        };
        let record = pentad_model::Record::new(
            self.id(),
            self.0.clock.now(),
            &context,
            "auth.login",
            Outcome::Failed,
        )
        .detail(what);
        self.0
            .monitoring
            .record(&context, Priority::Normal, vec![record])
            .await
    }
}

fn too_many_logins() -> Fault {
    Fault::Busy {
        message: "too many logins of one user at once".to_owned(),
        retry_after: Duration::from_secs(1),
    }
}

/// How long after so many failures nobody may try.
fn lockout(failures: u32) -> Option<Duration> {
    let over = failures.checked_sub(FREE_FAILURES)?;
    Some(
        FIRST_LOCKOUT
            .saturating_mul(1 << over.min(16))
            .min(LONGEST_LOCKOUT),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lockouts_grow_and_end() {
        assert_eq!(lockout(4), None);
        assert_eq!(lockout(5), Some(FIRST_LOCKOUT));
        assert_eq!(lockout(6), Some(FIRST_LOCKOUT * 2));
        assert_eq!(lockout(u32::MAX), Some(LONGEST_LOCKOUT));
    }
}
