//! A `pentad server` process of the campaign's own: started, killed, stopped and looked at from
//! outside.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    fs,
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// How long a start may take before it counts as failed.
const START_BOUND: Duration = Duration::from_secs(30);

/// A durable step that the server's log shows.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Which rotation.
    pub rotation: String,
    /// Of which credential.
    pub path: String,
    /// Where it stands from now on.
    pub step: String,
}

/// The binary, and the directory that its server keeps everything in.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The `pentad` to try.
    pub binary: PathBuf,
    /// `--dir`.
    pub dir: PathBuf,
    /// Where its log goes, start after start.
    pub log: PathBuf,
    /// The directory in which it may write files of others.
    pub files: PathBuf,
    /// Where its traces go, if anywhere.
    pub collector: Option<String>,
    /// The account that it runs under, if not the campaign's own.
    pub user: Option<u32>,
    /// The directory that it runs in, if not the campaign's own.
    pub cwd: Option<PathBuf>,
    /// Settings beside these: `PENTAD_<SECTION>_<KEY>` and their values.
    pub settings: Vec<(String, String)>,
}

impl Installation {
    /// `pentad init`; the administrator's token.
    pub async fn init(&self) -> Result<String> {
        let output = self
            .run(&["init", "--dir", &self.dir.to_string_lossy()])
            .await?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "`pentad init` failed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        said.split(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c)))
            .find(|word| word.starts_with("pntd_"))
            .map(str::to_owned)
            .context("`pentad init` printed no token (pntd_…)")
    }

    /// Runs the binary to its end.
    pub async fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.run_within(Duration::from_secs(120), arguments).await
    }

    /// The same, with a time for it.
    pub async fn run_within(&self, bound: Duration, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        self.at_home(&mut command);
        let ended = timeout(bound, command.output()).await;
        ended
            .context("the command line does not end")?
            .context("can't run pentad")
    }

    /// Account, directory and settings of a command.
    pub fn at_home(&self, command: &mut Command) {
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        if let Some(directory) = &self.cwd {
            command.current_dir(directory);
        }
    }

    /// Starts the server and waits until it says where it listens. Its durable steps go to `steps`.
    pub async fn start(&self, steps: mpsc::UnboundedSender<Logged>) -> Result<Server> {
        let address_file = self.dir.join("address");
        let _ = fs::remove_file(&address_file).await;
        let mut command = Command::new(&self.binary);
        command
            .args(["server", "--listen", "127.0.0.1:0", "--dir"])
            .arg(&self.dir)
            .env("PENTAD_LOG_FORMAT", "json")
            .env("PENTAD_LOG_LEVEL", "info")
            .env("PENTAD_FILES_BELOW", &self.files)
            .env("PENTAD_TRACES_SAMPLE", "1.0")
            .env(
                "PENTAD_TRACES_ENDPOINT",
                self.collector.as_deref().unwrap_or_default(),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        self.at_home(&mut command);
        let mut child = command
            .spawn()
            .with_context(|| format!("can't start {}", self.binary.display()))?;
        let stderr = child.stderr.take().context("no stderr")?;
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .await?;
        let log = tokio::spawn(follow(BufReader::new(stderr), log, steps));

        let until = Instant::now() + START_BOUND;
        loop {
            if let Ok(text) = fs::read_to_string(&address_file).await
                && let Some(address) = address(&text)
            {
                return Ok(Server {
                    child,
                    address,
                    log,
                });
            }
            if let Some(status) = child.try_wait()? {
                bail!(
                    "the server ended at its start ({status}); {}",
                    tail(&self.log).await
                );
            }
            if Instant::now() >= until {
                bail!(
                    "the server did not start in time; {}",
                    tail(&self.log).await
                );
            }
            sleep(Duration::from_millis(3)).await;
        }
    }
}

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    /// `http://host:port`.
    pub address: String,
    log: JoinHandle<()>,
}

impl Server {
    /// Its process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// SIGKILL, and gone for certain; the log is read to its end.
    pub async fn kill(mut self) -> Result<()> {
        self.child.start_kill()?;
        self.child.wait().await?;
        let _ = timeout(Duration::from_secs(1), &mut self.log).await;
        Ok(())
    }

    /// SIGTERM, and how it ended.
    pub async fn finish(mut self) -> Result<std::process::ExitStatus> {
        self.signal(Signal::TERM)?;
        let ended = timeout(Duration::from_secs(90), self.child.wait()).await;
        let status = ended.context("the server does not stop")??;
        let _ = timeout(Duration::from_secs(1), &mut self.log).await;
        Ok(status)
    }

    /// SIGABRT, which makes a process dump core where it may.
    pub async fn abort(mut self) -> Result<()> {
        self.signal(Signal::ABORT)?;
        self.child.wait().await?;
        Ok(())
    }

    /// SIGTERM: it is to end in good order.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Returns once it has ended by itself.
    pub async fn ended(&mut self) -> Result<()> {
        self.child.wait().await?;
        Ok(())
    }

    /// SIGSTOP: it holds everything that it held, and does nothing.
    pub fn stop(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn go_on(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self
            .child
            .id()
            .and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(kill_process(pid.context("the server has ended")?, signal)?)
    }
}

fn address(text: &str) -> Option<String> {
    let text = text.trim();
    let port = text.rsplit(':').next()?.trim_end_matches('/');
    port.parse::<u16>().ok()?;
    Some(if text.starts_with("http") {
        text.to_owned()
    } else {
        format!("http://{text}")
    })
}

/// The log's last lines, for people.
async fn tail(log: &Path) -> String {
    sleep(Duration::from_millis(50)).await; // what it said last is on its way
    let text = fs::read_to_string(log).await.unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    format!(
        "its log ends: {}",
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    )
}

async fn follow(
    mut lines: BufReader<tokio::process::ChildStderr>,
    mut log: fs::File,
    steps: mpsc::UnboundedSender<Logged>,
) {
    let mut line = String::new();
    while lines.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        if let Some(logged) = parse(&line) {
            let _ = steps.send(logged);
        }
        let _ = log.write_all(line.as_bytes()).await;
        line.clear();
    }
    let _ = log.flush().await;
}

/// A step's line; its fields are at the top or below `fields`.
fn parse(line: &str) -> Option<Logged> {
    if !line.contains("rotation step") {
        return None;
    }
    let value: Value = serde_json::from_str(line).ok()?;
    let fields = if value["fields"].is_object() {
        &value["fields"]
    } else {
        &value
    };
    let field = |name: &str| fields[name].as_str().map(str::to_owned);
    Some(Logged {
        rotation: field("rotation")?,
        path: field("path")?,
        step: field("step")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_s_line_is_read_in_both_shapes() {
        let nested = r#"{"level":"INFO","fields":{"message":"rotation step","rotation":"r","path":"a/b","step":"applying","attempt":1}}"#;
        let flat = r#"{"message":"rotation step","rotation":"r","path":"a/b","step":"applying"}"#;
        for line in [nested, flat] {
            assert_eq!(
                parse(line).map(|logged| logged.step).as_deref(),
                Some("applying")
            );
        }
        assert!(parse(r#"{"message":"ready"}"#).is_none());
    }

    #[test]
    fn an_address_is_read_with_or_without_its_scheme() {
        assert_eq!(
            address("127.0.0.1:80\n").as_deref(),
            Some("http://127.0.0.1:80")
        );
        assert_eq!(
            address("http://[::1]:80").as_deref(),
            Some("http://[::1]:80")
        );
        assert_eq!(address(""), None, "half-written");
    }
}
