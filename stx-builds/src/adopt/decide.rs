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

/// How long a build has to be left alone before it counts as complete: nothing tells when the older publisher is done.
const SETTLED: TimeDelta = TimeDelta::hours(1);

/// The marks of the result, in the order in which they count.
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

/// The marks of a sanity test. Of several the worst counts, as for the cleanup that read them. A build that was tested was
/// complete, whatever the test found.
const VERDICTS: [(&str, Verdict); 6] = [
    ("outputs/RED", Verdict::Red),
    ("RED", Verdict::Red),
    ("outputs/YELLOW", Verdict::Yellow),
    ("YELLOW", Verdict::Yellow),
    ("outputs/GREEN", Verdict::Green),
    ("GREEN", Verdict::Green),
];

/// The texts that name the commits, the best first.
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

/// Tells whether the mere presence of a file is evidence about its build.
pub(super) fn is_mark(path: &BuildPath) -> bool {
    let name = path.as_str();
    name == KEEP
        || RESULTS.iter().any(|(mark, _)| *mark == name)
        || VERDICTS.iter().any(|(mark, _)| *mark == name)
}

/// Tells whether the text of a file is evidence about its build.
pub(super) fn is_text(path: &BuildPath) -> bool {
    SOURCES.contains(&path.as_str())
        || super::undated::INFOS.contains(&path.as_str())
        || texts::is_image_list(path)
        || path.file_name() == texts::CHECKSUMS
}

/// The `SHA256SUMS` of a build without a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum FoundSums {
    /// There is none.
    #[default]
    None,
    /// An adoption that died left it: it names `build.json`.
    Ours,
    /// Somebody else made it.
    Foreign,
}

/// The contents of a build that the decision depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// The marks that are there, with their times.
    pub marks: BTreeMap<String, DateTime<Utc>>,
    /// The texts that are there.
    pub texts: BTreeMap<String, String>,
    /// The newest entry and its time.
    pub newest: Option<(String, DateTime<Utc>)>,
    /// The aliases that point at it.
    pub aliases: BTreeSet<AliasName>,
    /// The `build.json` that is there and cannot be read, and why.
    pub record: Option<String>,
    /// The `SHA256SUMS` that is there.
    pub sums: FoundSums,
    /// The entries that no `SHA256SUMS` can name or that cannot be read: path and reason.
    pub unreadable: Vec<(String, String)>,
}

/// The decision about a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Decision {
    /// It becomes a full build.
    Adopt(Box<Adoption>),
    /// It stays as it is.
    Leave {
        /// The kind of the reason.
        reason: Reason,
        /// The same for people, in a line, with what would decide it.
        message: String,
    },
}

/// The kind of the reason for which a build stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// Nothing tells how it ended.
    NoEvidence,
    /// One mark says that it succeeded, and another that it failed.
    Contradiction,
    /// Something was written to it not long ago, or while it was read.
    BeingWritten,
    /// It has a `build.json` or a `SHA256SUMS` of somebody else.
    Foreign,
    /// A file of it cannot be read, or has a name that no `SHA256SUMS` can hold.
    Unreadable,
    /// Another publisher was at work in its channel.
    Busy,
    /// Its record or its sums could not be written.
    Failed,
}

/// The record that a build gets, and what it was concluded from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adoption {
    /// How it ended.
    pub result: BuildOutcome,
    /// The evidence for the record, a line each; that for the result first.
    pub evidence: Vec<String>,
    /// The gits.
    pub sources: Vec<SourceRecord>,
    /// The names of the images.
    pub images: Vec<String>,
    /// The verdict of a sanity test: which, when, and the mark that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<MarkedVerdict>,
    /// Whether `KEEP` asks for a pin.
    pub pin: bool,
    /// The parts of a full build's record that nothing tells.
    pub missing: Vec<String>,
    /// Peculiarities, a line each.
    pub notes: Vec<String>,
}

/// A verdict that a mark in the build gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MarkedVerdict {
    /// The verdict.
    pub verdict: Verdict,
    /// The mark.
    pub mark: String,
    /// When the mark was made.
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

/// A reason to leave a build as it is.
pub(super) fn leave(reason: Reason, message: impl fmt::Display) -> Decision {
    Decision::Leave {
        reason,
        message: message.to_string(),
    }
}

/// Decides about a build; `assume` is the result of one whose result nothing tells.
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

/// How the build ended, and the marks that say so.
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
                "nothing tells how it ended: put `outputs/success` or `outputs/fail` into it, or give \
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
        notes.push(format!("{mark} is passed over: a worse mark counts"));
    }
    if seen.sums == FoundSums::Ours {
        notes.push("an adoption of it was interrupted, and is done again".to_owned());
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
