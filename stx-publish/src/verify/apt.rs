//! Compares the metadata of apt repositories with the files of the build: `Release` names the lists, a list names packages.
//!
//! Flat repositories are made by the publisher, and must be complete. Those with `dists/` came with the build and are recognised by
//! their `Release`. It may name lists that were not copied, such as those of other architectures, and several of them may list
//! packages of one directory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use liblzma::read::XzDecoder;
use stx_deb::{Paragraph, paragraphs};
use stx_layout::derived::{apt_repositories, is_debian_package};
use stx_layout::{BuildId, BuildPath, Sha256, Sums};

use super::repositories::Unread;
use super::{Finding, FindingKind};
use crate::metadata::apt::{PACKAGES, RELEASE, SIGNED_RELEASE, SOURCES};
use crate::metadata::listing::LONGEST_LIST;
use crate::store::{Depth, Found, MirrorRead, read_all};

/// The largest `Release`, in bytes. That of Debian has 200,000.
const LONGEST_RELEASE: u64 = 16 << 20;

/// The largest list in its compressed form, in bytes.
const LONGEST_PACKED: u64 = 256 << 20;

/// The forms of a list that are read, in the order in which they are tried.
const FORMS: [&str; 3] = ["", ".gz", ".xz"];

/// All forms that a list may have.
const ALL_FORMS: [&str; 7] = ["", ".gz", ".xz", ".bz2", ".lzma", ".lz4", ".zst"];

/// The files that lists name, by the path and digest of the list: consecutive builds often have the same list.
pub(super) type Known = HashMap<(BuildPath, Sha256), Arc<Vec<Claim>>>;

/// A file that a list names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// Its path below the repository.
    path: String,
    size: Option<u64>,
    digest: Option<Sha256>,
}

/// A repository of a build.
struct Repository {
    /// The directory that the lists' paths are relative to; `None` for the build itself.
    root: Option<BuildPath>,
    /// The directories of its `Release` files, which name lists relative to themselves.
    releases: Vec<BuildPath>,
    /// True if the publisher made it, so that it must be complete.
    is_own: bool,
}

impl Repository {
    /// The path in the build of one of its files.
    fn join(&self, name: &str) -> Option<BuildPath> {
        let name = name.trim_start_matches("./");
        match &self.root {
            Some(root) => root.join(name).ok(),
            None => name.parse().ok(),
        }
    }

    fn has(&self, path: &BuildPath) -> bool {
        self.root.as_ref().is_none_or(|root| {
            let rest = path.as_str().strip_prefix(root.as_str());
            rest.is_some_and(|rest| rest.starts_with('/'))
        })
    }
}

/// The apt repositories of a build.
fn repositories(sums: &Sums) -> Vec<Repository> {
    let paths = || sums.lines().iter().map(|line| &line.path);
    let own = apt_repositories(paths());
    let mut brought: BTreeMap<Option<BuildPath>, BTreeSet<BuildPath>> = BTreeMap::new();
    for path in paths().filter(|path| path.file_name() == RELEASE) {
        let segments: Vec<_> = path.segments().collect();
        let Some(at) = segments.iter().position(|segment| *segment == "dists") else {
            continue;
        };
        // `dists/trixie/Release`. `dists/trixie/main/binary-amd64` may contain one that names no lists.
        let within = segments[segments.len() - 2];
        if within == "source" || within.starts_with("binary-") {
            continue;
        }
        let root = segments[..at].join("/").parse().ok();
        if !own.iter().any(|dir| root.as_ref() == Some(dir)) {
            brought.entry(root).or_default().extend(path.parent());
        }
    }
    let own = own.into_iter().map(|dir| Repository {
        root: Some(dir.clone()),
        releases: vec![dir],
        is_own: true,
    });
    let brought = brought.into_iter().map(|(root, releases)| Repository {
        root,
        releases: releases.into_iter().collect(),
        is_own: false,
    });
    own.chain(brought).collect()
}

/// Checks the apt repositories of a build.
pub(super) async fn check(
    store: &dyn MirrorRead,
    id: &BuildId,
    sums: &Sums,
    known: &mut Known,
) -> Result<Vec<Finding>, Unread> {
    let mut findings = Vec::new();
    let mut claims = Vec::new();
    for repository in repositories(sums) {
        let mut listed = BTreeSet::new();
        for dir in &repository.releases {
            let checking = Checking {
                store,
                id,
                sums,
                repository: &repository,
                dir,
            };
            match checking.lists(known, &mut findings).await {
                Ok(lists) => {
                    for claim in lists.iter().flat_map(|list| list.iter()) {
                        let path = checking.claim(claim, &mut findings);
                        claims.extend(path.clone().zip(claim.size));
                        listed.extend(path);
                    }
                }
                // The section was removed, and the packages with it.
                Err(Unread::Gone) => return Ok(findings),
                Err(Unread::Wrong(path, reason)) => {
                    let kind = FindingKind::RepodataUnreadable;
                    findings.push(Finding::build(id, Some(&path), kind, reason));
                    // The lists are unknown, so no package is reported as unlisted.
                    listed.extend(sums.lines().iter().map(|line| line.path.clone()));
                }
                Err(error @ Unread::Store(_)) => return Err(error),
            }
        }
        let packages = sums.lines().iter().map(|line| &line.path);
        let packages = packages.filter(|path| is_debian_package(path) && repository.has(path));
        findings.extend(packages.filter(|path| !listed.contains(*path)).map(|path| {
            let text = "is not in the repository metadata: no client finds it";
            Finding::build(id, Some(path.as_str()), FindingKind::NotInRepodata, text)
        }));
    }
    findings.extend(sizes(store, id, claims).await?);
    findings.dedup();
    Ok(findings)
}

/// Compares the sizes that lists state with those of the files.
async fn sizes(
    store: &dyn MirrorRead,
    id: &BuildId,
    claims: Vec<(BuildPath, u64)>,
) -> Result<Vec<Finding>, Unread> {
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let seen = store.inspect(id, Depth::Listing).await?;
    let wrong = claims.into_iter().filter_map(|(path, claimed)| {
        // The target of a symlink was already compared by its digest; the check of the build reports missing files.
        let Some(Found::File { size, .. }) = seen.found.get(&path) else {
            return None;
        };
        let text = format!("has {size} bytes, and the repository metadata says {claimed}");
        let kind = FindingKind::RepodataDiffers;
        (*size != claimed).then(|| Finding::build(id, Some(path.as_str()), kind, text))
    });
    Ok(wrong.collect())
}

/// The check of one `Release`.
struct Checking<'a> {
    store: &'a dyn MirrorRead,
    id: &'a BuildId,
    sums: &'a Sums,
    repository: &'a Repository,
    dir: &'a BuildPath,
}

impl Checking<'_> {
    fn finding(&self, path: &str, text: impl Into<String>) -> Finding {
        Finding::build(self.id, Some(path), FindingKind::RepodataDiffers, text)
    }

    /// The files named by the lists that `Release` names.
    async fn lists(
        &self,
        known: &mut Known,
        findings: &mut Vec<Finding>,
    ) -> Result<Vec<Arc<Vec<Claim>>>, Unread> {
        let release = format!("{}/{RELEASE}", self.dir);
        let wrong = |reason: &str| Unread::Wrong(release.clone(), reason.to_owned());
        let path = self.dir.join(RELEASE);
        let path = path.map_err(|error| wrong(&error.to_string()))?;
        if self.sums.get(&path).is_none() {
            let reason = "it has packages and no metadata".to_owned();
            return Err(Unread::Wrong(self.dir.to_string(), reason));
        }
        let text = read_all(self.store, self.id, &path, LONGEST_RELEASE).await?;
        let text = String::from_utf8(text).map_err(|_| wrong("it is not UTF-8"))?;
        let found = paragraphs(&text).map_err(|error| wrong(&error.to_string()))?;
        let [fields] = &found[..] else {
            return Err(wrong("it is not one paragraph"));
        };
        let named = files(fields.get("SHA256").unwrap_or_default())
            .ok_or_else(|| wrong("its list of SHA256 cannot be read"))?;
        let by_name: BTreeMap<_, _> = named.iter().map(|it| (it.path.as_str(), it)).collect();
        for claim in &named {
            self.named(claim, fields, findings);
        }
        self.by_hash(findings);
        self.message(&text, findings).await?;
        let mut stems: BTreeSet<&str> = by_name.keys().map(|name| stem(name)).collect();
        stems.retain(|stem| [PACKAGES, SOURCES].contains(&file_name(stem)));
        let mut lists = Vec::new();
        for stem in stems {
            let there = FORMS.iter().find_map(|form| {
                let name = format!("{stem}{form}");
                let path = self.dir.join(&name).ok()?;
                let digest = self.sums.get(&path)?;
                Some((path, digest, *by_name.get(name.as_str())?))
            });
            if let Some((path, digest, claim)) = there {
                lists.push(self.list(path, digest, claim, known, findings).await?);
            }
        }
        if lists.is_empty() {
            return Err(wrong("it names no readable list of packages"));
        }
        Ok(lists)
    }

    /// Checks a list that `Release` names.
    fn named(&self, claim: &Claim, release: &Paragraph, findings: &mut Vec<Finding>) {
        let at = format!("{}/{}", self.dir, claim.path);
        let there = self.dir.join(&claim.path).ok();
        let there = there.and_then(|path| self.sums.get(&path));
        match there {
            Some(digest) if Some(digest) == claim.digest => {
                let by_hash = match claim.path.rsplit_once('/') {
                    Some((dir, _)) => format!("{dir}/by-hash/SHA256/{digest}"),
                    None => format!("by-hash/SHA256/{digest}"),
                };
                let has_by_hash = self.dir.join(&by_hash);
                let has_by_hash = has_by_hash.is_ok_and(|path| self.sums.get(&path).is_some());
                let says_so = release.get("Acquire-By-Hash") == Some("yes");
                if self.repository.is_own && says_so && !has_by_hash {
                    findings.push(self.finding(&at, format!("{by_hash} is missing")));
                }
            }
            Some(_) => findings.push(self.finding(&at, "has other bytes than Release says")),
            None if self.repository.is_own => {
                findings.push(self.finding(&at, "is in Release, but missing"));
            }
            None => {}
        }
    }

    /// Checks the lists that are named by their digests.
    fn by_hash(&self, findings: &mut Vec<Finding>) {
        let prefix = format!("{}/", self.dir);
        for line in self.sums.lines() {
            let Some(name) = line.path.as_str().strip_prefix(&prefix) else {
                continue;
            };
            let digest = match name.rsplit_once("by-hash/SHA256/") {
                Some(("", digest)) => digest,
                Some((dir, digest)) if dir.ends_with('/') && !self.repository.is_own => digest,
                Some(_) | None => continue,
            };
            if digest != line.digest.to_string() {
                let text = "has other bytes than its name says";
                findings.push(self.finding(line.path.as_str(), text));
            }
        }
    }

    /// Checks that `InRelease`, if it exists, contains the text of `Release`. Its signature is checked elsewhere.
    async fn message(&self, release: &str, findings: &mut Vec<Finding>) -> Result<(), Unread> {
        let Ok(path) = self.dir.join(SIGNED_RELEASE) else {
            return Ok(());
        };
        if self.sums.get(&path).is_none() {
            return Ok(());
        }
        let message = read_all(self.store, self.id, &path, LONGEST_RELEASE).await?;
        let message = String::from_utf8_lossy(&message);
        if !message.contains(release.trim_end()) {
            let text = "holds another text than Release";
            findings.push(self.finding(path.as_str(), text));
        }
        Ok(())
    }

    /// The files that a list names.
    async fn list(
        &self,
        path: BuildPath,
        digest: Sha256,
        claim: &Claim,
        known: &mut Known,
        findings: &mut Vec<Finding>,
    ) -> Result<Arc<Vec<Claim>>, Unread> {
        if let Some(list) = known.get(&(path.clone(), digest)) {
            return Ok(Arc::clone(list));
        }
        let wrong = |reason: String| Unread::Wrong(path.to_string(), reason);
        let packed = read_all(self.store, self.id, &path, LONGEST_PACKED).await?;
        let size = packed.len() as u64;
        if claim.size != Some(size) {
            let said = claim.size.unwrap_or_default();
            let text = format!("has {size} bytes, and Release says {said}");
            findings.push(self.finding(path.as_str(), text));
        }
        let text = unpacked(path.file_name(), packed).map_err(|error| wrong(error.to_string()))?;
        let found = paragraphs(&text).map_err(|error| wrong(error.to_string()))?;
        let is_sources = stem(path.file_name()) == SOURCES;
        let mut claims = Vec::new();
        for entry in &found {
            let name = entry.get("Package").unwrap_or_default();
            let of = if is_sources {
                source(entry)
            } else {
                package(entry)
            };
            claims.extend(of.ok_or_else(|| wrong(format!("it does not say where {name} is")))?);
        }
        // The list of an earlier build is rarely needed again.
        known.retain(|(other, _), _| *other != path);
        let claims = Arc::new(claims);
        known.insert((path, digest), Arc::clone(&claims));
        Ok(claims)
    }

    /// Checks a file that a list names, and returns its path.
    fn claim(&self, claim: &Claim, findings: &mut Vec<Finding>) -> Option<BuildPath> {
        let path = self.repository.join(&claim.path);
        let found = path.as_ref().and_then(|path| self.sums.get(path));
        let at = match &self.repository.root {
            Some(root) => format!("{root}/{}", claim.path),
            None => claim.path.clone(),
        };
        match (found, claim.digest) {
            (Some(found), Some(said)) if found != said => {
                let text = "has other bytes than the repository metadata says";
                findings.push(self.finding(&at, text));
            }
            (Some(_), _) => {}
            (None, _) => {
                let text = "is in the repository metadata, but missing";
                findings.push(self.finding(&at, text));
            }
        }
        path
    }
}

/// A list of files: digest, size and name, one file per line.
fn files(value: &str) -> Option<Vec<Claim>> {
    let lines = value.lines().filter(|line| !line.trim().is_empty());
    let claims = lines.map(|line| {
        let mut parts = line.split_whitespace();
        let digest = parts.next()?.parse().ok()?;
        let size = parts.next()?.parse().ok()?;
        let path = parts.next()?.to_owned();
        parts.next().is_none().then_some(Claim {
            path,
            size: Some(size),
            digest: Some(digest),
        })
    });
    claims.collect()
}

/// The file of a binary package.
fn package(entry: &Paragraph) -> Option<Vec<Claim>> {
    let digest = entry.get("SHA256").map(str::parse).transpose().ok()?;
    let size = entry.get("Size").map(str::parse).transpose().ok()?;
    Some(vec![Claim {
        path: entry.get("Filename")?.to_owned(),
        size,
        digest,
    }])
}

/// The files of a source package.
fn source(entry: &Paragraph) -> Option<Vec<Claim>> {
    let dir = entry.get("Directory")?;
    let mut claims = files(entry.get("Checksums-Sha256")?)?;
    for claim in &mut claims {
        if dir != "." {
            claim.path = format!("{dir}/{}", claim.path);
        }
    }
    Some(claims)
}

/// The name of a list without the suffix of its compression.
fn stem(name: &str) -> &str {
    let mut forms = ALL_FORMS.iter().filter(|form| !form.is_empty());
    forms
        .find_map(|form| name.strip_suffix(form))
        .unwrap_or(name)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The decompressed text of a list.
fn unpacked(name: &str, packed: Vec<u8>) -> std::io::Result<String> {
    let mut text = String::new();
    let bytes = std::io::Cursor::new(packed);
    let mut reader: Box<dyn Read> = match camino::Utf8Path::new(name).extension() {
        Some("gz") => Box::new(MultiGzDecoder::new(bytes)),
        Some("xz") => Box::new(XzDecoder::new_multi_decoder(bytes)),
        Some(_) | None => Box::new(bytes),
    };
    let read = (&mut reader).take(LONGEST_LIST).read_to_string(&mut text)?;
    if read as u64 == LONGEST_LIST {
        return Err(std::io::Error::other(format!(
            "it has {LONGEST_LIST} bytes or more"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
