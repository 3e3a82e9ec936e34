//! `show --provenance`, and what is stated of builds when they are published: provenance, bills of materials.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use stx_layout::BuildId;
use stx_publish::{Attester, Entry, MirrorRead, PublishRequest, StoreError};
use stx_trust::provenance::dsse::EnvelopeKey as _;
use stx_trust::provenance::key::PublicKey;
use stx_trust::provenance::statement::{BUILT, PUBLISHED, Statement};
use stx_trust::provenance::{Attestation, Builder, Provenance, read};
use stx_trust::sbom;

use super::{Context, refused};
use crate::exit::{Exit, Failure};
use crate::output;

/// What states where builds come from; `None` where nothing does.
pub(crate) fn attester(context: &Context) -> Result<Option<Arc<dyn Attester>>, Failure> {
    let table = &context.config.provenance;
    if !table.enabled {
        return Ok(None);
    }
    let id = table.builder()?;
    if let Some(privacy) = context.config.privacy.compile()?
        && !privacy.find(id.as_str().as_bytes()).is_empty()
    {
        let failure = Failure::usage("[provenance]: `builder` tells of this machine");
        return Err(failure.hint("a builder's name says who answers for it, not where it runs"));
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

/// Adds a bill of materials of each ISO image to what is to be published. An image of which none can be made is said, or
/// refused where bills are required.
pub(crate) fn describe(
    context: &Context,
    mut request: PublishRequest,
) -> Result<PublishRequest, Failure> {
    let table = &context.config.sbom;
    if !table.enabled {
        return Ok(request);
    }
    let id = &request.record.id;
    let before: BTreeSet<_> = request.incoming.entries.keys().cloned().collect();
    let failed = sbom::describe(&mut request.incoming, id, env!("CARGO_PKG_VERSION"));
    for (path, error) in failed {
        let error = crate::exit::chain(&error);
        if table.required {
            let failure = Failure::new(
                Exit::Mirror,
                format!("{id}/{path}: no bill of materials can be made: {error}"),
            );
            return Err(failure.hint("nothing was published; [sbom] says that one is required"));
        }
        context.say(&format!(
            "warning: {path}: no bill of materials can be made: {error}"
        ));
    }
    // What packages say of themselves was not searched before.
    if let Some(privacy) = context.config.privacy.compile()? {
        for (path, entry) in &request.incoming.entries {
            let Entry::Generated(text) = entry else {
                continue;
            };
            if before.contains(path) || privacy.allows(path) {
                continue;
            }
            let findings = privacy.find(text);
            if !findings.is_empty() {
                let failure = Failure::new(
                    Exit::Mirror,
                    format!(
                        "{id}/{path}: the packages of the image tell of the build server: {findings}"
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

/// Shows where a build comes from.
pub(crate) async fn show(
    context: &Context,
    store: &dyn MirrorRead,
    id: &BuildId,
    keys: &[PublicKey],
) -> Result<(), Failure> {
    let sums = store.sums(id).await.map_err(|error| match error {
        StoreError::NotFound { .. } => Failure::new(Exit::NotFound, format!("{id}: no such build"))
            .hint("`stx-builds list` names the channels and builds"),
        error => refused(error),
    })?;
    let provenance = read(store, id, &sums).await.map_err(refused)?;
    let provenance = provenance.ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("{id}: it has no provenance"))
            .hint("it was published by an earlier version, or [provenance] was switched off")
    })?;
    let signature = signature(id, &provenance, keys)?;
    let statement = provenance.statement();
    output::print(context.format(), statement, || human(statement, &signature))
}

/// Who signed it, in words.
///
/// # Errors
/// Where there are keys, and none of them did.
fn signature(id: &BuildId, provenance: &Provenance, keys: &[PublicKey]) -> Result<String, Failure> {
    let untrusted = |message: String| {
        Failure::new(Exit::Mirror, format!("{id}: {message}"))
            .hint("do not rely on it; without a key the statement is shown unchecked")
    };
    match provenance {
        Provenance::Bare(_) if keys.is_empty() => Ok("nobody signed it".to_owned()),
        Provenance::Bare(_) => Err(untrusted("nobody signed the provenance".to_owned())),
        Provenance::Signed { envelope, .. } if keys.is_empty() => {
            let named = envelope.signatures.iter().map(|signature| {
                let name = &signature.key_id;
                if name.is_empty() {
                    "an unnamed key"
                } else {
                    name
                }
            });
            let named: Vec<_> = named.collect();
            Ok(format!("by {}, not checked", named.join(" and ")))
        }
        Provenance::Signed { envelope, .. } => match envelope.verify(keys) {
            Ok(key) => Ok(format!("good, by {}", key.id())),
            Err(error) => Err(untrusted(format!("the provenance is {error}"))),
        },
    }
}

fn human(statement: &Statement, signature: &str) -> String {
    let definition = &statement.predicate.build_definition;
    let run = &statement.predicate.run_details;
    let asked = &definition.external_parameters;
    let kind = match definition.build_type.as_str() {
        BUILT => "built",
        PUBLISHED => "published as it was found",
        other => other,
    };
    let version = run.builder.version.iter();
    let version: Vec<_> = version
        .map(|(part, version)| format!("{part} {version}"))
        .collect();
    let time = |time: Option<chrono::DateTime<chrono::Utc>>| {
        time.map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
            .unwrap_or_default()
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let rows = [
        ("build", run.metadata.invocation_id.clone()),
        ("signature", signature.to_owned()),
        ("builder", run.builder.id.clone()),
        ("version", version.join(", ")),
        ("kind", kind.to_owned()),
        ("branch", text(&asked.branch)),
        ("recipe", text(&asked.recipe)),
        ("trigger", text(&asked.trigger)),
        ("started", time(run.metadata.started_on)),
        ("finished", time(run.metadata.finished_on)),
        ("outputs", statement.subject.len().to_string()),
    ];
    let rows = rows.into_iter().filter(|(_, value)| !value.is_empty());
    let rows: Vec<_> = rows
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    let mut shown = output::columns(&rows);
    let (sources, inputs): (Vec<_>, Vec<_>) = definition
        .resolved_dependencies
        .iter()
        .partition(|resource| resource.git_commit().is_some());
    for (title, resources) in [("sources", sources), ("inputs", inputs)] {
        let rows: Vec<_> = resources
            .iter()
            .map(|resource| {
                let digest = resource.digest.values().next().cloned();
                let name = format!("  {}", resource.name());
                vec![name, digest.unwrap_or_default()]
            })
            .collect();
        if !rows.is_empty() {
            let _ = write!(shown, "\n{title}\n{}", output::columns(&rows));
        }
    }
    shown
}
