//! The campaign against itself, and against disks that fail.
//!
//! * A disk that acknowledges fsyncs and keeps nothing must be found out. For everything above it,
//!   such a disk is a program that forgot the fsync. So each kind of file whose fsync matters is lied
//!   about in a campaign of its own; a lie that nobody notices would mean that the campaign can't see
//!   that mistake.
//! * An fsync that fails must be fatal for its file: what needs it is refused and says so, health
//!   says so, nothing is tried again; and after a restart, on a kernel that still shows what the disk
//!   never got, everything that is acknowledged survives the next cut.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{
    Campaign, clients,
    faults::Kind,
    lane::{Lane, Store, cut},
    mount::Mount,
    tally::Tally,
    weather::Weather,
};
use crate::{
    api::{Api, text},
    crash::show,
    dice::Dice,
};

/// Kinds of files whose forgotten fsync must be seen. Not the new database's: the same file is synced
/// again a moment later, under its final name, and a cut seldom falls between.
const MATTER: [Kind; 7] = [
    Kind::Directories,
    Kind::Segments,
    Kind::Tree,
    Kind::Checkpoints,
    Kind::Wal,
    Kind::Database,
    Kind::Key,
];

/// Kinds of files whose fsync can fail while the server runs.
const FAIL: [Kind; 6] = [
    Kind::Segments,
    Kind::Tree,
    Kind::Wal,
    Kind::Database,
    Kind::Checkpoints,
    Kind::Directories,
];

/// How often each kind fails, at other moments.
const TIMES: u64 = 3;

/// How long to wait for an fsync of the kind.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tells each lie until it is found out. True if all are.
pub async fn lies(campaign: &Campaign) -> Result<bool> {
    let mut found = Vec::new();
    for lie in MATTER {
        let name = name(lie);
        let campaign = Campaign {
            lie: Some(lie),
            work: campaign.work.join(&name),
            ..campaign.clone()
        };
        show(&format!("\n==> fsyncs of {name} keep nothing"));
        let tally = Arc::new(Tally::until_a_fault(campaign.cuts));
        campaign.play(&tally).await;
        found.push((name, tally.cuts(), !tally.clean()));
    }
    show("");
    for (name, cuts, seen) in &found {
        let how = if *seen { "found out" } else { "NOT FOUND OUT" };
        show(&format!("  {name:<14} {how} within {cuts} cuts"));
    }
    let seen = found.iter().filter(|(_, _, seen)| *seen).count();
    show(&format!("lies: {}, found out: {seen}", found.len()));
    Ok(seen == found.len())
}

/// Lets fsyncs of each kind fail. True if pentad does right each time.
pub async fn failures(campaign: &Campaign) -> Result<bool> {
    let (mut tried, mut wrong) = (0, 0);
    for kind in FAIL {
        for time in 0..TIMES {
            let name = name(kind);
            let campaign = Campaign {
                work: campaign.work.join(format!("{name}-{time}")),
                ..campaign.clone()
            };
            let tally = Arc::new(Tally::new(0));
            let mut lane = Lane::open(0, &campaign, Arc::clone(&tally))?;
            let found = lane.fail(kind, time * 3).await?;
            tried += 1;
            wrong += usize::from(!found.is_empty() || !tally.clean());
            show(&format!("  {name:<14} {}", verdict(&found, &tally)));
        }
    }
    show(&format!("failed fsyncs: {tried}, wrong: {wrong}"));
    Ok(wrong == 0)
}

fn verdict(found: &[String], tally: &Tally) -> String {
    match (found.is_empty(), tally.clean()) {
        (true, true) => "fatal for its file, and nothing is missing".to_owned(),
        (true, false) => "something is missing".to_owned(),
        (false, _) => found.join("; "),
    }
}

fn name(kind: Kind) -> String {
    format!("{kind:?}").to_lowercase()
}

impl Lane {
    /// A store whose fsync of this kind fails, after so many that succeed: what pentad does wrong.
    async fn fail(&mut self, kind: Kind, after: u64) -> Result<Vec<String>> {
        let mut store = self.found().await?;
        let mount = self.mount(std::mem::take(&mut store.disk))?;
        let watched = self.watch(&mut store, &mount, kind, after).await;
        let trace = mount.trace();
        let disk = tokio::task::spawn_blocking(move || mount.end()).await?;
        let wrong = watched.with_context(|| format!("the last operations:\n{trace}"))?;

        // The machine goes on: the next server sees all that the kernel has in memory.
        let mount = self.mount(disk)?;
        let lived = async {
            let Some((server, api)) = self.begin(&mut store, &mount).await? else {
                return Ok(());
            };
            self.look(&mut store, &api, true).await?;
            let load = self.load(&store, &api);
            let _ = timeout(Duration::from_millis(300), load).await;
            cut(server, &mount).await
        };
        let lived: Result<()> = lived.await;
        let before = tokio::task::spawn_blocking(move || mount.end()).await?;
        lived?;
        if self.tally.clean() {
            store.disk = before.cut(&mut Weather::merciless());
            self.bury(store).await?;
        }
        Ok(wrong)
    }

    /// The life in which it fails.
    async fn watch(
        &mut self,
        store: &mut Store,
        mount: &Mount,
        kind: Kind,
        after: u64,
    ) -> Result<Vec<String>> {
        let Some((server, api)) = self.begin(store, mount).await? else {
            return Ok(vec!["it does not start".to_owned()]);
        };
        mount.fail(kind, after);
        let mut load = Box::pin(self.load(store, &api));
        let failed = async {
            while mount.failed().is_none() {
                if kind == Kind::Checkpoints {
                    let _ = api.get("/v1/audit/checkpoint").await;
                }
                sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            () = &mut load => {}
            waited = timeout(PATIENCE, failed) => {
                waited.with_context(|| format!("no fsync of {kind:?} came"))?;
            }
        }
        let _ = timeout(Duration::from_millis(150), load).await;
        let mut wrong = refusals(&api, kind).await?;
        if mount.synced_again() {
            wrong.push("it was synced again".to_owned());
        }
        server.kill().await?;
        Ok(wrong)
    }

    fn load(&mut self, store: &Store, api: &Api) -> impl Future<Output = ()> + use<> {
        let mut dice = Dice::new(self.dice.roll(), 6);
        let (api, ledger) = (api.clone(), store.ledger.clone());
        async move { clients::run(&api, &ledger, &mut dice).await }
    }
}

/// What needs the failed file is refused, twice, and says so; so does health.
async fn refusals(api: &Api, kind: Kind) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for _ in 0..2 {
        let answer = match kind {
            Kind::Checkpoints => api.get("/v1/audit/checkpoint").await?,
            // No answer without its record.
            Kind::Segments | Kind::Tree | Kind::Directories => api.get("/v1/values/app/db").await?,
            _ => {
                let put = json!({"kind": "secret", "value": "after-the-end", "accept_weak": true});
                api.put("/v1/credentials/after/it", &put).await?
            }
        };
        let detail = text(&answer.body, "detail");
        if !matches!(answer.status, 503 | 507) || detail.is_empty() {
            wrong.push(format!("it answers {} `{detail}`", answer.status));
        }
    }
    if kind != Kind::Checkpoints {
        let ready = api.get("/readyz").await?;
        if ready.status != 503 {
            wrong.push(format!("readyz says {}", ready.status));
        }
    }
    Ok(wrong)
}
