//! Rules that match nothing: of retention, labs, places and layers.

use camino::Utf8Path;
use stx_layout::Channel;

use super::case::Case;
use super::{Finding, Severity, Subject};

/// The checks.
pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = retention(case);
    findings.extend(labs(case));
    findings.extend(places(case));
    findings.extend(after(case));
    findings
}

/// The channels, in short.
fn known(case: &Case<'_>) -> String {
    let mut names: Vec<_> = case
        .channels
        .iter()
        .take(5)
        .map(Channel::to_string)
        .collect();
    if case.channels.len() > names.len() {
        names.push("…".to_owned());
    }
    names.join(", ")
}

/// True if a glob could match a channel of a branch whose channel is unknown, so that one mistake does not lead to a second finding.
fn may_match(case: &Case<'_>, glob: &str) -> bool {
    case.open.iter().any(|release| {
        let release = release.to_string();
        let mut parts = glob.split('/');
        release.split('/').all(|word| match parts.next() {
            Some(part) => part.contains(['*', '?', '[', '{']) || part == word,
            None => false,
        })
    })
}

fn retention(case: &Case<'_>) -> Vec<Finding> {
    let (Some(file), Some(policy)) = (case.site.options.policy(), &case.policy) else {
        return Vec::new();
    };
    if case.channels.is_empty() {
        return Vec::new();
    }
    let rules = policy.policy.channels.iter().zip(&policy.lines.channels);
    let idle = rules.filter(|(rules, _)| {
        let glob = rules.channels.compile_matcher();
        !may_match(case, rules.channels.glob())
            && !case
                .channels
                .iter()
                .any(|channel| glob.is_match(channel.to_string()))
    });
    idle.map(|(rules, at)| Finding {
        severity: Severity::Warning,
        file: Some(Utf8Path::to_owned(file)),
        at: Some(*at),
        subject: Subject::Rules,
        message: format!("`match = \"{}\"` matches no channel", rules.channels.glob()),
        why: "the exception never applies: builds are kept by the rules of their kind".to_owned(),
        fix: format!(
            "correct the glob, or remove the table; the channels: {}",
            known(case)
        ),
    })
    .collect()
}

fn labs(case: &Case<'_>) -> Vec<Finding> {
    let Some(setup) = &case.setup else {
        return Vec::new();
    };
    let labs = setup.labs.iter().enumerate();
    let idle = labs.filter(|(_, lab)| {
        !may_match(case, lab.channel.glob())
            && !case.channels.iter().any(|channel| lab.tests(channel))
    });
    idle.filter(|_| !case.channels.is_empty())
        .map(|(index, lab)| {
            let texts = [
                format!(
                    "lab {} tests channels {}, of which there is none",
                    lab.name, lab.channel
                ),
                "it never runs".to_owned(),
                format!("correct `channel`; the channels: {}", known(case)),
            ];
            let path = ["lab", &index.to_string(), "channel"];
            case.finding(Severity::Warning, Subject::Rules, &path, texts)
        })
        .collect()
}

fn places(case: &Case<'_>) -> Vec<Finding> {
    if !case.has_all_recipes {
        // The phase may belong to a recipe with a mistake.
        return Vec::new();
    }
    let recipes = case.recipes.iter();
    let phases: Vec<_> = recipes
        .flat_map(|named| &named.recipe.phases)
        .map(|phase| &*phase.name)
        .collect();
    if phases.is_empty() {
        return Vec::new();
    }
    let idle = case.site.options.places.idle(&phases).into_iter();
    idle.map(|glob| {
        let texts = [
            format!("no phase of a recipe is named {glob}"),
            "the intended phase runs on this machine".to_owned(),
            "correct `phases`; `stx-builds recipe graph FILE` names the phases".to_owned(),
        ];
        case.finding(Severity::Warning, Subject::Rules, &["place-rule"], texts)
    })
    .collect()
}

/// Branches that wait for a channel that is never built.
fn after(case: &Case<'_>) -> Vec<Finding> {
    let Some(service) = &case.service else {
        return Vec::new();
    };
    let branches = service.branches.iter();
    let waiting = branches.filter_map(|branch| Some((branch, branch.after()?)));
    let idle = waiting
        .filter(|(_, after)| !case.channels.contains(after) && !case.open.contains(&after.release));
    idle.map(|(branch, after)| Finding {
        severity: Severity::Warning,
        file: case.file.clone(),
        at: Some(branch.at),
        subject: Subject::Rules,
        message: format!(
            "{} is built after {after}, which no entry builds and the mirror does not have",
            branch.git
        ),
        why: "its builds wait for ever".to_owned(),
        fix: format!("correct `after`; the channels: {}", known(case)),
    })
    .collect()
}
