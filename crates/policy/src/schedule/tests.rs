#![allow(clippy::unwrap_used, clippy::expect_used)]

use pentad_model::Tenant;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    let moment: jiff::Timestamp = text.parse().unwrap();
    Timestamp(moment.as_millisecond())
}

fn schedule(toml: &str) -> Schedule {
    Schedule::new(&toml::from_str(toml).unwrap()).unwrap()
}

fn refused(toml: &str) -> String {
    let timetable = toml::from_str(toml).unwrap();
    Schedule::new(&timetable).unwrap_err().to_string()
}

/// When a value of that moment is rotated by the one whose turn comes first.
fn next(schedule: &Schedule, since: &str) -> String {
    let subject = Subject {
        share: Share(0),
        since: at(since),
        expires_at: None,
    };
    schedule
        .next(&subject, subject.since)
        .unwrap()
        .at
        .to_string()
}

fn share(n: u32) -> Share {
    let path = format!("prod/db/role-{n}").parse().unwrap();
    Share::of_credential(&Tenant::default_tenant(), &path)
}

/// Mostly of this century, some at the ends of time.
fn moments() -> impl Strategy<Value = i64> {
    prop_oneof![9 => 0_i64..4_000_000_000_000, 1 => any::<i64>()]
}

#[test]
fn the_earliest_reason_decides() {
    use Because::{Age, Expiry};
    for (every, lead, since, end, expected) in [
        (None, 14, 0, None, None),
        (Some(30), 14, 5, None, Some((35, Age))),
        (None, 14, 0, Some(90), Some((76, Expiry))),
        (Some(30), 14, 0, Some(90), Some((30, Age))),
        (Some(80), 14, 0, Some(90), Some((76, Expiry))),
        // A life of nine days: at two thirds, not at once.
        (None, 14, 100, Some(109), Some((106, Expiry))),
        // Expired before it was made: overdue since the expiry.
        (None, 14, 100, Some(90), Some((90, Expiry))),
    ] {
        let timetable = Timetable {
            every_days: every,
            before_expiry_days: lead,
            spread_minutes: Some(0),
            ..Timetable::default()
        };
        let day = |n: i64| Timestamp(n * 24 * 60 * 60 * 1000);
        let subject = Subject {
            share: share(1),
            since: day(since),
            expires_at: end.map(day),
        };
        let due = Schedule::new(&timetable)
            .unwrap()
            .next(&subject, subject.since);
        let expected = expected.map(|(at, because)| (day(at), because));
        assert_eq!(due.map(|due| (due.at, due.because)), expected);
    }
}

#[test]
fn it_is_due_from_its_moment_on() {
    let due = Due {
        at: Timestamp(10),
        because: Because::Age,
        asked: Timestamp(10),
        first: Timestamp(10),
        moved: None,
    };
    assert!(!due.is_due(Timestamp(9)));
    assert!(due.is_due(Timestamp(10)));
}

#[test]
fn a_fixed_time_comes_once_where_the_clock_changes() {
    let half_past_two = schedule("cron = '30 2 * * *'\ntime_zone = 'Europe/Berlin'");
    for (since, expected) in [
        ("2026-03-27T12:00:00Z", "2026-03-28T01:30:00.000Z"),
        // Half past two is not there: at three.
        ("2026-03-28T12:00:00Z", "2026-03-29T01:00:00.000Z"),
        ("2026-03-29T01:00:00Z", "2026-03-30T00:30:00.000Z"),
        // It is there twice: the first of them, and not the second.
        ("2026-10-24T12:00:00Z", "2026-10-25T00:30:00.000Z"),
        ("2026-10-25T00:30:00Z", "2026-10-26T01:30:00.000Z"),
    ] {
        assert_eq!(next(&half_past_two, since), expected, "after {since}");
    }
}

#[test]
fn what_fell_due_several_times_meanwhile_is_due_once() {
    let daily = schedule("cron = '0 3 * * *'");
    let overdue = next(&daily, "2026-06-01T12:00:00Z");
    assert_eq!(overdue, "2026-06-02T03:00:00.000Z");
    // Nothing ran for ten days; what is made then is due the day after.
    let after = next(&daily, "2026-06-12T09:00:00Z");
    assert_eq!(after, "2026-06-13T03:00:00.000Z");
}

#[test]
fn a_rotation_waits_for_its_window() {
    let nights = schedule(
        "cron = '0 12 * * *'\ntime_zone = 'America/New_York'\n\
         windows = [{ days = ['fri', 'sat'], from = '22:00', until = '04:00' }]",
    );
    for (since, expected) in [
        // Noon of a Wednesday: Friday at ten in the evening.
        ("2026-06-10T00:00:00Z", "2026-06-13T02:00:00.000Z"),
        // Noon of a Saturday: the same day at ten.
        ("2026-06-13T03:00:00Z", "2026-06-14T02:00:00.000Z"),
    ] {
        assert_eq!(next(&nights, since), expected, "after {since}");
    }
    // In the part of a window that is of the day after, at once.
    let early = schedule("cron = '30 3 * * *'\nwindows = [{ from = '22:00', until = '04:00' }]");
    assert_eq!(
        next(&early, "2026-06-10T12:00:00Z"),
        "2026-06-11T03:30:00.000Z"
    );
}

#[test]
fn a_window_that_the_clock_skips_is_not_there_that_day() {
    let window = |from: &str, until: &str| {
        schedule(&format!(
            "cron = '0 0 * * *'\ntime_zone = 'Europe/Berlin'\n\
             windows = [{{ from = '{from}', until = '{until}' }}]"
        ))
    };
    let since = "2026-03-28T22:00:00Z";
    let skipped = window("02:10", "02:50");
    assert_eq!(next(&skipped, since), "2026-03-30T00:10:00.000Z");
    // What is left of one begins with the gap's end.
    let half = window("02:30", "03:30");
    assert_eq!(next(&half, since), "2026-03-29T01:00:00.000Z");
}

#[test]
fn windows_that_touch_are_one() {
    let day = schedule(
        "every_days = 1\nspread_minutes = 0\nwindows = [\n\
         { from = '00:00', until = '06:00' }, { from = '06:00', until = '12:00' },\n\
         { from = '12:00', until = '18:00' }, { from = '18:00', until = '00:00' }]",
    );
    let subject = Subject {
        share: Share(u64::MAX),
        since: at("2026-06-10T05:00:00Z"),
        expires_at: None,
    };
    // What is late by some hours, or by weeks, may begin.
    for now in [
        "2026-06-11T06:00:00Z",
        "2026-06-11T23:00:00Z",
        "2026-07-01T00:00:00Z",
    ] {
        let due = day.next(&subject, at(now)).unwrap();
        assert!(due.is_due(at(now)), "{} at {now}", due.at);
        assert_eq!(due.first, at("2026-06-11T05:00:00Z"));
    }
}

#[test]
fn a_moment_that_a_freeze_swallowed_is_made_up_for() {
    let yearly = schedule(
        "cron = '0 3 1 1 *'\nevery_days = 3000\n\
         freezes = [{ from = '2026-12-20', until = '2027-01-02' }]",
    );
    let found = next(&yearly, "2026-06-01T00:00:00Z");
    assert_eq!(found, "2027-01-02T00:00:00.000Z");
    // The reason that can begin first counts, not the one that asked first.
    let monthly = schedule(
        "cron = '0 3 1 1 *'\nevery_days = 30\nspread_minutes = 0\n\
         windows = [{ days = ['mon'], from = '03:00', until = '04:00' }]",
    );
    assert_eq!(
        next(&monthly, "2026-12-03T00:00:00Z"),
        "2027-01-04T03:00:00.000Z"
    );
}

#[test]
fn a_freeze_ends_before_anything_begins() {
    let frozen = schedule(
        "cron = '0 3 * * *'\nwindows = [{ from = '02:00', until = '05:00' }]\n\
         freezes = [{ from = '2026-12-20', until = '2027-01-02T04:00', reason = 'year end' }]",
    );
    let subject = Subject {
        share: Share(0),
        since: at("2026-12-20T00:00:00Z"),
        expires_at: None,
    };
    let due = frozen.next(&subject, subject.since).unwrap();
    assert_eq!(due.at, at("2027-01-02T04:00:00Z"));
    assert_eq!(due.asked, at("2026-12-20T03:00:00Z"));
    assert_eq!(due.moved, Some(Moved::Freeze("year end".to_owned())));
    // What waited for its end is spread over what is left of the window.
    let half = Subject {
        share: Share(1 << 31),
        ..subject
    };
    assert_eq!(
        frozen.next(&half, half.since).unwrap().at,
        at("2027-01-02T04:22:30Z")
    );
}

#[test]
fn a_value_is_not_left_to_expire_for_the_sake_of_a_freeze() {
    let frozen = schedule(
        "cron = '0 3 * * *'\nbefore_expiry_days = 7\n\
         freezes = [{ from = '2026-12-01', until = '2027-02-01' }]",
    );
    let subject = Subject {
        share: share(1),
        since: at("2026-12-02T00:00:00Z"),
        expires_at: Some(at("2026-12-24T00:00:00Z")),
    };
    // Not for the sake of the pattern, which waits.
    for now in ["2026-12-02T00:00:00Z", "2026-12-23T00:00:00Z"] {
        let due = frozen.next(&subject, at(now)).unwrap();
        assert_eq!(due.at, at("2026-12-17T00:00:00Z"));
        assert_eq!(
            (due.because, due.moved),
            (Because::Expiry, Some(Moved::Expiry))
        );
    }
    // What has expired does not wait for a window.
    let weekly = schedule(
        "before_expiry_days = 0\nwindows = [{ days = ['mon'], from = '03:00', until = '04:00' }]",
    );
    let due = weekly.next(&subject, subject.since).unwrap();
    assert_eq!(due.at, at("2026-12-24T00:00:00Z"));
}

#[test]
fn what_is_wrong_is_named() {
    for (toml, expected) in [
        ("every_days = 0", "`every_days` goes from 1 to 36525"),
        (
            "time_zone = 'Mars/Olympus'",
            "`Mars/Olympus` is no time zone",
        ),
        ("cron = '0 3 30 2 *'", "no day is like this"),
        ("cron = '61 * * * *'", "cron pattern `61 * * * *`"),
        ("cron = '* * * * * *'", "cron pattern"),
        (
            "windows = [{ from = '2200', until = '04:00' }]",
            "`2200` is no time of a day",
        ),
        (
            "freezes = [{ from = 'Christmas', until = '2027-01-01' }]",
            "`Christmas` is no date",
        ),
        (
            "freezes = [{ from = '2026-12-20T18:00-05:00', until = '2027-01-01' }]",
            "is no date",
        ),
        (
            "freezes = [{ from = '2027-01-01', until = '2026-12-24' }]",
            "ends before it begins",
        ),
    ] {
        let said = refused(toml);
        assert!(said.contains(expected), "{toml}: {said}");
    }
}

/// How it went with one credential: what the answer was, and when it was begun.
struct Ran {
    due: Due,
    at: Timestamp,
}

/// A year of looks at a clock that may jump, every quarter of an hour while something runs.
fn year(
    schedule: &Schedule,
    first: Timestamp,
    share: Share,
    runs: impl Fn(Timestamp) -> bool,
    jumps: &[(Timestamp, i64)],
) -> Vec<Ran> {
    let quarter = Duration::from_secs(15 * 60);
    let end = first.plus(DAY * 365);
    let mut subject = Subject {
        share,
        since: first,
        expires_at: None,
    };
    let mut jumps = jumps.iter().peekable();
    let mut ran = Vec::new();
    let mut now = first;
    while let Some(due) = schedule.next(&subject, now).filter(|due| due.at < end) {
        let wait = due.at.since(now);
        if runs(now) && due.is_due(now) {
            subject.since = now;
            ran.push(Ran { due, at: now });
        }
        // As long as the clock does not jump, nothing is missed by not looking.
        let looks = match jumps.peek() {
            None => wait.as_millis().div_ceil(quarter.as_millis()),
            Some(_) => 1,
        };
        now = now.plus(quarter * u32::try_from(looks.max(1)).unwrap());
        if let Some((_, by)) = jumps.next_if(|(at, _)| *at <= now) {
            now = Timestamp(now.0 + by);
        }
    }
    ran
}

#[test]
fn an_estate_taken_over_at_once_is_rotated_evenly() {
    let count = 4_000;
    for timetable in [
        "every_days = 30",
        "every_days = 30\ntime_zone = 'Europe/Berlin'\n\
         windows = [{ from = '22:00', until = '04:00' }]",
    ] {
        let schedule = schedule(timetable);
        let first = at("2026-01-01T08:00:00Z");
        let mut days = vec![0_u32; 366];
        for n in 0..count {
            let mut before = first;
            for ran in year(&schedule, first, share(n), |_| true, &[]) {
                days[usize::try_from(ran.at.since(first).as_secs() / DAY.as_secs()).unwrap()] += 1;
                // At most a window later than asked, or one more if it was asked for at the end of one.
                assert!(ran.at.since(before) < DAY * 32);
                before = ran.at;
            }
        }
        // The first three days are too soon for a value that was just made.
        let days = &days[3..364];
        let mean = f64::from(days.iter().sum::<u32>()) / days.len() as f64;
        let peak = f64::from(*days.iter().max().unwrap());
        assert!(
            peak < 1.5 * mean,
            "{timetable}: {peak} a day, {mean} on average"
        );
    }
}

#[test]
fn a_year_of_restarts_neither_loses_nor_doubles() {
    let nightly = schedule("cron = '30 2 * * *'\ntime_zone = 'Europe/Berlin'\nspread_minutes = 30");
    let first = at("2026-01-01T12:00:00Z");
    // Down for two nights of each ten days.
    let runs =
        |now: Timestamp| now.since(first).as_secs() % (10 * DAY.as_secs()) < 8 * DAY.as_secs();
    for n in 0..50 {
        let year = year(&nightly, first, share(n), runs, &[]);
        for pair in year.windows(2) {
            assert!(pair[0].at < pair[1].due.at);
        }
        // 365 nights; of the two of each ten days that it slept through, one rotation. None twice.
        assert_eq!(year.len(), 365 - 36);
    }
}

#[test]
fn what_was_missed_waits_for_the_next_window_and_a_clock_that_jumps_changes_nothing() {
    let nightly = schedule(
        "cron = '30 2 * * *'\nspread_minutes = 45\n\
         windows = [{ from = '02:00', until = '04:00' }]",
    );
    let first = at("2026-01-01T12:00:00Z");
    // Down at night, each third day.
    let runs = |now: Timestamp| {
        let seconds = now.since(first).as_secs();
        seconds % (3 * DAY.as_secs()) < DAY.as_secs() * 5 / 2
    };
    let hour = 60 * 60 * 1000;
    let jumps = [
        (at("2026-02-10T03:45:00Z"), -2 * hour),
        (at("2026-03-10T02:15:00Z"), 2 * hour),
        (at("2026-04-10T12:00:00Z"), -30 * hour),
    ];
    for n in 0..10 {
        let year = year(&nightly, first, share(n), runs, &jumps);
        for ran in &year {
            let hour = ran.at.0.rem_euclid(24 * hour) / hour;
            assert!((2..4).contains(&hour), "{}", ran.at);
        }
        for pair in year.windows(2) {
            assert!(pair[0].at < pair[1].at, "{}", pair[1].at);
            assert!(pair[1].due.asked > pair[0].due.asked);
        }
        // Two of three nights; of that which the clock skipped, none.
        assert!((241..=244).contains(&year.len()), "{}", year.len());
    }
}

proptest! {
    #[test]
    fn a_value_never_expires_and_nothing_overflows(
        every in proptest::option::of(1_u32..36_525),
        lead in 0_u32..36_525,
        share in any::<u64>(),
        since in moments(),
        end in moments(),
        now in moments(),
        cron in any::<bool>(),
        windows in any::<bool>(),
    ) {
        let window = Window { days: vec![Day::Tue], from: "23:00".into(), until: "01:00".into() };
        let timetable = Timetable {
            every_days: every,
            cron: cron.then(|| "0 3 * * *".to_owned()),
            before_expiry_days: lead,
            windows: if windows { vec![window] } else { Vec::new() },
            ..Timetable::default()
        };
        let subject = Subject {
            share: Share(share),
            since: Timestamp(since),
            expires_at: Some(Timestamp(end)),
        };
        let due = Schedule::new(&timetable).unwrap().next(&subject, Timestamp(now)).unwrap();
        prop_assert!(due.at <= Timestamp(end));
        prop_assert!(due.asked <= due.first && due.first <= due.at);
    }

    /// Whatever the windows are, it begins inside one of them, and not before it was asked for.
    #[test]
    fn it_begins_in_a_window(
        share in any::<u64>(),
        since in 0_i64..4_000_000_000_000,
        from in 0_u8..24,
        until in 0_u8..24,
        weekday in 0_usize..7,
    ) {
        let days = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];
        let timetable = Timetable {
            every_days: Some(1),
            windows: vec![Window {
                days: vec![days[weekday]],
                from: format!("{from:02}:00"),
                until: format!("{until:02}:00"),
            }],
            ..Timetable::default()
        };
        let subject = Subject { share: Share(share), since: Timestamp(since), expires_at: None };
        let due = Schedule::new(&timetable).unwrap().next(&subject, subject.since).unwrap();
        prop_assert!(due.at >= due.asked);
        prop_assert!(due.asked >= subject.since);
        let moment = jiff::Timestamp::from_millisecond(due.at.0).unwrap();
        let begun = moment.to_zoned(jiff::tz::TimeZone::UTC);
        let hour = u8::try_from(begun.hour()).unwrap();
        let on = usize::try_from(begun.weekday().to_monday_zero_offset()).unwrap();
        let inside = if from < until {
            on == weekday && (from..until).contains(&hour)
        } else {
            (on == weekday && hour >= from) || (on == (weekday + 1) % 7 && hour < until)
        };
        prop_assert!(inside, "{begun}");
    }
}
