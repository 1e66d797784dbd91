//! What holds for every change and for the store as a whole.

#![allow(missing_docs)]

use std::sync::Arc;

use futures::future::join_all;
use pentad_model::{Credential, Id, Rotation, Stage, Timestamp, Version};

use super::{Bench, Ending, Lab, ending, samples::*};
use crate::{
    Collection, CredentialQuery, Document, Due, DueQuery, Expect, Op, Reader, RotationQuery,
    Writer, read::MAX_PAGE,
};

/// All that a reader can see of the samples' tenant, up to a page each.
#[derive(PartialEq, Debug)]
pub struct Everything {
    pub credentials: Vec<Credential>,
    pub versions: Vec<Version>,
    pub currents: Vec<Option<(Credential, Option<Version>)>>,
    pub rotations: Vec<Rotation>,
    pub due: Vec<Rotation>,
    pub old: Vec<Due>,
    pub deleted: Vec<Due>,
    pub owned: Vec<Credential>,
    pub documents: Vec<Document>,
    /// Without their positions, which a store is free to choose.
    pub outbox: Vec<(Id, String)>,
}

/// See [`Everything`].
pub async fn everything(store: &impl Reader, now: Timestamp) -> Everything {
    let mut credentials = Vec::new();
    for deleted in [false, true] {
        let query = CredentialQuery {
            deleted,
            ..CredentialQuery::below(tenant(), "", MAX_PAGE)
        };
        credentials.extend(store.credentials(&query).await.unwrap().items);
    }
    let (mut versions, mut currents) = (Vec::new(), Vec::new());
    for Credential { path, .. } in &credentials {
        let page = store.versions(&tenant(), path, None, MAX_PAGE).await;
        versions.extend(page.unwrap().items);
        currents.push(store.current(&tenant(), path).await.unwrap());
    }
    let mut documents = Vec::new();
    for collection in Collection::ALL {
        let whose = tenant();
        let page = store.documents(*collection, &whose, None, MAX_PAGE, now);
        documents.extend(page.await.unwrap().items);
    }
    let query = RotationQuery {
        tenant: tenant(),
        path: None,
        batch: None,
        unfinished: false,
        step: None,
        for_a_person: false,
        before: None,
        limit: MAX_PAGE,
    };
    let fallen_due = DueQuery {
        tenant: tenant(),
        until: Timestamp(i64::MAX),
        after: None,
        limit: MAX_PAGE,
    };
    let owned = store
        .owned_credentials(&tenant(), OWNER, None, MAX_PAGE)
        .await;
    let outbox = store.outbox(MAX_PAGE).await.unwrap();
    Everything {
        credentials,
        versions,
        currents,
        rotations: store.rotations(&query).await.unwrap().items,
        due: store.due_rotations(now, MAX_PAGE).await.unwrap(),
        old: store.old_versions(&fallen_due).await.unwrap().items,
        deleted: store.deleted_credentials(&fallen_due).await.unwrap().items,
        owned: owned.unwrap().items,
        documents,
        outbox: outbox.into_iter().map(|it| (it.id, it.body)).collect(),
    }
}

pub async fn a_failing_operation_leaves_nothing<L: Lab>(bench: &Bench<'_, L>) {
    bench.given(stored("a")).await;
    let before = everything(&*bench.store, bench.now()).await;
    let mut tagged = credential("a");
    tagged.tags.insert("env".into(), "prod".into());
    let good = vec![
        create(credential("b")),
        update(tagged),
        Op::AddVersion {
            version: version("b", 1),
        },
        staging("a", 1, Stage::Current, Stage::Previous),
        Op::CreateRotation {
            rotation: rotation(1, "a"),
        },
        Op::PutDocument {
            document: document("ops"),
            expect: Expect::Any,
        },
    ];
    let bad = Op::AddVersion {
        version: version("a", 1),
    };
    // Wherever the failing one stands.
    for place in 0..=good.len() {
        let mut ops = good.clone();
        ops.insert(place, bad.clone());
        let result = bench.commit(ops).await;
        assert_eq!(ending(&result), Ending::Exists, "{place}: {result:?}");
        assert_eq!(everything(&*bench.store, bench.now()).await, before);
    }
    bench.given(good).await;
}

pub async fn a_failing_change_takes_no_other_with_it<L: Lab>(bench: &Bench<'_, L>) {
    bench.given([create(credential("taken"))]).await;
    // Together, so that they share transactions.
    let results = join_all((0..60).map(|n| {
        let at = if n % 3 == 0 {
            "taken".to_owned()
        } else {
            format!("free/{n}")
        };
        bench.commit([create(credential(&at))])
    }))
    .await;
    for (n, result) in results.iter().enumerate() {
        let expected = [Ending::Exists, Ending::Done, Ending::Done][n % 3];
        assert_eq!(ending(result), expected, "{n}");
    }
    let query = CredentialQuery::below(tenant(), "free/", MAX_PAGE);
    let found = bench.store.credentials(&query).await.unwrap();
    assert_eq!(found.items.len(), 40);
    assert_eq!(bench.store.outbox(MAX_PAGE).await.unwrap().len(), 41);
}

pub async fn each_operation_sees_those_before_it<L: Lab>(bench: &Bench<'_, L>) {
    let mut it = credential("a");
    it.revision = 2;
    let mut ops = stored("a");
    ops.extend([
        update(credential("a")),
        staging("a", 1, Stage::Current, Stage::Previous),
        staging("a", 1, Stage::Previous, Stage::Retired),
        update(it),
    ]);
    bench.given(ops).await;
    let found = bench.store.credential(&tenant(), &path("a")).await;
    assert_eq!(found.unwrap().map(|it| it.revision), Some(3));
}

pub async fn reopening_keeps_everything<L: Lab>(bench: &Bench<'_, L>) {
    // A store that nobody else holds, so that it can end.
    let store = bench.lab.fresh(Arc::clone(&bench.clock)).await;
    for n in 0..20 {
        let at = format!("a/{n}");
        let mut ops = stored(&at);
        ops.push(Op::CreateRotation {
            rotation: rotation(n, &at),
        });
        ops.push(Op::PutDocument {
            document: document(&at),
            expect: Expect::Any,
        });
        store.commit(change(ops)).await.unwrap();
    }
    let before = everything(&*store, bench.now()).await;
    assert_eq!(before.rotations.len(), 20);
    let store = bench.lab.reopen(store).await;
    assert_eq!(everything(&*store, bench.now()).await, before);
    let next = change([create(credential("b"))]);
    store.commit(next).await.unwrap();
}

pub async fn a_sound_store_has_no_damage<L: Lab>(bench: &Bench<'_, L>) {
    bench.given(stored("a")).await;
    let document = document("ops");
    let rotation = rotation(1, "a");
    bench
        .given([
            Op::CreateRotation { rotation },
            Op::PutDocument {
                document,
                expect: Expect::Any,
            },
        ])
        .await;
    assert_eq!(bench.store.verify().await, Ok(Vec::new()));
}
