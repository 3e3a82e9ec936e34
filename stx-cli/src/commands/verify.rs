//! `verify`: check a mirror against its records.

use stx_builds::verify::VerifyOptions;
use stx_publish::verify::Severity;
use stx_publish::{FindingKind, Scope};

use super::Context;
use crate::args::Verify;
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) async fn run(context: &Context, args: &Verify) -> Result<(), Failure> {
    let scope = match &args.scope {
        None => Scope::All,
        Some(text) => context.site.scope(text).await?,
    };
    let mut how = VerifyOptions::default();
    how.repair = args.repair;
    how.keyring.clone_from(&args.keyring);
    how.provenance_keys.clone_from(&args.provenance_key);
    let verified = context.site.verify(&scope, &how).await?;
    output::print(context.format(), &verified, || {
        let repaired = verified
            .repaired
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        format!("{repaired}{}", verified.report)
    })?;
    let findings = &verified.report.findings;
    let repairable = findings.iter().any(stx_publish::Finding::is_repairable);
    // Other notes are about legitimate states of a mirror: `robots.txt`, or a build below that expired on time.
    if verified.report.worst() <= Some(Severity::Note) && !repairable {
        return Ok(());
    }
    let failure = Failure::said(Exit::Mirror);
    let images = findings.iter().any(|finding| {
        matches!(
            finding.kind,
            FindingKind::ImageMissing | FindingKind::ImageTagNotNewest
        )
    });
    let damaged = findings
        .iter()
        .any(|finding| finding.build.is_some() && finding.severity == Severity::Error);
    Err(if repairable {
        failure.hint("run `stx-builds verify --repair` to repair derived files")
    } else if images {
        failure.hint("run `stx-builds image push BUILD` to push the missing images")
    } else if damaged {
        failure.hint(
            "restore the files from another mirror; docs/recovery.md, Restore files from a copy",
        )
    } else {
        failure
    })
}
