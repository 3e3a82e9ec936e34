//! `verify`: the mirror against what it says of itself.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use stx_layout::{BuildId, Channel};
use stx_publish::site::verify_pages;
use stx_publish::{
    FindingKind, RepairReport, Scope, StoreError, VerifyError, VerifyReport, repair,
    verify_observed, verify_readable, verify_repositories,
};
use stx_trust::openpgp::{Keyring, verify_packages, verify_signatures};
use stx_trust::provenance::key::PublicKey;
use stx_trust::verify_stated;

use super::images::Registry;
use super::{Context, Reader, asked, exit_of, hint_of, pages};
use crate::args::Verify;
use crate::exit::{Exit, Failure};
use crate::output;

/// How long pages may be behind the mirror before that is a finding: who changed it makes them then.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Verified {
    #[serde(flatten)]
    report: VerifyReport,
    /// What was put right; absent without `--repair`.
    #[serde(skip_serializing_if = "Option::is_none")]
    repaired: Option<RepairReport>,
}

/// Whose signatures are asked for; nobody's where there are none.
struct Keys {
    openpgp: Option<Keyring>,
    provenance: Vec<PublicKey>,
}

/// Verifies, with a bar of the builds on a terminal.
async fn check(
    context: &Context,
    reader: &Reader,
    scope: &Scope,
    keys: &Keys,
) -> Result<VerifyReport, VerifyError> {
    let shown = std::io::stderr().is_terminal() && !context.global.quiet;
    let bar = if shown {
        ProgressBar::new(0)
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} builds {elapsed} {msg}") {
        bar.set_style(style);
    }
    let observe = |done, all, id: &BuildId| {
        bar.set_length(all);
        bar.set_position(done);
        bar.set_message(id.to_string());
    };
    let report = match reader {
        Reader::Own(mirror) => verify_observed(&**mirror, scope, &observe).await,
        Reader::Http(_) | Reader::Vouched(..) => {
            verify_readable(reader.store(), scope, &observe).await
        }
    };
    bar.finish_and_clear();
    let mut report = report?;
    if let Some(keyring) = &keys.openpgp {
        let (store, now) = (reader.shared(), context.now);
        verify_signatures(store, keyring.clone(), scope, now, &mut report).await?;
        if context.config.signing.signs_packages() {
            verify_packages(reader.store(), keyring, scope, now, &mut report).await?;
        }
    }
    verify_stated(reader.store(), scope, &keys.provenance, &mut report).await?;
    verify_repositories(reader.store(), scope, &mut report).await?;
    if let Reader::Own(mirror) = reader {
        let makes = context.config.makes_pages();
        verify_pages(&**mirror, scope, makes, PATIENCE, &mut report).await?;
    }
    Ok(report)
}

/// A channel or a build that is not there; `failure` where it is something else.
async fn absent(reader: &Reader, scope: &Scope, failure: Failure) -> Failure {
    let Ok(catalog) = reader.store().catalog(&Scope::All).await else {
        return failure;
    };
    match scope {
        Scope::All => failure,
        Scope::Channel(channel) if catalog.channels.contains_key(channel) => failure,
        Scope::Channel(channel) => asked::missing_channel(&catalog, channel),
        Scope::Build(id) if catalog.build(id).is_some() => failure,
        Scope::Build(id) => asked::missing_build(&catalog, id),
    }
}

pub(crate) async fn run(context: &Context, args: &Verify) -> Result<(), Failure> {
    let scope = match &args.scope {
        None => Scope::All,
        Some(text) => match (text.parse::<BuildId>(), text.parse::<Channel>()) {
            (Ok(build), _) => Scope::Build(build),
            (Err(_), Ok(channel)) => Scope::Channel(channel),
            (Err(_), Err(error)) => {
                return Err(Failure::usage(error).hint("expected CHANNEL or CHANNEL/BUILD-DATE"));
            }
        },
    };
    let to_repair = args.repair.then(|| context.open()).transpose()?;
    let reader = context.reader()?;
    let keys = Keys {
        openpgp: context.keyring(args.keyring.as_deref())?,
        provenance: context.config.provenance.trusted(&args.provenance_key)?,
    };
    if let Reader::Http(_) = reader {
        context.say(
            "note: behind a URL, what the catalog and the sums name is checked: no unlisted files, modes, links, leftovers",
        );
    }
    let fail = |error: VerifyError| {
        let hint = hint_of(&error.source);
        let failure = Failure::new(exit_of(&error.source), error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    };
    let mut report = match check(context, &reader, &scope, &keys).await {
        Err(error) if matches!(error.source, StoreError::NotFound { .. }) => {
            return Err(absent(&reader, &scope, fail(error)).await);
        }
        report => report.map_err(fail)?,
    };
    let mut repaired = None;
    let registry = Registry::open(context)?;
    if let Some(store) = &to_repair {
        if let Some(registry) = &registry {
            // Before an alias is moved to a build, the tags of the build are made.
            registry.finish_all(context, &**store, &scope).await?;
        }
        let mut done = repair(&**store, &report).await.map_err(fail)?;
        // An alias that moved is on the pages, too.
        if report
            .findings
            .iter()
            .any(|finding| finding.kind.is_repairable())
        {
            done.pages = pages::made(context, &**store).await?;
        }
        repaired = Some(done);
        report = check(context, &reader, &scope, &keys).await.map_err(fail)?;
    }
    if let Some(registry) = &registry {
        let found = registry.audit(reader.store(), &scope).await?;
        report.findings.extend(found);
        report.findings.sort();
    }
    let verified = Verified { report, repaired };
    output::print(context.format(), &verified, || {
        let repaired = verified
            .repaired
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        format!("{repaired}{}", verified.report)
    })?;
    if verified.report.findings.is_empty() {
        return Ok(());
    }
    let failure = Failure::said(Exit::Mirror);
    let repairable = verified
        .report
        .findings
        .iter()
        .any(|finding| finding.kind.is_repairable());
    let images = verified.report.findings.iter().any(|finding| {
        matches!(
            finding.kind,
            FindingKind::ImageMissing | FindingKind::ImageTagNotNewest
        )
    });
    Err(if repairable {
        failure.hint("`stx-builds verify --repair` puts right what is derived")
    } else if images {
        failure.hint("`stx-builds image push BUILD` brings to the registry what it lacks")
    } else {
        failure
    })
}
