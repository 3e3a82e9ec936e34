//! Copies builds from one mirror to another, to make a downstream mirror.
//!
//! ```text
//! survey(from), survey(to) ──> plan ──> CopyPlan ──> copy ──> CopyReport
//! ```
//!
//! A build arrives with its original `build.json` and `SHA256SUMS`, or not at all; every byte is checked against these sums
//! during the copy. Builds are copied in the order of their dates, aliases after them. Data that was copied before is not copied
//! again; the same command resumes an interrupted copy. A build that is damaged on the first mirror is left out, and all others
//! are copied. A build that lost sections to retention arrives without them, and with the record of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildId, BuildState, Catalog, Channel, Pin, RootAlias,
    RootEntry, RootTarget, Section, Sha256, VerdictEntry, counted, printable, size,
};

use crate::error::chain;
use crate::incoming::digest_of;
use crate::store::rules::{show_alias, show_root};
use crate::store::{MirrorRead, Scope, StoreError, thinned};

mod execute;
mod names;
mod report;
#[cfg(test)]
mod tests;

pub use execute::copy;
pub use report::{CopyError, CopyEvent, CopyReport};

/// The number of builds that are compared at the same time: each comparison waits for a mirror that may be far away.
const COMPARED: usize = 16;

/// A request to copy builds from one mirror to another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CopyRequest {
    /// The channels to copy; all channels if empty.
    pub channels: BTreeSet<Channel>,
    /// True if builds that the other mirror does not have are retired.
    pub delete: bool,
    /// True if builds whose sections were removed are copied without them. No signature covers the record of these sections, so a
    /// copy of a mirror that is verified by a keyring leaves such builds out.
    pub thinned: bool,
}

impl CopyRequest {
    fn wants(&self, channel: &Channel) -> bool {
        self.channels.is_empty() || self.channels.contains(channel)
    }
}

/// The facts about one mirror that a plan is made from.
#[derive(Debug, Clone, Default)]
pub struct Side {
    /// Its builds and aliases.
    pub catalog: Catalog,
    /// The digests of the sums of builds that both mirrors have, or the reason why the sums cannot be read, in one line. The sums
    /// themselves, with a line for each file of each build, would not fit into memory for a large mirror.
    pub sums: BTreeMap<BuildId, Result<Sha256, String>>,
    /// Builds whose sections were removed on purpose.
    pub thinned: BTreeSet<BuildId>,
    /// The names that point to its releases and channels.
    pub names: BTreeMap<RootAlias, RootEntry>,
    /// The verdicts on its builds, for each build the oldest first.
    pub verdicts: Vec<VerdictEntry>,
    /// The pins of its builds that are still in force.
    pub pins: Vec<Pin>,
}

/// The decision about a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum BuildVerdict {
    /// It is copied.
    Copy,
    /// The second mirror has it, with the same sums.
    Same,
    /// The second mirror has another build with its id. Builds never change, so one of the two mirrors is wrong.
    Different,
    /// It is not complete any more: some of its sections were removed.
    Thinned,
    /// It cannot be parsed.
    Unreadable {
        /// The reason, in one line.
        reason: String,
    },
}

impl BuildVerdict {
    /// True if the second mirror has the build after the copy.
    fn arrives(&self) -> bool {
        match self {
            Self::Copy | Self::Same => true,
            Self::Different | Self::Thinned | Self::Unreadable { .. } => false,
        }
    }
}

/// A build that the first mirror has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BuildStep {
    /// The build.
    pub build: BuildId,
    /// The number of its files, from its record.
    pub files: u64,
    /// The sum of their sizes.
    pub bytes: u64,
    /// The decision, with its reason.
    #[serde(flatten)]
    pub verdict: BuildVerdict,
}

/// The decision about an alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum AliasVerdict {
    /// It is pointed at the build.
    Point {
        /// True if a note records that it points to an older build on purpose.
        held: bool,
    },
    /// It has the same target on the second mirror.
    Same,
    /// It points to a newer build that only the second mirror has, and aliases do not move to older builds.
    Newer,
    /// The second mirror will not have its build.
    NoBuild,
}

impl AliasVerdict {
    /// True if the alias has the same target on both mirrors after the copy.
    fn arrives(&self) -> bool {
        match self {
            Self::Point { .. } | Self::Same => true,
            Self::Newer | Self::NoBuild => false,
        }
    }
}

/// An alias that the first mirror has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CopyAlias {
    /// The channel.
    pub channel: Channel,
    /// The alias.
    pub alias: AliasName,
    /// Its target on the second mirror.
    pub shown: Option<AliasEntry>,
    /// Its target on the first mirror.
    pub to: BuildDate,
    /// The decision, with its reason.
    #[serde(flatten)]
    pub verdict: AliasVerdict,
}

/// A name above the channels that the first mirror has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CopyName {
    /// The alias.
    pub alias: RootAlias,
    /// Its target on the second mirror.
    pub shown: Option<RootEntry>,
    /// Its target on the first mirror.
    pub to: RootTarget,
    /// The decision, with its reason.
    #[serde(flatten)]
    pub verdict: AliasVerdict,
}

/// The plan of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CopyPlan {
    /// The builds, by date.
    pub builds: Vec<BuildStep>,
    /// The aliases, by channel.
    pub aliases: Vec<CopyAlias>,
    /// The names that point to releases and channels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<CopyName>,
    /// Channels in which the newest build will be offered without a date, with its sections.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub undated: BTreeMap<Channel, BTreeSet<Section>>,
    /// Verdicts that the second mirror lacks, on builds that it will have.
    pub verdicts: Vec<VerdictEntry>,
    /// Pins that the second mirror lacks, on builds that it will have. An author's existing pin is replaced if it ends earlier.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
    /// Builds to retire, oldest first: the first mirror does not have them.
    pub retire: Vec<BuildId>,
    /// Builds that the first mirror does not have either, but that something keeps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptBuild>,
}

/// A build that is not retired although the first mirror does not have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptBuild {
    /// The build.
    pub build: BuildId,
    /// The pin or the alias that keeps it, in one line.
    pub reason: String,
}

/// Reads the state of two mirrors that a plan depends on.
///
/// # Errors
/// If one of them cannot be read.
pub async fn survey(
    from: &dyn MirrorRead,
    to: &dyn MirrorRead,
    request: &CopyRequest,
) -> Result<(Side, Side), StoreError> {
    let mut sides = (side(from, request).await?, side(to, request).await?);
    let builds = sides.0.catalog.builds();
    let looks: Vec<_> = builds
        .map(|(id, _)| look(from, to, sides.1.catalog.build(&id).is_some(), id))
        .collect();
    let mut looks = stream::iter(looks).buffered(COMPARED);
    while let Some((id, seen)) = looks.try_next().await? {
        match seen {
            Seen::Both(one, other) => {
                sides.0.sums.insert(id.clone(), one);
                sides.1.sums.insert(id, other);
            }
            Seen::New { thinned: true } => drop(sides.0.thinned.insert(id)),
            Seen::New { thinned: false } => {}
        }
    }
    Ok(sides)
}

/// The state of a build of the first mirror in a survey.
enum Seen {
    /// Both mirrors have it: the digests of its sums on each.
    Both(Result<Sha256, String>, Result<Sha256, String>),
    /// Only the first mirror has it, without some sections if it is `thinned`.
    New { thinned: bool },
}

async fn look(
    from: &dyn MirrorRead,
    to: &dyn MirrorRead,
    is_there: bool,
    id: BuildId,
) -> Result<(BuildId, Seen), StoreError> {
    let seen = if is_there {
        Seen::Both(sums(from, &id).await, sums(to, &id).await)
    } else {
        let thinned = thinned(from, &id).await?;
        Seen::New {
            thinned: !thinned.sections.is_empty(),
        }
    };
    Ok((id, seen))
}

/// The digest of the sums of a build, independent of the order of their lines; or the reason why they cannot be read, in one line.
async fn sums(store: &dyn MirrorRead, id: &BuildId) -> Result<Sha256, String> {
    let sums = store.sums(id).await.map_err(|error| chain(&error))?;
    Ok(digest_of(sums.to_string().as_bytes()))
}

async fn side(store: &dyn MirrorRead, request: &CopyRequest) -> Result<Side, StoreError> {
    let mut catalog = Catalog::default();
    if request.channels.is_empty() {
        catalog = store.catalog(&Scope::All).await?;
    }
    for channel in &request.channels {
        let found = store.catalog(&Scope::Channel(channel.clone())).await?;
        catalog.channels.extend(found.channels);
    }
    Ok(Side {
        catalog,
        names: store.root_aliases().await?,
        ..Side::default()
    })
}

/// Plans a copy.
pub fn plan(from: &Side, to: &Side, request: &CopyRequest) -> CopyPlan {
    let channels = from.catalog.channels.iter();
    let wanted = channels.filter(|(channel, _)| request.wants(channel));
    let (mut builds, mut aliases) = (Vec::new(), Vec::new());
    for (channel, entry) in wanted {
        let before = builds.len();
        for date in entry.builds.keys() {
            let id = BuildId::new(channel.clone(), *date);
            builds.push(judge(from, to, request, id));
        }
        for (alias, shown) in &entry.aliases {
            // This alias follows the verdicts that the second mirror will have.
            if *alias == AliasName::latest_green_build() {
                continue;
            }
            if let AliasEntry::Build(date) = shown {
                let held = entry.held.contains(alias);
                let own = &builds[before..];
                let step = judge_alias(to, request, channel, alias, *date, held, own);
                aliases.push(step);
            }
        }
    }
    builds.sort_by(|a, b| {
        let key = |step: &BuildStep| (step.build.date, step.build.channel.clone());
        key(a).cmp(&key(b))
    });
    let arrive = builds.iter().filter(|step| step.verdict.arrives());
    let arrive: BTreeSet<_> = arrive.map(|step| &step.build).collect();
    let known: BTreeSet<_> = to.verdicts.iter().collect();
    let verdicts = from.verdicts.iter();
    let verdicts = verdicts.filter(|it| arrive.contains(&it.build) && !known.contains(it));
    let verdicts = verdicts.cloned().collect();
    let known = to.pins.iter().map(|pin| ((&pin.build, &*pin.author), pin));
    let known: BTreeMap<_, _> = known.collect();
    let pins = from.pins.iter().filter(|pin| {
        let there = known.get(&(&pin.build, &*pin.author));
        arrive.contains(&pin.build) && !there.is_some_and(|there| lasts_as_long(there, pin))
    });
    let pins = pins.cloned().collect();
    let (mut retire, mut kept) = (Vec::new(), Vec::new());
    if request.delete {
        let gone = to.catalog.builds().map(|(id, _)| id);
        let gone = gone.filter(|id| request.wants(&id.channel) && from.catalog.build(id).is_none());
        for build in gone {
            match keeper(to, &aliases, &build) {
                Some(reason) => kept.push(KeptBuild { build, reason }),
                None => retire.push(build),
            }
        }
        retire.sort_by_key(|id| id.date);
    }
    CopyPlan {
        names: names::judge_names(from, to, request, &builds),
        undated: names::judge_undated(from, to, &aliases),
        builds,
        aliases,
        verdicts,
        pins,
        retire,
        kept,
    }
}

/// The pin or the alias for which the second mirror would refuse to retire a build after the copy; `None` if it would not refuse.
fn keeper(to: &Side, aliases: &[CopyAlias], build: &BuildId) -> Option<String> {
    if let Some(pin) = to.pins.iter().find(|pin| pin.build == *build) {
        return Some(format!("pinned by {}: {}", pin.author, pin.reason));
    }
    let entry = to.catalog.channels.get(&build.channel)?;
    let moves = |alias: &AliasName| {
        let mut steps = aliases.iter();
        steps.any(|step| {
            let points = matches!(step.verdict, AliasVerdict::Point { .. });
            points && step.channel == build.channel && step.alias == *alias
        })
    };
    let mut shown = entry.aliases.iter();
    let (alias, _) = shown.find(|(alias, at)| {
        // `latest_green_build` follows the verdicts, so its target after the copy is not known here.
        **at == AliasEntry::Build(build.date)
            && **alias != AliasName::latest_green_build()
            && !moves(alias)
    })?;
    Some(format!("{alias} points at it"))
}

/// True if the existing pin ends no earlier than `pin`.
fn lasts_as_long(there: &Pin, pin: &Pin) -> bool {
    match (there.until, pin.until) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(there), Some(until)) => there >= until,
    }
}

fn judge(from: &Side, to: &Side, request: &CopyRequest, build: BuildId) -> BuildStep {
    let unreadable = |reason: &str| BuildVerdict::Unreadable {
        reason: reason.to_owned(),
    };
    let state = from.catalog.build(&build).map(|entry| &entry.state);
    let record = match state {
        Some(BuildState::Known(record)) => Ok(record),
        Some(BuildState::Unreadable(reason)) => Err(reason.as_str()),
        None => Err("it is missing"),
    };
    let there = to.catalog.build(&build).is_some();
    let verdict = match (&record, from.sums.get(&build), to.sums.get(&build)) {
        (Err(reason), _, _) => unreadable(reason),
        (Ok(_), _, _) if !request.thinned && from.thinned.contains(&build) => BuildVerdict::Thinned,
        (Ok(_), _, _) if !there => BuildVerdict::Copy,
        (Ok(_), Some(Err(reason)), _) => unreadable(reason),
        (Ok(_), Some(Ok(one)), Some(Ok(other))) if one == other => BuildVerdict::Same,
        (Ok(_), _, _) => BuildVerdict::Different,
    };
    BuildStep {
        files: record.map_or(0, |record| record.files),
        bytes: record.map_or(0, |record| record.bytes),
        build,
        verdict,
    }
}

/// Makes the decision about an alias; `builds` are those of its channel.
fn judge_alias(
    to: &Side,
    request: &CopyRequest,
    channel: &Channel,
    alias: &AliasName,
    date: BuildDate,
    held: bool,
    builds: &[BuildStep],
) -> CopyAlias {
    let entry = to.catalog.channels.get(channel);
    let shown = entry.and_then(|entry| entry.aliases.get(alias)).cloned();
    let known = |date: BuildDate| builds.iter().find(|step| step.build.date == date);
    let arrives = known(date).is_some_and(|step| step.verdict.arrives());
    let verdict = match &shown {
        _ if !arrives => AliasVerdict::NoBuild,
        Some(AliasEntry::Build(shown)) if *shown == date => AliasVerdict::Same,
        // Its current build is one that the first mirror has too, or one that will be retired: the alias moves.
        Some(AliasEntry::Build(shown)) if *shown > date => {
            if held || request.delete || known(*shown).is_some() {
                AliasVerdict::Point { held: true }
            } else {
                AliasVerdict::Newer
            }
        }
        Some(_) | None => AliasVerdict::Point { held },
    };
    CopyAlias {
        channel: channel.clone(),
        alias: alias.clone(),
        shown,
        to: date,
        verdict,
    }
}

impl CopyPlan {
    /// The reasons why the second mirror will differ from the first, one line each.
    pub fn problems(&self) -> Vec<String> {
        let builds = self.builds.iter().filter_map(|step| {
            let why = match &step.verdict {
                BuildVerdict::Copy | BuildVerdict::Same => return None,
                BuildVerdict::Different => "another build has its date".to_owned(),
                BuildVerdict::Thinned => {
                    "some of its sections are missing, and no signature says which".to_owned()
                }
                BuildVerdict::Unreadable { reason } => reason.clone(),
            };
            Some(format!("{}: {why}", step.build))
        });
        let aliases = self.aliases.iter().filter_map(|step| {
            let why = match step.verdict {
                AliasVerdict::Point { .. } | AliasVerdict::Same => return None,
                AliasVerdict::Newer => "shows a newer build, which the other mirror does not have",
                AliasVerdict::NoBuild => "its build is not copied",
            };
            Some(format!("{}/{}: {why}", step.channel, step.alias))
        });
        let names = self.names.iter().filter_map(|step| {
            let why = match step.verdict {
                AliasVerdict::Point { .. } | AliasVerdict::Same => return None,
                AliasVerdict::Newer => {
                    "shows a newer release, which the other mirror does not have"
                }
                AliasVerdict::NoBuild => "no build of its target is copied",
            };
            Some(format!("{}: {why}", step.alias))
        });
        let kept = self.kept.iter();
        let kept = kept.map(|KeptBuild { build, reason }| format!("{build}: {reason}"));
        builds.chain(aliases).chain(names).chain(kept).collect()
    }

    /// The plan without the builds of `missing`, which could not be copied for the reasons given there, and without any trace of those
    /// of `gone`.
    fn without(&self, missing: &BTreeMap<BuildId, String>, gone: &[BuildId]) -> Self {
        let mut plan = self.clone();
        plan.builds.retain(|step| !gone.contains(&step.build));
        plan.aliases
            .retain(|step| !gone.contains(&BuildId::new(step.channel.clone(), step.to)));
        plan.verdicts.retain(|it| !gone.contains(&it.build));
        plan.pins.retain(|pin| !gone.contains(&pin.build));
        for step in &mut plan.builds {
            if let Some(reason) = missing.get(&step.build) {
                let reason = reason.clone();
                step.verdict = BuildVerdict::Unreadable { reason };
            }
        }
        let is_missing = |channel: &Channel, date: BuildDate| {
            missing.contains_key(&BuildId::new(channel.clone(), date))
        };
        for step in &mut plan.aliases {
            if is_missing(&step.channel, step.to) {
                step.verdict = AliasVerdict::NoBuild;
            }
        }
        let latest = AliasName::latest_build();
        let leads = |channel: &Channel| {
            let mut aliases = plan.aliases.iter();
            aliases.any(|it| it.channel == *channel && it.alias == latest && it.verdict.arrives())
        };
        plan.undated.retain(|channel, _| leads(channel));
        let arrive = plan.builds.iter().filter(|step| step.verdict.arrives());
        let channels: BTreeSet<_> = arrive.map(|step| &step.build.channel).collect();
        for step in &mut plan.names {
            if !channels.iter().any(|channel| step.to.holds(channel)) {
                step.verdict = AliasVerdict::NoBuild;
            }
        }
        plan.verdicts.retain(|it| !missing.contains_key(&it.build));
        plan.pins.retain(|pin| !missing.contains_key(&pin.build));
        plan
    }

    /// True if nothing needs to be done.
    pub fn is_noop(&self) -> bool {
        let copies = |step: &BuildStep| step.verdict == BuildVerdict::Copy;
        let points = |step: &CopyAlias| matches!(step.verdict, AliasVerdict::Point { .. });
        !self.builds.iter().any(copies)
            && !self.aliases.iter().any(points)
            && !self.names.iter().any(CopyName::points)
            && self.undated.is_empty()
            && self.verdicts.is_empty()
            && self.pins.is_empty()
            && self.retire.is_empty()
    }
}

impl fmt::Display for CopyPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut same = 0;
        for step in &self.builds {
            match step.verdict {
                BuildVerdict::Copy => {
                    writeln!(
                        f,
                        "copy   {}: {}, {}",
                        step.build,
                        counted(step.files, "file"),
                        size(step.bytes)
                    )?;
                }
                BuildVerdict::Same => same += 1,
                BuildVerdict::Different
                | BuildVerdict::Thinned
                | BuildVerdict::Unreadable { .. } => {}
            }
        }
        for step in &self.aliases {
            if let AliasVerdict::Point { .. } = step.verdict {
                let shown = show_alias(step.shown.as_ref());
                writeln!(
                    f,
                    "point  {}/{} -> {}, now {shown}",
                    step.channel, step.alias, step.to
                )?;
            }
        }
        for step in self.names.iter().filter(|step| step.points()) {
            let shown = show_root(step.shown.as_ref());
            writeln!(f, "point  {} -> {}, now {shown}", step.alias, step.to)?;
        }
        for (channel, sections) in &self.undated {
            for section in sections {
                writeln!(f, "offer  {channel}/{}", section.as_str())?;
            }
        }
        for entry in &self.verdicts {
            let build = &entry.build;
            writeln!(f, "mark   {build} {}", entry.verdict)?;
        }
        for pin in &self.pins {
            writeln!(f, "pin    {}: {}", pin.build, printable(&pin.reason))?;
        }
        for build in &self.retire {
            writeln!(f, "retire {build}")?;
        }
        for problem in self.problems() {
            writeln!(f, "leave  {problem}")?;
        }
        writeln!(f, "already there: {}", counted(same, "build"))
    }
}
