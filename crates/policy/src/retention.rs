//! Retention: which old values and deleted credentials are destroyed, and when.
//!
//! Rules speak of paths by pattern. What always holds:
//!
//! * Only retired and revoked versions are ever due. Current, previous, pending and abandoned ones
//!   are not this module's to judge: whoever asks hands in old ones only.
//! * Where several rules match, all of them must let go: the longest keeps. A rule that holds keeps
//!   everything, for as long as it stands.
//! * Without a rule, everything is kept.
//! * What can't have happened when it says so (before what it happened to was made) has no age: days
//!   keep it, until somebody looks at it.

use std::time::Duration;

use pentad_model::{Name, Path, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    access::{InvalidPattern, Pattern},
    schedule::DAY,
};

/// A rule as somebody writes it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionRule {
    /// Its name.
    pub name: Name,
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// Path patterns, as in roles: `*` is one segment or a part of one, `**` as the last segment is
    /// everything below.
    pub paths: Vec<String>,
    /// Of each credential, so many of the newest old versions keep their value. Default: none.
    #[serde(default)]
    pub keep_versions: Option<u32>,
    /// An old version keeps its value for so many days after it was retired. Default: none.
    #[serde(default)]
    pub keep_days: Option<u32>,
    /// A soft-deleted credential is removed for good after so many days. Default: never.
    #[serde(default)]
    pub deleted_days: Option<u32>,
    /// Nothing that it matches is destroyed, whatever other rules say: for the time of a dispute.
    #[serde(default)]
    pub hold: bool,
}

/// The longest time that means anything: a century.
const MOST_DAYS: u32 = 36_525;
const MOST_VERSIONS: u32 = 10_000;

/// Why a rule can't be used. Whoever wrote it mends it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidRule {
    /// It matches nothing.
    #[error("a retention rule needs a path pattern, such as `prod/**`; `**` is everything")]
    NoPaths,
    /// A pattern that means nothing.
    #[error("pattern `{pattern}`: {cause}")]
    Pattern {
        /// The pattern, shortened.
        pattern: String,
        /// What is wrong with it.
        cause: InvalidPattern,
    },
    /// It says nothing, or contradicts itself.
    #[error(
        "a rule either holds (`hold`), or says what goes: `keep_versions`, `keep_days` or both, \
         `deleted_days`"
    )]
    Nothing,
    /// Beyond what can be counted.
    #[error("`{0}` goes up to {1}")]
    Number(&'static str, u32),
}

impl RetentionRule {
    /// Checks a rule that somebody wrote.
    pub fn check(&self) -> Result<(), InvalidRule> {
        let says = self.speaks_of_versions() || self.deleted_days.is_some();
        if self.hold == says {
            return Err(InvalidRule::Nothing);
        }
        for (name, number, most) in [
            ("keep_versions", self.keep_versions, MOST_VERSIONS),
            ("keep_days", self.keep_days, MOST_DAYS),
            ("deleted_days", self.deleted_days, MOST_DAYS),
        ] {
            if number.is_some_and(|number| number > most) {
                return Err(InvalidRule::Number(name, most));
            }
        }
        patterns(self).map(drop)
    }

    fn speaks_of_versions(&self) -> bool {
        self.keep_versions.is_some() || self.keep_days.is_some()
    }
}

fn patterns(rule: &RetentionRule) -> Result<Vec<Pattern>, InvalidRule> {
    if rule.paths.is_empty() {
        return Err(InvalidRule::NoPaths);
    }
    rule.paths
        .iter()
        .map(|text| {
            Pattern::parse(text).map_err(|cause| InvalidRule::Pattern {
                pattern: text.chars().take(64).collect(),
                cause,
            })
        })
        .collect()
}

/// A version that is old: retired or revoked, with its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OldVersion {
    /// Its number.
    pub number: u32,
    /// Since when it is old; `None` if that is not known.
    pub since: Option<Timestamp>,
}

/// What is destroyed: old versions, or soft-deleted credentials as a whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Old versions.
    Versions,
    /// Soft-deleted credentials.
    Deleted,
}

/// Rules, ready to be asked. The default keeps everything.
#[derive(Clone, Default, Debug)]
pub struct Retention {
    /// In the order of their names.
    rules: Vec<(RetentionRule, Vec<Pattern>)>,
}

impl Retention {
    /// Compiles rules.
    pub fn compile(mut rules: Vec<RetentionRule>) -> Result<Self, InvalidRule> {
        rules.sort_by(|a, b| a.name.cmp(&b.name));
        let compiled = rules.into_iter().map(|rule| {
            rule.check()?;
            let patterns = patterns(&rule)?;
            Ok((rule, patterns))
        });
        Ok(Self {
            rules: compiled.collect::<Result<_, _>>()?,
        })
    }

    /// The rules, in the order of their names.
    pub fn rules(&self) -> impl Iterator<Item = &RetentionRule> {
        self.rules.iter().map(|(rule, _)| rule)
    }

    /// The rule that keeps longest of those that speak of this sort of thing at this path: it decides
    /// when something falls due. `None` where nothing is destroyed: no rule, or one that holds.
    pub fn decides(&self, sort: Sort, path: &Path) -> Option<&RetentionRule> {
        let mut longest: Option<(&RetentionRule, u32)> = None;
        for rule in self.matching(path) {
            if rule.hold {
                return None;
            }
            let Some(days) = days(rule, sort) else {
                continue;
            };
            // Of equals the first by name, so that exactly one rule decides.
            if longest.is_none_or(|(_, most)| days > most) {
                longest = Some((rule, days));
            }
        }
        longest.map(|(rule, _)| rule)
    }

    /// What happened then or before may be due under this rule now. `None` if it does not speak of
    /// this sort of thing.
    pub fn due_until(rule: &RetentionRule, sort: Sort, now: Timestamp) -> Option<Timestamp> {
        let kept = DAY.saturating_mul(days(rule, sort)?);
        Some(minus(now, kept))
    }

    /// The numbers of those versions that are to be destroyed; `old` are all old versions of the
    /// credential at `path` that still have their value, in any order.
    pub fn due_versions(&self, path: &Path, old: &[OldVersion], now: Timestamp) -> Vec<u32> {
        let Some(rule) = self.decides(Sort::Versions, path) else {
            return Vec::new();
        };
        let until = Self::due_until(rule, Sort::Versions, now).unwrap_or(Timestamp(i64::MIN));
        let kept = self.matching(path).filter_map(|rule| rule.keep_versions);
        let kept = usize::try_from(kept.max().unwrap_or(0)).unwrap_or(usize::MAX);
        let mut newest_first = old.to_vec();
        newest_first.sort_by_key(|version| std::cmp::Reverse(version.number));
        newest_first
            .into_iter()
            .skip(kept)
            .filter(|version| match version.since {
                Some(since) => since <= until,
                None => asks_no_age(rule, Sort::Versions),
            })
            .map(|version| version.number)
            .collect()
    }

    /// Whether a credential that was soft-deleted at `since`, if that is known, is to be removed for
    /// good.
    pub fn deleted_is_due(&self, path: &Path, since: Option<Timestamp>, now: Timestamp) -> bool {
        let Some(rule) = self.decides(Sort::Deleted, path) else {
            return false;
        };
        let until = Self::due_until(rule, Sort::Deleted, now);
        match since {
            Some(since) => until.is_some_and(|until| since <= until),
            None => asks_no_age(rule, Sort::Deleted),
        }
    }

    fn matching(&self, path: &Path) -> impl Iterator<Item = &RetentionRule> {
        self.rules
            .iter()
            .filter(|(_, patterns)| patterns.iter().any(|pattern| pattern.matches(path)))
            .map(|(rule, _)| rule)
    }
}

/// Whether a rule keeps this sort of thing for no time at all.
fn asks_no_age(rule: &RetentionRule, sort: Sort) -> bool {
    days(rule, sort) == Some(0)
}

/// How long a rule keeps this sort of thing; `None` if it does not speak of it.
fn days(rule: &RetentionRule, sort: Sort) -> Option<u32> {
    match sort {
        Sort::Versions if rule.speaks_of_versions() => Some(rule.keep_days.unwrap_or(0)),
        Sort::Versions => None,
        Sort::Deleted => rule.deleted_days,
    }
}

fn minus(now: Timestamp, duration: Duration) -> Timestamp {
    let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Timestamp(now.0.saturating_sub(ms))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    const NOW: Timestamp = Timestamp(1000 * DAY_MS);

    fn rule(name: &str, path: &str, versions: Option<u32>, days: Option<u32>) -> RetentionRule {
        RetentionRule {
            name: name.parse().unwrap(),
            description: String::new(),
            paths: vec![path.to_owned()],
            keep_versions: versions,
            keep_days: days,
            deleted_days: None,
            hold: false,
        }
    }

    fn hold(path: &str) -> RetentionRule {
        RetentionRule {
            hold: true,
            ..rule("hold", path, None, None)
        }
    }

    /// Version `n` became old `11 - n` days ago: the higher, the younger.
    fn ten() -> Vec<OldVersion> {
        (1..=10)
            .map(|number| OldVersion {
                number,
                since: Some(Timestamp(NOW.0 - i64::from(11 - number) * DAY_MS)),
            })
            .collect()
    }

    fn due(rules: Vec<RetentionRule>) -> Vec<u32> {
        let path = "prod/db".parse().unwrap();
        let retention = Retention::compile(rules).unwrap();
        let mut due = retention.due_versions(&path, &ten(), NOW);
        due.sort_unstable();
        due
    }

    #[test]
    fn a_version_goes_when_it_is_neither_among_the_newest_nor_young() {
        let all = "**";
        assert_eq!(due(vec![rule("a", all, Some(7), None)]), [1, 2, 3]);
        assert_eq!(due(vec![rule("a", all, None, Some(8))]), [1, 2, 3]);
        assert_eq!(due(vec![rule("a", all, Some(9), Some(2))]), [1]);
        assert_eq!(due(vec![rule("a", all, Some(2), Some(9))]), [1, 2]);
        assert_eq!(due(vec![rule("a", all, Some(0), None)]).len(), 10);
    }

    #[test]
    fn the_longest_keeps_and_a_hold_keeps_everything() {
        let short = || rule("short", "prod/**", Some(1), None);
        let long = || rule("long", "prod/db", None, Some(9));
        assert_eq!(due(vec![short()]).len(), 9);
        assert_eq!(due(vec![short(), long()]), [1, 2]);
        assert_eq!(due(vec![short(), long(), hold("prod/**")]), [0u32; 0]);
        assert_eq!(due(vec![short(), hold("test/**")]).len(), 9);
        assert_eq!(due(vec![rule("a", "test/**", Some(0), None)]), [0u32; 0]);
        assert_eq!(due(Vec::new()), [0u32; 0]);
    }

    #[test]
    fn a_deleted_credential_goes_after_the_longest_time() {
        let mut short = rule("short", "**", None, None);
        short.deleted_days = Some(7);
        let mut long = rule("long", "prod/**", None, None);
        long.deleted_days = Some(30);
        let retention = Retention::compile(vec![short, long]).unwrap();
        let due = |path: &str, days: i64| {
            let deleted = Timestamp(NOW.0 - days * DAY_MS);
            retention.deleted_is_due(&path.parse().unwrap(), Some(deleted), NOW)
        };
        assert!(due("test/db", 7) && !due("test/db", 6));
        assert!(due("prod/db", 30) && !due("prod/db", 29));
        // A rule about deletions says nothing of versions.
        assert!(
            retention
                .decides(Sort::Versions, &"a".parse().unwrap())
                .is_none()
        );
    }

    #[test]
    fn what_has_no_known_age_is_kept_wherever_days_are_asked_for() {
        let path = "prod/db".parse().unwrap();
        let old = [OldVersion {
            number: 1,
            since: None,
        }];
        let due = |only: RetentionRule| {
            let retention = Retention::compile(vec![only]).unwrap();
            let versions = retention.due_versions(&path, &old, NOW).len();
            (versions, retention.deleted_is_due(&path, None, NOW))
        };
        let deleted = |days| RetentionRule {
            deleted_days: Some(days),
            ..rule("a", "**", None, None)
        };
        assert_eq!(due(rule("a", "**", None, Some(1))), (0, false));
        assert_eq!(due(rule("a", "**", Some(0), None)), (1, false));
        assert_eq!(due(deleted(1)), (0, false));
        assert_eq!(due(deleted(0)), (0, true));
    }

    #[test]
    fn a_rule_that_means_nothing_is_refused() {
        assert_eq!(
            rule("a", "**", None, None).check(),
            Err(InvalidRule::Nothing)
        );
        let mut both = hold("**");
        both.keep_days = Some(1);
        assert_eq!(both.check(), Err(InvalidRule::Nothing));
        let far = rule("a", "**", None, Some(MOST_DAYS + 1));
        assert_eq!(
            far.check(),
            Err(InvalidRule::Number("keep_days", MOST_DAYS))
        );
        assert!(matches!(
            rule("a", "/prod", Some(1), None).check(),
            Err(InvalidRule::Pattern { .. })
        ));
        let mut none = rule("a", "**", Some(1), None);
        none.paths.clear();
        assert_eq!(none.check(), Err(InvalidRule::NoPaths));
    }

    proptest! {
        #[test]
        fn another_rule_never_destroys_more(
            a in (0u32..12, 0u32..12), b in (0u32..12, 0u32..12), held: bool,
        ) {
            let one = rule("a", "**", Some(a.0), Some(a.1));
            let mut other = rule("b", "prod/**", Some(b.0), Some(b.1));
            if held { other = hold("prod/**"); }
            let alone = due(vec![one.clone()]);
            let both = due(vec![one, other]);
            prop_assert!(both.iter().all(|number| alone.contains(number)));
        }

        #[test]
        fn what_is_due_was_due_until_the_deciding_rules_time(
            versions in 0u32..12, days in 0u32..12,
        ) {
            let only = rule("a", "**", Some(versions), Some(days));
            let until = Retention::due_until(&only, Sort::Versions, NOW).unwrap();
            for number in due(vec![only]) {
                let since = ten().into_iter().find(|v| v.number == number).unwrap().since;
                prop_assert!(since.is_some_and(|since| since <= until));
            }
        }
    }
}
