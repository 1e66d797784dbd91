//! Rotations of a real file, from acceptance to the end.

use pentad_agents::{
    Fault,
    contract::rotation::{Resolution, Start},
    operations::{Put, Stored, Value},
};
use pentad_model::{
    Id, Secret, Stage,
    rotation::{Control, Login, Step},
};

use crate::world::{World, bind};

fn start(paths: &[&str]) -> Start {
    Start {
        paths: paths.iter().map(|path| path.parse().unwrap()).collect(),
        strategy: None,
    }
}

pub(crate) async fn rotated(world: &World, path: &str) -> pentad_model::Rotation {
    let started = world
        .pentad
        .rotate(&world.admin(), start(&[path]))
        .await
        .unwrap();
    world.ended(started.rotations[0].1).await
}

fn in_file(file: &std::path::Path, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{name}=")))
        .unwrap();
    line.split_once('=')
        .unwrap()
        .1
        .trim_matches('"')
        .trim_matches('\'')
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn file_and_store_agree_after_a_rotation() {
    let world = World::new().await;
    let file = world.env_file(&[("DB_PASSWORD", "old-value-0001")]).await;
    let rotation = rotated(&world, "app/DB_PASSWORD").await;
    assert_eq!(rotation.progress.step, Step::Done, "{rotation:#?}");
    let now = world.get("app/DB_PASSWORD").await;
    assert_ne!(now, "old-value-0001");
    assert_eq!(in_file(&file, "DB_PASSWORD"), now);
    let path = "app/DB_PASSWORD".parse().unwrap();
    let history = world
        .pentad
        .history(&world.admin(), &path, None, 10)
        .await
        .unwrap();
    let stages: Vec<Stage> = history.items.iter().map(|v| v.stage).collect();
    assert_eq!(stages, [Stage::Current, Stage::Retired]);
    let proof = rotation.evidence.last().unwrap();
    assert_eq!(
        (proof.new, proof.old, proof.control),
        (Login::Works, Login::Fails, Login::Fails)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_all_end_well() {
    let world = World::new().await;
    let names: Vec<String> = (0..100).map(|n| format!("V{n}")).collect();
    let variables: Vec<(&str, &str)> = names
        .iter()
        .map(|name| (name.as_str(), "old-value-0001"))
        .collect();
    let file = world.env_file(&variables).await;
    let paths: Vec<String> = names.iter().map(|name| format!("app/{name}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let started = world
        .pentad
        .rotate(&world.admin(), start(&paths))
        .await
        .unwrap();
    assert_eq!(started.rotations.len(), 100);
    for (path, id) in &started.rotations {
        let rotation = world.ended(*id).await;
        assert_eq!(rotation.progress.step, Step::Done, "{rotation:#?}");
        let name = path.segments().last().unwrap();
        assert_eq!(in_file(&file, name), world.get(path.as_str()).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_stops_a_rotation_before_anything_is_touched_and_adopting_mends_it() {
    let world = World::new().await;
    let file = world.env_file(&[("KEY", "old-value-0001")]).await;
    std::fs::write(&file, "KEY=somebody-elses-33\n").unwrap();
    let rotation = rotated(&world, "app/KEY").await;
    assert_eq!(rotation.progress.step, Step::Failed);
    assert!(rotation.reason.unwrap().contains("drift"));
    assert_eq!(in_file(&file, "KEY"), "somebody-elses-33");
    // Readers are told, and go on being told while nothing better is known.
    let path = "app/KEY".parse().unwrap();
    let admin = world.admin();
    let in_doubt = async || world.pentad.describe(&admin, &path).await.unwrap().in_doubt;
    assert!(in_doubt().await);
    rotated(&world, "app/KEY").await;
    assert!(in_doubt().await);
    let put = |value: &str| Put {
        value: Some(Value::Given(Secret::new(value))),
        binding: Some(bind("KEY")),
        ..Put::default()
    };
    let wrong = world
        .pentad
        .adopt(&world.admin(), &path, put("a-guess-44"))
        .await;
    assert!(matches!(wrong, Err(Fault::Target { .. })));
    world
        .pentad
        .adopt(&world.admin(), &path, put("somebody-elses-33"))
        .await
        .unwrap();
    assert!(!in_doubt().await);
    assert_eq!(rotated(&world, "app/KEY").await.progress.step, Step::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn dependencies_are_rotated_first_and_their_failure_stops_the_rest() {
    let world = World::new().await;
    let file = world
        .env_file(&[("A", "old-value-000A"), ("B", "old-value-000B")])
        .await;
    let needs = Put {
        depends_on: Some(vec!["app/A".parse().unwrap()]),
        ..Put::default()
    };
    world
        .pentad
        .put(&world.admin(), &"app/B".parse().unwrap(), needs)
        .await
        .unwrap();
    let started = world
        .pentad
        .rotate(&world.admin(), start(&["app/B", "app/A"]))
        .await
        .unwrap();
    let ids: Vec<Id> = started.rotations.iter().map(|(_, id)| *id).collect();
    let (first, second) = (world.ended(ids[0]).await, world.ended(ids[1]).await);
    assert_eq!(
        (first.path.as_str(), second.path.as_str()),
        ("app/A", "app/B")
    );
    assert_eq!(
        (first.progress.step, second.progress.step),
        (Step::Done, Step::Done)
    );
    assert!(second.evidence[0].at >= first.updated_at);

    let text = std::fs::read_to_string(&file).unwrap();
    let broken: String = text
        .lines()
        .map(|line| {
            if line.starts_with("A=") {
                "A=drifted-11\n".into()
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    std::fs::write(&file, broken).unwrap();
    let started = world
        .pentad
        .rotate(&world.admin(), start(&["app/B", "app/A"]))
        .await
        .unwrap();
    let ends: Vec<Step> = [
        world.ended(started.rotations[0].1).await.progress.step,
        world.ended(started.rotations[1].1).await.progress.step,
    ]
    .into();
    assert_eq!(ends, [Step::Failed, Step::RolledBack]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_credential_is_rotated_once_at_a_time() {
    let world = World::new().await;
    world.env_file(&[("A", "old-value-000A")]).await;
    let (one, two) = tokio::join!(
        async {
            world
                .pentad
                .rotate(&world.admin(), start(&["app/A"]))
                .await
                .unwrap()
        },
        async {
            world
                .pentad
                .rotate(&world.admin(), start(&["app/A"]))
                .await
                .unwrap()
        },
    );
    assert_eq!(
        one.rotations.len() + two.rotations.len() + one.refused.len() + two.refused.len(),
        2
    );
    for (_, id) in one.rotations.iter().chain(&two.rotations) {
        assert_eq!(world.ended(*id).await.progress.step, Step::Done);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_target_waits_and_a_cancel_ends_it() {
    let world = World::new().await;
    let file = world.env_file(&[("A", "old-value-000A")]).await;
    let hidden = file.with_extension("hidden");
    std::fs::rename(&file, &hidden).unwrap();
    let started = world
        .pentad
        .rotate(&world.admin(), start(&["app/A"]))
        .await
        .unwrap();
    let id = started.rotations[0].1;
    for _ in 0..500 {
        if world
            .pentad
            .rotation(&world.admin(), id)
            .await
            .unwrap()
            .waits
            > 0
        {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let waiting = world.pentad.rotation(&world.admin(), id).await.unwrap();
    assert!(
        waiting.waits > 0 && waiting.reason.is_some(),
        "{waiting:#?}"
    );
    world
        .pentad
        .steer(&world.admin(), id, Control::Cancel)
        .await
        .unwrap();
    assert_eq!(world.ended(id).await.progress.step, Step::RolledBack);
    std::fs::rename(&hidden, &file).unwrap();
    assert_eq!(in_file(&file, "A"), world.get("app/A").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_left_behind_is_finished_by_the_next_process() {
    let world = World::new().await;
    let file = world.env_file(&[("A", "old-value-000A")]).await;
    let hidden = file.with_extension("hidden");
    std::fs::rename(&file, &hidden).unwrap();
    let started = world
        .pentad
        .rotate(&world.admin(), start(&["app/A"]))
        .await
        .unwrap();
    let world = world.restarted().await;
    std::fs::rename(&hidden, &file).unwrap();
    let rotation = world.ended(started.rotations[0].1).await;
    assert_eq!(rotation.progress.step, Step::Done, "{rotation:#?}");
    assert_eq!(in_file(&file, "A"), world.get("app/A").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_delivered_to_its_consumers_file() {
    let world = World::new().await;
    world.env_file(&[("A", "old-value-000A")]).await;
    let out = world.dir.path().join("consumer.secret");
    let mut binding = bind("A");
    binding.deliver_to = vec![out.display().to_string()];
    let put = Put {
        binding: Some(binding),
        ..Put::default()
    };
    world
        .pentad
        .put(&world.admin(), &"app/A".parse().unwrap(), put)
        .await
        .unwrap();
    assert_eq!(rotated(&world, "app/A").await.progress.step, Step::Done);
    assert_eq!(
        std::fs::read_to_string(&out).unwrap(),
        world.get("app/A").await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_diverged_rotation_is_resolved() {
    let world = World::new().await;
    world.env_file(&[("A", "old-value-000A")]).await;
    let done = rotated(&world, "app/A").await;
    let refused = world
        .pentad
        .resolve(&world.admin(), done.id, Resolution::Retry)
        .await;
    assert!(matches!(refused, Err(Fault::Conflict { .. })));
}

/// A rotation of `app/A` that waits, since its file is out of reach.
async fn waiting(world: &World, variables: &[(&str, &str)]) -> (Id, std::path::PathBuf) {
    let file = world.env_file(variables).await;
    std::fs::rename(&file, file.with_extension("hidden")).unwrap();
    let started = world
        .pentad
        .rotate(&world.admin(), start(&["app/A"]))
        .await
        .unwrap();
    (started.rotations[0].1, file)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_decides_where_a_value_goes_stays_as_it_is_while_it_is_rotated() {
    let world = World::new().await;
    let variables = [("A", "old-value-000A")];
    let path: pentad_model::Path = "app/A".parse().unwrap();
    let (id, file) = waiting(&world, &variables).await;
    let mut elsewhere = bind("A");
    elsewhere.deliver_to = vec![world.dir.path().join("other").display().to_string()];
    let admin = world.admin();
    let rebound = Put {
        binding: Some(elsewhere),
        ..Put::default()
    };
    let refused = world.pentad.put(&admin, &path, rebound).await;
    assert!(
        matches!(refused, Err(Fault::Conflict { .. })),
        "{refused:?}"
    );
    let described = Put {
        description: Some("mine".to_owned()),
        ..Put::default()
    };
    world.pentad.put(&admin, &path, described).await.unwrap();
    std::fs::rename(file.with_extension("hidden"), &file).unwrap();
    assert_eq!(world.ended(id).await.progress.step, Step::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_decided_before_a_rotation_began_is_too_late() {
    let world = World::new().await;
    let path: pentad_model::Path = "app/A".parse().unwrap();
    let file = world.env_file(&[("A", "old-value-000A")]).await;
    let before = world
        .pentad
        .describe(&world.admin(), &path)
        .await
        .unwrap()
        .revision;
    std::fs::rename(&file, file.with_extension("hidden")).unwrap();
    world
        .pentad
        .rotate(&world.admin(), start(&["app/A"]))
        .await
        .unwrap();
    let after = world
        .pentad
        .describe(&world.admin(), &path)
        .await
        .unwrap()
        .revision;
    assert!(after > before, "the start did not change the revision");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_depends_on_a_rotation_that_was_never_begun_ends() {
    let world = World::new().await;
    let variables = [("A", "old-value-000A"), ("B", "old-value-000B")];
    let (id, _) = waiting(&world, &variables).await;
    let needs = Put {
        depends_on: Some(vec!["app/A".parse().unwrap()]),
        ..Put::default()
    };
    world
        .pentad
        .put(&world.admin(), &"app/B".parse().unwrap(), needs)
        .await
        .unwrap();
    let started = world
        .pentad
        .rotate(&world.admin(), start(&["app/A", "app/B"]))
        .await
        .unwrap();
    assert_eq!(started.refused[0].path.as_str(), "app/A");
    let [(path, dependent)] = started.rotations.as_slice() else {
        panic!("{started:?}")
    };
    assert_eq!(path.as_str(), "app/B");
    assert_eq!(
        world.ended(*dependent).await.progress.step,
        Step::RolledBack
    );
    assert!(
        !world
            .pentad
            .rotation(&world.admin(), id)
            .await
            .unwrap()
            .progress
            .step
            .is_final()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_waits_for_another_can_be_cancelled() {
    let world = World::new().await;
    let file = world
        .env_file(&[("A", "old-value-000A"), ("B", "old-value-000B")])
        .await;
    let needs = Put {
        depends_on: Some(vec!["app/A".parse().unwrap()]),
        ..Put::default()
    };
    world
        .pentad
        .put(&world.admin(), &"app/B".parse().unwrap(), needs)
        .await
        .unwrap();
    std::fs::rename(&file, file.with_extension("hidden")).unwrap();
    let started = world
        .pentad
        .rotate(&world.admin(), start(&["app/A", "app/B"]))
        .await
        .unwrap();
    let dependent = started.rotations[1].1;
    world
        .pentad
        .steer(&world.admin(), dependent, Control::Cancel)
        .await
        .unwrap();
    assert_eq!(world.ended(dependent).await.progress.step, Step::RolledBack);
    let first = world
        .pentad
        .rotation(&world.admin(), started.rotations[0].1)
        .await
        .unwrap();
    assert!(!first.progress.step.is_final());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_a_rotation_at_its_birth_is_heeded_at_once() {
    let world = World::new().await;
    world.env_file(&[("KEY", "old-value-0000")]).await;
    let (admin, began) = (world.admin(), std::time::Instant::now());
    for _ in 0..12 {
        let started = world.pentad.rotate(&admin, start(&["app/KEY"])).await;
        let id = started.unwrap().rotations[0].1;
        // Before, beside or after the moment at which its worker claims it.
        let asked = world.pentad.steer(&admin, id, Control::Cancel).await;
        let ended = world.ended(id).await.progress.step;
        if asked.is_ok() {
            assert!(matches!(ended, Step::RolledBack | Step::Done), "{ended}");
        }
    }
    // Not after the lease that it was born with: that is 30 s long.
    assert!(began.elapsed().as_secs() < 25);
}

/// What is kept of `app/KEY`, the newest first, and whether it is in doubt.
async fn kept(world: &World) -> (Vec<(u32, Stage)>, bool) {
    let (admin, path) = (world.admin(), "app/KEY".parse().unwrap());
    let history = world.pentad.history(&admin, &path, None, 100).await;
    let all = history.unwrap().items;
    let found = world.pentad.describe(&admin, &path).await.unwrap();
    (
        all.iter().map(|it| (it.number, it.stage)).collect(),
        found.in_doubt,
    )
}

/// Puts a value of `app/KEY`; the target is not told.
async fn stored(world: &World, value: &str) -> Stored {
    let put = Put {
        value: Some(Value::Given(Secret::new(value))),
        accept_weak: true,
        ..Put::default()
    };
    let path = "app/KEY".parse().unwrap();
    world.pentad.put(&world.admin(), &path, put).await.unwrap()
}

async fn adopted(world: &World, value: &str) {
    let put = Put {
        value: Some(Value::Given(Secret::new(value))),
        ..Put::default()
    };
    let path = "app/KEY".parse().unwrap();
    world
        .pentad
        .adopt(&world.admin(), &path, put)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_on_a_bound_credential_keeps_what_may_work_until_another_is_proven() {
    use Stage::{Current, Previous, Retired};
    let world = World::new().await;
    let file = world.env_file(&[("KEY", "old-value-0001")]).await;
    assert_eq!(kept(&world).await, (vec![(1, Current)], false));
    let typo = stored(&world, "old-vlaue-0001").await;
    assert!(typo.credential.in_doubt);
    let both = vec![(2, Current), (1, Previous)];
    assert_eq!(kept(&world).await, (both, true));
    let (admin, path) = (world.admin(), "app/KEY".parse().unwrap());
    let destroyed = world.pentad.destroy(&admin, &path, 1).await;
    assert!(matches!(destroyed, Err(Fault::Conflict { .. })));

    // A rotation finds the one that works, and goes on from it.
    let rotation = rotated(&world, "app/KEY").await;
    assert_eq!(rotation.progress.step, Step::Done, "{rotation:#?}");
    assert!(
        rotation.evidence[0]
            .note
            .contains("displaced by a put works")
    );
    assert_eq!(in_file(&file, "KEY"), world.get("app/KEY").await);
    let ended = vec![(3, Current), (2, Retired), (1, Retired)];
    assert_eq!(kept(&world).await, (ended, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn adopting_ends_the_doubt_that_a_put_left() {
    use Stage::{Current, Previous, Retired};
    let world = World::new().await;
    world.env_file(&[("KEY", "old-value-0001")]).await;
    stored(&world, "old-vlaue-0001").await;
    // To put what works says no more of the target than to put what doesn't.
    stored(&world, "old-value-0001").await;
    let all = vec![(3, Current), (2, Previous), (1, Previous)];
    assert_eq!(kept(&world).await, (all, true));
    adopted(&world, "old-value-0001").await;
    let all = vec![(4, Current), (3, Retired), (2, Retired), (1, Retired)];
    assert_eq!(kept(&world).await, (all, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_sees_the_value_put_work_ends_the_doubt_as_well() {
    let world = World::new().await;
    let file = world.env_file(&[("KEY", "old-value-0001")]).await;
    std::fs::write(&file, "KEY=set-by-hand-22\n").unwrap();
    stored(&world, "set-by-hand-22").await;
    assert_eq!(rotated(&world, "app/KEY").await.progress.step, Step::Done);
    let (stages, in_doubt) = kept(&world).await;
    assert!(!in_doubt);
    assert!(
        stages[1..]
            .iter()
            .all(|(_, stage)| *stage == Stage::Retired)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_that_was_put_works_a_rotation_ends_as_drift_with_all_of_it_kept() {
    use Stage::{Current, Previous};
    let world = World::new().await;
    let file = world.env_file(&[("KEY", "old-value-0001")]).await;
    stored(&world, "old-vlaue-0001").await;
    std::fs::write(&file, "KEY=somebody-elses-33\n").unwrap();
    for _ in 0..2 {
        let rotation = rotated(&world, "app/KEY").await;
        assert_eq!(rotation.progress.step, Step::Failed);
        assert!(rotation.reason.unwrap().contains("drift"));
        let both = vec![(2, Current), (1, Previous)];
        assert_eq!(kept(&world).await, (both, true));
    }
    assert_eq!(in_file(&file, "KEY"), "somebody-elses-33");
    adopted(&world, "somebody-elses-33").await;
    assert_eq!(rotated(&world, "app/KEY").await.progress.step, Step::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_puts_in_a_row_the_value_before_them_is_kept_and_found() {
    let world = World::new().await;
    let file = world.env_file(&[("KEY", "old-value-0001")]).await;
    for number in 2..60 {
        let value = format!("another-typo-{number:04}");
        stored(&world, &value).await;
    }
    let (stages, in_doubt) = kept(&world).await;
    assert!(in_doubt);
    let previous: Vec<u32> = stages
        .iter()
        .filter(|(_, stage)| *stage == Stage::Previous)
        .map(|(number, _)| *number)
        .collect();
    assert_eq!(previous, [58, 57, 1]);
    assert_eq!(rotated(&world, "app/KEY").await.progress.step, Step::Done);
    assert_eq!(in_file(&file, "KEY"), world.get("app/KEY").await);
    let (stages, in_doubt) = kept(&world).await;
    assert!(!in_doubt);
    assert!(
        stages[1..]
            .iter()
            .all(|(_, stage)| *stage == Stage::Retired)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_one_account_are_not_kept_for_another() {
    let world = World::new().await;
    world
        .env_file(&[("KEY", "old-value-0001"), ("OTHER", "old-value-0002")])
        .await;
    stored(&world, "old-vlaue-0001").await;
    let rebound = Put {
        binding: Some(bind("OTHER")),
        ..Put::default()
    };
    let path = "app/KEY".parse().unwrap();
    world
        .pentad
        .put(&world.admin(), &path, rebound)
        .await
        .unwrap();
    let all = vec![(2, Stage::Current), (1, Stage::Retired)];
    assert_eq!(kept(&world).await, (all, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_ends_before_it_has_looked_leaves_the_doubt() {
    let world = World::new().await;
    let file = world.env_file(&[("KEY", "old-value-0001")]).await;
    stored(&world, "old-vlaue-0001").await;
    std::fs::rename(&file, file.with_extension("hidden")).unwrap();
    let admin = world.admin();
    let started = world.pentad.rotate(&admin, start(&["app/KEY"])).await;
    let id = started.unwrap().rotations[0].1;
    for _ in 0..500 {
        if world.pentad.rotation(&admin, id).await.unwrap().waits > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    world
        .pentad
        .steer(&world.admin(), id, Control::Cancel)
        .await
        .unwrap();
    assert_eq!(world.ended(id).await.progress.step, Step::RolledBack);
    let both = vec![(2, Stage::Current), (1, Stage::Previous)];
    assert_eq!(kept(&world).await, (both, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn puts_of_a_bound_credential_at_once_all_end_well() {
    let world = World::new().await;
    world.env_file(&[("KEY", "old-value-0001")]).await;
    let (world, path) = (&world, &"app/KEY".parse().unwrap());
    let puts = (0..16).map(|n| async move {
        let put = Put {
            value: Some(Value::Given(Secret::new(format!("another-value-{n:04}")))),
            accept_weak: true,
            ..Put::default()
        };
        world.pentad.put(&world.admin(), path, put).await
    });
    for stored in futures::future::join_all(puts).await {
        stored.unwrap();
    }
    let (stages, in_doubt) = kept(world).await;
    assert_eq!((stages[0], in_doubt), ((17, Stage::Current), true));
    let mut previous = stages.iter().filter(|(_, stage)| *stage == Stage::Previous);
    // The one that worked is kept.
    assert_eq!(previous.next_back(), Some(&(1, Stage::Previous)));
}
