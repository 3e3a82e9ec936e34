//! The status documents of a working service.

use stx_layout::BuildOutcome;

use super::super::status::{PhaseState, Status};
use super::super::*;
use super::world::{PHASES, World, seconds, serve_during, setup, watch};
use crate::ledger::MemoryLedger;

/// The last document that satisfies a condition.
fn last(shown: &[Status], of: impl Fn(&&Status) -> bool) -> &Status {
    shown.iter().rfind(of).expect("such a document")
}

async fn shown(script: impl AsyncFnOnce(&World)) -> Vec<Status> {
    let world = World::new();
    world.push("master", "a");
    world.lock().shown = Some((None, Vec::new()));
    let mut ledger = MemoryLedger::default();
    let watched = setup(vec![watch("master")]);
    serve_during(&world, &mut ledger, watched, async |_| script(&world).await)
        .await
        .unwrap();
    let inner = world.lock();
    inner.shown.as_ref().unwrap().1.clone()
}

#[tokio::test(start_paused = true)]
async fn each_message_is_answered_with_its_request() {
    let shown = shown(async |world| {
        world.lock().busy.insert("master/centos".parse().unwrap());
        world.ask_build("one", "master", false);
        seconds(21).await;
        world.ask_build("two", "master", true);
        world.ask_channel("three", "r/2018.10", false, false);
        world.ask("four", Ask::Cancel { request: 99 });
        seconds(60).await;
    })
    .await;
    let answers = &shown.last().unwrap().answers;
    let of = |message: &str| answers.iter().find(|it| it.message == message).unwrap();
    let one = of("one").request.unwrap();
    assert!(!of("one").joined);
    assert_eq!((of("two").request, of("two").joined), (Some(one), true));
    let refused = of("three").refused.as_deref().unwrap();
    assert!(refused.contains("trigger --new-channel"), "{refused}");
    let refused = of("four").refused.as_deref().unwrap();
    assert!(refused.contains("neither waits nor runs"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_request_is_shown_while_it_waits_runs_and_ends() {
    let shown = shown(async |world| {
        world.lock().broken.insert("a".to_owned());
        world.ask_build("one", "master", true);
        seconds(300).await;
    })
    .await;
    let number = |status: &Status| status.answers.first().and_then(|it| it.request);
    let runs = last(&shown, |status| {
        let running = status.running.first();
        running.is_some_and(|run| {
            run.phases
                .last()
                .is_some_and(|phase| phase.name == PHASES[1])
        })
    });
    assert_eq!(Some(runs.running[0].request), number(runs));
    assert_eq!(runs.running[0].phases[0].state, PhaseState::Succeeded);
    let over = shown.last().unwrap();
    let past = &over.history[0];
    assert_eq!(Some(past.filed.request.id), number(over));
    assert_eq!(past.failing.as_ref().unwrap().phase, "compile");
    assert!(matches!(
        past.filed.runs[0].end.as_ref().unwrap().how,
        RunEnd::Published {
            result: BuildOutcome::Fail,
            ..
        }
    ));
    // One document for each event, not for each tick.
    assert!(shown.len() < 30, "{}", shown.len());
}
