//! Reads the records that are carried over, and adds them to the new metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;

use camino::Utf8Path;
use fs_err as fs;
use roxmltree::{Document, Node};
use stx_layout::derived::{Repositories, repositories};
use stx_layout::{BuildPath, Sha256};

use super::{Carried, CarriedRecord};
use crate::incoming::{Entry, Incoming};
use crate::ingest::hash_file;
use crate::metadata::whole::elements;

/// The largest `repomd.xml`, in bytes. Real ones have a few thousand.
const LONGEST: u64 = 4 << 20;

/// The lists of packages. They are made anew, including the other forms in which `createrepo_c` writes them.
const OWN: [&str; 4] = ["primary", "filelists", "filelists-ext", "other"];
const FORMS: [&str; 3] = ["_db", "_zck", "_gz"];

/// The elements that a record may have, besides the location and the digest of its file.
const FACTS: [&str; 7] = [
    "open-checksum",
    "header-checksum",
    "timestamp",
    "open-size",
    "header-size",
    "size",
    "database_version",
];

/// True if the publisher itself makes the list `kind`.
fn is_own(kind: &str) -> bool {
    let mut forms = FORMS.iter();
    let plain = forms.find_map(|form| kind.strip_suffix(form));
    OWN.contains(&plain.unwrap_or(kind))
}

/// Finds the records of the build's own metadata that are carried over, by repository. The files that these records name are
/// hashed, and published only with these digests.
///
/// # Errors
/// An existing file of that metadata cannot be read.
pub fn carry(incoming: &mut Incoming) -> io::Result<BTreeMap<BuildPath, Carried>> {
    let mut all = BTreeMap::new();
    for dir in repositories(incoming.entries.keys()) {
        let carried = carry_one(incoming, &dir)?;
        for record in &carried.records {
            if let Some(Entry::File { digest, .. }) = incoming.entries.get_mut(&record.path) {
                *digest = Some(record.digest);
            }
        }
        if carried != Carried::default() {
            all.insert(dir, carried);
        }
    }
    Ok(all)
}

fn carry_one(incoming: &Incoming, dir: &BuildPath) -> io::Result<Carried> {
    let only = Repositories {
        rpm: BTreeSet::from([dir.clone()]),
        ..Repositories::default()
    };
    let files: Vec<_> = incoming
        .entries
        .keys()
        .filter(|path| only.is_metadata(path))
        .collect();
    if files.is_empty() {
        return Ok(Carried::default());
    }
    let mut carried = Carried::default();
    let mut own = BTreeSet::new();
    match repomd(incoming, dir)? {
        Err(reason) => drop(carried.left_out.insert("repomd.xml".to_owned(), reason)),
        Ok(text) => match Document::parse(&text) {
            Err(error) => {
                let reason = format!("it cannot be read: {error}");
                carried.left_out.insert("repomd.xml".to_owned(), reason);
            }
            Ok(document) => {
                for data in elements(document.root_element(), "data") {
                    let kind = data.attribute("type").unwrap_or_default();
                    if is_own(kind) {
                        own.extend(location(dir, data).ok());
                        continue;
                    }
                    match record(incoming, dir, kind, data)? {
                        Ok(record) => carried.records.push(record),
                        Err(reason) => {
                            // Its file is reported with the record, so it is not reported again.
                            own.extend(location(dir, data).ok());
                            carried.left_out.insert(kind.to_owned(), reason);
                        }
                    }
                }
            }
        },
    }
    carried.records.sort();
    let prefix = format!("{dir}/");
    for path in files {
        let name = path.as_str().strip_prefix(&prefix).unwrap_or_default();
        let is_index = name.starts_with("repodata/repomd.xml");
        if !is_index && !own.contains(path) && !carried.has(path) && !is_list(name) {
            let reason = "repomd.xml does not name it".to_owned();
            carried.left_out.insert(name.to_owned(), reason);
        }
    }
    Ok(carried)
}

/// True if a file that no record names has the name of a list of packages: it is from an earlier run.
fn is_list(name: &str) -> bool {
    let file = name.strip_prefix("repodata/").unwrap_or(name);
    let plain = file.rsplit_once('-').map_or(file, |(_, plain)| plain);
    let stem = plain.split('.').next().unwrap_or_default();
    is_own(stem)
}

/// The text of a repository's own `repomd.xml`, or the reason why it cannot be used.
fn repomd(incoming: &Incoming, dir: &BuildPath) -> io::Result<Result<String, String>> {
    let path = dir.join("repodata/repomd.xml");
    let bytes = match path.ok().and_then(|path| incoming.entries.get(&path)) {
        None => return Ok(Err("it is missing".to_owned())),
        Some(Entry::Symlink { .. }) => return Ok(Err("it is a symlink".to_owned())),
        Some(Entry::File { size, .. }) if *size > LONGEST => {
            return Ok(Err(format!("it has {size} bytes, more than {LONGEST}")));
        }
        Some(Entry::File { source, .. }) => fs::read(source)?,
        Some(Entry::Generated(bytes)) => bytes.to_vec(),
    };
    Ok(String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned()))
}

/// A record that can be carried over, or the reason why it cannot.
fn record(
    incoming: &Incoming,
    dir: &BuildPath,
    kind: &str,
    data: Node<'_, '_>,
) -> io::Result<Result<CarriedRecord, String>> {
    if kind.is_empty() || !kind.bytes().all(is_plain) {
        return Ok(Err("its type is not a name".to_owned()));
    }
    let path = match location(dir, data) {
        Ok(path) => path,
        Err(reason) => return Ok(Err(reason)),
    };
    let Some(checksum) = elements(data, "checksum").next() else {
        return Ok(Err("it names no digest".to_owned()));
    };
    let expected = checksum.text().unwrap_or_default().trim();
    let digest = match checksum.attribute("type") {
        Some("sha256") => expected
            .parse::<Sha256>()
            .map_err(|error| error.to_string()),
        Some(other) => Err(format!("its digest is of the kind {other}, not sha256")),
        None => Err("its digest is of no kind".to_owned()),
    };
    let digest = match digest {
        Ok(digest) => digest,
        Err(reason) => return Ok(Err(reason)),
    };
    let found = match incoming.entries.get(&path) {
        None => return Ok(Err(format!("{path} is missing"))),
        Some(Entry::Symlink { .. }) => return Ok(Err(format!("{path} is a symlink"))),
        Some(Entry::File { source, digest, .. }) => match digest {
            Some(digest) => *digest,
            None => hash_file(source)?.0,
        },
        Some(entry @ Entry::Generated(_)) => entry.digest().unwrap_or(Sha256([0; 32])),
    };
    if found != digest {
        return Ok(Err(format!("{path} has another digest than it says")));
    }
    let mut facts = Vec::new();
    for fact in FACTS {
        for node in elements(data, fact) {
            let text = node.text().unwrap_or_default().trim().to_owned();
            let of = node.attribute("type").map(str::to_owned);
            let of_kind = of.as_deref().unwrap_or_default();
            if !text.bytes().chain(of_kind.bytes()).all(is_plain) {
                return Ok(Err(format!("its {fact} is neither a number nor a digest")));
            }
            facts.push((fact, of, text));
        }
    }
    Ok(Ok(CarriedRecord {
        kind: kind.to_owned(),
        path,
        digest,
        facts,
    }))
}

/// A byte of a name, a number or a digest, which needs no escape in XML.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+')
}

/// The file that a record names.
fn location(dir: &BuildPath, data: Node<'_, '_>) -> Result<BuildPath, String> {
    let Some(location) = elements(data, "location").next() else {
        return Err("it names no file".to_owned());
    };
    // The attribute `xml:base`, with any prefix.
    if location.attributes().any(|it| it.name() == "base") {
        return Err("its file is at another URL".to_owned());
    }
    let href = location.attribute("href").unwrap_or_default();
    dir.join(href).map_err(|error| format!("{href:?}: {error}"))
}

/// Adds records to the `repomd.xml` of the repository in the directory `dir`, whose path in the build is `name`.
///
/// # Errors
/// A `repomd.xml` that cannot be read, written or extended, or already has one of these records.
pub fn insert(dir: &Utf8Path, name: &BuildPath, records: &[CarriedRecord]) -> io::Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    let file = dir.join("repodata/repomd.xml");
    let wrong = |reason: &str| {
        let text = format!("{file}: {reason}");
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let text = fs::read_to_string(&file)?;
    let Some((before, after)) = text.rsplit_once("</repomd>") else {
        return Err(wrong("does not end with </repomd>"));
    };
    let mut text = before.to_owned();
    for record in records {
        let CarriedRecord {
            kind,
            path,
            digest,
            facts,
        } = record;
        if text.contains(&format!("<data type=\"{kind}\">")) {
            return Err(wrong(&format!("has `{kind}` already")));
        }
        let href = path.as_str().strip_prefix(name.as_str());
        let href = href.and_then(|rest| rest.strip_prefix('/'));
        let href = escaped(href.unwrap_or_default());
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "  <data type=\"{kind}\">\n    <checksum type=\"sha256\">{digest}</checksum>\n    \
             <location href=\"{href}\"/>\n"
        );
        for (fact, of, said) in facts {
            let of = of
                .as_ref()
                .map_or_else(String::new, |of| format!(" type=\"{of}\""));
            let _ = writeln!(text, "    <{fact}{of}>{said}</{fact}>");
        }
        text.push_str("  </data>\n");
    }
    fs::write(&file, text + "</repomd>" + after)
}

/// A text escaped for an attribute in XML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
