//! Between moments and what a clock on the wall shows.
//!
//! Where the clock goes forward, a time that is skipped is at the end of the gap; where it goes back, a time
//! that comes twice is the first of the two. So each time of the wall clock is there once, and they keep
//! their order.

use jiff::{
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};
use pentad_model::Timestamp;

/// What the wall clock shows; beyond the calendar, its first or last time.
pub(super) fn shown(moment: Timestamp, zone: &TimeZone) -> DateTime {
    let ends = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
    let moment = moment
        .0
        .clamp(ends.0.as_millisecond(), ends.1.as_millisecond());
    let moment = jiff::Timestamp::from_millisecond(moment).unwrap_or(ends.1);
    zone.to_datetime(moment)
}

/// When it shows that; `None` beyond the calendar.
pub(super) fn moment(shown: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(shown);
    let is_skipped = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
    let mut moment = ambiguous.compatible().ok()?;
    if is_skipped {
        // As far behind the gap as it would be behind its begin: the change before that is the gap's.
        let behind = moment
            .checked_add(jiff::SignedDuration::from_nanos(1))
            .ok()?;
        moment = zone.preceding(behind).next()?.timestamp();
    }
    Some(Timestamp(moment.as_millisecond()))
}
