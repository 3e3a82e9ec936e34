//! Commands that build and publish.

use std::num::NonZeroUsize;

use camino::Utf8PathBuf;
use clap::{Args, Subcommand, ValueEnum};
use stx_builds::cancel::Target;
use stx_layout::{BuildDate, BuildOutcome, Channel, ReleaseId};

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// A new directory, or that of an earlier demo
    #[arg(default_value = "demo")]
    pub(crate) dir: Utf8PathBuf,

    /// Build the sample in the form of this distribution
    #[arg(long, value_enum, default_value_t = DemoDistro::Centos)]
    pub(crate) distro: DemoDistro,

    /// Directory of the sample distribution; the recipe for Debian packages is in the one beside it, `DIR-debian`
    #[arg(long, value_name = "DIR", default_value = "recipes/sample")]
    pub(crate) sample: Utf8PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DemoDistro {
    /// RPMs, and an ISO image that installs itself
    Centos,
    /// Debian packages, and a live ISO image that installs them with apt
    Debian,
    /// One after the other, into one mirror
    All,
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Git branch or tag to build
    #[arg(long, default_value = "master")]
    pub(crate) branch: String,

    /// Recipe file [default: `recipe` of the configuration]
    #[arg(long, value_name = "FILE")]
    pub(crate) recipe: Option<Utf8PathBuf>,

    /// Build date [default: when the source sync starts]
    #[arg(long, value_name = "TS")]
    pub(crate) date: Option<BuildDate>,

    /// Build even if nothing changed since the last success
    #[arg(long)]
    pub(crate) force: bool,

    /// Print the plan and exit
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Reason for the build; recorded
    #[arg(long, default_value = "manual")]
    pub(crate) reason: String,

    /// Override a variable of the recipe
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    pub(crate) set: Vec<(String, String)>,

    /// Move `latest_build` even if it points at a newer build
    #[arg(long)]
    pub(crate) force_alias: bool,

    /// Write events to a file as they happen, one JSON object a line; `-` is standard output
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub(crate) events: Option<Utf8PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The build, as `CHANNEL/BUILD-DATE`, or its channel
    #[arg(value_name = "BUILD|CHANNEL")]
    pub(crate) target: Target,

    /// Instead of continuing the build, publish its files as a failed build, reason `interrupted`; of its remaining phases, run only
    /// those with `when = "always"`. Without this option, `on_interrupt` of the configuration decides [default: continue it]
    #[arg(long)]
    pub(crate) as_failed: bool,

    /// Write events to a file as they happen, one JSON object a line; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<Utf8PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The build, as `CHANNEL/BUILD-DATE`, or its channel
    #[arg(value_name = "BUILD|CHANNEL")]
    pub(crate) target: Target,

    /// Seconds to wait until the build has ended
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) wait: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Recipe {
    /// Report every mistake in a recipe file with its line and column
    Check(RecipeCheck),
    /// Draw the phases of a recipe and their dependencies
    Graph(RecipeGraph),
}

#[derive(Debug, Args)]
pub(crate) struct RecipeCheck {
    /// The recipe file
    pub(crate) file: Utf8PathBuf,

    /// Give a value to a variable that asks for one
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    pub(crate) set: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct RecipeGraph {
    /// The recipe file
    pub(crate) file: Utf8PathBuf,

    /// Language of the drawing
    #[arg(long = "as", value_enum, default_value_t = Drawing::Mermaid)]
    pub(crate) drawing: Drawing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Drawing {
    /// Mermaid, rendered by many Markdown viewers
    Mermaid,
    /// DOT, read by Graphviz
    Dot,
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The finished tree; only its `inputs` and `outputs` are published
    pub(crate) dir: Utf8PathBuf,

    /// The channel, such as `master/centos`
    #[arg(long)]
    pub(crate) channel: Channel,

    /// The build date, YYYYMMDDTHHMMSSZ
    #[arg(long, value_name = "TS")]
    pub(crate) date: BuildDate,

    /// Result of the build
    #[arg(long, value_name = "success|fail", value_parser = outcome)]
    pub(crate) result: BuildOutcome,

    /// Publish the target of a symlink that leads below DIR; other symlinks out of the tree are refused
    #[arg(long, value_name = "DIR")]
    pub(crate) source_root: Vec<Utf8PathBuf>,

    /// Record the images that the build pushed itself and lists in `outputs/docker-images/images-*.lst`; send none
    #[arg(long)]
    pub(crate) pushed_images: bool,

    /// The prefix of the tags under which the build pushed its images; publish makes the tags without it
    #[arg(long, value_name = "PREFIX", requires = "pushed_images")]
    pub(crate) staging: Option<String>,

    /// Print the plan and exit; reads every file to tell which the mirror already holds
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Move `latest_build` even if it points at a newer build
    #[arg(long)]
    pub(crate) force_alias: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Promote {
    /// The build: `CHANNEL` for its newest good build, `CHANNEL/ALIAS`, `CHANNEL/BUILD-DATE` or the beginning of the date, or the build's URL
    pub(crate) build: String,

    /// The release or milestone, such as `release/12.0.0`; distro, platform and layer stay
    #[arg(long, value_name = "RELEASE")]
    pub(crate) to: ReleaseId,

    /// The date of the new build [default: that of the build]
    #[arg(long, value_name = "TS")]
    pub(crate) date: Option<BuildDate>,

    /// Record this reason
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,

    /// Record who promotes it [default: the user]
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,

    /// Promote a build that is not green
    #[arg(long, requires = "reason")]
    pub(crate) force: bool,

    /// Move `latest_build` even if it points at a newer build
    #[arg(long)]
    pub(crate) force_alias: bool,

    /// Print the plan and exit; reads every file
    #[arg(long)]
    pub(crate) dry_run: bool,
}

fn outcome(text: &str) -> Result<BuildOutcome, String> {
    match text {
        "success" => Ok(BuildOutcome::Success),
        "fail" => Ok(BuildOutcome::Fail),
        _ => Err("expected `success` or `fail`".to_owned()),
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// Adopt only these channels and builds
    #[arg(value_name = "CHANNEL|BUILD")]
    pub(crate) scopes: Vec<String>,

    /// Show what would be done, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// The result to record for builds in which nothing tells it
    #[arg(long, value_name = "success|fail", value_parser = outcome)]
    pub(crate) assume: Option<BuildOutcome>,

    /// Also set owners and modes as `publish` does: the owner of the mirror, 0644, 0755
    #[arg(long)]
    pub(crate) fix_modes: bool,

    /// Also replace equal files of the adopted builds by hard links; their bytes are compared first
    #[arg(long)]
    pub(crate) link: bool,

    /// Read so many files side by side [default: one for each processor]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
}
