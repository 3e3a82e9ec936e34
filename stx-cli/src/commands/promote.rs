//! `promote`: publish a tested build as a release.

use stx_builds::promote::Promote;

use super::{Context, publish};
use crate::args;
use crate::exit::Failure;
use crate::output;

pub(crate) async fn run(context: &Context, args: &args::Promote) -> Result<(), Failure> {
    let wanted = Promote {
        date: args.date,
        by: args.by.clone(),
        reason: args.reason.clone(),
        force: args.force,
        force_alias: args.force_alias,
        ..Promote::new(args.build.clone(), args.to.clone())
    };
    if args.dry_run {
        let planned = context.site.plan_promotion(&wanted).await?;
        return publish::print_plan(context, &planned);
    }
    let report = context.site.promote(&wanted).await?;
    output::print(context.format(), &report, || report.to_string())
}
