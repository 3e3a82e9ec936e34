//! `Sources`: the fields of each `.dsc`, in their order, with its path and its own digests added.

use std::fmt::Write as _;
use std::io::{self, Read as _};

use md5::Md5;
use rayon::prelude::*;
use sha1::Sha1;
use sha2::Digest;
use stx_deb::{ControlError, Paragraph, paragraphs};

use super::{AptRepository, File, Listed, Named, Open, is_word, is_writable, push_field};
use crate::error::{StoreError, chain};

/// The largest `.dsc`, in bytes. Real ones have a few thousand.
const LONGEST: u64 = 4 << 20;

/// The list of files with their SHA256. It is made from the files themselves.
const SHA256: &str = "Checksums-Sha256";

/// The reason why a source package is not listed.
#[derive(Debug, thiserror::Error)]
enum Unlisted {
    /// The file is too long.
    #[error("it has more than {LONGEST} bytes")]
    TooLong,
    /// The file is not a control file.
    #[error("it cannot be read")]
    Unreadable {
        /// The error that caused it.
        #[source]
        source: ControlError,
    },
    /// A required field is missing.
    #[error("it has no field `{field}`")]
    Missing {
        /// The name of the field.
        field: &'static str,
    },
    /// The field cannot be written into a list.
    #[error("its field `{field}` has no value that a list can hold")]
    Field {
        /// The name of the field.
        field: String,
    },
    /// A line does not name a file beside the `.dsc`.
    #[error(
        "its field `{field}` has a line without the digest, size and name of a file beside it: `{line}`"
    )]
    Line {
        /// The name of the field.
        field: String,
        /// The line.
        line: String,
    },
    /// A file that it names does not exist.
    #[error("{name}, which it names, is missing")]
    NoFile {
        /// The name of the file.
        name: String,
    },
    /// A file that it names has other contents.
    #[error("{name} has other bytes than it says")]
    OtherFile {
        /// The name of the file.
        name: String,
    },
    /// The path cannot be written into a list.
    #[error("a list cannot hold a path that begins or ends with a blank")]
    Path,
}

/// Lists source packages, by path.
pub(super) fn list(repository: &AptRepository, open: &Open<'_>) -> Result<Listed, StoreError> {
    let files: Vec<_> = repository.named("dsc").collect();
    let described = files
        .par_iter()
        .map(|(path, file)| {
            let read = read(file, open).map_err(|source| repository.unreadable(path, source))?;
            Ok(read.and_then(|bytes| entry(repository, path, &bytes)))
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    let mut text = String::new();
    let mut entries = Vec::with_capacity(described.len());
    for ((path, _), described) in files.into_iter().zip(described) {
        let named = match described {
            Ok((entry, named)) => {
                text.push_str(&entry);
                Ok(named)
            }
            Err(reason) => Err(chain(&reason)),
        };
        entries.push((path.to_owned(), named));
    }
    Ok(Listed { text, entries })
}

fn read(file: &File, open: &Open<'_>) -> io::Result<Result<Vec<u8>, Unlisted>> {
    if file.size > LONGEST {
        return Ok(Err(Unlisted::TooLong));
    }
    let mut bytes = Vec::new();
    open(&file.at)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(Ok(bytes))
}

/// The paragraph of a source package with the empty line after it, and the name of the package.
fn entry(
    repository: &AptRepository,
    path: &str,
    bytes: &[u8],
) -> Result<(String, Named), Unlisted> {
    let (dir, name) = path.rsplit_once('/').unwrap_or((".", path));
    if [dir, name].iter().any(|part| part.trim() != *part) {
        return Err(Unlisted::Path);
    }
    // Read as UTF-8, otherwise as Latin-1, in which each byte is a character.
    let text = str::from_utf8(bytes).map_or_else(
        |_| bytes.iter().copied().map(char::from).collect(),
        str::to_owned,
    );
    let found = paragraphs(&text).map_err(|source| Unlisted::Unreadable { source })?;
    let about = |dsc: &&Paragraph| dsc.get("Source").is_some();
    let missing = |field| Unlisted::Missing { field };
    let dsc = found.iter().find(about).ok_or(missing("Source"))?;
    let source = dsc.get("Source").unwrap_or_default();
    let version = dsc.get("Version").ok_or(missing("Version"))?;
    let files = files(repository, dir, dsc)?;

    let mut text = String::with_capacity(bytes.len() + 512);
    let own = |digest: String| format!("\n {digest} {} {name}", bytes.len());
    let mut has_sha256 = false;
    for (field, value) in dsc.fields() {
        let is = |known: &str| field.eq_ignore_ascii_case(known);
        let is_name = is("Source") || is("Version");
        if !is_writable(value) || (is_name && !is_word(value)) {
            let field = field.to_owned();
            return Err(Unlisted::Field { field });
        }
        if is("Source") {
            push_field(&mut text, "Package", value);
        } else if is("Files") {
            let digest = hex(&Md5::digest(bytes));
            push_field(&mut text, field, &(own(digest) + value));
        } else if is("Checksums-Sha1") {
            let digest = hex(&Sha1::digest(bytes));
            push_field(&mut text, field, &(own(digest) + value));
        } else if is(SHA256) {
            has_sha256 = true;
            push_field(&mut text, field, &sha256(&own, bytes, &files));
        } else if !is("Package") && !is("Directory") && !is("Checksums-Sha512") {
            // `Checksums-Sha512` is left out: without the `.dsc` in it, it would be taken for complete.
            push_field(&mut text, field, value);
        }
    }
    if !has_sha256 {
        push_field(&mut text, SHA256, &sha256(&own, bytes, &files));
    }
    push_field(&mut text, "Directory", dir);
    text.push('\n');
    let named = Named {
        id: format!("{source}_{version}_source"),
        architecture: None,
    };
    Ok((text, named))
}

/// The files of a source package, by name.
type Files<'a> = Vec<(&'a str, &'a File)>;

/// The lines of the list with SHA256.
fn sha256(own: &impl Fn(String) -> String, dsc: &[u8], files: &Files<'_>) -> String {
    let digest = crate::incoming::digest_of(dsc);
    let mut text = own(digest.to_string());
    for (name, file) in files {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n {} {} {name}", file.digest, file.size);
    }
    text
}

/// The files that a `.dsc` names, which must be in the same directory.
fn files<'a>(
    repository: &'a AptRepository,
    dir: &str,
    dsc: &'a Paragraph,
) -> Result<Files<'a>, Unlisted> {
    let mut found: Files<'_> = Vec::new();
    for (field, value) in dsc.fields() {
        let is_sha256 = field.eq_ignore_ascii_case(SHA256);
        let is_list = field.eq_ignore_ascii_case("Files")
            || field.to_ascii_lowercase().starts_with("checksums-");
        if !is_list {
            continue;
        }
        for line in value.split('\n').filter(|line| !line.trim().is_empty()) {
            let wrong = || Unlisted::Line {
                field: field.to_owned(),
                line: line.trim().to_owned(),
            };
            let parts: Vec<_> = line.split_whitespace().collect();
            let [digest, size, name] = *parts.as_slice() else {
                return Err(wrong());
            };
            let size: u64 = size.parse().map_err(|_| wrong())?;
            if name.contains('/') {
                return Err(wrong());
            }
            let path = match dir {
                "." => name.to_owned(),
                dir => format!("{dir}/{name}"),
            };
            let name_ = || name.to_owned();
            let file = repository.files.get(&path);
            let file = file.ok_or_else(|| Unlisted::NoFile { name: name_() })?;
            let is_other = is_sha256 && digest != file.digest.to_string();
            if is_other || size != file.size {
                return Err(Unlisted::OtherFile { name: name_() });
            }
            if !found.iter().any(|(known, _)| *known == name) {
                found.push((name, file));
            }
        }
    }
    if found.is_empty() {
        return Err(Unlisted::Missing { field: SHA256 });
    }
    Ok(found)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
