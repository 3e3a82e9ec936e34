//! `diff`: the packages, images and commits that differ between two builds.

use stx_builds::diff::{Changes, Diff, Diffs, Image, Versions};
use stx_compare::inventory::Key;
use stx_compare::nearest::CommitRange;
use stx_layout::{counted, size};

use super::Context;
use crate::args;
use crate::exit::{Exit, Failure};
use crate::output::{self, Cell, Text, Tone, table};

pub(crate) async fn run(context: &Context, args: &args::Diff) -> Result<(), Failure> {
    let trust = args.trust.options();
    let diffs = context.site.diff(&args.from, &args.to, &trust).await?;
    output::print(context.format(), &diffs, || human(&diffs))?;
    if diffs.differs() {
        return Err(Failure::said(Exit::DIFFERENT));
    }
    Ok(())
}

fn human(diffs: &Diffs) -> Text {
    let mut text = Text::default();
    for (place, diff) in diffs.diffs.iter().enumerate() {
        if place > 0 {
            text.push("\n");
        }
        text.append(one(diff));
    }
    for (name, channels) in [("from", &diffs.only_from), ("to", &diffs.only_to)] {
        for channel in channels {
            let tone = if name == "to" { Tone::Good } else { Tone::Bad };
            let sign = if name == "to" { '+' } else { '-' };
            text.push(Cell::new(tone, format!("{sign} channel {channel}")));
            text.push("\n");
        }
    }
    text
}

fn one(diff: &Diff) -> Text {
    let mut text = Text::default();
    text.push(Cell::new(
        Tone::Head,
        format!("{} -> {}", diff.from, diff.to),
    ));
    text.push("\n");
    let (from, to) = diff.bytes;
    text.push(format!("size: {} -> {}\n", size(from), size(to)));
    text.push(format!("packages: {}\n", summary(&diff.packages)));
    text.append(lines(&diff.packages, |key: &Key| {
        [format!("{}.{}", key.name, key.arch), key.place.clone()]
    }));
    text.push(format!("images: {}\n", summary(&diff.images)));
    text.append(lines(&diff.images, |image: &Image| {
        [image.name.clone(), String::new()]
    }));
    let count = counted(diff.commits.len(), "repository");
    text.push(format!("commits: {count} moved\n"));
    let rows: Vec<_> = diff.commits.iter().map(commits).collect();
    text.append(table(&rows));
    text
}

fn summary<K>(changes: &Changes<K>) -> String {
    format!(
        "{} added, {} removed, {} changed, {} unchanged",
        changes.added.len(),
        changes.removed.len(),
        changes.changed.len(),
        changes.unchanged
    )
}

/// The lines of the differences; `shown` returns the name and the place of an item.
fn lines<K>(of: &Changes<K>, shown: impl Fn(&K) -> [String; 2]) -> Text {
    let row = |sign: &str, tone: Tone, versions: &Versions<K>| {
        let [name, place] = shown(&versions.key);
        let version = match (&versions.from, &versions.to) {
            (Some(from), Some(to)) if from == to => format!("{from}, rebuilt"),
            (Some(from), Some(to)) => format!("{from} -> {to}"),
            (from, to) => from.as_ref().or(to.as_ref()).cloned().unwrap_or_default(),
        };
        vec![
            Cell::new(tone, format!("  {sign} {name}")),
            version.into(),
            place.into(),
        ]
    };
    let added = of.added.iter().map(|it| row("+", Tone::Good, it));
    let removed = of.removed.iter().map(|it| row("-", Tone::Bad, it));
    let changed = of.changed.iter().map(|it| row("~", Tone::Doubtful, it));
    table(&added.chain(removed).chain(changed).collect::<Vec<_>>())
}

/// The commits of a repository, in the notation of `git log`.
fn commits(range: &CommitRange) -> Vec<Cell> {
    let short = |commit: &str| commit.get(..12).unwrap_or(commit).to_owned();
    let moved = match (&range.from, &range.to) {
        (Some(from), Some(to)) => format!("{}..{}", short(from), short(to)),
        (None, Some(to)) => format!("new, at {}", short(to)),
        (Some(from), None) => format!("removed, was at {}", short(from)),
        (None, None) => String::new(),
    };
    vec![
        format!("  {}", range.path).into(),
        moved.into(),
        range.url.clone().unwrap_or_default().into(),
    ]
}
