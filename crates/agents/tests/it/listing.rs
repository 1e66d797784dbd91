//! Listings of rotations: bounded, and complete for who has to act.

use pentad_agents::Caller;
use pentad_model::{
    Id, Rotation, Tenant, Verb,
    access::{Effect, Role, Rule},
    rotation::{Control, NEVER, Step},
};
use pentad_store::{Op, RotationQuery};

use crate::{access::bearer, rotating::rotated, world::World};

fn all(limit: usize) -> RotationQuery {
    RotationQuery {
        tenant: Tenant::default_tenant(),
        path: None,
        batch: None,
        unfinished: false,
        step: None,
        for_a_person: false,
        before: None,
        limit,
    }
}

async fn somebody(world: &World, name: &str, paths: &str, verb: Verb) -> Caller {
    let role = Role {
        name: name.parse().unwrap(),
        description: String::new(),
        rules: vec![Rule {
            effect: Effect::Allow,
            paths: vec![paths.to_owned()],
            verbs: vec![verb],
        }],
    };
    world.pentad.put_role(&world.admin(), role).await.unwrap();
    bearer(world, name).await
}

/// A rotation that was done, as a pattern for others.
async fn done(world: &World) -> Rotation {
    world
        .env_file(&[("A", "old-value-000A"), ("B", "old-value-000B")])
        .await;
    rotated(world, "app/A").await
}

fn later(pattern: &Rotation, number: u128) -> Rotation {
    Rotation {
        id: Id::from_u128(u128::MAX - number),
        revision: 1,
        ..pattern.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_seen_is_looked_at_within_bounds() {
    let world = World::new().await;
    let pattern = done(&world).await;
    let mine = rotated(&world, "app/B").await;
    let others = (0..2500).map(|n| Op::CreateRotation {
        rotation: later(&pattern, n),
    });
    let world = world.tampered_with(others.collect()).await;
    let narrow = somebody(&world, "narrow", "app/B", Verb::List).await;
    let first = world.pentad.rotations(&narrow, all(10)).await.unwrap();
    assert_eq!(first.items, []);
    assert_eq!(first.next, Some(later(&pattern, 1999).id));
    let on = RotationQuery {
        before: first.next,
        ..all(10)
    };
    let second = world.pentad.rotations(&narrow, on).await.unwrap();
    assert_eq!((second.items, second.next), (vec![mine], None));

    // Who sees all has full pages, and is told where to go on.
    let page = world.pentad.rotations(&world.admin(), all(2)).await;
    let newest = [0, 1].map(|n| later(&pattern, n));
    let page = page.unwrap();
    assert_eq!(
        (&page.items[..], page.next),
        (&newest[..], Some(newest[1].id))
    );

    // Who has nothing to see is told so at once.
    let none = somebody(&world, "none", "**", Verb::Check).await;
    for path in [None, Some("app/A".parse().unwrap())] {
        let query = RotationQuery { path, ..all(10) };
        let page = world.pentad.rotations(&none, query).await.unwrap();
        assert_eq!((page.items, page.next), (Vec::new(), None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_paused_itself_is_among_those_that_wait_for_a_person() {
    for step in [Step::Probing, Step::UndoProbing, Step::Observing] {
        let world = World::new().await;
        let mut paused = later(&done(&world).await, 0);
        paused.progress.step = step;
        (paused.control, paused.resume_at) = (Control::Pause, NEVER);
        paused.reason = Some("permission denied".to_owned());
        let op = Op::CreateRotation {
            rotation: paused.clone(),
        };
        let world = world.tampered(op).await;
        let waiting = || async {
            let page = world
                .pentad
                .rotations_for_a_person(&world.admin(), all(10))
                .await
                .unwrap();
            page.items.iter().map(|it| it.id).collect::<Vec<_>>()
        };
        assert_eq!(waiting().await, [paused.id], "{step}");
        world
            .pentad
            .steer(&world.admin(), paused.id, Control::Run)
            .await
            .unwrap();
        assert!(!waiting().await.contains(&paused.id), "{step}");
    }
}
