//! A new store from the rows of a snapshot: there whole, or not at all.
//!
//! Nothing is checked against what is there, for nothing is: rows come with the revisions that they
//! had. Everything is one transaction in a file that gets its name at the very end.

use std::path::{Path as FsPath, PathBuf};

use pentad_model::{Clock, SystemClock};
use rusqlite::{Connection, OpenFlags, params};

use super::{
    SqliteStore, connect,
    directory::{self, DATABASE, Lock, UNFINISHED},
    errors::Failure,
    ops, outbox,
    rows::encode,
    schema,
};
use crate::{StoreError, snapshot::Item};

/// Page cache in negative KiB: a store is filled in one transaction, and by fingerprint in no order.
const LOADING_CACHE: i32 = -8 << 10;

/// A store that is being filled. Dropping it before [`finish`](Self::finish) leaves no store.
pub struct Loader {
    dir: PathBuf,
    connection: Connection,
    _lock: Lock,
}

impl SqliteStore {
    /// Begins a new store in `dir`, which is made too if need be.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if there is one; it is left as it is.
    pub fn load(dir: impl AsRef<FsPath>) -> Result<Loader, StoreError> {
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
            LOADING_CACHE,
        )?;
        let begun = schema::migrate(&mut connection)
            .and_then(|()| Ok(connection.execute_batch("BEGIN IMMEDIATE")?));
        begun.map_err(|failure| failure.about(&connection, || "the new store".to_owned()))?;
        Ok(Loader {
            dir: dir.to_owned(),
            connection,
            _lock: lock,
        })
    }
}

impl Loader {
    /// Adds an object: credentials before their versions.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if it was added before.
    pub fn insert(&mut self, item: &Item) -> Result<(), StoreError> {
        let inserted = self.try_insert(item);
        inserted.map_err(|failure| failure.about(&self.connection, || "a restored row".to_owned()))
    }

    fn try_insert(&mut self, item: &Item) -> Result<(), Failure> {
        let tx = &self.connection;
        match item {
            Item::Credential(credential) => {
                ops::insert_credential(tx, credential, &encode(credential)?)
            }
            Item::Version(version, destroyed_at) => {
                let mut version = version.clone();
                let body = ops::version_body(&mut version)?;
                ops::add_version(tx, &version, &body)?;
                if let Some(at) = destroyed_at {
                    tx.prepare_cached(
                        "UPDATE versions SET destroyed_at = ?4
                         WHERE tenant = ?1 AND path = ?2 AND number = ?3",
                    )?
                    .execute(params![
                        version.tenant.as_str(),
                        version.path.as_str(),
                        version.number,
                        at.0
                    ])?;
                }
                Ok(())
            }
            Item::Rotation(rotation) => {
                ops::rotations::insert_rotations(tx, &[(rotation, &encode(rotation)?)])
            }
            Item::Document(document) => ops::documents::write_document(tx, document),
            Item::Record(record) => {
                outbox::put(tx, record.id, &encode(record)?, SystemClock.now()).map(drop)
            }
        }
    }

    /// Makes the store durable and gives it its name.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Fatal`].
    pub fn finish(self) -> Result<(), StoreError> {
        let Self {
            dir, connection, ..
        } = self;
        connection
            .execute_batch("COMMIT")
            .map_err(|error| Failure::from(error).about(&connection, || "the new store".into()))?;
        connection.close().map_err(|(_, error)| {
            super::translate(error, dir.clone(), || "the new store".into())
        })?;
        directory::publish(&dir)
    }
}
