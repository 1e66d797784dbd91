//! Rotations.

#![allow(missing_docs)]

use std::time::Duration;

use pentad_model::{Id, Rotation, rotation::Step};

use super::{Bench, Ending, Lab, ends, samples::*};
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
            13.. => Step::Planned,
            5 | 9 | 10 | 11 => Step::Diverged,
            _ => Step::Done,
        });
        bench.given([begin(it.clone())]).await;
        all.push(it);
    }
    all.reverse();
    let mut queries = Vec::new();
    for path in [None, Some(path("a"))] {
        for batch in [None, Some(batch)] {
            for unfinished in [false, true] {
                for step in [None, Some(Step::Diverged), Some(Step::Planned)] {
                    queries.push(RotationQuery {
                        tenant: tenant(),
                        path: path.clone(),
                        batch,
                        unfinished,
                        step,
                        before: None,
                        limit: 2,
                    });
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
