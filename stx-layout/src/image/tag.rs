//! Tags of container images.

use std::fmt;

use crate::date::read;
use crate::{BuildDate, ParseError};

/// An operating system that a tag names. The set is closed, since only known names can be found in a text full of dashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Os {
    /// `centos`.
    Centos,
    /// `ubuntu`.
    Ubuntu,
    /// `clear-linux`.
    ClearLinux,
    /// `debian`, of the real project.
    Debian,
    /// `distroless`, of the real project.
    Distroless,
}

impl Os {
    /// Every operating system.
    pub const ALL: [Self; 5] = [
        Self::Centos,
        Self::Ubuntu,
        Self::ClearLinux,
        Self::Debian,
        Self::Distroless,
    ];

    /// The text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Centos => "centos",
            Self::Ubuntu => "ubuntu",
            Self::ClearLinux => "clear-linux",
            Self::Debian => "debian",
            Self::Distroless => "distroless",
        }
    }
}

impl fmt::Display for Os {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word that replaced the OpenStack release in tags from 2019 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// `stable`.
    Stable,
    /// `dev`.
    Dev,
}

impl Stream {
    /// The text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Dev => "dev",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Stable, Self::Dev]
            .into_iter()
            .find(|stream| stream.as_str() == word)
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which of the images under one tag: a moving one, or the one of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qualifier {
    /// `latest`.
    Latest,
    /// `stable`.
    Stable,
    /// `20190513T013000Z.0`, without the number in the specification's form.
    Built {
        /// The date of the build that made the image.
        timestamp: BuildDate,
        /// Which of that time; no leading zeros.
        patch: Option<u32>,
    },
}

impl Qualifier {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "latest" => Some(Self::Latest),
            "stable" => Some(Self::Stable),
            _ => {
                let (timestamp, patch) = match word.split_once('.') {
                    None => (word, None),
                    Some((timestamp, patch)) => (timestamp, Some(number(patch)?)),
                };
                Some(Self::Built {
                    timestamp: read(timestamp).ok()?,
                    patch,
                })
            }
        }
    }
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Stable => f.write_str("stable"),
            Self::Built { timestamp, patch } => {
                timestamp.fmt(f)?;
                patch.map_or(Ok(()), |patch| write!(f, ".{patch}"))
            }
        }
    }
}

/// A tag, by its form. The forms are tried in this order, each from its end, so that a prefix may hold dashes and dots:
///
/// 1. [`Static`](Self::Static), by its version;
/// 2. [`Stream`](Self::Stream), by `stable` or `dev` before the qualifier, and a known operating system before that;
/// 3. [`Base`](Self::Base), by `stable` or `dev` before the qualifier, without an operating system;
/// 4. [`Spec`](Self::Spec), by a known operating system before the OpenStack release, which is one small-letter word;
/// 5. [`Other`](Self::Other), any other valid OCI tag.
///
/// ```
/// # use stx_layout::{Os, Qualifier, Stream, Tag};
/// let tag = Tag::parse("rc-4.0-centos-stable-latest")?;
/// assert_eq!(
///     tag,
///     Tag::Stream {
///         prefix: "rc-4.0",
///         os: Os::Centos,
///         codename: None,
///         arch: None,
///         stream: Stream::Stable,
///         qualifier: Qualifier::Latest,
///     }
/// );
/// assert_eq!(tag.to_string(), "rc-4.0-centos-stable-latest");
/// # Ok::<(), stx_layout::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tag<'a> {
    /// The specification's: `dev-centos-pike`, `m-2019.05b1-ubuntu-rocky-latest`.
    Spec {
        /// The git branch or tag.
        prefix: &'a str,
        /// The operating system.
        os: Os,
        /// The OpenStack release.
        openstack_release: &'a str,
        /// The last part of the tag.
        qualifier: Option<Qualifier>,
    },
    /// `master-centos-stable-20190513T013000Z.0`, also with codename and architecture after the operating system.
    Stream {
        /// The git branch or tag.
        prefix: &'a str,
        /// The operating system.
        os: Os,
        /// `bullseye`; has an architecture beside it.
        codename: Option<&'a str>,
        /// `amd64`; has a codename beside it.
        arch: Option<&'a str>,
        /// `stable` or `dev`.
        stream: Stream,
        /// The last part of the tag.
        qualifier: Qualifier,
    },
    /// Never moved: `stx.6.0-v1.0.2`, `stx.13.0-v1.0.2-trixie`.
    Static {
        /// The release.
        prefix: &'a str,
        /// `v1.0.2`.
        version: &'a str,
        /// The operating system, where one follows the version.
        os: Option<Os>,
        /// The codename, where one ends the tag.
        codename: Option<&'a str>,
    },
    /// A base image's: `master-stable-20221103T060000Z`.
    Base {
        /// The git branch or tag.
        prefix: &'a str,
        /// `stable` or `dev`.
        stream: Stream,
        /// The last part of the tag.
        qualifier: Qualifier,
    },
    /// Any other.
    Other(&'a str),
}

/// Longest tag in bytes.
const MAX_TAG: usize = 128;

impl<'a> Tag<'a> {
    /// Parses a tag.
    ///
    /// # Errors
    /// Refuses only what is no OCI tag, `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        match fault(text) {
            None => Ok(form(text).unwrap_or(Self::Other(text))),
            Some((offset, expected)) => Err(ParseError::new(text, offset, expected)),
        }
    }

    /// The text of a tag that was put together from parts.
    ///
    /// # Errors
    /// Refuses parts whose text would be read as others, such as an empty prefix.
    pub fn compose(self) -> Result<String, ParseError> {
        let text = self.to_string();
        if Tag::parse(&text)? == self {
            Ok(text)
        } else {
            Err(ParseError::new(
                &text,
                0,
                "a tag that is read as the parts it was made of",
            ))
        }
    }

    /// The form's name: `spec`, `stream`, `static`, `base`, `other`.
    pub fn form(self) -> &'static str {
        match self {
            Self::Spec { .. } => "spec",
            Self::Stream { .. } => "stream",
            Self::Static { .. } => "static",
            Self::Base { .. } => "base",
            Self::Other(_) => "other",
        }
    }
}

impl fmt::Display for Tag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spec {
                prefix,
                os,
                openstack_release,
                qualifier,
            } => {
                write!(f, "{prefix}-{os}-{openstack_release}")?;
                qualifier.map_or(Ok(()), |qualifier| write!(f, "-{qualifier}"))
            }
            Self::Stream {
                prefix,
                os,
                codename,
                arch,
                stream,
                qualifier,
            } => {
                write!(f, "{prefix}-{os}")?;
                for part in [codename, arch].into_iter().flatten() {
                    write!(f, "-{part}")?;
                }
                write!(f, "-{stream}-{qualifier}")
            }
            Self::Static {
                prefix,
                version,
                os,
                codename,
            } => {
                write!(f, "{prefix}-{version}")?;
                os.map_or(Ok(()), |os| write!(f, "-{os}"))?;
                codename.map_or(Ok(()), |codename| write!(f, "-{codename}"))
            }
            Self::Base {
                prefix,
                stream,
                qualifier,
            } => write!(f, "{prefix}-{stream}-{qualifier}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl serde::Serialize for Tag<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a text is no OCI tag.
pub(super) fn fault(text: &str) -> Option<(usize, &'static str)> {
    const EXPECTED: &str = "a tag: letters, digits, `_`, `.` and `-`, the first no `.` or `-`";
    if text.is_empty() {
        return Some((0, EXPECTED));
    }
    let bad = text.bytes().enumerate().find(|(offset, byte)| {
        !(byte.is_ascii_alphanumeric() || *byte == b'_' || *offset > 0 && b".-".contains(byte))
    });
    match bad {
        Some((offset, _)) => Some((offset, EXPECTED)),
        None if text.len() > MAX_TAG => Some((
            MAX_TAG,
            "the end of the tag: no tag is longer than 128 bytes",
        )),
        None => None,
    }
}

fn form(text: &str) -> Option<Tag<'_>> {
    if let Some(tag) = fixed(text) {
        return Some(tag);
    }
    let (head, last) = text.rsplit_once('-')?;
    let qualifier = Qualifier::from_word(last);
    match qualifier {
        Some(Qualifier::Latest | Qualifier::Built { .. }) => {
            let (before, word) = head.rsplit_once('-')?;
            match (Stream::from_word(word), qualifier) {
                (Some(stream), Some(qualifier)) => streamed(before, stream, qualifier),
                (Some(_), None) | (None, _) => spec(head, qualifier),
            }
        }
        Some(Qualifier::Stable) => spec(head, qualifier),
        None => spec(text, None),
    }
}

/// `PREFIX-OS-OPENSTACK_RELEASE`.
fn spec(head: &str, qualifier: Option<Qualifier>) -> Option<Tag<'_>> {
    let patched = matches!(qualifier, Some(Qualifier::Built { patch: Some(_), .. }));
    let (before, openstack_release) = head.rsplit_once('-')?;
    let (prefix, os) = strip_os(before)?;
    let word = openstack_release
        .bytes()
        .all(|byte| byte.is_ascii_lowercase());
    (word && !is_reserved(openstack_release) && !patched).then_some(Tag::Spec {
        prefix,
        os,
        openstack_release,
        qualifier,
    })
}

/// The tag whose part before the stream is `before`: `PREFIX-OS`, `PREFIX-OS-CODENAME-ARCH` or `PREFIX`.
fn streamed(before: &str, stream: Stream, qualifier: Qualifier) -> Option<Tag<'_>> {
    if let Some((prefix, os)) = strip_os(before) {
        return Some(Tag::Stream {
            prefix,
            os,
            codename: None,
            arch: None,
            stream,
            qualifier,
        });
    }
    let platform = || {
        let (head, arch) = before.rsplit_once('-')?;
        let (head, codename) = head.rsplit_once('-')?;
        let (prefix, os) = strip_os(head)?;
        (is_word(codename) && is_word(arch)).then_some(Tag::Stream {
            prefix,
            os,
            codename: Some(codename),
            arch: Some(arch),
            stream,
            qualifier,
        })
    };
    platform().or((!before.is_empty()).then_some(Tag::Base {
        prefix: before,
        stream,
        qualifier,
    }))
}

/// `PREFIX-VERSION[-OS][-CODENAME]`.
fn fixed(text: &str) -> Option<Tag<'_>> {
    let versioned = |head: &'_ str| {
        let (prefix, version) = head.rsplit_once('-')?;
        (is_version(version) && !prefix.is_empty()).then_some(prefix.len())
    };
    let tag = |head: usize, prefix: usize, os, codename| Tag::Static {
        prefix: &text[..prefix],
        version: &text[prefix + 1..head],
        os,
        codename,
    };
    if let Some(prefix) = versioned(text) {
        return Some(tag(text.len(), prefix, None, None));
    }
    if let Some((head, os)) = strip_os(text)
        && let Some(prefix) = versioned(head)
    {
        return Some(tag(head.len(), prefix, Some(os), None));
    }
    let (head, codename) = text.rsplit_once('-')?;
    if !is_word(codename) || is_reserved(codename) {
        return None;
    }
    if let Some(prefix) = versioned(head) {
        return Some(tag(head.len(), prefix, None, Some(codename)));
    }
    let (head, os) = strip_os(head)?;
    let prefix = versioned(head)?;
    Some(tag(head.len(), prefix, Some(os), Some(codename)))
}

/// The operating system at the end of a text, and what stands before it, which is not empty.
fn strip_os(text: &str) -> Option<(&str, Os)> {
    Os::ALL.into_iter().find_map(|os| {
        let prefix = text.strip_suffix(os.as_str())?.strip_suffix('-')?;
        (!prefix.is_empty()).then_some((prefix, os))
    })
}

/// Whether a word means something in every tag, so that it is no OpenStack release and no codename.
fn is_reserved(word: &str) -> bool {
    word.is_empty()
        || matches!(word, "latest" | "stable" | "dev")
        || Os::ALL.into_iter().any(|os| os.as_str() == word)
}

/// Whether a text is a codename or an architecture: small letters, digits and `_`.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Whether a text is the version of a static tag: `v`, then numbers with dots between them.
fn is_version(text: &str) -> bool {
    text.strip_prefix('v').is_some_and(|numbers| {
        numbers
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// A number as `Display` writes it.
fn number(text: &str) -> Option<u32> {
    let plain = text == "0" || !text.starts_with(['0', '+']);
    plain.then(|| text.parse().ok()).flatten()
}
