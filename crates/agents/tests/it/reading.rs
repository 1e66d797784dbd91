//! Storing, reading, and what is on record of it.

use pentad_agents::{
    Fault,
    contract::monitoring::AuditQuery,
    operations::{Put, Value},
};
use pentad_model::{Kind, Secret, Stage};
use pentad_store::CredentialQuery;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_value_comes_back_and_its_read_is_on_record() {
    let world = World::new().await;
    world
        .put("prod/api", Kind::Secret, "ex-Parrot-9000-unlikely")
        .await;
    assert_eq!(world.get("prod/api").await, "ex-Parrot-9000-unlikely");
    let query = AuditQuery {
        path: Some("prod/api".parse().unwrap()),
        limit: 10,
        ..AuditQuery::default()
    };
    let page = world
        .pentad
        .audit_page(&world.admin(), query)
        .await
        .unwrap();
    let actions: Vec<&str> = page
        .records
        .iter()
        .map(|(_, r)| r.action.as_str())
        .collect();
    assert!(actions.contains(&"credential.read"), "{actions:?}");
    let read = page
        .records
        .iter()
        .find(|(_, r)| r.action == "credential.read")
        .unwrap();
    assert!(read.1.value_mac.is_some());
    assert_eq!(read.1.principal, "local:tester");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_survives_a_restart() {
    let world = World::new().await;
    world.put("a", Kind::Secret, "first-Value-11").await;
    world.put("a", Kind::Secret, "second-Value-22").await;
    let world = world.restarted().await;
    assert_eq!(world.get("a").await, "second-Value-22");
    let history = world
        .pentad
        .history(&world.admin(), &"a".parse().unwrap(), None, 10)
        .await
        .unwrap();
    let stages: Vec<Stage> = history.items.iter().map(|v| v.stage).collect();
    assert_eq!(stages, [Stage::Current, Stage::Retired]);
    assert!(history.items.iter().all(|v| v.sealed.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_path_names_the_nearest() {
    let world = World::new().await;
    world
        .put("prod/orders/db", Kind::Secret, "some-Value-11")
        .await;
    let missing = world
        .pentad
        .read(&world.admin(), &"prod/order/db".parse().unwrap(), None)
        .await;
    match missing.unwrap_err() {
        Fault::Missing { nearest, .. } => assert_eq!(nearest.as_deref(), Some("prod/orders/db")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weak_password_is_refused_and_leaves_nothing() {
    let world = World::new().await;
    let put = Put {
        kind: Some(Kind::Password),
        value: Some(Value::Given(Secret::new("password123"))),
        ..Put::default()
    };
    let path = "weak".parse().unwrap();
    let refused = world.pentad.put(&world.admin(), &path, put).await;
    match refused.unwrap_err() {
        Fault::Refused { assessment } => assert!(!assessment.findings.is_empty()),
        other => panic!("{other:?}"),
    }
    assert!(world.pentad.describe(&world.admin(), &path).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_value_of_every_kind_pleases_its_own_policy() {
    let world = World::new().await;
    for kind in Kind::ALL
        .iter()
        .filter(|kind| kind.profile().generator.is_some())
    {
        let put = Put {
            kind: Some(*kind),
            value: Some(Value::Generated),
            ..Put::default()
        };
        let path = format!("made/{kind}").parse().unwrap();
        let stored = world.pentad.put(&world.admin(), &path, put).await.unwrap();
        assert!(stored.assessment.unwrap().accepted, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slower_of_two_editors_is_told() {
    let world = World::new().await;
    let stored = world.put("a", Kind::Secret, "first-Value-11").await;
    let edit = |expect| Put {
        description: Some("mine".to_owned()),
        expect: Some(expect),
        ..Put::default()
    };
    let path = "a".parse().unwrap();
    let seen = stored.credential.revision;
    world
        .pentad
        .put(&world.admin(), &path, edit(seen))
        .await
        .unwrap();
    let late = world.pentad.put(&world.admin(), &path, edit(seen)).await;
    assert!(matches!(late, Err(Fault::Conflict { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_one_credential_that_name_no_revision_all_succeed() {
    let world = World::new().await;
    world.put("a", Kind::Secret, "first-Value-11").await;
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let (pentad, admin) = (world.pentad.clone(), world.admin());
            tokio::spawn(async move {
                let put = Put {
                    value: Some(Value::Given(Secret::new(format!("next-Value-{writer}-x7")))),
                    ..Put::default()
                };
                pentad.put(&admin, &"a".parse().unwrap(), put).await
            })
        })
        .collect();
    let mut numbers = Vec::new();
    for writer in writers {
        let stored = writer.await.unwrap().unwrap();
        numbers.push(stored.credential.current.unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=17).collect::<Vec<_>>(), "a version each");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_is_unreadable_until_restored() {
    let world = World::new().await;
    let path = "a".parse().unwrap();
    world.put("a", Kind::Secret, "first-Value-11").await;
    world
        .pentad
        .delete(&world.admin(), &path, None)
        .await
        .unwrap();
    assert!(
        world
            .pentad
            .read(&world.admin(), &path, None)
            .await
            .is_err()
    );
    let query = CredentialQuery::below("default".parse().unwrap(), "", 10);
    assert!(
        world
            .pentad
            .list(&world.admin(), query)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    world.pentad.restore(&world.admin(), &path).await.unwrap();
    assert_eq!(world.get("a").await, "first-Value-11");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_proves_what_came_before_it() {
    let world = World::new().await;
    world.put("a", Kind::Secret, "first-Value-11").await;
    let signed = world.pentad.checkpoint(&world.admin()).await.unwrap();
    assert!(signed.size > 0);
    world.get("a").await;
    let later = world.pentad.checkpoint(&world.admin()).await.unwrap();
    assert!(later.size > signed.size);
    let proof = world
        .pentad
        .consistency(&world.admin(), signed.size, later.size)
        .await
        .unwrap();
    assert!(!proof.hashes.is_empty());
    let dir = world.dir.path().join("audit");
    let kept = pentad_store::audit::Checkpoint::parse_unverified(&signed.note).unwrap();
    let world = world.restarted().await;
    drop(world.pentad);
    let report = pentad_store::audit::verify(&dir, &[kept]).unwrap();
    assert!(report.is_intact(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_ones_own_judges_and_never_vanishes_silently() {
    let world = World::new().await;
    let name = "long".parse::<pentad_model::Name>().unwrap();
    let policy = pentad_policy::CredentialPolicy {
        min_length: 40,
        ..pentad_policy::CredentialPolicy::named(name.clone())
    };
    world
        .pentad
        .put_policy(&world.admin(), policy)
        .await
        .unwrap();
    let put = |value: &str| Put {
        kind: Some(Kind::Secret),
        policy: Some(name.clone()),
        value: Some(Value::Given(Secret::new(value))),
        ..Put::default()
    };
    let path = "a".parse().unwrap();
    let short = world
        .pentad
        .put(&world.admin(), &path, put("Kw8-vR3_tY6.qZ1-mN4x"))
        .await;
    assert!(matches!(short, Err(Fault::Refused { .. })));
    let long = "Kw8-vR3_tY6.qZ1-mN4x-Kj2_hG7.fD9-sA5pLo0zX";
    world
        .pentad
        .put(&world.admin(), &path, put(long))
        .await
        .unwrap();
    world
        .pentad
        .remove_policy(&world.admin(), &name)
        .await
        .unwrap();
    let without = world
        .pentad
        .put(&world.admin(), &path, put(&format!("{long}9")))
        .await;
    assert!(matches!(without, Err(Fault::Invalid { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pointer_moved_in_the_store_does_not_bring_an_old_value_back() {
    let world = World::new().await;
    world.put("a", Kind::Secret, "first-Value-11").await;
    let credential = world
        .put("a", Kind::Secret, "second-Value-22")
        .await
        .credential;
    let expect = credential.revision;
    let moved = pentad_model::Credential {
        current: Some(1),
        revision: expect + 1,
        ..credential
    };
    let world = world
        .tampered(pentad_store::Op::UpdateCredential {
            credential: moved,
            expect,
        })
        .await;
    let path = "a".parse().unwrap();
    let read = world.pentad.read(&world.admin(), &path, None).await;
    assert!(matches!(read, Err(Fault::Damaged { .. })), "{read:?}");
    let by_number = world
        .pentad
        .read(&world.admin(), &path, Some(2))
        .await
        .unwrap();
    assert_eq!(by_number.value.expose_str(), Some("second-Value-22"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_target_may_hold_is_not_destroyed() {
    let world = World::new().await;
    let path: pentad_model::Path = "a".parse().unwrap();
    world.put("a", Kind::Secret, "first-Value-11").await;
    world.put("a", Kind::Secret, "second-Value-22").await;
    let mut version = world
        .pentad
        .history(&world.admin(), &path, None, 1)
        .await
        .unwrap()
        .items[0]
        .clone();
    version.number = 3;
    version.stage = Stage::Abandoned;
    version.sealed = Some(pentad_model::Sealed::from_bytes(vec![1]));
    let world = world
        .tampered(pentad_store::Op::AddVersion { version })
        .await;
    let kept = world.pentad.destroy(&world.admin(), &path, 3).await;
    assert!(matches!(kept, Err(Fault::Conflict { .. })), "{kept:?}");
    let current = world.pentad.destroy(&world.admin(), &path, 2).await;
    assert!(
        matches!(current, Err(Fault::Conflict { .. })),
        "{current:?}"
    );
    world
        .pentad
        .destroy(&world.admin(), &path, 1)
        .await
        .unwrap();
    assert!(
        world
            .pentad
            .read(&world.admin(), &path, Some(1))
            .await
            .is_err()
    );
}
