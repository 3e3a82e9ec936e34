//! Any bytes as a package of a repository: no panic; the package is listed in each of the lists, which are XML, or it is said why
//! not; it is listed under the name that its header has; made again from what is known of an earlier build the metadata have the
//! same bytes.

use std::collections::BTreeMap;
use std::io::Read as _;

use camino::Utf8Path;
use flate2::read::GzDecoder;
use sha2::Digest as _;
use stx_layout::rpm::Headers;
use stx_layout::{BuildDate, Sha256};
use stx_publish::metadata::{Earlier, PackageCache, RepoMetadata as _, Repodata};

use super::scratch;

/// The namespace of the elements of the list `primary`.
const NAMESPACE: &str = "http://linux.duke.edu/metadata/common";

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
        let made = made.expect("metadata");
        assert_eq!(made.listed + made.unlisted.len() as u64, 1);
        let first = files(&dir.join("repodata"));
        let lists = first.iter().filter(|(name, _)| *name != "repomd.xml");
        let mut count = 0;
        for (name, packed) in lists {
            let mut text = String::new();
            let read = GzDecoder::new(packed.as_slice()).read_to_string(&mut text);
            read.expect("a list");
            let list = roxmltree::Document::parse(&text);
            let list = list.unwrap_or_else(|error| panic!("{name}: {error}"));
            let elements = list.root_element().children();
            let packages: Vec<_> = elements.filter(roxmltree::Node::is_element).collect();
            assert_eq!(packages.len() as u64, made.listed, "{name}");
            for package in packages {
                same_name(bytes, package);
            }
            count += 1;
        }
        assert_eq!(count, 3);

        let earlier = dir.join("earlier");
        fs_err::rename(dir.join("repodata"), &earlier).expect("a move");
        let repomd = &first["repomd.xml"];
        let known = PackageCache {
            digests: BTreeMap::new(),
            earlier: Some(Earlier {
                repodata: earlier,
                repomd: Sha256(sha2::Sha256::digest(repomd).into()),
            }),
        };
        let again = runtime.block_on(Repodata.update(dir, date, known, lock()));
        let again = again.expect("the same metadata");
        assert_eq!((again.listed, again.unlisted), (made.listed, made.unlisted));
        assert_eq!(files(&dir.join("repodata")), first);
    });
}

/// A package is listed under the name that its header has, if XML can have it as it is.
fn same_name(bytes: &[u8], listed: roxmltree::Node<'_, '_>) {
    let main = Headers::parse(bytes)
        .expect("the headers that were read")
        .main;
    // Without one it is listed without one, as createrepo_c lists it.
    let name = main.string(1000).unwrap_or_default();
    if name.iter().all(u8::is_ascii_graphic) {
        let attribute = listed.attribute("name");
        let child = listed
            .children()
            .find(|child| child.has_tag_name((NAMESPACE, "name")));
        let said = attribute.or_else(|| child?.text()).unwrap_or_default();
        assert_eq!(said.as_bytes(), name);
    }
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
