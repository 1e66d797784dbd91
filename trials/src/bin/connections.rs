//! `connections`: a thousand at once, and clients that drip, are silent, never read, or send too much,
//! beside clients that don't.
//!
//! The last line of its output begins `connections: 1000 at once`; it succeeds only if nothing was
//! found wrong.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use pentad_trials::connections::Campaign;

/// Tries what crowds and badly behaving clients do to a server, and to the others.
#[derive(Parser)]
struct Options {
    /// The binary to try.
    #[arg(long, default_value = "target/debug/pentad")]
    pentad: PathBuf,
    /// Connections at once, of a crowd that must be served.
    #[arg(long, default_value_t = 1000)]
    crowd: usize,
    /// For how long the others are watched beside each attack.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// An empty or new directory.
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
    let enough = u64::try_from(options.crowd)? * 2 + 4000;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if limit.current.is_some_and(|now| now < enough) {
        let current = Some(limit.maximum.map_or(enough, |most| most.min(enough)));
        rustix::process::setrlimit(
            rustix::process::Resource::Nofile,
            rustix::process::Rlimit { current, ..limit },
        )?;
    }
    let work = options.work.unwrap_or_else(|| {
        std::env::temp_dir().join(format!("pentad-connections-{}", std::process::id()))
    });
    if work.exists() {
        bail!("{} is there already: name another --work", work.display());
    }
    std::fs::create_dir_all(&work)?;
    let work = work.canonicalize()?;
    let binary = work.join("pentad");
    std::fs::copy(&options.pentad, &binary)
        .with_context(|| options.pentad.display().to_string())?;
    let campaign = Campaign {
        binary,
        work: work.clone(),
        crowd: options.crowd,
        watch: Duration::from_secs(options.seconds.max(1)),
    };
    let clean = campaign.run().await?;
    if clean {
        std::fs::remove_dir_all(work)?;
    }
    Ok(clean)
}
