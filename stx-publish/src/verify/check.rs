//! The checks themselves: data in, findings out.

use stx_layout::{
    AliasEntry, AliasName, BuildId, BuildOutcome, BuildRecord, Channel, ChannelEntry, Sums,
};

use super::{Finding, FindingKind, SeenAlias, VerifyReport};
use crate::incoming::{Entry, Incoming, LinkEnd};
use crate::store::{Found, Inspection};

/// Checks one build: its record and its sums, or why they cannot be read, against what lies there.
pub fn check_build(
    id: &BuildId,
    record: Result<&BuildRecord, &str>,
    sums: Result<&Sums, &str>,
    inspection: &Inspection,
    report: &mut VerifyReport,
) {
    let mut findings = Vec::new();
    let mut find = |path: Option<&str>, kind, message: String| {
        findings.push(Finding::build(id, path, kind, message))
    };
    for (path, reason) in &inspection.unreadable {
        find(Some(path), FindingKind::Unreadable, reason.clone());
    }
    let mut entries = Incoming::default();
    for (path, found) in &inspection.found {
        let entry = match found {
            Found::File { size, mode, digest } => {
                report.files += 1;
                report.bytes += size;
                if let Some(mode) = mode.filter(|mode| *mode != 0o644 && *mode != 0o755) {
                    find(
                        Some(path.as_str()),
                        FindingKind::WrongMode,
                        format!("mode {mode:04o}, not 0644 or 0755"),
                    );
                }
                if let Some(Err(reason)) = digest {
                    find(Some(path.as_str()), FindingKind::Unreadable, reason.clone());
                }
                let digest = digest
                    .as_ref()
                    .and_then(|digest| digest.as_ref().ok())
                    .copied();
                Entry::File {
                    source: path.as_path().to_owned(),
                    size: *size,
                    executable: false,
                    digest,
                }
            }
            Found::Symlink { target } => Entry::Symlink {
                target: target.clone(),
            },
            Found::Directory { mode } => {
                find(
                    Some(path.as_str()),
                    FindingKind::WrongMode,
                    format!("directory of mode {mode:04o}, not 0755"),
                );
                continue;
            }
            Found::Other { what } => {
                find(
                    Some(path.as_str()),
                    FindingKind::NotAFile,
                    format!("a {what}"),
                );
                continue;
            }
        };
        entries.entries.insert(path.clone(), entry);
    }
    let links = entries.links();
    for (path, end) in &links {
        match end {
            LinkEnd::File(_) | LinkEnd::Directory => {}
            LinkEnd::Wrong(kind) => {
                find(Some(path.as_str()), FindingKind::BadLink, kind.to_string())
            }
        }
    }
    match sums {
        Err(reason) => find(
            Some(Sums::FILE_NAME),
            FindingKind::SumsUnreadable,
            reason.to_owned(),
        ),
        Ok(sums) => {
            for line in sums.lines() {
                let end = match links.get(&line.path) {
                    Some(LinkEnd::File(end)) => end,
                    // Named above.
                    Some(LinkEnd::Wrong(_)) => continue,
                    Some(LinkEnd::Directory) | None => &line.path,
                };
                match entries.entries.get(end) {
                    Some(entry) if entry.digest().is_none_or(|digest| digest == line.digest) => {}
                    Some(_) => find(
                        Some(line.path.as_str()),
                        FindingKind::Changed,
                        "other bytes than SHA256SUMS says".to_owned(),
                    ),
                    None => find(
                        Some(line.path.as_str()),
                        FindingKind::Missing,
                        "in SHA256SUMS, but not there".to_owned(),
                    ),
                }
            }
            for path in entries
                .entries
                .keys()
                .filter(|path| sums.get(path).is_none())
            {
                if matches!(links.get(path), None | Some(LinkEnd::File(_))) {
                    find(
                        Some(path.as_str()),
                        FindingKind::Unlisted,
                        "not in SHA256SUMS".to_owned(),
                    );
                }
            }
        }
    }
    match record {
        Err(reason) => find(
            Some(BuildRecord::FILE_NAME),
            FindingKind::RecordUnreadable,
            reason.to_owned(),
        ),
        Ok(record) => {
            if record.id != *id {
                find(
                    Some(BuildRecord::FILE_NAME),
                    FindingKind::RecordUnreadable,
                    format!("that of {}", record.id),
                );
            }
            for outcome in [BuildOutcome::Success, BuildOutcome::Fail] {
                let marker = BuildRecord::marker(outcome);
                let there = entries.entries.contains_key(&marker);
                if there != (outcome == record.result) {
                    let what = if there { "is there" } else { "is missing" };
                    find(
                        Some(marker.as_str()),
                        FindingKind::WrongMarker,
                        format!("{what}, but the record says {}", record.result),
                    );
                }
            }
            if let (Ok(sums), Some((_, bytes))) = (sums, entries.sums()) {
                let files = sums.lines().len() as u64;
                if (files, bytes) != (record.files, record.bytes) {
                    let says = format!(
                        "says {} files of {} bytes, there are {files} of {bytes}",
                        record.files, record.bytes
                    );
                    find(Some(BuildRecord::FILE_NAME), FindingKind::WrongCount, says);
                }
            }
        }
    }
    report.findings.append(&mut findings);
}

/// Checks the aliases of a channel against its builds.
pub fn check_aliases(channel: &Channel, entry: &ChannelEntry, report: &mut VerifyReport) {
    let newest = entry.newest_success();
    let mut find = |alias: &AliasName, shown: Option<&AliasEntry>, kind, message: String| {
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
                    format!("points at {date}, which is not there"),
                ),
                // Named with its build; unknown means keep.
                Some(build) if build.record().is_none() => {}
                Some(build) if !build.is_success() => {
                    find(
                        alias,
                        Some(shown),
                        FindingKind::AliasToFailure,
                        format!("points at {date}, a failure"),
                    );
                }
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
    for stray in &entry.strays {
        report.findings.push(Finding::channel(
            channel,
            Some(stray),
            FindingKind::Stray,
            "neither build nor alias",
        ));
    }
}
