//! `list`: channels and builds.

use chrono::{DateTime, Utc};
use stx_builds::listing::{ChannelListing, ListOptions, ListedBuild, ListedChannel, Listing};
use stx_layout::{AliasEntry, AliasName, BuildOutcome, size};
use stx_retention::{Decision, Reason};

use super::Context;
use crate::args::List;
use crate::exit::Failure;
use crate::output::{self, Cell, Text, Tone};

pub(crate) async fn run(context: &Context, args: &List) -> Result<(), Failure> {
    if args.channels {
        let listing = context.site.list_channels(args.channel.as_ref()).await?;
        return output::print(context.format(), &listing, || channels(&listing, context));
    }
    let mut options = ListOptions::default();
    options.channel.clone_from(&args.channel);
    options.since = args.since.map(|since| since.before(context.site.now));
    options.failed = args.failed;
    options.limit = args.limit;
    let listing = context.site.list(&options).await?;
    output::print(context.format(), &listing, || human(&listing, context))
}

/// The result of a build: `success`, `fail (PHASE)`, or that it is unknown; and the newest verdict.
pub(super) fn outcome(listed: &ListedBuild) -> Cell {
    let verdict = listed.verdicts.last().map(|entry| entry.verdict);
    match (listed.result, &listed.first_failing_phase, verdict) {
        (None, _, _) => Cell::new(Tone::Bad, "unreadable"),
        (Some(BuildOutcome::Fail), Some(phase), _) => {
            Cell::new(BuildOutcome::Fail, format!("fail ({phase})"))
        }
        (Some(outcome), _, None) => Cell::new(outcome, outcome.to_string()),
        (Some(outcome), _, Some(verdict)) => {
            let text = format!("{outcome}, {verdict}");
            match outcome {
                BuildOutcome::Success => Cell::new(verdict, text),
                BuildOutcome::Fail => Cell::new(outcome, text),
            }
        }
    }
}

/// The sections that retention removed from a build, in short.
fn without(listed: &ListedBuild) -> String {
    let sections = listed.thinned.iter().map(|gone| gone.section.as_str());
    let sections: Vec<_> = sections.collect();
    match sections.as_slice() {
        [] => String::new(),
        sections => format!("without {}", sections.join(", ")),
    }
}

/// The retention of a build, in short; also that it is pinned, or kept only by a limit.
pub(super) fn stays(listed: &ListedBuild) -> String {
    match &listed.retention {
        Some(Decision::Keep { reasons, until }) => {
            let held_back = reasons.iter().find_map(Reason::held_back);
            let pinned = reasons.iter().any(|it| matches!(it, Reason::Pinned { .. }));
            let text = match (held_back, until) {
                (Some(since), _) => {
                    format!("expired {}, held back", since.format("%Y-%m-%d"))
                }
                (None, Some(until)) => format!("until {}", until.format("%Y-%m-%d")),
                (None, None) => "stays".to_owned(),
            };
            if pinned { text + ", pinned" } else { text }
        }
        Some(Decision::Expire { since, .. }) => format!("expired {}", since.format("%Y-%m-%d")),
        None => String::new(),
    }
}

/// A row of bold words.
fn head<const N: usize>(names: [&str; N]) -> Vec<Cell> {
    names.map(|name| Cell::new(Tone::Head, name)).into()
}

fn human(listing: &Listing, context: &Context) -> Text {
    let mut text = if listing.builds.is_empty() {
        Text::from("no builds\n")
    } else {
        let mut rows = Vec::new();
        // Programs read only the lines of builds.
        if output::is_terminal() {
            rows.push(head([
                "BUILD", "RESULT", "AGE", "SIZE", "STAYS", "ALIASES", "THINNED",
            ]));
        }
        for listed in &listing.builds {
            let aliases: Vec<_> = listed.aliases.iter().map(AliasName::as_str).collect();
            let tone = match &listed.retention {
                Some(Decision::Expire { .. }) => Tone::Doubtful,
                Some(Decision::Keep { .. }) | None => Tone::Plain,
            };
            rows.push(vec![
                listed.build.to_string().into(),
                outcome(listed),
                output::age(context.site.now, listed.build.date.time()).into(),
                Cell::from(listed.bytes.map(size).unwrap_or_default()).or_dash(),
                Cell::new(tone, stays(listed)).or_dash(),
                Cell::from(aliases.join(" ")).or_dash(),
                without(listed).into(),
            ]);
        }
        output::table(&rows)
    };
    for (alias, to) in &listing.aliases {
        text.push(format!("{alias} -> {to}\n"));
    }
    text
}

fn channels(listing: &ChannelListing, context: &Context) -> Text {
    let mut rows = Vec::new();
    if output::is_terminal() {
        rows.push(head([
            "CHANNEL", "BUILDS", "FAILED", "NEWEST", "RESULT", "AGE", "LATEST",
        ]));
    }
    let channels = listing.channels.iter();
    rows.extend(channels.map(|channel| channel_row(channel, context.site.now)));
    output::table(&rows)
}

fn channel_row(channel: &ListedChannel, now: DateTime<Utc>) -> Vec<Cell> {
    let latest = channel.aliases.get(&AliasName::latest_build());
    let latest = latest.map_or_else(String::new, |latest| match latest {
        AliasEntry::Build(date) => date.to_string(),
        AliasEntry::Other(target) => target.clone(),
    });
    let result = match (channel.newest, channel.newest_result) {
        (None, _) => Cell::default(),
        (Some(_), Some(result)) => Cell::new(result, result.to_string()),
        (Some(_), None) => Cell::new(Tone::Bad, "unreadable"),
    };
    let newest = channel.newest.as_ref();
    vec![
        channel.channel.to_string().into(),
        channel.builds.to_string().into(),
        channel.failed.to_string().into(),
        Cell::from(newest.map(ToString::to_string).unwrap_or_default()).or_dash(),
        result.or_dash(),
        Cell::from(newest.map_or_else(String::new, |date| output::age(now, date.time()))).or_dash(),
        Cell::from(latest).or_dash(),
    ]
}
