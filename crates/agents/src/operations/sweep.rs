//! The sweep: retention carried out by itself, behind everything else.
//!
//! A sweep goes on where the last one ended: what was looked at under the present rules is not looked
//! at again, because it can't have become due since. What keeps a version is that it is young, and
//! then its time is still ahead of the sweep; or that it is among the newest, and then it is looked
//! at again when a newer one falls due. What could not go is noted and tried again each time. Other
//! rules begin anew.
//!
//! A wrong clock must not destroy what days keep. A sweep that finds the clock further ahead than the
//! time that has passed destroys nothing, says so, and waits for a person: `pentad retention apply`
//! is the decision that the clock is right. See [`Mark`].
//!
//! A clock that was set back by hours can hide what became old meanwhile until its credential's next
//! version falls due; `pentad retention apply` walks from the beginning and finds it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use pentad_model::{Context, Name, Path, Principal, Tenant, Timestamp, Verb, record::Outcome};
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
/// Credentials that are noted because something of theirs could not go. With more, the next sweep
/// begins where there was no room any more; what lies behind goes all the same.
const MOST_NOTED: usize = 1000;
/// So far the clock may get ahead of the time that passed between two sweeps of one process, which
/// does not count while a machine sleeps.
const SLACK: Duration = Duration::from_secs(24 * 3600);
/// So long nobody may have swept, as while Pentad was not running.
const UNSEEN: Duration = Duration::from_secs(7 * 24 * 3600);
/// How old the noted time may get.
const NOTED: Duration = Duration::from_secs(24 * 3600);
/// How long after a sweep that panicked it is tried again, at first.
const BACK_OFF: Duration = Duration::from_secs(60);
/// The document that the time of the last sweep is noted in.
const MARK: &str = "retention-clock";
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

/// When a tenant was last swept. Noted about once a day: between two sweeps of one process
/// [`Sweeps`] knows better.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Mark {
    /// By the clock.
    at: Timestamp,
    /// When somebody last said that the clock is right.
    decided: Option<Timestamp>,
}

/// What the sweeps of one process know of each other.
#[derive(Default)]
pub struct Sweeps {
    last: HashMap<Tenant, Last>,
    /// Whose wrong clock is on record.
    told: HashSet<Tenant>,
}

/// A tenant's last sweep.
struct Last {
    /// By the clock; or the noted time, where the clock was behind that.
    at: Timestamp,
    /// By a clock that nobody can set.
    uptime: Duration,
    /// The decision that it went by.
    decided: Option<Timestamp>,
}

impl Last {
    /// The latest that the clock can show by now.
    fn latest(&self, uptime: Duration) -> Timestamp {
        let passed = uptime.saturating_sub(self.uptime);
        self.at.plus(passed).plus(SLACK)
    }
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

/// Sweeps for as long as the system is there. Holds nothing of it between sweeps. One that panics is
/// told in the log and tried again, later each time.
pub(crate) async fn for_ever(inner: Weak<Inner>) {
    tokio::time::sleep(FIRST).await;
    let started = tokio::time::Instant::now();
    let (mut sweeps, mut panics) = (Sweeps::default(), 0);
    while let Some(inner) = inner.upgrade() {
        let mut known = std::mem::take(&mut sweeps);
        let uptime = started.elapsed();
        let swept = alone(async move {
            let swept = Pentad(inner).sweep_retention(&mut known, uptime).await;
            (known, swept)
        });
        match swept.await {
            Some((known, swept)) => {
                (sweeps, panics) = (known, 0);
                match swept {
                    Ok(0) => {}
                    Ok(gone) => tracing::info!(gone, "retention destroyed what was due"),
                    Err(fault) => tracing::warn!(%fault, "the retention sweep ended early"),
                }
            }
            // What was known of the clock is lost: as after a restart.
            None => panics += 1,
        }
        tokio::time::sleep(pause(panics)).await;
    }
}

/// Runs it apart: `None` if it panicked.
async fn alone<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    match tokio::spawn(work).await {
        Ok(done) => Some(done),
        // The panic's own words may hold anything; they go where all panics go.
        Err(_) => {
            tracing::error!("the retention sweep panicked; it is tried again");
            None
        }
    }
}

/// How long until the next sweep, after so many that panicked in a row.
fn pause(panics: u32) -> Duration {
    match panics.checked_sub(1) {
        None => EVERY,
        Some(more) => BACK_OFF.saturating_mul(1 << more.min(16)).min(EVERY),
    }
}

impl Pentad {
    /// Sweeps all tenants once; answers how many credentials lost something. A tenant whose rules
    /// can't be believed is passed over, and told in the log. `uptime` is the time by a clock that
    /// nobody can set, from any beginning that is the same for all that `sweeps` knows.
    pub async fn sweep_retention(
        &self,
        sweeps: &mut Sweeps,
        uptime: Duration,
    ) -> Result<u64, Fault> {
        let home = self.sweeper(&Tenant::default_tenant())?;
        let mut gone = self.swept(&home, sweeps, uptime).await;
        let mut after: Option<String> = None;
        loop {
            let page = self.tenants(&home, after.as_deref(), 100).await?;
            after = page.items.last().map(ToString::to_string);
            for tenant in page.items {
                let caller = self.sweeper(&tenant)?;
                gone += self.swept(&caller, sweeps, uptime).await;
            }
            if !page.more {
                return Ok(gone);
            }
        }
    }

    async fn swept(&self, caller: &Caller, sweeps: &mut Sweeps, uptime: Duration) -> u64 {
        let mut gone = 0;
        let swept = self.sweep_tenant(caller, sweeps, uptime, &mut gone);
        if let Err(fault) = swept.await {
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
        Caller::new(context, &roles, Priority::Background)
    }

    async fn sweep_tenant(
        &self,
        caller: &Caller,
        sweeps: &mut Sweeps,
        uptime: Duration,
        gone: &mut u64,
    ) -> Result<(), Fault> {
        for _ in 0..TRIES {
            let rules = self.retention(caller).await?;
            if rules.set.rules().next().is_some()
                && !self.is_time(caller, &rules, sweeps, uptime).await?
            {
                return Ok(());
            }
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

    /// Whether the clock can be right. Where a tenant was never swept, that is held against when its
    /// rules were last changed; where that is not known either, the time is noted and nothing else.
    async fn is_time(
        &self,
        caller: &Caller,
        rules: &Rules,
        sweeps: &mut Sweeps,
        uptime: Duration,
    ) -> Result<bool, Fault> {
        let (tenant, now) = (&caller.context.tenant, self.0.clock.now());
        let (mark, revision) = self.mark(caller).await?;
        let Some(before) = mark.map(|mark| mark.at).or(rules.changed_at) else {
            let mark = Mark {
                at: now,
                decided: None,
            };
            self.note(caller, mark, revision, "the first time").await?;
            return Ok(false);
        };
        let decided = mark.and_then(|mark| mark.decided);
        let last = sweeps
            .last
            .get(tenant)
            .filter(|last| last.decided == decided);
        let latest = last.map_or(before.plus(UNSEEN), |last| last.latest(uptime));
        if now > latest {
            let why = format!(
                "the clock says {now}, which is after {latest}, the latest that it can be since \
                 {before}: nothing is destroyed until somebody has looked at the clock and says \
                 `pentad retention apply`"
            );
            tracing::error!(%tenant, %why, "the retention sweep does not believe the clock");
            if sweeps.told.insert(tenant.clone()) {
                let record = self
                    .record(caller, "retention.sweep", Outcome::Failed)
                    .detail(why);
                self.write_down(caller, record).await?;
            }
            return Ok(false);
        }
        sweeps.told.remove(tenant);
        let last = Last {
            at: now.max(before),
            uptime,
            decided,
        };
        sweeps.last.insert(tenant.clone(), last);
        if mark.is_none_or(|mark| now.since(mark.at) >= NOTED) {
            let mark = Mark { at: now, decided };
            self.note(caller, mark, revision, "once a day").await?;
        }
        Ok(true)
    }

    /// Somebody applies the rules: the clock is right. Only who may destroy everywhere says so for
    /// the sweep, which does.
    pub(super) async fn believe_clock(&self, caller: &Caller) -> Result<(), Fault> {
        if !caller.has_everywhere(Verb::Destroy) {
            return Ok(());
        }
        for _ in 0..TRIES {
            let now = self.0.clock.now();
            let (_, revision) = self.mark(caller).await?;
            let mark = Mark {
                at: now,
                decided: Some(now),
            };
            let noted = self.note(
                caller,
                mark,
                revision,
                "decided by whoever applied the rules",
            );
            match noted.await {
                Err(Fault::Conflict { .. } | Fault::Missing { .. }) => {}
                done => return done,
            }
        }
        Err(Fault::conflict("others apply the rules too; try again"))
    }

    async fn mark(&self, caller: &Caller) -> Result<(Option<Mark>, Option<u64>), Fault> {
        let (tenant, now) = (&caller.context.tenant, self.0.clock.now());
        let stored = self
            .0
            .reader
            .document(Collection::State, tenant, MARK, now)
            .await?;
        let revision = stored.as_ref().map(|document| document.revision);
        Ok((stored.map(decode).transpose()?, revision))
    }

    async fn note(
        &self,
        caller: &Caller,
        mark: Mark,
        revision: Option<u64>,
        why: &str,
    ) -> Result<(), Fault> {
        let tenant = &caller.context.tenant;
        let document = encode(Collection::State, tenant, MARK, &mark, None)?;
        let expect = revision.map_or(Expect::Absent, Expect::Revision);
        let record = self
            .record(caller, "retention.clock", Outcome::Done)
            .detail(format!("{} is noted: {why}", mark.at));
        self.commit(caller, vec![Op::PutDocument { document, expect }], record)
            .await
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
        let mut noted: HashSet<(Sort, Path)> = progress.noted.iter().cloned().collect();
        for (sort, rule) in passes(&rules.set) {
            let after = progress.through_of(sort, &rule.name);
            let mut place = Place {
                sort,
                rule: rule.name.clone(),
                after,
            };
            // Once something could not be noted, the next sweep begins before it.
            let mut all_noted = true;
            loop {
                let walked = self
                    .walk(caller, rules, Some(place.clone()), STEP, true)
                    .await?;
                *gone += walked.gone.len() as u64;
                if walked.stopped.is_some() {
                    return Ok(walked.stopped);
                }
                for Kept { path, .. } in walked.kept {
                    if noted.contains(&(sort, path.clone())) {
                        continue;
                    }
                    if progress.noted.len() >= MOST_NOTED {
                        all_noted = false;
                        break;
                    }
                    noted.insert((sort, path.clone()));
                    progress.noted.push((sort, path));
                }
                if let Some(settled) = walked.settled.filter(|_| all_noted) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn a_sweep_that_panics_does_not_end_the_sweeping() {
        assert_eq!(alone(async { 1 }).await, Some(1));
        assert_eq!(alone(async { panic!("a bug") }).await, None::<()>);
        assert_eq!(alone(async { 2 }).await, Some(2));
    }

    #[test]
    fn after_panics_it_is_tried_sooner_than_usual_and_later_each_time() {
        assert_eq!(pause(0), EVERY);
        assert_eq!(pause(1), BACK_OFF);
        assert_eq!(pause(2), BACK_OFF * 2);
        assert_eq!(pause(u32::MAX), EVERY);
    }

    #[test]
    fn the_clock_may_not_run_ahead_of_the_time_that_passed() {
        let hour = Duration::from_secs(3600);
        let last = Last {
            at: Timestamp(0),
            uptime: hour,
            decided: None,
        };
        assert_eq!(last.latest(hour * 2), Timestamp(0).plus(hour + SLACK));
        assert_eq!(last.latest(Duration::ZERO), Timestamp(0).plus(SLACK));
    }
}
