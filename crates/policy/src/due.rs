//! When the next rotation is due. Pure: whoever asks compares the answer with the clock.

use std::time::Duration;

use pentad_model::Timestamp;
use serde::{Deserialize, Serialize};

/// When a credential is rotated. The default rotates on expiry only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// At the latest this many days after the last rotation; `None`: age alone is no reason, as
    /// NIST SP 800-63B-4 asks for passwords that people remember.
    pub interval_days: Option<u32>,
    /// This many days before the value expires. Default: 14. A value that lives shorter than three
    /// times that is rotated at two thirds of its life.
    pub before_expiry_days: u32,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            interval_days: None,
            before_expiry_days: 14,
        }
    }
}

/// The next rotation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Due {
    /// From then on.
    pub at: Timestamp,
    /// Why then.
    pub because: Because,
}

/// What makes a rotation due.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// The interval since the last rotation.
    Interval,
    /// The value's expiry.
    Expiry,
}

impl Due {
    /// Whether it is due at `now`.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.at <= now
    }
}

/// When the next rotation is due, if ever: the earlier of interval and expiry. `since` is when the
/// current value was made. May lie in the past: then it is overdue.
pub fn next_due(
    schedule: &Schedule,
    since: Timestamp,
    expires_at: Option<Timestamp>,
) -> Option<Due> {
    let interval = schedule.interval_days.map(|count| Due {
        at: since.plus(days(count)),
        because: Because::Interval,
    });
    let expiry = expires_at.map(|end| {
        let life = end.since(since);
        let ahead = days(schedule.before_expiry_days).min(life / 3);
        Due {
            at: since.plus(life.saturating_sub(ahead)).min(end),
            because: Because::Expiry,
        }
    });
    [interval, expiry]
        .into_iter()
        .flatten()
        .min_by_key(|due| due.at)
}

/// What a setting in days counts.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn days(count: u32) -> Duration {
    DAY.saturating_mul(count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY_MS: i64 = 24 * 60 * 60 * 1000;

    fn due(
        interval: Option<u32>,
        ahead: u32,
        since: i64,
        end: Option<i64>,
    ) -> Option<(i64, Because)> {
        let schedule = Schedule {
            interval_days: interval,
            before_expiry_days: ahead,
        };
        let end = end.map(|day| Timestamp(day * DAY_MS));
        next_due(&schedule, Timestamp(since * DAY_MS), end)
            .map(|due| (due.at.0 / DAY_MS, due.because))
    }

    #[test]
    fn the_earlier_reason_decides() {
        use Because::{Expiry, Interval};
        for (interval, ahead, since, end, expected) in [
            (None, 14, 0, None, None),
            (Some(30), 14, 5, None, Some((35, Interval))),
            (None, 14, 0, Some(90), Some((76, Expiry))),
            (Some(30), 14, 0, Some(90), Some((30, Interval))),
            (Some(80), 14, 0, Some(90), Some((76, Expiry))),
            // A life of nine days: at two thirds, not at once.
            (None, 14, 100, Some(109), Some((106, Expiry))),
            // Expired before it was made: overdue since the expiry.
            (None, 14, 100, Some(90), Some((90, Expiry))),
        ] {
            assert_eq!(due(interval, ahead, since, end), expected);
        }
    }

    #[test]
    fn it_is_due_from_its_moment_on() {
        let due = Due {
            at: Timestamp(10),
            because: Because::Interval,
        };
        assert!(!due.is_due(Timestamp(9)));
        assert!(due.is_due(Timestamp(10)));
    }

    proptest! {
        #[test]
        fn never_after_the_expiry_and_never_overflows(
            interval in any::<Option<u32>>(),
            ahead in any::<u32>(),
            since in any::<i64>(),
            end in any::<i64>(),
        ) {
            let schedule = Schedule { interval_days: interval, before_expiry_days: ahead };
            let due = next_due(&schedule, Timestamp(since), Some(Timestamp(end)));
            prop_assert!(due.is_some_and(|due| due.at <= Timestamp(end)));
        }
    }
}
