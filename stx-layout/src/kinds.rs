//! The names of segments below a build: sections, inputs and outputs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::BuildOutcome;

/// The grammar that a path needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The specification, to the letter.
    Spec,
    /// The specification, and the additions of the real mirror.
    Extended,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spec => "spec",
            Self::Extended => "extended",
        })
    }
}

/// A top-level part of a build: the first segment below its date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// `inputs`: the files that the build was made from.
    Inputs,
    /// `outputs`: the files that the build made.
    Outputs,
    /// `logs`: the logs of the build; beside the outputs on the real mirror, below them in the specification.
    Logs,
}

impl Section {
    /// Every section.
    pub const ALL: [Self; 3] = [Self::Inputs, Self::Outputs, Self::Logs];

    /// The segment.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inputs => "inputs",
            Self::Outputs => "outputs",
            Self::Logs => "logs",
        }
    }

    /// The section with this name.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|section| section.as_str() == word)
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kind of the first segment below `inputs/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputKind {
    /// `RPMS`.
    Rpms,
    /// `SRPMS`.
    Srpms,
    /// `downloads`.
    Downloads,
    /// `packages`, on the real mirror only.
    Packages,
    /// `sources`, on the real mirror only.
    Sources,
    /// Any other segment.
    Other,
}

impl InputKind {
    /// The kind of a segment.
    pub fn of(segment: &str) -> Self {
        match segment {
            "RPMS" => Self::Rpms,
            "SRPMS" => Self::Srpms,
            "downloads" => Self::Downloads,
            "packages" => Self::Packages,
            "sources" => Self::Sources,
            _ => Self::Other,
        }
    }

    /// The grammar it needs.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Rpms | Self::Srpms | Self::Downloads => Dialect::Spec,
            Self::Packages | Self::Sources | Self::Other => Dialect::Extended,
        }
    }
}

/// The kind of the first segment below `outputs/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutputKind {
    /// `RPMS`; the phase follows.
    Rpms,
    /// `SRPMS`; the phase follows.
    Srpms,
    /// `iso`.
    Iso,
    /// `installer`.
    Installer,
    /// `wheels`.
    Wheels,
    /// `helm-charts`.
    HelmCharts,
    /// `CONTEXT`, the file that lists the commits that were built.
    Context,
    /// `success` or `fail`, the specification's marker files.
    Result(BuildOutcome),
    /// `logs`.
    Logs,
    /// `docker-images`; on the real mirror only, like all that follow.
    DockerImages,
    /// `remote-cli`.
    RemoteCli,
    /// `tarballs`.
    Tarballs,
    /// `aptly`.
    Aptly,
    /// `std` or `rt`: the phase itself; `packages` and `sources` follow.
    Phase,
    /// `CONTEXT.sh`.
    ContextScript,
    /// `CHANGELOG.txt`.
    Changelog,
    /// `BUILD_INFO`, `BUILD_INFO.txt`, `ISO_BUILD_INFO.txt`.
    BuildInfo,
    /// `image.inc`, `image-dev.inc`, `centos_stable_wheels.inc`: any `….inc`, a list of packages or wheels.
    PackageList,
    /// `Success`, `No_New_Content`, `GREEN`, `YELLOW`, `RED`: the real mirror's marker files.
    Marker,
    /// Any other segment.
    Other,
}

impl OutputKind {
    /// The kind of a segment.
    pub fn of(segment: &str) -> Self {
        match segment {
            "RPMS" => Self::Rpms,
            "SRPMS" => Self::Srpms,
            "iso" => Self::Iso,
            "installer" => Self::Installer,
            "wheels" => Self::Wheels,
            "helm-charts" => Self::HelmCharts,
            "CONTEXT" => Self::Context,
            "success" => Self::Result(BuildOutcome::Success),
            "fail" => Self::Result(BuildOutcome::Fail),
            "logs" => Self::Logs,
            "docker-images" => Self::DockerImages,
            "remote-cli" => Self::RemoteCli,
            "tarballs" => Self::Tarballs,
            "aptly" => Self::Aptly,
            "std" | "rt" => Self::Phase,
            "CONTEXT.sh" => Self::ContextScript,
            "CHANGELOG.txt" => Self::Changelog,
            "BUILD_INFO" | "BUILD_INFO.txt" | "ISO_BUILD_INFO.txt" => Self::BuildInfo,
            "Success" | "No_New_Content" | "GREEN" | "YELLOW" | "RED" => Self::Marker,
            _ if segment.as_bytes().ends_with(b".inc") && segment.len() > 4 => Self::PackageList,
            _ => Self::Other,
        }
    }

    /// The grammar it needs.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Rpms
            | Self::Srpms
            | Self::Iso
            | Self::Installer
            | Self::Wheels
            | Self::HelmCharts
            | Self::Context
            | Self::Result(_)
            | Self::Logs => Dialect::Spec,
            Self::DockerImages
            | Self::RemoteCli
            | Self::Tarballs
            | Self::Aptly
            | Self::Phase
            | Self::ContextScript
            | Self::Changelog
            | Self::BuildInfo
            | Self::PackageList
            | Self::Marker
            | Self::Other => Dialect::Extended,
        }
    }

    /// True if it is a file of the specification, with nothing below it.
    pub(crate) fn is_file(self) -> bool {
        matches!(self, Self::Context | Self::Result(_))
    }

    /// True if the phase is the next segment.
    pub(crate) fn phase_follows(self) -> bool {
        matches!(self, Self::Rpms | Self::Srpms)
    }
}
