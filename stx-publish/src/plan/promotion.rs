//! The plan of a promotion: the bytes of a build, unchanged, under the name of a release or a milestone.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use stx_layout::derived::Repositories;
use stx_layout::{
    AliasName, BuildId, BuildOutcome, BuildPath, BuildRecord, BuildState, Catalog, ImageRecord,
    Origin, ReleaseKind, SumLine, Sums, Verdict,
};

use super::{PlanError, PublishAction, PublishPlan, alias_steps, latest_leads, same, to_offer};
use crate::guard::Copies;
use crate::incoming::{Entry, Incoming};
use crate::privacy::PrivacyReport;
use crate::store::KnownFile;

/// The directory of a promoted build with the record, the sums and all other files that were beside `inputs` and `outputs` in
/// the original build.
pub const ORIGIN: &str = "origin";

/// A request to promote a build.
#[derive(Debug, Clone)]
pub struct PromoteRequest {
    /// The build that was tested.
    pub from: Original,
    /// The build that it becomes.
    pub to: BuildId,
    /// Its images, with the names that they get.
    pub images: Vec<ImageRecord>,
    /// The newest verdict on it.
    pub verdict: Option<Verdict>,
    /// True if it is promoted without the verdict `green`.
    pub force: bool,
    /// The person who promotes it.
    pub by: String,
    /// The reason, as a text for people.
    pub reason: Option<String>,
    /// True if an alias may move to an older build.
    pub force_alias: bool,
    /// True if its sections are offered without a date.
    pub undated: bool,
    /// The sums of the build that the mirror already has under the new id, if any.
    pub existing: Option<Sums>,
    /// The current time.
    pub now: DateTime<Utc>,
}

/// The facts about the build to promote.
#[derive(Debug, Clone)]
pub struct Original {
    /// Its record.
    pub record: BuildRecord,
    /// Its files, by their paths in it, with the digests of its `SHA256SUMS`.
    pub files: BTreeMap<BuildPath, KnownFile>,
    /// Its symlinks.
    pub links: BTreeMap<BuildPath, String>,
    /// Its `SHA256SUMS`.
    pub sums: Sums,
    /// `SHA256SUMS` and its signature as files, which the sums do not list.
    pub seal: BTreeMap<BuildPath, Bytes>,
    /// The differences between its current bytes and the published ones.
    pub damage: Vec<PromoteProblem>,
}

/// A reason why a build is not promoted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PromoteProblem {
    /// The target is neither a release nor a milestone.
    #[error("{to} is neither a release nor a milestone")]
    Target {
        /// The build that it should become.
        to: Box<BuildId>,
    },
    /// The build failed.
    #[error("the build failed")]
    Failed,
    /// The build is not green.
    #[error("its verdict is {}, not green", found.map_or("missing", Verdict::as_str))]
    Verdict {
        /// The newest verdict.
        found: Option<Verdict>,
    },
    /// The promotion is forced, but no reason is given.
    #[error("it is not green, and no reason for its promotion is given")]
    Reason,
    /// A section of the build was removed.
    #[error("{section} was removed from it")]
    Thinned {
        /// The section.
        section: BuildPath,
    },
    /// A file is missing.
    #[error("{path} is missing")]
    Missing {
        /// The file.
        path: BuildPath,
    },
    /// A file has other bytes.
    #[error("{path} has other bytes than SHA256SUMS says")]
    Bytes {
        /// The file.
        path: BuildPath,
    },
    /// A file is not in the sums, or cannot be read.
    #[error("{path}: {reason}")]
    Unverified {
        /// The file.
        path: String,
        /// The reason, in one line.
        reason: String,
    },
}

/// The files of a build to promote; their bytes are on the mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Promotion {
    /// The build that they belong to.
    pub from: BuildId,
    /// The files by their paths in the new build.
    #[serde(skip)]
    pub files: BTreeMap<BuildPath, PromotedFile>,
}

/// A file of a build to promote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromotedFile {
    /// Its path in the original build.
    pub at: BuildPath,
    /// Its digest, size and mode.
    pub known: KnownFile,
}

impl fmt::Display for Promotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "every byte is that of {}", self.from)
    }
}

/// The path in the promoted build of a file of the original. Files beside `inputs` and `outputs` are moved into [`ORIGIN`],
/// because the new build has its own files with these names.
pub fn promoted_path(path: &BuildPath) -> BuildPath {
    let is_about = path.parent().is_none() || path.segments().next() == Some(ORIGIN);
    if is_about {
        let moved = format!("{ORIGIN}/{path}").parse();
        moved.expect("a path below a directory is one")
    } else {
        path.clone()
    }
}

/// All problems that prevent the promotion of a build.
fn problems(request: &PromoteRequest) -> Vec<PromoteProblem> {
    let PromoteRequest {
        from, to, verdict, ..
    } = request;
    let mut problems = from.damage.clone();
    if !matches!(
        to.channel.release.kind(),
        ReleaseKind::Release | ReleaseKind::Milestone
    ) {
        let to = Box::new(to.clone());
        problems.push(PromoteProblem::Target { to });
    }
    if from.record.result != BuildOutcome::Success {
        problems.push(PromoteProblem::Failed);
    }
    let reason = request.reason.as_deref().unwrap_or_default();
    match verdict {
        Some(Verdict::Green) => {}
        found if !request.force => problems.push(PromoteProblem::Verdict { found: *found }),
        _ if reason.trim().is_empty() => problems.push(PromoteProblem::Reason),
        _ => {}
    }
    problems
}

/// Decides if the files are published, or already are: the same build was promoted before.
fn action(
    catalog: &Catalog,
    id: &BuildId,
    from: &BuildId,
    expected: &Sums,
    existing: Option<Sums>,
) -> Result<PublishAction, PlanError> {
    let incomparable = |reason: String| PlanError::Incomparable {
        id: Box::new(id.clone()),
        reason,
    };
    match catalog.build(id).map(|build| &build.state) {
        None => Ok(PublishAction::New),
        Some(BuildState::Unreadable(reason)) => Err(incomparable(reason.clone())),
        Some(BuildState::Known(there)) => {
            let came_from = there.origin.as_ref().and_then(Origin::promoted_from);
            let existing = existing.filter(|_| came_from == Some(from));
            let existing =
                existing.ok_or_else(|| incomparable(format!("it is not {from}, promoted")))?;
            let none = Repositories::default();
            same(id, &Incoming::default(), expected, &existing, &none)?;
            Ok(PublishAction::Same)
        }
    }
}

/// Plans the promotion of a build on a mirror. The error names all problems at once.
///
/// # Errors
/// [`PlanError::NotPromotable`], and the errors of publishing a build.
pub fn plan_promotion(
    catalog: &Catalog,
    request: PromoteRequest,
) -> Result<PublishPlan, PlanError> {
    let problems = problems(&request);
    let PromoteRequest { from, to, now, .. } = request;
    let id = Box::new(to.clone());
    if !problems.is_empty() {
        let from = Box::new(from.record.id);
        return Err(PlanError::NotPromotable { from, id, problems });
    }
    PlanError::check_date(&id, now)?;
    let Original {
        record: original,
        files,
        links,
        sums,
        seal,
        damage: _,
    } = from;
    let links = links.into_iter().map(|(path, target)| {
        // In another directory, a link beside the sections is dangling; no such link has been seen on any mirror.
        (promoted_path(&path), Entry::Symlink { target })
    });
    let made = seal.into_iter();
    let made = made.map(|(path, bytes)| (promoted_path(&path), Entry::Generated(bytes)));
    let incoming = Incoming {
        entries: links.chain(made).collect(),
    };
    let files: BTreeMap<_, _> = files
        .into_iter()
        .map(|(at, known)| (promoted_path(&at), PromotedFile { at, known }))
        .collect();
    let made = incoming.entries.iter();
    let made = made.filter_map(|(path, entry)| Some((path.clone(), entry.digest()?)));
    let brought = sums.lines().iter();
    let brought = brought.map(|line| (promoted_path(&line.path), line.digest));
    let expected: Sums = brought
        .chain(made)
        .map(|(path, digest)| SumLine { path, digest })
        .collect();
    let action = action(catalog, &id, &original.id, &expected, request.existing)?;
    let bytes = files
        .values()
        .filter_map(|file| file.known.size)
        .sum::<u64>();
    let record = BuildRecord {
        id: to,
        origin: Some(Origin::Promoted {
            from: original.id.clone(),
            at: now,
            by: request.by,
            reason: request.reason,
        }),
        images: request.images,
        ..original.clone()
    };
    let aliases = alias_steps(
        catalog,
        [AliasName::latest_build()],
        &record,
        request.force_alias,
    );
    let undated = request.undated && latest_leads(&aliases);
    let undated = undated
        .then(|| to_offer(catalog, &id, files.keys()))
        .flatten();
    Ok(PublishPlan {
        action,
        aliases,
        undated,
        files: files.len() as u64 + incoming.files(),
        bytes: bytes + incoming.bytes(),
        result: record.result,
        id: *id,
        repositories: [].into(),
        apt_repositories: [].into(),
        left_out: Vec::new(),
        controls: [].into(),
        carried: BTreeMap::new(),
        strict: false,
        copies: Copies::default(),
        privacy: PrivacyReport::default(),
        linked: None,
        incoming,
        record,
        force_alias: request.force_alias,
        promotion: Some(Promotion {
            from: original.id,
            files,
        }),
    })
}
