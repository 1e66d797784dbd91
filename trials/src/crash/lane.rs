//! A Pentad with its estate, killed round after round.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use anyhow::{Result, bail};
use serde_json::json;
use tokio::{
    fs,
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::JoinHandle,
    time::{Duration, sleep},
};

use super::{
    Campaign, Store,
    database::Database,
    estate::{self, Account},
    flight::Flight,
    ledger::{Client, Ledger},
    plan, show,
    tally::{Kill, Tally},
};
use crate::{
    api::{Api, text},
    dice::Dice,
    server::{Installation, Logged, Server},
    systems::{self, System, Target},
};

/// Kills between two verifications of the audit log.
const VERIFY_EVERY: usize = 25;

/// See the [module](self).
pub struct Lane {
    pub(super) number: usize,
    pub(super) dice: Dice,
    pub(super) tally: Arc<Tally>,
    pub(super) flight: Flight,
    pub(super) estate: Vec<Account>,
    pub(super) targets: BTreeMap<System, Box<dyn Target>>,
    pub(super) installation: Installation,
    /// The store's, where it is in one.
    database: Option<Database>,
    pub(super) server: Option<Server>,
    pub(super) api: Api,
    pub(super) ledger: Ledger,
    /// The last step that the log showed, by path.
    pub(super) steps: BTreeMap<String, String>,
    pub(super) logged: UnboundedReceiver<Logged>,
    client: Option<Client>,
    into_log: UnboundedSender<Logged>,
    token: String,
    /// Kept checkpoints of the audit log, the oldest first.
    pub(super) checkpoints: Vec<PathBuf>,
    kills: usize,
    long_freezes: usize,
    /// Members that a third party touched in this round.
    pub(super) touched: Vec<usize>,
    /// What ends by itself, and must have ended before anybody looks: locks at a target, outages.
    pub(super) passing: Vec<JoinHandle<()>>,
}

impl Lane {
    /// A new store, new accounts, adopted.
    pub async fn open(number: usize, campaign: &Campaign, tally: Arc<Tally>) -> Result<Self> {
        let work = campaign.work.join(format!("lane-{number}"));
        let files = work.join("files");
        fs::create_dir_all(&files).await?;
        let mut dice = Dice::new(campaign.seed, number as u64 + 1);
        let database = match campaign.store {
            Store::Embedded => None,
            Store::Postgres => Some(Database::open(&work, &dice.password()).await?),
        };
        let installation = Installation {
            binary: campaign.binary.clone(),
            dir: work.join("store"),
            log: work.join("server.log"),
            files: files.clone(),
            collector: None,
            user: None,
            cwd: None,
            settings: database
                .as_ref()
                .map(Database::settings)
                .unwrap_or_default(),
        };
        let token = installation.init().await?;
        let flight = Flight::open(&campaign.systems).await?;
        let mut targets = BTreeMap::new();
        for system in &campaign.systems {
            targets.insert(*system, systems::target(*system)?);
        }
        let prefix = format!("crash_{}_{number}", std::process::id());
        let estate =
            estate::create(&campaign.systems, &targets, &prefix, &files, &mut dice).await?;
        let (into_log, logged) = mpsc::unbounded_channel();
        let server = installation.start(into_log.clone()).await?;
        let api = Api::new(&server.address, &token)?;
        let mut lane = Self {
            number,
            dice,
            tally,
            flight,
            estate,
            targets,
            installation,
            database,
            server: Some(server),
            api,
            ledger: Ledger::default(),
            steps: BTreeMap::new(),
            logged,
            client: None,
            into_log,
            token,
            checkpoints: Vec::new(),
            kills: 0,
            long_freezes: campaign.long_freezes,
            touched: Vec::new(),
            passing: Vec::new(),
        };
        if let Err(error) = estate::adopt(&lane.api, &lane.estate, &lane.flight.proxies).await {
            lane.close().await;
            return Err(error);
        }
        Ok(lane)
    }

    /// Rounds until all kills are drawn, then a last look at everything.
    pub async fn run(&mut self) -> Result<()> {
        self.keep_checkpoint().await?;
        let mut number = 0;
        while !self.tally.exhausted() {
            let round = plan::draw(number, &self.estate, self.long_freezes, &mut self.dice);
            number += 1;
            let members = round.members.clone();
            let accepted = self.play(round).await?;
            let stuck = self.settle(&accepted).await?;
            self.compare(&members, &accepted, false).await?;
            // Where a rotation does not end, the account is of no more use.
            if !stuck.is_empty() {
                self.estate.retain(|account| !stuck.contains(&account.path));
            }
            if self.estate.len() < 6 {
                bail!("too many rotations don't end");
            }
        }
        let everybody: Vec<usize> = (0..self.estate.len()).collect();
        self.compare(&everybody, &[], true).await?;
        self.keep_checkpoint().await?;
        if let Some(server) = self.server.take() {
            server.kill().await?;
        }
        self.verify_audit().await
    }

    /// Ends the server and takes the accounts away. The store and the logs stay.
    pub async fn close(&mut self) {
        self.client = None;
        self.server = None;
        if let Err(error) = estate::remove(&self.estate, &self.targets).await {
            show(&format!(
                "lane {}: accounts were left over: {error:#}",
                self.number
            ));
        }
    }

    // ---- kill and restart ---------------------------------------------------------------------

    /// A client that writes and reads beside the rotations, until the next kill.
    pub(super) fn work_beside(&mut self) {
        let paths = self
            .estate
            .iter()
            .map(|account| account.path.clone())
            .collect();
        let dice = Dice::new(self.dice.roll(), 1);
        self.client = Some(self.ledger.client(self.api.clone(), paths, dice));
    }

    /// Ends that client before its time.
    pub(super) fn client_pauses(&mut self) {
        self.client = None;
    }

    /// `kill -9`, and a new start on the same directory. The store's database, where there is one,
    /// is killed with it in one case of four, and in another a moment before, so that Pentad sees it
    /// die with its commits under way.
    pub(super) async fn kill(&mut self, mut trigger: String, story: &'static str) -> Result<()> {
        self.follow_log();
        let effects = self.flight.effects();
        let dies = match &self.database {
            Some(_) => self.dice.between(0, 3),
            None => u64::MAX,
        };
        if let (0, Some(database)) = (dies, &self.database) {
            database.kill().await?;
            trigger.push_str(", the database first");
            sleep(Duration::from_millis(self.dice.between(0, 1000))).await;
            // In half of the cases Pentad lives to see it come back.
            if self.dice.percent(50) {
                database.start().await?;
                trigger.push_str(" and back");
                sleep(Duration::from_millis(self.dice.between(0, 1500))).await;
            }
        }
        let Some(server) = self.server.take() else {
            bail!("there is no server to kill")
        };
        server.kill().await?;
        if let Some(database) = &self.database {
            if dies == 1 {
                database.kill().await?;
                trigger.push_str(", the database with it");
            }
            database.start_if_down().await?;
        }
        self.flight.killed();
        self.client = None;
        self.follow_log();
        let effects = effects
            .into_iter()
            .map(|(account, place)| format!("{} {place}", self.step_of(&account)))
            .collect();
        let unfinished = self
            .steps
            .values()
            .filter(|step| !ended(step))
            .cloned()
            .collect();
        let line = self.tally.killed(Kill {
            trigger,
            story,
            effects,
            steps: unfinished,
        });
        show(&format!("[{}] {line}", self.number));
        self.kills += 1;
        if self.kills.is_multiple_of(VERIFY_EVERY) {
            self.verify_audit().await?;
        }
        self.start().await
    }

    async fn start(&mut self) -> Result<()> {
        let server = self.installation.start(self.into_log.clone()).await?;
        self.api = Api::new(&server.address, &self.token)?;
        self.server = Some(server);
        Ok(())
    }

    /// Takes over what the log showed since the last look.
    pub(super) fn follow_log(&mut self) {
        while let Ok(logged) = self.logged.try_recv() {
            self.steps.insert(logged.path, logged.step);
        }
    }

    fn step_of(&self, account: &str) -> String {
        let owner = self
            .estate
            .iter()
            .find(|one| one.accounts.iter().any(|name| name == account));
        let step = owner.and_then(|owner| self.steps.get(&owner.path));
        let system = owner.map_or("", |owner| owner.system.name());
        format!("{system} {}", step.map_or("unlogged", String::as_str))
    }

    /// Asks for rotations of these members; the ids of those that were accepted, and how many were
    /// refused.
    pub(super) async fn ask(&mut self, members: &[usize]) -> Result<(Vec<String>, usize)> {
        let paths: Vec<&str> = members
            .iter()
            .map(|i| self.estate[*i].path.as_str())
            .collect();
        let answer = self
            .api
            .post("/v1/rotations", &json!({"paths": paths}))
            .await?;
        if answer.status == 409 {
            return Ok((Vec::new(), members.len()));
        }
        let started = answer.body()?;
        let mut ids = Vec::new();
        for one in started["rotations"].as_array().into_iter().flatten() {
            let (id, path) = (text(one, "id").to_owned(), text(one, "path").to_owned());
            self.ledger.rotations.insert(id.clone(), path);
            ids.push(id);
        }
        self.tally.accepted(ids.len());
        Ok((ids, started["refused"].as_array().map_or(0, Vec::len)))
    }
}

/// Whether a rotation at this step has ended.
pub(super) fn ended(step: &str) -> bool {
    matches!(step, "done" | "rolled_back" | "failed" | "diverged")
}
