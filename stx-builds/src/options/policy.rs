//! The file of the retention policy, which the configuration names.

use camino::Utf8Path;
use stx_layout::config::ConfigErrors;
use stx_retention::PolicyFile;

use crate::error::{Error, unusable};

/// Reads a policy; the inner error lists its mistakes.
pub fn policy_file(file: &Utf8Path) -> Result<Result<PolicyFile, ConfigErrors>, Error> {
    let text = fs_err::read_to_string(file).map_err(|error| unusable(file, error))?;
    Ok(PolicyFile::from_toml(&text).map_err(|errors| errors.in_file(file)))
}
