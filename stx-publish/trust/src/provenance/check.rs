//! A statement against the build that it lies in: data in, disagreements out.

use std::collections::{BTreeMap, BTreeSet};

use stx_layout::derived::Repositories;
use stx_layout::{BuildRecord, Sums};

use stx_publish::plan::ORIGIN;

use super::statement::{Resource, Statement, recipe_file};

/// Where a statement and its build do not agree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Disagreement {
    /// It is about another build.
    #[error("the provenance is that of {found}")]
    Build {
        /// The build that it names.
        found: String,
    },
    /// A digest is not that of `SHA256SUMS`.
    #[error("{path}: the provenance states another digest than SHA256SUMS has")]
    Digest {
        /// The file.
        path: String,
    },
    /// An output or image is no subject, or an input or commit no dependency.
    #[error("{name}: in the build, and not in the provenance")]
    Unstated {
        /// The name of the output, image, input or commit.
        name: String,
    },
    /// A subject or a dependency that the build does not have.
    #[error("{name}: in the provenance, and not in the build")]
    Unknown {
        /// The name of the output, image, input or commit.
        name: String,
    },
    /// A source is not at the commit that the record has.
    #[error("{path}: the provenance states another commit than build.json has")]
    Commit {
        /// The work tree.
        path: String,
    },
}

/// Compares a statement with the record and the sums of its build: every output has to be a subject, every input, every
/// commit and every file of the recipe a dependency, as every file of [`ORIGIN`], each with the same digest, and nothing else may be stated.
///
/// The rest of a statement, such as who built, follows from no other file; signatures vouch for it.
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

/// Compares what is stated with the files of some sections and whatever `others` the build has beside them.
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
        // As for the statement: metadata of inputs is none of them. Builds from before apt metadata was made name the files
        // of that name that they came with.
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
