//! Reports of parsed and refused texts: one JSON object per text for tools, and the position under the text for readers.
//!
//! Every key is always present, and null if the text does not have the part. The objects borrow from the text.
//!
//! ```
//! use stx_layout::MirrorPathRef;
//! use stx_layout::report::{PathReport, Refusal};
//!
//! let path = MirrorPathRef::parse("master/centos/20181105T060000Z/outputs/RPMS/std/")?;
//! let line = serde_json::to_string(&PathReport::from(path)).unwrap();
//! assert!(line.contains(r#""dialect":"spec","release":"master","distro":"centos","codename":null"#));
//!
//! let error = MirrorPathRef::parse("master/../etc").unwrap_err();
//! let line = serde_json::to_string(&Refusal::from(&error)).unwrap();
//! assert!(line.starts_with(r#"{"input":"master/../etc","error":{"message":"#));
//! # Ok::<(), stx_layout::ParseError>(())
//! ```

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    BuildDate, Dialect, ImageNameRef, MirrorPathRef, Os, ParseError, Qualifier, Section, Stream,
    Tag, is_printable,
};

/// A parsed path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PathReport<'a> {
    /// The text as it was given.
    pub input: &'a str,
    /// The path without URL prefix, and without the last slash unless that distinguishes a layer from a file:
    /// `master/centos/a.tar/`.
    pub path: &'a str,
    /// The grammar it needs.
    pub dialect: Dialect,
    /// `master`, `rc/4.0`, `release/2.0.0`, as in the path; null if only the first word of one is present.
    pub release: Option<&'a str>,
    /// The distro.
    pub distro: Option<&'a str>,
    /// The codename.
    pub codename: Option<&'a str>,
    /// The architecture.
    pub arch: Option<&'a str>,
    /// The layer.
    pub layer: Option<&'a str>,
    /// The build date.
    pub build: Option<&'a str>,
    /// The alias in place of the build date.
    pub alias: Option<&'a str>,
    /// The section.
    pub section: Option<Section>,
    /// The first segment below the section.
    pub artifact: Option<&'a str>,
    /// The build phase.
    pub phase: Option<&'a str>,
    /// The rest of the path, after all of these parts.
    pub rest: Option<&'a str>,
}

impl<'a> From<MirrorPathRef<'a>> for PathReport<'a> {
    fn from(path: MirrorPathRef<'a>) -> Self {
        Self {
            input: path.as_str(),
            path: reported(path),
            dialect: path.dialect(),
            release: path.release(),
            distro: path.distro(),
            codename: path.codename(),
            arch: path.arch(),
            layer: path.layer(),
            build: path.build(),
            alias: path.alias(),
            section: path.section(),
            artifact: path.artifact(),
            phase: path.phase(),
            rest: path.rest(),
        }
    }
}

/// The path without its last slash, if it means the same without it.
fn reported(path: MirrorPathRef<'_>) -> &str {
    let bare = path.path();
    let last = bare.rsplit('/').next().unwrap_or_default();
    // Only a file name would be parsed differently without the slash; no other path is parsed twice.
    if path.is_directory()
        && last.contains('.')
        && MirrorPathRef::parse(bare).is_ok_and(|bare| bare.rest() != path.rest())
    {
        return &path.as_str()[path.prefix().len()..];
    }
    bare
}

/// A parsed image name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageReport<'a> {
    /// The text as it was given.
    pub input: &'a str,
    /// The name, printed back; the same bytes.
    pub name: &'a str,
    /// The registry.
    pub registry: Option<&'a str>,
    /// The organisation.
    pub org: &'a str,
    /// The image.
    pub image: &'a str,
    /// The component: the part of the image's name after `stx-`.
    pub component: Option<&'a str>,
    /// The tag, whole.
    pub tag: &'a str,
    /// Its form: `spec`, `stream`, `static`, `base`, `builder` or `other`.
    pub form: &'static str,
    /// The git branch or tag, or the release of a static tag.
    pub prefix: Option<&'a str>,
    /// The operating system.
    pub os: Option<Os>,
    /// The codename.
    pub codename: Option<&'a str>,
    /// The architecture.
    pub arch: Option<&'a str>,
    /// The OpenStack release.
    pub openstack_release: Option<&'a str>,
    /// `stable` or `dev`.
    pub stream: Option<Stream>,
    /// The version of a static tag.
    pub version: Option<&'a str>,
    /// `latest` or `stable`; null if a timestamp qualifies the tag.
    pub qualifier: Option<&'static str>,
    /// The timestamp.
    pub timestamp: Option<BuildDate>,
    /// The number after the timestamp.
    pub patch: Option<u32>,
}

impl<'a> ImageReport<'a> {
    /// Parses an image name.
    ///
    /// # Errors
    /// As for [`ImageNameRef::parse`].
    pub fn parse(input: &'a str) -> Result<Self, ParseError> {
        let name = ImageNameRef::parse(input)?;
        let (_, tag) = input.rsplit_once(':').unwrap_or_default();
        let mut report = Self {
            input,
            name: input,
            registry: name.registry,
            org: name.org,
            image: name.image,
            component: name.component(),
            tag,
            form: name.tag.form(),
            prefix: name.tag.prefix(),
            os: None,
            codename: None,
            arch: None,
            openstack_release: None,
            stream: None,
            version: None,
            qualifier: None,
            timestamp: None,
            patch: None,
        };
        match name.tag {
            Tag::Spec {
                prefix: _,
                os,
                openstack_release,
                qualifier,
            } => {
                report.os = Some(os);
                report.openstack_release = Some(openstack_release);
                report.qualify(qualifier);
            }
            Tag::Stream {
                prefix: _,
                os,
                codename,
                arch,
                stream,
                qualifier,
            } => {
                report.os = Some(os);
                (report.codename, report.arch) = (codename, arch);
                report.stream = Some(stream);
                report.qualify(Some(qualifier));
            }
            Tag::Static {
                prefix,
                version,
                os,
                codename,
            } => {
                report.prefix = Some(prefix);
                report.version = Some(version);
                (report.os, report.codename) = (os, codename);
            }
            Tag::Base {
                prefix: _,
                codename,
                arch,
                stream,
                qualifier,
            } => {
                (report.codename, report.arch) = (codename, arch);
                report.stream = Some(stream);
                report.qualify(Some(qualifier));
            }
            Tag::Builder {
                prefix: _,
                os,
                codename,
                arch,
                qualifier,
            } => {
                report.os = Some(os);
                (report.codename, report.arch) = (codename, arch);
                report.qualify(Some(qualifier));
            }
            Tag::Other(_) => {}
        }
        Ok(report)
    }

    fn qualify(&mut self, qualifier: Option<Qualifier>) {
        match qualifier {
            None => {}
            Some(Qualifier::Latest) => self.qualifier = Some("latest"),
            Some(Qualifier::Stable) => self.qualifier = Some("stable"),
            Some(Qualifier::Built { timestamp, patch }) => {
                self.timestamp = Some(timestamp);
                self.patch = patch;
            }
        }
    }
}

/// A refused text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal<'a> {
    /// The text as it was given.
    pub input: &'a str,
    /// The reason for the refusal.
    pub error: RefusalReason<'a>,
}

/// The reason that a text was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusalReason<'a> {
    /// The error in one line.
    pub message: String,
    /// The byte offset of the error in the text.
    pub offset: usize,
    /// A description of the text that the grammar expects there.
    pub expected: &'a str,
    /// A corrected text, if one is accepted.
    pub suggestion: Option<&'a str>,
}

impl<'a> From<&'a ParseError> for Refusal<'a> {
    fn from(error: &'a ParseError) -> Self {
        Self {
            input: &error.input,
            error: RefusalReason {
                message: error.to_string(),
                offset: error.offset,
                expected: &error.expected,
                suggestion: error.suggestion.as_deref(),
            },
        }
    }
}

/// Draws the position of an error under its text; the last line has no newline at its end.
///
/// Characters that could control a terminal are shown as U+FFFD; for a long text, only the part around the position is shown.
///
/// ```
/// # use stx_layout::{MirrorPathRef, report};
/// let error = MirrorPathRef::parse("MASTER/centos").unwrap_err();
/// let drawn = report::caret(&error);
/// assert!(drawn.starts_with("MASTER/centos\n^ expected a release identifier"));
/// assert!(drawn.ends_with("\ndid you mean master/centos"));
/// ```
pub fn caret(error: &ParseError) -> String {
    const BEFORE: usize = 60;
    const AFTER: usize = 40;
    let at = error.input.floor_char_boundary(error.offset);
    // One character for each: an escape would move the position.
    let shown = |text: &str| text.replace(|c| !is_printable(c), "\u{fffd}");
    let (before, after) = error.input.split_at(at);
    let (before, after) = (shown(before), shown(after));
    let skipped = before.chars().count().saturating_sub(BEFORE);
    let mut line = String::new();
    if skipped > 0 {
        line.push('…');
    }
    line.extend(before.chars().skip(skipped));
    let column = line.chars().count();
    line.extend(after.chars().take(AFTER));
    if after.chars().count() > AFTER {
        line.push('…');
    }
    let mut drawn = format!("{line}\n{:column$}^ expected {}", "", error.expected);
    if let Some(suggestion) = &error.suggestion {
        let _ = write!(drawn, "\ndid you mean {}", shown(suggestion));
    }
    drawn
}
