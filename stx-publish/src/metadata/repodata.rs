//! Repository metadata without an external program: only the headers of new packages are read.
//!
//! [`describe`] makes the entry of a package; a file that is not a package is [unlisted](Indexed::unlisted), with the reason.
//!
//! `primary`, `filelists` and `other` are lists with one element per package, in the order of the packages' paths. An entry in
//! an earlier build's metadata is reused unchanged if the package has the same bytes, path and time. For other packages the
//! header is read; the digest of the whole file is known from publishing it. So the same packages give the same metadata, byte
//! for byte, with or without an earlier build.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use fs_err as fs;
use rayon::prelude::*;
use rpmrepo_metadata::utils::{create_xml_reader, create_xml_writer};
use rpmrepo_metadata::{
    Checksum, FilelistsXml, MetadataError, OtherXml, Package, PrimaryXml, RepomdXml,
};
use stx_layout::rpm::{HeadError, Headers, read_head};
use stx_layout::{BuildDate, Sha256};
use walkdir::WalkDir;

use super::listing::LONGEST_LIST;
use super::{Earlier, Indexed, PackageCache, RepoMetadata};
use crate::error::StoreError;
use crate::incoming::digest_of;
use crate::ingest::blocking;
use crate::ingest::hash_file;

mod describe;

use describe::Unlisted;

/// Makes the metadata in this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Repodata;

/// One of the three lists.
struct List {
    name: &'static str,
    open: &'static str,
    close: &'static str,
}

const LISTS: [List; 3] = [
    List {
        name: "primary",
        open: r#"<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm""#,
        close: "</metadata>\n",
    },
    List {
        name: "filelists",
        open: r#"<filelists xmlns="http://linux.duke.edu/metadata/filelists""#,
        close: "</filelists>\n",
    },
    List {
        name: "other",
        open: r#"<otherdata xmlns="http://linux.duke.edu/metadata/other""#,
        close: "</otherdata>\n",
    },
];

/// The beginning of each list. The number grows when entries change their format; entries of another format are not reused.
const PROLOGUE: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- stx-builds, form 2 -->\n";

/// The end of each package's entry.
const END: &str = "</package>\n";

/// The entries of one package, one from each list, in the order of [`LISTS`].
type Said<'a> = [Cow<'a, str>; LISTS.len()];

/// A file that may be a package.
pub(super) struct Candidate {
    pub(super) path: Utf8PathBuf,
    /// Relative to the repository.
    pub(super) href: String,
    pub(super) digest: Sha256,
    size: u64,
    /// Time of modification, in whole seconds since 1970.
    time: u64,
}

#[async_trait]
impl RepoMetadata for Repodata {
    async fn index(
        &self,
        dir: &Utf8Path,
        date: BuildDate,
        lock: File,
    ) -> Result<Indexed, StoreError> {
        self.update(dir, date, PackageCache::default(), lock).await
    }

    async fn update(
        &self,
        dir: &Utf8Path,
        date: BuildDate,
        known: PackageCache,
        lock: File,
    ) -> Result<Indexed, StoreError> {
        let dir = dir.to_owned();
        blocking(move || {
            // Kept until the work ends, even if the caller stops waiting.
            let _lock = lock;
            make(&dir, date, &known)
        })
        .await
    }
}

fn make(dir: &Utf8Path, date: BuildDate, known: &PackageCache) -> Result<Indexed, StoreError> {
    let fail = |op, path: &Utf8Path| {
        let path = path.to_string();
        move |source| StoreError::Io { op, path, source }
    };
    let candidates = candidates(dir, known).map_err(fail("list the packages of", dir))?;
    let texts = known.earlier.as_ref().and_then(read_earlier);
    let earlier = texts.as_ref().map(split).unwrap_or_default();
    let described: Vec<_> = candidates
        .par_iter()
        .map(|package| match earlier.get(&key(package)) {
            Some(said) => Ok(Ok((said.clone(), Vec::new()))),
            None => describe(package),
        })
        .collect::<io::Result<_>>()
        .map_err(fail("read the packages of", dir))?;
    let mut indexed = Indexed::default();
    let mut said = Vec::with_capacity(candidates.len());
    for (candidate, described) in candidates.into_iter().zip(described) {
        match described {
            Ok((lists, unsaid)) => {
                indexed
                    .warnings
                    .extend(unsaid.into_iter().map(|dependency| {
                    let href = &candidate.href;
                    format!(
                        "{href}: the dependency `{dependency}` is left out: its epoch is not a number"
                    )
                }));
                indexed.list(nevra(&lists[0]), candidate.href);
                said.push(lists);
            }
            Err(reason) => drop(indexed.unlisted.insert(candidate.href, reason.to_string())),
        }
    }

    let repodata = dir.join("repodata");
    fs::create_dir_all(&repodata).map_err(fail("make", &repodata))?;
    let written: Vec<_> = (0..LISTS.len())
        .into_par_iter()
        .map(|list| write_list(&repodata, list, &said))
        .collect::<io::Result<_>>()
        .map_err(fail("write", &repodata))?;
    let repomd = repodata.join("repomd.xml");
    fs::write(&repomd, repomd_of(date, &written)).map_err(fail("write", &repomd))?;
    Ok(indexed.settle())
}

/// The files below `dir` with the name of a package, by path.
pub(super) fn candidates(dir: &Utf8Path, known: &PackageCache) -> io::Result<Vec<Candidate>> {
    let mut found = Vec::new();
    for entry in WalkDir::new(dir).follow_links(true) {
        let entry = entry?;
        let path = Utf8Path::from_path(entry.path()).ok_or_else(|| {
            let path = entry.path().display();
            io::Error::other(format!("{path}: the name is not UTF-8"))
        })?;
        if path.extension() != Some("rpm") || !entry.file_type().is_file() {
            continue;
        }
        let metadata = entry.metadata()?;
        let href = path.strip_prefix(dir).unwrap_or(path).to_string();
        let digest = match known.digests.get(&href) {
            Some(digest) => *digest,
            None => hash_file(path)?.0,
        };
        found.push(Candidate {
            path: path.to_owned(),
            href,
            digest,
            size: metadata.size(),
            // Metadata has no times before 1970.
            time: u64::try_from(metadata.mtime()).unwrap_or_default(),
        });
    }
    found.sort_by(|a, b| a.href.cmp(&b.href));
    Ok(found)
}

/// The key of a package: packages with the same digest, as the lists write it, path and time are the same.
type Key = (String, String, String);

fn key(package: &Candidate) -> Key {
    let Candidate {
        digest, href, time, ..
    } = package;
    (digest.to_string(), href.clone(), time.to_string())
}

/// The texts of an earlier build's lists, if they have the current format and are complete.
fn read_earlier(earlier: &Earlier) -> Option<[String; LISTS.len()]> {
    let repomd = fs::read(earlier.repodata.join("repomd.xml")).ok()?;
    if digest_of(&repomd) != earlier.repomd {
        return None;
    }
    let repomd = RepomdXml::read_data(create_xml_reader(repomd.as_slice())).ok()?;
    let texts: Vec<_> = LISTS
        .par_iter()
        .map(|list| {
            let record = repomd.get_record(list.name)?;
            let name = record.location_href.file_name()?.to_str()?;
            let packed = fs::read(earlier.repodata.join(name)).ok()?;
            if record.checksum != Checksum::Sha256(digest_of(&packed).to_string()) {
                return None;
            }
            let mut text = String::new();
            let mut unpacked = GzDecoder::new(packed.as_slice()).take(LONGEST_LIST);
            unpacked.read_to_string(&mut text).ok()?;
            // A list that is truncated at this limit lacks the end that `split` requires.
            Some(text)
        })
        .collect::<Option<_>>()?;
    texts.try_into().ok()
}

/// Splits earlier lists into the entries of each package.
fn split(texts: &[String; LISTS.len()]) -> HashMap<Key, Said<'_>> {
    let mut lists = Vec::with_capacity(LISTS.len());
    for (text, list) in texts.iter().zip(&LISTS) {
        let body = text
            .strip_prefix(PROLOGUE)
            .and_then(|text| text.strip_prefix(list.open))
            .and_then(|text| text.split_once(">\n"))
            .and_then(|(_, text)| text.strip_suffix(list.close));
        lists.push(body.unwrap_or_default().split_inclusive(END));
    }
    let [primary, filelists, other] = &mut lists[..] else {
        return HashMap::new();
    };
    primary
        .zip(filelists)
        .zip(other)
        .filter_map(|((primary, filelists), other)| {
            let id = between(primary, r#" pkgid="YES">"#, "<")?;
            let same = [filelists, other]
                .iter()
                .all(|said| between(said, r#" pkgid=""#, "\"") == Some(id));
            let href = between(primary, r#"<location href=""#, "\"")?;
            let time = between(primary, r#"<time file=""#, "\"")?;
            // The path is not unescaped: a path with an escaped character is simply never found.
            same.then(|| {
                let key = (id.to_owned(), href.to_owned(), time.to_owned());
                (key, [primary, filelists, other].map(Cow::Borrowed))
            })
        })
        .collect()
}

/// The text between the first `before` and the next `after`.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after)?.0)
}

/// The name, epoch, version, release and architecture of a package in its entry of `primary`.
fn nevra(primary: &str) -> String {
    let part = |before, after| between(primary, before, after).unwrap_or_default();
    super::listing::nevra(
        part("<name>", "<"),
        part(" epoch=\"", "\""),
        part(" ver=\"", "\""),
        part(" rel=\"", "\""),
        part("<arch>", "<"),
    )
}

/// The reason why a package would not be listed; `None` if it would be.
pub(super) fn unlisted(candidate: &Candidate) -> io::Result<Option<String>> {
    Ok(describe(candidate)?.err().map(|reason| reason.to_string()))
}

/// The entries of a package, and those of its dependencies that the lists cannot express.
type Described = (Said<'static>, Vec<String>);

/// Reads the headers of a package; the inner error is the reason why it is not listed.
fn describe(candidate: &Candidate) -> io::Result<Result<Described, Unlisted>> {
    let mut file = BufReader::new(fs::File::open(&candidate.path)?);
    let head = match read_head(&mut file) {
        Ok(head) => head,
        Err(HeadError::Io { source }) => return Err(source),
        Err(HeadError::Frame { source }) => return Ok(Err(source.into())),
    };
    let described = Headers::parse(&head)
        .map_err(Unlisted::from)
        .and_then(|headers| {
            let package = describe::package(&headers, candidate)?;
            let said = say(&package)?.map(Cow::Owned);
            Ok((said, describe::unsaid(headers.main)))
        });
    Ok(described)
}

/// The entry of a package in each list.
fn say(package: &Package) -> Result<[String; LISTS.len()], MetadataError> {
    let mut primary = PrimaryXml::new_writer(create_xml_writer(Vec::new()));
    primary.write_package(package)?;
    let mut filelists = FilelistsXml::new_writer(create_xml_writer(Vec::new()));
    filelists.write_package(package)?;
    let mut other = OtherXml::new_writer(create_xml_writer(Vec::new()));
    other.write_package(package)?;
    let elements = [
        primary.into_inner(),
        filelists.into_inner(),
        other.into_inner(),
    ];
    // The writers get `str`s, so their output is UTF-8.
    Ok(elements.map(|element| String::from_utf8_lossy(element.trim_ascii()).into_owned() + "\n"))
}

/// A list that was written.
struct Written {
    name: &'static str,
    file: String,
    packed: (Sha256, usize),
    open: (Sha256, usize),
}

fn write_list(repodata: &Utf8Path, list: usize, said: &[Said<'_>]) -> io::Result<Written> {
    let List { name, open, close } = &LISTS[list];
    let mut text = format!("{PROLOGUE}{open} packages=\"{}\">\n", said.len());
    for said in said {
        text.push_str(&said[list]);
    }
    text.push_str(close);
    // The header has no name and no time, so the same text gives the same bytes.
    let mut packed = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
    packed.write_all(text.as_bytes())?;
    let packed = packed.finish()?;
    let digest = digest_of(&packed);
    let file = format!("{digest}-{name}.xml.gz");
    fs::write(repodata.join(&file), &packed)?;
    Ok(Written {
        name,
        file,
        packed: (digest, packed.len()),
        open: (digest_of(text.as_bytes()), text.len()),
    })
}

/// The compression level of gzip.
const LEVEL: u32 = 6;

/// The text of `repomd.xml`, which lists the lists; dated by the build.
fn repomd_of(date: BuildDate, lists: &[Written]) -> String {
    let time = date.time().timestamp();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <repomd xmlns=\"http://linux.duke.edu/metadata/repo\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\">\n  \
         <revision>{time}</revision>\n"
    );
    for Written {
        name,
        file,
        packed,
        open,
    } in lists
    {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "  <data type=\"{name}\">\n    \
             <checksum type=\"sha256\">{}</checksum>\n    \
             <open-checksum type=\"sha256\">{}</open-checksum>\n    \
             <location href=\"repodata/{file}\"/>\n    \
             <timestamp>{time}</timestamp>\n    \
             <size>{}</size>\n    \
             <open-size>{}</open-size>\n  \
             </data>\n",
            packed.0, open.0, packed.1, open.1
        );
    }
    text + "</repomd>\n"
}

#[cfg(test)]
mod tests;
