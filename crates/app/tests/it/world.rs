//! A store in a directory of its own, the binary, and transcripts in which only what must differ
//! from run to run is replaced.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_pentad");
/// A value that policy accepts.
pub(crate) const STRONG: &str = "Zq7#vLw2pTx9!mRe4Kd8";

pub(crate) struct World {
    pub(crate) home: tempfile::TempDir,
    pub(crate) token: String,
    transcript: String,
}

impl World {
    /// A made store.
    pub(crate) fn new() -> Self {
        let mut world = Self::bare();
        world.init();
        world
    }

    /// Makes the store and keeps the first token.
    pub(crate) fn init(&mut self) {
        let made: serde_json::Value = serde_json::from_str(&self.ok(&["init", "--json"])).unwrap();
        self.token = made["token"].as_str().unwrap().to_owned();
    }

    /// A directory without a store.
    pub(crate) fn bare() -> Self {
        let home = tempfile::tempdir().unwrap();
        Self {
            home,
            token: String::new(),
            transcript: String::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// A command in a clean environment, without input.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.home.path())
            .env("PENTAD_DIR", self.store())
            // Transcripts hold what commands say; the servers' logs are asked for by option.
            .env("PENTAD_LOG", "off")
            .env("PENTAD_FILES_BELOW", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs it with this input.
    pub(crate) fn run_with(&self, command: &mut Command, input: &str) -> Output {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end before it has read.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Runs it, and demands success.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let out = self.command(arguments).output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        assert!(
            out.status.success(),
            "{arguments:?}: {:?} {err}",
            out.status.code()
        );
        String::from_utf8(out.stdout).unwrap()
    }

    /// Stores a value, and demands success.
    pub(crate) fn put(&self, arguments: &[&str], value: &str) {
        let out = self.run_with(&mut self.command(arguments), value);
        let err = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{arguments:?}: {err}");
    }

    /// Runs it and takes it into the transcript.
    pub(crate) fn tell(&mut self, arguments: &[&str]) -> Output {
        let out = self.command(arguments).output().unwrap();
        self.note(arguments, &out);
        out
    }

    /// As [`World::tell`], with input.
    pub(crate) fn tell_with(&mut self, arguments: &[&str], input: &str) -> Output {
        let out = self.run_with(&mut self.command(arguments), input);
        self.note(arguments, &out);
        out
    }

    /// Takes a run into the transcript.
    pub(crate) fn note(&mut self, arguments: &[&str], out: &Output) {
        let text = &mut self.transcript;
        writeln!(text, "$ pentad {}", arguments.join(" ")).unwrap();
        for (mark, stream) in [("  ", &out.stdout), ("! ", &out.stderr)] {
            for line in String::from_utf8_lossy(stream).lines() {
                writeln!(text, "{mark}{line}").unwrap();
            }
        }
        writeln!(text, "? {}", out.status.code().unwrap_or(-1)).unwrap();
    }

    /// The transcript so far, redacted.
    pub(crate) fn transcript(&mut self) -> String {
        let text = std::mem::take(&mut self.transcript);
        redacted(&text.replace(&self.home.path().display().to_string(), "HOME"))
    }

    /// A `.env` file that is a target, and a credential bound to its variable.
    pub(crate) fn bind_env_file(&self) -> PathBuf {
        let file = self.path("app.env");
        std::fs::write(&file, format!("OTHER=1\nDB_PASSWORD='{STRONG}'\n")).unwrap();
        let address = file.display().to_string();
        self.ok(&[
            "target",
            "put",
            "env",
            "--system",
            "envfile",
            "--address",
            &address,
        ]);
        self.put(
            &[
                "put",
                "app/db",
                "--kind",
                "database",
                "--target",
                "env",
                "--account",
                "DB_PASSWORD",
            ],
            STRONG,
        );
        file
    }

    /// A server on this store, once it answers.
    pub(crate) fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    /// As [`World::serve`], with more in its environment.
    pub(crate) fn serve_with(&self, environment: &[(&str, &str)]) -> Server {
        let mut child = self
            .command(&[
                "server",
                "--listen",
                "127.0.0.1:0",
                "--log-level",
                "info,pentad_api=debug",
            ])
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let file = self.store().join("address");
        loop {
            if let Ok(address) = std::fs::read_to_string(&file)
                && self.reaches(address.trim())
            {
                return Server {
                    child,
                    address: address.trim().to_owned(),
                };
            }
            if let Some(status) = child.try_wait().unwrap() {
                let mut said = String::new();
                child
                    .stderr
                    .take()
                    .unwrap()
                    .read_to_string(&mut said)
                    .unwrap();
                panic!("the server ended with {status}: {said}");
            }
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "no server after 20 s"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn reaches(&self, address: &str) -> bool {
        let plain = address.trim_start_matches("http://");
        std::net::TcpStream::connect(plain).is_ok()
    }

    /// A command that talks to a server, as the first admin.
    pub(crate) fn remote(&self, server: &Server, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command
            .env("PENTAD_ADDR", &server.address)
            .env("PENTAD_TOKEN", &self.token);
        command
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: String,
}

impl Server {
    /// Asks it to stop and waits; its exit code and its log.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(&id).status().unwrap().success());
        let status = self.child.wait().unwrap();
        let mut log = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        (status.code(), log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ids, moments, tokens, durations, ports and process ids become words.
fn redacted(text: &str) -> String {
    let mut out = String::new();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_:.".contains(c);
    let mut word = String::new();
    for c in text.chars().chain(['\n']) {
        if plain(c) {
            word.push(c);
            continue;
        }
        out.push_str(&replaced(&word));
        word.clear();
        out.push(c);
    }
    out.pop();
    out
}

fn replaced(word: &str) -> String {
    let shape: String = word
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    let hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit());
    let parts: Vec<&str> = word.split('-').collect();
    let id = parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|part| hex(part));
    match shape.as_str() {
        _ if id => "ID".to_owned(),
        _ if word.len() == 64 && hex(word) => "HASH".to_owned(),
        _ if word.starts_with("pntd_") => "TOKEN".to_owned(),
        "0000-00-00" => "DATE".to_owned(),
        "00:00:00Z" => "TIME".to_owned(),
        "0000-00-00T00:00:00.000Z" => "MOMENT".to_owned(),
        "0.0" | "00.0" => "N".to_owned(),
        _ => match word.strip_prefix("127.0.0.1:") {
            Some(port) if port != "8277" && port.trim_end_matches(':') != "1" => {
                "127.0.0.1:PORT".to_owned()
            }
            _ => word.to_owned(),
        },
    }
}

/// A snapshot in `transcripts/`, by its name.
pub(crate) fn check(name: &str, transcript: &str) {
    let settings = {
        let mut settings = insta::Settings::clone_current();
        settings
            .set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/transcripts"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings
    };
    settings.bind(|| insta::assert_snapshot!(name, transcript));
}
