//! Commands of the build service.

use clap::Args;
use stx_layout::Channel;

#[derive(Debug, Args)]
pub(crate) struct Daemon {
    /// Checks the configuration, says what would be built when, and does nothing
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Trigger {
    /// Git branch or tag such as `r/2018.10`, or release identifier such as `milestone/2019.05b1`
    #[arg(required_unless_present = "cancel")]
    pub(crate) branch: Option<String>,

    /// The git branch or tag that is built, if BRANCH is another name
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Option<String>,

    /// Why; recorded
    #[arg(long)]
    pub(crate) reason: Option<String>,

    /// Builds although nothing changed since the last success
    #[arg(long)]
    pub(crate) force: bool,

    /// Cancels a request that waits, or the build that came of it; `history` has the numbers
    #[arg(long, value_name = "REQUEST", conflicts_with_all = ["branch", "tag", "reason", "force"])]
    pub(crate) cancel: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// Only this channel
    pub(crate) channel: Option<Channel>,

    /// How many requests, newest first
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// The channel
    pub(crate) channel: Channel,

    /// How many builds
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) builds: usize,
}
