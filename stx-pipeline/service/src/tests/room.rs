//! A disk that is full for a while, so that the ledger cannot be written.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::world::*;
use crate::health::ledger_alarm;
use crate::ledger::{AlarmKind, Ledger as _, LedgerError, RunEnd};
use crate::status::Status;
use crate::{Control, Notice, ServeError};

const HOUR: u64 = 3600;

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_the_service_waits_and_loses_no_build() {
    // The disk is full for half an hour, from each of these seconds of a build.
    for from in (0..300).step_by(10) {
        let world = World::new();
        let mut ledger = Breaking::new();
        let full = Arc::clone(&ledger.full);
        world.push("master", "one");
        world.lock().shown = Some((None, Vec::new()));
        let script = world.clone();
        serve_during(
            &world,
            &mut ledger,
            setup([polled("master", 60)]),
            async move |_| {
                seconds(from).await;
                full.store(true, Ordering::Relaxed);
                seconds(HOUR / 4).await;
                script.ask_build("asked", "f/x", false);
                script.push("f/x", "x");
                seconds(HOUR / 4).await;
                full.store(false, Ordering::Relaxed);
                seconds(HOUR).await;
            },
        )
        .await
        .unwrap();
        assert_eq!(world.commits("master/centos"), ["one"], "from {from}");
        assert_eq!(world.commits("feature/x/centos"), ["x"], "from {from}");
        for run in ledger.history().iter().flat_map(|filed| &filed.runs) {
            let end = run.end.as_ref().map(|end| &end.how);
            assert!(
                matches!(end, Some(RunEnd::Published { .. })),
                "from {from}: {run:#?}"
            );
        }
        let inner = world.lock();
        let of_ledger = inner
            .said
            .iter()
            .filter(|said| said.starts_with("ledger: "));
        assert_eq!(of_ledger.count(), 2, "from {from}: {:#?}", inner.said);
        let mut repeated = inner.said.clone();
        repeated.sort();
        repeated.dedup();
        assert_eq!(
            repeated.len(),
            inner.said.len(),
            "from {from}: {:#?}",
            inner.said
        );
        let told = inner.notices.iter().filter(|notice| match notice {
            Notice::Alarm { alarm, .. } | Notice::AlarmOver { alarm, .. } => {
                alarm.kind == AlarmKind::DiskFilling && alarm.subject == "ledger"
            }
            Notice::Failure { .. } | Notice::Recovery { .. } => false,
        });
        assert_eq!(told.count(), 2, "from {from}");
        // Watchers of the document see the alarm as long as it lasts.
        let (_, shown) = inner.shown.as_ref().unwrap();
        let full = |status: &Status| status.alarms.iter().any(|it| it.alarm == ledger_alarm());
        let mut changes: Vec<_> = shown.iter().map(full).collect();
        changes.dedup();
        assert_eq!(changes, [false, true, false], "from {from}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_service_on_a_full_disk_and_the_next_start_records_its_builds() {
    for from in (0..300).step_by(10) {
        let world = World::new();
        let mut ledger = Breaking::new();
        let full = Arc::clone(&ledger.full);
        world.push("master", "one");
        let served = serve_during(
            &world,
            &mut ledger,
            setup([polled("master", 60)]),
            async move |control| {
                seconds(from).await;
                full.store(true, Ordering::Relaxed);
                seconds(HOUR).await;
                control.send(Control::Stop).unwrap();
                seconds(HOUR).await;
                panic!("it did not end");
            },
        )
        .await;
        if let Err(error) = served {
            assert!(
                matches!(error, ServeError::Ledger(LedgerError::Unavailable { .. })),
                "{error}"
            );
        }
        ledger.full.store(false, Ordering::Relaxed);
        serve_during(
            &world,
            &mut ledger,
            setup([polled("master", 60)]),
            async |_| {
                seconds(HOUR).await;
            },
        )
        .await
        .unwrap();
        assert_eq!(world.commits("master/centos"), ["one"], "from {from}");
        for run in ledger.history().iter().flat_map(|filed| &filed.runs) {
            assert!(run.end.is_some(), "from {from}: {run:#?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_starts_on_a_full_disk_waits_and_obeys_a_stop() {
    let world = World::new();
    let mut ledger = Breaking::new();
    world.push("master", "one");
    world.ask_build("a", "master", false);
    // Killed while a build runs.
    serve_during(&world, &mut ledger, setup([]), async |_| seconds(90).await)
        .await
        .unwrap();
    assert_eq!(ledger.state().runs.len(), 1);
    ledger.full.store(true, Ordering::Relaxed);
    serve_during(&world, &mut ledger, setup([]), async |control| {
        seconds(HOUR).await;
        control.send(Control::Stop).unwrap();
        seconds(60).await;
        panic!("it did not end");
    })
    .await
    .unwrap();
    assert_eq!(ledger.state().runs.len(), 1);
    let full = Arc::clone(&ledger.full);
    serve_during(&world, &mut ledger, setup([]), async move |_| {
        seconds(HOUR).await;
        full.store(false, Ordering::Relaxed);
        seconds(HOUR).await;
    })
    .await
    .unwrap();
    assert_eq!(world.commits("master/centos"), ["one"]);
    assert!(ledger.state().runs.is_empty());
}
