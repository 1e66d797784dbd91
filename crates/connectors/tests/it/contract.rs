//! What every connector keeps to; see the crate's documentation.

use pentad_connectors::{AccountState, Admin, Cause, Fence, Outcome};
use pentad_model::{
    Secret,
    rotation::{Login, Strategy},
};

use crate::{
    bench::{self, account, change, is_stop, password},
    proxy::{Proxy, contains},
};

/// Whatever way a system has to replace a value.
const IN_PLACE: Strategy = Strategy::InPlace;

#[tokio::test]
async fn a_new_value_works_and_the_old_one_and_a_random_one_fail() {
    for bench in bench::all() {
        let (name, old, new, random) = (account(), password(), password(), password());
        bench.create(&name, &old).await;
        let system = bench.system();
        assert_eq!(bench.login(&name, &old).await, Login::Works, "{system}");

        let mut session = bench.open().await;
        assert_eq!(session.account(&name).await, AccountState::Open, "{system}");
        assert_eq!(session.check(&name, IN_PLACE).await, [], "{system}");
        for time in ["first", "again"] {
            let outcome = session
                .apply(&change(IN_PLACE, &name, &new, Some(&old)))
                .await;
            assert_eq!(outcome, Outcome::Done, "{system}, {time}");
            assert_eq!(
                bench.login(&name, &new).await,
                Login::Works,
                "{system}, {time}"
            );
            assert_eq!(
                bench.login(&name, &old).await,
                Login::Fails,
                "{system}, {time}"
            );
            assert_eq!(
                bench.login(&name, &random).await,
                Login::Fails,
                "{system}, {time}"
            );
        }
        // The old value can be made the only one again, and then none.
        assert_eq!(
            session.retire(&name, Some(&old)).await,
            Outcome::Done,
            "{system}"
        );
        assert_eq!(bench.login(&name, &old).await, Login::Works, "{system}");
        assert_eq!(bench.login(&name, &new).await, Login::Fails, "{system}");
        assert_eq!(session.retire(&name, None).await, Outcome::Done, "{system}");
        for value in [&old, &new, &random] {
            assert_eq!(bench.login(&name, value).await, Login::Fails, "{system}");
        }
    }
}

#[tokio::test]
async fn overlapping_values_both_work_until_one_is_retired() {
    let mut tried = 0;
    for bench in bench::all() {
        if !bench
            .connector()
            .profile()
            .strategies
            .contains(&Strategy::Overlap)
        {
            continue;
        }
        tried += 1;
        let system = bench.system();
        let (name, old, new) = (account(), password(), password());
        bench.create(&name, &old).await;
        let mut session = bench.open().await;
        for time in ["first", "again"] {
            let overlap = change(Strategy::Overlap, &name, &new, Some(&old));
            assert_eq!(session.apply(&overlap).await, Outcome::Done, "{system}");
            assert_eq!(
                bench.login(&name, &old).await,
                Login::Works,
                "{system}, {time}"
            );
            assert_eq!(
                bench.login(&name, &new).await,
                Login::Works,
                "{system}, {time}"
            );
            assert_eq!(
                bench.login(&name, &password()).await,
                Login::Fails,
                "{system}"
            );
        }
        for time in ["first", "again"] {
            let outcome = session.retire(&name, Some(&new)).await;
            assert_eq!(outcome, Outcome::Done, "{system}, {time}");
            assert_eq!(
                bench.login(&name, &new).await,
                Login::Works,
                "{system}, {time}"
            );
            assert_eq!(
                bench.login(&name, &old).await,
                Login::Fails,
                "{system}, {time}"
            );
        }
    }
    assert!(tried >= 2);
}

#[tokio::test]
async fn strategies_that_a_system_lacks_are_refused_and_change_nothing() {
    for bench in bench::all() {
        let (name, old, new) = (account(), password(), password());
        bench.create(&name, &old).await;
        let mut session = bench.open().await;
        for strategy in [Strategy::InPlace, Strategy::Overlap, Strategy::Alternating] {
            if bench.connector().profile().strategies.contains(&strategy) {
                continue;
            }
            let outcome = session
                .apply(&change(strategy, &name, &new, Some(&old)))
                .await;
            assert!(is_stop(&outcome), "{}: {outcome:?}", bench.system());
            assert!(!session.check(&name, strategy).await.is_empty());
            assert_eq!(bench.login(&name, &old).await, Login::Works);
        }
    }
}

#[tokio::test]
async fn a_missing_right_rejects_with_the_grant_and_changes_nothing() {
    for bench in bench::all() {
        let (name, old, new) = (account(), password(), password());
        let (weak, weak_password) = (account(), password());
        bench.create(&name, &old).await;
        if !bench.onlooker(&weak, &weak_password).await {
            continue;
        }
        let system = bench.system();
        let admin = Admin {
            account: &weak,
            password: Some(&weak_password),
        };
        let mut session = bench
            .connector()
            .open(&bench.target(), admin)
            .await
            .unwrap();
        match session
            .apply(&change(IN_PLACE, &name, &new, Some(&old)))
            .await
        {
            Outcome::Rejected(rejection) => {
                assert_eq!(rejection.cause, Cause::Stop, "{system}");
                assert!(
                    rejection.message.contains("grant it: "),
                    "{system}: {rejection:?}"
                );
            }
            other => panic!("{system}: {other:?}"),
        }
        assert!(!session.check(&name, IN_PLACE).await.is_empty(), "{system}");
        assert_eq!(bench.login(&name, &old).await, Login::Works, "{system}");
        assert_eq!(bench.login(&name, &new).await, Login::Fails, "{system}");
    }
}

#[tokio::test]
async fn a_missing_account_is_refused_and_not_created() {
    for bench in bench::all() {
        if !bench.connector().profile().needs_admin {
            continue; // a file is where an account begins
        }
        let (name, new) = (account(), password());
        let mut session = bench.open().await;
        for _ in 0..2 {
            assert_eq!(session.account(&name).await, AccountState::Missing);
            let outcome = session.apply(&change(IN_PLACE, &name, &new, None)).await;
            assert!(is_stop(&outcome), "{}: {outcome:?}", bench.system());
            let outcome = session.retire(&name, None).await;
            assert!(is_stop(&outcome), "{}: {outcome:?}", bench.system());
        }
        assert!(!session.check(&name, IN_PLACE).await.is_empty());
        assert_ne!(bench.login(&name, &new).await, Login::Works);
    }
}

#[tokio::test]
async fn a_lost_reply_is_unknown_and_never_a_refusal() {
    for bench in bench::all() {
        let cut = match bench.system() {
            "postgresql" | "mariadb" => "ALTER",
            "redis" => "SETUSER",
            _ => continue, // no connection that could be lost
        };
        let (name, old, new) = (account(), password(), password());
        bench.create(&name, &old).await;
        let proxy = Proxy::to(&bench.target().address, [127, 0, 0, 1]).await;
        let mut target = bench.target();
        target.address = proxy.address.clone();
        let mut session = bench.open_at(&target).await;
        let connection = session.connection().unwrap().to_owned();
        proxy.cut_after(cut);
        let outcome = session
            .apply(&change(IN_PLACE, &name, &new, Some(&old)))
            .await;
        assert!(
            matches!(outcome, Outcome::Unknown(_)),
            "{}: {outcome:?}",
            bench.system()
        );
        // The way out: fence, then probe. Exactly one of the two values works.
        let mut successor = bench.open().await;
        assert_eq!(successor.fence(&connection).await, Fence::Gone);
        let works = [
            bench.login(&name, &old).await == Login::Works,
            bench.login(&name, &new).await == Login::Works,
        ];
        assert_ne!(works[0], works[1], "{}", bench.system());
    }
}

#[tokio::test]
async fn a_fenced_session_can_do_nothing_any_more() {
    for bench in bench::all() {
        if !bench.connector().profile().fences {
            continue;
        }
        let system = bench.system();
        let (name, old, new) = (account(), password(), password());
        bench.create(&name, &old).await;
        let mut slow = bench.open().await;
        let mut successor = bench.open().await;
        let connection = slow.connection().unwrap().to_owned();
        assert_eq!(successor.fence(&connection).await, Fence::Gone, "{system}");
        let outcome = slow.apply(&change(IN_PLACE, &name, &new, Some(&old))).await;
        assert_ne!(outcome, Outcome::Done, "{system}");
        assert_eq!(bench.login(&name, &old).await, Login::Works, "{system}");
        assert_eq!(bench.login(&name, &new).await, Login::Fails, "{system}");
        assert_eq!(
            successor.fence(&connection).await,
            Fence::Gone,
            "{system}: gone already"
        );
    }
}

#[tokio::test]
async fn a_fence_spares_a_connection_that_only_got_the_same_number() {
    for bench in bench::all() {
        if !bench.connector().profile().fences {
            continue;
        }
        let (name, old, new) = (account(), password(), password());
        bench.create(&name, &old).await;
        let mut bystander = bench.open().await;
        let mut successor = bench.open().await;
        let (number, _) = bystander.connection().unwrap().split_once('/').unwrap();
        let former = format!("{number}/12345");
        assert_eq!(successor.fence(&former).await, Fence::Gone);
        let outcome = bystander
            .apply(&change(IN_PLACE, &name, &new, Some(&old)))
            .await;
        assert_eq!(outcome, Outcome::Done, "{}", bench.system());
        for nonsense in ["", "x", "1", "1;DROP/2", "'/'"] {
            assert_ne!(successor.fence(nonsense).await, Fence::Gone, "{nonsense}");
        }
    }
}

#[tokio::test]
async fn no_password_crosses_when_it_is_set_or_reaches_what_the_server_writes() {
    for bench in bench::all() {
        if !bench.connector().profile().needs_admin {
            continue;
        }
        let system = bench.system();
        let (name, old, new) = (account(), password(), password());
        bench.create(&name, &old).await;
        let proxy = Proxy::to(&bench.target().address, [127, 0, 0, 1]).await;
        let mut target = bench.target();
        target.address = proxy.address.clone();
        let mut session = bench.open_at(&target).await;
        for strategy in bench.connector().profile().strategies {
            if *strategy == Strategy::Alternating {
                continue;
            }
            let outcome = session
                .apply(&change(*strategy, &name, &new, Some(&old)))
                .await;
            assert_eq!(outcome, Outcome::Done, "{system}");
        }
        assert_eq!(session.retire(&name, Some(&new)).await, Outcome::Done);
        assert!(proxy.saw(name.as_bytes()), "{system}: the proxy records");
        for value in [&old, &new] {
            assert!(!proxy.saw(value.expose()), "{system}: a password crossed");
            // Nor without its last part, which statements would write otherwise.
            assert!(
                !proxy.saw(&value.expose()[..24]),
                "{system}: a password crossed"
            );
        }

        assert_eq!(bench.login(&name, &new).await, Login::Works);
        assert_eq!(bench.login(&name, &old).await, Login::Fails);
        let written = bench.written().await;
        assert!(
            contains(&written, name.as_bytes()),
            "{system}: changes are logged"
        );
        assert!(
            !contains(&written, &new.expose()[..24]),
            "{system}: a password was logged"
        );
    }
}

#[tokio::test]
async fn awkward_names_are_taken_as_they_are() {
    for bench in bench::all() {
        let (name, old, new) = (bench.awkward(), password(), password());
        bench.create(&name, &old).await;
        let system = bench.system();
        let mut session = bench.open().await;
        assert_eq!(session.account(&name).await, AccountState::Open, "{system}");
        assert_eq!(session.check(&name, IN_PLACE).await, [], "{system}");
        let outcome = session
            .apply(&change(IN_PLACE, &name, &new, Some(&old)))
            .await;
        assert_eq!(outcome, Outcome::Done, "{system}");
        assert_eq!(bench.login(&name, &new).await, Login::Works, "{system}");
        assert_eq!(bench.login(&name, &old).await, Login::Fails, "{system}");
    }
}

#[tokio::test]
async fn names_that_can_not_be_are_refused() {
    for bench in bench::all() {
        let new = password();
        let mut session = bench.open().await;
        for name in ["", "a\0b", &"x".repeat(300), "no such\nname"] {
            let outcome = session.apply(&change(IN_PLACE, name, &new, None)).await;
            assert!(
                is_stop(&outcome),
                "{}: {name:?}: {outcome:?}",
                bench.system()
            );
        }
    }
}

#[tokio::test]
async fn values_that_can_not_be_ask_for_another_one() {
    for bench in bench::all() {
        let (name, old) = (account(), password());
        bench.create(&name, &old).await;
        let bad = match bench.system() {
            "envfile" => Secret::new([b'a', 0, b'b']),
            _ => Secret::new(""),
        };
        let mut session = bench.open().await;
        match session
            .apply(&change(IN_PLACE, &name, &bad, Some(&old)))
            .await
        {
            Outcome::Rejected(rejection) => assert_eq!(rejection.cause, Cause::Value),
            other => panic!("{}: {other:?}", bench.system()),
        }
        assert_eq!(bench.login(&name, &old).await, Login::Works);
    }
}

#[tokio::test]
async fn an_unreachable_target_can_not_tell() {
    for bench in bench::all() {
        let mut target = bench.target();
        target.address = match bench.system() {
            "envfile" => "/nowhere/at/all.env".into(),
            _ => "127.0.0.1:1".into(), // nothing listens there
        };
        let attempt = bench.connector().login(&target, "A", &password()).await;
        assert_eq!(attempt.login, Login::CantTell, "{}", bench.system());
        assert!(!attempt.note.is_empty());
        let (account, secret) = bench.admin();
        let admin = Admin {
            account: &account,
            password: secret.as_ref(),
        };
        assert!(bench.connector().open(&target, admin).await.is_err());
    }
}

#[tokio::test]
async fn settings_that_can_not_work_are_refused_before_reaching_out() {
    for bench in bench::all() {
        let connector = bench.connector();
        connector.validate(&bench.target()).unwrap();
        let mut misspelt = bench.target();
        misspelt.options.insert("databse".into(), "x".into());
        assert!(connector.validate(&misspelt).is_err());
        for address in ["", "somewhere", "relative/path"] {
            let mut target = bench.target();
            target.address = address.into();
            assert!(connector.validate(&target).is_err(), "{}", bench.system());
        }
        if connector.profile().needs_admin {
            let mut bare = bench.target();
            bare.address = "db.example:5432".into();
            let message = connector.validate(&bare).unwrap_err().to_string();
            assert!(message.contains("needs TLS"), "{message}");
        }
    }
}
