//! What only Redis has: users that are off, that take any password, and that must be saved.

use pentad_connectors::{AccountState, Admin, Outcome, registry};
use pentad_model::{
    Secret,
    rotation::{Login, Strategy},
};

use crate::bench::{Bench as _, Redis, account, change, env, is_stop, password};

const BENCH: Redis = Redis;

#[tokio::test]
async fn a_user_that_takes_any_password_takes_one_only_afterwards() {
    let (name, new) = (account(), password());
    BENCH.set_user(&name, &["on", "nopass", "+@all"]).await;
    assert_eq!(BENCH.login(&name, &password()).await, Login::Works);
    let mut session = BENCH.open().await;
    let complaints = session.check(&name, Strategy::Overlap).await;
    assert!(
        complaints
            .iter()
            .any(|c| c.problem.contains("any password"))
    );
    for strategy in [Strategy::Overlap, Strategy::InPlace] {
        BENCH.set_user(&name, &["nopass"]).await;
        let outcome = session.apply(&change(strategy, &name, &new, None)).await;
        assert_eq!(outcome, Outcome::Done);
        assert_eq!(BENCH.login(&name, &new).await, Login::Works);
        assert_eq!(BENCH.login(&name, &password()).await, Login::Fails);
    }
}

#[tokio::test]
async fn a_user_that_is_off_is_barred() {
    let (name, secret) = (account(), password());
    BENCH.create(&name, &secret).await;
    BENCH.set_user(&name, &["off"]).await;
    assert_eq!(BENCH.login(&name, &secret).await, Login::Fails);
    let mut session = BENCH.open().await;
    assert!(matches!(
        session.account(&name).await,
        AccountState::Barred(_)
    ));
}

#[tokio::test]
async fn a_change_is_in_the_acl_file_when_it_is_done() {
    let (name, old, new) = (account(), password(), password());
    BENCH.create(&name, &old).await;
    let mut session = BENCH.open().await;
    let outcome = session
        .apply(&change(Strategy::InPlace, &name, &new, None))
        .await;
    assert_eq!(outcome, Outcome::Done);
    let file = std::path::PathBuf::from(env("PENTAD_TEST_REDIS_LOG")).with_file_name("users.acl");
    let saved = std::fs::read_to_string(file).unwrap();
    let line = saved
        .lines()
        .find(|line| line.contains(&name))
        .expect("saved");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, new.expose());
    assert!(line.contains(&format!("#{}", hex::encode(hash.as_ref()))));
    assert_eq!(
        line.matches('#').count(),
        1,
        "the old one is gone there too"
    );
}

/// A server of its own that has nowhere to save users.
struct Forgetful {
    child: std::process::Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl Drop for Forgetful {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Forgetful {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let child = std::process::Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--dir"])
            .arg(directory.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let this = Self {
            child,
            address: format!("127.0.0.1:{port}"),
            _directory: directory,
        };
        while tokio::net::TcpStream::connect(&this.address).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        this
    }
}

#[tokio::test]
async fn a_change_that_can_not_be_saved_is_taken_back() {
    let server = Forgetful::start().await;
    let (name, old, other, new) = (account(), password(), password(), password());
    let mut client = redis::Client::open(format!("redis://{}", server.address))
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    for (user, secrets) in [(name.as_str(), [&old, &other]), ("keeper", [&old, &old])] {
        redis::cmd("ACL")
            .arg("SETUSER")
            .arg(user)
            .arg(&["on", "+@all"])
            .arg(
                secrets
                    .map(|s| format!(">{}", s.expose_str().unwrap()))
                    .as_slice(),
            )
            .exec_async(&mut client)
            .await
            .unwrap();
    }
    let redis = registry::by_name("redis").unwrap();
    let mut target = BENCH.target();
    target.address = server.address.clone();
    let admin = Admin {
        account: "keeper",
        password: Some(&old),
    };
    let mut session = redis.open(&target, admin).await.unwrap();
    let outcome = session
        .apply(&change(Strategy::InPlace, &name, &new, None))
        .await;
    assert!(is_stop(&outcome), "{outcome:?}");
    let login = async |secret: &Secret| redis.login(&target, &name, secret).await.login;
    assert_eq!(login(&old).await, Login::Works);
    assert_eq!(login(&other).await, Login::Works);
    assert_eq!(login(&new).await, Login::Fails);

    // Unless that is how it is meant to be.
    target.options.insert("persist".into(), "no".into());
    let mut session = redis.open(&target, admin).await.unwrap();
    let outcome = session
        .apply(&change(Strategy::InPlace, &name, &new, None))
        .await;
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(redis.login(&target, &name, &new).await.login, Login::Works);
}
