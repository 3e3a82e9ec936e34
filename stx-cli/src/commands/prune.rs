//! `prune`: what the retention rules would remove.

use std::fmt::Write as _;

use stx_publish::{MirrorRead as _, Scope};
use stx_retention::{Policy, PrunePlan};

use super::{Context, refused};
use crate::args::Prune;
use crate::exit::Failure;
use crate::output;

pub(crate) async fn run(context: &Context, args: &Prune) -> Result<(), Failure> {
    if !args.dry_run {
        return Err(Failure::usage("removing builds is not there yet")
            .hint("`prune --dry-run` says what would go, and why"));
    }
    let catalog = context
        .open()?
        .catalog(&Scope::All)
        .await
        .map_err(refused)?;
    let plan = stx_retention::plan(&catalog, &Policy::default(), context.now);
    output::print(context.format(), &plan, || human(&plan))
}

fn human(plan: &PrunePlan) -> String {
    let mut text = String::new();
    for warning in &plan.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    for entry in &plan.expire {
        let _ = writeln!(text, "expire {}: {}", entry.build, entry.message);
    }
    for entry in &plan.keep {
        let reasons: Vec<_> = entry.reasons.iter().map(ToString::to_string).collect();
        let until = entry
            .until
            .map(|until| format!(", until {}", until.format("%Y-%m-%d")))
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "keep   {}: {}{until}",
            entry.build,
            reasons.join("; ")
        );
    }
    let _ = writeln!(
        text,
        "{} would go and free {}, {} would stay",
        plan.expire.len(),
        output::bytes(plan.bytes_freed()),
        plan.keep.len()
    );
    text
}
