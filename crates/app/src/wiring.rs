//! The store's directory and the system on top of it: root key, store, audit log, five agents.
//!
//! | in the directory | holds |
//! |---|---|
//! | `pentad.db*`, `lock` | the embedded store |
//! | `node` | which node of a shared store the directory is, where the store is in a database |
//! | `audit/` | the audit log |
//! | `master.key` | the root key, unless it comes from a passphrase or lies elsewhere |
//! | `address` | where the running server listens; removed when it stops |
//! | `tls/` | the self-signed certificate, if one was made |
//!
//! The document [`ROOT`] says where the root key comes from and how the right one is recognised; it
//! is checked before anything is opened with a key.

use std::{fs, sync::Arc, time::Duration};

use pentad_agents::{
    Parts, Pentad, encryption::TENANT_KEY, monitoring::high_water_of, system::start_within,
};
use pentad_keys::{Keyring, root::passphrase::Kdf, selftest};
use pentad_model::{
    Clock as _, Id, SystemClock, Tenant,
    id::{Entropy, OsEntropy},
};
use pentad_store::{
    Collection, OpenOptions, Reader, SqliteStore, StoreError, Writer, audit::AuditLog,
};

use crate::failure::{Exit, Failure};

mod failures;
mod place;
mod repair;
pub(crate) mod restoring;
mod root;
pub(crate) mod shared;

pub(crate) use place::Place;
pub(crate) use repair::repair_audit;

use failures::{audit_failure, internal, store_failure};
use root::{Root, root_document};

/// How long accepted work may take when the system stops.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Makes a new store. One whose making was cut short is completed; a whole one is refused.
pub(crate) async fn initialise(place: &Place, kdf: Option<Kdf>) -> Result<(), Failure> {
    self_test()?;
    place::private_directory(&place.dir)?;
    if let Some(address) = &place.database {
        let (store, known) = shared::make(place, address).await?;
        return match shared::join(place, &store).await {
            Ok(true) if known => Err(already(place)),
            Ok(true) => Ok(()),
            Ok(false) => complete(place, kdf, &store).await,
            Err(failure) => {
                // Without the key it has not joined: the next try is a first one again.
                if !known {
                    let _ = fs::remove_file(place.node());
                }
                Err(failure)
            }
        };
    }
    let store = match SqliteStore::create(&place.dir, OpenOptions::default()) {
        Ok(store) => store,
        Err(StoreError::Exists { .. }) => {
            let store = open_store(place)?;
            if root_document(&store).await?.is_some() {
                return Err(already(place));
            }
            store
        }
        Err(error) => return Err(store_failure(place, error)),
    };
    complete(place, kdf, &store).await
}

/// Puts the first documents into a store that has none.
async fn complete(place: &Place, kdf: Option<Kdf>, store: &dyn Writer) -> Result<(), Failure> {
    let log = format!("pentad/{}", Id::generate(SystemClock.now(), &OsEntropy));
    let (root, key) = Root::make(place, kdf, log).await?;
    let keyring = Keyring::new(key, Arc::new(OsEntropy)).map_err(internal)?;
    let root = serde_json::to_value(root).map_err(internal)?;
    pentad_agents::system::initialise(store, &keyring, root, &SystemClock, &OsEntropy)
        .await
        .map_err(Failure::from)
}

fn already(place: &Place) -> Failure {
    Failure::new(
        Exit::Conflict,
        format!("there is a store in {} already", place.store()),
    )
    .hint("it is ready for use; for another one, name another --dir")
}

/// Opens the store and starts the five agents.
pub(crate) async fn open(place: &Place) -> Result<Pentad, Failure> {
    self_test()?;
    let (reader, writer) = open_either(place).await?;
    let root = root_document(&*reader).await?.ok_or_else(|| {
        Failure::new(
            Exit::Missing,
            format!("the store in {} was not completed", place.store()),
        )
        .hint("run `pentad init` again with the same --dir")
    })?;
    let key = root.key(place).await?;
    let keyring = Keyring::new(key, Arc::new(OsEntropy)).map_err(internal)?;
    let high_water = high_water(&*reader).await?;
    let audit = AuditLog::open(&place.audit(), place.audit_options(), high_water)
        .map_err(|error| audit_failure(place, error))?;
    // Of a shared store each node's log has a name of its own.
    let origin = reader.node().map_or(root.log, str::to_owned);
    let parts = Parts {
        keyring: Arc::new(keyring),
        reader,
        writer,
        audit,
        origin,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
    };
    start_within(parts, place.files.clone(), place.limits.clone())
        .await
        .map_err(Failure::from)
}

/// Stops in good order.
pub(crate) async fn stop(pentad: &Pentad) {
    pentad.stop(STOP_WITHIN).await;
}

/// A store, as its two halves.
type Halves = (Arc<dyn Reader>, Arc<dyn Writer>);

/// Opens the store alone, wherever it is.
pub(crate) async fn open_either(place: &Place) -> Result<Halves, Failure> {
    Ok(match &place.database {
        None => halves(open_store(place)?),
        Some(address) => halves(shared::open(place, address).await?),
    })
}

fn halves<S: Reader + Writer>(store: S) -> Halves {
    let store = Arc::new(store);
    (store.clone(), store)
}

/// Opens the embedded store alone, for work below the agents.
pub(crate) fn open_store(place: &Place) -> Result<SqliteStore, Failure> {
    SqliteStore::open(&place.dir, OpenOptions::default())
        .map_err(|error| store_failure(place, error))
}

/// The keyring of a store with the default tenant's key, for work below the agents.
pub(crate) async fn keyring(place: &Place, store: &dyn Reader) -> Result<Keyring, Failure> {
    let root = root_document(store)
        .await?
        .ok_or_else(|| Failure::new(Exit::Missing, "the store was not completed"))?;
    let keyring = Keyring::new(root.key(place).await?, Arc::new(OsEntropy)).map_err(internal)?;
    let tenant = Tenant::default_tenant();
    let stored = store
        .document(Collection::Key, &tenant, TENANT_KEY, SystemClock.now())
        .await
        .map_err(|error| Failure::from(pentad_agents::Fault::from(error)))?
        .ok_or_else(|| Failure::new(Exit::Damaged, "the store has no key of its tenant"))?;
    let wrapped = serde_json::from_value(stored.body).map_err(internal)?;
    keyring.load_tenant_key(&wrapped).map_err(internal)?;
    Ok(keyring)
}

/// Who works here, by the system's own list: `USER` could say anything.
pub(crate) fn local_user() -> String {
    let uid = rustix::process::getuid().as_raw();
    let named = fs::read_to_string("/etc/passwd").ok().and_then(|text| {
        text.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        })
    });
    named.unwrap_or_else(|| format!("uid-{uid}"))
}

fn self_test() -> Result<(), Failure> {
    selftest::run()
        .and_then(|()| selftest::check_entropy(&OsEntropy as &dyn Entropy))
        .map_err(|error| {
            Failure::internal(error.to_string()).hint("this machine or this program is broken")
        })
}

async fn high_water(store: &dyn Reader) -> Result<u64, Failure> {
    let tenant = Tenant::default_tenant();
    let name = high_water_of(store.node());
    let found = store
        .document(Collection::State, &tenant, &name, SystemClock.now())
        .await
        .map_err(|error| Failure::from(pentad_agents::Fault::from(error)))?;
    Ok(found
        .and_then(|document| document.body.as_u64())
        .unwrap_or(0))
}
