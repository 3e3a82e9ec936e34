//! Computes the alarms from the ledger's state, the setup and a survey of the mirror.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use stx_layout::{BuildDate, Channel};

use super::{Facts, Setup};
use crate::ledger::{Alarm, AlarmKind, RunEnd, State, Unpublished};
use crate::trigger::{Cause, Watch};

/// The number of consecutive failed polls of a watch's repositories that raise an alarm.
const LOOKS: u32 = 3;

/// The tolerance for dates of builds in the future: builds of other hosts are dated by their clocks.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// The subject of the alarm about requests of users that do not arrive. No watch has this key.
const SPOOL: &str = "spool";

/// The watches whose last polls failed, by key: the number of failures since the last success, and the reason.
pub type Blind = BTreeMap<String, (u32, String)>;

/// All alarms that are on at `now`, with their texts.
///
/// `blocked` are the due builds that retention keeps. `None` means unknown, and leaves the previous alarms on.
pub fn check(
    state: &State,
    setup: &Setup,
    facts: &Facts,
    blind: &Blind,
    blocked: Option<&BTreeMap<String, String>>,
    now: DateTime<Utc>,
) -> BTreeMap<Alarm, String> {
    let mut alarms = BTreeMap::new();
    let mut raise = |kind, subject: &str, text: String| {
        let subject = subject.to_owned();
        alarms.insert(Alarm { kind, subject }, text);
    };
    let overdue = span(setup.settings.overdue);
    for watch in &setup.watches {
        if let Some((times, why)) = blind.get(&watch.key)
            && *times >= LOOKS
        {
            // Without the number: it changes with each look.
            let text = format!("its commits cannot be read: {why}");
            raise(AlarmKind::NeverFires, &watch.key, text);
        }
        if let Some(since) = moved(state, watch)
            && now - since > overdue
        {
            let text = format!("upstream moved {}, and nothing was built", ago(now, since));
            raise(AlarmKind::NotBuilt, &watch.key, text);
        }
        if let Some((good, limit)) = stale(state, facts, watch, now) {
            let text = format!(
                "the newest success is from {}, and every {} there should be one",
                ago(now, good),
                humantime::format_duration(limit.to_std().unwrap_or_default()),
            );
            raise(AlarmKind::Stale, &watch.key, text);
        }
    }
    for (channel, last) in &state.last {
        if let Some(end) = &last.end
            && let RunEnd::Refused { reason } = &end.how
        {
            raise(
                AlarmKind::NotPublished,
                &channel.to_string(),
                reason.clone(),
            );
        }
    }
    for (channel, text) in unpublished(state) {
        raise(AlarmKind::NotPublished, &channel.to_string(), text);
    }
    for (channel, of) in &facts.channels {
        if let Some(ahead) = of.newest_success.filter(|date| date.time() - now > AHEAD) {
            let text = format!(
                "build {ahead} is dated in the future, and `latest_build` shows no other build until then"
            );
            raise(AlarmKind::NotAliased, &channel.to_string(), text);
            continue;
        }
        // Between the publication of a build and the move of its alias, the mirror may look wrong without being wrong. So a
        // survey that began before the last build ended does not count. An end in the future is of a clock that was corrected since.
        let ended = state.last.get(channel).and_then(|last| last.end.as_ref());
        let settled = !state.is_busy(channel)
            && ended.is_none_or(|end| end.at <= facts.taken || end.at > now);
        if of.newest_success > of.latest_build && settled {
            let text = "the newest success is not what `latest_build` shows; \
                        `verify --repair` points it there";
            raise(AlarmKind::NotAliased, &channel.to_string(), text.to_owned());
        }
    }
    if let Some(why) = &facts.spool {
        raise(AlarmKind::NeverFires, SPOOL, why.clone());
    }
    for disk in &facts.disks {
        let percent = u128::from(disk.free) * 100 / u128::from(disk.total.max(1));
        if percent < u128::from(setup.settings.min_free_percent) {
            let text = format!("{percent} % of the disk is free");
            raise(AlarmKind::DiskFilling, &disk.dir, text);
        }
    }
    if setup.settings.prune.is_some() {
        let before = || {
            let alarms = state.alarms.iter();
            let alarms = alarms.filter(|(alarm, _)| alarm.kind == AlarmKind::PruneBlocked);
            alarms
                .map(|(alarm, (_, text))| (alarm.subject.clone(), text.clone()))
                .collect()
        };
        for (subject, text) in blocked.cloned().unwrap_or_else(before) {
            raise(AlarmKind::PruneBlocked, &subject, text);
        }
    }
    alarms
}

/// The alarm for a ledger that cannot be written: the only alarm that the ledger does not hold.
pub fn ledger_alarm() -> Alarm {
    Alarm {
        kind: AlarmKind::DiskFilling,
        subject: "ledger".to_owned(),
    }
}

/// The next step for the operator who sees an alarm, in one or two sentences.
pub fn remedy(alarm: &Alarm) -> String {
    let subject = &alarm.subject;
    match alarm.kind {
        AlarmKind::NotBuilt => format!(
            "Run `stx-builds status` to see what holds up the queue, then `stx-builds trigger` to request a build of {subject}."
        ),
        AlarmKind::NotPublished => format!(
            "Run `stx-builds history {subject}` for the reason and `stx-builds history --log REQUEST` for the logs, and remove the cause. The service publishes a finished build by itself, at most an hour later; `stx-builds trigger` makes it try at once."
        ),
        AlarmKind::NotAliased => {
            "Run `stx-builds verify --repair` to point `latest_build` at the newest success. If that is dated in the future, set the clock, and move the build's directory out of the mirror before.".to_owned()
        }
        AlarmKind::Stale => format!(
            "Run `stx-builds history {subject}` to see why the newest builds did not succeed."
        ),
        AlarmKind::DiskFilling if *alarm == ledger_alarm() => {
            "Free space on the disk of the state directory, repair the disk, or move the ledger back, depending on the reason; the service tries again every second.".to_owned()
        }
        AlarmKind::DiskFilling => {
            "Run `stx-builds forecast` to see what retention will free, and `stx-builds prune` to free it now.".to_owned()
        }
        AlarmKind::NeverFires if subject == SPOOL => {
            "Move the directory for requests back, or restart the service, which makes a new one; `stx-builds doctor` tells if it cannot.".to_owned()
        }
        AlarmKind::NeverFires => format!(
            "Check that the service's user can reach the repositories of {subject} and that its branch exists, with `git ls-remote`."
        ),
        AlarmKind::PruneBlocked => {
            "Run `stx-builds prune --dry-run`; if what it lists is right, run the command that the alarm names.".to_owned()
        }
    }
}

/// The builds whose publication failed and is tried again, by their channel, each with a text.
fn unpublished(state: &State) -> impl Iterator<Item = (&Channel, String)> {
    let running = state.runs.values().map(|run| &run.request);
    state.queue.values().chain(running).filter_map(|request| {
        let unpublished = request.unpublished.as_ref()?;
        if unpublished.failures == 0 {
            return None;
        }
        let Unpublished {
            build,
            failures,
            reason,
            ..
        } = unpublished;
        let (next, attempt) = (
            unpublished.next.format("%Y-%m-%dT%H:%M:%SZ"),
            failures.saturating_add(1),
        );
        let text = format!(
            "{build} is built but not published; attempt {attempt} is due at {next}: {reason}"
        );
        Some((&request.target.channel, text))
    })
}

/// The time since which commits of a watch, or a new success of the channel below, wait for a build.
fn moved(state: &State, watch: &Watch) -> Option<DateTime<Utc>> {
    let pending = state
        .marks
        .get(&watch.key)
        .and_then(|mark| Some(mark.pending.as_ref()?.since));
    let running = state.runs.values().map(|run| &run.request);
    let asked = state
        .queue
        .values()
        .chain(running)
        .filter(|request| request.target.channel == watch.channel)
        .flat_map(|request| &request.reasons)
        .filter(|reason| matches!(reason.cause, Cause::Commit { .. } | Cause::After { .. }))
        .map(|reason| reason.at);
    asked.chain(pending).min()
}

/// The newest success of a watch and its age limit, if it is older than that.
fn stale(
    state: &State,
    facts: &Facts,
    watch: &Watch,
    now: DateTime<Utc>,
) -> Option<(DateTime<Utc>, TimeDelta)> {
    if watch.milestone.is_some() {
        return None;
    }
    let limit = match watch.max_age {
        Some(age) => span(age),
        None => watch.schedule.as_ref()?.gap(now)?.checked_mul(2)?,
    };
    let ended = state.last.get(&watch.channel).and_then(|last| last.good);
    let shown = facts
        .channels
        .get(&watch.channel)
        .and_then(|of| of.latest_build)
        .map(BuildDate::time);
    // A time in the future is of a clock that was wrong: the alarm must not stay silent until then.
    let past = |time: &DateTime<Utc>| *time - now <= AHEAD;
    let good = ended.filter(past).max(shown.filter(past))?;
    (now - good > limit).then_some((good, limit))
}

fn span(span: std::time::Duration) -> TimeDelta {
    TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX)
}

fn ago(now: DateTime<Utc>, then: DateTime<Utc>) -> String {
    let minutes = (now - then).num_minutes();
    match minutes {
        ..120 => format!("{minutes} minutes ago"),
        120..2880 => format!("{} hours ago", minutes / 60),
        _ => format!("{} days ago", minutes / 1440),
    }
}
