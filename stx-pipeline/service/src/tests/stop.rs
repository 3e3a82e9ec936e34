//! A stop waits for tasks that change the mirror, so that its pages are up to date while the service does not run.

use std::time::Duration;

use stx_layout::Verdict;

use super::world::*;
use crate::ledger::VerdictEnd;
use crate::schedule::Schedule;
use crate::{Ask, Control, Message, OnStop};

const HOUR: u64 = 3600;

/// A service that is stopped, once or twice, after its mirror has changed and before the pages are regenerated. Returns the
/// number of times that the pages were regenerated, and the outcomes of the verdicts.
async fn stopped(how: OnStop, times: usize, is_verdict: bool) -> (u32, Vec<Option<VerdictEnd>>) {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.push("master", "one");
    world.ask_build("a", "master", false);
    let mut setup = setup([]);
    setup.settings.on_stop = how;
    serve_during(&world, &mut ledger, setup.clone(), async |_| {
        seconds(HOUR).await;
    })
    .await
    .unwrap();
    world.lock().paging = 100;
    if is_verdict {
        let ask = Ask::Mark {
            build: world.lock().published[0].id.clone(),
            verdict: Verdict::Green,
            reason: None,
            url: None,
        };
        let (id, uid) = ("b".to_owned(), 1000);
        let message = Message { id, uid, ask };
        world.lock().messages.insert(message.id.clone(), message);
    } else {
        setup.settings.prune = Some(Schedule::new("* * * * *", Duration::ZERO, "").unwrap());
    }
    let script = world.clone();
    serve_during(&world, &mut ledger, setup, async move |control| {
        while script.lock().verdicts.is_empty() && script.lock().pruned == 0 {
            seconds(1).await;
        }
        for _ in 0..times {
            control.send(Control::Stop).unwrap();
        }
        seconds(HOUR).await;
        panic!("it does not stop");
    })
    .await
    .unwrap();
    (world.lock().paged, ledger.verdict_ends())
}

#[tokio::test(start_paused = true)]
async fn a_verdict_that_the_mirror_has_is_recorded_with_its_pages() {
    for how in [OnStop::Finish, OnStop::Interrupt] {
        let (paged, ends) = stopped(how, 1, true).await;
        assert_eq!(paged, 1, "{how:?}");
        assert_eq!(ends, [Some(VerdictEnd::Recorded { is_new: true })]);
        // A second stop does not wait; the next start sends the verdict again.
        assert_eq!(stopped(how, 2, true).await, (0, vec![None]));
    }
}

#[tokio::test(start_paused = true)]
async fn retention_updates_the_pages_when_the_service_stops() {
    for how in [OnStop::Finish, OnStop::Interrupt] {
        assert_eq!(stopped(how, 1, false).await.0, 1, "{how:?}");
        assert_eq!(stopped(how, 2, false).await.0, 0, "{how:?}");
    }
}
