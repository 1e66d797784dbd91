//! When a credential is rotated by time. Pure: whoever asks hands in the clock's moment.
//!
//! A [`Timetable`] is what somebody writes; a [`Schedule`] is that, checked once and asked often. What
//! always holds:
//!
//! * The same question has the same answer, on every node and after every restart: nothing is drawn at
//!   random, and rules of time zones are those that are built in.
//! * An answer may lie in the past: then it is overdue, and may begin. So what fell due while nothing
//!   ran is due when it runs again, or in the next window, and once, however often it fell due meanwhile.
//! * With `every_days` a value never becomes older than that while a rotation may begin at all times.
//! * What falls due together is not begun together: each credential has its own [`Share`] of the time
//!   that there is.
//! * A rotation begins within a window and outside of all freezes, but for a value that would expire first.
//!
//! | module | holds |
//! |---|---|
//! | [`timetable`] | what somebody writes, and what is wrong with it |
//! | `cron` | moments by a pattern on the wall clock |
//! | `openings` | windows and freezes |
//! | [`share`] | a credential's place among others |
//! | `wall` | moments and what a clock on the wall shows |

mod cron;
mod openings;
pub mod share;
pub mod timetable;
mod wall;

#[cfg(test)]
mod tests;

use std::time::Duration;

use pentad_model::Timestamp;
use serde::Serialize;

use self::{cron::Cron, openings::Openings};
pub use self::{
    share::Share,
    timetable::{Day, Freeze, InvalidTimetable, Timetable, Window},
};

/// What a setting in days counts.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What has waited for an opening is begun over so long at most.
const CATCH_UP: Duration = DAY;

/// The finest time that there is.
const JUST: Duration = Duration::from_millis(1);

/// Where there is no opening any more.
const NEVER: Timestamp = Timestamp(i64::MAX);

/// A value that was made just now is not rotated before this part of its interval.
const TOO_SOON: u32 = 10;

/// A checked timetable.
#[derive(Clone, Debug)]
pub struct Schedule {
    every: Option<Duration>,
    cron: Option<Cron>,
    before_expiry: Duration,
    spread: Option<Duration>,
    openings: Openings,
}

/// Whose next rotation it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subject {
    /// Its place among others.
    pub share: Share,
    /// When its current value was made.
    pub since: Timestamp,
    /// When that stops working by itself.
    pub expires_at: Option<Timestamp>,
}

/// The next rotation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Due {
    /// From then on.
    pub at: Timestamp,
    /// Why then.
    pub because: Because,
    /// When it would be if one might begin at any time.
    pub asked: Timestamp,
    /// When it could have begun at first; from then on it is late.
    pub first: Timestamp,
    /// Why `at` is not when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
}

/// When one may begin.
struct Place {
    at: Timestamp,
    /// Why it is not when it was asked for.
    moved: Option<Moved>,
}

/// What makes a rotation due.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// The age of the value.
    Age,
    /// The pattern on the wall clock.
    Cron,
    /// The value's expiry.
    Expiry,
    /// How often the value was read.
    Reads,
    /// The value's risk.
    Risk,
}

/// Why a rotation is not when it was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Moved {
    /// There was no window.
    Window,
    /// A freeze, with what its author said of it.
    Freeze(String),
    /// Windows or freezes would have moved it beyond the value's expiry, so they were not heeded.
    Expiry,
}

impl Due {
    /// Whether it is due at `now`.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.at <= now
    }
}

impl Schedule {
    /// Checks what somebody wrote.
    ///
    /// # Errors
    /// [`InvalidTimetable`] names what to write instead.
    pub fn new(timetable: &Timetable) -> Result<Self, InvalidTimetable> {
        timetable.numbers()?;
        let zone = timetable.zone()?;
        let cron = timetable.cron.as_deref();
        Ok(Self {
            every: timetable.every_days.map(days),
            cron: cron
                .map(|pattern| Cron::parse(pattern, &zone))
                .transpose()?,
            before_expiry: days(timetable.before_expiry_days),
            spread: timetable.spread_minutes.map(minutes),
            openings: Openings::of(&timetable.windows, &timetable.freezes, zone)?,
        })
    }

    /// The next rotation as seen from `now`, if there is ever one. A look at some days of the calendar: with
    /// a pattern at those up to its next day, else at a fortnight.
    pub fn next(&self, of: &Subject, now: Timestamp) -> Option<Due> {
        let asked = [
            (self.by_age(of), Because::Age),
            (self.by_cron(of, of.since), Because::Cron),
            (self.by_expiry(of), Because::Expiry),
        ];
        let asked = asked.into_iter();
        let dues = asked.filter_map(|(at, because)| self.opened(of, at?, because, now));
        dues.min_by_key(|due| due.at)
    }

    /// What is asked for at a moment, when it may begin.
    pub(crate) fn opened(
        &self,
        of: &Subject,
        asked: Timestamp,
        because: Because,
        now: Timestamp,
    ) -> Option<Due> {
        let mut place = self.place(of, because, asked, asked);
        let expires = (because == Because::Expiry)
            .then_some(of.expires_at)
            .flatten();
        if expires.is_some_and(|end| place.at >= end) {
            place = Place {
                at: asked,
                moved: (place.at > asked).then_some(Moved::Expiry),
            };
        }
        let first = place.at;
        if first < now && place.moved != Some(Moved::Expiry) {
            let again = self.place(of, because, first, now);
            if again.at > first && expires.is_none_or(|end| again.at < end) {
                place.at = again.at;
                place.moved = again.moved.or(place.moved);
            }
        }
        (place.at < NEVER).then_some(Due {
            at: place.at,
            because,
            asked,
            first,
            moved: place.moved,
        })
    }

    /// The place of what is asked for at a moment, in the opening of another one or the next. What the
    /// opening had begun before stays where it is. What has waited for it is spread over it; but what comes
    /// by the clock and does so within the opening is not made up for besides.
    fn place(&self, of: &Subject, because: Because, asked: Timestamp, when: Timestamp) -> Place {
        let Some(opening) = self.openings.at(when) else {
            return Place {
                at: NEVER,
                moved: None,
            };
        };
        if opening.from <= asked {
            return Place {
                at: asked,
                moved: None,
            };
        }
        let coming = match because {
            Because::Cron => self.by_cron(of, earlier(opening.from, JUST)),
            _ => None,
        };
        // Its last quarter is for what is late: whoever had a turn at its very end would miss it for ever.
        let length = opening.until.since(opening.from).min(CATCH_UP);
        let turns = opening.from.plus(length * 3 / 4);
        Place {
            at: coming
                .filter(|coming| *coming < turns)
                .unwrap_or_else(|| of.share.within(opening.from, turns)),
            moved: opening.moved,
        }
    }

    /// Without a spread of its own: on a grid as wide as the interval, which each credential has at a
    /// place of its own. So an estate that was taken over within an hour is rotated evenly from its first
    /// interval on, and what was late once is not late for ever.
    fn by_age(&self, of: &Subject) -> Option<Timestamp> {
        let every = self.every?;
        let latest = of.since.plus(every);
        if let Some(spread) = self.spread {
            return Some(earlier(latest, of.share.of(spread.min(every / 2))));
        }
        let width = i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1);
        let place = i64::try_from(of.share.of(every).as_millis()).unwrap_or(0);
        let passed = of.since.0.saturating_sub(place).rem_euclid(width);
        let next = latest.0.saturating_sub(passed);
        // What would come too soon is spread as evenly over the rest of the interval, for once.
        let too_soon = every / TOO_SOON;
        match Timestamp(next).since(of.since) {
            ahead if ahead < too_soon => Some(of.since.plus(too_soon + ahead * (TOO_SOON - 1))),
            _ => Some(Timestamp(next)),
        }
    }

    /// Later than the pattern says by the credential's share of the spread, each time by the same: so it
    /// has one rotation for each moment of the pattern, or one for several that have passed.
    fn by_cron(&self, of: &Subject, since: Timestamp) -> Option<Timestamp> {
        let late = of.share.of(self.spread.unwrap_or_default());
        let moment = self.cron.as_ref()?.after(earlier(since, late))?;
        Some(moment.plus(late))
    }

    /// A value that lives shorter than three times the lead is rotated at two thirds of its life.
    fn by_expiry(&self, of: &Subject) -> Option<Timestamp> {
        let end = of.expires_at?;
        let life = end.since(of.since);
        let spread = of.share.of(self.spread.unwrap_or_default());
        let lead = self.before_expiry.saturating_add(spread).min(life / 3);
        Some(of.since.plus(life.saturating_sub(lead)).min(end))
    }
}

fn days(count: u32) -> Duration {
    DAY.saturating_mul(count)
}

fn minutes(count: u32) -> Duration {
    Duration::from_secs(60).saturating_mul(count)
}

fn earlier(moment: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp(moment.0.saturating_sub(by))
}
