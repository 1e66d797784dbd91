//! Work with stored keys from the command line, against the `openssl` command.

use std::process::Command;

use crate::world::{World, check};

fn key(world: &World, path: &str, generator: &str) {
    world.ok(&[
        "put",
        path,
        "--kind",
        "signing_key",
        "--generate",
        "--generator",
        generator,
    ]);
}

#[test]
fn what_is_signed_verifies_here_and_elsewhere_before_and_after_a_rotation() {
    let mut world = World::new();
    world.ok(&["put", "prod/release", "--kind", "signing_key", "--generate"]);
    let message = world.path("app.tar");
    std::fs::write(&message, "the release\n").unwrap();
    let message = message.display().to_string();
    let signature = world.ok(&["sign", "prod/release", "--in", &message]);
    assert!(signature.starts_with("pentad:v1:"), "{signature}");
    let kept = world.path("app.sig");
    std::fs::write(&kept, &signature).unwrap();

    let raw = world
        .command(&["sign", "prod/release", "--in", &message, "--raw"])
        .output();
    std::fs::write(world.path("raw.sig"), raw.unwrap().stdout).unwrap();
    std::fs::write(
        world.path("public.pem"),
        world.ok(&["public-key", "prod/release"]),
    )
    .unwrap();
    let accepted = Command::new("openssl")
        .args([
            "pkeyutl",
            "-verify",
            "-pubin",
            "-inkey",
            "public.pem",
            "-rawin",
        ])
        .args(["-in", &message, "-sigfile", "raw.sig"])
        .current_dir(world.home.path())
        .output()
        .expect("the `openssl` command is needed: apt-get install openssl");
    assert!(accepted.status.success(), "{accepted:?}");

    world.ok(&["put", "prod/release", "--generate"]);
    let kept = kept.display().to_string();
    world.tell(&[
        "verify",
        "prod/release",
        "--signature-file",
        &kept,
        "--in",
        &message,
    ]);
    world.tell_with(
        &["verify", "prod/release", "--signature-file", &kept],
        "the release",
    );
    world.tell_with(&["verify", "prod/release", "pentad:v9:YQ=="], "the release");
    world.tell_with(&["verify", "prod/release", "YQ=="], "the release");
    world.tell_with(&["encrypt", "prod/release"], "short");
    world.tell_with(&["sign", "prod/relaese"], "the release");
    world.ok(&["destroy", "prod/release", "--version", "1", "--yes"]);
    world.tell(&[
        "verify",
        "prod/release",
        "--signature-file",
        &kept,
        "--in",
        &message,
    ]);
    world.tell(&["audit", "list", "--action", "key."]);
    check(
        "what_is_signed_verifies_here_and_elsewhere",
        &world.transcript(),
    );
}

#[test]
fn what_is_encrypted_is_decrypted_to_the_last_byte() {
    let world = World::new();
    key(&world, "prod/backup", r#"{"type":"rsa","bits":2048}"#);
    for plain in ["session key\n", "", "\u{0}\u{1}\r\n"] {
        let encrypt = world.run_with(&mut world.command(&["encrypt", "prod/backup"]), plain);
        let ciphertext = String::from_utf8(encrypt.stdout).unwrap();
        assert!(ciphertext.starts_with("pentad:v1:"), "{ciphertext}");
        let mut decrypt = world.command(&["decrypt", "prod/backup"]);
        let decrypted = world.run_with(&mut decrypt, &ciphertext);
        assert_eq!(decrypted.stdout, plain.as_bytes());
    }
    let out = world.run_with(
        &mut world.command(&["decrypt", "prod/backup"]),
        "pentad:v1:YQ==",
    );
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("can't be decrypted"));
}
