//! `Packages`: the fields of each package's control file, in their order, and the path of the package.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, BufReader, Read};

use rayon::prelude::*;
use stx_deb::{DebError, Paragraph, read_control};
use stx_layout::Sha256;

use super::{
    AptRepository, EarlierPackages, File, Listed, Named, Open, extension, is_word, is_writable,
    push_field,
};
use crate::error::{StoreError, chain};

/// Fields that the publisher sets, whatever the package states.
const OURS: [&str; 6] = ["Filename", "Size", "MD5sum", "SHA1", "SHA256", "SHA512"];

/// The reason why a package is not listed.
#[derive(Debug, thiserror::Error)]
enum Unlisted {
    /// It is not a package, or a broken one.
    #[error(transparent)]
    Package(#[from] DebError),
    /// Its data member is incomplete.
    #[error("the file has {size} bytes, and its data member ends at byte {end}")]
    CutOff {
        /// The size of the file.
        size: u64,
        /// The size that the file should have.
        end: u64,
    },
    /// The file ends before its data member.
    #[error("the file ends at byte {size}, before its data member")]
    NoData {
        /// The size of the file.
        size: u64,
    },
    /// The field cannot be written into a list.
    #[error("the field `{field}` of its file `control` has no value that a list can hold")]
    Field {
        /// The name of the field.
        field: String,
    },
    /// The path cannot be written into a list.
    #[error("a list cannot hold a path that begins or ends with a blank")]
    Path,
}

/// Lists binary packages, and then those for the installer, each by path; like `dpkg-scanpackages -t deb` and
/// `-t udeb --multiversion`, one after the other.
pub(super) fn list(
    repository: &AptRepository,
    earlier: Option<&EarlierPackages>,
    open: &Open<'_>,
) -> Result<Listed, StoreError> {
    let files: Vec<_> = repository
        .named("deb")
        .chain(repository.named("udeb"))
        .collect();
    let known = earlier.map(EarlierPackages::entries).unwrap_or_default();
    let described = files
        .par_iter()
        .map(|(path, file)| {
            let described = describe(path, file, &known, open);
            described.map_err(|source| repository.unreadable(path, source))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut text = String::with_capacity(described.len() << 10);
    let mut entries = Vec::with_capacity(described.len());
    for ((path, _), described) in files.into_iter().zip(described) {
        let named = match described {
            Ok(entry) => {
                text.push_str(&entry);
                Ok(named(&entry))
            }
            Err(reason) => Err(chain(&reason)),
        };
        entries.push((path.to_owned(), named));
    }
    Ok(Listed { text, entries })
}

/// The entry of a package; the inner error is the reason why it has none.
fn describe<'a>(
    path: &str,
    file: &File,
    known: &HashMap<(Sha256, &str), &'a str>,
    open: &Open<'_>,
) -> io::Result<Result<Cow<'a, str>, Unlisted>> {
    if path.trim() != path {
        return Ok(Err(Unlisted::Path));
    }
    if let Some(entry) = known.get(&(file.digest, path)) {
        return Ok(Ok(Cow::Borrowed(entry)));
    }
    let mut package = Counted {
        reader: BufReader::new(open(&file.at)?),
        at: 0,
    };
    let control = match read_control(&mut package) {
        Ok(control) => control,
        Err(DebError::Io { source }) => return Err(source),
        Err(error) => return Ok(Err(error.into())),
    };
    if let Err(reason) = check_data(package, file.size)? {
        return Ok(Err(reason));
    }
    Ok(entry(path, file, &control.paragraph).map(Cow::Owned))
}

/// Refuses a package whose end is missing: lists do not show it, and dpkg only finds it while unpacking.
fn check_data(mut package: Counted<impl Read>, size: u64) -> io::Result<Result<(), Unlisted>> {
    const HEADER: usize = 60;
    loop {
        if package.at % 2 == 1 {
            skip(&mut package, 1)?;
        }
        let mut header = Vec::with_capacity(HEADER);
        (&mut package)
            .take(HEADER as u64)
            .read_to_end(&mut header)?;
        if header.len() < HEADER {
            return Ok(Err(Unlisted::NoData { size }));
        }
        let length = str::from_utf8(&header[48..58]).ok();
        let Some(length) = length.and_then(|text| text.trim_end().parse::<u64>().ok()) else {
            return Ok(Err(Unlisted::NoData { size }));
        };
        let end = package.at.saturating_add(length);
        if end > size {
            return Ok(Err(Unlisted::CutOff { size, end }));
        }
        if header.starts_with(b"data.tar") {
            return Ok(Ok(()));
        }
        skip(&mut package, length)?;
    }
}

/// Skips bytes, at most up to the end of the file.
fn skip(reader: &mut impl Read, count: u64) -> io::Result<()> {
    io::copy(&mut reader.take(count), &mut io::sink()).map(drop)
}

/// A reader that tracks its position.
struct Counted<R> {
    reader: R,
    at: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(bytes)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// The paragraph of a package with the empty line after it.
fn entry(path: &str, file: &File, control: &Paragraph) -> Result<String, Unlisted> {
    let mut text = String::with_capacity(2 << 10);
    for (name, value) in control.fields() {
        let is_name = ["Package", "Version", "Architecture"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known));
        if !is_writable(value) || (is_name && !is_word(value)) {
            let field = name.to_owned();
            return Err(Unlisted::Field { field });
        }
        if !OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            push_field(&mut text, name, value);
        }
    }
    if extension(path) == "udeb" && control.get("Package-Type").is_none() {
        push_field(&mut text, "Package-Type", "udeb");
    }
    push_field(&mut text, "Filename", path);
    push_field(&mut text, "Size", &file.size.to_string());
    push_field(&mut text, "SHA256", &file.digest.to_string());
    text.push('\n');
    Ok(text)
}

/// The names in an entry.
fn named(entry: &str) -> Named {
    let (mut name, mut version, mut arch) = ("", "", "");
    for line in entry.lines() {
        let Some((field, value)) = line.split_once(':') else {
            continue;
        };
        let known = match field.to_ascii_lowercase().as_str() {
            "package" => &mut name,
            "version" => &mut version,
            "architecture" => &mut arch,
            _ => continue,
        };
        *known = value.trim_start();
    }
    Named {
        id: format!("{name}_{version}_{arch}"),
        architecture: Some(arch.to_owned()),
    }
}
