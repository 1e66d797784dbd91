//! When rotations may begin: inside a window, outside of every freeze.

use jiff::{ToSpan as _, civil, tz::TimeZone};
use pentad_model::Timestamp;

use super::{
    Moved,
    timetable::{Freeze, InvalidTimetable, MOST_FREEZES, MOST_WINDOWS, Window},
    wall,
};

/// Days that are looked through for a window: each is there once a week, unless the clock skips it.
const LOOK_AHEAD: i32 = 15;

/// Windows and freezes of one time zone.
#[derive(Clone, Debug)]
pub(super) struct Openings {
    zone: TimeZone,
    /// None: always.
    windows: Vec<Weekly>,
    /// In their order; where one begins the one before it has ended.
    freezes: Vec<Frozen>,
}

#[derive(Clone, Debug)]
struct Weekly {
    /// By the days' numbers from Monday.
    days: [bool; 7],
    from: civil::Time,
    until: civil::Time,
}

#[derive(Clone, Debug)]
struct Frozen {
    from: Timestamp,
    until: Timestamp,
    reason: String,
}

/// A time in which rotations may begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Opening {
    /// Its begin.
    pub(super) from: Timestamp,
    /// Its end, the first moment that is not in it.
    pub(super) until: Timestamp,
    /// Why it is not when it was asked for.
    pub(super) moved: Option<Moved>,
}

impl Openings {
    pub(super) fn of(
        windows: &[Window],
        freezes: &[Freeze],
        zone: TimeZone,
    ) -> Result<Self, InvalidTimetable> {
        let many = |name, most| InvalidTimetable::Many { name, most };
        if windows.len() > MOST_WINDOWS {
            return Err(many("windows", MOST_WINDOWS));
        }
        if freezes.len() > MOST_FREEZES {
            return Err(many("freezes", MOST_FREEZES));
        }
        let frozen = freezes.iter().map(|freeze| Frozen::of(freeze, &zone));
        Ok(Self {
            windows: windows.iter().map(Weekly::of).collect::<Result<_, _>>()?,
            freezes: joined(frozen.collect::<Result<_, _>>()?),
            zone,
        })
    }

    /// The opening that a moment is in, or the next one; `None` if there is none any more. O(windows + freezes),
    /// times the fortnights that freezes fill.
    pub(super) fn at(&self, asked: Timestamp) -> Option<Opening> {
        let mut moment = asked;
        let mut moved = None;
        let mut times = self.times_about(moment);
        // A look ends in an opening, or goes on behind a freeze.
        for _ in 0..=self.freezes.len() {
            let is_ahead =
                |times: &[Span]| times.iter().copied().find(|(_, until)| *until > moment);
            let (mut from, mut until) = match is_ahead(&times) {
                Some(time) => time,
                None => {
                    times = self.times_about(moment);
                    is_ahead(&times)?
                }
            };
            if from > moment {
                moment = from;
                moved = Some(Moved::Window);
            }
            let next = self
                .freezes
                .partition_point(|freeze| freeze.until <= moment);
            if let Some(before) = next.checked_sub(1).and_then(|at| self.freezes.get(at)) {
                from = from.max(before.until);
            }
            match self.freezes.get(next) {
                Some(freeze) if freeze.from <= moment => {
                    moment = freeze.until;
                    moved = Some(Moved::Freeze(freeze.reason.clone()));
                    continue;
                }
                Some(freeze) => until = until.min(freeze.from),
                None => {}
            }
            return Some(Opening { from, until, moved });
        }
        None
    }

    /// The windows of the fortnight from a moment on, in their order, those that touch as one. One that has
    /// gone on for longer than since yesterday begins then.
    fn times_about(&self, moment: Timestamp) -> Vec<Span> {
        if self.windows.is_empty() {
            return vec![(Timestamp(i64::MIN), Timestamp(i64::MAX))];
        }
        let today = wall::shown(moment, &self.zone).date();
        let mut times = Vec::new();
        // From yesterday: a window may end the day after it began.
        for ahead in -1..LOOK_AHEAD {
            let Ok(day) = today.checked_add(ahead.days()) else {
                continue;
            };
            let begun = self.windows.iter().filter(|window| window.begins_on(day));
            times.extend(begun.filter_map(|window| window.on(day, &self.zone)));
        }
        times.retain(|(from, until)| from < until);
        times.sort_unstable();
        let mut joined: Vec<Span> = Vec::with_capacity(times.len());
        for (from, until) in times {
            match joined.last_mut() {
                Some((_, end)) if from <= *end => *end = until.max(*end),
                _ => joined.push((from, until)),
            }
        }
        joined
    }
}

/// Begin and end.
type Span = (Timestamp, Timestamp);

/// In their order, those that touch as one.
fn joined(mut freezes: Vec<Frozen>) -> Vec<Frozen> {
    freezes.sort_by_key(|freeze| freeze.from);
    let mut joined: Vec<Frozen> = Vec::with_capacity(freezes.len());
    for freeze in freezes {
        match joined.last_mut() {
            Some(last) if freeze.from <= last.until => {
                if freeze.until > last.until {
                    last.until = freeze.until;
                    last.reason = freeze.reason;
                }
            }
            _ => joined.push(freeze),
        }
    }
    joined
}

impl Weekly {
    fn of(window: &Window) -> Result<Self, InvalidTimetable> {
        let mut days = [window.days.is_empty(); 7];
        for day in &window.days {
            days[*day as usize] = true;
        }
        Ok(Self {
            days,
            from: time(&window.from)?,
            until: time(&window.until)?,
        })
    }

    fn begins_on(&self, day: civil::Date) -> bool {
        let number = day.weekday().to_monday_zero_offset();
        usize::try_from(number).is_ok_and(|number| self.days[number])
    }

    /// What it is on a day. The clock may skip all of it: then it ends where it begins.
    fn on(&self, day: civil::Date, zone: &TimeZone) -> Option<Span> {
        let last = match self.until > self.from {
            true => day,
            false => day.tomorrow().ok()?,
        };
        let from = wall::moment(day.to_datetime(self.from), zone)?;
        Some((from, wall::moment(last.to_datetime(self.until), zone)?))
    }
}

impl Frozen {
    fn of(freeze: &Freeze, zone: &TimeZone) -> Result<Self, InvalidTimetable> {
        let date = |text: &str| {
            let wrong = || InvalidTimetable::Date(text.chars().take(64).collect());
            // `2026-12-20` or `2026-12-20T18:00`; the parser takes more, and drops offsets.
            if ![10, 16].contains(&text.len()) {
                return Err(wrong());
            }
            let civil: civil::DateTime = text.parse().map_err(|_| wrong())?;
            wall::moment(civil, zone).ok_or_else(wrong)
        };
        let (from, until) = (date(&freeze.from)?, date(&freeze.until)?);
        if until <= from {
            return Err(InvalidTimetable::Backwards(freeze.from.clone()));
        }
        let reason = freeze.reason.clone();
        Ok(Self {
            from,
            until,
            reason,
        })
    }
}

fn time(text: &str) -> Result<civil::Time, InvalidTimetable> {
    let wrong = || InvalidTimetable::Time(text.chars().take(64).collect());
    let is_short = text.len() == 5 && text.as_bytes()[2] == b':';
    match text.parse() {
        Ok(time) if is_short => Ok(time),
        _ => Err(wrong()),
    }
}
