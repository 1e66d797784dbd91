//! A right that is missing at the target, on the real servers: each message names the statement
//! that grants it, nothing is changed, and granting it is all that is needed. `./dev services up`
//! starts them.

use std::process::Command;

use crate::world::{World, check};

const WEAK: &str = "weak-Admin-22-of-nobody";
const FIRST: &str = "first-Value-11-of-many";

/// What `./dev test` sets.
fn setting(name: &str) -> String {
    let name = format!("PENTAD_TEST_{name}");
    std::env::var(&name)
        .unwrap_or_else(|_| panic!("{name} is not set: run `./dev services up` and `./dev test`"))
}

/// Its address, its administrator, and that one's password.
fn server(name: &str) -> (String, String, String) {
    let password = std::fs::read_to_string(setting(&format!("{name}_PASSWORD_FILE"))).unwrap();
    (
        setting(&format!("{name}_ADDR")),
        setting(&format!("{name}_ADMIN")),
        password.trim().to_owned(),
    )
}

fn run(command: &mut Command) {
    let out = command.output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{said}");
}

fn postgres(sql: &str) -> String {
    let (address, admin, password) = server("POSTGRES");
    let (host, port) = address.rsplit_once(':').unwrap();
    run(Command::new("psql")
        .env("PGPASSWORD", password)
        .args(["-qh", host, "-p", port, "-U", &admin, "-d", "postgres"])
        .args(["-v", "ON_ERROR_STOP=1", "-c", sql]));
    address
}

fn mariadb(sql: &str) -> String {
    let (address, admin, password) = server("MARIADB");
    let (host, port) = address.rsplit_once(':').unwrap();
    run(Command::new("mariadb")
        .env("MYSQL_PWD", password)
        .args(["-h", host, "-P", port, "-u", &admin, "-e", sql]));
    address
}

fn redis(arguments: &[&str]) -> String {
    let (address, admin, password) = server("REDIS");
    let (host, port) = address.rsplit_once(':').unwrap();
    run(Command::new("redis-cli")
        .env("REDISCLI_AUTH", password)
        .args([
            "-e",
            "--no-auth-warning",
            "-h",
            host,
            "-p",
            port,
            "--user",
            &admin,
        ])
        .args(arguments));
    address
}

/// A name that no other run has, always as long.
fn account(prefix: &str) -> String {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    format!("{prefix}_{:08x}", nanos as u32)
}

/// The target with its weak administrator, and the credential, which is taken over: that needs no
/// right. Then everything that a new user would try, and once more when the right was granted.
fn told(system: &str, address: &str, weak: &str, app: &str, grant: &dyn Fn()) -> String {
    let mut world = World::new();
    world.put(&["put", "admin/db", "--kind", "secret"], WEAK);
    world.ok(&[
        "target",
        "put",
        "db",
        "--system",
        system,
        "--address",
        address,
        "--plain",
        "--admin-account",
        weak,
        "--admin-credential",
        "admin/db",
    ]);
    let adopt = [
        "adopt",
        "app/db",
        "--kind",
        "database",
        "--target",
        "db",
        "--account",
        app,
    ];
    world.put(&adopt, FIRST);
    assert_eq!(
        world.tell(&["target", "check", "db"]).status.code(),
        Some(7)
    );
    assert_eq!(
        world.tell(&["rotate", "app/db", "--plan"]).status.code(),
        Some(0)
    );
    assert_eq!(
        world.tell(&["rotate", "app/db", "--quiet"]).status.code(),
        Some(9)
    );
    assert_eq!(world.ok(&["get", "app/db"]), FIRST);
    // It still logs in at the target, or this would be refused.
    world.put(&["adopt", "app/db"], FIRST);
    grant();
    assert_eq!(
        world.tell(&["target", "check", "db"]).status.code(),
        Some(0)
    );
    assert_eq!(
        world.tell(&["rotate", "app/db", "--quiet"]).status.code(),
        Some(0)
    );
    assert_ne!(world.ok(&["get", "app/db"]), FIRST);
    world.transcript().replace(weak, "WEAK").replace(app, "APP")
}

#[test]
fn a_right_is_missing_in_postgresql() {
    let (weak, app) = (account("weak"), account("app"));
    let address = postgres(&format!(
        "CREATE ROLE {weak} LOGIN PASSWORD '{WEAK}'; CREATE ROLE {app} LOGIN PASSWORD '{FIRST}'"
    ));
    let grant = || drop(postgres(&format!("ALTER ROLE {weak} CREATEROLE")));
    let said = told("postgresql", &address, &weak, &app, &grant);
    postgres(&format!("DROP ROLE {weak}; DROP ROLE {app}"));
    check("a_right_is_missing_in_postgresql", &said);
}

#[test]
fn a_right_is_missing_in_mariadb() {
    let (weak, app) = (account("weak"), account("app"));
    let address = mariadb(&format!(
        "CREATE USER {weak}@'%' IDENTIFIED BY '{WEAK}'; CREATE USER {app}@'%' IDENTIFIED BY '{FIRST}'"
    ));
    // As the complaint says it.
    let grant = || {
        drop(mariadb(&format!(
            "GRANT CREATE USER, CONNECTION ADMIN, SELECT ON *.* TO '{weak}'@'%'"
        )));
    };
    let said = told("mariadb", &address, &weak, &app, &grant);
    mariadb(&format!("DROP USER {weak}@'%'; DROP USER {app}@'%'"));
    check("a_right_is_missing_in_mariadb", &said);
}

#[test]
fn a_right_is_missing_in_redis() {
    // As the complaint says it.
    const GRANT: &str =
        "ACL SETUSER WEAK +acl +client +info +multi +exec +config|get +config|rewrite";
    let (weak, app) = (account("weak"), account("app"));
    let (weak_password, first) = (format!(">{WEAK}"), format!(">{FIRST}"));
    let address = redis(&["ACL", "SETUSER", &weak, "on", &weak_password, "+ping"]);
    redis(&["ACL", "SETUSER", &app, "on", &first, "+ping"]);
    let grant = || {
        drop(redis(
            &GRANT.replace("WEAK", &weak).split(' ').collect::<Vec<_>>(),
        ))
    };
    let said = told("redis", &address, &weak, &app, &grant);
    redis(&["ACL", "DELUSER", &weak, &app]);
    check("a_right_is_missing_in_redis", &said);
}
