//! What people do every day, without a server.

use std::os::unix::fs::PermissionsExt as _;

use crate::world::{STRONG, World, check};

#[test]
fn a_first_day() {
    let mut world = World::bare();
    world.tell(&["init", "--dir", "store"]);
    world.tell_with(
        &[
            "put",
            "prod/mail",
            "--kind",
            "password",
            "--owner",
            "team-a",
            "--tag",
            "env=prod",
        ],
        STRONG,
    );
    world.tell(&["put", "prod/token", "--kind", "token", "--generate"]);
    world.tell(&["list"]);
    world.tell(&["list", "--kind", "token", "--quiet"]);
    world.tell(&["get", "prod/mail"]);
    world.tell(&[
        "put",
        "prod/mail",
        "--metadata",
        "--description",
        "outgoing mail",
    ]);
    world.tell(&["describe", "prod/mail"]);
    world.tell(&["history", "prod/mail"]);
    world.tell(&["check"]);
    world.tell(&["delete", "prod/mail"]);
    world.tell(&["get", "prod/mail"]);
    world.tell(&["restore", "prod/mail"]);
    world.tell(&["audit", "list"]);
    world.tell(&["audit", "verify"]);
    world.tell(&["store", "verify"]);
    world.tell(&["whoami"]);
    check("a_first_day", &world.transcript());
}

#[test]
fn a_first_rotation() {
    let mut world = World::new();
    let file = world.bind_env_file();
    world.tell(&["target", "check", "env"]);
    world.tell(&["rotate", "app/db", "--plan"]);
    let rotated = world.ok(&["rotate", "app/db", "--json", "--quiet"]);
    let rotated: serde_json::Value = serde_json::from_str(&rotated).unwrap();
    assert_eq!(rotated["items"][0]["step"], "done");
    world.tell(&["rotations"]);
    world.tell(&["history", "app/db"]);
    let value = world.ok(&["get", "app/db"]);
    assert_ne!(value, STRONG);
    let content = std::fs::read_to_string(file).unwrap();
    assert!(content.starts_with("OTHER=1\nDB_PASSWORD="), "{content}");
    assert!(
        content.contains(&value),
        "the file has the value that the store has"
    );
    check("a_first_rotation", &world.transcript());
}

#[test]
fn somebody_elses_change_is_drift_and_adopting_mends_it() {
    let mut world = World::new();
    let file = world.bind_env_file();
    std::fs::write(&file, "DB_PASSWORD=somebody-elses-word\n").unwrap();
    let out = world.tell(&["rotate", "app/db"]);
    assert_ne!(out.status.code(), Some(0));
    // The store still has what it had, and nothing was overwritten.
    assert_eq!(world.ok(&["get", "app/db"]), STRONG);
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .contains("somebody-elses-word")
    );
    let adopt = ["adopt", "app/db"];
    world.tell_with(&adopt, STRONG);
    world.tell_with(&adopt, "somebody-elses-word");
    assert_eq!(world.ok(&["get", "app/db"]), "somebody-elses-word");
    let rotated = world.ok(&["rotate", "app/db", "--quiet"]);
    assert!(rotated.starts_with("1 of 1 rotated"), "{rotated}");
    check("somebody_elses_change_is_drift", &world.transcript());
}

#[test]
fn many_values_are_imported_after_a_preview() {
    let mut world = World::new();
    std::fs::write(
        world.path("a.env"),
        format!("export A='{STRONG}'\nB={STRONG}2\n"),
    )
    .unwrap();
    let csv = format!("path,value,kind\napi/one,{STRONG}3,token\napi/two,{STRONG}4,\n");
    std::fs::write(world.path("a.csv"), csv).unwrap();
    std::fs::write(
        world.path("a.json"),
        "{\"weak\":\"password\",\"bad path\":\"x\"}",
    )
    .unwrap();
    std::fs::write(
        world.path("weak.json"),
        format!("{{\"weak\":\"password\",\"ok\":\"{STRONG}5\"}}"),
    )
    .unwrap();
    world.tell(&["import", "a.env", "--prefix", "app", "--dry-run"]);
    let kind = ["--kind", "password", "--yes"];
    world.tell(&[&["import", "a.env", "--prefix", "app"], &kind[..]].concat());
    world.tell(&["import", "a.csv", "--owner", "team-b", "--yes"]);
    world.tell(&["import", "a.json", "--yes"]);
    world.tell(&["import", "weak.json", "--kind", "password", "--yes"]);
    world.tell(&["list"]);
    check(
        "many_values_are_imported_after_a_preview",
        &world.transcript(),
    );
}

#[test]
fn accounts_are_imported_with_their_targets() {
    let mut world = World::new();
    world.bind_env_file();
    let import = |world: &mut World, csv: &str, more: &[&str]| {
        std::fs::write(world.path("a.csv"), csv).unwrap();
        world.tell(&[&["import", "a.csv"], more].concat());
    };
    let wrong = format!(
        "path,value,kind,target,account\n\
         a/one,{STRONG}1,database,env,ONE\n\
         a two,{STRONG}2,database,env,TWO\n\
         a/three,,database,env,THREE\n\
         a/four,{STRONG}4,datbase,env,FOUR\n\
         a/five,{STRONG}5,database,env,\n\
         a/one,{STRONG}6,,,\n"
    );
    import(&mut world, &wrong, &["--dry-run"]);
    import(&mut world, &wrong, &[]);
    import(&mut world, "path,value,acount\na,b,c\n", &[]);
    let elsewhere = format!("path,value,target,account\na/one,{STRONG}1,nev,ONE\n");
    import(&mut world, &elsewhere, &["--dry-run"]);
    assert_eq!(
        world.ok(&["list", "--prefix", "a/"]),
        "",
        "nothing is half done"
    );

    let right = format!(
        "path,value,kind,target,account\n\
         a/one,{STRONG}1,database,env,ONE\n\
         a/two,{STRONG}2,password,,\n\
         a/weak,password,password,,\n"
    );
    import(&mut world, &right, &["--dry-run"]);
    import(&mut world, &right, &["--tag", "from=csv", "--yes"]);
    world.tell(&["list", "--prefix", "a/"]);
    let told = world.transcript();
    assert!(!told.contains(STRONG), "{told}");
    check("accounts_are_imported_with_their_targets", &told);
}

#[test]
fn a_value_comes_back_byte_for_byte() {
    let world = World::new();
    let binary: Vec<u8> = (0..=255).cycle().take(1000).collect();
    std::fs::write(world.path("blob"), &binary).unwrap();
    world.ok(&[
        "put",
        "a/blob",
        "--value-file",
        "blob",
        "--keep-newline",
        "--kind",
        "secret",
    ]);
    let out = world.command(&["get", "a/blob"]).output().unwrap();
    assert_eq!(out.stdout, binary);
    world.put(
        &["put", "a/line", "--kind", "secret"],
        &format!("{STRONG}\n"),
    );
    assert_eq!(world.ok(&["get", "a/line"]), STRONG);
    world.put(
        &["put", "a/json", "--kind", "secret"],
        r#"{"db":{"user":"u","password":"Zq7#vLw2pTx9"}}"#,
    );
    assert_eq!(
        world.ok(&["get", "a/json", "--field", "db.password"]),
        "Zq7#vLw2pTx9"
    );
}

#[test]
fn a_store_under_a_passphrase_opens_with_it_only() {
    let world = World::bare();
    let secret = |name: &str, text: &str| {
        let path = world.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let (right, wrong) = (
        secret("right", "correct horse battery\n"),
        secret("wrong", "correct horse batterie\n"),
    );
    let run = |file: &std::path::Path, arguments: &[&str]| {
        world
            .command(arguments)
            .env("PENTAD_PASSPHRASE_FILE", file)
            .output()
            .unwrap()
    };
    let init = [
        "init",
        "--passphrase",
        "--passphrase-kdf",
        "pbkdf2",
        "--no-token",
    ];
    assert_eq!(run(&right, &init).status.code(), Some(0));
    assert!(!world.store().join("master.key").exists());
    assert_eq!(run(&right, &["list"]).status.code(), Some(0));
    let refused = run(&wrong, &["list"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("wrong root key"));
}

#[test]
fn what_is_made_is_its_owners_alone() {
    let world = World::new();
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&world.store()), 0o700);
    assert_eq!(mode(&world.store().join("master.key")), 0o600);
    assert_eq!(mode(&world.store().join("pentad.db")), 0o600);
}

#[test]
fn completions_are_made_for_each_shell() {
    let world = World::bare();
    for shell in ["bash", "zsh", "fish"] {
        let script = world.ok(&["completions", shell]);
        assert!(
            script.contains("rotate") && script.contains("checkpoint"),
            "{shell}"
        );
    }
}

#[test]
fn shells_take_their_completions_without_a_word() {
    let world = World::bare();
    // Fish and Z shell where they are installed; Bash is everywhere.
    for (shell, script) in [
        ("bash", "source ./script && complete -p pentad"),
        (
            "zsh",
            "autoload -U compinit && compinit -D -u && source ./script && whence _pentad",
        ),
        ("fish", "source ./script; and complete -C 'pentad rota'"),
    ] {
        std::fs::write(world.path("script"), world.ok(&["completions", shell])).unwrap();
        let mut command = std::process::Command::new(shell);
        if shell == "zsh" {
            command.arg("-f");
        }
        let out = command
            .args(["-c", script])
            .env("HOME", world.home.path())
            .current_dir(world.home.path())
            .output();
        let Ok(out) = out else {
            assert_ne!(shell, "bash");
            continue;
        };
        assert!(
            out.status.success() && out.stderr.is_empty(),
            "{shell}: {out:?}"
        );
        assert!(!out.stdout.is_empty(), "{shell}");
    }
}

#[test]
fn what_was_done_is_json_too() {
    let world = World::new();
    let json = |arguments: &[&str]| {
        let said = world.ok(&[arguments, &["--json"]].concat());
        let read: Result<serde_json::Value, _> = serde_json::from_str(&said);
        assert!(read.is_ok_and(|it| it.is_object()), "{arguments:?}: {said}");
    };
    let file = world.path("app.env").display().to_string();
    json(&[
        "target",
        "put",
        "t",
        "--system",
        "envfile",
        "--address",
        &file,
    ]);
    json(&["target", "delete", "t"]);
    json(&["role", "put", "r", "--allow", "read:**"]);
    json(&["role", "delete", "r"]);
    json(&["policy", "put", "p", "--min-length", "20"]);
    json(&["policy", "delete", "p"]);
    json(&["tenant", "create", "acme"]);
    std::fs::write(world.path("a.env"), format!("A={STRONG}\n")).unwrap();
    json(&["import", "a.env", "--dry-run"]);
    json(&["import", "a.env", "--yes"]);
    json(&["delete", "A"]);
    json(&["restore", "A"]);
}

#[test]
fn the_example_configuration_is_accepted() {
    let world = World::new();
    let example = world.ok(&["config", "example"]);
    std::fs::write(world.path("pentad.toml"), example).unwrap();
    world.ok(&["--config", "pentad.toml", "list"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let world = World::new();
    let out = std::process::Command::new("sh")
        .args([
            "-c",
            &format!(
                "{} completions bash | head -c 10 >/dev/null; echo done",
                crate::world::BINARY
            ),
        ])
        .env("HOME", world.home.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stderr), "");
}
