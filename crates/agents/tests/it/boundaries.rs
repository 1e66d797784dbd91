//! How far a narrow role, a binding and a target reach.

use pentad_agents::{
    Caller, Fault,
    contract::{monitoring::AuditQuery, rotation::Start},
    operations::{Put, Value},
};
use pentad_model::{
    Credential, Kind, Path, Secret, Target, Tenant, Verb,
    access::{Effect, Role, Rule},
    credential::Binding,
    rotation::Step,
};
use pentad_store::{CredentialQuery, Op, RotationQuery};

use crate::{
    access::bearer,
    world::{World, bind},
};

/// Somebody who may do this on these paths, and nothing else.
async fn somebody(world: &World, path: &str, verbs: &[Verb]) -> Caller {
    let role = Role {
        name: "narrow".parse().unwrap(),
        description: String::new(),
        rules: vec![Rule {
            effect: Effect::Allow,
            paths: vec![path.to_owned()],
            verbs: verbs.to_vec(),
        }],
    };
    world.pentad.put_role(&world.admin(), role).await.unwrap();
    bearer(world, "narrow").await
}

fn denied<T: std::fmt::Debug>(result: Result<T, Fault>) {
    assert!(matches!(result, Err(Fault::Denied { .. })), "{result:?}");
}

fn binding(binding: Binding) -> Put {
    Put {
        binding: Some(binding),
        ..Put::default()
    }
}

async fn target(world: &World) -> Target {
    world
        .pentad
        .target(&world.admin(), &"app".parse().unwrap())
        .await
        .unwrap()
}

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

/// A credential without a value.
fn bare(at: &str) -> Credential {
    Credential {
        tenant: Tenant::default_tenant(),
        path: path(at),
        kind: Kind::Secret,
        description: String::new(),
        provider: None,
        tags: Default::default(),
        owner: None,
        depends_on: Vec::new(),
        policy: None,
        generator: None,
        binding: None,
        expires_at: None,
        current: None,
        latest: 0,
        in_doubt: false,
        revision: 1,
        created_at: Default::default(),
        updated_at: Default::default(),
        deleted_at: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_outside_the_named_directories_are_neither_targets_nor_consumers() {
    let world = World::new().await;
    world.env_file(&[("A", "old-value-000A")]).await;
    let outside = tempfile::tempdir().unwrap();
    let elsewhere = outside.path().join("x.env").display().to_string();
    let moved = Target {
        address: elsewhere.clone(),
        ..target(&world).await
    };
    let refused = world.pentad.put_target(&world.admin(), moved).await;
    assert!(matches!(refused, Err(Fault::Invalid { .. })), "{refused:?}");
    let delivered = binding(Binding {
        deliver_to: vec![elsewhere],
        ..bind("A")
    });
    let refused = world
        .pentad
        .put(&world.admin(), &path("app/A"), delivered)
        .await;
    assert!(matches!(refused, Err(Fault::Invalid { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_read_a_credential_decides_where_its_values_go() {
    let world = World::new().await;
    world.env_file(&[("A", "old-value-000A")]).await;
    let writer = somebody(&world, "app/**", &[Verb::List, Verb::Write, Verb::Rotate]).await;
    let out = world.dir.path().join("out").display().to_string();
    let redirected = Binding {
        deliver_to: vec![out],
        ..bind("A")
    };
    denied(
        world
            .pentad
            .put(&writer, &path("app/A"), binding(redirected.clone()))
            .await,
    );
    let adopted = Put {
        value: Some(Value::Given(Secret::new("old-value-000A"))),
        ..binding(redirected)
    };
    denied(world.pentad.adopt(&writer, &path("app/A"), adopted).await);
    let described = Put {
        description: Some("mine".to_owned()),
        ..Put::default()
    };
    world
        .pentad
        .put(&writer, &path("app/A"), described)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_manages_targets_has_accounts_changed_whose_value_nobody_showed() {
    let world = World::new().await;
    world
        .env_file(&[("A", "old-value-000A"), ("ROOT", "old-value-ROOT")])
        .await;
    let verbs = [Verb::List, Verb::Read, Verb::Write, Verb::Rotate];
    let caller = somebody(&world, "mine/**", &verbs).await;
    let seized = |binding| Put {
        kind: Some(Kind::Database),
        value: Some(Value::Given(Secret::new("a-Guess-at-it-771"))),
        binding: Some(binding),
        ..Put::default()
    };
    let owned = Binding {
        owned: true,
        ..bind("ROOT")
    };
    denied(
        world
            .pentad
            .put(&caller, &path("mine/x"), seized(owned))
            .await,
    );
    let twin = Binding {
        alternate: Some("ROOT".to_owned()),
        ..bind("A")
    };
    denied(
        world
            .pentad
            .put(&caller, &path("mine/x"), seized(twin))
            .await,
    );
    // Without either, the value must log in before anything is changed.
    world
        .pentad
        .put(&caller, &path("mine/x"), seized(bind("ROOT")))
        .await
        .unwrap();
    let start = Start {
        paths: vec![path("mine/x")],
        strategy: None,
    };
    let started = world.pentad.rotate(&caller, start).await.unwrap();
    assert_eq!(
        world.ended(started.rotations[0].1).await.progress.step,
        Step::Failed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_led_elsewhere_only_by_who_may_read_what_is_bound_to_it() {
    let world = World::new().await;
    world.env_file(&[("A", "old-value-000A")]).await;
    let manager = somebody(&world, "**", &[Verb::List, Verb::Target]).await;
    let now = target(&world).await;
    let address = world.dir.path().join("other.env").display().to_string();
    denied(
        world
            .pentad
            .put_target(
                &manager,
                Target {
                    address,
                    ..now.clone()
                },
            )
            .await,
    );
    let slower = Target {
        concurrency: 1,
        ..now
    };
    let stored = world.pentad.put_target(&manager, slower).await.unwrap();
    assert_eq!(stored.revision, target(&world).await.revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_not_led_elsewhere_while_rotations_run_there() {
    let world = World::new().await;
    let file = world.env_file(&[("A", "old-value-000A")]).await;
    std::fs::rename(&file, file.with_extension("hidden")).unwrap();
    let start = Start {
        paths: vec![path("app/A")],
        strategy: None,
    };
    let started = world.pentad.rotate(&world.admin(), start).await.unwrap();
    let address = world.dir.path().join("other.env").display().to_string();
    let moved = Target {
        address,
        ..target(&world).await
    };
    let refused = world.pentad.put_target(&world.admin(), moved.clone()).await;
    assert!(
        matches!(refused, Err(Fault::Conflict { .. })),
        "{refused:?}"
    );
    std::fs::rename(file.with_extension("hidden"), &file).unwrap();
    world.ended(started.rotations[0].1).await;
    world
        .pentad
        .put_target(&world.admin(), moved)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_role_pages_through_all_that_is_its_own() {
    let world = World::new().await;
    for number in 10..40 {
        world
            .put(
                &format!("crowd/{number}"),
                Kind::Secret,
                &format!("value-of-{number}-x"),
            )
            .await;
    }
    for own in ["team/a", "team/b", "team/c"] {
        world
            .put(own, Kind::Secret, &format!("value-of-{own}"))
            .await;
    }
    let caller = somebody(&world, "team/**", &[Verb::List, Verb::Check]).await;
    let mut query = CredentialQuery::below(Tenant::default_tenant(), "", 2);
    let first = world.pentad.list(&caller, query.clone()).await.unwrap();
    assert_eq!(
        (first.items.len(), first.next.as_deref()),
        (2, Some("team/b"))
    );
    let checked = world
        .pentad
        .check_page(&caller, query.clone())
        .await
        .unwrap();
    assert_eq!(checked.items[0].path.as_str(), "team/a");
    query.after = first.items.last().map(|last| last.path.clone());
    let second = world.pentad.list(&caller, query).await.unwrap();
    assert_eq!(
        (second.items[0].path.as_str(), second.next),
        ("team/c", None)
    );
}

/// A page that ends among what the caller may not see says where to go on, and no name.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_goes_on_from_where_it_stopped_and_names_nothing_hidden() {
    let world = World::new().await;
    // Of each folder the pattern could want something: each must be looked into.
    let hidden = (0..1500).map(|n| {
        let at = format!("hidden-{n:04}/secret");
        Op::CreateCredential {
            credential: bare(&at),
        }
    });
    let own = Op::CreateCredential {
        credential: bare("zebra/own"),
    };
    let world = world.tampered_with(hidden.chain([own]).collect()).await;
    let caller = somebody(&world, "*/own", &[Verb::List, Verb::Check]).await;
    let mut query = CredentialQuery::below(Tenant::default_tenant(), "", 2);
    let first = world.pentad.list(&caller, query.clone()).await.unwrap();
    assert_eq!(first.items, []);
    let next = first.next.unwrap();
    assert!(next.starts_with('~') && !next.contains("hidden"), "{next}");
    let mut pages = 0;
    let mut next = Some(next);
    let mut seen = Vec::new();
    while let Some(place) = next {
        query.after = Some(world.pentad.place(&caller, &place).await.unwrap());
        let page = world.pentad.list(&caller, query.clone()).await.unwrap();
        seen.extend(page.items.into_iter().map(|it| it.path.to_string()));
        next = page.next;
        pages += 1;
    }
    assert_eq!(seen, ["zebra/own"]);
    assert!(pages < 6, "{pages} pages");

    for forged in ["~", "~AAAA", "~!", "a//b", ""] {
        let refused = world.pentad.place(&caller, forged).await;
        assert!(matches!(refused, Err(Fault::Invalid { .. })), "{forged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotations_id_tells_nothing_to_who_may_not_see_its_credential() {
    let world = World::new().await;
    world.env_file(&[("A", "old-value-000A")]).await;
    let start = Start {
        paths: vec![path("app/A")],
        strategy: None,
    };
    let id = world
        .pentad
        .rotate(&world.admin(), start)
        .await
        .unwrap()
        .rotations[0]
        .1;
    let stranger = somebody(&world, "team/**", &[Verb::List, Verb::Rotate]).await;
    let hidden = world.pentad.rotation(&stranger, id).await.unwrap_err();
    assert!(matches!(hidden, Fault::Missing { .. }) && !hidden.to_string().contains("app/A"));
    let query = RotationQuery {
        tenant: Tenant::default_tenant(),
        path: None,
        batch: None,
        unfinished: false,
        step: None,
        for_a_person: false,
        before: None,
        limit: 10,
    };
    let listed = world
        .pentad
        .rotations(&stranger, query.clone())
        .await
        .unwrap();
    assert!(listed.items.is_empty() && listed.next.is_none());
    assert_eq!(
        world
            .pentad
            .rotations(&world.admin(), query)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_seen_does_not_hide_the_nearest_path() {
    let world = World::new().await;
    world
        .put("team/order-db", Kind::Secret, "value-of-A-11")
        .await;
    world
        .put("team/orders-b", Kind::Secret, "value-of-B-22")
        .await;
    let caller = somebody(&world, "team/order*", &[Verb::Read]).await;
    let hidden = world
        .pentad
        .read(&caller, &path("team/orders-d"), None)
        .await
        .unwrap_err();
    assert!(
        matches!(hidden, Fault::Missing { nearest: None, .. }),
        "{hidden:?}"
    );
    let seeing = somebody(&world, "team/order-*", &[Verb::Read, Verb::List]).await;
    let missing = world
        .pentad
        .read(&seeing, &path("team/order-dbs"), None)
        .await
        .unwrap_err();
    let Fault::Missing { nearest, .. } = missing else {
        panic!("{missing:?}")
    };
    assert_eq!(nearest.as_deref(), Some("team/order-db"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_on_record_and_a_narrow_auditor_sees_its_own_records_only() {
    let world = World::new().await;
    world.put("team/a", Kind::Secret, "value-of-A-11").await;
    world
        .pentad
        .check(&world.admin(), &path("team/a"))
        .await
        .unwrap();
    let auditor = somebody(&world, "team/**", &[Verb::Audit]).await;
    let of = |path: Option<Path>| AuditQuery {
        path,
        limit: 50,
        ..AuditQuery::default()
    };
    let page = world
        .pentad
        .audit_page(&auditor, of(Some(path("team/a"))))
        .await
        .unwrap();
    assert!(
        page.records
            .iter()
            .any(|(_, record)| record.action == "credential.check")
    );
    denied(
        world
            .pentad
            .audit_page(&auditor, of(Some(path("other/b"))))
            .await,
    );
    denied(world.pentad.audit_page(&auditor, of(None)).await);
    let all = world
        .pentad
        .audit_page(&world.admin(), of(None))
        .await
        .unwrap();
    assert!(
        all.records
            .iter()
            .any(|(_, record)| record.action == "audit.read")
    );
}
