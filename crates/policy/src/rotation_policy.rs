//! Rotation policies: which credentials are rotated when, and why.
//!
//! A policy speaks of paths by pattern. What always holds:
//!
//! * Where several match, the earliest asks: one that is rotated for the sake of one policy is rotated for
//!   all of them, since each counts from the value that is there.
//! * A reason that has come up (reads, risk) is a reason now, and waits for the policy's windows like
//!   any other; it counts from when it was seen, so it does not move on from look to look.
//! * Without a policy nothing is rotated by itself.

use pentad_model::{Name, Path, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    access::{InvalidPattern, Pattern},
    risk::Level,
    schedule::{Because, Due, InvalidTimetable, Schedule, Subject, Timetable},
};

/// A policy as somebody writes it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotationPolicy {
    /// Its name.
    pub name: Name,
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// Path patterns, as in roles: `*` is one segment or a part of one, `**` as the last segment is
    /// everything below.
    pub paths: Vec<String>,
    /// By time, and when rotations may begin. Default: on expiry, at any time.
    #[serde(default)]
    pub timetable: Timetable,
    /// Once the current value was read so often. Default: never.
    #[serde(default)]
    pub after_reads: Option<u64>,
    /// Once its risk is of this level or above. Default: never.
    #[serde(default)]
    pub at_risk: Option<Level>,
    /// So many days after it fell due, somebody is told that it was not rotated. Default: 7.
    #[serde(default = "seven")]
    pub deadline_days: u32,
}

fn seven() -> u32 {
    7
}

/// The longest time that means anything: a century.
const MOST_DAYS: u32 = 36_525;

/// Why a policy can't be used. Whoever wrote it mends it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidRotationPolicy {
    /// It matches nothing.
    #[error("a rotation policy needs a path pattern, such as `prod/**`; `**` is everything")]
    NoPaths,
    /// A pattern that means nothing.
    #[error("pattern `{pattern}`: {cause}")]
    Pattern {
        /// The pattern, shortened.
        pattern: String,
        /// What is wrong with it.
        cause: InvalidPattern,
    },
    /// What it says of time.
    #[error("timetable: {0}")]
    Timetable(#[from] InvalidTimetable),
    /// Beyond what can be counted.
    #[error("`{name}` goes from {least} to {most}")]
    Number {
        /// The setting.
        name: &'static str,
        /// What it may be at least.
        least: u64,
        /// What it may be at most.
        most: u64,
    },
}

/// What is known of a credential's current value beside its age.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Condition {
    /// How often it was read, and when it was read last.
    pub reads: Option<(u64, Timestamp)>,
    /// Its risk, and when that was found.
    pub risk: Option<(Level, Timestamp)>,
}

/// The next rotation, and who asks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decided<'a> {
    /// The policy.
    pub policy: &'a RotationPolicy,
    /// When and why.
    pub due: Due,
}

impl Decided<'_> {
    /// From then on somebody is to be told, if it was not rotated.
    pub fn deadline(&self) -> Timestamp {
        let days = crate::schedule::DAY.saturating_mul(self.policy.deadline_days);
        self.due.first.plus(days)
    }
}

/// Policies, ready to be asked. The default rotates nothing.
#[derive(Clone, Default, Debug)]
pub struct RotationPolicies {
    /// In the order of their names.
    policies: Vec<Compiled>,
}

#[derive(Clone, Debug)]
struct Compiled {
    policy: RotationPolicy,
    patterns: Vec<Pattern>,
    schedule: Schedule,
}

impl RotationPolicy {
    /// Checks a policy that somebody wrote.
    ///
    /// # Errors
    /// [`InvalidRotationPolicy`] names what to write instead.
    pub fn check(&self) -> Result<(), InvalidRotationPolicy> {
        Compiled::of(self.clone()).map(drop)
    }
}

impl RotationPolicies {
    /// Compiles policies.
    ///
    /// # Errors
    /// [`InvalidRotationPolicy`] of the first, by name, that can't be used.
    pub fn compile(mut policies: Vec<RotationPolicy>) -> Result<Self, InvalidRotationPolicy> {
        policies.sort_by(|a, b| a.name.cmp(&b.name));
        let policies = policies.into_iter().map(Compiled::of);
        Ok(Self {
            policies: policies.collect::<Result<_, _>>()?,
        })
    }

    /// The next rotation of the credential at a path as seen from `now`, if any policy asks for one. O(policies).
    pub fn next(
        &self,
        path: &Path,
        of: &Subject,
        condition: &Condition,
        now: Timestamp,
    ) -> Option<Decided<'_>> {
        let matching = self.policies.iter().filter(|it| it.matches(path));
        let asked = matching.filter_map(|it| {
            let due = it.next(of, condition, now)?;
            let policy = &it.policy;
            Some(Decided { policy, due })
        });
        // Of equals the first by name.
        asked.min_by_key(|decided| decided.due.at)
    }
}

impl Compiled {
    fn of(policy: RotationPolicy) -> Result<Self, InvalidRotationPolicy> {
        if policy.paths.is_empty() {
            return Err(InvalidRotationPolicy::NoPaths);
        }
        let pattern = |text: &String| {
            Pattern::parse(text).map_err(|cause| InvalidRotationPolicy::Pattern {
                pattern: text.chars().take(64).collect(),
                cause,
            })
        };
        let reads = policy.after_reads.unwrap_or(1);
        let days = u64::from(policy.deadline_days);
        for (name, number, least, most) in [
            ("after_reads", reads, 1, u64::MAX),
            ("deadline_days", days, 0, u64::from(MOST_DAYS)),
        ] {
            if !(least..=most).contains(&number) {
                return Err(InvalidRotationPolicy::Number { name, least, most });
            }
        }
        Ok(Self {
            patterns: policy.paths.iter().map(pattern).collect::<Result<_, _>>()?,
            schedule: Schedule::new(&policy.timetable)?,
            policy,
        })
    }

    fn matches(&self, path: &Path) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(path))
    }

    fn next(&self, of: &Subject, condition: &Condition, now: Timestamp) -> Option<Due> {
        let policy = &self.policy;
        let read = condition
            .reads
            .filter(|(reads, _)| policy.after_reads.is_some_and(|most| *reads >= most));
        let risky = condition
            .risk
            .filter(|(level, _)| policy.at_risk.is_some_and(|least| *level >= least));
        let reasons = [
            read.map(|(_, at)| (at, Because::Reads)),
            risky.map(|(_, at)| (at, Because::Risk)),
        ];
        let reasons = reasons.into_iter().flatten();
        let dues = reasons.filter_map(|(at, because)| self.schedule.opened(of, at, because, now));
        let by_time = self.schedule.next(of, now);
        dues.chain(by_time).min_by_key(|due| due.at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::schedule::Share;

    const DAY_MS: i64 = 24 * 60 * 60 * 1000;

    fn policies(toml: &[&str]) -> RotationPolicies {
        let parsed = toml.iter().map(|text| toml::from_str(text).unwrap());
        RotationPolicies::compile(parsed.collect()).unwrap()
    }

    fn subject() -> Subject {
        Subject {
            share: Share(0),
            since: Timestamp(20_000 * DAY_MS),
            expires_at: None,
        }
    }

    fn day(n: i64) -> Timestamp {
        Timestamp((20_000 + n) * DAY_MS)
    }

    /// Who asks for what, and on which day.
    fn next(
        policies: &RotationPolicies,
        path: &str,
        condition: Condition,
    ) -> Option<(String, Because, i64)> {
        let path = path.parse().unwrap();
        let decided = policies.next(&path, &subject(), &condition, day(0))?;
        let day = (decided.due.at.0 - day(0).0) / DAY_MS;
        Some((decided.policy.name.to_string(), decided.due.because, day))
    }

    const YEARLY: &str = "name = 'yearly'\npaths = ['**']\n\
                          [timetable]\nevery_days = 365\nspread_minutes = 0";
    const MONTHLY: &str = "name = 'monthly'\npaths = ['prod/*/db', 'prod/db']\nafter_reads = 1000\n\
                           at_risk = 'high'\n[timetable]\nevery_days = 30\nspread_minutes = 0";

    #[test]
    fn the_earliest_of_those_that_match_asks() {
        let both = policies(&[YEARLY, MONTHLY]);
        let none = Condition::default();
        let asked = |path| next(&both, path, none);
        assert_eq!(asked("prod/db"), Some(("monthly".into(), Because::Age, 30)));
        assert_eq!(asked("test/db"), Some(("yearly".into(), Because::Age, 365)));
        let one = policies(&[MONTHLY]);
        assert_eq!(next(&one, "test/db", none), None);
        assert_eq!(next(&RotationPolicies::default(), "prod/db", none), None);
    }

    #[test]
    fn use_and_risk_ask_from_when_they_were_seen() {
        let both = policies(&[YEARLY, MONTHLY]);
        let condition = |reads, level| Condition {
            reads: Some((reads, day(3))),
            risk: Some((level, day(2))),
        };
        let asked = |condition| next(&both, "prod/db", condition);
        let monthly = "monthly".to_owned();
        let calm = condition(999, Level::Moderate);
        assert_eq!(asked(calm), Some((monthly.clone(), Because::Age, 30)));
        let worn = condition(1000, Level::Low);
        assert_eq!(asked(worn), Some((monthly.clone(), Because::Reads, 3)));
        let bad = condition(1000, Level::Critical);
        assert_eq!(asked(bad), Some((monthly, Because::Risk, 2)));
        // What does not speak of them is not moved by them.
        let asked = next(&both, "test/db", bad);
        assert_eq!(asked, Some(("yearly".into(), Because::Age, 365)));
    }

    #[test]
    fn a_reason_waits_for_the_window_as_well() {
        let nights = policies(
            &["name = 'n'\npaths = ['**']\nat_risk = 'low'\n[timetable]\n\
                                 windows = [{ from = '22:00', until = '04:00' }]"],
        );
        let risk = Some((Level::Low, Timestamp(day(1).0 + DAY_MS / 2)));
        let condition = Condition { reads: None, risk };
        let path = "prod/db".parse().unwrap();
        let decided = nights.next(&path, &subject(), &condition, day(0)).unwrap();
        assert_eq!(decided.due.at, Timestamp(day(1).0 + DAY_MS / 24 * 22));
        assert_eq!(
            decided.deadline().since(decided.due.at),
            crate::schedule::DAY * 7
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (toml, told) in [
            ("name = 'x'\npaths = []", "needs a path pattern"),
            ("name = 'x'\npaths = ['/a']", "pattern `/a`"),
            (
                "name = 'x'\npaths = ['a']\nafter_reads = 0",
                "`after_reads` goes from 1",
            ),
            (
                "name = 'x'\npaths = ['a']\ndeadline_days = 40000",
                "`deadline_days`",
            ),
            (
                "name = 'x'\npaths = ['a']\n[timetable]\nevery_days = 0",
                "timetable: `every_days`",
            ),
        ] {
            let policy: RotationPolicy = toml::from_str(toml).unwrap();
            let error = policy.check().unwrap_err().to_string();
            assert!(error.contains(told), "{toml}: {error}");
        }
    }
}
