//! Which segment is what: the whole grammar of paths, over the bounds of segments, without allocating.

use crate::kinds::{Dialect, InputKind, OutputKind, Section};
use crate::legacy::LegacyRelease;
use crate::path::MAX_PATH;
use crate::segment::{Segments, scan};
use crate::words::{self, Stop};

/// A part of a text that is at most 64 KiB long; empty for a part that is not there, since no part is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    pub(super) start: u16,
    pub(super) end: u16,
}

impl Span {
    fn is_none(self) -> bool {
        self.start == self.end
    }

    fn is_some(self) -> bool {
        !self.is_none()
    }
}

/// How the release identifier is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Not at all.
    None,
    /// A directory of release identifiers, `release`, without the name.
    Kind,
    /// A release identifier of the specification.
    Spec,
    /// `rc/VERSION`.
    Rc,
    /// `release/latest_release`.
    Latest,
    /// `r2018.10`.
    Legacy,
    /// `f/antelope`.
    Branch,
}

/// Where the parts of a path are in its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// The path, without URL prefix and trailing slash.
    pub(super) path: Span,
    pub(super) form: Form,
    pub(super) release: Span,
    pub(super) distro: Span,
    pub(super) codename: Span,
    pub(super) arch: Span,
    pub(super) layer: Span,
    pub(super) build: Span,
    pub(super) alias: Span,
    pub(super) section: Option<Section>,
    pub(super) section_at: u16,
    pub(super) artifact: Span,
    pub(super) phase: Span,
    pub(super) rest: Span,
    pub(super) dialect: Dialect,
}

/// Where a text is wrong, and what was expected there.
pub(super) type Fault = (usize, &'static str);

const RELEASE: &str = "a release identifier: `master`, `feature/NAME`, `release/NAME`, `milestone/TAG`, `rc/VERSION`, `r2018.10` or a branch";

/// The part of a URL between its host and the path on the mirror.
pub(super) const ROOT: &str = "/mirror/starlingx";

/// Longest host, with its port, of a URL.
const MAX_HOST: usize = 255;

/// Finds the parts of a text.
pub(super) fn shape(text: &str) -> Result<Shape, Fault> {
    let start = match text.as_bytes().first() {
        Some(b'h' | b'H') => url_prefix(text)?,
        _ => 0,
    };
    let path = &text[start..];
    if path.len() > MAX_PATH {
        return Err((
            start + path.floor_char_boundary(MAX_PATH),
            "the end of the path: no path is longer than 3072 bytes",
        ));
    }
    if path.starts_with('/') {
        return Err((
            start,
            "a path relative to the mirror's root, without a leading `/`",
        ));
    }
    if start > 0
        && let Some(mark) = path.find(['?', '#'])
    {
        return Err((
            start + mark,
            "the end of the path: no query and no fragment",
        ));
    }
    let (path, directory) = match path.strip_suffix('/') {
        Some(path) => (path, true),
        None => (path, false),
    };
    let mut reader = Reader {
        path,
        directory,
        base: short(start),
        segments: Segments::none(),
    };
    if !path.is_empty() {
        match scan(path) {
            Ok(segments) => reader.segments = segments,
            Err(fault) => return Err(earlier(path, fault, start)),
        }
    }
    reader
        .read()
        .map_err(|(offset, expected)| (start + offset, expected))
}

/// The first fault of a path with a bad segment: that segment, unless what stands before it is wrong already.
#[cold]
fn earlier(path: &str, (offset, expected): Fault, start: usize) -> Fault {
    let before = path[..offset.min(path.len())].rfind('/').unwrap_or(0);
    match shape(&path[..before]) {
        Err((earlier, expected)) if earlier < before => (start + earlier, expected),
        Ok(_) | Err(_) => (start + offset, expected),
    }
}

/// How long the prefix `http(s)://HOST/mirror/starlingx/` is; 0 if the text is no URL.
fn url_prefix(text: &str) -> Result<usize, Fault> {
    let Some(scheme) = ["http://", "https://"].into_iter().find_map(|scheme| {
        let given = text.get(..scheme.len())?;
        given.eq_ignore_ascii_case(scheme).then_some(scheme.len())
    }) else {
        return Ok(0);
    };
    let host_end = text[scheme..]
        .find('/')
        .map_or(text.len(), |length| scheme + length);
    let host = &text[scheme..host_end];
    if host.is_empty() {
        return Err((scheme, "a host"));
    }
    if let Some(offset) = host
        .bytes()
        .position(|byte| !(byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte)))
    {
        return Err((
            scheme + offset,
            "a host: letters, digits, `.`, `-`, and a port",
        ));
    }
    if host.len() > MAX_HOST {
        return Err((scheme + MAX_HOST, "the end of the host"));
    }
    let after = &text[host_end..];
    if let Some(path) = after.strip_prefix(ROOT) {
        if path.is_empty() {
            return Ok(text.len());
        }
        if path.starts_with('/') {
            return Ok(text.len() - path.len() + 1);
        }
    }
    let same = after
        .bytes()
        .zip(ROOT.bytes().chain([b'/']))
        .take_while(|(given, wanted)| given == wanted)
        .count();
    Err((host_end + same, "`/mirror/starlingx/` behind the host"))
}

fn short(offset: usize) -> u16 {
    u16::try_from(offset).unwrap_or(u16::MAX)
}

struct Reader<'a> {
    path: &'a str,
    directory: bool,
    base: u16,
    segments: Segments,
}

impl<'a> Reader<'a> {
    fn segment(&self, index: usize) -> &'a str {
        let (start, end) = self.segments.bounds(index);
        self.path
            .get(usize::from(start)..usize::from(end))
            .unwrap_or_default()
    }

    fn offset(&self, index: usize) -> usize {
        usize::from(self.segments.bounds(index).0)
    }

    /// The span of the segments `first` to `last`.
    fn span(&self, first: usize, last: usize) -> Span {
        Span {
            start: self.base + self.segments.bounds(first).0,
            end: self.base + self.segments.bounds(last).1,
        }
    }

    fn rest(&self, first: usize) -> Span {
        Span {
            start: self.base + self.segments.bounds(first).0,
            end: self.base + short(self.path.len()),
        }
    }

    /// Whether a segment is the path's last, and taken for a file.
    fn is_loose_file(&self, index: usize) -> bool {
        !self.directory
            && index + 1 == self.segments.len()
            && words::is_file_name(self.segment(index))
    }

    fn read(&self) -> Result<Shape, Fault> {
        let mut shape = Shape {
            path: Span {
                start: self.base,
                end: self.base + short(self.path.len()),
            },
            form: Form::None,
            release: Span::default(),
            distro: Span::default(),
            codename: Span::default(),
            arch: Span::default(),
            layer: Span::default(),
            build: Span::default(),
            alias: Span::default(),
            section: None,
            section_at: 0,
            artifact: Span::default(),
            phase: Span::default(),
            rest: Span::default(),
            dialect: Dialect::Extended,
        };
        if self.segments.len() == 0 {
            return Ok(shape);
        }
        let at = self.release(&mut shape)?;
        if at < self.segments.len() {
            let distro = self.segment(at);
            if let Some(expected) = words::not_distro(distro) {
                return Err((self.offset(at), expected));
            }
            shape.distro = self.span(at, at);
            let at = self.platform_and_layer(&mut shape, at + 1);
            self.point(&mut shape, at)?;
        }
        shape.dialect = self.dialect(&shape);
        Ok(shape)
    }

    /// The release; the index of the segment behind it.
    fn release(&self, shape: &mut Shape) -> Result<usize, Fault> {
        let first = self.segment(0);
        let (form, length) = match first {
            "master" => (Form::Spec, 1),
            "release" if self.segments.len() > 1 && self.segment(1) == words::LATEST_RELEASE => {
                (Form::Latest, 2)
            }
            "feature" | "release" | "milestone" => (Form::Spec, 2),
            "rc" => (Form::Rc, 2),
            "f" | "r" | "m" => (Form::Branch, 2),
            _ if words::is_dated(first, b'r') => (Form::Legacy, 1),
            _ if words::is_dated(first, b'm') => (Form::Branch, 1),
            _ => return Err((0, RELEASE)),
        };
        if length > self.segments.len() {
            shape.form = Form::Kind;
            return Ok(self.segments.len());
        }
        shape.form = form;
        shape.release = self.span(0, length - 1);
        Ok(length)
    }

    /// Codename, architecture and layer; the index of the segment behind them.
    fn platform_and_layer(&self, shape: &mut Shape, first: usize) -> usize {
        let open = (first..self.segments.len())
            .take(4)
            .take_while(|index| words::stop(self.segment(*index)).is_none())
            .count();
        if open == 0 {
            return first;
        }
        let parts = if self.is_loose_file(first + open - 1) {
            open - 1
        } else {
            open.min(3)
        };
        let span = |index: usize| self.span(first + index, first + index);
        match parts {
            0 => first,
            _ if words::is_known_layer(self.segment(first)) => {
                shape.layer = span(0);
                first + 1
            }
            1 if !words::is_known_codename(self.segment(first)) => {
                shape.layer = span(0);
                first + 1
            }
            1 => {
                shape.codename = span(0);
                first + 1
            }
            _ => {
                shape.codename = span(0);
                shape.arch = span(1);
                if parts > 2 {
                    shape.layer = span(2);
                }
                first + parts
            }
        }
    }

    /// A build, an alias or a section, and all behind it.
    fn point(&self, shape: &mut Shape, mut at: usize) -> Result<(), Fault> {
        if at == self.segments.len() {
            return Ok(());
        }
        match words::stop(self.segment(at)) {
            Some(Stop::Build) => {
                shape.build = self.span(at, at);
                at += 1;
            }
            Some(Stop::Alias) => {
                shape.alias = self.span(at, at);
                at += 1;
            }
            Some(Stop::Malformed(offset, expected)) => {
                return Err((self.offset(at) + offset, expected));
            }
            Some(Stop::Section(_)) | None => {}
        }
        if at == self.segments.len() {
            return Ok(());
        }
        shape.section = Section::from_word(self.segment(at));
        let Some(section) = shape.section else {
            shape.rest = self.rest(at);
            return Ok(());
        };
        shape.section_at = self.span(at, at).start;
        self.artifact(shape, section, at + 1);
        Ok(())
    }

    fn artifact(&self, shape: &mut Shape, section: Section, at: usize) {
        if at == self.segments.len() {
            return;
        }
        shape.artifact = self.span(at, at);
        let mut behind = at + 1;
        let more = behind < self.segments.len();
        match section {
            Section::Inputs | Section::Logs => {}
            Section::Outputs => {
                let kind = OutputKind::of(self.segment(at));
                if kind.phase_follows() {
                    if more && !self.is_loose_file(behind) {
                        shape.phase = self.span(behind, behind);
                        behind += 1;
                    }
                } else if kind == OutputKind::Phase
                    || kind == OutputKind::Other
                        && more
                        && matches!(self.segment(behind), "packages" | "sources")
                {
                    shape.phase = shape.artifact;
                }
            }
        }
        if behind < self.segments.len() {
            shape.rest = self.rest(behind);
        }
    }

    /// The part of the path that a span is.
    fn text(&self, span: Span) -> &'a str {
        let part = usize::from(span.start - self.base)..usize::from(span.end - self.base);
        self.path.get(part).unwrap_or_default()
    }

    fn dialect(&self, shape: &Shape) -> Dialect {
        let release = match shape.form {
            Form::Spec => true,
            Form::Legacy => self.text(shape.release) == LegacyRelease::SPEC,
            Form::None | Form::Kind | Form::Rc | Form::Latest | Form::Branch => false,
        };
        let channel = shape.codename.is_none()
            && shape.layer.is_none()
            && (shape.distro.is_none() || self.text(shape.distro) == "centos");
        let point = shape.build.is_some()
            || shape.alias.is_some() && self.text(shape.alias) == "latest_build";
        let below = match shape.section {
            // The two links of the specification are in its grammar by themselves, no other shorter path is.
            None => {
                shape.rest.is_none()
                    && (shape.alias.is_some()
                        || shape.form == Form::Legacy && shape.distro.is_none())
            }
            Some(_) if shape.artifact.is_none() || !point => false,
            Some(Section::Logs) => false,
            Some(Section::Inputs) => {
                InputKind::of(self.text(shape.artifact)).dialect() == Dialect::Spec
            }
            Some(Section::Outputs) => {
                let kind = OutputKind::of(self.text(shape.artifact));
                let complete = if kind.phase_follows() {
                    shape.phase.is_some()
                } else {
                    !kind.is_file() || shape.rest.is_none() && !self.directory
                };
                complete && kind.dialect() == Dialect::Spec
            }
        };
        let point = point || shape.distro.is_none();
        if release && channel && point && below {
            Dialect::Spec
        } else {
            Dialect::Extended
        }
    }
}
