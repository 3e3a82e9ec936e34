//! Members of the build group who request more than they may.

use super::world::*;
use crate::ledger::{Ledger as _, Request, RunEnd};
use crate::{Ask, Message};

const HOUR: u64 = 3600;

#[tokio::test(start_paused = true)]
async fn the_number_of_reasons_is_limited_and_the_others_are_counted() {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.push("master", "one");
    let mut polled = polled("master", 60);
    polled.quiet = std::time::Duration::ZERO;
    world.lock().busy.insert(target("master", "master").channel);
    let script = world.clone();
    serve_during(&world, &mut ledger, setup([polled]), async move |_| {
        for number in 0..100 {
            script.ask_build(&format!("{number:03}"), "master", false);
        }
        seconds(HOUR).await;
        script.lock().busy.clear();
        seconds(HOUR).await;
    })
    .await
    .unwrap();
    let history = ledger.history();
    let request = &history.last().unwrap().request;
    assert_eq!(request.reasons.len(), Request::REASONS);
    // All user requests, and the observed commit.
    let all = request.reasons.len() as u64 + request.more_reasons;
    assert_eq!(all, 101);
    let commits = request
        .reasons
        .iter()
        .filter(|reason| reason.cause.to_string().starts_with("commit"));
    assert_eq!(commits.count(), 1, "people hide no commit: {request:#?}");
    assert_eq!(world.commits("master/centos"), ["one"]);
    // JSON of requests below the limit lacks this number.
    assert!(
        serde_json::to_string(request)
            .unwrap()
            .contains("\"more_reasons\":81")
    );
}

#[tokio::test(start_paused = true)]
async fn only_the_requester_and_an_allowed_group_can_cancel() {
    let world = World::new();
    let mut ledger = Breaking::new();
    let mut none = setup([]);
    none.settings.max_builds = 1;
    for branch in ["f/a", "f/b", "f/c"] {
        world.push(branch, "one");
    }
    // The requests of user 1000, in the order of the message names: f/a is request 1 and runs, f/b and f/c wait as 2 and 3.
    for branch in ["f/a", "f/b", "f/c"] {
        world.ask_build(branch, branch, false);
    }
    let ask = |world: &World, id: &str, uid, request| {
        let ask = Ask::Cancel { request };
        let id = id.to_owned();
        let message = Message { id, uid, ask };
        world.lock().messages.insert(message.id.clone(), message);
    };
    let script = world.clone();
    serve_during(&world, &mut ledger, none, async move |_| {
        seconds(30).await;
        for (id, request) in [("x", 1), ("y", 2), ("z", 3)] {
            ask(&script, id, 1001, request);
        }
        seconds(30).await;
        let refused = script.lock().said.join("\n");
        assert_eq!(
            refused.matches("user 1001 may not cancel request").count(),
            3,
            "{refused}"
        );
        // Another user requests the same build, so that the first is not the only requester any more.
        let ask_too = Message {
            id: "too".into(),
            uid: 1001,
            ask: Ask::Build {
                release: "feature/b".parse().unwrap(),
                git: "f/b".into(),
                reason: String::new(),
                force: false,
                new_channel: true,
                channel: None,
            },
        };
        script.lock().messages.insert("too".into(), ask_too);
        seconds(30).await;
        ask(&script, "u", 1000, 2);
        ask(&script, "v", 0, 3);
        seconds(HOUR).await;
    })
    .await
    .unwrap();
    let said = world.lock().said.join("\n");
    assert!(
        said.contains("user 1000 may not cancel request 2"),
        "{said}"
    );
    assert!(said.contains("user 0 cancels request 3"), "{said}");
    assert_eq!(world.commits("feature/a/centos"), ["one"]);
    assert_eq!(world.commits("feature/b/centos"), ["one"]);
    assert_eq!(world.commits("feature/c/centos").len(), 0);
    let cancelled = |end: &RunEnd| matches!(end, RunEnd::Cancelled);
    let history = ledger.history();
    let ends = history.iter().flat_map(|filed| &filed.runs);
    let ends = ends.filter_map(|run| run.end.as_ref());
    assert_eq!(ends.filter(|end| cancelled(&end.how)).count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_invalid_branch_or_reason_is_refused_and_recorded_once() {
    let world = World::new();
    let mut ledger = Breaking::new();
    let build = |git: &str, reason: &str| Ask::Build {
        release: "master".parse().unwrap(),
        git: git.into(),
        reason: reason.into(),
        force: false,
        new_channel: true,
        channel: None,
    };
    world.ask("option", build("--upload-pack=touch /tmp/x", ""));
    world.ask("long", build("master", &"x".repeat(60_000)));
    serve_during(&world, &mut ledger, setup([]), async |_| {
        seconds(HOUR).await;
    })
    .await
    .unwrap();
    assert_eq!(ledger.history(), []);
    assert!(world.lock().messages.is_empty() && ledger.state().messages.is_empty());
    let said = world.lock().said.clone();
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(said[0].starts_with("long: the message of user 1000 is refused: the reason has 60000"));
    assert!(said[1].contains("begins with `-`"), "{said:#?}");
}
