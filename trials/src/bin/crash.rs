//! `crash --kills 300`: the crash campaign. Needs the real servers (`scripts/services.sh up`, then
//! `eval "$(scripts/services.sh env)"`) and a built `pentad`.
//!
//! The last line of its output is `crashes: N, disagreements: D, lost: L`; it succeeds only if both
//! D and L are 0.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use pentad_trials::{
    crash::{Campaign, Store},
    systems::System,
};

/// Kills a real pentad with rotations in flight at real servers, and compares them afterwards.
#[derive(Parser)]
struct Options {
    /// How often to kill.
    #[arg(long, default_value_t = 300)]
    kills: usize,
    /// Draws the same rounds again; by the time if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Where Pentad keeps its store.
    #[arg(long, value_enum, default_value = "embedded")]
    store: Store,
    /// Which targets.
    #[arg(long, value_delimiter = ',', default_value = "postgres,mariadb,redis")]
    systems: Vec<System>,
    /// The binary to try; else that of target/release or target/debug, the newer one.
    #[arg(long)]
    pentad: Option<PathBuf>,
    /// Pentads at once.
    #[arg(long, default_value_t = 2)]
    lanes: usize,
    /// Rounds of each lane that stop the server for longer than a lease lasts.
    #[arg(long, default_value_t = 2)]
    long_freezes: usize,
    /// Where stores, logs and checkpoints go; else target/trials/crash-SEED.
    #[arg(long)]
    work: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        #[expect(clippy::print_stderr, reason = "where errors go")]
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing was found wrong.
async fn run(options: Options) -> Result<bool> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let seed = match options.seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    let target =
        PathBuf::from(std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into()));
    let binary = match options.pentad {
        Some(binary) => binary,
        None => newest(&target)?,
    };
    let work = options
        .work
        .unwrap_or_else(|| target.join(format!("trials/crash-{seed}")));
    if work.exists() {
        bail!(
            "{} is there already: name another --work or --seed",
            work.display()
        );
    }
    std::fs::create_dir_all(&work)?;
    #[expect(clippy::print_stdout, reason = "a campaign's output is its result")]
    {
        println!(
            "{} kills of {}, seed {seed}, in {}",
            options.kills,
            binary.display(),
            work.display()
        );
    }
    // A copy: somebody may build a new one while the campaign runs.
    let copy = work.canonicalize()?.join("pentad");
    std::fs::copy(&binary, &copy).with_context(|| binary.display().to_string())?;
    let campaign = Campaign {
        kills: options.kills,
        seed,
        store: options.store,
        systems: options.systems,
        binary: copy,
        lanes: options.lanes.max(1),
        work: work.canonicalize()?,
        long_freezes: options.long_freezes,
    };
    campaign.run().await
}

fn newest(target: &std::path::Path) -> Result<PathBuf> {
    let built = ["release/pentad", "debug/pentad"].map(|name| target.join(name));
    let newest = built
        .into_iter()
        .filter_map(|binary| Some((binary.metadata().ok()?.modified().ok()?, binary)))
        .max();
    newest
        .map(|(_, binary)| binary)
        .context("no pentad is built: `cargo build -p pentad`, or --pentad")
}
