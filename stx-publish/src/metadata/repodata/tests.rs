use std::collections::BTreeMap;

use camino_tempfile::{Utf8TempDir, tempdir};
use quick_xml::Reader;
use quick_xml::events::Event;
use rpm::{
    BuildConfig, CompressionType, Dependency, FileOptions, PackageBuilder, Scriptlet, Timestamp,
};

use super::*;
use crate::conformance::sample_id;
use crate::metadata::CreaterepoC;

/// A package with a value in every field that the lists contain.
fn package(dir: &Utf8Path, name: &str, release: &str) -> Utf8PathBuf {
    let date = Timestamp(1_541_000_000);
    let config = BuildConfig::v4()
        .compression(CompressionType::Gzip)
        .source_date(date);
    let mut builder = PackageBuilder::new(name, "1.0", "Apache-2.0", "x86_64", "Fish & <chips>");
    builder
        .using_config(config)
        .epoch(2)
        .release(release)
        .url("https://example.org/?a=1&b=2")
        .description("Says \"hello\",\nand 'goodbye' in Grüße.")
        .vendor("StarlingX")
        .packager("Somebody <somebody@example.org>")
        .group("System/Base")
        .build_host("builder")
        .add_changelog_entry("Somebody <somebody@example.org> - 1.0-1", "- first", date)
        .provides(Dependency::eq(format!("config({name})"), "1.0"))
        .requires(Dependency::any("/bin/sh"))
        .requires(Dependency::greater_eq("libc", "2:2.17-1"))
        .requires(Dependency::any(format!("/usr/bin/{name}")))
        .conflicts(Dependency::less("old", "1.0"))
        .obsoletes(Dependency::less_eq("older", "0.9"))
        .recommends(Dependency::any("nice"))
        .suggests(Dependency::any("nicer"))
        .pre_install_script(Scriptlet::new("true"));
    for (path, mode) in [
        (format!("/usr/bin/{name}"), 0o100_755),
        (format!("/usr/share/{name}/a&b"), 0o100_644),
        (format!("/etc/{name}.conf"), 0o100_644),
    ] {
        let options = FileOptions::new(path).mode(mode);
        builder
            .with_file_contents(name.as_bytes(), options)
            .expect("a file");
    }
    builder
        .with_dir_entry(FileOptions::dir(format!("/usr/share/{name}")))
        .expect("a directory");
    builder
        .with_ghost(FileOptions::ghost(format!("/var/log/{name}")))
        .expect("a ghost");
    let built = builder.build().expect("a package");
    let path = dir.join(format!("{name}-1.0-{release}.x86_64.rpm"));
    fs::create_dir_all(dir).expect("made");
    built.write_file(&path).expect("written");
    path
}

/// A repository with packages in it and in a subdirectory, and a file that is not a package.
fn repository() -> (Utf8TempDir, Utf8PathBuf) {
    let dir = tempdir().expect("a directory");
    let root = dir.path().join("repository");
    package(&root, "one", "1");
    package(&root.join("x86_64"), "two", "1");
    package(&root.join("x86_64"), "three", "1.el7");
    fs::write(root.join("README"), "no package").expect("written");
    fs::write(root.join("broken-1.0-1.x86_64.rpm"), "no package either").expect("written");
    (dir, root)
}

/// Every file of `repodata`, by name.
fn made(dir: &Utf8Path, known: &PackageCache) -> BTreeMap<String, Vec<u8>> {
    let repodata = dir.join("repodata");
    drop(fs::remove_dir_all(&repodata));
    make(dir, sample_id(1).date, known).expect("made");
    read_all(&repodata)
}

fn read_all(repodata: &Utf8Path) -> BTreeMap<String, Vec<u8>> {
    let files = repodata.read_dir_utf8().expect("a directory");
    files
        .map(|file| file.expect("an entry"))
        .map(|file| {
            (
                file.file_name().to_owned(),
                fs::read(file.path()).expect("a file"),
            )
        })
        .collect()
}

/// The facts that a publisher knows about a repository whose metadata is moved aside to `aside`.
fn known(dir: &Utf8Path, aside: &Utf8Path) -> PackageCache {
    fs::rename(dir.join("repodata"), aside).expect("moved");
    let digests = candidates(dir, &PackageCache::default()).expect("listed");
    PackageCache {
        digests: digests
            .into_iter()
            .map(|package| (package.href, package.digest))
            .collect(),
        earlier: Some(Earlier {
            repodata: aside.to_owned(),
            repomd: hash_file(&aside.join("repomd.xml")).expect("a file").0,
        }),
    }
}

/// The entry of each package in a list: one text per element, with its attributes, in any order.
fn facts(repodata: &Utf8Path, list: &str) -> BTreeMap<String, Vec<String>> {
    let files = read_all(repodata);
    let suffix = format!("-{list}.xml.gz");
    let (_, packed) = files
        .iter()
        .find(|(name, _)| name.ends_with(&suffix))
        .expect("a list");
    let mut text = String::new();
    GzDecoder::new(packed.as_slice())
        .read_to_string(&mut text)
        .expect("gzip");
    let mut reader = Reader::from_str(&text);
    reader.config_mut().expand_empty_elements = true;
    let (mut path, mut said, mut package, mut found) =
        (Vec::new(), Vec::new(), Vec::new(), BTreeMap::new());
    loop {
        match reader.read_event().expect("XML") {
            Event::Start(start) => {
                let mut attributes: Vec<_> = start
                    .attributes()
                    .map(|attribute| {
                        let attribute = attribute.expect("an attribute");
                        format!("{attribute:?}")
                    })
                    .collect();
                attributes.sort();
                let name = format!("{:?}", start.name());
                path.push(name + &attributes.concat());
                said.push(String::new());
            }
            Event::Text(text) => {
                if let Some(said) = said.last_mut() {
                    said.push_str(&text);
                }
            }
            Event::GeneralRef(entity) => {
                if let Some(said) = said.last_mut() {
                    said.push_str(match &*entity {
                        "amp" => "&",
                        "lt" => "<",
                        "gt" => ">",
                        "quot" => "\"",
                        "apos" => "'",
                        other => panic!("&{other};"),
                    });
                }
            }
            Event::End(_) => {
                let text = said.pop().expect("an element");
                package.push(format!("{}: {}\n", path.join("/"), text.trim()));
                path.pop();
                if path.len() == 1 {
                    package.sort();
                    let all = std::mem::take(&mut package);
                    found.insert(all.concat(), all);
                }
            }
            Event::Eof => return found,
            Event::Empty(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_) => {}
        }
    }
}

#[tokio::test]
async fn the_lists_equal_those_of_createrepo_c() {
    let (dir, repository) = repository();
    let date = sample_id(1).date;
    let ours = dir.path().join("ours");
    let lock = || {
        fs::File::open(dir.path())
            .expect("a directory")
            .into_parts()
            .0
    };
    let made = Repodata.index(&repository, date, lock()).await;
    made.expect("made");
    fs::rename(repository.join("repodata"), &ours).expect("moved");
    let theirs = CreaterepoC::new().index(&repository, date, lock()).await;
    theirs.expect("createrepo_c of the package createrepo-c");
    for list in LISTS {
        let theirs = facts(&repository.join("repodata"), list.name);
        assert_eq!(theirs.len(), 3, "{}", list.name);
        let ours = facts(&ours, list.name);
        for (ours, theirs) in ours.values().zip(theirs.values()) {
            assert_eq!(ours, theirs, "{}", list.name);
        }
        assert_eq!(ours.len(), 3, "{}", list.name);
    }
}

#[test]
fn reusing_earlier_metadata_does_not_change_the_result() {
    let (dir, repository) = repository();
    made(&repository, &PackageCache::default());
    let earlier = known(&repository, &dir.path().join("earlier"));
    assert_eq!(
        made(&repository, &earlier),
        made(&repository, &PackageCache::default())
    );

    // Other bytes with the same name, size and time; one package added, one removed, one moved.
    let changed = repository.join("one-1.0-1.x86_64.rpm");
    let before = fs::metadata(&changed).expect("there");
    package(dir.path(), "uno", "1");
    let uno = dir.path().join("uno-1.0-1.x86_64.rpm");
    assert_eq!(fs::metadata(&uno).expect("there").size(), before.size());
    fs::rename(&uno, &changed).expect("moved");
    let file = fs::OpenOptions::new().write(true).open(&changed);
    let modified = before.modified().expect("a time");
    file.expect("opened")
        .file()
        .set_modified(modified)
        .expect("set");
    package(&repository, "four", "1");
    fs::rename(
        repository.join("x86_64/two-1.0-1.x86_64.rpm"),
        repository.join("two-1.0-1.x86_64.rpm"),
    )
    .expect("moved");
    fs::remove_file(repository.join("x86_64/three-1.0-1.el7.x86_64.rpm")).expect("removed");
    made(&repository, &PackageCache::default());
    let digests = known(&repository, &dir.path().join("now")).digests;
    let known = PackageCache { digests, ..earlier };
    let afresh = made(&repository, &PackageCache::default());
    assert_eq!(made(&repository, &known), afresh);
    assert_eq!(facts(&repository.join("repodata"), "primary").len(), 3);
}

#[test]
fn headers_of_known_packages_are_not_read() {
    let (dir, repository) = repository();
    let first = made(&repository, &PackageCache::default());
    let earlier = known(&repository, &dir.path().join("earlier"));
    for package in candidates(&repository, &earlier).expect("listed") {
        let modified = fs::metadata(&package.path).and_then(|found| found.modified());
        let size = usize::try_from(package.size).expect("small");
        fs::write(&package.path, vec![0; size]).expect("written");
        let file = fs::OpenOptions::new().write(true).open(&package.path);
        file.and_then(|file| file.file().set_modified(modified?))
            .expect("set");
    }
    assert_eq!(made(&repository, &earlier), first);
}

#[test]
fn damaged_or_incompatible_metadata_is_not_reused() {
    let (dir, repository) = repository();
    let first = made(&repository, &PackageCache::default());
    let aside = dir.path().join("earlier");
    let earlier = known(&repository, &aside);
    let says_otherwise = |bytes: &[u8]| {
        let mut text = String::new();
        GzDecoder::new(bytes)
            .read_to_string(&mut text)
            .expect("gzip");
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed
            .write_all(text.replace("Fish", "Flesh").as_bytes())
            .expect("written");
        packed.finish().expect("packed")
    };
    for name in first.keys() {
        let whole = fs::read(aside.join(name)).expect("a file");
        let damaged = if name == "repomd.xml" {
            [&whole[..], b"\n"].concat()
        } else {
            says_otherwise(&whole)
        };
        fs::write(aside.join(name), damaged).expect("written");
        assert_eq!(made(&repository, &earlier), first, "{name}");
        fs::remove_file(aside.join(name)).expect("removed");
        assert_eq!(made(&repository, &earlier), first, "{name}");
        fs::write(aside.join(name), whole).expect("written");
    }
}

#[test]
fn a_package_with_arbitrary_headers_is_described_or_refused() {
    let (_dir, repository) = repository();
    let mut candidates = candidates(&repository, &PackageCache::default()).expect("listed");
    candidates.retain(|it| it.href.contains("one"));
    let bytes = fs::read(&candidates[0].path).expect("a package");
    let headers = Headers::parse(&bytes).expect("a package");
    let (begin, payload) = (headers.begin, headers.payload);
    let entries = headers.main.tags().count();
    let (mut described, mut refused) = (0, 0);
    // Each field of each index entry in turn.
    for field in 0..entries * 4 {
        let at = begin + 16 + 4 * field;
        for value in [
            0,
            1,
            2,
            6,
            8,
            9,
            100,
            1000,
            1117,
            0x7fff_ffff,
            0x8000_0000,
            u32::MAX,
        ] {
            let mut bytes = bytes[..payload].to_vec();
            bytes[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
            let package = Headers::parse(&bytes)
                .map_err(Unlisted::from)
                .and_then(|headers| Ok(say(&describe::package(&headers, &candidates[0])?)?));
            match package {
                Ok(_) => described += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(
        described > 100 && refused > 100,
        "{described} and {refused}"
    );
}
