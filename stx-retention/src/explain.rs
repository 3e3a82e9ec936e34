//! Explains in words why a build is kept or expires.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use stx_layout::config::Position;
use stx_layout::{BuildEntry, BuildId, BuildOutcome, BuildState, Catalog, Verdict, counted, size};

use crate::policy::replaces_keep;
use crate::text::Moment;
use crate::{Decision, Policy, PolicyInputs, PolicyLines, Retention, Rules, plan_with};

/// A paragraph on one build: its outcome and age, the decision with its time and reasons, and the rule with its line in the
/// policy.
///
/// `lines` are those of the policy's file; without them, the policy is described as built in or set by code. `None` if the build
/// does not exist.
pub fn explain(
    catalog: &Catalog,
    facts: &PolicyInputs,
    policy: &Policy,
    lines: Option<&PolicyLines>,
    now: DateTime<Utc>,
    build: &BuildId,
) -> Option<String> {
    let entry = catalog.build(build)?;
    let plan = plan_with(catalog, facts, policy, now);
    let mut text = format!("{build} is {}. ", what(build, entry, now));
    match plan.decision(build)? {
        Decision::Keep { reasons, until } => {
            let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
            let _ = write!(text, "Reasons for keeping it: {}. ", reasons.join("; "));
            let _ = match until {
                Some(until) => write!(
                    text,
                    "If nothing but the time changes, it may be retired from {}. ",
                    Moment(until)
                ),
                None => write!(
                    text,
                    "No date of its retirement can be given: time alone does not end all of these reasons. "
                ),
            };
        }
        Decision::Expire { rule, .. } => {
            let entry = plan.expire.iter().find(|entry| entry.build == *build)?;
            let _ = write!(
                text,
                "The next run retires it, by rule `{rule}`: {}. That frees {}. A pin, or a KEEP file in it, keeps it. ",
                entry.message,
                size(entry.bytes_freed)
            );
        }
    }
    let gone = plan.sections.iter().filter(|entry| entry.build == *build);
    for section in gone {
        let _ = write!(text, "Of it, {}. ", section.message);
    }
    for section in facts.dropped.get(build).into_iter().flatten() {
        let _ = write!(text, "Its `{section}` was removed before it, as intended. ");
    }
    let kind = build.channel.release.kind();
    let _ = write!(
        text,
        "The rule for {}: {} ({})",
        build.channel,
        describe(&policy.rules(&build.channel)),
        match lines {
            None => "built in, or set by code".to_owned(),
            Some(lines) => source(lines, policy, build, lines.kinds.get(&kind)),
        }
    );
    text.push('.');
    Some(text)
}

/// A build described by its outcome, date and age: `a success of 2026-11-01, 28 days old`.
fn what(build: &BuildId, entry: &BuildEntry, now: DateTime<Utc>) -> String {
    let outcome = match &entry.state {
        BuildState::Known(record) => match record.result {
            BuildOutcome::Success => "success",
            BuildOutcome::Fail => "failure",
        },
        BuildState::Unreadable(_) => "build of unknown outcome",
    };
    let date = build.date.time();
    let outcome = match outcome {
        "fail" => "failure",
        other => other,
    };
    if date > now {
        return format!("a {outcome} dated {}, which is in the future", Moment(date));
    }
    let days = (now - date).num_days();
    let days = counted(days, "day");
    format!("a {outcome} of {}, {days} old", Moment(date))
}

/// The place in a policy's file of the rules for a build.
fn source(
    lines: &PolicyLines,
    policy: &Policy,
    build: &BuildId,
    kind: Option<&Position>,
) -> String {
    let text = build.channel.to_string();
    let exceptions = policy.channels.iter().zip(&lines.channels);
    let matching = exceptions
        .filter(|(exception, _)| exception.channels.compile_matcher().is_match(&text))
        .map(|(_, position)| position);
    let places: Vec<_> = kind
        .into_iter()
        .chain(matching)
        .map(|position| format!("line {}", position.line))
        .collect();
    if places.is_empty() {
        "built in; the policy file does not change it".to_owned()
    } else {
        format!("{} of the policy", places.join(", "))
    }
}

/// The text of a channel's rules.
pub fn describe(rules: &Rules) -> String {
    let time = |retention: Retention| match retention {
        Retention::Forever => "for ever".to_owned(),
        Retention::For(age) => format!("for {age}"),
        Retention::ReleasePeriod => "for one release period past their introduction".to_owned(),
    };
    let mut text = format!(
        "successes are kept {}, and always the {} newest; failures are kept {}, and always one that is the channel's newest build",
        time(rules.keep),
        rules.floor(),
        time(rules.failed)
    );
    for verdict in Verdict::ALL.into_iter().rev() {
        if let Some(kept) = rules.verdicts.of(verdict) {
            let kept = match kept {
                Retention::For(age) if !replaces_keep(verdict) => format!("for at least {age}"),
                kept => time(kept),
            };
            let _ = write!(text, "; {verdict} builds are kept {kept}");
        }
    }
    if let Some(2..) = rules.verdicts.newest_green {
        let green = rules.verdicts.floor();
        let _ = write!(text, "; the {green} newest green builds are always kept");
    }
    for tier in &rules.tiers {
        let _ = write!(text, "; `{}` is removed after {}", tier.section, tier.after);
    }
    text
}
