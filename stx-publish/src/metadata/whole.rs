//! Checks that the metadata of a repository is complete.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use camino::Utf8Path;
use fs_err as fs;
use roxmltree::{Document, Node};
use stx_layout::printable_bytes;

use crate::ingest::hash_file;

/// Without these lists, `dnf` cannot install from the repository.
const NEEDED: [&str; 3] = ["filelists", "other", "primary"];

/// Reports files that `repomd.xml` below `dir/repodata` names and that are missing or differ, and files that it does not name.
///
/// `createrepo_c` 0.17 exits successfully even if it could not write `repomd.xml`, or could not rename a file. The files in
/// `before` existed before it ran.
pub(super) fn check(dir: &Utf8Path, before: &BTreeSet<String>) -> io::Result<()> {
    let wrong = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let text = fs::read_to_string(dir.join("repodata/repomd.xml"))?;
    let document =
        Document::parse(&text).map_err(|error| wrong(format!("repodata/repomd.xml: {error}")))?;
    let mut named = BTreeSet::from(["repodata/repomd.xml".to_owned()]);
    let mut kinds = BTreeSet::new();
    for data in elements(document.root_element(), "data") {
        let location = elements(data, "location").find_map(|node| node.attribute("href"));
        let digest = elements(data, "checksum").find_map(|node| node.text());
        let (Some(location), Some(digest)) = (location, digest) else {
            return Err(wrong(
                "repodata/repomd.xml: a file without a place or a digest".to_owned(),
            ));
        };
        let is_named_by_digest = location
            .strip_prefix("repodata/")
            .is_some_and(|name| name.starts_with(digest) && !name.contains('/'));
        if !is_named_by_digest || hash_file(&dir.join(location))?.0.to_string() != digest {
            return Err(wrong(format!("{location}: not the file of that digest")));
        }
        named.insert(location.to_owned());
        kinds.extend(data.attribute("type"));
    }
    if let Some(missing) = NEEDED.iter().find(|kind| !kinds.contains(*kind)) {
        return Err(wrong(format!("repodata/repomd.xml: names no {missing}")));
    }
    for entry in fs::read_dir(dir.join("repodata"))? {
        // A name that is not UTF-8 is never in `repomd.xml`: its escape contains a backslash, and no location there does.
        let name = entry?.file_name();
        let path = format!("repodata/{}", printable_bytes(name.as_bytes()));
        if !named.contains(&path) && !before.contains(&path) {
            return Err(wrong(format!("{path}: not in repomd.xml")));
        }
    }
    Ok(())
}

/// The path of the list `kind`, below the repository, in the text of a `repomd.xml`.
pub(crate) fn location(document: &Document<'_>, kind: &str) -> Option<String> {
    let mut data = elements(document.root_element(), "data");
    let data = data.find(|data| data.attribute("type") == Some(kind))?;
    elements(data, "location").find_map(|node| node.attribute("href").map(str::to_owned))
}

/// The child elements with that name.
pub(super) fn elements<'a, 'input>(
    node: Node<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children()
        .filter(move |child| child.tag_name().name() == name)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use camino_tempfile::tempdir;
    use sha2::Digest as _;

    use super::*;

    /// Writes a small repository as `createrepo_c` would, and returns the names of its files.
    fn metadata(dir: &Utf8Path) -> Vec<String> {
        fs::create_dir(dir.join("repodata")).expect("made");
        let (mut index, mut files) = (String::new(), vec!["repodata/repomd.xml".to_owned()]);
        for kind in NEEDED {
            let digest = stx_layout::Sha256(sha2::Sha256::digest(kind).into());
            let location = format!("repodata/{digest}-{kind}.xml.gz");
            fs::write(dir.join(&location), kind).expect("written");
            let _ = write!(
                index,
                "<data type='{kind}'><checksum type='sha256'>{digest}</checksum><location href='{location}'/></data>"
            );
            files.push(location);
        }
        let index = format!("<repomd xmlns='http://linux.duke.edu/metadata/repo'>{index}</repomd>");
        fs::write(dir.join(&files[0]), index).expect("written");
        files
    }

    #[test]
    fn missing_changed_and_extra_metadata_files_are_found() {
        let cases = [
            (Some(0), Some(""), "root"),
            (Some(0), Some("<repomd/>"), "names no filelists"),
            (Some(0), None, "No such file"),
            (Some(1), None, "No such file"),
            (Some(2), Some("else"), "not the file"),
            (None, Some(""), "not in repomd.xml"),
        ];
        for (file, text, said) in cases {
            let dir = tempdir().expect("a directory");
            let files = metadata(dir.path());
            check(dir.path(), &BTreeSet::new()).expect("all there");
            let file = file.map_or("repodata/primary.xml.gz", |file: usize| &files[file]);
            match text {
                Some(text) => fs::write(dir.path().join(file), text).expect("written"),
                None => fs::remove_file(dir.path().join(file)).expect("removed"),
            }
            let error = check(dir.path(), &BTreeSet::new())
                .expect_err(said)
                .to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
    }
}
