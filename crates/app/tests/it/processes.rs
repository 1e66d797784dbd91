//! What other users of the machine can see, and what a program that is run gets.

use std::{fs, process::Stdio, time::Duration};

use crate::world::{STRONG, World};

#[test]
fn a_run_program_gets_the_value_and_gives_its_exit_code() {
    let world = World::new();
    world.put(&["put", "a/b", "--kind", "password"], STRONG);
    let script = "printf %s \"$VALUE\"; umask >&2; exit 7";
    let out = world
        .command(&["run", "--env", "VALUE=a/b", "--", "sh", "-c", script])
        .env("PENTAD_TOKEN", "pntd_x")
        .output()
        .unwrap();
    assert_eq!(out.stdout, STRONG.as_bytes());
    assert_eq!(out.status.code(), Some(7));
    // The program's own umask, not ours.
    assert_ne!(String::from_utf8_lossy(&out.stderr).trim(), "0077");
    let gone = world
        .command(&["run", "--env", "V=a/b", "--", "no-such-program"])
        .output()
        .unwrap();
    assert_eq!(gone.status.code(), Some(4));
}

#[test]
fn a_value_stands_in_no_list_of_processes() {
    let world = World::new();
    world.put(&["put", "a/b", "--kind", "password"], STRONG);
    let mut child = world
        .command(&["run", "--env", "VALUE=a/b", "--", "sleep", "30"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let line = format!("/proc/{}/cmdline", child.id());
    let mut seen = String::new();
    for _ in 0..200 {
        seen = String::from_utf8_lossy(&fs::read(&line).unwrap()).into_owned();
        assert!(!seen.contains(STRONG));
        if seen.starts_with("sleep") {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(seen.starts_with("sleep"), "{seen:?}");
}

#[test]
fn the_server_leaves_no_core_and_shows_its_memory_to_nobody() {
    let world = World::new();
    let server = world.serve();
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.child.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let soft = core["Max core file size".len()..].split_whitespace().next();
    assert_eq!(soft, Some("0"), "{core}");
    // A process that is not dumpable belongs to root in /proc, whoever runs it: for root the
    // difference can't be seen there, so the flag itself is asked where the system shows it.
    let owner = fs::metadata(format!("/proc/{}/environ", server.child.id())).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), 0);
}
