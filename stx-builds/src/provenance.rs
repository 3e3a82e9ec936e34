//! The provenance of builds, and other statements about builds when they are published, such as bills of materials.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stx_layout::BuildId;
use stx_publish::{Attester, Entry, MirrorRead, Problem, ProblemKind, PublishRequest, StoreError};
use stx_trust::provenance::{Attestation, Builder, Provenance, read};
use stx_trust::sbom;

use crate::error::{Error, ErrorKind};
use crate::{Site, refused};

/// The attester that states the origin of builds; `None` if provenance is disabled.
pub(crate) fn attester(site: &Site) -> Result<Option<Arc<dyn Attester>>, Error> {
    let table = &site.options.provenance;
    if !table.enabled {
        return Ok(None);
    }
    let id = table.builder()?;
    if let Some(privacy) = site.options.privacy.compile()?
        && !privacy.find(id.as_str().as_bytes()).is_empty()
    {
        let failure = Error::usage("[provenance]: `builder` reveals this machine");
        return Err(failure.hint("name who is responsible for the builder, not the machine"));
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Some(Arc::new(Attestation {
        builder: Builder {
            id,
            version: BTreeMap::from([("stx-builds".to_owned(), version)]),
        },
        signer: table.signer()?,
    })))
}

/// Adds a bill of materials for each ISO image to the files to publish. An image for which none can be made is reported, or refused
/// if bills are required.
pub(crate) fn describe(site: &Site, mut request: PublishRequest) -> Result<PublishRequest, Error> {
    let table = &site.options.sbom;
    if !table.enabled {
        return Ok(request);
    }
    let id = &request.record.id;
    let before: BTreeSet<_> = request.tree.incoming().entries.keys().cloned().collect();
    let described = sbom::describe(request.tree.incoming_mut(), id, env!("CARGO_PKG_VERSION"));
    for path in described.renewed {
        site.note(&format!(
            "{path}: made again: the tree has it from an earlier publication"
        ));
    }
    for path in described.assumed {
        site.note(&format!(
            "{path}: the image lists no packages; its bill of materials names the Debian packages of the build"
        ));
    }
    for (path, error) in described.failed {
        let error = crate::error::chain(&error);
        if table.required {
            let failure = Error::new(
                ErrorKind::Mirror,
                format!("{id}/{path}: no bill of materials can be made: {error}"),
            );
            return Err(failure.hint("nothing was published; [sbom] requires one"));
        }
        site.note(&format!(
            "warning: {path}: no bill of materials can be made: {error}"
        ));
    }
    // The metadata of packages was not searched before.
    if let Some(privacy) = site.options.privacy.compile()? {
        for (path, entry) in &request.tree.incoming().entries {
            let Entry::Generated(text) = entry else {
                continue;
            };
            if before.contains(path) || privacy.allows(path) {
                continue;
            }
            let findings = privacy.find(text);
            if !findings.is_empty() {
                let failure = Error::new(
                    ErrorKind::Mirror,
                    format!(
                        "{id}/{path}: the packages of the image reveal the build server: {findings}"
                    ),
                );
                return Err(failure.hint(
                    "nothing was published; the texts come from the packages' headers, such as the vendor and the URL",
                ));
            }
        }
    }
    Ok(request)
}

/// The bills of materials of a tree that do not match its files, as after packages were signed: `verify` would report them for good.
pub(crate) fn mismatched(request: &PublishRequest) -> Vec<Problem> {
    let found = sbom::mismatched(request.tree.incoming()).into_iter();
    let problems = found.filter_map(|(path, differences)| {
        Some(Problem {
            path: path.to_string(),
            kind: ProblemKind::Mismatched {
                reason: differences.into_iter().next()?,
            },
        })
    });
    problems.collect()
}

impl Site {
    /// The provenance of a build.
    pub async fn provenance(
        &self,
        store: &dyn MirrorRead,
        id: &BuildId,
    ) -> Result<Provenance, Error> {
        let sums = store.sums(id).await.map_err(|error| match error {
            StoreError::NotFound { .. } => {
                Error::new(ErrorKind::NotFound, format!("{id}: no such build"))
                    .hint("`stx-builds list` names the channels and builds")
            }
            error => refused(error),
        })?;
        let provenance = read(store, id, &sums).await.map_err(refused)?;
        provenance.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("{id}: it has no provenance"))
                .hint("it was published by an earlier version, or [provenance] was switched off")
        })
    }
}
