//! The sweep: retention carried out by itself, behind everything else.
//!
//! A sweep goes on where the last one ended: what was looked at under the present rules is not looked
//! at again, because it can't have become due since. What keeps a version is that it is young, and
//! then its time is still ahead of the sweep; or that it is among the newest, and then it is looked
//! at again when a newer one falls due. What could not go is noted and tried again each time. Other
//! rules begin anew.
//!
//! A clock that was set back by hours can hide what became old meanwhile until its credential's next
//! version falls due; `pentad retention apply` walks from the beginning and finds it.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use pentad_model::{Context, Name, Path, Principal, Tenant, record::Outcome};
use pentad_policy::{
    access::builtin_roles,
    retention::{RetentionRule, Sort},
};
use pentad_runtime::Priority;
use pentad_store::{Collection, Due, Expect, Op};
use serde::{Deserialize, Serialize};

use super::{
    Caller, Inner, Pentad,
    documents::encode,
    retention::{Kept, Place, Rules, Stopped, passes},
};
use crate::{Fault, documents::decode};

/// How long after a start the first sweep begins.
const FIRST: Duration = Duration::from_secs(60);
/// How long after a sweep the next one begins.
const EVERY: Duration = Duration::from_secs(3600);
/// Index entries of one step; between steps others come first.
const STEP: usize = 200;
/// Tries of a tenant's sweep while others change its rules.
const TRIES: usize = 4;
/// Credentials that are noted because something of theirs could not go. With more, a sweep stays
/// where it is until some could.
const MOST_NOTED: usize = 1000;
/// The document that a sweep's progress is kept in.
const PROGRESS: &str = "retention";

/// How far sweeps have come.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct Progress {
    /// Under which rules.
    rules: Vec<RetentionRule>,
    /// In each pass, the last that was looked at and before which nothing can turn up any more.
    through: Vec<(Sort, Name, Due)>,
    /// What could not go.
    noted: Vec<(Sort, Path)>,
}

impl Progress {
    fn through_of(&self, sort: Sort, rule: &Name) -> Option<Due> {
        let known = |(s, name, _): &&(Sort, Name, Due)| *s == sort && name == rule;
        self.through
            .iter()
            .find(known)
            .map(|(_, _, due)| due.clone())
    }
}

/// Sweeps for as long as the system is there. Holds nothing of it between sweeps.
pub(crate) async fn for_ever(inner: Weak<Inner>) {
    tokio::time::sleep(FIRST).await;
    while let Some(inner) = inner.upgrade() {
        match Pentad(inner).sweep_retention().await {
            Ok(0) => {}
            Ok(gone) => tracing::info!(gone, "retention destroyed what was due"),
            Err(fault) => tracing::warn!(%fault, "the retention sweep ended early"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

impl Pentad {
    /// Sweeps all tenants once; answers how many credentials lost something. A tenant whose rules
    /// can't be believed is passed over, and told in the log.
    pub async fn sweep_retention(&self) -> Result<u64, Fault> {
        let home = self.sweeper(&Tenant::default_tenant())?;
        let mut gone = self.swept(&home).await;
        let mut after: Option<String> = None;
        loop {
            let page = self.tenants(&home, after.as_deref(), 100).await?;
            after = page.items.last().map(ToString::to_string);
            for tenant in page.items {
                let caller = self.sweeper(&tenant)?;
                gone += self.swept(&caller).await;
            }
            if !page.more {
                return Ok(gone);
            }
        }
    }

    async fn swept(&self, caller: &Caller) -> u64 {
        let mut gone = 0;
        if let Err(fault) = self.sweep_tenant(caller, &mut gone).await {
            let tenant = &caller.context.tenant;
            tracing::warn!(%tenant, %fault, "a retention sweep ended early");
        }
        gone
    }

    /// The system itself, on record as such. It carries out rules that an admin wrote.
    fn sweeper(&self, tenant: &Tenant) -> Result<Caller, Fault> {
        let mut roles = builtin_roles();
        roles.retain(|role| role.name.as_str() == "admin");
        let context = Context {
            correlation: self.correlation(),
            tenant: tenant.clone(),
            principal: Principal::Agent {
                name: "retention".to_owned(),
            },
            origin: "retention".to_owned(),
        };
        Caller::new(context, roles, Priority::Background)
    }

    async fn sweep_tenant(&self, caller: &Caller, gone: &mut u64) -> Result<(), Fault> {
        for _ in 0..TRIES {
            let rules = self.retention(caller).await?;
            match self.sweep_by(caller, &rules, gone).await? {
                None => return Ok(()),
                Some(Stopped::RulesChanged) => {}
                Some(Stopped::Fault(fault)) => return Err(fault),
            }
        }
        Err(Fault::conflict(
            "retention rules are being changed; the next sweep tries again",
        ))
    }

    /// Sweeps by these rules, for as long as they stand.
    async fn sweep_by(
        &self,
        caller: &Caller,
        rules: &Rules,
        gone: &mut u64,
    ) -> Result<Option<Stopped>, Fault> {
        let (before, revision) = self.progress(caller).await?;
        let mut progress = Progress {
            rules: rules.set.rules().cloned().collect(),
            ..Progress::default()
        };
        let mut again = Vec::new();
        if before.rules == progress.rules {
            progress.through.clone_from(&before.through);
            again.clone_from(&before.noted);
        }
        if rules.set.rules().next().is_none() && before == Progress::default() {
            return Ok(None);
        }
        let swept_before = *gone;
        let administrators = match again.iter().any(|(sort, _)| *sort == Sort::Deleted) {
            true => self.administrators(caller).await?,
            false => HashMap::new(),
        };
        for (sort, path) in again {
            let walked = self
                .once_more(caller, rules, &administrators, sort, &path)
                .await;
            *gone += walked.gone.len() as u64;
            if walked.stopped.is_some() {
                return Ok(walked.stopped);
            }
            if !walked.kept.is_empty() {
                progress.noted.push((sort, path));
            }
        }
        for (sort, rule) in passes(&rules.set) {
            let after = progress.through_of(sort, &rule.name);
            let mut place = Place {
                sort,
                rule: rule.name.clone(),
                after,
            };
            loop {
                let walked = self
                    .walk(caller, rules, Some(place.clone()), STEP, true)
                    .await?;
                *gone += walked.gone.len() as u64;
                if walked.stopped.is_some() {
                    return Ok(walked.stopped);
                }
                if progress.noted.len() + walked.kept.len() > MOST_NOTED {
                    break;
                }
                for Kept { path, .. } in walked.kept {
                    if !progress.noted.contains(&(sort, path.clone())) {
                        progress.noted.push((sort, path));
                    }
                }
                if let Some(settled) = walked.settled {
                    let other = |(s, name, _): &(Sort, Name, Due)| *s != sort || *name != rule.name;
                    progress.through.retain(other);
                    progress.through.push((sort, rule.name.clone(), settled));
                }
                match walked.next {
                    Some(next) if (next.sort, &next.rule) == (sort, &rule.name) => place = next,
                    _ => break,
                }
                tokio::task::yield_now().await;
            }
        }
        if progress != before {
            self.keep_progress(caller, &progress, revision, *gone - swept_before)
                .await?;
        }
        Ok(None)
    }

    async fn progress(&self, caller: &Caller) -> Result<(Progress, Option<u64>), Fault> {
        let (tenant, now) = (&caller.context.tenant, self.0.clock.now());
        let stored = self
            .0
            .reader
            .document(Collection::State, tenant, PROGRESS, now)
            .await?;
        let Some(document) = stored else {
            return Ok((Progress::default(), None));
        };
        let revision = document.revision;
        Ok((decode(document)?, Some(revision)))
    }

    async fn keep_progress(
        &self,
        caller: &Caller,
        progress: &Progress,
        revision: Option<u64>,
        gone: u64,
    ) -> Result<(), Fault> {
        let tenant = &caller.context.tenant;
        let document = encode(Collection::State, tenant, PROGRESS, progress, None)?;
        let expect = revision.map_or(Expect::Absent, Expect::Revision);
        let record = self
            .record(caller, "retention.sweep", Outcome::Done)
            .detail(format!("{gone} credentials lost something"));
        self.commit(caller, vec![Op::PutDocument { document, expect }], record)
            .await
    }
}

/// Starts the task that sweeps.
pub(crate) fn start(inner: &Arc<Inner>) {
    tokio::spawn(for_ever(Arc::downgrade(inner)));
}
