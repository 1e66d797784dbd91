//! Backups as an operator meets them: made of a server at work, the machine lost, restored elsewhere.

use std::{path::Path, process::Command};

use crate::world::{STRONG, World, check};

/// A backup with this file name, of the server or of the directory.
fn back_up(world: &World, name: &str, more: &[&str]) -> String {
    let file = format!("backups/{name}.pentad-backup");
    std::fs::create_dir_all(world.path("backups")).unwrap();
    world.ok(&[&["backup", "create", &file, "--quiet"], more].concat());
    file
}

fn success(mut command: Command) -> String {
    let out = command.output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{err}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn a_store_is_backed_up_at_work_lost_and_restored() {
    let mut world = World::new();
    let file = world.bind_env_file();
    world.put(&["put", "app/mail", "--kind", "password"], STRONG);
    let moved = format!("{STRONG}-moves");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}MOVES='{moved}'\n")).unwrap();
    let bind = [
        "adopt",
        "app/moves",
        "--kind",
        "database",
        "--target",
        "env",
        "--account",
        "MOVES",
    ];
    world.put(&bind, &moved);
    world.ok(&["token", "create", "ci", "--role", "reader"]);

    // Of a running server, as a client of it.
    let server = world.serve();
    std::fs::create_dir(world.path("backups")).unwrap();
    let first = "backups/first.pentad-backup";
    success(world.remote(&server, &["backup", "create", first]));
    let put = ["put", "app/late", "--kind", "password"];
    let out = world.run_with(&mut world.remote(&server, &put), STRONG);
    assert!(out.status.success());
    let second = "backups/second.pentad-backup";
    success(world.remote(&server, &["backup", "create", second, "--incremental"]));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(world.path(second)).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    server.stop();
    world.tell(&["backup", "verify", second]);
    world.tell(&["backup", "drill", second]);
    // After the backup, a rotation: its value is lost with this machine.
    world.ok(&["rotate", "app/moves"]);
    world.tell(&["backup", "drill", second, "--live"]);

    world.tell(&["restore", "--backup", second]);
    world.tell(&["restore", "--backup", second, "--dir", "new"]);
    world.tell(&[
        "restore",
        "--backup",
        second,
        "--dir",
        "new",
        "--key-file",
        "store/master.key",
    ]);
    assert_eq!(world.ok(&["--dir", "new", "get", "app/late"]), STRONG);
    assert_eq!(world.ok(&["--dir", "new", "get", "app/mail"]), STRONG);
    // Its readers are told, and the first server tries it.
    world.tell(&["--dir", "new", "describe", "app/db"]);
    let after = World::bare();
    std::fs::rename(world.path("new"), after.store()).unwrap();
    let below = world.home.path().display().to_string();
    let server = after.serve_with(&[("PENTAD_FILES_BELOW", &below)]);
    let looked = |server: &crate::world::Server| {
        let token = world.token.clone();
        let mut status = after.command(&["backup", "status", "--json"]);
        status
            .env("PENTAD_ADDR", &server.address)
            .env("PENTAD_TOKEN", token);
        status.output().unwrap()
    };
    let out = looked(&server);
    assert_eq!(out.status.code(), Some(3), "tokens are not restored");
    for _ in 0..200 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let log = std::fs::read_dir(after.store().join("audit")).unwrap();
        let seen = log.filter_map(Result::ok).any(|it| {
            std::fs::read(it.path()).is_ok_and(|bytes| contains(&bytes, b"restore.look"))
        });
        if seen {
            break;
        }
    }
    server.stop();
    let mut tell = |arguments: &[&str]| {
        let mut command = after.command(arguments);
        command.env("PENTAD_FILES_BELOW", &below);
        let out = command.output().unwrap();
        world.note(arguments, &out);
    };
    tell(&["backup", "status"]);
    tell(&["probe", "--in-doubt"]);
    tell(&["audit", "verify"]);
    let told = world.transcript();
    assert!(!told.contains(STRONG), "{told}");
    check("a_store_is_backed_up_at_work_lost_and_restored", &told);
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[test]
fn what_is_not_a_whole_backup_of_this_store_is_refused() {
    let mut world = World::new();
    world.put(&["put", "app/mail", "--kind", "password"], STRONG);
    let file = back_up(&world, "good", &[]);
    let good = std::fs::read(world.path(&file)).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(world.path(name), bytes).unwrap();
    write("cut.pentad-backup", &good[..good.len() - 1]);
    let mut altered = good.clone();
    let at = good.len() / 2;
    altered[at] ^= 1;
    write("altered.pentad-backup", &altered);
    let mut newer = good.clone();
    newer[8] = 2;
    write("newer.pentad-backup", &newer);
    write("other.pentad-backup", b"BEGIN;\nCREATE TABLE t (a);\n");
    std::fs::create_dir(world.path("alone")).unwrap();
    world.ok(&[
        "backup",
        "create",
        "alone/more.pentad-backup",
        "--since",
        &file,
    ]);
    let other = World::new();
    std::fs::copy(other.store().join("master.key"), world.path("other.key")).unwrap();
    let key = ["--key-file", "store/master.key", "--dir", "new"];
    for name in ["cut", "altered", "newer", "other", "alone/more", "none"] {
        let file = format!("{name}.pentad-backup");
        world.tell(&[&["restore", "--backup", &file], &key[..]].concat());
    }
    world.tell(&[
        "restore",
        "--backup",
        &file,
        "--dir",
        "new",
        "--key-file",
        "other.key",
    ]);
    world.tell(&[
        "restore",
        "--backup",
        &file,
        "--dir",
        "new",
        "--recovery-passphrase-file",
        "other.key",
    ]);
    world.tell(&["restore", &file]);
    let left: Vec<_> = std::fs::read_dir(world.home.path())
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("new") && !name.contains("newer"))
        .collect();
    assert_eq!(left, [""; 0], "nothing is left half done");
    check(
        "what_is_not_a_whole_backup_of_this_store_is_refused",
        &world.transcript(),
    );
}

fn private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn with_a_recovery_passphrase_the_loss_of_the_whole_machine_is_no_loss() {
    let world = World::new();
    world.put(&["put", "app/mail", "--kind", "password"], STRONG);
    private(
        &world.path("word"),
        "six words that nobody else has thought of\n",
    );
    let file = back_up(&world, "whole", &["--recovery-passphrase-file", "word"]);
    std::fs::remove_dir_all(world.store()).unwrap();
    let word = ["--recovery-passphrase-file", "word"];
    world.ok(&[&["backup", "drill", &file], &word[..]].concat());
    world.ok(&[&["restore", "--backup", &file, "--dir", "new"], &word[..]].concat());
    assert_eq!(world.ok(&["--dir", "new", "get", "app/mail"]), STRONG);
    // An increment of it, by the restored store, is refused: that is another store by now.
    let mut command = world.command(&[
        "--dir",
        "new",
        "backup",
        "create",
        "x.pentad-backup",
        "--since",
        &file,
    ]);
    let out = command.output().unwrap();
    assert_eq!(
        out.status.code(),
        Some(5),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    private(
        &world.path("word"),
        "six words that somebody else has thought of\n",
    );
    let mut wrong = world.command(&[
        "backup",
        "verify",
        &file,
        "--recovery-passphrase-file",
        "word",
    ]);
    assert_eq!(wrong.output().unwrap().status.code(), Some(3));
}

#[test]
fn a_store_under_a_passphrase_is_restored_with_it() {
    let mut world = World::bare();
    private(&world.path("word"), "correct horse battery staple\n");
    let with = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        command.env("PENTAD_PASSPHRASE_FILE", world.path("word"));
        command
    };
    let kdf = ["--passphrase-kdf", "argon2id"];
    success(with(&[&["init", "--passphrase"], &kdf[..]].concat()));
    let put = ["put", "app/mail", "--kind", "password"];
    assert!(world.run_with(&mut with(&put), STRONG).status.success());
    success(with(&["backup", "create", "one.pentad-backup"]));
    success(with(&[
        "restore",
        "--backup",
        "one.pentad-backup",
        "--dir",
        "new",
    ]));
    assert_eq!(success(with(&["--dir", "new", "get", "app/mail"])), STRONG);
    assert!(!world.path("new/master.key").exists());
    world.tell(&["list"]);
}
