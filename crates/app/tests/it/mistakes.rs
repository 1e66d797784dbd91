//! Everyday mistakes: each is one line, and names the next step.

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
};

use crate::world::{STRONG, World, check};

#[test]
fn no_store_and_no_server() {
    let mut world = World::bare();
    world.tell(&["list"]);
    world.tell(&["server"]);
    world.tell(&["--addr", "http://127.0.0.1:1", "kinds"]);
    let out = world
        .command(&["list"])
        .env("PENTAD_ADDR", "http://127.0.0.1:1")
        .env("PENTAD_TOKEN", "pntd_x")
        .output()
        .unwrap();
    world.note(&["list"], &out);
    world.tell(&["--addr", "http://vault.example:8277", "list"]);
    world.tell(&["--addr", "nonsense://", "list"]);
    check("no_store_and_no_server", &world.transcript());
}

#[test]
fn a_second_store_in_the_same_place() {
    let mut world = World::new();
    world.tell(&["init"]);
    check("a_second_store_in_the_same_place", &world.transcript());
}

#[test]
fn an_unknown_path_names_the_nearest() {
    let mut world = World::new();
    world.put(&["put", "prod/orders/db", "--kind", "password"], STRONG);
    world.tell(&["get", "prod/order/db"]);
    world.tell(&["describe", "prod/orders/dv"]);
    world.tell(&["rotate", "prod/orders/db"]);
    world.tell(&["get", "prod//db"]);
    world.tell(&["rotat", "x"]);
    world.tell(&["gte", "x"]);
    world.tell(&["--tenant", "acme", "list"]);
    world.tell(&["rotate", "prod/order/db"]);
    world.tell(&["login", "ann"]);
    check("an_unknown_path_names_the_nearest", &world.transcript());
}

#[test]
fn a_weak_value_is_refused_with_reasons() {
    let mut world = World::new();
    let out = world.tell_with(&["put", "prod/db", "--kind", "password"], "Summer2026");
    assert_eq!(out.status.code(), Some(6));
    world.tell_with(&["put", "prod/db", "--kind", "password"], "");
    let out = world.tell_with(
        &["put", "prod/db", "--kind", "password", "--accept-weak"],
        "Summer2026",
    );
    assert_eq!(out.status.code(), Some(0));
    assert_eq!(world.tell(&["check"]).status.code(), Some(6));
    let told = world.transcript();
    assert!(!told.contains("Summer2026"), "{told}");
    check("a_weak_value_is_refused_with_reasons", &told);
}

#[test]
fn a_value_on_the_command_line_is_refused_and_not_repeated() {
    let mut world = World::new();
    let out = world
        .command(&["put", "prod/db", "hunter2-hunter2"])
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    assert_eq!(out.status.code(), Some(2));
    assert!(!said.contains("hunter2"), "{said}");
    world.note(&["put", "prod/db", "…"], &out);
    check(
        "a_value_on_the_command_line_is_refused",
        &world.transcript(),
    );
}

#[test]
fn root_keys_that_are_not_the_right_one() {
    let mut world = World::new();
    let key = world.store().join("master.key");
    let good = fs::read(&key).unwrap();
    let mode = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o640);
    world.tell(&["list"]);
    mode(0o600);
    fs::write(&key, &good[..good.len() / 2]).unwrap();
    world.tell(&["list"]);
    fs::write(&key, "not a key\n").unwrap();
    world.tell(&["list"]);
    let other = World::new();
    fs::copy(other.store().join("master.key"), &key).unwrap();
    world.tell(&["list"]);
    fs::remove_file(&key).unwrap();
    world.tell(&["list"]);
    fs::write(&key, &good).unwrap();
    mode(0o600);
    assert_eq!(world.tell(&["list"]).status.code(), Some(0));
    check("root_keys_that_are_not_the_right_one", &world.transcript());
}

#[test]
fn a_store_of_a_newer_pentad_is_left_alone() {
    let mut world = World::new();
    let database = world.store().join("pentad.db");
    // SQLite's user version: four bytes at offset 60 of the header.
    let file = fs::OpenOptions::new().write(true).open(&database).unwrap();
    file.write_all_at(&99u32.to_be_bytes(), 60).unwrap();
    drop(file);
    let before = fs::read(&database).unwrap();
    let out = world.tell(&["list"]);
    assert_eq!(out.status.code(), Some(7));
    assert_eq!(fs::read(&database).unwrap(), before);
    check(
        "a_store_of_a_newer_pentad_is_left_alone",
        &world.transcript(),
    );
}

#[test]
fn a_damaged_audit_log_is_found_and_repaired_on_record() {
    let world = World::new();
    world.put(&["put", "a/b", "--kind", "password"], STRONG);
    world.ok(&["audit", "checkpoint", "--out", "kept.note"]);
    let segment = fs::read_dir(world.store().join("audit"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .find(|path| {
            fs::read(path)
                .unwrap()
                .windows(11)
                .any(|w| w == b"system.init")
        })
        .expect("a segment with the first record");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(11).position(|w| w == b"system.init").unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    assert_eq!(world.ok_code(&["audit", "verify"]), Some(8));
    let out = world.command(&["list"]).output().unwrap();
    assert_eq!(out.status.code(), Some(8));
    assert!(String::from_utf8_lossy(&out.stderr).contains("audit repair"));
    assert_eq!(world.ok_code(&["audit", "repair"]), Some(2));
    world.ok(&["audit", "repair", "--yes"]);
    let records = world.ok(&["audit", "list"]);
    assert!(records.contains("audit.repair"), "{records}");
    assert_eq!(world.ok(&["get", "a/b"]), STRONG);
}

#[test]
fn a_target_that_is_down_or_that_refuses() {
    let mut world = World::new();
    world.put(&["put", "admin/pg", "--kind", "password"], STRONG);
    world.tell(&[
        "target",
        "put",
        "x",
        "--system",
        "postgres",
        "--address",
        "127.0.0.1:1",
    ]);
    world.ok(&[
        "target",
        "put",
        "pg",
        "--system",
        "postgresql",
        "--address",
        "127.0.0.1:1",
        "--plain",
        "--admin-account",
        "postgres",
        "--admin-credential",
        "admin/pg",
    ]);
    assert_eq!(
        world.tell(&["target", "check", "pg"]).status.code(),
        Some(7)
    );
    world.tell(&[
        "target",
        "put",
        "env",
        "--system",
        "envfile",
        "--address",
        "/srv/x.env",
    ]);
    // Nobody may write there, whoever runs this.
    let put = [
        "target",
        "put",
        "env",
        "--system",
        "envfile",
        "--address",
        "/proc/pentad.env",
    ];
    let out = below_proc(&world, &put).output().unwrap();
    world.note(&put, &out);
    let checked = ["target", "check", "env"];
    let out = below_proc(&world, &checked).output().unwrap();
    assert_eq!(out.status.code(), Some(7));
    world.note(&checked, &out);
    let adopt = [
        "adopt",
        "a/b",
        "--kind",
        "database",
        "--target",
        "env",
        "--account",
        "A",
    ];
    let mut adopt_there = below_proc(&world, &adopt);
    let out = world.run_with(&mut adopt_there, STRONG);
    assert_eq!(out.status.code(), Some(7));
    world.note(&adopt, &out);
    world.tell(&["target", "delete", "nothing"]);
    check("a_target_that_is_down_or_that_refuses", &world.transcript());
}

/// The server dies while the file can't be written, and somebody sets another value before it is
/// back: what was sent can't be told from what was not, and nothing is overwritten.
#[test]
fn a_rotation_that_diverged_waits_for_a_person() {
    let mut world = World::new();
    let file = world.bind_env_file();
    let mut server = world.serve();
    let directory = fs::File::open(world.home.path()).unwrap();
    directory.lock().unwrap();
    let ran = world.remote(&server, &["rotate", "app/db", "--no-wait"]);
    assert!({ ran }.output().unwrap().status.success());
    let step = |server: &crate::world::Server| {
        let out = world.remote(server, &["rotations", "--json"]).output();
        let page: serde_json::Value = serde_json::from_slice(&out.unwrap().stdout).unwrap();
        page["items"][0]["step"].as_str().unwrap().to_owned()
    };
    let until = |server: &crate::world::Server, wanted: &str| {
        let begun = std::time::Instant::now();
        while step(server) != wanted {
            assert!(begun.elapsed().as_secs() < 60, "{}", step(server));
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    until(&server, "applying");
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    fs::write(&file, "DB_PASSWORD=somebody-elses-word\n").unwrap();
    drop(directory);
    let server = world.serve();
    until(&server, "diverged");
    assert_eq!(server.stop().0, Some(0));

    world.tell(&["rotations", "--needs-person"]);
    assert!(world.ok(&["rotations", "--unfinished"]).is_empty());
    assert!(world.ok(&["rotations", "--step", "done"]).is_empty());
    assert_eq!(world.tell(&["rotate", "app/db"]).status.code(), Some(9));
    // It was not settled by that.
    assert!(
        world
            .ok(&["rotations", "--needs-person"])
            .contains("app/db")
    );
    world.tell_with(&["adopt", "app/db"], "somebody-elses-word");
    world.tell(&["rotations", "--needs-person"]);
    world.tell(&["rotations", "--step", "diverged"]);
    world.tell(&["rotations", "--step", "divergd"]);
    check(
        "a_rotation_that_diverged_waits_for_a_person",
        &world.transcript(),
    );
}

#[test]
fn a_wrong_configuration_names_the_nearest_key() {
    let mut world = World::bare();
    fs::write(world.path("p.toml"), "[server]\nlisten_at = \"x\"\n").unwrap();
    world.tell(&["--config", "p.toml", "list"]);
    world.tell(&["--config", "gone.toml", "list"]);
    check(
        "a_wrong_configuration_names_the_nearest_key",
        &world.transcript(),
    );
}

/// A command for which files below /proc are in bounds.
fn below_proc(world: &World, arguments: &[&str]) -> std::process::Command {
    let mut command = world.command(arguments);
    command.env("PENTAD_FILES_BELOW", "/proc");
    command
}

impl World {
    fn ok_code(&self, arguments: &[&str]) -> Option<i32> {
        self.command(arguments).output().unwrap().status.code()
    }
}
