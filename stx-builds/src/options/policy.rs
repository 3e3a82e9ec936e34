//! The file of the retention policy, which the configuration names.

use camino::Utf8Path;
use stx_retention::{Mistake, PolicyFile};

use super::Mistakes;
use crate::error::{Error, unusable};

/// Reads a policy, or finds what is wrong with it.
pub fn policy_file(file: &Utf8Path) -> Result<Result<PolicyFile, Mistakes>, Error> {
    let text = fs_err::read_to_string(file).map_err(|error| unusable(file, error))?;
    Ok(PolicyFile::from_toml(&text).map_err(|error| {
        let mut mistakes = Mistakes::default();
        for Mistake { at, message } in error.mistakes {
            mistakes.add(file, Some((at.line, at.column)), message);
        }
        mistakes
    }))
}
