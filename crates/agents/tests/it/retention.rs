//! What retention destroys, and above all what it does not.

use std::{sync::Arc, time::Duration};

use pentad_agents::{
    Fault,
    operations::{NewToken, Person, Put, Sweeps, Value, Walked},
};
use pentad_model::{
    Clock as _, Credential, Kind, Path, Sealed, Secret, Stage, Target, Timestamp, Verb, Version,
    access::{Effect, Role, Rule},
    clock::ManualClock,
    rotation::Step,
};
use pentad_policy::retention::RetentionRule;
use pentad_store::{Collection, Document, Expect, Op};

use crate::{rotating::rotated, world::World};

fn rule(name: &str, path: &str) -> RetentionRule {
    RetentionRule {
        name: name.parse().unwrap(),
        description: String::new(),
        paths: vec![path.to_owned()],
        keep_versions: None,
        keep_days: None,
        deleted_days: None,
        hold: false,
    }
}

fn keep(versions: u32, path: &str) -> RetentionRule {
    RetentionRule {
        keep_versions: Some(versions),
        ..rule("keep", path)
    }
}

fn keep_named(name: &str) -> RetentionRule {
    RetentionRule {
        keep_versions: Some(1),
        ..rule(name, "**")
    }
}

fn rule_of_versions(name: &str) -> RetentionRule {
    RetentionRule {
        keep_versions: Some(0),
        ..rule(name, "**")
    }
}

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

impl World {
    async fn rule(&self, rule: RetentionRule) {
        let admin = self.admin();
        self.pentad.put_retention_rule(&admin, rule).await.unwrap();
    }

    /// A credential with so many versions.
    async fn versions(&self, at: &str, count: usize) {
        for number in 1..=count {
            self.put(at, Kind::Secret, &format!("{at} value number {number}"))
                .await;
        }
    }

    /// The numbers of the versions that still have their value, the oldest first.
    async fn left(&self, at: &str) -> Vec<u32> {
        let mut left = Vec::new();
        for number in 1..40 {
            let read = self
                .pentad
                .read(&self.admin(), &path(at), Some(number))
                .await;
            left.extend(read.is_ok().then_some(number));
        }
        left
    }

    /// Of credentials with two versions each, `prod/000` and so on: how many have the first one's
    /// value.
    async fn old_values(&self, count: usize) -> usize {
        let mut left = 0;
        for number in 0..count {
            let at = path(&format!("prod/{number:03}"));
            let read = self.pentad.read(&self.admin(), &at, Some(1)).await;
            left += usize::from(read.is_ok());
        }
        left
    }

    /// All pages, so many entries at a time.
    async fn walk(&self, limit: usize, carry_out: bool) -> Vec<Walked> {
        let (admin, mut place, mut all) = (self.admin(), None, Vec::new());
        loop {
            let walked = match carry_out {
                true => self.pentad.apply_retention(&admin, place, limit).await,
                false => self.pentad.plan_retention(&admin, place, limit).await,
            };
            let walked = walked.unwrap();
            place = walked.next.clone();
            all.push(walked);
            if place.is_none() {
                return all;
            }
        }
    }

    async fn audited(&self, action: &str) -> usize {
        let query = pentad_agents::contract::monitoring::AuditQuery {
            action: Some(action.to_owned()),
            limit: 1000,
            ..Default::default()
        };
        for _ in 0..200 {
            let page = self.pentad.audit_page(&self.admin(), query.clone()).await;
            let found = page.unwrap().records.len();
            if found > 0 {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        0
    }
}

#[tokio::test]
async fn a_plan_says_what_goes_and_touches_nothing() {
    let world = World::new().await;
    world.versions("prod/a", 5).await;
    world.versions("prod/b", 2).await;
    world.versions("test/c", 5).await;
    assert!(world.walk(100, false).await[0].gone.is_empty(), "no rules");
    world.rule(keep(1, "prod/**")).await;
    for limit in [1, 2, 100] {
        let pages = world.walk(limit, false).await;
        let gone: Vec<_> = pages.iter().flat_map(|page| &page.gone).collect();
        assert_eq!(gone.len(), 1, "{gone:?}");
        assert_eq!(gone[0].path, path("prod/a"));
        assert_eq!(gone[0].versions, [3, 2, 1]);
        assert!(pages.iter().all(|page| page.looked_at <= limit));
    }
    assert_eq!(world.left("prod/a").await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn what_is_due_goes_on_record_and_nothing_else() {
    let world = World::new().await;
    world.versions("prod/a", 5).await;
    world.versions("test/c", 3).await;
    world.rule(keep(1, "prod/**")).await;
    world.walk(2, true).await;
    assert_eq!(world.left("prod/a").await, [4, 5]);
    assert_eq!(world.left("test/c").await, [1, 2, 3]);
    assert_eq!(world.audited("version.destroy").await, 3);
    // Twice is once.
    let again = world.walk(100, true).await;
    assert!(again.iter().all(|page| page.gone.is_empty()));
    // What was destroyed still bars its value from coming back.
    let back = Put {
        value: Some(Value::Given(Secret::new("prod/a value number 1"))),
        ..Put::default()
    };
    let back = world
        .pentad
        .put(&world.admin(), &path("prod/a"), back)
        .await;
    assert!(matches!(back, Err(Fault::Refused { .. })), "{back:?}");
}

#[tokio::test]
async fn a_hold_keeps_everything_while_it_stands() {
    let world = World::new().await;
    world.versions("prod/a", 4).await;
    world.rule(keep(0, "**")).await;
    let hold = RetentionRule {
        hold: true,
        ..rule("dispute", "prod/**")
    };
    world.rule(hold).await;
    world.walk(100, true).await;
    assert_eq!(world.left("prod/a").await, [1, 2, 3, 4]);
    let dispute = "dispute".parse().unwrap();
    world
        .pentad
        .remove_retention_rule(&world.admin(), &dispute)
        .await
        .unwrap();
    world.walk(100, true).await;
    assert_eq!(world.left("prod/a").await, [4]);
}

/// Whatever destroys at that moment: a hold that was answered is obeyed.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_was_answered_is_obeyed_by_walks_under_way() {
    for by_itself in [true, false] {
        let world = Arc::new(World::new().await);
        let most = 120;
        for number in 0..most {
            world.versions(&format!("prod/{number:03}"), 2).await;
        }
        world.rule(keep(0, "**")).await;
        let walk = tokio::spawn({
            let world = world.clone();
            async move {
                match by_itself {
                    true => drop(world.sweep().await),
                    false => drop(world.walk(500, true).await),
                }
            }
        });
        while world.old_values(1).await > 0 {}
        let hold = RetentionRule {
            hold: true,
            ..rule("dispute", "prod/**")
        };
        world.rule(hold).await;
        let kept = world.old_values(most).await;
        walk.await.unwrap();
        assert!(kept > 0, "the walk was over before the hold");
        assert_eq!(world.old_values(most).await, kept);
        world.walk(500, true).await;
        assert_eq!(world.old_values(most).await, kept);
    }
}

#[tokio::test]
async fn rules_that_are_put_and_removed_at_once_all_hold() {
    let world = World::new().await;
    let put = |name: &'static str| world.rule(keep_named(name));
    tokio::join!(put("a"), put("b"), put("c"), put("d"));
    let admin = world.admin();
    let rules = world
        .pentad
        .retention_rules(&admin, None, 10)
        .await
        .unwrap();
    let names = |rules: Vec<RetentionRule>| -> Vec<String> {
        rules
            .into_iter()
            .map(|rule| rule.name.to_string())
            .collect()
    };
    assert_eq!(names(rules.items), ["a", "b", "c", "d"]);
    let page = world.pentad.retention_rules(&admin, Some(""), 1);
    let page = page.await.unwrap();
    assert_eq!((names(page.items), page.more), (vec!["a".to_owned()], true));
    let gone = "a".parse().unwrap();
    let removed = world.pentad.remove_retention_rule(&admin, &gone).await;
    assert_eq!(removed, Ok(()));
    let twice = world.pentad.remove_retention_rule(&admin, &gone).await;
    assert!(matches!(twice, Err(Fault::Missing { .. })), "{twice:?}");
    assert!(world.pentad.plan_retention(&admin, None, 10).await.is_ok());
}

#[tokio::test]
async fn a_deleted_credential_goes_for_good_and_its_path_counts_on() {
    let world = World::new().await;
    world.versions("prod/a", 3).await;
    world.versions("prod/b", 3).await;
    let admin = world.admin();
    world
        .pentad
        .delete(&admin, &path("prod/a"), None)
        .await
        .unwrap();
    let forget = RetentionRule {
        deleted_days: Some(0),
        ..rule("forget", "**")
    };
    world.rule(forget).await;
    let walked = world.walk(100, true).await;
    let gone: Vec<_> = walked.into_iter().flat_map(|page| page.gone).collect();
    assert_eq!(gone.len(), 1);
    assert!(gone[0].credential && gone[0].path == path("prod/a"));
    let described = world.pentad.describe(&admin, &path("prod/a")).await;
    assert!(
        matches!(described, Err(Fault::Missing { .. })),
        "{described:?}"
    );
    assert_eq!(world.audited("credential.remove").await, 1);
    assert_eq!(world.left("prod/b").await, [1, 2, 3]);
    // A version number of before never comes again.
    let stored = world
        .put("prod/a", Kind::Secret, "quite another value")
        .await;
    assert_eq!(stored.credential.current, Some(4));
    assert_eq!(world.get("prod/a").await, "quite another value");
    // And again.
    world
        .pentad
        .delete(&admin, &path("prod/a"), None)
        .await
        .unwrap();
    world.walk(100, true).await;
    let stored = world.put("prod/a", Kind::Secret, "yet another value").await;
    assert_eq!(stored.credential.current, Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rotation_needs_stays() {
    let world = World::new().await;
    world
        .env_file(&[("DB", "first-value-of-the-database")])
        .await;
    let admin = world.admin();
    let at = path("app/DB");
    for _ in 0..2 {
        rotated(&world, "app/DB").await;
    }
    world.rule(keep(0, "**")).await;
    let stages = world.pentad.history(&admin, &at, None, 10).await.unwrap();
    let kept: Vec<u32> = stages
        .items
        .iter()
        .filter(|version| !matches!(version.stage, Stage::Retired | Stage::Revoked))
        .map(|version| version.number)
        .collect();
    assert!(kept.contains(&3), "{stages:?}");
    world.walk(100, true).await;
    let mut left = world.left("app/DB").await;
    left.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(left, kept);
    assert_eq!(rotated(&world, "app/DB").await.progress.step, Step::Done);
}

#[tokio::test]
async fn what_may_disagree_with_its_target_stays_and_comes_up_again() {
    let world = World::new().await;
    world.versions("prod/a", 3).await;
    world.versions("prod/b", 3).await;
    world.rule(keep(1, "**")).await;
    let seen = world.pentad.describe(&world.admin(), &path("prod/a")).await;
    let doubt = |in_doubt: bool, seen: &Credential| Op::UpdateCredential {
        credential: Credential {
            in_doubt,
            revision: seen.revision + 1,
            ..seen.clone()
        },
        expect: seen.revision,
    };
    let mut seen = seen.unwrap();
    let world = world.tampered(doubt(true, &seen)).await;
    let kept: Vec<_> = world.walk(100, false).await;
    let kept: Vec<_> = kept.into_iter().flat_map(|page| page.kept).collect();
    assert_eq!((kept.len(), &kept[0].path), (1, &path("prod/a")));
    assert!(kept[0].why.contains("target"), "{}", kept[0].why);
    assert_eq!(world.sweep().await, Ok(1));
    assert_eq!(world.left("prod/a").await, [1, 2, 3]);
    assert_eq!(world.left("prod/b").await, [2, 3]);
    seen.revision += 1;
    let world = world.tampered(doubt(false, &seen)).await;
    assert_eq!(world.sweep().await, Ok(1));
    assert_eq!(world.left("prod/a").await, [2, 3]);
}

#[tokio::test]
async fn a_rule_from_outside_destroys_nothing() {
    let world = World::new().await;
    world.versions("prod/a", 3).await;
    let forged = Op::PutDocument {
        document: Document {
            collection: Collection::Retention,
            tenant: world.admin().context.tenant,
            name: "keep".to_owned(),
            revision: 0,
            expires_at: None,
            body: serde_json::to_value(keep(0, "**")).unwrap(),
            seal: None,
        },
        expect: Expect::Absent,
    };
    let world = world.tampered(forged).await;
    let admin = world.admin();
    let planned = world.pentad.plan_retention(&admin, None, 10).await;
    assert!(matches!(planned, Err(Fault::Damaged { .. })), "{planned:?}");
    let applied = world.pentad.apply_retention(&admin, None, 10).await;
    assert!(matches!(applied, Err(Fault::Damaged { .. })), "{applied:?}");
    assert_eq!(world.sweep().await, Ok(0));
    assert_eq!(world.left("prod/a").await, [1, 2, 3]);
    let keep = "keep".parse().unwrap();
    let removed = world.pentad.remove_retention_rule(&admin, &keep).await;
    assert_eq!(removed, Ok(()));
    assert!(world.pentad.plan_retention(&admin, None, 10).await.is_ok());
}

#[tokio::test]
async fn only_who_may_destroy_applies_and_writes_rules() {
    let world = World::new().await;
    world.versions("prod/a", 3).await;
    let admin = world.admin();
    let caller = |role: &'static str| {
        let new = NewToken {
            name: role.parse().unwrap(),
            roles: vec![role.parse().unwrap()],
            ttl: None,
        };
        let (world, admin) = (&world, &admin);
        async move {
            let made = world.pentad.create_token(admin, new).await.unwrap();
            let (tenant, id) = (&admin.context.tenant, world.pentad.correlation());
            world
                .pentad
                .authenticate(&made.secret, tenant, "test", id)
                .await
                .unwrap()
        }
    };
    world.rule(keep(1, "**")).await;
    let (operator, auditor) = (caller("operator").await, caller("auditor").await);
    let applied = world.pentad.apply_retention(&operator, None, 10).await;
    assert!(matches!(applied, Err(Fault::Denied { .. })));
    let written = world
        .pentad
        .put_retention_rule(&operator, keep(0, "**"))
        .await;
    assert!(matches!(written, Err(Fault::Denied { .. })));
    let planned = world
        .pentad
        .plan_retention(&auditor, None, 10)
        .await
        .unwrap();
    assert_eq!(planned.gone.len(), 1);
    assert_eq!(world.left("prod/a").await, [1, 2, 3]);
}

/// Rules are carried out by the system, which is denied nothing.
#[tokio::test]
async fn who_is_denied_something_somewhere_does_not_have_it_done_by_a_rule() {
    let world = World::new().await;
    let admin = world.admin();
    let denial = Role {
        name: "not-legal".parse().unwrap(),
        description: String::new(),
        rules: vec![Rule {
            effect: Effect::Deny,
            paths: vec!["prod/legal/**".to_owned()],
            verbs: vec![Verb::Destroy, Verb::Write],
        }],
    };
    world.pentad.put_role(&admin, denial).await.unwrap();
    let new = NewToken {
        name: "ann".parse().unwrap(),
        roles: vec!["admin".parse().unwrap(), "not-legal".parse().unwrap()],
        ttl: None,
    };
    let made = world.pentad.create_token(&admin, new).await.unwrap();
    let (tenant, id) = (&admin.context.tenant, world.pentad.correlation());
    let ann = world
        .pentad
        .authenticate(&made.secret, tenant, "test", id)
        .await
        .unwrap();
    let put = |at: &'static str, owner: &str| Put {
        kind: Some(Kind::Secret),
        value: Some(Value::Given(Secret::new(format!("value of {at}")))),
        owner: Some(owner.to_owned()),
        ..Put::default()
    };
    let at = path("prod/legal/a");
    let stored = put("prod/legal/a", "bob");
    world.pentad.put(&admin, &at, stored).await.unwrap();
    let rule = keep(0, "prod/web/**");
    let written = world.pentad.put_retention_rule(&ann, rule.clone()).await;
    assert!(matches!(written, Err(Fault::Denied { .. })), "{written:?}");
    let person = Person {
        owner: Some("bob".to_owned()),
        user: None,
    };
    let erased = world.pentad.erase(&ann, person).await;
    assert!(matches!(erased, Err(Fault::Denied { .. })), "{erased:?}");
    let found = world.pentad.describe(&admin, &at).await.unwrap();
    assert_eq!(found.owner.as_deref(), Some("bob"));
    world.rule(rule.clone()).await;
    let removed = world.pentad.remove_retention_rule(&ann, &rule.name).await;
    assert!(matches!(removed, Err(Fault::Denied { .. })), "{removed:?}");
}

#[tokio::test]
async fn what_administers_a_target_stays_while_the_target_names_it() {
    let world = World::new().await;
    world
        .env_file(&[("DB", "first-value-of-the-database")])
        .await;
    let admin = world.admin();
    let at = path("app/admin");
    world.versions("app/admin", 1).await;
    let name = "app".parse().unwrap();
    let mut target = world.pentad.target(&admin, &name).await.unwrap();
    target.admin_credential = Some(at.clone());
    let plain = Target {
        admin_credential: None,
        ..target.clone()
    };
    world
        .pentad
        .put_target(&admin, target.clone())
        .await
        .unwrap();
    let deleted = world.pentad.delete(&admin, &at, None).await;
    let Err(Fault::Conflict { message }) = deleted else {
        panic!("{deleted:?}");
    };
    assert!(message.contains("target `app`"), "{message}");
    world.pentad.put_target(&admin, plain).await.unwrap();
    let deleted = world.pentad.delete(&admin, &at, None).await.unwrap();
    // A deleted one can't be named.
    let named = world.pentad.put_target(&admin, target.clone()).await;
    assert!(matches!(named, Err(Fault::Conflict { .. })), "{named:?}");
    // One that was deleted before this was refused stays.
    let restored = world.pentad.restore(&admin, &at).await.unwrap();
    world.pentad.put_target(&admin, target).await.unwrap();
    let named = world.pentad.describe(&admin, &at).await.unwrap();
    assert!(named.revision > restored.revision, "tied to the target");
    let world = world
        .tampered(Op::UpdateCredential {
            credential: Credential {
                deleted_at: deleted.deleted_at,
                revision: named.revision + 1,
                ..named.clone()
            },
            expect: named.revision,
        })
        .await;
    let forget = RetentionRule {
        deleted_days: Some(0),
        ..rule("forget", "**")
    };
    world.rule(forget).await;
    for carry_out in [false, true] {
        let walked = world.walk(100, carry_out).await;
        assert!(walked.iter().all(|page| page.gone.is_empty()));
        let kept: Vec<_> = walked.into_iter().flat_map(|page| page.kept).collect();
        assert_eq!((kept.len(), &kept[0].path), (1, &at));
        assert!(kept[0].why.contains("target `app`"), "{}", kept[0].why);
    }
}

#[tokio::test]
async fn a_sweep_goes_on_where_the_last_one_ended() {
    let world = World::new().await;
    assert_eq!(world.sweep().await, Ok(0));
    world.versions("prod/a", 3).await;
    world.rule(keep(1, "**")).await;
    assert_eq!(world.sweep().await, Ok(1));
    assert_eq!(world.left("prod/a").await, [2, 3]);
    assert_eq!(world.sweep().await, Ok(0));
    // What was kept for being among the newest goes when it is not any more.
    world
        .put("prod/a", Kind::Secret, "prod/a value number 4")
        .await;
    assert_eq!(world.sweep().await, Ok(1));
    assert_eq!(world.left("prod/a").await, [3, 4]);
    // Other rules look at everything again.
    world.rule(keep(0, "**")).await;
    assert_eq!(world.sweep().await, Ok(1));
    assert_eq!(world.left("prod/a").await, [4]);
    // And a restart forgets nothing.
    let world = world.restarted().await;
    world
        .put("prod/a", Kind::Secret, "prod/a value number 5")
        .await;
    assert_eq!(world.sweep().await, Ok(1));
    assert_eq!(world.left("prod/a").await, [5]);
}

#[tokio::test]
async fn what_is_kept_for_days_goes_when_they_are_over() {
    let clock = Arc::new(ManualClock::at(Timestamp(1_800_000_000_000)));
    let day = Duration::from_secs(24 * 3600);
    let world = World::at(clock.clone()).await;
    let both = RetentionRule {
        keep_versions: Some(1),
        keep_days: Some(7),
        deleted_days: Some(3),
        ..rule("both", "**")
    };
    world.rule(both).await;
    let start = clock.now();
    let mut sweeps = Sweeps::default();
    // As one process does, by its uptime.
    let mut sweep = async || {
        let uptime = clock.now().since(start);
        world.pentad.sweep_retention(&mut sweeps, uptime).await
    };
    // One version a day.
    for number in 1..=3 {
        world
            .put(
                "prod/a",
                Kind::Secret,
                &format!("prod/a value number {number}"),
            )
            .await;
        clock.advance(day);
    }
    assert_eq!(sweep().await, Ok(0));
    // Version 1 was retired a day after it was made, version 2 a day later.
    clock.advance(day * 5);
    assert_eq!(sweep().await, Ok(1));
    assert_eq!(world.left("prod/a").await, [2, 3]);
    // Version 2 is old enough, but the newest of the old ones: behind the sweep, and not lost.
    clock.advance(day * 10);
    assert_eq!(sweep().await, Ok(0));
    world
        .put("prod/a", Kind::Secret, "prod/a value number 4")
        .await;
    clock.advance(day * 6);
    assert_eq!(sweep().await, Ok(0));
    clock.advance(day);
    assert_eq!(sweep().await, Ok(1));
    assert_eq!(world.left("prod/a").await, [3, 4]);
    // Taken back in time, it stays; deleted again, it has its days again.
    let admin = world.admin();
    world
        .pentad
        .delete(&admin, &path("prod/a"), None)
        .await
        .unwrap();
    clock.advance(day * 2);
    assert_eq!(sweep().await, Ok(0));
    world.pentad.restore(&admin, &path("prod/a")).await.unwrap();
    clock.advance(day * 2);
    assert_eq!(sweep().await, Ok(0));
    world
        .pentad
        .delete(&admin, &path("prod/a"), None)
        .await
        .unwrap();
    clock.advance(day * 3);
    assert_eq!(sweep().await, Ok(1));
    let gone = world.pentad.describe(&admin, &path("prod/a")).await;
    assert!(matches!(gone, Err(Fault::Missing { .. })), "{gone:?}");
}

/// Ten years ahead for a moment: what is kept for days is still there afterwards.
#[tokio::test]
async fn a_clock_that_jumped_ahead_destroys_nothing_until_somebody_has_looked() {
    let clock = Arc::new(ManualClock::at(Timestamp(1_800_000_000_000)));
    let day = Duration::from_secs(24 * 3600);
    let world = World::at(clock.clone()).await;
    world.versions("prod/a", 3).await;
    let days = RetentionRule {
        keep_days: Some(6),
        ..rule("days", "**")
    };
    world.rule(days).await;
    let mut sweeps = Sweeps::default();
    let mut sweep = async |uptime| world.pentad.sweep_retention(&mut sweeps, uptime).await;
    assert_eq!(sweep(Duration::ZERO).await, Ok(0));
    clock.advance(day * 8);
    // An hour passed, eight days by the clock; and the same after a restart.
    let hour = Duration::from_secs(3600);
    assert_eq!(sweep(hour).await, Ok(0));
    assert_eq!(sweep(hour * 2).await, Ok(0));
    assert_eq!(world.sweep().await, Ok(0));
    assert_eq!(world.left("prod/a").await, [1, 2, 3]);
    assert!(world.audited("retention.sweep").await >= 1);
    // Seven days may pass unseen, and any time that this process saw pass.
    assert_eq!(sweep(day * 8).await, Ok(1));
    assert_eq!(world.left("prod/a").await, [3]);
    // Somebody decides: what applies is destroyed, and the sweep goes on from that time.
    world.versions("prod/b", 2).await;
    clock.advance(day * 400);
    assert_eq!(sweep(day * 9).await, Ok(0));
    assert_eq!(world.left("prod/b").await, [1, 2]);
    world.walk(100, true).await;
    assert_eq!(world.left("prod/b").await, [2]);
    world.versions("prod/c", 2).await;
    clock.advance(day * 6);
    assert_eq!(sweep(day * 15).await, Ok(1));
    assert_eq!(world.left("prod/c").await, [2]);
}

#[tokio::test]
async fn what_was_retired_before_it_was_made_is_kept_and_told() {
    let world = World::new().await;
    world.versions("prod/a", 2).await;
    let admin = world.admin();
    let at = path("prod/a");
    let history = world.pentad.history(&admin, &at, None, 10).await.unwrap();
    let old = history.items.iter().find(|it| it.number == 1).unwrap();
    let restaged = Op::SetStage {
        tenant: admin.context.tenant.clone(),
        path: at.clone(),
        number: 1,
        from: old.stage,
        to: old.stage,
        mac: old.stage_mac,
        at: Timestamp(1000),
    };
    let world = world.tampered(restaged).await;
    let days = RetentionRule {
        keep_days: Some(30),
        ..rule("days", "**")
    };
    world.rule(days).await;
    for carry_out in [false, true] {
        let walked = world.walk(100, carry_out).await;
        assert!(walked.iter().all(|page| page.gone.is_empty()));
        let kept: Vec<_> = walked.into_iter().flat_map(|page| page.kept).collect();
        assert_eq!((kept.len(), &kept[0].path), (1, &at));
        assert!(kept[0].why.contains("clock"), "{}", kept[0].why);
    }
    assert_eq!(world.sweep().await, Ok(0));
    assert_eq!(world.left("prod/a").await, [1, 2]);
    // Where no days are asked for, no age is either.
    world.rule(rule_of_versions("days")).await;
    world.walk(100, true).await;
    assert_eq!(world.left("prod/a").await, [2]);
}

#[tokio::test]
async fn more_than_can_be_noted_does_not_hold_up_what_lies_behind() {
    let world = World::new().await;
    world.versions("a", 2).await;
    let admin = world.admin();
    let seen = world.pentad.describe(&admin, &path("a")).await.unwrap();
    let history = world.pentad.history(&admin, &path("a"), None, 10).await;
    let version = history.unwrap().items.pop().unwrap();
    let ops = (0..1300).flat_map(|number| {
        let at = path(&format!("doubt/{number:04}"));
        let credential = Credential {
            path: at.clone(),
            in_doubt: true,
            revision: 1,
            ..seen.clone()
        };
        let old = Version {
            path: at,
            sealed: Some(Sealed::from_bytes(vec![1; 64])),
            staged_at: Timestamp(version.created_at.0),
            ..version.clone()
        };
        [
            Op::CreateCredential { credential },
            Op::AddVersion { version: old },
        ]
    });
    let world = world.tampered_with(ops.collect()).await;
    world.versions("z", 3).await;
    world.rule(keep(0, "**")).await;
    // All that is settled goes at once: `a` and `z`.
    assert_eq!(world.sweep().await, Ok(2));
    assert_eq!(world.left("z").await, [3]);
    world.put("z", Kind::Secret, "yet another value").await;
    assert_eq!(world.sweep().await, Ok(1));
}

#[tokio::test]
async fn a_person_is_erased_as_far_as_that_can_be() {
    let world = World::new().await;
    let admin = world.admin();
    for (at, owner) in [
        ("prod/a", "Ann Smith"),
        ("prod/b", "Ann Smith"),
        ("prod/c", "bob"),
    ] {
        let put = Put {
            kind: Some(Kind::Secret),
            value: Some(Value::Given(Secret::new(format!("value of {at}")))),
            owner: Some(owner.to_owned()),
            description: Some("call ann smith, or her deputy".to_owned()),
            ..Put::default()
        };
        world.pentad.put(&admin, &path(at), put).await.unwrap();
    }
    world
        .pentad
        .delete(&admin, &path("prod/b"), None)
        .await
        .unwrap();
    let ann = Person {
        owner: Some("Ann Smith".to_owned()),
        user: Some("ann".parse().unwrap()),
    };
    let login = || pentad_agents::operations::Login {
        user: "ann".parse().unwrap(),
        password: Secret::new("a long enough password"),
    };
    world
        .pentad
        .put_user(&admin, login(), Vec::new())
        .await
        .unwrap();
    let tenant = admin.context.tenant.clone();
    let id = world.pentad.correlation();
    let token = world
        .pentad
        .login(login(), &tenant, "test", id)
        .await
        .unwrap();
    let erased = world.pentad.erase(&admin, ann.clone()).await.unwrap();
    assert_eq!((erased.credentials, erased.more), (2, false));
    assert_eq!((erased.user, erased.logins), (true, 1));
    assert_eq!(erased.mentions, [path("prod/a"), path("prod/b")]);
    let a = world
        .pentad
        .describe(&admin, &path("prod/a"))
        .await
        .unwrap();
    assert_eq!(a.owner, None);
    let c = world
        .pentad
        .describe(&admin, &path("prod/c"))
        .await
        .unwrap();
    assert_eq!(c.owner.as_deref(), Some("bob"));
    let known = world
        .pentad
        .authenticate(&token.secret, &tenant, "test", id)
        .await;
    assert!(known.is_err());
    let again = world.pentad.erase(&admin, ann).await.unwrap();
    assert_eq!((again.credentials, again.user, again.logins), (0, false, 0));
    let nobody = world.pentad.erase(&admin, Person::default()).await;
    assert!(matches!(nobody, Err(Fault::Invalid { .. })));
}
