//! Compares the metadata of RPM and apt repositories with the packages of the build.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use roxmltree::Document;
use stx_layout::derived::repositories;
use stx_layout::{BuildId, BuildPath, Sha256, Sums};

use super::apt;
use super::{Finding, FindingKind, VerifyError, VerifyReport, chain};
use crate::metadata::listing::{self, Listed};
use crate::store::{MirrorRead, Scope, StoreError, read_all};

/// The largest `repomd.xml`, in bytes.
const LONGEST_INDEX: u64 = 4 << 20;

/// The largest compressed list, in bytes.
const LONGEST_LIST: u64 = 256 << 20;

/// Compares the metadata of the RPM and apt repositories of all builds of `scope` with their sums, and adds findings to `report`:
/// packages that clients do not find, and listed packages that clients cannot get.
///
/// No package is read. Sections that retention removed, and builds that are retired in the meantime, are left out.
pub async fn verify_repositories(
    store: &dyn MirrorRead,
    scope: &Scope,
    report: &mut VerifyReport,
) -> Result<(), VerifyError> {
    let fail = |source| VerifyError::new(scope, source);
    let catalog = store.catalog(scope).await.map_err(fail)?;
    // The newest list of each repository: consecutive builds often have the same list.
    let mut known = HashMap::new();
    let mut known_apt = apt::Known::new();
    for (id, _) in catalog.builds() {
        // The check of the build reports sums that cannot be read.
        let Ok(sums) = store.sums(&id).await else {
            continue;
        };
        let mut findings = Vec::new();
        for dir in repositories(sums.lines().iter().map(|line| &line.path)) {
            match list(store, &id, &sums, &dir, &mut known).await {
                Ok(listed) => findings.extend(check(&id, &sums, &dir, &listed)),
                Err(Unread::Gone) => {}
                Err(Unread::Store(error)) => return Err(fail(error)),
                Err(Unread::Wrong(path, reason)) => {
                    let kind = FindingKind::RepodataUnreadable;
                    findings.push(Finding::build(&id, Some(&path), kind, reason));
                }
            }
        }
        match apt::check(store, &id, &sums, &mut known_apt).await {
            Ok(found) => findings.extend(found),
            // The build was retired in the meantime.
            Err(Unread::Gone | Unread::Wrong(..)) => {}
            Err(Unread::Store(error)) => return Err(fail(error)),
        }
        if !findings.is_empty() {
            let now = store.catalog(&Scope::Build(id.clone())).await;
            if now.map_err(fail)?.build(&id).is_some() {
                report.findings.append(&mut findings);
            }
        }
    }
    report.findings.sort();
    Ok(())
}

/// The reason why a list could not be read.
pub(super) enum Unread {
    /// The list does not exist any more.
    Gone,
    /// The mirror cannot be read.
    Store(StoreError),
    /// The file at a path is wrong: the path, and the reason.
    Wrong(String, String),
}

impl From<StoreError> for Unread {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::Gone,
            error => Self::Store(error),
        }
    }
}

/// The packages in the list that `primary` names.
async fn list(
    store: &dyn MirrorRead,
    id: &BuildId,
    sums: &Sums,
    dir: &BuildPath,
    known: &mut HashMap<BuildPath, (Sha256, Arc<Vec<Listed>>)>,
) -> Result<Arc<Vec<Listed>>, Unread> {
    let index = format!("{dir}/repodata/repomd.xml");
    let wrong = |path: &str, reason: String| Unread::Wrong(path.to_owned(), reason);
    let path = index.parse::<BuildPath>();
    let path = path.map_err(|error| wrong(&index, error.to_string()))?;
    if sums.get(&path).is_none() {
        return Err(wrong(
            dir.as_str(),
            "it has packages and no metadata".to_owned(),
        ));
    }
    let text = read_all(store, id, &path, LONGEST_INDEX).await?;
    let primary = primary(dir, &text).map_err(|reason| wrong(&index, reason))?;
    let Some(digest) = sums.get(&primary) else {
        let reason = format!("it names {primary}, which is not in SHA256SUMS");
        return Err(wrong(&index, reason));
    };
    if let Some((of, listed)) = known.get(dir)
        && *of == digest
    {
        return Ok(Arc::clone(listed));
    }
    let packed = read_all(store, id, &primary, LONGEST_LIST).await?;
    let listed =
        listing::read(&packed[..]).map_err(|error| wrong(primary.as_str(), chain(&error)))?;
    let listed = Arc::new(listed);
    known.insert(dir.clone(), (digest, Arc::clone(&listed)));
    Ok(listed)
}

/// The path of the list of packages, from the text of a `repomd.xml`.
fn primary(dir: &BuildPath, text: &[u8]) -> Result<BuildPath, String> {
    let text = str::from_utf8(text).map_err(|error| error.to_string())?;
    let document = Document::parse(text).map_err(|error| error.to_string())?;
    let href = crate::metadata::location(&document, "primary")
        .ok_or_else(|| "it names no list of packages".to_owned())?;
    dir.join(&href).map_err(|error| error.to_string())
}

/// Compares a list of packages with the build's files, and returns the differences.
fn check(id: &BuildId, sums: &Sums, dir: &BuildPath, listed: &[Listed]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let prefix = format!("{dir}/");
    let mut left: BTreeMap<&str, Sha256> = sums
        .lines()
        .iter()
        .filter(|line| line.path.as_path().extension() == Some("rpm"))
        .filter_map(|line| Some((line.path.as_str().strip_prefix(&prefix)?, line.digest)))
        .collect();
    let mut find = |href: &str, kind, message: &str| {
        let path = format!("{dir}/{href}");
        findings.push(Finding::build(id, Some(&path), kind, message));
    };
    for Listed { href, digest, .. } in listed {
        let plain = href.trim_start_matches("./");
        let (kind, text) = digest;
        match left.remove(plain) {
            Some(found) if kind != "sha256" || *text == found.to_string() => {}
            Some(_) => find(
                href,
                FindingKind::RepodataDiffers,
                "has other bytes than the repository metadata says",
            ),
            // The package exists, but is listed twice.
            None if listed_before(sums, dir, plain) => {}
            None => find(
                href,
                FindingKind::RepodataDiffers,
                "is in the repository metadata, but missing",
            ),
        }
    }
    for href in left.into_keys() {
        find(
            href,
            FindingKind::NotInRepodata,
            "is not in the repository metadata: no client finds it",
        );
    }
    findings
}

/// True if a repository contains a file with that name.
fn listed_before(sums: &Sums, dir: &BuildPath, href: &str) -> bool {
    let path = dir.join(href);
    path.is_ok_and(|path| sums.get(&path).is_some())
}

#[cfg(test)]
mod tests {
    use stx_layout::SumLine;

    use super::*;
    use crate::conformance::sample_id;
    use crate::incoming::digest_of;

    fn path(text: &str) -> BuildPath {
        text.parse().expect("a path")
    }

    /// The sums of a repository with files of these names; the bytes of each file are its name.
    fn sums(names: &[&str]) -> Sums {
        let lines = names.iter().map(|name| SumLine {
            path: path(&format!("outputs/RPMS/std/{name}")),
            digest: digest_of(name.as_bytes()),
        });
        lines.collect()
    }

    fn listed(href: &str, bytes: &str) -> Listed {
        Listed {
            href: href.to_owned(),
            digest: ("sha256".to_owned(), digest_of(bytes.as_bytes()).to_string()),
            nevra: String::new(),
        }
    }

    #[test]
    fn a_package_list_is_compared_with_the_files() {
        use FindingKind::{NotInRepodata, RepodataDiffers};
        let (sums, dir) = (
            sums(&["a.rpm", "b/c.rpm", "README"]),
            path("outputs/RPMS/std"),
        );
        let (a, c) = (listed("a.rpm", "a.rpm"), listed("./b/c.rpm", "b/c.rpm"));
        let other = listed("a.rpm", "else");
        let gone = listed("d.rpm", "d.rpm");
        let mut old = listed("a.rpm", "else");
        old.digest.0 = "sha".to_owned();
        for (list, expected) in [
            (vec![&a, &c], &[][..]),
            (vec![&a, &c, &a], &[]),
            // The digest is not SHA-256 and cannot be compared; the check of the build compares the bytes with the sums.
            (vec![&old, &c], &[]),
            (vec![&c], &[(NotInRepodata, "a.rpm")]),
            (vec![&other, &c], &[(RepodataDiffers, "a.rpm")]),
            (vec![&a, &c, &gone], &[(RepodataDiffers, "d.rpm")]),
        ] {
            let list: Vec<_> = list.into_iter().cloned().collect();
            let found = check(&sample_id(1), &sums, &dir, &list);
            let found: Vec<_> = found
                .iter()
                .map(|it| (it.kind, it.path.as_deref().unwrap_or_default()))
                .collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|(kind, name)| (*kind, format!("outputs/RPMS/std/{name}")))
                .collect();
            let expected: Vec<_> = expected.iter().map(|(kind, at)| (*kind, &**at)).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_path_of_the_list_is_read_from_the_index() {
        let dir = path("inputs/RPMS");
        let index = |href: &str| {
            format!(
                "<repomd><data type='other'/><data type='primary'><location href='{href}'/></data></repomd>"
            )
        };
        let found = primary(&dir, index("repodata/x.gz").as_bytes());
        assert_eq!(found, Ok(path("inputs/RPMS/repodata/x.gz")));
        for text in [index("../x.gz"), "<repomd/>".to_owned(), String::new()] {
            primary(&dir, text.as_bytes()).expect_err(&text);
        }
    }
}
