//! What only PostgreSQL has: roles that take turns, expiry, and effects that wait for locks.

use std::time::Duration;

use pentad_connectors::{AccountChange, AccountState, Admin, Fence, Keeps, Outcome, Session};
use pentad_model::{
    Secret,
    rotation::{Login, Strategy},
};
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::bench::{Bench as _, PostgreSql, account, change, is_stop, password};

const BENCH: PostgreSql = PostgreSql;

fn turn<'a>(idle: &'a str, like: &'a str, new: &'a Secret) -> AccountChange<'a> {
    AccountChange {
        account: idle,
        new,
        old: None,
        like: Some(like),
        strategy: Strategy::Alternating,
    }
}

/// How the server is to ask members of a role, by `pg_hba.conf` of the test services.
async fn asked_by(group: &str, name: &str) {
    let admin = BENCH.client().await;
    // Another test may make it at the same moment.
    let _ = admin.batch_execute(&format!("CREATE ROLE {group}")).await;
    let grant = format!("GRANT {group} TO {name}");
    admin.batch_execute(&grant).await.unwrap();
}

#[tokio::test]
async fn a_login_is_a_proof_only_where_the_server_asked_for_scram() {
    let (name, value) = (account(), password());
    BENCH.create(&name, &value).await;
    let shown = BENCH.attempt(&name, &value).await;
    assert_eq!((shown.login, shown.sole), (Login::Works, true));
    let shown = BENCH.attempt(&name, &password()).await;
    assert_eq!((shown.login, shown.sole), (Login::Fails, false));

    for group in ["asked_in_the_clear", "let_in_unasked"] {
        let (name, value) = (account(), password());
        BENCH.create(&name, &value).await;
        asked_by(group, &name).await;
        let shown = BENCH.attempt(&name, &value).await;
        assert_eq!((shown.login, shown.sole), (Login::Works, false), "{group}");
        let other = BENCH.login(&name, &password()).await;
        let let_in = group == "let_in_unasked";
        assert_eq!(other == Login::Works, let_in, "{group}");
    }
}

#[tokio::test]
async fn the_server_tells_an_administrator_which_value_it_keeps() {
    let (name, value, other) = (account(), password(), password());
    BENCH.create(&name, &value).await;
    let mut session = BENCH.open().await;
    assert_eq!(session.keeps(&name, &value).await, Keeps::This);
    assert_eq!(session.keeps(&name, &other).await, Keeps::Another);
    let change = change(Strategy::InPlace, &name, &other, None);
    assert_eq!(session.apply(&change).await, Outcome::Done);
    assert_eq!(session.keeps(&name, &value).await, Keeps::Another);
    assert_eq!(session.keeps(&name, &other).await, Keeps::This);

    // What bars the role, and what can't be compared, is left to a login.
    let admin = BENCH.client().await;
    let cant_tell = |keeps| matches!(keeps, Keeps::CantTell(_));
    for alter in [
        "VALID UNTIL '2020-01-01'",
        "VALID UNTIL 'infinity' NOLOGIN",
        "LOGIN CONNECTION LIMIT 0",
        "CONNECTION LIMIT -1 PASSWORD NULL",
        "PASSWORD 'md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'",
    ] {
        let alter = format!("ALTER ROLE {name} {alter}");
        admin.batch_execute(&alter).await.unwrap();
        assert!(cant_tell(session.keeps(&name, &other).await), "{alter}");
    }
    assert!(cant_tell(session.keeps(&account(), &other).await));
    assert!(session.is_alive());
}

#[tokio::test]
async fn an_administrator_who_may_not_look_does_not_try() {
    let (helper, name, value) = (account(), account(), password());
    BENCH.create(&helper, &value).await;
    BENCH.create(&name, &value).await;
    let admin = BENCH.client().await;
    let grant = format!("ALTER ROLE {helper} CREATEROLE");
    admin.batch_execute(&grant).await.unwrap();
    let credentials = Admin {
        account: &helper,
        password: Some(&value),
    };
    let target = BENCH.target();
    let mut session = BENCH.connector().open(&target, credentials).await.unwrap();
    let keeps = session.keeps(&name, &value).await;
    assert!(matches!(keeps, Keeps::CantTell(_)), "{keeps:?}");
    // It is no error in the server's log, and the session is as good as before.
    let log = String::from_utf8_lossy(&BENCH.written().await).into_owned();
    let tried = log.lines().any(|line| {
        line.contains("pg_authid") && line.contains(&name) && line.contains("SELECT split_part")
    });
    assert!(!tried);
    assert_eq!(session.account(&name).await, AccountState::Open);
}

#[tokio::test]
async fn the_idle_role_is_made_with_the_rights_and_ownership_of_the_first() {
    let (first, idle, old, new) = (account(), account(), password(), password());
    BENCH.create(&first, &old).await;
    let admin = BENCH.client().await;
    admin
        .batch_execute(&format!(
            "CREATE SCHEMA s_{first} AUTHORIZATION {first};
             CREATE TABLE s_{first}.granted (x int); INSERT INTO s_{first}.granted VALUES (42);
             GRANT SELECT ON s_{first}.granted TO {first};
             ALTER ROLE {first} SET search_path = s_{first}, \"odd, name\", public"
        ))
        .await
        .unwrap();
    let owner = BENCH.client_as(&first, &old).await;
    owner
        .batch_execute("CREATE TABLE own (x int)")
        .await
        .unwrap();

    let mut session = BENCH.open().await;
    assert_eq!(session.check(&first, Strategy::Alternating).await, []);
    for _ in 0..2 {
        assert_eq!(
            session.apply(&turn(&idle, &first, &new)).await,
            Outcome::Done
        );
    }
    assert_eq!(BENCH.login(&idle, &new).await, Login::Works);
    assert_eq!(BENCH.login(&first, &old).await, Login::Works, "untouched");

    let twin = BENCH.client_as(&idle, &new).await;
    let path: String = twin
        .query_one("SHOW search_path", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(path, format!("s_{first}, \"odd, name\", public"));
    let x: i32 = twin
        .query_one("SELECT x FROM granted", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(x, 42);
    twin.batch_execute(
        "INSERT INTO own VALUES (1); ALTER TABLE own ADD y int; CREATE TABLE made (z int)",
    )
    .await
    .unwrap();
    let made: String = owner
        .query_one(
            "SELECT tableowner::text FROM pg_tables WHERE tablename = 'made' AND schemaname = $1",
            &[&format!("s_{first}")],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(made, first, "what the idle role makes belongs to the first");
    owner.batch_execute("DROP TABLE made").await.unwrap();

    // The turn back, then the idle one is scrambled.
    assert_eq!(session.retire(&idle, None).await, Outcome::Done);
    assert_eq!(BENCH.login(&idle, &new).await, Login::Fails);
    assert_eq!(session.account(&idle).await, AccountState::Open);
}

#[tokio::test]
async fn a_twin_of_nobody_or_of_itself_is_refused() {
    let (first, idle, old, new) = (account(), account(), password(), password());
    BENCH.create(&first, &old).await;
    let mut session = BENCH.open().await;
    assert!(is_stop(
        &session.apply(&turn(&idle, "nobody_at_all", &new)).await
    ));
    assert!(is_stop(&session.apply(&turn(&first, &first, &new)).await));
    assert_eq!(session.account(&idle).await, AccountState::Missing);
    assert_eq!(BENCH.login(&first, &old).await, Login::Works);
}

#[tokio::test]
async fn an_expired_or_barred_role_is_told_from_a_wrong_password() {
    let (name, secret) = (account(), password());
    BENCH.create(&name, &secret).await;
    let admin = BENCH.client().await;
    let mut session = BENCH.open().await;

    let run = format!("ALTER ROLE {name} VALID UNTIL '2020-01-01'");
    admin.batch_execute(&run).await.unwrap();
    assert_eq!(
        BENCH.login(&name, &secret).await,
        Login::Fails,
        "as a client sees it"
    );
    assert!(
        matches!(session.account(&name).await, AccountState::Barred(why) if why.contains("2020"))
    );

    let run = format!("ALTER ROLE {name} VALID UNTIL 'infinity' NOLOGIN");
    admin.batch_execute(&run).await.unwrap();
    assert_eq!(BENCH.login(&name, &secret).await, Login::CantTell);
    assert!(matches!(
        session.account(&name).await,
        AccountState::Barred(_)
    ));
    assert!(!session.check(&name, Strategy::InPlace).await.is_empty());

    let run = format!("ALTER ROLE {name} LOGIN CONNECTION LIMIT 0");
    admin.batch_execute(&run).await.unwrap();
    assert_eq!(BENCH.login(&name, &secret).await, Login::CantTell);
    assert!(matches!(
        session.account(&name).await,
        AccountState::Barred(_)
    ));
}

#[tokio::test]
async fn a_role_that_somebody_else_holds_is_throttled_and_unchanged() {
    let (name, old, new) = (account(), password(), password());
    BENCH.create(&name, &old).await;
    let holder = hold(&name).await;
    let mut session = BENCH.open().await;
    let outcome = session
        .apply(&change(Strategy::InPlace, &name, &new, None))
        .await;
    assert!(matches!(outcome, Outcome::Throttled(_)), "{outcome:?}");
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(BENCH.login(&name, &old).await, Login::Works);
    assert_eq!(BENCH.login(&name, &new).await, Login::Fails);
    // The session is whole, and the next try gets through.
    let outcome = session
        .apply(&change(Strategy::InPlace, &name, &new, None))
        .await;
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(BENCH.login(&name, &new).await, Login::Works);
}

#[tokio::test]
async fn two_at_once_on_one_role_never_end_in_doubt() {
    let (name, old) = (account(), password());
    BENCH.create(&name, &old).await;
    let values: Vec<Secret> = (0..6).map(|_| password()).collect();
    let tries = values.iter().map(|value| {
        let name = &name;
        async move {
            let mut session = BENCH.open().await;
            session
                .apply(&change(Strategy::InPlace, name, value, None))
                .await
        }
    });
    for outcome in futures::future::join_all(tries).await {
        assert!(
            matches!(outcome, Outcome::Done | Outcome::Throttled(_)),
            "{outcome:?}"
        );
    }
    let mut working = 0;
    for value in &values {
        working += usize::from(BENCH.login(&name, value).await == Login::Works);
    }
    assert_eq!(working, 1);
}

/// An ALTER that waits for a lock goes on after its client has died. That is why there is a fence;
/// the first half shows the danger, so that the second can't pass for another reason.
#[tokio::test]
async fn a_fence_stops_an_effect_whose_client_died_while_it_waited() {
    for fenced in [false, true] {
        let (name, old, new) = (account(), password(), password());
        BENCH.create(&name, &old).await;
        let mut successor = BENCH.open().await;
        let holder = hold(&name).await;
        let session = BENCH.open().await;
        let connection = session.connection().unwrap().to_owned();
        die_while_waiting(session, &name, &new, &connection).await;

        if fenced {
            assert_eq!(successor.fence(&connection).await, Fence::Gone);
            assert!(!is_waiting(&connection).await);
        }
        holder.batch_execute("COMMIT").await.unwrap();
        // Until that server process is gone, the effect may come.
        while backend_exists(&connection).await {
            sleep(Duration::from_millis(10)).await;
        }
        let (new, old) = (
            BENCH.login(&name, &new).await,
            BENCH.login(&name, &old).await,
        );
        let expected = if fenced {
            (Login::Fails, Login::Works)
        } else {
            (Login::Works, Login::Fails)
        };
        assert_eq!((new, old), expected, "fenced: {fenced}");
    }
}

/// A transaction that holds the role's row.
async fn hold(name: &str) -> Client {
    let holder = BENCH.client().await;
    holder
        .batch_execute(&format!(
            "BEGIN; SELECT FROM pg_authid WHERE rolname = '{name}' FOR UPDATE"
        ))
        .await
        .unwrap();
    holder
}

/// Starts an effect, and ends its client when the server waits for the lock.
async fn die_while_waiting(
    mut session: Box<dyn Session>,
    name: &str,
    new: &Secret,
    connection: &str,
) {
    let (name, new) = (name.to_owned(), new.clone());
    let effect = tokio::spawn(async move {
        session
            .apply(&change(Strategy::InPlace, &name, &new, None))
            .await
    });
    while !is_waiting(connection).await {
        sleep(Duration::from_millis(5)).await;
    }
    effect.abort();
    assert!(effect.await.unwrap_err().is_cancelled());
}

async fn is_waiting(connection: &str) -> bool {
    count(connection, "wait_event_type = 'Lock'").await > 0
}

async fn backend_exists(connection: &str) -> bool {
    count(connection, "true").await > 0
}

async fn count(connection: &str, condition: &str) -> i64 {
    let (pid, _) = connection.split_once('/').unwrap();
    let query = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND {condition}");
    BENCH
        .client()
        .await
        .query_one(&query, &[])
        .await
        .unwrap()
        .get(0)
}
