//! What somebody writes of when a credential is rotated, and what is wrong with it.

use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

/// When a credential is rotated. The default rotates on expiry only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timetable {
    /// A value becomes at most so many days old; `None`: age alone is no reason, as NIST SP 800-63B-4 asks
    /// for passwords that people remember.
    pub every_days: Option<u32>,
    /// At these moments of the wall clock: minute, hour, day of the month, month, day of the week, for
    /// example `0 3 * * SUN`.
    pub cron: Option<String>,
    /// So many days before the value expires. Default: 14. A value that lives shorter than three times
    /// that is rotated at two thirds of its life.
    pub before_expiry_days: u32,
    /// The clock of `cron`, `windows` and `freezes`, by its name in the IANA database. Default: `UTC`.
    pub time_zone: String,
    /// When rotations may begin. Default: always.
    pub windows: Vec<Window>,
    /// When none may begin, whatever the windows say.
    pub freezes: Vec<Freeze>,
    /// What falls due together is spread over so many minutes: earlier by age and expiry, later by `cron`.
    /// Default: by age over the whole interval, else not at all.
    pub spread_minutes: Option<u32>,
}

impl Default for Timetable {
    fn default() -> Self {
        Self {
            every_days: None,
            cron: None,
            before_expiry_days: 14,
            time_zone: "UTC".to_owned(),
            windows: Vec::new(),
            freezes: Vec::new(),
            spread_minutes: None,
        }
    }
}

/// A time of some days of the week.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The days on which it begins. Default: all.
    #[serde(default)]
    pub days: Vec<Day>,
    /// When it begins, as `22:00`.
    pub from: String,
    /// When it ends, as `04:00`: on the next day if that is not after `from`.
    pub until: String,
}

/// A day of the week.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // they say what they are
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// A time in which nothing is rotated.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// Its begin, as `2026-12-20` or `2026-12-20T18:00`.
    pub from: String,
    /// Its end, the first moment that is not frozen.
    pub until: String,
    /// What it is for.
    #[serde(default)]
    pub reason: String,
}

/// Why a timetable can't be used. Whoever wrote it mends it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidTimetable {
    /// Too much or too little to mean anything.
    #[error("`{name}` goes from {least} to {most}")]
    Number {
        /// The setting.
        name: &'static str,
        /// What it may be at least.
        least: u32,
        /// What it may be at most.
        most: u32,
    },
    /// A zone that is not in the database.
    #[error("`{0}` is no time zone; write a name such as `Europe/Berlin` or `UTC`")]
    Zone(String),
    /// A pattern that means nothing.
    #[error(
        "cron pattern `{pattern}`: {reason}; write minute, hour, day of the month, month and day of the \
         week, such as `0 3 * * SUN`"
    )]
    Cron {
        /// The pattern, shortened.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No time of a day.
    #[error("`{0}` is no time of a day; write it as `22:00`")]
    Time(String),
    /// No date.
    #[error("`{0}` is no date; write it as `2026-12-20` or `2026-12-20T18:00`")]
    Date(String),
    /// A freeze that ends before it begins.
    #[error("the freeze from {0} ends before it begins")]
    Backwards(String),
    /// More of them than anybody looks over.
    #[error("there are at most {most} {name}")]
    Many {
        /// Of what.
        name: &'static str,
        /// How many there may be.
        most: usize,
    },
}

/// The longest time that means anything: a century.
const MOST_DAYS: u32 = 36_525;
/// A week.
const MOST_MINUTES: u32 = 7 * 24 * 60;
pub(super) const MOST_WINDOWS: usize = 32;
pub(super) const MOST_FREEZES: usize = 64;

impl Timetable {
    pub(super) fn numbers(&self) -> Result<(), InvalidTimetable> {
        let checked = |name, number: u32, least, most| match number {
            number if (least..=most).contains(&number) => Ok(()),
            _ => Err(InvalidTimetable::Number { name, least, most }),
        };
        let every = self.every_days.unwrap_or(1);
        checked("every_days", every, 1, MOST_DAYS)?;
        checked("before_expiry_days", self.before_expiry_days, 0, MOST_DAYS)?;
        let spread = self.spread_minutes.unwrap_or(0);
        checked("spread_minutes", spread, 0, MOST_MINUTES)
    }

    pub(super) fn zone(&self) -> Result<TimeZone, InvalidTimetable> {
        let unknown = |_| InvalidTimetable::Zone(self.time_zone.chars().take(64).collect());
        TimeZoneDatabase::bundled()
            .get(&self.time_zone)
            .map_err(unknown)
    }
}
