//! The command line.

use std::ffi::OsString;

use camino::Utf8PathBuf;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use stx_layout::BuildDate;

mod aliases;
mod builds;
pub(crate) mod groups;
mod init;
mod mark;
mod names;
mod readers;
mod retention;
mod service;

pub(crate) use aliases::{Alias, AliasSet, AliasUnset};
pub(crate) use builds::{
    Adopt, Build, Cancel, Demo, DemoDistro, Drawing, Promote, Publish, Recipe, RecipeCheck,
    RecipeGraph, Resume,
};
pub(crate) use init::Init;
pub(crate) use mark::Mark;
pub(crate) use names::{Image, ImageName, ImageParse, ImagePush, Parse, StreamWord, Word};
pub(crate) use readers::{
    Compare, Copy, Diff, Fetch, List, Log, Noise, Serve, Show, Since, Verify,
};
pub(crate) use retention::{Explain, Forecast, Pin, Pins, Prune, Undelete, Unpin};
pub(crate) use service::{Daemon, Doctor, History, Stats, Status, Trigger};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  unexpected error: a bug
  2  wrong usage or configuration
  3  the build failed; it was published as failed unless it was
     cancelled or its source phase failed
  4  the mirror is damaged or refused the operation
  5  not found
  6  busy: another build or publisher holds the channel";

const COMPARE_HELP: &str = "\
Exit codes, like those of diff:
  0  no relevant difference
  1  differences found
  4  a package could not be compared, or the mirror is damaged
  2, 5  as for the other commands";

const DIFF_HELP: &str = "\
Exit codes:
  0  no difference
  1  differences found
  2, 4, 5  as for the other commands";

/// Build StarlingX branches and host the results on a mirror.
///
/// Results are printed to standard output, everything else to standard error.
#[derive(Debug, Parser)]
#[command(name = "stx-builds", version, after_help = EXIT_CODES, help_template = groups::template())]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command. The help lists them after those of the command itself.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Change to this directory first; the configuration is searched and other paths are read from there; repeatable, each from the one before
    #[arg(short = 'C', global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: Vec<Utf8PathBuf>,

    /// Configuration file [default: `stx-builds.toml` here or in a directory above]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "STX_BUILDS_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: Option<Utf8PathBuf>,

    /// The mirror: a directory, `s3://BUCKET/PREFIX`, or a URL to read from [default: `mirror` of the configuration]; for `fetch` repeatable, the next one is asked where one fails
    #[arg(long, global = true, value_name = "DIR|URL")]
    pub(crate) mirror: Vec<Utf8PathBuf>,

    /// Format of results and errors
    #[arg(long, global = true, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,

    /// Colour of text for people; `NO_COLOR` and `CLICOLOR_FORCE` change `auto`
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    pub(crate) color: Color,

    /// Use this time instead of the clock's: RFC 3339 or YYYYMMDDTHHMMSSZ
    #[arg(long, global = true, value_name = "TIME", value_parser = time)]
    pub(crate) now: Option<DateTime<Utc>>,

    /// Print less to standard error
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// Print more to standard error; -vv prints details, too
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people
    Human,
    /// One JSON document, or one object a line for streams; an error is one line of JSON on standard error
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On terminals
    Auto,
    /// Also in pipes and files
    Always,
    /// Nowhere
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build the sample distribution twice into a new mirror and show the results
    Demo(Demo),
    /// Write a first configuration: ask on a terminal, each question with a default and a reason
    ///
    /// Write `stx-builds.toml` and `retention.toml`, with comments, in which `doctor` finds no mistake. Existing files are never
    /// overwritten.
    Init(Init),
    /// Build a branch and publish the result
    Build(Build),
    /// Resume an interrupted build at its first unfinished phase
    Resume(Resume),
    /// Cancel a build that runs or was interrupted; nothing of it is published
    Cancel(Cancel),
    /// Check and draw recipe files
    #[command(subcommand)]
    Recipe(Recipe),
    /// Publish a finished tree, `DIR/inputs` and `DIR/outputs`, as one build
    Publish(Publish),
    /// Promote a build: publish the bytes that were tested as a release or a milestone
    ///
    /// Check every byte against `SHA256SUMS`, share it with the new build, tag the images for the release, and move the aliases.
    /// The newest verdict has to be `green`. Rerun the command to finish an interrupted promotion.
    Promote(Promote),
    /// Make full builds of those that an older publisher left without `build.json` and `SHA256SUMS`
    ///
    /// Add these two files to each such build and change nothing else in it. Marks in the build, or `latest_build` pointing at
    /// it, tell the result; a build without either is left alone and named. Move releases without a build date into dated builds,
    /// with symlinks in the old places. Rerun the command to resume an interrupted adoption.
    Adopt(Adopt),
    /// Download files of a build and check every byte; resume an interrupted download
    Fetch(Fetch),
    /// Copy builds from one mirror to another: directories, `s3://BUCKET/PREFIX`, and from URLs
    ///
    /// Builds that the target already holds with the same sums are skipped; every copied byte is checked against the sums of
    /// its build. Builds are copied in order of their dates; aliases and pages follow last. Rerun the command to resume an
    /// interrupted copy.
    Copy(Copy),
    /// Compare packages with the reference build, or two builds with each other
    #[command(after_help = COMPARE_HELP)]
    Compare(Compare),
    /// Summarize the differences between two builds or releases: packages, images, commits
    ///
    /// Nothing but records and sums is read, so packages are known by their files' names and digests; `compare` tells what differs within
    /// them.
    #[command(after_help = DIFF_HELP)]
    Diff(Diff),
    /// Find the build that last changed a package or one of its files, and the commits in it
    Since(Since),
    /// Print the log of a phase, and follow a running build
    ///
    /// Without PHASE, print the log of the running or the failed phase, or list the logs. A channel means the build that runs in
    /// it, else its newest build, whatever its result; without BUILD, the only build that runs. A terminal shows escapes in place
    /// of control characters; a file or a pipe gets the bytes as they are.
    Log(Log),
    /// List channels and builds with age, result, size and expiry
    List(List),
    /// Serve a mirror on the loopback interface to try it out
    Serve(Serve),
    /// Show one build, given by its date or an alias
    Show(Show),
    /// Record the result of a build's tests: `green`, `yellow` or `red`
    ///
    /// The newest verdict counts, and the history is kept. `latest_green_build` moves to the newest green build of the channel;
    /// `latest_build` stays where it is.
    Mark(Mark),
    /// Apply the retention policy: move expired builds to the trash, purge old trash
    Prune(Prune),
    /// Pin a build so that retention keeps it
    Pin(Pin),
    /// Remove a pin
    Unpin(Unpin),
    /// List pins
    Pins(Pins),
    /// Restore a retired build and its sections from the trash, within 3 days, and pin it
    Undelete(Undelete),
    /// List retired builds and the time until which each can be restored
    Trash,
    /// Explain why retention keeps or retires a build
    Explain(Explain),
    /// Forecast retention and disk use, day by day
    Forecast(Forecast),
    /// Run the build service: triggers, builds, publication, retention
    Daemon(Daemon),
    /// Find every mistake of the configuration, and whatever on this machine does not match it
    ///
    /// Each finding tells the file and line, why it matters and how to correct it. The configuration, the recipes and the
    /// retention policy are checked, directories, programs, keys, the clock, disks, rules that match nothing, and other
    /// machines that builds need. Nothing is changed. The exit code is 2 if there are errors, 0 if there are warnings only.
    Doctor(Doctor),
    /// Request a build from the build service, or cancel a request
    Trigger(Trigger),
    /// Show the queue, running builds, latest results and alarms
    ///
    /// Running builds are shown with the time that they still take, by the median of the last successful builds of the channel, and
    /// failed ones with the last lines of the phase that failed.
    Status(Status),
    /// List build requests: who, why, and the outcome
    History(History),
    /// Show how long the latest builds and their phases took
    Stats(Stats),
    /// List, set and remove names of releases and channels, such as `r2018.10` and `release/latest_release`
    #[command(subcommand)]
    Alias(Alias),
    /// Verify sums, records and aliases
    ///
    /// Exit with 4 if something is wrong, but not for notes alone, such as of a file that belongs to no channel, unless `--repair` puts
    /// them right.
    Verify(Verify),
    /// Rewrite the catalog pages: `index.html`, `index.json` and `feed.xml`
    ///
    /// Commands that change the mirror rewrite them at their end; use this after changing the mirror by other means.
    Pages,
    /// Parse mirror paths and URLs and explain their parts
    Parse(Parse),
    /// Parse and form names of container images, and push images to the registry
    #[command(subcommand)]
    Image(Image),
    /// Print the completion script of a shell
    Completions(Completions),
    /// Write the manual pages: one for each command and one for the configuration
    Manual(Manual),
}

impl Command {
    /// The names of builds of the mirror, each in any form that users give builds.
    pub(crate) fn builds(&mut self) -> Vec<&mut String> {
        match self {
            Self::Show(args) => vec![&mut args.build],
            Self::Fetch(args) => vec![&mut args.build],
            Self::Mark(args) => vec![&mut args.build],
            Self::Promote(args) => vec![&mut args.build],
            Self::Pin(args) => vec![&mut args.build],
            Self::Unpin(args) => vec![&mut args.build],
            Self::Undelete(args) => vec![&mut args.build],
            Self::Explain(args) => vec![&mut args.build],
            Self::Image(Image::Push(args)) => vec![&mut args.build],
            Self::Verify(args) => args.scope.as_mut().into_iter().collect(),
            Self::Adopt(args) => args.scopes.iter_mut().collect(),
            Self::Compare(args) => match &mut args.with {
                Some(with) => vec![with],
                None => args.what.iter_mut().collect(),
            },
            Self::Diff(args) => vec![&mut args.from, &mut args.to],
            Self::Since(args) => {
                let names = [&mut args.channel, &mut args.from, &mut args.to];
                names.into_iter().flatten().collect()
            }
            Self::Log(args) => args.build.iter_mut().collect(),
            Self::Demo(_)
            | Self::Init(_)
            | Self::Build(_)
            | Self::Resume(_)
            | Self::Cancel(_)
            | Self::Recipe(_)
            | Self::Publish(_)
            | Self::Copy(_)
            | Self::List(_)
            | Self::Serve(_)
            | Self::Pages
            | Self::Trash
            | Self::Prune(_)
            | Self::Pins(_)
            | Self::Forecast(_)
            | Self::Daemon(_)
            | Self::Doctor(_)
            | Self::Trigger(_)
            | Self::Status(_)
            | Self::History(_)
            | Self::Stats(_)
            | Self::Alias(_)
            | Self::Parse(_)
            | Self::Image(Image::Parse(_) | Image::Name(_))
            | Self::Completions(_)
            | Self::Manual(_) => Vec::new(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// Source it, or install it in a bash-completion directory as `stx-builds`
    Bash,
    /// Install it in a directory of `fpath` as `_stx-builds`
    Zsh,
    /// Source it, or install it in a completions directory as `stx-builds.fish`
    Fish,
}

#[derive(Debug, Args)]
pub(crate) struct Manual {
    /// Directory for the pages, made if it does not exist; `man -l FILE` shows one
    #[arg(long, value_name = "DIR", required = true)]
    pub(crate) to: Utf8PathBuf,
}

/// The format and the colours that a command line with a mistake asks for. The parser stops at the mistake, and these options may
/// come after it.
pub(crate) fn asked(line: impl IntoIterator<Item = OsString>) -> (Format, Color) {
    let (mut format, mut color) = (Format::Human, Color::Auto);
    let mut words = line
        .into_iter()
        .map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next().filter(|word| word != "--") {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        if !["--format", "--color"].contains(&name) {
            continue;
        }
        let value = value.or_else(|| words.next()).unwrap_or_default();
        // A wrong value may be the mistake itself.
        match name {
            "--format" => format = Format::from_str(&value, false).unwrap_or(format),
            _ => color = Color::from_str(&value, false).unwrap_or(color),
        }
    }
    (format, color)
}

fn day_or_time(text: &str) -> Result<DateTime<Utc>, String> {
    match text.parse::<NaiveDate>() {
        Ok(day) => Ok(day.and_time(NaiveTime::MIN).and_utc()),
        Err(_) => time(text).map_err(|_| {
            "expected a day such as 2018-11-05, or a time such as 2018-11-05T06:00:00Z or 20181105T060000Z".to_owned()
        }),
    }
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(date) = text.parse::<BuildDate>() {
        return Ok(date.time());
    }
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|_| "expected a time such as 2018-11-05T06:00:00Z or 20181105T060000Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_found_in_a_wrong_command_line() {
        for (line, format, color) in [
            (
                "stx-builds --format json --nosuch",
                Format::Json,
                Color::Auto,
            ),
            (
                "stx-builds --nosuch --format json list",
                Format::Json,
                Color::Auto,
            ),
            ("stx-builds show --format json", Format::Json, Color::Auto),
            (
                "stx-builds nosuch --color never --format json",
                Format::Json,
                Color::Never,
            ),
            (
                "stx-builds list a b --format=json",
                Format::Json,
                Color::Auto,
            ),
            (
                "stx-builds alias set --color=always",
                Format::Human,
                Color::Always,
            ),
            (
                "stx-builds alias set --format json",
                Format::Json,
                Color::Auto,
            ),
            ("stx-builds --format xml", Format::Human, Color::Auto),
        ] {
            let words = line.split(' ').map(OsString::from);
            assert_eq!(asked(words), (format, color), "{line}");
        }
    }
}
