//! Keys that work: what is left behind, and who may have what of them.

use std::time::Duration;

use futures::poll;
use pentad_agents::{
    Caller, Fault,
    operations::{Output, Put, Task, Value},
};
use pentad_model::{
    Kind, Path, Secret, Verb,
    access::{Effect, Role, Rule},
    kind::Generator,
};

use crate::{access::bearer, world::World};

/// A world with a key that signs and encrypts, or one that only signs.
async fn with_key(generator: Generator) -> (World, Path) {
    let world = World::new().await;
    let path: Path = "prod/key".parse().unwrap();
    let put = Put {
        kind: Some(Kind::SigningKey),
        generator: Some(generator),
        value: Some(Value::Generated),
        ..Put::default()
    };
    world.pentad.put(&world.admin(), &path, put).await.unwrap();
    (world, path)
}

/// Somebody who may do this on these paths, and nothing else.
async fn somebody(world: &World, paths: &str, verb: Verb) -> Caller {
    let role = Role {
        name: "narrow".parse().unwrap(),
        description: String::new(),
        rules: vec![Rule {
            effect: Effect::Allow,
            paths: vec![paths.to_owned()],
            verbs: vec![verb],
        }],
    };
    world.pentad.put_role(&world.admin(), role).await.unwrap();
    bearer(world, "narrow").await
}

/// A credential that is no key.
async fn no_key(world: &World) -> Path {
    let path = "prod/password";
    world
        .put(path, Kind::Password, "correct-horse-battery-staple-42")
        .await;
    path.parse().unwrap()
}

fn messages(count: usize, task: impl Fn(Secret) -> Task) -> Vec<Task> {
    (0..count)
        .map(|n| task(Secret::new(format!("message {n}"))))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_fails_leaves_no_plaintext_behind() {
    let (world, ed25519) = with_key(Generator::Ed25519).await;
    let password = no_key(&world).await;
    for (path, tasks) in [
        // No key at all: nothing is done.
        (&password, messages(100, Task::Sign)),
        // A key that can't do this.
        (&ed25519, messages(100, Task::Encrypt)),
        // Done.
        (&ed25519, messages(100, Task::Sign)),
    ] {
        let worked = world
            .pentad
            .work(&world.admin(), path, tasks)
            .await
            .unwrap();
        assert_eq!(worked.len(), 100);
        assert_eq!(world.pentad.under_way(), 0);
    }
    let refused = world
        .pentad
        .public_key(&world.admin(), &password, None)
        .await;
    assert!(matches!(refused, Err(Fault::Invalid { .. })), "{refused:?}");
    assert_eq!(world.pentad.under_way(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_whose_asker_goes_away_leaves_no_plaintext_behind() {
    let (world, ed25519) = with_key(Generator::Ed25519).await;
    let password = no_key(&world).await;
    // What the agent has in hand, it forgets when it is done; what it does not use, nobody keeps.
    for path in [&ed25519, &password] {
        let caller = world.admin();
        let tasks = messages(1000, Task::Sign);
        let mut work = Box::pin(world.pentad.work(&caller, path, tasks));
        // Given up with something under way, or at the latest when the agent was quick.
        while poll!(&mut work).is_pending() {
            if world.pentad.under_way() > 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(work);
        let forgotten = async {
            while world.pentad.under_way() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let within = Duration::from_secs(5);
        assert!(tokio::time::timeout(within, forgotten).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_list_a_key_has_its_public_half_and_can_t_sign() {
    let (world, key) = with_key(Generator::Rsa { bits: 2048 }).await;
    let admin = world.admin();
    let sign = || messages(1, Task::Sign);
    let work = async |caller: &_, tasks| {
        let mut done = world.pentad.work(caller, &key, tasks).await?;
        done.remove(0).map(|worked| worked.output)
    };
    let Ok(Output::Made(signature)) = work(&admin, sign()).await else {
        panic!("not signed");
    };
    let verify = || messages(1, |message| Task::Verify(message, signature.clone()));
    let user = somebody(&world, "prod/*", Verb::Use).await;
    let deploy = somebody(&world, "prod/*", Verb::List).await;
    for caller in [&user, &deploy] {
        assert!(world.pentad.public_key(caller, &key, None).await.is_ok());
        assert!(matches!(
            work(caller, verify()).await,
            Ok(Output::Valid(true))
        ));
    }
    let encrypted = work(&deploy, messages(1, Task::Encrypt)).await;
    let Ok(Output::Made(ciphertext)) = encrypted else {
        panic!("{encrypted:?}");
    };
    let decrypt = || vec![Task::Decrypt(ciphertext.clone())];
    // One private piece makes the whole batch private.
    let mixed = verify().into_iter().chain(sign()).collect();
    for tasks in [sign(), decrypt(), mixed] {
        let refused = work(&deploy, tasks).await;
        assert!(matches!(refused, Err(Fault::Denied { .. })), "{refused:?}");
    }
    assert!(matches!(
        work(&user, decrypt()).await,
        Ok(Output::Plaintext(_))
    ));
    let stranger = somebody(&world, "other/*", Verb::Use).await;
    let refused = world.pentad.public_key(&stranger, &key, None).await;
    assert!(matches!(refused, Err(Fault::Denied { .. })), "{refused:?}");
    assert!(matches!(
        work(&stranger, verify()).await,
        Err(Fault::Denied { .. })
    ));
    assert_eq!(world.pentad.under_way(), 0);
}
