//! Where a listing goes next: from a path that roles don't allow straight to the first one that they
//! might, so that a narrow role's page costs what it holds and not what it passes over.
//!
//! Paths are listed in the order of their bytes. `/` comes before digits and letters, and `+`, `-` and
//! `.` before it: so `a-b` < `a/b` < `ab`, and everything below `a` lies together, from `a/` up to,
//! and without, `a0`.
//!
//! What always holds, and a property test holds against a plain filter: no path that is allowed lies
//! between the one asked about and the answer. The answer is always farther on, so whoever follows
//! it comes to an end.

use std::sync::Arc;

use pentad_model::Verb;

use super::{
    Access,
    pattern::{Pattern, Segment},
};

/// What to do at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seek {
    /// It is allowed.
    Here,
    /// It is not; nor is any path before this text. A text, not a path: look from there on.
    From(String),
    /// It is not, nor is any that comes later.
    End,
}

/// Leads a listing through what a set of roles allows. Cheap to make.
#[derive(Clone, Debug)]
pub struct Guide {
    access: Arc<Access>,
    verb: Verb,
    /// The allowing entries that name the verb, by the text that their paths begin with.
    allowing: Vec<usize>,
}

impl Guide {
    /// Through the paths on which `verb` is allowed.
    pub fn new(access: &Arc<Access>, verb: Verb) -> Self {
        let mut allowing: Vec<usize> = (access.denying..access.entries.len())
            .filter(|index| access.entries[*index].verbs.has(verb))
            .collect();
        allowing.sort_by_key(|index| access.entries[*index].pattern.literal_prefix());
        Self {
            access: Arc::clone(access),
            verb,
            allowing,
        }
    }

    /// What to do at this path.
    pub fn at(&self, path: &str) -> Seek {
        let denied = self.past_denied(path);
        if denied.is_none() && self.allowed(path) {
            return Seek::Here;
        }
        match (self.next_allowed(path), denied.flatten()) {
            (None, _) => Seek::End,
            (Some(next), Some(past)) => Seek::From(next.max(past)),
            (Some(next), None) => Seek::From(next),
        }
    }

    /// Whether the path is denied, and if all below one of its folders is, where that ends.
    fn past_denied(&self, path: &str) -> Option<Option<String>> {
        let denying = self
            .access
            .denies()
            .filter(|entry| entry.verbs.has(self.verb) && entry.pattern.matches_text(path));
        denying.map(|entry| entry.pattern.past_all(path)).max()
    }

    /// Those that begin with a later text don't match.
    fn reached(&self, path: &str) -> usize {
        self.allowing
            .partition_point(|index| self.pattern(*index).literal_prefix() <= path)
    }

    fn allowed(&self, path: &str) -> bool {
        self.allowing[..self.reached(path)]
            .iter()
            .any(|index| self.pattern(*index).matches_text(path))
    }

    /// The smallest text behind the path at which an allowing entry might match.
    fn next_allowed(&self, path: &str) -> Option<String> {
        let (begun, later) = self.allowing.split_at(self.reached(path));
        let begun = begun.iter().filter_map(|index| {
            let pattern = self.pattern(*index);
            // One whose beginning the path has left behind matches nothing any more.
            let within = path.starts_with(pattern.literal_prefix());
            within.then(|| pattern.next_after(path)).flatten()
        });
        let later = later
            .first()
            .map(|index| self.pattern(*index).literal_prefix().to_owned());
        begun.chain(later).min()
    }

    fn pattern(&self, index: usize) -> &Pattern {
        &self.access.entries[index].pattern
    }
}

impl Pattern {
    /// The smallest text behind `path`, which begins with our literal prefix, at which a path might
    /// match. `None` if none does.
    fn next_after(&self, path: &str) -> Option<String> {
        let mut begin = 0;
        for (number, segment) in self.segments.iter().enumerate() {
            let end = path[begin..].find('/').map_or(path.len(), |at| begin + at);
            let part = &path[begin..end];
            let path_ends = end == path.len();
            let pattern_ends = number + 1 == self.segments.len() && !self.below;
            match (segment.matches(part), path_ends, pattern_ends) {
                (true, false, false) => begin = end + 1,
                (true, true, true) => return Some(just_after(path)),
                // Too deep.
                (true, false, true) => return self.next_at(number, path),
                // Too short. What a wildcard takes can go on without a slash first: `a-b` < `a/b`.
                (true, true, false) => {
                    return Some(match segment {
                        Segment::Literal(_) => format!("{path}{}", self.literals_behind(number)),
                        Segment::Any | Segment::Glob(_) => just_after(path),
                    });
                }
                (false, ..) => {
                    let wanted = match segment {
                        Segment::Literal(text) => {
                            format!("{}{text}{}", &path[..begin], self.literals_behind(number))
                        }
                        Segment::Any => path[..begin].to_owned(),
                        Segment::Glob(text) => {
                            format!("{}{}", &path[..begin], before_star(text))
                        }
                    };
                    if wanted.as_str() > path {
                        return Some(wanted);
                    }
                    let glob_goes_on = match segment {
                        Segment::Glob(text) => part.starts_with(before_star(text)),
                        Segment::Literal(_) | Segment::Any => false,
                    };
                    return match (glob_goes_on, path_ends, number.checked_sub(1)) {
                        (true, true, _) => Some(just_after(path)),
                        (true, false, _) => Some(past(&path[..end])),
                        (false, _, Some(outer)) => self.next_at(outer, path),
                        (false, _, None) => None,
                    };
                }
            }
        }
        // All segments agree, and something is left: below.
        Some(just_after(path))
    }

    /// Nothing matches any more that has the path's parts up to this segment: behind all that have
    /// the same up to the innermost wildcard.
    fn next_at(&self, number: usize, path: &str) -> Option<String> {
        let wild = self.segments[..=number]
            .iter()
            .rposition(|segment| !matches!(segment, Segment::Literal(_)))?;
        let end = path.match_indices('/').nth(wild).map(|(at, _)| at)?;
        Some(past(&path[..end]))
    }

    /// The text that follows segment `number` in every match, as far as it is certain.
    fn literals_behind(&self, number: usize) -> String {
        let mut text = String::new();
        for segment in &self.segments[number + 1..] {
            text.push('/');
            match segment {
                Segment::Literal(literal) => text.push_str(literal),
                Segment::Glob(glob) => {
                    text.push_str(before_star(glob));
                    return text;
                }
                Segment::Any => return text,
            }
        }
        if self.below {
            text.push('/');
        }
        text
    }

    /// For a pattern that matches `path`: if it matches everything in one of the path's folders,
    /// where that folder ends.
    fn past_all(&self, path: &str) -> Option<String> {
        if !self.below {
            return None;
        }
        match self.segments.len() {
            // After everything: paths are ASCII.
            0 => Some(char::MAX.to_string()),
            depth => {
                let (end, _) = path.match_indices('/').nth(depth - 1)?;
                Some(past(&path[..end]))
            }
        }
    }
}

fn before_star(glob: &str) -> &str {
    glob.split('*').next().unwrap_or_default()
}

/// The first text behind `path`: nothing lies between.
fn just_after(path: &str) -> String {
    format!("{path}\0")
}

/// The first text behind everything below `folder`: `0` follows `/`.
fn past(folder: &str) -> String {
    format!("{folder}0")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use pentad_model::{
        Path,
        access::{Effect, Role, Rule},
    };
    use proptest::prelude::*;

    use super::*;
    use crate::access::pattern::tests::any_pattern;

    fn guide(allow: &[&str], deny: &[&str]) -> (Arc<Access>, Guide) {
        let rule = |effect, paths: &[&str]| Rule {
            effect,
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            verbs: vec![Verb::List],
        };
        let mut rules = Vec::new();
        if !allow.is_empty() {
            rules.push(rule(Effect::Allow, allow));
        }
        if !deny.is_empty() {
            rules.push(rule(Effect::Deny, deny));
        }
        let role = Role {
            name: "r".parse().unwrap(),
            description: String::new(),
            rules,
        };
        let access = Arc::new(Access::compile(&[role]).unwrap());
        let guide = Guide::new(&access, Verb::List);
        (access, guide)
    }

    /// What a listing by the guide finds, and at how many paths it looked.
    fn walk(guide: &Guide, paths: &BTreeSet<String>) -> (Vec<String>, usize) {
        let (mut found, mut looked, mut from) = (Vec::new(), 0, String::new());
        while let Some(path) = paths.range(from.clone()..).next() {
            looked += 1;
            match guide.at(path) {
                Seek::Here => {
                    found.push(path.clone());
                    from = just_after(path);
                }
                Seek::From(next) => {
                    assert!(next > *path, "{next:?} is not behind {path:?}");
                    from = next;
                }
                Seek::End => break,
            }
        }
        (found, looked)
    }

    fn any_paths() -> impl Strategy<Value = BTreeSet<String>> {
        // The characters around the slash decide about the order.
        let path = prop::collection::vec("[ab0+.-]{1,3}", 1..5).prop_map(|parts| parts.join("/"));
        let path = path.prop_filter("a path", |text| text.parse::<Path>().is_ok());
        prop::collection::btree_set(path, 0..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn a_walk_by_the_guide_finds_what_a_plain_filter_finds(
            allow in prop::collection::vec(any_pattern(), 0..4),
            deny in prop::collection::vec(any_pattern(), 0..3),
            paths in any_paths(),
        ) {
            let allow: Vec<&str> = allow.iter().map(String::as_str).collect();
            let deny: Vec<&str> = deny.iter().map(String::as_str).collect();
            let (access, guide) = guide(&allow, &deny);
            let allowed = paths.iter().filter(|path| {
                access.allows(Verb::List, &path.parse().unwrap())
            });
            let expected: Vec<String> = allowed.cloned().collect();
            prop_assert_eq!(walk(&guide, &paths).0, expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// A store that is far away asks about texts at which it has seen no path.
        #[test]
        fn no_path_is_passed_over_whatever_text_is_asked_about(
            allow in prop::collection::vec(any_pattern(), 0..4),
            deny in prop::collection::vec(any_pattern(), 0..3),
            paths in any_paths(),
            texts in prop::collection::vec("[ab0+./\0-]{0,8}", 1..8),
        ) {
            let allow: Vec<&str> = allow.iter().map(String::as_str).collect();
            let deny: Vec<&str> = deny.iter().map(String::as_str).collect();
            let (access, guide) = guide(&allow, &deny);
            let near = paths.iter().flat_map(|path| [just_after(path), past(path)]);
            for text in texts.into_iter().chain(near) {
                let passed = match guide.at(&text) {
                    Seek::Here => continue,
                    Seek::From(next) => {
                        prop_assert!(next > text, "{next:?} is not behind {text:?}");
                        Some(next)
                    }
                    Seek::End => None,
                };
                let mut passed = paths.iter().filter(|path| {
                    **path >= text && passed.as_ref().is_none_or(|next| *path < next)
                });
                let wanted = passed.find(|path| access.allows(Verb::List, &path.parse().unwrap()));
                prop_assert_eq!(wanted, None, "asked about {:?}", text);
            }
        }
    }

    fn estate() -> BTreeSet<String> {
        let mut paths = BTreeSet::new();
        for team in 0..100 {
            for app in 0..100 {
                for what in ["api", "cache", "db", "queue"] {
                    paths.insert(format!("team-{team}/app-{app}/{what}"));
                }
            }
        }
        paths
    }

    #[test]
    fn a_narrow_role_looks_at_little_more_than_it_sees() {
        let paths = estate();
        for (allow, deny, sees, looks) in [
            (&["team-7/*/db"][..], &[][..], 100, 302),
            (&["*/app-42/db"], &[], 100, 401),
            (&["team-3/app-1/db", "team-9/app-9/api"], &[], 2, 5),
            (&["team-3/**"], &["team-3/app-1*/**"], 4 * 89, 4 * 89 + 13),
            (&["**"], &["team-*/**"], 0, 100),
            (&["**"], &["**"], 0, 1),
            (&["*/*/nothing"], &[], 0, 20_000),
            (&["nothing/**"], &[], 0, 1),
            (&[], &[], 0, 1),
        ] {
            let (found, looked) = walk(&guide(allow, deny).1, &paths);
            assert_eq!(found.len(), sees, "{allow:?} without {deny:?}");
            assert!(
                looked <= looks,
                "{allow:?} without {deny:?}: {looked} looks"
            );
        }
    }
}
