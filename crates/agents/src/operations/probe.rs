//! Probing: whether a stored value works at its target, seen by a login as a consumer's.
//!
//! A rotation looks before it touches anything. A restore must look without rotating: what was rotated
//! after the backup was taken is gone with the old machine, and then the restored value is refused.
//! So each bound credential comes out of a restore in doubt, readers are told, and all of them are
//! probed after the first start, some at once beside other work, for that is what people wait for:
//!
//! | a random value | the stored value | the credential |
//! |---|---|---|
//! | refused | works | is in doubt no more |
//! | refused | refused | drift: stays in doubt, on record, until somebody adopts the value that works or lets a rotation set one |
//! | works, or can't be told | – | stays in doubt; probed again later |
//!
//! Nothing changes at a target. Each probe costs an account one failed login; where the value is refused
//! a second, and one for each other kept value that is tried, three at most. All of them together stay
//! below the target's lock-out limit, where that is known.

use std::{
    collections::HashSet,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use pentad_model::{
    Context, Path, Principal, Stage, Tenant, Verb, Version, record::Outcome, rotation::Login,
};
use pentad_policy::access::builtin_roles;
use pentad_runtime::Priority;
use pentad_store::{Collection, CredentialQuery, Expect, Op};

use super::{Caller, Inner, Pentad, documents::encode};
use crate::{
    Fault,
    backup::restore::{Looked, Origin, RESTORED},
    contract::{encryption as enc, integration as int},
    current::current,
    displaced::displaced,
    documents::decode,
    handoff::Bearer,
};

/// Probes under way at once.
const AT_ONCE: usize = 16;
/// Credentials of one page.
const PAGE: usize = 500;
/// How long after a start the first look begins.
const FIRST: Duration = Duration::from_secs(1);
/// How long until those are probed again of which nothing could be told; doubled each time.
const AGAIN: Duration = Duration::from_secs(30);
/// Not longer than that.
const SELDOM: Duration = Duration::from_secs(900);

/// Other kept values that are tried where the current one is refused.
const MOST_OTHERS: usize = 3;

/// What a probe showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probed {
    /// Of which credential.
    pub path: Path,
    /// Whether its current version logs in.
    pub login: Login,
    /// What was seen, and what to do.
    pub note: String,
    /// Whether it is in doubt now.
    pub in_doubt: bool,
}

impl Pentad {
    /// Logs in at the target with the current version, as a consumer would. Takes the credential out
    /// of doubt if that works, and puts it in doubt if the target refuses it.
    ///
    /// # Errors
    /// [`Fault::Conflict`] while it is being rotated: the rotation looks for itself.
    pub async fn probe(&self, caller: &Caller, path: &Path) -> Result<Probed, Fault> {
        self.permit(caller, Verb::Rotate, path).await?;
        let tenant = &caller.context.tenant;
        let reader = &*self.0.reader;
        let Some((credential, version)) = current(reader, tenant, path).await? else {
            return Err(self.no_credential(caller, path).await);
        };
        self.refuse_while_rotating(caller, path).await?;
        let binding = self.bound(caller, &credential).await?.ok_or_else(|| {
            Fault::invalid(format!(
                "`{path}` is bound to no target, so there is nowhere to try it"
            ))
        })?;
        let version = version.ok_or_else(|| Fault::missing(format!("a value of `{path}`")))?;
        let target = self.target_of(&caller.context, &binding.target).await?;
        let (login, note) = self
            .seen(caller, &credential, &version, &binding, &target)
            .await?;
        let in_doubt = match login {
            Login::Works => false,
            Login::Fails => true,
            Login::CantTell => credential.in_doubt,
        };
        let outcome = match login {
            Login::Works => Outcome::Done,
            Login::Fails | Login::CantTell => Outcome::Failed,
        };
        let record = self
            .record(caller, "credential.probe", outcome)
            .on(path, Some(version.number))
            .detail(note.clone());
        if in_doubt == credential.in_doubt {
            self.write_down(caller, record).await?;
        } else {
            let expect = credential.revision;
            let credential = pentad_model::Credential {
                in_doubt,
                revision: expect + 1,
                updated_at: self.0.clock.now(),
                ..credential
            };
            let op = Op::UpdateCredential { credential, expect };
            self.commit(caller, vec![op], record).await?;
        }
        Ok(Probed {
            path: path.clone(),
            login,
            note,
            in_doubt,
        })
    }

    /// A login counts beside a random value that was refused.
    async fn seen(
        &self,
        caller: &Caller,
        credential: &pentad_model::Credential,
        version: &Version,
        binding: &pentad_model::credential::Binding,
        target: &pentad_model::Target,
    ) -> Result<(Login, String), Fault> {
        let account = version.account.clone();
        let account = account.unwrap_or_else(|| binding.account.clone());
        let Some(others) = room_for_others(target.lockout_limit) else {
            let why = format!(
                "{} locks an account after so few failed logins that none can be tried",
                target.name
            );
            return Ok((Login::CantTell, why));
        };
        let decoy = self
            .0
            .encryption
            .decoy(&caller.context, caller.priority, enc::Decoy {})
            .await?;
        let decoy = self.0.handoff.answer_for(decoy);
        let control = self
            .try_login(caller, target, &account, decoy.ticket())
            .await?;
        let name = &target.name;
        match control.login {
            Login::Fails => {}
            Login::Works => {
                let why =
                    format!("{name} accepts a random password for `{account}`: it checks none");
                return Ok((Login::CantTell, why));
            }
            Login::CantTell => {
                return Ok((
                    Login::CantTell,
                    format!("{name} can't tell: {}", control.note),
                ));
            }
        }
        let tried = self
            .try_version(caller, credential, version, target, &account)
            .await?;
        let path = &credential.path;
        Ok(match tried.login {
            Login::Works => (
                Login::Works,
                format!("version {} logs in at {name}", version.number),
            ),
            Login::CantTell => (
                Login::CantTell,
                format!("{name} can't tell: {}", tried.note),
            ),
            Login::Fails => {
                let other = self
                    .another_that_works(caller, credential, version, target, others)
                    .await?;
                let next = match other {
                    Some(number) => format!(
                        "version {number}, which is kept, works there: `pentad rotate {path}` starts from it"
                    ),
                    None => format!(
                        "`pentad adopt {path}` the value that works there, or set one there that `pentad rotate {path}` can start from"
                    ),
                };
                let number = version.number;
                (
                    Login::Fails,
                    format!("drift: version {number} is refused by {name} for `{account}`; {next}"),
                )
            }
        })
    }

    /// Another kept value that the target accepts: one that was displaced, or sent and not promoted.
    async fn another_that_works(
        &self,
        caller: &Caller,
        credential: &pentad_model::Credential,
        version: &Version,
        target: &pentad_model::Target,
        most: usize,
    ) -> Result<Option<u32>, Fault> {
        let (tenant, path) = (&credential.tenant, &credential.path);
        let reader = &*self.0.reader;
        let mut others = displaced(reader, tenant, path, version).await?;
        let latest = reader.versions(tenant, path, None, PAGE.min(50)).await?;
        let sent = |it: &Version| matches!(it.stage, Stage::Abandoned | Stage::Pending);
        others.extend(latest.items.into_iter().filter(sent));
        for other in others.iter().filter(|it| it.sealed.is_some()).take(most) {
            let Some(account) = other.account.clone().or_else(|| version.account.clone()) else {
                continue;
            };
            let tried = self
                .try_version(caller, credential, other, target, &account)
                .await?;
            if tried.login == Login::Works {
                return Ok(Some(other.number));
            }
        }
        Ok(None)
    }

    async fn try_version(
        &self,
        caller: &Caller,
        credential: &pentad_model::Credential,
        version: &Version,
        target: &pentad_model::Target,
        account: &str,
    ) -> Result<int::Tried, Fault> {
        let path = &credential.path;
        let sealed = version.sealed.clone();
        let open = enc::Open {
            path: path.clone(),
            kind: credential.kind,
            number: version.number,
            stage: version.stage,
            stage_mac: version.stage_mac,
            sealed: sealed.ok_or_else(|| Fault::missing(format!("a value of `{path}`")))?,
            bearer: Bearer::Integration,
        };
        let opened = self
            .0
            .encryption
            .open(&caller.context, caller.priority, open)
            .await?;
        let value = self.0.handoff.answer_for(opened.ticket);
        self.try_login(caller, target, account, value.ticket())
            .await
    }

    async fn try_login(
        &self,
        caller: &Caller,
        target: &pentad_model::Target,
        account: &str,
        value: crate::handoff::Ticket,
    ) -> Result<int::Tried, Fault> {
        let login = int::TestLogin {
            target: target.clone(),
            account: account.to_owned(),
            value,
        };
        self.0
            .integration
            .login(&caller.context, caller.priority, login)
            .await
    }

    /// What is known of the last restore; `None` if this store was never restored.
    pub async fn restored(&self, caller: &Caller) -> Result<Option<Origin>, Fault> {
        self.permit_system(caller, Verb::Observe).await?;
        Ok(self.origin().await?.map(|(origin, _)| origin))
    }

    async fn origin(&self) -> Result<Option<(Origin, u64)>, Fault> {
        let (tenant, now) = (Tenant::default_tenant(), self.0.clock.now());
        let found = self
            .0
            .reader
            .document(Collection::State, &tenant, RESTORED, now)
            .await?;
        found
            .map(|document| {
                let revision = document.revision;
                Ok((decode(document)?, revision))
            })
            .transpose()
    }

    /// Probes, once, all that a restore put in doubt and that `settled` does not name, and notes what
    /// was seen. `None` if there is nothing to look at any more.
    pub async fn look_after_restore(
        &self,
        settled: &mut HashSet<(Tenant, Path)>,
    ) -> Result<Option<Looked>, Fault> {
        let Some((mut origin, revision)) = self.origin().await? else {
            return Ok(None);
        };
        if origin.looked.is_some_and(|looked| looked.cant_tell == 0) {
            return Ok(None);
        }
        let home = self.looker(&Tenant::default_tenant())?;
        let before = origin.looked.unwrap_or_default();
        let mut looked = Looked {
            works: before.works,
            drift: settled.len() as u64,
            ..Looked::default()
        };
        self.look_at(&home, settled, &mut looked).await?;
        let mut after: Option<String> = None;
        loop {
            let page = self.tenants(&home, after.as_deref(), 100).await?;
            after = page.items.last().map(ToString::to_string);
            for tenant in page.items {
                let caller = self.looker(&tenant)?;
                self.look_at(&caller, settled, &mut looked).await?;
            }
            if !page.more {
                break;
            }
        }
        origin.looked = Some(looked);
        let tenant = Tenant::default_tenant();
        let document = encode(Collection::State, &tenant, RESTORED, &origin, None)?;
        let op = Op::PutDocument {
            document,
            expect: Expect::Revision(revision),
        };
        let record = self
            .record(&home, "restore.look", Outcome::Done)
            .detail(format!(
                "{} work, {} drifted, {} can't be told, {} wait for their rotation",
                looked.works, looked.drift, looked.cant_tell, looked.rotating
            ));
        self.commit(&home, vec![op], record).await?;
        Ok(Some(looked))
    }

    async fn look_at(
        &self,
        caller: &Caller,
        settled: &mut HashSet<(Tenant, Path)>,
        looked: &mut Looked,
    ) -> Result<(), Fault> {
        let tenant = &caller.context.tenant;
        let mut query = CredentialQuery::below(tenant.clone(), "", PAGE);
        loop {
            let page = self.0.reader.credentials(&query).await?;
            query.after = page.items.last().map(|last| last.path.clone());
            let doubtful = page.items.into_iter().filter(|it| {
                let known = settled.contains(&(tenant.clone(), it.path.clone()));
                it.in_doubt && it.binding.is_some() && it.current.is_some() && !known
            });
            let doubtful: Vec<Path> = doubtful.map(|it| it.path).collect();
            let probes = doubtful.into_iter().map(|path| async move {
                let probed = self.probe(caller, &path).await;
                (path, probed)
            });
            let mut probes = stream::iter(probes).buffer_unordered(AT_ONCE);
            while let Some((path, probed)) = probes.next().await {
                match probed.map(|probed| probed.login) {
                    Ok(Login::Works) => looked.works += 1,
                    Ok(Login::Fails) => {
                        tracing::warn!(%tenant, %path, "the restored value is refused by its target");
                        looked.drift += 1;
                        settled.insert((tenant.clone(), path));
                    }
                    Err(Fault::Conflict { .. }) => looked.rotating += 1,
                    Ok(Login::CantTell) => looked.cant_tell += 1,
                    Err(fault) => {
                        tracing::warn!(%tenant, %path, %fault, "a restored value could not be tried");
                        looked.cant_tell += 1;
                    }
                }
            }
            if !page.more {
                return Ok(());
            }
        }
    }

    /// The system itself, on record as such.
    fn looker(&self, tenant: &Tenant) -> Result<Caller, Fault> {
        let mut roles = builtin_roles();
        roles.retain(|role| role.name.as_str() == "admin");
        let context = Context {
            correlation: self.correlation(),
            tenant: tenant.clone(),
            principal: Principal::Agent {
                name: "restore".to_owned(),
            },
            origin: "restore".to_owned(),
        };
        Caller::new(context, &roles, Priority::Normal)
    }
}

/// How many other values may be tried at an account that refused a random one and the stored one,
/// without locking it; `None` if not even these two may be.
fn room_for_others(lockout_limit: Option<u16>) -> Option<usize> {
    match lockout_limit {
        None => Some(MOST_OTHERS),
        Some(limit) => Some(usize::from(limit.checked_sub(3)?).min(MOST_OTHERS)),
    }
}

/// Starts the task that looks at the targets after a restore. It holds nothing of the system between
/// two looks, and ends when there is nothing more to look at.
pub(crate) fn start(inner: &Arc<Inner>) {
    tokio::spawn(until_told(Arc::downgrade(inner)));
}

async fn until_told(inner: Weak<Inner>) {
    tokio::time::sleep(FIRST).await;
    let (mut settled, mut pause) = (HashSet::new(), AGAIN);
    while let Some(inner) = inner.upgrade() {
        let looked = Pentad(inner).look_after_restore(&mut settled).await;
        match looked {
            Ok(None) => return,
            Ok(Some(looked)) => {
                tracing::info!(?looked, "looked at the targets of what was restored");
                if looked.cant_tell == 0 {
                    return;
                }
            }
            Err(fault) => tracing::warn!(%fault, "the look after the restore ended early"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(SELDOM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_never_reaches_the_lock_out_limit() {
        assert_eq!(room_for_others(None), Some(MOST_OTHERS));
        for limit in 0..10 {
            let failed = room_for_others(Some(limit)).map_or(0, |others| 2 + others);
            assert!(failed < usize::from(limit.max(1)), "{limit}: {failed}");
        }
        assert_eq!(room_for_others(Some(3)), Some(0));
    }
}
