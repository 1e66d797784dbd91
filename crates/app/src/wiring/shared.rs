//! A store in PostgreSQL: the directory is then one node of it, and holds the node's audit log, its id
//! in the file `node`, and the root key, which is the same for all nodes.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use pentad_model::{Clock as _, Id, SystemClock, id::OsEntropy};
use pentad_store::{
    PostgresOptions, PostgresStore, StoreError, durable,
    postgres::{Address, Loader, upkeep},
};

use super::{
    failures::store_failure,
    place::{self, Place},
    root::root_document,
};
use crate::failure::{Exit, Failure};

/// The store, made if there is none, and whether this directory was a node of it before.
pub(super) async fn make(
    place: &Place,
    address: &Address,
) -> Result<(PostgresStore, bool), Failure> {
    let (log, known) = match read(place)? {
        Some(log) => (log, true),
        None => (new(place)?, false),
    };
    let made = PostgresStore::create(address.clone(), &log, PostgresOptions::default()).await;
    match made {
        Err(StoreError::Exists { .. }) => {
            let opened = PostgresStore::open(address.clone(), &log, PostgresOptions::default());
            let store = opened.await.map_err(|error| store_failure(place, error))?;
            Ok((store, known))
        }
        made => Ok((made.map_err(|error| store_failure(place, error))?, known)),
    }
}

/// The store, as the node that this directory is.
pub(super) async fn open(place: &Place, address: &Address) -> Result<PostgresStore, Failure> {
    let Some(log) = read(place)? else {
        return Err(Failure::new(
            Exit::Missing,
            format!("{} is no node of a shared store yet", place.dir.display()),
        )
        .hint("put the store's master.key there and run `pentad init` with the same --dir and --store"));
    };
    PostgresStore::open(address.clone(), &log, PostgresOptions::default())
        .await
        .map_err(|error| store_failure(place, error))
}

/// A new node joins a store that is there: it needs the store's root key, and nothing else.
pub(super) async fn join(place: &Place, store: &PostgresStore) -> Result<bool, Failure> {
    match root_document(store).await? {
        None => Ok(false),
        Some(root) => root.key(place).await.map(|_| true),
    }
}

/// After a large load; nothing to be done for an embedded store.
pub(crate) async fn settle(place: &Place) -> Result<(), Failure> {
    match &place.database {
        None => Ok(()),
        Some(address) => {
            let settled = upkeep::settle(address).await;
            settled.map_err(|error| store_failure(place, error))
        }
    }
}

/// Bytes of the store in its database; none are of an embedded one.
pub(crate) async fn bytes(place: &Place) -> Result<u64, Failure> {
    match &place.database {
        None => Ok(0),
        Some(address) => {
            let bytes = upkeep::bytes(address).await;
            bytes.map_err(|error| store_failure(place, error))
        }
    }
}

/// Removes the store from its database, if it is in one and there.
pub(crate) async fn remove(place: &Place) -> Result<(), Failure> {
    match &place.database {
        None => Ok(()),
        Some(address) => match upkeep::remove(address).await {
            Ok(()) | Err(StoreError::Absent { .. }) => Ok(()),
            Err(error) => Err(store_failure(place, error)),
        },
    }
}

fn read(place: &Place) -> Result<Option<String>, Failure> {
    let file = place.node();
    match fs::read_to_string(&file) {
        Ok(text) if !text.trim().is_empty() => Ok(Some(text.trim().to_owned())),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::file(file.display(), &error)),
    }
}

/// A store that is filled from a backup, if the place is in a database.
pub(super) async fn load(place: &Place, log: &str) -> Result<Option<Loader>, Failure> {
    let Some(address) = &place.database else {
        return Ok(None);
    };
    let loader = PostgresStore::load(address.clone(), log).await;
    loader.map(Some).map_err(|error| match error {
        StoreError::Exists { what } => Failure::new(Exit::Conflict, format!("there is {what}"))
            .hint("a backup is restored where no store is: name another database, or ?schema=NAME"),
        error => store_failure(place, error),
    })
}

/// A new id, durable before anything is known under it.
fn new(place: &Place) -> Result<String, Failure> {
    let log = format!("pentad/{}", Id::generate(SystemClock.now(), &OsEntropy));
    write(&place.dir, &log)?;
    Ok(log)
}

/// Makes a directory the node that has this log.
pub(super) fn write(dir: &Path, log: &str) -> Result<(), Failure> {
    let file = place::node_of(dir);
    let write = || {
        let mut options = OpenOptions::new();
        let mut out = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&file)?;
        writeln!(out, "{log}")?;
        out.sync_all()?;
        durable::sync_dir(dir)
    };
    write().map_err(|error| Failure::file(file.display(), &error))
}
