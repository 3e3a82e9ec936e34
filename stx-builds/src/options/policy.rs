//! The file of the retention policy, which the configuration names.

use std::io;

use camino::Utf8Path;
use stx_layout::config::ConfigErrors;
use stx_retention::PolicyFile;

use crate::error::{Error, unusable};

/// Reads a policy; the inner error lists its mistakes.
pub fn policy_file(file: &Utf8Path) -> Result<Result<PolicyFile, ConfigErrors>, Error> {
    let text = fs_err::read_to_string(file).map_err(|error| {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        let failure = unusable(file, error);
        if is_missing {
            failure.hint(
                "put the retention policy back, or remove `policy` from stx-builds.toml, which then means the default rules; until \
                 then no build is retired",
            )
        } else {
            failure
        }
    })?;
    Ok(PolicyFile::from_toml(&text).map_err(|errors| errors.in_file(file)))
}
