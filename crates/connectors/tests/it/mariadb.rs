//! What only MariaDB has: accounts with hosts, and locked ones.

use mysql_async::prelude::Queryable as _;
use pentad_connectors::{AccountState, Outcome};
use pentad_model::rotation::{Login, Strategy};

use crate::bench::{Bench as _, MariaDb, account, change, password};

const BENCH: MariaDb = MariaDb;

#[tokio::test]
async fn an_account_of_a_host_is_another_one_than_that_of_any_host() {
    let (name, old, new) = (account(), password(), password());
    let local = format!("{name}@127.0.0.1");
    BENCH.create(&name, &old).await;
    let mut client = BENCH.client().await;
    client
        .query_drop(format!("CREATE USER '{name}'@'127.0.0.1'"))
        .await
        .unwrap();
    let mut session = BENCH.open().await;
    let outcome = session
        .apply(&change(Strategy::InPlace, &local, &new, None))
        .await;
    assert_eq!(outcome, Outcome::Done);
    // From here the server takes the closer one.
    assert_eq!(BENCH.login(&local, &new).await, Login::Works);
    client
        .query_drop(format!("DROP USER '{name}'@'127.0.0.1'"))
        .await
        .unwrap();
    assert_eq!(session.account(&local).await, AccountState::Missing);
    assert_eq!(
        BENCH.login(&name, &old).await,
        Login::Works,
        "never touched"
    );
}

#[tokio::test]
async fn a_locked_account_can_not_tell() {
    let (name, secret) = (account(), password());
    BENCH.create(&name, &secret).await;
    let mut session = BENCH.open().await;
    BENCH
        .client()
        .await
        .query_drop(format!("ALTER USER '{name}'@'%' ACCOUNT LOCK"))
        .await
        .unwrap();
    assert_eq!(BENCH.login(&name, &secret).await, Login::CantTell);
    assert!(matches!(
        session.account(&name).await,
        AccountState::Barred(_)
    ));
}

#[tokio::test]
async fn an_account_that_is_being_changed_elsewhere_is_throttled() {
    let (name, old, new) = (account(), password(), password());
    BENCH.create(&name, &old).await;
    let mut holder = BENCH.client().await;
    holder
        .query_drop("LOCK TABLES mysql.global_priv WRITE")
        .await
        .unwrap();
    let mut session_target = BENCH.target();
    session_target.concurrency = 1;
    let mut session = BENCH.open_at(&session_target).await;
    let outcome = session
        .apply(&change(Strategy::InPlace, &name, &new, None))
        .await;
    holder.query_drop("UNLOCK TABLES").await.unwrap();
    // Out of time while waiting is either known to be harmless or is left open; never "done".
    assert!(
        matches!(outcome, Outcome::Throttled(_) | Outcome::Unknown(_)),
        "{outcome:?}"
    );
    assert_eq!(BENCH.login(&name, &old).await, Login::Works);
    assert_eq!(BENCH.login(&name, &new).await, Login::Fails);
}
