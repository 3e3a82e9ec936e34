//! Compares a statement with its build: a pure function that returns the disagreements.

use std::collections::{BTreeMap, BTreeSet};

use stx_layout::derived::Repositories;
use stx_layout::{BuildRecord, Sums};

use stx_publish::plan::ORIGIN;

use super::statement::{Resource, Statement, recipe_file};

/// A disagreement between a statement and its build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Disagreement {
    /// It is about another build.
    #[error("the provenance is that of {found}")]
    Build {
        /// The build that it names.
        found: String,
    },
    /// A digest differs from that in `SHA256SUMS`.
    #[error("{path}: the provenance states another digest than SHA256SUMS has")]
    Digest {
        /// The file.
        path: String,
    },
    /// An output or image is not a subject, or an input or commit is not a dependency.
    #[error("{name}: in the build, but not in the provenance")]
    Unstated {
        /// The name of the output, image, input or commit.
        name: String,
    },
    /// A subject or a dependency that the build does not have.
    #[error("{name}: in the provenance, but not in the build")]
    Unknown {
        /// The name of the output, image, input or commit.
        name: String,
    },
    /// The commit of a source differs from that in the record.
    #[error("{path}: the provenance states another commit than build.json has")]
    Commit {
        /// The work tree.
        path: String,
    },
}

/// Compares a statement with the record and the sums of its build. Every output must be a subject; every input, every commit,
/// every file of the recipe and every file of [`ORIGIN`] must be a dependency. Each must have the same digest, and nothing else
/// may be stated.
///
/// The rest of a statement, such as the builder, does not follow from any other file; signatures vouch for it.
pub fn check(statement: &Statement, record: &BuildRecord, sums: &Sums) -> Vec<Disagreement> {
    let mut found = BTreeSet::new();
    let definition = &statement.predicate.build_definition;
    let invocation = &statement.predicate.run_details.metadata.invocation_id;
    if *invocation != record.id.to_string() {
        found.insert(Disagreement::Build {
            found: invocation.clone(),
        });
    }
    let images = record.images.iter().map(|image| {
        let digest = image.digest.to_string();
        (image.name.clone(), (Resource::SHA256, digest))
    });
    let commits = record.sources.iter().map(|source| {
        let commit = source.commit.clone();
        (source.path.clone(), (Resource::GIT_COMMIT, commit))
    });
    let recipe = record.recipe_files.iter().map(|file| {
        let digest = file.sha256.to_string();
        (recipe_file(file), (Resource::SHA256, digest))
    });
    let after = record.after.iter().map(|after| {
        let digest = after.sums.to_string();
        let sums = format!("{}/{}", after.build, Sums::FILE_NAME);
        (sums, (Resource::SHA256, digest))
    });
    let others = commits.chain(after).chain(recipe);
    compare(&statement.subject, sums, &["outputs"], images, &mut found);
    let dependencies = &definition.resolved_dependencies;
    let sections = ["inputs", ORIGIN];
    compare(dependencies, sums, &sections, others, &mut found);
    found.into_iter().collect()
}

/// Compares the stated resources with the files of some sections, and with the `others` that the build has.
fn compare(
    stated: &[Resource],
    sums: &Sums,
    sections: &[&str],
    others: impl Iterator<Item = (String, (&'static str, String))>,
    found: &mut BTreeSet<Disagreement>,
) {
    let repositories = Repositories::of(sums.lines().iter().map(|line| &line.path));
    let mut left: BTreeMap<_, _> = others.collect();
    let (mut files, mut derived_files) = (BTreeMap::new(), BTreeMap::new());
    for line in sums.lines() {
        let first = line.path.segments().next();
        let Some(section) = first.filter(|first| sections.contains(first)) else {
            continue;
        };
        // As in the statement, metadata of inputs does not count as an input. Builds that are older than the publisher's apt
        // metadata name the files with those names that came with their inputs.
        let derived = section == "inputs" && repositories.is_metadata(&line.path);
        let all = if derived {
            &mut derived_files
        } else {
            &mut files
        };
        all.insert(line.path.as_str(), line.digest);
    }
    for resource in stated {
        let name = resource.name();
        if let Some((algorithm, digest)) = left.remove(name) {
            if resource.digest.get(algorithm) != Some(&digest) {
                let name = name.to_owned();
                found.insert(match algorithm {
                    Resource::GIT_COMMIT => Disagreement::Commit { path: name },
                    _ => Disagreement::Digest { path: name },
                });
            }
        } else if let Some(digest) = files.remove(name).or_else(|| derived_files.remove(name)) {
            if resource.sha256() != Some(digest) {
                found.insert(Disagreement::Digest {
                    path: name.to_owned(),
                });
            }
        } else {
            found.insert(Disagreement::Unknown {
                name: name.to_owned(),
            });
        }
    }
    let files = files.into_keys().map(str::to_owned);
    found.extend(
        files
            .chain(left.into_keys())
            .map(|name| Disagreement::Unstated { name }),
    );
}
