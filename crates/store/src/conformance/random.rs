//! Random changes on a store and on the [`Reference`]: they end alike and leave the same.

use std::{sync::Arc, time::Duration};

use pentad_model::{Id, Kind, Stage, Timestamp, rotation::Step, secret::Fingerprint};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{
    Bench, Lab, ending,
    reference::Reference,
    samples::{self, NOW, path, tenant},
    whole::everything,
};
use crate::{Change, Collection, CredentialQuery, Document, Expect, Op, Reader, Writer};

/// One step of a run.
#[derive(Clone, Debug)]
pub enum Act {
    /// Commit this.
    Commit(Change),
    /// Let this much time pass.
    Wait(Duration),
    /// Drop the outbox.
    Clear,
}

const PATHS: &[&str] = &["a", "a/b", "b"];

/// Runs of acts over so few names and numbers that they meet often.
pub fn acts() -> impl Strategy<Value = Vec<Act>> {
    vec(
        prop_oneof![
            12 => changes().prop_map(Act::Commit),
            1 => (0u64..30 * 3600).prop_map(|s| Act::Wait(Duration::from_secs(s))),
            1 => Just(Act::Clear),
        ],
        1..60,
    )
}

fn changes() -> impl Strategy<Value = Change> {
    // Ids repeat now and then: the same change again, or a part of its news.
    (vec(ops(), 0..4), vec(0u128..400, 0..3)).prop_map(|(ops, ids)| Change {
        ops,
        records: ids
            .into_iter()
            .map(|id| samples::record(Id::from_u128(id)))
            .collect(),
    })
}

fn stages() -> impl Strategy<Value = Stage> {
    select(&[Stage::Pending, Stage::Current, Stage::Retired][..])
}

fn ops() -> impl Strategy<Value = Op> {
    let credential = || {
        (
            select(PATHS),
            1u64..6,
            any::<bool>(),
            option::of(1u32..4),
            option::of(0u8..2),
        )
            .prop_map(|(at, revision, deleted, current, tag)| {
                let mut it = samples::credential(at);
                it.revision = revision;
                it.deleted_at = deleted.then_some(NOW);
                it.current = current;
                it.owner = tag.map(|_| samples::OWNER.to_owned());
                it.kind = [Kind::Password, Kind::Token][usize::from(deleted)];
                it.binding = tag.map(|_| samples::binding("pg"));
                it.tags
                    .extend(tag.map(|value| ("t".to_owned(), value.to_string())));
                it
            })
    };
    let version = (select(PATHS), 0u32..4, stages()).prop_map(|(at, number, stage)| {
        let mut version = samples::version(at, number);
        version.stage = stage;
        version
    });
    let rotation = || {
        (
            1u128..4,
            select(PATHS),
            1u64..5,
            any::<bool>(),
            (0i64..100, 0i64..100),
        )
            .prop_map(|(id, at, revision, ended, (resume, until))| {
                let mut it = samples::rotation(id, at);
                it.revision = revision;
                it.progress = samples::progress(if ended { Step::Done } else { Step::Applying });
                it.resume_at = Timestamp(NOW.0 + resume);
                it.lease.until = Timestamp(NOW.0 + until);
                it
            })
    };
    let expect = || {
        prop_oneof![
            Just(Expect::Any),
            Just(Expect::Absent),
            (1u64..4).prop_map(Expect::Revision)
        ]
    };
    let document = (
        select(&["x", "y"][..]),
        option::of(0i64..100_000_000),
        expect(),
    );
    prop_oneof![
        4 => credential().prop_map(|mut credential| {
            credential.revision = 1;
            Op::CreateCredential { credential }
        }),
        4 => (credential(), 0u64..5)
            .prop_map(|(credential, expect)| Op::UpdateCredential { credential, expect }),
        2 => (select(PATHS), 1u64..5).prop_map(|(at, expect)| Op::RemoveCredential {
            tenant: tenant(),
            path: path(at),
            expect,
        }),
        4 => version.prop_map(|version| Op::AddVersion { version }),
        4 => (select(PATHS), 1u32..4, stages(), stages())
            .prop_map(|(at, number, from, to)| samples::staging(at, number, from, to)),
        2 => (select(PATHS), 1u32..4, stages()).prop_map(|(at, number, stage)| Op::DestroyVersion {
            tenant: tenant(),
            path: path(at),
            number,
            stage,
            at: NOW,
        }),
        3 => rotation().prop_map(|mut rotation| {
            rotation.revision = 1;
            Op::CreateRotation { rotation }
        }),
        3 => (rotation(), 0u64..4)
            .prop_map(|(rotation, expect)| Op::UpdateRotation { rotation, expect }),
        3 => document.prop_map(|(name, lasts, expect)| Op::PutDocument {
            document: Document {
                expires_at: lasts.map(|ms| Timestamp(NOW.0 + ms)),
                ..samples::document(name)
            },
            expect,
        }),
        1 => select(&["x", "y"][..]).prop_map(|name| Op::RemoveDocument {
            collection: Collection::Role,
            tenant: tenant(),
            name: name.to_owned(),
        }),
        1 => (select(&["x", "y"][..]), expect()).prop_map(|(name, expect)| Op::CheckDocument {
            collection: Collection::Role,
            tenant: tenant(),
            name: name.to_owned(),
            expect,
        }),
    ]
}

/// Runs the acts on both and compares how each ended and what they left.
pub async fn agrees_with_the_reference<L: Lab>(lab: &L, acts: Vec<Act>) {
    let bench = Bench::new(lab).await;
    let reference = Reference::new(Arc::clone(&bench.clock));
    for act in acts {
        match act {
            Act::Commit(change) => {
                let expected = reference.commit(change.clone()).await;
                let found = bench.store.commit(change.clone()).await;
                let same = ending(&found) == ending(&expected);
                assert!(same, "{change:?}: {found:?} instead of {expected:?}");
            }
            Act::Wait(duration) => bench.clock.advance(duration),
            Act::Clear => {
                reference.clear_outbox(u64::MAX).await.unwrap();
                bench.store.clear_outbox(u64::MAX).await.unwrap();
            }
        }
    }
    let expected = everything(&reference, bench.now()).await;
    assert_eq!(everything(&*bench.store, bench.now()).await, expected);
    for at in PATHS {
        for value in 1..4 {
            let value = Fingerprint([value; 32]);
            let found = bench.store.shared_with(&tenant(), &path(at), &value).await;
            let expected = reference.shared_with(&tenant(), &path(at), &value).await;
            assert_eq!(found, expected);
        }
    }
    for deleted in [false, true] {
        let query = CredentialQuery {
            tag: Some(("t".to_owned(), Some("1".to_owned()))),
            deleted,
            ..CredentialQuery::below(tenant(), "a", 2)
        };
        let found = bench.store.credentials(&query).await;
        assert_eq!(found, reference.credentials(&query).await);
    }
}
