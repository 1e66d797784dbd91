//! The store in PostgreSQL: a node's life, and a second one beside it. It needs the real server:
//! `./dev services up`, then `eval "$(./dev services env)"`.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use crate::world::{STRONG, Server, World};

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: these tests need the real servers. Run `./dev services up`, then \
             `eval \"$(./dev services env)\"`"
        )
    })
}

/// A node of the store in a schema of the test's own.
struct Node {
    world: World,
    schema: String,
}

impl Node {
    fn new(schema: &str) -> Self {
        Self {
            world: World::bare(),
            schema: schema.to_owned(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.command(arguments);
        command.envs(self.environment());
        command
    }

    fn environment(&self) -> [(&'static str, String); 2] {
        let (user, place) = (
            env("PENTAD_TEST_POSTGRES_ADMIN"),
            env("PENTAD_TEST_POSTGRES_ADDR"),
        );
        let address = format!("postgres://{user}@{place}/postgres?schema={}", self.schema);
        let file = env("PENTAD_TEST_POSTGRES_PASSWORD_FILE");
        [
            ("PENTAD_STORE", address),
            ("PENTAD_STORE_PASSWORD_FILE", file),
        ]
    }

    fn serve(&self) -> Server {
        let environment = self.environment();
        let environment = environment
            .each_ref()
            .map(|(key, value)| (*key, value.as_str()));
        self.world.serve_with(&environment)
    }

    /// A further node of this one's store.
    fn another(&self) -> Self {
        let other = Self::new(&self.schema);
        std::fs::create_dir(other.world.store()).unwrap();
        private(&other.world.store(), 0o700);
        std::fs::copy(self.key(), other.key()).unwrap();
        private(&other.key(), 0o600);
        other.ok(&["init", "--no-token"]);
        other
    }

    /// A command of whoever has this token, to a server.
    fn tell(&self, server: &Server, token: &str, arguments: &[&str], input: &str) -> String {
        let mut command = self.world.command(arguments);
        command
            .env("PENTAD_ADDR", &server.address)
            .env("PENTAD_TOKEN", token);
        let out = self.world.run_with(&mut command, input);
        let err = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{arguments:?}: {err}");
        String::from_utf8(out.stdout).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let out = self.run(arguments);
        let err = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{arguments:?}: {err}");
        String::from_utf8(out.stdout).unwrap()
    }

    fn refused(&self, arguments: &[&str], code: i32) -> String {
        let out = self.run(arguments);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{arguments:?}: {err}");
        err
    }

    fn put(&self, path: &str, value: &str) {
        let mut command = self.command(&["put", path, "--kind", "password"]);
        let out = self.world.run_with(&mut command, value);
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }

    fn key(&self) -> std::path::PathBuf {
        self.world.store().join("master.key")
    }
}

/// Dropped with its test.
struct Schema(String);

impl Schema {
    fn new() -> Self {
        use std::hash::{BuildHasher as _, RandomState};
        Self(format!("cli_{:016x}", RandomState::new().hash_one(())))
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let place = env("PENTAD_TEST_POSTGRES_ADDR");
        let (host, port) = place.rsplit_once(':').unwrap();
        let password = std::fs::read_to_string(env("PENTAD_TEST_POSTGRES_PASSWORD_FILE")).unwrap();
        let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.0);
        let _ = Command::new("psql")
            .args([
                "-h",
                host,
                "-p",
                port,
                "-U",
                &env("PENTAD_TEST_POSTGRES_ADMIN"),
            ])
            .args(["-d", "postgres", "-qc", &drop])
            .env("PGPASSWORD", password)
            .status();
    }
}

#[test]
fn a_shared_store_has_a_whole_life_and_a_second_node() {
    let schema = Schema::new();
    let first = Node::new(&schema.0);
    let told = first.refused(&["get", "prod/db"], 4);
    assert!(told.contains("no node of a shared store"), "{told}");
    first.ok(&["init"]);
    assert!(first.refused(&["init"], 5).contains("there is a store"));
    first.put("prod/db", STRONG);
    // Each command is a process: the store was opened anew.
    assert_eq!(first.ok(&["get", "prod/db"]).trim_end(), STRONG);
    assert!(!first.world.store().join("pentad.db").exists());

    let second = Node::new(&schema.0);
    std::fs::create_dir(second.world.store()).unwrap();
    private(&second.world.store(), 0o700);
    assert!(
        second.refused(&["init"], 4).contains("key"),
        "it has not the store's key"
    );
    std::fs::copy(first.key(), second.key()).unwrap();
    private(&second.key(), 0o600);
    second.ok(&["init", "--no-token"]);
    assert_eq!(second.ok(&["get", "prod/db"]).trim_end(), STRONG);
    second.put("prod/other", "Xu4-vLw2pTx9_mRe4Kd8");
    assert!(first.ok(&["list"]).contains("prod/other"));
    // Each has its own audit log, and both are whole.
    for node in [&first, &second] {
        node.ok(&["audit", "verify"]);
    }
    assert!(first.ok(&["store", "verify"]).contains("is whole"));
}

fn private(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// What a server answers, its status and its body.
fn asked(server: &Server, token: &str, path: &str) -> (u16, String) {
    let place = server.address.trim_start_matches("http://");
    let mut stream = TcpStream::connect(place).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {place}\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
    (status.unwrap(), answer)
}

/// How long something takes to be so.
fn until(what: &str, mut so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}

fn token_in(text: &str) -> String {
    let begin = text.find("pntd_").expect("a token");
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let end = text[begin..].find(|c| !is_part(c));
    text[begin..][..end.unwrap_or(text.len() - begin)].to_owned()
}

#[test]
fn what_is_changed_at_one_server_holds_at_another_within_a_second() {
    let schema = Schema::new();
    let first = Node::new(&schema.0);
    let admin = token_in(&first.ok(&["init"]));
    let second = first.another();
    let (here, there) = (first.serve(), second.serve());
    let tell = |arguments: &[&str], input: &str| first.tell(&here, &admin, arguments, input);
    tell(&["put", "prod/db", "--kind", "password"], STRONG);
    let new = [
        "token", "create", "web", "--role", "reader", "--ttl", "1h", "--json",
    ];
    let made = tell(&new, "");
    let web = token_in(&made);
    let read = |token: &str| asked(&there, token, "/v1/values/prod/db");
    until("the token is known", || read(&web).0 == 200);
    // From memory, after the first times.
    for _ in 0..20 {
        let (status, answer) = read(&web);
        assert!(status == 200 && answer.contains(STRONG), "{status}");
    }
    const OTHER: &str = "Xu4-vLw2pTx9_mRe4Kd8";
    tell(&["put", "prod/db", "--kind", "password"], OTHER);
    let took = until("the new value is there", || read(&web).1.contains(OTHER));
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    tell(&["token", "revoke", made["id"].as_str().unwrap()], "");
    let took = until("the token is refused", || read(&web).0 == 401);
    assert!(took < Duration::from_secs(1), "it took {took:?}");
}

#[test]
fn a_shared_store_is_backed_up_under_load_and_restored_to_a_database_and_a_directory() {
    let schema = Schema::new();
    let first = Node::new(&schema.0);
    let admin = token_in(&first.ok(&["init"]));
    let value = |n: usize| format!("Xu4-vLw2pTx9_mRe4Kd8-{n}");
    for n in 0..20 {
        first.put(&format!("prod/a{n}"), &value(n));
    }
    // What another node changed, with a record in its own log, is in it too.
    let second = first.another();
    second.put("prod/a19", &value(190));
    let server = first.serve();
    let stop = AtomicBool::new(false);
    let backups = first.world.path("backups");
    std::fs::create_dir(&backups).unwrap();
    let file = backups.join("one.pentad-backup").display().to_string();
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut written = 0;
            while written < 3 || !stop.load(Ordering::Relaxed) {
                let path = format!("prod/b{written}");
                let put = ["put", &path, "--kind", "password"];
                first.tell(&server, &admin, &put, STRONG);
                written += 1;
            }
            written
        });
        first.tell(&server, &admin, &["backup", "create", &file, "--quiet"], "");
        stop.store(true, Ordering::Relaxed);
        assert!(load.join().unwrap() >= 3);
    });
    server.stop();
    let key = first.key().display().to_string();
    first.ok(&["backup", "verify", &file]);
    let proven = first.ok(&["backup", "drill", &file]);
    assert!(
        proven.contains("opened") || proven.contains("open"),
        "{proven}"
    );

    let elsewhere = Schema::new();
    let again = Node::new(&elsewhere.0);
    again.ok(&["restore", "--backup", &file, "--key-file", &key]);
    assert!(!again.world.store().join("pentad.db").exists());
    for n in 0..19 {
        assert_eq!(again.ok(&["get", &format!("prod/a{n}")]), value(n));
    }
    assert_eq!(again.ok(&["get", "prod/a19"]), value(190));
    again.ok(&["audit", "verify"]);
    assert!(again.ok(&["store", "verify"]).contains("is whole"));
    again.put("prod/new", STRONG);
    // Others join it, and it is restored nowhere else.
    assert_eq!(again.another().ok(&["get", "prod/new"]), STRONG);
    let third = Node::new(&elsewhere.0);
    let told = third.refused(&["restore", "--backup", &file, "--key-file", &key], 5);
    assert!(told.contains("where no store is"), "{told}");
    assert!(!third.world.store().exists());

    let restored = World::bare();
    restored.ok(&["restore", "--backup", &file, "--key-file", &key]);
    for n in 0..19 {
        assert_eq!(restored.ok(&["get", &format!("prod/a{n}")]), value(n));
    }
    assert_eq!(restored.ok(&["get", "prod/a19"]), value(190));
    restored.ok(&["audit", "verify"]);
    assert!(restored.ok(&["store", "verify"]).contains("is whole"));
    // And from there into a database.
    let file = restored.path("two.pentad-backup").display().to_string();
    restored.ok(&["backup", "create", &file, "--quiet"]);
    let key = restored.store().join("master.key").display().to_string();
    let moved = Schema::new();
    let moved = (Node::new(&moved.0), moved);
    let restore = ["restore", "--backup", &file, "--key-file", &key, "--json"];
    let told: serde_json::Value = serde_json::from_str(&moved.0.ok(&restore)).unwrap();
    assert!(
        told["restored"]["log_records"].as_u64() > Some(40),
        "{told}"
    );
    assert_eq!(moved.0.ok(&["get", "prod/a19"]), value(190));
    moved.0.ok(&["audit", "verify"]);
}

#[test]
fn a_database_out_of_reach_is_said_without_its_password() {
    let world = World::bare();
    let run = |address: &str| {
        let out = world
            .command(&["init"])
            .env("PENTAD_STORE", address)
            .output()
            .unwrap();
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    let (code, told) = run("postgres://ann:s3cr3t-w0rd@127.0.0.1:1/db");
    assert_eq!(code, Some(7), "{told}");
    assert!(!told.contains("s3cr3t-w0rd"), "{told}");
    let there = env("PENTAD_TEST_POSTGRES_ADDR");
    let (code, told) = run(&format!("postgres://ann@{there}/db"));
    assert_eq!(code, Some(7), "{told}");
    assert!(told.contains("PENTAD_STORE_PASSWORD_FILE"), "{told}");
    let (code, told) = run("postgres://ann:s3cr3t-w0rd@127.0.0.1/db?sslmode=require");
    assert_eq!(code, Some(2), "{told}");
    assert!(
        told.contains("verify-full") && !told.contains("s3cr3t-w0rd"),
        "{told}"
    );
}
