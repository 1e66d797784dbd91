//! Led listings of an estate that is larger than what one round fetches: the pieces that a walk is cut
//! into, put together, are the walk.

use std::{collections::BTreeSet, sync::Arc};

use pentad_model::{Credential, clock::ManualClock};

use super::{Database, PostgresStore, options, run};
use crate::{
    CredentialQuery, Reader as _, Writer as _,
    conformance::samples::{NOW, change, create, credential, tenant},
    guide::{Guide, Led, Seek},
};

/// The same below each first folder: what a role of `*/app-07/db` wants.
struct Everywhere(&'static str);

impl Guide for Everywhere {
    fn at(&self, path: &str) -> Seek {
        let Some((folder, rest)) = path.split_once('/') else {
            return Seek::From(format!("{path}\0"));
        };
        match rest.cmp(self.0) {
            std::cmp::Ordering::Less => Seek::From(format!("{folder}/{}", self.0)),
            std::cmp::Ordering::Equal => Seek::Here,
            std::cmp::Ordering::Greater => Seek::From(format!("{folder}0")),
        }
    }
}

/// The same in each second folder of one: `team-03/*/db`.
struct Within(&'static str, &'static str);

impl Guide for Within {
    fn at(&self, path: &str) -> Seek {
        let Self(first, last) = self;
        let Some(rest) = path.strip_prefix(first) else {
            return match path < *first {
                true => Seek::From((*first).to_owned()),
                false => Seek::End,
            };
        };
        let Some((folder, rest)) = rest.split_once('/') else {
            return Seek::From(format!("{path}\0"));
        };
        match rest.cmp(last) {
            std::cmp::Ordering::Less => Seek::From(format!("{first}{folder}/{last}")),
            std::cmp::Ordering::Equal => Seek::Here,
            std::cmp::Ordering::Greater => Seek::From(format!("{first}{folder}0")),
        }
    }
}

/// Each by its name, there or not.
struct Named(BTreeSet<String>);

impl Guide for Named {
    fn at(&self, path: &str) -> Seek {
        if self.0.contains(path) {
            return Seek::Here;
        }
        match self.0.range(path.to_owned()..).next() {
            Some(next) => Seek::From(next.clone()),
            None => Seek::End,
        }
    }
}

/// Wants all but what lies from one text to another.
struct AllBut(&'static str, &'static str);

impl Guide for AllBut {
    fn at(&self, path: &str) -> Seek {
        match (self.0..self.1).contains(&path) {
            true => Seek::From(self.1.to_owned()),
            false => Seek::Here,
        }
    }
}

fn estate() -> Vec<Credential> {
    let mut all = Vec::new();
    for team in 0..45 {
        // Neighbours of the slash in the order of bytes, and folders of one path each.
        let folder = match team % 9 {
            7 => format!("team-{team:02}-x"),
            8 => format!("team-{:02}", team - 2),
            _ => format!("team-{team:02}"),
        };
        for app in 0..24 {
            for what in ["api", "db", "queue"] {
                let suffix = if team % 9 == 8 { "+" } else { "" };
                let mut it = credential(&format!("{folder}/app-{app:02}{suffix}/{what}"));
                if (team + app) % 3 == 0 {
                    it.tags.insert("env".into(), "prod".into());
                }
                all.push(it);
            }
        }
        all.push(credential(&format!("single-{team:02}")));
    }
    all.sort_by(|left, right| left.path.cmp(&right.path));
    all
}

async fn pages(
    store: &PostgresStore,
    mut query: CredentialQuery,
    guide: &Arc<dyn Guide>,
    budget: usize,
) -> (Vec<String>, usize) {
    let (mut seen, mut count) = (Vec::new(), 0);
    loop {
        let page = store.guided(&query, Arc::clone(guide), budget).await;
        let Led { items, next } = page.unwrap();
        count += 1;
        assert!(items.len() <= query.limit);
        assert!(
            next.is_none() || next > query.after,
            "it stands still: {next:?} with {} after {query:?}",
            items.len()
        );
        seen.extend(items.iter().map(|it| it.path.to_string()));
        if next.is_none() {
            return (seen, count);
        }
        query.after = next;
    }
}

#[test]
fn pieces_put_together_are_what_a_plain_filter_finds() {
    let lab = Database::new();
    run(async {
        let clock = Arc::new(ManualClock::at(NOW));
        let store = PostgresStore::create(lab.address(""), "log", options(clock)).await;
        let store = store.unwrap();
        let all = estate();
        for some in all.chunks(1000) {
            let ops = some.iter().cloned().map(create);
            store.commit(change(ops)).await.unwrap();
        }
        // Three hundred that are there, each with one beside it that is not.
        let named = all.iter().step_by(10).map(|it| it.path.to_string());
        let named = named.flat_map(|path| [format!("{path}-not"), path]);
        let guides: [(&str, Arc<dyn Guide>); 7] = [
            ("everywhere", Arc::new(Everywhere("app-07/db"))),
            ("everywhere, last", Arc::new(Everywhere("app-23/queue"))),
            ("nowhere", Arc::new(Everywhere("app-07/none"))),
            ("within", Arc::new(Within("team-03/", "db"))),
            ("named", Arc::new(Named(named.collect()))),
            ("all but", Arc::new(AllBut("team-1", "team-2"))),
            ("nothing", Arc::new(Named(BTreeSet::new()))),
        ];
        for (name, guide) in &guides {
            for tag in [None, Some(("env".to_owned(), Some("prod".to_owned())))] {
                for prefix in ["", "team-0", "team-03/app-1"] {
                    let wanted: Vec<String> = all
                        .iter()
                        .filter(|it| tag.is_none() || it.tags.contains_key("env"))
                        .map(|it| it.path.to_string())
                        .filter(|path| path.starts_with(prefix))
                        .filter(|path| guide.at(path) == Seek::Here)
                        .collect();
                    for (limit, budget) in [(7, 1000), (100, 2000), (100, 90), (1000, 11_000)] {
                        let mut query = CredentialQuery::below(tenant(), prefix, limit);
                        query.tag.clone_from(&tag);
                        let (seen, count) = pages(&store, query, guide, budget).await;
                        let what = format!("{name}, {tag:?}, {prefix:?}, {limit} of {budget}");
                        assert_eq!(seen, wanted, "{what}");
                        // Where the budget is no hindrance, pages are full.
                        let full = wanted.len() / limit + 1;
                        assert!(budget < 1000 || count <= full, "{what}: {count} pages");
                    }
                }
            }
        }
    });
}
