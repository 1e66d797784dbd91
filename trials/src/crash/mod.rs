//! The crash campaign: rotations at real servers, `kill -9` with their effects in flight, and after
//! each recovery the question whether store and target say the same.
//!
//! ```text
//! client ──HTTP──▶ pentad server ──▶ proxy ──▶ PostgreSQL, MariaDB, Redis
//!   │                 kill -9        holds          ▲
//!   └───────────────── logs in, looks ──────────────┘
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`estate`] | the accounts |
//! | [`database`] | a PostgreSQL for the store, killed too |
//! | [`plan`] | what a round does, drawn from dice |
//! | [`lane`] | a Pentad with its estate, round after round |
//! | `round` | one round, played |
//! | `aftermath` | after a recovery: waits, compares, verifies the audit log |
//! | [`flight`] | the proxies, and what is in flight in them |
//! | [`check`] | whether Pentad and a target agree |
//! | [`ledger`] | what was acknowledged, and must be there |
//! | [`tally`] | what is counted |
//!
//! Several lanes run at once, each with a Pentad of its own: one may stand still for longer than a
//! lease while the others go on. The same seed draws the same rounds; what the processor makes of
//! them differs.

mod aftermath;
pub mod check;
pub mod database;
pub mod estate;
pub mod flight;
pub mod lane;
pub mod ledger;
pub mod plan;
mod round;
pub mod tally;

use std::{path::PathBuf, sync::Arc};

use anyhow::{Result, bail};
use futures::future::join_all;

use crate::systems::System;
use lane::Lane;
use tally::Tally;

/// Where Pentad keeps its store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Store {
    /// In its directory.
    Embedded,
    /// In a PostgreSQL of the campaign's own, which is killed too.
    Postgres,
}

/// How a campaign is run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// So many kills.
    pub kills: usize,
    /// For the dice.
    pub seed: u64,
    /// Where Pentad keeps its store.
    pub store: Store,
    /// Which targets.
    pub systems: Vec<System>,
    /// The `pentad` to try.
    pub binary: PathBuf,
    /// Pentads at once.
    pub lanes: usize,
    /// Where stores, logs and checkpoints go.
    pub work: PathBuf,
    /// Rounds of each lane that freeze the server for longer than a lease.
    pub long_freezes: usize,
}

impl Campaign {
    /// Runs it; true if nothing was found wrong.
    pub async fn run(self) -> Result<bool> {
        let tally = Arc::new(Tally::new(self.kills));
        let lanes = (0..self.lanes).map(|number| {
            let (campaign, tally) = (self.clone(), Arc::clone(&tally));
            tokio::spawn(async move {
                let mut lane = Lane::open(number, &campaign, tally).await?;
                let ran = lane.run().await;
                lane.close().await;
                ran
            })
        });
        let mut failed = Vec::new();
        for (number, lane) in join_all(lanes).await.into_iter().enumerate() {
            if let Err(error) = lane.unwrap_or_else(|panic| Err(panic.into())) {
                failed.push(format!("lane {number} broke off: {error:#}"));
            }
        }
        show(&failed.join("\n"));
        show(tally.report().trim_end());
        if !failed.is_empty() && tally.clean() {
            bail!("nothing was found wrong, but not everything was tried");
        }
        Ok(failed.is_empty() && tally.clean() && tally.kills() >= self.kills)
    }
}

/// One line, or several, for whoever watches.
#[expect(clippy::print_stdout, reason = "a campaign's output is its result")]
pub(crate) fn show(text: &str) {
    if !text.is_empty() {
        println!("{text}");
    }
}
