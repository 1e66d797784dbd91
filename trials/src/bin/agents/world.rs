//! A system on an embedded store in a directory of its own, and what is asked of it.

use std::{
    path::{Path as FilePath, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, anyhow};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use pentad_agents::{
    Caller, Fault, Parts, Pentad,
    contract::rotation::Start,
    files::Directories,
    operations::{CredentialQuery, Put, Value},
    system,
};
use pentad_keys::{Keyring, RootKey, root};
use pentad_model::{
    Id, Kind, Path, Secret, SystemClock, Target, Tenant, credential::Binding, id::OsEntropy,
    target::Tls,
};
use pentad_runtime::{AgentHealth, Priority, chaos::Fault as Chaos};
use pentad_store::{
    audit::{self, AuditLog},
    sqlite::{OpenOptions, SqliteStore},
};

/// No budget is longer.
pub(crate) const HUNG: Duration = Duration::from_secs(90);
/// The target that the credentials below `app/` are bound to.
const TARGET: &str = "app";
/// Credentials of one sweep.
const SWEPT: usize = 50;

/// A request, named after what it asks of Pentad.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    /// Metadata: no agent.
    Describe,
    /// A value: encryption, monitoring.
    Read,
    /// A new credential: encryption, validation, monitoring.
    Write,
    /// A judgement: encryption, validation, monitoring.
    Check,
    /// A judgement of a page of the estate: the same, many times.
    Sweep,
    /// A look at a target: encryption, integration, monitoring.
    Target,
    /// Two test logins, then a new version: all but rotation.
    Adopt,
    /// What a rotation would do: rotation.
    Plan,
}

/// A system on an embedded store in a directory of its own.
pub(crate) struct World {
    pentad: Pentad,
    paths: Vec<Path>,
    bound: Vec<(Path, String)>,
    turn: AtomicU64,
    /// What was acknowledged: where, and the value.
    ledger: Mutex<Vec<(Path, String)>>,
    _dir: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new(credentials: usize) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let key = dir.path().join("master.key");
        root::file::create(&key, &RootKey::generate(&OsEntropy), &OsEntropy)?;
        let pentad = serve(dir.path(), &key).await?;
        let mut world = Self {
            pentad,
            paths: Vec::new(),
            bound: Vec::new(),
            turn: AtomicU64::new(0),
            ledger: Mutex::default(),
            _dir: dir,
        };
        for number in 0..credentials {
            world.paths.push(format!("estate/{number}").parse()?);
        }
        stream::iter(&world.paths)
            .map(|path| world.store(path, Priority::High))
            .buffer_unordered(64)
            .try_collect::<()>()
            .await?;
        world.bind_targets().await?;
        Ok(world)
    }

    /// A `.env` file as a target, with some credentials bound to it.
    async fn bind_targets(&mut self) -> Result<()> {
        let file: PathBuf = self._dir.path().join("app.env");
        let accounts: Vec<(String, String)> = (0..16)
            .map(|n| (format!("ACCOUNT_{n}"), self.fresh_value()))
            .collect();
        let text: String = accounts
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        std::fs::write(&file, text)?;
        let target = Target {
            tenant: Tenant::default_tenant(),
            name: TARGET.parse()?,
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
        self.pentad
            .put_target(&self.caller(Priority::High)?, target)
            .await?;
        for (name, value) in accounts {
            let path: Path = format!("app/{name}").parse()?;
            self.adopt(&path, &name, &value, Priority::High).await?;
            self.bound.push((path, value));
        }
        Ok(())
    }

    pub(crate) async fn carry_out(&self, work: Work, priority: Priority) -> Result<(), Fault> {
        let caller = self.caller(priority)?;
        let _pass = self.pentad.admit(priority).await?;
        match work {
            Work::Describe => drop(self.pentad.describe(&caller, self.any()).await?),
            Work::Read => drop(self.pentad.read(&caller, self.any(), None).await?),
            Work::Write => {
                let path = format!("new/{}", self.turn());
                let path = path.parse().map_err(|_| Fault::invalid("no path"))?;
                self.store(&path, priority).await?;
            }
            Work::Check => {
                let checked = self.pentad.check(&caller, self.any()).await?;
                if let Some(problem) = checked.problem {
                    return Err(Fault::internal(problem));
                }
            }
            Work::Sweep => {
                let query = CredentialQuery {
                    after: Some(self.any().clone()),
                    ..CredentialQuery::below(Tenant::default_tenant(), "estate/", SWEPT)
                };
                drop(self.pentad.check_page(&caller, query).await?);
            }
            Work::Target => {
                let name = TARGET.parse().map_err(|_| Fault::invalid("no name"))?;
                let checked = self.pentad.check_target(&caller, &name).await?;
                if let Some(complaint) = checked.complaints.first() {
                    return Err(Fault::internal(complaint.problem.clone()));
                }
            }
            Work::Adopt => {
                let turn = self.turn();
                let value = self.bound[turn as usize % 16].1.clone();
                let path = format!("adopted/{turn}");
                let path = path.parse().map_err(|_| Fault::invalid("no path"))?;
                self.adopt(&path, &format!("ACCOUNT_{}", turn % 16), &value, priority)
                    .await?;
            }
            Work::Plan => {
                let paths = self
                    .bound
                    .iter()
                    .take(4)
                    .map(|(path, _)| path.clone())
                    .collect();
                let plan = self
                    .pentad
                    .plan(
                        &caller,
                        Start {
                            paths,
                            strategy: None,
                        },
                    )
                    .await?;
                if let Some(refused) = plan.refused.first() {
                    return Err(Fault::internal(refused.reason.clone()));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn inject(&self, agent: &str, fault: Chaos) -> bool {
        self.pentad.supervisor().inject(agent, fault)
    }

    pub(crate) async fn stop(&self) {
        self.pentad.stop(Duration::from_secs(10)).await;
    }

    async fn store(&self, path: &Path, priority: Priority) -> Result<(), Fault> {
        let value = self.fresh_value();
        let put = Put {
            kind: Some(Kind::Secret),
            value: Some(Value::Given(Secret::new(value.as_str()))),
            accept_weak: true,
            ..Put::default()
        };
        self.pentad.put(&self.caller(priority)?, path, put).await?;
        lock(&self.ledger).push((path.clone(), value));
        Ok(())
    }

    async fn adopt(
        &self,
        path: &Path,
        account: &str,
        value: &str,
        priority: Priority,
    ) -> Result<(), Fault> {
        let binding = Binding {
            target: TARGET.parse().map_err(|_| Fault::invalid("no name"))?,
            account: account.to_owned(),
            alternate: None,
            strategy: None,
            owned: false,
            grace_seconds: 0,
            deliver_to: Vec::new(),
        };
        let put = Put {
            kind: Some(Kind::Database),
            value: Some(Value::Given(Secret::new(value))),
            binding: Some(binding),
            ..Put::default()
        };
        self.pentad
            .adopt(&self.caller(priority)?, path, put)
            .await?;
        lock(&self.ledger).push((path.clone(), value.to_owned()));
        Ok(())
    }

    /// How many acknowledged writes are not there, or not with their value.
    pub(crate) async fn lost(&self) -> usize {
        let mut lost = 0;
        for (path, value) in self.ledger() {
            let Ok(caller) = self.caller(Priority::High) else {
                return usize::MAX;
            };
            let read = self.pentad.read(&caller, &path, None).await;
            let there = read.is_ok_and(|read| read.value.expose_str().is_some_and(|s| s == value));
            lost += usize::from(!there);
        }
        lost
    }

    pub(crate) fn ledger(&self) -> Vec<(Path, String)> {
        lock(&self.ledger).clone()
    }

    fn caller(&self, priority: Priority) -> Result<Caller, Fault> {
        let id = self.pentad.correlation();
        let mut caller = self.pentad.local(&Tenant::default_tenant(), "trial", id)?;
        caller.priority = priority;
        Ok(caller)
    }

    fn turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    fn any(&self) -> &Path {
        &self.paths[self.turn() as usize % self.paths.len()]
    }

    /// A value that was never there before.
    fn fresh_value(&self) -> String {
        format!("Q7v{}", Id::generate(Default::default(), &OsEntropy))
    }

    pub(crate) fn health(&self) -> Vec<AgentHealth> {
        self.pentad.supervisor().health()
    }

    pub(crate) fn agent(&self, name: &str) -> Result<AgentHealth> {
        let found = self.health().into_iter().find(|agent| agent.name == name);
        found.ok_or_else(|| anyhow!("there is no {name} agent"))
    }
}

async fn serve(dir: &FilePath, key: &FilePath) -> Result<Pentad> {
    let store = SqliteStore::create(dir.join("store"), OpenOptions::default())?;
    let keyring = Keyring::new(root::file::read(key)?, Arc::new(OsEntropy))?;
    let check = serde_json::to_value(keyring.root_check())?;
    system::initialise(&store, &keyring, check, &SystemClock, &OsEntropy).await?;
    let store = Arc::new(store);
    let parts = Parts {
        keyring: Arc::new(keyring),
        reader: store.clone(),
        writer: store,
        audit: AuditLog::open(&dir.join("audit"), audit::Options::default(), 0)?,
        origin: "pentad.trial".to_owned(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
    };
    Ok(system::start_with(parts, Directories::below([dir])).await?)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
