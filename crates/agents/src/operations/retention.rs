//! Retention: destroying what rules say is no longer needed.
//!
//! A walk goes through passes, one for each rule and sort of thing that it speaks of, and in each
//! through the store's index of what has fallen due, the longest due first, a bounded page at a
//! time; [`Place`] resumes it. An index entry costs no row; a credential with something due costs its
//! versions. A thing is due in the pass of one rule only, that which keeps it longest.
//!
//! What always holds:
//!
//! * Current, previous, pending and abandoned versions are not touched, nor anything of a credential
//!   that is being rotated or may disagree with its target. Such are told, and come up again.
//! * Each destruction is on record, in the change that does it, and tied to the credential as it was
//!   seen: whoever changed it meanwhile makes the destruction fail.
//!   Tied to the rules, too: see [`rules`].
//! * A credential that administers a target is not removed while the target names it.
//! * What went is told, whatever happens to the rest.
//! * A path that was removed goes on counting its versions if it is used again, so that no sealed
//!   value of before can ever stand for one of after.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use pentad_model::{Credential, Name, Path, Stage, Timestamp, Verb, record::Outcome};
use pentad_policy::retention::{OldVersion, Retention, RetentionRule, Sort};
use pentad_store::{Change, Collection, Due, DueQuery, Expect, Op};
use serde::{Deserialize, Serialize};

use super::{Caller, Pentad, documents::encode};
use crate::{Fault, current::touch};

mod rules;

pub(super) use rules::Rules;

/// Tries of a page while others change the rules.
const TRIES: usize = 4;
/// Index entries of one page of a walk.
const MOST_LOOKED_AT: usize = 500;
/// What became old so long ago is in the store by now: its time is read before it is committed. And
/// so far a clock is put right without a word.
const SETTLING: Duration = Duration::from_secs(60);
/// Versions read at a time, each with its sealed value.
const VERSIONS: usize = 200;
/// Versions destroyed in one change.
const IN_ONE_CHANGE: usize = 100;

/// Where a walk goes on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Place {
    pub(super) sort: Sort,
    pub(super) rule: Name,
    pub(super) after: Option<Due>,
}

/// What one page of a walk found.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    /// What is, or was, destroyed.
    pub gone: Vec<Gone>,
    /// What is due and could not go.
    pub kept: Vec<Kept>,
    /// Entries of the index that were looked at.
    pub looked_at: usize,
    /// The last of these before which nothing can turn up any more.
    pub(super) settled: Option<Due>,
    /// Where to go on; `None` at the end.
    pub next: Option<Place>,
    /// Why it ended before its end; then `next` is where.
    pub(super) stopped: Option<Stopped>,
}

/// Why nothing more may be destroyed for now.
#[derive(Clone, Debug)]
pub(super) enum Stopped {
    /// The rules are others.
    RulesChanged,
    /// Not one credential's trouble, but the system's.
    Fault(Fault),
}

/// What goes of one credential.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gone {
    /// Which.
    pub path: Path,
    /// The versions whose values go; all, where the credential goes.
    pub versions: Vec<u32>,
    /// Whether the credential goes as a whole.
    pub credential: bool,
    /// The rule that decided.
    pub rule: Name,
}

/// What is due and stays for now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Which.
    pub path: Path,
    /// Why.
    pub why: String,
}

/// What is left of a credential that was removed.
#[derive(Serialize, Deserialize)]
struct Removed {
    /// Its last version's number.
    latest: u32,
}

impl Place {
    /// As an opaque cursor.
    pub fn to_text(&self) -> String {
        // It has texts and numbers only, so there is always a JSON form.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// From a cursor.
    pub fn from_text(text: &str) -> Result<Self, Fault> {
        URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| Fault::invalid("`after` is the `next` of an earlier page"))
    }
}

impl Pentad {
    /// A page of what would be destroyed, of what the caller may see. Nothing is.
    pub async fn plan_retention(
        &self,
        caller: &Caller,
        place: Option<Place>,
        limit: usize,
    ) -> Result<Walked, Fault> {
        self.permit_system(caller, Verb::Observe).await?;
        let rules = self.retention(caller).await?;
        self.walk(caller, &rules, place, limit, false).await
    }

    /// Destroys a page of what is due. What went is told even if then something failed.
    pub async fn apply_retention(
        &self,
        caller: &Caller,
        mut place: Option<Place>,
        limit: usize,
    ) -> Result<Walked, Fault> {
        self.permit_system(caller, Verb::Destroy).await?;
        if place.is_none() {
            self.believe_clock(caller).await?;
        }
        let mut all = Walked::default();
        for _ in 0..TRIES {
            let rules = self.retention(caller).await?;
            let walked = self
                .walk(caller, &rules, place.clone(), limit, true)
                .await?;
            all.gone.extend(walked.gone);
            all.kept.extend(walked.kept);
            all.looked_at += walked.looked_at;
            all.next.clone_from(&walked.next);
            all.stopped = walked.stopped;
            match &all.stopped {
                Some(Stopped::RulesChanged) => place = walked.next,
                Some(Stopped::Fault(fault)) if all.gone.is_empty() => return Err(fault.clone()),
                _ => return Ok(all),
            }
        }
        match all.gone.is_empty() {
            true => Err(rules::being_changed()),
            false => Ok(all),
        }
    }

    pub(super) async fn walk(
        &self,
        caller: &Caller,
        rules: &Rules,
        place: Option<Place>,
        limit: usize,
        carry_out: bool,
    ) -> Result<Walked, Fault> {
        let mut walked = Walked::default();
        let now = self.0.clock.now();
        let passes = passes(&rules.set);
        let at = |pass: &&(Sort, &RetentionRule)| match &place {
            Some(place) => (pass.0, &pass.1.name) >= (place.sort, &place.rule),
            None => true,
        };
        let Some((number, (sort, rule))) = passes.iter().enumerate().find(|(_, p)| at(p)) else {
            return Ok(walked);
        };
        let Some(until) = Retention::due_until(rule, *sort, now) else {
            return Ok(walked);
        };
        // A rule that is gone meanwhile hands over to the one behind it, from its beginning.
        let same = |place: &Place| (place.sort, &place.rule) == (*sort, &rule.name);
        let query = DueQuery {
            tenant: caller.context.tenant.clone(),
            until,
            after: place.filter(same).and_then(|place| place.after),
            limit: limit.clamp(1, MOST_LOOKED_AT),
        };
        let page = match sort {
            Sort::Versions => self.0.reader.old_versions(&query).await?,
            Sort::Deleted => self.0.reader.deleted_credentials(&query).await?,
        };
        let administrators = match sort {
            Sort::Deleted if !page.items.is_empty() => self.administrators(caller).await?,
            _ => HashMap::new(),
        };
        let turn = Turn {
            caller,
            rules,
            rule: &rule.name,
            administrators: &administrators,
            carry_out,
        };
        let verb = if carry_out { Verb::Destroy } else { Verb::List };
        let mut seen = HashSet::new();
        for due in &page.items {
            let decides = rules.set.decides(*sort, &due.path);
            let ours = decides.is_some_and(|deciding| deciding.name == rule.name);
            if ours && caller.rights.access.allows(verb, &due.path) && seen.insert(&due.path) {
                walked.stopped = self.turn(&turn, *sort, due, &mut walked).await;
                if walked.stopped.is_some() {
                    break;
                }
            }
            walked.looked_at += 1;
        }
        let done = page.items.get(..walked.looked_at).unwrap_or_default();
        let last = done.last().cloned();
        let mut settled = done.iter().rev();
        walked.settled = settled.find(|due| due.at.plus(SETTLING) <= now).cloned();
        walked.next = match passes.get(number + 1) {
            _ if walked.stopped.is_some() => Some((*sort, *rule, last.or(query.after))),
            _ if page.more && last.is_some() => Some((*sort, *rule, last)),
            Some((sort, rule)) => Some((*sort, *rule, None)),
            None => None,
        }
        .map(|(sort, rule, after)| Place {
            sort,
            rule: rule.name.clone(),
            after,
        });
        Ok(walked)
    }

    /// As a walk that comes to this credential, whatever the index says.
    pub(super) async fn once_more(
        &self,
        caller: &Caller,
        rules: &Rules,
        administrators: &HashMap<Path, String>,
        sort: Sort,
        path: &Path,
    ) -> Walked {
        let mut walked = Walked::default();
        if let Some(rule) = rules.set.decides(sort, path) {
            let turn = Turn {
                caller,
                rules,
                rule: &rule.name,
                administrators,
                carry_out: true,
            };
            let due = Due {
                at: self.0.clock.now(),
                path: path.clone(),
                number: 0,
            };
            walked.stopped = self.turn(&turn, sort, &due, &mut walked).await;
        }
        walked
    }

    async fn turn(
        &self,
        turn: &Turn<'_>,
        sort: Sort,
        due: &Due,
        walked: &mut Walked,
    ) -> Option<Stopped> {
        let done = match sort {
            Sort::Versions => self.old_versions(turn, due, walked).await,
            Sort::Deleted => self.deleted(turn, &due.path, walked).await,
        };
        let fault = done.err()?;
        match fault {
            Fault::Full | Fault::Busy { .. } | Fault::Unavailable { .. } => {
                return Some(Stopped::Fault(fault));
            }
            // Somebody changed the credential, or the rules.
            Fault::Conflict { .. } | Fault::Missing { .. } if turn.carry_out => {
                match self.is_epoch_of(turn.caller, turn.rules).await {
                    Ok(true) => {}
                    Ok(false) => return Some(Stopped::RulesChanged),
                    Err(fault) => return Some(Stopped::Fault(fault)),
                }
            }
            _ => {}
        }
        // One credential's trouble keeps no other.
        walked.keep(&due.path, fault.to_string());
        None
    }

    /// Destroys what is due of a credential's old versions. A plan names each credential once, at
    /// the longest due of its versions.
    async fn old_versions(
        &self,
        turn: &Turn<'_>,
        due: &Due,
        walked: &mut Walked,
    ) -> Result<(), Fault> {
        let tenant = &turn.caller.context.tenant;
        let Some(credential) = self.0.reader.credential(tenant, &due.path).await? else {
            return Ok(());
        };
        let Versions { old, stages, .. } = self.old_of(turn.caller, &due.path).await?;
        let now = self.0.clock.now();
        let versions = turn.rules.set.due_versions(&due.path, &old, now);
        if let Some(number) = undated(&turn.rules.set, &due.path, &old, &versions, now) {
            let why = format!(
                "version {number} says that it was retired before it, or one before it, was made: \
                 a clock was wrong; `pentad destroy` takes it when you know that it is old enough"
            );
            if turn.carry_out || number == due.number {
                walked.keep(&due.path, why);
            }
        }
        let first = old
            .iter()
            .filter(|version| versions.contains(&version.number))
            .min_by_key(|version| (version.since, version.number));
        match first {
            None => return Ok(()),
            Some(first) if !turn.carry_out && first.number != due.number => return Ok(()),
            Some(_) => {}
        }
        if let Some(why) = self.unsettled(turn.caller, &credential).await? {
            walked.keep(&due.path, why);
            return Ok(());
        }
        let mut gone = Gone {
            path: due.path.clone(),
            versions,
            credential: false,
            rule: turn.rule.clone(),
        };
        let mut done = Ok(());
        if turn.carry_out {
            let seen = |number: &u32| Some((*number, *stages.get(number)?));
            let versions: Vec<_> = gone.versions.iter().filter_map(seen).collect();
            gone.versions.clear();
            done = self
                .destroy_versions(turn, credential, &versions, &mut gone.versions)
                .await;
        }
        if !gone.versions.is_empty() {
            walked.gone.push(gone);
        }
        done
    }

    /// Says which went, also if it fails.
    async fn destroy_versions(
        &self,
        turn: &Turn<'_>,
        mut credential: Credential,
        versions: &[(u32, Stage)],
        gone: &mut Vec<u32>,
    ) -> Result<(), Fault> {
        let context = &turn.caller.context;
        for some in versions.chunks(IN_ONE_CHANGE) {
            let mut change = Change {
                ops: vec![turn.rules.still_stand(&context.tenant), touch(&credential)],
                records: Vec::with_capacity(some.len()),
            };
            for (number, stage) in some {
                change.ops.push(Op::DestroyVersion {
                    tenant: context.tenant.clone(),
                    path: credential.path.clone(),
                    number: *number,
                    stage: *stage,
                    at: self.0.clock.now(),
                });
                let record = self
                    .record(turn.caller, "version.destroy", Outcome::Done)
                    .on(&credential.path, Some(*number))
                    .detail(format!("retention rule `{}`", turn.rule));
                change.records.push(record);
            }
            self.0
                .monitoring
                .commit(context, turn.caller.priority, Box::new(change))
                .await?;
            gone.extend(some.iter().map(|(number, _)| number));
            credential.revision += 1;
        }
        Ok(())
    }

    /// Removes a soft-deleted credential that is due, with all its versions.
    async fn deleted(
        &self,
        turn: &Turn<'_>,
        path: &Path,
        walked: &mut Walked,
    ) -> Result<(), Fault> {
        let tenant = &turn.caller.context.tenant;
        let Some(credential) = self.0.reader.credential(tenant, path).await? else {
            return Ok(());
        };
        let now = self.0.clock.now();
        let Some(deleted_at) = credential.deleted_at else {
            return Ok(());
        };
        let set = &turn.rules.set;
        if !set.deleted_is_due(path, Some(deleted_at), now) {
            return Ok(());
        }
        let versions = self.old_of(turn.caller, path).await?;
        let made = versions.made.max(credential.created_at);
        let since = (deleted_at.plus(SETTLING) >= made).then_some(deleted_at);
        if !set.deleted_is_due(path, since, now) {
            let why = format!(
                "it says that it was deleted at {deleted_at}, before something of it was made: a \
                 clock was wrong; restore it and delete it again"
            );
            walked.keep(path, why);
            return Ok(());
        }
        if let Some(why) = self.unsettled(turn.caller, &credential).await? {
            walked.keep(path, why);
            return Ok(());
        }
        // One that is deleted can't be named anew: a target wants a living one.
        if let Some(why) = turn.administrators.get(path) {
            walked.keep(path, why.clone());
            return Ok(());
        }
        if let Some(number) = versions.at_target {
            let why = format!(
                "version {number} was sent to a target, which may hold it; restore the credential \
                 and rotate it once more, or let it stay"
            );
            walked.keep(path, why);
            return Ok(());
        }
        if turn.carry_out {
            self.remove_credential(turn, &credential).await?;
        }
        walked.gone.push(Gone {
            path: path.clone(),
            versions: versions.with_value,
            credential: true,
            rule: turn.rule.clone(),
        });
        Ok(())
    }

    async fn remove_credential(
        &self,
        turn: &Turn<'_>,
        credential: &Credential,
    ) -> Result<(), Fault> {
        let Turn {
            caller,
            rules,
            rule,
            ..
        } = turn;
        let (tenant, path) = (&caller.context.tenant, &credential.path);
        let now = self.0.clock.now();
        let mut ops = vec![
            rules.still_stand(tenant),
            Op::RemoveCredential {
                tenant: tenant.clone(),
                path: path.clone(),
                expect: credential.revision,
            },
        ];
        let left = Removed {
            latest: credential.latest,
        };
        let before = self
            .0
            .reader
            .document(Collection::Removed, tenant, path.as_str(), now)
            .await?;
        ops.push(Op::PutDocument {
            document: encode(Collection::Removed, tenant, path.as_str(), &left, None)?,
            expect: before.map_or(Expect::Absent, |it| Expect::Revision(it.revision)),
        });
        let bound = self
            .0
            .reader
            .document(Collection::Binding, tenant, path.as_str(), now)
            .await?;
        if bound.is_some() {
            ops.push(Op::RemoveDocument {
                collection: Collection::Binding,
                tenant: tenant.clone(),
                name: path.to_string(),
            });
        }
        let record = self
            .record(caller, "credential.remove", Outcome::Done)
            .on(path, None)
            .detail(format!(
                "retention rule `{rule}`, {} versions",
                credential.latest
            ));
        self.commit(caller, ops, record).await
    }

    /// The number after which a path's versions go on: that of a credential which was there before
    /// and removed for good, or 0.
    pub(super) async fn last_number(&self, caller: &Caller, path: &Path) -> Result<u32, Fault> {
        let found: Option<(Removed, u64)> = self
            .0
            .documents
            .find(&caller.context, Collection::Removed, path.as_str())
            .await?;
        Ok(found.map_or(0, |(removed, _)| removed.latest))
    }

    /// Why nothing of a credential may be destroyed now.
    async fn unsettled(
        &self,
        caller: &Caller,
        credential: &Credential,
    ) -> Result<Option<String>, Fault> {
        if credential.in_doubt {
            return Ok(Some(
                "its target may hold another value; see `pentad rotations`".to_owned(),
            ));
        }
        match self.refuse_while_rotating(caller, &credential.path).await {
            Ok(()) => Ok(None),
            Err(Fault::Conflict { message }) => Ok(Some(message)),
            Err(fault) => Err(fault),
        }
    }

    /// A credential's versions. One that was retired before it, or one before it, was made has no
    /// age: somebody's clock was wrong when that was written down.
    async fn old_of(&self, caller: &Caller, path: &Path) -> Result<Versions, Fault> {
        let mut found = Versions::default();
        let mut made: Vec<(u32, Timestamp)> = Vec::new();
        let mut before = None;
        loop {
            let tenant = &caller.context.tenant;
            let page = self
                .0
                .reader
                .versions(tenant, path, before, VERSIONS)
                .await?;
            before = page.items.last().map(|last| last.number);
            for version in page.items {
                made.push((version.number, version.created_at));
                found.made = found.made.max(version.created_at);
                if version.sealed.is_none() {
                    continue;
                }
                found.with_value.push(version.number);
                found.stages.insert(version.number, version.stage);
                match version.stage {
                    Stage::Retired | Stage::Revoked => found.old.push(OldVersion {
                        number: version.number,
                        since: Some(version.staged_at),
                    }),
                    Stage::Pending | Stage::Abandoned => found.at_target = Some(version.number),
                    Stage::Current | Stage::Previous => {}
                }
            }
            if !page.more {
                break;
            }
        }
        made.sort_unstable();
        let mut latest = Timestamp(i64::MIN);
        for (_, at) in &mut made {
            latest = latest.max(*at);
            *at = latest;
        }
        for old in &mut found.old {
            let own = made.binary_search_by_key(&old.number, |(number, _)| *number);
            let made = own.ok().and_then(|place| made.get(place));
            let fits = |since: &Timestamp| made.is_none_or(|(_, at)| since.plus(SETTLING) >= *at);
            old.since = old.since.filter(fits);
        }
        Ok(found)
    }
}

/// A version that nothing keeps but that its age is not known.
fn undated(
    set: &Retention,
    path: &Path,
    old: &[OldVersion],
    due: &[u32],
    now: Timestamp,
) -> Option<u32> {
    let dated: Vec<OldVersion> = old
        .iter()
        .map(|version| OldVersion {
            since: version.since.or(Some(Timestamp(i64::MIN))),
            ..*version
        })
        .collect();
    let of_any_age = set.due_versions(path, &dated, now);
    of_any_age.into_iter().find(|number| !due.contains(number))
}

/// One credential's turn in a walk.
struct Turn<'w> {
    caller: &'w Caller,
    rules: &'w Rules,
    rule: &'w Name,
    /// Collected once a page, and for deleted credentials only.
    administrators: &'w HashMap<Path, String>,
    carry_out: bool,
}

impl Walked {
    fn keep(&mut self, path: &Path, why: String) {
        self.kept.push(Kept {
            path: path.clone(),
            why,
        });
    }
}

/// A credential's versions that still have their value.
#[derive(Default)]
struct Versions {
    with_value: Vec<u32>,
    /// When the last of them was made, by the clock of then.
    made: Timestamp,
    stages: HashMap<u32, Stage>,
    old: Vec<OldVersion>,
    /// One that a target may hold, and Pentad has not proven that it doesn't.
    at_target: Option<u32>,
}

/// What a walk goes through, in order.
pub(super) fn passes(rules: &Retention) -> Vec<(Sort, &RetentionRule)> {
    [Sort::Versions, Sort::Deleted]
        .into_iter()
        .flat_map(|sort| rules.rules().map(move |rule| (sort, rule)))
        .filter(|(sort, rule)| {
            Retention::due_until(rule, *sort, pentad_model::Timestamp(0)).is_some()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_place_is_an_opaque_cursor_that_comes_back() {
        let place = Place {
            sort: Sort::Deleted,
            rule: "old".parse().unwrap(),
            after: Some(Due {
                at: pentad_model::Timestamp(5),
                path: "a/b".parse().unwrap(),
                number: 7,
            }),
        };
        assert_eq!(Place::from_text(&place.to_text()), Ok(place));
        for wrong in ["", "a", "e30", "!"] {
            assert!(matches!(
                Place::from_text(wrong),
                Err(Fault::Invalid { .. })
            ));
        }
    }
}
