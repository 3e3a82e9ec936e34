//! `since`: the build from which on a package is as it is now.

use stx_builds::since::{Found, Since};
use stx_compare::nearest::CommitRange;
use stx_layout::printable;

use super::Context;
use crate::args;
use crate::exit::Failure;
use crate::output;

pub(crate) async fn run(context: &Context, args: &args::Since) -> Result<(), Failure> {
    let wanted = Since {
        package: args.package.clone(),
        channel: args.channel.clone(),
        file: args.file.clone(),
        version: args.version.clone(),
        phase: args.phase.clone(),
    };
    let found = context.site.since(&wanted).await?;
    output::print(context.format(), &found, || shown(&found, args))
}

fn shown(found: &Found, args: &args::Since) -> String {
    let what = match &args.file {
        Some(path) => format!("{path} of {}.{}", found.key.name, found.key.arch),
        None => format!("{}.{}", found.key.name, found.key.arch),
    };
    let what = printable(&what);
    let (Some(changed), Some(before)) = (&found.changed, &found.before) else {
        return format!("{what} is as it is since {} or before\n", found.oldest);
    };
    let mut text =
        format!("{what} is as it is since {changed}, the good build before is {before}\n");
    if let Some(version) = &args.version {
        text = format!(
            "{what} is {} or newer since {changed}, the good build before is {before}\n",
            printable(version)
        );
    }
    let mut lines = Vec::new();
    if found.versions.0.is_none() {
        lines.push("it was not there before".to_owned());
    }
    for change in &found.changes {
        lines.extend(change.to_string().lines().map(ToOwned::to_owned));
    }
    lines.extend(found.commits.iter().map(shown_range));
    for line in lines {
        text.push_str("  ");
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// The commits of a git, in a line.
fn shown_range(range: &CommitRange) -> String {
    let short = |commit: &Option<String>| {
        let commit = commit.as_deref().unwrap_or_default();
        printable(commit.get(..12).unwrap_or(commit)).into_owned()
    };
    let url = range.url.as_deref().unwrap_or_default();
    let (from, to) = (short(&range.from), short(&range.to));
    let line = format!(
        "commits {} {from}..{to} {}",
        printable(&range.path),
        printable(url)
    );
    line.trim_end().to_owned()
}
