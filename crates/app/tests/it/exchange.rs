//! Values on their way in and out by files.

use crate::world::{STRONG, World, check};

/// What Python's `cryptography` 48 made of
/// `{"openai": {"api_key": …, "organisation": "org-4711"}, "DB_PASSWORD": …}`.
const FERNET_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const FERNET: &str = "gAAAAABlU_EAAAECAwQFBgcICQoLDA0ODwsy1Lo86cui3R3xQbHObmD7K7Vf2la-O7SwMzcPuggmnEoLOZC7zi--Z8fCsYaFG9BGUq3qRNgqxHMS_Saf8TnMwWOgGRa4K8k3SiYE-FJR4AvAQOiI1GD1KJZCVyX9XDK3XLWgBxr3C9f2buduBCtPYv3Uwf9BySH8x9M1waQMC03xhU24iN6ftUDHiHuGhwrXalPGf7pKj9To2hAa0qg=";

fn private(world: &World, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = world.path(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn the_same_file_twice_changes_nothing_and_a_preview_says_what_would() {
    let mut world = World::new();
    std::fs::write(
        world.path("a.env"),
        format!("DB_PASSWORD='{STRONG}'\nGITHUB_TOKEN={STRONG}2\nOTHER={STRONG}3\n"),
    )
    .unwrap();
    world.tell(&["import", "a.env", "--prefix", "app"]);
    world.tell(&["import", "a.env", "--prefix", "app", "--yes"]);
    world.tell(&["import", "a.env", "--prefix", "app", "--yes"]);
    std::fs::write(
        world.path("a.env"),
        format!("DB_PASSWORD='{STRONG}'\nGITHUB_TOKEN={STRONG}4\nNEW={STRONG}5\n"),
    )
    .unwrap();
    world.ok(&["delete", "app/OTHER"]);
    std::fs::write(
        world.path("b.env"),
        format!("OTHER={STRONG}6\nWEAK_PASSWORD=password1\nDB_PASSWORD='{STRONG}'\n"),
    )
    .unwrap();
    world.tell(&["import", "a.env", "--prefix", "app", "--dry-run"]);
    world.tell(&["import", "b.env", "--prefix", "app", "--dry-run"]);
    world.tell(&["import", "a.env", "--prefix", "app", "--yes"]);
    world.tell(&["list"]);
    let told = world.transcript();
    assert!(!told.contains(STRONG), "{told}");
    check("the_same_file_twice_changes_nothing", &told);
}

#[test]
fn whether_a_value_is_the_stored_one_is_said_to_its_readers_only() {
    let world = World::new();
    world.put(&["put", "app/A", "--kind", "secret"], STRONG);
    world.ok(&["role", "put", "blind", "--allow", "write,list:**"]);
    let made = world.ok(&["token", "create", "ci", "--role", "blind", "--json"]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    std::fs::write(world.path("a.env"), format!("A={STRONG}\n")).unwrap();
    let server = world.serve();
    let mut asked = world.remote(
        &server,
        &["import", "a.env", "--prefix", "app", "--dry-run", "--json"],
    );
    asked.env("PENTAD_TOKEN", made["token"].as_str().unwrap());
    let out = asked.output().unwrap();
    let seen: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(seen["items"][0]["fate"], "exists", "{seen}");
    let mut asked = world.remote(
        &server,
        &["import", "a.env", "--prefix", "app", "--dry-run", "--json"],
    );
    let out = asked.output().unwrap();
    let seen: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(seen["items"][0]["fate"], "same", "{seen}");
    let log = world.remote(
        &server,
        &["audit", "list", "--action", "credential.compare", "--json"],
    );
    let log: serde_json::Value = serde_json::from_slice(&{ log }.output().unwrap().stdout).unwrap();
    assert_eq!(log["items"].as_array().unwrap().len(), 1, "{log}");
}

#[test]
fn credentials_go_out_and_in_by_an_encrypted_file() {
    let mut world = World::new();
    world.bind_env_file();
    world.put(
        &[
            "put", "app/mail", "--kind", "password", "--owner", "team-a", "--tag", "env=prod",
        ],
        STRONG,
    );
    let binary: Vec<u8> = (0..=255).collect();
    std::fs::write(world.path("binary"), &binary).unwrap();
    world.ok(&[
        "put",
        "app/binary",
        "--kind",
        "secret",
        "--value-file",
        "binary",
    ]);
    private(
        &world,
        "word",
        "six words that nobody else has thought of\n",
    );
    world.tell(&[
        "export",
        "credentials.json.enc",
        "--passphrase-file",
        "word",
    ]);
    world.tell(&[
        "export",
        "credentials.json.enc",
        "--passphrase-file",
        "word",
    ]);
    world.tell(&[
        "export",
        "app.json.enc",
        "--prefix",
        "app/mail",
        "--key-file",
        "app.key",
    ]);
    let bytes = std::fs::read(world.path("credentials.json.enc")).unwrap();
    assert!(
        !bytes
            .windows(4)
            .any(|it| it == b"mail" || it == STRONG.as_bytes()[..4].to_vec())
    );
    let read = world.ok(&["audit", "list", "--action", "credential.read", "--json"]);
    let read: serde_json::Value = serde_json::from_str(&read).unwrap();
    assert_eq!(
        read["items"].as_array().unwrap().len(),
        4,
        "each is on record"
    );

    // Into another store.
    let mut other = World::new();
    other.bind_env_file();
    for name in ["credentials.json.enc", "app.json.enc", "app.key", "word"] {
        std::fs::copy(world.path(name), other.path(name)).unwrap();
    }
    other.tell(&[
        "import",
        "credentials.json.enc",
        "--passphrase-file",
        "word",
        "--yes",
    ]);
    other.tell(&["import", "app.json.enc", "--key-file", "app.key", "--yes"]);
    other.tell(&["describe", "app/mail"]);
    let out = other.command(&["get", "app/binary"]).output().unwrap();
    assert_eq!(out.stdout, binary);
    // Not with another key, not when altered or cut.
    private(
        &other,
        "wrong",
        "six words that somebody else has thought of\n",
    );
    other.tell(&[
        "import",
        "credentials.json.enc",
        "--passphrase-file",
        "wrong",
    ]);
    other.tell(&["import", "app.json.enc", "--passphrase-file", "word"]);
    other.tell(&["import", "app.json.enc"]);
    std::fs::write(other.path("cut.enc"), &bytes[..bytes.len() - 1]).unwrap();
    other.tell(&["import", "cut.enc", "--passphrase-file", "word"]);
    private(&other, "plain.enc", "{\"a\": \"b\"}\n");
    other.tell(&["import", "plain.enc", "--passphrase-file", "word"]);
    let told = format!("{}{}", world.transcript(), other.transcript());
    assert!(!told.contains(STRONG), "{told}");
    check("credentials_go_out_and_in_by_an_encrypted_file", &told);
}

#[test]
fn a_file_that_pythons_fernet_made_is_read() {
    let mut world = World::new();
    private(&world, "encryption.key", FERNET_KEY);
    private(&world, "credentials.json.enc", FERNET);
    world.tell(&["import", "credentials.json.enc"]);
    world.tell(&[
        "import",
        "credentials.json.enc",
        "--key-file",
        "encryption.key",
        "--prefix",
        "legacy",
        "--yes",
    ]);
    assert_eq!(
        world.ok(&["get", "legacy/openai/api_key"]),
        format!("{STRONG}-py")
    );
    assert_eq!(
        world.ok(&["get", "legacy/DB_PASSWORD"]),
        format!("{STRONG}-db")
    );
    private(
        &world,
        "encryption.key",
        &FERNET_KEY.replace("AAEC", "AAED"),
    );
    world.tell(&[
        "import",
        "credentials.json.enc",
        "--key-file",
        "encryption.key",
    ]);
    private(&world, "encryption.key", "short");
    world.tell(&[
        "import",
        "credentials.json.enc",
        "--key-file",
        "encryption.key",
    ]);
    let told = world.transcript();
    assert!(!told.contains(STRONG), "{told}");
    check("a_file_that_pythons_fernet_made_is_read", &told);
}

/// With the library itself: `PENTAD_PYTHON` names an interpreter that has it.
#[test]
#[ignore = "needs Python's cryptography"]
fn what_the_library_itself_writes_now_is_read() {
    let python = std::env::var_os("PENTAD_PYTHON").expect("an interpreter in PENTAD_PYTHON");
    let world = World::new();
    let script = format!(
        "import json; from cryptography.fernet import Fernet; k = Fernet.generate_key(); \
         open('k', 'wb').write(k); \
         open('c.json.enc', 'wb').write(Fernet(k).encrypt(json.dumps({{'a': {{'b': '{STRONG}'}}}}).encode()))"
    );
    let made = std::process::Command::new(python)
        .args(["-c", &script])
        .current_dir(world.home.path())
        .status();
    assert!(made.unwrap().success());
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(world.path("k"), std::fs::Permissions::from_mode(0o600)).unwrap();
    world.ok(&["import", "c.json.enc", "--key-file", "k", "--yes"]);
    assert_eq!(world.ok(&["get", "a/b"]), STRONG);
}
