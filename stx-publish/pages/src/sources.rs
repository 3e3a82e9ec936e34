//! The files that configure a machine to install from a channel, or from one build: one for `apt` and one for `dnf`, ready to be
//! installed.
//!
//! Those of a channel name the repositories of the build that `latest_build` points at, through that alias. The key of a mirror
//! that signs is part of the file for `apt`, so that nothing else is needed; `dnf` fetches it from the mirror.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bytes::Bytes;
use stx_layout::derived::Repositories;
use stx_layout::index::{BuildIndex, ChannelIndex, PageId, PageName};
use stx_layout::{AliasName, BuildDate, BuildId, BuildPath, Channel, encode_path};
use stx_publish::store::StoreError;

use crate::locked::LockedPages;
use crate::replace::replace;
use crate::site::{Refreshed, Site};
use crate::summary::latest_of;

/// The text of a file, or none if there is nothing to install.
pub(super) type Text = Option<String>;

/// `apt.sources` and `dnf.repo` of a channel; no texts if it has no such repository, or if the mirror's URL is not configured.
pub(super) fn of_channel(
    site: &Site,
    index: &ChannelIndex,
    keys: Option<&str>,
) -> [(PageName, Text); 2] {
    let alias = AliasName::latest_build();
    let latest = latest_of(index.aliases.get(&alias));
    let build = index.builds.iter().find(|build| Some(build.date) == latest);
    let [apt, dnf] = build.map_or([None, None], |build| {
        let place = Place::Latest(&alias);
        texts(site, &index.channel, place, &build.repositories, keys)
    });
    [(PageName::AptSources, apt), (PageName::DnfRepo, dnf)]
}

/// `DATE.sources` and `DATE.repo` of a build.
pub(super) fn of_build(
    site: &Site,
    channel: &Channel,
    build: &BuildIndex,
    keys: Option<&str>,
) -> [(PageName, Text); 2] {
    let place = Place::Build(build.date);
    let [apt, dnf] = texts(site, channel, place, &build.repositories, keys);
    [
        (PageName::AptSourcesOf(build.date), apt),
        (PageName::DnfRepoOf(build.date), dnf),
    ]
}

/// `DATE.sources` and `DATE.repo` of a build on an unsigned mirror with this URL: their names and texts, if the build has such
/// repositories.
pub fn install_files(
    root: &str,
    id: &BuildId,
    repositories: &Repositories,
) -> Vec<(PageName, String)> {
    let site = Site {
        url: Some(root.to_owned()),
        ..Site::default()
    };
    let dirs = repositories.rpm.iter().chain(&repositories.apt);
    let dirs: Vec<_> = dirs.cloned().collect();
    let [apt, dnf] = texts(&site, &id.channel, Place::Build(id.date), &dirs, None);
    let files = [
        (PageName::AptSourcesOf(id.date), apt),
        (PageName::DnfRepoOf(id.date), dnf),
    ];
    let files = files.into_iter();
    files
        .filter_map(|(name, text)| Some((name, text?)))
        .collect()
}

/// The name in a channel through which repositories are read.
#[derive(Clone, Copy)]
enum Place<'a> {
    Latest(&'a AliasName),
    Build(BuildDate),
}

/// The texts for `apt` and `dnf` of the repositories below `place`, an alias or a build of the channel.
fn texts(
    site: &Site,
    channel: &Channel,
    place: Place<'_>,
    repositories: &[BuildPath],
    keys: Option<&str>,
) -> [Text; 2] {
    let Some(root) = site.url.as_deref().map(|url| url.trim_end_matches('/')) else {
        return [None, None];
    };
    // The names differ, because repositories of several builds may be used together.
    let (path, name, title) = match place {
        Place::Latest(alias) => (
            format!("{channel}/{alias}"),
            channel.to_string(),
            format!("the newest good build of {channel}"),
        ),
        Place::Build(date) => {
            let id = format!("{channel}/{date}");
            (id.clone(), id.clone(), id)
        }
    };
    let base = format!("{root}/{}", encode_path(&path));
    let at = |dir: &BuildPath| format!("{base}/{}", encode_path(dir.as_str()));
    let (rpm, apt): (Vec<_>, Vec<_>) = repositories.iter().partition(|dir| is_rpm(dir));
    let apt = apt.into_iter().map(|dir| stanza(&at(dir), dir, keys));
    let rpm = rpm.into_iter();
    let dnf = rpm.map(|dir| section(&name, &at(dir), dir, keys.map(|_| root)));
    let file = |parts: Vec<String>| {
        (!parts.is_empty()).then(|| format!("# Packages of {title}\n{}", parts.join("\n")))
    };
    [file(apt.collect()), file(dnf.collect())]
}

fn is_rpm(dir: &BuildPath) -> bool {
    let mut segments = dir.segments();
    segments.any(|segment| matches!(segment, "RPMS" | "SRPMS"))
}

/// A repository, in deb822 format.
fn stanza(at: &str, dir: &BuildPath, keys: Option<&str>) -> String {
    let types = match dir.file_name() {
        "sources" => "deb-src",
        _ => "deb",
    };
    // `./` would work on a web server; in a bucket, no object has the key `…/./Release`.
    let mut text = format!("Types: {types}\nURIs: {at}\nSuites: /\n");
    match keys {
        None => text.push_str("Trusted: yes\n"),
        Some(keys) => {
            text.push_str("Signed-By:\n");
            for line in keys.trim().lines() {
                let line = if line.trim().is_empty() { "." } else { line };
                // Writing to a string cannot fail.
                let _ = writeln!(text, " {line}");
            }
        }
    }
    text
}

/// A repository, in the format of `dnf`. Its metadata is signed, and contains the digest of each package.
fn section(of: &str, at: &str, dir: &BuildPath, keys: Option<&str>) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') {
            c
        } else {
            '-'
        }
    };
    let id: String = format!("{of}-{dir}").chars().map(plain).collect();
    let checks = match keys {
        None => "gpgcheck=0\n".to_owned(),
        Some(root) => format!("gpgcheck=0\nrepo_gpgcheck=1\ngpgkey={root}/KEYS\n"),
    };
    format!("[{id}]\nname=StarlingX {of}, {dir}\nbaseurl={at}\nenabled=1\n{checks}")
}

/// Replaces the files of a channel's builds, and removes those of deleted builds.
///
/// They are functions of the build, the URL and the key. The files of a build are therefore not even compared if `old` names them
/// and the files of the channel, which also contain URL and key, did not change: that would cost two requests to a bucket for
/// each build.
pub(super) async fn replace_of_builds(
    pages: &LockedPages<'_>,
    (site, keys): (&Site, Option<&str>),
    index: &ChannelIndex,
    old: Option<&ChannelIndex>,
) -> Result<Refreshed, StoreError> {
    let mut done = Refreshed::default();
    let page = |name| PageId {
        channel: Some(index.channel.clone()),
        name,
    };
    let names = |index: &ChannelIndex| {
        let builds = index.builds.iter();
        builds
            .flat_map(|build| build.installs.clone())
            .collect::<BTreeSet<_>>()
    };
    let (before, now) = (old.map(names).unwrap_or_default(), names(index));
    for gone in before
        .difference(&now)
        .filter_map(|name| PageName::of(name))
    {
        done.removed.extend(pages.remove(page(gone)).await?);
    }
    let mut same = !site.thorough && old.is_some();
    let mut has_any = false;
    for (name, text) in of_channel(site, index, keys) {
        let there = pages.page(&page(name)).await?;
        same &= there.as_deref() == text.as_deref().map(str::as_bytes);
        has_any |= text.is_some();
    }
    let is_right = |name: &str| same && has_any && before.contains(name);
    let builds = index.builds.iter();
    let files = builds.flat_map(|build| of_build(site, &index.channel, build, keys));
    let files = files.filter_map(|(name, text)| Some((page(name), text?)));
    let files = files.filter(|(page, _)| !is_right(&page.name.file_name()));
    let files: Vec<_> = files
        .map(|(page, text)| (page, Bytes::from(text)))
        .collect();
    done.written = replace(pages, None, files).await?;
    Ok(done)
}
