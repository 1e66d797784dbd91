//! Authentication, and the management of users, tokens and roles.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use pentad_model::{
    Context, Id, Name, Principal, Secret, Tenant, Timestamp, Verb,
    access::{Effect, Role, Token, User},
    record::Outcome,
};
use pentad_policy::access::{Access, builtin_roles};
use pentad_runtime::Priority;
use pentad_store::{Change, Collection, Document, Expect, Op, Page};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::{Caller, Pentad};
use crate::{Fault, contract::encryption as enc, handoff::Bearer};

/// What every token begins with, so that scanners know one when it leaks.
const TOKEN_PREFIX: &str = "pntd_";
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// Wrong passwords before a user is locked out.
const FREE_FAILURES: u32 = 5;
/// The first lockout; each further failure doubles it.
const FIRST_LOCKOUT: Duration = Duration::from_secs(30);
/// The longest lockout.
const LONGEST_LOCKOUT: Duration = Duration::from_secs(3600);
/// Tries to count an attempt while others of the same user are counted.
const LOGIN_TRIES: usize = 16;
/// How long a login lasts.
const LOGIN_LIFE: Duration = Duration::from_secs(12 * 3600);

/// A token that was just made; the only moment at which it is known.
#[derive(Debug)]
pub struct TokenIssued {
    /// What is stored of it.
    pub token: Token,
    /// The token itself.
    pub secret: Secret,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// A name for people.
    pub name: Name,
    /// Its roles.
    pub roles: Vec<Name>,
    /// How long it is good for.
    pub ttl: Option<Duration>,
}

/// A decision with its reason in words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Explained {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The rule that says so, or the one that comes nearest.
    pub because: String,
}

/// A user name and a password.
#[derive(Debug)]
pub struct Login {
    /// The user's name.
    pub user: Name,
    /// The password.
    pub password: Secret,
}

impl Pentad {
    // ---- authentication -------------------------------------------------------------------------

    /// Who bears this token. A wrong, revoked or expired one is on record.
    pub async fn authenticate(
        &self,
        token: &Secret,
        tenant: &Tenant,
        origin: &str,
        correlation: Id,
    ) -> Result<Caller, Fault> {
        let name = token_name(token);
        let now = self.0.clock.now();
        let stored = self
            .0
            .reader
            .document(Collection::Token, tenant, &name, now)
            .await?;
        let stored: Option<Token> = stored.map(decode).transpose()?;
        let good = stored.filter(|token| {
            token.revoked_at.is_none() && token.expires_at.is_none_or(|until| now < until)
        });
        let authority = match good {
            Some(token) => self.authority(tenant, token).await?,
            None => None,
        };
        let Some((principal, roles)) = authority else {
            self.record_failed_login(tenant, origin, correlation, "token")
                .await?;
            return Err(Fault::Unauthenticated {
                message: "the token is unknown, expired or revoked; log in again or ask for a new \
                          one (`pentad token create`)"
                    .to_owned(),
            });
        };
        let context = Context {
            correlation,
            tenant: tenant.clone(),
            principal,
            origin: origin.to_owned(),
        };
        let roles = self.roles_named(tenant, &roles).await?;
        Caller::new(context, roles, Priority::Normal)
    }

    /// What a token stands for at this moment. A login has the roles that its user has now, and
    /// ends when the user is removed or given another password.
    async fn authority(
        &self,
        tenant: &Tenant,
        token: Token,
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
        let user = self.user(tenant, &name).await?.map(|(user, _)| user);
        let user = user.filter(|user| user.created_at <= token.created_at);
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
        Caller::new(context, admin, Priority::High)
    }

    /// Exchanges a password for a token. Unknown users cost as much time as known ones; a user is
    /// locked out after [`FREE_FAILURES`] wrong passwords, for longer each time.
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
        let user = self.charge(&context, &login.user).await?;
        let check = enc::CheckPassword {
            password: self.0.handoff.deposit(login.password, Bearer::Encryption)?,
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
        let who = user.map_or("unknown user".to_owned(), |user| {
            format!("user {}", user.name)
        });
        self.record_failed_login(tenant, origin, correlation, &who)
            .await?;
        Err(Fault::Unauthenticated {
            message: "wrong user name or password".to_owned(),
        })
    }

    /// Counts an attempt as a failure before its password is looked at: of guesses made at once,
    /// each has paid. Who logs in has it taken back. Answers with the user, if there is one.
    async fn charge(&self, context: &Context, name: &Name) -> Result<Option<User>, Fault> {
        let tenant = &context.tenant;
        for _ in 0..LOGIN_TRIES {
            let now = self.0.clock.now();
            let record =
                pentad_model::Record::new(self.id(), now, context, "auth.attempt", Outcome::Done);
            let Some((mut user, revision)) = self.user(tenant, name).await? else {
                // Made durable like that of a known user, so that time does not tell them apart.
                let change = Change {
                    ops: Vec::new(),
                    records: vec![record.detail("unknown user")],
                };
                return match self
                    .0
                    .monitoring
                    .commit(context, Priority::High, Box::new(change))
                    .await
                {
                    // Only users have reserved space. Whoever is none is refused where a user with
                    // a wrong password is, and as late: when the failure can't be recorded.
                    Ok(()) | Err(Fault::Full) => Ok(None),
                    Err(fault) => Err(fault),
                };
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
            match self
                .0
                .monitoring
                .commit(context, Priority::High, Box::new(change))
                .await
            {
                Ok(()) => return Ok(Some(user)),
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
            let found = self.user(tenant, &checked.name).await?;
            let same = found.filter(|(user, _)| user.password_hash == checked.password_hash);
            let Some((mut user, revision)) = same else {
                return Ok(None);
            };
            user.failures = 0;
            user.locked_until = None;
            let until = self.0.clock.now().plus(LOGIN_LIFE);
            let (token, secret) = self.mint(
                &user.name,
                Some(user.name.clone()),
                user.roles.clone(),
                Some(until),
            );
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
            match self
                .0
                .monitoring
                .commit(&context, Priority::High, Box::new(change))
                .await
            {
                Ok(()) => return Ok(Some(TokenIssued { token, secret })),
                Err(Fault::Conflict { .. } | Fault::Missing { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        Err(too_many_logins())
    }

    /// A user and the revision of its document.
    async fn user(&self, tenant: &Tenant, name: &Name) -> Result<Option<(User, u64)>, Fault> {
        let now = self.0.clock.now();
        let stored = self
            .0
            .reader
            .document(Collection::User, tenant, name.as_str(), now)
            .await?;
        let Some(stored) = stored else {
            return Ok(None);
        };
        let revision = stored.revision;
        Ok(Some((decode(stored)?, revision)))
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

    async fn roles_named(&self, tenant: &Tenant, names: &[Name]) -> Result<Vec<Role>, Fault> {
        let builtin = builtin_roles();
        let mut roles = Vec::with_capacity(names.len());
        for name in names {
            match builtin.iter().find(|role| role.name == *name) {
                Some(role) => roles.push(role.clone()),
                // A role that was removed allows nothing any more.
                None => roles.extend(self.stored_role(tenant, name).await?),
            }
        }
        Ok(roles)
    }

    /// Nobody hands out what they don't have everywhere, nor lifts a denial of it: else the right
    /// to manage roles would be the right to everything.
    async fn may_grant(&self, caller: &Caller, verbs: &[Verb]) -> Result<(), Fault> {
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

    async fn stored_role(&self, tenant: &Tenant, name: &Name) -> Result<Option<Role>, Fault> {
        let now = self.0.clock.now();
        let stored = self
            .0
            .reader
            .document(Collection::Role, tenant, name.as_str(), now)
            .await?;
        stored.map(decode).transpose()
    }

    // ---- tokens -----------------------------------------------------------------------------------

    /// Makes a token. Its roles allow nothing that the caller may not do everywhere.
    pub async fn create_token(&self, caller: &Caller, new: NewToken) -> Result<TokenIssued, Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        let roles = self.known_roles(&caller.context.tenant, &new.roles).await?;
        self.may_grant(caller, &verbs(&roles, Effect::Allow))
            .await?;
        let until = new.ttl.map(|ttl| self.0.clock.now().plus(ttl));
        let (token, secret) = self.mint(&new.name, None, new.roles, until);
        let record = self
            .record(caller, "token.create", Outcome::Done)
            .detail(format!("{} {}", token.id, token.name));
        let op = put_token(&caller.context.tenant, &token, &secret)?;
        self.commit(caller, vec![op], record).await?;
        Ok(TokenIssued { token, secret })
    }

    /// Tokens, a page at a time; never the tokens themselves.
    pub async fn tokens(
        &self,
        caller: &Caller,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Token>, Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        self.objects(caller, Collection::Token, after, limit).await
    }

    /// Revokes the token with this id, at once.
    pub async fn revoke_token(&self, caller: &Caller, id: Id) -> Result<Token, Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        let now = self.0.clock.now();
        let mut after: Option<String> = None;
        loop {
            let tenant = &caller.context.tenant;
            let page = self
                .0
                .reader
                .documents(Collection::Token, tenant, after.as_deref(), 500, now)
                .await?;
            after = page.items.last().map(|last| last.name.clone());
            for document in page.items {
                let (name, revision) = (document.name.clone(), document.revision);
                let mut token: Token = decode(document)?;
                if token.id == id {
                    token.revoked_at = Some(now);
                    let record = self
                        .record(caller, "token.revoke", Outcome::Done)
                        .detail(format!("{id} {}", token.name));
                    let op = Op::PutDocument {
                        document: encode(
                            Collection::Token,
                            tenant,
                            &name,
                            &token,
                            token.expires_at,
                        )?,
                        expect: Expect::Revision(revision),
                    };
                    self.commit(caller, vec![op], record).await?;
                    return Ok(token);
                }
            }
            if !page.more {
                return Err(Fault::missing(format!("token {id}")));
            }
        }
    }

    fn mint(
        &self,
        name: &Name,
        user: Option<Name>,
        roles: Vec<Name>,
        expires_at: Option<Timestamp>,
    ) -> (Token, Secret) {
        let mut random = zeroize::Zeroizing::new([0u8; TOKEN_BYTES]);
        self.0.entropy.fill(&mut *random);
        let mut text = String::with_capacity(TOKEN_PREFIX.len() + TOKEN_BYTES * 2);
        text.push_str(TOKEN_PREFIX);
        URL_SAFE_NO_PAD.encode_string(*random, &mut text);
        let token = Token {
            id: self.id(),
            name: name.clone(),
            user,
            roles,
            created_at: self.0.clock.now(),
            expires_at,
            revoked_at: None,
        };
        (token, Secret::new(text))
    }

    // ---- users ------------------------------------------------------------------------------------

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
        let granted = self.known_roles(tenant, &roles).await?;
        self.may_grant(caller, &verbs(&granted, Effect::Allow))
            .await?;
        if login.password.len() < 12 {
            return Err(Fault::invalid(
                "a user's password has at least 12 characters",
            ));
        }
        let password = self.0.handoff.deposit(login.password, Bearer::Encryption)?;
        let hash = enc::HashPassword { password };
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
        self.commit(
            caller,
            vec![Op::PutDocument {
                document,
                expect: Expect::Any,
            }],
            record,
        )
        .await
    }

    /// Lets a locked user try again.
    pub async fn unlock_user(&self, caller: &Caller, name: &Name) -> Result<(), Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        let tenant = &caller.context.tenant;
        let found = self.user(tenant, name).await?;
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

    // ---- roles ------------------------------------------------------------------------------------

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
        let before = self.stored_role(&caller.context.tenant, &role.name).await?;
        let mut gained = verbs(std::slice::from_ref(&role), Effect::Allow);
        gained.extend(verbs(before.as_slice(), Effect::Deny));
        self.may_grant(caller, &gained).await?;
        let record = self
            .record(caller, "role.write", Outcome::Done)
            .detail(role.name.to_string());
        let tenant = &caller.context.tenant;
        let document = encode(Collection::Role, tenant, role.name.as_str(), &role, None)?;
        self.commit(
            caller,
            vec![Op::PutDocument {
                document,
                expect: Expect::Any,
            }],
            record,
        )
        .await
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
        let before = self.stored_role(&caller.context.tenant, name).await?;
        self.may_grant(caller, &verbs(before.as_slice(), Effect::Deny))
            .await?;
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
        let roles = self.known_roles(&caller.context.tenant, roles).await?;
        let access = Access::compile(&roles).map_err(|e| Fault::internal(e.to_string()))?;
        let decision = access.decide(verb, path);
        let because = decision.because.to_string();
        Ok(Explained {
            allowed: decision.allowed,
            because,
        })
    }

    async fn known_roles(&self, tenant: &Tenant, names: &[Name]) -> Result<Vec<Role>, Fault> {
        let roles = self.roles_named(tenant, names).await?;
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

    // ---- small objects ------------------------------------------------------------------------------

    pub(super) async fn objects<T: DeserializeOwned>(
        &self,
        caller: &Caller,
        collection: Collection,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<T>, Fault> {
        let now = self.0.clock.now();
        let tenant = &caller.context.tenant;
        let page = self
            .0
            .reader
            .documents(collection, tenant, after, limit, now)
            .await?;
        let items = page
            .items
            .into_iter()
            .map(decode)
            .collect::<Result<_, _>>()?;
        Ok(Page {
            items,
            more: page.more,
        })
    }

    pub(super) async fn remove(
        &self,
        caller: &Caller,
        collection: Collection,
        name: &str,
        action: &str,
    ) -> Result<(), Fault> {
        let record = self.record(caller, action, Outcome::Done).detail(name);
        let op = Op::RemoveDocument {
            collection,
            tenant: caller.context.tenant.clone(),
            name: name.to_owned(),
        };
        self.commit(caller, vec![op], record).await
    }
}

impl Caller {
    pub(super) fn new(
        context: Context,
        roles: Vec<Role>,
        priority: Priority,
    ) -> Result<Self, Fault> {
        let access = Access::compile(&roles).map_err(|e| Fault::internal(e.to_string()))?;
        Ok(Self {
            context,
            access: Arc::new(access),
            priority,
            denied: verbs(&roles, Effect::Deny),
        })
    }

    /// Whether the caller may do this on every path, without exception.
    fn has_everywhere(&self, verb: Verb) -> bool {
        self.access.decide_system(verb).allowed && !self.denied.contains(&verb)
    }
}

/// The verbs that some rule of these roles allows, or denies.
fn verbs(roles: &[Role], effect: Effect) -> Vec<Verb> {
    let rules = roles.iter().flat_map(|role| &role.rules);
    rules
        .filter(|rule| rule.effect == effect)
        .flat_map(|rule| rule.verbs.clone())
        .collect()
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

/// Tokens are stored and looked up under their SHA-256: 256 random bits need no salt and no slow
/// hash, and nothing is compared that timing could tell of.
fn token_name(token: &Secret) -> String {
    hex::encode(Sha256::digest(token.expose()))
}

/// Writes a user where nobody did since `revision` was seen.
fn put_user_at(tenant: &Tenant, user: &User, revision: u64) -> Result<Op, Fault> {
    let document = encode(Collection::User, tenant, user.name.as_str(), user, None)?;
    Ok(Op::PutDocument {
        document,
        expect: Expect::Revision(revision),
    })
}

fn put_token(tenant: &Tenant, token: &Token, secret: &Secret) -> Result<Op, Fault> {
    let name = token_name(secret);
    let document = encode(Collection::Token, tenant, &name, token, token.expires_at)?;
    Ok(Op::PutDocument {
        document,
        expect: Expect::Absent,
    })
}

pub(super) fn encode<T: Serialize>(
    collection: Collection,
    tenant: &Tenant,
    name: &str,
    body: &T,
    expires_at: Option<Timestamp>,
) -> Result<Document, Fault> {
    let body = serde_json::to_value(body).map_err(|e| Fault::internal(e.to_string()))?;
    let (tenant, name) = (tenant.clone(), name.to_owned());
    Ok(Document {
        collection,
        tenant,
        name,
        revision: 0,
        expires_at,
        body,
    })
}

pub(super) fn decode<T: DeserializeOwned>(document: Document) -> Result<T, Fault> {
    let name = document.name;
    serde_json::from_value(document.body).map_err(|error| Fault::Damaged {
        message: format!("{} `{name}`: {error}", document.collection.as_str()),
    })
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
