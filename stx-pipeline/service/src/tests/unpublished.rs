//! Builds that cannot be published: the service tries again, and builds nothing twice.

use super::world::*;
use crate::ledger::AlarmKind::NotPublished;
use crate::ledger::{Ledger as _, RunEnd};
use crate::{Notice, Setup, status};

const HOUR: u64 = 3600;

/// The alarms of builds that are not published.
fn alarms(ledger: &Breaking) -> Vec<String> {
    let alarms = ledger.state().alarms.iter();
    let alarms = alarms.filter(|(alarm, _)| alarm.kind == NotPublished);
    alarms.map(|(_, (_, text))| text.clone()).collect()
}

/// The runs of each phase of all builds.
fn phases(world: &World) -> Vec<u32> {
    world.lock().phases_run.values().copied().collect()
}

/// A world with a commit, whose builds cannot be published for this reason, and an empty ledger.
fn unpublishable(reason: &str) -> (World, Breaking) {
    let world = World::new();
    world.push("master", "one");
    world.lock().unpublishable = Some(reason.into());
    (world, Breaking::new())
}

fn commits_only() -> Setup {
    setup([polled("master", 60)])
}

#[tokio::test(start_paused = true)]
async fn a_build_of_a_commit_is_published_when_it_can_be_and_not_built_again() {
    let (world, mut ledger) = unpublishable("the disk is full");
    // A day without room, a restart, and another hour without it.
    for hours in [24, 1] {
        serve_during(&world, &mut ledger, commits_only(), async move |_| {
            seconds(hours * HOUR).await;
        })
        .await
        .unwrap();
        assert!(world.commits("master/centos").is_empty());
        let [text] = alarms(&ledger).try_into().unwrap();
        assert!(text.contains("is built but not published"), "{text}");
        assert!(text.ends_with("the disk is full"), "{text}");
    }
    let runs = ledger.history()[0].runs.len();
    assert!(
        (24..45).contains(&runs),
        "{runs} attempts at growing intervals"
    );
    world.lock().unpublishable = None;
    serve_during(&world, &mut ledger, commits_only(), async move |_| {
        seconds(HOUR).await;
    })
    .await
    .unwrap();
    assert_eq!(world.commits("master/centos"), ["one"]);
    assert_eq!(phases(&world), [1, 1, 1], "no phase ran twice");
    assert_eq!(alarms(&ledger), [""; 0]);
    let history = ledger.history();
    assert_eq!(history.len(), 1, "one request from the commit to the build");
    let end = history[0].runs.last().unwrap().end.clone().unwrap();
    assert!(matches!(end.how, RunEnd::Published { .. }), "{end:?}");
    let notices = world.lock().notices.clone();
    let failures = notices
        .iter()
        .filter(|it| matches!(it, Notice::Failure { .. }));
    assert_eq!(failures.count(), 1, "the hook is told once: {notices:?}");
    let good = |it: &Notice| matches!(it, Notice::Recovery { .. });
    assert!(notices.iter().any(good), "{notices:?}");
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_comes_meanwhile_is_built_after_the_publication() {
    let (world, mut ledger) = unpublishable("no bucket answers");
    let script = world.clone();
    serve_during(&world, &mut ledger, commits_only(), async move |_| {
        seconds(5 * HOUR).await;
        script.push("master", "two");
        seconds(5 * HOUR).await;
        script.lock().unpublishable = None;
        seconds(2 * HOUR).await;
    })
    .await
    .unwrap();
    assert_eq!(world.commits("master/centos"), ["one", "two"]);
    assert_eq!(phases(&world), [1; 6]);
    assert_eq!(alarms(&ledger), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_forced_build_whose_channel_is_busy_is_published_once_and_raises_no_alarm() {
    let (world, mut ledger) = unpublishable("busy");
    world.ask_build("force", "master", true);
    let script = world.clone();
    serve_during(
        &world,
        &mut ledger,
        setup([watch("master")]),
        async move |_| {
            seconds(HOUR).await;
            script.lock().unpublishable = None;
            seconds(HOUR).await;
        },
    )
    .await
    .unwrap();
    assert_eq!(world.commits("master/centos"), ["one"]);
    let notices = world.lock().notices.clone();
    assert!(notices.is_empty(), "{notices:?}");
}

#[tokio::test(start_paused = true)]
async fn a_user_who_asks_again_does_not_wait_for_the_end_of_the_pause() {
    let (world, mut ledger) = unpublishable("the disk is full");
    let script = world.clone();
    serve_during(&world, &mut ledger, commits_only(), async move |_| {
        seconds(10 * HOUR).await;
        script.lock().unpublishable = None;
        script.ask_build("there is room", "master", false);
        seconds(600).await;
    })
    .await
    .unwrap();
    assert_eq!(world.commits("master/centos"), ["one"]);
    assert_eq!(ledger.history().len(), 1, "it joined the request");
}

#[tokio::test(start_paused = true)]
async fn a_follower_of_the_request_is_told_the_reason_once() {
    let (world, mut ledger) = unpublishable("the disk is full");
    world.lock().shown = Some((None, Vec::new()));
    serve_during(&world, &mut ledger, commits_only(), async move |_| {
        seconds(HOUR).await;
    })
    .await
    .unwrap();
    let request = ledger.history()[0].request.id;
    let mut follow = status::Follow::new(request);
    let (_, shown) = world.lock().shown.take().unwrap();
    let steps = shown.iter().flat_map(|status| follow.look(status));
    let told: Vec<_> = steps
        .filter_map(|step| match step {
            status::Step::Unpublished { reason } => Some(reason),
            _ => None,
        })
        .collect();
    assert_eq!(
        told,
        ["the disk is full"],
        "once, although it is tried often"
    );
}
