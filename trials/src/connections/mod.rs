//! The connections campaign: crowds, and clients that behave badly, beside clients that don't.
//!
//! ```text
//! 127.0.0.1  well-behaved clients ──┐
//!                                   ├──▶ pentad server, with short time-outs
//! 127.0.0.2  attackers ─────────────┘
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`crowd`] | many connections at once: within the bound, and beyond it |
//! | [`attacks`] | what a bad client does, and what the server must do about it |
//! | [`others`] | the well-behaved clients, and how long their answers take |
//!
//! Three things are asked. A crowd is served, or told when to come back, and nobody hangs. Each bad
//! client is let go within the time that the configuration says. And while it lasts, the p99 of the
//! others stays within [`FACTOR`] times what it is alone, and [`SLACK`] more.

pub mod attacks;
pub mod crowd;
pub mod others;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::{sync::mpsc, time::sleep};

use crate::{
    api::Api,
    crash::show,
    gauge::{Process, mb, ms},
    raw,
    server::Installation,
};

/// Well-behaved clients come from here.
pub const GOOD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
/// The others.
pub const BAD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// How many times as long an answer may take under attack, at the 99th percentile.
pub const FACTOR: u32 = 3;
/// And so much more: attackers run on the same processors.
pub const SLACK: Duration = Duration::from_millis(50);

/// The server's bounds in this campaign, short so that it is.
const SETTINGS: [(&str, &str); 8] = [
    ("PENTAD_SERVER_HEADER_TIMEOUT", "2"),
    ("PENTAD_SERVER_BODY_TIMEOUT", "3"),
    ("PENTAD_SERVER_IDLE_TIMEOUT", "4"),
    ("PENTAD_SERVER_WRITE_TIMEOUT", "3"),
    ("PENTAD_SERVER_MAX_CONNECTIONS", "2000"),
    ("PENTAD_SERVER_MAX_CONNECTIONS_PER_PEER", "1200"),
    ("PENTAD_LOG_LEVEL", "warn"),
    ("PENTAD_TRACES_ENDPOINT", ""),
];
/// Connections that one peer may have by these.
pub const PER_PEER: usize = 1200;

/// How a campaign is run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The `pentad` to try.
    pub binary: PathBuf,
    /// Where store and log go.
    pub work: PathBuf,
    /// Connections of the crowd.
    pub crowd: usize,
    /// How long the others are watched, alone and beside each attack.
    pub watch: Duration,
}

/// Where the server is, and what is asked of it.
#[derive(Clone)]
pub struct Scene {
    /// The server.
    pub server: SocketAddr,
    /// A token of an operator's.
    pub token: String,
}

impl Scene {
    /// A read, as everybody sends it.
    pub fn read(&self) -> String {
        let bearer = format!("Bearer {}", self.token);
        raw::request("GET", "/v1/values/crowd/0", &[("Authorization", &bearer)])
    }
}

impl Campaign {
    /// Runs it; true if the server did as it must.
    pub async fn run(self) -> Result<bool> {
        let installation = Installation {
            binary: self.binary.clone(),
            dir: self.work.join("store"),
            log: self.work.join("server.log"),
            files: self.work.clone(),
            collector: None,
            user: None,
            cwd: None,
            settings: SETTINGS
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        };
        let token = installation.init().await?;
        let (steps, _unread) = mpsc::unbounded_channel();
        let server = installation.start(steps).await?;
        let pid = server.pid().context("the server has ended")?;
        let api = Api::new(&server.address, &token)?;
        prepare(&api).await?;
        let address = server.address.trim_start_matches("http://");
        let scene = Scene {
            server: address.parse().context("no address and port")?,
            token,
        };
        let begun = Process::read(pid)?;

        let mut failed = Vec::new();
        let crowd = crowd::within(&scene, self.crowd).await;
        show(&crowd.to_string());
        failed.extend(crowd.complaints(self.crowd));
        let beyond = crowd::beyond(&scene).await;
        show(&beyond.to_string());
        failed.extend(beyond.complaints());

        let alone = others::watch(&scene, self.watch).await?;
        show(&format!(
            "alone: p50 {} ms, p99 {} ms",
            ms(alone.p50),
            ms(alone.p99)
        ));
        let mut told = Vec::new();
        for attack in attacks::ALL {
            let (attack, seen) = attacks::beside(*attack, &scene, self.watch).await?;
            show(&format!(
                "{attack}; others: p50 {} ms, p99 {} ms",
                ms(seen.p50),
                ms(seen.p99)
            ));
            failed.extend(attack.complaints());
            if seen.p99 > alone.p99 * FACTOR + SLACK {
                failed.push(format!(
                    "{}: the others' p99 is {} ms, and {} ms alone",
                    attack.name(),
                    ms(seen.p99),
                    ms(alone.p99)
                ));
            }
            told.push(format!("{} {}", attack.name(), ms(seen.p99)));
        }

        // All of theirs is given back: what idles is let go after four seconds.
        let mut ended = Process::read(pid)?;
        for _ in 0..40 {
            ended = Process::read(pid)?;
            if ended.descriptors <= begun.descriptors + 8 {
                break;
            }
            sleep(Duration::from_millis(250)).await;
        }
        if ended.descriptors > begun.descriptors + 8 {
            failed.push(format!(
                "{} descriptors are open, and {} were before",
                ended.descriptors, begun.descriptors
            ));
        }
        if !api.get("/readyz").await?.ok() {
            failed.push("the server is not ready any more".to_owned());
        }
        server.kill().await?;
        for complaint in &failed {
            show(&format!("FOUND: {complaint}"));
        }
        show(&format!(
            "connections: {} at once, served {}, refused {}, failed {}; found wrong {}; p99 of the \
             others in ms: alone {}, {}; memory {} .. {} MB",
            self.crowd,
            crowd.served,
            crowd.refused,
            crowd.failed.len(),
            failed.len(),
            ms(alone.p99),
            told.join(", "),
            mb(begun.rss),
            mb(ended.rss),
        ));
        Ok(failed.is_empty())
    }
}

/// Enough for pages that don't fit into a socket.
async fn prepare(api: &Api) -> Result<()> {
    let operations: Vec<_> = (0..1000)
        .map(|number| {
            json!({
                "op": "put", "path": format!("crowd/{number}"), "kind": "secret",
                "value": format!("a-Value-of-{number}-7x"), "description": "of the crowd",
            })
        })
        .collect();
    let batch = json!({"operations": operations});
    let stored = api.post("/v1/batch", &batch).await?.body()?;
    anyhow::ensure!(stored["failed"] == 0, "preparing: {}", stored["results"][0]);
    Ok(())
}
