//! Commands that read a mirror, and copy it.

use camino::Utf8PathBuf;
use clap::{Args, ValueEnum};
use stx_layout::Channel;

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this channel
    pub(crate) channel: Option<Channel>,
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

    #[command(flatten)]
    pub(crate) trust: Trust,
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
pub(crate) struct Serve {
    /// The mirror's root directory; without it, that of `--mirror` or the configuration
    pub(crate) dir: Option<Utf8PathBuf>,

    /// The port; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
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
