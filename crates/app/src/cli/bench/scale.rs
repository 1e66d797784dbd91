//! `pentad bench scale`: a large estate behind a real server that was killed.
//!
//! What runs, in this order:
//!
//! 1. An estate is made: credentials through the store, each value sealed; records through the audit
//!    log; roles and tokens through the operations. With `--keep` it is made once.
//! 2. `pentad server` is started over it, reads values, and is killed with SIGKILL while it does.
//! 3. It is started again; the clock runs from there until it answered a request for a value. Once
//!    with what the system still has in memory, once after it was told to forget the files.
//! 4. Pages, by one client, one request after another: by prefix, by roles that see one in ten
//!    thousand, by tags, of the audit log.
//! 5. The server's memory is looked at.
//!
//! The floor of an answer is the server's health, over the same connection: what HTTP costs here.
//! The floor of the start is the same server over an empty store.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path as FilePath, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use pentad_agents::{Caller, Pentad, monitoring::high_water_of, operations::NewToken};
use pentad_model::{
    Tenant, Verb,
    access::{Effect, Role, Rule},
};
use pentad_store::{
    Change, Collection, Document, Expect, Op,
    audit::{AuditLog, Options},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    audit::record,
    estate,
    report::{ms, percentile, print, rounded},
    scratch::{self, Home},
};
use crate::{
    failure::{Exit, Failure},
    output::Output,
    progress::Progress,
    session::Session,
    wiring::{self, Place, shared},
};

/// Says what an estate that was kept holds; written when it is whole.
const MADE: &str = "bench-scale.json";
/// Requests of each sort.
const REQUESTS: u64 = 1000;
/// Records handed to the audit log at once, and so records of a block: as many as move there together
/// from the store.
const RECORDS: u64 = 128;
/// How long a server may take until it answers; it should take a hundredth of it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measure a large estate: start after a kill, pages, memory
///
/// Makes an estate of so many credentials and audit records, kills a real server over it, and
/// measures how fast it is back, its pages, and its memory. The last line is JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad bench scale --credentials 100000 --audit 1000000
  pentad bench scale --credentials 1000000 --audit 10000000 --keep /var/tmp/scale
  pentad bench scale --keep /var/tmp/scale --json    # uses what is there

A million credentials and ten million records need some 6 GB of disk.

With --store (or PENTAD_STORE) the estate is made in that database, in schemas of its own beside the
store's: the one that is named, or `pentad`, with _bench and _bench_empty behind it.")]
pub(super) struct Args {
    /// How many credentials; at least one team's
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(5_000..=10_000_000))]
    credentials: u64,
    /// How many audit records
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    audit: u64,
    /// Keep the estate here, and use it if it is there
    #[arg(long, value_name = "DIR", conflicts_with = "scratch")]
    keep: Option<PathBuf>,
    /// Where a throw-away estate is made; on the disk that a real one would be on
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// An estate that was made.
#[derive(Serialize, Deserialize)]
pub(super) struct Made {
    credentials: u64,
    audit: u64,
    /// Of the roles below, in the order of [`ROLES`]. They open nothing but this estate.
    tokens: Vec<String>,
}

/// Who asks.
const ROLES: [&str; 4] = ["all", "pattern", "exact", "wild"];

/// All figures. Times are the 99th percentile in milliseconds, as far as their names say no other.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    /// `embedded` or `postgresql`.
    pub(super) store: &'static str,
    pub(super) credentials: u64,
    pub(super) audit: u64,
    /// From the start of the program until a value was answered, after SIGKILL.
    pub(super) first_answer_ms: f64,
    /// The same with none of its files in the system's memory. Those of a database server are its
    /// own, and stay.
    pub(super) first_answer_cold_ms: f64,
    /// The same over an empty store: the floor.
    pub(super) first_answer_empty_ms: f64,
    /// Pages, by name.
    pub(super) pages: Vec<Timed>,
    /// The server's memory after all of it (VmRSS), and the most that it had (VmHWM).
    pub(super) rss_mb: f64,
    /// See above.
    pub(super) peak_rss_mb: f64,
    /// Bytes of the store and of the audit log.
    pub(super) disk_mb: f64,
}

/// One sort of request.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Timed {
    pub(super) name: &'static str,
    /// Items of the fullest page.
    pub(super) items: usize,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// The 99th percentile beside that of the server's health.
    pub(super) ratio: f64,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let out = session.output;
        scratch::note_if_busy(out);
        let throw_away;
        let base = match &self.keep {
            Some(dir) => {
                fs::create_dir_all(dir).map_err(|e| Failure::file(dir.display(), &e))?;
                scratch::on_a_disk(dir)?;
                dir.clone()
            }
            None => {
                throw_away = scratch::directory(self.scratch.as_deref())?;
                throw_away.path().to_owned()
            }
        };
        let figures = measure(session, &base, self.credentials, self.audit).await;
        if self.keep.is_none() {
            for (dir, suffix) in [("store", "bench"), ("empty", "bench_empty")] {
                let home = Home::configured(session, &base.join(dir), suffix);
                // Without its file it never became a node: what is there is somebody else's.
                if home.dir().join("node").exists() {
                    shared::remove(&home.place()?).await?;
                }
            }
        }
        let figures = figures?;
        print(out, &figures.text(), &figures)
    }
}

/// Makes what is not there yet, and measures.
pub(super) async fn measure(
    session: &Session,
    base: &FilePath,
    credentials: u64,
    audit: u64,
) -> Result<Figures, Failure> {
    let out = session.output;
    let home = Home::configured(session, &base.join("store"), "bench");
    let made = match kept(base)? {
        Some(made) => {
            out.note(format!(
                "the estate in {} has {} credentials and {} records",
                base.display(),
                made.credentials,
                made.audit
            ));
            made
        }
        None => {
            let made = make(out, &home.place()?, credentials, audit).await?;
            let text = serde_json::to_string(&made).map_err(internal)?;
            fs::write(base.join(MADE), text).map_err(|e| Failure::file(base.display(), &e))?;
            made
        }
    };
    let empty = Home::configured(session, &base.join("empty"), "bench_empty");
    if !empty.dir().exists() {
        wiring::initialise(&empty.place()?, None).await?;
    }
    out.note("starting over an empty store");
    let first_answer_empty_ms = ms(Server::start(&empty, &made, false).await?.took);

    out.note("starting, killing, starting again");
    let first = Server::start(&home, &made, true).await?;
    first.kill_under_load().await?;
    let again = Server::start(&home, &made, true).await?;
    let first_answer_ms = ms(again.took);
    again.kill_under_load().await?;
    forget(home.dir());
    let server = Server::start(&home, &made, true).await?;
    let first_answer_cold_ms = ms(server.took);

    let pages = pages(out, &server, &made).await?;
    let rss_mb = server.memory("VmRSS:");
    let in_database = shared::bytes(&home.place()?).await?;
    Ok(Figures {
        store: if home.is_shared() {
            "postgresql"
        } else {
            "embedded"
        },
        credentials: made.credentials,
        audit: made.audit,
        first_answer_ms,
        first_answer_cold_ms,
        first_answer_empty_ms,
        pages,
        rss_mb,
        peak_rss_mb: server.memory("VmHWM:"),
        disk_mb: rounded((size_of(home.dir()) + in_database) as f64 / 1e6, 0),
    })
}

impl Figures {
    fn text(&self) -> String {
        let mut text = format!(
            "estate       {store}: {credentials} credentials, {audit} audit records, {disk:.0} MB on \
             disk\n\
             start        first answer {first:.0} ms after a kill; {cold:.0} ms with cold files; \
             {empty:.0} ms over an empty store\n",
            store = self.store,
            credentials = self.credentials,
            audit = self.audit,
            disk = self.disk_mb,
            first = self.first_answer_ms,
            cold = self.first_answer_cold_ms,
            empty = self.first_answer_empty_ms,
        );
        for page in &self.pages {
            text.push_str(&format!(
                "{:<34} p50 {:>7.2} ms, p99 {:>7.2} ms, {:>6.1} times the floor; up to {} items\n",
                page.name, page.p50_ms, page.p99_ms, page.ratio, page.items,
            ));
        }
        text.push_str(&format!(
            "memory       {:.0} MB after all of it, {:.0} MB at most",
            self.rss_mb, self.peak_rss_mb
        ));
        text
    }
}

// ---- the estate ---------------------------------------------------------------------------------

fn kept(base: &FilePath) -> Result<Option<Made>, Failure> {
    let file = base.join(MADE);
    match fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(internal),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::file(file.display(), &error)),
    }
}

pub(super) async fn make(
    out: Output,
    place: &Place,
    credentials: u64,
    audit: u64,
) -> Result<Made, Failure> {
    wiring::initialise(place, None).await.map_err(|failure| {
        failure.hint("an estate that was not finished: remove it, or name another directory")
    })?;
    let (reader, writer) = wiring::open_either(place).await?;
    let keyring = wiring::keyring(place, &*reader).await?;
    let progress = Progress::new(out, credentials as usize);
    let stored = estate::make(&*writer, &keyring, credentials, &progress).await;
    progress.end();
    stored?;

    let progress = Progress::new(out, audit as usize);
    let log = AuditLog::open(&place.audit(), Options::default(), 0).map_err(internal)?;
    let mut done = log.size();
    while done < audit {
        let next = (done + RECORDS).min(audit);
        let records: Vec<_> = (done..next).map(record).collect();
        log.append_all(&records).await.map_err(internal)?;
        done = next;
        progress.at(done as usize, "audit records");
    }
    progress.end();
    let mark = Change {
        ops: vec![high_water(reader.node(), log.size())],
        records: Vec::new(),
    };
    writer.commit(mark).await.map_err(internal)?;
    drop((log, reader, writer));
    shared::settle(place).await?;

    let pentad = wiring::open(place).await?;
    let tokens = tokens(&pentad, credentials).await;
    wiring::stop(&pentad).await;
    Ok(Made {
        credentials,
        audit,
        tokens: tokens?,
    })
}

/// What the monitoring agent notes, so that a log that lost records is refused.
fn high_water(node: Option<&str>, size: u64) -> Op {
    Op::PutDocument {
        document: Document {
            collection: Collection::State,
            tenant: Tenant::default_tenant(),
            name: high_water_of(node),
            revision: 0,
            expires_at: None,
            body: size.into(),
            seal: None,
        },
        expect: Expect::Any,
    }
}

/// The roles, each with a token.
async fn tokens(pentad: &Pentad, credentials: u64) -> Result<Vec<String>, Failure> {
    let caller = || -> Result<Caller, Failure> {
        let (tenant, correlation) = (Tenant::default_tenant(), pentad.correlation());
        Ok(pentad.local(&tenant, "bench", correlation)?)
    };
    let teams = credentials.div_ceil(estate::PER_TEAM);
    let seen = (credentials / 10_000).max(1);
    let patterns: [Vec<String>; ROLES.len()] = [
        vec!["**".to_owned()],
        // A hundred of each team; of as many teams as make one in ten thousand.
        (0..seen.div_ceil(estate::APPS))
            .map(|n| format!("team-{}/*/db", (7 + n * 997) % teams))
            .collect(),
        (0..seen)
            .map(|n| estate::path(n * 9_973 % credentials).map(|path| path.to_string()))
            .collect::<Result<_, _>>()?,
        vec!["*/app-42/db".to_owned()],
    ];
    let mut tokens = Vec::with_capacity(ROLES.len());
    for (name, paths) in ROLES.into_iter().zip(patterns) {
        let verbs = match name {
            "all" => Verb::ALL.to_vec(),
            _ => vec![Verb::List, Verb::Read],
        };
        let name: pentad_model::Name = format!("bench-{name}").parse().map_err(internal)?;
        let role = Role {
            name: name.clone(),
            description: String::new(),
            rules: vec![Rule {
                effect: Effect::Allow,
                paths,
                verbs,
            }],
        };
        pentad.put_role(&caller()?, role).await?;
        let new = NewToken {
            name: name.clone(),
            roles: vec![name],
            ttl: None,
        };
        let made = pentad.create_token(&caller()?, new).await?;
        tokens.push(String::from_utf8_lossy(made.secret.expose()).into_owned());
    }
    Ok(tokens)
}

// ---- the server ---------------------------------------------------------------------------------

/// A running `pentad server`; killed when dropped.
pub(super) struct Server {
    child: Child,
    client: reqwest::Client,
    address: String,
    tokens: Vec<String>,
    credentials: u64,
    /// From its start to its first answer.
    took: Duration,
}

impl Server {
    pub(super) async fn start(home: &Home, made: &Made, filled: bool) -> Result<Self, Failure> {
        let dir = home.dir();
        let program = std::env::current_exe().map_err(|e| Failure::file("pentad", &e))?;
        let announced = dir.join("address");
        let _ = fs::remove_file(&announced);
        let log = fs::File::create(dir.with_extension("log"))
            .map_err(|e| Failure::file(dir.display(), &e))?;
        let begin = Instant::now();
        let child = home
            .command(&program)
            .args(["server", "--listen", "127.0.0.1:0", "--log-level", "warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| Failure::file("pentad server", &e))?;
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .build()
            .map_err(internal)?;
        let mut server = Self {
            child,
            client,
            address: String::new(),
            tokens: made.tokens.clone(),
            credentials: made.credentials,
            took: Duration::ZERO,
        };
        loop {
            if let Ok(address) = fs::read_to_string(&announced) {
                server.address = address.trim().to_owned();
                break;
            }
            let ended = server
                .child
                .try_wait()
                .map_err(|e| Failure::file("pentad", &e))?;
            if ended.is_some() || begin.elapsed() > PATIENCE {
                return Err(Failure::unavailable("the server did not start")
                    .hint(format!("{} says why", dir.with_extension("log").display())));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        match filled {
            true => server.value(0).await?,
            false => server.health().await?,
        }
        server.took = begin.elapsed();
        Ok(server)
    }

    /// Kills it in the middle of its work.
    async fn kill_under_load(mut self) -> Result<(), Failure> {
        let (client, address) = (self.client.clone(), self.address.clone());
        let token = self.tokens[0].clone();
        let credentials = self.credentials;
        let load = tokio::spawn(async move {
            for number in 0.. {
                let path = estate::path(number * 7919 % credentials)?;
                let url = format!("{address}/v1/values/{path}");
                let sent = client.get(url).bearer_auth(&token).send().await;
                if sent.is_err() {
                    break;
                }
            }
            Ok::<_, Failure>(())
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        let io = |error| Failure::file("pentad server", &error);
        self.child.kill().map_err(io)?;
        let status = self.child.wait().map_err(io)?;
        load.await.map_err(internal)??;
        match status.signal() {
            Some(9) => Ok(()),
            _ => Err(Failure::unavailable(format!(
                "the server ended by itself: {status}"
            ))),
        }
    }

    async fn value(&self, number: u64) -> Result<(), Failure> {
        let path = estate::path(number)?;
        self.get(0, &format!("/v1/values/{path}")).await.map(drop)
    }

    async fn health(&self) -> Result<(), Failure> {
        let url = format!("{}/v1/health", self.address);
        let answer = self.client.get(url).send().await.map_err(internal)?;
        answer.bytes().await.map(drop).map_err(internal)
    }

    /// What one of the [`ROLES`] is answered.
    pub(super) async fn get(&self, role: usize, what: &str) -> Result<Value, Failure> {
        answered(what, self.request(role, what)).await
    }

    fn request(&self, role: usize, what: &str) -> reqwest::RequestBuilder {
        self.client
            .get(format!("{}{what}", self.address))
            .bearer_auth(&self.tokens[role])
    }

    /// As [`get`](Self::get) by who may do all, as background work (RFC 9218).
    pub(super) async fn background(&self, what: &str) -> Result<Value, Failure> {
        let request = self
            .client
            .get(format!("{}{what}", self.address))
            .header("priority", "u=7")
            .bearer_auth(&self.tokens[0]);
        answered(what, request).await
    }

    /// A request with a body, by who may do all.
    pub(super) async fn send(
        &self,
        method: reqwest::Method,
        what: &str,
        body: &Value,
    ) -> Result<Value, Failure> {
        let request = self
            .client
            .request(method, format!("{}{what}", self.address))
            .bearer_auth(&self.tokens[0])
            .json(body);
        answered(what, request).await
    }

    /// A streamed batch; the answer's text.
    pub(super) async fn stream(&self, lines: String) -> Result<String, Failure> {
        let answer = self
            .client
            .post(format!("{}/v1/batch", self.address))
            .bearer_auth(&self.tokens[0])
            .header("content-type", "application/x-ndjson")
            .body(lines)
            .send()
            .await
            .map_err(internal)?;
        let body = answer.bytes().await.map_err(internal)?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// A field of its status, in MB.
    pub(super) fn memory(&self, field: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kb = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
        rounded(kb.unwrap_or(0.0) / 1024.0, 1)
    }
}

async fn answered(what: &str, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
    let body = body(what, request).await?;
    serde_json::from_slice(&body).map_err(internal)
}

/// The bytes of a successful answer.
async fn body(what: &str, request: reqwest::RequestBuilder) -> Result<Vec<u8>, Failure> {
    let answer = request.send().await.map_err(internal)?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(internal)?;
    if !status.is_success() {
        let text = String::from_utf8_lossy(&body).into_owned();
        return Err(Failure::new(
            Exit::Unavailable,
            format!("{what}: {status} {text}"),
        ));
    }
    Ok(body.into())
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// ---- the pages ----------------------------------------------------------------------------------

async fn pages(out: Output, server: &Server, made: &Made) -> Result<Vec<Timed>, Failure> {
    let teams = made.credentials.div_ceil(estate::PER_TEAM);
    let log = made.audit;
    let mut all = Vec::new();
    out.note("the floor: the server's health");
    let mut health = Vec::with_capacity(REQUESTS as usize);
    for _ in 0..REQUESTS {
        let begin = Instant::now();
        server.health().await?;
        health.push(begin.elapsed());
    }
    let floor = ms(percentile(&health, 99));
    all.push(Timed {
        name: "health",
        items: 0,
        p50_ms: ms(percentile(&health, 50)),
        p99_ms: floor,
        ratio: 1.0,
    });

    type Ask<'a> = (&'static str, usize, Box<dyn Fn(u64) -> String + 'a>);
    let list = |more: String| format!("/v1/credentials?limit=100&{more}");
    let asks: Vec<Ask<'_>> = vec![
        (
            "prefix of a team",
            0,
            Box::new(|n| list(format!("prefix=team-{}/", n * 7919 % teams))),
        ),
        (
            "prefix, in the middle",
            0,
            Box::new(|n| {
                let team = n * 7919 % teams;
                list(format!(
                    "prefix=team-{team}/&after=team-{team}/app-{}/db",
                    n % 100
                ))
            }),
        ),
        (
            "all, by a role of one pattern",
            1,
            Box::new(|_| list(String::new())),
        ),
        (
            "all, by a role of exact paths",
            2,
            Box::new(|_| list(String::new())),
        ),
        (
            "all, by a role `*/app-42/db`",
            3,
            Box::new(|_| list(String::new())),
        ),
        (
            "tag env=prod",
            0,
            Box::new(|n| list(format!("tag=env=prod&after=team-{}/a/b", n * 7919 % teams))),
        ),
        (
            "tag env=prod, prefix",
            0,
            Box::new(|n| list(format!("tag=env=prod&prefix=team-{}/", n * 7919 % teams))),
        ),
        (
            "tag cost=cc-3, rare",
            0,
            Box::new(|_| list("tag=cost=cc-3".to_owned())),
        ),
        (
            "tag env=prod and a kind",
            0,
            Box::new(|n| list(format!("tag=env=prod&kind=api_key&prefix=team-{}", n % 10))),
        ),
        (
            "tag env=prod, by `*/app-42/db`",
            3,
            Box::new(|_| list("tag=env=prod".to_owned())),
        ),
        (
            "audit log, newest",
            0,
            Box::new(|_| "/v1/audit/records?limit=100".to_owned()),
        ),
        (
            "audit log, anywhere",
            0,
            Box::new(|n| {
                format!(
                    "/v1/audit/records?limit=100&before={}",
                    1000 + n * 7_919_017 % (log - 999)
                )
            }),
        ),
        (
            "a value",
            0,
            Box::new(|n| match estate::path(n * 7919 % made.credentials) {
                Ok(path) => format!("/v1/values/{path}"),
                Err(_) => String::new(),
            }),
        ),
    ];
    for (name, role, ask) in asks {
        out.note(name);
        let (mut times, mut items) = (Vec::with_capacity(REQUESTS as usize), 0);
        for n in 0..REQUESTS {
            let what = ask(n);
            let begin = Instant::now();
            let answer = body(&what, server.request(role, &what)).await?;
            // To take it apart is the client's affair.
            times.push(begin.elapsed());
            let answer: Value = serde_json::from_slice(&answer).map_err(internal)?;
            items = items.max(answer["items"].as_array().map_or(1, Vec::len));
            // What is slow by orders of magnitude is seen at once.
            if n >= 50 && times.iter().sum::<Duration>() > Duration::from_secs(20) {
                break;
            }
        }
        let p99 = ms(percentile(&times, 99));
        all.push(Timed {
            name,
            items,
            p50_ms: ms(percentile(&times, 50)),
            p99_ms: p99,
            ratio: rounded(p99 / floor, 1),
        });
    }
    Ok(all)
}

/// Tells the system that none of these files will be needed: the next read comes from the disk.
fn forget(dir: &FilePath) {
    for file in files(dir) {
        if let Ok(open) = fs::File::open(&file) {
            let _ = open.sync_all();
            let _ = rustix::fs::fadvise(&open, 0, None, rustix::fs::Advice::DontNeed);
        }
    }
}

fn size_of(dir: &FilePath) -> u64 {
    let length = |file: PathBuf| fs::metadata(file).map_or(0, |found| found.len());
    files(dir).into_iter().map(length).sum()
}

fn files(dir: &FilePath) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::internal(error.to_string())
}
