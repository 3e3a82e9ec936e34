//! `since`: find the build in which a package last changed.

use stx_builds::since::{Among, Found, Since};
use stx_compare::nearest::CommitRange;
use stx_layout::printable;

use super::Context;
use crate::args;
use crate::exit::Failure;
use crate::output;

pub(crate) async fn run(context: &Context, args: &args::Since) -> Result<(), Failure> {
    let among = match (&args.channel, &args.from, &args.to) {
        (_, Some(from), Some(to)) => Among::Between {
            from: from.clone(),
            to: to.clone(),
        },
        // The argument parser requires one of them.
        (channel, ..) => Among::Channel(channel.clone().unwrap_or_default()),
    };
    let wanted = Since {
        package: args.package.clone(),
        among,
        file: args.file.clone(),
        version: args.version.clone(),
        phase: args.phase.clone(),
        trust: args.trust.options(),
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
        let searched = match &found.passed_over {
            Some(_) => "still has the package",
            None => "was searched",
        };
        let oldest = &found.oldest;
        return match &args.version {
            Some(version) => {
                let version = printable(version);
                format!(
                    "{what} is {version} or newer in every build that {searched}; the oldest is {oldest}\n"
                )
            }
            None => {
                format!("{what} has not changed since the oldest build that {searched}, {oldest}\n")
            }
        };
    };
    let is = match &args.version {
        Some(version) => format!("is {} or newer since", printable(version)),
        None => "last changed in".to_owned(),
    };
    let origin = found.origin.as_ref();
    let origin = origin.map_or_else(String::new, |origin| format!(" (promoted from {origin})"));
    let mut text = format!("{what} {is} {changed}{origin}; the good build before it is {before}\n");
    let mut lines = Vec::new();
    if found.versions.0.is_none() {
        lines.push("it did not exist before".to_owned());
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

/// The commits of a git repository, on one line.
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
