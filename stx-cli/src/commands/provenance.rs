//! `show --provenance`: show the origin of a build.

use std::fmt::Write as _;

use stx_layout::BuildId;
use stx_publish::MirrorRead;
use stx_trust::provenance::Provenance;
use stx_trust::provenance::dsse::EnvelopeKey as _;
use stx_trust::provenance::key::PublicKey;
use stx_trust::provenance::statement::{BUILT, PUBLISHED, Statement};

use super::Context;
use crate::exit::{Exit, Failure};
use crate::output;

/// Shows the origin of a build.
pub(crate) async fn show(
    context: &Context,
    store: &dyn MirrorRead,
    id: &BuildId,
    keys: &[PublicKey],
) -> Result<(), Failure> {
    let provenance = context.site.provenance(store, id).await?;
    let signature = signature(id, &provenance, keys)?;
    let statement = provenance.statement();
    output::print(context.format(), statement, || human(statement, &signature))
}

/// The signer, in words.
///
/// # Errors
/// If keys are given, and none of them signed it.
fn signature(id: &BuildId, provenance: &Provenance, keys: &[PublicKey]) -> Result<String, Failure> {
    let untrusted = |message: String| {
        Failure::new(Exit::Mirror, format!("{id}: {message}"))
            .hint("do not rely on it; without a key the statement is shown unchecked")
    };
    match provenance {
        Provenance::Bare(_) if keys.is_empty() => Ok("it is not signed".to_owned()),
        Provenance::Bare(_) => Err(untrusted("the provenance is not signed".to_owned())),
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
