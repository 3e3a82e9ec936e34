//! `publish`: publish a finished tree as a build of the mirror.

use stx_builds::publish::{Planned, PushedRules, Tree};
use stx_layout::BuildId;

use super::Context;
use crate::args::Publish;
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) async fn run(context: &Context, args: &Publish) -> Result<(), Failure> {
    let tree = Tree {
        result: args.result,
        source_roots: args.source_root.clone(),
        force_alias: args.force_alias,
        pushed: args
            .pushed_images
            .then(|| PushedRules::new(args.staging.clone())),
        ..Tree::new(
            args.dir.clone(),
            BuildId::new(args.channel.clone(), args.date),
        )
    };
    if !args.dry_run {
        let report = context.site.publish(&tree).await?;
        return output::print(context.format(), &report, || report.to_string());
    }
    let planned = context.site.plan_publish(&tree).await?;
    print_plan(context, &planned)
}

/// Prints what would be published.
pub(super) fn print_plan(context: &Context, planned: &Planned) -> Result<(), Failure> {
    let json = document(planned).map_err(|error| Failure::new(Exit::Bug, error))?;
    output::print(context.format(), &json, || planned.to_string())
}

/// A plan as JSON, without the paths of redacted copies: these exist only while the plan is made.
fn document(planned: &Planned) -> serde_json::Result<serde_json::Value> {
    let mut json = serde_json::to_value(&planned.plan)?;
    for path in planned.plan.privacy.redacted.keys() {
        let entry = json["incoming"][path.as_str()].as_object_mut();
        entry.and_then(|entry| entry.remove("source"));
    }
    if let Some(images) = &planned.images {
        json["images"] = serde_json::to_value(images)?;
    }
    if !planned.names.is_empty() {
        json["names"] = serde_json::to_value(&planned.names)?;
    }
    if let Some(why) = &planned.short_lived {
        json["short_lived"] = serde_json::to_value(why)?;
    }
    Ok(json)
}
