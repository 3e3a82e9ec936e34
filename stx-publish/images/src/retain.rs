//! Decides which tags are removed with a purged build, and which are kept because something needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use stx_layout::{BuildId, BuildPath, BuildRecord, ImageName, Sha256};

use super::{ImageRules, NamedImage, recorded};
use crate::registry::{ImageRegistry, Manifest, RegistryError, Untagged, repository, shown};
use stx_publish::store::{OwedTag, OwedTags};

#[cfg(test)]
mod tests;

/// A build or pin that is kept and may need images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUser {
    /// The build.
    pub build: BuildId,
    /// Its record, or the reason why the record cannot be read.
    pub record: Result<BuildRecord, String>,
    /// True if it is only a pin of a build that does not exist.
    pub pin: bool,
}

/// The reason for keeping a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kept-by", rename_all = "kebab-case")]
pub enum KeepReason {
    /// The record of another build names it.
    Build {
        /// The build.
        build: BuildId,
    },
    /// A pin of its build.
    Pin {
        /// The build.
        build: BuildId,
    },
    /// A Helm chart names its tag or its digest.
    Chart {
        /// The build of the chart.
        build: BuildId,
        /// The chart.
        path: BuildPath,
    },
    /// The images that another build needs are unknown.
    Unknown {
        /// The build.
        build: BuildId,
        /// The reason.
        reason: String,
    },
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build { build } => write!(f, "{build} has it too"),
            Self::Pin { build } => write!(f, "{build} is pinned"),
            Self::Chart { build, path } => write!(f, "the chart {build}/{path} names it"),
            Self::Unknown { build, reason } => {
                write!(f, "it is not known what {build} needs: {reason}")
            }
        }
    }
}

/// The decision about one tag of a build that is purged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagDecision {
    /// The tag.
    pub name: ImageName,
    /// The image that the tag names if it still belongs to this build.
    pub digest: Sha256,
    /// The reason for keeping it; `None` if it is removed.
    pub kept: Option<KeepReason>,
    /// Tags of the same image that are kept.
    pub others: BTreeSet<ImageName>,
    /// True if a kept build names the image by its digest.
    pub digest_kept: bool,
}

/// Decides about the tags of a build, some of which other builds may need.
///
/// Kept builds and charts are added one after the other, so that not all charts of a mirror are in memory at once.
#[derive(Debug, Clone)]
pub struct TagJudge<'a> {
    build: BuildId,
    rules: &'a ImageRules,
    decisions: Vec<TagDecision>,
}

impl<'a> TagJudge<'a> {
    /// Judges the tags of a build that is being purged: those in its record, and the moving ones that belong to them.
    pub fn of_record(going: &BuildRecord, rules: &'a ImageRules) -> Self {
        let images = recorded(going, &rules.registry);
        Self::new(going.id.clone(), names(&images, rules), rules)
    }

    /// Judges the tags that were kept when a build was purged. Those of other registries are left out.
    pub fn of_owed(owed: &OwedTags, rules: &'a ImageRules) -> Self {
        let tags = owed.tags.iter();
        let here = tags.filter(|tag| tag.name.parts().registry == Some(rules.registry.as_str()));
        let tags = here.map(|tag| (tag.name.clone(), tag.digest));
        Self::new(owed.build.clone(), tags, rules)
    }

    fn new(
        build: BuildId,
        tags: impl Iterator<Item = (ImageName, Sha256)>,
        rules: &'a ImageRules,
    ) -> Self {
        let decisions = tags.map(|(name, digest)| TagDecision {
            name,
            digest,
            kept: None,
            others: BTreeSet::new(),
            digest_kept: false,
        });
        Self {
            decisions: decisions.collect(),
            build,
            rules,
        }
    }

    /// True if there is nothing to decide.
    pub fn is_empty(&self) -> bool {
        self.decisions.is_empty()
    }

    /// Takes a kept build or pin into account.
    pub fn add_user(&mut self, user: &ImageUser) {
        let record = user.record.as_ref();
        let kept: Vec<_> = record
            .map(|record| names(&recorded(record, &self.rules.registry), self.rules).collect())
            .unwrap_or_default();
        for decision in &mut self.decisions {
            decision.consider(&self.build, user, &kept);
        }
    }

    /// Takes a Helm chart of a kept build into account: its uncompressed bytes, or the reason why they cannot be read.
    pub fn add_chart(&mut self, build: &BuildId, path: &BuildPath, text: Result<&[u8], &str>) {
        for decision in &mut self.decisions {
            decision.consider_chart(build, path, text);
        }
    }

    /// The decision about each tag.
    pub fn decide(self) -> Vec<TagDecision> {
        self.decisions
    }
}

/// The names of images with their moving ones.
fn names<'a>(
    images: &'a [NamedImage],
    rules: &'a ImageRules,
) -> impl Iterator<Item = (ImageName, Sha256)> + use<'a> {
    images.iter().flat_map(|image| {
        let moving = rules
            .moving
            .iter()
            .filter_map(|kind| image.name.moving(*kind));
        let names = [image.name.clone()].into_iter().chain(moving);
        names.map(|name| (name, image.digest))
    })
}

impl TagDecision {
    fn consider(&mut self, going: &BuildId, user: &ImageUser, kept: &[(ImageName, Sha256)]) {
        let build = || user.build.clone();
        if user.pin {
            if user.build == *going {
                self.keep(KeepReason::Pin { build: build() });
            }
            return;
        }
        if let Err(reason) = &user.record {
            self.keep(KeepReason::Unknown {
                build: build(),
                reason: reason.clone(),
            });
        }
        if kept.iter().any(|(name, _)| *name == self.name) {
            self.keep(KeepReason::Build { build: build() });
        }
        let own = repository(&self.name);
        let same = kept.iter().filter(|(name, digest)| {
            *digest == self.digest && *name != self.name && repository(name) == own
        });
        self.others.extend(same.map(|(name, _)| name.clone()));
    }

    /// Only the first reason is reported.
    fn keep(&mut self, why: KeepReason) {
        if self.kept.is_none() {
            self.kept = Some(why);
        }
    }

    fn consider_chart(&mut self, build: &BuildId, path: &BuildPath, text: Result<&[u8], &str>) {
        let named = || KeepReason::Chart {
            build: build.clone(),
            path: path.clone(),
        };
        match text {
            Ok(text) if contains(text, &self.name.parts().tag.to_string()) => self.keep(named()),
            Ok(text) if contains(text, &self.digest.to_string()) => {
                self.keep(named());
                self.digest_kept = true;
            }
            Ok(_) => {}
            Err(reason) => self.keep(KeepReason::Unknown {
                build: build.clone(),
                reason: format!("{path}: {reason}"),
            }),
        }
    }
}

/// True if a text contains a word that is not part of a longer one: no letter, digit, `.`, `_` or `-` before it, and no letter,
/// digit, `_` or `-` after it.
fn contains(text: &[u8], word: &str) -> bool {
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    memchr::memmem::find_iter(text, word).any(|at| {
        let before = at.checked_sub(1).and_then(|at| text.get(at));
        let after = text.get(at + word.len());
        // A dot after the word ends a sentence more often than it continues a tag; both count as named.
        !before.is_some_and(part) && !after.is_some_and(|byte| part(byte) && *byte != b'.')
    })
}

/// The result of removing the tags of a purged build.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct UntagReport {
    /// The tags that were removed.
    pub removed: Vec<ImageName>,
    /// The tags that are kept, with the reasons.
    pub left: BTreeMap<ImageName, String>,
    /// The kept tags that are to be removed later, when nothing needs them any more.
    pub owed: Vec<OwedTag>,
}

impl UntagReport {
    fn leave(&mut self, decision: &TagDecision, why: String) {
        self.owed.push(OwedTag {
            name: decision.name.clone(),
            digest: decision.digest,
            why: why.clone(),
        });
        self.left.insert(decision.name.clone(), why);
    }
}

/// The reason for keeping tags on a registry that deletes nothing.
const UNDELETABLE: &str =
    "the registry deletes no images; enable deletion there, and the next `prune` removes the tag";

/// The reason why an unreadable tag is kept.
const UNREADABLE: &str =
    "the registry cannot read the tag; push an image to it, and the next `prune` looks again";

/// Removes the tags that are not kept. Can be repeated at any time; a tag that names another image by now is kept.
///
/// A registry that cannot remove a single tag loses the image, with all its tags, if all of them are to be removed. On a registry
/// that removes nothing, all tags are kept, and are to be removed later.
pub async fn untag(
    registry: &dyn ImageRegistry,
    decisions: &[TagDecision],
) -> Result<UntagReport, RegistryError> {
    let mut report = UntagReport::default();
    // Tags that were removed with the image of another one.
    let mut gone = BTreeSet::new();
    let going: BTreeSet<_> = decisions
        .iter()
        .filter(|decision| decision.kept.is_none())
        .map(|decision| &decision.name)
        .collect();
    for decision in decisions {
        let name = decision.name.clone();
        // When that build is purged, this tag is one of its own.
        if let Some(why @ KeepReason::Build { .. }) = &decision.kept {
            report.left.insert(name, why.to_string());
            continue;
        }
        let seen = match registry.resolve(&name).await {
            Err(RegistryError::Unreadable { .. }) => {
                report.leave(decision, UNREADABLE.to_owned());
                continue;
            }
            seen => seen?,
        };
        match (&decision.kept, seen) {
            (Some(why), Some(shown)) if shown == decision.digest => {
                report.leave(decision, why.to_string());
                continue;
            }
            // A moving tag that has moved on no longer belongs to this build.
            (Some(why), Some(_) | None) => {
                report.left.insert(name, why.to_string());
                continue;
            }
            (None, None) => {
                if gone.contains(&name) {
                    report.removed.push(name);
                }
                continue;
            }
            (None, Some(shown)) if shown != decision.digest => {
                let why = "it now points to another image";
                report.left.insert(name, why.to_owned());
                continue;
            }
            (None, Some(_)) => {}
        }
        let manifest = registry.manifest(&name, decision.digest).await?;
        match registry.untag(&name).await? {
            Untagged::Removed | Untagged::Absent => {
                if let Some(manifest) = manifest {
                    put_back(registry, decision, &manifest).await?;
                }
                report.removed.push(name);
            }
            Untagged::Unsupported => {
                if let Some(why) = needed(registry, decision, &going).await? {
                    report.leave(decision, why);
                } else {
                    let mut with_it = Vec::new();
                    for other in decisions.iter().filter(|other| going.contains(&other.name)) {
                        let same = other.digest == decision.digest
                            && repository(&other.name) == repository(&name);
                        if same && shown(registry, &other.name).await? == Some(decision.digest) {
                            with_it.push(other.name.clone());
                        }
                    }
                    match registry.delete(&name, decision.digest).await {
                        // The files of the build need not be kept because of that.
                        Err(RegistryError::Undeletable { .. }) => {
                            report.leave(decision, UNDELETABLE.to_owned());
                        }
                        done => {
                            done?;
                            gone.extend(with_it);
                            report.removed.push(name);
                        }
                    }
                }
            }
        }
    }
    Ok(report)
}

/// Restores the kept tags if the registry removed more than the requested tag.
async fn put_back(
    registry: &dyn ImageRegistry,
    decision: &TagDecision,
    manifest: &Manifest,
) -> Result<(), RegistryError> {
    for name in &decision.others {
        if registry.resolve(name).await?.is_none() {
            registry.push_manifest(name, manifest).await?;
            registry.tag(name, decision.digest).await?;
        }
    }
    Ok(())
}

/// The reason why an image cannot be removed with all its tags.
async fn needed(
    registry: &dyn ImageRegistry,
    decision: &TagDecision,
    going: &BTreeSet<&ImageName>,
) -> Result<Option<String>, RegistryError> {
    let alone = "the registry cannot remove a tag alone";
    if let Some(other) = decision.others.first() {
        return Ok(Some(format!("{alone}, and {other} is the same image")));
    }
    if decision.digest_kept {
        return Ok(Some(format!("{alone}, and a chart names the image")));
    }
    let parts = decision.name.parts();
    for tag in registry.tags(&decision.name).await? {
        let registry_of = parts.registry.map(|registry| format!("{registry}/"));
        let other = format!(
            "{}{}/{}:{tag}",
            registry_of.unwrap_or_default(),
            parts.org,
            parts.image
        );
        let Ok(other) = other.parse::<ImageName>() else {
            return Ok(Some(format!("{alone}, and {other} is not understood")));
        };
        if going.contains(&other) {
            continue;
        }
        match registry.resolve(&other).await {
            Err(RegistryError::Unreadable { .. }) => {
                return Ok(Some(format!("{alone}, and cannot read {other}")));
            }
            seen => {
                if seen? == Some(decision.digest) {
                    return Ok(Some(format!("{alone}, and {other} is the same image")));
                }
            }
        }
    }
    Ok(None)
}
