//! The files that a build publishes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, BufRead as _, BufReader};
use std::path::PathBuf;

use camino::{Utf8Path, Utf8PathBuf};
use globset::{GlobBuilder, GlobMatcher};
use stx_layout::{BuildPath, ParseError, PhaseRecord};
use tracing::warn;
use walkdir::{DirEntry, WalkDir};

use super::descent::Descent;
use crate::conclude::{expected, succeeded};
use crate::{BuildPlan, Collection, Deliverable, MissingDeliverable, On, PhasePlan, PublishRule};

/// The files of a build cannot be collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// Two files have the same path in the build.
    #[error("{path}: published from both {first} and {second}")]
    Conflict {
        /// The path.
        path: BuildPath,
        /// One file.
        first: Utf8PathBuf,
        /// The other.
        second: Utf8PathBuf,
    },
    /// A file whose name a mirror does not accept.
    #[error("{file} cannot be published")]
    Name {
        /// The file.
        file: Utf8PathBuf,
        /// The error in its path in the build.
        source: ParseError,
    },
    /// A file whose name is not UTF-8.
    #[error("{} is not UTF-8", file.display())]
    NotUtf8 {
        /// The file.
        file: PathBuf,
    },
    /// A glob is malformed.
    #[error("{from} is not a glob")]
    Glob {
        /// The glob.
        from: String,
        /// The error of the glob parser.
        source: globset::Error,
    },
    /// The list of the files to publish cannot be read.
    #[error("cannot read {list}, which `from-list` names")]
    List {
        /// The list.
        list: Utf8PathBuf,
        /// The error that caused it.
        source: io::Error,
    },
    /// A directory cannot be read.
    #[error("cannot read {dir}")]
    Walk {
        /// The directory.
        dir: Utf8PathBuf,
        /// The error that caused it.
        source: walkdir::Error,
    },
}

/// Finds the files of all phases that succeeded, and the logs of those that ran.
///
/// Symlinks are returned as they are; those to directories are not followed.
///
/// # Errors
/// See [`CollectError`].
pub fn collect(plan: &BuildPlan, records: &[PhaseRecord]) -> Result<Collection, CollectError> {
    let mut files = BTreeMap::new();
    for phase in &plan.phases {
        let log = &phase.invocation.log;
        if ran(phase, records) && log.exists() {
            let path = format!("outputs/logs/{}.log", phase.name);
            put(&mut files, &path, log.clone(), false)?;
        }
    }
    collect_of(plan, records, &|_| true, files)
}

/// Finds the files of finished phases, as [`collect`] would find them now, for the preview of a running build. Logs are left
/// out: they are searched for private names only when they are published.
///
/// # Errors
/// See [`CollectError`].
pub fn collect_preview(
    plan: &BuildPlan,
    records: &[PhaseRecord],
) -> Result<Vec<Deliverable>, CollectError> {
    let offered = plan.preview.as_deref().unwrap_or_default();
    let is_offered = |phase: &PhasePlan| offered.contains(&phase.name) && ran(phase, records);
    let collection = collect_of(plan, records, &is_offered, BTreeMap::new())?;
    Ok(collection.deliverables)
}

fn ran(phase: &PhasePlan, records: &[PhaseRecord]) -> bool {
    records
        .iter()
        .any(|record| record.name == phase.name && record.attempts > 0)
}

/// Adds the files that the rules of some phases match to `files`.
fn collect_of(
    plan: &BuildPlan,
    records: &[PhaseRecord],
    is_wanted: &dyn Fn(&PhasePlan) -> bool,
    mut files: BTreeMap<BuildPath, Utf8PathBuf>,
) -> Result<Collection, CollectError> {
    let mut missing = Vec::new();
    for phase in plan.phases.iter().filter(|phase| is_wanted(phase)) {
        let ran = ran(phase, records);
        for rule in &phase.publish {
            let done = succeeded(phase, records);
            if rule.on == On::Failure {
                if ran && !done {
                    left_by_failure(rule, &mut files);
                }
                continue;
            }
            if !expected(phase, records) {
                continue;
            }
            let found = if done { find(rule)? } else { Found::default() };
            for name in &found.unlisted {
                missing.push(MissingDeliverable {
                    phase: phase.name.clone(),
                    glob: name.clone(),
                    wanted: 1,
                    found: 0,
                });
            }
            let found = found.files;
            if found.len() < rule.min {
                missing.push(MissingDeliverable {
                    phase: phase.name.clone(),
                    glob: rule.from.clone(),
                    wanted: rule.min,
                    found: found.len(),
                });
            }
            for (below, file) in found {
                put(&mut files, &rule.path(&below), file, rule.flat)?;
            }
        }
    }
    let deliverables = files
        .into_iter()
        .map(|(path, source)| Deliverable { path, source })
        .collect();
    Ok(Collection {
        deliverables,
        missing,
    })
}

/// Adds the files that a failed phase left, as far as they can be read and published. An error with them must not prevent the
/// publication of the logs.
fn left_by_failure(rule: &PublishRule, files: &mut BTreeMap<BuildPath, Utf8PathBuf>) {
    let found = find_as(rule, true).unwrap_or_default();
    for (below, file) in found.files {
        if let Err(error) = put(files, &rule.path(&below), file, rule.flat) {
            warn!(%error, "a file of a phase that failed is left out");
        }
    }
}

impl PublishRule {
    /// The path in the build of a file with this path below the rule's base.
    fn path(&self, below: &str) -> String {
        let name = below.rsplit('/').next().unwrap_or(below);
        let kept = if self.flat { name } else { below };
        format!("{}/{kept}", self.to)
    }
}

fn put(
    files: &mut BTreeMap<BuildPath, Utf8PathBuf>,
    path: &str,
    file: Utf8PathBuf,
    flat: bool,
) -> Result<(), CollectError> {
    let path: BuildPath = match path.parse() {
        Ok(path) => path,
        Err(source) => return Err(CollectError::Name { file, source }),
    };
    match files.entry(path) {
        Entry::Vacant(entry) => {
            entry.insert(file);
            Ok(())
        }
        // Two globs may match the same file.
        Entry::Occupied(entry) if *entry.get() == file => Ok(()),
        // Flattened trees may contain the same file more than once.
        Entry::Occupied(entry) if flat && same_bytes(entry.get(), &file) => Ok(()),
        Entry::Occupied(entry) => Err(CollectError::Conflict {
            path: entry.key().clone(),
            first: entry.get().clone(),
            second: file,
        }),
    }
}

fn matcher(from: &str, glob: &str) -> Result<GlobMatcher, CollectError> {
    GlobBuilder::new(glob)
        .literal_separator(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|source| CollectError::Glob {
            from: from.to_owned(),
            source,
        })
}

/// True if two files hold the same bytes, or are the same symlink.
fn same_bytes(one: &Utf8Path, other: &Utf8Path) -> bool {
    let links = [one, other].map(|file| fs_err::read_link(file).ok());
    if links.iter().any(Option::is_some) {
        return links[0] == links[1];
    }
    let compare = || -> io::Result<bool> {
        let files = [fs_err::File::open(one)?, fs_err::File::open(other)?];
        if files[0].metadata()?.len() != files[1].metadata()?.len() {
            return Ok(false);
        }
        let [mut one, mut other] = files.map(BufReader::new);
        loop {
            let (left, right) = (one.fill_buf()?, other.fill_buf()?);
            let length = left.len().min(right.len());
            if left[..length] != right[..length] {
                return Ok(false);
            }
            if length == 0 {
                return Ok(true);
            }
            one.consume(length);
            other.consume(length);
        }
    };
    // A file that cannot be read counts as different, which reports a conflict that names it.
    compare().unwrap_or(false)
}

/// The files of a rule with their paths below its base, sorted; and the names of its list that no file has.
#[derive(Debug, Default)]
struct Found {
    files: Vec<(String, Utf8PathBuf)>,
    unlisted: Vec<String>,
}

fn find(rule: &PublishRule) -> Result<Found, CollectError> {
    find_as(rule, false)
}

/// Finds the files of a rule; if `lenient`, unreadable entries are skipped.
fn find_as(rule: &PublishRule, lenient: bool) -> Result<Found, CollectError> {
    let bad = |source| CollectError::Glob {
        from: rule.from.clone(),
        source,
    };
    let glob = matcher(&rule.from, &rule.glob)?;
    let descent = Descent::new(&rule.glob).map_err(bad)?;
    let except = rule
        .except
        .iter()
        .map(|except| matcher(except, except))
        .collect::<Result<Vec<_>, _>>()?;
    let mut found = Found::default();
    let mut listed = rule.list.as_deref().map(listed).transpose()?;
    if rule.base.is_dir() {
        let below = |entry: &DirEntry| {
            let below = entry.path().strip_prefix(&rule.base);
            below.unwrap_or(entry.path()).to_owned()
        };
        let walk = WalkDir::new(&rule.base).sort_by_file_name().into_iter();
        // A directory whose name is not UTF-8 cannot hold publishable files.
        let walk = walk.filter_entry(|entry| {
            let into = |below: &str| below.is_empty() || descent.enters(below);
            !entry.file_type().is_dir() || below(entry).to_str().is_none_or(into)
        });
        for entry in walk {
            let entry = match entry {
                Ok(entry) => entry,
                Err(_) if lenient => continue,
                Err(source) => {
                    return Err(CollectError::Walk {
                        dir: rule.base.clone(),
                        source,
                    });
                }
            };
            let below = below(&entry);
            if entry.file_type().is_dir() || !glob.is_match(&below) {
                continue;
            }
            let file = Utf8Path::from_path(entry.path()).ok_or_else(|| CollectError::NotUtf8 {
                file: entry.path().to_owned(),
            })?;
            let out = |except: &GlobMatcher| {
                except.is_match(&below) || except.is_match(entry.file_name())
            };
            if except.iter().any(out) {
                continue;
            }
            let below = file.strip_prefix(&rule.base).unwrap_or(file);
            if let Some(listed) = &mut listed {
                let mut meant = false;
                for line in [below.as_str(), below.file_name().unwrap_or_default()] {
                    if let Some(seen) = listed.get_mut(line) {
                        *seen = true;
                        meant = true;
                    }
                }
                if !meant {
                    continue;
                }
            }
            found.files.push((below.to_string(), file.to_owned()));
        }
    }
    let listed = listed.unwrap_or_default().into_iter();
    let unlisted = listed.filter(|(_, found)| !found);
    found.unlisted = unlisted
        .map(|(name, _)| format!("{} ({name})", rule.from))
        .collect();
    Ok(found)
}

/// The lines of a list, each marked as not found yet; blank lines and those that begin with `#` are ignored.
fn listed(list: &Utf8Path) -> Result<BTreeMap<String, bool>, CollectError> {
    let text = fs_err::read_to_string(list).map_err(|source| CollectError::List {
        list: list.to_owned(),
        source,
    })?;
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines = lines.map(|line| line.strip_prefix("./").unwrap_or(line));
    Ok(lines.map(|line| (line.to_owned(), false)).collect())
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
