//! Release periods, case by case.

use chrono::NaiveDate;

use super::world::{Made, add, channel, day, id, promote};
use crate::{Calendar, Limits, Period, Policy, Releases, Retention, Span, plan};

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

/// The date of a promoted build may be that of a build weeks older: the release took place on the day of the promotion.
#[test]
fn a_promoted_release_is_learned_with_the_date_of_its_promotion() {
    let release = "release/2018.10/centos";
    let mut catalog = channel(release, &[(5, Made::Success), (9, Made::Success)]);
    promote(&mut catalog, &id(release, 5), 12);
    let known = |catalog: &_, now| -> Vec<_> {
        let releases = Releases::known(catalog, &Calendar::default(), day(now));
        releases.days().collect()
    };
    // The second build, which was not promoted, was introduced first.
    assert_eq!(known(&catalog, 8), []);
    assert_eq!(known(&catalog, 30), [date(9)]);
    promote(&mut catalog, &id(release, 9), 14);
    assert_eq!(known(&catalog, 11), []);
    assert_eq!(known(&catalog, 12), [date(12)]);
    // A clock that was slow at the promotion does not introduce a build before its own date.
    promote(&mut catalog, &id(release, 5), 1);
    assert_eq!(known(&catalog, 30), [date(5)]);
}

/// Without the first build of a release, the learned day would be that of the next build, and a milestone from the days between
/// would expire one release too early.
#[test]
fn the_build_that_dates_a_release_is_kept_and_keeps_milestones() {
    let (release, milestone) = ("release/1/centos", "milestone/m/centos");
    let mut catalog = channel(release, &[0, 11, 12].map(|days| (days, Made::Success)));
    for days in [11, 12, 16] {
        add(&mut catalog, milestone, days, Made::Success);
    }
    let mut policy = Policy {
        limits: Limits::NONE,
        ..Policy::default()
    };
    policy.kinds.release.keep = Retention::For(Span::days(5));
    let next = "2".parse().expect("a name");
    policy.calendar.releases.insert(next, date(12));
    let expired = |catalog: &_, policy: &_| {
        let plan = plan(catalog, policy, day(20));
        plan.expire
            .into_iter()
            .map(|entry| entry.build)
            .collect::<Vec<_>>()
    };
    assert_eq!(expired(&catalog, &policy), []);
    // It was removed by hand.
    let mut without = catalog.clone();
    let entry = without.channels.get_mut(&id(release, 0).channel);
    entry
        .expect("a channel")
        .builds
        .remove(&id(release, 0).date);
    assert_eq!(expired(&without, &policy), [id(milestone, 11)]);
    // A release that the policy names needs no build.
    let named = "1".parse().expect("a name");
    policy.calendar.releases.insert(named, date(0));
    assert_eq!(expired(&catalog, &policy), [id(release, 0)]);
    assert_eq!(expired(&without, &policy), []);
}

/// The period of a milestone counts from its promotion and from the releases on the mirror, without any in the configuration.
#[test]
fn a_promoted_milestone_is_kept_for_one_release_period_past_its_promotion() {
    let milestone = "milestone/2018.10.b3/centos";
    let mut catalog = channel(
        milestone,
        &[(3, Made::Success), (50, Made::Success), (60, Made::Success)],
    );
    for (release, days) in [("2018.10", 10), ("2019.05", 20), ("2019.12", 30)] {
        let release = format!("release/{release}/centos");
        add(&mut catalog, &release, 0, Made::Success);
        promote(&mut catalog, &id(&release, 0), days);
    }
    let policy = Policy {
        limits: Limits {
            allow: Some(9),
            ..Limits::default()
        },
        ..Policy::default()
    };
    let expired = |catalog: &_, now| {
        let plan = plan(catalog, &policy, day(now));
        plan.expire
            .iter()
            .any(|build| build.build == id(milestone, 3))
    };
    // The period of the build of day 3 is R1 to R2, and its two successors exist.
    assert!(expired(&catalog, 61));
    // Promoted between R1 and R2, its period is R2 to R3; promoted between R2 and R3, no release after R3 is known.
    promote(&mut catalog, &id(milestone, 3), 15);
    assert!(expired(&catalog, 61));
    promote(&mut catalog, &id(milestone, 3), 25);
    assert!(!expired(&catalog, 61));
}
