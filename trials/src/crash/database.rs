//! A PostgreSQL of the campaign's own, for the store: not one of those whose accounts are rotated.
//! It is killed without a word and started again on what it had written.

use std::{
    fs::Permissions,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    fs,
    process::Command,
    time::{Instant, sleep},
};

/// How long it may take to start, its recovery included.
const START_BOUND: Duration = Duration::from_secs(60);

/// See the module. Killed when dropped.
#[derive(Debug)]
pub struct Database {
    data: PathBuf,
    bin: PathBuf,
    port: u16,
    password: PathBuf,
}

impl Database {
    /// A new, empty one below a directory. PostgreSQL refuses to run as root: then it is the user
    /// `postgres`, and the data lie where that one can go.
    pub async fn open(work: &Path, password: &str) -> Result<Self> {
        let bin = bin().await?;
        let file = work.join("database.password");
        fs::write(&file, password).await?;
        fs::set_permissions(&file, Permissions::from_mode(0o600)).await?;
        let data = std::env::temp_dir().join(format!(
            "pentad-crash-{}-{}",
            std::process::id(),
            work.file_name().unwrap_or_default().to_string_lossy()
        ));
        fs::create_dir_all(&data).await?;
        let handed = data.join("pwfile");
        fs::write(&handed, password).await?;
        if is_root() {
            run(Command::new("chown").arg("-R").arg("postgres:").arg(&data)).await?;
        }
        let database = Self {
            data: data.clone(),
            bin,
            port: free_port()?,
            password: file,
        };
        let mut initdb = database.tool("initdb");
        initdb.arg("-D").arg(data.join("data"));
        initdb.args([
            "-U",
            "pentad",
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
        ]);
        initdb.arg("--pwfile").arg(&handed);
        run(&mut initdb).await?;
        fs::remove_file(&handed).await?;
        database.start().await?;
        Ok(database)
    }

    /// What a Pentad is told of it.
    pub fn settings(&self) -> Vec<(String, String)> {
        let address = format!("postgres://pentad@127.0.0.1:{}/postgres", self.port);
        let file = self.password.to_string_lossy().into_owned();
        vec![
            ("PENTAD_STORE_ADDRESS".to_owned(), address),
            ("PENTAD_STORE_PASSWORD_FILE".to_owned(), file),
        ]
    }

    /// SIGKILL for the postmaster and all that it started: nothing is written any more.
    pub async fn kill(&self) -> Result<()> {
        let file = self.data.join("data/postmaster.pid");
        let text = fs::read_to_string(&file).await?;
        let leader = text.lines().next().context("no process id")?.to_owned();
        // It made itself the leader of its session's group; its children are told by their parent.
        let children = fs::read_to_string(format!("/proc/{leader}/task/{leader}/children")).await?;
        let mut kill = Command::new("kill");
        kill.arg("-KILL")
            .arg(&leader)
            .args(children.split_whitespace());
        // One of them may have ended meanwhile.
        let _ = kill.stderr(Stdio::null()).status().await;
        let until = Instant::now() + Duration::from_secs(10);
        while Path::new("/proc").join(&leader).exists() && !is_zombie(&leader).await {
            if Instant::now() > until {
                bail!("the database's process {leader} does not end");
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Starts it unless it runs.
    pub async fn start_if_down(&self) -> Result<()> {
        match tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await {
            Ok(_) => Ok(()),
            Err(_) => self.start().await,
        }
    }

    /// Starts it, and waits until it takes connections.
    pub async fn start(&self) -> Result<()> {
        let until = Instant::now() + START_BOUND;
        loop {
            let mut start = self.tool("pg_ctl");
            start.arg("-D").arg(self.data.join("data"));
            start.arg("-l").arg(self.data.join("server.log"));
            start.arg("-o").arg(format!(
                "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories=",
                self.port
            ));
            start.args(["-w", "-t", "30", "start"]);
            match run(&mut start).await {
                Ok(()) => return Ok(()),
                // A child of the killed one may still hold the shared memory for a moment.
                Err(_) if Instant::now() < until => sleep(Duration::from_millis(100)).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// One of PostgreSQL's own programs, under the account that may run it.
    fn tool(&self, name: &str) -> Command {
        let program = self.bin.join(name);
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--"]).arg(program);
                command
            }
            false => Command::new(program),
        };
        command.current_dir("/");
        command
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let mut stop = self.tool("pg_ctl");
        stop.arg("-D").arg(self.data.join("data"));
        stop.args(["-m", "immediate", "-w", "stop"]);
        let stopped = stop
            .as_std_mut()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if stopped.is_ok() {
            let _ = std::fs::remove_dir_all(&self.data);
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

async fn is_zombie(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).await;
    stat.is_ok_and(|stat| stat.contains(") Z "))
}

/// The newest installed major's programs.
async fn bin() -> Result<PathBuf> {
    let mut found = Vec::new();
    if let Ok(mut majors) = fs::read_dir("/usr/lib/postgresql").await {
        while let Some(major) = majors.next_entry().await? {
            let number: u32 = major.file_name().to_string_lossy().parse().unwrap_or(0);
            found.push((number, major.path().join("bin")));
        }
    }
    let newest = found.into_iter().max();
    newest
        .map(|(_, bin)| bin)
        .context("PostgreSQL is not installed: scripts/services.sh up")
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

async fn run(command: &mut Command) -> Result<()> {
    // Without pipes: the server that `pg_ctl` leaves behind would hold them open.
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let status = status.status().await?;
    match status.success() {
        true => Ok(()),
        false => bail!("{:?} failed: {status}", command.as_std().get_program()),
    }
}
