//! Any bytes as a package among others: no panic; the metadata of the repository is XML that lists the other package, and
//! this one or not; made again from what is known of an earlier build it has the same bytes.

use std::collections::BTreeMap;
use std::io::Read as _;

use camino::Utf8Path;
use flate2::read::GzDecoder;
use sha2::Digest as _;
use stx_layout::{BuildDate, Sha256};
use stx_publish::metadata::{Earlier, Known, RepoMetadata as _, Repodata};

use super::scratch;

/// Lists `bytes` as a package.
pub(crate) fn check(bytes: &[u8]) {
    let date: BuildDate = "20200101T000000Z".parse().expect("a date");
    scratch::with(|dir, runtime| {
        fs_err::write(dir.join("package.rpm"), bytes).expect("a file");
        let lock = || {
            let file = fs_err::File::create(dir.join("lock")).expect("a file");
            file.into_file()
        };
        let made = runtime.block_on(Repodata.index(dir, date, lock()));
        if made.is_err() {
            return;
        }
        let first = files(&dir.join("repodata"));
        let lists = first.iter().filter(|(name, _)| *name != "repomd.xml");
        let mut packages = Vec::new();
        for (name, packed) in lists {
            let mut text = String::new();
            let read = GzDecoder::new(packed.as_slice()).read_to_string(&mut text);
            read.expect("a list");
            let list = roxmltree::Document::parse(&text);
            let list = list.unwrap_or_else(|error| panic!("{name}: {error}"));
            let elements = list.root_element().children();
            packages.push(elements.filter(roxmltree::Node::is_element).count());
        }
        assert_eq!(packages.len(), 3);
        assert!(
            packages
                .iter()
                .all(|count| *count == packages[0] && *count <= 1)
        );

        let earlier = dir.join("earlier");
        fs_err::rename(dir.join("repodata"), &earlier).expect("a move");
        let repomd = &first["repomd.xml"];
        let known = Known {
            digests: BTreeMap::new(),
            earlier: Some(Earlier {
                repodata: earlier,
                repomd: Sha256(sha2::Sha256::digest(repomd).into()),
            }),
        };
        let made = runtime.block_on(Repodata.update(dir, date, known, lock()));
        made.expect("the same metadata");
        assert_eq!(files(&dir.join("repodata")), first);
    });
}

/// The files of a directory.
fn files(dir: &Utf8Path) -> BTreeMap<String, Vec<u8>> {
    let entries = dir.read_dir_utf8().expect("a directory");
    let files = entries.map(|entry| {
        let entry = entry.expect("an entry");
        let bytes = fs_err::read(entry.path()).expect("a file");
        (entry.file_name().to_owned(), bytes)
    });
    files.collect()
}
