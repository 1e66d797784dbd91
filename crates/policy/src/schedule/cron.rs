//! Moments by a pattern on the wall clock: minute, hour, day of the month, month, day of the week, as
//! crontab(5) has them.
//!
//! A field is a list of `*`, numbers, ranges `1-5` and steps `*/15`, `8-18/2`; months and days of the week
//! have names too. Where neither day begins with `*`, one of them is enough. What always holds:
//!
//! * A text that is not exactly this is refused, and so is one that no day is like.
//! * A time of the wall clock counts once, however the clock changes ([`wall`](super::wall)).
//! * To find the next moment takes a look at each day up to it, of forty years at most.
//!
//! A crate for it (croner 4.0) was tried: it takes texts that mean something else than crontab(5) says,
//! searches minute by minute up to the year 5000, and loses or doubles lists of times where the clock
//! changes.

use jiff::{
    ToSpan as _,
    civil::{Date, Time},
    tz::TimeZone,
};
use pentad_model::Timestamp;

use super::{timetable::InvalidTimetable, wall};

/// A 29th of February is a Sunday each 40 years at the rarest.
const LOOK_AHEAD: i32 = 41 * 366;

/// A pattern and its time zone.
#[derive(Clone, Debug)]
pub(super) struct Cron {
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
    zone: TimeZone,
}

/// The numbers that a field allows, a bit each.
#[derive(Clone, Copy, Debug)]
struct Field {
    allowed: u64,
    /// Whether it begins with `*`.
    is_any: bool,
}

/// What a field may hold.
struct Range {
    what: &'static str,
    first: u8,
    last: u8,
    /// From the first number on.
    names: &'static [&'static str],
}

const MINUTES: Range = range("minute", 0, 59, &[]);
const HOURS: Range = range("hour", 0, 23, &[]);
const DAYS: Range = range("day of the month", 1, 31, &[]);
const MONTHS: Range = range(
    "month",
    1,
    12,
    &[
        "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
    ],
);
/// 7 is Sunday as well.
const WEEKDAYS: Range = range(
    "day of the week",
    0,
    7,
    &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
);

const fn range(what: &'static str, first: u8, last: u8, names: &'static [&'static str]) -> Range {
    Range {
        what,
        first,
        last,
        names,
    }
}

impl Cron {
    pub(super) fn parse(text: &str, zone: &TimeZone) -> Result<Self, InvalidTimetable> {
        let wrong = |reason: String| InvalidTimetable::Cron {
            pattern: text.chars().take(64).collect(),
            reason,
        };
        let fields: Vec<&str> = text.split_ascii_whitespace().take(6).collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(wrong("it has five fields".to_owned()));
        };
        let field = |text, range| Field::parse(text, range).map_err(wrong);
        let mut weekdays = field(weekdays, &WEEKDAYS)?;
        weekdays.allowed |= weekdays.allowed >> 7;
        let cron = Self {
            minutes: field(minutes, &MINUTES)?,
            hours: field(hours, &HOURS)?,
            days: field(days, &DAYS)?,
            months: field(months, &MONTHS)?,
            weekdays,
            zone: zone.clone(),
        };
        match cron.after(Timestamp(0)) {
            Some(_) => Ok(cron),
            None => Err(wrong("no day is like this".to_owned())),
        }
    }

    /// The first moment after this one, if there is one.
    pub(super) fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        let today = wall::shown(moment, &self.zone).date();
        // From yesterday: a time that is skipped may be at the end of a gap on the day after.
        let mut day = today.yesterday().unwrap_or(today);
        for _ in 0..LOOK_AHEAD {
            if self.allows(day) {
                let found = self.times().find_map(|time| {
                    let found = wall::moment(day.to_datetime(time), &self.zone)?;
                    (found > moment).then_some(found)
                });
                if found.is_some() {
                    return found;
                }
            }
            day = day.checked_add(1.day()).ok()?;
        }
        None
    }

    fn allows(&self, day: Date) -> bool {
        let of_month = self.days.has(day.day());
        let of_week = self.weekdays.has(day.weekday().to_sunday_zero_offset());
        let fits = match self.days.is_any || self.weekdays.is_any {
            true => of_month && of_week,
            false => of_month || of_week,
        };
        fits && self.months.has(day.month())
    }

    fn times(&self) -> impl Iterator<Item = Time> {
        let hours = (0..24).filter(|hour| self.hours.has(*hour));
        hours.flat_map(|hour| {
            let minutes = (0..60).filter(|minute| self.minutes.has(*minute));
            minutes.filter_map(move |minute| Time::new(hour, minute, 0, 0).ok())
        })
    }
}

impl Field {
    fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| self.allowed >> number & 1 == 1)
    }

    fn parse(text: &str, range: &Range) -> Result<Self, String> {
        let mut allowed = 0;
        for part in text.split(',') {
            let (whole, step) = match part.split_once('/') {
                Some((whole, step)) => (whole, Some(number(step, range)?.max(1))),
                None => (part, None),
            };
            let (first, last) = match whole.split_once('-') {
                _ if whole == "*" => (range.first, range.last),
                Some((first, last)) => (number(first, range)?, number(last, range)?),
                None if step.is_some() => {
                    return Err(format!("a step follows `*` or a range, not `{whole}`"));
                }
                None => (number(whole, range)?, number(whole, range)?),
            };
            if first < range.first || last > range.last || first > last {
                return Err(format!(
                    "`{part}` is no {} from {} to {}",
                    range.what, range.first, range.last
                ));
            }
            for number in (first..=last).step_by(usize::from(step.unwrap_or(1))) {
                allowed |= 1 << number;
            }
        }
        let is_any = text.starts_with('*');
        Ok(Self { allowed, is_any })
    }
}

/// A number of two digits at most, or a name.
fn number(text: &str, range: &Range) -> Result<u8, String> {
    let named = range
        .names
        .iter()
        .position(|name| name.eq_ignore_ascii_case(text));
    if let Some(place) = named.and_then(|place| u8::try_from(place).ok()) {
        return Ok(range.first + place);
    }
    let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if is_number => Ok(number),
        _ => {
            let shown: String = text.chars().take(16).collect();
            Err(format!("`{shown}` is no {}", range.what))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn zone(name: &str) -> TimeZone {
        jiff::tz::TimeZoneDatabase::bundled().get(name).unwrap()
    }

    fn after(pattern: &str, name: &str, moments: &[&str]) {
        let cron = Cron::parse(pattern, &zone(name)).unwrap();
        for pair in moments.windows(2) {
            let at = |text: &str| {
                let moment: jiff::Timestamp = text.parse().unwrap();
                Timestamp(moment.as_millisecond())
            };
            let next = cron.after(at(pair[0])).unwrap();
            assert_eq!(next, at(pair[1]), "{pattern} after {}: {next}", pair[0]);
        }
    }

    #[test]
    fn fields_mean_what_crontab_says() {
        let begin = "2026-06-10T12:00:00Z"; // A Wednesday.
        for (pattern, next) in [
            ("* * * * *", "2026-06-10T12:01:00Z"),
            ("*/25 12 * * *", "2026-06-10T12:25:00Z"),
            ("5,50 8-18/4 * * *", "2026-06-10T12:05:00Z"),
            ("0 3 * * sun", "2026-06-14T03:00:00Z"),
            ("0 3 * * 7", "2026-06-14T03:00:00Z"),
            ("0 3 * * 5-7", "2026-06-12T03:00:00Z"),
            ("0 3 1 * *", "2026-07-01T03:00:00Z"),
            ("0 3 29 FEB *", "2028-02-29T03:00:00Z"),
            // Either of the two, but both where one is any.
            ("0 3 11 * MON", "2026-06-11T03:00:00Z"),
            ("0 3 */2 * MON", "2026-06-15T03:00:00Z"),
        ] {
            after(pattern, "UTC", &[begin, next]);
        }
    }

    #[test]
    fn each_time_of_the_wall_clock_counts_once() {
        let berlin = "Europe/Berlin";
        // 02:30 is not there, and is at three; then it is there twice.
        after(
            "30 2,14 * * *",
            berlin,
            &[
                "2026-03-28T12:00:00Z",
                "2026-03-28T13:30:00Z",
                "2026-03-29T01:00:00Z",
                "2026-03-29T12:30:00Z",
            ],
        );
        after(
            "30 2,14 * * *",
            berlin,
            &[
                "2026-10-24T12:30:00Z",
                "2026-10-25T00:30:00Z",
                "2026-10-25T13:30:00Z",
            ],
        );
        after(
            "*/20 * * * *",
            berlin,
            &[
                "2026-03-29T00:40:00Z",
                "2026-03-29T01:00:00Z",
                "2026-03-29T01:20:00Z",
            ],
        );
        // The hour before midnight is not there.
        after(
            "30 23 28 3 *",
            "America/Nuuk",
            &["2026-01-01T00:00:00Z", "2026-03-29T01:00:00Z"],
        );
        // Nor is the whole day.
        after(
            "0 12 30 12 *",
            "Pacific/Apia",
            &["2011-12-01T00:00:00Z", "2011-12-30T10:00:00Z"],
        );
    }

    #[test]
    fn what_is_not_a_pattern_is_refused() {
        for text in [
            "",
            "* * * *",
            "* * * * * *",
            "@daily",
            ", * * * *",
            "1,,2 * * * *",
            "61 * * * *",
            "5/10 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "* * L * *",
            "* * 15W * *",
            "* * * * MON#1",
            "* * * JANFEB *",
            "5-1 * * * *",
            "001 * * * *",
            "-1 * * * *",
            "* * 30 2 *",
            "* MON * * *",
            "*-5 * * * *",
            "** * * * *",
            "*/x * * * *",
            "+1 * * * *",
        ] {
            assert!(Cron::parse(text, &TimeZone::UTC).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_and_no_moment_is_too_much(text in ".{0,40}", moment in any::<i64>()) {
            let _ = Cron::parse(&text, &TimeZone::UTC);
            let cron = Cron::parse("30 2 29 2 *", &zone("Europe/Berlin")).unwrap();
            if let Some(next) = cron.after(Timestamp(moment)) {
                prop_assert!(next.0 > moment);
            }
        }
    }
}
