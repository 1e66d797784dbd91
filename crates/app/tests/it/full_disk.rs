//! A full disk, on a small one of its own: refused cleanly, nothing lost, nobody locked out, and on
//! as soon as there is space. `docs/recovery.md` states the rule that is held here.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use crate::world::{STRONG, Server, World, check};

const PASSWORD: &str = "a long password of ann";

/// A store on a file system in memory, unmounted at the end.
struct Disk(PathBuf);

impl Disk {
    /// `None` where mounting is not permitted.
    fn below(world: &World) -> Option<Self> {
        let at = world.store();
        fs::create_dir_all(&at).unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=6m,mode=0700", "tmpfs"])
            .arg(&at)
            .stderr(Stdio::null())
            .status();
        done.is_ok_and(|status| status.success())
            .then_some(Self(at))
    }

    fn make_room(&self) {
        let status = Command::new("mount")
            .args(["-o", "remount,size=64m"])
            .arg(&self.0)
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// What was answered "done": paths and their values.
type Kept = Vec<(String, String)>;

/// Stores smaller and smaller values until not even a short one is taken.
fn fill(world: &World, put: &dyn Fn(&[&str]) -> Command) -> (Kept, Output) {
    let mut kept = Kept::new();
    let mut last = None;
    for size in [400_000, 40_000, 4000, 40] {
        loop {
            let path = format!("fill/{}", kept.len());
            let value = format!("{STRONG}-{}", "x".repeat(size));
            let out = world.run_with(&mut put(&["put", &path, "--kind", "secret"]), &value);
            match out.status.code() {
                Some(0) => kept.push((path, value)),
                Some(7) => {
                    last = Some(out);
                    break;
                }
                other => panic!("{other:?}: {}", String::from_utf8_lossy(&out.stderr)),
            }
            assert!(kept.len() < 1000, "there was no limit");
        }
    }
    (kept, last.unwrap())
}

#[test]
fn a_server_on_a_full_disk() {
    let mut world = World::bare();
    let Some(disk) = Disk::below(&world) else {
        return not_permitted();
    };
    world.init();
    let env = world.bind_env_file();
    world.put(&["user", "put", "ann", "--role", "admin"], PASSWORD);
    for (name, text) in [("right", PASSWORD), ("wrong", "a wrong password")] {
        fs::write(world.path(name), text).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(world.path(name), private).unwrap();
    }
    let server = world.serve();
    let run = |arguments: &[&str]| world.remote(&server, arguments).output().unwrap();
    let reader = run(&["token", "create", "ci", "--role", "reader"]);
    let reader = String::from_utf8(reader.stdout).unwrap();
    let (kept, _) = fill(&world, &|arguments| world.remote(&server, arguments));
    assert!(kept.len() > 5, "{}", kept.len());
    // Reads need a record: answered as long as the log's file has room, then refused.
    let refused = (0..1000).find(|_| run(&["get", "fill/0"]).status.code() == Some(7));
    assert!(refused.is_some(), "reads go on without a record");

    let status = |out: &Output| out.status.code();
    let before = fs::read_to_string(&env).unwrap();
    let mut told = Vec::new();
    for arguments in [
        &["put", "new/value", "--generate"][..],
        &["get", "fill/0"],
        &["delete", "fill/0"],
        &["rotate", "app/db"],
        &["list", "--limit", "2"],
        &["describe", "app/db"],
        &["login", "ann", "--password-file", "wrong"],
        &["login", "bob", "--password-file", "wrong"],
    ] {
        told.push((arguments, run(arguments)));
    }
    let logged_in = |server: &Server| {
        let mut command = world.remote(server, &["login", "ann", "--password-file", "right"]);
        String::from_utf8(command.env_remove("PENTAD_TOKEN").output().unwrap().stdout).unwrap()
    };
    // More than once: whoever frees space may need a few tries.
    let tokens: Vec<String> = (0..5).map(|_| logged_in(&server)).collect();
    for token in &tokens {
        let who = world
            .remote(&server, &["whoami", "--json"])
            .env("PENTAD_TOKEN", token.trim())
            .output()
            .unwrap();
        assert_eq!(status(&who), Some(0), "{who:?}");
        assert!(String::from_utf8_lossy(&who.stdout).contains("user:ann"));
    }
    let denied = world
        .remote(&server, &["audit", "list"])
        .env("PENTAD_TOKEN", reader.trim())
        .output()
        .unwrap();
    assert_eq!(status(&denied), Some(3), "{denied:?}");
    assert_eq!(fs::read_to_string(&env).unwrap(), before);
    let problem = run(&["put", "new/value", "--generate", "--json"]);
    let problem: serde_json::Value = serde_json::from_slice(&problem.stderr).unwrap();
    assert_eq!(problem["status"], 507);
    assert_eq!(problem["type"], "https://pentad.dev/problems/disk-full");

    disk.make_room();
    // The same server goes on, with everything.
    let stored = run(&["put", "new/value", "--generate"]);
    assert_eq!(status(&stored), Some(0), "{stored:?}");
    for (path, value) in &kept {
        let out = run(&["get", path]);
        let told = String::from_utf8_lossy(&out.stderr);
        assert!(out.stdout == value.as_bytes(), "{path}: {told}");
    }
    assert_eq!(status(&run(&["rotate", "app/db"])), Some(0));
    let listed = String::from_utf8(run(&["audit", "list", "--action", "auth."]).stdout).unwrap();
    let logins = listed
        .lines()
        .filter(|line| line.contains("user:ann") && line.contains("auth.login"));
    assert_eq!(logins.count(), tokens.len(), "{listed}");
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    for (arguments, out) in told {
        world.note(arguments, &out);
    }
    world.ok(&["audit", "verify"]);
    world.ok(&["store", "verify"]);
    check("a_server_on_a_full_disk", &world.transcript());
}

#[test]
fn a_directory_on_a_full_disk() {
    let mut world = World::bare();
    let Some(disk) = Disk::below(&world) else {
        return not_permitted();
    };
    world.init();
    let (kept, last) = fill(&world, &|arguments| world.command(arguments));
    world.note(&["put", "fill/…", "--kind", "secret"], &last);
    world.tell(&["list", "--limit", "2"]);
    world.tell(&["delete", "fill/0"]);
    world.ok(&["audit", "verify"]);
    // A server that is started now serves what needs no space. It says where; the file in which
    // others find it may have found none.
    let mut child = world
        .command(&["server", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut said)
        .unwrap();
    let address = said.trim().rsplit(' ').next().unwrap().to_owned();
    let server = Server { child, address };
    let out = world.remote(&server, &["whoami"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert_eq!(server.stop().0, Some(0));

    disk.make_room();
    for (path, value) in &kept {
        assert_eq!(world.ok(&["get", path]), *value, "{path}");
    }
    world.ok(&["delete", "fill/0"]);
    world.ok(&["audit", "verify"]);
    world.ok(&["store", "verify"]);
    check("a_directory_on_a_full_disk", &world.transcript());
}

#[allow(clippy::print_stderr)]
fn not_permitted() {
    eprintln!("skipped: mounting is not permitted here");
}
