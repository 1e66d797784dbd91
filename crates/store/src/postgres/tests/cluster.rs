//! A PostgreSQL server of a test's own: one that may be stopped, paused, killed, set wrongly.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio_postgres::NoTls;

use crate::postgres::Address;

const PASSWORD: &str = "of-this-test-alone";

/// See the module. Gone when dropped.
pub(super) struct Cluster {
    dir: TempDir,
    pub(super) port: u16,
}

impl Cluster {
    /// A new, empty one, running.
    pub(super) fn new() -> Self {
        let cluster = Self::nowhere();
        let given = cluster.dir.path().join("given");
        fs::write(&given, PASSWORD).unwrap();
        own(&given);
        let mut initdb = tool("initdb");
        initdb
            .arg("-D")
            .arg(cluster.data())
            .arg("--pwfile")
            .arg(&given);
        initdb.args(["-U", "pentad", "-A", "scram-sha-256", "-E", "UTF8"]);
        initdb.args(["--locale=C.UTF-8", "--no-sync"]);
        done(&mut initdb);
        cluster.start();
        cluster
    }

    /// A standby of this one, running.
    pub(super) fn standby(&self) -> Self {
        let standby = Self::nowhere();
        let mut copy = tool("pg_basebackup");
        copy.arg("-D")
            .arg(standby.data())
            .args(["-R", "-c", "fast", "--no-sync"]);
        copy.args([
            "-d",
            &format!("postgres://pentad:{PASSWORD}@127.0.0.1:{}", self.port),
        ]);
        done(&mut copy);
        standby.start();
        standby
    }

    fn nowhere() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("pentad-test-cluster-")
            .tempdir()
            .unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        own(dir.path());
        fs::write(dir.path().join("password"), PASSWORD).unwrap();
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(dir.path().join("password"), private).unwrap();
        Self { dir, port }
    }

    pub(super) fn start(&self) {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c shared_buffers=16MB",
            self.port
        );
        let mut start = self.control("start");
        start
            .arg("-l")
            .arg(self.dir.path().join("log"))
            .arg("-o")
            .arg(options);
        done(&mut start);
    }

    /// As a power cut ends it: nothing is finished.
    pub(super) fn cut(&self) {
        done(self.control("stop").args(["-m", "immediate"]));
    }

    pub(super) fn promote(&self) {
        done(&mut self.control("promote"));
    }

    /// Sends a signal to every process of the server.
    pub(super) fn signal(&self, name: &str) {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let leader = text.lines().next().unwrap().to_owned();
        let children =
            fs::read_to_string(format!("/proc/{leader}/task/{leader}/children")).unwrap();
        // The leader first when it is stopped, so that it starts no others.
        let all = std::iter::once(leader.as_str()).chain(children.split_whitespace());
        let mut kill = Command::new("kill");
        kill.arg(format!("-{name}")).args(all).stderr(Stdio::null());
        // One of them may have ended meanwhile.
        let _ = kill.status().unwrap();
    }

    pub(super) fn address(&self, more: &str) -> Address {
        self.address_of(&format!("127.0.0.1:{}", self.port), more)
    }

    pub(super) fn address_of(&self, hosts: &str, more: &str) -> Address {
        let address: Address = format!("postgres://pentad@{hosts}/postgres?{more}")
            .parse()
            .unwrap();
        let file = self.dir.path().join("password");
        address.with_password_file(file).unwrap()
    }

    /// Statements of its administrator, one after the other.
    pub(super) async fn sql(&self, statements: &[&str]) {
        let client = self.client().await;
        for sql in statements {
            client.batch_execute(sql).await.unwrap();
        }
    }

    /// Whether a statement succeeds.
    pub(super) async fn try_sql(&self, sql: &str) -> bool {
        self.client().await.batch_execute(sql).await.is_ok()
    }

    async fn client(&self) -> tokio_postgres::Client {
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user("pentad")
            .password(PASSWORD)
            .dbname("postgres");
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn control(&self, what: &str) -> Command {
        let mut control = tool("pg_ctl");
        control
            .arg("-D")
            .arg(self.data())
            .args(["-w", "-t", "30", what]);
        control
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.signal_if_running("CONT");
        let _ = self
            .control("stop")
            .args(["-m", "immediate"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

impl Cluster {
    fn signal_if_running(&self, name: &str) {
        if self.data().join("postmaster.pid").exists() {
            self.signal(name);
        }
    }
}

/// One of PostgreSQL's own programs. It refuses to run as root: then it is the user `postgres`.
fn tool(name: &str) -> Command {
    let program = bin().join(name);
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

/// The newest one's directory.
fn bin() -> PathBuf {
    let all = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let version = |path: &Path| -> u32 {
        let name = path.file_name().and_then(|it| it.to_str());
        name.and_then(|it| it.parse().ok()).unwrap_or(0)
    };
    let newest = all.map(|it| it.path()).max_by_key(|path| version(path));
    newest.map_or_else(PathBuf::new, |path| path.join("bin"))
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

fn own(path: &Path) {
    if is_root() {
        done(Command::new("chown").arg("postgres:").arg(path));
    }
}

/// It must succeed. What a server that it leaves behind would hold open is not waited for.
fn done(command: &mut Command) {
    let began = Instant::now();
    let said = tempfile::NamedTempFile::new().unwrap();
    let out = || Stdio::from(said.reopen().unwrap());
    let status = command
        .stdin(Stdio::null())
        .stdout(out())
        .stderr(out())
        .status()
        .unwrap();
    let text = fs::read_to_string(said.path()).unwrap();
    assert!(status.success(), "{command:?}: {text}");
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{command:?}: {text}"
    );
}
