//! `power --cuts 1000`: the power campaign. Needs root, `/dev/fuse` and a built `pentad`.
//!
//! `--lies` and `--fail` try the campaign itself, and pentad on a disk whose fsyncs fail.
//!
//! The last line of its output is `cuts: N, started: S, repaired: R, cut again: A, missing: M,
//! lost: L`, where S, R and A add up to N; it succeeds only if both M and L are 0.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use pentad_trials::power::{Campaign, faults::Kind, mount, trial};
use tokio::signal::unix::{SignalKind, signal};

/// Cuts the power under a real pentad: only what was synced survives, and parts of the rest.
#[derive(Parser)]
struct Options {
    /// How often to cut.
    #[arg(long, default_value_t = 1000)]
    cuts: usize,
    /// Draws the same plans again; by the time if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// The binary to try; else that of target/release or target/debug, the newer one.
    #[arg(long)]
    pentad: Option<PathBuf>,
    /// Pentads at once.
    #[arg(long, default_value_t = 2)]
    lanes: usize,
    /// Acknowledge fsyncs of these files without keeping anything, as if pentad had forgotten them:
    /// the campaign must then find faults.
    #[arg(long, value_enum)]
    lie: Option<Kind>,
    /// Try every lie until it is found out, at most --cuts cuts each; succeeds if all are.
    #[arg(long, conflicts_with = "lie")]
    lies: bool,
    /// Let one fsync of each kind of file fail instead of cutting, and see that pentad stops there.
    #[arg(long, conflicts_with_all = ["lie", "lies"])]
    fail: bool,
    /// Where logs, checkpoints and findings go; else target/trials/power-SEED.
    #[arg(long)]
    work: Option<PathBuf>,
    /// Only say whether a file system can be mounted here.
    #[arg(long)]
    possible: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let ran = async {
        let (mut interrupt, mut terminate) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        );
        // Dropping the campaign unmounts everything.
        tokio::select! {
            ran = run(Options::parse()) => ran,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    };
    match ran.await {
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
    mount::possible().context("no file system can be mounted here")?;
    if options.possible {
        return Ok(true);
    }
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
        .unwrap_or_else(|| target.join(format!("trials/power-{seed}")));
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
            "{} cuts of {}, seed {seed}, in {}",
            options.cuts,
            binary.display(),
            work.display()
        );
    }
    // A copy: somebody may build a new one while the campaign runs.
    let work = work.canonicalize()?;
    let copy = work.join("pentad");
    std::fs::copy(&binary, &copy).with_context(|| binary.display().to_string())?;
    let campaign = Campaign {
        cuts: options.cuts,
        seed,
        binary: copy,
        lanes: options.lanes.max(1),
        work,
        lie: options.lie,
    };
    let right = match (options.lies, options.fail) {
        (true, _) => trial::lies(&campaign).await?,
        (_, true) => trial::failures(&campaign).await?,
        _ => campaign.run().await?,
    };
    if right {
        // Only findings are worth the space.
        std::fs::remove_dir_all(&campaign.work)?;
    }
    Ok(right)
}

fn newest(target: &Path) -> Result<PathBuf> {
    let built = ["release/pentad", "debug/pentad"].map(|name| target.join(name));
    let newest = built
        .into_iter()
        .filter_map(|binary| Some((binary.metadata().ok()?.modified().ok()?, binary)))
        .max();
    newest
        .map(|(_, binary)| binary)
        .context("no pentad is built: `cargo build -p pentad`, or --pentad")
}
