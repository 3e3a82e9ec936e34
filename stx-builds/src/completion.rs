//! Words that complete a command line: channels, builds, entries, phases, branches.
//!
//! They are read from the directories of a mirror on this machine and from its configuration, without network access. Unreadable
//! sources yield no completions. Reading is bounded, because the user waits for it at the prompt.

use std::collections::BTreeSet;

use camino::Utf8PathBuf;
use stx_layout::index::RootIndex;
use stx_layout::{AliasName, BuildDate, Channel};
use stx_service::ServiceConfig;

use crate::Site;
use crate::build::recipe_files;
use crate::options::MirrorLocation;

/// The maximal size of an index to read, in bytes.
const INDEX: u64 = 4 << 20;

/// The largest number of directory entries that are read.
const ENTRIES: usize = 20_000;

/// The largest number of builds that are offered for a channel, newest first.
const BUILDS: usize = 50;

/// The words that `fetch` knows.
const PARTS: [&str; 9] = [
    "iso",
    "installer",
    "rpms",
    "srpms",
    "debs",
    "sources",
    "images",
    "charts",
    "context",
];

impl Site {
    /// The mirror's directory, if the mirror is a directory.
    fn mirror_here(&self) -> Option<Utf8PathBuf> {
        let root = self.root().ok()?;
        (MirrorLocation::of(&root) == MirrorLocation::Directory).then_some(root)
    }

    /// The channels of the mirror.
    pub fn known_channels(&self) -> Vec<String> {
        let Some(root) = self.mirror_here() else {
            return Vec::new();
        };
        let index = root.join("index.json");
        let is_small = fs_err::metadata(&index).is_ok_and(|found| found.len() <= INDEX);
        let text = is_small.then(|| fs_err::read(&index).ok()).flatten();
        let read = text.and_then(|text| serde_json::from_slice::<RootIndex>(&text).ok());
        if let Some(index) = read {
            let channels = index.channels.iter();
            return channels
                .map(|summary| summary.channel.to_string())
                .collect();
        }
        let mut channels = BTreeSet::new();
        let mut left = ENTRIES;
        walk(&root, "", &mut left, &mut channels);
        channels.into_iter().collect()
    }

    /// Completions of a build's name: channels; after a channel and `/`, its aliases and its dates, newest first.
    pub fn known_builds(&self, begun: &str) -> Vec<String> {
        let Some((channel, _)) = begun.rsplit_once('/') else {
            return self.known_channels();
        };
        let builds = self.builds_of(channel);
        if builds.is_empty() {
            return self.known_channels();
        }
        builds
            .iter()
            .map(|name| format!("{channel}/{name}"))
            .collect()
    }

    /// The aliases and dates of a channel.
    fn builds_of(&self, channel: &str) -> Vec<String> {
        let (Some(root), Ok(channel)) = (self.mirror_here(), channel.parse::<Channel>()) else {
            return Vec::new();
        };
        let names = names(&root.join(channel.to_string()), &mut ENTRIES.clone());
        let (mut dates, mut aliases) = (Vec::new(), Vec::new());
        for name in names {
            if name.parse::<BuildDate>().is_ok() {
                dates.push(name);
            } else if name.parse::<AliasName>().is_ok() {
                aliases.push(name);
            }
        }
        dates.sort();
        aliases.sort();
        let newest = dates.into_iter().rev().take(BUILDS);
        aliases.into_iter().chain(newest).collect()
    }

    /// Completions of a build's contents for `fetch`: the words for its parts, and the directories of its outputs.
    pub fn known_entries(&self, build: &str) -> Vec<String> {
        let mut entries: Vec<_> = PARTS.map(str::to_owned).into();
        entries.extend(
            self.outputs(build)
                .iter()
                .map(|name| format!("outputs/{name}")),
        );
        entries
    }

    /// The directories of a build's outputs; for `CHANNEL`, those of its newest good build.
    fn outputs(&self, build: &str) -> Vec<String> {
        let Some(root) = self.mirror_here() else {
            return Vec::new();
        };
        let (channel, name) = match (build.parse::<Channel>(), build.rsplit_once('/')) {
            (Ok(_), _) => (build, "latest_build"),
            (Err(_), Some((channel, name))) => (channel, name),
            (Err(_), None) => return Vec::new(),
        };
        let is_name = name.parse::<BuildDate>().is_ok() || name.parse::<AliasName>().is_ok();
        if channel.parse::<Channel>().is_err() || !is_name {
            return Vec::new();
        }
        let mut found = names(
            &root.join(channel).join(name).join("outputs"),
            &mut ENTRIES.clone(),
        );
        found.sort();
        found
    }

    /// The phases of the configured recipe.
    pub fn known_phases(&self) -> Vec<String> {
        let recipe = self.options.recipe.as_deref();
        let recipe = recipe.and_then(|file| recipe_files(file).ok()?.read_unanswered().ok());
        let phases = recipe.map(|recipe| recipe.phases).unwrap_or_default();
        phases.into_iter().map(|phase| phase.name).collect()
    }

    /// The branches that the service builds.
    pub fn known_branches(&self) -> Vec<String> {
        let text = self
            .options
            .file()
            .and_then(|file| fs_err::read_to_string(file).ok());
        let service = text.and_then(|text| ServiceConfig::read(&text).0);
        let branches = service.map(|service| service.branches).unwrap_or_default();
        let names: BTreeSet<_> = branches.into_iter().map(|branch| branch.git).collect();
        names.into_iter().collect()
    }
}

/// The names in a directory, without hidden ones, until `left` is used up.
fn names(dir: &camino::Utf8Path, left: &mut usize) -> Vec<String> {
    let Ok(entries) = dir.read_dir_utf8() else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for entry in entries.flatten() {
        *left = left.saturating_sub(1);
        if *left == 0 {
            break;
        }
        if !entry.file_name().starts_with('.') {
            names.push(entry.file_name().to_owned());
        }
    }
    names
}

/// Adds the channels below a directory: those with a build.
fn walk(root: &Utf8PathBuf, path: &str, left: &mut usize, channels: &mut BTreeSet<String>) {
    let dir = root.join(path);
    let names = names(&dir, left);
    let has_build = names.iter().any(|name| name.parse::<BuildDate>().is_ok());
    if has_build {
        if path.parse::<Channel>().is_ok() {
            channels.insert(path.to_owned());
        }
        return;
    }
    // The deepest channels: release, version, distribution, codename, architecture, layer.
    if path.matches('/').count() > 6 {
        return;
    }
    for name in names {
        let below = if path.is_empty() {
            name
        } else {
            format!("{path}/{name}")
        };
        // Symlinks are aliases of directories that are found under their own names.
        let is_dir = fs_err::symlink_metadata(root.join(&below)).is_ok_and(|found| found.is_dir());
        if is_dir && *left > 0 {
            walk(root, &below, left, channels);
        }
    }
}

#[cfg(test)]
mod tests {
    use stx_publish::fetch::What;

    use super::*;
    use crate::Options;

    fn site(dirs: &[&str]) -> (camino_tempfile::Utf8TempDir, Site) {
        let dir = camino_tempfile::Utf8TempDir::new().expect("a directory");
        for name in dirs {
            fs_err::create_dir_all(dir.path().join(name)).expect("a directory");
        }
        let mut options = Options::default();
        options.mirror = Some(dir.path().to_owned());
        (dir, Site::open(options))
    }

    #[test]
    fn channels_and_builds_are_those_of_the_mirror() {
        let (dir, site) = site(&[
            ".stx/trash/master/centos/20200101T000000Z",
            "master/centos/20200101T000000Z/outputs/iso",
            "master/centos/20200101T000000Z/outputs/.part",
            "master/centos/20200102T000000Z/outputs/RPMS",
            "release/2018.10/centos/20181030T000000Z",
            "stray/other/20200101T000000Z",
            "milestone",
            "outputs/stray",
        ]);
        for (target, name) in [
            ("20200102T000000Z", "master/centos/latest_build"),
            ("../release/2018.10", "milestone/2019.05b1"),
        ] {
            fs_err::os::unix::fs::symlink(target, dir.path().join(name)).expect("a symlink");
        }
        assert_eq!(
            site.known_channels(),
            ["master/centos", "release/2018.10/centos"]
        );
        assert_eq!(site.known_builds("mas"), site.known_channels());
        assert_eq!(
            site.known_builds("master/centos/2020"),
            [
                "master/centos/latest_build",
                "master/centos/20200102T000000Z",
                "master/centos/20200101T000000Z"
            ]
        );
        let entries = |build: &str| site.known_entries(build).split_off(PARTS.len());
        assert_eq!(entries("master/centos"), ["outputs/RPMS"]);
        assert_eq!(entries("master/centos/20200101T000000Z"), ["outputs/iso"]);
        for other in ["../..", "master/..", "master/centos/..", "/.", "/etc", ""] {
            assert_eq!(entries(other), Vec::<String>::new(), "{other}");
            assert!(
                !site.known_builds(other).iter().any(|it| it.contains("..")),
                "{other}"
            );
        }
    }

    #[test]
    fn the_words_for_parts_are_those_of_fetch() {
        for part in PARTS {
            let what = part.parse::<What>().expect(part);
            assert!(
                !matches!(what, What::Path { .. }),
                "{part} is taken for a path"
            );
        }
    }

    #[test]
    fn nothing_completes_nothing() {
        let mut options = Options::default();
        options.mirror = Some("https://mirror.example.org/".into());
        for site in [Site::open(Options::default()), Site::open(options)] {
            assert_eq!(site.known_channels(), Vec::<String>::new());
            assert_eq!(site.known_builds("master/centos/"), Vec::<String>::new());
            assert_eq!(site.known_phases(), Vec::<String>::new());
            assert_eq!(site.known_branches(), Vec::<String>::new());
        }
    }
}
