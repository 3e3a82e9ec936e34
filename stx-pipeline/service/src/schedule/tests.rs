use proptest::prelude::*;

use super::*;

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn schedule(text: &str) -> Schedule {
    Schedule::new(text, Duration::ZERO, "").unwrap()
}

/// The nominal times that are acted upon when the clock shows `times` in turn.
fn acts(
    schedule: &Schedule,
    mut last: Option<DateTime<Utc>>,
    times: impl IntoIterator<Item = DateTime<Utc>>,
) -> Vec<Due> {
    let mut acts = Vec::new();
    for now in times {
        match schedule.tick(last, now) {
            Tick::Wait => {}
            Tick::Rebase(at) => last = Some(at),
            Tick::Act(due) => {
                last = Some(due.at);
                acts.push(due);
            }
        }
    }
    acts
}

fn minutes(from: &str, count: i64) -> impl Iterator<Item = DateTime<Utc>> {
    let from = time(from);
    (0..count).map(move |minute| from + TimeDelta::minutes(minute))
}

#[test]
fn each_day_has_one_daily_tick_despite_summer_time() {
    let daily = schedule("30 2 * * *");
    for day in ["2020-03-28", "2020-03-29", "2020-10-24", "2020-10-25"] {
        let acts = acts(&daily, None, minutes(&format!("{day}T00:00:00Z"), 24 * 60));
        assert_eq!(acts.len(), 1, "{day}");
        assert_eq!(acts[0].at, time(&format!("{day}T02:30:00Z")));
    }
}

#[test]
fn a_leap_day_is_scheduled_in_leap_years_only() {
    let leap = schedule("0 6 29 2 *");
    let mut last = time("2019-01-01T00:00:00Z");
    let mut years = Vec::new();
    for _ in 0..3 {
        last = leap.next(last).unwrap();
        years.push(last.format("%F").to_string());
    }
    assert_eq!(years, ["2020-02-29", "2024-02-29", "2028-02-29"]);
}

#[test]
fn missed_ticks_are_made_up_for_once() {
    let hourly = schedule("0 * * * *");
    let down = [
        "2020-01-01T06:00:05Z",
        "2020-01-08T09:10:00Z",
        "2020-01-08T09:10:01Z",
    ]
    .map(time);
    let acts = acts(&hourly, Some(time("2020-01-01T05:00:00Z")), down);
    assert_eq!(
        acts,
        [
            Due {
                at: time("2020-01-01T06:00:00Z"),
                missed: false
            },
            Due {
                at: time("2020-01-08T09:00:00Z"),
                missed: true
            },
        ]
    );
}

#[test]
fn a_new_schedule_does_not_act_for_the_past() {
    let daily = schedule("0 6 * * *");
    assert_eq!(
        daily.tick(None, time("2020-01-01T07:00:00Z")),
        Tick::Rebase(time("2020-01-01T07:00:00Z"))
    );
}

#[test]
fn a_clock_put_back_repeats_no_tick_and_does_not_stop_the_schedule() {
    let hourly = schedule("0 * * * *");
    let six = Some(time("2020-01-01T06:00:00Z"));
    assert_eq!(hourly.tick(six, time("2020-01-01T05:59:00Z")), Tick::Wait);
    // A tick that was acted upon while the clock was 80 years ahead.
    let acts = acts(
        &hourly,
        Some(time("2100-01-01T00:00:00Z")),
        minutes("2020-01-01T05:59:00Z", 180),
    );
    let at: Vec<_> = acts.iter().map(|due| due.at).collect();
    assert_eq!(
        at,
        [
            "2020-01-01T06:00:00Z",
            "2020-01-01T07:00:00Z",
            "2020-01-01T08:00:00Z"
        ]
        .map(time)
    );
}

#[test]
fn a_clock_that_was_briefly_ahead_skips_no_tick() {
    let quarterly = schedule("0 6 1 */3 *");
    let clock = [
        "2027-02-28T23:59:00Z",
        // A server of times was wrong.
        "2030-01-01T06:00:00Z",
        "2027-03-01T00:00:00Z",
        "2027-04-01T06:00:00Z",
    ];
    let acts = acts(&quarterly, None, clock.map(time));
    let at: Vec<_> = acts.iter().map(|due| due.at).collect();
    assert_eq!(
        at,
        ["2030-01-01T06:00:00Z", "2027-04-01T06:00:00Z"].map(time)
    );
}

#[test]
fn a_schedule_that_never_matches_is_refused() {
    for never in ["0 6 30 2 *", "0 6 31 4 *"] {
        let error = Schedule::new(never, Duration::ZERO, "").unwrap_err();
        assert!(matches!(error, ScheduleError::Never { .. }), "{error}");
    }
    insta::assert_snapshot!(Schedule::new("daily", Duration::ZERO, "").unwrap_err(), @"`daily` is not a cron expression such as `0 6 * * *`: Invalid pattern: Pattern must have between 5 and 7 fields.");
}

#[test]
fn jitter_always_delays_by_the_same_time() {
    let of = |seed| Schedule::new("0 6 * * *", Duration::from_hours(1), seed).unwrap();
    let from = time("2020-01-01T00:00:00Z");
    let delays: Vec<_> = [
        "master/centos",
        "release/2018.10/centos",
        "feature/x/centos",
    ]
    .map(|seed| of(seed).next(from).unwrap() - time("2020-01-01T06:00:00Z"))
    .into();
    assert_eq!(
        delays[0],
        of("master/centos").next(from).unwrap() - time("2020-01-01T06:00:00Z")
    );
    for (index, delay) in delays.iter().enumerate() {
        assert!(*delay >= TimeDelta::zero() && *delay < TimeDelta::hours(1));
        assert!(!delays[..index].contains(delay));
    }
}

proptest! {
    /// For any times of the calls, a tick is acted upon at most once, in order, and never early; after the last call no tick is
    /// left.
    #[test]
    fn ticks_fire_in_order_never_early_and_never_twice(
        steps in prop::collection::vec(0_i64..400_000, 1..40),
        text in prop::sample::select(vec!["* * * * *", "0 */3 * * *", "0 6 * * 1-5", "0 0 1 * *"]),
        jitter in 0_u64..90_000,
    ) {
        let schedule = Schedule::new(text, Duration::from_secs(jitter), "x").unwrap();
        let start = time("2019-12-25T00:00:00Z");
        let mut now = start;
        let mut last = Some(start - schedule.delay);
        for step in steps {
            now += TimeDelta::seconds(step);
            let before = last;
            match schedule.tick(last, now) {
                Tick::Act(due) => {
                    prop_assert!(Some(due.at) > last && due.at + schedule.delay <= now);
                    last = Some(due.at);
                }
                Tick::Wait => {}
                Tick::Rebase(_) => prop_assert!(false, "the clock never went back"),
            }
            prop_assert_eq!(schedule.tick(last, now), Tick::Wait);
            let next = schedule.next(last.unwrap()).unwrap();
            prop_assert!(next > now, "{} is left over at {now}, last {before:?}", next);
        }
    }
}
