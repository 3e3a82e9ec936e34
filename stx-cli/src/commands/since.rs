//! `since`: the build from which on a package is as it is now.

use std::collections::BTreeMap;

use serde::Serialize;
use stx_compare::bisect::Bisection;
use stx_compare::change::Change;
use stx_compare::inventory::{ChooseError, Entry, Inventory, Key, older};
use stx_compare::nearest::{CommitRange, commit_ranges};
use stx_compare::package::File;
use stx_compare::{Package, aspects, compare};
use stx_layout::{BuildId, printable};

use super::compare::{sources, successes};
use super::packages::{self, Place};
use super::{Context, Reader, fetch};
use crate::args::Since;
use crate::exit::{Exit, Failure, chain};
use crate::output;

/// What was found, for scripts.
#[derive(Serialize)]
struct Found {
    #[serde(flatten)]
    key: Key,
    /// The build in which it changed; absent if it is the same in all that are retained.
    changed: Option<BuildId>,
    /// The good build before that.
    before: Option<BuildId>,
    /// The oldest good build that is retained.
    oldest: BuildId,
    /// The version before, and the version since.
    versions: (Option<String>, Option<String>),
    /// What changed; empty if the package was not there before.
    changes: Vec<Change>,
    /// The commits that came between the two builds.
    commits: Vec<CommitRange>,
    /// How many builds were looked at, of how many.
    looked_at: (usize, usize),
    /// Bytes that came over the network; absent for a mirror in a directory.
    transferred: Option<u64>,
}

/// The search among the builds of a channel.
struct Search<'a> {
    reader: &'a Reader,
    args: &'a Since,
    builds: Vec<BuildId>,
    key: Key,
    /// The package in the newest build: its file, and what its header says, where that matters.
    newest: (Entry, Option<Package>),
}

pub(crate) async fn run(context: &Context, args: &Since) -> Result<(), Failure> {
    let reader = context.reader()?;
    let builds = successes(&reader, &args.channel).await?;
    let Some((newest, mut bisection)) = builds.last().zip(Bisection::new(builds.len())) else {
        return Err(Failure::new(
            Exit::NotFound,
            format!("{} has no good build", args.channel),
        ));
    };
    let inventory = Inventory::of(&fetch::sums(&reader, newest).await?);
    let (key, entry) = named(&inventory, args).map_err(|error| {
        let failure = Failure::new(Exit::NotFound, format!("{newest}: {error}"));
        match error {
            ChooseError::Absent { .. } => {
                failure.hint("`fetch BUILD rpms --print-url` names its packages")
            }
            ChooseError::Ambiguous { .. } => {
                failure.hint("NAME.ARCH or --phase says which is meant")
            }
        }
    })?;
    if let Some(version) = &args.version
        && older(&entry.version, version).is_lt()
    {
        let found = format!(
            "{newest} has {} {}: no build has {version} yet",
            key.name, entry.version
        );
        return Err(Failure::new(Exit::NotFound, found));
    }
    let place = Place::Mirror(newest.clone(), entry.clone());
    let package = match args.version {
        Some(_) => None,
        None => Some(header(&reader, &place).await?),
    };
    let search = Search {
        key: key.clone(),
        newest: (entry.clone(), package),
        reader: &reader,
        args,
        builds,
    };
    let mut looked_at = BTreeMap::from([(search.builds.len() - 1, Some(place))]);
    while let Some(index) = bisection.next() {
        let (same, place) = search.look(index).await?;
        bisection.tell(index, same);
        looked_at.insert(index, place);
    }
    let found = search.found(bisection.found(), looked_at).await?;
    output::print(context.format(), &found, || shown(&found, args))
}

/// The package that was named: `NAME`, or `NAME.ARCH`.
fn named<'a>(inventory: &'a Inventory, args: &Since) -> Result<(&'a Key, &'a Entry), ChooseError> {
    let phase = args.phase.as_deref();
    let whole = inventory.choose(&args.package, "", phase, None);
    match (whole, args.package.rsplit_once('.')) {
        (Err(error @ ChooseError::Absent { .. }), Some((name, arch))) => inventory
            .choose(name, arch, phase, None)
            .map_err(|other| match other {
                ChooseError::Absent { .. } => error,
                ChooseError::Ambiguous { .. } => other,
            }),
        (whole, _) => whole,
    }
}

async fn header(reader: &Reader, place: &Place) -> Result<Package, Failure> {
    let package = packages::read(reader.store(), place).await;
    package.map_err(|error| Failure::new(Exit::Mirror, format!("{place}: {}", chain(&error))))
}

impl Search<'_> {
    /// Whether the package is in a build as it is in the newest, and its file there.
    async fn look(&self, index: usize) -> Result<(bool, Option<Place>), Failure> {
        let id = &self.builds[index];
        let inventory = Inventory::of(&fetch::sums(self.reader, id).await?);
        let Some(entry) = inventory.get(&self.key).last() else {
            return Ok((false, None));
        };
        let place = Place::Mirror(id.clone(), entry.clone());
        let same = if let Some(version) = &self.args.version {
            older(&entry.version, version).is_ge()
        } else if entry.digest == self.newest.0.digest {
            true
        } else {
            let package = header(self.reader, &place).await?;
            match (&self.newest.1, &self.args.file) {
                (Some(newest), Some(path)) => {
                    is_same(package.files.get(path), newest.files.get(path))
                }
                (Some(newest), None) => compare(&package, newest).changes.is_empty(),
                (None, _) => false,
            }
        };
        Ok((same, Some(place)))
    }

    /// What is to be said of the build that was found and the one before.
    async fn found(
        &self,
        (changed, before): (usize, Option<usize>),
        mut looked_at: BTreeMap<usize, Option<Place>>,
    ) -> Result<Found, Failure> {
        let oldest = &self.builds[0];
        let mut found = Found {
            key: self.key.clone(),
            changed: None,
            before: None,
            oldest: oldest.clone(),
            versions: (None, Some(self.newest.0.version.clone())),
            changes: Vec::new(),
            commits: Vec::new(),
            looked_at: (looked_at.len(), self.builds.len()),
            transferred: self.reader.received(),
        };
        let Some(before) = before else {
            if let (Some(path), Some(newest)) = (&self.args.file, &self.newest.1)
                && !newest.files.contains_key(path)
            {
                return Err(Failure::new(
                    Exit::NotFound,
                    format!("{}: no file {path} in any retained build", self.key.name),
                ));
            }
            return Ok(found);
        };
        let mut place = |index| looked_at.remove(&index).flatten();
        let (old, new) = (place(before), place(changed));
        let version = |place: &Option<Place>| match place {
            Some(Place::Mirror(_, entry)) => Some(entry.version.clone()),
            _ => None,
        };
        found.versions = (version(&old), version(&new));
        if let (Some(old), Some(new)) = (old, new) {
            let old = header(self.reader, &old).await?;
            let new = header(self.reader, &new).await?;
            found.changes = compare(&old, &new).changes;
            if let Some(wanted) = &self.args.file {
                found.changes.retain(|change| is_of(change, wanted));
            }
        }
        let (old, new) = (&self.builds[before], &self.builds[changed]);
        let from = sources(self.reader, old).await?;
        let to = sources(self.reader, new).await?;
        found.changed = Some(new.clone());
        found.before = Some(old.clone());
        found.commits = commit_ranges(&from, &to);
        found.transferred = self.reader.received();
        Ok(found)
    }
}

/// Whether a file is the same, its time apart.
fn is_same(from: Option<&File>, to: Option<&File>) -> bool {
    match (from, to) {
        (Some(from), Some(to)) => aspects(from, to).is_empty(),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Whether a change is that of a file.
fn is_of(change: &Change, wanted: &str) -> bool {
    match change {
        Change::FileAdded { path, .. }
        | Change::FileRemoved { path, .. }
        | Change::FileChanged { path, .. } => path == wanted,
        Change::Version { .. }
        | Change::Attribute { .. }
        | Change::Dependency { .. }
        | Change::Soname { .. }
        | Change::Scriptlet { .. }
        | Change::Changelog { .. }
        | Change::Payload { .. } => false,
    }
}

fn shown(found: &Found, args: &Since) -> String {
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
