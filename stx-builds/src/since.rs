//! The build that last changed a package.

use std::collections::BTreeMap;

use serde::Serialize;
use stx_compare::bisect::Bisection;
use stx_compare::change::Change;
use stx_compare::inventory::{ChooseError, Entry, Inventory, Key};
use stx_compare::nearest::{CommitRange, commit_ranges};
use stx_compare::package::File;
use stx_compare::{Package, aspects, compare};
use stx_layout::{AliasName, BuildId, Channel, Evr};

use crate::compare::{sources, successes};
use crate::error::{Error, ErrorKind, chain};
use crate::packages::{self, Place};
use crate::{Reader, Site, build_ref, fetch};

/// The build that last changed a package or one of its files.
#[derive(Debug, Serialize)]
pub struct Found {
    /// The package.
    #[serde(flatten)]
    pub key: Key,
    /// The build in which it changed; absent if it is the same in all that are retained.
    pub changed: Option<BuildId>,
    /// The good build before that.
    pub before: Option<BuildId>,
    /// The oldest good build that is retained.
    pub oldest: BuildId,
    /// The version before, and the version since; with the epoch of a package that has one.
    pub versions: (Option<String>, Option<String>),
    /// The changes; empty if the package was not there before.
    pub changes: Vec<Change>,
    /// The commits that came between the two builds.
    pub commits: Vec<CommitRange>,
    /// How many builds were looked at, of how many.
    pub looked_at: (usize, usize),
    /// Bytes that came over the network; absent for a mirror in a directory.
    pub transferred: Option<u64>,
}

/// The package that is looked for.
#[derive(Debug, Clone)]
pub struct Since {
    /// `NAME` or `NAME.ARCH`.
    pub package: String,
    /// The channel.
    pub channel: Channel,
    /// Only this file of the package, by its path.
    pub file: Option<String>,
    /// The first build with at least this version is looked for.
    pub version: Option<Evr>,
    /// The phase, if several hold the package.
    pub phase: Option<String>,
}

/// The search among the builds of a channel.
struct Search<'a> {
    reader: &'a Reader,
    args: &'a Since,
    builds: Vec<BuildId>,
    key: Key,
    /// The package in the newest build: its file, and what its header says.
    newest: (Entry, Package),
    /// The version that is looked for, with its epoch.
    wanted: Option<Evr>,
}

impl Site {
    /// Finds the build that last changed a package, by bisection.
    pub async fn since(&self, args: &Since) -> Result<Found, Error> {
        let reader = self.reader()?;
        let builds = successes(&reader, &args.channel).await?;
        let Some((newest, mut bisection)) = builds.last().zip(Bisection::new(builds.len())) else {
            let latest = AliasName::latest_build();
            return Err(build_ref::missing_alias(reader.store(), &args.channel, &latest).await);
        };
        let mut inventory = Inventory::of(&fetch::sums(&reader, newest).await?);
        let (key, _) = named(&inventory, args).map_err(|error| {
            let failure = Error::new(ErrorKind::NotFound, format!("{newest}: {error}"));
            match error {
                ChooseError::Absent { .. } => {
                    failure.hint("`fetch BUILD rpms --print-url` names its packages")
                }
                ChooseError::Ambiguous { .. } => failure.hint("name one with NAME.ARCH or --phase"),
            }
        })?;
        let key = key.clone();
        packages::order(&reader, newest, &mut inventory, &key).await;
        let entry = inventory.get(&key).last().expect("it was named").clone();
        let place = Place::Mirror(newest.clone(), entry.clone());
        let package = header(&reader, &place).await?;
        let wanted = args.version.clone().map(|mut version| {
            version.epoch = version.epoch.or(package.epoch);
            version
        });
        if let Some(wanted) = &wanted
            && package.evr().cmp_as_rpm(wanted).is_lt()
        {
            let found = format!(
                "{newest} has {} {}: no build has {wanted} yet",
                key.name,
                package.evr()
            );
            let failure = Error::new(ErrorKind::NotFound, found);
            return Err(match args.version.as_ref().map(|version| version.epoch) {
                Some(None) if package.epoch.is_some_and(|epoch| epoch > 0) => failure.hint(
                    "--version EPOCH:VERSION names a version of an earlier epoch, 0 for none",
                ),
                _ => failure,
            });
        }
        let search = Search {
            key,
            newest: (entry, package),
            wanted,
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
        search.found(bisection.found(), looked_at).await
    }
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

async fn header(reader: &Reader, place: &Place) -> Result<Package, Error> {
    let package = packages::read(reader.store(), place).await;
    package.map_err(|error| Error::new(ErrorKind::Mirror, format!("{place}: {}", chain(&error))))
}

impl Search<'_> {
    /// Whether the package is in a build as it is in the newest, and its file there.
    async fn look(&self, index: usize) -> Result<(bool, Option<Place>), Error> {
        let id = &self.builds[index];
        let mut inventory = Inventory::of(&fetch::sums(self.reader, id).await?);
        packages::order(self.reader, id, &mut inventory, &self.key).await;
        let Some(entry) = inventory.get(&self.key).last() else {
            return Ok((false, None));
        };
        let place = Place::Mirror(id.clone(), entry.clone());
        let same = if entry.digest == self.newest.0.digest {
            true
        } else {
            let package = header(self.reader, &place).await?;
            let newest = &self.newest.1;
            match (&self.wanted, &self.args.file) {
                (Some(wanted), _) => package.evr().cmp_as_rpm(wanted).is_ge(),
                (None, Some(path)) => is_same(package.files.get(path), newest.files.get(path)),
                (None, None) => compare(&package, newest).changes.is_empty(),
            }
        };
        Ok((same, Some(place)))
    }

    /// The header at a place, if there is a package.
    async fn header(&self, place: Option<Place>) -> Result<Option<Package>, Error> {
        match place {
            None => Ok(None),
            Some(place) => header(self.reader, &place).await.map(Some),
        }
    }

    /// The report about the build that was found and the one before.
    async fn found(
        &self,
        (changed, before): (usize, Option<usize>),
        mut looked_at: BTreeMap<usize, Option<Place>>,
    ) -> Result<Found, Error> {
        let oldest = &self.builds[0];
        let mut found = Found {
            key: self.key.clone(),
            changed: None,
            before: None,
            oldest: oldest.clone(),
            versions: (None, Some(self.newest.1.evr().to_string())),
            changes: Vec::new(),
            commits: Vec::new(),
            looked_at: (looked_at.len(), self.builds.len()),
            transferred: self.reader.received(),
        };
        let Some(before) = before else {
            if let Some(path) = &self.args.file
                && !self.newest.1.files.contains_key(path)
            {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("{}: no file {path} in any retained build", self.key.name),
                ));
            }
            return Ok(found);
        };
        let mut place = |index| looked_at.remove(&index).flatten();
        let old = self.header(place(before)).await?;
        let new = self.header(place(changed)).await?;
        let version = |package: &Option<Package>| Some(package.as_ref()?.evr().to_string());
        found.versions = (version(&old), version(&new));
        if let (Some(old), Some(new)) = (old, new) {
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
