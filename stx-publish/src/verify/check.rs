//! The checks themselves: they take data and return findings.

use std::collections::BTreeMap;

use stx_layout::{
    AliasEntry, AliasName, BuildId, BuildOutcome, BuildPath, BuildRecord, Channel, ChannelEntry,
    Origin, Sums, UndatedEntry, counted,
};

use super::{Finding, FindingKind, SeenAlias, VerifyReport};
use crate::incoming::{Entry, Incoming, LinkEnd};
use crate::store::{Found, Inspection, record_path};
use crate::thinning::{Thinned, lies_in};

/// Checks one build: compares its record and its sums, or the reasons why they cannot be read, with its real contents.
pub(crate) fn check_build(
    id: &BuildId,
    record: Result<&BuildRecord, &str>,
    sums: Result<&Sums, &str>,
    inspection: &Inspection,
    report: &mut VerifyReport,
) {
    let mut check = BuildCheck { id, report };
    for (path, reason) in &inspection.unreadable {
        check.find(path, FindingKind::Unreadable, reason);
    }
    let mut entries = Incoming::default();
    for (path, found) in &inspection.found {
        if let Some(entry) = check.entry(path, found) {
            entries.entries.insert(path.clone(), entry);
        }
    }
    let links = entries.links();
    for (path, end) in &links {
        match end {
            LinkEnd::File(_) | LinkEnd::Directory => {}
            LinkEnd::Wrong(kind) => check.find(path.as_str(), FindingKind::BadLink, kind),
        }
    }
    match sums {
        Err(reason) => check.cannot_read(Sums::FILE_NAME, FindingKind::SumsUnreadable, reason),
        Ok(sums) => check.sums(sums, &entries, &links, &inspection.thinned),
    }
    match record {
        Err(reason) => check.cannot_read(
            BuildRecord::FILE_NAME,
            FindingKind::RecordUnreadable,
            reason,
        ),
        Ok(record) => check.record(record, sums.ok(), &entries, &inspection.thinned),
    }
}

/// The build team's oldest form of a pin, put into a build after its commit.
const KEEP: &str = "KEEP";

/// The recorded sections that really are removed: a section of which any file exists must be complete.
fn gone<'a>(thinned: &'a Thinned, entries: &Incoming) -> Vec<&'a BuildPath> {
    let there = |section: &BuildPath| entries.entries.keys().any(|path| lies_in(path, section));
    let sections = thinned.sections.iter().map(|section| &section.section);
    sections.filter(|section| !there(section)).collect()
}

/// The check of one build.
struct BuildCheck<'a> {
    id: &'a BuildId,
    report: &'a mut VerifyReport,
}

impl BuildCheck<'_> {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "calls read better without a borrow"
    )]
    fn find(&mut self, path: &str, kind: FindingKind, message: impl ToString) {
        let finding = Finding::build(self.id, Some(path), kind, message.to_string());
        self.report.findings.push(finding);
    }

    /// A file of the build that cannot be read. The finding names it, so its path is left out of the reason.
    fn cannot_read(&mut self, name: &str, kind: FindingKind, reason: &str) {
        let path = format!("{}/{name}: ", self.id);
        let reason = reason.strip_prefix(&path).unwrap_or(reason);
        self.find(name, kind, reason);
    }

    /// The entry at a path; `None` for a kind of file that a build must not contain.
    fn entry(&mut self, path: &BuildPath, found: &Found) -> Option<Entry> {
        let at = path.as_str();
        match found {
            Found::File {
                size, mode, digest, ..
            } => {
                self.report.files += 1;
                self.report.bytes += size;
                if let Some(mode) = mode.filter(|mode| *mode != 0o644 && *mode != 0o755) {
                    self.find(
                        at,
                        FindingKind::WrongMode,
                        format!("mode {mode:04o}, not 0644 or 0755"),
                    );
                }
                if let Some(Err(reason)) = digest {
                    self.find(at, FindingKind::Unreadable, reason);
                }
                let digest = digest
                    .as_ref()
                    .and_then(|digest| digest.as_ref().ok())
                    .copied();
                Some(Entry::File {
                    source: path.as_path().to_owned(),
                    size: *size,
                    executable: false,
                    digest,
                })
            }
            Found::Symlink { target } => Some(Entry::Symlink {
                target: target.clone(),
            }),
            Found::Directory { mode } => {
                self.find(
                    at,
                    FindingKind::WrongMode,
                    format!("directory of mode {mode:04o}, not 0755"),
                );
                None
            }
            Found::Other { what } => {
                self.find(at, FindingKind::NotAFile, format!("a {what}"));
                None
            }
        }
    }

    /// Compares every line with its file, and every file with its line.
    fn sums(
        &mut self,
        sums: &Sums,
        entries: &Incoming,
        links: &BTreeMap<BuildPath, LinkEnd>,
        thinned: &Thinned,
    ) {
        let gone = gone(thinned, entries);
        for line in sums.lines() {
            let end = match links.get(&line.path) {
                Some(LinkEnd::File(end)) => end,
                // Already reported as a bad link.
                Some(LinkEnd::Wrong(_)) => continue,
                Some(LinkEnd::Directory) | None => &line.path,
            };
            match entries.entries.get(end) {
                Some(entry) if entry.digest().is_none_or(|digest| digest == line.digest) => {}
                Some(_) => self.find(
                    line.path.as_str(),
                    FindingKind::Changed,
                    "other bytes than SHA256SUMS says",
                ),
                None if gone.iter().any(|section| lies_in(&line.path, section)) => {}
                None => self.find(
                    line.path.as_str(),
                    FindingKind::Missing,
                    "in SHA256SUMS, but missing",
                ),
            }
        }
        for path in entries
            .entries
            .keys()
            .filter(|path| sums.get(path).is_none() && path.as_str() != KEEP)
        {
            match links.get(path) {
                None | Some(LinkEnd::File(_)) => {
                    self.find(path.as_str(), FindingKind::Unlisted, "not in SHA256SUMS");
                }
                Some(LinkEnd::Directory | LinkEnd::Wrong(_)) => {}
            }
        }
    }

    /// Compares the record with the directory's name, the marker and the counts.
    fn record(
        &mut self,
        record: &BuildRecord,
        sums: Option<&Sums>,
        entries: &Incoming,
        thinned: &Thinned,
    ) {
        if record.id != *self.id {
            self.find(
                BuildRecord::FILE_NAME,
                FindingKind::RecordUnreadable,
                format!("that of {}", record.id),
            );
        }
        for outcome in [BuildOutcome::Success, BuildOutcome::Fail] {
            let marker = BuildRecord::marker(outcome);
            let there = entries.entries.contains_key(&marker);
            // An older publisher left other marks, which `origin` records.
            if !there && record.origin.as_ref().is_some_and(Origin::is_adopted) {
                continue;
            }
            if there != (outcome == record.result) {
                let what = if there { "exists" } else { "is missing" };
                let message = format!("{what}, but the record says {}", record.result);
                self.find(marker.as_str(), FindingKind::WrongMarker, message);
            }
        }
        let mut others = entries.clone();
        others.entries.remove(&record_path());
        others.entries.retain(|path, _| path.as_str() != KEEP);
        if let (Some(sums), Some((_, bytes))) = (sums, others.sums()) {
            let lines = sums.lines().iter();
            let files = lines.filter(|line| line.path != record_path()).count() as u64;
            // The number of bytes in removed sections is unknown.
            let whole = gone(thinned, entries).is_empty();
            if files != record.files || (whole && bytes != record.bytes) {
                let message = format!(
                    "says {} of {}, there are {files} of {bytes}",
                    counted(record.files, "file"),
                    counted(record.bytes, "byte")
                );
                self.find(BuildRecord::FILE_NAME, FindingKind::WrongCount, message);
            }
        }
    }
}

/// The next step for a wrong alias that has no rule.
pub(super) const BY_HAND: &str = "point it at an existing build, or remove it";

/// Checks the aliases of a channel against its builds.
pub(crate) fn check_aliases(channel: &Channel, entry: &ChannelEntry, report: &mut VerifyReport) {
    let newest = entry.newest_success();
    let mut find = |alias: &AliasName, shown: Option<&AliasEntry>, kind, message: String| {
        let message = if has_rule(alias) {
            message
        } else {
            format!("{message}; {BY_HAND}")
        };
        report.findings.push(Finding::channel(
            channel,
            Some(alias.as_str()),
            kind,
            message,
        ));
        report.aliases.push(SeenAlias {
            channel: channel.clone(),
            alias: alias.clone(),
            shown: shown.cloned(),
        });
    };
    for (alias, shown) in &entry.aliases {
        match shown {
            AliasEntry::Other(text) => {
                find(
                    alias,
                    Some(shown),
                    FindingKind::AliasMalformed,
                    format!("points at {text:?}, not at a build beside it"),
                );
            }
            AliasEntry::Build(date) => match entry.builds.get(date) {
                None => find(
                    alias,
                    Some(shown),
                    FindingKind::AliasDangling,
                    format!("points at {date}, which does not exist"),
                ),
                // Reported with its build; if unknown, the alias stays.
                Some(build) if build.record().is_none() => {}
                Some(build) if !build.is_success() => {
                    find(
                        alias,
                        Some(shown),
                        FindingKind::AliasToFailure,
                        format!("points at {date}, a failure"),
                    );
                }
                // `latest_docker_image_build` and similar aliases point to the newest build of another kind, not to the newest success.
                Some(_) if entry.held.contains(alias) || *alias != AliasName::latest_build() => {}
                Some(_) if newest.is_some_and(|newest| newest != *date) => {
                    let newest = newest.map(|newest| newest.to_string()).unwrap_or_default();
                    find(
                        alias,
                        Some(shown),
                        FindingKind::AliasNotNewest,
                        format!("points at {date}, the newest success is {newest}"),
                    );
                }
                Some(_) => {}
            },
        }
    }
    let latest = AliasName::latest_build();
    if let Some(newest) = newest
        && !entry.aliases.contains_key(&latest)
    {
        find(
            &latest,
            None,
            FindingKind::AliasMissing,
            format!("is missing, the newest success is {newest}"),
        );
    }
    check_undated(channel, entry, report);
    for stray in &entry.strays {
        report.findings.push(Finding::channel(
            channel,
            Some(stray),
            FindingKind::Stray,
            "neither build nor alias",
        ));
    }
}

/// True if this program moves the alias, and so knows its target. Others, such as `latest_docker_image_build`, belong to the
/// programs that made them.
pub(super) fn has_rule(alias: &AliasName) -> bool {
    [AliasName::latest_build(), AliasName::latest_green_build()].contains(alias)
}

/// Checks the paths without a date of a channel.
fn check_undated(channel: &Channel, entry: &ChannelEntry, report: &mut VerifyReport) {
    let latest = AliasName::latest_build();
    let shown = match entry.aliases.get(&latest) {
        Some(AliasEntry::Build(date)) => Some(*date),
        Some(AliasEntry::Other(_)) | None => None,
    };
    for (section, to) in &entry.undated {
        let (kind, message) = match (entry.undated_build(*section), to) {
            (_, UndatedEntry::Other(text)) => (
                FindingKind::UndatedDangling,
                format!("leads to {text:?}, not to this section of a build"),
            ),
            (None, UndatedEntry::Alias(alias)) => (
                FindingKind::UndatedDangling,
                format!("leads to {alias}, which does not exist"),
            ),
            (Some(date), _) if !entry.builds.contains_key(&date) => (
                FindingKind::UndatedDangling,
                format!("leads to {date}, which does not exist"),
            ),
            (Some(date), UndatedEntry::Build(_)) if shown.is_some_and(|shown| shown != date) => (
                FindingKind::UndatedNotLatest,
                format!("leads to {date}, not to {latest}"),
            ),
            (Some(_) | None, UndatedEntry::Build(_)) | (Some(_), UndatedEntry::Alias(_)) => {
                continue;
            }
        };
        let path = Some(section.as_str());
        let finding = Finding::channel(channel, path, kind, message);
        report.findings.push(finding);
    }
}
