//! A store, life after life: mounted, started, looked at, used, cut.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use tokio::{
    fs,
    sync::mpsc::{self, UnboundedSender},
    time::{Instant, sleep, timeout},
};

use super::{
    Campaign, check, clients,
    disk::Disk,
    faults::{Faults, Kind},
    ledger::Ledger,
    mount::Mount,
    tally::{After, Tally, Wrong},
    weather::Weather,
};
use crate::{
    api::{Api, text},
    crash::show,
    dice::Dice,
    server::{Installation, Logged, Server},
};

/// Lives of a store before a new one is made.
const LIVES: u64 = 12;
/// Lives between two verifications of the audit log.
const VERIFY_EVERY: u64 = 4;
/// A segment of the audit log, so that many are filled. KiB.
const SEGMENT: u64 = 32;
/// How long rotations may take to find out where they stand.
const RECOVERY: Duration = Duration::from_secs(60);
/// How long anything else may take that is not to be cut.
const PATIENCE: Duration = Duration::from_secs(60);

/// When the power goes.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// At the so-many-th change of `pentad init`.
    Init(u64),
    /// At the so-many-th change of the start.
    Start(u64),
    /// At the so-many-th change under load.
    Change(u64),
    /// After a time under load.
    Time(Duration),
    /// At the so-many-th change of a stop in good order, or right after it.
    Stop(u64),
}

impl Moment {
    fn name(self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Start(_) => "start",
            Self::Change(_) | Self::Time(_) => "load",
            Self::Stop(_) => "stop",
        }
    }
}

/// What a finding needs, of the last cut.
struct Scene {
    before: Disk,
    after: Disk,
    trace: String,
}

/// A store of a lane.
pub(super) struct Store {
    pub(super) disk: Disk,
    pub(super) ledger: Ledger,
    counted: u64,
    /// The administrator's.
    token: Option<String>,
    lives: u64,
    /// Whether the start after the last cut is still to be judged.
    owed: bool,
    /// Records of the audit log that were looked at.
    seen: u64,
    checkpoints: Vec<PathBuf>,
    key: String,
    rotating: bool,
    scene: Option<Scene>,
}

/// See the [module](self).
pub struct Lane {
    number: usize,
    pub(super) dice: Dice,
    pub(super) tally: Arc<Tally>,
    faults: Faults,
    installation: Installation,
    point: PathBuf,
    into_log: UnboundedSender<Logged>,
    stores: u64,
    /// Changes that `pentad init` was seen to make, once it was; and a start.
    init_changes: Option<u64>,
    start_changes: u64,
}

impl Lane {
    /// A lane without a store yet.
    pub fn open(number: usize, campaign: &Campaign, tally: Arc<Tally>) -> Result<Self> {
        let work = campaign.work.join(format!("lane-{number}"));
        let (point, files) = (work.join("mnt"), work.join("files"));
        std::fs::create_dir_all(&point)?;
        std::fs::create_dir_all(&files)?;
        let (into_log, mut logged) = mpsc::unbounded_channel();
        tokio::spawn(async move { while logged.recv().await.is_some() {} });
        Ok(Self {
            number,
            dice: Dice::new(campaign.seed, number as u64 + 1),
            tally,
            faults: Faults {
                lie: campaign.lie,
                ..Faults::default()
            },
            installation: Installation {
                binary: campaign.binary.clone(),
                dir: point.join("var/store"),
                log: work.join("server.log"),
                files,
                collector: None,
                user: None,
                cwd: None,
                settings: vec![("PENTAD_AUDIT_SEGMENT_KIB".to_owned(), SEGMENT.to_string())],
            },
            point,
            into_log,
            stores: 0,
            init_changes: None,
            start_changes: 60,
        })
    }

    /// Lives until the campaign has its cuts.
    pub async fn run(&mut self) -> Result<()> {
        let mut store: Option<Store> = None;
        while self.tally.draw() {
            let mut present = match store.take() {
                Some(old) if old.lives < self.lives() => old,
                Some(old) => {
                    self.bury(old).await?;
                    self.found().await?
                }
                None => self.found().await?,
            };
            let moment = self.draw(&present);
            present.lives += 1;
            store = self.live(present, moment).await?;
        }
        match store {
            Some(store) => self.bury(store).await,
            None => Ok(()),
        }
    }

    /// An empty disk.
    pub(super) async fn found(&mut self) -> Result<Store> {
        self.stores += 1;
        let file = self.env_file();
        fs::write(&file, format!("DB_PASSWORD={}\n", self.dice.password())).await?;
        Ok(Store {
            disk: Disk::default(),
            ledger: Ledger::default(),
            counted: 0,
            token: None,
            lives: 0,
            owed: false,
            seen: 0,
            checkpoints: Vec::new(),
            key: String::new(),
            rotating: false,
            scene: None,
        })
    }

    /// Lives of a store. What matters in its making alone is looked for there.
    fn lives(&self) -> u64 {
        match self.faults.lie.is_some_and(Kind::is_made_once) {
            true => 2,
            false => LIVES,
        }
    }

    fn draw(&mut self, store: &Store) -> Moment {
        let often = if self.lives() < LIVES { 100 } else { 50 };
        let dice = &mut self.dice;
        if let Some(changes) = self.init_changes
            && store.lives == 0
            && dice.percent(often)
        {
            return Moment::Init(dice.between(1, changes + 5));
        }
        match dice.between(0, 99) {
            0..=24 => Moment::Start(dice.between(1, self.start_changes + 5)),
            25..=36 => Moment::Stop(dice.between(1, 60)),
            37..=68 => Moment::Change(dice.between(1, 1200)),
            _ => Moment::Time(Duration::from_micros(dice.between(0, 400_000))),
        }
    }

    /// One life and its cut. The store that is left; none if it is of no use any more.
    async fn live(&mut self, mut store: Store, moment: Moment) -> Result<Option<Store>> {
        let disk = std::mem::take(&mut store.disk);
        let mount = self.mount(disk)?;
        let lived = self.until_the_cut(&mut store, moment, &mount).await;
        let trace = mount.trace();
        let before = tokio::task::spawn_blocking(move || mount.end()).await?;
        if !lived? {
            return Ok(None);
        }
        let mut weather = Weather::new(Dice::new(self.dice.roll(), 4));
        store.disk = before.cut(&mut weather);
        let line = self.tally.cut(moment.name(), before.unkept(), &weather);
        show(&format!("[{}] {line}", self.number));
        store.owed = true;
        store.scene = Some(Scene {
            before,
            after: store.disk.clone(),
            trace,
        });
        let count = store.ledger.count();
        self.tally.acknowledged(count - store.counted);
        store.counted = count;
        Ok(Some(store))
    }

    /// Starts it once more, without a cut, and looks at everything.
    pub(super) async fn bury(&mut self, mut store: Store) -> Result<()> {
        let disk = std::mem::take(&mut store.disk);
        let mount = self.mount(disk)?;
        let looked = async {
            if let Some((server, api)) = self.begin(&mut store, &mount).await?
                && self.look(&mut store, &api, true).await?
            {
                server.kill().await?;
            }
            anyhow::Ok(())
        };
        let looked = looked.await;
        tokio::task::spawn_blocking(move || mount.end()).await?;
        looked
    }

    pub(super) fn mount(&mut self, disk: Disk) -> Result<Mount> {
        let dice = Dice::new(self.dice.roll(), 5);
        Mount::new(&self.point, disk, self.faults.clone(), dice)
    }

    /// False if the store is of no use any more.
    async fn until_the_cut(
        &mut self,
        store: &mut Store,
        moment: Moment,
        mount: &Mount,
    ) -> Result<bool> {
        if let Moment::Init(changes) = moment {
            self.cut_init(store, changes, mount).await?;
            return Ok(true);
        }
        if let Moment::Start(changes) = moment
            && store.token.is_some()
        {
            mount.freeze_in(changes);
            let start = self.installation.start(self.into_log.clone());
            let server = tokio::select! {
                biased;
                () = mount.frozen() => None,
                server = start => Some(server),
            };
            // Dropped above, it is killed.
            match server {
                None => self.judge(store, After::CutAgain),
                Some(Ok(server)) => {
                    cut(server, mount).await?;
                    self.judge(store, After::Started);
                }
                Some(Err(error)) => {
                    mount.freeze();
                    let what = format!("the start after a cut failed: {error:#}");
                    self.complain(store, Wrong::Lost, &what).await?;
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let Some((mut server, api)) = self.begin(store, mount).await? else {
            return Ok(false);
        };
        let verify = store.lives.is_multiple_of(VERIFY_EVERY);
        if !self.look(store, &api, verify).await? {
            return Ok(false);
        }
        if self.dice.percent(15) {
            let rotate = json!({"paths": ["app/db"]});
            store.rotating = true;
            let rotating = api.clone();
            tokio::spawn(async move { rotating.post("/v1/rotations", &rotate).await });
        }
        let clients = {
            let (api, ledger, mut dice) = (
                api.clone(),
                store.ledger.clone(),
                Dice::new(self.dice.roll(), 6),
            );
            tokio::spawn(async move { clients::run(&api, &ledger, &mut dice).await })
        };
        match moment {
            Moment::Change(changes) => {
                mount.freeze_in(changes);
                let _ = timeout(Duration::from_secs(3), mount.frozen()).await;
            }
            Moment::Time(time) => sleep(time).await,
            Moment::Stop(changes) => {
                sleep(Duration::from_millis(self.dice.between(20, 200))).await;
                server.terminate()?;
                mount.freeze_in(changes);
                tokio::select! {
                    () = mount.frozen() => {}
                    ended = server.ended() => ended?,
                    () = sleep(PATIENCE) => bail!("the server does not stop"),
                }
            }
            Moment::Init(_) | Moment::Start(_) => {}
        }
        cut(server, mount).await?;
        // What it said before is on its way: it counts.
        sleep(Duration::from_millis(2)).await;
        clients.abort();
        let _ = clients.await;
        Ok(true)
    }

    /// `pentad init`, cut.
    async fn cut_init(&mut self, store: &mut Store, changes: u64, mount: &Mount) -> Result<()> {
        mount.freeze_in(changes);
        let said = tokio::select! {
            biased;
            () = mount.frozen() => None,
            said = self.installation.init() => Some(said),
        };
        // It was over before: then what it said holds.
        store.token = said.transpose()?;
        mount.freeze();
        Ok(())
    }

    /// A started server, and whoever may do anything there; judges the start if one is owed. None if
    /// the store is lost, on record.
    pub(super) async fn begin(
        &mut self,
        store: &mut Store,
        mount: &Mount,
    ) -> Result<Option<(Server, Api)>> {
        let mut after = After::Started;
        if store.token.is_none() {
            // Nothing yet, or the init was cut.
            let untouched = !store.owed;
            let refused = match untouched {
                true => None,
                false => match self.installation.start(self.into_log.clone()).await {
                    Ok(server) => {
                        server.kill().await?;
                        None
                    }
                    Err(error) => Some(error),
                },
            };
            if let Some(error) = &refused {
                let said = format!("{error:#}");
                if !said.contains("pentad init") {
                    let what = format!("the start after a cut init names no repair: {said}");
                    self.complain(store, Wrong::Lost, &what).await?;
                    return Ok(None);
                }
                after = After::Repaired;
            }
            let began = mount.happened();
            let token = match untouched || refused.is_some() {
                true => self.installation.init().await,
                // It was made, and the token was never seen: the way of docs/recovery.md.
                false => self.rescue().await,
            };
            match token {
                Ok(token) => store.token = Some(token),
                Err(error) => {
                    let what = format!("no way in after a cut init: {error:#}");
                    self.complain(store, Wrong::Lost, &what).await?;
                    return Ok(None);
                }
            }
            if untouched {
                self.init_changes = Some(mount.happened() - began);
            }
        }
        let began = mount.happened();
        let mut started = self.installation.start(self.into_log.clone()).await;
        if let Err(error) = &started {
            let said = format!("{error:#}");
            show(&format!("[{}] refused: {said}", self.number));
            if said.contains("audit repair") {
                after = After::Repaired;
                let dir = self.installation.dir.to_string_lossy().into_owned();
                let repair = ["audit", "repair", "--yes", "--dir", &dir];
                self.installation.run(&repair).await?;
                started = self.installation.start(self.into_log.clone()).await;
            }
        }
        let server = match started {
            Ok(server) => server,
            Err(error) => {
                let what = format!("it does not start, nor after the repair it names: {error:#}");
                self.complain(store, Wrong::Lost, &what).await?;
                return Ok(None);
            }
        };
        self.start_changes = mount.happened() - began;
        self.judge(store, after);
        let api = Api::new(&server.address, store.token.as_deref().unwrap_or_default())?;
        self.bind(store, &api).await?;
        Ok(Some((server, api)))
    }

    fn judge(&self, store: &mut Store, after: After) {
        if std::mem::take(&mut store.owed) {
            self.tally.after(after);
        }
    }

    async fn rescue(&self) -> Result<String> {
        let dir = self.installation.dir.to_string_lossy().into_owned();
        let create = [
            "token", "create", "rescue", "--role", "admin", "--dir", &dir,
        ];
        let output = self.installation.run(&create).await?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.split(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c)))
            .find(|word| word.starts_with("pntd_"))
            .map(str::to_owned)
            .context("no token was shown")
    }

    // ---- what is there --------------------------------------------------------------------------

    /// Everything acknowledged is there, is on record, and the log verifies. False if not.
    pub(super) async fn look(
        &mut self,
        store: &mut Store,
        api: &Api,
        verify: bool,
    ) -> Result<bool> {
        let (many, mut wrong) = check::things(api, &store.ledger).await?;
        let (seen, unrecorded) = check::records(api, &store.ledger, store.seen).await?;
        wrong.extend(unrecorded);
        wrong.extend(self.rotated(store, api).await?);
        self.tally.looked(many);
        store.seen = seen;
        if let Some(first) = wrong.first() {
            let what = match wrong.len() {
                1 => first.clone(),
                many => format!("{first}, and {} more", many - 1),
            };
            self.complain(store, Wrong::Missing, &what).await?;
            return Ok(false);
        }
        self.keep_checkpoint(store, api).await?;
        if verify && let Err(error) = self.verify(store).await {
            self.complain(store, Wrong::Lost, &format!("{error:#}"))
                .await?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Keeps a signed checkpoint, as a verifier elsewhere would.
    async fn keep_checkpoint(&self, store: &mut Store, api: &Api) -> Result<()> {
        let checkpoint = api.get("/v1/audit/checkpoint").await?.body()?;
        let name = format!("checkpoint-{}-{}", self.stores, store.checkpoints.len());
        let file = self.installation.log.with_file_name(name);
        fs::write(&file, text(&checkpoint, "note")).await?;
        text(&checkpoint, "key").clone_into(&mut store.key);
        store.checkpoints.push(file);
        Ok(())
    }

    /// `pentad audit verify`, against all checkpoints that were kept. Nobody writes meanwhile, but
    /// for what the server does by itself: hence a second try.
    async fn verify(&self, store: &Store) -> Result<()> {
        let mut arguments = vec!["audit".to_owned(), "verify".to_owned(), "--dir".to_owned()];
        arguments.push(self.installation.dir.to_string_lossy().into_owned());
        arguments.extend(["--key".to_owned(), store.key.trim().to_owned()]);
        for kept in &store.checkpoints {
            arguments.push("--checkpoint".to_owned());
            arguments.push(kept.to_string_lossy().into_owned());
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut said = String::new();
        for _ in 0..2 {
            let output = self.installation.run(&arguments).await?;
            if output.status.success() {
                self.tally.verified();
                return Ok(());
            }
            said = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            sleep(Duration::from_millis(200)).await;
        }
        bail!("`pentad audit verify` against checkpoints that were kept: {said}")
    }

    // ---- a rotation -----------------------------------------------------------------------------

    fn env_file(&self) -> PathBuf {
        self.installation.files.join("app.env")
    }

    async fn env_value(&self) -> Result<String> {
        let text = fs::read_to_string(self.env_file()).await?;
        let line = text.lines().find_map(|l| l.strip_prefix("DB_PASSWORD="));
        Ok(line
            .unwrap_or_default()
            .trim_matches(['"', '\''])
            .to_owned())
    }

    /// Has a new store adopt what is in the file outside.
    async fn bind(&self, store: &Store, api: &Api) -> Result<()> {
        if store.seen > 0 {
            return Ok(());
        }
        let target = json!({"system": "envfile", "address": self.env_file(), "tls": "plain"});
        api.put("/v1/targets/env", &target).await?.body()?;
        let binding = json!({"target": "env", "account": "DB_PASSWORD", "strategy": "in_place",
            "owned": true});
        let put = json!({"kind": "password", "value": self.env_value().await?, "binding": binding,
            "accept_weak": true});
        api.post("/v1/adopt/app/db", &put).await?.body()?;
        Ok(())
    }

    /// Once no rotation is under way, store and file say the same.
    async fn rotated(&self, store: &mut Store, api: &Api) -> Result<Option<String>> {
        if !std::mem::take(&mut store.rotating) {
            return Ok(None);
        }
        let until = Instant::now() + RECOVERY;
        loop {
            let unfinished = api.all("/v1/rotations?unfinished=true", "before").await?;
            match unfinished.first() {
                None => break,
                Some(one) if Instant::now() > until => {
                    return Ok(Some(format!("a rotation does not end: {one}")));
                }
                Some(_) => sleep(Duration::from_millis(20)).await,
            }
        }
        self.tally.rotated();
        let body = api.get("/v1/values/app/db").await?.body()?;
        let same = text(&body, "value") == self.env_value().await?;
        Ok((!same).then(|| "the store and the file outside say different things".to_owned()))
    }

    // ---- findings -------------------------------------------------------------------------------

    /// Counts a finding, says it, and keeps the scene.
    async fn complain(&self, store: &mut Store, wrong: Wrong, what: &str) -> Result<()> {
        let number = self.tally.wrong(wrong);
        let dir = self
            .installation
            .log
            .with_file_name(format!("finding-{}-{number}", self.number));
        show(&format!(
            "[{}] {wrong:?}: {what}\n    scene: {}",
            self.number,
            dir.display()
        ));
        let Some(scene) = store.scene.take() else {
            return Ok(());
        };
        let (what, log) = (what.to_owned(), self.installation.log.clone());
        tokio::task::spawn_blocking(move || {
            scene.before.write_to(&dir.join("before"))?;
            scene.after.write_to(&dir.join("after"))?;
            std::fs::write(dir.join("trace"), scene.trace)?;
            std::fs::write(
                dir.join("finding"),
                format!("{what}\nlog: {}\n", log.display()),
            )
        })
        .await??;
        Ok(())
    }
}

/// The power goes: nothing takes effect any more, and the server is dead before anybody answers it.
pub(super) async fn cut(server: Server, mount: &Mount) -> Result<()> {
    mount.freeze();
    let killed = tokio::spawn(server.kill());
    sleep(Duration::from_millis(3)).await;
    // It can't end while a request of its waits.
    mount.release();
    killed.await?
}
