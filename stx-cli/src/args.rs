//! The command line.

use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};
use stx_layout::BuildDate;

mod builds;
mod names;
mod readers;
mod retention;
mod service;

pub(crate) use builds::{
    Build, Cancel, Demo, Drawing, Publish, Recipe, RecipeCheck, RecipeGraph, Resume,
};
pub(crate) use names::{Image, ImageName, ImageParse, ImagePush, Parse, StreamWord, Word};
pub(crate) use readers::{Compare, Copy, Fetch, List, Noise, Serve, Show, Since, Trust, Verify};
pub(crate) use retention::{Explain, Forecast, Pin, Pins, Prune, Undelete, Unpin};
pub(crate) use service::{Daemon, History, Stats, Trigger};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  unexpected: a bug
  2  usage or configuration
  3  the build failed, and was published as failed
  4  the mirror is wrong, or refused it
  5  not found
  6  busy: another build or publisher works on the channel";

const COMPARE_HELP: &str = "\
Exit codes, as those of diff:
  0  nothing differs that matters
  1  something differs
  4  a package could not be compared, or the mirror is wrong
  2, 5  as for the other commands";

/// Builds StarlingX branches and hosts the result on a mirror.
///
/// Results go to standard output, everything else to standard error.
#[derive(Debug, Parser)]
#[command(name = "stx-builds", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Configuration file [default: `stx-builds.toml` here or in a directory above]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "STX_BUILDS_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: Option<Utf8PathBuf>,

    /// The mirror: a directory, `s3://BUCKET/PREFIX`, or a URL to read from [default: `mirror` of the configuration]
    #[arg(long, global = true, value_name = "DIR|URL")]
    pub(crate) mirror: Option<Utf8PathBuf>,

    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,

    /// Acts as if it were this time, RFC 3339 or YYYYMMDDTHHMMSSZ
    #[arg(long, global = true, value_name = "TIME", value_parser = time)]
    pub(crate) now: Option<DateTime<Utc>>,

    /// Says less on standard error
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// Says more on standard error
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people
    Human,
    /// One JSON document, or one object a line for streams
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Builds the sample distribution twice into a new mirror and shows what came out
    Demo(Demo),
    /// Builds a branch and publishes the result
    Build(Build),
    /// Goes on with a build that was interrupted, at its first unfinished phase
    Resume(Resume),
    /// Ends a running build; nothing of it is published
    Cancel(Cancel),
    /// Checks and draws recipe files
    #[command(subcommand)]
    Recipe(Recipe),
    /// Publishes a finished tree, `DIR/inputs` and `DIR/outputs`, as one build
    Publish(Publish),
    /// Fetches files of a build, every byte checked; goes on where it was killed
    Fetch(Fetch),
    /// Copies builds of one mirror to another: directories, `s3://BUCKET/PREFIX`, and from URLs
    ///
    /// A build that is there with the same sums is not copied again; every byte is checked against the sums of its build.
    /// Builds come in the order of their dates, aliases and pages last. What broke off is gone on with by the same command.
    Copy(Copy),
    /// Says what differs between packages and the reference build, or between two builds
    #[command(after_help = COMPARE_HELP)]
    Compare(Compare),
    /// Says since which build a package, or a file of it, is as it is, and which commits came with that
    Since(Since),
    /// Lists channels and builds: age, result, size, how long each stays
    List(List),
    /// Serves a mirror on the loopback interface, to try it out
    Serve(Serve),
    /// Shows one build, by its date or through an alias
    Show(Show),
    /// Applies the retention rules: takes out of sight what may go, deletes what went long enough ago
    Prune(Prune),
    /// Keeps a build whatever the retention rules say
    Pin(Pin),
    /// Takes a pin away
    Unpin(Unpin),
    /// Lists pins
    Pins(Pins),
    /// Brings a pruned build and its sections back, within 3 days
    Undelete(Undelete),
    /// Lists pruned builds and until when they can be brought back
    Trash,
    /// Says why a build stays or goes
    Explain(Explain),
    /// Says what will go, and how full the mirror gets, day by day
    Forecast(Forecast),
    /// Runs the build service: triggers, builds, publication, retention
    Daemon(Daemon),
    /// Asks the build service for a build, or takes that back
    Trigger(Trigger),
    /// Says what waits and runs, what came last, and what should not be so
    Status,
    /// Lists what was asked for, why and by whom, and what came of it
    History(History),
    /// Says how long the last builds and their phases took
    Stats(Stats),
    /// Checks sums, records and aliases
    Verify(Verify),
    /// Makes the catalog pages anew: `index.html`, `index.json` and `feed.xml`
    ///
    /// Commands that change the mirror do it at their end; this is for a mirror that was changed by other means.
    Pages,
    /// Says what mirror paths and URLs mean
    Parse(Parse),
    /// Reads and makes names of container images, and brings images to the registry
    #[command(subcommand)]
    Image(Image),
    /// Prints what a shell needs to complete the command line
    Completions(Completions),
    /// Writes the manual: a page for each command, and one for the configuration
    Manual(Manual),
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// To be sourced, or put into a directory of bash-completion as `stx-builds`
    Bash,
    /// To be put into a directory of `fpath` as `_stx-builds`
    Zsh,
    /// To be sourced, or put into a directory of completions as `stx-builds.fish`
    Fish,
}

#[derive(Debug, Args)]
pub(crate) struct Manual {
    /// Where pages go; `man -l FILE` shows one
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) to: Utf8PathBuf,
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(date) = text.parse::<BuildDate>() {
        return Ok(date.time());
    }
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|error| format!("{error}; expected 2018-11-05T06:00:00Z or 20181105T060000Z"))
}
