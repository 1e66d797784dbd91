//! Rotations.

#![allow(missing_docs)]

use std::time::Duration;

use pentad_model::{
    Id, Rotation,
    rotation::{Control, NEVER, Step},
};

use super::{Bench, Ending, Lab, ending, ends, samples::*};
use crate::{Op, Reader, RotationQuery};

fn begin(rotation: Rotation) -> Op {
    Op::CreateRotation { rotation }
}

pub async fn a_credential_has_one_unfinished_rotation<L: Lab>(bench: &Bench<'_, L>) {
    ends(bench, begin(rotation(1, "a")), Ending::Missing).await;
    bench
        .given([create(credential("a")), create(credential("b"))])
        .await;
    ends(bench, begin(rotation(1, "a")), Ending::Done).await;
    ends(bench, begin(rotation(2, "a")), Ending::Exists).await;
    ends(bench, begin(rotation(1, "b")), Ending::Exists).await;
    ends(bench, begin(rotation(2, "b")), Ending::Done).await;
    bench.given([moved(&rotation(1, "a"), Step::Done)]).await;
    ends(bench, begin(rotation(3, "a")), Ending::Done).await;
    // The first may not come back to life beside its successor.
    let mut first = rotation(1, "a");
    first.revision = 2;
    ends(bench, moved(&first, Step::Planned), Ending::Exists).await;
    let mut late = rotation(4, "b");
    late.revision = 2;
    ends(bench, begin(late), Ending::Invalid).await;
}

/// More of them than any store writes at once.
pub async fn a_batch_is_begun_as_a_whole_or_not_at_all<L: Lab>(bench: &Bench<'_, L>) {
    let at = |n: u128| format!("a{n:03}");
    let members = 1..=100;
    bench
        .given(members.clone().map(|n| create(credential(&at(n)))))
        .await;
    let starts = |but: Option<Op>| {
        let starts = members.clone().flat_map(|n| {
            let touch = update(credential(&at(n)));
            [touch, begin(rotation(n, &at(n)))]
        });
        let mut starts: Vec<Op> = starts.collect();
        starts.splice(101..101, but);
        starts
    };
    let refused = [
        (begin(rotation(7, "a007")), Ending::Exists),
        (begin(rotation(1000, "a007")), Ending::Exists),
        (begin(rotation(7, "a100")), Ending::Exists),
        (begin(rotation(1000, "nowhere")), Ending::Missing),
        (update(credential("a007")), Ending::Conflict),
    ];
    for (one, how) in refused {
        let done = bench.commit(starts(Some(one))).await;
        assert_eq!(ending(&done), how);
        let found = bench.store.rotation(&tenant(), Id::from_u128(1)).await;
        assert_eq!(found, Ok(None));
        let found = bench.store.credential(&tenant(), &path("a001")).await;
        assert_eq!(found.map(|it| it.map(|it| it.revision)), Ok(Some(1)));
    }
    // Of two that are refused the first is told.
    let mut two = starts(Some(begin(rotation(1000, "a007"))));
    two.push(update(credential("a007")));
    let done = bench.commit(two).await;
    assert_eq!(ending(&done), Ending::Exists);
    bench.given(starts(None)).await;
    for n in members {
        let expected = rotation(n, &at(n));
        let found = bench.store.rotation(&tenant(), expected.id).await;
        assert_eq!(found, Ok(Some(expected)));
    }
}

pub async fn an_update_is_fenced_by_its_revision<L: Lab>(bench: &Bench<'_, L>) {
    let it = rotation(1, "a");
    ends(bench, moved(&it, Step::Applying), Ending::Missing).await;
    bench
        .given([
            create(credential("a")),
            create(credential("b")),
            begin(it.clone()),
        ])
        .await;
    ends(bench, moved(&it, Step::Applying), Ending::Done).await;
    ends(bench, moved(&it, Step::Verifying), Ending::Conflict).await;
    let mut stray = rotation(1, "b");
    stray.revision = 2;
    ends(bench, moved(&stray, Step::Verifying), Ending::Invalid).await;
    let stuck = Op::UpdateRotation {
        rotation: it.clone(),
        expect: 1,
    };
    ends(bench, stuck, Ending::Invalid).await;
    let found = bench.store.rotation(&tenant(), it.id).await.unwrap();
    assert_eq!(
        found.map(|it| (it.progress.step, it.revision)),
        Some((Step::Applying, 2))
    );
    let other = "elsewhere".parse().unwrap();
    assert_eq!(bench.store.rotation(&other, it.id).await, Ok(None));
}

pub async fn the_longest_due_comes_first<L: Lab>(bench: &Bench<'_, L>) {
    let later = |ms| NOW.plus(Duration::from_millis(ms));
    // (id, resume_at, lease until): due at the later of the two.
    for (id, resume, until) in [(1, 30, 0), (2, 0, 10), (3, 20, 20), (4, 0, 90), (5, 90, 0)] {
        let at = format!("a{id}");
        let mut it = rotation(id, &at);
        it.resume_at = later(resume);
        it.lease.until = later(until);
        bench.given([create(credential(&at)), begin(it)]).await;
    }
    let mut done = rotation(6, "a6");
    done.progress = progress(Step::Failed);
    bench.given([create(credential("a6")), begin(done)]).await;
    // Another tenant's are due like all others.
    let mut foreign = credential("a7");
    foreign.tenant = "elsewhere".parse().unwrap();
    let mut theirs = rotation(7, "a7");
    theirs.tenant = foreign.tenant.clone();
    theirs.resume_at = later(15);
    bench.given([create(foreign), begin(theirs)]).await;

    let due = |now, limit| async move {
        let due = bench.store.due_rotations(now, limit).await.unwrap();
        due.into_iter().map(|it| it.id).collect::<Vec<_>>()
    };
    let ids = |ids: &[u128]| ids.iter().copied().map(Id::from_u128).collect::<Vec<_>>();
    assert_eq!(due(later(30), 10).await, ids(&[2, 7, 3, 1]));
    assert_eq!(due(later(30), 2).await, ids(&[2, 7]));
    assert_eq!(due(later(29), 10).await, ids(&[2, 7, 3]));
    assert_eq!(due(later(9), 10).await, ids(&[]));
    // Whoever takes one up holds it until the new lease ends.
    let mut taken = rotation(2, "a2");
    taken.lease.until = later(1000);
    bench.given([moved(&taken, Step::Applying)]).await;
    assert_eq!(due(later(30), 10).await, ids(&[7, 3, 1]));
}

pub async fn who_waits_for_a_person_is_known_as_long_as_it_does<L: Lab>(bench: &Bench<'_, L>) {
    let waiting = || async {
        let query = RotationQuery {
            tenant: tenant(),
            path: None,
            batch: None,
            unfinished: false,
            step: None,
            for_a_person: true,
            before: None,
            limit: 10,
        };
        let page = bench.store.rotations(&query).await.unwrap();
        page.items.iter().map(|it| it.id).collect::<Vec<_>>()
    };
    let steps = [
        Step::Planned,
        Step::Probing,
        Step::UndoProbing,
        Step::Observing,
    ];
    for (id, step) in (1..).zip(steps) {
        let at = format!("a{id}");
        let mut it = rotation(id, &at);
        it.progress = progress(step);
        bench.given([create(credential(&at)), begin(it)]).await;
    }
    assert_eq!(waiting().await, []);
    let mut paused: Vec<Rotation> = Vec::new();
    for (id, step) in (1..).zip(steps) {
        let mut it = rotation(id, &format!("a{id}"));
        paused_for_a_person(&mut it);
        it.revision = 2;
        it.progress = progress(step);
        let rotation = it.clone();
        bench
            .given([Op::UpdateRotation {
                rotation,
                expect: 1,
            }])
            .await;
        paused.push(it);
    }
    // Before anything was touched a pause is a person's own.
    assert_eq!(waiting().await, [4, 3, 2].map(Id::from_u128));
    let settled: [fn(&mut Rotation); 3] = [
        |it| it.control = Control::Run,
        |it| it.resume_at = NOW,
        |it| it.reason = None,
    ];
    for (mut it, settle) in paused.into_iter().skip(1).zip(settled) {
        it.revision = 3;
        settle(&mut it);
        let rotation = it;
        bench
            .given([Op::UpdateRotation {
                rotation,
                expect: 2,
            }])
            .await;
    }
    assert_eq!(waiting().await, []);
}

fn paused_for_a_person(it: &mut Rotation) {
    it.control = Control::Pause;
    it.resume_at = NEVER;
    it.reason = Some("permission denied".to_owned());
}

fn diverged(it: &Rotation) -> bool {
    it.progress.step == Step::Diverged
}

pub async fn pages_are_complete_under_every_filter<L: Lab>(bench: &Bench<'_, L>) {
    let batch = Id::from_u128(77);
    bench
        .given([create(credential("a")), create(credential("b"))])
        .await;
    let mut all = Vec::new();
    for id in 1..=14 {
        let mut it = rotation(id, ["a", "b"][usize::from(id % 2 == 0)]);
        it.batch = (id % 3 == 0).then_some(batch);
        it.progress = progress(match id {
            13 => Step::Planned,
            14 => Step::Probing,
            5 | 9 | 10 | 11 => Step::Diverged,
            _ => Step::Done,
        });
        if id == 14 {
            paused_for_a_person(&mut it);
        }
        bench.given([begin(it.clone())]).await;
        all.push(it);
    }
    all.reverse();
    let mut queries = Vec::new();
    for path in [None, Some(path("a"))] {
        for batch in [None, Some(batch)] {
            for unfinished in [false, true] {
                for step in [None, Some(Step::Diverged), Some(Step::Planned)] {
                    for for_a_person in [false, true] {
                        queries.push(RotationQuery {
                            tenant: tenant(),
                            path: path.clone(),
                            batch,
                            unfinished,
                            step,
                            for_a_person,
                            before: None,
                            limit: 2,
                        });
                    }
                }
            }
        }
    }
    for mut query in queries {
        let wanted = |it: &&Rotation| {
            query.path.as_ref().is_none_or(|path| *path == it.path)
                && (query.batch.is_none() || query.batch == it.batch)
                && (!query.unfinished || !it.progress.step.is_final())
                && query.step.is_none_or(|step| step == it.progress.step)
                && (!query.for_a_person || it.id == Id::from_u128(14) || diverged(it))
        };
        let expected: Vec<_> = all.iter().filter(wanted).cloned().collect();
        let mut seen: Vec<Rotation> = Vec::new();
        loop {
            let page = bench.store.rotations(&query).await.unwrap();
            assert!(page.items.len() <= 2);
            seen.extend(page.items);
            query.before = seen.last().map(|it| it.id);
            if !page.more {
                break;
            }
        }
        assert_eq!(seen, expected, "{query:?}");
    }
}
