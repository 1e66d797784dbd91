//! Credentials and their versions.

#![allow(missing_docs)]

use std::{collections::BTreeSet, sync::Arc};

use pentad_model::{Credential, Kind, Stage, Timestamp, rotation::Step, secret::Fingerprint};

use super::{Bench, Ending, Lab, ends, samples::*};
use crate::{CredentialQuery, Due, DueQuery, Op, Page, Reader, Reuse, StoreError, Writer};

pub async fn a_credential_is_created_once<L: Lab>(bench: &Bench<'_, L>) {
    let mut full = credential("prod/db");
    full.tags.insert("env".into(), "prod".into());
    full.binding = Some(binding("pg"));
    ends(bench, create(full.clone()), Ending::Done).await;
    ends(bench, create(credential("prod/db")), Ending::Exists).await;
    let mut late = credential("late");
    late.revision = 2;
    ends(bench, create(late), Ending::Invalid).await;
    let found = bench.store.credential(&tenant(), &full.path).await;
    assert_eq!(found, Ok(Some(full)));
    let none = bench.store.credential(&tenant(), &path("late")).await;
    assert_eq!(none, Ok(None));
}

pub async fn many_are_found_as_each_is<L: Lab>(bench: &Bench<'_, L>) {
    bench.given(stored("a")).await;
    bench.given([create(credential("empty"))]).await;
    bench.given([create(credential("gone"))]).await;
    let mut gone = credential("gone");
    gone.deleted_at = Some(NOW);
    bench.given([update(gone)]).await;
    let paths = ["empty", "none", "a", "gone", "a"].map(path);
    let mut each = Vec::new();
    for path in &paths {
        each.push(bench.store.current(&tenant(), path).await.unwrap());
    }
    assert!(each[0].is_some() && each[1].is_none() && each[2].is_some() && each[3].is_none());
    let many = bench.store.currents(&tenant(), &paths).await;
    assert_eq!(many, Ok(each));
    let none = bench.store.currents(&tenant(), &[]).await;
    assert_eq!(none, Ok(vec![]));
}

pub async fn an_update_needs_the_revision_that_was_seen<L: Lab>(bench: &Bench<'_, L>) {
    let mut it = credential("a");
    ends(bench, update(it.clone()), Ending::Missing).await;
    bench.given([create(it.clone())]).await;
    it.owner = Some("ann".into());
    ends(bench, update(it.clone()), Ending::Done).await;
    ends(bench, update(it.clone()), Ending::Conflict).await;
    let stuck = Op::UpdateCredential {
        credential: it.clone(),
        expect: 1,
    };
    ends(bench, stuck, Ending::Invalid).await;
    it.revision = 2;
    let found = bench.store.credential(&tenant(), &it.path).await;
    assert_eq!(found, Ok(Some(it)));
}

pub async fn only_a_soft_deleted_credential_is_removed<L: Lab>(bench: &Bench<'_, L>) {
    let remove = |expect| Op::RemoveCredential {
        tenant: tenant(),
        path: path("a"),
        expect,
    };
    ends(bench, remove(1), Ending::Missing).await;
    bench.given(stored("a")).await;
    ends(bench, remove(1), Ending::Conflict).await;
    let mut it = credential("a");
    it.deleted_at = Some(NOW);
    it.tags.insert("env".into(), "prod".into());
    bench.given([update(it)]).await;
    ends(bench, remove(1), Ending::Conflict).await;
    ends(bench, remove(2), Ending::Done).await;
    let store = &bench.store;
    assert_eq!(store.credential(&tenant(), &path("a")).await, Ok(None));
    assert_eq!(store.version(&tenant(), &path("a"), 1).await, Ok(None));
    // The path is free again, and its history is gone.
    ends(bench, create(credential("a")), Ending::Done).await;
    let mut query = CredentialQuery::below(tenant(), "", 10);
    query.tag = Some(("env".into(), None));
    assert_eq!(store.credentials(&query).await.unwrap().items, []);
}

pub async fn a_version_number_is_used_once<L: Lab>(bench: &Bench<'_, L>) {
    let add = |number| Op::AddVersion {
        version: version("a", number),
    };
    ends(bench, add(1), Ending::Missing).await;
    bench.given([create(credential("a"))]).await;
    ends(bench, add(0), Ending::Invalid).await;
    ends(bench, add(1), Ending::Done).await;
    ends(bench, add(1), Ending::Exists).await;
    let found = bench.store.version(&tenant(), &path("a"), 1).await;
    assert_eq!(found, Ok(Some(version("a", 1))));
}

pub async fn a_stage_moves_from_where_it_was_seen<L: Lab>(bench: &Bench<'_, L>) {
    let promote = || staging("a", 1, Stage::Pending, Stage::Current);
    ends(bench, promote(), Ending::Missing).await;
    let added = Op::AddVersion {
        version: version("a", 1),
    };
    bench.given([create(credential("a")), added]).await;
    ends(bench, promote(), Ending::Done).await;
    ends(bench, promote(), Ending::Conflict).await;
    let mut expected = version("a", 1);
    expected.stage = Stage::Current;
    expected.stage_mac = Fingerprint([2; 32]);
    expected.staged_at = Timestamp(NOW.0 + 1);
    let found = bench.store.version(&tenant(), &path("a"), 1).await;
    assert_eq!(found, Ok(Some(expected)));
}

pub async fn a_version_is_destroyed_in_the_stage_that_was_seen_and_never_as_current<L: Lab>(
    bench: &Bench<'_, L>,
) {
    let destroy = |number, stage| Op::DestroyVersion {
        tenant: tenant(),
        path: path("a"),
        number,
        stage,
        at: NOW,
    };
    ends(bench, destroy(1, Stage::Current), Ending::Missing).await;
    bench.given(stored("a")).await;
    bench
        .given([2, 3].map(|number| Op::AddVersion {
            version: version("a", number),
        }))
        .await;
    bench
        .given([staging("a", 3, Stage::Pending, Stage::Current)])
        .await;
    // By its credential's word, by its stage, by neither.
    ends(bench, destroy(1, Stage::Current), Ending::Conflict).await;
    ends(bench, destroy(3, Stage::Current), Ending::Conflict).await;
    for stage in [Stage::Retired, Stage::Current, Stage::Abandoned] {
        ends(bench, destroy(2, stage), Ending::Conflict).await;
    }
    ends(bench, destroy(2, Stage::Pending), Ending::Done).await;
    ends(bench, destroy(2, Stage::Pending), Ending::Done).await;
    ends(bench, destroy(2, Stage::Retired), Ending::Conflict).await;
    let mut expected = version("a", 2);
    expected.sealed = None;
    let found = bench.store.version(&tenant(), &path("a"), 2).await;
    assert_eq!(found, Ok(Some(expected)));
}

pub async fn versions_are_paged_newest_first<L: Lab>(bench: &Bench<'_, L>) {
    bench.given([create(credential("a"))]).await;
    bench
        .given((1..=7).map(|number| Op::AddVersion {
            version: version("a", number),
        }))
        .await;
    let (mut before, mut seen) = (None, Vec::new());
    loop {
        let page = bench.store.versions(&tenant(), &path("a"), before, 3).await;
        let page = page.unwrap();
        seen.extend(page.items.iter().map(|version| version.number));
        before = seen.last().copied();
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, [7, 6, 5, 4, 3, 2, 1]);
    let none = bench.store.versions(&tenant(), &path("b"), None, 3).await;
    assert!(none.unwrap().items.is_empty());
}

pub async fn sharing_counts_living_current_values_of_others<L: Lab>(bench: &Bench<'_, L>) {
    for at in ["a", "b", "c", "d"] {
        bench.given(stored(at)).await;
    }
    let mut deleted = credential("c");
    deleted.deleted_at = Some(NOW);
    let retire = staging("d", 1, Stage::Current, Stage::Retired);
    bench.given([update(deleted), retire]).await;
    let shared = |at: &'static str, value| {
        let store = Arc::clone(&bench.store);
        async move {
            let fingerprint = Fingerprint([value; 32]);
            store.shared_with(&tenant(), &path(at), &fingerprint).await
        }
    };
    assert_eq!(shared("a", 1).await, Ok(1));
    assert_eq!(shared("x", 1).await, Ok(2));
    assert_eq!(shared("a", 9).await, Ok(0));
}

/// Every stage counts but pending, and the versions asked about alone.
pub async fn a_value_that_returns_is_found_among_earlier_versions<L: Lab>(bench: &Bench<'_, L>) {
    let value = Fingerprint([7; 32]);
    for at in ["a", "b"] {
        let mut it = credential(at);
        let current = |stage: &Stage| *stage == Stage::Current;
        it.current = Stage::ALL.iter().position(current).map(|at| at as u32 + 1);
        bench.given([create(it)]).await;
        for (number, stage) in (1..).zip(Stage::ALL) {
            let mut made = version(at, number);
            (made.stage, made.fingerprint) = (*stage, value);
            bench.given([Op::AddVersion { version: made }]).await;
        }
    }
    let all = Stage::ALL.len() as u32;
    let pending = 1 + Stage::ALL
        .iter()
        .position(|stage| *stage == Stage::Pending)
        .unwrap() as u32;
    for earlier in [1..all + 1, 1..all, 3..all + 1, 2..2, all..9] {
        let expected = earlier.clone().filter(|it| *it <= all && *it != pending);
        let found = bench
            .store
            .reuse(&tenant(), &path("a"), &value, earlier.clone())
            .await
            .unwrap();
        assert_eq!(found.earlier, expected.rev().collect::<Vec<_>>());
        assert_eq!(found.shared_with, 1);
    }
    let other = Fingerprint([8; 32]);
    let none = bench.store.reuse(&tenant(), &path("a"), &other, 1..9).await;
    assert_eq!(none, Ok(Reuse::default()));
}

/// A rotation that has ended holds nobody up.
pub async fn a_put_is_told_of_the_rotation_under_way<L: Lab>(bench: &Bench<'_, L>) {
    let store = &bench.store;
    let to_write = || async { store.credential_to_write(&tenant(), &path("a")).await };
    assert_eq!(to_write().await, Ok((None, None)));
    bench.given([create(credential("a"))]).await;
    assert_eq!(to_write().await, Ok((Some(credential("a")), None)));
    let mut running = rotation(1, "a");
    bench
        .given([Op::CreateRotation {
            rotation: running.clone(),
        }])
        .await;
    let found = to_write().await.unwrap();
    assert_eq!(found.1, Some(running.clone()));
    running.progress.step = Step::Done;
    running.revision += 1;
    bench
        .given([Op::UpdateRotation {
            rotation: running,
            expect: 1,
        }])
        .await;
    assert_eq!(to_write().await, Ok((Some(credential("a")), None)));
}

pub async fn soft_deletion_hides_from_current_only<L: Lab>(bench: &Bench<'_, L>) {
    let store = &bench.store;
    bench.given(stored("a")).await;
    let (found, version) = store.current(&tenant(), &path("a")).await.unwrap().unwrap();
    assert_eq!(version.map(|version| version.number), Some(1));
    let mut gone = found.clone();
    gone.deleted_at = Some(NOW);
    bench.given([update(gone.clone())]).await;
    gone.revision = 2;
    assert_eq!(store.current(&tenant(), &path("a")).await, Ok(None));
    let still = store.credential(&tenant(), &path("a")).await;
    assert_eq!(still, Ok(Some(gone.clone())));
    gone.deleted_at = None;
    bench.given([update(gone)]).await;
    let restored = store.current(&tenant(), &path("a")).await.unwrap().unwrap();
    assert!(restored.1.is_some());
    bench.given([create(credential("empty"))]).await;
    let empty = store.current(&tenant(), &path("empty")).await;
    assert_eq!(empty, Ok(Some((credential("empty"), None))));
}

/// Every combination of filters, read in pages of three, gives what a plain loop finds.
pub async fn pages_are_complete_under_every_filter<L: Lab>(bench: &Bench<'_, L>) {
    let mut all = Vec::new();
    for n in 0..48 {
        // `a/b`, `a-b`, `a/B`: neighbours in byte order that other collations would mix up.
        let folder = ["a/b", "a-b", "a/B"][n % 3];
        let mut it = credential(&format!("{folder}/{n:02}"));
        it.kind = [Kind::Password, Kind::ApiKey][n / 3 % 2];
        it.binding = (n % 4 < 2).then(|| binding(["pg", "redis"][n % 2]));
        if n % 5 < 3 {
            it.tags.insert("env".into(), ["prod", "test"][n % 2].into());
            it.tags.insert("n".into(), n.to_string());
        }
        it.deleted_at = (n % 8 == 7).then_some(NOW);
        all.push(it);
    }
    bench.given(all.iter().cloned().map(create)).await;
    let mut other = credential("a/b/other");
    other.tenant = "elsewhere".parse().unwrap();
    bench.given([create(other)]).await;
    all.sort_by(|left, right| left.path.cmp(&right.path));

    let tags = [
        None,
        Some(("env", None)),
        Some(("env", Some("prod"))),
        Some(("none", None)),
    ];
    for prefix in ["", "a", "a/", "a/b/1", "z"] {
        for tag in tags {
            for target in [None, Some("pg")] {
                for kind in [None, Some(Kind::ApiKey)] {
                    for deleted in [false, true] {
                        let query = CredentialQuery {
                            kind,
                            tag: tag.map(|(key, value)| (key.into(), value.map(str::to_owned))),
                            target: target.map(str::to_owned),
                            deleted,
                            ..CredentialQuery::below(tenant(), prefix, 3)
                        };
                        let expected: Vec<_> =
                            all.iter().filter(|it| fits(it, &query)).cloned().collect();
                        assert_eq!(walk(bench, query.clone()).await, expected, "{query:?}");
                    }
                }
            }
        }
    }
}

pub(super) fn fits(it: &Credential, query: &CredentialQuery) -> bool {
    let tagged = query.tag.as_ref().is_none_or(|(key, value)| {
        it.tags
            .get(key)
            .is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
    });
    let target = it.binding.as_ref().map(|binding| binding.target.as_str());
    it.path.as_str().starts_with(&query.prefix)
        && query.kind.is_none_or(|kind| kind == it.kind)
        && tagged
        && query.target.as_deref().is_none_or(|t| Some(t) == target)
        && query.deleted == it.deleted_at.is_some()
}

async fn walk<L: Lab>(bench: &Bench<'_, L>, mut query: CredentialQuery) -> Vec<Credential> {
    let mut seen: Vec<Credential> = Vec::new();
    loop {
        let page = bench.store.credentials(&query).await.unwrap();
        assert!(page.items.len() <= query.limit);
        assert!(!page.more || page.items.len() == query.limit);
        seen.extend(page.items);
        query.after = seen.last().map(|it| it.path.clone());
        if !page.more {
            return seen;
        }
    }
}

/// A hundred tasks read, add one and compare-and-set, again until it holds: none gets lost.
pub async fn a_hundred_increments_are_a_hundred<L: Lab>(bench: &Bench<'_, L>) {
    bench.given([create(credential("counter"))]).await;
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let store = Arc::clone(&bench.store);
            tokio::spawn(async move {
                loop {
                    let found = store.credential(&tenant(), &path("counter")).await;
                    let mut it = found.unwrap().unwrap();
                    it.latest += 1;
                    match store.commit(change([update(it)])).await {
                        Ok(()) => break,
                        Err(StoreError::Conflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let found = bench.store.credential(&tenant(), &path("counter")).await;
    let found = found.unwrap().unwrap();
    assert_eq!((found.latest, found.revision), (100, 101));
    let ids = bench.store.outbox(1000).await.unwrap();
    let ids: BTreeSet<_> = ids.into_iter().map(|waiting| waiting.id).collect();
    assert_eq!(
        ids.len(),
        101,
        "one record for each success, none for a lost race"
    );
}

fn fallen_due(until: i64, after: Option<Due>, limit: usize) -> DueQuery {
    DueQuery {
        tenant: tenant(),
        until: Timestamp(until),
        after,
        limit,
    }
}

/// All pages of so many.
async fn walked<F>(limit: usize, until: i64, ask: impl Fn(DueQuery) -> F) -> Vec<Due>
where
    F: Future<Output = Result<Page<Due>, StoreError>>,
{
    let mut all: Vec<Due> = Vec::new();
    loop {
        let page = ask(fallen_due(until, all.last().cloned(), limit)).await;
        let page = page.unwrap();
        assert!(page.items.len() <= limit);
        all.extend(page.items);
        if !page.more {
            return all;
        }
    }
}

pub async fn old_values_fall_due_by_when_they_were_staged<L: Lab>(bench: &Bench<'_, L>) {
    for at in ["b", "a"] {
        bench.given([create(credential(at))]).await;
        for (number, stage) in (1..).zip(Stage::ALL) {
            let mut it = version(at, number);
            it.stage = *stage;
            // Of the two credentials, the same times.
            it.staged_at = Timestamp(i64::from(10 - number));
            bench.given([Op::AddVersion { version: it }]).await;
        }
    }
    let store = &bench.store;
    let number = |stage| {
        let place = Stage::ALL.iter().position(|it| *it == stage).unwrap();
        u32::try_from(place + 1).unwrap()
    };
    let due = |at: &str, number: u32| Due {
        at: Timestamp(i64::from(10 - number)),
        path: path(at),
        number,
    };
    let (retired, revoked) = (number(Stage::Retired), number(Stage::Revoked));
    let expected = [
        due("a", revoked),
        due("b", revoked),
        due("a", retired),
        due("b", retired),
    ];
    for limit in [1, 2, 3, 100] {
        let ask = |query: DueQuery| async move { store.old_versions(&query).await };
        assert_eq!(walked(limit, i64::MAX, ask).await, expected);
        let until = i64::from(10 - revoked);
        assert_eq!(walked(limit, until, ask).await, expected[..2]);
    }
    // A stage that moves takes its time with it; a destroyed value is due no more.
    bench
        .given([
            staging(
                "a",
                number(Stage::Previous),
                Stage::Previous,
                Stage::Retired,
            ),
            Op::DestroyVersion {
                tenant: tenant(),
                path: path("b"),
                number: revoked,
                stage: Stage::Revoked,
                at: NOW,
            },
        ])
        .await;
    let now = store.old_versions(&fallen_due(i64::MAX, None, 100)).await;
    let now = now.unwrap().items;
    assert_eq!(now.len(), 4);
    assert_eq!(now.last().unwrap().at, Timestamp(NOW.0 + 1));
    assert!(!now.contains(&due("b", revoked)));
}

pub async fn deleted_credentials_fall_due_by_when_they_were_deleted<L: Lab>(bench: &Bench<'_, L>) {
    for (at, deleted) in [("c", None), ("b", Some(5)), ("a", Some(7)), ("d", Some(5))] {
        let mut it = credential(at);
        it.deleted_at = deleted.map(Timestamp);
        bench.given([create(it)]).await;
    }
    let store = &bench.store;
    let paths =
        |due: Vec<Due>| -> Vec<String> { due.into_iter().map(|it| it.path.to_string()).collect() };
    for limit in [1, 2, 100] {
        let ask = |query: DueQuery| async move { store.deleted_credentials(&query).await };
        assert_eq!(paths(walked(limit, 9, ask).await), ["b", "d", "a"]);
        assert_eq!(paths(walked(limit, 6, ask).await), ["b", "d"]);
    }
    let mut back = credential("b");
    back.deleted_at = None;
    bench.given([update(back)]).await;
    let left = store.deleted_credentials(&fallen_due(9, None, 100)).await;
    assert_eq!(paths(left.unwrap().items), ["d", "a"]);
}

pub async fn an_owners_credentials_are_found<L: Lab>(bench: &Bench<'_, L>) {
    for (at, owner, deleted) in [
        ("a", Some(OWNER), false),
        ("b", Some("team-b"), false),
        ("c", None, false),
        ("d", Some(OWNER), true),
    ] {
        let mut it = credential(at);
        it.owner = owner.map(str::to_owned);
        it.deleted_at = deleted.then_some(NOW);
        bench.given([create(it)]).await;
    }
    let store = &bench.store;
    let first = store.owned_credentials(&tenant(), OWNER, None, 1).await;
    let first = first.unwrap();
    assert!(first.more && first.items[0].path == path("a"));
    let (whose, a) = (tenant(), path("a"));
    let rest = store.owned_credentials(&whose, OWNER, Some(&a), 5).await;
    let rest = rest.unwrap();
    assert!(!rest.more && rest.items[0].path == path("d"));
    let mut nobody = first.items[0].clone();
    nobody.owner = None;
    bench.given([update(nobody)]).await;
    let left = store.owned_credentials(&tenant(), OWNER, None, 5).await;
    assert_eq!(left.unwrap().items.len(), 1);
}
