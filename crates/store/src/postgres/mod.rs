//! The store in PostgreSQL, which several nodes may share.
//!
//! It means the same as the embedded one; what differs is where things stand. A node is a process
//! with an audit log of its own: it is known by that log's id, drains the outbox of that log only,
//! and holds an advisory lock under that name for as long as it lives. What always holds:
//!
//! * A commit is answered when PostgreSQL has it on disk; a database that is set to answer earlier
//!   is refused.
//! * Changes of all nodes take effect one group after the other, each with its preconditions; a lost
//!   race is [`StoreError::Conflict`], never a lost update.
//! * What is kept in memory under a [stamp](crate::Stamps) that holds is less than a second old,
//!   whichever node changes it.
//! * A lost connection is never a wrong answer: a commit whose reply was lost is looked up.
//! * A lost database is [`StoreError::Unavailable`] within seconds, and comes back by itself.
//!
//! | module | holds |
//! |---|---|
//! | [`address`] | where the database is, TLS, where the password comes from |
//! | [`session`] | one connection: what it refuses, its settings, its statements |
//! | [`lanes`] | the sessions that read |
//! | [`writer`] | the session that writes, group commit |
//! | [`schema`] | tables and migrations |
//! | [`ops`], [`outbox`], [`queries`] | the statements |
//! | [`listing`] | pages of what somebody may see, in few round trips |
//! | [`adoption`] | records that dead nodes left |
//! | [`feed`], [`follower`] | what other nodes changed, and the task that hears of it |
//! | [`snapshot`], [`load`] | one moment of the whole store, for backups; a new store of one |
//! | [`upkeep`] | what is done to a whole store from outside |
//!
//! Not done: poolers that hand sessions around (PgBouncer in transaction mode), for sessions carry
//! settings and locks. Decisions: `docs/decisions/0007-postgresql-with-one-writer-at-a-time.md`.

mod address;
mod adoption;
mod errors;
pub mod feed;
mod follower;
mod lanes;
mod listing;
mod load;
mod ops;
mod outbox;
mod queries;
mod rows;
mod schema;
mod session;
mod snapshot;
pub mod upkeep;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::{fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use pentad_model::{
    Clock, Credential, Id, Path, Rotation, SystemClock, Tenant, Timestamp, Version,
    secret::Fingerprint,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

pub use self::{address::Address, load::Loader};
use self::{
    errors::Failure,
    feed::Changes,
    follower::Follower,
    lanes::Lanes,
    schema::Found,
    session::{Connector, Session, closing},
    writer::{Job, Writer as WriterTask},
};
use crate::{
    Change, Collection, CredentialQuery, Damage, Document, Due, DueQuery, Page, Reader, Reuse,
    RotationQuery, StoreError, Waiting, Writer,
    guide::{Guide, Led},
    snapshot::Snapshot,
    stamps::{self, Stamps, Uptime},
};

/// Changes that may wait for the writer; beyond it, callers wait to be queued.
const QUEUE: usize = 1024;

/// How a store is opened.
#[derive(Clone)]
pub struct PostgresOptions {
    /// Tells when record ids are forgotten and documents are gone. The system's by default.
    pub clock: Arc<dyn Clock>,
    /// Sessions that read, at least one. Four by default: each is shared by many look-ups. One more
    /// writes, and one hears of others' changes.
    pub readers: usize,
    /// Tells how old what is kept in memory is. The system's by default.
    pub uptime: Uptime,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            readers: 4,
            uptime: stamps::uptime(),
        }
    }
}

/// The store in PostgreSQL, as one node has it. Dropping it lets go of the sessions once what is
/// queued is done.
pub struct PostgresStore {
    connector: Arc<Connector>,
    lanes: Lanes,
    queue: mpsc::Sender<Job>,
    log: String,
    stamps: Arc<Stamps>,
    _follower: Follower,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("address", self.connector.address())
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Makes a store at the address and opens it as the node with this audit log.
    ///
    /// [`StoreError::Exists`] if there is one; it is left as it is. To be called on the runtime on
    /// which the sessions are to live, which is one that outlives the store.
    pub async fn create(
        address: Address,
        log: &str,
        options: PostgresOptions,
    ) -> Result<Self, StoreError> {
        let connector = Arc::new(Connector::new(address, Handle::current()));
        let session = first(&connector).await?;
        schema::migrate(session.client(), connector.schema(), true)
            .await
            .map_err(|failure| failure.about(|| "the new store".to_owned()))?;
        Self::start(connector, log, options).await
    }

    /// Opens the store at the address as the node with this audit log, bringing an older one up to
    /// date. [`StoreError::Unavailable`] if another process is this node.
    pub async fn open(
        address: Address,
        log: &str,
        options: PostgresOptions,
    ) -> Result<Self, StoreError> {
        let connector = Arc::new(Connector::new(address, Handle::current()));
        let session = first(&connector).await?;
        let schema = connector.schema();
        let about = |failure: Failure| failure.about(|| "the store".to_owned());
        match schema::find(session.client(), schema)
            .await
            .map_err(about)?
        {
            Found::Nothing => {
                return Err(StoreError::Absent {
                    path: connector.address().to_string().into(),
                });
            }
            Found::Foreign => return Err(schema::foreign(schema)),
            Found::Store(found) if found > schema::VERSION => {
                let known = schema::VERSION;
                return Err(StoreError::TooNew { found, known });
            }
            Found::Store(found) if found < schema::VERSION => {
                let migrated = schema::migrate(session.client(), schema, false).await;
                migrated.map_err(about)?;
            }
            Found::Store(_) => {}
        }
        Self::start(connector, log, options).await
    }

    async fn start(
        connector: Arc<Connector>,
        log: &str,
        options: PostgresOptions,
    ) -> Result<Self, StoreError> {
        let log = log.to_owned();
        let stamps = Arc::new(Stamps::of_a_shared_store(Arc::clone(&options.uptime)));
        let (clock, moved) = (options.clock, Arc::clone(&stamps));
        let writer = WriterTask::start(Arc::clone(&connector), clock, moved, log.clone()).await?;
        let (queue, jobs) = mpsc::channel(QUEUE);
        connector.runtime().spawn(writer.run(jobs));
        let heard = Arc::clone(&stamps);
        let follower = Follower::start(Arc::clone(&connector), heard, options.uptime);
        Ok(Self {
            stamps,
            _follower: follower,
            lanes: Lanes::new(Arc::clone(&connector), options.readers),
            connector,
            queue,
            log,
        })
    }

    /// Takes over the audit records that nodes left in the database which are gone for good, so that
    /// this node's log gets them; answers how many. The store does so by itself once a minute.
    pub async fn adopt(&self) -> Result<u64, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job = Job::Adopt(answer);
        self.queue.send(job).await.map_err(|_| closing())?;
        answered.await.map_err(|_| closing())?
    }

    /// What was changed since a position, by any node, this one included: for whoever keeps copies.
    /// To begin, ask with `u64::MAX` for the present position.
    ///
    /// A change is in it as soon as it can be read. So a copy that was dropped for it, or made after
    /// this returned, is no older than this call.
    pub async fn changes_since(&self, position: u64) -> Result<Changes, StoreError> {
        let position = position.min(i64::MAX.cast_unsigned());
        feed::since(&self.lanes, position)
            .await
            .map_err(|failure| failure.about(|| "the feed of changes".to_owned()))
    }
}

/// The session that looks whether there is a store.
async fn first(connector: &Connector) -> Result<Session, StoreError> {
    if connector.address().is_exposed() {
        tracing::warn!(
            address = %connector.address(),
            "everything crosses the network to the database in plain text (sslmode=disable)"
        );
    }
    connector
        .connect()
        .await
        .map_err(|failure| failure.about(|| "the database".to_owned()))
}

#[async_trait]
impl Writer for PostgresStore {
    async fn commit(&self, change: Change) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        let job = Job::Commit(change, answer);
        self.queue.send(job).await.map_err(|_| closing())?;
        answered.await.map_err(|_| closing())?
    }

    /// Nothing is kept back: the disk is the server's.
    async fn commit_essential(&self, change: Change) -> Result<(), StoreError> {
        self.commit(change).await
    }

    async fn clear_outbox(&self, through: u64) -> Result<(), StoreError> {
        let through = i64::try_from(through).unwrap_or(i64::MAX);
        // It need not be durable: what comes back after a crash is in the audit log already. The
        // setting holds for this statement's own transaction.
        let sql = "WITH soon AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
                   DELETE FROM outbox USING soon WHERE log = $1 AND position <= $2";
        let values = [self.log.as_str().into(), through.into()];
        self.lanes
            .query(sql, &values)
            .await
            .map(drop)
            .map_err(|failure| failure.about(|| "the outbox".to_owned()))
    }
}

#[async_trait]
impl Reader for PostgresStore {
    async fn credential(
        &self,
        tenant: &Tenant,
        path: &Path,
    ) -> Result<Option<Credential>, StoreError> {
        queries::credential(&self.lanes, tenant, path).await
    }

    async fn current(
        &self,
        tenant: &Tenant,
        path: &Path,
    ) -> Result<Option<(Credential, Option<Version>)>, StoreError> {
        queries::current(&self.lanes, tenant, path).await
    }

    async fn currents(
        &self,
        tenant: &Tenant,
        paths: &[Path],
    ) -> Result<Vec<Option<(Credential, Option<Version>)>>, StoreError> {
        queries::currents(&self.lanes, tenant, paths).await
    }

    async fn version(
        &self,
        tenant: &Tenant,
        path: &Path,
        number: u32,
    ) -> Result<Option<Version>, StoreError> {
        queries::version(&self.lanes, tenant, path, number).await
    }

    async fn versions(
        &self,
        tenant: &Tenant,
        path: &Path,
        before: Option<u32>,
        limit: usize,
    ) -> Result<Page<Version>, StoreError> {
        queries::versions(&self.lanes, tenant, path, before, limit).await
    }

    async fn credential_to_write(
        &self,
        tenant: &Tenant,
        path: &Path,
    ) -> Result<(Option<Credential>, Option<Rotation>), StoreError> {
        queries::credential_to_write(&self.lanes, tenant, path).await
    }

    async fn reuse(
        &self,
        tenant: &Tenant,
        path: &Path,
        fingerprint: &Fingerprint,
        earlier: Range<u32>,
    ) -> Result<Reuse, StoreError> {
        queries::reuse(&self.lanes, tenant, path, fingerprint, earlier).await
    }

    async fn shared_with(
        &self,
        tenant: &Tenant,
        path: &Path,
        fingerprint: &Fingerprint,
    ) -> Result<u32, StoreError> {
        queries::shared_with(&self.lanes, tenant, path, fingerprint).await
    }

    async fn credentials(&self, query: &CredentialQuery) -> Result<Page<Credential>, StoreError> {
        queries::credentials(&self.lanes, query).await
    }

    async fn guided(
        &self,
        query: &CredentialQuery,
        guide: Arc<dyn Guide>,
        budget: usize,
    ) -> Result<Led, StoreError> {
        listing::guided(&self.lanes, query, &*guide, budget).await
    }

    async fn rotation(&self, tenant: &Tenant, id: Id) -> Result<Option<Rotation>, StoreError> {
        queries::rotation(&self.lanes, tenant, id).await
    }

    async fn rotations(&self, query: &RotationQuery) -> Result<Page<Rotation>, StoreError> {
        queries::rotations(&self.lanes, query).await
    }

    async fn due_rotations(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Rotation>, StoreError> {
        queries::due_rotations(&self.lanes, now, limit).await
    }

    async fn old_versions(&self, query: &DueQuery) -> Result<Page<Due>, StoreError> {
        queries::old_versions(&self.lanes, query).await
    }

    async fn deleted_credentials(&self, query: &DueQuery) -> Result<Page<Due>, StoreError> {
        queries::deleted_credentials(&self.lanes, query).await
    }

    async fn owned_credentials(
        &self,
        tenant: &Tenant,
        owner: &str,
        after: Option<&Path>,
        limit: usize,
    ) -> Result<Page<Credential>, StoreError> {
        queries::owned_credentials(&self.lanes, tenant, owner, after, limit).await
    }

    async fn document(
        &self,
        collection: Collection,
        tenant: &Tenant,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<Document>, StoreError> {
        queries::document(&self.lanes, collection, tenant, name, now).await
    }

    async fn documents_named(
        &self,
        collection: Collection,
        tenant: &Tenant,
        names: &[String],
        now: Timestamp,
    ) -> Result<Vec<Option<Document>>, StoreError> {
        queries::documents_named(&self.lanes, collection, tenant, names, now).await
    }

    async fn documents(
        &self,
        collection: Collection,
        tenant: &Tenant,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Page<Document>, StoreError> {
        queries::documents(&self.lanes, collection, tenant, after, limit, now).await
    }

    fn stamps(&self) -> Option<&Stamps> {
        Some(&self.stamps)
    }

    fn node(&self) -> Option<&str> {
        Some(&self.log)
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        queries::outbox(&self.lanes, &self.log, limit).await
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        snapshot::snapshot(&self.connector).await
    }

    async fn verify(&self) -> Result<Vec<Damage>, StoreError> {
        let session = self.connector.connect().await;
        let session = session.map_err(|failure| failure.about(|| "the database".to_owned()))?;
        verify::verify(&session).await
    }
}
