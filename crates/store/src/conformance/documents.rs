//! Documents.

#![allow(missing_docs)]

use std::time::Duration;

use pentad_model::secret::Fingerprint;

use super::{Bench, Ending, Lab, ending, ends, samples::*};
use crate::{Collection, Document, Expect, Op, Reader};

fn put(document: Document, expect: Expect) -> Op {
    Op::PutDocument { document, expect }
}

fn remove(name: &str) -> Op {
    Op::RemoveDocument {
        collection: Collection::Role,
        tenant: tenant(),
        name: name.to_owned(),
    }
}

async fn revision<L: Lab>(bench: &Bench<'_, L>, name: &str) -> Option<u64> {
    let (store, tenant) = (&bench.store, tenant());
    let found = store.document(Collection::Role, &tenant, name, bench.now());
    found.await.unwrap().map(|document| document.revision)
}

pub async fn each_precondition_holds_or_fails<L: Lab>(bench: &Bench<'_, L>) {
    ends(bench, remove("ops"), Ending::Missing).await;
    let ops = || document("ops");
    ends(bench, put(ops(), Expect::Revision(1)), Ending::Missing).await;
    ends(bench, put(ops(), Expect::Absent), Ending::Done).await;
    assert_eq!(revision(bench, "ops").await, Some(1));
    ends(bench, put(ops(), Expect::Absent), Ending::Exists).await;
    ends(bench, put(ops(), Expect::Any), Ending::Done).await;
    assert_eq!(revision(bench, "ops").await, Some(2));
    ends(bench, put(ops(), Expect::Revision(1)), Ending::Conflict).await;
    ends(bench, put(ops(), Expect::Revision(2)), Ending::Done).await;
    assert_eq!(revision(bench, "ops").await, Some(3));
    ends(bench, put(document("dev"), Expect::Any), Ending::Done).await;
    assert_eq!(revision(bench, "dev").await, Some(1));
    ends(bench, remove("ops"), Ending::Done).await;
    assert_eq!(revision(bench, "ops").await, None);
    // The same name elsewhere is another document.
    let mut elsewhere = document("dev");
    elsewhere.collection = Collection::Policy;
    ends(bench, put(elsewhere, Expect::Absent), Ending::Done).await;
    let mut elsewhere = document("dev");
    elsewhere.tenant = "elsewhere".parse().unwrap();
    ends(bench, put(elsewhere, Expect::Absent), Ending::Done).await;
}

pub async fn a_check_refuses_the_whole_change_and_writes_nothing<L: Lab>(bench: &Bench<'_, L>) {
    let check = |expect| Op::CheckDocument {
        collection: Collection::Role,
        tenant: tenant(),
        name: "ops".to_owned(),
        expect,
    };
    ends(bench, check(Expect::Absent), Ending::Done).await;
    ends(bench, check(Expect::Any), Ending::Done).await;
    ends(bench, check(Expect::Revision(1)), Ending::Missing).await;
    let hour = Duration::from_secs(3600);
    let brief = Document {
        expires_at: Some(NOW.plus(hour)),
        ..document("ops")
    };
    bench.given([put(brief, Expect::Absent)]).await;
    ends(bench, check(Expect::Absent), Ending::Exists).await;
    ends(bench, check(Expect::Revision(2)), Ending::Conflict).await;
    ends(bench, check(Expect::Revision(1)), Ending::Done).await;
    assert_eq!(revision(bench, "ops").await, Some(1), "nothing was written");
    let other = || put(document("dev"), Expect::Any);
    let refused = bench.commit([other(), check(Expect::Revision(2))]).await;
    assert_eq!(ending(&refused), Ending::Conflict);
    assert_eq!(revision(bench, "dev").await, None);
    bench.given([other(), check(Expect::Revision(1))]).await;
    bench.clock.advance(hour);
    ends(bench, check(Expect::Revision(1)), Ending::Missing).await;
    ends(bench, check(Expect::Absent), Ending::Done).await;
}

pub async fn many_are_found_as_each_is<L: Lab>(bench: &Bench<'_, L>) {
    let mut short = document("short");
    short.expires_at = Some(bench.now().plus(Duration::from_secs(1)));
    let ops = put(document("ops"), Expect::Absent);
    bench.given([ops, put(short, Expect::Absent)]).await;
    let tenant = tenant();
    let names = ["short", "none", "ops", "ops"].map(str::to_owned);
    for expired in [false, true] {
        let now = bench
            .now()
            .plus(Duration::from_secs(u64::from(expired) * 2));
        let mut each = Vec::new();
        for name in &names {
            let found = bench.store.document(Collection::Role, &tenant, name, now);
            each.push(found.await.unwrap());
        }
        assert!(each[0].is_none() == expired && each[1].is_none() && each[2].is_some());
        let many = bench
            .store
            .documents_named(Collection::Role, &tenant, &names, now);
        assert_eq!(many.await, Ok(each));
    }
}

pub async fn a_seal_is_kept_as_it_was_given<L: Lab>(bench: &Bench<'_, L>) {
    let sealed = |byte| Document {
        seal: Some(Fingerprint([byte; 32])),
        ..document("ops")
    };
    for given in [sealed(1), sealed(2), document("ops")] {
        let seal = given.seal;
        bench.given([put(given, Expect::Any)]).await;
        let (store, whose) = (&bench.store, tenant());
        let found = store.document(Collection::Role, &whose, "ops", bench.now());
        assert_eq!(found.await.unwrap().unwrap().seal, seal);
    }
}

pub async fn an_expired_document_is_gone<L: Lab>(bench: &Bench<'_, L>) {
    let hour = Duration::from_secs(3600);
    let brief = || Document {
        expires_at: Some(NOW.plus(hour)),
        ..document("brief")
    };
    bench.given([put(brief(), Expect::Any)]).await;
    bench.given([put(brief(), Expect::Any)]).await;
    assert_eq!(revision(bench, "brief").await, Some(2));
    bench.clock.advance(hour);
    assert_eq!(revision(bench, "brief").await, None);
    let (store, whose) = (&bench.store, tenant());
    let page = store.documents(Collection::Role, &whose, None, 10, bench.now());
    assert!(page.await.unwrap().items.is_empty());
    // Whether it has been swept yet makes no difference to anybody.
    ends(bench, put(brief(), Expect::Revision(2)), Ending::Missing).await;
    ends(bench, remove("brief"), Ending::Missing).await;
    let lasting = document("brief");
    ends(bench, put(lasting, Expect::Absent), Ending::Done).await;
    assert_eq!(revision(bench, "brief").await, Some(1));
}

pub async fn pages_are_complete<L: Lab>(bench: &Bench<'_, L>) {
    let mut names: Vec<String> = (0..10).map(|n| format!("n{n}")).collect();
    // Names are any text; their order is that of their bytes.
    names.extend(["", "N", "n1\0", "n1\0x", "n1 ", "é", "\u{10ffff}"].map(str::to_owned));
    for name in &names {
        bench.given([put(document(name), Expect::Absent)]).await;
    }
    let other = Document {
        collection: Collection::User,
        ..document("n5x")
    };
    bench.given([put(other, Expect::Absent)]).await;
    names.sort();
    let mut seen: Vec<String> = Vec::new();
    loop {
        let after = seen.last().map(String::as_str);
        let (store, whose) = (&bench.store, tenant());
        let page = store.documents(Collection::Role, &whose, after, 3, NOW);
        let page = page.await.unwrap();
        seen.extend(page.items.into_iter().map(|document| document.name));
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, names);
}
