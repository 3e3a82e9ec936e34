//! `Release`: the identity of the repository, and the digests of its lists.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bytes::Bytes;
use stx_layout::{BuildId, BuildPath, Sha256};

use super::push_field;
use crate::incoming::digest_of;

/// Names the program that made the lists. The number grows when entries change their format; entries of another format are not reused.
pub(super) const GENERATOR_LINE: &str = "Generator: stx-builds, form 1";

/// The text of the file. `apt` refuses a repository whose origin, label, suite or codename changes at the same address, and
/// `latest_build` shows one build after the other, so these follow from the channel alone.
pub(super) fn text(
    id: &BuildId,
    dir: &BuildPath,
    architectures: &BTreeSet<String>,
    files: &BTreeMap<String, Bytes>,
) -> String {
    let channel = &id.channel;
    let platform = channel.platform.as_ref();
    let codename = platform.map_or(channel.distro.as_str(), |it| it.codename.as_str());
    let date = id.date.time().format("%a, %d %b %Y %H:%M:%S UTC");
    let architectures: Vec<_> = architectures.iter().map(String::as_str).collect();
    let mut text = String::new();
    for (name, value) in [
        ("Origin", "starlingx"),
        ("Label", &channel.to_string()),
        ("Suite", &channel.release.to_string()),
        ("Codename", codename),
        ("Date", &date.to_string()),
        ("Acquire-By-Hash", "yes"),
        ("Architectures", &architectures.join(" ")),
        ("Description", &format!("StarlingX {channel}, {dir}")),
    ] {
        if !value.is_empty() {
            push_field(&mut text, name, value);
        }
    }
    text.push_str(GENERATOR_LINE);
    text.push_str("\nSHA256:\n");
    for (name, bytes) in files {
        // Writing to a string cannot fail.
        let _ = writeln!(text, " {} {} {name}", digest_of(bytes), bytes.len());
    }
    text
}

/// The path of a list that is named by its digest.
pub(super) fn by_hash(digest: &Sha256) -> String {
    format!("by-hash/SHA256/{digest}")
}

/// The digest of a list in the text of a `Release` that was made by this module.
pub(super) fn digest(release: &str, name: &str) -> Option<Sha256> {
    release.lines().find_map(|line| {
        let mut parts = line.strip_prefix(' ')?.split(' ');
        let digest = parts.next()?;
        (parts.nth(1)? == name).then(|| digest.parse().ok())?
    })
}
