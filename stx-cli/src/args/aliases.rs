//! The command `alias`.

use clap::{Args, Subcommand};
use stx_layout::{RootAlias, RootTarget};

#[derive(Debug, Subcommand)]
pub(crate) enum Alias {
    /// List aliases: of releases, channels and builds, and paths without a date
    List,
    /// Point an alias at a release or a channel
    ///
    /// Aliases that shall last belong into `[aliases]` of the configuration: each publish to their target makes them again.
    Set(AliasSet),
    /// Remove an alias of a release or a channel
    Unset(AliasUnset),
}

#[derive(Debug, Args)]
pub(crate) struct AliasSet {
    /// The alias: `r2018.10`, `release/latest_release`, or a name beside the releases or channels
    pub(crate) alias: RootAlias,

    /// Its target: a release such as `release/2018.10`, or a channel for the name of a channel
    pub(crate) target: RootTarget,

    /// Move `release/latest_release` to an older release
    #[arg(long)]
    pub(crate) force: bool,

    /// Print what would be done, and exit
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AliasUnset {
    /// The alias
    pub(crate) alias: RootAlias,

    /// Print what would be done, and exit
    #[arg(long)]
    pub(crate) dry_run: bool,
}
