//! The embedded store: one directory, one SQLite database, no server.
//!
//! One thread writes ([`writer`], with group commit), a few read ([`readers`]); callers await
//! their answers and never block. What always holds:
//!
//! * One process has a store open at a time ([`directory`]).
//! * Write-ahead log with `synchronous=FULL`: a commit is answered after its fsync.
//! * A damaged row is an error that names it, and hinders no other.
//! * Files are readable by their owner only. Destroyed values are overwritten in the database
//!   (`secure_delete`); the log keeps their sealed bytes until it is written over.
//!
//! It refuses a network file system's promises: the directory belongs on a local disk, where
//! `flock`, shared memory and fsync mean what they say.

mod checkpoint;
mod directory;
mod errors;
mod load;
mod ops;
mod outbox;
mod queries;
mod readers;
mod reserve;
mod rows;
mod schema;
mod snapshot;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use load::Loader;

use std::{
    fmt,
    ops::Range,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use async_trait::async_trait;
use pentad_model::{
    Clock, Credential, Id, Path, Rotation, SystemClock, Tenant, Timestamp, Version,
    secret::Fingerprint,
};
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use tokio::sync::{mpsc, oneshot};

use self::{
    checkpoint::Checkpoints,
    directory::{DATABASE, Lock, UNFINISHED},
    errors::{Failure, translate},
    readers::{Readers, closing},
    reserve::Reserve,
    writer::{Health, Job, Prepared, Task, Writer as WriterThread},
};
use crate::{
    Change, Collection, CredentialQuery, Damage, Document, Due, DueQuery, Page, Reader, Reuse,
    RotationQuery, Stamps, StoreError, Waiting, Writer,
    guide::{Guide, Led},
    snapshot::Snapshot,
};

/// Changes that may wait for the writer; beyond it, callers wait to be queued.
const QUEUE: usize = 1024;

/// Rows that are looked up by their keys as briefly as one is.
const A_FEW: usize = 4;

/// Page cache of the connection that writes, in `PRAGMA cache_size`'s negative KiB: room for the pages
/// that a group of changes writes, and for the upper levels of all indexes. What else is needed comes
/// from the system's cache, which is there anyway.
const WRITING_CACHE: i32 = -4 << 10;

/// Page cache of one that reads. Each commit empties it, for SQLite does not know which pages it
/// changed; so it is for the pages of one listing, and what is read again comes from the system's
/// cache.
const READING_CACHE: i32 = -1 << 10;

/// How a store is opened.
#[derive(Clone)]
pub struct OpenOptions {
    /// Tells when record ids are forgotten and documents are gone. The system's by default.
    pub clock: Arc<dyn Clock>,
    /// Threads that read, at least one, besides whoever makes a brief look-up by himself. Three by
    /// default: enough to overlap waits on the disk, few enough to leave the processors to the work on
    /// what was read.
    pub readers: usize,
    /// The database may not grow beyond so many bytes: then [`StoreError::Full`], as on a full
    /// disk. No limit by default.
    pub max_bytes: Option<u64>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            readers: 3,
            max_bytes: None,
        }
    }
}

/// The embedded store. Dropping it finishes what is queued, closes the database and lets go of the
/// directory; that takes as long as the last commit.
pub struct SqliteStore {
    path: PathBuf,
    health: Arc<Health>,
    stamps: Arc<Stamps>,
    readers: Readers,
    queue: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    /// Let go of last.
    _lock: Lock,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Makes a store in `dir`, which is made too if need be, and opens it.
    ///
    /// [`StoreError::Exists`] if there is one; it is left as it is.
    pub fn create(
        dir: impl AsRef<FsPath>,
        options: OpenOptions,
    ) -> Result<SqliteStore, StoreError> {
        let dir = dir.as_ref();
        directory::make(dir)?;
        let lock = directory::lock(dir)?;
        if dir.join(DATABASE).exists() {
            return Err(StoreError::Exists {
                what: format!("a pentad store in {}", dir.display()),
            });
        }
        let unfinished = dir.join(UNFINISHED);
        directory::blank(&unfinished)?;
        let mut connection = connect(
            &unfinished,
            OpenFlags::SQLITE_OPEN_READ_WRITE,
            WRITING_CACHE,
        )?;
        schema::migrate(&mut connection)
            .map_err(|failure| failure.about(&connection, || "the new store".to_owned()))?;
        drop(connection);
        directory::publish(dir)?;
        Self::start(dir, lock, options)
    }

    /// Opens the store in `dir`, bringing an older one up to date.
    pub fn open(dir: impl AsRef<FsPath>, options: OpenOptions) -> Result<SqliteStore, StoreError> {
        let dir = dir.as_ref();
        // Before the lock, so that a directory without a store is left without a trace.
        directory::find(dir)?;
        let lock = directory::lock(dir)?;
        directory::settle(dir)?;
        Self::start(dir, lock, options)
    }

    fn start(dir: &FsPath, lock: Lock, options: OpenOptions) -> Result<SqliteStore, StoreError> {
        let (path, header) = directory::find(dir)?;
        if header.application != schema::APPLICATION_ID.cast_unsigned() {
            return Err(directory::damaged(&path, "it is not a pentad store"));
        }
        if header.schema > schema::VERSION {
            return Err(StoreError::TooNew {
                found: header.schema,
                known: schema::VERSION,
            });
        }
        let connection = writing(&path, options.max_bytes)?;
        // The write-ahead log has its name now. SQLite syncs that with the first commit too, and
        // ignores whether it could.
        directory::sync(dir)?;
        let pool = (0..options.readers.max(1))
            .map(|_| reading(&path))
            .collect::<Result<_, _>>()?;
        let no_thread = |error: std::io::Error| StoreError::Unavailable {
            reason: format!("no thread could be started: {error}"),
        };
        let health = Arc::new(Health::default());
        let reserve = Reserve::open(dir);
        let stamps = Arc::<Stamps>::default();
        let moves = moving(&path)?;
        let moves = Checkpoints::start(moves, Arc::clone(&health)).map_err(no_thread)?;
        let (seen, moved) = (Arc::clone(&health), Arc::clone(&stamps));
        let writer = WriterThread::new(connection, options.clock, seen, moved, reserve, moves)
            .map_err(|error| translate(error, path.clone(), || path.display().to_string()))?;
        let readers = Readers::start(reading(&path)?, pool).map_err(no_thread)?;
        let (queue, jobs) = mpsc::channel(QUEUE);
        let writer = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(jobs))
            .map_err(no_thread)?;
        Ok(Self {
            path,
            health,
            stamps,
            readers,
            queue: Some(queue),
            writer: Some(writer),
            _lock: lock,
        })
    }

    async fn write(&self, task: Task, essential: bool) -> Result<(), StoreError> {
        self.health.check()?;
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(closing)?;
        queue
            .send(Job {
                task,
                essential,
                answer,
            })
            .await
            .map_err(|_| closing())?;
        answered.await.map_err(|_| closing())?
    }

    /// A look-up by key.
    async fn look_up<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.health.check()?;
        self.readers.look_up(query).await
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.health.check()?;
        self.readers.read(query).await
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // Readers first: the last connection to close moves the write-ahead log into the database,
        // and one that can't write would leave it behind.
        self.readers.stop();
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// A connection with everything that all of them need.
fn connect(path: &FsPath, access: OpenFlags, cache: i32) -> Result<Connection, StoreError> {
    let open = || -> Result<Connection, rusqlite::Error> {
        // Each connection stays on one thread: SQLite's own mutexes would be for nothing.
        let connection =
            Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
        // Else a statement with `LIMIT ?` is compiled anew for each value, at every commit.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        // Nobody else writes; readers can be met during recovery and checkpoints only.
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.set_prepared_statement_cache_capacity(128);
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "secure_delete", true)?;
        // Damage is found when a page is read, not when it has spread.
        connection.pragma_update(None, "cell_size_check", true)?;
        // A page that can't be read must be an error, not a signal that ends the process.
        connection.pragma_update(None, "mmap_size", 0)?;
        connection.pragma_update(None, "cache_size", cache)?;
        connection.pragma_update(None, "temp_store", "memory")?;
        Ok(connection)
    };
    open().map_err(|error| translate(error, path.to_owned(), || path.display().to_string()))
}

/// The writer's connection; brings the schema up to date.
fn writing(path: &FsPath, max_bytes: Option<u64>) -> Result<Connection, StoreError> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, WRITING_CACHE)?;
    let prepare = |connection: &mut Connection| -> Result<(), Failure> {
        // The header may be behind the log: asked again before anything is written.
        let found = schema::version(connection)?;
        if found > schema::VERSION {
            let known = schema::VERSION;
            return Err(StoreError::TooNew { found, known }.into());
        }
        connection.pragma_update(None, "journal_mode", "wal")?;
        sync_all(connection)?;
        // After a burst the log gives its space back at the next checkpoint.
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        schema::migrate(connection)?;
        if let Some(bytes) = max_bytes {
            let page: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
            let pages = u32::try_from(bytes / u64::from(page.max(1))).unwrap_or(u32::MAX);
            connection.pragma_update(None, "max_page_count", pages.max(1))?;
        }
        Ok(())
    };
    prepare(&mut connection)
        .map_err(|failure| failure.about(&connection, || path.display().to_string()))?;
    Ok(connection)
}

/// The connection that moves the write-ahead log into the database, beside the writer's.
fn moving(path: &FsPath) -> Result<Connection, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, READING_CACHE)?;
    sync_all(&connection)
        .map_err(|error| translate(error, path.to_owned(), || path.display().to_string()))?;
    Ok(connection)
}

/// Commits and checkpoints of this connection return after their fsyncs.
fn sync_all(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "full")?;
    // On macOS a plain fsync stops at the drive's cache.
    connection.pragma_update(None, "fullfsync", true)
}

/// A connection that can't write.
fn reading(path: &FsPath) -> Result<Connection, StoreError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, READING_CACHE)
}

#[async_trait]
impl Writer for SqliteStore {
    async fn commit(&self, change: Change) -> Result<(), StoreError> {
        self.write(Task::Commit(Prepared::of(change)?), false).await
    }

    async fn commit_essential(&self, change: Change) -> Result<(), StoreError> {
        self.write(Task::Commit(Prepared::of(change)?), true).await
    }

    async fn clear_outbox(&self, through: u64) -> Result<(), StoreError> {
        self.write(Task::ClearOutbox(through), false).await
    }
}

#[async_trait]
impl Reader for SqliteStore {
    async fn credential(
        &self,
        tenant: &Tenant,
        path: &Path,
    ) -> Result<Option<Credential>, StoreError> {
        let (tenant, path) = (tenant.clone(), path.clone());
        self.look_up(move |c| queries::credential(c, &tenant, &path))
            .await
    }

    async fn current(
        &self,
        tenant: &Tenant,
        path: &Path,
    ) -> Result<Option<(Credential, Option<Version>)>, StoreError> {
        let (tenant, path) = (tenant.clone(), path.clone());
        self.look_up(move |c| queries::current(c, &tenant, &path))
            .await
    }

    async fn currents(
        &self,
        tenant: &Tenant,
        paths: &[Path],
    ) -> Result<Vec<Option<(Credential, Option<Version>)>>, StoreError> {
        let (tenant, paths) = (tenant.clone(), paths.to_vec());
        let few = paths.len() <= A_FEW;
        let query = move |c: &Connection| queries::currents(c, &tenant, &paths);
        match few {
            true => self.look_up(query).await,
            false => self.read(query).await,
        }
    }

    async fn version(
        &self,
        tenant: &Tenant,
        path: &Path,
        number: u32,
    ) -> Result<Option<Version>, StoreError> {
        let (tenant, path) = (tenant.clone(), path.clone());
        self.look_up(move |c| queries::version(c, &tenant, &path, number))
            .await
    }

    async fn versions(
        &self,
        tenant: &Tenant,
        path: &Path,
        before: Option<u32>,
        limit: usize,
    ) -> Result<Page<Version>, StoreError> {
        let (tenant, path) = (tenant.clone(), path.clone());
        self.read(move |c| queries::versions(c, &tenant, &path, before, limit))
            .await
    }

    async fn shared_with(
        &self,
        tenant: &Tenant,
        path: &Path,
        fingerprint: &Fingerprint,
    ) -> Result<u32, StoreError> {
        let (tenant, path, fingerprint) = (tenant.clone(), path.clone(), *fingerprint);
        self.read(move |c| queries::reuse::shared_with(c, &tenant, &path, &fingerprint))
            .await
    }

    async fn credential_to_write(
        &self,
        tenant: &Tenant,
        path: &Path,
    ) -> Result<(Option<Credential>, Option<Rotation>), StoreError> {
        let (tenant, path) = (tenant.clone(), path.clone());
        self.look_up(move |c| queries::credential_to_write(c, &tenant, &path))
            .await
    }

    async fn reuse(
        &self,
        tenant: &Tenant,
        path: &Path,
        fingerprint: &Fingerprint,
        earlier: Range<u32>,
    ) -> Result<Reuse, StoreError> {
        let (tenant, path, fingerprint) = (tenant.clone(), path.clone(), *fingerprint);
        self.look_up(move |c| queries::reuse::reuse(c, &tenant, &path, &fingerprint, &earlier))
            .await
    }

    async fn credentials(&self, query: &CredentialQuery) -> Result<Page<Credential>, StoreError> {
        let query = query.clone();
        self.read(move |c| queries::credentials(c, &query)).await
    }

    async fn guided(
        &self,
        query: &CredentialQuery,
        guide: Arc<dyn Guide>,
        budget: usize,
    ) -> Result<Led, StoreError> {
        let query = query.clone();
        self.read(move |c| queries::listing::guided(c, &query, &*guide, budget))
            .await
    }

    async fn rotation(&self, tenant: &Tenant, id: Id) -> Result<Option<Rotation>, StoreError> {
        let tenant = tenant.clone();
        self.look_up(move |c| queries::rotation(c, &tenant, id))
            .await
    }

    async fn rotations(&self, query: &RotationQuery) -> Result<Page<Rotation>, StoreError> {
        let query = query.clone();
        self.read(move |c| queries::rotations(c, &query)).await
    }

    async fn due_rotations(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Rotation>, StoreError> {
        self.read(move |c| queries::due_rotations(c, now, limit))
            .await
    }

    async fn old_versions(&self, query: &DueQuery) -> Result<Page<Due>, StoreError> {
        let query = query.clone();
        self.read(move |c| queries::due::old_versions(c, &query))
            .await
    }

    async fn deleted_credentials(&self, query: &DueQuery) -> Result<Page<Due>, StoreError> {
        let query = query.clone();
        self.read(move |c| queries::due::deleted_credentials(c, &query))
            .await
    }

    async fn owned_credentials(
        &self,
        tenant: &Tenant,
        owner: &str,
        after: Option<&Path>,
        limit: usize,
    ) -> Result<Page<Credential>, StoreError> {
        let (tenant, owner, after) = (tenant.clone(), owner.to_owned(), after.cloned());
        self.read(move |c| queries::owned_credentials(c, &tenant, &owner, after.as_ref(), limit))
            .await
    }

    async fn document(
        &self,
        collection: Collection,
        tenant: &Tenant,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<Document>, StoreError> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.look_up(move |c| queries::document(c, collection, &tenant, &name, now))
            .await
    }

    async fn documents_named(
        &self,
        collection: Collection,
        tenant: &Tenant,
        names: &[String],
        now: Timestamp,
    ) -> Result<Vec<Option<Document>>, StoreError> {
        let (tenant, names) = (tenant.clone(), names.to_vec());
        let few = names.len() <= A_FEW;
        let query =
            move |c: &Connection| queries::documents_named(c, collection, &tenant, &names, now);
        match few {
            true => self.look_up(query).await,
            false => self.read(query).await,
        }
    }

    async fn documents(
        &self,
        collection: Collection,
        tenant: &Tenant,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Page<Document>, StoreError> {
        let (tenant, after) = (tenant.clone(), after.map(str::to_owned));
        self.read(move |c| queries::documents(c, collection, &tenant, after.as_deref(), limit, now))
            .await
    }

    fn stamps(&self) -> Option<&Stamps> {
        Some(&self.stamps)
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        self.read(move |c| queries::outbox(c, limit)).await
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.health.check()?;
        snapshot::snapshot(&self.path).await
    }

    async fn verify(&self) -> Result<Vec<Damage>, StoreError> {
        self.health.check()?;
        let path = self.path.clone();
        // On a thread and a connection of its own: it takes long, and the readers are for others.
        let walk = move || verify::verify(&reading(&path)?);
        tokio::task::spawn_blocking(walk)
            .await
            .map_err(|error| StoreError::Unavailable {
                reason: error.to_string(),
            })?
    }
}
