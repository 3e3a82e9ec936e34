//! Labs: published builds are tested, and each verdict is recorded once.

use std::time::Duration;

use globset::Glob;
use stx_layout::{BuildOutcome, Verdict};

use super::world::*;
use crate::ledger::{Ledger as _, VerdictEnd};
use crate::{Ask, Control, Lab, Message, OnStop, Setup, Tested};

fn lab(name: &str, channel: &str) -> Lab {
    Lab {
        name: name.into(),
        channel: Glob::new(channel).unwrap(),
        command: vec!["/lab".into()],
        environment: [].into(),
        timeout: Duration::from_hours(1),
    }
}

/// A polled branch; a lab tests its builds, and another lab those of another channel.
fn tested() -> Setup {
    let mut setup = setup([polled("master", 60)]);
    setup.labs = vec![lab("sanity", "master/**"), lab("other", "release/**")];
    setup
}

/// A good commit and a bad one, with one kill; returns the numbers of writes and events.
async fn killed(kill: Kill) -> (u32, u32) {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.lock().broken.insert("bad".into());
    world.push("master", "good");
    kill.arm(&world, &mut ledger);
    let script = world.clone();
    let pushes = tokio::spawn(async move {
        seconds(900).await;
        script.push("master", "bad");
    });
    drop(serve_during(&world, &mut ledger, tested(), async |_| seconds(1800).await).await);
    let counts = Kill::disarm(&world, &mut ledger);
    // Restarted later, at another time of the clock.
    seconds(60).await;
    serve_during(&world, &mut ledger, tested(), async |_| seconds(3600).await)
        .await
        .unwrap();
    pushes.await.unwrap();
    let inner = world.lock();
    let good = inner.published.iter();
    let good: Vec<_> = good
        .filter(|build| build.result == BuildOutcome::Success)
        .collect();
    let verdicts: Vec<_> = inner.verdicts.iter().collect();
    assert_eq!((good.len(), verdicts.len()), (1, 1), "{kill:?}: {inner:#?}");
    assert_eq!(verdicts[0].build, good[0].id, "{kill:?}");
    let (verdict, author) = (verdicts[0].verdict, &*verdicts[0].author);
    assert_eq!((verdict, author), (Verdict::Green, "sanity"), "{kill:?}");
    let expected = ("sanity".to_owned(), good[0].id.clone());
    let is_right = inner.tests.iter().all(|test| *test == expected);
    assert!(
        is_right && inner.tests.len() <= 2,
        "{kill:?}: {:?}",
        inner.tests
    );
    drop(inner);
    let recorded = |end: &Option<VerdictEnd>| matches!(end, Some(VerdictEnd::Recorded { .. }));
    let ends = ledger.verdict_ends();
    assert!(ends.len() == 1 && recorded(&ends[0]), "{kill:?}: {ends:?}");
    counts
}

#[tokio::test(start_paused = true)]
async fn after_any_kill_each_success_has_one_verdict_and_a_failure_none() {
    let counts = killed(Kill::Never).await;
    assert!(counts.0 > 20 && counts.1 > 20, "{counts:?}");
    for kill in Kill::everywhere(counts) {
        killed(kill).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_lab_delays_no_build_and_tests_the_newest() {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.push("master", "0");
    let script = world.clone();
    serve_during(&world, &mut ledger, tested(), async move |_| {
        // The first test begins after some four minutes and takes five; three more builds end meanwhile and after it.
        for commit in 1..4 {
            seconds(300).await;
            script.push("master", &commit.to_string());
        }
        seconds(3600).await;
    })
    .await
    .unwrap();
    assert_eq!(world.commits("master/centos"), ["0", "1", "2", "3"]);
    let tests = world.lock().tests.clone();
    let newest = world.lock().published.last().unwrap().id.clone();
    assert_eq!(tests.last().map(|(_, build)| build), Some(&newest));
    let ends = ledger.verdict_ends();
    assert_eq!(ends.len(), 4);
    let superseded = ends.iter().filter(|end| {
        let why = "is tested instead";
        matches!(end, Some(VerdictEnd::NotTested { why: text }) if text.contains(why))
    });
    assert_eq!(superseded.count(), 4 - tests.len(), "{ends:?} {tests:?}");
}

#[tokio::test(start_paused = true)]
async fn an_allowed_user_cancels_a_test_and_a_stop_does_not_wait_for_it() {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.push("master", "one");
    let ask = |world: &World, id: &str, uid, request| {
        let ask = Ask::Cancel { request };
        let id = id.to_owned();
        let message = Message { id, uid, ask };
        world.lock().messages.insert(message.id.clone(), message);
    };
    // A stop that waits for builds does not wait for a test; the test begins again.
    let script = world.clone();
    let mut setup = tested();
    setup.settings.on_stop = OnStop::Finish;
    serve_during(&world, &mut ledger, setup, async move |control| {
        while script.lock().tests.is_empty() {
            seconds(10).await;
        }
        control.send(Control::Stop).unwrap();
        seconds(100).await;
        panic!("the stop waits for the test");
    })
    .await
    .unwrap();
    let id = *ledger.state().verdicts.keys().next().unwrap();
    let script = world.clone();
    serve_during(&world, &mut ledger, tested(), async move |_| {
        seconds(60).await;
        assert_eq!(script.lock().tests.len(), 2);
        ask(&script, "x", 1000, id);
        seconds(60).await;
        let said = script.lock().said.join("\n");
        let refused = format!("user 1000 may not cancel request {id}");
        assert!(said.contains(&refused), "{said}");
        ask(&script, "y", 0, id);
        seconds(3600).await;
    })
    .await
    .unwrap();
    assert_eq!(
        ledger.verdict_ends(),
        [Some(VerdictEnd::Cancelled { uid: 0 })]
    );
    assert!(world.lock().verdicts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_endless_test_times_out_and_one_that_cannot_start_gives_no_verdict() {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.push("master", "one");
    for _ in 0..10 {
        let script = world.clone();
        let tests = world.lock().tests.len();
        serve_during(&world, &mut ledger, tested(), async move |_| {
            for _ in 0..60 {
                seconds(10).await;
                if script.lock().tests.len() > tests {
                    break;
                }
            }
        })
        .await
        .unwrap();
    }
    assert_eq!(world.lock().tests.len(), 5);
    let given_up = |end: &Option<VerdictEnd>, why: &str| match end {
        Some(VerdictEnd::NotTested { why: text }) => assert!(text.contains(why), "{text}"),
        end => panic!("{end:?}"),
    };
    given_up(&ledger.verdict_ends()[0], "interrupted 5 times");
    world.lock().tested = Some(Tested::NotTested("/lab: not there".into()));
    world.push("master", "two");
    serve_during(&world, &mut ledger, tested(), async |_| seconds(3600).await)
        .await
        .unwrap();
    given_up(&ledger.verdict_ends()[1], "/lab: not there");
    assert!(world.lock().verdicts.is_empty() && ledger.state().verdicts.is_empty());
}
