//! `copy`: copy builds from one mirror to another.

use stx_builds::copy::Copy;
use stx_layout::{counted, size};
use stx_publish::replicate::CopyReport;

use super::Context;
use crate::args::{self, Format};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) async fn run(context: &Context, args: &args::Copy) -> Result<(), Failure> {
    let wanted = Copy {
        from: args.from.clone(),
        to: args.to.clone(),
        channels: args.channel.clone(),
        delete: args.delete,
        work: args.work.clone(),
        trust: args.trust.options(),
    };
    if args.dry_run {
        let plan = context.site.plan_copy(&wanted).await?;
        output::print(context.format(), &plan, || plan.to_string())?;
        return left(&plan.problems(), false);
    }
    let report = context.site.copy(&wanted).await?;
    output::print(context.format(), &report, || human(&report))?;
    left(&report.left, context.format() == Format::Human)
}

/// An incomplete copy fails the command, so that the mirrors are not mistaken for equal.
fn left(problems: &[String], said: bool) -> Result<(), Failure> {
    if problems.is_empty() {
        return Ok(());
    }
    if said {
        for problem in problems {
            output::note(&format!("left {}", stx_layout::printable(problem)));
        }
    }
    Err(Failure::said(Exit::Mirror).hint(
        "everything else was copied, or would be; run `verify` to see which mirror is damaged",
    ))
}

fn human(report: &CopyReport) -> String {
    let copied = report
        .copied
        .iter()
        .map(|build| format!("copied {build}\n"));
    let moved = report.moved.iter().map(|alias| format!("moved {alias}\n"));
    let retired = report
        .retired
        .iter()
        .map(|build| format!("retired {build}\n"));
    let marks = [(report.marked, "verdict"), (report.pinned, "pin")];
    let marks = marks.into_iter().filter(|(count, _)| *count > 0);
    let marks = marks.map(|(count, what)| format!("copied {}\n", counted(count, what)));
    let gone = report
        .gone
        .iter()
        .map(|build| format!("skipped {build}, which was retired meanwhile\n"));
    let lines = copied.chain(moved).chain(marks).chain(retired).chain(gone);
    let lines: Vec<_> = lines.collect();
    format!(
        "{}{} copied, {} transferred, {} already existed\n",
        lines.concat(),
        counted(report.copied.len(), "build"),
        size(report.transferred),
        size(report.shared)
    )
}
