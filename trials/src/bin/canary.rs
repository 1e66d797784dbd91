//! `canary`: values that nobody else has, through every door, and then a search for them in
//! everything that Pentad leaves behind. Run as root it also searches the server's memory, and runs
//! the server as `nobody`. Where PostgreSQL is there (`scripts/services.sh env`), a rotation too.
//!
//! The last line of its output is `canaries: N, found: F`; it succeeds only if F is 0.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use pentad_trials::canary::Campaign;

/// Searches everything that a pentad leaves behind for values that went through it.
#[derive(Parser)]
struct Options {
    /// The binary to try.
    #[arg(long, default_value = "target/debug/pentad")]
    pentad: PathBuf,
    /// An empty or new directory, which an account without rights can pass.
    #[arg(long)]
    work: Option<PathBuf>,
    /// For the values.
    #[arg(long)]
    seed: Option<u64>,
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
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let seed = options.seed.unwrap_or(now.as_nanos() as u64);
    let work = options
        .work
        .unwrap_or_else(|| std::env::temp_dir().join(format!("canary-{seed}")));
    if work.exists() {
        bail!("{} is there already: name another --work", work.display());
    }
    std::fs::create_dir_all(&work)?;
    let work = work.canonicalize()?;
    let binary = work.join("pentad");
    std::fs::copy(&options.pentad, &binary)
        .with_context(|| options.pentad.display().to_string())?;
    Campaign { binary, work, seed }.run().await
}
