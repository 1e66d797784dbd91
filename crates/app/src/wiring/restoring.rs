//! Backups below the agents: the key that opens one, a store restored from it, and the drill.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use pentad_agents::{
    Caller, Directories, Parts, Pentad,
    backup::{
        Chain, ChainError, Header,
        chain::{self, Listed},
        restore::{self, Plan, Restored},
    },
    operations::Proven,
    system::start_with,
};
use pentad_keys::{
    Keyring, RootKey,
    root::{file, recovery::Recovery},
};
use pentad_model::{
    Clock as _, Context, Id, Principal, Record, Secret, SystemClock, Tenant, id::OsEntropy,
    record::Outcome,
};
use pentad_store::{
    OpenOptions, SqliteStore,
    audit::{self, AuditLog},
    postgres::Loader,
};

use super::{
    failures::{internal, key_failure},
    local_user,
    place::{self, Place},
    root::{Root, Source},
    self_test, shared, stop,
};
use crate::{
    client::{Call, Client},
    failure::{Exit, Failure},
    progress::Progress,
};

/// Where the root key of a backup comes from.
pub(crate) enum KeyFrom {
    /// Where the store has it: its key file, or its passphrase.
    Place,
    /// A key file.
    File(PathBuf),
    /// The backup itself, under this passphrase.
    Recovery(Secret),
}

/// The root key that a backup was made under, and what a store restored from it says of its source.
pub(crate) async fn key_of(
    place: &Place,
    header: &Header,
    note: &[u8],
    from: &KeyFrom,
) -> Result<(RootKey, Root), Failure> {
    let mut root: Root = serde_json::from_value(header.root.clone()).map_err(|error| {
        Failure::new(Exit::Damaged, format!("the backup's header: {error}"))
            .hint("use another copy of the file")
    })?;
    let key = match from {
        KeyFrom::Recovery(passphrase) => {
            root.source = Source::File;
            recovered(note, passphrase.clone()).await?
        }
        KeyFrom::File(path) => {
            root.source = Source::File;
            file::read(path).map_err(key_failure)?
        }
        KeyFrom::Place => match &root.source {
            Source::File => file::read(&place.key_file).map_err(|error| {
                let failure = key_failure(error);
                match failure.exit {
                    Exit::Missing => failure.hint(
                        "name the root key's file with --key-file, or use --recovery-passphrase if \
                         the backup was made with one",
                    ),
                    _ => failure,
                }
            })?,
            Source::Passphrase { .. } => root.stretched(place).await?,
        },
    };
    match header.check.verify(&key) {
        Ok(()) => Ok((key, root)),
        Err(_) => Err(Failure::new(
            Exit::Denied,
            "wrong root key: the backup was made under another one",
        )
        .hint("give the key of the store that was backed up; nothing was changed")),
    }
}

async fn recovered(note: &[u8], passphrase: Secret) -> Result<RootKey, Failure> {
    if note.is_empty() {
        return Err(Failure::usage("the backup does not hold its root key").hint(
            "it was made without --recovery-passphrase: name the root key's file with --key-file",
        ));
    }
    let recovery: Recovery = serde_json::from_slice(note).map_err(|_| {
        Failure::new(Exit::Damaged, "the root key in the backup can't be read")
            .hint("use another copy of the file, or the root key's own file with --key-file")
    })?;
    let opened = tokio::task::spawn_blocking(move || recovery.open(&passphrase));
    opened.await.map_err(internal)?.map_err(|error| {
        let text = error.to_string();
        match text.split_once("; ") {
            Some((message, hint)) => Failure::new(Exit::Denied, message).hint(hint),
            None => Failure::new(Exit::Denied, text),
        }
    })
}

/// What a backup is, once every byte of it was opened.
pub(crate) struct Whole {
    pub(crate) chain: Chain,
    keyring: Arc<Keyring>,
}

/// Opens a backup with all that it rests on.
pub(crate) async fn open_backup(
    listed: &Listed,
    key: RootKey,
    progress: &Progress,
) -> Result<Whole, Failure> {
    self_test()?;
    let keyring = Arc::new(Keyring::new(key, Arc::new(OsEntropy)).map_err(internal)?);
    let (path, keys, progress) = (listed.path.clone(), keyring.clone(), progress.clone());
    let opened = apart(move || {
        Chain::open(&path, &keys, &|at| progress.at_bytes(at, "reading")).map_err(chain_failure)
    });
    let chain = opened.await?;
    Ok(Whole { chain, keyring })
}

/// Where a restored store goes: nowhere yet, or an empty directory.
pub(crate) fn vacant(place: &Place) -> Result<(), Failure> {
    match fs::read_dir(&place.dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::file(place.dir.display(), &error)),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Failure::new(
                Exit::Conflict,
                format!("{} is not empty", place.dir.display()),
            )
            .hint(
                "a backup is restored into a new directory: name one with --dir; a root key that \
                 lies there is named with --key-file",
            )),
        },
    }
}

/// Restores a store into the place's directory, or into its database with the directory as its node: it
/// is there whole, or not at all.
pub(crate) async fn restore_store(
    place: &Place,
    listed: &Listed,
    from: &KeyFrom,
    keep_tokens: bool,
    progress: &Progress,
) -> Result<Restored, Failure> {
    vacant(place)?;
    let (key, mut root) = key_of(place, &listed.header, &listed.note, from).await?;
    root.log = format!("pentad/{}", Id::generate(SystemClock.now(), &OsEntropy));
    // Where a store is already that is told before anything is read.
    let loader = shared::load(place, &root.log).await?;
    let parent = parent(&place.dir)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&parent)
        .map_err(|error| Failure::file(parent.display(), &error))?;
    let unfinished = Unfinished::beside(&place.dir, &parent)?;
    let dir = unfinished.0.clone();
    let inside = place.key_file.strip_prefix(&place.dir).ok();
    let key_file = match (&root.source, inside) {
        (Source::Passphrase { .. }, _) => None,
        (Source::File, Some(name)) => Some(dir.join(name)),
        (Source::File, None) => (!place.key_file.exists()).then(|| place.key_file.clone()),
    };
    if let Some(path) = &key_file {
        file::create(path, &key, &OsEntropy).map_err(key_failure)?;
    }
    if loader.is_some() {
        shared::write(&dir, &root.log)?;
    }
    let whole = open_backup(listed, key, progress).await?;
    let plan = plan(&root, keep_tokens, true)?;
    let is_shared = loader.is_some();
    let (restored, _) = whole.fill(dir, loader, plan, progress).await?;
    let published = unfinished.publish(&place.dir, &parent);
    if published.is_err() && is_shared {
        // Without its node and its log it is no store.
        shared::remove(place).await?;
    }
    published?;
    Ok(restored)
}

/// Restores into a directory that is thrown away, starts the agents on it, and has every value opened.
pub(crate) async fn drill(
    listed: &Listed,
    key: RootKey,
    mut root: Root,
    below: Option<&Path>,
    progress: &Progress,
) -> Result<Drilled, Failure> {
    let below = below.map_or_else(std::env::temp_dir, Path::to_owned);
    let dir = tempfile::Builder::new()
        .prefix(".pentad-drill-")
        .tempdir_in(&below)
        .map_err(|error| Failure::file(below.display(), &error))?;
    let whole = open_backup(listed, key, progress).await?;
    let keyring = Arc::clone(&whole.keyring);
    let plan = plan(&root, true, false)?;
    let (restored, size) = whole
        .fill(dir.path().to_owned(), None, plan, progress)
        .await?;
    // Of a drill nothing is signed under a name that exists elsewhere.
    root.log = format!("drill/{}", listed.header.id);
    let at = |error| store_failure_at(dir.path(), error);
    let store = Arc::new(SqliteStore::open(dir.path(), OpenOptions::default()).map_err(at)?);
    let audit = dir.path().join("audit");
    let audit = AuditLog::open(&audit, audit::Options::default(), restored.log_records)
        .map_err(|error| Failure::new(Exit::Damaged, error.to_string()))?;
    let parts = Parts {
        keyring,
        reader: store.clone(),
        writer: store,
        audit,
        origin: root.log,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
    };
    // No files of others, and nothing is due: a drill reaches nobody.
    let pentad = start_with(parts, Directories::default()).await?;
    let tenant = Tenant::default_tenant();
    let caller = pentad.local(&tenant, &local_user(), pentad.correlation())?;
    let proven = pentad
        .prove(&caller, &|versions| {
            progress.at_bytes(size, &format!("{versions} values opened"));
        })
        .await;
    let present = match &proven {
        Ok(_) => present(&pentad, &caller).await,
        Err(_) => Ok(BTreeMap::new()),
    };
    stop(&pentad).await;
    Ok(Drilled {
        restored,
        proven: proven?,
        present: present?,
    })
}

/// What a drill showed.
pub(crate) struct Drilled {
    pub(crate) restored: Restored,
    pub(crate) proven: Proven,
    /// The current version of each living credential of the default tenant, in the backup.
    pub(crate) present: BTreeMap<String, u64>,
}

async fn present(pentad: &Pentad, caller: &Caller) -> Result<BTreeMap<String, u64>, Failure> {
    let client = Client::local(pentad.clone(), local_user(), caller.context.tenant.as_str());
    current_versions(&client).await
}

/// The current version of each living credential, by its path.
pub(crate) async fn current_versions(client: &Client) -> Result<BTreeMap<String, u64>, Failure> {
    let (mut found, mut next) = (BTreeMap::new(), None::<String>);
    loop {
        let call = Call::get("/v1/credentials")
            .query("limit", Some(1000))
            .query("after", next.as_ref());
        let page = client.send(call).await?.json()?;
        for one in page["items"].as_array().into_iter().flatten() {
            if let (Some(path), Some(current)) = (one["path"].as_str(), one["current"].as_u64()) {
                found.insert(path.to_owned(), current);
            }
        }
        next = page["next"].as_str().map(str::to_owned);
        if next.is_none() {
            return Ok(found);
        }
    }
}

impl Whole {
    /// Restores it into a directory, with the store elsewhere if that is given; answers how many bytes
    /// it has, too.
    async fn fill(
        mut self,
        dir: PathBuf,
        loader: Option<Loader>,
        plan: Plan,
        progress: &Progress,
    ) -> Result<(Restored, u64), Failure> {
        let (size, progress) = (self.chain.size(), progress.clone());
        let filled = apart(move || {
            let written = |rows| progress.at_bytes(size, &format!("{rows} rows written"));
            let (chain, keys) = (&mut self.chain, &self.keyring);
            let restored = match loader {
                None => restore::restore(chain, keys, &dir, plan, &written),
                Some(loader) => {
                    restore::restore_into(chain, keys, Box::new(loader), &dir, plan, &written)
                }
            };
            restored.map_err(Failure::from)
        });
        Ok((filled.await?, size))
    }
}

/// On a thread that may block.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(internal)?
}

fn plan(root: &Root, keep_tokens: bool, look: bool) -> Result<Plan, Failure> {
    let now = SystemClock.now();
    let context = Context {
        correlation: Id::generate(now, &OsEntropy),
        tenant: Tenant::default_tenant(),
        principal: Principal::Local { user: local_user() },
        origin: "local".to_owned(),
    };
    let id = Id::generate(now, &OsEntropy);
    Ok(Plan {
        root: serde_json::to_value(root).map_err(internal)?,
        log: root.log.clone(),
        keep_tokens,
        look,
        now,
        record: Record::new(id, now, &context, "system.restore", Outcome::Done),
    })
}

/// What stands in the way of reading a backup, as a command fails with it.
pub(crate) fn chain_failure(error: ChainError) -> Failure {
    let text = error.to_string();
    let exit = match &error {
        ChainError::Io { path, error } => return Failure::file(path.display(), error),
        ChainError::NotABackup { .. } => Exit::Usage,
        ChainError::Newer { .. } => Exit::Unavailable,
        ChainError::CutOff { .. } | ChainError::Damaged { .. } => Exit::Damaged,
        ChainError::Foreign { .. } => Exit::Denied,
        ChainError::NoParent { .. } => Exit::Missing,
    };
    let hint = match &error {
        ChainError::Foreign { .. } => Some("give the key of the store that was backed up"),
        ChainError::NotABackup { .. } => {
            Some("`pentad backup list DIR` shows the backups in a directory")
        }
        _ => None,
    };
    // The messages end in the next step: it becomes the hint.
    match (hint, text.rsplit_once("; ")) {
        (Some(hint), _) => Failure::new(exit, text).hint(hint),
        (None, Some((message, next))) => Failure::new(exit, message).hint(next),
        (None, None) => Failure::new(exit, text),
    }
}

/// A directory that is filled beside the one that it becomes; gone unless it becomes it.
struct Unfinished(PathBuf);

impl Unfinished {
    fn beside(dir: &Path, parent: &Path) -> Result<Self, Failure> {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let id = Id::generate(SystemClock.now(), &OsEntropy);
        let path = parent.join(format!(".{name}.restoring-{id}"));
        place::private_directory(&path)?;
        Ok(Self(path))
    }

    /// Gives it its name, durably. The old directory is empty, or not there.
    fn publish(self, dir: &Path, parent: &Path) -> Result<(), Failure> {
        let sync = |dir: &Path| {
            let synced = File::open(dir).and_then(|dir| dir.sync_all());
            synced.map_err(|error| Failure::file(dir.display(), &error))
        };
        sync(&self.0)?;
        fs::rename(&self.0, dir).map_err(|error| Failure::file(dir.display(), &error))?;
        sync(parent)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        restore::discard(&self.0);
    }
}

fn parent(dir: &Path) -> Result<PathBuf, Failure> {
    let dir = std::path::absolute(dir).map_err(|error| Failure::file(dir.display(), &error))?;
    dir.parent()
        .map(Path::to_owned)
        .ok_or_else(|| Failure::usage("the root directory is no place for a store"))
}

fn store_failure_at(dir: &Path, error: pentad_store::StoreError) -> Failure {
    Failure::new(Exit::Damaged, format!("{}: {error}", dir.display()))
}

/// Looks at a backup's beginning.
pub(crate) fn look(path: &Path) -> Result<Listed, Failure> {
    chain::look(path).map_err(chain_failure)
}
