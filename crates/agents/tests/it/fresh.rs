//! What is kept in memory is never older than the last answered change.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use pentad_agents::{
    Caller, Fault,
    operations::{Login, NewToken},
};
use pentad_model::{
    Kind, Secret, Tenant, Verb,
    access::{Effect, Role, Rule},
};

use crate::world::World;

fn role(verbs: Vec<Verb>) -> Role {
    Role {
        name: "team".parse().unwrap(),
        description: String::new(),
        rules: vec![Rule {
            effect: Effect::Allow,
            paths: vec!["team/**".to_owned()],
            verbs,
        }],
    }
}

async fn authenticated(world: &World, token: &Secret) -> Result<Caller, Fault> {
    let tenant = Tenant::default_tenant();
    let correlation = world.pentad.correlation();
    world
        .pentad
        .authenticate(token, &tenant, "127.0.0.1", correlation)
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_reads_a_version_older_than_the_last_answered_put() {
    let world = Arc::new(World::new().await);
    world
        .put("team/a", Kind::Secret, "value-number-000001")
        .await;
    let (answered, over) = (
        Arc::new(AtomicU32::new(1)),
        Arc::new(AtomicBool::new(false)),
    );
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (world, answered, over) = (world.clone(), answered.clone(), over.clone());
            tokio::spawn(async move {
                let (admin, path) = (world.admin(), "team/a".parse().unwrap());
                let mut reads = 0u32;
                while !over.load(Ordering::Acquire) {
                    let least = answered.load(Ordering::Acquire);
                    let read = world.pentad.read(&admin, &path, None).await.unwrap();
                    let seen = read.of.number;
                    assert!(seen >= least, "version {seen} after {least} was answered");
                    // The value is that of the version.
                    let expected = Secret::new(format!("value-number-{seen:06}"));
                    assert_eq!(read.value, expected);
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    for number in 2..200 {
        let value = format!("value-number-{number:06}");
        world.put("team/a", Kind::Secret, &value).await;
        answered.store(number, Ordering::Release);
    }
    over.store(true, Ordering::Release);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_with_its_revocation() {
    let world = World::new().await;
    let new = NewToken {
        name: "ci".parse().unwrap(),
        roles: vec!["reader".parse().unwrap()],
        ttl: None,
    };
    let admin = world.admin();
    let issued = world.pentad.create_token(&admin, new).await.unwrap();
    for _ in 0..2 {
        authenticated(&world, &issued.secret).await.unwrap();
    }
    let id = issued.token.id;
    world.pentad.revoke_token(&admin, id).await.unwrap();
    let refused = authenticated(&world, &issued.secret).await;
    assert!(matches!(refused, Err(Fault::Unauthenticated { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_as_it_was_last_written_and_gone_when_removed() {
    let world = World::new().await;
    let (admin, path) = (world.admin(), "team/a".parse().unwrap());
    let allows = async |secret: &Secret| {
        let caller = authenticated(&world, secret).await.unwrap();
        caller.rights.access.allows(Verb::Read, &path)
    };
    let new = NewToken {
        name: "ci".parse().unwrap(),
        roles: vec!["team".parse().unwrap()],
        ttl: None,
    };
    let put = async |verbs| world.pentad.put_role(&admin, role(verbs)).await.unwrap();
    put(vec![Verb::Read]).await;
    let issued = world.pentad.create_token(&admin, new).await.unwrap();
    assert!(allows(&issued.secret).await);
    put(vec![Verb::List]).await;
    assert!(!allows(&issued.secret).await);
    put(vec![Verb::Read]).await;
    assert!(allows(&issued.secret).await);
    let name = "team".parse().unwrap();
    world.pentad.remove_role(&admin, &name).await.unwrap();
    assert!(!allows(&issued.secret).await);
    // One that was not there when the token was first seen.
    put(vec![Verb::Read]).await;
    assert!(allows(&issued.secret).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_ends_with_its_user() {
    let world = World::new().await;
    let admin = world.admin();
    let name: pentad_model::Name = "ann".parse().unwrap();
    let login = || Login {
        user: name.clone(),
        password: Secret::new("correct horse battery staple"),
    };
    let roles = vec!["reader".parse().unwrap()];
    let made = world.pentad.put_user(&admin, login(), roles);
    made.await.unwrap();
    let tenant = Tenant::default_tenant();
    let correlation = world.pentad.correlation();
    let logged_in = world
        .pentad
        .login(login(), &tenant, "127.0.0.1", correlation);
    let issued = logged_in.await.unwrap();
    authenticated(&world, &issued.secret).await.unwrap();
    world.pentad.remove_user(&admin, &name).await.unwrap();
    assert!(authenticated(&world, &issued.secret).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_credential_is_gone_and_a_restored_one_is_back() {
    let world = World::new().await;
    world.put("team/a", Kind::Secret, "value-of-A-11").await;
    let (admin, path) = (world.admin(), "team/a".parse().unwrap());
    world.pentad.read(&admin, &path, None).await.unwrap();
    world.pentad.delete(&admin, &path, None).await.unwrap();
    let gone = world.pentad.read(&admin, &path, None).await;
    assert!(matches!(gone, Err(Fault::Missing { .. })), "{gone:?}");
    world.pentad.restore(&admin, &path).await.unwrap();
    world.pentad.read(&admin, &path, None).await.unwrap();
}
