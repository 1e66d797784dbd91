//! `pentad bench targets`: the figures that the first users named, each measured and held against what
//! they asked for. What can't be measured yet is said by its name.
//!
//! Everything runs against a real `pentad server` over an estate of ten thousand credentials, made for
//! it; rotations against the PostgreSQL server that `pentad bench rotate` takes, if one is named.
//! "Less time" is always against the same work done one request after another.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    estate,
    report::{ms, percentile, print, rounded},
    scale::{self, Server},
    scratch::{self, Home, rate},
};
use crate::{
    failure::{Exit, Failure},
    session::Session,
};

/// Credentials of the estate.
const CREDENTIALS: u64 = 10_000;
/// Records of its audit log.
const RECORDS: u64 = 100_000;
/// Requests at once; "100+".
const AT_ONCE: u64 = 128;
/// How long the estate is under load.
const LOAD: Duration = Duration::from_secs(10);
/// Credentials of a comparison with sequential work.
const SAMPLE: u64 = 500;
/// After which nobody counts as having been there just now.
const QUIET: Duration = Duration::from_millis(1500);
/// Background requests that a program's request meets.
const FLOOD: u64 = 256;
/// Requests whose wait is measured, in each lane.
const PROBES: u64 = 15;
/// The round trip to the target of the batch, in milliseconds: what a network has.
const LATENCY: &str = "20";

/// Hold Pentad against the figures that its first users named
///
/// Takes about two minutes. Rotations are measured if a PostgreSQL server is named as for
/// `pentad bench rotate`, by PENTAD_BENCH_TARGET. The last line is JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad bench targets
  PENTAD_BENCH_TARGET=postgres://postgres@127.0.0.1 PENTAD_BENCH_PASSWORD_FILE=pg.pass \\
    pentad bench targets --json")]
pub(super) struct Args {
    /// Where the throw-away estate is made; on the disk that a real one would be on
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// All figures.
#[derive(Debug, Serialize)]
struct Figures {
    targets: Vec<Held>,
    /// What does not apply yet, and why.
    not_yet: Vec<[&'static str; 2]>,
    /// How many of `targets` are missed.
    missed: usize,
}

/// One figure beside its target.
#[derive(Debug, Serialize)]
struct Held {
    name: &'static str,
    figure: f64,
    unit: &'static str,
    wanted: &'static str,
    ok: bool,
}

const NOT_YET: [[&str; 2]; 4] = [
    ["correlation under 15 s", "correlation is not there yet"],
    [
        "95 % of anomalies found, 60 % fewer false alarms",
        "detection is not there yet",
    ],
    ["response within 30 s", "incidents are not there yet"],
    [
        "recovery within 2 min",
        "self-healing is not there yet; a killed server's first answer is in \
      `pentad bench scale`",
    ],
];

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let out = session.output;
        scratch::note_if_busy(out);
        let scratch = scratch::directory(self.scratch.as_deref())?;
        let home = Home::embedded(session, &scratch.path().join("store"));
        let made = scale::make(out, &home.place()?, CREDENTIALS, RECORDS).await?;
        let server = Arc::new(Server::start(&home, &made, true).await?);
        let mut held = Vec::new();
        let mut not_yet = NOT_YET.to_vec();

        out.note("the estate under load");
        under_load(&server, &mut held).await?;
        out.note("a check of the estate");
        let took = check_all(&server).await?;
        held.push(Held::at_most(
            "audit of the estate",
            took.as_secs_f64(),
            "s",
            10.0,
            "< 10",
        ));
        out.note("against sequential work");
        let less = validation(&server).await?;
        held.push(Held::at_least(
            "validation, less time",
            less,
            "%",
            60.0,
            "60-70",
        ));
        let less = encryption(&server).await?;
        held.push(Held::at_least(
            "encryption, less time",
            less,
            "%",
            40.0,
            "40-50",
        ));
        let less = analysis(&server).await?;
        held.push(Held::at_least(
            "audit analysis, less time",
            less,
            "%",
            85.0,
            "85",
        ));
        out.note("a flood of background work");
        let less = queueing(&server).await?;
        held.push(Held::at_least(
            "queueing delay, less",
            less,
            "%",
            90.0,
            "90",
        ));
        let memory = server.memory("VmHWM:");
        held.push(Held::at_most("memory", memory, "MB", 1024.0, "< 1024"));
        drop(server);
        out.note("a batch of rotations");
        match rotations()? {
            Some(figures) => rotated(&figures, &mut held),
            None => not_yet.push([
                "batch rotation, integration",
                "no PostgreSQL server is named: set PENTAD_BENCH_TARGET",
            ]),
        }
        let missed = held.iter().filter(|held| !held.ok).count();
        let figures = Figures {
            targets: held,
            not_yet,
            missed,
        };
        print(out, &figures.text(), &figures)?;
        match missed {
            0 => Ok(()),
            _ => Err(Failure::new(
                Exit::Partial,
                format!("{missed} targets are missed"),
            )),
        }
    }
}

impl Held {
    fn at_most(
        name: &'static str,
        figure: f64,
        unit: &'static str,
        bound: f64,
        wanted: &'static str,
    ) -> Self {
        Self {
            name,
            figure: rounded(figure, 2),
            unit,
            wanted,
            ok: figure <= bound,
        }
    }

    fn at_least(
        name: &'static str,
        figure: f64,
        unit: &'static str,
        bound: f64,
        wanted: &'static str,
    ) -> Self {
        Self {
            ok: figure >= bound,
            ..Self::at_most(name, figure, unit, bound, wanted)
        }
    }
}

impl Figures {
    fn text(&self) -> String {
        let held = self.targets.iter().map(|held| {
            let ok = match held.ok {
                true => "ok",
                false => "NOT",
            };
            format!(
                "{ok:<4} {:<40} {:>12.2} {:<10} asked for: {}",
                held.name, held.figure, held.unit, held.wanted
            )
        });
        let not_yet = self
            .not_yet
            .iter()
            .map(|[name, why]| format!("-    {name}: {why}"));
        held.chain(not_yet).collect::<Vec<_>>().join("\n")
    }
}

/// How much less time one took than the other, in percent.
fn less(one: Duration, other: Duration) -> f64 {
    (1.0 - one.as_secs_f64() / other.as_secs_f64().max(1e-9)) * 100.0
}

/// So many requests at once: reads, pages, changes, checks.
async fn under_load(server: &Arc<Server>, held: &mut Vec<Held>) -> Result<(), Failure> {
    let begin = Instant::now();
    let tasks = (0..AT_ONCE).map(|task| {
        let server = Arc::clone(server);
        tokio::spawn(async move {
            let mut times = Vec::new();
            let mut number = task * 77;
            while begin.elapsed() < LOAD {
                number = (number + 7919) % CREDENTIALS;
                let path = estate::path(number)?;
                let asked = Instant::now();
                match number % 20 {
                    0 => {
                        let put = json!({"generate": true});
                        let what = format!("/v1/credentials/{path}");
                        server.send(reqwest::Method::PUT, &what, &put).await?;
                    }
                    1 => {
                        let what = format!("/v1/credentials?limit=100&after={path}");
                        server.get(0, &what).await?;
                    }
                    2 => drop(server.get(0, &format!("/v1/checks/{path}")).await?),
                    _ => drop(server.get(0, &format!("/v1/values/{path}")).await?),
                }
                times.push(asked.elapsed());
            }
            Ok::<_, Failure>(times)
        })
    });
    let mut times = Vec::new();
    for task in try_join_all(tasks).await.map_err(internal)? {
        times.extend(task?);
    }
    let an_hour = rate(times.len() as u64, begin.elapsed()) * 3600.0;
    held.push(Held::at_least(
        "credentials",
        CREDENTIALS as f64,
        "",
        10_000.0,
        "10,000+",
    ));
    held.push(Held::at_least(
        "requests at once",
        AT_ONCE as f64,
        "",
        100.0,
        "100+",
    ));
    held.push(Held::at_least(
        "operations an hour",
        an_hour,
        "",
        10_000.0,
        "10,000+",
    ));
    let slowest = percentile(&times, 100).as_secs_f64();
    held.push(Held::at_most(
        "latency of the slowest operation",
        slowest,
        "s",
        3.0,
        "< 3",
    ));
    let p99 = ms(percentile(&times, 99));
    held.push(Held::at_most(
        "latency, 99th percentile",
        p99,
        "ms",
        3000.0,
        "< 3000",
    ));
    Ok(())
}

/// Every credential of the estate opened, measured and judged.
async fn check_all(server: &Server) -> Result<Duration, Failure> {
    let begin = Instant::now();
    let (mut after, mut seen) = (String::new(), 0);
    loop {
        let page = server
            .get(0, &format!("/v1/checks?limit=1000{after}"))
            .await?;
        seen += page["items"].as_array().map_or(0, Vec::len) as u64;
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    match seen >= CREDENTIALS {
        true => Ok(begin.elapsed()),
        false => Err(Failure::internal(format!(
            "only {seen} credentials were checked"
        ))),
    }
}

/// A page is judged several at once.
async fn validation(server: &Server) -> Result<f64, Failure> {
    let begin = Instant::now();
    let page = server.get(0, &format!("/v1/checks?limit={SAMPLE}")).await?;
    let at_once = begin.elapsed();
    let paths = page["items"].as_array().into_iter().flatten();
    let paths: Vec<&str> = paths.filter_map(|item| item["path"].as_str()).collect();
    let begin = Instant::now();
    for path in paths {
        server.get(0, &format!("/v1/checks/{path}")).await?;
    }
    Ok(less(at_once, begin.elapsed()))
}

/// Values that are stored as a stream, beside one request after another.
async fn encryption(server: &Server) -> Result<f64, Failure> {
    let value = |n: u64| format!("uX3-{n}-k9Qz!vT7p");
    let lines = (0..SAMPLE).map(|n| {
        let put = json!({"op": "put", "path": format!("bench/stream/{n}"), "kind": "secret",
                         "value": value(n), "accept_weak": true});
        format!("{put}\n")
    });
    let lines: String = lines.collect();
    // Both have the server to themselves: a stream steps back for whoever was there a second ago.
    tokio::time::sleep(QUIET).await;
    let begin = Instant::now();
    let answer = server.stream(lines).await?;
    let streamed = begin.elapsed();
    let end: Value =
        serde_json::from_str(answer.lines().last().unwrap_or_default()).map_err(internal)?;
    if end != json!({"lines": SAMPLE, "failed": 0}) {
        return Err(Failure::internal(format!("the stream ended as {end}")));
    }
    let begin = Instant::now();
    for n in 0..SAMPLE {
        let put = json!({"kind": "secret", "value": value(n), "accept_weak": true});
        let what = format!("/v1/credentials/bench/single/{n}");
        server.send(reqwest::Method::PUT, &what, &put).await?;
    }
    Ok(less(streamed, begin.elapsed()))
}

/// What one principal did: asked of the log, beside reading all of it.
async fn analysis(server: &Server) -> Result<f64, Failure> {
    const WHO: &str = "agent:bench-5";
    let mut took = [Duration::ZERO; 2];
    let mut found = [0; 2];
    for (way, filter) in [format!("&principal={WHO}"), String::new()]
        .iter()
        .enumerate()
    {
        let begin = Instant::now();
        let mut before = String::new();
        loop {
            let what = format!("/v1/audit/records?limit=1000{filter}{before}");
            let page = server.get(0, &what).await?;
            let records = page["items"].as_array().into_iter().flatten();
            found[way] += records.filter(|it| it["principal"] == WHO).count();
            match &page["next"] {
                Value::Null => break,
                Value::String(next) => before = format!("&before={next}"),
                next => before = format!("&before={next}"),
            }
        }
        took[way] = begin.elapsed();
    }
    match found[0] == found[1] && found[0] > 0 {
        true => Ok(less(took[0], took[1])),
        false => Err(Failure::internal(format!(
            "the ways differ: {found:?} records"
        ))),
    }
}

/// How long a request of a program waits behind a flood of background work: in its own lane, beside
/// the same lane as the flood. What it takes without a flood is not waiting.
async fn queueing(server: &Arc<Server>) -> Result<f64, Failure> {
    let idle = probe(server, false).await?;
    let stop = Arc::new(AtomicU64::new(0));
    let flood: Vec<_> = (0..FLOOD)
        .map(|n| {
            let (server, stop) = (Arc::clone(server), Arc::clone(&stop));
            tokio::spawn(async move {
                while stop.load(Ordering::Relaxed) == 0 {
                    // One that finds its lane full is refused; it comes again.
                    drop(
                        server
                            .background(&format!("/v1/checks?limit=4&prefix=team-{}", n % 20))
                            .await,
                    );
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let first = probe(server, false).await;
    let same = probe(server, true).await;
    stop.store(1, Ordering::Relaxed);
    for task in flood {
        task.await.map_err(internal)?;
    }
    let waits = |took: Duration| took.saturating_sub(idle);
    Ok(less(waits(first?), waits(same?)))
}

/// The median of some reads.
async fn probe(server: &Server, background: bool) -> Result<Duration, Failure> {
    let mut times = Vec::new();
    for number in 0..PROBES {
        let what = format!("/v1/values/{}", estate::path(number)?);
        let begin = Instant::now();
        match background {
            true => drop(server.background(&what).await),
            false => drop(server.get(0, &what).await?),
        }
        times.push(begin.elapsed());
    }
    Ok(percentile(&times, 50))
}

/// `pentad bench rotate`, in a process of its own: its figures, if a server is named.
fn rotations() -> Result<Option<Value>, Failure> {
    if std::env::var_os("PENTAD_BENCH_TARGET").is_none_or(|target| target.is_empty()) {
        return Ok(None);
    }
    let program = std::env::current_exe().map_err(|e| Failure::file("pentad", &e))?;
    let done = std::process::Command::new(program)
        .args([
            "bench",
            "rotate",
            "--count",
            "200",
            "--latency-ms",
            LATENCY,
            "--json",
            "--quiet",
        ])
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|e| Failure::file("pentad bench rotate", &e))?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last)
        .map(Some)
        .map_err(|_| Failure::unavailable("`pentad bench rotate` gave no figures"))
}

fn rotated(figures: &Value, held: &mut Vec<Held>) {
    let figure = |name: &str| figures[name].as_f64().unwrap_or(0.0);
    let (count, seconds) = (figure("count"), figure("seconds"));
    let faster = (1.0 - seconds / figure("sequential_seconds").max(1e-9)) * 100.0;
    let success = figure("ok") / count.max(1.0) * 100.0;
    held.push(Held::at_least(
        "batch rotation, credentials",
        count,
        "",
        100.0,
        "100+",
    ));
    held.push(Held::at_least(
        "batch rotation, faster",
        faster,
        "%",
        70.0,
        "70-80",
    ));
    held.push(Held::at_least(
        "batch rotation, success",
        success,
        "%",
        99.9,
        "99.9",
    ));
    let initiate = figure("initiate_p99_ms");
    held.push(Held::at_most(
        "batch rotation, initiate p99",
        initiate,
        "ms",
        500.0,
        "< 500",
    ));
    let slowest = figure("slowest_ms") / 1e3;
    held.push(Held::at_most(
        "batch rotation, each at most",
        slowest,
        "s",
        5.0,
        "< 5",
    ));
    // What it does at the target - logins and statements - is what integration is.
    held.push(Held::at_least(
        "integration, less time",
        faster,
        "%",
        50.0,
        "50-60",
    ));
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::internal(error.to_string())
}
