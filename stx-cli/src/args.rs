//! The command line.

use std::ffi::OsString;

use camino::Utf8PathBuf;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};
use stx_layout::{BuildDate, BuildId, BuildOutcome, Channel};
use stx_retention::{Rate, SpanError};

use crate::commands::resume::Target;

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

#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// `CHANNEL` for its newest good build, `CHANNEL/ALIAS`, or `CHANNEL/BUILD-DATE`
    #[arg(value_name = "BUILD")]
    pub(crate) build: String,

    /// `iso`, `installer`, `rpms[:PHASE]`, `srpms[:PHASE]`, `images`, `charts`, `context`, a path or a glob
    #[arg(value_name = "WHAT", required = true)]
    pub(crate) what: Vec<String>,

    /// Where files go
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) to: Utf8PathBuf,

    /// Fetches nothing and prints where the files are
    #[arg(long)]
    pub(crate) print_url: bool,

    /// How many files are fetched side by side
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) connections: usize,

    #[command(flatten)]
    pub(crate) trust: Trust,
}

/// Whose signatures are believed.
#[derive(Debug, Args)]
pub(crate) struct Trust {
    /// Takes nothing that no public key of this file has signed
    #[arg(long, value_name = "FILE")]
    pub(crate) keyring: Option<Utf8PathBuf>,

    /// With a keyring: also takes an index that has expired, or is older than one that was seen
    #[arg(long)]
    pub(crate) allow_stale: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// The mirror that is copied: a directory, `s3://BUCKET/PREFIX`, or a URL
    #[arg(value_name = "FROM")]
    pub(crate) from: Utf8PathBuf,

    /// The mirror that builds are copied to: a directory, which is made if it is not there, or `s3://BUCKET/PREFIX`
    #[arg(value_name = "TO")]
    pub(crate) to: Utf8PathBuf,

    /// Copies this channel only; may be given more than once
    #[arg(long, value_name = "CHANNEL")]
    pub(crate) channel: Vec<Channel>,

    /// Retires the builds of TO that FROM has not
    #[arg(long)]
    pub(crate) delete: bool,

    /// Where files on their way are kept [default: `TO.copy` beside a directory, else in the user's cache]
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<Utf8PathBuf>,

    /// Prints what would be done and does nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// Package files and directories of them, with `--with`; else two builds: `CHANNEL`, `CHANNEL/ALIAS`, `CHANNEL/BUILD-DATE`
    #[arg(value_name = "RPM|BUILD", required = true)]
    pub(crate) what: Vec<String>,

    /// The reference: `CHANNEL` for its newest good build, `CHANNEL/ALIAS`, or `CHANNEL/BUILD-DATE`
    #[arg(long, value_name = "BUILD")]
    pub(crate) with: Option<String>,

    /// Takes the channel's build that this git work tree descends from with the fewest commits between
    #[arg(long, value_name = "GITDIR", requires = "with")]
    pub(crate) source: Option<Utf8PathBuf>,

    /// The phase of the reference package, where it is in several
    #[arg(long, requires = "with")]
    pub(crate) phase: Option<String>,

    /// Transfers packages of which files differ, and tells apart files that differ in times only
    #[arg(long)]
    pub(crate) contents: bool,

    /// What is done with build times and hosts, signatures and time stamps
    #[arg(long, value_enum, default_value_t = Noise::List)]
    pub(crate) noise: Noise,

    /// Writes the result as JUnit's XML as well
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<Utf8PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Noise {
    /// Listed apart, and no difference
    List,
    /// Not listed
    Hide,
    /// A difference as any other
    Count,
}

#[derive(Debug, Args)]
pub(crate) struct Since {
    /// The package: `NAME` or `NAME.ARCH`
    pub(crate) package: String,

    /// The channel whose builds are looked at
    #[arg(long = "in", value_name = "CHANNEL")]
    pub(crate) channel: Channel,

    /// Only this file of the package
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<String>,

    /// The first build with this version or a newer one: `1.0` or `1.0-2.tis`
    #[arg(long, value_name = "V", conflicts_with = "file")]
    pub(crate) version: Option<String>,

    /// The phase, where the package is in several
    #[arg(long)]
    pub(crate) phase: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Parse {
    /// Paths below the mirror's root, or URLs; `-` reads them from standard input, one a line
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Says what names of container images mean
    Parse(ImageParse),
    /// Makes a name from its parts
    Name(Box<ImageName>),
    /// Brings the images of a published build to the registry
    Push(ImagePush),
}

#[derive(Debug, Args)]
pub(crate) struct ImagePush {
    /// `CHANNEL/BUILD-DATE`
    #[arg(value_name = "BUILD")]
    pub(crate) build: BuildId,

    /// Prints what would be done and changes nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImageParse {
    /// Names such as `starlingx/stx-keystone:dev-centos-pike`; `-` reads them from standard input, one a line
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<OsString>,
}

/// One of `--openstack-release`, `--stream` and `--version` decides the form of the tag.
#[derive(Debug, Args)]
pub(crate) struct ImageName {
    /// The registry, such as `docker.io`
    #[arg(long)]
    pub(crate) registry: Option<String>,
    /// The organisation
    #[arg(long, default_value = "starlingx")]
    pub(crate) org: String,
    /// What the image holds: `keystone` for `stx-keystone`
    #[arg(long, conflicts_with = "image")]
    pub(crate) component: Option<String>,
    /// The image's whole name, where that is not `stx-COMPONENT`
    #[arg(long)]
    pub(crate) image: Option<String>,
    /// The git branch or tag, such as `master` or `r-2018.10.0`
    #[arg(long)]
    pub(crate) prefix: String,
    /// The operating system
    #[arg(long)]
    pub(crate) os: Option<String>,
    /// The specification's form: the OpenStack release, such as `pike`
    #[arg(long, value_name = "NAME")]
    pub(crate) openstack_release: Option<String>,
    /// The form of 2019: `stable` or `dev` in the place of the OpenStack release
    #[arg(long)]
    pub(crate) stream: Option<StreamWord>,
    /// The form of a tag that is never moved: its version, such as `v1.0.2`
    #[arg(long)]
    pub(crate) version: Option<String>,
    /// The codename of the operating system's release
    #[arg(long)]
    pub(crate) codename: Option<String>,
    /// The architecture
    #[arg(long)]
    pub(crate) arch: Option<String>,
    /// A tag that moves
    #[arg(long, conflicts_with = "timestamp")]
    pub(crate) qualifier: Option<Word>,
    /// The build date
    #[arg(long, value_name = "TS")]
    pub(crate) timestamp: Option<BuildDate>,
    /// The number after the timestamp
    #[arg(long, value_name = "N", requires = "timestamp")]
    pub(crate) patch: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StreamWord {
    Stable,
    Dev,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Word {
    Latest,
    Stable,
}

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

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this channel
    pub(crate) channel: Option<Channel>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The mirror's root directory; without it, that of `--mirror` or the configuration
    pub(crate) dir: Option<Utf8PathBuf>,

    /// The port; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// `CHANNEL/BUILD-DATE` or `CHANNEL/ALIAS`, such as `master/centos/latest_build`
    #[arg(value_name = "BUILD")]
    pub(crate) build: String,

    /// Shows where it comes from: builder, sources, inputs, times, signature; as JSON, the statement itself
    #[arg(long)]
    pub(crate) provenance: bool,

    /// With `--provenance`: shows nothing that none of these public keys (PEM) has signed
    #[arg(long, value_name = "FILE", requires = "provenance")]
    pub(crate) provenance_key: Vec<Utf8PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Prints what would go and what stays, and does nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Writes the plan to a file, and does nothing else
    #[arg(long, value_name = "FILE", conflicts_with = "plan")]
    pub(crate) plan_out: Option<Utf8PathBuf>,

    /// Applies exactly this plan; what changed since it was made is left as it is
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<Utf8PathBuf>,

    /// Lets one run remove up to N builds of a channel, although that is more than half of it
    #[arg(long, value_name = "N", conflicts_with = "plan")]
    pub(crate) allow: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Pin {
    /// `CHANNEL/BUILD-DATE` or `CHANNEL/ALIAS`; an alias is resolved now, and the build stays pinned when it moves on
    pub(crate) build: String,

    /// Why
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) reason: String,

    /// The end of the pin, YYYY-MM-DD, RFC 3339 or YYYYMMDDTHHMMSSZ [default: until it is taken away]
    #[arg(long, value_name = "DATE", value_parser = day_or_time)]
    pub(crate) until: Option<DateTime<Utc>>,

    /// Who says so; a build has at most one pin an author [default: your user name]
    #[arg(long)]
    pub(crate) author: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Unpin {
    /// `CHANNEL/BUILD-DATE` or `CHANNEL/ALIAS`
    pub(crate) build: String,

    /// Whose pin [default: yours]
    #[arg(long)]
    pub(crate) author: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Pins {
    /// Only this channel
    pub(crate) channel: Option<Channel>,
}

#[derive(Debug, Args)]
pub(crate) struct Undelete {
    /// The build, `CHANNEL/BUILD-DATE`
    pub(crate) build: BuildId,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// `CHANNEL/BUILD-DATE` or `CHANNEL/ALIAS`
    pub(crate) build: String,
}

#[derive(Debug, Args)]
pub(crate) struct Forecast {
    /// How many days ahead
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub(crate) days: u32,

    /// How often a channel gets a build, and how many bytes each adds, such as `master/centos=1 day,4000000000`
    /// [default: as in the last 30 days]
    #[arg(long, value_name = "CHANNEL=EVERY,BYTES", value_parser = rate)]
    pub(crate) rate: Vec<(Channel, Rate)>,
}

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

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Only this channel or this build
    #[arg(value_name = "BUILD|CHANNEL")]
    pub(crate) scope: Option<String>,

    /// Repairs what can be derived: aliases, leftovers
    #[arg(long)]
    pub(crate) repair: bool,

    /// Also finds builds and indexes that no public key of this file has signed
    #[arg(long, value_name = "FILE")]
    pub(crate) keyring: Option<Utf8PathBuf>,

    /// Also finds builds whose provenance none of these public keys (PEM) has signed
    #[arg(long, value_name = "FILE")]
    pub(crate) provenance_key: Vec<Utf8PathBuf>,
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(date) = text.parse::<BuildDate>() {
        return Ok(date.time());
    }
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|error| format!("{error}; expected 2018-11-05T06:00:00Z or 20181105T060000Z"))
}

fn day_or_time(text: &str) -> Result<DateTime<Utc>, String> {
    match text.parse::<NaiveDate>() {
        Ok(day) => Ok(day.and_time(NaiveTime::MIN).and_utc()),
        Err(_) => time(text),
    }
}

fn rate(text: &str) -> Result<(Channel, Rate), String> {
    let parts = text.split_once('=').and_then(|(channel, rate)| {
        let (every, bytes) = rate.rsplit_once(',')?;
        Some((channel, every, bytes))
    });
    let (channel, every, bytes) = parts.ok_or("expected CHANNEL=EVERY,BYTES")?;
    let rate = Rate {
        every: every
            .parse()
            .map_err(|error: SpanError| error.to_string())?,
        bytes: bytes
            .trim()
            .parse()
            .map_err(|_| format!("{bytes:?}: expected a whole number of bytes"))?,
    };
    if rate.every.as_seconds() == 0 {
        return Err("a build every 0 seconds never ends".to_owned());
    }
    let channel = channel.parse::<Channel>();
    Ok((channel.map_err(|error| error.to_string())?, rate))
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
