//! A system on an embedded store in a directory of its own.

use std::{path::PathBuf, sync::Arc, time::Duration};

use pentad_agents::{
    Caller, Directories, Parts, Pentad,
    operations::{Put, Stored, Sweeps, Value},
    system,
};
use pentad_keys::{Keyring, RootKey, root};
use pentad_model::{
    Clock, Id, Kind, Rotation, Secret, SystemClock, Target, Tenant, credential::Binding,
    id::OsEntropy, rotation::Step, target::Tls,
};
use pentad_store::{
    Change, Op, Writer,
    audit::{self, AuditLog},
    sqlite::{OpenOptions, SqliteStore},
};

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) pentad: Pentad,
}

impl World {
    /// A new system.
    pub(crate) async fn new() -> Self {
        Self::at(Arc::new(SystemClock)).await
    }

    /// A new system that tells the time by `clock`; after a restart, by the system's again.
    pub(crate) async fn at(clock: Arc<dyn Clock>) -> Self {
        Self::with(clock, |store| store).await
    }

    /// A new system whose changes go through what `between` makes of the store.
    pub(crate) async fn with(
        clock: Arc<dyn Clock>,
        between: impl FnOnce(Arc<dyn Writer>) -> Arc<dyn Writer>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("master.key");
        root::file::create(&key, &RootKey::generate(&OsEntropy), &OsEntropy).unwrap();
        let store = SqliteStore::create(dir.path().join("store"), OpenOptions::default()).unwrap();
        let keyring = Keyring::new(root::file::read(&key).unwrap(), Arc::new(OsEntropy)).unwrap();
        let check = serde_json::to_value(keyring.root_check()).unwrap();
        system::initialise(&store, &keyring, check, &SystemClock, &OsEntropy)
            .await
            .unwrap();
        drop(store);
        let pentad = run_at(dir.path(), clock, between).await;
        Self { dir, pentad }
    }

    /// The same directory, served by a new set of agents. What the old ones had not finished is
    /// left as it is, as after a crash.
    pub(crate) async fn restarted(self) -> Self {
        self.restarted_after(|_| ()).await
    }

    /// As [`restarted`](Self::restarted), with something done to the directory between.
    pub(crate) async fn restarted_after(self, between: impl FnOnce(&std::path::Path)) -> Self {
        self.pentad.stop(Duration::from_secs(5)).await;
        let dir = self.dir;
        drop(self.pentad);
        between(dir.path());
        let pentad = run(dir.path()).await;
        Self { dir, pentad }
    }

    /// The same system after somebody else wrote to its store.
    pub(crate) async fn tampered(self, op: Op) -> Self {
        self.tampered_with(vec![op]).await
    }

    /// As [`tampered`](Self::tampered), with many things at once.
    pub(crate) async fn tampered_with(self, ops: Vec<Op>) -> Self {
        self.pentad.stop(Duration::from_secs(5)).await;
        let dir = self.dir;
        drop(self.pentad);
        let store = open(dir.path()).await;
        store
            .commit(Change {
                ops,
                records: Vec::new(),
            })
            .await
            .unwrap();
        drop(store);
        let pentad = run(dir.path()).await;
        Self { dir, pentad }
    }

    /// As a sweep right after a start.
    pub(crate) async fn sweep(&self) -> Result<u64, pentad_agents::Fault> {
        let mut sweeps = Sweeps::default();
        self.pentad
            .sweep_retention(&mut sweeps, Duration::ZERO)
            .await
    }

    pub(crate) fn admin(&self) -> Caller {
        let id = self.pentad.correlation();
        self.pentad
            .local(&Tenant::default_tenant(), "tester", id)
            .unwrap()
    }

    pub(crate) async fn put(&self, path: &str, kind: Kind, value: &str) -> Stored {
        let put = Put {
            kind: Some(kind),
            value: Some(Value::Given(Secret::new(value))),
            ..Put::default()
        };
        self.pentad
            .put(&self.admin(), &path.parse().unwrap(), put)
            .await
            .unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        let read = self
            .pentad
            .read(&self.admin(), &path.parse().unwrap(), None)
            .await
            .unwrap();
        read.value.expose_str().unwrap().to_owned()
    }

    /// A `.env` file with these variables, as a target, and a credential bound to each.
    pub(crate) async fn env_file(&self, variables: &[(&str, &str)]) -> PathBuf {
        let file = self.dir.path().join("app.env");
        let text: String = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        std::fs::write(&file, text).unwrap();
        let target = Target {
            tenant: Tenant::default_tenant(),
            name: "app".parse().unwrap(),
            system: "envfile".to_owned(),
            address: file.display().to_string(),
            admin_account: None,
            admin_credential: None,
            tls: Tls::default(),
            ca_pem: None,
            concurrency: 16,
            lockout_limit: None,
            options: Default::default(),
            revision: 0,
            created_at: Default::default(),
        };
        self.pentad.put_target(&self.admin(), target).await.unwrap();
        for (name, value) in variables {
            let put = Put {
                kind: Some(Kind::Database),
                value: Some(Value::Given(Secret::new(*value))),
                binding: Some(bind(name)),
                ..Put::default()
            };
            let path = format!("app/{name}").parse().unwrap();
            self.pentad.adopt(&self.admin(), &path, put).await.unwrap();
        }
        file
    }

    /// Waits for the end of a rotation.
    pub(crate) async fn ended(&self, id: Id) -> Rotation {
        self.reaches(id, Step::is_final).await
    }

    pub(crate) async fn reaches(&self, id: Id, there: impl Fn(Step) -> bool) -> Rotation {
        for _ in 0..2_000 {
            let rotation = self.pentad.rotation(&self.admin(), id).await.unwrap();
            if there(rotation.progress.step) {
                return rotation;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:#?}", self.pentad.rotation(&self.admin(), id).await);
    }
}

pub(crate) fn bind(account: &str) -> Binding {
    Binding {
        target: "app".parse().unwrap(),
        account: account.to_owned(),
        alternate: None,
        strategy: None,
        owned: false,
        grace_seconds: 0,
        deliver_to: Vec::new(),
    }
}

pub(crate) async fn run(dir: &std::path::Path) -> Pentad {
    run_at(dir, Arc::new(SystemClock), |store| store).await
}

async fn run_at(
    dir: &std::path::Path,
    clock: Arc<dyn Clock>,
    between: impl FnOnce(Arc<dyn Writer>) -> Arc<dyn Writer>,
) -> Pentad {
    let files = Directories::below([dir]);
    run_in(dir, clock, between, files).await
}

/// As [`run`], with these files of others admitted.
pub(crate) async fn run_with(dir: &std::path::Path, files: Directories) -> Pentad {
    run_in(dir, Arc::new(SystemClock), |store| store, files).await
}

async fn run_in(
    dir: &std::path::Path,
    clock: Arc<dyn Clock>,
    between: impl FnOnce(Arc<dyn Writer>) -> Arc<dyn Writer>,
    files: Directories,
) -> Pentad {
    let root = root::file::read(&dir.join("master.key")).unwrap();
    let store = Arc::new(open(dir).await);
    let parts = Parts {
        keyring: Arc::new(Keyring::new(root, Arc::new(OsEntropy)).unwrap()),
        reader: store.clone(),
        writer: between(store),
        audit: AuditLog::open(&dir.join("audit"), audit::Options::default(), 0).unwrap(),
        origin: "pentad.test".to_owned(),
        clock,
        entropy: Arc::new(OsEntropy),
    };
    system::start_with(parts, files).await.unwrap()
}

/// Threads of the agents before may hold the store for another moment.
async fn open(dir: &std::path::Path) -> SqliteStore {
    for _ in 0..200 {
        match SqliteStore::open(dir.join("store"), OpenOptions::default()) {
            Ok(store) => return store,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    SqliteStore::open(dir.join("store"), OpenOptions::default()).unwrap()
}
