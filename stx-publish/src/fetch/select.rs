//! The selection of a build's files.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use camino::{Utf8Path, Utf8PathBuf};
use globset::{GlobBuilder, GlobMatcher};
use stx_layout::derived::control_of;
use stx_layout::{BuildPath, BuildPhase, Sha256, SumLine, Sums};

/// A selection of a build's files.
#[derive(Debug, Clone)]
pub enum What {
    /// `iso`: the ISO images.
    Iso,
    /// `installer`: the installer's files, for making a custom ISO.
    Installer,
    /// `rpms`, `rpms:PHASE`: the packages, with their repository metadata.
    Rpms(Option<BuildPhase>),
    /// `srpms`, `srpms:PHASE`: the source packages.
    Srpms(Option<BuildPhase>),
    /// `debs`, `debs:TYPE`: the Debian packages of a build type, `outputs/TYPE/packages`, with their repository metadata.
    Debs(Option<BuildPhase>),
    /// `sources`, `sources:TYPE`: the Debian source packages, `outputs/TYPE/sources`, with their repository metadata.
    Sources(Option<BuildPhase>),
    /// `images`: lists and archives of container images.
    Images,
    /// `charts`: the Helm charts.
    Charts,
    /// `context`: the commits that it was built from.
    Context,
    /// A file, everything below a directory, or a glob: `*` and `?` do not match `/`, `**` does.
    Path {
        /// The text as given.
        text: String,
        /// The same as a glob.
        glob: GlobMatcher,
    },
}

/// A word that does not name a selection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WhatError {
    /// Not a phase.
    #[error("{text:?} names no phase: `rpms:std`, `debs:std`")]
    Phase {
        /// The text as given.
        text: String,
        /// The error in the phase name.
        source: stx_layout::ParseError,
    },
    /// Not a glob.
    #[error("{text:?} is not a glob")]
    Glob {
        /// The text as given.
        text: String,
        /// The error of the glob parser.
        source: globset::Error,
    },
}

impl FromStr for What {
    type Err = WhatError;

    fn from_str(text: &str) -> Result<Self, WhatError> {
        let phase = |phase: &str| {
            let parsed = phase.parse();
            parsed.map(Some).map_err(|source| WhatError::Phase {
                text: text.to_owned(),
                source,
            })
        };
        Ok(match text.split_once(':').unwrap_or((text, "")) {
            ("iso", "") => Self::Iso,
            ("installer", "") => Self::Installer,
            ("images", "") => Self::Images,
            ("charts", "") => Self::Charts,
            ("context", "") => Self::Context,
            ("rpms", "") => Self::Rpms(None),
            ("srpms", "") => Self::Srpms(None),
            ("rpms", name) => Self::Rpms(phase(name)?),
            ("srpms", name) => Self::Srpms(phase(name)?),
            ("debs", "") => Self::Debs(None),
            ("sources", "") => Self::Sources(None),
            ("debs", name) => Self::Debs(phase(name)?),
            ("sources", name) => Self::Sources(phase(name)?),
            _ => {
                let glob = GlobBuilder::new(text.trim_end_matches('/'))
                    .literal_separator(true)
                    .build()
                    .map_err(|source| WhatError::Glob {
                        text: text.to_owned(),
                        source,
                    })?;
                Self::Path {
                    text: text.to_owned(),
                    glob: glob.compile_matcher(),
                }
            }
        })
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iso => f.write_str("iso"),
            Self::Installer => f.write_str("installer"),
            Self::Rpms(None) => f.write_str("rpms"),
            Self::Rpms(Some(phase)) => write!(f, "rpms:{phase}"),
            Self::Srpms(None) => f.write_str("srpms"),
            Self::Srpms(Some(phase)) => write!(f, "srpms:{phase}"),
            Self::Debs(None) => f.write_str("debs"),
            Self::Debs(Some(phase)) => write!(f, "debs:{phase}"),
            Self::Sources(None) => f.write_str("sources"),
            Self::Sources(Some(phase)) => write!(f, "sources:{phase}"),
            Self::Images => f.write_str("images"),
            Self::Charts => f.write_str("charts"),
            Self::Context => f.write_str("context"),
            Self::Path { text, .. } => f.write_str(text),
        }
    }
}

impl What {
    fn means(&self, path: &str) -> bool {
        let section = |section: &str, phase: &Option<BuildPhase>| {
            let below = path.strip_prefix(section);
            below.is_some_and(|rest| {
                phase.as_ref().is_none_or(|phase| {
                    rest.split_once('/')
                        .is_some_and(|(first, _)| first == phase.as_str())
                })
            })
        };
        // Debian's build type precedes the kind: `outputs/std/packages`.
        let kind = |kind: &str, phase: &Option<BuildPhase>| {
            let mut segments = path.splitn(4, '/');
            let found = [segments.next(), segments.next(), segments.next()];
            let [Some("outputs"), Some(first), Some(second)] = found else {
                return false;
            };
            let is_wanted = phase.as_ref().is_none_or(|phase| phase.as_str() == first);
            is_wanted && second == kind && segments.next().is_some()
        };
        match self {
            Self::Iso => {
                section("outputs/iso/", &None) && Utf8Path::new(path).extension() == Some("iso")
            }
            Self::Installer => section("outputs/installer/", &None),
            Self::Rpms(phase) => section("outputs/RPMS/", phase),
            Self::Srpms(phase) => section("outputs/SRPMS/", phase),
            Self::Debs(phase) => kind("packages", phase),
            Self::Sources(phase) => kind("sources", phase),
            Self::Images => section("outputs/docker-images/", &None),
            Self::Charts => section("outputs/helm-charts/", &None),
            Self::Context => path == "outputs/CONTEXT",
            Self::Path { glob, .. } => Utf8Path::new(path)
                .ancestors()
                .any(|ancestor| !ancestor.as_str().is_empty() && glob.is_match(ancestor.as_str())),
        }
    }

    /// The local path of a file: an ISO or a `CONTEXT` under its own name, other outputs by their path in `outputs/`, and the rest
    /// by its path in the build.
    fn place(&self, path: &BuildPath) -> Utf8PathBuf {
        match self {
            Self::Iso | Self::Context => path.file_name().into(),
            Self::Installer
            | Self::Rpms(_)
            | Self::Srpms(_)
            | Self::Debs(_)
            | Self::Sources(_)
            | Self::Images
            | Self::Charts
            | Self::Path { .. } => {
                let text = path.as_str();
                text.strip_prefix("outputs/").unwrap_or(text).into()
            }
        }
    }
}

/// A file to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its path in the build.
    pub path: BuildPath,
    /// Its digest.
    pub sha256: Sha256,
    /// Its local path, relative to the directory to fetch to.
    pub to: Utf8PathBuf,
    /// Its zsync control file, if it has one: path and digest.
    pub control: Option<(BuildPath, Sha256)>,
}

/// Words that select no files, or too many.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// The build has no such file.
    #[error("the build has no {}", what.join(", no "))]
    Nothing {
        /// The words.
        what: Vec<String>,
    },
    /// Two files would get the same name.
    #[error("{first} and {second} would both be {to}")]
    Clash {
        /// The first file.
        first: BuildPath,
        /// The second file.
        second: BuildPath,
        /// The common local path.
        to: Utf8PathBuf,
    },
    /// One image has several names, and none of them is the one in the specification.
    #[error("the build has one ISO image under {} names: {}", names.len(), shown(names))]
    Several {
        /// Its names.
        names: Vec<BuildPath>,
    },
}

fn shown(names: &[BuildPath]) -> String {
    let names: Vec<_> = names.iter().map(BuildPath::as_str).collect();
    names.join(", ")
}

/// The specification's name of the ISO image, "outputs/iso/bootimage.iso".
const ISO: &str = "bootimage.iso";

/// One name for each ISO image: if the same bytes have several names, the one in the specification.
fn one_name_each(lines: Vec<&SumLine>) -> Result<Vec<&SumLine>, SelectError> {
    let mut images = BTreeMap::<Sha256, Vec<&SumLine>>::new();
    for line in lines {
        images.entry(line.digest).or_default().push(line);
    }
    let chosen = images.into_values().map(|names| {
        let mut spec = names.iter().filter(|line| line.path.file_name() == ISO);
        match (names.as_slice(), spec.next(), spec.next()) {
            ([one], ..) | (_, Some(one), None) => Ok(*one),
            _ => Err(SelectError::Several {
                names: names.iter().map(|line| line.path.clone()).collect(),
            }),
        }
    });
    chosen.collect()
}

/// The selected files, by local path. If an ISO image has several names, `bootimage.iso` is taken.
pub fn select(sums: &Sums, what: &[What]) -> Result<Vec<Wanted>, SelectError> {
    let mut wanted = BTreeMap::<Utf8PathBuf, Wanted>::new();
    let mut nothing = Vec::new();
    for word in what {
        let lines = sums.lines().iter();
        let mut lines: Vec<_> = lines
            .filter(|line| word.means(line.path.as_str()))
            .collect();
        if lines.is_empty() {
            nothing.push(word.to_string());
        }
        if matches!(word, What::Iso) {
            lines = one_name_each(lines)?;
        }
        for SumLine { path, digest } in lines {
            let to = word.place(path);
            let new = Wanted {
                path: path.clone(),
                sha256: *digest,
                to: to.clone(),
                control: control_of(path)
                    .ok()
                    .and_then(|control| Some((control.clone(), sums.get(&control)?))),
            };
            match wanted.insert(to.clone(), new) {
                Some(old) if old.path != *path => {
                    return Err(SelectError::Clash {
                        first: old.path,
                        second: path.clone(),
                        to,
                    });
                }
                Some(_) | None => {}
            }
        }
    }
    if nothing.is_empty() {
        Ok(wanted.into_values().collect())
    } else {
        Err(SelectError::Nothing { what: nothing })
    }
}
