//! `soak`: everything at once, for long, at a real server; and whether anything grows that must not.
//!
//! The last line of its output begins `soak: minutes N, errors 0`; it succeeds only if nothing was found
//! wrong.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use pentad_trials::soak::Campaign;

/// Loads a server with everything at once, for long.
#[derive(Parser)]
struct Options {
    /// The binary to try.
    #[arg(long, default_value = "target/release/pentad")]
    pentad: PathBuf,
    /// For how long.
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// Clients at once.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Credentials to begin with.
    #[arg(long, default_value_t = 10_000)]
    credentials: usize,
    /// For the dice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// An empty or new directory, on a disk as a real store's would be.
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

async fn run(options: Options) -> Result<bool> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let target =
        PathBuf::from(std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into()));
    let work = options
        .work
        .unwrap_or_else(|| target.join(format!("trials/soak-{}", std::process::id())));
    if work.exists() {
        bail!("{} is there already: name another --work", work.display());
    }
    std::fs::create_dir_all(&work)?;
    let work = work.canonicalize()?;
    // A copy: somebody may build a new one while it runs.
    let binary = work.join("pentad");
    std::fs::copy(&options.pentad, &binary)
        .with_context(|| options.pentad.display().to_string())?;
    let campaign = Campaign {
        binary,
        work: work.clone(),
        long: Duration::from_secs_f64(options.minutes.max(0.2) * 60.0),
        connections: options.connections.max(1),
        credentials: options.credentials.max(1),
        seed: options.seed,
    };
    let clean = campaign.run().await?;
    if clean {
        std::fs::remove_dir_all(work)?;
    }
    Ok(clean)
}
