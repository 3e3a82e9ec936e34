//! Commands that read a mirror, and copy it.

use std::time::Duration;

use camino::Utf8PathBuf;
use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, ValueEnum};
use stx_builds::trust::TrustOptions;
use stx_layout::Channel;
use stx_layout::config::parse_duration;

use super::day_or_time;

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// `CHANNEL`, `CHANNEL/ALIAS`, `CHANNEL/BUILD-DATE` or the beginning of the date, or the build's URL
    #[arg(value_name = "BUILD|CHANNEL")]
    pub(crate) build: Option<String>,

    /// The phase
    pub(crate) phase: Option<String>,

    /// Follow a running build from phase to phase until it ends; exit with 3 if it failed
    ///
    /// With PHASE, follow only this phase to its end. Begins with the last 10 lines.
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// Begin with the last N lines
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) lines: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// List only this channel
    pub(crate) channel: Option<Channel>,

    /// List only the N newest builds
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,

    /// List only failed builds
    #[arg(long)]
    pub(crate) failed: bool,

    /// List only builds from this time on: a day, `2018-11-05`, a time as of `--now`, or how long ago, `7 days`
    #[arg(long, value_name = "DATE|DURATION", value_parser = Moment::parse)]
    pub(crate) since: Option<Moment>,

    /// List channels instead: number of builds, number of failed builds, newest build with result and age, and `latest_build`
    #[arg(long, conflicts_with_all = ["limit", "failed", "since"])]
    pub(crate) channels: bool,
}

/// A time, or a duration before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    At(DateTime<Utc>),
    Ago(Duration),
}

impl Moment {
    /// The time, as of `now`; the earliest of all dates if the duration reaches beyond it.
    pub(crate) fn before(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(time) => time,
            Self::Ago(ago) => TimeDelta::from_std(ago)
                .ok()
                .and_then(|ago| now.checked_sub_signed(ago))
                .unwrap_or(DateTime::<Utc>::MIN_UTC),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(time) = day_or_time(text) {
            return Ok(Self::At(time));
        }
        parse_duration(text).map(Self::Ago).map_err(|_| {
            "expected a day such as 2018-11-05, a time such as 20181105T060000Z, or a duration such as `7 days`"
                .to_owned()
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// `CHANNEL` for its newest good build, `CHANNEL/ALIAS`, `CHANNEL/BUILD-DATE` or the beginning of the date, or the build's URL
    #[arg(value_name = "BUILD")]
    pub(crate) build: String,

    /// Show the provenance: builder, sources, inputs, times, signature; as JSON, the statement itself
    #[arg(long)]
    pub(crate) provenance: bool,

    /// With `--provenance`: require a signature by one of these public keys (PEM)
    #[arg(long, value_name = "FILE", requires = "provenance")]
    pub(crate) provenance_key: Vec<Utf8PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// `CHANNEL` for its newest good build, `CHANNEL/ALIAS`, `CHANNEL/BUILD-DATE` or the beginning of the date, or the build's URL
    #[arg(value_name = "BUILD")]
    pub(crate) build: String,

    /// `iso`, `installer`, `rpms[:PHASE]`, `srpms[:PHASE]`, `debs[:TYPE]`, `sources[:TYPE]`, `images`, `charts`, `context`, a path or a glob
    #[arg(value_name = "WHAT", required = true)]
    pub(crate) what: Vec<String>,

    /// Directory to download into
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) to: Utf8PathBuf,

    /// Print the files' URLs and exit
    #[arg(long)]
    pub(crate) print_url: bool,

    /// Number of files, and of ranges of one file, to download in parallel
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) connections: usize,

    /// Older file that may hold parts of the new ones, besides those in DIR; repeatable
    #[arg(long, value_name = "FILE")]
    pub(crate) seed: Vec<Utf8PathBuf>,

    /// Download whole files, also where an older file holds parts of them
    #[arg(long, conflicts_with = "seed")]
    pub(crate) whole: bool,

    #[command(flatten)]
    pub(crate) trust: Trust,
}

/// Trusted signatures.
#[derive(Debug, Args)]
pub(crate) struct Trust {
    /// Accept only data signed by a public key in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) keyring: Option<Utf8PathBuf>,

    /// With a keyring: accept an index that has expired or is older than one seen before
    #[arg(long)]
    pub(crate) allow_stale: bool,
}

impl Trust {
    pub(crate) fn options(&self) -> TrustOptions {
        let mut options = TrustOptions::default();
        options.keyring.clone_from(&self.keyring);
        options.allow_stale = self.allow_stale;
        options
    }
}

#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// The source mirror: a directory, `s3://BUCKET/PREFIX`, or a URL
    #[arg(value_name = "FROM")]
    pub(crate) from: Utf8PathBuf,

    /// The target mirror: a directory, created if missing, or `s3://BUCKET/PREFIX`
    #[arg(value_name = "TO")]
    pub(crate) to: Utf8PathBuf,

    /// Copy only this channel; repeatable
    #[arg(long, value_name = "CHANNEL")]
    pub(crate) channel: Vec<Channel>,

    /// Retire builds of TO that are not in FROM
    #[arg(long)]
    pub(crate) delete: bool,

    /// Directory for partial downloads [default: `TO.copy` beside a directory, else in the user's cache]
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<Utf8PathBuf>,

    /// Print the plan and exit
    #[arg(long)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) trust: Trust,
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// With `--with`, package files or directories of them; otherwise two builds, `CHANNEL`, `CHANNEL/ALIAS`, `CHANNEL/BUILD-DATE`, or two releases, `release/11.0.0`: the newest good builds of the channels that both have
    #[arg(value_name = "PACKAGE|BUILD", required = true)]
    pub(crate) what: Vec<String>,

    /// The reference: `CHANNEL` for its newest good build, `CHANNEL/ALIAS`, `CHANNEL/BUILD-DATE` or the beginning of the date, or the build's URL
    #[arg(long, value_name = "BUILD")]
    pub(crate) with: Option<String>,

    /// Use the build of the channel that this git work tree descends from with the fewest commits between
    #[arg(long, value_name = "GITDIR", requires = "with")]
    pub(crate) source: Option<Utf8PathBuf>,

    /// Phase of the reference package, if several phases hold it
    #[arg(long, requires = "with")]
    pub(crate) phase: Option<String>,

    /// Download packages whose files differ, and tell apart files that differ only in embedded times; of Debian packages, also compare what only the payload tells: modes, owners, symlinks, configuration files
    #[arg(long)]
    pub(crate) contents: bool,

    /// Treatment of build times and hosts, signatures and time stamps
    #[arg(long, value_enum, default_value_t = Noise::List)]
    pub(crate) noise: Noise,

    /// Also write the result as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<Utf8PathBuf>,

    #[command(flatten)]
    pub(crate) trust: Trust,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Noise {
    /// List apart; not a difference
    List,
    /// Do not list
    Hide,
    /// Count like any other difference
    Count,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The first build: `CHANNEL` for its newest good build, `CHANNEL/ALIAS`, `CHANNEL/BUILD-DATE` or the beginning of the date, the build's URL, or a release, `release/11.0.0`
    #[arg(value_name = "FROM")]
    pub(crate) from: String,

    /// The second build; takes the same forms as FROM
    #[arg(value_name = "TO")]
    pub(crate) to: String,

    #[command(flatten)]
    pub(crate) trust: Trust,
}

#[derive(Debug, Args)]
pub(crate) struct Since {
    /// The package: `NAME`, `NAME.ARCH` or, as dpkg writes it, `NAME:ARCH`
    pub(crate) package: String,

    /// The channel to search, or the beginning of its name if only one channel begins with it
    #[arg(
        long = "in",
        value_name = "CHANNEL",
        required_unless_present = "from",
        conflicts_with = "from"
    )]
    pub(crate) channel: Option<String>,

    /// Search from this build on, across releases: `release/11.0.0`, `CHANNEL`, `CHANNEL/ALIAS`, `CHANNEL/BUILD-DATE`
    ///
    /// Builds of the releases between `--from` and `--to` are searched in the order of the releases; between builds that were
    /// promoted from one channel, its good builds are searched as well.
    #[arg(long, value_name = "BUILD", requires = "to")]
    pub(crate) from: Option<String>,

    /// Search up to this build; takes the same forms as `--from`
    #[arg(long, value_name = "BUILD", requires = "from")]
    pub(crate) to: Option<String>,

    /// Consider only this file of the package
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<String>,

    /// Find the first build with at least this version: `1.0`, `1.0-2.tis` or `1:1.0-2.tis`; of a Debian package, `1:1.0-2+b1`
    ///
    /// Without an epoch, that of the package in the newest build counts.
    #[arg(long, value_name = "V", conflicts_with = "file")]
    pub(crate) version: Option<String>,

    /// The phase, if several hold the package
    #[arg(long)]
    pub(crate) phase: Option<String>,

    #[command(flatten)]
    pub(crate) trust: Trust,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Root directory of the mirror [default: `--mirror` or the configuration]
    pub(crate) dir: Option<Utf8PathBuf>,

    /// The port; 0 selects a free one
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Verify only this channel or build: `CHANNEL` or the beginning of one, `CHANNEL/ALIAS`, `CHANNEL/BUILD-DATE` or the beginning of the date, or a URL
    #[arg(value_name = "BUILD|CHANNEL")]
    pub(crate) scope: Option<String>,

    /// Repair derived data: aliases, leftovers, catalog pages
    #[arg(long)]
    pub(crate) repair: bool,

    /// Also report builds and indexes without a signature by a public key in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) keyring: Option<Utf8PathBuf>,

    /// Also report builds whose provenance is not signed by one of these public keys (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) provenance_key: Vec<Utf8PathBuf>,
}
