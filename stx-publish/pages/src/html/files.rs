//! The files of a build, by directory, for the list on its page.

use std::collections::BTreeMap;

use stx_layout::{BuildPath, InputKind, OutputKind, Section};

use super::build::Facts;
use super::size;

/// The largest number of files of one directory on a page.
const MOST_OF_GROUP: usize = 200;

/// The largest number of files on a page: a build of a distribution has tens of thousands.
const MOST_OF_PAGE: usize = 2000;

/// The largest number of files that are shown without a click.
const FEW: usize = 12;

/// The number of segments of a path that name its directory: `outputs/RPMS/std`.
const DEPTH: usize = 3;

/// The files of a directory, including those of its subdirectories.
pub(super) struct Group {
    /// The directory; empty for the build's own directory.
    pub(super) dir: String,
    /// Its heading.
    pub(super) title: &'static str,
    /// The first files.
    pub(super) files: Vec<File>,
    /// The number of files.
    pub(super) count: usize,
    /// Their bytes.
    bytes: u64,
}

/// A file or symlink.
pub(super) struct File {
    /// Its path in the build.
    pub(super) path: BuildPath,
    /// Its path in the directory.
    pub(super) name: String,
    /// Its size; `None` for a symlink.
    pub(super) size: Option<u64>,
}

impl Group {
    pub(super) fn size(&self) -> String {
        size(self.bytes)
    }

    /// The number of files that are not listed.
    pub(super) fn more(&self) -> usize {
        self.count - self.files.len()
    }

    /// True if the list is short and of a kind that readers look for.
    pub(super) fn is_open(&self) -> bool {
        self.count <= FEW && rank(&self.dir) <= 4
    }
}

/// The files of a build; the kinds that readers look for come first.
pub(super) fn groups(facts: &Facts) -> Vec<Group> {
    let mut found = BTreeMap::<(u8, String), Group>::new();
    for (path, size) in &facts.files {
        let segments: Vec<_> = path.segments().collect();
        let depth = DEPTH.min(segments.len() - 1);
        let dir = segments[..depth].join("/");
        let group = found
            .entry((rank(&dir), dir))
            .or_insert_with_key(|(_, dir)| Group {
                dir: dir.clone(),
                title: meaning(dir),
                files: Vec::new(),
                count: 0,
                bytes: 0,
            });
        group.count += 1;
        group.bytes += size.unwrap_or_default();
        if group.files.len() < MOST_OF_GROUP {
            group.files.push(File {
                path: path.clone(),
                name: segments[depth..].join("/"),
                size: *size,
            });
        }
    }
    let mut left = MOST_OF_PAGE;
    let mut groups: Vec<_> = found.into_values().collect();
    for group in &mut groups {
        group.files.truncate(left);
        left -= group.files.len();
    }
    groups
}

/// The place of a directory in the list: images first, logs, inputs and the build's own directory last.
fn rank(dir: &str) -> u8 {
    let mut segments = dir.split('/');
    let top = segments.next().unwrap_or_default();
    match (Section::from_word(top), segments.next().map(OutputKind::of)) {
        (Some(Section::Outputs), Some(OutputKind::Iso)) => 0,
        (Some(Section::Outputs), Some(OutputKind::Installer)) => 1,
        (Some(Section::Outputs), Some(OutputKind::Wheels)) => 2,
        (Some(Section::Outputs), Some(OutputKind::HelmCharts)) => 3,
        (Some(Section::Outputs), Some(OutputKind::DockerImages)) => 4,
        (Some(Section::Outputs), Some(OutputKind::Logs)) | (Some(Section::Logs), _) => 7,
        (Some(Section::Outputs), Some(_)) => 5,
        (Some(Section::Outputs), None) => 6,
        (Some(Section::Inputs), _) => 8,
        (None, _) => 9,
    }
}

/// The heading of a directory.
fn meaning(dir: &str) -> &'static str {
    let mut segments = dir.split('/');
    let top = segments.next().unwrap_or_default();
    let Some(next) = segments.next() else {
        return match Section::from_word(top) {
            Some(Section::Outputs) => "Results and lists",
            Some(Section::Inputs) => "Other inputs",
            Some(Section::Logs) => "Logs",
            None if top.is_empty() => "Beside inputs and outputs",
            None => "Other files",
        };
    };
    match Section::from_word(top) {
        Some(Section::Outputs) => of_output(OutputKind::of(next), segments.next()),
        Some(Section::Inputs) => match InputKind::of(next) {
            InputKind::Rpms => "RPM packages used as inputs",
            InputKind::Srpms => "RPM source packages used as inputs",
            InputKind::Downloads => "Downloads used as inputs",
            InputKind::Packages => "Debian packages used as inputs",
            InputKind::Sources => "Sources used as inputs",
            InputKind::Other => "Other inputs",
        },
        Some(Section::Logs) => "Logs",
        None => "Other files",
    }
}

fn of_output(kind: OutputKind, below: Option<&str>) -> &'static str {
    match kind {
        OutputKind::Iso => "ISO images",
        OutputKind::Installer => "Installer",
        OutputKind::Wheels => "Python wheels",
        OutputKind::HelmCharts => "Helm charts",
        OutputKind::DockerImages => "Container images",
        OutputKind::Rpms => "RPM packages",
        OutputKind::Srpms => "RPM source packages",
        OutputKind::Logs => "Logs",
        OutputKind::RemoteCli => "Remote command line",
        OutputKind::Tarballs => "Tarballs",
        OutputKind::Aptly => "Debian repositories",
        OutputKind::Phase | OutputKind::Other => match below {
            Some("packages") => "Debian packages",
            Some("sources") => "Debian source packages",
            Some(_) | None => "Other files",
        },
        OutputKind::Context
        | OutputKind::Result(_)
        | OutputKind::ContextScript
        | OutputKind::Changelog
        | OutputKind::BuildInfo
        | OutputKind::PackageList
        | OutputKind::Marker => "Other files",
    }
}
