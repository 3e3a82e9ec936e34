//! Builds, packages and indexes of a mirror that no key of a keyring signed, as findings.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use stx_layout::derived::apt_repositories;
use stx_layout::{BuildId, BuildPath, Sha256, Sums};
use tokio::sync::mpsc;

use super::packages::is_own_package;
use super::{Keyring, Refused, SeenSerials, TrustedMirror, check_package};
use stx_publish::ingest::blocking;
use stx_publish::metadata::apt;
use stx_publish::store::{ByteStream, MirrorRead, Scope, StoreError, read_all};
use stx_publish::verify::{Finding, FindingKind, VerifyError, VerifyReport, chain};

/// The largest `Release`, in bytes.
const LONGEST_RELEASE: u64 = 16 << 20;

/// Adds to `report` the builds whose sums no key of `keyring` has signed. Unless the scope is one build, also adds the indexes
/// that no key has signed or that are expired.
pub async fn verify_signatures(
    store: Arc<dyn MirrorRead>,
    keyring: Keyring,
    scope: &Scope,
    now: DateTime<Utc>,
    report: &mut VerifyReport,
) -> Result<(), VerifyError> {
    let fail = |source| VerifyError::new(scope, source);
    let catalog = store.catalog(scope).await.map_err(fail)?;
    let trusted = TrustedMirror::new(store, keyring, SeenSerials::default(), now, false);
    let mut found = Vec::new();
    for (id, _) in catalog.builds() {
        match trusted.sums(&id).await {
            // The check of the build itself reports sums that cannot be read.
            Ok(_) | Err(StoreError::NotFound { .. } | StoreError::Damaged { .. }) => {}
            Err(error @ StoreError::Untrusted { .. }) => {
                let why = reason(&error);
                let kind = FindingKind::Untrusted;
                found.push(Finding::build(&id, Some(Sums::FILE_NAME), kind, why));
            }
            Err(error) => return Err(fail(error)),
        }
    }
    let mut indexes = Vec::new();
    match scope {
        Scope::All => {
            indexes.push((None, trusted.root().await.map(drop)));
            for channel in catalog.channels.keys() {
                indexes.push((Some(channel), trusted.channel(channel).await.map(drop)));
            }
        }
        Scope::Channel(channel) => {
            indexes.push((Some(channel), trusted.channel(channel).await.map(drop)));
        }
        Scope::Build(_) => {}
    }
    for (channel, checked) in indexes {
        let kind = match &checked {
            Ok(()) => continue,
            Err(StoreError::Stale { .. }) => FindingKind::Stale,
            Err(
                StoreError::Untrusted { .. }
                | StoreError::NotFound { .. }
                | StoreError::Damaged { .. },
            ) => FindingKind::Untrusted,
            Err(_) => return Err(fail(checked.expect_err("an error"))),
        };
        let why = checked.map_or_else(|error| reason(&error), |()| String::new());
        let finding = Finding {
            channel: channel.cloned(),
            build: None,
            path: Some("index.json".to_owned()),
            kind,
            severity: kind.severity(),
            message: why,
        };
        // A problem of the root's index is reported once.
        if !found.contains(&finding) {
            found.push(finding);
        }
    }
    report.findings.append(&mut found);
    report.findings.sort();
    Ok(())
}

/// Adds to `report` the apt repositories made by the publisher that a client that trusts `keyring` refuses: their `Release` is
/// not signed, or a signature of it, in `Release.gpg` or `InRelease`, is by none of its keys or of another text.
pub async fn verify_releases(
    store: &dyn MirrorRead,
    keyring: &Keyring,
    scope: &Scope,
    now: DateTime<Utc>,
    report: &mut VerifyReport,
) -> Result<(), VerifyError> {
    let fail = |source| VerifyError::new(scope, source);
    let catalog = store.catalog(scope).await.map_err(fail)?;
    for (id, _) in catalog.builds() {
        // The check of the build itself reports sums that cannot be read.
        let Ok(sums) = store.sums(&id).await else {
            continue;
        };
        for dir in apt_repositories(sums.lines().iter().map(|line| &line.path)) {
            let read = async |name: &str| {
                let Ok(path) = dir.join(name) else {
                    return Ok(None);
                };
                if sums.get(&path).is_none() {
                    return Ok(None);
                }
                match read_all(store, &id, &path, LONGEST_RELEASE).await {
                    Ok(bytes) => Ok(Some(bytes)),
                    // It was deleted with its section or its build.
                    Err(StoreError::NotFound { .. }) => Ok(None),
                    Err(error) => Err(fail(error)),
                }
            };
            // Another check reports that the repository has no metadata.
            let Some(release) = read(apt::RELEASE).await? else {
                continue;
            };
            let signature = read(apt::RELEASE_SIGNATURE).await?;
            let signature = signature.unwrap_or_default();
            let mut refused = Vec::new();
            if let Err(why) = keyring.verify(&release, &signature, now) {
                refused.push((apt::RELEASE, why.to_string()));
            }
            if let Some(message) = read(apt::SIGNED_RELEASE).await? {
                let message = String::from_utf8_lossy(&message);
                match keyring.verify_message(&message, now) {
                    Ok((_, text)) if text.as_bytes() == release.trim_ascii_end() => {}
                    Ok(_) => {
                        let why = "signed, but another text than Release".to_owned();
                        refused.push((apt::SIGNED_RELEASE, why));
                    }
                    Err(why) => refused.push((apt::SIGNED_RELEASE, why.to_string())),
                }
            }
            report
                .findings
                .extend(refused.into_iter().map(|(name, why)| {
                    let (path, message) =
                        (format!("{dir}/{name}"), format!("clients refuse it: {why}"));
                    Finding::build(&id, Some(&path), FindingKind::Untrusted, message)
                }));
        }
    }
    report.findings.sort();
    Ok(())
}

/// Adds to `report` the packages of builds that a client that trusts `keyring` refuses: those that none of its keys signed, and
/// those whose bytes differ from their digests. Every package is read once, even if several builds have it.
pub async fn verify_packages(
    store: &dyn MirrorRead,
    keyring: &Keyring,
    scope: &Scope,
    now: DateTime<Utc>,
    report: &mut VerifyReport,
) -> Result<(), VerifyError> {
    let fail = |source| VerifyError::new(scope, source);
    let catalog = store.catalog(scope).await.map_err(fail)?;
    let mut known: HashMap<Sha256, Option<Refused>> = HashMap::new();
    for (id, _) in catalog.builds() {
        // The check of the build itself reports sums that cannot be read.
        let Ok(sums) = store.sums(&id).await else {
            continue;
        };
        for line in sums.lines().iter().filter(|it| is_own_package(&it.path)) {
            let refused = match known.get(&line.digest) {
                Some(refused) => refused.clone(),
                None => match judged(store, &id, &line.path, keyring, now).await {
                    Ok(refused) => {
                        known.insert(line.digest, refused.clone());
                        refused
                    }
                    // If a package that should exist is missing, the check of its section or build reports it.
                    Err(StoreError::NotFound { .. }) => continue,
                    Err(error) => return Err(fail(error)),
                },
            };
            report.findings.extend(refused.map(|why| {
                let message = format!("clients refuse it: {why}");
                let path = Some(line.path.as_str());
                Finding::build(&id, path, FindingKind::Untrusted, message)
            }));
        }
    }
    report.findings.sort();
    Ok(())
}

/// The reason that a client refuses a package of a build.
async fn judged(
    store: &dyn MirrorRead,
    id: &BuildId,
    path: &BuildPath,
    keyring: &Keyring,
    now: DateTime<Utc>,
) -> Result<Option<Refused>, StoreError> {
    let body = store.read(id, path, 0).await?;
    let (send, receive) = mpsc::channel(AHEAD);
    let keyring = keyring.clone();
    let (what, fed) = (format!("{id}/{path}"), feed(body.stream, send));
    let judged = blocking(move || {
        let bytes = Received {
            from: receive,
            rest: Bytes::new(),
        };
        let judged = check_package(bytes, &keyring, now);
        judged.map_err(|source| StoreError::Io {
            op: "read",
            path: what,
            source,
        })
    });
    let (fed, judged) = futures_util::join!(fed, judged);
    fed?;
    Ok(judged?.err())
}

/// The number of pieces of a package that wait to be examined.
const AHEAD: usize = 4;

/// Sends the bytes of a file to a reader on another thread, until the reader stops.
async fn feed(mut from: ByteStream, to: mpsc::Sender<Bytes>) -> Result<(), StoreError> {
    while let Some(piece) = from.next().await {
        if to.send(piece?).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The bytes that a task sends.
struct Received {
    from: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl io::Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.rest = piece,
                None => return Ok(0),
            }
        }
        let count = self.rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}

/// The reason for an error, without the name of the file.
fn reason(error: &StoreError) -> String {
    use std::error::Error as _;
    error.source().map_or_else(|| error.to_string(), chain)
}
