//! Catalogs in one line.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildEntry, BuildId, BuildOutcome, BuildRecord, BuildState,
    Catalog, Origin, Verdict, VerdictEntry,
};

use crate::{Calendar, Conflict, PolicyInputs, PrunePlan, Step, recheck_step};

/// The kind of a build in a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    Success,
    /// A success with a verdict, which [`verdicts`] gives it.
    Marked(Verdict),
    Failure,
    Unreadable,
}

/// 06:00 UTC, `days` days after 2018-11-01.
pub(super) fn day(days: i64) -> DateTime<Utc> {
    let start = "2018-11-01T06:00:00Z"
        .parse::<DateTime<Utc>>()
        .expect("a time");
    start + TimeDelta::days(days)
}

/// The build of a channel on a day.
pub(super) fn id(channel: &str, days: i64) -> BuildId {
    let date = BuildDate::at(day(days)).expect("a date");
    BuildId::new(channel.parse().expect("a channel"), date)
}

/// Adds a build of 1000 bytes.
pub(super) fn add(catalog: &mut Catalog, channel: &str, days: i64, made: Made) {
    let id = id(channel, days);
    let known = |outcome| {
        let mut record = BuildRecord::new(id.clone(), outcome);
        record.bytes = 1000;
        BuildState::Known(Box::new(record))
    };
    let state = match made {
        Made::Success | Made::Marked(_) => known(BuildOutcome::Success),
        Made::Failure => known(BuildOutcome::Fail),
        Made::Unreadable => BuildState::Unreadable("no build.json".to_owned()),
    };
    let entry = catalog.channels.entry(id.channel.clone()).or_default();
    let build = BuildEntry {
        state,
        keep_file: false,
    };
    entry.builds.insert(id.date, build);
}

/// The verdict of a lab on a build, given on the build's day.
pub(super) fn verdict(build: &BuildId, verdict: Verdict) -> VerdictEntry {
    VerdictEntry {
        build: build.clone(),
        at: build.date.time(),
        verdict,
        author: "lab".to_owned(),
        reason: None,
        url: None,
    }
}

/// The verdicts on the marked ones of some builds; of two on one day the later one counts, as in a catalog.
pub(super) fn verdicts<'a>(
    builds: impl IntoIterator<Item = (&'a str, i64, Made)>,
) -> BTreeMap<BuildId, VerdictEntry> {
    let mut found = BTreeMap::new();
    for (channel, days, made) in builds {
        let id = id(channel, days);
        match made {
            Made::Marked(given) => found.insert(id.clone(), verdict(&id, given)),
            Made::Success | Made::Failure | Made::Unreadable => found.remove(&id),
        };
    }
    found
}

/// Makes a build one that was promoted on a day, from a build of `master`.
pub(super) fn promote(catalog: &mut Catalog, id: &BuildId, days: i64) {
    let entry = catalog.channels.get_mut(&id.channel).expect("a channel");
    let build = entry.builds.get_mut(&id.date).expect("a build");
    let BuildState::Known(record) = &mut build.state else {
        panic!("{id} has no record");
    };
    record.origin = Some(Origin::Promoted {
        from: BuildId::new("master/centos".parse().expect("a channel"), id.date),
        at: day(days),
        by: "ann".to_owned(),
        reason: None,
    });
}

/// A catalog of one channel.
pub(super) fn channel(channel: &str, builds: &[(i64, Made)]) -> Catalog {
    let mut catalog = Catalog::default();
    for (days, made) in builds {
        add(&mut catalog, channel, *days, *made);
    }
    catalog
}

/// Points `latest_build` of a build's channel at it.
pub(super) fn point(catalog: &mut Catalog, id: &BuildId) {
    let entry = catalog.channels.entry(id.channel.clone()).or_default();
    let target = AliasEntry::Build(id.date);
    entry.aliases.insert(AliasName::latest_build(), target);
}

/// A daily `master` of successes on days 0 to `last`.
pub(super) fn daily(last: i64) -> Catalog {
    let builds: Vec<_> = (0..=last).map(|days| (days, Made::Success)).collect();
    channel("master/centos", &builds)
}

/// Like [`recheck_by`], with a calendar that learns every release.
pub(super) fn recheck(
    plan: &PrunePlan,
    catalog: &Catalog,
    facts: &PolicyInputs,
) -> Vec<(BuildId, Vec<Conflict>)> {
    recheck_by(plan, catalog, facts, &Calendar::default())
}

/// Every step of a plan, each with its conflicts.
pub(super) fn recheck_by(
    plan: &PrunePlan,
    catalog: &Catalog,
    facts: &PolicyInputs,
    calendar: &Calendar,
) -> Vec<(BuildId, Vec<Conflict>)> {
    let builds = plan.expire.iter().map(Step::Build);
    let steps = builds.chain(plan.sections.iter().map(Step::Section));
    let checked = steps.map(|step| {
        let why = recheck_step(plan, step, catalog, facts, calendar);
        (step.build().clone(), why)
    });
    checked.collect()
}
