//! The files that a build publishes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;

use camino::{Utf8Path, Utf8PathBuf};
use globset::{GlobBuilder, GlobMatcher};
use stx_layout::{BuildPath, ParseError, PhaseRecord};
use walkdir::WalkDir;

use crate::conclude::{expected, succeeded};
use crate::{BuildPlan, Collection, Deliverable, MissingDeliverable, PublishRule};

/// The files of a build cannot be collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// Two files want the same place.
    #[error("{path}: published from both {first} and {second}")]
    Conflict {
        /// The place.
        path: BuildPath,
        /// One file.
        first: Utf8PathBuf,
        /// The other.
        second: Utf8PathBuf,
    },
    /// A file whose name no mirror takes.
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
    /// A glob is none.
    #[error("{from} is not a glob")]
    Glob {
        /// The glob.
        from: String,
        /// The error of the glob parser.
        source: globset::Error,
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
/// Symlinks are passed as they are; those to directories are not followed.
///
/// # Errors
/// See [`CollectError`].
pub fn collect(plan: &BuildPlan, records: &[PhaseRecord]) -> Result<Collection, CollectError> {
    let mut files = BTreeMap::new();
    let mut missing = Vec::new();
    for phase in &plan.phases {
        let log = &phase.invocation.log;
        let ran = records
            .iter()
            .any(|record| record.name == phase.name && record.attempts > 0);
        if ran && log.exists() {
            let path = format!("outputs/logs/{}.log", phase.name);
            put(&mut files, &path, log.clone())?;
        }
        for rule in phase.publish.iter().filter(|_| expected(phase, records)) {
            let found = if succeeded(phase, records) {
                find(rule)?
            } else {
                Vec::new()
            };
            if found.len() < rule.min {
                missing.push(MissingDeliverable {
                    phase: phase.name.clone(),
                    glob: rule.from.clone(),
                    wanted: rule.min,
                    found: found.len(),
                });
            }
            for (below, file) in found {
                put(&mut files, &format!("{}/{below}", rule.to), file)?;
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

fn put(
    files: &mut BTreeMap<BuildPath, Utf8PathBuf>,
    path: &str,
    file: Utf8PathBuf,
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
        // Two globs may well match the same file.
        Entry::Occupied(entry) if *entry.get() == file => Ok(()),
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

/// The files of a rule, with their path below its base, sorted.
fn find(rule: &PublishRule) -> Result<Vec<(String, Utf8PathBuf)>, CollectError> {
    let glob = matcher(&rule.from, &rule.glob)?;
    let except = rule
        .except
        .iter()
        .map(|except| matcher(except, except))
        .collect::<Result<Vec<_>, _>>()?;
    let mut found = Vec::new();
    if !rule.base.is_dir() {
        return Ok(found);
    }
    for entry in WalkDir::new(&rule.base).min_depth(1).sort_by_file_name() {
        let entry = entry.map_err(|source| CollectError::Walk {
            dir: rule.base.clone(),
            source,
        })?;
        let below = entry
            .path()
            .strip_prefix(&rule.base)
            .unwrap_or(entry.path());
        if entry.file_type().is_dir() || !glob.is_match(below) {
            continue;
        }
        let file = Utf8Path::from_path(entry.path()).ok_or_else(|| CollectError::NotUtf8 {
            file: entry.path().to_owned(),
        })?;
        let out =
            |except: &GlobMatcher| except.is_match(below) || except.is_match(entry.file_name());
        if !except.iter().any(out) {
            let below = file.strip_prefix(&rule.base).unwrap_or(file);
            found.push((below.to_string(), file.to_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
