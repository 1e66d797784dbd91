//! The soak: everything at once, for long, at a real server; and whether anything grows that must not.
//!
//! | module | holds |
//! |---|---|
//! | [`load`] | what the clients do |
//! | [`estate`] | what is there for it: credentials, a user, accounts that are rotated |
//! | [`verdict`] | the samples, and what must hold over them |
//!
//! Each sample has the server's memory, descriptors and threads, the store's size on disk, and how
//! many operations of each sort were carried out and how long they took. At the end the server is
//! stopped in good order, and audit log and store are verified.

pub mod estate;
pub mod load;
pub mod verdict;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use futures::future::join_all;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    api::Api,
    crash::show,
    gauge::{Process, disk},
    server::{Installation, Server},
};
use estate::Estate;
use load::{Book, Client};
use verdict::{Sample, Verdict};

/// How a soak is run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The `pentad` to try.
    pub binary: PathBuf,
    /// Where store and log go; on a disk as a real store's would be.
    pub work: PathBuf,
    /// For so long.
    pub long: Duration,
    /// Clients at once, each with a connection of its own.
    pub connections: usize,
    /// Credentials to begin with.
    pub credentials: usize,
    /// For the dice.
    pub seed: u64,
}

impl Campaign {
    /// Between two samples: ten seconds, and in a short soak so that there are thirty.
    fn every(&self) -> Duration {
        (self.long / 30).clamp(Duration::from_secs(1), Duration::from_secs(10))
    }

    /// Runs it; true if nothing was found wrong.
    pub async fn run(self) -> Result<bool> {
        let installation = Installation {
            binary: self.binary.clone(),
            dir: self.work.join("store"),
            log: self.work.join("server.log"),
            files: self.work.clone(),
            collector: None,
            user: None,
            cwd: None,
            // A line for each request would be most of what is written.
            settings: vec![("PENTAD_LOG_LEVEL".to_owned(), "warn".to_owned())],
        };
        let token = installation.init().await?;
        let (steps, _unread) = mpsc::unbounded_channel();
        let server = installation.start(steps).await?;
        let admin = Api::new(&server.address, &token)?;
        let estate = Arc::new(Estate::make(&admin, &self.work, self.credentials, self.seed).await?);
        let soaked = self.soak(&installation, &server, &admin, &estate).await;
        estate.remove().await;
        let (samples, book) = soaked?;

        let status = server.finish().await?;
        let mut verdict = Verdict::of(self.long, &samples, &book.errors());
        if !status.success() {
            verdict
                .found
                .push(format!("the server ended with {status}"));
        }
        for what in ["audit", "store"] {
            let dir = installation.dir.to_string_lossy().into_owned();
            // An hour leaves 18 million records and 12 GB, all of which is read from the disk.
            let bound = Duration::from_secs(120) + self.long;
            let verify = [what, "verify", "--dir", &dir];
            let ran = installation.run_within(bound, &verify).await?;
            if !ran.status.success() {
                let said = String::from_utf8_lossy(&ran.stderr).into_owned();
                verdict
                    .found
                    .push(format!("`pentad {what} verify`: {said}"));
            }
        }
        show(&verdict.to_string());
        Ok(verdict.found.is_empty())
    }

    async fn soak(
        &self,
        installation: &Installation,
        server: &Server,
        admin: &Api,
        estate: &Arc<Estate>,
    ) -> Result<(Vec<Sample>, Arc<Book>)> {
        let pid = server.pid().context("the server has ended")?;
        let (book, stop) = (Arc::<Book>::default(), Arc::<AtomicBool>::default());
        let mut tasks = Vec::new();
        for number in 0..self.connections {
            // A connection of its own each.
            let api = Api::new(&server.address, admin.token())?;
            let client = Client::new(api, estate.clone(), book.clone(), self.seed, number);
            tasks.push(tokio::spawn(client.work(stop.clone())));
        }
        let rotations = load::rotations(admin.clone(), estate.clone(), book.clone(), stop.clone());
        tasks.push(tokio::spawn(rotations));

        let (begun, mut samples) = (Instant::now(), Vec::new());
        let mut ticks = interval(self.every());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        while begun.elapsed() < self.long {
            ticks.tick().await;
            let sample = Sample {
                at: begun.elapsed(),
                process: Process::read(pid)?,
                disk: disk(&installation.dir),
                done: book.take(),
            };
            show(&sample.to_string());
            samples.push(sample);
        }
        stop.store(true, Ordering::Relaxed);
        for task in join_all(tasks).await {
            task?;
        }
        ensure!(!samples.is_empty(), "too short for a sample");
        Ok((samples, book))
    }
}
