//! Directories and files: missing, of the wrong owner, not writable.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use stx_service::ledger::LedgerError;

use super::case::Case;
use super::{Finding, Severity, Subject};
use crate::daemon::{LEDGER, SERVICE_DIR, Unopened};
use crate::files::REMOTE_STATE;
use crate::options::MirrorLocation;
use crate::users::user_name;

/// The checks.
pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if case.file.is_none() {
        return findings;
    }
    findings.extend(mirror(case));
    findings.extend(unreadable(case));
    findings.extend(state(case));
    findings.extend(state_disk(case));
    findings.extend(spool(case));
    findings.extend(ledger(case));
    findings.extend(written(case));
    findings.extend(cancel_group(case));
    findings.extend(source_roots(case));
    findings.extend(inside(case));
    findings
}

/// The reason why a user cannot create files in a directory, or create the directory; `None` if the user can.
fn unwritable(case: &Case<'_>, dir: &Utf8Path) -> Option<String> {
    let user = user_name(case.user);
    match case.machine.entry(dir) {
        Ok(entry) if !entry.is_dir => Some(format!("{dir} is not a directory")),
        Ok(entry) if !case.machine.can_write(dir, case.user) => Some(if entry.uid == case.user {
            format!("{dir} is not writable, or its file system is read-only")
        } else {
            let owner = user_name(entry.uid);
            format!("{dir} belongs to {owner}, and {user} cannot write it")
        }),
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = dir.parent().filter(|above| !above.as_str().is_empty())?;
            let why = unwritable(case, above)?;
            Some(format!("{dir} does not exist, and cannot be made: {why}"))
        }
        Err(error) => Some(error.to_string()),
    }
}

/// The command that makes a directory for the builder.
fn install(case: &Case<'_>, dir: &Utf8Path) -> String {
    format!("install -d -o {} {dir}", user_name(case.user))
}

fn mirror(case: &Case<'_>) -> Option<Finding> {
    let why = "no build can be published".to_owned();
    let finding = |message, fix| {
        let texts = [message, why.clone(), fix];
        case.finding(Severity::Error, Subject::Files, &["mirror"], texts)
    };
    let Some(mirror) = &case.site.options.mirror else {
        // A wrong value or a misspelt key was already reported as a mistake of the file.
        let is_known = case.at(&["mirror"]).is_some() || case.meant.contains("mirror");
        return (!is_known).then(|| {
            finding(
                "`mirror` is missing".to_owned(),
                "add `mirror = \"DIR\"`: the directory that the web server serves".to_owned(),
            )
        });
    };
    match MirrorLocation::of(mirror) {
        MirrorLocation::Bucket | MirrorLocation::Web => None,
        MirrorLocation::Directory => {
            if let Some(message) = unwritable(case, mirror) {
                return Some(finding(message, install(case, mirror)));
            }
            // It exists and is writable, but is something else.
            let failure = case.no_mirror.as_ref()?;
            let fix = failure.hint.clone();
            let fix =
                fix.unwrap_or_else(|| "name the root of a mirror, or a new directory".to_owned());
            Some(finding(failure.chain(), fix))
        }
    }
}

/// A mirror for other people that only its owner can read, as one in a directory that was made with umask 077.
fn unreadable(case: &Case<'_>) -> Option<Finding> {
    let options = &case.site.options;
    if options.site_url().is_none() && options.mirrors.urls().is_empty() {
        return None;
    }
    let mirror = case.mirror_dir()?;
    let is_closed = |dir: &&Utf8Path| {
        let needed = if *dir == mirror { 0o5 } else { 0o1 };
        // A web server may be in the group of the directory.
        let lacks = |mode: u32| mode & needed != needed && (mode >> 3) & needed != needed;
        let found = case.machine.entry(dir);
        found.is_ok_and(|entry| entry.is_dir && lacks(entry.mode))
    };
    let dir = mirror.ancestors().find(is_closed)?;
    let texts = [
        format!("{dir} can be read by its owner only"),
        "a web server that runs as another user cannot read the mirror".to_owned(),
        format!("chmod 0755 {dir}"),
    ];
    Some(case.finding(Severity::Warning, Subject::Files, &["mirror"], texts))
}

fn state(case: &Case<'_>) -> Option<Finding> {
    case.site.options.mirror.as_ref()?;
    let Some(dir) = case.state_dir() else {
        let texts = [
            "`state` is missing, and beside a mirror that is not a directory there is no place for it".to_owned(),
            "builds have nowhere to work".to_owned(),
            "add `state = \"DIR\"`".to_owned(),
        ];
        return Some(case.finding(Severity::Error, Subject::Files, &["state"], texts));
    };
    let message = unwritable(case, &dir)?;
    let is_there = case.machine.entry(&dir).is_ok();
    // When the service manager first starts the service, it makes the directory of the package.
    let severity = if is_there {
        Severity::Error
    } else {
        Severity::Warning
    };
    let mut fix = install(case, &dir);
    if !is_there {
        fix.push_str("; the unit of the package makes /var/lib/stx-builds itself");
    }
    let texts = [
        message,
        "builds cannot keep sources, workspaces and logs".to_owned(),
        fix,
    ];
    Some(case.finding(severity, Subject::Files, &["state"], texts))
}

/// A state directory on a network file system.
fn state_disk(case: &Case<'_>) -> Option<Finding> {
    let dir = case.state_dir()?;
    let name = case.machine.network_disk(&dir)?;
    let texts = [
        format!("{dir} is on a network file system ({name})"),
        REMOTE_STATE.to_owned(),
        "name a directory on a disk of this machine".to_owned(),
    ];
    Some(case.finding(Severity::Warning, Subject::Files, &["state"], texts))
}

fn spool(case: &Case<'_>) -> Option<Finding> {
    let dir = case.service.as_ref()?.spool.clone()?;
    let finding = |message: String, why: &str, fix: String| {
        let texts = [message, why.to_owned(), fix];
        case.finding(
            Severity::Error,
            Subject::Files,
            &["service", "spool"],
            texts,
        )
    };
    let user = user_name(case.user);
    let unasked = "the service does not start, and builds cannot be requested";
    let Ok(entry) = case.machine.entry(&dir) else {
        let message = unwritable(case, &dir)?;
        return Some(finding(
            message,
            unasked,
            format!("install -d -o {user} -g GROUP -m 3770 {dir}"),
        ));
    };
    let fix = format!("chown {user} {dir} && chmod 3770 {dir}");
    if !entry.is_dir {
        return Some(finding(format!("{dir} is not a directory"), unasked, fix));
    }
    if entry.uid != case.user {
        let message = format!("{dir} belongs to {}, not to {user}", user_name(entry.uid));
        return Some(finding(message, unasked, fix));
    }
    let message = match entry.mode {
        mode if mode & 0o002 != 0 => format!("everybody can write {dir}"),
        mode if mode & 0o1020 == 0o020 => {
            format!("{dir} has no sticky bit: members of the group can remove requests of others")
        }
        _ => return None,
    };
    Some(finding(
        message,
        "other users could request builds, or remove requests",
        fix,
    ))
}

/// A ledger that the service would refuse. An older version is not a mistake: the service migrates it.
fn ledger(case: &Case<'_>) -> Option<Finding> {
    case.service.as_ref()?;
    if let Some(finding) = unwritable_ledger(case) {
        return Some(finding);
    }
    let failure = case.site.ledger().err()?;
    let refusal = failure.error.downcast_ref();
    let is_known =
        matches!(refusal, Some(LedgerError::TooNew { .. })) || failure.error.is::<Unopened>();
    if !is_known {
        return None;
    }
    let fix = failure
        .hint
        .clone()
        .unwrap_or_else(|| "docs/operations.md describes the ledger".to_owned());
    let texts = [
        failure.chain(),
        "the service does not start".to_owned(),
        fix,
    ];
    Some(case.finding(Severity::Error, Subject::Files, &["state"], texts))
}

/// A ledger that the service can read and not write, such as one that root restored from a backup.
fn unwritable_ledger(case: &Case<'_>) -> Option<Finding> {
    let dir = case.state_dir()?.join(SERVICE_DIR);
    case.machine.entry(&dir).ok()?;
    let user = user_name(case.user);
    let finding = |message, fix| {
        let texts = [message, "the service does not start".to_owned(), fix];
        Some(case.finding(Severity::Error, Subject::Files, &["state"], texts))
    };
    if let Some(message) = unwritable(case, &dir) {
        return finding(message, format!("chown {user} {dir} && chmod 700 {dir}"));
    }
    let files = ["", "-wal", "-shm"].map(|suffix| dir.join(format!("{LEDGER}{suffix}")));
    let mut files = files.into_iter();
    files.find_map(|file| {
        let entry = case.machine.entry(&file).ok()?;
        if case.user == 0 {
            None
        } else if entry.uid != case.user {
            let owner = user_name(entry.uid);
            let message = format!("{file} belongs to {owner}, and {user} cannot write it");
            finding(message, format!("chown {user} {dir}/{LEDGER}*"))
        } else if entry.mode & 0o200 == 0 {
            finding(
                format!("{file} is write-protected"),
                format!("chmod 600 {file}"),
            )
        } else {
            None
        }
    })
}

/// The files that the service writes outside of its own directories.
fn written(case: &Case<'_>) -> Vec<Finding> {
    let Some(service) = &case.service else {
        return Vec::new();
    };
    let metrics = "the service writes no metrics, and monitoring sees none";
    let files = [
        ("metrics", &service.metrics, metrics),
        (
            "dashboard",
            &service.dashboard,
            "the service writes no dashboard",
        ),
    ];
    let files = files.into_iter();
    files
        .filter_map(|(key, file, why)| {
            let file = file.as_ref()?;
            let dir = file.parent()?;
            let is_dir = case.machine.entry(file).is_ok_and(|entry| entry.is_dir);
            let texts = if is_dir {
                let fix = format!("name a file, such as {file}/{key}");
                [format!("{file} is a directory"), why.to_owned(), fix]
            } else {
                let message = match case.machine.entry(dir) {
                    Ok(_) => unwritable(case, dir)?,
                    // The service does not create the directory.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        format!("{dir} does not exist")
                    }
                    Err(error) => error.to_string(),
                };
                [message, why.to_owned(), install(case, dir)]
            };
            Some(case.finding(Severity::Error, Subject::Files, &["service", key], texts))
        })
        .collect()
}

fn cancel_group(case: &Case<'_>) -> Option<Finding> {
    let group = case.service.as_ref()?.cancel_group.clone()?;
    if case.machine.has_group(&group) {
        return None;
    }
    let texts = [
        format!("there is no group {group}"),
        "only root and the service's user can cancel requests of other users".to_owned(),
        format!("groupadd {group}, or remove `cancel_group`"),
    ];
    Some(case.finding(
        Severity::Error,
        Subject::Files,
        &["service", "cancel_group"],
        texts,
    ))
}

fn source_roots(case: &Case<'_>) -> Vec<Finding> {
    let roots = case.site.options.source_roots.iter();
    let missing = roots.filter(|dir| !case.machine.entry(dir).is_ok_and(|entry| entry.is_dir));
    let finding = |dir: &Utf8PathBuf| {
        let texts = [
            format!("{dir} is not a directory"),
            "`publish` refuses symlinks of a tree that point there".to_owned(),
            "correct the path, or remove it".to_owned(),
        ];
        case.finding(Severity::Warning, Subject::Files, &["source_roots"], texts)
    };
    missing.map(finding).collect()
}

/// Directories and files of the builder within the mirror, where every reader could read them.
fn inside(case: &Case<'_>) -> Vec<Finding> {
    let Some(mirror) = case.mirror_dir() else {
        return Vec::new();
    };
    let service = case.service.as_ref();
    let dirs = [
        (&["state"][..], case.state_dir()),
        (
            &["service", "spool"],
            service.and_then(|it| it.spool.clone()),
        ),
        (
            &["service", "metrics"],
            service.and_then(|it| it.metrics.clone()),
        ),
        (
            &["service", "dashboard"],
            service.and_then(|it| it.dashboard.clone()),
        ),
    ];
    let dirs = dirs
        .into_iter()
        .filter_map(|(path, dir)| Some((path, dir?)));
    let within = dirs.filter(|(_, dir)| dir.starts_with(&mirror));
    within
        .map(|(path, dir)| {
            let texts = [
                format!("{dir} is within the mirror {mirror}"),
                "the web server would show it to everybody".to_owned(),
                "name a path outside of the mirror".to_owned(),
            ];
            case.finding(Severity::Error, Subject::Files, path, texts)
        })
        .collect()
}
