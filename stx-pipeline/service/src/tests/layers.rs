//! Channels that are built after others: each success below starts one build above, even if the service is killed.

use std::collections::BTreeSet;

use stx_layout::BuildOutcome;

use super::world::*;
use crate::trigger::Cause;
use crate::{Control, Setup};

/// The layers from the lowest up, as git branches and channels.
const LAYERS: [(&str, &str); 3] = [
    ("master", "master/centos"),
    ("f/mid", "feature/mid/centos"),
    ("f/top", "feature/top/centos"),
];

/// Only the lowest layer is polled; the others follow it.
fn layers() -> Setup {
    let mut watches = LAYERS.map(|(git, _)| watch(git));
    watches[0].poll = polled("master", 50).poll;
    for upper in 1..LAYERS.len() {
        watches[upper].after = Some(LAYERS[upper - 1].1.parse().unwrap());
    }
    setup(watches)
}

/// Three commits below, the second of which does not compile; the service is killed once, and restarted after a while. Returns
/// the numbers of writes and events.
async fn run(kill: Kill, down: u64) -> (u32, u32) {
    let world = World::new();
    let mut ledger = Breaking::new();
    for (git, _) in LAYERS {
        world.push(git, "one");
    }
    world.lock().broken.insert("bad".into());
    kill.arm(&world, &mut ledger);
    let pushes = world.clone();
    let upstream = tokio::spawn(async move {
        seconds(1000).await;
        pushes.push("master", "bad");
        seconds(1000).await;
        pushes.push("master", "two");
    });
    // Killed or not, the rest of the test is the same.
    drop(serve_during(&world, &mut ledger, layers(), async |_| seconds(3600).await).await);
    let counts = Kill::disarm(&world, &mut ledger);
    seconds(down).await;
    serve_during(&world, &mut ledger, layers(), async |control| {
        seconds(7200).await;
        control.send(Control::Stop).unwrap();
        seconds(1800).await;
    })
    .await
    .unwrap();
    upstream.await.unwrap();
    let inner = world.lock();
    for pair in LAYERS.windows(2) {
        let of = |channel: &str| -> Vec<_> {
            let all = inner.published.iter();
            all.filter(|build| build.id.channel.to_string() == channel)
                .collect()
        };
        let (below, above) = (of(pair[0].1), of(pair[1].1));
        let good = below
            .iter()
            .filter(|build| build.result == BuildOutcome::Success)
            .map(|build| Some(build.id.clone()));
        let good: Vec<_> = good.collect();
        let upon: Vec<_> = above.iter().map(|build| build.after.clone()).collect();
        let once: BTreeSet<_> = upon.iter().cloned().collect();
        assert_eq!(once.len(), upon.len(), "{kill:?}: built twice: {upon:?}");
        assert_eq!(
            upon.last(),
            good.last(),
            "{kill:?}: the newest one is built"
        );
        assert!(
            upon.iter().all(|it| good.contains(it)),
            "{kill:?}: {upon:?}"
        );
        if matches!(kill, Kill::Never) {
            assert_eq!(upon, good, "each one is built, where the service lives");
            assert_eq!(good.len(), 2);
        }
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn each_success_of_a_lower_layer_is_built_upon_once_after_any_kill() {
    let counts = run(Kill::Never, 0).await;
    assert!(counts.0 > 20 && counts.1 > 30, "{counts:?}");
    // Restarted at once, or after a while.
    for (kill, down) in Kill::everywhere(counts).zip([0, 600].into_iter().cycle()) {
        run(kill, down).await;
    }
}

/// Several successes during a build of the layer above lead to one further build, of the newest.
#[tokio::test(start_paused = true)]
async fn several_successes_during_a_build_cause_one_build_of_the_newest() {
    let world = World::new();
    let mut ledger = Breaking::new();
    for (git, _) in LAYERS {
        world.push(git, "one");
    }
    let channel = "feature/mid/centos".parse().unwrap();
    world.lock().busy.insert(channel);
    serve_during(&world, &mut ledger, layers(), async |_| {
        for commit in ["one", "two", "three"] {
            world.push("master", commit);
            seconds(600).await;
        }
        world.lock().busy.clear();
        seconds(1200).await;
    })
    .await
    .unwrap();
    let inner = world.lock();
    let mid: Vec<_> = inner
        .published
        .iter()
        .filter(|build| build.id.channel.to_string() == "feature/mid/centos")
        .collect();
    assert_eq!(mid.len(), 1, "{mid:#?}");
    let newest = inner.published.iter().rev();
    let newest = newest
        .filter(|build| build.commit == "three")
        .map(|build| build.id.clone())
        .next();
    assert_eq!(mid[0].after, newest);
    drop(inner);
    let history = ledger.history();
    let asked = history.iter().flat_map(|filed| &filed.request.reasons);
    let below = asked.filter(|reason| matches!(reason.cause, Cause::After { .. }));
    assert_eq!(
        below.count(),
        3 + 1,
        "three for the middle, one for the top"
    );
}

#[tokio::test(start_paused = true)]
async fn a_branch_of_several_entries_is_requested_by_its_channel() {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.push("master", "one");
    let entry = |layer: &str| {
        let channel: stx_layout::Channel = format!("master/centos/{layer}").parse().unwrap();
        crate::trigger::Watch {
            key: channel.to_string(),
            channel,
            ..watch("master")
        }
    };
    let ask = |channel: Option<&str>| crate::Ask::Build {
        release: "master".parse().unwrap(),
        git: "master".into(),
        reason: String::new(),
        force: false,
        new_channel: false,
        channel: channel.map(|channel| channel.parse().unwrap()),
    };
    world.ask("any", ask(None));
    world.ask("flock", ask(Some("master/centos/flock")));
    world.ask("none", ask(Some("master/centos/none")));
    let layers = setup(["distro", "flock"].map(entry));
    serve_during(&world, &mut ledger, layers, async |_| {
        seconds(3600).await;
    })
    .await
    .unwrap();
    assert_eq!(world.commits("master/centos/distro").len(), 0);
    assert_eq!(world.commits("master/centos/flock"), ["one"]);
    let said = world.lock().said.join("\n");
    for wanted in [
        "several entries of the configuration build master: master/centos/distro, master/centos/flock",
        "no entry of the configuration builds master in channel master/centos/none",
    ] {
        assert!(said.contains(wanted), "{said}");
    }
}
