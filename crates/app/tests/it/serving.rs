//! The server: over the network, beside other programs, stopped, killed, started again.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::world::{STRONG, World, check};

#[test]
fn the_same_commands_work_over_the_network() {
    let mut world = World::new();
    world.bind_env_file();
    let server = world.serve();
    let tell = |world: &mut World, arguments: &[&str], input: &str| {
        let mut command = world.remote(&server, arguments);
        let out = world.run_with(&mut command, input);
        world.note(arguments, &out);
        out
    };
    tell(&mut world, &["whoami"], "");
    tell(
        &mut world,
        &["put", "prod/mail", "--kind", "password"],
        STRONG,
    );
    let read = tell(&mut world, &["get", "prod/mail"], "");
    assert_eq!(read.stdout, STRONG.as_bytes());
    tell(&mut world, &["list"], "");
    let rotated = tell(&mut world, &["rotate", "app/db", "--quiet"], "");
    assert_eq!(rotated.status.code(), Some(0));
    tell(&mut world, &["get", "prod/mial"], "");
    tell(&mut world, &["audit", "list", "--action", "auth."], "");
    check(
        "the_same_commands_work_over_the_network",
        &world.transcript(),
    );
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("rotation step") && log.contains("stopped"),
        "{log}"
    );
    assert!(
        !log.contains(STRONG) && !log.contains(&world.token),
        "{log}"
    );
    assert!(!world.store().join("address").exists());
}

#[test]
fn a_directory_in_use_names_its_server() {
    let mut world = World::new();
    let server = world.serve();
    for arguments in [&["list"][..], &["server"]] {
        let out = world.command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(7));
        assert!(
            said.contains(&format!("export PENTAD_ADDR={}", server.address)),
            "{said}"
        );
    }
    // Reading the audit log's files needs nobody's leave.
    assert_eq!(world.tell(&["audit", "verify"]).status.code(), Some(0));
}

#[test]
fn tokens_that_are_wrong_missing_or_too_weak() {
    let mut world = World::new();
    let server = world.serve();
    let reader = {
        let out = world
            .remote(&server, &["token", "create", "ci", "--role", "reader"])
            .output();
        String::from_utf8(out.unwrap().stdout)
            .unwrap()
            .trim()
            .to_owned()
    };
    for (token, arguments) in [
        ("", &["list"][..]),
        ("pntd_wrong", &["list"]),
        (&reader, &["list"]),
        (&reader, &["audit", "list"]),
        (&reader, &["token", "create", "more", "--role", "admin"]),
    ] {
        let mut command = world.command(arguments);
        command
            .env("PENTAD_ADDR", &server.address)
            .env("PENTAD_TOKEN", token);
        let out = command.output().unwrap();
        world.note(arguments, &out);
    }
    check(
        "tokens_that_are_wrong_missing_or_too_weak",
        &world.transcript(),
    );
}

#[test]
fn a_killed_server_starts_again_with_everything() {
    let world = World::new();
    world.bind_env_file();
    let mut server = world.serve();
    let run = |server: &crate::world::Server, arguments: &[&str], input: &str| {
        let mut command = world.remote(server, arguments);
        let out = world.run_with(&mut command, input);
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        out.stdout
    };
    run(&server, &["put", "a/b", "--kind", "password"], STRONG);
    run(&server, &["rotate", "app/db", "--no-wait"], "");
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let again = world.serve();
    assert_eq!(run(&again, &["get", "a/b"], ""), STRONG.as_bytes());
    // What was accepted is driven to its end, whoever was killed meanwhile.
    let begun = Instant::now();
    loop {
        let listed = run(&again, &["rotations", "--json"], "");
        let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
        if listed["items"][0]["step"] == "done" {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{listed}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let value = String::from_utf8(run(&again, &["get", "app/db"], "")).unwrap();
    let file = std::fs::read_to_string(world.path("app.env")).unwrap();
    assert!(file.contains(&value));
    let (code, log) = again.stop();
    assert_eq!(code, Some(0), "{log}");
    world.ok(&["audit", "verify"]);
}

#[test]
fn a_user_logs_in_and_the_token_is_kept_for_its_owner_only() {
    let world = World::new();
    let server = world.serve();
    let mut put = world.remote(&server, &["user", "put", "ann", "--role", "operator"]);
    assert!(
        world
            .run_with(&mut put, "a long password of ann")
            .status
            .success()
    );
    let file = world.path("password");
    std::fs::write(&file, "a long password of ann\n").unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, private).unwrap();
    let login = ["login", "ann", "--save", "--password-file", "password"];
    let out = world
        .command(&login)
        .env("PENTAD_ADDR", &server.address)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let who = world
        .command(&["whoami", "--json"])
        .env("PENTAD_ADDR", &server.address)
        .output();
    let who: serde_json::Value = serde_json::from_slice(&who.unwrap().stdout).unwrap();
    assert_eq!(who["principal"], "user:ann");
}

#[test]
fn a_client_that_sends_its_header_slowly_is_let_go() {
    let world = World::new();
    let mut command = world.command(&["server", "--listen", "127.0.0.1:0"]);
    command.env("PENTAD_SERVER_HEADER_TIMEOUT", "1");
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 200];
    let read = child.stdout.as_mut().unwrap().read(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said[..read]).into_owned();
    let address = said.trim().rsplit("http://").next().unwrap();
    let mut slow = TcpStream::connect(address).unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        .unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let begun = Instant::now();
    let mut answer = Vec::new();
    let ended = slow.read_to_end(&mut answer);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        ended.is_ok() && begun.elapsed() < Duration::from_secs(8),
        "{ended:?}"
    );
}

#[test]
fn beyond_loopback_it_speaks_tls_with_a_certificate_that_clients_can_trust() {
    let world = World::new();
    let mut command = world.command(&["server", "--listen", "0.0.0.0:0"]);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 200];
    let read = child.stdout.as_mut().unwrap().read(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said[..read]).into_owned();
    let port = said.trim().rsplit(':').next().unwrap();
    assert!(said.contains("https://0.0.0.0:"), "{said}");
    let address = format!("https://localhost:{port}");
    let run = |with_ca: bool| {
        let mut command = world.command(&["kinds"]);
        command
            .env("PENTAD_ADDR", &address)
            .env("PENTAD_TOKEN", &world.token);
        if with_ca {
            command.env("PENTAD_CACERT", world.store().join("tls/cert.pem"));
        }
        command.output().unwrap()
    };
    let (trusting, doubting) = (run(true), run(false));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        trusting.status.success(),
        "{}",
        String::from_utf8_lossy(&trusting.stderr)
    );
    assert_eq!(doubting.status.code(), Some(7));
    assert!(String::from_utf8_lossy(&doubting.stderr).contains("PENTAD_CACERT"));
}
