//! Commands that build and publish.

use camino::Utf8PathBuf;
use clap::{Args, Subcommand, ValueEnum};
use stx_layout::{BuildDate, BuildOutcome, Channel};

use crate::commands::resume::Target;

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// A directory that does not exist yet, or an earlier demo's
    #[arg(default_value = "demo")]
    pub(crate) dir: Utf8PathBuf,

    /// The directory of the sample distribution
    #[arg(long, value_name = "DIR", default_value = "recipes/sample")]
    pub(crate) sample: Utf8PathBuf,
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

    /// Builds although nothing changed since the last success
    #[arg(long)]
    pub(crate) force: bool,

    /// Prints the plan and does nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Why it is built; recorded
    #[arg(long, default_value = "manual")]
    pub(crate) reason: String,

    /// Overrides a variable of the recipe
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    pub(crate) set: Vec<(String, String)>,

    /// Moves `latest_build` although it points at a newer build
    #[arg(long)]
    pub(crate) force_alias: bool,

    /// Writes what happens to a file as it happens, one JSON object a line; `-` is standard output
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub(crate) events: Option<Utf8PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The build, `CHANNEL/BUILD-DATE`, or its channel
    #[arg(value_name = "BUILD|CHANNEL")]
    pub(crate) target: Target,

    /// Publishes it as failed, with the reason `interrupted` [default: as `on_interrupt` of the configuration says]
    #[arg(long)]
    pub(crate) as_failed: bool,

    /// Writes what happens to a file as it happens, one JSON object a line; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<Utf8PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The build, `CHANNEL/BUILD-DATE`, or its channel
    #[arg(value_name = "BUILD|CHANNEL")]
    pub(crate) target: Target,

    /// How long it is waited for the end, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) wait: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Recipe {
    /// Says everything that is wrong with a recipe file, with file, line and column
    Check(RecipeCheck),
    /// Draws the phases of a recipe and what they need
    Graph(RecipeGraph),
}

#[derive(Debug, Args)]
pub(crate) struct RecipeCheck {
    /// The recipe file
    pub(crate) file: Utf8PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RecipeGraph {
    /// The recipe file
    pub(crate) file: Utf8PathBuf,

    /// The language of the drawing
    #[arg(long = "as", value_enum, default_value_t = Drawing::Mermaid)]
    pub(crate) drawing: Drawing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Drawing {
    /// Mermaid, which Markdown pages show
    Mermaid,
    /// Graphviz's language
    Dot,
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The finished tree; only `inputs` and `outputs` below it are taken
    pub(crate) dir: Utf8PathBuf,

    /// The channel, such as `master/centos`
    #[arg(long)]
    pub(crate) channel: Channel,

    /// The build date, YYYYMMDDTHHMMSSZ
    #[arg(long, value_name = "TS")]
    pub(crate) date: BuildDate,

    /// How the build ended
    #[arg(long, value_name = "success|fail", value_parser = outcome)]
    pub(crate) result: BuildOutcome,

    /// Takes what lies below DIR where a symlink of the tree leads there; else such a symlink is refused
    #[arg(long, value_name = "DIR")]
    pub(crate) source_root: Vec<Utf8PathBuf>,

    /// Prints the plan and does nothing; reads every file, to say which the mirror has already
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Moves `latest_build` although it points at a newer build
    #[arg(long)]
    pub(crate) force_alias: bool,
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
