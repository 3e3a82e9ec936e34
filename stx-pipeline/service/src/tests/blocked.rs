//! Retention that keeps due builds.

use super::world::*;
use crate::ledger::{AlarmKind, Ledger as _};
use crate::schedule::Schedule;
use crate::{Notice, Setup};

const HOUR: u64 = 3600;

fn hourly() -> Setup {
    let mut setup = setup([]);
    let schedule = Schedule::new("0 * * * *", std::time::Duration::ZERO, "prune");
    setup.settings.prune = Some(schedule.unwrap());
    setup
}

/// The alarm, as `status` shows it.
fn alarm(ledger: &Breaking) -> Option<(String, String)> {
    let alarms = ledger.state().alarms.iter();
    let mut blocked = alarms.filter(|(alarm, _)| alarm.kind == AlarmKind::PruneBlocked);
    let (alarm, (since, text)) = blocked.next()?;
    assert!(blocked.next().is_none());
    Some((format!("{} {since}", alarm.subject), text.clone()))
}

#[tokio::test(start_paused = true)]
async fn a_blocked_retention_raises_an_alarm_until_a_run_succeeds() {
    let world = World::new();
    let mut ledger = Breaking::new();
    let serve = async |ledger: &mut Breaking, setup: Setup, hours: u64| {
        serve_during(&world, ledger, setup, async |_| seconds(hours * HOUR).await)
            .await
            .unwrap();
    };
    let block = |text: &str| {
        world.lock().blocked = [("master/centos".to_owned(), text.to_owned())].into();
    };
    block("prune --allow 21");
    // Each of the following runs ends between two ticks.
    seconds(HOUR / 2).await;
    serve(&mut ledger, hourly(), 2).await;
    let first = alarm(&ledger).expect("an alarm");
    assert!(first.0.starts_with("master/centos 2020-01-01"), "{first:?}");
    assert_eq!(first.1, "prune --allow 21");
    // The text follows the due builds, but it is the same alarm.
    block("prune --allow 22");
    serve(&mut ledger, hourly(), 1).await;
    assert_eq!(
        alarm(&ledger),
        Some((first.0, "prune --allow 22".to_owned()))
    );
    // A restart forgets no alarm, and sends no notice before retention was applied again.
    serve_during(&world, &mut ledger, hourly(), async |_| seconds(60).await)
        .await
        .unwrap();
    assert!(alarm(&ledger).is_some());
    let told = |world: &World| {
        let notices = world.lock().notices.clone();
        let of_kind = notices.into_iter().filter_map(|notice| match notice {
            Notice::Alarm { alarm, .. } => Some((true, alarm.kind)),
            Notice::AlarmOver { alarm, .. } => Some((false, alarm.kind)),
            Notice::Failure { .. } | Notice::Recovery { .. } => None,
        });
        let of_kind = of_kind.filter(|(_, kind)| *kind == AlarmKind::PruneBlocked);
        of_kind.map(|(on, _)| on).collect::<Vec<_>>()
    };
    assert_eq!(told(&world), [true]);
    world.lock().blocked.clear();
    serve(&mut ledger, hourly(), 1).await;
    assert_eq!(alarm(&ledger), None);
    assert_eq!(told(&world), [true, false]);
    // Without a schedule, no build is blocked.
    block("prune --allow 23");
    serve(&mut ledger, hourly(), 1).await;
    assert!(alarm(&ledger).is_some());
    serve(&mut ledger, setup([]), 1).await;
    assert_eq!(alarm(&ledger), None);
}
