//! Bytes that builds share, in plans and in a forecast.

use stx_layout::{Catalog, Sha256};

use super::world::{daily, day, id};
use crate::{FileFact, Policy, PolicyInputs, Rate, Span, bytes_used, forecast, observe, plan_with};

const MASTER: &str = "master/centos";

fn file(path: &str, digest: u8, bytes: u64) -> FileFact {
    FileFact {
        path: path.parse().expect("a path"),
        digest: Sha256([digest; 32]),
        bytes,
    }
}

/// Every build shares 100 bytes with all others and 30 with the one after it, and has 7 of its own.
fn shared(last: u8) -> (Catalog, PolicyInputs) {
    let catalog = daily(i64::from(last));
    let mut facts = PolicyInputs::default();
    for day in 0..=last {
        let files = vec![
            file("inputs/all", 250, 100),
            file("inputs/copy", 250, 100),
            file("outputs/pair", 100 + day / 2, 30),
            file("outputs/own", day, 7),
        ];
        facts.files.insert(id(MASTER, i64::from(day)), files);
    }
    (catalog, facts)
}

#[test]
fn bytes_count_once_and_only_when_no_kept_build_shares_them() {
    let (catalog, facts) = shared(18);
    let plan = plan_with(&catalog, &facts, &Policy::default(), day(18));
    let freed: Vec<_> = plan.expire.iter().map(|entry| entry.bytes_freed).collect();
    assert_eq!(freed, [7, 37, 7, 37, 7]);
    assert_eq!(plan.bytes_freed(), 95);
}

#[test]
fn rates_are_measured_from_the_builds() {
    let (catalog, facts) = shared(18);
    let rates = observe(&catalog, &facts, day(18));
    let rate = rates[&id(MASTER, 0).channel];
    assert_eq!(rate.every, Span::days(1));
    assert_eq!(rate.bytes, 7 + 30 / 2);
    assert!(observe(&catalog, &facts, day(23)).is_empty());
}

#[test]
fn the_size_of_a_fortnight_of_daily_builds_levels_out() {
    let catalog = daily(5);
    let facts = PolicyInputs {
        free: Some(8_500),
        ..PolicyInputs::default()
    };
    let every = Span::days(1);
    let rates = [(id(MASTER, 0).channel, Rate { every, bytes: 1000 })].into();
    let forecast = forecast(&catalog, &facts, &Policy::default(), day(5), 40, &rates);
    assert_eq!(forecast.days.len(), 41);
    assert_eq!(forecast.days[0].bytes_used, bytes_used(&catalog, &facts));
    let first = forecast.days.iter().find(|day| !day.expire.is_empty());
    assert_eq!(first.expect("some go").at, day(14));
    assert_eq!(forecast.days[40].bytes_used, 14_000);
    assert_eq!(forecast.high_water.bytes, 15_000);
    assert_eq!(forecast.high_water.at, day(14));
    assert_eq!(forecast.full, Some(day(14)));
    for day in &forecast.days[1..] {
        assert_eq!((day.added.len(), day.bytes_added), (1, 1000));
    }
    // The free space of a bucket is unknown.
    let facts = PolicyInputs::default();
    let bucket = crate::forecast(&catalog, &facts, &Policy::default(), day(5), 40, &rates);
    assert_eq!((bucket.full, bucket.days.len()), (None, 41));
}
