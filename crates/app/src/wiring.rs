//! The store's directory and the system on top of it: root key, store, audit log, five agents.
//!
//! | in the directory | holds |
//! |---|---|
//! | `pentad.db*`, `lock` | the embedded store |
//! | `audit/` | the audit log |
//! | `master.key` | the root key, unless it comes from a passphrase or lies elsewhere |
//! | `address` | where the running server listens; removed when it stops |
//! | `tls/` | the self-signed certificate, if one was made |
//!
//! The document [`ROOT`] says where the root key comes from and how the right one is recognised; it
//! is checked before anything is opened with a key.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use pentad_agents::{
    Directories, Parts, Pentad,
    monitoring::HIGH_WATER,
    system::{ROOT, start_with},
};
use pentad_keys::{
    Keyring, RootCheck, RootKey,
    root::{
        file::{self, KeyFileError},
        passphrase::{Kdf, PassphraseError, RootParameters},
    },
    selftest,
};
use pentad_model::{
    Clock as _, Context, Id, Principal, Record, Secret, SystemClock, Tenant,
    id::{Entropy, OsEntropy},
    record::Outcome,
};
use pentad_store::{
    Change, Collection, Document, Expect, Op, OpenOptions, Reader, SqliteStore, StoreError, Writer,
    audit::{self, AuditError, AuditLog, Repair},
};
use serde::{Deserialize, Serialize};

use crate::{
    config::Config,
    failure::{Exit, Failure},
    passphrase,
};

/// How long accepted work may take when the system stops.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Where everything lies.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) key_file: PathBuf,
    passphrase_file: PathBuf,
    files: Directories,
}

impl Place {
    pub(crate) fn of(config: &Config) -> Result<Self, Failure> {
        let dir = config.dir()?;
        let key_file = match config.store.key_file.as_os_str().is_empty() {
            true => dir.join("master.key"),
            false => config.store.key_file.clone(),
        };
        Ok(Self {
            dir,
            key_file,
            passphrase_file: config.store.passphrase_file.clone(),
            files: files(&config.files)?,
        })
    }

    /// The audit log's directory.
    pub(crate) fn audit(&self) -> PathBuf {
        self.dir.join("audit")
    }

    /// The file in which a running server says where it listens.
    pub(crate) fn address(&self) -> PathBuf {
        self.dir.join("address")
    }

    fn passphrase(&self, new: bool) -> Result<Secret, Failure> {
        match (self.passphrase_file.as_os_str().is_empty(), new) {
            (false, _) => passphrase::from_file(&self.passphrase_file),
            (true, true) => passphrase::ask_twice("New passphrase of the store"),
            (true, false) => passphrase::ask("Passphrase of the store"),
        }
        .map_err(|failure| match failure.hint {
            None => failure.hint("PENTAD_PASSPHRASE_FILE names a file that holds it"),
            Some(_) => failure,
        })
    }
}

/// The directories that the operator named; a relative one would mean another place on each start.
fn files(settings: &crate::config::Files) -> Result<Directories, Failure> {
    match settings
        .below
        .iter()
        .find(|directory| !directory.is_absolute())
    {
        None => Ok(Directories::below(&settings.below)),
        Some(relative) => Err(Failure::usage(format!(
            "files.below: `{}` is not an absolute path",
            relative.display()
        ))),
    }
}

/// Where the root key comes from.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source {
    /// A key file.
    File,
    /// A passphrase, stretched.
    Passphrase { parameters: RootParameters },
}

/// The document [`ROOT`].
#[derive(Serialize, Deserialize)]
struct Root {
    source: Source,
    check: RootCheck,
    /// The audit log's name in checkpoints: the same wherever the directory is moved.
    log: String,
}

/// Makes a new store. One whose making was cut short is completed; a whole one is refused.
pub(crate) async fn initialise(place: &Place, kdf: Option<Kdf>) -> Result<(), Failure> {
    self_test()?;
    private_directory(&place.dir)?;
    let store = match SqliteStore::create(&place.dir, OpenOptions::default()) {
        Ok(store) => store,
        Err(StoreError::Exists { .. }) => {
            let store = open_store(place)?;
            if root_document(&store).await?.is_some() {
                return Err(Failure::new(
                    Exit::Conflict,
                    format!("there is a store in {} already", place.dir.display()),
                )
                .hint("it is ready for use; for another one, name another --dir"));
            }
            store
        }
        Err(error) => return Err(store_failure(place, error)),
    };
    let (source, root) = match kdf {
        None => (Source::File, key_from_new_file(place)?),
        Some(kdf) => {
            let parameters = RootParameters::generate(kdf, &OsEntropy)
                .map_err(|error| Failure::usage(error.to_string()))?;
            let root = stretch(&parameters, place.passphrase(true)?).await?;
            (Source::Passphrase { parameters }, root)
        }
    };
    let check = root.check().map_err(internal)?;
    let log = format!("pentad/{}", Id::generate(SystemClock.now(), &OsEntropy));
    let keyring = Keyring::new(root, Arc::new(OsEntropy)).map_err(internal)?;
    let root = serde_json::to_value(Root { source, check, log }).map_err(internal)?;
    pentad_agents::system::initialise(&store, &keyring, root, &SystemClock, &OsEntropy)
        .await
        .map_err(Failure::from)
}

/// Opens the store and starts the five agents.
pub(crate) async fn open(place: &Place) -> Result<Pentad, Failure> {
    self_test()?;
    let store = open_store(place)?;
    let root = root_document(&store).await?.ok_or_else(|| {
        Failure::new(
            Exit::Missing,
            format!("the store in {} was not completed", place.dir.display()),
        )
        .hint("run `pentad init` again with the same --dir")
    })?;
    let key = match &root.source {
        Source::File => file::read(&place.key_file).map_err(key_failure)?,
        Source::Passphrase { parameters } => stretch(parameters, place.passphrase(false)?).await?,
    };
    root.check.verify(&key).map_err(|wrong| {
        Failure::new(
            Exit::Denied,
            "wrong root key: this store was made with another one",
        )
        .hint(match root.source {
            Source::File => format!(
                "put the right key file at {} or name it with PENTAD_KEY_FILE; {}",
                place.key_file.display(),
                "nothing was changed"
            ),
            Source::Passphrase { .. } => {
                let _ = wrong;
                "give the passphrase that the store was made with; nothing was changed".to_owned()
            }
        })
    })?;
    let keyring = Keyring::new(key, Arc::new(OsEntropy)).map_err(internal)?;
    let high_water = high_water(&store).await?;
    let audit = AuditLog::open(&place.audit(), audit::Options::default(), high_water)
        .map_err(|error| audit_failure(place, error))?;
    let store = Arc::new(store);
    let parts = Parts {
        keyring: Arc::new(keyring),
        reader: store.clone(),
        writer: store,
        audit,
        origin: root.log,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
    };
    start_with(parts, place.files.clone())
        .await
        .map_err(Failure::from)
}

/// Stops in good order.
pub(crate) async fn stop(pentad: &Pentad) {
    pentad.stop(STOP_WITHIN).await;
}

/// Opens the store alone, for work below the agents.
pub(crate) fn open_store(place: &Place) -> Result<SqliteStore, Failure> {
    SqliteStore::open(&place.dir, OpenOptions::default())
        .map_err(|error| store_failure(place, error))
}

/// Moves what is damaged in the audit log aside and lets it go on from there, on record.
///
/// The store may know of records that the log has lost for good; accepting that is the point of a
/// repair, so the high-water mark is set to what there is.
pub(crate) async fn repair_audit(place: &Place) -> Result<Repair, Failure> {
    let store = open_store(place)?;
    let expected = high_water(&store).await?;
    let repair = audit::repair(&place.audit()).map_err(|error| audit_failure(place, error))?;
    let log = AuditLog::open(&place.audit(), audit::Options::default(), repair.kept)
        .map_err(|error| audit_failure(place, error))?;
    if repair.moved.is_empty() && repair.kept >= expected {
        return Ok(repair);
    }
    let now = SystemClock.now();
    let context = Context {
        correlation: Id::generate(now, &OsEntropy),
        tenant: Tenant::default_tenant(),
        principal: Principal::Local { user: local_user() },
        origin: "local".to_owned(),
    };
    let id = Id::generate(now, &OsEntropy);
    let record = Record::new(id, now, &context, "audit.repair", Outcome::Done).detail(format!(
        "kept {} records of {expected} known, moved {} files aside",
        repair.kept,
        repair.moved.len()
    ));
    log.append(&record)
        .await
        .map_err(|error| audit_failure(place, error))?;
    let document = Document {
        collection: Collection::State,
        tenant: Tenant::default_tenant(),
        name: HIGH_WATER.to_owned(),
        revision: 0,
        expires_at: None,
        body: log.size().into(),
        seal: None,
    };
    let op = Op::PutDocument {
        document,
        expect: Expect::Any,
    };
    store
        .commit(Change {
            ops: vec![op],
            records: Vec::new(),
        })
        .await
        .map_err(|error| store_failure(place, error))?;
    Ok(repair)
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

/// The directory, for its owner alone; one that others may enter is refused, not changed.
fn private_directory(dir: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| Failure::file(dir.display(), &error))?;
    let mode = fs::metadata(dir)
        .map_err(|error| Failure::file(dir.display(), &error))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(Failure::new(
            Exit::Denied,
            format!(
                "{} is open to other users (mode {:04o})",
                dir.display(),
                mode & 0o7777
            ),
        )
        .hint(format!("chmod 700 {}", dir.display())));
    }
    Ok(())
}

/// A new key file; one that is there already is used: the store has no other key yet.
fn key_from_new_file(place: &Place) -> Result<RootKey, Failure> {
    match file::read(&place.key_file) {
        Ok(root) => Ok(root),
        Err(KeyFileError::Missing { .. }) => {
            file::create(&place.key_file, &RootKey::generate(&OsEntropy), &OsEntropy)
                .map_err(key_failure)?;
            file::read(&place.key_file).map_err(key_failure)
        }
        Err(error) => Err(key_failure(error)),
    }
}

async fn stretch(parameters: &RootParameters, passphrase: Secret) -> Result<RootKey, Failure> {
    let parameters = parameters.clone();
    let derived = tokio::task::spawn_blocking(move || parameters.derive(&passphrase));
    derived.await.map_err(internal)?.map_err(|error| {
        let exit = match error {
            PassphraseError::Length => Exit::Usage,
            PassphraseError::OutOfMemory => Exit::Unavailable,
        };
        Failure::new(exit, error.to_string())
    })
}

async fn root_document(store: &SqliteStore) -> Result<Option<Root>, Failure> {
    let tenant = Tenant::default_tenant();
    let found = store
        .document(Collection::Key, &tenant, ROOT, SystemClock.now())
        .await
        .map_err(|error| Failure::from(pentad_agents::Fault::from(error)))?;
    let Some(document) = found else {
        return Ok(None);
    };
    serde_json::from_value(document.body)
        .map(Some)
        .map_err(|error| {
            Failure::new(Exit::Damaged, format!("the store's root document: {error}"))
                .hint("restore the store from its backup")
        })
}

async fn high_water(store: &SqliteStore) -> Result<u64, Failure> {
    let tenant = Tenant::default_tenant();
    let found = store
        .document(Collection::State, &tenant, HIGH_WATER, SystemClock.now())
        .await
        .map_err(|error| Failure::from(pentad_agents::Fault::from(error)))?;
    Ok(found
        .and_then(|document| document.body.as_u64())
        .unwrap_or(0))
}

fn store_failure(place: &Place, error: StoreError) -> Failure {
    let hint = match &error {
        StoreError::Locked { .. } => Some(match fs::read_to_string(place.address()) {
            Ok(address) => format!(
                "talk to the running server: export PENTAD_ADDR={}",
                address.trim()
            ),
            Err(_) => "stop the other process, or wait until it is done".to_owned(),
        }),
        StoreError::Absent { .. } => Some(format!(
            "make one with `pentad init --dir {}`, or name another with --dir, or a server with \
             PENTAD_ADDR",
            place.dir.display()
        )),
        StoreError::TooNew { .. } => {
            Some("install the newer pentad; this one changed nothing".to_owned())
        }
        StoreError::Corrupt { .. } => Some("restore the store from its backup".to_owned()),
        StoreError::Full => Some(format!(
            "free space on the volume of {}",
            place.dir.display()
        )),
        _ => None,
    };
    let message = match &error {
        StoreError::Locked { path, pid } => {
            format!(
                "another process ({pid}) has the store in {} open",
                path.display()
            )
        }
        StoreError::Absent { path } => format!("there is no pentad store in {}", path.display()),
        other => other.to_string(),
    };
    let exit = match &error {
        StoreError::Absent { .. } => Exit::Missing,
        StoreError::Corrupt { .. } => Exit::Damaged,
        StoreError::Exists { .. } | StoreError::Conflict { .. } => Exit::Conflict,
        _ => Exit::Unavailable,
    };
    Failure {
        hint,
        ..Failure::new(exit, message)
    }
}

fn audit_failure(place: &Place, error: AuditError) -> Failure {
    let dir = place.dir.display();
    match &error {
        AuditError::Damaged {
            file,
            offset,
            reason,
        } => Failure::new(
            Exit::Damaged,
            format!(
                "the audit log is damaged: {} at byte {offset}: {reason}",
                file.display()
            ),
        )
        .hint(format!(
            "`pentad --dir {dir} audit verify` lists all damage, `audit repair` moves it aside"
        )),
        AuditError::BelowHighWater {
            size, high_water, ..
        } => Failure::new(
            Exit::Damaged,
            format!("the audit log has {size} records, {high_water} were durable: some are gone"),
        )
        .hint("restore its directory; `pentad audit repair` accepts the loss, on record"),
        AuditError::Full => Failure::unavailable("the disk is full: nothing was changed")
            .hint(format!("free space on the volume of {dir}")),
        AuditError::Locked { .. } => Failure::unavailable(error.to_string()),
        _ => Failure::new(Exit::Damaged, error.to_string()),
    }
}

fn key_failure(error: KeyFileError) -> Failure {
    let exit = match &error {
        KeyFileError::Missing { .. } => Exit::Missing,
        KeyFileError::Exists { .. } => Exit::Conflict,
        KeyFileError::Damaged { .. } | KeyFileError::NotAKeyFile { .. } => Exit::Damaged,
        KeyFileError::UnknownVersion { .. } => Exit::Unavailable,
        _ => Exit::Denied,
    };
    // The messages end in the next step: it becomes the hint.
    let text = error.to_string();
    match text.split_once("; ") {
        Some((message, hint)) => Failure::new(exit, message).hint(hint),
        None => Failure::new(exit, text),
    }
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::internal(error.to_string())
}
