//! The store in PostgreSQL: a node's life, and a second one beside it. It needs the real server:
//! `./dev services up`, then `eval "$(./dev services env)"`.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Command, process::Output};

use crate::world::{STRONG, World};

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
        let (user, place) = (
            env("PENTAD_TEST_POSTGRES_ADMIN"),
            env("PENTAD_TEST_POSTGRES_ADDR"),
        );
        let address = format!("postgres://{user}@{place}/postgres?schema={}", self.schema);
        command.env("PENTAD_STORE", address);
        let file = env("PENTAD_TEST_POSTGRES_PASSWORD_FILE");
        command.env("PENTAD_STORE_PASSWORD_FILE", file);
        command
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
        Self(format!("cli_{}", std::process::id()))
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
    let (code, told) = run("postgres://ann:s3cr3t-w0rd@127.0.0.1/db?sslmode=require");
    assert_eq!(code, Some(2), "{told}");
    assert!(
        told.contains("verify-full") && !told.contains("s3cr3t-w0rd"),
        "{told}"
    );
}
