//! Disks that are filling, now and by the forecast.

use chrono::{DateTime, Utc};

use super::case::Case;
use super::{Finding, Severity, Subject};
use crate::retention::{Forecast, facts, policy};

/// The days of the forecast.
const DAYS: u32 = 30;

/// The checks.
pub(super) async fn check(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let least = case.service.as_ref();
    let least = least.map_or(10, |service| u64::from(service.settings.min_free_percent));
    let dirs = [("mirror", case.mirror_dir()), ("state", case.state_dir())];
    for (key, dir) in dirs {
        let Some(dir) = dir else { continue };
        // The disk of a directory that does not exist yet is that of its nearest existing parent.
        let is_dir =
            |dir: &&camino::Utf8Path| case.machine.entry(dir).is_ok_and(|entry| entry.is_dir);
        let Some(space) = dir
            .ancestors()
            .find(is_dir)
            .and_then(|dir| case.machine.space(dir).ok())
        else {
            continue;
        };
        let percent = space.free.saturating_mul(100) / space.total.max(1);
        if percent < least {
            let texts = [
                format!(
                    "the disk of {dir} has {percent} % left, less than the {least} % of `min_free_percent`"
                ),
                "builds fail when it is full".to_owned(),
                "shorten the retention, enlarge the disk, or move the directory".to_owned(),
            ];
            findings.push(case.finding(Severity::Warning, Subject::Space, &[key], texts));
        }
        if key == "mirror"
            && let Some(full) = full(case, space.free).await
        {
            let texts = [
                format!(
                    "according to the forecast, the mirror's disk is full on {}",
                    full.format("%Y-%m-%d")
                ),
                "builds cannot be published from then on".to_owned(),
                format!(
                    "shorten the retention or enlarge the disk; `stx-builds forecast --days {DAYS}` has each day"
                ),
            ];
            findings.push(case.finding(Severity::Warning, Subject::Space, &[key], texts));
        }
    }
    findings
}

/// The time at which the mirror's disk, with `free` bytes left, will be full by the forecast. Without a catalog, or with a policy
/// that has mistakes, there is no forecast.
async fn full(case: &Case<'_>, free: u64) -> Option<DateTime<Utc>> {
    let catalog = case.catalog.as_ref()?;
    let policy = policy(case.site).ok()?.policy;
    let mirror = case.site.mirror().ok()?;
    let mut facts = facts(&mirror, catalog).await.ok()?;
    facts.free = Some(free);
    let forecast = Forecast::new(catalog, &facts, &policy, case.site.now, DAYS, []);
    forecast.forecast.full
}
