//! The read model: look-ups by key, and keyset pages.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use pentad_model::{
    Credential, Id, Kind, Path, Record, Rotation, Stage, Tenant, Timestamp, Version,
    record::Outcome, rotation::Step, secret::Fingerprint,
};
use serde::{Deserialize, Serialize};

use crate::{
    Collection, Document, Stamps, StoreError,
    guide::{self, Guide, Led},
    snapshot::Snapshot,
};

/// The largest page that a listing returns.
pub const MAX_PAGE: usize = 1000;

/// Earlier versions that are compared with at a time; each comes with its sealed value.
const HISTORY_PAGE: usize = 100;

/// One page of a listing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, in the order of the listing.
    pub items: Vec<T>,
    /// Whether there are more; the next page begins after the last item's key.
    pub more: bool,
}

/// An audit record that is committed but perhaps not yet in the audit log, as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// Its place in the outbox.
    pub position: u64,
    /// The record's id.
    pub id: Id,
    /// The record's JSON text: what becomes a leaf of the log.
    pub body: String,
}

impl Waiting {
    /// What stands for a record that was damaged while it waited: one with its id and time that says so.
    /// Those behind it are not held up, and whoever reads the log sees that something is missing.
    pub(crate) fn damaged(position: u64, id: Id) -> Self {
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&id.to_bytes()[..6]); // RFC 9562 section 5.7
        let record = Record {
            id,
            at: Timestamp(i64::from_be_bytes(millis)),
            correlation: id,
            tenant: Tenant::default_tenant(),
            principal: "agent:monitoring".to_owned(),
            origin: "store".to_owned(),
            action: "audit.damaged".to_owned(),
            outcome: Outcome::Failed,
            path: None,
            version: None,
            detail: format!(
                "the record with this id was damaged on disk while it waited in the store's outbox, at \
                 position {position}"
            ),
            value_mac: None,
        };
        Self {
            position,
            id,
            body: serde_json::to_string(&record).unwrap_or_default(),
        }
    }
}

/// Which credentials to list, in the order of their paths.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CredentialQuery {
    /// Whose.
    pub tenant: Tenant,
    /// Only paths that begin with this text.
    pub prefix: String,
    /// Only this kind.
    pub kind: Option<Kind>,
    /// Only with this tag, and this value of it where one is given.
    pub tag: Option<(String, Option<String>)>,
    /// Only those bound to this target.
    pub target: Option<String>,
    /// Soft-deleted ones instead of living ones.
    pub deleted: bool,
    /// Begin after this path.
    pub after: Option<Path>,
    /// At most so many; capped at [`MAX_PAGE`].
    pub limit: usize,
}

impl CredentialQuery {
    /// Every living credential of a tenant below a prefix.
    pub fn below(tenant: Tenant, prefix: impl Into<String>, limit: usize) -> Self {
        Self {
            tenant,
            prefix: prefix.into(),
            kind: None,
            tag: None,
            target: None,
            deleted: false,
            after: None,
            limit,
        }
    }
}

/// Which rotations to list, the newest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RotationQuery {
    /// Whose.
    pub tenant: Tenant,
    /// Only of this credential.
    pub path: Option<Path>,
    /// Only of this batch.
    pub batch: Option<Id>,
    /// Only unfinished ones.
    pub unfinished: bool,
    /// Only those that stand at this step, or ended there.
    pub step: Option<Step>,
    /// Only those that [wait for a person](Rotation::waits_for_a_person).
    pub for_a_person: bool,
    /// Begin before this one.
    pub before: Option<Id>,
    /// At most so many; capped at [`MAX_PAGE`].
    pub limit: usize,
}

impl RotationQuery {
    /// The one of this credential that is under way.
    pub fn running(tenant: &Tenant, path: &Path) -> Self {
        Self {
            tenant: tenant.clone(),
            path: Some(path.clone()),
            batch: None,
            unfinished: true,
            step: None,
            for_a_person: false,
            before: None,
            limit: 1,
        }
    }
}

/// Where a value is besides, by its fingerprint.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Reuse {
    /// Versions of the credential itself, the newest first, of those that were asked about: destroyed
    /// ones too, for their fingerprints stay, but none that is pending.
    pub earlier: Vec<u32>,
    /// As [`Reader::shared_with`] tells.
    pub shared_with: u32,
}

/// What has fallen due by its time, the longest due first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DueQuery {
    /// Whose.
    pub tenant: Tenant,
    /// What happened then or before.
    pub until: Timestamp,
    /// Begin after this one.
    pub after: Option<Due>,
    /// At most so many; capped at [`MAX_PAGE`].
    pub limit: usize,
}

/// A version by when it was staged, or a credential by when it was deleted. Sorts by time first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Due {
    /// When it happened.
    pub at: Timestamp,
    /// To which credential.
    pub path: Path,
    /// To which version; 0 for the credential itself.
    pub number: u32,
}

/// The reading half of a store. It hands out sealed bytes; any agent may have one.
#[async_trait]
pub trait Reader: Send + Sync + 'static {
    /// A credential's metadata, soft-deleted or not.
    async fn credential(
        &self,
        tenant: &Tenant,
        path: &Path,
    ) -> Result<Option<Credential>, StoreError>;

    /// A living credential and its current version, in one look-up: the hot path.
    async fn current(
        &self,
        tenant: &Tenant,
        path: &Path,
    ) -> Result<Option<(Credential, Option<Version>)>, StoreError>;

    /// As [`current`](Self::current), of many at once, in their order. A store that can do so in one
    /// go does.
    async fn currents(
        &self,
        tenant: &Tenant,
        paths: &[Path],
    ) -> Result<Vec<Option<(Credential, Option<Version>)>>, StoreError> {
        let mut found = Vec::with_capacity(paths.len());
        for path in paths {
            found.push(self.current(tenant, path).await?);
        }
        Ok(found)
    }

    /// One version.
    async fn version(
        &self,
        tenant: &Tenant,
        path: &Path,
        number: u32,
    ) -> Result<Option<Version>, StoreError>;

    /// Versions, the newest first, beginning below number `before`.
    async fn versions(
        &self,
        tenant: &Tenant,
        path: &Path,
        before: Option<u32>,
        limit: usize,
    ) -> Result<Page<Version>, StoreError>;

    /// How many other living credentials of the tenant have a current version with this
    /// fingerprint; counting stops at 1,000. A store may stop, too, when it looked at 2,000 that have it
    /// or had it once.
    async fn shared_with(
        &self,
        tenant: &Tenant,
        path: &Path,
        fingerprint: &Fingerprint,
    ) -> Result<u32, StoreError>;

    /// A credential's metadata, soft-deleted or not, and the rotation of it that is under way, which
    /// was looked for after the credential was: what a put begins with. A store that can do so in one
    /// go does.
    async fn credential_to_write(
        &self,
        tenant: &Tenant,
        path: &Path,
    ) -> Result<(Option<Credential>, Option<Rotation>), StoreError> {
        let credential = self.credential(tenant, path).await?;
        let mut running = self
            .rotations(&RotationQuery::running(tenant, path))
            .await?;
        Ok((credential, running.items.pop()))
    }

    /// Where else a value is, by its fingerprint, that is to be version `earlier.end` or later of
    /// this credential. A store that can seek by fingerprint does.
    async fn reuse(
        &self,
        tenant: &Tenant,
        path: &Path,
        fingerprint: &Fingerprint,
        earlier: Range<u32>,
    ) -> Result<Reuse, StoreError> {
        let mut found = Vec::new();
        let mut before = earlier.end;
        while before > earlier.start {
            let left = usize::try_from(before - earlier.start).unwrap_or(HISTORY_PAGE);
            let page = self
                .versions(tenant, path, Some(before), left.min(HISTORY_PAGE))
                .await?;
            let Some(last) = page.items.last() else {
                break;
            };
            before = last.number;
            found.extend(
                page.items
                    .iter()
                    .filter(|version| version.number >= earlier.start)
                    .filter(|version| version.stage != Stage::Pending)
                    .filter(|version| version.fingerprint == *fingerprint)
                    .map(|version| version.number),
            );
            if !page.more {
                break;
            }
        }
        Ok(Reuse {
            earlier: found,
            shared_with: self.shared_with(tenant, path, fingerprint).await?,
        })
    }

    /// Credentials, a page at a time.
    async fn credentials(&self, query: &CredentialQuery) -> Result<Page<Credential>, StoreError>;

    /// As [`credentials`](Self::credentials), of those that `guide` wants, looking at `budget` paths
    /// at most: see [`guide`](crate::guide). This one is right for every store; one that can seek
    /// does better.
    async fn guided(
        &self,
        query: &CredentialQuery,
        guide: Arc<dyn Guide>,
        budget: usize,
    ) -> Result<Led, StoreError> {
        guide::plainly(self, query, &*guide, budget).await
    }

    /// One rotation.
    async fn rotation(&self, tenant: &Tenant, id: Id) -> Result<Option<Rotation>, StoreError>;

    /// Rotations, a page at a time.
    async fn rotations(&self, query: &RotationQuery) -> Result<Page<Rotation>, StoreError>;

    /// Unfinished rotations of all tenants that may be taken up at `now`: their lease has run out
    /// and their `resume_at` has come. The longest due first.
    async fn due_rotations(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Rotation>, StoreError>;

    /// Retired and revoked versions that still have their value, by when they became so: what
    /// retention may destroy.
    async fn old_versions(&self, query: &DueQuery) -> Result<Page<Due>, StoreError>;

    /// Soft-deleted credentials, by when they were deleted.
    async fn deleted_credentials(&self, query: &DueQuery) -> Result<Page<Due>, StoreError>;

    /// Credentials of this owner, soft-deleted or not, in the order of their paths.
    async fn owned_credentials(
        &self,
        tenant: &Tenant,
        owner: &str,
        after: Option<&Path>,
        limit: usize,
    ) -> Result<Page<Credential>, StoreError>;

    /// One document that has not expired at `now`.
    async fn document(
        &self,
        collection: Collection,
        tenant: &Tenant,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<Document>, StoreError>;

    /// As [`document`](Self::document), of many at once, in their order. A store that can do so in one
    /// go does.
    async fn documents_named(
        &self,
        collection: Collection,
        tenant: &Tenant,
        names: &[String],
        now: Timestamp,
    ) -> Result<Vec<Option<Document>>, StoreError> {
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            found.push(self.document(collection, tenant, name, now).await?);
        }
        Ok(found)
    }

    /// Documents in the order of their names, beginning after `after`.
    async fn documents(
        &self,
        collection: Collection,
        tenant: &Tenant,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Page<Document>, StoreError>;

    /// Tells whether what was read may still be kept. `None`: it may not, for others change the store
    /// unseen.
    fn stamps(&self) -> Option<&Stamps> {
        None
    }

    /// Who this process is among those that share the store. `None`: it has the store to itself, and
    /// everybody who held anything in it before is dead.
    fn node(&self) -> Option<&str> {
        None
    }

    /// Audit records that are committed but perhaps not yet in the audit log, oldest first. Of a store
    /// that is shared: those that this node committed.
    async fn outbox(&self, limit: usize) -> Result<Vec<Waiting>, StoreError>;

    /// Every row as it is at one moment, which has passed when this returns; writers go on. A store
    /// in a database server does it in one transaction of the isolation `REPEATABLE READ`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] from a store that can't.
    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Err(StoreError::Unavailable {
            reason: "this kind of store has no snapshots: back it up with its own tools".to_owned(),
        })
    }

    /// Reads everything once and names what can't be read: the repair report after a damaged disk.
    /// Walks the whole store; never on a path of everyday work.
    async fn verify(&self) -> Result<Vec<Damage>, StoreError>;
}

/// Something that can't be read any more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Damage {
    /// What it is: `credential`, `version`, `rotation`, `document`, `page`.
    pub what: String,
    /// Its tenant and path, or the database's own description.
    pub which: String,
}
