//! The build that last changed a package.
//!
//! | module | content |
//! |---|---|
//! | this one | the search, by bisection |
//! | `line` | the builds to search, from one release to another |

mod line;

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use stx_compare::bisect::Bisection;
use stx_compare::change::Change;
use stx_compare::inventory::{ChooseError, Entry, Inventory, Key};
use stx_compare::nearest::{CommitRange, commit_ranges};
use stx_compare::package::File;
use stx_compare::version::Version;
use stx_compare::{Package, aspects, compare};
use stx_layout::{AliasName, BuildId, Catalog, Sha256};
use stx_publish::Scope;
use tokio::sync::OnceCell;

use crate::build_ref::pairs::pairs;
use crate::compare::sources;
use crate::error::{Error, ErrorKind, chain};
use crate::packages::{self, PackageError, Place};
use crate::trust::TrustOptions;
use crate::{Reader, Site, build_ref, fetch, refused};

pub use crate::taken::Taken;

/// The build that last changed a package or one of its files.
#[derive(Debug, Serialize)]
pub struct Found {
    /// The package.
    #[serde(flatten)]
    pub key: Key,
    /// The build in which it changed, or first had the requested version; absent if it is the same in all searched builds, or had at
    /// least the requested version in all of them.
    pub changed: Option<BuildId>,
    /// The original build, before all promotions; absent if the build was not promoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<BuildId>,
    /// The good build before it.
    pub before: Option<BuildId>,
    /// The oldest of the searched builds.
    pub oldest: BuildId,
    /// The section that retention removed, with the package, from the build before the oldest one. It is then unknown if the package
    /// changed after that build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<Taken>,
    /// The version before, and the version since; with the epoch, if the package has one. If no build changed it, the version since
    /// is that of the newest build, or with a requested version, that of the oldest.
    pub versions: (Option<String>, Option<String>),
    /// The changes of the package; empty if the package did not exist before.
    pub changes: Vec<Change>,
    /// The commits between the two builds.
    pub commits: Vec<CommitRange>,
    /// The number of examined builds, and the number of searched ones.
    pub looked_at: (usize, usize),
    /// The number of bytes received over the network; absent for a mirror in a directory.
    pub transferred: Option<u64>,
}

/// The package to search for.
#[derive(Debug, Clone)]
pub struct Since {
    /// `NAME`, `NAME.ARCH` or, in the notation of dpkg, `NAME:ARCH`.
    pub package: String,
    /// The builds to search.
    pub among: Among,
    /// Only this file of the package, by its path.
    pub file: Option<String>,
    /// Find the first build with at least this version, in the notation of the package's format.
    pub version: Option<String>,
    /// The phase, if several hold the package.
    pub phase: Option<String>,
    /// The trusted signatures. With a keyring, each package to read is downloaded whole.
    pub trust: TrustOptions,
}

/// The builds to search.
#[derive(Debug, Clone)]
pub enum Among {
    /// The good builds of a channel, in any form of [`build_ref::channel`].
    Channel(String),
    /// The good builds between two builds of one channel or of two releases; each is named in any form of [`build_ref`].
    Between {
        /// The older one.
        from: String,
        /// The newer one.
        to: String,
    },
}

impl Among {
    /// The builds, oldest first; not empty.
    async fn builds(&self, site: &Site, reader: &Reader) -> Result<Builds, Error> {
        let store = reader.store();
        match self {
            Self::Channel(text) => {
                let channel = build_ref::channel(store, text).await?;
                let scope = Scope::Channel(channel.clone());
                let catalog = store.catalog(&scope).await.map_err(refused)?;
                let good = catalog.builds().filter(|(_, build)| build.is_success());
                let ids: Vec<_> = good.map(|(id, _)| id).collect();
                if ids.is_empty() {
                    let latest = AliasName::latest_build();
                    return Err(build_ref::missing_alias(store, &channel, &latest).await);
                }
                Ok(Builds { ids, catalog })
            }
            Self::Between { from, to } => {
                let found = pairs(store, from, to, &|line| site.note(line)).await?;
                let (from, to) = line::ends(found)?;
                let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
                let ids = line::line(&catalog, &from, &to)?;
                Ok(Builds { ids, catalog })
            }
        }
    }
}

/// The searched builds, oldest first, and the catalog with their records.
struct Builds {
    ids: Vec<BuildId>,
    catalog: Catalog,
}

/// The maximal number of builds to skip one by one because retention removed their packages.
const MOST_PASSED: usize = 64;

/// The search among builds.
struct Search<'a> {
    reader: &'a Reader,
    catalog: Catalog,
    args: &'a Since,
    builds: Vec<BuildId>,
    key: Key,
    /// The package in the newest build: its file, and its header.
    newest: (Entry, Package),
    /// The requested version, with its epoch.
    wanted: Option<Version>,
    /// The package in the newest build with all its files; read only if the header does not suffice.
    whole: OnceCell<Package>,
}

impl Site {
    /// Finds the build that last changed a package, by bisection.
    pub async fn since(&self, args: &Since) -> Result<Found, Error> {
        let reader = self.trusted_reader(&args.trust)?;
        let Builds {
            ids: builds,
            catalog,
        } = args.among.builds(self, &reader).await?;
        let newest = builds.last().expect("there are builds");
        let mut inventory = Inventory::of(&fetch::sums(&reader, newest).await?);
        let (key, _) = named(&inventory, args).map_err(|error| {
            let failure = Error::new(ErrorKind::NotFound, format!("{newest}: {error}"));
            match error {
                ChooseError::Absent { .. } => failure
                    .hint("`fetch BUILD rpms --print-url` names its packages; of Debian, `debs`"),
                ChooseError::Ambiguous { .. } => failure.hint("name one with NAME.ARCH or --phase"),
            }
        })?;
        let key = key.clone();
        packages::order(&reader, newest, &mut inventory, &key).await;
        let entry = inventory.get(&key).last().expect("it was named").clone();
        let place = Place::Mirror(newest.clone(), entry.clone());
        let package = header(&reader, &place).await?;
        let given = args.version.as_deref();
        let given = given.map(|text| package.format.parse_version(text));
        let given = given.transpose().map_err(Error::usage)?;
        let wanted = given.clone().map(|mut version| {
            version.epoch = version.epoch.or(package.epoch);
            version
        });
        if let Some(wanted) = &wanted
            && package.evr().cmp_by_rule(wanted).is_lt()
        {
            let found = format!(
                "{newest} has {} {}: no build has {wanted} yet",
                key.name,
                package.evr()
            );
            let failure = Error::new(ErrorKind::NotFound, found);
            return Err(match given.map(|version| version.epoch) {
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
            whole: OnceCell::new(),
            reader: &reader,
            catalog,
            args,
            builds,
        };
        let mut seen = Seen::default();
        seen.files
            .insert(search.builds.len() - 1, Some(search.newest.0.digest));
        seen.read.insert(search.newest.0.digest, (place, true));
        let ends = search.ends(&mut seen).await?;
        let ends = search.past_gaps(ends, &mut seen).await?;
        if let Some(taken) = &ends.passed {
            self.note(&format!(
                "builds before {} were skipped: {taken}; {}",
                search.builds[ends.changed],
                taken.hint()
            ));
        }
        let found = search.found(&ends, &seen).await?;
        reader.remember()?;
        Ok(found)
    }
}

/// The requested package: `NAME`, `NAME.ARCH` or `NAME:ARCH`.
fn named<'a>(inventory: &'a Inventory, args: &Since) -> Result<(&'a Key, &'a Entry), ChooseError> {
    let phase = args.phase.as_deref();
    let whole = inventory.choose(&args.package, "", phase, None);
    match (whole, args.package.rsplit_once(['.', ':'])) {
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
    match packages::read(reader, place).await {
        Ok(package) => Ok(package),
        Err(error) => Err(unreadable(reader, place, &error).await),
    }
}

/// The error about a package that cannot be read.
async fn unreadable(reader: &Reader, place: &Place, error: &PackageError) -> Error {
    let place_name = place.to_string();
    if let Some(taken) = packages::taken_with(reader, place, error).await {
        let failure = format!("{place_name}: {taken}");
        return Error::new(ErrorKind::NotFound, failure).hint(taken.hint());
    }
    let reason = chain(error).to_string();
    let failure = if reason.starts_with(&place_name) {
        reason
    } else {
        format!("{place_name}: {reason}")
    };
    Error::new(ErrorKind::Mirror, failure).hint("`verify` checks a mirror's files")
}

/// The package in the examined builds.
#[derive(Default)]
struct Seen {
    /// The digest of its file by build; `None` for a build without it.
    files: BTreeMap<usize, Option<Sha256>>,
    /// The files that were read: the place of one copy, and true if the package equals that of the newest build.
    read: HashMap<Sha256, (Place, bool)>,
    /// The sections in which retention removed the file from a build.
    taken: BTreeMap<usize, Taken>,
}

impl Seen {
    /// Returns true if the package equals that of the newest build. Returns `None` if retention removed it and no file with its digest was read.
    fn is_same(&self, index: usize) -> Option<bool> {
        match self.files.get(&index)? {
            None => Some(false),
            Some(digest) => self.read.get(digest).map(|(_, is_same)| *is_same),
        }
    }

    /// A file with the same bytes as in this build, which may have been removed.
    fn place(&self, index: usize) -> Option<&Place> {
        let digest = self.files.get(&index)?.as_ref()?;
        self.read.get(digest).map(|(place, _)| place)
    }
}

/// The result of a search.
struct Ends {
    /// The oldest build from which the package equals that of the newest build.
    changed: usize,
    /// The build before it, in which the package differs; `None` if no such build could be read.
    before: Option<usize>,
    /// The section that retention removed from the newest build between the two, or before the first.
    passed: Option<Taken>,
}

impl Search<'_> {
    /// Searches by bisection. A build from which retention removed the package counts as different until a file with the same digest
    /// is read elsewhere.
    async fn ends(&self, seen: &mut Seen) -> Result<Ends, Error> {
        loop {
            let mut bisection = Bisection::new(self.builds.len()).expect("there are builds");
            let mut told = Vec::new();
            while let Some(index) = bisection.next() {
                self.look(index, seen).await?;
                let is_same = seen.is_same(index);
                bisection.tell(index, is_same == Some(true));
                told.push((index, is_same));
            }
            // A file that was read later may equal that of an earlier build.
            if told
                .iter()
                .all(|(index, is_same)| seen.is_same(*index) == *is_same)
            {
                let (changed, before) = bisection.found();
                let passed = None;
                return Ok(Ends {
                    changed,
                    before,
                    passed,
                });
            }
        }
    }

    /// Skips builds from which retention removed the package, if they precede the result.
    async fn past_gaps(&self, ends: Ends, seen: &mut Seen) -> Result<Ends, Error> {
        let Ends {
            mut changed,
            mut before,
            mut passed,
        } = ends;
        let mut count = 0;
        while let Some(index) = before {
            self.look(index, seen).await?;
            match seen.is_same(index) {
                Some(false) => break,
                Some(true) => {
                    (changed, passed, count) = (index, None, 0);
                }
                None => {
                    let taken = seen.taken.get(&index);
                    passed = passed.or_else(|| taken.cloned());
                    count += 1;
                }
            }
            before = if count < MOST_PASSED {
                index.checked_sub(1)
            } else {
                None
            };
        }
        if before.is_none() && passed.is_some() {
            // A build that was examined earlier may still decide.
            let mut known = seen.files.keys().rev();
            before = known
                .find(|index| **index < changed && seen.is_same(**index) == Some(false))
                .copied();
        }
        match (before, &passed) {
            (Some(before), Some(taken)) => {
                let failure = format!(
                    "{}.{} changed after {} and no later than {}, and the builds between cannot tell: {taken}",
                    self.key.name, self.key.arch, self.builds[before], self.builds[changed]
                );
                Err(Error::new(ErrorKind::NotFound, failure).hint(taken.hint()))
            }
            (Some(_) | None, _) => Ok(Ends {
                changed,
                before,
                passed,
            }),
        }
    }

    /// Examines a build, unless that was done.
    async fn look(&self, index: usize, seen: &mut Seen) -> Result<(), Error> {
        if seen.files.contains_key(&index) {
            return Ok(());
        }
        let id = &self.builds[index];
        let mut inventory = Inventory::of(&fetch::sums(self.reader, id).await?);
        packages::order(self.reader, id, &mut inventory, &self.key).await;
        let entry = inventory.get(&self.key).last();
        seen.files.insert(index, entry.map(|entry| entry.digest));
        let Some(entry) = entry.filter(|entry| !seen.read.contains_key(&entry.digest)) else {
            return Ok(());
        };
        let place = Place::Mirror(id.clone(), entry.clone());
        match self.is_wanted(&place).await {
            Ok(is_same) => drop(seen.read.insert(entry.digest, (place, is_same))),
            Err(error) => match packages::taken_with(self.reader, &place, &error).await {
                Some(taken) => drop(seen.taken.insert(index, taken)),
                None => return Err(unreadable(self.reader, &place, &error).await),
            },
        }
        Ok(())
    }

    /// Returns true if the package equals that of the newest build, or, with `--version`, has at least that version.
    async fn is_wanted(&self, place: &Place) -> Result<bool, PackageError> {
        let package = packages::read(self.reader, place).await?;
        match &self.wanted {
            Some(wanted) => Ok(package.evr().cmp_by_rule(wanted).is_ge()),
            None => self.is_as_newest(place, &package).await,
        }
    }

    /// True if the package, or the one requested file, is the same as in the newest build.
    ///
    /// The payload of a Debian package is read only if nothing else differs.
    async fn is_as_newest(&self, place: &Place, package: &Package) -> Result<bool, PackageError> {
        let is_same = |one: &Package, newest: &Package| match &self.args.file {
            Some(path) => is_same(one.files.get(path), newest.files.get(path)),
            None => compare(one, newest).changes.is_empty(),
        };
        let newest = &self.newest.1;
        if package.listing.is_whole() && newest.listing.is_whole() {
            return Ok(is_same(package, newest));
        }
        if package.listing == newest.listing && !is_same(package, newest) {
            return Ok(false);
        }
        Ok(is_same(
            &packages::read_whole(self.reader, place).await?,
            self.whole().await?,
        ))
    }

    /// The package in the newest build with all its files.
    async fn whole(&self) -> Result<&Package, PackageError> {
        let read = || async { packages::read_whole(self.reader, &self.newest_place()).await };
        self.whole.get_or_try_init(read).await
    }

    fn newest_place(&self) -> Place {
        let id = &self.builds[self.builds.len() - 1];
        Place::Mirror(id.clone(), self.newest.0.clone())
    }

    async fn whole_package(&self, place: &Place) -> Result<Package, Error> {
        match packages::read_whole(self.reader, place).await {
            Ok(package) => Ok(package),
            Err(error) => Err(unreadable(self.reader, place, &error).await),
        }
    }

    /// The changes between the packages at two places.
    async fn changes(
        &self,
        places: [Option<&Place>; 2],
        packages: [&Package; 2],
    ) -> Result<Vec<Change>, Error> {
        let [old, new] = packages;
        let mut differences = compare(old, new);
        differences.admit_unread(old, new);
        let is_known = old.listing.is_whole() && new.listing.is_whole();
        if !is_known
            && (differences.is_unread() || self.args.file.is_some())
            && let [Some(old), Some(new)] = places
        {
            differences = compare(
                &self.whole_package(old).await?,
                &self.whole_package(new).await?,
            );
        }
        Ok(differences.changes)
    }

    /// Reads the header of the package at a place; `None` if the place is `None`.
    async fn header(&self, place: Option<&Place>) -> Result<Option<Package>, Error> {
        match place {
            None => Ok(None),
            Some(place) => header(self.reader, place).await.map(Some),
        }
    }

    /// Describes the build that was found and the one before it.
    async fn found(&self, ends: &Ends, seen: &Seen) -> Result<Found, Error> {
        // Skipped builds were not searched.
        let oldest = match &ends.passed {
            Some(_) => ends.changed,
            None => 0,
        };
        let mut found = Found {
            key: self.key.clone(),
            changed: None,
            origin: None,
            before: None,
            oldest: self.builds[oldest].clone(),
            passed_over: ends.passed.clone(),
            versions: (None, Some(self.newest.1.evr().to_string())),
            changes: Vec::new(),
            commits: Vec::new(),
            looked_at: (seen.files.len(), self.builds.len()),
            transferred: self.reader.received(),
        };
        let Some(before) = ends.before else {
            if let Some(path) = &self.args.file
                && !self.newest.1.files.contains_key(path)
                && !self
                    .whole_package(&self.newest_place())
                    .await?
                    .files
                    .contains_key(path)
            {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("{}: no file {path} in any retained build", self.key.name),
                ));
            }
            // It may have changed since, to another version that is recent enough.
            if self.wanted.is_some()
                && let Some(package) = self.header(seen.place(ends.changed)).await?
            {
                found.versions.1 = Some(package.evr().to_string());
            }
            found.transferred = self.reader.received();
            return Ok(found);
        };
        let changed = ends.changed;
        let places = [before, changed].map(|index| seen.place(index));
        let [old, new] = places;
        let old = self.header(old).await?;
        let new = self.header(new).await?;
        let version = |package: &Option<Package>| Some(package.as_ref()?.evr().to_string());
        found.versions = (version(&old), version(&new));
        if let (Some(old), Some(new)) = (old, new) {
            found.changes = self.changes(places, [&old, &new]).await?;
            if let Some(wanted) = &self.args.file {
                found.changes.retain(|change| is_of(change, wanted));
            }
        }
        let (old, new) = (&self.builds[before], &self.builds[changed]);
        let from = sources(self.reader, old).await?;
        let to = sources(self.reader, new).await?;
        found.changed = Some(new.clone());
        found.origin = Some(line::base(&self.catalog, new)).filter(|base| base != new);
        found.before = Some(old.clone());
        found.commits = commit_ranges(&from, &to);
        found.transferred = self.reader.received();
        Ok(found)
    }
}

/// True if a file is the same, apart from its time.
fn is_same(from: Option<&File>, to: Option<&File>) -> bool {
    match (from, to) {
        (Some(from), Some(to)) => aspects(from, to).is_empty(),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// True if a change concerns a file.
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
        | Change::Payload { .. }
        | Change::ControlFile { .. }
        | Change::Unread => false,
    }
}
