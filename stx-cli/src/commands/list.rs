//! `list`: channels and builds.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildEntry, BuildId, BuildOutcome, BuildState, Catalog,
    Channel, RootAlias, RootEntry, VerdictEntry, size,
};
use stx_publish::{Scope, ThinnedSection};
use stx_retention::{Decision, PrunePlan, Reason};

use super::Context;
use crate::args::List;
use crate::exit::Failure;
use crate::output::{self, Cell, Text, Tone};
use stx_builds::error::refused;
use stx_builds::verdicts::{verdicts, verdicts_on};
use stx_builds::{Reader, build_ref, retention};

/// One build as `list` and `show` tell of it.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    build: BuildId,
    /// Absent where the record cannot be read.
    result: Option<BuildOutcome>,
    /// Why the record cannot be read.
    unreadable: Option<String>,
    /// The verdicts on it, oldest first; the newest counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) verdicts: Vec<VerdictEntry>,
    aliases: Vec<AliasName>,
    files: Option<u64>,
    bytes: Option<u64>,
    first_failing_phase: Option<String>,
    /// The sections that retention took from the build; absent where it took none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) thinned: Vec<ThinnedSection>,
    /// The decision of the retention policy about it.
    pub(crate) retention: Option<Decision>,
}

impl Listed {
    pub(crate) fn new(
        catalog: &Catalog,
        plan: Option<&PrunePlan>,
        build: BuildId,
        entry: &BuildEntry,
        thinned: Vec<ThinnedSection>,
        verdicts: &[VerdictEntry],
    ) -> Self {
        let record = entry.record();
        let aliases = catalog
            .channels
            .get(&build.channel)
            .map(|channel| &channel.aliases)
            .into_iter()
            .flatten();
        Self {
            result: record.map(|record| record.result),
            unreadable: match &entry.state {
                BuildState::Known(_) => None,
                BuildState::Unreadable(why) => Some(why.clone()),
            },
            aliases: aliases
                .filter(|(_, points_at)| **points_at == AliasEntry::Build(build.date))
                .map(|(name, _)| name.clone())
                .collect(),
            verdicts: verdicts_on(verdicts, &build),
            files: record.map(|record| record.files),
            bytes: record.map(|record| record.bytes),
            first_failing_phase: record.and_then(|record| record.first_failing_phase.clone()),
            thinned,
            retention: plan.and_then(|plan| plan.decision(&build)),
            build,
        }
    }

    /// `success`, `fail (PHASE)`, or that nobody knows; and the verdict that counts.
    pub(crate) fn outcome(&self) -> String {
        let verdict = self.verdicts.last().map(|entry| entry.verdict);
        match (self.result, &self.first_failing_phase) {
            (Some(BuildOutcome::Fail), Some(phase)) => format!("fail ({phase})"),
            (Some(outcome), _) => match verdict {
                Some(verdict) => format!("{outcome}, {verdict}"),
                None => outcome.to_string(),
            },
            (None, _) => "unreadable".to_owned(),
        }
    }

    /// The outcome in its colour.
    pub(crate) fn outcome_cell(&self) -> Cell {
        let tone = match (self.result, self.verdicts.last()) {
            (Some(BuildOutcome::Success), Some(entry)) => Tone::from(entry.verdict),
            (Some(outcome), _) => outcome.into(),
            (None, _) => Tone::Bad,
        };
        Cell::new(tone, self.outcome())
    }

    /// The sections that retention took from it, in a few words.
    fn without(&self) -> String {
        let sections: Vec<_> = self
            .thinned
            .iter()
            .map(|gone| gone.section.as_str())
            .collect();
        match sections.as_slice() {
            [] => String::new(),
            sections => format!("without {}", sections.join(", ")),
        }
    }

    /// How long it stays, in a few words; that it is pinned, or only held back by a limit, is among them.
    pub(crate) fn stays(&self) -> String {
        match &self.retention {
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
}

#[derive(Serialize)]
struct Listing {
    mirror: String,
    builds: Vec<Listed>,
    /// The names that point at releases and channels; of one channel, those that lead to it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    aliases: BTreeMap<RootAlias, RootEntry>,
}

pub(crate) async fn run(context: &Context, args: &List) -> Result<(), Failure> {
    let reader = context.site.reader()?;
    let catalog = reader.store().catalog(&Scope::All).await.map_err(refused)?;
    if let Some(channel) = &args.channel
        && !catalog.channels.contains_key(channel)
    {
        return Err(build_ref::missing_channel(&catalog, channel).into());
    }
    if catalog.channels.is_empty() {
        let mirror = context.site.root()?;
        context.say(&format!(
            "note: {mirror} holds no build yet; is it the root of the mirror?"
        ));
    }
    if args.channels {
        return channels(context, args, &catalog);
    }
    let plan = retention::known_decisions(&context.site, &reader, &catalog).await?;
    let mut aliases = reader.store().root_aliases().await.map_err(refused)?;
    if let Some(channel) = &args.channel {
        aliases.retain(|_, to| to.target().is_some_and(|to| to.holds(channel)));
    }
    let verdicts = verdicts(&reader, &catalog).await?;
    let mut listing = Listing {
        mirror: context.site.root()?.into_string(),
        builds: Vec::new(),
        aliases,
    };
    for (id, entry) in chosen(&catalog, args, context.site.now) {
        let thinned = match &reader {
            Reader::Own(mirror) => retention::thinned(&**mirror, &id).await?,
            // A request for each build; `show` makes the one that is needed.
            Reader::Http(_) | Reader::Trusted(..) => Vec::new(),
        };
        let listed = Listed::new(&catalog, plan.as_ref(), id, entry, thinned, &verdicts);
        listing.builds.push(listed);
    }
    output::print(context.format(), &listing, || human(&listing, context))
}

/// The builds that the arguments ask for, in the order of the catalog: by channel, oldest first.
fn chosen<'a>(
    catalog: &'a Catalog,
    args: &List,
    now: DateTime<Utc>,
) -> Vec<(BuildId, &'a BuildEntry)> {
    let since = args.since.map(|since| since.before(now));
    let is_failed = |entry: &BuildEntry| {
        let record = entry.record();
        record.is_some_and(|record| record.result == BuildOutcome::Fail)
    };
    let builds = catalog.builds().filter(|(id, entry)| {
        args.channel
            .as_ref()
            .is_none_or(|channel| *channel == id.channel)
            && since.is_none_or(|since| id.date.time() >= since)
            && (!args.failed || is_failed(entry))
    });
    let mut builds: Vec<_> = builds.collect();
    if let Some(limit) = args.limit {
        let newest = |(id, _): &(BuildId, &BuildEntry)| Reverse((id.date, id.channel.clone()));
        builds.sort_by_key(newest);
        builds.truncate(limit);
        builds.sort_by(|(one, _), (other, _)| one.cmp(other));
    }
    builds
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
        // Programs read lines of builds only.
        if output::is_terminal() {
            rows.push(head([
                "BUILD", "RESULT", "AGE", "SIZE", "STAYS", "ALIASES", "THINNED",
            ]));
        }
        for listed in &listing.builds {
            let aliases: Vec<_> = listed.aliases.iter().map(AliasName::as_str).collect();
            let stays = match &listed.retention {
                Some(Decision::Expire { .. }) => Tone::Doubtful,
                Some(Decision::Keep { .. }) | None => Tone::Plain,
            };
            rows.push(vec![
                listed.build.to_string().into(),
                listed.outcome_cell(),
                output::age(context.site.now, listed.build.date.time()).into(),
                Cell::from(listed.bytes.map(size).unwrap_or_default()).or_dash(),
                Cell::new(stays, listed.stays()).or_dash(),
                Cell::from(aliases.join(" ")).or_dash(),
                listed.without().into(),
            ]);
        }
        output::table(&rows)
    };
    for (alias, to) in &listing.aliases {
        text.push(format!("{alias} -> {to}\n"));
    }
    text
}

/// One channel as `list --channels` tells of it.
#[derive(Debug, Serialize)]
struct ListedChannel<'a> {
    channel: &'a Channel,
    builds: usize,
    failed: usize,
    newest: Option<BuildDate>,
    /// The result of the newest build; absent where its record cannot be read.
    newest_result: Option<BuildOutcome>,
    aliases: &'a BTreeMap<AliasName, AliasEntry>,
}

#[derive(Serialize)]
struct Channels<'a> {
    mirror: String,
    channels: Vec<ListedChannel<'a>>,
}

fn channels(context: &Context, args: &List, catalog: &Catalog) -> Result<(), Failure> {
    let wanted = catalog
        .channels
        .iter()
        .filter(|(channel, _)| args.channel.as_ref().is_none_or(|only| only == *channel));
    let listed = wanted.map(|(channel, entry)| {
        let result = |build: &BuildEntry| Some(build.record()?.result);
        let newest = entry.builds.last_key_value();
        let results = entry.builds.values().filter_map(result);
        ListedChannel {
            channel,
            builds: entry.builds.len(),
            failed: results.filter(|it| *it == BuildOutcome::Fail).count(),
            newest: newest.map(|(date, _)| *date),
            newest_result: newest.and_then(|(_, build)| result(build)),
            aliases: &entry.aliases,
        }
    });
    let listing = Channels {
        mirror: context.site.root()?.into_string(),
        channels: listed.collect(),
    };
    let now = context.site.now;
    output::print(context.format(), &listing, || {
        let mut rows = Vec::new();
        if output::is_terminal() {
            rows.push(head([
                "CHANNEL", "BUILDS", "FAILED", "NEWEST", "RESULT", "AGE", "LATEST",
            ]));
        }
        rows.extend(listing.channels.iter().map(|channel| channel.row(now)));
        output::table(&rows)
    })
}

impl ListedChannel<'_> {
    fn row(&self, now: DateTime<Utc>) -> Vec<Cell> {
        let latest = self.aliases.get(&AliasName::latest_build());
        let latest = latest.map_or_else(String::new, |latest| match latest {
            AliasEntry::Build(date) => date.to_string(),
            AliasEntry::Other(target) => target.clone(),
        });
        let result = match (self.newest, self.newest_result) {
            (None, _) => Cell::default(),
            (Some(_), Some(result)) => Cell::new(result, result.to_string()),
            (Some(_), None) => Cell::new(Tone::Bad, "unreadable"),
        };
        let newest = self.newest.as_ref();
        vec![
            self.channel.to_string().into(),
            self.builds.to_string().into(),
            self.failed.to_string().into(),
            Cell::from(newest.map(ToString::to_string).unwrap_or_default()).or_dash(),
            result.or_dash(),
            Cell::from(newest.map_or_else(String::new, |date| output::age(now, date.time())))
                .or_dash(),
            Cell::from(latest).or_dash(),
        ]
    }
}
