//! The packages of a build, by their file names, and the matching of packages of two builds.

use std::collections::BTreeMap;

use serde::Serialize;
use stx_deb::DebFileName;
use stx_layout::{BuildPath, PackageFileName, Sha256, Sums};

use crate::version::Format;

/// The identity of a package without its version: place, format, name and architecture.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Key {
    /// The directory in the build: `outputs/RPMS/std`, `outputs/std/packages`.
    pub place: String,
    /// The format of its files.
    #[serde(skip_serializing_if = "Format::is_rpm")]
    pub format: Format,
    /// The package's name; the whole file name if that is not in the usual form.
    pub name: String,
    /// Its architecture.
    pub arch: String,
}

impl Key {
    /// The phase: the last segment of the place; `std` of `outputs/std/packages` and `outputs/std/sources/hello`.
    pub fn phase(&self) -> &str {
        let mut segments = self.place.split('/');
        match (segments.next(), segments.next(), segments.next()) {
            (Some("outputs"), Some(phase), Some("packages" | "sources")) => phase,
            _ => self.place.rsplit('/').next().unwrap_or_default(),
        }
    }

    /// True for a source package.
    pub fn is_source(&self) -> bool {
        self.format == Format::Dsc || self.arch == "src"
    }
}

/// A package file of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path.
    pub path: BuildPath,
    /// Its digest.
    pub digest: Sha256,
    /// Version and release, as in the file name.
    pub version: String,
    /// The epoch, which few file names contain; `None` if it was not read, or if there is none.
    pub epoch: Option<u32>,
}

impl Entry {
    /// Epoch, version and release, as far as known.
    pub fn evr(&self) -> String {
        match self.epoch {
            Some(epoch) => format!("{epoch}:{}", self.version),
            None => self.version.clone(),
        }
    }
}

/// The packages of a build, each key's versions from old to new.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory(BTreeMap<Key, Vec<Entry>>);

/// No package can be chosen as the reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChooseError {
    /// No package has this name and architecture.
    #[error("no package {}{}", [name.as_str(), arch].join(".").trim_end_matches('.'), phase.as_ref().map(|phase| format!(" of phase {phase}")).unwrap_or_default())]
    Absent {
        /// Its name.
        name: String,
        /// Its architecture.
        arch: String,
        /// The requested phase.
        phase: Option<String>,
    },
    /// Several phases have different packages of this name and architecture.
    #[error("{name}.{arch} is in {}, and is not the same there", places.join(" and "))]
    Ambiguous {
        /// Its name.
        name: String,
        /// Its architecture.
        arch: String,
        /// The places of these packages.
        places: Vec<String>,
    },
}

/// A package of two builds, or of one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The identity of the package apart from its version.
    pub key: Key,
    /// The old file; absent if the package is new.
    pub from: Option<Entry>,
    /// The new file; absent if the package is gone.
    pub to: Option<Entry>,
}

/// The parts of a package file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The format, by the extension of the file name.
    pub format: Format,
    /// The package's name; the whole file name if that is not in the usual form.
    pub name: String,
    /// Version and release; empty if the name has none.
    pub version: String,
    /// The epoch, if the name has one.
    pub epoch: Option<u32>,
    /// The architecture: `source` of a `.dsc`; empty if the name has none.
    pub arch: String,
}

impl Named {
    /// Reads a file name; `None` if it is not that of a package.
    ///
    /// ```
    /// # use stx_compare::inventory::Named;
    /// let named = Named::of("g++_4%3a12.2.0-3_amd64.deb").unwrap();
    /// assert_eq!((named.name.as_str(), named.epoch, named.version.as_str()), ("g++", Some(4), "12.2.0-3"));
    /// assert_eq!(Named::of("hello_1.0-1.dsc").unwrap().arch, "source");
    /// assert_eq!(Named::of("hello_1.0.orig.tar.gz"), None);
    /// ```
    pub fn of(file_name: &str) -> Option<Self> {
        let format = Format::of(file_name)?;
        let found = match format {
            Format::Rpm => PackageFileName::parse(file_name).map(|file| {
                let PackageFileName {
                    name,
                    version,
                    arch,
                } = file;
                (name.to_owned(), version.to_owned(), arch.to_owned())
            }),
            Format::Deb | Format::Udeb => DebFileName::parse(file_name).map(|file| {
                let DebFileName {
                    name,
                    version,
                    arch,
                    ..
                } = file;
                (name.into_owned(), version.into_owned(), arch.into_owned())
            }),
            Format::Dsc => {
                let stem = file_name.trim_end_matches(".dsc");
                // A `.dsc` is named like a package without an architecture.
                let whole = format!("{stem}_source.deb");
                DebFileName::parse(&whole).map(|file| {
                    let DebFileName { name, version, .. } = file;
                    let source = "source".to_owned();
                    (name.into_owned(), version.into_owned(), source)
                })
            }
        };
        let (name, version, arch) =
            found.unwrap_or_else(|| (file_name.to_owned(), String::new(), String::new()));
        let (epoch, version) = match version.split_once(':') {
            Some((epoch, rest)) if format != Format::Rpm => match epoch.parse() {
                Ok(epoch) => (Some(epoch), rest.to_owned()),
                Err(_) => (None, version),
            },
            Some(_) | None => (None, version),
        };
        Some(Self {
            format,
            name,
            version,
            epoch,
            arch,
        })
    }
}

impl Inventory {
    /// The packages in the sums of a build: every `*.rpm`, `*.deb`, `*.udeb` and `*.dsc`.
    pub fn of(sums: &Sums) -> Self {
        let mut packages = BTreeMap::<Key, Vec<Entry>>::new();
        for line in sums.lines() {
            let Some(named) = Named::of(line.path.file_name()) else {
                continue;
            };
            let place = line.path.parent();
            let key = Key {
                place: place.map(|place| place.to_string()).unwrap_or_default(),
                format: named.format,
                name: named.name,
                arch: named.arch,
            };
            packages.entry(key).or_default().push(Entry {
                path: line.path.clone(),
                digest: line.digest,
                version: named.version,
                epoch: named.epoch,
            });
        }
        let mut inventory = Self(packages);
        inventory.sort();
        inventory
    }

    /// The packages with several files. Only their epochs tell which file is the newest.
    pub fn several(&self) -> impl Iterator<Item = (&Key, &[Entry])> {
        let several = self.0.iter().filter(|(_, entries)| entries.len() > 1);
        several.map(|(key, entries)| (key, entries.as_slice()))
    }

    /// Sets the epochs of files whose headers were read, and sorts the versions by them.
    pub fn set_epochs(&mut self, epochs: &BTreeMap<BuildPath, u32>) {
        for entry in self.0.values_mut().flatten() {
            if let Some(epoch) = epochs.get(&entry.path) {
                entry.epoch = Some(*epoch);
            }
        }
        self.sort();
    }

    fn sort(&mut self) {
        for (key, entries) in &mut self.0 {
            let versions = |a: &Entry, b: &Entry| key.format.cmp_versions(&a.evr(), &b.evr());
            entries.sort_by(|a, b| versions(a, b).then_with(|| a.path.cmp(&b.path)));
        }
    }

    /// The number of package files.
    pub fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// The files of a package, from old to new.
    pub fn get(&self, key: &Key) -> &[Entry] {
        self.0.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// The package of this name and architecture. An empty architecture means any, but that of source packages only if there
    /// are no others. Chooses the given version if it exists, otherwise the newest; of the given phase; and outputs of the
    /// build before its inputs.
    pub fn choose(
        &self,
        name: &str,
        arch: &str,
        phase: Option<&str>,
        version: Option<&str>,
    ) -> Result<(&Key, &Entry), ChooseError> {
        let mut found: Vec<_> = self
            .0
            .iter()
            .filter(|(key, _)| key.name == name && (arch.is_empty() || key.arch == arch))
            .filter(|(key, _)| phase.is_none_or(|phase| key.phase() == phase))
            .filter_map(|(key, entries)| {
                let same = entries
                    .iter()
                    .find(|entry| Some(entry.version.as_str()) == version);
                Some((key, same.or(entries.last())?))
            })
            .collect();
        let mut prefer = |better: &dyn Fn(&Key) -> bool| {
            if found.iter().any(|(key, _)| better(key)) {
                found.retain(|(key, _)| better(key));
            }
        };
        prefer(&|key| key.place.starts_with("outputs/"));
        prefer(&|key| !arch.is_empty() || !key.is_source());
        // aptly's tree contains the packages of the other directories a second time.
        prefer(&|key| !key.place.starts_with("outputs/aptly/"));
        let Some((key, entry)) = found.first().copied() else {
            return Err(ChooseError::Absent {
                name: name.to_owned(),
                arch: arch.to_owned(),
                phase: phase.map(ToOwned::to_owned),
            });
        };
        if found.iter().all(|(_, other)| other.digest == entry.digest) {
            return Ok((key, entry));
        }
        let place = |(key, _): &(&Key, &Entry)| format!("{} ({})", key.place, key.arch);
        Err(ChooseError::Ambiguous {
            name: name.to_owned(),
            arch: arch.to_owned(),
            places: found.iter().map(place).collect(),
        })
    }
}

/// The files whose epochs affect how [`pair`] matches two builds: those of packages of which more than one file is left on a
/// side after files with equal digests, and then with equal versions, were matched.
pub fn contested(from: &Inventory, to: &Inventory) -> (Vec<Entry>, Vec<Entry>) {
    let mut contested = (Vec::new(), Vec::new());
    for (key, entries) in from.0.iter().filter(|(key, _)| to.0.contains_key(key)) {
        let mut old: Vec<_> = entries.iter().collect();
        let mut new: Vec<_> = to.get(key).iter().collect();
        drop(matched(&mut old, &mut new, |a, b| a.digest == b.digest));
        drop(matched(&mut old, &mut new, |a, b| a.version == b.version));
        if !old.is_empty() && !new.is_empty() && old.len().max(new.len()) > 1 {
            contested.0.extend(old.into_iter().cloned());
            contested.1.extend(new.into_iter().cloned());
        }
    }
    contested
}

/// Matches the packages of two builds. Files with the same key and digest are identical. Returns the number of these, and the
/// pairs of the others: first those with the same version, then the newest with the newest.
pub fn pair(from: &Inventory, to: &Inventory) -> (usize, Vec<Pair>) {
    let keys: std::collections::BTreeSet<_> = from.0.keys().chain(to.0.keys()).collect();
    let mut same = 0;
    let mut pairs = Vec::new();
    for key in keys {
        let mut old: Vec<_> = from.get(key).iter().collect();
        let mut new: Vec<_> = to.get(key).iter().collect();
        same += matched(&mut old, &mut new, |a, b| a.digest == b.digest).len();
        let mut rest = matched(&mut old, &mut new, |a, b| a.version == b.version);
        let left = old.len().min(new.len());
        let newest = (
            old.split_off(old.len() - left),
            new.split_off(new.len() - left),
        );
        rest.extend(newest.0.into_iter().zip(newest.1));
        let both = rest.into_iter().map(|(from, to)| (Some(from), Some(to)));
        let gone = old.into_iter().map(|from| (Some(from), None));
        let come = new.into_iter().map(|to| (None, Some(to)));
        pairs.extend(both.chain(gone).chain(come).map(|(from, to)| Pair {
            key: key.clone(),
            from: from.cloned(),
            to: to.cloned(),
        }));
    }
    (same, pairs)
}

/// Removes matching entries from both lists, and returns them as pairs.
fn matched<'a>(
    old: &mut Vec<&'a Entry>,
    new: &mut Vec<&'a Entry>,
    belong: impl Fn(&Entry, &Entry) -> bool,
) -> Vec<(&'a Entry, &'a Entry)> {
    let mut found = Vec::new();
    old.retain(|from| {
        let at = new.iter().position(|to| belong(from, to));
        if let Some(at) = at {
            found.push((*from, new.remove(at)));
        }
        at.is_none()
    });
    found
}
