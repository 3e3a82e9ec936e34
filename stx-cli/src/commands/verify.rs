//! `verify`: the mirror against what it says of itself.

use serde::Serialize;
use stx_layout::{BuildId, Channel};
use stx_publish::{RepairReport, Scope, VerifyReport, repair, verify};

use super::Context;
use crate::args::Verify;
use crate::exit::{Exit, Failure};
use crate::output;

#[derive(Serialize)]
struct Verified {
    #[serde(flatten)]
    report: VerifyReport,
    /// What was put right; absent without `--repair`.
    #[serde(skip_serializing_if = "Option::is_none")]
    repaired: Option<RepairReport>,
}

pub(crate) async fn run(context: &Context, args: &Verify) -> Result<(), Failure> {
    let scope = match &args.scope {
        None => Scope::All,
        Some(text) => match (text.parse::<BuildId>(), text.parse::<Channel>()) {
            (Ok(build), _) => Scope::Build(build),
            (Err(_), Ok(channel)) => Scope::Channel(channel),
            (Err(_), Err(error)) => return Err(Failure::usage(error)),
        },
    };
    let store = context.open()?;
    let fail = |error| Failure::new(Exit::Mirror, error);
    let mut report = verify(&store, &scope).await.map_err(fail)?;
    let mut repaired = None;
    if args.repair {
        repaired = Some(repair(&store, &report).await.map_err(fail)?);
        report = verify(&store, &scope).await.map_err(fail)?;
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
    Err(if repairable {
        failure.hint("`stx-builds verify --repair` puts right what is derived")
    } else {
        failure
    })
}
