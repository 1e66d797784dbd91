//! `pentad bench rotate`: a batch of roles at a real PostgreSQL server, rotated by a system like
//! the server's own, in this process, on a throw-away store.
//!
//! What runs, in this order:
//!
//! 1. Roles are made, and taken over by Pentad with a test login each.
//! 2. The [floor](super::floor), on as many other roles: by so many connections as some tries beforehand
//!    showed to be the fastest.
//! 3. The batch: all in one request. The clock runs from the request to the end of the last one.
//! 4. Each new value is read from the store and tried, over connections of the bench's own.
//! 5. The floor again; the faster of both counts.
//! 6. A sample, one after another.
//! 7. All again, each in a request of its own, all requests at the same moment: for their
//!    acceptance alone.
//! 8. The roles are dropped, also after an interruption.

use std::{
    path::{Path as FilePath, PathBuf},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use pentad_agents::{
    Caller, Pentad,
    contract::rotation::Start,
    operations::{Put, Value},
};
use pentad_model::{
    Clock as _, Id, Kind, Path, Rotation, Secret, SystemClock, Target, Tenant,
    credential::Binding,
    id::OsEntropy,
    rotation::{Step, Strategy},
    target::Tls,
};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    floor,
    proxy::Proxy,
    report::{Figures, cpu_time, duration, ms, peak_memory_mb, percentile, rounded},
    server::{Role, Seen, Server},
};
use crate::{
    failure::{Exit, Failure},
    output::Output,
    session::Session,
    wiring::{self, Place},
};

/// The target's name in the throw-away store.
const TARGET: &str = "bench";
/// Where the administrating account's password is in it.
const ADMIN: &str = "bench/admin";
/// Rotations at once: enough to fill a server's processors and the wire to it.
const CONCURRENCY: u16 = 32;
/// Roles rotated one after another, for comparison.
const SAMPLE: usize = 30;
/// How often the bench looks whether a rotation has ended: where one is measured alone, and where
/// looking would take the processor from those that are measured.
const LOOK_CLOSELY: Duration = Duration::from_millis(2);
const LOOK_NOW_AND_THEN: Duration = Duration::from_millis(10);
/// A rotation that takes longer has failed the bench.
const PATIENCE: Duration = Duration::from_secs(300);

/// Rotate many PostgreSQL roles at once, and show how fast that is beside the server's own limit
///
/// Makes roles named bench_… at the target and drops them at the end. The store is a throw-away
/// one; your own is not touched. The last line is JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad bench rotate --target postgres://postgres@127.0.0.1:5432/postgres --password-file pg.pass
  PENTAD_BENCH_TARGET=postgres://postgres@127.0.0.1 pentad bench rotate --count 1000
  pentad bench rotate --count 100 --latency-ms 20 --json

A password is never taken from an argument: PENTAD_BENCH_PASSWORD, PENTAD_BENCH_PASSWORD_FILE or
--password-file give it, or PENTAD_BENCH_TARGET holds it.")]
pub(super) struct Args {
    /// The server, on this machine, with its administrating account [env: PENTAD_BENCH_TARGET]
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// The file with that account's password [env: PENTAD_BENCH_PASSWORD_FILE]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// How many roles
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    count: u16,
    /// Make the server look so far away: the round trip in milliseconds
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
    latency_ms: u16,
    /// Rotations at the server at once; 32, or what its free connections allow
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    concurrency: Option<u16>,
    /// Where the throw-away store is made; on the disk that a real one would be on
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let out = session.output;
        let server = self.server()?;
        let room = server.room().await?;
        let concurrency = self.concurrency.unwrap_or(CONCURRENCY.min(room));
        let mut interruption = Interruption::listen()?;
        if let Some(share) = busy() {
            out.note(format!(
                "this machine is busy: tasks wait for a processor {share:.0} % of the time, so the \
                 figures will be worse than it can do"
            ));
        }

        let scratch = self.scratch()?;
        let place = place(session, &scratch.path().join("store"))?;
        wiring::initialise(&place, None).await?;
        let pentad = wiring::open(&place).await?;
        let bench = Bench {
            out,
            server,
            pentad,
            concurrency,
            latency: self.latency_ms,
            rotated: roles("r", usize::from(self.count)),
            floor: roles("f", usize::from(self.count)),
        };

        out.note(format!(
            "making {} roles",
            bench.rotated.len() + bench.floor.len()
        ));
        let measured = match bench.create().await {
            Ok(()) => tokio::select! {
                measured = bench.measure() => measured,
                failure = interruption.comes() => Err(failure),
            },
            Err(failure) => Err(failure),
        };
        wiring::stop(&bench.pentad).await;
        let dropped = bench.drop_roles().await;
        let figures = measured?;
        figures.print(out)?;
        dropped?;
        if figures.ok < figures.count || figures.single_ok < figures.count {
            return Err(Failure::new(Exit::Partial, "not every rotation ended well")
                .hint("the lines above say which; PENTAD_LOG=info shows each step"));
        }
        Ok(())
    }

    /// Flags first, then the environment.
    fn server(&self) -> Result<Server, Failure> {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let from_arguments = self.target.is_some();
        let url = self
            .target
            .clone()
            .or_else(|| set("PENTAD_BENCH_TARGET"))
            .ok_or_else(|| {
                Failure::usage("which PostgreSQL server?")
                    .hint("name one with --target or PENTAD_BENCH_TARGET")
            })?;
        let file = self.password_file.clone();
        let file = file.or_else(|| set("PENTAD_BENCH_PASSWORD_FILE").map(PathBuf::from));
        let password = set("PENTAD_BENCH_PASSWORD").map(Secret::new);
        Server::parse(&url, from_arguments, file.as_deref(), password)
    }

    fn scratch(&self) -> Result<tempfile::TempDir, Failure> {
        let under = self.scratch.clone().unwrap_or_else(std::env::temp_dir);
        let failed = |error| Failure::file(under.display(), &error);
        if rustix::fs::statfs(&under)
            .map_err(|error| failed(error.into()))?
            .f_type
            == TMPFS
        {
            return Err(Failure::usage(format!("{} is in memory", under.display())).hint(
                "there, making something durable costs nothing: name a directory on a disk with \
                 --scratch",
            ));
        }
        tempfile::Builder::new()
            .prefix("pentad-bench-")
            .tempdir_in(&under)
            .map_err(failed)
    }
}

/// `TMPFS_MAGIC` of `statfs(2)`.
const TMPFS: i64 = 0x0102_1994;

/// The share of the last ten seconds in which tasks waited for a processor, in percent, if that is
/// more than an idle machine has. Source: `Documentation/accounting/psi.rst` of Linux.
fn busy() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/pressure/cpu").ok()?;
    let fields = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let share = fields
        .split(' ')
        .find_map(|field| field.strip_prefix("avg10="))?
        .parse()
        .ok()?;
    (share > 15.0).then_some(share)
}

/// A store of its own, whatever the configuration says of the user's.
fn place(session: &Session, dir: &FilePath) -> Result<Place, Failure> {
    let mut config = session.config.clone();
    config.store.dir = dir.to_owned();
    config.store.key_file = PathBuf::new();
    config.store.passphrase_file = PathBuf::new();
    Place::of(&config)
}

/// Roles that don't exist yet, under names that no other run has.
fn roles(group: &str, count: usize) -> Vec<Role> {
    let run = Id::generate(SystemClock.now(), &OsEntropy)
        .to_string()
        .replace('-', "");
    (0..count)
        .map(|n| Role::new(format!("bench_{run}_{group}{n}")))
        .collect()
}

/// SIGINT and SIGTERM: heard from the moment that it is made, so that none of them ends the program
/// before the roles are dropped.
struct Interruption {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Interruption {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::file("signals", &error));
        let interrupt = listen(SignalKind::interrupt())?;
        Ok(Self {
            interrupt,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn comes(&mut self) -> Failure {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        Failure::unavailable("interrupted; the bench's roles are dropped")
    }
}

/// One bench.
struct Bench {
    out: Output,
    server: Server,
    pentad: Pentad,
    concurrency: u16,
    latency: u16,
    /// Rotated by Pentad.
    rotated: Vec<Role>,
    /// Changed without it.
    floor: Vec<Role>,
}

impl Bench {
    async fn create(&self) -> Result<(), Failure> {
        self.server.create(&self.rotated).await?;
        self.server.create(&self.floor).await
    }

    async fn drop_roles(&self) -> Result<(), Failure> {
        // Both, even if the first fails.
        let rotated = self.server.drop(&self.rotated).await;
        self.server.drop(&self.floor).await.and(rotated)
    }

    async fn measure(&self) -> Result<Figures, Failure> {
        let round_trip = Duration::from_millis(u64::from(self.latency));
        let far = match self.latency {
            0 => None,
            _ => {
                let server = (self.server.host.clone(), self.server.port);
                let proxy = Proxy::start(server, round_trip).await;
                Some(proxy.map_err(|error| Failure::file("a port for the proxy", &error))?)
            }
        };
        let measured = match &far {
            None => self.server.clone(),
            Some(proxy) => self.server.at_port(proxy.port()),
        };

        self.out.note("taking them over");
        let paths = self.import(&measured).await?;
        self.out.note("the floor, without Pentad");
        let mut floor_roles = self.floor.clone();
        let most = usize::from(self.concurrency);
        let connections = floor::fastest(&measured, &mut floor_roles, most).await?;
        let floor_before = floor::measure(&measured, &mut floor_roles, connections).await?;
        self.out.note("the batch");
        let batch = self.batch(&paths).await?;
        self.out.note("a login with each new value");
        let ok = self.verify(&paths, &batch.rotations).await?;
        self.out.note("the floor again");
        let floor_after = floor::measure(&measured, &mut floor_roles, connections).await?;
        self.out.note("a sample, one after another");
        let (sample, one_by_one) = self.sequential(&paths).await?;
        self.out.note("all again, each in a request of its own");
        let (single, single_ok) = self.singles(&paths).await?;

        let count = paths.len();
        let seconds = batch.took.as_secs_f64();
        let faster = floor_before.min(floor_after);
        let floor = faster.took.as_secs_f64();
        let sequential = one_by_one.as_secs_f64() * count as f64 / sample as f64;
        let each: Vec<Duration> = batch.rotations.iter().map(duration).collect();
        let single_p99 = percentile(&single, 99);
        Ok(Figures {
            count,
            ok,
            seconds: rounded(seconds, 3),
            sequential_seconds: rounded(sequential, 3),
            speedup: rounded(sequential / seconds, 2),
            floor_seconds: rounded(floor, 3),
            floor_ratio: rounded(floor / seconds, 3),
            initiate_p99_ms: ms(batch.accepted),
            slowest_ms: ms(percentile(&each, 100)),
            p50_ms: ms(percentile(&each, 50)),
            p99_ms: ms(percentile(&each, 99)),
            rss_mb: peak_memory_mb(),
            latency_ms: self.latency,
            concurrency: self.concurrency,
            floor_connections: connections,
            cpu_ms_each: ms(batch.cpu / count as u32),
            floor_cpu_ms_each: ms(faster.cpu / count as u32),
            sequential_sample: sample,
            initiate_single_p99_ms: ms(single_p99),
            single_ok,
        })
    }

    // ---- before ---------------------------------------------------------------------------------

    /// Stores the administrating account, the target and every role, each with a test login.
    async fn import(&self, server: &Server) -> Result<Vec<Path>, Failure> {
        let admin = Put {
            kind: Some(Kind::Database),
            value: Some(Value::Given(server.password.clone())),
            accept_weak: true,
            ..Put::default()
        };
        let caller = self.caller()?;
        self.pentad.put(&caller, &path(ADMIN)?, admin).await?;
        self.pentad
            .put_target(&caller, self.target(server)?)
            .await?;
        let adopted = self.rotated.iter().enumerate().map(|(n, role)| async move {
            let path = path(&format!("bench/roles/{n}"))?;
            let put = Put {
                kind: Some(Kind::Database),
                value: Some(Value::Given(role.value.clone())),
                binding: Some(binding(role)?),
                ..Put::default()
            };
            self.pentad.adopt(&self.caller()?, &path, put).await?;
            Ok(path)
        });
        stream::iter(adopted)
            .buffered(usize::from(self.concurrency))
            .try_collect()
            .await
    }

    fn target(&self, server: &Server) -> Result<Target, Failure> {
        Ok(Target {
            tenant: Tenant::default_tenant(),
            name: TARGET.parse().map_err(internal)?,
            system: "postgresql".to_owned(),
            address: format!("{}:{}", bracketed(&server.host), server.port),
            admin_account: Some(server.admin.clone()),
            admin_credential: Some(path(ADMIN)?),
            tls: Tls::Plain,
            ca_pem: None,
            concurrency: self.concurrency,
            lockout_limit: None,
            options: [("database".to_owned(), server.database.clone())].into(),
            revision: 0,
            created_at: Default::default(),
        })
    }

    fn caller(&self) -> Result<Caller, Failure> {
        let (tenant, correlation) = (Tenant::default_tenant(), self.pentad.correlation());
        Ok(self.pentad.local(&tenant, "bench", correlation)?)
    }

    // ---- the measurements -------------------------------------------------------------------------

    async fn batch(&self, paths: &[Path]) -> Result<Batch, Failure> {
        let (start, cpu) = (Instant::now(), cpu_time());
        let ids = self.start(paths.to_vec()).await?;
        let accepted = start.elapsed();
        let mut rotations = Vec::with_capacity(ids.len());
        for id in ids {
            rotations.push(self.ended(id, LOOK_NOW_AND_THEN).await?);
        }
        Ok(Batch {
            accepted,
            took: start.elapsed(),
            cpu: cpu_time().saturating_sub(cpu),
            rotations,
        })
    }

    async fn sequential(&self, paths: &[Path]) -> Result<(usize, Duration), Failure> {
        let sample = &paths[..paths.len().min(SAMPLE)];
        let start = Instant::now();
        for path in sample {
            for id in self.start(vec![path.clone()]).await? {
                self.ended(id, LOOK_CLOSELY).await?;
            }
        }
        Ok((sample.len(), start.elapsed()))
    }

    /// How long each request waited for its durable answer, and how many rotations ended well.
    async fn singles(&self, paths: &[Path]) -> Result<(Vec<Duration>, usize), Failure> {
        let submitted = paths.iter().map(|path| async move {
            let start = Instant::now();
            let ids = self.start(vec![path.clone()]).await?;
            Ok::<_, Failure>((start.elapsed(), ids))
        });
        let (mut accepted, mut ok) = (Vec::with_capacity(paths.len()), 0);
        for (took, ids) in try_join_all(submitted).await? {
            accepted.push(took);
            for id in ids {
                ok += usize::from(self.ended(id, LOOK_NOW_AND_THEN).await?.progress.step == Step::Done);
            }
        }
        Ok((accepted, ok))
    }

    /// Submits; returns when the start is durable.
    async fn start(&self, paths: Vec<Path>) -> Result<Vec<Id>, Failure> {
        let started = self
            .pentad
            .rotate(
                &self.caller()?,
                Start {
                    paths,
                    strategy: None,
                },
            )
            .await?;
        match started.refused.first() {
            None => Ok(started.rotations.into_iter().map(|(_, id)| id).collect()),
            Some(refused) => Err(Failure::internal(format!(
                "`{}` was not accepted: {}",
                refused.path, refused.reason
            ))),
        }
    }

    async fn ended(&self, id: Id, look_every: Duration) -> Result<Rotation, Failure> {
        let (caller, since) = (self.caller()?, Instant::now());
        loop {
            let rotation = self.pentad.rotation(&caller, id).await?;
            if rotation.progress.step.is_final() {
                return Ok(rotation);
            }
            if since.elapsed() > PATIENCE {
                return Err(Failure::unavailable(format!(
                    "rotation {id} is at {} after {} s: {}",
                    rotation.progress.step,
                    PATIENCE.as_secs(),
                    rotation.reason.unwrap_or_default()
                )));
            }
            tokio::time::sleep(look_every).await;
        }
    }

    // ---- the proof --------------------------------------------------------------------------------

    /// How many ended as done, with a value that is another one than before and logs in.
    async fn verify(&self, paths: &[Path], rotations: &[Rotation]) -> Result<usize, Failure> {
        let by_path: std::collections::HashMap<&Path, &Rotation> = rotations
            .iter()
            .map(|rotation| (&rotation.path, rotation))
            .collect();
        let proven = paths.iter().zip(&self.rotated).map(|(path, role)| {
            let rotation = by_path.get(path).copied();
            async move {
                let problem = match rotation {
                    None => Some("was not rotated".to_owned()),
                    Some(rotation) => self.problem(role, path, rotation).await?,
                };
                if let Some(problem) = &problem {
                    self.out.note(format!("{}: {problem}", role.name));
                }
                Ok::<_, Failure>(usize::from(problem.is_none()))
            }
        });
        let at_once = usize::from(self.concurrency);
        let proven: Vec<usize> = stream::iter(proven).buffered(at_once).try_collect().await?;
        Ok(proven.iter().sum())
    }

    async fn problem(
        &self,
        role: &Role,
        path: &Path,
        rotation: &Rotation,
    ) -> Result<Option<String>, Failure> {
        if rotation.progress.step != Step::Done {
            let reason = rotation.reason.as_deref().unwrap_or_default();
            return Ok(Some(format!(
                "ended as {}: {reason}",
                rotation.progress.step
            )));
        }
        let value = self.pentad.read(&self.caller()?, path, None).await?.value;
        if value == role.value {
            return Ok(Some("has its old value".to_owned()));
        }
        Ok(match self.server.login(&role.name, &value).await {
            Seen::Works => None,
            Seen::Refused => Some("refuses its new value".to_owned()),
            Seen::CantTell(words) => Some(words),
        })
    }
}

/// What came of the batch.
struct Batch {
    accepted: Duration,
    took: Duration,
    /// Of this process.
    cpu: Duration,
    rotations: Vec<Rotation>,
}

fn binding(role: &Role) -> Result<Binding, Failure> {
    Ok(Binding {
        target: TARGET.parse().map_err(internal)?,
        account: role.name.clone(),
        alternate: None,
        strategy: Some(Strategy::InPlace),
        owned: false,
        grace_seconds: 0,
        deliver_to: Vec::new(),
    })
}

fn path(text: &str) -> Result<Path, Failure> {
    text.parse().map_err(internal)
}

fn bracketed(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::internal(error.to_string())
}
