//! Killed at any write or event, the service converges to the result that it would have had.

use std::collections::BTreeSet;

use stx_layout::BuildOutcome;

use super::world::*;
use crate::ledger::Ledger as _;
use crate::trigger::Cause;
use crate::{Control, OnStop, Setup};

fn watches() -> Setup {
    let mut daily = polled("master", 50);
    daily.schedule = scheduled("master", "*/10 * * * *").schedule;
    setup([daily, polled("f/x", 70)])
}

/// A quarter of an hour with commits, ticks, a failing commit and user requests; killed once, and restarted at once or after a
/// while. Returns the numbers of writes and events.
async fn run(kill: Kill, down: u64) -> (u32, u32) {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.push("master", "m1");
    world.push("f/x", "x1");
    world.lock().broken.insert("m2".into());
    kill.arm(&world, &mut ledger);
    let pushes = world.clone();
    let upstream = tokio::spawn(async move {
        seconds(250).await;
        pushes.push("master", "m2");
        pushes.ask_build("first", "f/x", true);
        seconds(250).await;
        pushes.push("f/x", "x2");
        seconds(100).await;
        pushes.push("master", "m3");
        pushes.ask_build("second", "m/2020.b1", false);
        pushes.push("m/2020.b1", "tag");
    });
    // Killed or not, the rest of the test is the same.
    let killed = serve_during(&world, &mut ledger, watches(), async |_| {
        seconds(1200).await;
    });
    drop(killed.await);
    let counts = Kill::disarm(&world, &mut ledger);
    seconds(down).await;
    serve_during(&world, &mut ledger, watches(), async |control| {
        seconds(1800).await;
        control.send(Control::Stop).unwrap();
        seconds(1800).await;
    })
    .await
    .unwrap();
    upstream.await.unwrap();
    check(&world, &ledger, kill);
    counts
}

fn check(world: &World, ledger: &Breaking, kill: Kill) {
    // No request waits, no run is left, and no message is left.
    let state = ledger.state();
    assert!(
        state.queue.is_empty() && state.runs.is_empty(),
        "{kill:?}: {state:#?}"
    );
    assert!(
        state.messages.is_empty() && world.lock().messages.is_empty(),
        "{kill:?}"
    );
    // Each commit that was the last one for long enough was built, and none twice unless it was forced.
    for (channel, last) in [
        ("master/centos", "m3"),
        ("feature/x/centos", "x2"),
        ("milestone/2020.b1/centos", "tag"),
    ] {
        let commits = world.commits(channel);
        assert_eq!(
            commits.last().map(String::as_str),
            Some(last),
            "{kill:?} {channel}"
        );
    }
    let inner = world.lock();
    let mut seen = BTreeSet::new();
    for build in inner.published.iter().filter(|build| !build.forced) {
        assert!(
            seen.insert((&build.id.channel, &build.commit)),
            "{kill:?}: {} is built twice: {:#?}",
            build.commit,
            inner.published
        );
        let bad = if build.commit == "m2" {
            BuildOutcome::Fail
        } else {
            BuildOutcome::Success
        };
        assert_eq!(build.result, bad, "{kill:?}");
    }
    // The forced request was built once, and each message is one reason.
    assert_eq!(
        inner.published.iter().filter(|build| build.forced).count(),
        1,
        "{kill:?}: {:#?}",
        inner.published
    );
    let history = ledger.history();
    let reasons = history.iter().flat_map(|filed| &filed.request.reasons);
    let manual: Vec<_> = reasons
        .filter_map(|reason| match &reason.cause {
            Cause::Manual { text, .. } => Some(text.as_str()),
            Cause::Periodic { .. } | Cause::Commit { .. } | Cause::After { .. } => None,
        })
        .collect();
    assert_eq!(manual.len(), 2, "{kill:?}: {manual:?}");
    // No finished phase ran again, and every build of the ledger is on the mirror.
    for ((id, phase), times) in &inner.phases_run {
        assert!(*times <= 2, "{kill:?}: {id} {phase} ran {times} times");
    }
    let resumed = inner
        .phases_run
        .values()
        .filter(|times| **times == 2)
        .count();
    assert!(
        resumed <= 2,
        "{kill:?}: only what was cut off runs again: {:#?}",
        inner.phases_run
    );
    for run in history.iter().flat_map(|filed| &filed.runs) {
        assert!(run.end.is_some(), "{kill:?}: {run:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_recovers_after_a_kill_at_every_write() {
    let (writes, _) = run(Kill::Never, 0).await;
    assert!(writes > 50, "{writes}");
    for n in 0..writes {
        run(Kill::BeforeWrite(n), 0).await;
        run(Kill::AfterWrite(n), 300).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_recovers_after_a_kill_at_every_event() {
    let (_, events) = run(Kill::Never, 0).await;
    assert!(events > 30, "{events}");
    for n in 0..events {
        run(Kill::Event(n), 0).await;
        run(Kill::Event(n), 300).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_build_that_repeatedly_kills_the_service_is_given_up() {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.push("master", "m1");
    world.ask_build("a", "master", false);
    for _ in 0..12 {
        serve_during(&world, &mut ledger, setup([]), async |_| seconds(30).await)
            .await
            .unwrap();
    }
    assert_eq!(world.lock().published[0].result, BuildOutcome::Fail);
    assert_ne!(setup([]).settings.on_stop, OnStop::Interrupt);
}
