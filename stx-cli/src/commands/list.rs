//! `list`: channels and builds.

use std::collections::BTreeMap;

use serde::Serialize;
use stx_layout::{
    AliasEntry, AliasName, BuildEntry, BuildId, BuildOutcome, BuildState, Catalog, RootAlias,
    RootEntry, VerdictEntry,
};
use stx_publish::{Scope, ThinnedSection};
use stx_retention::{Decision, PrunePlan, Reason};

use super::Context;
use crate::args::List;
use crate::exit::Failure;
use crate::output;
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
    let plan = retention::known_decisions(&context.site, &reader, &catalog).await?;
    let wanted = |id: &BuildId| {
        args.channel
            .as_ref()
            .is_none_or(|channel| *channel == id.channel)
    };
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
    for (id, entry) in catalog.builds().filter(|(id, _)| wanted(id)) {
        let thinned = match &reader {
            Reader::Own(mirror) => retention::thinned(&**mirror, &id).await?,
            // A request for each build; `show` makes the one that is needed.
            Reader::Http(_) | Reader::Trusted(..) => Vec::new(),
        };
        let listed = Listed::new(&catalog, plan.as_ref(), id, entry, thinned, &verdicts);
        listing.builds.push(listed);
    }
    output::print(context.format(), &listing, || {
        if listing.builds.is_empty() {
            return "no builds".to_owned();
        }
        let rows: Vec<_> = listing
            .builds
            .iter()
            .map(|listed| {
                let aliases: Vec<_> = listed.aliases.iter().map(AliasName::as_str).collect();
                vec![
                    listed.build.to_string(),
                    listed.outcome(),
                    output::age(context.site.now, listed.build.date.time()),
                    listed.bytes.map(output::bytes).unwrap_or_default(),
                    listed.stays(),
                    aliases.join(" "),
                    listed.without(),
                ]
            })
            .collect();
        let names = listing.aliases.iter();
        let names = names.map(|(alias, to)| format!("{alias} -> {to}\n"));
        output::columns(&rows) + &names.collect::<String>()
    })
}
