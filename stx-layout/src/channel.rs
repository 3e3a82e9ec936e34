//! Channels: the directories that hold a sequence of builds.

use std::fmt;
use std::str::FromStr;

use crate::segment::open_segment;
use crate::text::serde_as_text;
use crate::words;
use crate::{ParseError, ReleaseId};

open_segment! {
    /// A distro, `centos` or `debian`; the set is open.
    ///
    /// Not allowed are `inputs`, `outputs`, `logs`, `latest_…` and any segment that looks like a build date; they end a channel.
    Distro not words::not_distro
}
open_segment! {
    /// The codename of a distro's release: `bullseye`; the set is open.
    ///
    /// Not allowed are segments that end a channel (see [`Distro`]), and the known names of layers, such as `flock`.
    Codename not words::not_codename
}
open_segment! {
    /// A machine architecture: `amd64`; the set is open.
    ///
    /// Not allowed are segments that end a channel (see [`Distro`]).
    Arch not words::not_arch
}
open_segment! {
    /// A layer of a layered build: `flock`, `compiler`, `monolithic`; the set is open.
    ///
    /// Not allowed are segments that end a channel (see [`Distro`]), and the known codenames, such as `bullseye`.
    Layer not words::not_layer
}

/// Codename and architecture, which always occur together on the real mirror.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// `bullseye`.
    pub codename: Codename,
    /// `amd64`.
    pub arch: Arch,
}

/// A release identifier and a distro; on the real mirror also codename and architecture, and a layer.
///
/// In the text, one segment after the distro is a layer, two are codename and architecture, three are all of them.
///
/// ```
/// # use stx_layout::Channel;
/// let channel: Channel = "release/11.0.0/debian/bullseye/amd64/monolithic".parse()?;
/// assert_eq!(channel.layer.as_ref().map(|layer| layer.as_str()), Some("monolithic"));
/// # Ok::<(), stx_layout::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel {
    /// `master`, `release/2018.10`, ….
    pub release: ReleaseId,
    /// `centos`.
    pub distro: Distro,
    /// Codename and architecture.
    pub platform: Option<Platform>,
    /// The layer.
    pub layer: Option<Layer>,
}

impl Channel {
    /// The channel of the specification: a release identifier and a distro.
    pub fn new(release: ReleaseId, distro: Distro) -> Self {
        Self {
            release,
            distro,
            platform: None,
            layer: None,
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.release, self.distro)?;
        if let Some(Platform { codename, arch }) = &self.platform {
            write!(f, "/{codename}/{arch}")?;
        }
        self.layer
            .as_ref()
            .map_or(Ok(()), |layer| write!(f, "/{layer}"))
    }
}

impl FromStr for Channel {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let end = |count: usize| {
            text.match_indices('/')
                .nth(count - 1)
                .map_or(text.len(), |(offset, _)| offset)
        };
        let release_end = if text == "master" || text.starts_with("master/") {
            end(1)
        } else {
            end(2)
        };
        let release = text[..release_end].parse::<ReleaseId>().map_err(|error| {
            let error = error.within(text, 0);
            let word = text.split('/').next().unwrap_or_default();
            let error = match crate::release::near_kind(word) {
                // With its first word corrected, `mastre/centos` is not a release identifier, but it is a channel.
                Some(near) if error.offset == 0 => {
                    error.suggest(format!("{near}{}", &text[word.len()..]))
                }
                Some(_) | None => error,
            };
            error.plausible::<Self>()
        })?;
        if release_end == text.len() {
            return Err(ParseError::new(
                text,
                text.len(),
                "`/` and a distro, such as `centos`",
            ));
        }
        let mut offset = release_end + 1;
        let mut segments = Vec::with_capacity(4);
        for segment in text[offset..].split('/') {
            segments.push((offset, segment));
            offset += segment.len() + 1;
        }
        let (distro, platform, layer) = match *segments.as_slice() {
            [distro] => (distro, None, None),
            [distro, layer] => (distro, None, Some(layer)),
            [distro, codename, arch] => (distro, Some((codename, arch)), None),
            [distro, codename, arch, layer] => (distro, Some((codename, arch)), Some(layer)),
            _ => {
                let (offset, _) = segments[4];
                return Err(ParseError::new(
                    text,
                    offset - 1,
                    "the end of the channel: DISTRO[/CODENAME/ARCH][/LAYER]",
                ));
            }
        };
        Ok(Self {
            release,
            distro: at(text, distro)?,
            platform: match platform {
                None => None,
                Some((codename, arch)) => Some(Platform {
                    codename: at(text, codename)?,
                    arch: at(text, arch)?,
                }),
            },
            layer: layer.map(|layer| at(text, layer)).transpose()?,
        })
    }
}

/// Parses the segment of `text` that begins at `offset`.
fn at<T: FromStr<Err = ParseError>>(
    text: &str,
    (offset, segment): (usize, &str),
) -> Result<T, ParseError> {
    segment
        .parse()
        .map_err(|error: ParseError| error.within(text, offset))
}

serde_as_text!(Channel);
