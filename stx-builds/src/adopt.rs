//! `adopt`: turns builds of an older publisher into full builds, in place.
//!
//! Such a build has neither `build.json` nor `SHA256SUMS`; marker files and small texts record its result and its sources. An
//! adoption adds the two files and changes nothing else. The steps, and the module of each:
//!
//! ```text
//! look (inspect each build) ──> decide (pure) ──> AdoptPlan ──> hash ──> apply ──> AdoptReport
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `texts` | the small texts: commits, images, `SAVE_DATA`, `StxChecksums` |
//! | `decide` | the decision about a build, a function of its contents |
//! | `look` | the inspection of a build |
//! | `undated` | turns releases without a build date into dated builds |
//! | `work` | threads |
//! | `hash` | each inode is read once |
//! | `apply` | adds the files, build by build |
//! | `link` | replaces equal files by hard links |
//! | `report` | the plan and the report, for people |

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt as _;

use serde::Serialize;
use stx_layout::{
    AliasEntry, AliasName, BuildId, BuildOutcome, BuildState, Catalog, Channel, ChannelEntry,
};
use stx_publish::verdicts::{is_green_right, point_green};
use stx_publish::{LocalStore, MirrorRead as _, MirrorStore as _, Scope, StoreError};

use crate::aliases::settle_root_aliases;
use crate::error::{Error, chain};
use crate::{Mirror, Site, build_ref, refused, signing};

mod apply;
mod decide;
mod hash;
mod link;
mod look;
mod report;
mod texts;
mod undated;
mod work;

pub use decide::{Adoption, Decision, MarkedVerdict, Reason};
pub use link::Linked;
pub use look::Repair;
pub use report::{AdoptReport, Adopted, LeftBuild};
pub use texts::SaveData;
pub use undated::Undated;

use look::Looked;

/// The options of an adoption.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AdoptOptions {
    /// The channels and builds to adopt; the whole mirror if empty.
    pub scopes: Vec<Scope>,
    /// The result of builds without evidence of a result.
    pub assume: Option<BuildOutcome>,
    /// Set modes and owners as the publisher would.
    pub fix_modes: bool,
    /// Replace equal files by hard links.
    pub link: bool,
    /// The number of threads that read files; the number of processors by default.
    pub jobs: Option<NonZeroUsize>,
}

/// The reason for skipping a directory whose name looks like a build date.
pub const MISNAMED: &str =
    "its name is not a build date, such as 20181105T060000Z; rename it to adopt it";

/// A build of an older publisher, and the decision about it.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedBuild {
    /// The build.
    pub build: BuildId,
    /// The decision about it.
    #[serde(flatten)]
    pub decision: Decision,
    /// The parts of an undated release, which are moved into the build; absent for a dated build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undated: Option<Undated>,
    /// Its files.
    pub files: u64,
    /// The size of its files in bytes. Several builds may share these bytes.
    pub bytes: u64,
    /// Owners and modes that differ from those that the publisher sets.
    pub repairs: Vec<Repair>,
    /// Peculiarities that `verify` will report, one per line.
    pub notes: Vec<String>,
    #[serde(skip)]
    looked: Option<Looked>,
}

/// An alias that does not point at a build of its channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WrongAlias {
    /// The channel.
    pub channel: Channel,
    /// The alias.
    pub alias: AliasName,
    /// Its target.
    pub target: AliasEntry,
}

/// The plan of an adoption. [`Site::adopt`] executes exactly this plan.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AdoptPlan {
    /// The builds without a record, by channel, oldest first.
    pub builds: Vec<PlannedBuild>,
    /// The number of builds that are already full builds.
    pub full: u64,
    /// The number of bytes to read. A file that several builds share counts once.
    pub bytes: u64,
    /// The aliases that do not point at a build.
    pub aliases: Vec<WrongAlias>,
    /// Directories that hold parts of a build, and whose names resemble build dates but are not valid ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub misnamed: Vec<String>,
    /// The retention settings of the older cleanup, for each channel with a `SAVE_DATA` file.
    pub save_data: Vec<SaveData>,
    /// The builds that are already full builds.
    #[serde(skip)]
    full_builds: Vec<BuildId>,
    /// Channels whose release has become a dated build but that have no `latest_build` yet.
    #[serde(skip)]
    without_alias: Vec<Channel>,
    #[serde(skip)]
    options: AdoptOptions,
}

impl Site {
    /// Plans which builds of an older publisher become full builds; changes nothing.
    pub async fn plan_adoption(&self, options: &AdoptOptions) -> Result<AdoptPlan, Error> {
        let store = directory(self)?;
        let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
        let (options, now) = (options.clone(), self.now);
        let planned = tokio::task::spawn_blocking(move || {
            let mut places = undated::places(store.root());
            let wanted = select(&catalog, &mut places, &options.scopes)?;
            Ok(plan(&store, &catalog, &wanted, places, options, now))
        });
        let planned = planned.await;
        planned.map_err(|error| Error::new(crate::ErrorKind::Bug, error))?
    }

    /// Adopts the builds of a plan. Each build gets its files as soon as it is hashed. The same call resumes an interrupted run.
    pub async fn adopt(&self, plan: AdoptPlan) -> Result<AdoptReport, Error> {
        let store = directory(self)?.with_seal(stx_publish::Seal {
            attester: None,
            ..signing::seal(self)?
        });
        // Includes the builds that are already adopted: an interrupted run may have stopped before their aliases.
        let adopted = plan.builds.iter().map(|it| &it.build);
        let channels = adopted
            .chain(&plan.full_builds)
            .map(|it| it.channel.clone());
        let channels: BTreeSet<_> = channels.collect();
        let (site, mirror) = (self.clone(), store.clone());
        let applied = tokio::task::spawn_blocking(move || apply::apply(&site, &store, plan));
        let mut report = applied
            .await
            .map_err(|error| Error::new(crate::ErrorKind::Bug, error))?;
        self.progress().finished();
        for channel in &channels {
            if let Err(error) = show_green(&mirror, channel).await {
                let problem = format!("{channel}: {}", chain(&error));
                report.problems.push(problem);
            }
        }
        let policy = self.options.aliases.policy();
        if let Some(channel) = channels.iter().find(|channel| policy.concerns(channel)) {
            match settle_root_aliases(self, &mirror, channel).await {
                Ok(moved) => moved.iter().for_each(|step| self.note(&step.to_string())),
                // The failures of builds matter more; the rerun that they require also retries the aliases of releases.
                Err(_) if !report.failures().is_empty() => {}
                Err(error) => {
                    return Err(error.hint(
                        "the builds are adopted; rerun the command to correct the names of releases",
                    ));
                }
            }
        }
        Ok(report)
    }
}

/// Points `latest_green_build` at the newest build with a green mark.
async fn show_green(store: &LocalStore, channel: &Channel) -> Result<(), StoreError> {
    if is_green_right(store, channel).await? {
        return Ok(());
    }
    let writer = store.lock(channel).await?;
    point_green(store, &*writer).await.map(drop)
}

/// The mirror, if it is a directory: builds of an older publisher exist only there.
fn directory(site: &Site) -> Result<LocalStore, Error> {
    match site.mirror()? {
        Mirror::Directory(store) => Ok(store),
        Mirror::Bucket(_) => Err(Error::usage(format!(
            "{}: builds are adopted in a directory only",
            site.root()?
        ))
        .hint(
            "adopt them in their directory, then copy them to the bucket with `stx-builds copy`",
        )),
    }
}

/// The selected builds: all builds, or those of the named channels and builds, which must exist. Leaves only the selected channels in
/// `places`.
fn select(
    catalog: &Catalog,
    places: &mut undated::Places,
    scopes: &[Scope],
) -> Result<BTreeSet<BuildId>, Error> {
    let mut wanted = BTreeSet::new();
    let all = [Scope::All];
    for scope in if scopes.is_empty() { &all } else { scopes } {
        match scope {
            Scope::Channel(channel)
                if !catalog.channels.contains_key(channel)
                    && !places.channels.contains(channel) =>
            {
                return Err(build_ref::missing_channel(catalog, channel));
            }
            Scope::Build(id) if catalog.build(id).is_none() => {
                return Err(build_ref::missing_build(catalog, id));
            }
            Scope::All | Scope::Channel(_) | Scope::Build(_) => {}
        }
        let builds = catalog.builds().map(|(id, _)| id);
        wanted.extend(builds.filter(|id| match scope {
            Scope::All => true,
            Scope::Channel(channel) => id.channel == *channel,
            Scope::Build(build) => id == build,
        }));
    }
    let is_meant = |channel: &Channel| {
        let mut scopes = scopes.iter();
        scopes.len() == 0
            || scopes.any(|scope| match scope {
                Scope::All => true,
                Scope::Channel(wanted) => wanted == channel,
                Scope::Build(_) => false,
            })
    };
    places.channels.retain(is_meant);
    places.misnamed.retain(|(channel, _)| is_meant(channel));
    Ok(wanted)
}

/// Inspects every selected build without a record, and decides about it. Blocks.
fn plan(
    store: &LocalStore,
    catalog: &Catalog,
    wanted: &BTreeSet<BuildId>,
    places: undated::Places,
    options: AdoptOptions,
    now: chrono::DateTime<chrono::Utc>,
) -> AdoptPlan {
    let mut plan = AdoptPlan::default();
    let mut without_record = Vec::new();
    for (id, entry) in catalog.builds().filter(|(id, _)| wanted.contains(id)) {
        match &entry.state {
            BuildState::Known(_) => plan.full_builds.push(id),
            BuildState::Unreadable(_) => without_record.push(id),
        }
    }
    plan.full = plan.full_builds.len() as u64;
    // The files should belong to the owner of the mirror, not to the user who runs the command.
    let owner = fs_err::metadata(store.root()).map(|found| found.uid());
    let nobody = ChannelEntry::default();
    let jobs = options.jobs.unwrap_or_else(work::default_jobs);
    plan.builds = work::map(jobs, without_record.len(), |index| {
        let id = &without_record[index];
        let channel = catalog.channels.get(&id.channel).unwrap_or(&nobody);
        let dir = store.root().join(id.to_string());
        let looked = match &owner {
            Ok(owner) => look::look(id, &dir, channel, *owner).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match looked {
            Ok(looked) => PlannedBuild::new(looked, None, options.assume, now),
            Err(why) => PlannedBuild::unreadable(id.clone(), why),
        }
    });
    for channel in &places.channels {
        let owner = *owner.as_ref().unwrap_or(&0);
        let Some(found) = undated::look(store.root(), channel, owner) else {
            continue;
        };
        // A build that an interrupted run has begun is also listed as a build without a record.
        plan.builds.retain(|build| build.build != found.looked.id);
        let undated = Some(found.undated);
        let build = PlannedBuild::new(found.looked, undated, options.assume, now);
        plan.builds.push(build);
    }
    plan.builds.sort_by(|a, b| a.build.cmp(&b.build));
    plan.bytes = unique_bytes(&plan.builds);
    let channels: BTreeSet<_> = wanted.iter().map(|id| &id.channel).collect();
    for channel in channels {
        let entry = catalog.channels.get(channel).unwrap_or(&nobody);
        plan.aliases.extend(wrong_aliases(channel, entry));
        let dir = store.root().join(channel.to_string());
        if undated::lacks_alias(&dir, entry) {
            plan.without_alias.push(channel.clone());
        }
        let file = dir.join("SAVE_DATA");
        if let Ok(text) = fs_err::read_to_string(file) {
            plan.save_data.push(SaveData::read(channel, &text));
        }
    }
    let misnamed = places.misnamed.into_iter();
    let misnamed = misnamed.map(|(channel, name)| format!("{channel}/{name}"));
    plan.misnamed = misnamed.collect();
    plan.options = options;
    plan
}

/// The number of bytes to read, counting each inode once.
fn unique_bytes(builds: &[PlannedBuild]) -> u64 {
    let mut sizes = BTreeMap::new();
    for looked in builds.iter().filter_map(PlannedBuild::adoptable) {
        let files = looked.files.iter();
        sizes.extend(files.map(|file| (file.inode, file.stamp.size)));
    }
    sizes.values().sum()
}

impl PlannedBuild {
    /// The decision about an inspected build.
    fn new(
        looked: Looked,
        undated: Option<Undated>,
        assume: Option<BuildOutcome>,
        now: chrono::DateTime<chrono::Utc>,
    ) -> Self {
        Self {
            build: looked.id.clone(),
            decision: decide::decide(&looked.seen, assume, now),
            undated,
            files: looked.files.len() as u64,
            bytes: looked.bytes(),
            repairs: looked.repairs.clone(),
            notes: looked.notes.clone(),
            looked: Some(looked),
        }
    }

    /// A build whose directory cannot be read.
    fn unreadable(build: BuildId, why: String) -> Self {
        Self {
            build,
            decision: decide::leave(Reason::Unreadable, why),
            undated: None,
            files: 0,
            bytes: 0,
            repairs: Vec::new(),
            notes: Vec::new(),
            looked: None,
        }
    }

    /// Its contents, if it becomes a full build.
    fn adoptable(&self) -> Option<&Looked> {
        match self.decision {
            Decision::Adopt(_) => self.looked.as_ref(),
            Decision::Leave { .. } => None,
        }
    }
}

/// The aliases of a channel that do not point at a build.
fn wrong_aliases(channel: &Channel, entry: &ChannelEntry) -> Vec<WrongAlias> {
    let aliases = entry.aliases.iter();
    let wrong = aliases.filter(|(_, target)| match target {
        AliasEntry::Build(date) => !entry.builds.contains_key(date),
        AliasEntry::Other(_) => true,
    });
    let wrong = wrong.map(|(alias, target)| WrongAlias {
        channel: channel.clone(),
        alias: alias.clone(),
        target: target.clone(),
    });
    wrong.collect()
}
