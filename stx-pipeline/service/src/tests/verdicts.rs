//! Verdicts that members of the build group leave: each is recorded once, whatever happens to the service.

use stx_layout::{BuildId, BuildOutcome, Verdict};

use super::world::*;
use crate::ledger::{Ledger as _, VerdictEnd};
use crate::{Ask, Message};

fn mark(build: &BuildId, verdict: Verdict, reason: &str) -> Ask {
    Ask::Mark {
        build: build.clone(),
        verdict,
        reason: Some(reason.to_owned()),
        url: None,
    }
}

fn ask(world: &World, id: &str, uid: u32, ask: Ask) {
    let id = id.to_owned();
    let message = Message { id, uid, ask };
    world.lock().messages.insert(message.id.clone(), message);
}

fn a_build(world: &World, result: BuildOutcome) -> BuildId {
    let inner = world.lock();
    let mut builds = inner.published.iter();
    let build = builds.find(|build| build.result == result);
    build.expect("a build").id.clone()
}

/// A mirror with a success and a failed build.
async fn built() -> (World, Breaking) {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.lock().broken.insert("bad".into());
    world.push("master", "good");
    let script = world.clone();
    let watches = setup([polled("master", 60)]);
    serve_during(&world, &mut ledger, watches, async move |_| {
        seconds(600).await;
        script.push("master", "bad");
        seconds(600).await;
    })
    .await
    .unwrap();
    (world, ledger)
}

/// Two verdicts of one member and one of another on a build, with one kill. Returns the numbers of writes and events.
async fn killed(kill: Kill) -> (u32, u32) {
    let (world, mut ledger) = built().await;
    let build = a_build(&world, BuildOutcome::Success);
    for (id, uid, verdict) in [
        ("a", 1000, Verdict::Green),
        ("b", 1001, Verdict::Red),
        ("c", 1000, Verdict::Green),
    ] {
        ask(&world, id, uid, mark(&build, verdict, id));
    }
    kill.arm(&world, &mut ledger);
    // The service ends by the kill, or at the end of the script.
    drop(serve_during(&world, &mut ledger, setup([]), async |_| seconds(600).await).await);
    let counts = Kill::disarm(&world, &mut ledger);
    // Restarted later, at another time of the clock.
    seconds(60).await;
    serve_during(&world, &mut ledger, setup([]), async |_| seconds(600).await)
        .await
        .unwrap();
    let given: Vec<_> = world
        .lock()
        .verdicts
        .iter()
        .map(|entry| (entry.reason.clone().unwrap(), entry.author.clone()))
        .collect();
    let expected = [("a", "user 1000"), ("b", "user 1001"), ("c", "user 1000")];
    let expected = expected.map(|(reason, author)| (reason.to_owned(), author.to_owned()));
    assert_eq!(given, expected, "{kill:?}");
    let ends = ledger.verdict_ends();
    assert_eq!(ends.len(), 3, "{kill:?}: {ends:?}");
    let is_given = |end: &Option<VerdictEnd>| matches!(end, Some(VerdictEnd::Recorded { .. }));
    assert!(ends.iter().all(is_given), "{kill:?}: {ends:?}");
    let state = ledger.state();
    assert!(
        state.verdicts.is_empty() && state.messages.is_empty(),
        "{kill:?}"
    );
    assert!(world.lock().messages.is_empty(), "{kill:?}");
    counts
}

#[tokio::test(start_paused = true)]
async fn after_any_kill_each_verdict_is_given_once() {
    let counts = killed(Kill::Never).await;
    assert!(counts.0 > 5 && counts.1 > 5, "{counts:?}");
    for kill in Kill::everywhere(counts) {
        killed(kill).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_verdict_on_an_unknown_or_failed_build_is_refused() {
    let (world, mut ledger) = built().await;
    let (good, failed) = (
        a_build(&world, BuildOutcome::Success),
        a_build(&world, BuildOutcome::Fail),
    );
    let unknown: BuildId = "master/centos/19990101T000000Z".parse().unwrap();
    ask(&world, "a", 1000, mark(&unknown, Verdict::Green, "unknown"));
    ask(&world, "b", 1000, mark(&failed, Verdict::Green, "failed"));
    ask(&world, "c", 1000, mark(&good, Verdict::Green, "two\nlines"));
    ask(&world, "d", 1000, mark(&good, Verdict::Yellow, "good"));
    // The channel is busy for a while.
    world.lock().busy.insert(good.channel.clone());
    let script = world.clone();
    serve_during(&world, &mut ledger, setup([]), async move |_| {
        seconds(600).await;
        script.lock().busy.clear();
        seconds(600).await;
    })
    .await
    .unwrap();
    let refused = |why: &str| {
        let why = why.to_owned();
        Some(VerdictEnd::Refused { why })
    };
    let recorded = Some(VerdictEnd::Recorded { is_new: true });
    let expected = [
        refused("no such build"),
        refused("a failed build"),
        recorded,
    ];
    assert_eq!(ledger.verdict_ends(), expected);
    assert_eq!(world.lock().verdicts.len(), 1);
    let said = world.lock().said.join("\n");
    assert!(
        said.contains("c: the message of user 1000 is refused: the reason contains a line break"),
        "{said}"
    );
    assert!(said.contains("tried again in 60 s"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn many_verdicts_of_one_user_do_not_delay_other_users() {
    let (world, mut ledger) = built().await;
    let build = a_build(&world, BuildOutcome::Success);
    world.lock().busy.insert(build.channel.clone());
    for number in 0..100 {
        let id = format!("{number:03}");
        ask(&world, &id, 1000, mark(&build, Verdict::Green, &id));
    }
    ask(&world, "other", 1001, mark(&build, Verdict::Red, "other"));
    let script = world.clone();
    serve_during(&world, &mut ledger, setup([]), async move |_| {
        seconds(600).await;
        assert_eq!(script.lock().messages.len(), 80);
        script.lock().busy.clear();
        seconds(6000).await;
    })
    .await
    .unwrap();
    assert!(world.lock().messages.is_empty());
    assert_eq!(world.lock().verdicts.len(), 101);
}
