//! Policies and rule sets as files, and what they say of the estate.

use crate::world::{STRONG, World, check};

const STRICT: &str = r#"name = "strict"
min_length = 20
words = ["Nordlicht"]

[[tests]]
value = "n0rdl1cht-2026-n0rdl1cht"
accepted = false
because = "patterns"

[[tests]]
value = "vXq7.Lw2pTx9~mRe4Kd8-bN3"
accepted = true
"#;

const HOUSE: &str = r#"id = "house"
title = "House rules"

[[controls]]
id = "H1"
title = "Passwords are long"
kinds = ["password"]
checks = [{ type = "length", min = 20 }]

[[controls]]
id = "H2"
title = "Everything has an owner"
checks = [{ type = "owner" }]
"#;

#[test]
fn policies_are_files_that_are_tested() {
    let mut world = World::new();
    std::fs::write(world.path("strict.toml"), STRICT).unwrap();
    let wrong = STRICT.replace("min_length = 20", "min_length = 64");
    std::fs::write(world.path("wrong.toml"), wrong).unwrap();
    world.tell(&["policy", "test", "strict.toml"]);
    world.tell(&["policy", "test", "wrong.toml"]);
    world.tell(&["policy", "apply", "strict.toml"]);
    world.tell(&["policy", "list"]);
    let put = ["put", "prod/a", "--kind", "password", "--policy", "strict"];
    world.tell_with(&put, "n0rdl1cht-2026-n0rdl1cht");
    world.tell_with(&put, STRONG);
    check("policies_are_files_that_are_tested", &world.transcript());
}

#[test]
fn a_frameworks_controls_are_held_against_the_estate() {
    let mut world = World::new();
    world.put(
        &["put", "prod/a", "--kind", "password", "--owner", "team-a"],
        STRONG,
    );
    world.put(
        &["put", "prod/b", "--kind", "password", "--accept-weak"],
        "Summer2024!",
    );
    world.tell(&["compliance", "list"]);
    world.tell(&["check", "--compliance", "pci-dss-4.0.1"]);
    std::fs::write(world.path("house.toml"), HOUSE).unwrap();
    world.tell(&["compliance", "test", "house.toml"]);
    world.tell(&["compliance", "put", "house.toml"]);
    world.tell(&["compliance", "show", "house"]);
    world.tell(&["check", "--compliance", "house", "--prefix", "prod/a"]);
    world.tell(&["check", "--compliance", "house", "--limit", "1"]);
    let json = world
        .command(&["check", "--compliance", "house", "--json"])
        .output()
        .unwrap();
    assert_eq!(json.status.code(), Some(6));
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&report["looked_at"], &report["next"]),
        (&2.into(), &serde_json::Value::Null)
    );
    world.tell(&["compliance", "delete", "house"]);
    world.tell(&["check", "--compliance", "house"]);
    check(
        "a_frameworks_controls_are_held_against_the_estate",
        &world.transcript(),
    );
}

#[test]
fn old_values_go_by_rule_after_a_plan() {
    let mut world = World::new();
    for number in 1..=4 {
        let value = format!("{STRONG}-{number}");
        world.put(
            &["put", "prod/a", "--kind", "secret", "--owner", "ann"],
            &value,
        );
    }
    world.tell(&["retention", "plan"]);
    world.tell(&[
        "retention",
        "put",
        "short",
        "--path",
        "prod/**",
        "--keep-versions",
        "1",
    ]);
    world.tell(&["retention", "put", "nothing", "--path", "**"]);
    world.tell(&["retention", "list"]);
    world.tell(&["retention", "plan"]);
    world.tell(&["retention", "apply"]);
    world.tell(&["retention", "apply", "--yes"]);
    world.tell(&["retention", "plan"]);
    world.tell(&["get", "prod/a", "--version", "2"]);
    world.tell(&["retention", "delete", "short"]);
    world.tell(&["erase", "--owner", "ann", "--yes"]);
    world.tell(&["describe", "prod/a"]);
    check("old_values_go_by_rule_after_a_plan", &world.transcript());
}
