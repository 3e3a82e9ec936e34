//! `alias`: names that point at releases and channels.

use stx_builds::aliases::{ChangedAlias, ListedAlias};
use stx_publish::FindingKind;

use super::Context;
use crate::args::{AliasSet, AliasUnset};
use crate::exit::Failure;
use crate::output;

pub(crate) async fn list(context: &Context) -> Result<(), Failure> {
    let listed = context.site.aliases().await?;
    output::print(context.format(), &listed, || {
        if listed.is_empty() {
            return "no aliases".to_owned();
        }
        let row = |listed: &ListedAlias| {
            let target = listed.target.clone();
            vec![
                listed.alias.clone(),
                target.unwrap_or_else(|| "not there".to_owned()),
                listed.finding.map(remark).unwrap_or_default().to_owned(),
            ]
        };
        output::columns(&listed.iter().map(row).collect::<Vec<_>>())
    })
}

/// The fault of an alias, in short.
fn remark(finding: FindingKind) -> &'static str {
    match finding {
        FindingKind::AliasDangling => "dangling",
        FindingKind::AliasNotNewest => "not the newest",
        FindingKind::AliasMalformed => "leads to no release, channel or build",
        FindingKind::AliasMissing => "missing",
        FindingKind::AliasDiffers => "not as configured",
        FindingKind::AliasUnconfigured => "made by hand",
        // Aliases have no other findings.
        _ => "see `verify`",
    }
}

pub(crate) async fn set(context: &Context, args: &AliasSet) -> Result<(), Failure> {
    let site = &context.site;
    let changed = site.set_alias(&args.alias, &args.target, args.force, args.dry_run);
    let changed = changed.await?;
    if !changed.managed && !args.dry_run {
        let (alias, target) = (&args.alias, &args.target);
        context.say(&format!(
            "note: {alias} is not configured; `\"{alias}\" = \"{target}\"` in [aliases] of stx-builds.toml keeps it right"
        ));
    }
    print(context, &changed, args.dry_run)
}

pub(crate) async fn unset(context: &Context, args: &AliasUnset) -> Result<(), Failure> {
    let changed = context.site.unset_alias(&args.alias, args.dry_run).await?;
    if changed.managed && !args.dry_run {
        context.say(&format!(
            "note: the next publish to its target makes {} again; [aliases] of stx-builds.toml says whether it is made",
            args.alias
        ));
    }
    print(context, &changed, args.dry_run)
}

fn print(context: &Context, changed: &ChangedAlias, dry_run: bool) -> Result<(), Failure> {
    output::print(context.format(), changed, || {
        let alias = &changed.alias;
        let before = changed.before.as_ref();
        let before = before.map_or("nothing".to_owned(), ToString::to_string);
        let would = if dry_run { "would be " } else { "" };
        match &changed.target {
            Some(to) if !changed.changed => format!("{alias} points at {to} already"),
            Some(to) => format!("{would}set: {alias} -> {to}, before: {before}"),
            None => format!("{would}removed: {alias} -> {before}"),
        }
    })
}
