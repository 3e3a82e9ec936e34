//! Commands of the build service.

use clap::Args;
use stx_layout::Channel;

#[derive(Debug, Args)]
pub(crate) struct Daemon {
    /// Check the configuration as `doctor` does, and exit
    #[arg(long)]
    pub(crate) check: bool,

    /// With --check: ask no other machine
    #[arg(long, requires = "check")]
    pub(crate) offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Ask no other machine: neither mirrors nor places where phases run
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Trigger {
    /// Git branch or tag such as `r/2018.10`, release identifier such as `milestone/2019.05b1`, or channel of a `[[branch]]`,
    /// needed if several of them build the branch
    #[arg(required_unless_present = "cancel")]
    pub(crate) branch: Option<String>,

    /// The git branch or tag to build, if BRANCH is a release identifier
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Option<String>,

    /// Reason for the request; recorded
    #[arg(long)]
    pub(crate) reason: Option<String>,

    /// Build even if nothing changed since the last success
    #[arg(long)]
    pub(crate) force: bool,

    /// Ask for a build of a channel that no entry of the configuration names
    #[arg(long)]
    pub(crate) new_channel: bool,

    /// Cancel a waiting request or its running build; `history` lists the numbers
    #[arg(long, value_name = "REQUEST", conflicts_with_all = ["branch", "tag", "reason", "force", "new_channel"])]
    pub(crate) cancel: Option<u64>,

    /// Follow the request until its build is over; end with the exit code of the build
    #[arg(long, conflicts_with = "cancel")]
    pub(crate) wait: bool,

    /// Give up waiting after this time, such as `90m`, and end with 6; the build continues
    #[arg(long, value_name = "DURATION", value_parser = stx_layout::config::parse_duration, requires = "wait")]
    pub(crate) timeout: Option<std::time::Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Show it again every second on a terminal; elsewhere print a line for each change
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// List only this channel
    pub(crate) channel: Option<Channel>,

    /// Number of requests, newest first
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,

    /// List requests for verdicts on builds instead: who, which and the outcome
    #[arg(long, conflicts_with = "log")]
    pub(crate) verdicts: bool,

    /// Print the logs of a request whose build was not published
    #[arg(long, value_name = "REQUEST", conflicts_with_all = ["channel", "limit"])]
    pub(crate) log: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// The channel
    pub(crate) channel: Channel,

    /// Number of builds
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) builds: usize,
}
