//! TLS: the target's CA is trusted, nobody else's, and the name counts.

use pentad_connectors::{Admin, ConnectError, Outcome};
use pentad_model::{
    Target,
    rotation::{Login, Strategy},
    target::Tls,
};

use crate::{
    bench::{self, Bench, account, change, env, password},
    proxy::Proxy,
};

fn with_tls(bench: &dyn Bench, ca: bool) -> Option<Target> {
    let mut target = bench.target();
    target.tls = Tls::Verify;
    let prefix = match bench.system() {
        "postgresql" => "POSTGRES",
        "mariadb" => "MARIADB",
        "redis" => "REDIS",
        _ => return None,
    };
    if prefix == "REDIS" {
        target.address = env("PENTAD_TEST_REDIS_TLS_ADDR");
    }
    let path = env(&format!("PENTAD_TEST_{prefix}_CA"));
    target.ca_pem = ca.then(|| std::fs::read_to_string(path).unwrap());
    Some(target)
}

#[tokio::test]
async fn the_targets_own_ca_is_trusted_by_name_and_by_address() {
    for bench in bench::all() {
        let Some(target) = with_tls(&*bench, true) else {
            continue;
        };
        let (name, old, new) = (account(), password(), password());
        bench.create(&name, &old).await;
        let mut session = bench.open_at(&target).await;
        let outcome = session
            .apply(&change(Strategy::InPlace, &name, &new, None))
            .await;
        assert_eq!(outcome, Outcome::Done, "{}", bench.system());
        let mut by_name = target.clone();
        by_name.address = target.address.replace("127.0.0.1", "localhost");
        for target in [&target, &by_name] {
            let attempt = bench.connector().login(target, &name, &new).await;
            assert_eq!(
                attempt.login,
                Login::Works,
                "{}: {attempt:?}",
                bench.system()
            );
            let attempt = bench.connector().login(target, &name, &old).await;
            assert_eq!(
                attempt.login,
                Login::Fails,
                "{}: {attempt:?}",
                bench.system()
            );
        }
    }
}

#[tokio::test]
async fn an_unknown_ca_or_another_name_is_refused_before_any_password_is_sent() {
    for bench in bench::all() {
        let (Some(unknown), Some(mut other)) = (with_tls(&*bench, false), with_tls(&*bench, true))
        else {
            continue;
        };
        // The certificate does not name 127.0.0.2.
        let proxy = Proxy::to(&other.address, [127, 0, 0, 2]).await;
        other.address = proxy.address.clone();
        let (name, secret) = (account(), password());
        bench.create(&name, &secret).await;
        for target in [unknown, other] {
            let attempt = bench.connector().login(&target, &name, &secret).await;
            assert_eq!(
                attempt.login,
                Login::CantTell,
                "{}: {attempt:?}",
                bench.system()
            );
            let (account, password) = bench.admin();
            let admin = Admin {
                account: &account,
                password: password.as_ref(),
            };
            let error = bench.connector().open(&target, admin).await.err();
            assert!(
                matches!(
                    error,
                    Some(ConnectError::Unreachable { .. } | ConnectError::Settings(_))
                ),
                "{}: {error:?}",
                bench.system()
            );
        }
        assert!(!proxy.saw(name.as_bytes()));
    }
}
