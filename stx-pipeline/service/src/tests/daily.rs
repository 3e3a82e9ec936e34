//! Ordinary days of the service: no failures, or frequent ones.

use stx_layout::BuildOutcome;

use super::world::*;
use crate::ledger::AlarmKind::{DiskFilling, NeverFires, Stale};
use crate::ledger::{Closed, Ledger as _, RunEnd};
use crate::trigger::{Cause, ChangedFile, PathRules, Upstream};
use crate::{Ask, Control, Notice, OnInterrupted, OnStop};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

#[tokio::test(start_paused = true)]
async fn a_year_of_daily_schedules_builds_each_changed_day_once() {
    let world = World::new();
    let mut ledger = Breaking::new();
    let mut setup = setup([scheduled("master", "0 6 * * *"), polled("f/x", 2 * HOUR)]);
    setup.settings.tick = std::time::Duration::from_mins(10);
    setup.settings.survey = std::time::Duration::from_secs(DAY);
    world.push("master", "day 0");
    world.push("f/x", "x 0");
    // 2020 has 366 days; the service does not run from day 100 to 109.
    for (from, to) in [(0, 100), (110, 366)] {
        let day = |day| DAY * day;
        let pushes = world.clone();
        serve_during(&world, &mut ledger, setup.clone(), async move |_| {
            for number in from..to {
                if number % 3 == 0 {
                    pushes.push("master", &format!("day {number}"));
                }
                if number % 50 == 0 {
                    pushes.push("f/x", &format!("x {number}"));
                }
                seconds(DAY).await;
            }
        })
        .await
        .unwrap();
        if to == 100 {
            world.push("f/x", "x missed");
            world.push("f/x", "x down");
            seconds(day(10)).await;
        }
    }
    let history = ledger.history();
    let daily: Vec<_> = history
        .iter()
        .filter(|filed| filed.request.target.git == "master")
        .collect();
    // Every day but those of the downtime, whose last tick is made up for at its end.
    assert_eq!(daily.len(), 366 - 10 + 1);
    let made_up = |filed: &&&crate::ledger::Filed| {
        matches!(
            filed.request.reasons[0].cause,
            Cause::Periodic { missed: true, .. }
        )
    };
    assert_eq!(daily.iter().filter(made_up).count(), 1);
    let expected: Vec<_> = (0..366)
        .filter(|day| day % 3 == 0 && !(100..110).contains(day))
        .map(|day| format!("day {day}"))
        .collect();
    assert_eq!(world.commits("master/centos"), expected);
    assert_eq!(
        world.commits("feature/x/centos"),
        [
            "x 0", "x 50", "x down", "x 150", "x 200", "x 250", "x 300", "x 350"
        ]
    );
    // A day without a change is recorded too.
    let unchanged = |filed: &&&crate::ledger::Filed| {
        let end = filed.runs[0].end.as_ref().map(|end| &end.how);
        matches!(end, Some(RunEnd::Unchanged { .. }))
    };
    assert_eq!(
        daily.iter().filter(unchanged).count(),
        daily.len() - expected.len()
    );
}

#[tokio::test(start_paused = true)]
async fn equal_requests_are_merged_and_other_channels_build_in_parallel() {
    let world = World::new();
    let mut ledger = Breaking::new();
    for branch in ["master", "f/x", "f/y"] {
        world.push(branch, "one");
        world.ask_build(branch, branch, false);
    }
    let script = world.clone();
    let mut three = setup([watch("master")]);
    three.settings.max_builds = 3;
    serve_during(&world, &mut ledger, three, async move |_| {
        seconds(30).await;
        script.ask_build("again", "master", false);
        seconds(30).await;
        script.ask_build("and again", "master", true);
        seconds(HOUR).await;
    })
    .await
    .unwrap();
    assert_eq!(world.lock().most_running, 3);
    let history = ledger.history();
    assert_eq!(history.len(), 4);
    let texts: Vec<_> = history[0]
        .request
        .reasons
        .iter()
        .map(|reason| reason.cause.to_string())
        .collect();
    assert_eq!(texts, ["manual: again", "manual: and again"]);
    assert!(history[0].request.force);
    // Two branches at one commit are two builds; a forced request builds it again.
    assert_eq!(world.commits("master/centos"), ["one", "one"]);
    assert_eq!(world.commits("feature/x/centos"), ["one"]);
    assert_eq!(world.commits("feature/y/centos"), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_build_is_built_again_at_the_next_tick_only_if_configured() {
    for retry_failed in [false, true] {
        let world = World::new();
        let mut ledger = Breaking::new();
        world.push("master", "bad");
        world.lock().broken.insert("bad".into());
        let mut hourly = scheduled("master", "0 * * * *");
        hourly.retry_failed = retry_failed;
        let script = world.clone();
        serve_during(&world, &mut ledger, setup([hourly]), async move |_| {
            seconds(3 * HOUR + 1000).await;
            script.push("master", "good");
            seconds(HOUR).await;
        })
        .await
        .unwrap();
        let bad = if retry_failed { 3 } else { 1 };
        let commits = world.commits("master/centos");
        assert_eq!(
            commits.iter().filter(|commit| *commit == "bad").count(),
            bad
        );
        assert_eq!(commits.last().map(String::as_str), Some("good"));
        let notices = &world.lock().notices;
        let failures = notices
            .iter()
            .filter(|notice| matches!(notice, Notice::Failure { .. }));
        assert_eq!(failures.count(), bad);
        let recoveries = notices
            .iter()
            .filter(|notice| matches!(notice, Notice::Recovery { .. }));
        assert_eq!(recoveries.count(), 1);
    }
}

fn changed(file: &str) -> std::collections::BTreeSet<ChangedFile> {
    let file = file.to_owned();
    let git = "stx/config".to_owned();
    [ChangedFile { git, file }].into()
}

#[tokio::test(start_paused = true)]
async fn commits_to_ignored_paths_are_recorded_and_not_built() {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.push("master", "one");
    let mut watch = polled("master", 60);
    watch.paths = PathRules::new(&["!docs/**"]).unwrap();
    let script = world.clone();
    serve_during(&world, &mut ledger, setup([watch]), async move |_| {
        seconds(1000).await;
        script.lock().changed = Some(changed("docs/a.md"));
        script.push("master", "two");
        seconds(1000).await;
        script.lock().changed = Some(changed("src/a.c"));
        script.push("master", "three");
        seconds(1000).await;
    })
    .await
    .unwrap();
    assert_eq!(world.commits("master/centos"), ["one", "three"]);
    let skipped = &ledger.history()[1];
    assert!(
        matches!(&skipped.closed, Some((_, Closed::Skipped { why })) if why.starts_with("unchanged: ")),
        "{skipped:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_jumping_clock_repeats_no_build_and_stops_no_build() {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.push("master", "one");
    let mut setup = setup([scheduled("master", "0 * * * *"), polled("f/x", 300)]);
    setup.settings.prune =
        Some(crate::schedule::Schedule::new("30 * * * *", std::time::Duration::ZERO, "").unwrap());
    let script = world.clone();
    serve_during(&world, &mut ledger, setup, async move |_| {
        script.push("f/x", "x1");
        seconds(HOUR + 600).await;
        // Put the clock back past a tick that was acted upon.
        script.lock().clock = chrono::TimeDelta::minutes(-20);
        seconds(1800).await;
        script.push("f/x", "x2");
        seconds(HOUR).await;
        // Eighty years ahead, and back.
        script.lock().clock = chrono::TimeDelta::days(80 * 365);
        script.push("f/x", "x3");
        seconds(HOUR).await;
        script.lock().clock = chrono::TimeDelta::zero();
        script.push("f/x", "x4");
        seconds(4 * HOUR).await;
    })
    .await
    .unwrap();
    assert_eq!(world.commits("feature/x/centos"), ["x1", "x2", "x3", "x4"]);
    let history = ledger.history();
    let due: Vec<_> = history
        .iter()
        .rev()
        .filter_map(|filed| match &filed.request.reasons[0].cause {
            Cause::Periodic { due, .. } => Some(due.format("%Y %H:%M").to_string()),
            Cause::Commit { .. } | Cause::After { .. } | Cause::Manual { .. } => None,
        })
        .collect();
    assert_eq!(
        due[..3],
        ["2020 01:00", "2020 02:00", "2099 02:00"],
        "{due:?}"
    );
    let unique: std::collections::BTreeSet<_> = due.iter().collect();
    assert_eq!(unique.len(), due.len(), "{due:?}");
    assert!(due.len() >= 5, "{due:?}");
    assert!(world.lock().pruned >= 5);
}

#[tokio::test(start_paused = true)]
async fn a_build_of_a_busy_channel_is_retried() {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.push("master", "one");
    world.lock().busy.insert("master/centos".parse().unwrap());
    world.ask_build("a", "master", false);
    let script = world.clone();
    serve_during(&world, &mut ledger, setup([]), async move |_| {
        seconds(150).await;
        script.lock().busy.clear();
        seconds(500).await;
    })
    .await
    .unwrap();
    assert_eq!(world.commits("master/centos"), ["one"]);
    let runs = ledger.history().remove(0).runs;
    assert_eq!(runs.len(), 4, "{runs:#?}");
}

#[tokio::test(start_paused = true)]
async fn waiting_and_running_requests_can_be_cancelled() {
    let world = World::new();
    let mut ledger = Breaking::new();
    let mut one = setup([]);
    one.settings.max_builds = 1;
    for branch in ["master", "f/x", "f/y"] {
        world.push(branch, "one");
        world.ask_build(&format!("{} {branch}", branch.len()), branch, false);
    }
    let script = world.clone();
    serve_during(&world, &mut ledger, one, async move |_| {
        seconds(30).await;
        // Request 1 (f/x) runs, 2 (f/y) and 3 (master) wait.
        script.ask("c1", Ask::Cancel { request: 2 });
        script.ask("c2", Ask::Cancel { request: 1 });
        script.ask("c3", Ask::Cancel { request: 77 });
        seconds(HOUR).await;
    })
    .await
    .unwrap();
    assert_eq!(world.commits("feature/x/centos").len(), 0);
    assert_eq!(world.commits("feature/y/centos").len(), 0);
    assert_eq!(world.commits("master/centos"), ["one"]);
    let history = ledger.history();
    assert!(
        history
            .iter()
            .any(|filed| matches!(filed.closed, Some((_, Closed::Cancelled { uid: 1000 }))))
    );
    assert!(ledger.state().messages.is_empty() && world.lock().messages.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_new_channel_is_built_only_if_requested_and_upstream() {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.push("master", "one");
    world.push("f/there", "x");
    world.ask_channel("1", "f/there", false, false);
    world.ask_channel("2", "f/typo", false, true);
    world.ask_channel("3", "f/there", false, true);
    let script = world.clone();
    let mut master = polled("master", 60);
    master.upstream = Some(Upstream::Repositories(vec!["x".into()]));
    let watches = setup([master]);
    serve_during(&world, &mut ledger, watches, async move |_| {
        seconds(HOUR).await;
        // `new_channel` is not needed for a channel that an entry names.
        script.ask_channel("4", "master", true, false);
        seconds(HOUR).await;
        // An unreachable branch may exist.
        script.lock().offline = true;
        script.push("f/hidden", "y");
        script.ask_channel("5", "f/hidden", false, true);
        seconds(HOUR).await;
    })
    .await
    .unwrap();
    assert_eq!(world.commits("feature/there/centos"), ["x"]);
    assert_eq!(world.commits("feature/hidden/centos"), ["y"]);
    assert_eq!(world.commits("master/centos"), ["one", "one"]);
    let history = ledger.history();
    let why = |git: &str| {
        let filed = history
            .iter()
            .filter(|filed| filed.request.target.git == git);
        let closed = filed.filter_map(|filed| match &filed.closed {
            Some((_, Closed::Skipped { why })) => Some(why.as_str()),
            Some((_, Closed::Cancelled { .. })) | None => None,
        });
        closed.collect::<Vec<_>>()
    };
    let [unnamed] = why("f/there")[..] else {
        panic!("{history:#?}");
    };
    assert!(unnamed.contains("feature/there/centos") && unnamed.contains("--new-channel"));
    assert_eq!(why("f/typo"), ["there is no branch or tag f/typo upstream"]);
    assert!(ledger.state().messages.is_empty() && world.lock().messages.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_reload_loses_no_build_and_applies_the_new_watches() {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.push("master", "one");
    world.push("f/x", "x");
    let script = world.clone();
    serve_during(
        &world,
        &mut ledger,
        setup([polled("master", 60)]),
        async move |control| {
            seconds(100).await;
            control
                .send(Control::Reload(Box::new(setup([polled("f/x", 60)]))))
                .unwrap();
            seconds(300).await;
            script.push("master", "two");
            seconds(300).await;
            control
                .send(Control::Reload(Box::new(setup([
                    polled("f/x", 60),
                    polled("master", 60),
                ]))))
                .unwrap();
            seconds(300).await;
        },
    )
    .await
    .unwrap();
    // The interrupted build continued, and the commits of the downtime are found.
    assert_eq!(world.commits("master/centos"), ["one", "two"]);
    assert_eq!(world.commits("feature/x/centos"), ["x"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_builds_or_interrupts_them_as_configured() {
    for how in [OnStop::Finish, OnStop::Interrupt] {
        let world = World::new();
        let mut ledger = Breaking::new();
        world.push("master", "one");
        world.ask_build("a", "master", false);
        let mut setup = setup([]);
        setup.settings.on_stop = how;
        let script = world.clone();
        serve_during(&world, &mut ledger, setup.clone(), async move |control| {
            seconds(90).await;
            script.push("f/x", "x");
            script.ask_build("b", "f/x", false);
            control.send(Control::Stop).unwrap();
            seconds(HOUR).await;
        })
        .await
        .unwrap();
        let done = world.commits("master/centos").len();
        assert_eq!(done, usize::from(how == OnStop::Finish));
        // No new build starts; requests that came meanwhile are kept.
        assert!(world.commits("feature/x/centos").is_empty());
        serve_during(&world, &mut ledger, setup, async |_| seconds(HOUR).await)
            .await
            .unwrap();
        assert_eq!(world.commits("master/centos"), ["one"]);
        assert_eq!(world.commits("feature/x/centos"), ["x"]);
        let builds = world
            .lock()
            .phases_run
            .keys()
            .map(|(id, _)| id.clone())
            .collect::<std::collections::BTreeSet<_>>();
        assert_eq!(builds.len(), 2, "it went on, and did not start again");
    }
}

#[tokio::test(start_paused = true)]
async fn interrupted_builds_are_published_as_failed_if_configured() {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.push("master", "one");
    world.ask_build("a", "master", false);
    let mut setup = setup([]);
    setup.settings.on_interrupted = OnInterrupted::Fail;
    serve_during(&world, &mut ledger, setup.clone(), async |_| {
        seconds(90).await;
    })
    .await
    .unwrap();
    serve_during(&world, &mut ledger, setup, async |_| seconds(90).await)
        .await
        .unwrap();
    assert_eq!(world.lock().published[0].result, BuildOutcome::Fail);
    let end = ledger.history().remove(0).runs.remove(0).end.unwrap().how;
    assert!(
        matches!(end, RunEnd::Published { reason: Some(reason), .. } if reason == "interrupted")
    );
}

#[tokio::test(start_paused = true)]
async fn alarms_are_raised_once_and_cleared_once() {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.push("master", "one");
    let mut blind = polled("master", 60);
    blind.schedule = scheduled("master", "0 * * * *").schedule;
    let script = world.clone();
    let kinds = |world: &World| -> Vec<_> {
        let inner = world.lock();
        let notices = inner.notices.iter();
        notices
            .filter_map(|notice| match notice {
                Notice::Alarm { alarm, .. } => Some((true, alarm.kind)),
                Notice::AlarmOver { alarm, .. } => Some((false, alarm.kind)),
                Notice::Failure { .. } | Notice::Recovery { .. } => None,
            })
            .collect()
    };
    serve_during(&world, &mut ledger, setup([blind]), async move |_| {
        seconds(2 * HOUR).await;
        script.lock().free = 3;
        script.lock().offline = true;
        script.lock().busy.insert("master/centos".parse().unwrap());
        seconds(6 * HOUR).await;
        script.lock().free = 30;
        script.lock().offline = false;
        script.lock().busy.clear();
        seconds(2 * HOUR).await;
    })
    .await
    .unwrap();
    let mut seen = kinds(&world);
    seen.sort();
    assert_eq!(
        seen,
        [
            (false, Stale),
            (false, DiskFilling),
            (false, NeverFires),
            (true, Stale),
            (true, DiskFilling),
            (true, NeverFires)
        ]
    );
    assert!(ledger.state().alarms.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_alarm_shows_the_current_state_and_is_notified_once() {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.push("master", "one");
    let mut blind = polled("master", 60);
    blind.max_age = Some(std::time::Duration::from_secs(HOUR));
    let script = world.clone();
    let quiet = serve_during(&world, &mut ledger, setup([blind]), async move |_| {
        seconds(60).await;
        script.lock().free = 9;
        script.lock().offline = true;
        seconds(3 * HOUR).await;
        script.lock().free = 1;
        seconds(72 * HOUR).await;
    });
    quiet.await.unwrap();
    let alarms = ledger.state().alarms.iter();
    let shown: Vec<_> = alarms
        .map(|(alarm, (since, text))| format!("{:?} {}: {text}", alarm.kind, since.format("%H:%M")))
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
    Stale 01:03: the newest success is from 3 days ago, and every 1h there should be one
    DiskFilling 00:03: 1 % of the disk is free
    NeverFires 00:03: its commits cannot be read: no route to host
    ");
    let told = world.lock().notices.clone().into_iter();
    let told = told.filter(|notice| matches!(notice, Notice::Alarm { .. }));
    assert_eq!(told.count(), shown.len());
}
