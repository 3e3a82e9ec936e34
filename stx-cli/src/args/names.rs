//! Commands that read and write names.

use std::ffi::OsString;

use clap::{Args, Subcommand, ValueEnum};
use stx_layout::BuildDate;

#[derive(Debug, Args)]
pub(crate) struct Parse {
    /// Paths below the mirror's root, or URLs; `-` reads one a line from standard input
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Parse names of container images and explain their parts
    Parse(ImageParse),
    /// Form a name from its parts
    Name(Box<ImageName>),
    /// Push the images of a published build to the registry
    Push(ImagePush),
}

#[derive(Debug, Args)]
pub(crate) struct ImagePush {
    /// `CHANNEL` for its newest good build, `CHANNEL/ALIAS`, `CHANNEL/BUILD-DATE` or the beginning of the date, or the build's URL
    #[arg(value_name = "BUILD")]
    pub(crate) build: String,

    /// Print the plan and exit
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImageParse {
    /// Names such as `starlingx/stx-keystone:dev-centos-pike`; `-` reads one a line from standard input
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<OsString>,
}

/// One of `--openstack-release`, `--stream` and `--version` selects the form of the tag.
#[derive(Debug, Args)]
pub(crate) struct ImageName {
    /// The registry, such as `docker.io`
    #[arg(long)]
    pub(crate) registry: Option<String>,
    /// The organisation
    #[arg(long, default_value = "starlingx")]
    pub(crate) org: String,
    /// The component: `keystone` for `stx-keystone`
    #[arg(long, conflicts_with = "image")]
    pub(crate) component: Option<String>,
    /// The whole name of an image that is not called `stx-COMPONENT`
    #[arg(long)]
    pub(crate) image: Option<String>,
    /// The git branch or tag, such as `master` or `r-2018.10.0`
    #[arg(long)]
    pub(crate) prefix: String,
    /// The operating system
    #[arg(long)]
    pub(crate) os: Option<String>,
    /// Form of the specification: the OpenStack release, such as `pike`
    #[arg(long, value_name = "NAME")]
    pub(crate) openstack_release: Option<String>,
    /// Form used since 2019: `stable` or `dev` in place of the OpenStack release
    #[arg(long)]
    pub(crate) stream: Option<StreamWord>,
    /// Form of a tag that never moves: its version, such as `v1.0.2`
    #[arg(long)]
    pub(crate) version: Option<String>,
    /// The codename of the operating system's release
    #[arg(long)]
    pub(crate) codename: Option<String>,
    /// The architecture
    #[arg(long)]
    pub(crate) arch: Option<String>,
    /// Qualifier of a moving tag
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
