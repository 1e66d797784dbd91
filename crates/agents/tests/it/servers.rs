//! Rotations on the real servers, each with its strategies. `./dev services up` starts them.

use pentad_agents::{
    contract::rotation::Start,
    operations::{Put, Value},
};
use pentad_connectors::registry;
use pentad_model::{
    Kind, Rotation, Secret, Stage, Target, Tenant,
    credential::Binding,
    id::{Entropy as _, OsEntropy},
    rotation::{Control, Login, Step, Strategy},
    target::Tls,
};

use crate::world::World;

/// One of the real servers.
struct Server {
    system: &'static str,
    address: String,
    admin: String,
    password: String,
}

impl Server {
    fn found(system: &'static str, name: &str) -> Self {
        let read = |what: &str| {
            std::env::var(format!("PENTAD_TEST_{name}_{what}")).unwrap_or_else(|_| {
                panic!(
                    "PENTAD_TEST_{name}_{what} is not set: run `./dev services up` and `./dev test`"
                )
            })
        };
        let file = |what: &str| {
            std::fs::read_to_string(read(what))
                .unwrap()
                .trim()
                .to_owned()
        };
        Self {
            system,
            address: read("ADDR"),
            admin: read("ADMIN"),
            password: file("PASSWORD_FILE"),
        }
    }

    fn target(&self, name: &str) -> Target {
        Target {
            tenant: Tenant::default_tenant(),
            name: name.parse().unwrap(),
            system: self.system.to_owned(),
            address: self.address.clone(),
            admin_account: Some(self.admin.clone()),
            admin_credential: Some(format!("admin/{name}").parse().unwrap()),
            tls: Tls::Plain,
            ca_pem: None,
            concurrency: 16,
            lockout_limit: None,
            options: Default::default(),
            revision: 0,
            created_at: Default::default(),
        }
    }

    async fn logs_in(&self, account: &str, value: &str) -> Login {
        let connector = registry::by_name(self.system).unwrap();
        connector
            .login(&self.target("look"), account, &Secret::new(value))
            .await
            .login
    }
}

/// A name that no other test and no earlier run has.
fn account(prefix: &str) -> String {
    let mut random = [0u8; 6];
    OsEntropy.fill(&mut random);
    format!("{prefix}_{}", hex::encode(random))
}

async fn postgres(sql: &str) -> Server {
    let server = Server::found("postgresql", "POSTGRES");
    let (host, port) = server.address.rsplit_once(':').unwrap();
    let mut config = tokio_postgres::Config::new();
    config
        .host(host)
        .port(port.parse().unwrap())
        .user(&server.admin)
        .password(&server.password)
        .dbname("postgres");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap();
    server
}

async fn mariadb(sql: &str) -> Server {
    use mysql_async::prelude::Queryable;
    let server = Server::found("mariadb", "MARIADB");
    let (host, port) = server.address.rsplit_once(':').unwrap();
    let options = mysql_async::OptsBuilder::default()
        .ip_or_hostname(host)
        .tcp_port(port.parse().unwrap())
        .user(Some(&server.admin))
        .pass(Some(&server.password));
    let mut connection = mysql_async::Conn::new(options).await.unwrap();
    connection.query_drop(sql).await.unwrap();
    connection.disconnect().await.unwrap();
    server
}

async fn redis(arguments: &[&str]) -> Server {
    let server = Server::found("redis", "REDIS");
    let client = redis::Client::open(format!("redis://{}/", server.address)).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let _: String = redis::cmd("AUTH")
        .arg(&server.admin)
        .arg(&server.password)
        .query_async(&mut connection)
        .await
        .unwrap();
    let mut command = redis::cmd("ACL");
    for argument in arguments {
        command.arg(argument);
    }
    let _: String = command.query_async(&mut connection).await.unwrap();
    server
}

/// Takes the account over under `db/main`, on a target of the server.
async fn adopted(world: &World, server: &Server, binding: Binding, value: &str) {
    let name = binding.target.clone();
    let admin = Put {
        kind: Some(Kind::Database),
        value: Some(Value::Given(Secret::new(server.password.as_str()))),
        accept_weak: true,
        ..Put::default()
    };
    let path = format!("admin/{name}").parse().unwrap();
    world
        .pentad
        .put(&world.admin(), &path, admin)
        .await
        .unwrap();
    world
        .pentad
        .put_target(&world.admin(), server.target(name.as_str()))
        .await
        .unwrap();
    let put = Put {
        kind: Some(Kind::Database),
        value: Some(Value::Given(Secret::new(value))),
        binding: Some(binding),
        ..Put::default()
    };
    world
        .pentad
        .adopt(&world.admin(), &"db/main".parse().unwrap(), put)
        .await
        .unwrap();
}

fn bind(account: &str, strategy: Strategy) -> Binding {
    Binding {
        target: "server".parse().unwrap(),
        account: account.to_owned(),
        alternate: None,
        strategy: Some(strategy),
        owned: false,
        grace_seconds: 0,
        deliver_to: Vec::new(),
    }
}

async fn rotate(world: &World) -> Rotation {
    let start = Start {
        paths: vec!["db/main".parse().unwrap()],
        strategy: None,
    };
    let started = world.pentad.rotate(&world.admin(), start).await.unwrap();
    assert!(started.refused.is_empty(), "{started:?}");
    world.ended(started.rotations[0].1).await
}

/// Rotates twice; after each, the new value logs in and no earlier one does.
async fn two_rotations_hold(world: &World, server: &Server, accounts: &[&str], first: &str) {
    let mut earlier = vec![first.to_owned()];
    for round in 0..2 {
        let rotation = rotate(world).await;
        assert_eq!(rotation.progress.step, Step::Done, "{rotation:#?}");
        let path = "db/main".parse().unwrap();
        let reading = world
            .pentad
            .read(&world.admin(), &path, None)
            .await
            .unwrap();
        let value = reading.value.expose_str().unwrap().to_owned();
        let account = reading.of.account.clone().unwrap();
        assert_eq!(&*account, accounts[(round + 1) % accounts.len()]);
        assert_eq!(server.logs_in(&account, &value).await, Login::Works);
        for old in &earlier {
            for account in accounts {
                assert_ne!(
                    server.logs_in(account, old).await,
                    Login::Works,
                    "round {round}"
                );
            }
        }
        earlier.push(value);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_in_place() {
    let role = account("app");
    let server = postgres(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'first-Value-11'"
    ))
    .await;
    let world = World::new().await;
    adopted(
        &world,
        &server,
        bind(&role, Strategy::InPlace),
        "first-Value-11",
    )
    .await;
    two_rotations_hold(&world, &server, &[&role], "first-Value-11").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_alternating() {
    let (role, idle) = (account("app"), account("idle"));
    let server = postgres(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'first-Value-11'"
    ))
    .await;
    let world = World::new().await;
    let binding = Binding {
        alternate: Some(idle.clone()),
        ..bind(&role, Strategy::Alternating)
    };
    adopted(&world, &server, binding, "first-Value-11").await;
    two_rotations_hold(&world, &server, &[&role, &idle], "first-Value-11").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_overlap_and_in_place() {
    for strategy in [Strategy::Overlap, Strategy::InPlace] {
        let user = account("u");
        let server = mariadb(&format!(
            "CREATE USER '{user}'@'%' IDENTIFIED BY 'first-Value-11'"
        ))
        .await;
        let world = World::new().await;
        adopted(&world, &server, bind(&user, strategy), "first-Value-11").await;
        two_rotations_hold(&world, &server, &[&user], "first-Value-11").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_overlap_and_in_place() {
    for strategy in [Strategy::Overlap, Strategy::InPlace] {
        let user = account("r");
        let server = redis(&["SETUSER", &user, "on", ">first-Value-11", "~*", "+@read"]).await;
        let world = World::new().await;
        adopted(&world, &server, bind(&user, strategy), "first-Value-11").await;
        two_rotations_hold(&world, &server, &[&user], "first-Value-11").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_values_work_in_the_grace_and_a_rollback_returns_to_the_old_one() {
    let user = account("r");
    let server = redis(&["SETUSER", &user, "on", ">first-Value-11", "~*", "+@read"]).await;
    let world = World::new().await;
    let binding = Binding {
        grace_seconds: 600,
        ..bind(&user, Strategy::Overlap)
    };
    adopted(&world, &server, binding, "first-Value-11").await;
    let start = Start {
        paths: vec!["db/main".parse().unwrap()],
        strategy: None,
    };
    let started = world.pentad.rotate(&world.admin(), start).await.unwrap();
    let id = started.rotations[0].1;
    world.reaches(id, |step| step == Step::Observing).await;
    let new = world.get("db/main").await;
    assert_eq!(server.logs_in(&user, &new).await, Login::Works);
    assert_eq!(server.logs_in(&user, "first-Value-11").await, Login::Works);
    world
        .pentad
        .steer(&world.admin(), id, Control::Rollback)
        .await
        .unwrap();
    let ended = world.ended(id).await;
    assert_eq!(ended.progress.step, Step::RolledBack, "{ended:#?}");
    assert_eq!(world.get("db/main").await, "first-Value-11");
    assert_eq!(server.logs_in(&user, "first-Value-11").await, Login::Works);
    assert_eq!(server.logs_in(&user, &new).await, Login::Fails);
    let path = "db/main".parse().unwrap();
    let history = world
        .pentad
        .history(&world.admin(), &path, None, 10)
        .await
        .unwrap();
    let stages: Vec<Stage> = history.items.iter().map(|v| v.stage).collect();
    assert_eq!(stages, [Stage::Abandoned, Stage::Current]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_stops_the_rotation_with_the_statement_that_grants_it() {
    let (role, weak) = (account("app"), account("weak"));
    let mut server = postgres(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'first-Value-11';
         CREATE ROLE {weak} LOGIN PASSWORD 'weak-Admin-22'"
    ))
    .await;
    server.admin = weak;
    server.password = "weak-Admin-22".to_owned();
    let world = World::new().await;
    adopted(
        &world,
        &server,
        bind(&role, Strategy::InPlace),
        "first-Value-11",
    )
    .await;
    let rotation = rotate(&world).await;
    assert_eq!(rotation.progress.step, Step::RolledBack, "{rotation:#?}");
    assert!(rotation.reason.unwrap().contains("CREATEROLE"));
    assert_eq!(world.get("db/main").await, "first-Value-11");
    assert_eq!(server.logs_in(&role, "first-Value-11").await, Login::Works);
    let name = "server".parse().unwrap();
    let checked = world
        .pentad
        .check_target(&world.admin(), &name)
        .await
        .unwrap();
    assert!(!checked.complaints.is_empty(), "{checked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_change_is_never_overwritten_unless_owned() {
    let role = account("app");
    let server = postgres(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'first-Value-11'"
    ))
    .await;
    let world = World::new().await;
    adopted(
        &world,
        &server,
        bind(&role, Strategy::InPlace),
        "first-Value-11",
    )
    .await;
    postgres(&format!("ALTER ROLE {role} PASSWORD 'somebody-Elses-33'")).await;
    let rotation = rotate(&world).await;
    assert_eq!(rotation.progress.step, Step::Failed);
    assert_eq!(
        server.logs_in(&role, "somebody-Elses-33").await,
        Login::Works
    );
    let owned = Put {
        binding: Some(Binding {
            owned: true,
            ..bind(&role, Strategy::InPlace)
        }),
        ..Put::default()
    };
    world
        .pentad
        .put(&world.admin(), &"db/main".parse().unwrap(), owned)
        .await
        .unwrap();
    assert_eq!(rotate(&world).await.progress.step, Step::Done);
    let value = world.get("db/main").await;
    assert_eq!(server.logs_in(&role, &value).await, Login::Works);
}
