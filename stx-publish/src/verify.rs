//! Compares a mirror with what it says of itself, and repairs what is derived.

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

/// The severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// No reader is misled.
    Note,
    /// A reader may be misled.
    Warning,
    /// A reader gets something wrong, or nothing.
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
    /// `SHA256SUMS` is missing or cannot be understood.
    SumsUnreadable,
    /// `build.json` is missing, cannot be understood, or is that of another build.
    RecordUnreadable,
    /// A file cannot be read, or has a name that the grammar refuses.
    Unreadable,
    /// A file is in the sums and not there.
    Missing,
    /// A file has other bytes than the sums say.
    Changed,
    /// A file is there and not in the sums.
    Unlisted,
    /// A mode is not 0644 or 0755.
    WrongMode,
    /// No trusted key has signed it; looked for only where there is a keyring.
    Untrusted,
    /// A signed index should be newer; looked for only where there is a keyring.
    Stale,
    /// A symlink leads nowhere or out of the build.
    BadLink,
    /// A device, a FIFO or a socket.
    NotAFile,
    /// The marker in `outputs/` does not say what the record says.
    WrongMarker,
    /// The counts of the record are not those of the sums.
    WrongCount,
    /// The provenance is no statement of the kind.
    ProvenanceUnreadable,
    /// The provenance is about something else than what lies in the build.
    ProvenanceDiffers,
    /// Nobody who is trusted signed the provenance, or there is none.
    ProvenanceUntrusted,
    /// The `SHA256SUMS` of the build below is not the one that the build was made upon.
    AfterDiffers,
    /// The build below is not on the mirror.
    AfterGone,
    /// The metadata of a repository is none, or is not there.
    RepodataUnreadable,
    /// A package is not in the metadata of its repository, so that no client finds it.
    NotInRepodata,
    /// The metadata of a repository names a package that is not there, or has other bytes.
    RepodataDiffers,
    /// A bill of materials is none.
    SbomUnreadable,
    /// A bill of materials is about something else than what lies in the build.
    SbomDiffers,
    /// An alias points at no build.
    AliasDangling,
    /// An alias points at a failure.
    AliasToFailure,
    /// An alias does not point at the newest success, or `latest_green_build` not at the newest green build.
    AliasNotNewest,
    /// An alias is no relative symlink to a build.
    AliasMalformed,
    /// There is a success, and no `latest_build`; a green build, and no `latest_green_build`; or an alias of a release is missing
    /// that the configuration names.
    AliasMissing,
    /// An alias of a release points elsewhere than the configuration says.
    AliasDiffers,
    /// An alias of a release is there that the configuration does not name.
    AliasUnconfigured,
    /// A path without a date leads to no section of a build.
    UndatedDangling,
    /// A path without a date leads to another build than `latest_build`.
    UndatedNotLatest,
    /// A dead publisher left something behind.
    Leftover,
    /// Something in a channel is neither build nor alias, or lies above the channels and belongs to none.
    Stray,
    /// A catalog page is missing.
    PageMissing,
    /// A catalog page is older than the mirror, or was made of another index.
    PageStale,
    /// An image of a build is not on the registry under its name.
    ImageMissing,
    /// The registry shows another image under the name of one of a build.
    ImageChanged,
    /// A moving tag does not show the image of the newest success.
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

    /// Whether it is derived, and can be made again: pages by `stx_pages::refresh`, all else by [`repair()`].
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

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The channel; absent for what lies above all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// The build, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
    /// The path in the build, the name in the channel, or the path on the mirror.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The kind of the finding.
    pub kind: FindingKind,
    /// The severity.
    pub severity: Severity,
    /// The same for people, in a line.
    pub message: String,
}

impl Finding {
    /// Something that is wrong with a build.
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

    /// Something that is wrong with a channel.
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
    /// True if a repair may set it right: the finding is about derived data, and an alias of a channel has a rule.
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
        // Leftovers and objects of the private area have their path in the mirror.
        let path = self.path.as_deref().unwrap_or_default();
        let place = place
            .filter(|place| !path.starts_with(".stx/") && !path.starts_with(&format!("{place}/")));
        let parts: Vec<_> = place.into_iter().chain(self.path.clone()).collect();
        let separator = match self.kind {
            // An image is on a registry, not in its build.
            FindingKind::ImageMissing
            | FindingKind::ImageChanged
            | FindingKind::ImageTagNotNewest => ": ",
            _ => "/",
        };
        // One line, whatever a mirror says: a second one would look like another finding.
        let line = format!("{}: {}", parts.join(separator), self.message);
        f.write_str(&printable(&line))
    }
}

/// An alias as verification saw it; a repair moves it only if it is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeenAlias {
    /// The channel.
    pub channel: Channel,
    /// The alias.
    pub alias: AliasName,
    /// The target that it had; `None` where it was missing.
    pub shown: Option<AliasEntry>,
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct VerifyReport {
    /// The findings, sorted by channel and build.
    pub findings: Vec<Finding>,
    /// Builds that were looked at.
    pub builds: u64,
    /// Files that were hashed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The aliases that are wrong. A repair moves those of which it knows where they belong.
    pub aliases: Vec<SeenAlias>,
    /// Tags that the registry has longer than the mirror has their builds, because something needs them: nothing is wrong
    /// with that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owed: Vec<OwedTags>,
}

impl VerifyReport {
    /// The worst severity; `None` where nothing is wrong.
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
    /// The mirror, the channel or the build that was to be verified.
    pub scope: Box<Scope>,
    /// Why not.
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

    /// Its kind: that of the store's error.
    pub fn kind(&self) -> ErrorKind {
        self.source.kind()
    }
}

/// Compares `scope` with its sums, records and aliases. Every byte is read.
///
/// A build that is retired meanwhile is left out, and so are the aliases of a channel in which a publisher is at work.
pub async fn verify(store: &dyn MirrorStore, scope: &Scope) -> Result<VerifyReport, VerifyError> {
    verify_observed(store, scope, &|_, _, _| {}).await
}

/// Verifies, and tells `observe` before each build how many are done, how many there are, and which one is next.
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

/// Verifies a mirror that can only be read, as behind a web server: what only its owner sees, such as what a dead publisher
/// left behind, is not looked for, and the aliases are those of one catalog.
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

/// The catalog of `scope`, and what is wrong with its builds.
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
            // Retired while it was read?
            let now = store.catalog(&Scope::Build(id.clone())).await;
            if now.map_err(fail)?.build(&id).is_none() {
                report.findings.truncate(found);
            }
        }
    }
    Ok((catalog, report))
}

/// The builds and aliases of a channel while no publisher works in it; `None` where one does, which may be about to
/// move its aliases.
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
        // Nobody works on a mirror that cannot be locked, on a disk that is mounted to be read only.
        Err(_) => return Ok(Some(Cow::Borrowed(seen))),
    };
    let mut catalog = store.catalog(&Scope::Channel(channel.clone())).await?;
    let fresh = catalog.channels.remove(channel);
    // Whether a directory belongs to a deeper channel is known where the whole mirror was looked at.
    let strays = seen.strays.clone();
    Ok(fresh.map(|entry| Cow::Owned(ChannelEntry { strays, ..entry })))
}
