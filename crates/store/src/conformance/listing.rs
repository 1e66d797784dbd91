//! Listings that are led: complete, in order, within their budget.

use std::sync::Arc;

use pentad_model::{Credential, Kind};

use super::{
    Bench, Lab,
    credentials::fits,
    samples::{NOW, binding, create, credential, path, tenant},
};
use crate::{
    CredentialQuery, Reader as _,
    guide::{Guide, Led, Seek},
};

/// Wants what lies below some folders, and some single paths; knows where to look next.
struct Wants {
    /// Sorted; one that ends with `/` is a folder.
    texts: Vec<&'static str>,
}

impl Guide for Wants {
    fn at(&self, path: &str) -> Seek {
        let wanted =
            |text: &&str| **text == *path || text.ends_with('/') && path.starts_with(*text);
        if self.texts.iter().any(wanted) {
            return Seek::Here;
        }
        match self.texts.iter().find(|text| **text > path) {
            Some(next) => Seek::From((*next).to_owned()),
            None => Seek::End,
        }
    }
}

/// As [`Wants`], and never knows more than that the next path may be wanted.
struct KnowsNothing(Wants);

impl Guide for KnowsNothing {
    fn at(&self, path: &str) -> Seek {
        match self.0.at(path) {
            Seek::Here => Seek::Here,
            Seek::From(_) | Seek::End => Seek::From(format!("{path}\0")),
        }
    }
}

fn estate() -> Vec<Credential> {
    let mut all = Vec::new();
    for n in 0..60 {
        // Neighbours of the slash in byte order.
        let folder = ["a/b", "a-b", "a/B", "a", "a0"][n % 5];
        let mut it = credential(&format!("{folder}/{n:02}"));
        it.kind = [Kind::Password, Kind::ApiKey][n / 5 % 2];
        it.binding = (n % 4 < 2).then(|| binding(["pg", "redis"][n % 2]));
        if n % 3 > 0 {
            it.tags.insert("env".into(), ["prod", "test"][n % 2].into());
        }
        it.deleted_at = (n % 8 == 7).then_some(NOW);
        all.push(it);
    }
    all.sort_by(|left, right| left.path.cmp(&right.path));
    all
}

fn guides() -> Vec<Arc<dyn Guide>> {
    let texts = [
        vec![],
        vec!["a/B/", "a/b/03", "a/b/10", "a0/"],
        vec!["a-b/16", "a/", "z"],
        vec!["nothing/"],
    ];
    let mut guides: Vec<Arc<dyn Guide>> = Vec::new();
    for texts in texts {
        guides.push(Arc::new(Wants {
            texts: texts.clone(),
        }));
        guides.push(Arc::new(KnowsNothing(Wants { texts })));
    }
    guides
}

/// Every combination of filters and guides, in pages of three and with any budget, gives what a plain
/// loop finds.
pub async fn a_led_listing_finds_what_a_plain_filter_finds<L: Lab>(bench: &Bench<'_, L>) {
    let all = estate();
    bench.given(all.iter().cloned().map(create)).await;
    let mut other = credential("a/b/other");
    other.tenant = "elsewhere".parse().unwrap();
    bench.given([create(other)]).await;
    for guide in guides() {
        for prefix in ["", "a/", "a/b/1"] {
            for tag in [None, Some(("env", None)), Some(("env", Some("prod")))] {
                for (target, kind) in [
                    (None, None),
                    (Some("pg"), None),
                    (None, Some(Kind::ApiKey)),
                    (Some("pg"), Some(Kind::ApiKey)),
                ] {
                    for deleted in [false, true] {
                        let query = CredentialQuery {
                            kind,
                            tag: tag.map(|(key, value)| (key.into(), value.map(str::to_owned))),
                            target: target.map(str::to_owned),
                            deleted,
                            ..CredentialQuery::below(tenant(), prefix, 3)
                        };
                        let expected: Vec<_> = all
                            .iter()
                            .filter(|it| fits(it, &query))
                            .filter(|it| guide.at(it.path.as_str()) == Seek::Here)
                            .cloned()
                            .collect();
                        for budget in [1, 4, 1000] {
                            let found = walk(bench, query.clone(), &guide, budget).await;
                            assert_eq!(found, expected, "{query:?}, budget {budget}");
                        }
                    }
                }
            }
        }
    }
}

async fn walk<L: Lab>(
    bench: &Bench<'_, L>,
    mut query: CredentialQuery,
    guide: &Arc<dyn Guide>,
    budget: usize,
) -> Vec<Credential> {
    let mut seen: Vec<Credential> = Vec::new();
    loop {
        let page = bench.store.guided(&query, Arc::clone(guide), budget).await;
        let Led { items, next } = page.unwrap();
        assert!(items.len() <= query.limit && items.len() <= budget);
        if items.len() == query.limit && next.is_some() {
            assert_eq!(next, items.last().map(|it| it.path.clone()));
        }
        assert!(next.is_none() || next > query.after, "it stands still");
        seen.extend(items);
        if next.is_none() {
            return seen;
        }
        query.after = next;
    }
}

/// An empty page has a next one where the budget ended.
pub async fn a_led_listing_stops_where_its_budget_ends_and_goes_on_from_there<L: Lab>(
    bench: &Bench<'_, L>,
) {
    bench
        .given((0..30).map(|n| create(credential(&format!("a/{n:02}")))))
        .await;
    let last: Arc<dyn Guide> = Arc::new(KnowsNothing(Wants {
        texts: vec!["a/28", "a/29"],
    }));
    let mut query = CredentialQuery::below(tenant(), "", 2);
    let page = bench.store.guided(&query, Arc::clone(&last), 10).await;
    let nothing = Led {
        items: Vec::new(),
        next: Some(path("a/09")),
    };
    assert_eq!(page, Ok(nothing));
    query.after = Some(path("a/19"));
    let page = bench.store.guided(&query, last, 10).await.unwrap();
    let found: Vec<_> = page.items.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(found, ["a/28", "a/29"]);
}
