//! Tokens, users, roles, tenants.

use std::{sync::Arc, time::Duration};

use pentad_agents::{
    Caller, Fault,
    operations::{Login, NewToken},
};
use pentad_model::{
    Kind, Secret, Tenant, Timestamp, Verb,
    access::{Effect, Role, Rule},
    clock::ManualClock,
};

use crate::world::World;

pub(crate) async fn bearer(world: &World, role: &str) -> Caller {
    let new = NewToken {
        name: "ci".parse().unwrap(),
        roles: vec![role.parse().unwrap()],
        ttl: Some(Duration::from_secs(600)),
    };
    let issued = world
        .pentad
        .create_token(&world.admin(), new)
        .await
        .unwrap();
    authenticated(world, &issued.secret, &Tenant::default_tenant())
        .await
        .unwrap()
}

async fn authenticated(world: &World, token: &Secret, tenant: &Tenant) -> Result<Caller, Fault> {
    world
        .pentad
        .authenticate(token, tenant, "127.0.0.1", world.pentad.correlation())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_role_sees_its_own_and_nothing_else() {
    let world = World::new().await;
    world.put("team/a", Kind::Secret, "value-of-A-11").await;
    world.put("other/b", Kind::Secret, "value-of-B-22").await;
    let role = Role {
        name: "team".parse().unwrap(),
        description: String::new(),
        rules: vec![Rule {
            effect: Effect::Allow,
            paths: vec!["team/**".to_owned()],
            verbs: vec![Verb::List, Verb::Read],
        }],
    };
    world.pentad.put_role(&world.admin(), role).await.unwrap();
    let caller = bearer(&world, "team").await;
    assert!(
        world
            .pentad
            .read(&caller, &"team/a".parse().unwrap(), None)
            .await
            .is_ok()
    );
    let denied = world
        .pentad
        .read(&caller, &"other/b".parse().unwrap(), None)
        .await;
    assert!(matches!(denied, Err(Fault::Denied { .. })));
    let unknown = world
        .pentad
        .read(&caller, &"other/c".parse().unwrap(), None)
        .await;
    assert!(
        matches!(unknown, Err(Fault::Denied { .. })),
        "existence must not show"
    );
    let query = pentad_store::CredentialQuery::below(Tenant::default_tenant(), "", 10);
    let seen = world.pentad.list(&caller, query).await.unwrap();
    assert_eq!(seen.items.len(), 1);
    let query = pentad_agents::contract::monitoring::AuditQuery::default();
    assert!(world.pentad.audit_page(&caller, query).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_at_once() {
    let world = World::new().await;
    let new = NewToken {
        name: "ci".parse().unwrap(),
        roles: vec!["reader".parse().unwrap()],
        ttl: None,
    };
    let issued = world
        .pentad
        .create_token(&world.admin(), new)
        .await
        .unwrap();
    let tenant = Tenant::default_tenant();
    assert!(authenticated(&world, &issued.secret, &tenant).await.is_ok());
    world
        .pentad
        .revoke_token(&world.admin(), issued.token.id)
        .await
        .unwrap();
    let refused = authenticated(&world, &issued.secret, &tenant).await;
    assert!(matches!(refused, Err(Fault::Unauthenticated { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_a_password_locks_the_user_out() {
    let world = World::new().await;
    let (user, tenant) = ("ann", Tenant::default_tenant());
    let login = |password: &str| Login {
        user: user.parse().unwrap(),
        password: Secret::new(password),
    };
    let right = "correct horse battery";
    world
        .pentad
        .put_user(
            &world.admin(),
            login(right),
            vec!["reader".parse().unwrap()],
        )
        .await
        .unwrap();
    let correlation = world.pentad.correlation();
    let issued = world
        .pentad
        .login(login(right), &tenant, "x", correlation)
        .await
        .unwrap();
    assert!(authenticated(&world, &issued.secret, &tenant).await.is_ok());
    for _ in 0..5 {
        let wrong = world
            .pentad
            .login(login("wrong wrong wrong"), &tenant, "x", correlation)
            .await;
        assert!(matches!(wrong, Err(Fault::Unauthenticated { .. })));
    }
    let locked = world
        .pentad
        .login(login(right), &tenant, "x", correlation)
        .await;
    assert!(matches!(locked, Err(Fault::LockedOut { .. })), "{locked:?}");
    world
        .pentad
        .unlock_user(&world.admin(), &user.parse().unwrap())
        .await
        .unwrap();
    assert!(
        world
            .pentad
            .login(login(right), &tenant, "x", correlation)
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenants_token_is_nothing_to_another() {
    let world = World::new().await;
    let acme: Tenant = "acme".parse().unwrap();
    world
        .pentad
        .create_tenant(&world.admin(), &acme)
        .await
        .unwrap();
    let inside = world
        .pentad
        .local(&acme, "tester", world.pentad.correlation())
        .unwrap();
    let put = pentad_agents::operations::Put {
        kind: Some(Kind::Secret),
        value: Some(pentad_agents::operations::Value::Given(Secret::new(
            "acmes-Own-77",
        ))),
        ..Default::default()
    };
    world
        .pentad
        .put(&inside, &"a".parse().unwrap(), put)
        .await
        .unwrap();
    assert!(
        world
            .pentad
            .read(&world.admin(), &"a".parse().unwrap(), None)
            .await
            .is_err()
    );
    let new = NewToken {
        name: "t".parse().unwrap(),
        roles: vec!["admin".parse().unwrap()],
        ttl: None,
    };
    let issued = world
        .pentad
        .create_token(&world.admin(), new)
        .await
        .unwrap();
    assert!(authenticated(&world, &issued.secret, &acme).await.is_err());
}

fn ann(password: &str) -> Login {
    Login {
        user: "ann".parse().unwrap(),
        password: Secret::new(password),
    }
}

const RIGHT: &str = "correct horse battery";

async fn ann_exists(world: &World, role: &str) {
    world
        .pentad
        .put_user(&world.admin(), ann(RIGHT), vec![role.parse().unwrap()])
        .await
        .unwrap();
}

async fn ann_logs_in(world: &World, password: &str) -> Result<Secret, Fault> {
    let (tenant, id) = (Tenant::default_tenant(), world.pentad.correlation());
    world
        .pentad
        .login(ann(password), &tenant, "x", id)
        .await
        .map(|issued| issued.secret)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_users_login_ends_and_a_new_user_of_that_name_does_not_inherit_it() {
    // At one moment: nodes' clocks differ, and clocks are set back.
    let world = World::at(Arc::new(ManualClock::at(Timestamp(1_800_000_000_000)))).await;
    let tenant = Tenant::default_tenant();
    ann_exists(&world, "reader").await;
    let login = ann_logs_in(&world, RIGHT).await.unwrap();
    world
        .pentad
        .remove_user(&world.admin(), &"ann".parse().unwrap())
        .await
        .unwrap();
    assert!(matches!(
        authenticated(&world, &login, &tenant).await,
        Err(Fault::Unauthenticated { .. })
    ));
    ann_exists(&world, "admin").await;
    assert!(authenticated(&world, &login, &tenant).await.is_err());
    // The same password, given anew, ends what was begun with it too.
    let login = ann_logs_in(&world, RIGHT).await.unwrap();
    assert!(authenticated(&world, &login, &tenant).await.is_ok());
    ann_exists(&world, "admin").await;
    assert!(authenticated(&world, &login, &tenant).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_has_the_roles_that_its_user_has_now() {
    let world = World::new().await;
    let tenant = Tenant::default_tenant();
    world.put("a", Kind::Secret, "value-of-A-11").await;
    let rule = |verbs: &[Verb]| Role {
        name: "changing".parse().unwrap(),
        description: String::new(),
        rules: vec![Rule {
            effect: Effect::Allow,
            paths: vec!["**".to_owned()],
            verbs: verbs.to_vec(),
        }],
    };
    world
        .pentad
        .put_role(&world.admin(), rule(&[Verb::Read]))
        .await
        .unwrap();
    ann_exists(&world, "changing").await;
    let login = ann_logs_in(&world, RIGHT).await.unwrap();
    let path = "a".parse().unwrap();
    let caller = authenticated(&world, &login, &tenant).await.unwrap();
    assert!(world.pentad.read(&caller, &path, None).await.is_ok());
    world
        .pentad
        .put_role(&world.admin(), rule(&[Verb::List]))
        .await
        .unwrap();
    let caller = authenticated(&world, &login, &tenant).await.unwrap();
    assert!(matches!(
        world.pentad.read(&caller, &path, None).await,
        Err(Fault::Denied { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn right_passwords_given_at_once_lock_nobody_out() {
    let world = World::new().await;
    ann_exists(&world, "reader").await;
    let logins = (0..20).map(|_| ann_logs_in(&world, RIGHT));
    for answer in futures::future::join_all(logins).await {
        assert!(answer.is_ok(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_made_at_once_are_counted_one_by_one() {
    let world = World::new().await;
    ann_exists(&world, "reader").await;
    let guesses = (0..20).map(|_| ann_logs_in(&world, "wrong wrong wrong"));
    let answers = futures::future::join_all(guesses).await;
    let looked_at = answers
        .iter()
        .filter(|a| matches!(a, Err(Fault::Unauthenticated { .. })))
        .count();
    assert!(looked_at <= 5, "{looked_at} passwords were looked at");
    let right = ann_logs_in(&world, RIGHT).await;
    assert!(matches!(right, Err(Fault::LockedOut { .. })), "{right:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_hands_out_more_than_they_have() {
    let world = World::new().await;
    let role = |name: &str, effect, verbs: &[Verb]| Role {
        name: name.parse().unwrap(),
        description: String::new(),
        rules: vec![Rule {
            effect,
            paths: vec!["**".to_owned()],
            verbs: verbs.to_vec(),
        }],
    };
    let manager = role("manager", Effect::Allow, &[Verb::Admin, Verb::List]);
    world
        .pentad
        .put_role(&world.admin(), manager)
        .await
        .unwrap();
    let no_reading = role("no-reading", Effect::Deny, &[Verb::Read]);
    world
        .pentad
        .put_role(&world.admin(), no_reading)
        .await
        .unwrap();
    let caller = bearer(&world, "manager").await;
    let token = |role: &str| NewToken {
        name: "t".parse().unwrap(),
        roles: vec![role.parse().unwrap()],
        ttl: None,
    };
    let denied = |result: Result<(), Fault>| {
        assert!(matches!(result, Err(Fault::Denied { .. })), "{result:?}");
    };
    denied(
        world
            .pentad
            .create_token(&caller, token("reader"))
            .await
            .map(drop),
    );
    denied(
        world
            .pentad
            .put_user(&caller, ann(RIGHT), vec!["admin".parse().unwrap()])
            .await,
    );
    denied(
        world
            .pentad
            .put_role(&caller, role("x", Effect::Allow, &[Verb::Read]))
            .await,
    );
    denied(
        world
            .pentad
            .put_role(&caller, role("no-reading", Effect::Deny, &[Verb::List]))
            .await,
    );
    denied(
        world
            .pentad
            .remove_role(&caller, &"no-reading".parse().unwrap())
            .await,
    );
    world
        .pentad
        .create_token(&caller, token("manager"))
        .await
        .unwrap();
}
