//! The contract as plain maps in memory: what every store is held against.
//!
//! It keeps nothing and serves nobody; it says what the answers have to be.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use pentad_model::{
    Clock, Credential, Id, Path, Record, Rotation, Stage, Tenant, Timestamp, Version,
    clock::ManualClock, secret::Fingerprint,
};

use crate::{
    Change, Collection, CredentialQuery, Damage, Document, Due, DueQuery, Expect, Op, Page, Reader,
    RotationQuery, StoreError, Waiting, Writer, read::MAX_PAGE,
};

/// A store of maps.
#[derive(Debug)]
pub struct Reference {
    clock: Arc<ManualClock>,
    state: Mutex<State>,
}

#[derive(Clone, Default, Debug)]
struct State {
    credentials: BTreeMap<(Tenant, Path), Credential>,
    versions: BTreeMap<(Tenant, Path, u32), Version>,
    rotations: BTreeMap<(Tenant, Id), Rotation>,
    documents: BTreeMap<(Collection, Tenant, String), Document>,
    outbox: BTreeMap<u64, Record>,
    next: u64,
    recent: BTreeMap<Id, Timestamp>,
}

impl Reference {
    /// An empty one.
    pub fn new(clock: Arc<ManualClock>) -> Self {
        let state = Mutex::new(State::default());
        Self { clock, state }
    }
}

fn conflict() -> StoreError {
    let what = "it".to_owned();
    StoreError::Conflict { what }
}

fn exists() -> StoreError {
    let what = "it".to_owned();
    StoreError::Exists { what }
}

fn missing() -> StoreError {
    let what = "it".to_owned();
    StoreError::Missing { what }
}

fn invalid() -> StoreError {
    let (what, reason) = ("it".to_owned(), "contradictory".to_owned());
    StoreError::Invalid { what, reason }
}

fn holds(condition: bool, otherwise: fn() -> StoreError) -> Result<(), StoreError> {
    if condition { Ok(()) } else { Err(otherwise()) }
}

impl State {
    fn commit(&mut self, change: &Change, now: Timestamp) -> Result<(), StoreError> {
        if change.id().is_some_and(|id| self.known(id, now)) {
            return Ok(());
        }
        for op in &change.ops {
            self.apply(op, now)?;
        }
        for record in &change.records {
            if !self.known(record.id, now) {
                self.next += 1;
                self.recent.insert(record.id, now);
                self.outbox.insert(self.next, record.clone());
            }
        }
        Ok(())
    }

    fn known(&self, id: Id, now: Timestamp) -> bool {
        let day = Duration::from_secs(24 * 60 * 60);
        self.outbox.values().any(|record| record.id == id)
            || self.recent.get(&id).is_some_and(|at| now < at.plus(day))
    }

    fn apply(&mut self, op: &Op, now: Timestamp) -> Result<(), StoreError> {
        match op.clone() {
            Op::CreateCredential { credential } => {
                let key = (credential.tenant.clone(), credential.path.clone());
                holds(credential.revision == 1, invalid)?;
                holds(!self.credentials.contains_key(&key), exists)?;
                self.credentials.insert(key, credential);
            }
            Op::UpdateCredential { credential, expect } => {
                let key = (credential.tenant.clone(), credential.path.clone());
                holds(credential.revision > expect, invalid)?;
                let stored = self.credentials.get_mut(&key).ok_or_else(missing)?;
                holds(stored.revision == expect, conflict)?;
                *stored = credential;
            }
            Op::RemoveCredential {
                tenant,
                path,
                expect,
            } => {
                let key = (tenant.clone(), path.clone());
                let stored = self.credentials.get(&key).ok_or_else(missing)?;
                let free = stored.revision == expect && stored.deleted_at.is_some();
                holds(free, conflict)?;
                self.credentials.remove(&key);
                self.versions
                    .retain(|(t, p, _), _| *t != tenant || *p != path);
            }
            Op::AddVersion { version } => {
                let owner = (version.tenant.clone(), version.path.clone());
                holds(version.number > 0, invalid)?;
                holds(self.credentials.contains_key(&owner), missing)?;
                let key = (owner.0, owner.1, version.number);
                holds(!self.versions.contains_key(&key), exists)?;
                self.versions.insert(key, version);
            }
            Op::SetStage {
                tenant,
                path,
                number,
                from,
                to,
                mac,
                at,
            } => {
                let stored = self.versions.get_mut(&(tenant, path, number));
                let stored = stored.ok_or_else(missing)?;
                holds(stored.stage == from, conflict)?;
                (stored.stage, stored.stage_mac, stored.staged_at) = (to, mac, at);
            }
            Op::DestroyVersion {
                tenant,
                path,
                number,
                stage,
                ..
            } => {
                let owner = self.credentials.get(&(tenant.clone(), path.clone()));
                let current = owner.and_then(|credential| credential.current);
                let stored = self.versions.get_mut(&(tenant, path, number));
                let stored = stored.ok_or_else(missing)?;
                let idle = stage != Stage::Current && current != Some(number);
                holds(idle && stored.stage == stage, conflict)?;
                stored.sealed = None;
            }
            Op::CreateRotation { rotation } => {
                let owner = (rotation.tenant.clone(), rotation.path.clone());
                holds(rotation.revision == 1, invalid)?;
                holds(self.credentials.contains_key(&owner), missing)?;
                self.alone(&rotation)?;
                let key = (rotation.tenant.clone(), rotation.id);
                holds(!self.rotations.contains_key(&key), exists)?;
                self.rotations.insert(key, rotation);
            }
            Op::UpdateRotation { rotation, expect } => {
                let key = (rotation.tenant.clone(), rotation.id);
                holds(rotation.revision > expect, invalid)?;
                let stored = self.rotations.get(&key).ok_or_else(missing)?;
                holds(stored.revision == expect, conflict)?;
                holds(stored.path == rotation.path, invalid)?;
                self.alone(&rotation)?;
                self.rotations.insert(key, rotation);
            }
            Op::PutDocument {
                mut document,
                expect,
            } => {
                let (collection, tenant) = (document.collection, document.tenant.clone());
                let key = (collection, tenant, document.name.clone());
                let stored = self.expected(&key, expect, now)?;
                document.revision = stored.unwrap_or(0) + 1;
                self.documents.insert(key, document);
            }
            Op::RemoveDocument {
                collection,
                tenant,
                name,
            } => {
                let removed = self.documents.remove(&(collection, tenant, name));
                holds(removed.is_some_and(|it| lives(&it, now)), missing)?;
            }
            Op::CheckDocument {
                collection,
                tenant,
                name,
                expect,
            } => {
                self.expected(&(collection, tenant, name), expect, now)?;
            }
        }
        Ok(())
    }

    /// A document's revision, if what is expected of it holds.
    fn expected(
        &self,
        key: &(Collection, Tenant, String),
        expect: Expect,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let stored = self.documents.get(key).filter(|it| lives(it, now));
        let stored = stored.map(|stored| stored.revision);
        match expect {
            Expect::Any => {}
            Expect::Absent => holds(stored.is_none(), exists)?,
            Expect::Revision(expect) => {
                holds(stored.ok_or_else(missing)? == expect, conflict)?;
            }
        }
        Ok(stored)
    }

    /// No other rotation of the credential is unfinished, if this one is.
    fn alone(&self, rotation: &Rotation) -> Result<(), StoreError> {
        let other = self.rotations.values().any(|it| {
            !it.progress.step.is_final()
                && (&it.tenant, &it.path) == (&rotation.tenant, &rotation.path)
                && it.id != rotation.id
        });
        holds(rotation.progress.step.is_final() || !other, exists)
    }
}

fn lives(document: &Document, now: Timestamp) -> bool {
    document.expires_at.is_none_or(|until| now < until)
}

#[async_trait]
impl Writer for Reference {
    async fn commit(&self, change: Change) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let mut next = state.clone();
        next.commit(&change, self.clock.now())?;
        *state = next;
        Ok(())
    }

    async fn commit_essential(&self, change: Change) -> Result<(), StoreError> {
        self.commit(change).await
    }

    async fn clear_outbox(&self, through: u64) -> Result<(), StoreError> {
        self.state.lock().outbox.retain(|seq, _| *seq > through);
        Ok(())
    }
}

/// The first of `items`, and whether there are more.
fn page<T: Clone>(items: impl Iterator<Item = T>, limit: usize) -> Page<T> {
    let mut items = items.peekable();
    let first: Vec<T> = items.by_ref().take(limit.min(MAX_PAGE)).collect();
    Page {
        items: first,
        more: items.peek().is_some(),
    }
}

fn fallen_due(due: impl Iterator<Item = Due>, query: &DueQuery) -> Page<Due> {
    let after = |it: &Due| query.after.as_ref().is_none_or(|after| it > after);
    let mut due: Vec<Due> = due.filter(|it| it.at <= query.until && after(it)).collect();
    due.sort();
    page(due.into_iter(), query.limit)
}

#[async_trait]
impl Reader for Reference {
    async fn credential(
        &self,
        tenant: &Tenant,
        path: &Path,
    ) -> Result<Option<Credential>, StoreError> {
        let key = (tenant.clone(), path.clone());
        Ok(self.state.lock().credentials.get(&key).cloned())
    }

    async fn current(
        &self,
        tenant: &Tenant,
        path: &Path,
    ) -> Result<Option<(Credential, Option<Version>)>, StoreError> {
        let state = self.state.lock();
        let found = state.credentials.get(&(tenant.clone(), path.clone()));
        let Some(found) = found.filter(|it| it.deleted_at.is_none()) else {
            return Ok(None);
        };
        let version = found
            .current
            .and_then(|number| state.versions.get(&(tenant.clone(), path.clone(), number)));
        Ok(Some((found.clone(), version.cloned())))
    }

    async fn version(
        &self,
        tenant: &Tenant,
        path: &Path,
        number: u32,
    ) -> Result<Option<Version>, StoreError> {
        let key = (tenant.clone(), path.clone(), number);
        Ok(self.state.lock().versions.get(&key).cloned())
    }

    async fn versions(
        &self,
        tenant: &Tenant,
        path: &Path,
        before: Option<u32>,
        limit: usize,
    ) -> Result<Page<Version>, StoreError> {
        let state = self.state.lock();
        let found = state.versions.values().rev().filter(|it| {
            (&it.tenant, &it.path) == (tenant, path)
                && before.is_none_or(|before| it.number < before)
        });
        Ok(page(found.cloned(), limit))
    }

    async fn shared_with(
        &self,
        tenant: &Tenant,
        path: &Path,
        fingerprint: &Fingerprint,
    ) -> Result<u32, StoreError> {
        let state = self.state.lock();
        let others = state
            .credentials
            .values()
            .filter(|it| it.tenant == *tenant && it.path != *path && it.deleted_at.is_none());
        let sharing = others.filter(|it| {
            state.versions.values().any(|version| {
                (&version.tenant, &version.path) == (&it.tenant, &it.path)
                    && (Some(version.number), version.stage) == (it.current, Stage::Current)
                    && version.fingerprint == *fingerprint
            })
        });
        Ok(u32::try_from(sharing.take(1000).count()).unwrap_or(1000))
    }

    async fn credentials(&self, query: &CredentialQuery) -> Result<Page<Credential>, StoreError> {
        let state = self.state.lock();
        let found = state.credentials.values().filter(|it| {
            let tagged = query.tag.as_ref().is_none_or(|(key, value)| {
                let found = it.tags.get(key);
                found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
            });
            let bound = query.target.as_ref().is_none_or(|target| {
                let binding = it.binding.as_ref();
                binding.is_some_and(|binding| binding.target.as_str() == target)
            });
            it.tenant == query.tenant
                && it.path.as_str().starts_with(&query.prefix)
                && query.kind.is_none_or(|kind| kind == it.kind)
                && query.deleted == it.deleted_at.is_some()
                && query.after.as_ref().is_none_or(|after| it.path > *after)
                && tagged
                && bound
        });
        Ok(page(found.cloned(), query.limit))
    }

    async fn rotation(&self, tenant: &Tenant, id: Id) -> Result<Option<Rotation>, StoreError> {
        let key = (tenant.clone(), id);
        Ok(self.state.lock().rotations.get(&key).cloned())
    }

    async fn rotations(&self, query: &RotationQuery) -> Result<Page<Rotation>, StoreError> {
        let state = self.state.lock();
        let found = state.rotations.values().rev().filter(|it| {
            it.tenant == query.tenant
                && query.path.as_ref().is_none_or(|path| *path == it.path)
                && (query.batch.is_none() || query.batch == it.batch)
                && (!query.unfinished || !it.progress.step.is_final())
                && query.step.is_none_or(|step| step == it.progress.step)
                && (!query.for_a_person || it.waits_for_a_person())
                && query.before.is_none_or(|before| it.id < before)
        });
        Ok(page(found.cloned(), query.limit))
    }

    async fn due_rotations(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Rotation>, StoreError> {
        let due_at = |it: &Rotation| it.resume_at.max(it.lease.until);
        let mut due: Vec<Rotation> = self.state.lock().rotations.values().cloned().collect();
        due.retain(|it| !it.progress.step.is_final() && due_at(it) <= now);
        due.sort_by_key(|it| (due_at(it), it.id));
        due.truncate(limit.min(MAX_PAGE));
        Ok(due)
    }

    async fn old_versions(&self, query: &DueQuery) -> Result<Page<Due>, StoreError> {
        let state = self.state.lock();
        let old = state.versions.values().filter(|it| {
            it.tenant == query.tenant
                && it.sealed.is_some()
                && matches!(it.stage, Stage::Retired | Stage::Revoked)
        });
        let due = old.map(|it| Due {
            at: it.staged_at,
            path: it.path.clone(),
            number: it.number,
        });
        Ok(fallen_due(due, query))
    }

    async fn deleted_credentials(&self, query: &DueQuery) -> Result<Page<Due>, StoreError> {
        let state = self.state.lock();
        let all = state.credentials.values();
        let due = all.filter(|it| it.tenant == query.tenant).filter_map(|it| {
            Some(Due {
                at: it.deleted_at?,
                path: it.path.clone(),
                number: 0,
            })
        });
        Ok(fallen_due(due, query))
    }

    async fn owned_credentials(
        &self,
        tenant: &Tenant,
        owner: &str,
        after: Option<&Path>,
        limit: usize,
    ) -> Result<Page<Credential>, StoreError> {
        let state = self.state.lock();
        let found = state.credentials.values().filter(|it| {
            it.tenant == *tenant
                && it.owner.as_deref() == Some(owner)
                && after.is_none_or(|after| it.path > *after)
        });
        Ok(page(found.cloned(), limit))
    }

    async fn document(
        &self,
        collection: Collection,
        tenant: &Tenant,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<Document>, StoreError> {
        let state = self.state.lock();
        let key = (collection, tenant.clone(), name.to_owned());
        let found = state.documents.get(&key);
        Ok(found.filter(|it| lives(it, now)).cloned())
    }

    async fn documents(
        &self,
        collection: Collection,
        tenant: &Tenant,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Page<Document>, StoreError> {
        let state = self.state.lock();
        let found = state.documents.values().filter(|it| {
            (it.collection, &it.tenant) == (collection, tenant)
                && after.is_none_or(|after| it.name.as_str() > after)
                && lives(it, now)
        });
        Ok(page(found.cloned(), limit))
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        let state = self.state.lock();
        let waiting = state.outbox.iter().take(limit.min(MAX_PAGE));
        Ok(waiting
            .map(|(position, record)| Waiting {
                position: *position,
                id: record.id,
                body: serde_json::to_string(record).unwrap_or_default(),
            })
            .collect())
    }

    async fn verify(&self) -> Result<Vec<Damage>, StoreError> {
        Ok(Vec::new())
    }
}
