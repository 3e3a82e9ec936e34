//! The meaning of each segment: the grammar of paths, over their segments.

use super::MirrorPathRef;
use crate::kinds::{Dialect, InputKind, OutputKind, Section};
use crate::legacy::LegacyRelease;
use crate::path::MAX_PATH;
use crate::segment::first_fault;
use crate::words::{self, Stop};

/// The offset of an error, and the text expected there.
pub(super) type Fault = (usize, &'static str);

const RELEASE: &str = "a release identifier: `master`, `feature/NAME`, `release/NAME`, `milestone/TAG`, `rc/VERSION`, `r2018.10` or a branch";

/// The part of a URL between its host and the path on the mirror.
const ROOT: &str = "/mirror/starlingx";

/// The longest host of a URL, with its port.
const MAX_HOST: usize = 255;

/// Finds the parts of a text.
pub(super) fn parse(text: &str) -> Result<MirrorPathRef<'_>, Fault> {
    let start = url_prefix(text)?;
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
    let mut parts = MirrorPathRef {
        text,
        path,
        release: None,
        distro: None,
        codename: None,
        arch: None,
        layer: None,
        build: None,
        alias: None,
        section: None,
        in_build: None,
        artifact: None,
        phase: None,
        rest: None,
        dialect: Dialect::Extended,
    };
    if path.is_empty() {
        return Ok(parts);
    }
    if let Some(fault) = first_fault(path) {
        return Err(earlier(path, fault, start));
    }
    let reader = Reader {
        path,
        directory,
        segments: path.split('/').collect(),
    };
    reader
        .read(&mut parts)
        .map_err(|(offset, expected)| (start + offset, expected))?;
    Ok(parts)
}

/// The first error of a path with a bad segment: that segment, unless the text before it is already wrong.
fn earlier(path: &str, (offset, expected): Fault, start: usize) -> Fault {
    let before = path[..offset.min(path.len())].rfind('/').unwrap_or(0);
    match parse(&path[..before]) {
        Err((earlier, expected)) if earlier < before => (start + earlier, expected),
        Ok(_) | Err(_) => (start + offset, expected),
    }
}

/// The length of the prefix `http(s)://HOST/mirror/starlingx/`; 0 if the text is not a URL.
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

struct Reader<'a> {
    path: &'a str,
    directory: bool,
    segments: Vec<&'a str>,
}

impl<'a> Reader<'a> {
    fn get(&self, index: usize) -> Option<&'a str> {
        self.segments.get(index).copied()
    }

    fn offset(&self, index: usize) -> usize {
        let before = self.segments[..index].iter();
        before.map(|segment| segment.len() + 1).sum()
    }

    /// The segments from `first` on; `None` if there are none.
    fn rest(&self, first: usize) -> Option<&'a str> {
        self.path.get(self.offset(first)..)
    }

    /// True if a segment is the last one of the path, and is taken for a file.
    fn is_loose_file(&self, index: usize) -> bool {
        !self.directory
            && index + 1 == self.segments.len()
            && words::is_file_name(self.segments[index])
    }

    fn read(&self, parts: &mut MirrorPathRef<'a>) -> Result<(), Fault> {
        let at = self.release(parts)?;
        if let Some(distro) = self.get(at) {
            if let Some(expected) = words::not_distro(distro) {
                return Err((self.offset(at), expected));
            }
            parts.distro = Some(distro);
            let at = self.platform_and_layer(parts, at + 1);
            self.point(parts, at)?;
        }
        if self.is_spec(parts) {
            parts.dialect = Dialect::Spec;
        }
        Ok(())
    }

    /// The release; returns the index of the segment after it.
    fn release(&self, parts: &mut MirrorPathRef<'a>) -> Result<usize, Fault> {
        let length = match self.segments[0] {
            "master" => 1,
            "feature" | "release" | "milestone" | "rc" | "f" | "r" | "m" => 2,
            first if words::is_dated(first, b'r') || words::is_dated(first, b'm') => 1,
            _ => return Err((0, RELEASE)),
        };
        if length <= self.segments.len() {
            let behind = self.segments.get(length).map(|_| self.offset(length) - 1);
            parts.release = self.path.get(..behind.unwrap_or(self.path.len()));
        }
        Ok(length)
    }

    /// Codename, architecture and layer; returns the index of the segment after them.
    fn platform_and_layer(&self, parts: &mut MirrorPathRef<'a>, first: usize) -> usize {
        let behind = self.segments[first..].iter().take(4);
        let open = behind
            .take_while(|segment| words::stop(segment).is_none())
            .count();
        if open == 0 {
            return first;
        }
        let open = if self.is_loose_file(first + open - 1) {
            open - 1
        } else {
            open.min(3)
        };
        match &self.segments[first..first + open] {
            [] => first,
            [layer, ..] if words::is_known_layer(layer) => {
                parts.layer = Some(layer);
                first + 1
            }
            [layer] if !words::is_known_codename(layer) => {
                parts.layer = Some(layer);
                first + 1
            }
            [codename, behind @ ..] => {
                parts.codename = Some(codename);
                parts.arch = behind.first().copied();
                parts.layer = behind.get(1).copied();
                first + open
            }
        }
    }

    /// A build, an alias or a section, and everything after it.
    fn point(&self, parts: &mut MirrorPathRef<'a>, mut at: usize) -> Result<(), Fault> {
        let Some(segment) = self.get(at) else {
            return Ok(());
        };
        match words::stop(segment) {
            Some(Stop::Build) => {
                parts.build = Some(segment);
                at += 1;
            }
            Some(Stop::Alias) => {
                parts.alias = Some(segment);
                at += 1;
            }
            Some(Stop::Malformed(offset, expected)) => {
                return Err((self.offset(at) + offset, expected));
            }
            Some(Stop::Section(_)) | None => {}
        }
        let Some(segment) = self.get(at) else {
            return Ok(());
        };
        parts.section = Section::from_word(segment);
        match parts.section {
            None => parts.rest = self.rest(at),
            Some(section) => {
                parts.in_build = self.rest(at);
                self.artifact(parts, section, at + 1);
            }
        }
        Ok(())
    }

    fn artifact(&self, parts: &mut MirrorPathRef<'a>, section: Section, at: usize) {
        let Some(artifact) = self.get(at) else {
            return;
        };
        parts.artifact = Some(artifact);
        let mut behind = at + 1;
        match section {
            Section::Inputs | Section::Logs => {}
            Section::Outputs => {
                let kind = OutputKind::of(artifact);
                let next = self.get(behind);
                if kind.phase_follows() {
                    if next.is_some() && !self.is_loose_file(behind) {
                        parts.phase = next;
                        behind += 1;
                    }
                } else if kind == OutputKind::Phase
                    || kind == OutputKind::Other && matches!(next, Some("packages" | "sources"))
                {
                    parts.phase = Some(artifact);
                }
            }
        }
        if behind < self.segments.len() {
            parts.rest = self.rest(behind);
        }
    }

    /// True if the path is in the specification's grammar.
    fn is_spec(&self, parts: &MirrorPathRef<'_>) -> bool {
        let legacy = parts.release == Some(LegacyRelease::SPEC);
        let release = match self.segments[0] {
            "master" | "feature" | "milestone" => true,
            "release" => self.get(1) != Some(words::LATEST_RELEASE),
            _ => legacy,
        };
        let channel = parts.codename.is_none()
            && parts.layer.is_none()
            && parts.distro.is_none_or(|distro| distro == "centos");
        let point = parts.build.is_some() || parts.alias == Some("latest_build");
        let below = match (parts.section, parts.artifact) {
            // The two links of the specification are the only shorter paths in its grammar.
            (None, _) => {
                parts.rest.is_none() && (parts.alias.is_some() || legacy && parts.distro.is_none())
            }
            (Some(Section::Logs), _) | (Some(_), None) => false,
            (Some(Section::Inputs), Some(artifact)) => {
                point && InputKind::of(artifact).dialect() == Dialect::Spec
            }
            (Some(Section::Outputs), Some(artifact)) => {
                let kind = OutputKind::of(artifact);
                let complete = if kind.phase_follows() {
                    parts.phase.is_some()
                } else {
                    !kind.is_file() || parts.rest.is_none() && !self.directory
                };
                point && complete && kind.dialect() == Dialect::Spec
            }
        };
        release && channel && (point || parts.distro.is_none()) && below
    }
}
