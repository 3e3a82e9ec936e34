//! What makes a machine install from a channel: a file for `apt` and one for `dnf`, ready to be put in place.
//!
//! Each names the repositories of the build that `latest_build` shows, by way of that alias. The key of a mirror that signs is
//! in the file for `apt`, so that nothing else is needed; `dnf` fetches it from the mirror.

use std::fmt::Write as _;

use stx_layout::{AliasName, BuildPath, encode_path};

use super::{Site, latest_of};
use crate::index::ChannelIndex;

/// The texts of `apt.sources` and `dnf.repo`; none where there is no such repository, or nobody said where the mirror is.
pub(super) fn files(site: &Site, index: &ChannelIndex, keys: Option<&str>) -> [Option<String>; 2] {
    let latest = latest_of(index.aliases.get(&AliasName::latest_build()));
    let build = index.builds.iter().find(|build| Some(build.date) == latest);
    let (Some(url), Some(build)) = (&site.url, build) else {
        return [None, None];
    };
    let channel = index.channel.to_string();
    let base = format!(
        "{}/{}",
        url.trim_end_matches('/'),
        encode_path(&format!("{channel}/{}", AliasName::latest_build()))
    );
    let kind = |rpm: bool| {
        let dirs = build.repositories.iter();
        dirs.filter(move |dir| is_rpm(dir) == rpm)
    };
    let apt =
        kind(false).map(|dir| stanza(&format!("{base}/{}", encode_path(dir.as_str())), dir, keys));
    let apt: Vec<_> = apt.collect();
    let dnf = kind(true).map(|dir| {
        let at = format!("{base}/{}", encode_path(dir.as_str()));
        section(&channel, &at, dir, keys.map(|_| url.trim_end_matches('/')))
    });
    let dnf: Vec<_> = dnf.collect();
    let head = format!("# Packages of the newest good build of {channel}\n");
    let file =
        |parts: Vec<String>| (!parts.is_empty()).then(|| format!("{head}{}", parts.join("\n")));
    [file(apt), file(dnf)]
}

fn is_rpm(dir: &BuildPath) -> bool {
    let mut segments = dir.segments();
    segments.any(|segment| matches!(segment, "RPMS" | "SRPMS"))
}

/// A repository, as deb822 says it.
fn stanza(at: &str, dir: &BuildPath, keys: Option<&str>) -> String {
    let types = match dir.file_name() {
        "sources" => "deb-src",
        _ => "deb",
    };
    // `./` would do on a web server; in a bucket, `…/./Release` is the key of no object.
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

/// A repository, as `dnf` reads it. Its metadata is signed, and names the digest of each package.
fn section(channel: &str, at: &str, dir: &BuildPath, keys: Option<&str>) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') {
            c
        } else {
            '-'
        }
    };
    let id: String = format!("{channel}-{dir}").chars().map(plain).collect();
    let checks = match keys {
        None => "gpgcheck=0\n".to_owned(),
        Some(root) => format!("gpgcheck=0\nrepo_gpgcheck=1\ngpgkey={root}/KEYS\n"),
    };
    format!("[{id}]\nname=StarlingX {channel}, {dir}\nbaseurl={at}\nenabled=1\n{checks}")
}
