//! Tags of container images.

use std::fmt;

use crate::date::read;
use crate::words::is_known_codename;
use crate::{BuildDate, ParseError};

/// An operating system in a tag. The set is closed, because only known names can be found in a text full of dashes.
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

/// Selects one of the images under the same tag: a moving one, or that of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qualifier {
    /// `latest`.
    Latest,
    /// `stable`.
    Stable,
    /// `20190513T013000Z.0`; without the number in the specification's form.
    Built {
        /// The date of the build that made the image.
        timestamp: BuildDate,
        /// The number of the image among those of that time; no leading zeros.
        patch: Option<u32>,
    },
}

impl Qualifier {
    pub(super) fn from_word(word: &str) -> Option<Self> {
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

/// A tag, by its form. The forms are tried in this order, each from its end, so that a prefix may contain dashes and dots:
///
/// 1. [`Static`](Self::Static), by its version;
/// 2. [`Stream`](Self::Stream), by `stable` or `dev` before the qualifier, and a known operating system before that;
/// 3. [`Base`](Self::Base), by `stable` or `dev` before the qualifier, without an operating system;
/// 4. [`Spec`](Self::Spec), by a known operating system before the OpenStack release, which is one small-letter word;
/// 5. [`Builder`](Self::Builder), by a known operating system before the qualifier, with codename and architecture between them or
///    nothing;
/// 6. [`Other`](Self::Other), any other valid OCI tag.
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
    /// The specification's form: `dev-centos-pike`, `m-2019.05b1-ubuntu-rocky-latest`.
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
        /// The git branch or tag; empty if the tag begins with the operating system.
        prefix: &'a str,
        /// The operating system.
        os: Os,
        /// `bullseye`; always together with an architecture.
        codename: Option<&'a str>,
        /// `amd64`; present exactly if `codename` is.
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
        /// `v1.0.2`; also with a packaging revision, `v18.2.2-0`, or in the form of `git describe`, `v0.11.0-103-g4f28657`.
        version: &'a str,
        /// The operating system, if one follows the version.
        os: Option<Os>,
        /// The codename, if one ends the tag.
        codename: Option<&'a str>,
    },
    /// The form of base images: `master-stable-20221103T060000Z`, `master-trixie-amd64-stable-latest`.
    Base {
        /// The git branch or tag.
        prefix: &'a str,
        /// A known codename, such as `trixie`; present exactly if `arch` is.
        codename: Option<&'a str>,
        /// `amd64`; present exactly if `codename` is.
        arch: Option<&'a str>,
        /// `stable` or `dev`.
        stream: Stream,
        /// The last part of the tag.
        qualifier: Qualifier,
    },
    /// The image of a build environment: `master-debian-latest`, `master-debian-trixie-amd64-20260816T000100Z`.
    Builder {
        /// The git branch or tag.
        prefix: &'a str,
        /// The operating system.
        os: Os,
        /// `trixie`; present exactly if `arch` is.
        codename: Option<&'a str>,
        /// `amd64`; present exactly if `codename` is.
        arch: Option<&'a str>,
        /// The last part of the tag, which is never `stable`.
        qualifier: Qualifier,
    },
    /// Any other tag.
    Other(&'a str),
}

/// The longest tag, in bytes.
const MAX_TAG: usize = 128;

impl<'a> Tag<'a> {
    /// Parses a tag.
    ///
    /// # Errors
    /// Refuses only texts that are not OCI tags, `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        match fault(text) {
            None => Ok(form(text).unwrap_or(Self::Other(text))),
            Some((offset, expected)) => Err(ParseError::new(text, offset, expected)),
        }
    }

    /// The text of a tag that was composed from parts.
    ///
    /// # Errors
    /// Refuses parts whose text would be parsed as other parts, such as a static tag with an empty prefix.
    pub fn compose(self) -> Result<String, ParseError> {
        let text = self.to_string();
        if Tag::parse(&text)? == self {
            Ok(text)
        } else {
            Err(ParseError::new(
                &text,
                0,
                "a tag that parses back to its parts",
            ))
        }
    }

    /// The form's name: `spec`, `stream`, `static`, `base`, `builder`, `other`.
    pub fn form(self) -> &'static str {
        match self {
            Self::Spec { .. } => "spec",
            Self::Stream { .. } => "stream",
            Self::Static { .. } => "static",
            Self::Base { .. } => "base",
            Self::Builder { .. } => "builder",
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
                if !prefix.is_empty() {
                    write!(f, "{prefix}-")?;
                }
                write!(f, "{os}")?;
                write_platform(f, [*codename, *arch])?;
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
                codename,
                arch,
                stream,
                qualifier,
            } => {
                f.write_str(prefix)?;
                write_platform(f, [*codename, *arch])?;
                write!(f, "-{stream}-{qualifier}")
            }
            Self::Builder {
                prefix,
                os,
                codename,
                arch,
                qualifier,
            } => {
                write!(f, "{prefix}-{os}")?;
                write_platform(f, [*codename, *arch])?;
                write!(f, "-{qualifier}")
            }
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// Writes `-CODENAME-ARCH`, or nothing.
fn write_platform(f: &mut fmt::Formatter<'_>, parts: [Option<&str>; 2]) -> fmt::Result {
    let mut parts = parts.into_iter().flatten();
    parts.try_for_each(|part| write!(f, "-{part}"))
}

impl serde::Serialize for Tag<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The first error of a text that is not an OCI tag.
pub(super) fn fault(text: &str) -> Option<(usize, &'static str)> {
    const EXPECTED: &str =
        "a tag: letters, digits, `_`, `.` and `-`, the first neither `.` nor `-`";
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
    match Qualifier::from_word(last) {
        Some(qualifier @ (Qualifier::Latest | Qualifier::Built { .. })) => {
            let (before, word) = head.rsplit_once('-')?;
            match Stream::from_word(word) {
                Some(stream) => streamed(before, stream, qualifier),
                None => spec(head, Some(qualifier)).or_else(|| builder(head, qualifier)),
            }
        }
        qualifier @ Some(Qualifier::Stable) => spec(head, qualifier),
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

/// The tag with the text `before` before its stream: `[PREFIX-]OS`, `[PREFIX-]OS-CODENAME-ARCH`, `PREFIX` or
/// `PREFIX-CODENAME-ARCH`.
fn streamed(before: &str, stream: Stream, qualifier: Qualifier) -> Option<Tag<'_>> {
    if let Some((prefix, os, platform)) = on_platform(before) {
        let (codename, arch) = platform.unzip();
        return Some(Tag::Stream {
            prefix,
            os,
            codename,
            arch,
            stream,
            qualifier,
        });
    }
    // Without an operating system, only a known codename distinguishes a platform from a prefix with dashes.
    let platform = platform(before)
        .filter(|(prefix, codename, _)| !prefix.is_empty() && is_known_codename(codename));
    let (prefix, codename, arch) = match platform {
        Some((prefix, codename, arch)) => (prefix, Some(codename), Some(arch)),
        None => (before, None, None),
    };
    (!before.is_empty()).then_some(Tag::Base {
        prefix,
        codename,
        arch,
        stream,
        qualifier,
    })
}

/// `PREFIX-OS[-CODENAME-ARCH]` of the image of a build environment.
fn builder(head: &str, qualifier: Qualifier) -> Option<Tag<'_>> {
    let (prefix, os, platform) = on_platform(head)?;
    let (codename, arch) = platform.unzip();
    (!prefix.is_empty()).then_some(Tag::Builder {
        prefix,
        os,
        codename,
        arch,
        qualifier,
    })
}

/// Codename and architecture.
type WordPair<'a> = (&'a str, &'a str);

/// `[PREFIX-]OS[-CODENAME-ARCH]`; the prefix may be empty.
fn on_platform(text: &str) -> Option<(&str, Os, Option<WordPair<'_>>)> {
    if let Some((prefix, os)) = os_at_end(text) {
        return Some((prefix, os, None));
    }
    let (head, codename, arch) = platform(text)?;
    let (prefix, os) = os_at_end(head)?;
    Some((prefix, os, Some((codename, arch))))
}

/// The text before a codename and an architecture at its end, then the codename and the architecture.
fn platform(text: &str) -> Option<(&str, &str, &str)> {
    let (head, arch) = text.rsplit_once('-')?;
    let (head, codename) = head.rsplit_once('-')?;
    (is_word(codename) && is_word(arch)).then_some((head, codename, arch))
}

/// `PREFIX-VERSION[-OS][-CODENAME]`.
fn fixed(text: &str) -> Option<Tag<'_>> {
    // A version may contain dashes, so each dash is tried, from the end.
    let versioned = |head: &'_ str| {
        let mut dashes = head.rmatch_indices('-').map(|(offset, _)| offset);
        dashes.find(|dash| *dash > 0 && is_version(&head[dash + 1..]))
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
    let begins = |word: &str| word.starts_with(|first: char| first.is_ascii_lowercase());
    if !is_word(codename) || !begins(codename) || is_reserved(codename) {
        return None;
    }
    if let Some(prefix) = versioned(head) {
        return Some(tag(head.len(), prefix, None, Some(codename)));
    }
    let (head, os) = strip_os(head)?;
    let prefix = versioned(head)?;
    Some(tag(head.len(), prefix, Some(os), Some(codename)))
}

/// The operating system at the end of a text, and the text before it, which is not empty.
fn strip_os(text: &str) -> Option<(&str, Os)> {
    os_at_end(text).filter(|(prefix, _)| !prefix.is_empty())
}

/// The operating system at the end of a text, and the text before it, which may be empty.
fn os_at_end(text: &str) -> Option<(&str, Os)> {
    Os::ALL.into_iter().find_map(|os| {
        let prefix = text.strip_suffix(os.as_str())?;
        if prefix.is_empty() {
            return Some((prefix, os));
        }
        let prefix = prefix.strip_suffix('-')?;
        (!prefix.is_empty()).then_some((prefix, os))
    })
}

/// True if a word has a meaning in every tag, so that it cannot be an OpenStack release or a codename.
fn is_reserved(word: &str) -> bool {
    word.is_empty()
        || matches!(word, "latest" | "stable" | "dev")
        || Os::ALL.into_iter().any(|os| os.as_str() == word)
}

/// True if a text has the form of a codename or an architecture: small letters, digits and `_`.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// True for the version of a static tag: `v` and numbers with dots between them; optionally the revision of a package, `-0`;
/// optionally the suffix of `git describe`, `-103-g4f28657`.
fn is_version(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_commit = |text: &str| {
        let digits = text.strip_prefix('g').unwrap_or_default();
        (7..=40).contains(&digits.len())
            && digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = text.split('-');
    let numbers = parts.next().and_then(|part| part.strip_prefix('v'));
    let numbered = numbers.is_some_and(|numbers| numbers.split('.').all(is_number));
    let rest = [parts.next(), parts.next(), parts.next(), parts.next()];
    numbered
        && match rest {
            [None, ..] => true,
            [Some(revision), None, ..] => is_number(revision),
            [Some(count), Some(commit), None, _] => is_number(count) && is_commit(commit),
            [Some(revision), Some(count), Some(commit), None] => {
                is_number(revision) && is_number(count) && is_commit(commit)
            }
            [_, _, _, Some(_)] => false,
        }
}

/// A number in the form that `Display` writes.
fn number(text: &str) -> Option<u32> {
    let plain = text == "0" || !text.starts_with(['0', '+']);
    plain.then(|| text.parse().ok()).flatten()
}
