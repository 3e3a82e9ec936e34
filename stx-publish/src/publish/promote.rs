//! Makes the plan of a promotion: reads every byte of the build, and the relevant state of the mirror. Also adds the files of
//! a promoted build to the new one.

use std::collections::BTreeMap;

use bytes::Bytes;
use stx_layout::{BuildId, BuildPath};

use super::PrepareError;
use crate::incoming::Entry;
use crate::plan::{
    Original, PromoteProblem, PromoteRequest, PromotedFile, PublishPlan, plan_promotion,
};
use crate::seal::SUMS_SIGNATURE;
use crate::store::rules::check_channel_name;
use crate::store::{
    Added, Depth, Found, KnownFile, MirrorRead, Scope, StagedBuild, StoreError, read_all,
};

/// The largest file that is neither shared nor on this machine, in bytes.
const LONGEST: u64 = 64 << 20;

/// Reads a build to promote, every byte of it.
///
/// # Errors
/// If the build cannot be read. Problems of its files are in [`Original::damage`].
pub async fn read_original(store: &dyn MirrorRead, id: &BuildId) -> Result<Original, StoreError> {
    let record = store.record(id).await?;
    let expected = store.sums(id).await?;
    let inspection = store.inspect(id, Depth::Digests).await?;
    let thinned = inspection.thinned.sections.into_iter();
    let mut damage: Vec<_> = thinned
        .map(|section| PromoteProblem::Thinned {
            section: section.section,
        })
        .collect();
    let unreadable = inspection.unreadable.into_iter();
    damage.extend(unreadable.map(|(path, reason)| PromoteProblem::Unverified { path, reason }));
    let (mut files, mut links) = (BTreeMap::new(), BTreeMap::new());
    for (path, found) in inspection.found {
        let unverified = |reason: &str| PromoteProblem::Unverified {
            path: path.to_string(),
            reason: reason.to_owned(),
        };
        match found {
            Found::File {
                size,
                mode,
                modified,
                digest,
            } => match (expected.get(&path), digest) {
                (Some(expected), Some(Ok(found))) if expected == found => {
                    let known = KnownFile {
                        digest: found,
                        size: Some(size),
                        executable: mode.is_some_and(|mode| mode & 0o100 != 0),
                        modified,
                    };
                    files.insert(path, known);
                }
                (Some(_), Some(Ok(_))) => damage.push(PromoteProblem::Bytes { path }),
                (Some(_), Some(Err(reason))) => damage.push(unverified(&reason)),
                (Some(_), None) => damage.push(unverified("it was not read")),
                (None, _) => damage.push(unverified("SHA256SUMS does not name it")),
            },
            Found::Symlink { target } => drop(links.insert(path, target)),
            Found::Other { what } => damage.push(unverified(&format!("a {what}, not a file"))),
            // A directory with an unusual mode; only its files are promoted.
            Found::Directory { .. } => {}
        }
    }
    for line in expected.lines() {
        let is_there = files.contains_key(&line.path) || links.contains_key(&line.path);
        let is_known = |problem: &PromoteProblem| match problem {
            PromoteProblem::Bytes { path } => *path == line.path,
            PromoteProblem::Unverified { path, .. } => *path == line.path.as_str(),
            PromoteProblem::Thinned { section } => crate::thinning::lies_in(&line.path, section),
            _ => false,
        };
        if !is_there && !damage.iter().any(is_known) {
            let path = line.path.clone();
            damage.push(PromoteProblem::Missing { path });
        }
    }
    let mut seal = BTreeMap::new();
    for name in ["SHA256SUMS", SUMS_SIGNATURE] {
        let path: BuildPath = name.parse().expect("a valid path");
        match read_all(store, id, &path, LONGEST).await {
            Ok(bytes) => drop(seal.insert(path, Bytes::from(bytes))),
            // The mirror does not sign.
            Err(StoreError::NotFound { .. }) if name == SUMS_SIGNATURE => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Original {
        record,
        files,
        links,
        sums: expected,
        seal,
        damage,
    })
}

/// Reads the state of the mirror that the plan of a promotion depends on, and makes the plan.
///
/// # Errors
/// Like [`prepare`](super::prepare()), and the problems that prevent the promotion.
pub async fn prepare_promotion(
    store: &dyn MirrorRead,
    mut request: PromoteRequest,
) -> Result<PublishPlan, PrepareError> {
    let id = request.to.clone();
    let fail = |source| PrepareError::Store {
        id: Box::new(id.clone()),
        source,
    };
    check_channel_name(&id.channel).map_err(fail)?;
    let scope = Scope::Channel(id.channel.clone());
    let catalog = store.catalog(&scope).await.map_err(fail)?;
    let there = catalog.build(&id);
    if there.is_some_and(|build| build.record().is_some()) {
        request.existing = Some(store.sums(&id).await.map_err(fail)?);
    }
    Ok(plan_promotion(&catalog, request)?)
}

/// Adds a file of the original build to the promoted one.
pub(super) async fn bring<'a>(
    store: &dyn MirrorRead,
    staged: &dyn StagedBuild,
    from: &BuildId,
    path: &'a BuildPath,
    file: &PromotedFile,
) -> (&'a BuildPath, Result<Added, StoreError>) {
    (path, one(store, staged, from, path, file).await)
}

/// Adds one file: shared if the store can, otherwise from its place, otherwise by its bytes, which are checked again.
async fn one(
    store: &dyn MirrorRead,
    staged: &dyn StagedBuild,
    from: &BuildId,
    path: &BuildPath,
    file: &PromotedFile,
) -> Result<Added, StoreError> {
    let PromotedFile { at, known } = file;
    if let Some(size) = staged.share(path, known).await? {
        return Ok(Added::Shared(size));
    }
    let entry = if let (Some(source), Some(size)) = (store.file(from, at), known.size) {
        Entry::File {
            source,
            size,
            executable: known.executable,
            digest: Some(known.digest),
        }
    } else {
        let bytes = Bytes::from(read_all(store, from, at, LONGEST).await?);
        if crate::incoming::digest_of(&bytes) != known.digest {
            return Err(StoreError::Changed {
                path: format!("{from}/{at}"),
            });
        }
        Entry::Generated(bytes)
    };
    staged.add(path, &entry).await
}
