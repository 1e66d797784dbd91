//! The canary campaign: values that nobody else has go through every door, the wrong ones included;
//! then everything that Pentad leaves behind is searched for them.
//!
//! | module | holds |
//! |---|---|
//! | [`bait`] | the values, and the forms in which they might show |
//! | [`doors`] | the requests and commands that they go through |
//! | `command_line` | those of the command line |
//! | `collector` | where the server's traces go |
//! | [`traces`] | where they are looked for |
//!
//! What must hold: no bait in any file of the store's directory, in the log, in metrics, in traces,
//! in an answer that is not a read, in the command line or the environment of the server; the root
//! key nowhere but in its file. Another process of the same user can't look into the server's memory,
//! and a crash leaves no core. What its memory still holds after all requests is counted and shown.

pub mod bait;
mod collector;
mod command_line;
pub mod doors;
pub mod traces;

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use tokio::{sync::mpsc, time::sleep};

use crate::{api::Api, crash::show, server::Installation};
use bait::Bait;
use doors::Doors;
use traces::Finding;

/// An account without rights, where the campaign itself runs as root: so that what protects a
/// process from others of the same user is seen to do so.
const NOBODY: u32 = 65534;

/// How it is run.
pub struct Campaign {
    /// The `pentad` to try.
    pub binary: PathBuf,
    /// Where store and log go.
    pub work: PathBuf,
    /// For the dice.
    pub seed: u64,
}

impl Campaign {
    /// Runs it; true if nothing was found.
    pub async fn run(self) -> Result<bool> {
        let work = self.work.clone();
        let root = rustix::process::geteuid().is_root();
        let user = root.then_some(NOBODY);
        std::fs::set_permissions(&work, std::fs::Permissions::from_mode(0o711))?;
        for name in ["store", "core", "input"] {
            std::fs::create_dir_all(work.join(name))?;
            std::os::unix::fs::chown(work.join(name), user, user)?;
        }
        let spans = work.join("spans");
        let installation = Installation {
            collector: Some(collector::start(&spans).await?),
            binary: self.binary.clone(),
            dir: work.join("store/of"),
            log: work.join("server.log"),
            files: work.join("input"),
            user,
            cwd: Some(work.join("core")),
            settings: Vec::new(),
        };
        let token = installation.init().await?;
        let (steps, _logged) = mpsc::unbounded_channel();
        let server = installation.start(steps.clone()).await?;
        let pid = server.pid().context("the server has ended")?;
        let api = Api::new(&server.address, &token)?;

        let mut doors = Doors::new(&installation, &server.address, &token, self.seed);
        doors.by_http(&api).await?;
        doors.by_command_line(&work).await?;
        let Doors {
            mut baits,
            mut leaks,
            ..
        } = doors;
        baits.push(Bait::kept("the administrator's token", &token));
        sleep(Duration::from_secs(2)).await; // what is on its way to a log arrives

        leaks.extend(traces::spoken(&api, &baits).await?);
        leaks.extend(traces::of_process(pid, &baits)?);
        leaks.extend(traces::files(&work.join("store"), &baits)?);
        let control = Bait::kept("the control", "canary/stored");
        if traces::files(&work.join("store"), &[control])?.is_empty() {
            bail!("not even a path is found in the store: this search finds nothing");
        }
        leaks.extend(traces::files(&spans, &baits)?);
        let control = Bait::kept("the control", "encryption open");
        if traces::files(&spans, &[control])?.is_empty() {
            bail!("no span came to the collector: this search finds nothing");
        }
        let resident = match root {
            true => traces::memory(&server, pid, &baits, &work.join("store"))?,
            false => Vec::new(),
        };
        leaks.extend(traces::guarded(pid, user).await?);

        // What a crash would leave.
        server.abort().await?;
        leaks.extend(traces::no_core(&work.join("core"))?);

        let server = installation.start(steps).await?;
        server.kill().await?;
        let mut doors = Doors::new(&installation, "", &token, self.seed + 1);
        doors.without_server(&work).await?;
        leaks.extend(doors.leaks);
        baits.extend(doors.baits);
        leaks.extend(traces::files(&work.join("store"), &baits)?);
        leaks.extend(traces::files(&work.join("server.log"), &baits)?);
        leaks.extend(traces::files(&spans, &baits)?);
        leaks.extend(traces::root_key(
            &work.join("store"),
            &work.join("server.log"),
        )?);
        leaks.sort();
        leaks.dedup();
        report(&baits, &resident, &leaks, root);
        Ok(leaks.is_empty())
    }
}

fn report(baits: &[Bait], resident: &[(String, usize)], leaks: &[Finding], root: bool) {
    match (root, resident.is_empty()) {
        (false, _) => show("the server's memory was not searched: that takes root"),
        (true, true) => show("nothing in the server's memory after all requests"),
        (true, false) => {
            show("in the server's memory after all requests:");
            for (name, count) in resident {
                show(&format!("  {count:>4} x {name}"));
            }
        }
    }
    for leak in leaks {
        show(&format!("FOUND {leak}"));
    }
    show(&format!(
        "canaries: {}, found: {}",
        baits.len(),
        leaks.len()
    ));
}
