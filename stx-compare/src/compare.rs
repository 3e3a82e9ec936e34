//! The comparison of two packages.

use std::collections::{BTreeMap, BTreeSet};

use crate::change::{Aspect, Change, Differences, Noise};
use crate::package::{ChangelogEntry, File, Package, Relation};
use crate::version::Format;

/// The differences between `from` and `to`.
///
/// A dependency on the package's own version (`hello = 1.0-1` of `hello` 1.0-1) counts as unchanged if it changes with that
/// version.
pub fn compare(from: &Package, to: &Package) -> Differences {
    let mut changes = Vec::new();
    if from.evr().to_string() != to.evr().to_string() {
        changes.push(Change::Version {
            from: from.evr().to_string(),
            to: to.evr().to_string(),
        });
    }
    let derived = attributes(from, to, &mut changes);
    let touched = files(from, to, &mut changes);
    dependencies(from, to, &mut changes);
    scriptlets(from, to, &mut changes);
    control(from, to, &mut changes);
    changelog(&from.changelog, &to.changelog, &mut changes);
    payload(from, to, &mut changes);
    changes.sort();
    let noise = noise(from, to, touched, derived, changes.is_empty());
    Differences { changes, noise }
}

/// The keys of both maps, with the values of each map.
fn joined<'a, K: Ord, V>(
    from: &'a BTreeMap<K, V>,
    to: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    let keys: BTreeSet<&K> = from.keys().chain(to.keys()).collect();
    keys.into_iter()
        .map(|key| (key, from.get(key), to.get(key)))
}

/// Fields of Debian packages that follow from the files of the package.
const DERIVED: [&str; 2] = ["Build-Ids", "Installed-Size"];

/// Compares the fields of the package as a whole. Returns the differences in fields that follow from its files.
fn attributes(from: &Package, to: &Package, changes: &mut Vec<Change>) -> Vec<Noise> {
    let mut derived = Vec::new();
    let mut push = |name: &str, from: Option<&String>, to: Option<&String>| {
        if from != to {
            changes.push(Change::Attribute {
                name: name.to_owned(),
                from: from.cloned(),
                to: to.cloned(),
            });
        }
    };
    let format = |package: &Package| package.format.to_string();
    push("format", Some(&format(from)), Some(&format(to)));
    push("name", Some(&from.name), Some(&to.name));
    push("architecture", Some(&from.arch), Some(&to.arch));
    // The file name of the source package contains the version.
    let moved = from.evr() != to.evr();
    let is_debian = from.format != Format::Rpm && to.format != Format::Rpm;
    for (name, from, to) in joined(&from.attributes, &to.attributes) {
        if is_debian && DERIVED.contains(&name.as_str()) {
            if from != to {
                derived.push(Noise::Derived {
                    name: name.clone(),
                    from: from.cloned(),
                    to: to.cloned(),
                });
            }
        } else if !(moved && name == SOURCE_PACKAGE) {
            push(name, from, to);
        }
    }
    derived
}

/// The attribute that names the source package.
pub(crate) const SOURCE_PACKAGE: &str = "source package";

/// Compares the files; returns the paths of those whose modification times differ.
fn files(from: &Package, to: &Package, changes: &mut Vec<Change>) -> Vec<String> {
    let mut touched = Vec::new();
    if from.listing != to.listing {
        // A file that only one side lists may nevertheless exist on the other.
        changes.push(Change::Unread);
        return touched;
    }
    for (path, from, to) in joined(&from.files, &to.files) {
        let path = path.clone();
        match (from, to) {
            (Some(from), Some(to)) => {
                if from.modified != to.modified {
                    touched.push(path.clone());
                }
                let aspects = aspects(from, to);
                if !aspects.is_empty() {
                    changes.push(Change::FileChanged { path, aspects });
                }
            }
            (Some(file), None) => changes.push(Change::FileRemoved {
                path,
                file: file.into(),
            }),
            (None, Some(file)) => changes.push(Change::FileAdded {
                path,
                file: file.into(),
            }),
            (None, None) => {}
        }
    }
    touched
}

/// The aspects in which a file differs, except for its modification time.
pub fn aspects(from: &File, to: &File) -> Vec<Aspect> {
    let flags = |file: &File| {
        let flags: Vec<_> = file.flags.iter().map(String::as_str).collect();
        flags.join(",")
    };
    let mut aspects = Vec::new();
    if from.digest != to.digest {
        aspects.push(Aspect::Content {
            from: from.digest.clone(),
            to: to.digest.clone(),
        });
    }
    if from.size != to.size {
        aspects.push(Aspect::Size {
            from: from.size,
            to: to.size,
        });
    }
    if from.mode != to.mode {
        aspects.push(Aspect::Mode {
            from: from.mode,
            to: to.mode,
        });
    }
    if from.owner != to.owner {
        aspects.push(Aspect::Owner {
            from: from.owner.clone(),
            to: to.owner.clone(),
        });
    }
    if from.target != to.target {
        aspects.push(Aspect::Target {
            from: from.target.clone(),
            to: to.target.clone(),
        });
    }
    if from.flags != to.flags {
        aspects.push(Aspect::Flags {
            from: flags(from),
            to: flags(to),
        });
    }
    if from.capabilities != to.capabilities {
        aspects.push(Aspect::Capabilities {
            from: from.capabilities.clone(),
            to: to.capabilities.clone(),
        });
    }
    if from.language != to.language {
        aspects.push(Aspect::Language {
            from: from.language.clone(),
            to: to.language.clone(),
        });
    }
    if from.device != to.device {
        aspects.push(Aspect::Device {
            from: from.device,
            to: to.device,
        });
    }
    if from.verify != to.verify {
        aspects.push(Aspect::Verify {
            from: from.verify,
            to: to.verify,
        });
    }
    aspects
}

/// The conditions on a name: the form to compare, with the form to show.
type Conditions = BTreeMap<String, String>;

/// The dependencies of one kind by name.
fn by_name(package: &Package, relation: Relation) -> BTreeMap<String, Conditions> {
    let own = format!("= {}", package.evr());
    let mut names = BTreeMap::<String, Conditions>::new();
    for dependency in package.dependencies.get(&relation).into_iter().flatten() {
        let when = match dependency.when.as_str() {
            "" => String::new(),
            when => format!("({when})"),
        };
        let text = |condition: &str| [condition, &when].join(" ").trim().to_owned();
        let compared = if dependency.condition == own {
            "= its own version"
        } else {
            &dependency.condition
        };
        names
            .entry(dependency.name.clone())
            .or_default()
            .insert(text(compared), text(&dependency.condition));
    }
    names
}

fn dependencies(from: &Package, to: &Package, changes: &mut Vec<Change>) {
    for relation in Relation::ALL.iter().copied() {
        let sides = (by_name(from, relation), by_name(to, relation));
        for (name, from, to) in joined(&sides.0, &sides.1) {
            if from.map(|side| side.keys().collect::<Vec<_>>())
                == to.map(|side| side.keys().collect())
            {
                continue;
            }
            let dependency = crate::package::Dependency {
                name: name.clone(),
                ..Default::default()
            };
            let library = matches!(relation, Relation::Requires | Relation::Provides)
                && dependency.is_soname();
            match (from, to) {
                (Some(_), None) | (None, Some(_)) if library => changes.push(Change::Soname {
                    relation,
                    name: name.clone(),
                    added: to.is_some(),
                }),
                (from, to) => {
                    let shown = |side: Option<&Conditions>| {
                        side.map(|side| side.values().cloned().collect())
                            .unwrap_or_default()
                    };
                    changes.push(Change::Dependency {
                        relation,
                        name: name.clone(),
                        from: shown(from),
                        to: shown(to),
                    });
                }
            }
        }
    }
}

fn scriptlets(from: &Package, to: &Package, changes: &mut Vec<Change>) {
    for (name, from, to) in joined(&from.scriptlets, &to.scriptlets) {
        if from != to {
            changes.push(Change::Scriptlet {
                name: name.clone(),
                from: from.cloned(),
                to: to.cloned(),
            });
        }
    }
}

fn control(from: &Package, to: &Package, changes: &mut Vec<Change>) {
    for (name, from, to) in joined(&from.control, &to.control) {
        if from != to {
            changes.push(Change::ControlFile {
                name: name.clone(),
                from: from.cloned(),
                to: to.cloned(),
            });
        }
    }
}

fn changelog(from: &[ChangelogEntry], to: &[ChangelogEntry], changes: &mut Vec<Change>) {
    let without = |these: &[ChangelogEntry], those: &[ChangelogEntry]| {
        let mut left = BTreeMap::<&ChangelogEntry, usize>::new();
        for entry in those {
            *left.entry(entry).or_default() += 1;
        }
        let mut rest = Vec::new();
        for entry in these {
            match left.get_mut(entry) {
                Some(count) if *count > 0 => *count -= 1,
                _ => rest.push(entry.clone()),
            }
        }
        rest
    };
    let (added, removed) = (without(to, from), without(from, to));
    if !added.is_empty() || !removed.is_empty() {
        changes.push(Change::Changelog { added, removed });
    }
}

fn payload(from: &Package, to: &Package, changes: &mut Vec<Change>) {
    let (from, to) = (&from.payload, &to.payload);
    for (aspect, from, to) in [
        ("format", &from.format, &to.format),
        ("compression", &from.compression, &to.compression),
        ("level", &from.level, &to.level),
    ] {
        if from != to {
            changes.push(Change::Payload {
                aspect: aspect.to_owned(),
                from: from.clone(),
                to: to.clone(),
            });
        }
    }
}

fn noise(
    from: &Package,
    to: &Package,
    touched: Vec<String>,
    derived: Vec<Noise>,
    unchanged: bool,
) -> Vec<Noise> {
    let mut noise = derived;
    if unchanged && touched.is_empty() && from.payload.digest != to.payload.digest {
        noise.push(Noise::PayloadBytes {
            from: from.payload.digest.clone(),
            to: to.payload.digest.clone(),
        });
    }
    let (from, to) = (&from.origin, &to.origin);
    if from.time != to.time {
        noise.push(Noise::BuildTime {
            from: from.time,
            to: to.time,
        });
    }
    if from.host != to.host {
        noise.push(Noise::BuildHost {
            from: from.host.clone(),
            to: to.host.clone(),
        });
    }
    if from.tool != to.tool {
        noise.push(Noise::BuildTool {
            from: from.tool.clone(),
            to: to.tool.clone(),
        });
    }
    if from.signatures != to.signatures {
        noise.push(Noise::Signature {
            from: from.signatures.clone(),
            to: to.signatures.clone(),
        });
    }
    if !touched.is_empty() {
        noise.push(Noise::FileTimes { paths: touched });
    }
    noise.sort();
    noise
}

impl Differences {
    /// Notes that the files of two packages differ in payloads that were not read, if no other difference was found.
    ///
    /// The caller knows that the bytes of the files differ.
    pub fn admit_unread(&mut self, from: &Package, to: &Package) {
        let is_unread = !from.listing.is_whole() || !to.listing.is_whole();
        if is_unread && self.changes.is_empty() {
            self.changes.push(Change::Unread);
        }
    }

    /// True if unread payloads are the only difference.
    pub fn is_unread(&self) -> bool {
        matches!(self.changes[..], [Change::Unread])
    }

    /// The files of which only the bytes differ, so that perhaps only times within them differ.
    pub fn opaque(&self) -> BTreeSet<&str> {
        let paths = self.changes.iter().filter_map(|change| match change {
            Change::FileChanged { path, aspects } => {
                matches!(aspects[..], [Aspect::Content { .. }]).then_some(path.as_str())
            }
            _ => None,
        });
        paths.collect()
    }

    /// Turns a file of [`opaque`](Self::opaque) into noise, because only times of `format` differ in it.
    pub fn only_times(&mut self, path: &str, format: &str) {
        self.changes.retain(
            |change| !matches!(change, Change::FileChanged { path: changed, .. } if changed == path),
        );
        self.noise.push(Noise::EmbeddedTimes {
            path: path.to_owned(),
            format: format.to_owned(),
        });
        self.noise.sort();
    }
}
