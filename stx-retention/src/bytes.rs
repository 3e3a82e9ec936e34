//! Freed bytes, and shared bytes.

use std::collections::{HashMap, HashSet};

use stx_layout::{BuildId, BuildPath, Catalog, Sha256};

use crate::{FileFact, PolicyInputs};

/// One step of a plan: the build or the section that it removes.
pub(crate) enum Step<'a> {
    /// A whole build, and the bytes in its record.
    Build(&'a BuildId, u64),
    /// One section of a build.
    Section(&'a BuildId, &'a BuildPath),
}

impl Step<'_> {
    fn build(&self) -> &BuildId {
        match self {
            Self::Build(build, _) | Self::Section(build, _) => build,
        }
    }

    fn removes(&self, file: &FileFact) -> bool {
        match self {
            Self::Build(..) => true,
            Self::Section(_, section) => file.lies_in(section),
        }
    }
}

/// The bytes that each step frees, in order: those of digests that no file left on the mirror has.
///
/// A digest that only removed builds share counts once, for the last of them.
pub(crate) fn freed(facts: &PolicyInputs, steps: &[Step<'_>]) -> Vec<u64> {
    let mut holders = HashMap::<Sha256, usize>::new();
    for file in facts.files.values().flatten() {
        *holders.entry(file.digest).or_default() += 1;
    }
    let mut gone = HashSet::<(&BuildId, &BuildPath)>::new();
    let mut freed = Vec::with_capacity(steps.len());
    for step in steps {
        let Some(files) = facts.files.get(step.build()) else {
            freed.push(match step {
                Step::Build(_, recorded) => *recorded,
                Step::Section(..) => 0,
            });
            continue;
        };
        let mut bytes = 0;
        for file in files.iter().filter(|file| step.removes(file)) {
            if !gone.insert((step.build(), &file.path)) {
                continue;
            }
            if let Some(count) = holders.get_mut(&file.digest) {
                *count -= 1;
                if *count == 0 {
                    bytes += file.bytes;
                }
            }
        }
        freed.push(bytes);
    }
    freed
}

/// The bytes in a build's record.
pub(crate) fn recorded(catalog: &Catalog, build: &BuildId) -> u64 {
    catalog
        .build(build)
        .and_then(|entry| entry.record())
        .map_or(0, |record| record.bytes)
}
