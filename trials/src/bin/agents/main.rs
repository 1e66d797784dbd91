//! Kills and hangs each of the five agents of a running system under load, and floods it.
//!
//! ```text
//! cargo run --release -p pentad-trials --features agents --bin agents
//! ```
//!
//! Unlike the campaigns it links the crates, since faults are injected in process; so it stands
//! behind a feature, and no other build has faults on order compiled in.
//!
//! What must hold, or it ends with status 1:
//!
//! * A killed agent serves again within 2 s, a hung one within 2 s of the moment at which it counts
//!   as hung; no request fails and no acknowledged write is lost.
//! * What does not need that agent goes on with at least 80 % of its throughput. Outages are
//!   measured between two windows without fault, several times, and the median counts.
//! * A critical request takes at most 10 ms longer (99th percentile) while ten times more
//!   background work is offered than can be done.
//!
//! | file | holds |
//! |---|---|
//! | [`world`] | a system on a store of its own, and what is asked of it |
//! | [`load`] | callers that ask without pause |
//! | [`outages`] | faults under load: found when, back when, what the others did |
//! | [`flood`] | critical requests beside far too much background work |
#![allow(clippy::print_stdout)] // the report is its purpose

mod flood;
mod load;
mod outages;
mod world;

use std::{process::ExitCode, sync::Arc};

use anyhow::Result;
use clap::Parser;
use world::World;

/// Kills and hangs agents under load, and floods them.
#[derive(Parser)]
struct Options {
    /// Credentials in the store.
    #[arg(long, default_value_t = 1_000)]
    credentials: usize,
    /// Times that each fault is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a window without fault, in milliseconds.
    #[arg(long, default_value_t = 1_000)]
    window: u64,
    /// Only this agent; the critical latency is then left out.
    #[arg(long)]
    agent: Option<String>,
    /// Only the critical latency.
    #[arg(long)]
    flood: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let world = Arc::new(World::new(options.credentials).await?);
    let mut held = true;
    if !options.flood {
        held &= outages::outages(&world, &options).await?;
    }
    if options.agent.is_none() {
        held &= flood::flood(&world).await?;
    }
    world.stop().await;
    Ok(if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
