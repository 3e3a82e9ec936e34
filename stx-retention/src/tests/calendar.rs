//! Release periods, case by case.

use chrono::NaiveDate;

use super::world::{Made, add, channel, day};
use crate::{Calendar, Period, Releases};

fn date(days: i64) -> NaiveDate {
    day(days).date_naive()
}

fn releases() -> Releases {
    Releases::on([date(10), date(20), date(30)])
}

fn whole(begins: i64, ends: i64) -> Period {
    Period::Whole {
        begins: date(begins),
        ends: date(ends),
    }
}

#[test]
fn before_the_first_known_release() {
    assert_eq!(releases().period_past(day(3)), whole(10, 20));
}

#[test]
fn on_the_day_of_a_release() {
    assert_eq!(releases().period_past(day(10)), whole(10, 20));
}

#[test]
fn between_two_releases() {
    assert_eq!(releases().period_past(day(11)), whole(20, 30));
}

#[test]
fn before_the_last_known_release() {
    let begins = date(30);
    assert_eq!(releases().period_past(day(21)), Period::Unended { begins });
}

#[test]
fn after_the_last_known_release() {
    assert_eq!(releases().period_past(day(31)), Period::Unbegun);
}

#[test]
fn without_a_calendar() {
    assert_eq!(Releases::default().period_past(day(3)), Period::NoCalendar);
}

/// *Whole*, *ordered*, *sooner* and *unknown keeps*, for every calendar on eight days.
#[test]
fn periods_of_all_calendars_on_eight_days() {
    for mask in 0_u32..256 {
        let days = |mask: u32| {
            (0..8)
                .filter(move |day| mask >> day & 1 == 1)
                .map(i64::from)
        };
        let calendar = Releases::on(days(mask).map(date));
        let mut last = None;
        for introduced in 0..8 {
            let period = calendar.period_past(day(introduced));
            match period {
                Period::Whole { begins, ends } => {
                    assert!(begins >= date(introduced) && ends > begins);
                    assert!(!calendar.days().any(|day| begins < day && day < ends));
                }
                Period::Unended { .. } | Period::Unbegun | Period::NoCalendar => {
                    assert_eq!(period.end(), None);
                }
            }
            let end = period.end().map_or(i64::MAX, |end| end.timestamp());
            assert!(last <= Some(end), "an end before that of an earlier build");
            last = Some(end);
            for more in 0..8 {
                let with = Releases::on(days(mask | 1 << more).map(date));
                let sooner = with.period_past(day(introduced)).end();
                assert!(sooner.map_or(i64::MAX, |end| end.timestamp()) <= end);
            }
        }
    }
}

#[test]
fn releases_are_learned_unless_named_or_still_to_come() {
    let mut catalog = channel(
        "release/2018.10/centos",
        &[(4, Made::Failure), (5, Made::Success), (9, Made::Success)],
    );
    add(&mut catalog, "release/2018.10/debian", 3, Made::Success);
    add(&mut catalog, "release/2019.05/centos", 40, Made::Success);
    let mut calendar = Calendar::default();
    let known = |calendar: &Calendar, now| -> Vec<_> {
        Releases::known(&catalog, calendar, day(now))
            .days()
            .collect()
    };
    assert_eq!(known(&calendar, 30), [date(3)]);
    assert_eq!(known(&calendar, 40), [date(3), date(40)]);
    calendar
        .releases
        .insert("2018.10".parse().expect("a name"), date(1));
    assert_eq!(known(&calendar, 40), [date(1), date(40)]);
    calendar.learn = false;
    assert_eq!(known(&calendar, 40), [date(1)]);
}
