//! Compares a mirror with its own records, and repairs derived data.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use stx_layout::{
    AliasEntry, AliasName, BuildId, BuildState, Catalog, Channel, ChannelEntry, counted, printable,
    size,
};

use crate::error::ErrorKind;
use crate::store::{Audit, MirrorRead, MirrorStore, OwedTags, Scope, StoreError};

mod after;
#[cfg(feature = "local")]
mod apt;
mod check;
mod green;
mod notes;
mod repair;
#[cfg(feature = "local")]
mod repositories;
mod root;
#[cfg(test)]
mod tests;

pub use crate::error::chain;
pub use after::verify_after;
pub(crate) use check::{check_aliases, check_build};
pub use repair::{LeftName, RepairReport, RepairedAlias, repair, repair_aliases};
#[cfg(feature = "local")]
pub use repositories::verify_repositories;
pub use root::check_root_aliases;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Readers are not misled.
    Note,
    /// A reader may be misled.
    Warning,
    /// A reader gets wrong data, or none.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// The kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// `SHA256SUMS` is missing or cannot be parsed.
    SumsUnreadable,
    /// `build.json` is missing, cannot be parsed, or is that of another build.
    RecordUnreadable,
    /// A file cannot be read, or its name is not valid.
    Unreadable,
    /// A file in the sums does not exist.
    Missing,
    /// The bytes of a file differ from the sums.
    Changed,
    /// A file is not in the sums.
    Unlisted,
    /// A mode is not 0644 or 0755.
    WrongMode,
    /// No trusted key has signed the file; checked only with a keyring.
    Untrusted,
    /// A signed index is too old; checked only with a keyring.
    Stale,
    /// A symlink is dangling or leads out of the build.
    BadLink,
    /// A device, a FIFO or a socket.
    NotAFile,
    /// The marker in `outputs/` contradicts the record.
    WrongMarker,
    /// The counts of the record differ from those of the sums.
    WrongCount,
    /// The provenance is not a valid statement of provenance.
    ProvenanceUnreadable,
    /// The provenance describes other files than those of the build.
    ProvenanceDiffers,
    /// The provenance is missing, or not signed by a trusted signer.
    ProvenanceUntrusted,
    /// The build that this one was built upon now has another `SHA256SUMS`.
    AfterDiffers,
    /// The build that this one was built upon is not on the mirror.
    AfterGone,
    /// The metadata of a repository is missing or cannot be parsed.
    RepodataUnreadable,
    /// A package is not in the metadata of its repository, so clients do not find it.
    NotInRepodata,
    /// The metadata of a repository names a package that does not exist, or has other bytes.
    RepodataDiffers,
    /// A bill of materials cannot be parsed.
    SbomUnreadable,
    /// A bill of materials describes other files than those of the build.
    SbomDiffers,
    /// An alias does not point at a build.
    AliasDangling,
    /// An alias points at a failure.
    AliasToFailure,
    /// An alias does not point at the newest success, or `latest_green_build` not at the newest green build.
    AliasNotNewest,
    /// An alias is not a relative symlink to a build.
    AliasMalformed,
    /// An alias is missing: `latest_build` although a success exists, `latest_green_build` although a green build exists, or an alias of
    /// a release that the configuration names.
    AliasMissing,
    /// An alias of a release differs from the configuration.
    AliasDiffers,
    /// An alias of a release is not in the configuration.
    AliasUnconfigured,
    /// A path without a date does not lead to a section of a build.
    UndatedDangling,
    /// A path without a date leads to a build other than `latest_build`.
    UndatedNotLatest,
    /// A dead publisher left files behind.
    Leftover,
    /// An entry of a channel is neither build nor alias, or an entry above the channels belongs to none.
    Stray,
    /// A catalog page is missing.
    PageMissing,
    /// A catalog page is older than the mirror, or was made from another index.
    PageStale,
    /// An image of a build is not on the registry under its name.
    ImageMissing,
    /// The registry has another image under the name of an image of a build.
    ImageChanged,
    /// A moving tag does not point to the image of the newest success.
    ImageTagNotNewest,
    /// The registry could not be asked.
    RegistryUnreachable,
}

impl FindingKind {
    /// The severity.
    pub fn severity(self) -> Severity {
        match self {
            Self::SumsUnreadable
            | Self::RecordUnreadable
            | Self::Unreadable
            | Self::Missing
            | Self::Changed
            | Self::Untrusted
            | Self::Stale
            | Self::BadLink
            | Self::ProvenanceUnreadable
            | Self::ProvenanceDiffers
            | Self::ProvenanceUntrusted
            | Self::AfterDiffers
            | Self::RepodataUnreadable
            | Self::RepodataDiffers
            | Self::SbomUnreadable
            | Self::SbomDiffers
            | Self::AliasDangling
            | Self::AliasToFailure
            | Self::AliasMalformed
            | Self::UndatedDangling
            | Self::PageMissing
            | Self::ImageMissing
            | Self::ImageChanged => Severity::Error,
            Self::Unlisted
            | Self::WrongMode
            | Self::NotAFile
            | Self::WrongMarker
            | Self::WrongCount
            | Self::NotInRepodata
            | Self::AliasNotNewest
            | Self::AliasMissing
            | Self::AliasDiffers
            | Self::UndatedNotLatest
            | Self::PageStale
            | Self::ImageTagNotNewest
            | Self::RegistryUnreachable => Severity::Warning,
            Self::AliasUnconfigured | Self::AfterGone | Self::Leftover | Self::Stray => {
                Severity::Note
            }
        }
    }

    /// True if the data is derived, and can be made again: pages by `stx_pages::refresh`, everything else by [`repair()`].
    pub fn is_repairable(self) -> bool {
        match self {
            Self::AliasDangling
            | Self::AliasToFailure
            | Self::AliasNotNewest
            | Self::AliasMalformed
            | Self::AliasMissing
            | Self::AliasDiffers
            | Self::UndatedDangling
            | Self::UndatedNotLatest
            | Self::Leftover
            | Self::PageMissing
            | Self::PageStale => true,
            Self::SumsUnreadable
            | Self::RecordUnreadable
            | Self::Unreadable
            | Self::Missing
            | Self::Changed
            | Self::Unlisted
            | Self::Untrusted
            | Self::Stale
            | Self::WrongMode
            | Self::BadLink
            | Self::NotAFile
            | Self::WrongMarker
            | Self::WrongCount
            | Self::ProvenanceUnreadable
            | Self::ProvenanceDiffers
            | Self::ProvenanceUntrusted
            | Self::AfterDiffers
            | Self::AfterGone
            | Self::RepodataUnreadable
            | Self::NotInRepodata
            | Self::RepodataDiffers
            | Self::SbomUnreadable
            | Self::SbomDiffers
            | Self::AliasUnconfigured
            | Self::Stray
            | Self::ImageMissing
            | Self::ImageChanged
            | Self::ImageTagNotNewest
            | Self::RegistryUnreachable => false,
        }
    }
}

/// One problem that verification found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The channel; absent for entries above all channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// The build, if the finding is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
    /// The path in the build, the name in the channel, or the path on the mirror.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The kind of the finding.
    pub kind: FindingKind,
    /// The severity.
    pub severity: Severity,
    /// The finding as a text for people, in one line.
    pub message: String,
}

impl Finding {
    /// A finding about a build.
    pub fn build(
        id: &BuildId,
        path: Option<&str>,
        kind: FindingKind,
        message: impl Into<String>,
    ) -> Self {
        Self {
            build: Some(id.clone()),
            ..Self::channel(&id.channel, path, kind, message)
        }
    }

    /// A finding about a channel.
    pub fn channel(
        channel: &Channel,
        path: Option<&str>,
        kind: FindingKind,
        message: impl Into<String>,
    ) -> Self {
        Self {
            channel: Some(channel.clone()),
            build: None,
            path: path.map(str::to_owned),
            kind,
            severity: kind.severity(),
            message: message.into(),
        }
    }
}

impl Finding {
    /// True if a repair may correct it: the finding is about derived data and, for an alias of a channel, about one with a rule.
    pub fn is_repairable(&self) -> bool {
        let is_owned = |alias: &AliasName| !check::has_rule(alias);
        let alias = self.path.as_deref().and_then(|path| path.parse().ok());
        let foreign = self.channel.is_some() && self.build.is_none();
        self.kind.is_repairable() && !(foreign && alias.as_ref().is_some_and(is_owned))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let build = self.build.as_ref().map(ToString::to_string);
        let place = build.or_else(|| Some(self.channel.as_ref()?.to_string()));
        // The path of leftovers and of objects of the private area is relative to the mirror.
        let path = self.path.as_deref().unwrap_or_default();
        let place = place
            .filter(|place| !path.starts_with(".stx/") && !path.starts_with(&format!("{place}/")));
        let parts: Vec<_> = place.into_iter().chain(self.path.clone()).collect();
        let separator = match self.kind {
            // An image is on a registry, not in the build.
            FindingKind::ImageMissing
            | FindingKind::ImageChanged
            | FindingKind::ImageTagNotNewest => ": ",
            _ => "/",
        };
        // Always one line, whatever a mirror contains: a second line would look like another finding.
        let line = format!("{}: {}", parts.join(separator), self.message);
        f.write_str(&printable(&line))
    }
}

/// An alias at the time of a verification; a repair moves it only if it is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeenAlias {
    /// The channel.
    pub channel: Channel,
    /// The alias.
    pub alias: AliasName,
    /// Its target; `None` if it was missing.
    pub shown: Option<AliasEntry>,
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct VerifyReport {
    /// The findings, sorted by channel and build.
    pub findings: Vec<Finding>,
    /// The number of verified builds.
    pub builds: u64,
    /// The number of hashed files.
    pub files: u64,
    /// The sum of their sizes.
    pub bytes: u64,
    /// The aliases that are wrong. A repair moves those whose target follows from a rule.
    pub aliases: Vec<SeenAlias>,
    /// Tags that are still on the registry although their builds are not on the mirror any more, because something needs them. This is
    /// not a problem.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owed: Vec<OwedTags>,
}

impl VerifyReport {
    /// The worst severity; `None` without findings.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.findings
            .iter()
            .try_for_each(|finding| writeln!(f, "{}: {finding}", finding.severity))?;
        for owed in &self.owed {
            for tag in &owed.tags {
                writeln!(
                    f,
                    "owed: {} of {}, which is gone: {}; `prune` removes it when nothing needs it",
                    tag.name, owed.build, tag.why
                )?;
            }
        }
        writeln!(
            f,
            "{}, {}, {}: {}",
            counted(self.builds, "build"),
            counted(self.files, "file"),
            size(self.bytes),
            counted(self.findings.len(), "finding")
        )
    }
}

/// A verification that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{scope}: cannot be verified")]
#[non_exhaustive]
pub struct VerifyError {
    /// The mirror, the channel or the build to verify.
    pub scope: Box<Scope>,
    /// The error that caused it.
    pub source: StoreError,
}

impl VerifyError {
    /// The error of a store while `scope` is verified.
    pub fn new(scope: &Scope, source: StoreError) -> Self {
        Self {
            scope: Box::new(scope.clone()),
            source,
        }
    }

    /// The kind of the store's error.
    pub fn kind(&self) -> ErrorKind {
        self.source.kind()
    }
}

/// Compares `scope` with its sums, records and aliases. Every byte is read.
///
/// A build that is retired in the meantime is left out, and so are the aliases of a channel in which a publisher is working.
pub async fn verify(store: &dyn MirrorStore, scope: &Scope) -> Result<VerifyReport, VerifyError> {
    verify_observed(store, scope, &|_, _, _| {}).await
}

/// Verifies, and calls `observe` before each build with the number of finished builds, the number of all builds, and the next one.
pub async fn verify_observed(
    store: &dyn MirrorStore,
    scope: &Scope,
    observe: &(dyn Fn(u64, u64, &BuildId) + Sync),
) -> Result<VerifyReport, VerifyError> {
    let fail = |source| VerifyError::new(scope, source);
    let (catalog, mut report) = builds(store, scope, observe).await?;
    match scope {
        Scope::All | Scope::Channel(_) => {
            for (channel, entry) in &catalog.channels {
                if let Some(entry) = settled(store, channel, entry).await.map_err(fail)? {
                    check_aliases(channel, &entry, &mut report);
                    let checked = green::check_green(store, channel, &entry, &mut report);
                    checked.await.map_err(fail)?;
                }
            }
            for leftover in store.leftovers(scope).await.map_err(fail)? {
                let what = Some(leftover.what.as_str());
                let message = "left behind by a publisher that died";
                report.findings.push(Finding::channel(
                    &leftover.channel,
                    what,
                    FindingKind::Leftover,
                    message,
                ));
            }
        }
        Scope::Build(_) => {}
    }
    notes::check_notes(store, scope, &mut report)
        .await
        .map_err(fail)?;
    if *scope == Scope::All {
        for path in store.strays().await.map_err(fail)? {
            let message = match path.parse::<BuildId>() {
                Ok(_) => "has no build.json: neither a build nor in the trash",
                Err(_) => "belongs to no channel",
            };
            report.findings.push(Finding {
                channel: None,
                build: None,
                path: Some(path),
                kind: FindingKind::Stray,
                severity: FindingKind::Stray.severity(),
                message: message.to_owned(),
            });
        }
    }
    report.findings.sort();
    Ok(report)
}

/// Verifies a read-only mirror, such as one behind a web server. Data that only its owner sees, such as leftovers of dead
/// publishers, is not checked, and all aliases are taken from one catalog.
pub async fn verify_readable(
    store: &dyn MirrorRead,
    scope: &Scope,
    observe: &(dyn Fn(u64, u64, &BuildId) + Sync),
) -> Result<VerifyReport, VerifyError> {
    let (catalog, mut report) = builds(store, scope, observe).await?;
    match scope {
        Scope::All | Scope::Channel(_) => {
            for (channel, entry) in &catalog.channels {
                check_aliases(channel, entry, &mut report);
            }
        }
        Scope::Build(_) => {}
    }
    report.findings.sort();
    Ok(report)
}

/// The catalog of `scope`, and the findings about its builds.
async fn builds(
    store: &dyn MirrorRead,
    scope: &Scope,
    observe: &(dyn Fn(u64, u64, &BuildId) + Sync),
) -> Result<(Catalog, VerifyReport), VerifyError> {
    let fail = |source| VerifyError::new(scope, source);
    let catalog = store.catalog(scope).await.map_err(fail)?;
    let none = match scope {
        Scope::All => false,
        Scope::Channel(channel) => !catalog.channels.contains_key(channel),
        Scope::Build(id) => catalog.build(id).is_none(),
    };
    if none {
        return Err(fail(StoreError::NotFound {
            what: scope.to_string(),
        }));
    }
    let mut report = VerifyReport::default();
    let run = Audit::default();
    let all = catalog.builds().count() as u64;
    for (done, (id, build)) in (0..).zip(catalog.builds()) {
        observe(done, all, &id);
        let inspection = match store.audit(&id, &run).await {
            Ok(inspection) => inspection,
            Err(StoreError::NotFound { .. }) => continue,
            Err(source) => return Err(fail(source)),
        };
        let sums = store.sums(&id).await.map_err(|error| chain(&error));
        let record = match &build.state {
            BuildState::Known(record) => Ok(&**record),
            BuildState::Unreadable(reason) => Err(reason.as_str()),
        };
        report.builds += 1;
        let found = report.findings.len();
        check_build(
            &id,
            record,
            sums.as_ref().map_err(String::as_str),
            &inspection,
            &mut report,
        );
        if report.findings.len() > found {
            // The build may have been retired while it was read.
            let now = store.catalog(&Scope::Build(id.clone())).await;
            if now.map_err(fail)?.build(&id).is_none() {
                report.findings.truncate(found);
            }
        }
    }
    Ok((catalog, report))
}

/// The builds and aliases of a channel while no publisher works in it; `None` if one does, because it may be about to move its
/// aliases.
async fn settled<'a>(
    store: &dyn MirrorStore,
    channel: &Channel,
    seen: &'a ChannelEntry,
) -> Result<Option<Cow<'a, ChannelEntry>>, StoreError> {
    let mut report = VerifyReport::default();
    check_aliases(channel, seen, &mut report);
    if report.findings.is_empty() {
        return Ok(Some(Cow::Borrowed(seen)));
    }
    let _writer = match store.lock(channel).await {
        Ok(writer) => writer,
        Err(StoreError::Busy { .. }) => return Ok(None),
        // A mirror that cannot be locked, such as one on a read-only mount, has no publisher.
        Err(_) => return Ok(Some(Cow::Borrowed(seen))),
    };
    let mut catalog = store.catalog(&Scope::Channel(channel.clone())).await?;
    let fresh = catalog.channels.remove(channel);
    // Only the earlier scan of the whole mirror shows which directories belong to deeper channels.
    let strays = seen.strays.clone();
    Ok(fresh.map(|entry| Cow::Owned(ChannelEntry { strays, ..entry })))
}
