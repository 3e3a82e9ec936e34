//! Metalink files (RFC 5854): the URLs of a file on several mirrors, with its size and its digest.

use std::fmt::Write as _;

use bytes::Bytes;
use stx_layout::derived::{control_of, metalink_of};
use stx_layout::{BuildId, BuildPath, Sha256, encode_path};

use crate::incoming::Incoming;

/// The metalink files of a build: one for each large file, which is a file with a zsync control file, unless the build brings one.
/// `mirrors` are the root URLs of the mirrors, the preferred one first; without any, no metalink files are made.
pub(crate) fn metalinks(
    id: &BuildId,
    added: &Incoming,
    mirrors: &[String],
) -> Vec<(BuildPath, Bytes)> {
    if mirrors.is_empty() {
        return Vec::new();
    }
    let files = added.entries.iter().filter_map(|(path, entry)| {
        let is_large = control_of(path).is_ok_and(|control| added.entries.contains_key(&control));
        let metalink = metalink_of(path).ok().filter(|_| is_large)?;
        if added.entries.contains_key(&metalink) {
            return None;
        }
        let text = metalink_text(id, path, entry.size(), &entry.digest()?, mirrors);
        Some((metalink, Bytes::from(text)))
    });
    files.collect()
}

/// The text of a metalink file.
fn metalink_text(
    id: &BuildId,
    path: &BuildPath,
    size: u64,
    digest: &Sha256,
    mirrors: &[String],
) -> String {
    let place = encode_path(&format!("{id}/{path}"));
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metalink xmlns=\"urn:ietf:params:xml:ns:metalink\">\n  <file name=\"{}\">\n    \
         <size>{size}</size>\n    <hash type=\"sha-256\">{digest}</hash>\n",
        escaped(path.file_name())
    );
    for (priority, mirror) in (1..).zip(mirrors) {
        let root = escaped(mirror.trim_end_matches('/'));
        writeln!(
            text,
            "    <url priority=\"{priority}\">{root}/{place}</url>"
        )
        .expect("a string takes everything");
    }
    text.push_str("  </file>\n</metalink>\n");
    text
}

/// A text escaped for the content or an attribute of an element.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incoming::Entry;

    #[test]
    fn each_large_file_has_a_metalink() {
        let id: BuildId = "master/centos/20200101T000000Z".parse().expect("a build");
        let mut added = Incoming::default();
        for name in [
            "a&b+.iso",
            "a&b+.iso.zsync",
            "small.iso",
            "own.iso",
            "own.iso.zsync",
            "own.iso.meta4",
        ] {
            let path = format!("outputs/iso/{name}").parse().expect("a path");
            added
                .entries
                .insert(path, Entry::Generated(Bytes::from_static(b"bytes")));
        }
        let mirrors = [
            "https://one.example.org/stx/".to_owned(),
            "http://two.example.org/?a&b".to_owned(),
        ];
        assert_eq!(metalinks(&id, &added, &[]), []);
        let made = metalinks(&id, &added, &mirrors);
        assert_eq!(made.len(), 1);
        let (path, text) = &made[0];
        assert_eq!(path.as_str(), "outputs/iso/a&b+.iso.meta4");
        let text = str::from_utf8(text).expect("text");
        for part in [
            "<file name=\"a&amp;b+.iso\">",
            "<size>5</size>",
            "https://one.example.org/stx/master/centos/20200101T000000Z/outputs/iso/a%26b%2B.iso</url>",
            "<url priority=\"2\">http://two.example.org/?a&amp;b/master",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
