//! Paths of a mirror, from its root: of every dialect and every depth.
//!
//! # The meaning of each segment
//!
//! The sets of distros, layers, codenames, phases and artifacts are open, so position decides, by these rules, in this
//! order. Nothing is looked up on a mirror, and the same text always gives the same answer.
//!
//! 1. **Release.** `master`, or the first two segments if the first is `feature`, `release`, `milestone` or `rc`, or one of the
//!    branch prefixes `f`, `r`, `m`. A single segment may also be `r` or `m` and a digit: the legacy alias `r2018.10`, the tag
//!    `m2018.10.b3`. Anything else at the root is an error. `release/latest_release` is an alias. If only the first of two
//!    segments is present, the path has no release yet.
//! 2. **Distro.** The segment after the release, whatever its name.
//! 3. **The channel ends** at a build date, at a segment that begins with `latest_`, at `inputs`, `outputs` or `logs`, or with
//!    the path. These words are never distro, codename, architecture or layer. A segment that looks like a build date (eight
//!    digits, or a day with dashes, then only digits, `T`, `Z`, `:`, `-`, `_`) but is not one is an error. So is one that looks
//!    like an alias (`latest-build`, `Latest_build`; without a dot) but is not one.
//! 4. **A loose file.** If the path ends in the channel, without a slash after it, and the last segment has a dot inside, that
//!    segment is a file beside the builds. It is the `rest`.
//! 5. **Codename, architecture, layer.** The segments between the distro and the end of the channel. A layer known by name
//!    (`compiler`, `containers`, `distro`, `flock`, `monolithic`, `openstack`, or one of them with `-` and more) is the layer.
//!    Otherwise one segment is a codename if it is a known one (`bullseye`, `trixie`, …) and else a layer; two are codename and
//!    architecture; three are codename, architecture and layer. A fourth begins the `rest`.
//! 6. **Build or alias**, then **section**. The section may be in the channel itself (`release/2.0.0/centos/outputs`), and `logs`
//!    beside `outputs`. Anything else in a build's directory is the `rest`.
//! 7. **Artifact.** The first segment below the section.
//! 8. **Phase.** Below `outputs/RPMS` and `outputs/SRPMS` the next segment, unless it is a file by rule 4. `std` and `rt`
//!    directly in `outputs` are artifact and phase at once. So is any artifact without a meaning of its own if `packages` or
//!    `sources` follows. Inputs and logs have no phase.
//! 9. **Rest.** All remaining segments, in one piece.
//!
//! # Dialect
//!
//! [`Dialect::Spec`] is a path in the specification's grammar: one of its releases, `centos`, a build date or `latest_build`, and
//! an input or output with its phase, or a path below it; also the two links themselves, `r2018.10` and `…/latest_build`. All
//! else is [`Dialect::Extended`]: a layer, a section without a build, and every shorter path.

mod parse;
mod suggest;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

pub use crate::kinds::{Dialect, InputKind, OutputKind, Section};
pub use crate::legacy::{BranchRelease, LegacyRelease, PathRelease};

use crate::text::serde_as_text;
use crate::uri::{decode_url, locate_encoded};
use crate::{
    Alias, AliasName, BuildDate, BuildId, BuildOutcome, BuildPath, BuildPhase, Channel, ParseError,
    Platform,
};

/// A path of a mirror, borrowed, in its parts.
///
/// Accepts a path from the mirror's root, or a URL `http(s)://HOST/mirror/starlingx/PATH` of any host, with or without a slash at
/// its end. A percent-encoded URL is refused; [`MirrorPath`], which owns its text, decodes it. `Display` writes the very bytes
/// that were parsed; [`path`](Self::path) is the same without URL prefix and last slash. Equality and `Ord` are those of the
/// given text; compare [`path`](Self::path) to compare places.
///
/// ```
/// # use stx_layout::{MirrorPathRef, Section};
/// let path = MirrorPathRef::parse("http://mirror.example.org/mirror/starlingx/master/centos/latest_build/outputs/iso/")?;
/// assert_eq!(path.path(), "master/centos/latest_build/outputs/iso");
/// assert_eq!((path.release(), path.distro()), (Some("master"), Some("centos")));
/// assert_eq!((path.alias(), path.section()), (Some("latest_build"), Some(Section::Outputs)));
/// assert_eq!(path.artifact(), Some("iso"));
/// # Ok::<(), stx_layout::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MirrorPathRef<'a> {
    text: &'a str,
    path: &'a str,
    release: Option<&'a str>,
    distro: Option<&'a str>,
    codename: Option<&'a str>,
    arch: Option<&'a str>,
    layer: Option<&'a str>,
    build: Option<&'a str>,
    alias: Option<&'a str>,
    section: Option<Section>,
    /// The section and all below it.
    in_build: Option<&'a str>,
    artifact: Option<&'a str>,
    phase: Option<&'a str>,
    rest: Option<&'a str>,
    dialect: Dialect,
}

/// A path of a mirror, owned: a text that was parsed once. Its parts are found again at each call; take several of them from
/// [`borrowed`](Self::borrowed). [`MirrorPathRef`] describes the accepted texts, and [the module](self) the meaning of each
/// segment.
///
/// ```
/// # use stx_layout::MirrorPath;
/// let path: MirrorPath = "release/11.0.0/debian/bullseye/amd64/monolithic/outputs/iso/".parse()?;
/// assert_eq!(path.to_string(), "release/11.0.0/debian/bullseye/amd64/monolithic/outputs/iso/");
/// assert_eq!(path.layer(), Some("monolithic"));
///
/// // The path of a URL is decoded first, as `decode_url` does.
/// let path: MirrorPath = "https://h/mirror/starlingx/master/centos/latest_build/outputs/RPMS/std/libstdc%2B%2B.rpm".parse()?;
/// assert_eq!(path.rest(), Some("libstdc++.rpm"));
///
/// let error = "master/../etc".parse::<MirrorPath>().unwrap_err();
/// assert_eq!(error.offset, 7);
/// # Ok::<(), stx_layout::ParseError>(())
/// ```
#[derive(Debug, Clone)]
pub struct MirrorPath {
    text: String,
}

impl<'a> MirrorPathRef<'a> {
    /// Parses a path or URL.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        parse::parse(text).map_err(|(offset, expected)| refused(text, offset, expected))
    }

    /// True if a text is accepted; does not search for a suggestion if it is not.
    pub fn is_accepted(text: &str) -> bool {
        parse::parse(text).is_ok()
    }

    /// Parses bytes that may not be text. The error's input has U+FFFD in place of bytes that are not UTF-8.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, ParseError> {
        match str::from_utf8(bytes) {
            Ok(text) => Self::parse(text),
            Err(error) => Err(ParseError::new(
                &String::from_utf8_lossy(bytes),
                error.valid_up_to(),
                "text in UTF-8",
            )),
        }
    }

    /// Copies the path into an owned one.
    pub fn to_owned(self) -> MirrorPath {
        MirrorPath {
            text: self.text.to_owned(),
        }
    }

    /// The text as it was given.
    pub fn as_str(self) -> &'a str {
        self.text
    }

    /// The path from the mirror's root, without URL prefix and last slash; empty for the root.
    pub fn path(self) -> &'a str {
        self.path
    }

    /// The given URL prefix, `http(s)://HOST/mirror/starlingx/`; empty if there was none.
    pub fn prefix(self) -> &'a str {
        let path = self.path.len() + usize::from(self.is_directory());
        &self.text[..self.text.len() - path]
    }

    /// True if the given path ends with a slash.
    pub fn is_directory(self) -> bool {
        !self.path.is_empty() && self.text.ends_with('/')
    }

    /// The grammar that the path needs.
    pub fn dialect(self) -> Dialect {
        self.dialect
    }

    /// The release as in the path: `master`, `rc/4.0`, `r2018.10`, `f/antelope`.
    pub fn release(self) -> Option<&'a str> {
        self.release
    }

    /// The release as a value.
    pub fn path_release(self) -> Option<PathRelease> {
        self.release()?.parse().ok()
    }

    /// `centos`.
    pub fn distro(self) -> Option<&'a str> {
        self.distro
    }

    /// `bullseye`.
    pub fn codename(self) -> Option<&'a str> {
        self.codename
    }

    /// `amd64`.
    pub fn arch(self) -> Option<&'a str> {
        self.arch
    }

    /// `flock`.
    pub fn layer(self) -> Option<&'a str> {
        self.layer
    }

    /// The build date as in the path.
    pub fn build(self) -> Option<&'a str> {
        self.build
    }

    /// The alias in place of the build date: `latest_build`.
    pub fn alias(self) -> Option<&'a str> {
        self.alias
    }

    /// `inputs`, `outputs` or `logs`.
    pub fn section(self) -> Option<Section> {
        self.section
    }

    /// The first segment below the section.
    pub fn artifact(self) -> Option<&'a str> {
        self.artifact
    }

    /// The kind of the artifact, if it is below `inputs`.
    pub fn input_kind(self) -> Option<InputKind> {
        (self.section() == Some(Section::Inputs))
            .then(|| self.artifact().map(InputKind::of))
            .flatten()
    }

    /// The kind of the artifact, if it is below `outputs`.
    pub fn output_kind(self) -> Option<OutputKind> {
        (self.section() == Some(Section::Outputs))
            .then(|| self.artifact().map(OutputKind::of))
            .flatten()
    }

    /// The outcome that a marker file of the specification states: `outputs/success`, `outputs/fail`.
    pub fn outcome(self) -> Option<BuildOutcome> {
        match (self.output_kind()?, self.rest()) {
            (OutputKind::Result(outcome), None) => Some(outcome),
            _ => None,
        }
    }

    /// The build phase as in the path: `std`.
    pub fn phase(self) -> Option<&'a str> {
        self.phase
    }

    /// The build phase as a value.
    pub fn build_phase(self) -> Option<BuildPhase> {
        self.phase()?.parse().ok()
    }

    /// The rest of the path, after every part that has an accessor here.
    pub fn rest(self) -> Option<&'a str> {
        self.rest
    }

    /// The channel, if it is complete and its release is written as a release identifier. For aliases and branches see
    /// [`path_release`](Self::path_release) and [`PathRelease::resolve`].
    pub fn channel(self) -> Option<Channel> {
        let PathRelease::Id(release) = self.path_release()? else {
            return None;
        };
        let platform = match (self.codename(), self.arch()) {
            (None, _) => None,
            (Some(_), None) => return None,
            (Some(codename), Some(arch)) => Some(Platform {
                codename: codename.parse().ok()?,
                arch: arch.parse().ok()?,
            }),
        };
        let layer = match self.layer() {
            None => None,
            Some(layer) => Some(layer.parse().ok()?),
        };
        Some(Channel {
            release,
            distro: self.distro()?.parse().ok()?,
            platform,
            layer,
        })
    }

    /// The build date as a value.
    pub fn build_date(self) -> Option<BuildDate> {
        self.build()?.parse().ok()
    }

    /// The build, if the path has a [`channel`](Self::channel) and a build date.
    pub fn build_id(self) -> Option<BuildId> {
        Some(BuildId::new(self.channel()?, self.build_date()?))
    }

    /// The alias of a build as a value.
    pub fn alias_name(self) -> Option<AliasName> {
        self.alias()?.parse().ok()
    }

    /// Every alias on the path, first to last: of the release, of the build.
    pub fn aliases(self) -> impl Iterator<Item = Alias> {
        let release = match self.path_release() {
            Some(PathRelease::Latest) => Some(Alias::LatestRelease),
            Some(PathRelease::Legacy(legacy)) => Some(Alias::Legacy(legacy)),
            Some(PathRelease::Id(_) | PathRelease::Branch(_)) | None => None,
        };
        release
            .into_iter()
            .chain(self.alias_name().map(Alias::Build))
    }

    /// The path within the build: the section and all below it.
    pub fn build_path(self) -> Option<BuildPath> {
        self.in_build?.parse().ok()
    }
}

/// Repeats the views of the borrowed path on the owned one.
macro_rules! views {
    ($($name:ident -> $type:ty;)*) => {
        impl MirrorPath {
            $(
                #[doc = concat!("As [`MirrorPathRef::", stringify!($name), "`].")]
                pub fn $name(&self) -> $type {
                    self.borrowed().$name()
                }
            )*
        }
    };
}

views! {
    as_str -> &str;
    path -> &str;
    prefix -> &str;
    is_directory -> bool;
    dialect -> Dialect;
    release -> Option<&str>;
    path_release -> Option<PathRelease>;
    distro -> Option<&str>;
    codename -> Option<&str>;
    arch -> Option<&str>;
    layer -> Option<&str>;
    build -> Option<&str>;
    alias -> Option<&str>;
    section -> Option<Section>;
    artifact -> Option<&str>;
    input_kind -> Option<InputKind>;
    output_kind -> Option<OutputKind>;
    outcome -> Option<BuildOutcome>;
    phase -> Option<&str>;
    build_phase -> Option<BuildPhase>;
    rest -> Option<&str>;
    channel -> Option<Channel>;
    build_date -> Option<BuildDate>;
    build_id -> Option<BuildId>;
    alias_name -> Option<AliasName>;
    build_path -> Option<BuildPath>;
}

impl MirrorPath {
    /// This path, borrowed.
    pub fn borrowed(&self) -> MirrorPathRef<'_> {
        parse::parse(&self.text).expect("it was parsed before")
    }

    /// The directory of a channel, with a slash at its end.
    ///
    /// # Errors
    /// Refuses one that would not be parsed as the same channel, which never happens for a channel that was itself parsed.
    pub fn of_channel(channel: &Channel) -> Result<Self, ParseError> {
        let path: Self = format!("{channel}/").parse()?;
        path.unless(|path| path.channel().as_ref() == Some(channel))
    }

    /// The directory of a build, with a slash at its end.
    ///
    /// # Errors
    /// As for [`of_channel`](Self::of_channel).
    pub fn of_build(build: &BuildId) -> Result<Self, ParseError> {
        let path: Self = format!("{build}/").parse()?;
        path.unless(|path| path.build_id().as_ref() == Some(build))
    }

    /// A file of a build.
    ///
    /// # Errors
    /// As for [`of_channel`](Self::of_channel); also if the result is longer than a path can be.
    pub fn in_build(build: &BuildId, file: &BuildPath) -> Result<Self, ParseError> {
        let path: Self = format!("{build}/{file}").parse()?;
        path.unless(|path| path.build_id().as_ref() == Some(build))
    }

    /// The path of an alias for a build in a channel: `master/centos/latest_build`.
    ///
    /// # Errors
    /// As for [`of_channel`](Self::of_channel).
    pub fn of_alias(channel: &Channel, alias: &AliasName) -> Result<Self, ParseError> {
        let path: Self = format!("{channel}/{alias}").parse()?;
        path.unless(|path| path.channel().as_ref() == Some(channel))
    }

    fn unless(self, right: impl Fn(&Self) -> bool) -> Result<Self, ParseError> {
        if right(&self) {
            Ok(self)
        } else {
            Err(ParseError::new(
                &self.text,
                0,
                "a channel that parses back to itself",
            ))
        }
    }
}

fn refused(text: &str, offset: usize, expected: &'static str) -> ParseError {
    let error = ParseError::new(text, offset, expected);
    match suggest::path(text) {
        Some(near) => error.suggest(near),
        None => error,
    }
}

impl fmt::Display for MirrorPathRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl fmt::Display for MirrorPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for MirrorPath {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let decoded = decode_url(text)?;
        match MirrorPathRef::parse(&decoded) {
            Ok(path) => Ok(path.to_owned()),
            Err(error) if decoded == text => Err(error),
            Err(error) => Err(locate_encoded(text, error)),
        }
    }
}

serde_as_text!(MirrorPath);

impl serde::Serialize for MirrorPathRef<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text)
    }
}

/// Equality, order and hash of a path: those of its text, which determines everything else.
macro_rules! by_text {
    ($($type:ty),*) => {
        $(
            impl PartialEq for $type {
                fn eq(&self, other: &Self) -> bool {
                    self.as_str() == other.as_str()
                }
            }

            impl Eq for $type {}

            impl PartialOrd for $type {
                fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                    Some(self.cmp(other))
                }
            }

            impl Ord for $type {
                fn cmp(&self, other: &Self) -> Ordering {
                    self.as_str().cmp(other.as_str())
                }
            }

            impl Hash for $type {
                fn hash<H: Hasher>(&self, state: &mut H) {
                    self.as_str().hash(state);
                }
            }
        )*
    };
}

by_text!(MirrorPath, MirrorPathRef<'_>);
