//! Decides from the contents of a build of an older publisher whether it becomes a full build, and what its record says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use stx_layout::{
    AliasName, BuildId, BuildOutcome, BuildPath, BuildRecord, Origin, SourceRecord, Verdict,
    counted,
};

use super::texts;

/// The time for which a build must be unchanged to count as complete: the older publisher leaves no mark when it finishes.
const SETTLED: TimeDelta = TimeDelta::hours(1);

/// The marks of the result, in order of precedence.
const RESULTS: [(&str, BuildOutcome); 10] = [
    ("outputs/success", BuildOutcome::Success),
    ("outputs/fail", BuildOutcome::Fail),
    ("outputs/Success", BuildOutcome::Success),
    ("logs/Success", BuildOutcome::Success),
    ("SUCCESS", BuildOutcome::Success),
    ("FAIL", BuildOutcome::Fail),
    ("outputs/SUCCESS", BuildOutcome::Success),
    ("outputs/FAIL", BuildOutcome::Fail),
    ("logs/SUCCESS", BuildOutcome::Success),
    ("logs/FAIL", BuildOutcome::Fail),
];

/// The marks of a sanity test. If several exist, the worst counts, as in the cleanup that read them. A tested build was complete,
/// whatever the result of the test.
const VERDICTS: [(&str, Verdict); 6] = [
    ("outputs/RED", Verdict::Red),
    ("RED", Verdict::Red),
    ("outputs/YELLOW", Verdict::Yellow),
    ("YELLOW", Verdict::Yellow),
    ("outputs/GREEN", Verdict::Green),
    ("GREEN", Verdict::Green),
];

/// The texts that name the commits, in order of preference.
const SOURCES: [&str; 6] = [
    "outputs/CONTEXT",
    "outputs/CONTEXT.sh",
    "CONTEXT",
    "CONTEXT.sh",
    "outputs/LAST_COMMITS",
    "LAST_COMMITS",
];

/// The build team's mark on a build that is never removed.
pub(super) const KEEP: &str = "KEEP";

/// True if the mere presence of a file is evidence about its build.
pub(super) fn is_mark(path: &BuildPath) -> bool {
    let name = path.as_str();
    name == KEEP
        || RESULTS.iter().any(|(mark, _)| *mark == name)
        || VERDICTS.iter().any(|(mark, _)| *mark == name)
}

/// True if the text of a file is evidence about its build.
pub(super) fn is_text(path: &BuildPath) -> bool {
    SOURCES.contains(&path.as_str())
        || super::undated::INFOS.contains(&path.as_str())
        || texts::is_image_list(path)
        || path.file_name() == texts::CHECKSUMS
}

/// The `SHA256SUMS` of a build without a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum FoundSums {
    /// It does not exist.
    #[default]
    None,
    /// An interrupted adoption left it: it names `build.json`.
    Ours,
    /// Another program made it.
    Foreign,
}

/// The contents of a build that the decision depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// The marks that exist, with their times.
    pub marks: BTreeMap<String, DateTime<Utc>>,
    /// The texts that exist.
    pub texts: BTreeMap<String, String>,
    /// The newest entry and its time.
    pub newest: Option<(String, DateTime<Utc>)>,
    /// The aliases that point at it.
    pub aliases: BTreeSet<AliasName>,
    /// The reason why an existing `build.json` cannot be read.
    pub record: Option<String>,
    /// The `SHA256SUMS` that exists.
    pub sums: FoundSums,
    /// The entries that a `SHA256SUMS` cannot name or that cannot be read: path and reason.
    pub unreadable: Vec<(String, String)>,
}

/// The decision about a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Decision {
    /// It becomes a full build.
    Adopt(Box<Adoption>),
    /// It stays unchanged.
    Leave {
        /// The kind of the reason.
        reason: Reason,
        /// The reason for people, in one line, with the information that would decide it.
        message: String,
    },
}

/// The kind of reason for leaving a build unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// Nothing records how it ended.
    NoEvidence,
    /// One mark records a success, and another a failure.
    Contradiction,
    /// It was written to recently, or while it was read.
    BeingWritten,
    /// It has a `build.json` or a `SHA256SUMS` that another program made.
    Foreign,
    /// A file cannot be read, or has a name that a `SHA256SUMS` cannot contain.
    Unreadable,
    /// Another publisher was at work in its channel.
    Busy,
    /// Its record or its sums could not be written.
    Failed,
}

/// The record that a build gets, and the evidence for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adoption {
    /// The result.
    pub result: BuildOutcome,
    /// The evidence for the record, one item per line; the evidence for the result comes first.
    pub evidence: Vec<String>,
    /// The commits of the git repositories.
    pub sources: Vec<SourceRecord>,
    /// The names of the images.
    pub images: Vec<String>,
    /// The verdict of a sanity test, with its time and its mark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<MarkedVerdict>,
    /// True if a `KEEP` file requests a pin.
    pub pin: bool,
    /// The parts of a full record for which no evidence exists.
    pub missing: Vec<String>,
    /// Peculiarities, one per line.
    pub notes: Vec<String>,
}

/// A verdict that a mark in the build gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MarkedVerdict {
    /// The verdict.
    pub verdict: Verdict,
    /// The mark.
    pub mark: String,
    /// The time of the mark.
    pub at: DateTime<Utc>,
}

impl Adoption {
    /// The record of the build.
    pub(super) fn record(&self, id: &BuildId, at: DateTime<Utc>) -> BuildRecord {
        let mut record = BuildRecord::new(id.clone(), self.result);
        record.origin = Some(Origin::Adopted {
            at,
            evidence: self.evidence.clone(),
        });
        record.sources.clone_from(&self.sources);
        record.named_images.clone_from(&self.images);
        record
    }
}

/// A decision to leave a build unchanged.
pub(super) fn leave(reason: Reason, message: impl fmt::Display) -> Decision {
    Decision::Leave {
        reason,
        message: message.to_string(),
    }
}

/// Decides about a build; `assume` is the result of a build without evidence of a result.
pub(super) fn decide(seen: &Seen, assume: Option<BuildOutcome>, now: DateTime<Utc>) -> Decision {
    if let Some(why) = &seen.record {
        let message = format!("its build.json cannot be read: {why}; repair it or move it away");
        return leave(Reason::Foreign, message);
    }
    if seen.sums == FoundSums::Foreign {
        let message =
            "it has a SHA256SUMS that this program did not make; compare it, then move it away";
        return leave(Reason::Foreign, message);
    }
    if let Some((path, why)) = seen.unreadable.first() {
        let more = match seen.unreadable.len() - 1 {
            0 => String::new(),
            more => format!(", and {} more", counted(more, "entry")),
        };
        return leave(Reason::Unreadable, format!("{path}: {why}{more}"));
    }
    if let Some((path, at)) = &seen.newest
        && now - *at < SETTLED
    {
        let message = format!(
            "{path} was written at {}: is the build complete? Rerun the command an hour later",
            at.format("%Y-%m-%dT%H:%M:%SZ")
        );
        return leave(Reason::BeingWritten, message);
    }
    match result(seen, assume) {
        Err((reason, message)) => leave(reason, message),
        Ok((result, evidence)) => Decision::Adopt(Box::new(adoption(seen, result, evidence))),
    }
}

/// The result of the build, and the marks that record it.
fn result(
    seen: &Seen,
    assume: Option<BuildOutcome>,
) -> Result<(BuildOutcome, Vec<String>), (Reason, String)> {
    let is_there = |mark: &str| seen.marks.contains_key(mark);
    let marks = RESULTS.iter().filter(|(mark, _)| is_there(mark));
    let mut found: Vec<(String, BuildOutcome)> = marks
        .map(|(mark, outcome)| ((*mark).to_owned(), *outcome))
        .collect();
    let tested = VERDICTS.iter().filter(|(mark, _)| is_there(mark));
    found.extend(tested.map(|(mark, _)| ((*mark).to_owned(), BuildOutcome::Success)));
    let latest = AliasName::latest_build();
    if seen.aliases.contains(&latest) {
        found.push((format!("{latest} points at it"), BuildOutcome::Success));
    }
    let Some((_, outcome)) = found.first().cloned() else {
        return match assume {
            Some(outcome) => Ok((outcome, vec![format!("--assume {outcome}")])),
            None => Err((
                Reason::NoEvidence,
                "its outcome is unknown: put `outputs/success` or `outputs/fail` into it, or give \
                 `--assume success` or `--assume fail`"
                    .to_owned(),
            )),
        };
    };
    if found.iter().any(|(_, other)| *other != outcome) {
        let said: Vec<_> = found
            .iter()
            .map(|(mark, outcome)| format!("{mark} ({outcome})"))
            .collect();
        let message = format!(
            "its marks contradict each other: {}; remove the wrong one",
            said.join(", ")
        );
        return Err((Reason::Contradiction, message));
    }
    Ok((outcome, found.into_iter().map(|(mark, _)| mark).collect()))
}

/// The record of a build whose result is known.
fn adoption(seen: &Seen, result: BuildOutcome, mut evidence: Vec<String>) -> Adoption {
    let mut missing = vec!["phases".to_owned()];
    let mut notes = Vec::new();
    let texts = SOURCES.iter().filter_map(|name| {
        let sources = texts::sources(name, seen.texts.get(*name)?);
        Some((*name, sources))
    });
    let found = texts.into_iter().find(|(_, sources)| !sources.is_empty());
    let sources = if let Some((name, sources)) = found {
        evidence.push(format!("{name}: {}", counted(sources.len(), "git")));
        sources
    } else {
        missing.push("sources: no CONTEXT, CONTEXT.sh or LAST_COMMITS names a commit".to_owned());
        Vec::new()
    };
    let mut images = BTreeSet::new();
    for (path, text) in &seen.texts {
        let is_list = path.parse().is_ok_and(|path| texts::is_image_list(&path));
        if is_list {
            let names: BTreeSet<_> = texts::images(text).map(str::to_owned).collect();
            evidence.push(format!("{path}: {}", counted(names.len(), "image name")));
            images.extend(names);
        }
    }
    if images.is_empty() {
        missing.push("images".to_owned());
    } else {
        missing.push("digests of images".to_owned());
    }
    let mut verdicts = VERDICTS.iter().filter_map(|(mark, verdict)| {
        Some(MarkedVerdict {
            verdict: *verdict,
            mark: (*mark).to_owned(),
            at: *seen.marks.get(*mark)?,
        })
    });
    let verdict = verdicts.next();
    for MarkedVerdict { mark, .. } in verdicts {
        notes.push(format!("{mark} is ignored: a worse mark takes precedence"));
    }
    if seen.sums == FoundSums::Ours {
        notes.push("an adoption of it was interrupted, and is repeated".to_owned());
    }
    Adoption {
        result,
        evidence,
        sources,
        images: images.into_iter().collect(),
        verdict,
        pin: seen.marks.contains_key(KEEP),
        missing,
        notes,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
