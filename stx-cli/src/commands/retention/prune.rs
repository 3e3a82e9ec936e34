//! `prune`: make or read a plan, and apply it step by step.

use std::fmt::Write as _;

use camino::Utf8Path;
use stx_builds::files::{self, Durable};
use stx_builds::retention::{GRACE, Pruned, stays};
use stx_layout::{counted, size};
use stx_retention::{PrunePlan, Reason, Warning};

use super::until;
use crate::args::Prune;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) async fn prune(context: &Context, args: &Prune) -> Result<(), Failure> {
    let site = &context.site;
    let plan = match &args.plan {
        Some(file) => read_plan(file)?,
        None => site.plan_prune(args.allow).await?,
    };
    if let Some(file) = &args.plan_out {
        write_plan(file, &plan)?;
    }
    if args.dry_run || args.plan_out.is_some() {
        return output::print(context.format(), &plan, || human(&plan));
    }
    let (pruned, applied) = site.apply_prune(plan, args.allow, args.empty_trash).await?;
    // Even if an error ended it, report everything that was done before.
    output::print(context.format(), &pruned, || done(&pruned))?;
    applied?;
    if !pruned.failed.is_empty() {
        let hint = "find the cause, and run `prune` again; `prune --empty-trash` frees space at once: \
                    it purges the retired builds, so that `undelete` cannot restore them";
        let steps: Vec<_> = pruned.failures().collect();
        return Err(Failure::new(Exit::Mirror, steps.join("; ")).hint(hint));
    }
    if !pruned.left.is_empty() {
        let hint = "each build that was left is named above with the reason; correct it, and run `prune` again, with a new plan if builds changed";
        return Err(Failure::said(Exit::Mirror).hint(hint));
    }
    let allow = pruned.plan.warnings.iter().filter_map(Warning::allow).max();
    if !pruned.doubted.is_empty() || allow.is_some() {
        let number = allow.map_or_else(|| "N".to_owned(), |allow| allow.to_string());
        return Err(Failure::said(Exit::Mirror).hint(format!(
            "check the clock and the policy; if they are right, `stx-builds prune --allow {number}` removes the builds that were held back"
        )));
    }
    Ok(())
}

fn read_plan(file: &Utf8Path) -> Result<PrunePlan, Failure> {
    let text = fs_err::read_to_string(file).map_err(Failure::usage)?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!("{file}: not a plan of `prune`: {error}"))
            .hint("`prune --plan-out FILE` writes a plan")
    })
}

/// Writes a plan, completely or not at all.
fn write_plan(file: &Utf8Path, plan: &PrunePlan) -> Result<(), Failure> {
    let mut text =
        serde_json::to_string_pretty(plan).map_err(|error| Failure::new(Exit::Bug, error))?;
    text.push('\n');
    files::replace(file, text.as_bytes(), Durable::Yes).map_err(Failure::usage)
}

fn human(plan: &PrunePlan) -> String {
    let mut text = String::new();
    for warning in &plan.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    let expire = plan.expire.iter();
    let expire = expire.map(|entry| ("expire", &entry.build, &entry.message, entry.bytes_freed));
    let thin = plan.sections.iter();
    let thin = thin.map(|entry| ("thin  ", &entry.build, &entry.message, entry.bytes_freed));
    for (word, build, message, freed) in expire.chain(thin) {
        let freed = size(freed);
        let _ = writeln!(text, "{word} {build}: {message}, frees {freed}");
    }
    for entry in &plan.keep {
        let reasons: Vec<_> = entry.reasons.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            text,
            "keep   {}: {}{}",
            entry.build,
            reasons.join("; "),
            until(entry.until)
        );
    }
    let sections = match plan.sections.len() {
        0 => String::new(),
        sections => format!(
            " and {} before {}",
            counted(sections, "section"),
            if sections == 1 {
                "its build"
            } else {
                "their builds"
            }
        ),
    };
    let (go, stay, freed) = (plan.expire.len(), plan.keep.len(), size(plan.bytes_freed()));
    let _ = writeln!(
        text,
        "{go} would be retired{sections}, freeing {freed}; {stay} would be kept"
    );
    text
}

fn done(pruned: &Pruned) -> String {
    let mut text = String::new();
    for warning in &pruned.plan.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    for build in &pruned.retired {
        let _ = writeln!(text, "retired {build}");
    }
    for section in &pruned.thinned {
        let _ = writeln!(text, "thinned {section}");
    }
    for entry in &pruned.plan.keep {
        // All other builds are kept by the policy, as expected.
        if let [reason @ Reason::InUse { .. }] = entry.reasons.as_slice() {
            let _ = writeln!(text, "kept    {}: {reason}", entry.build);
        }
    }
    for what in &pruned.finished {
        let _ = writeln!(text, "swept   {what}");
    }
    for (what, why) in &pruned.left {
        let _ = writeln!(text, "left    {what}: {why}");
    }
    for retired in &pruned.purged {
        let _ = writeln!(text, "purged  {retired}");
    }
    for retired in &pruned.doubted {
        let _ = writeln!(text, "{}", stays(retired));
    }
    for name in &pruned.untagged {
        let _ = writeln!(text, "untagged {name}");
    }
    for (name, why) in &pruned.tags_kept {
        let _ = writeln!(text, "kept the tag {name}: {why}");
    }
    let days = GRACE.num_days();
    let _ = writeln!(
        text,
        "{} retired and {} thinned, `undelete` restores them for {}",
        counted(pruned.retired.len(), "build"),
        counted(pruned.thinned.len(), "section"),
        counted(days, "day")
    );
    text
}
