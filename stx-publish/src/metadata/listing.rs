//! Reads the packages in the list `primary` of a repository, made by any program.

use std::io::{self, BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// The largest list after decompression, in bytes. That of a distribution with 60,000 packages has 200 MB.
pub(crate) const LONGEST_LIST: u64 = 1 << 30;

/// A package of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Listed {
    /// Its path below the repository.
    pub(crate) href: String,
    /// The kind of its digest, and the digest.
    pub(crate) digest: (String, String),
    /// Name, epoch, version, release and architecture.
    pub(crate) nevra: String,
}

/// Name, epoch, version, release and architecture as `dnf` shows them.
pub(crate) fn nevra(name: &str, epoch: &str, version: &str, release: &str, arch: &str) -> String {
    let epoch = match epoch {
        "" | "0" => String::new(),
        epoch => format!("{epoch}:"),
    };
    format!("{name}-{epoch}{version}-{release}.{arch}")
}

/// Reads a list that is compressed by gzip or not compressed.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for data that is not such a list, is truncated or is too long.
pub(crate) fn read(list: impl Read) -> io::Result<Vec<Listed>> {
    let mut list = BufReader::new(list);
    let packed = list.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    if packed {
        parse(BufReader::new(MultiGzDecoder::new(list).take(LONGEST_LIST)))
    } else {
        parse(list.take(LONGEST_LIST))
    }
}

fn parse(list: impl BufRead) -> io::Result<Vec<Listed>> {
    let mut reader = Reader::from_reader(list);
    reader.config_mut().expand_empty_elements = true;
    let (mut buffer, mut path, mut listed) = (Vec::new(), Vec::new(), Vec::new());
    let mut whole = false;
    let (mut package, mut parts) = (Listed::default(), Parts::default());
    loop {
        match reader.read_event_into(&mut buffer).map_err(wrong)? {
            Event::Start(start) => {
                path.push(start.name().as_ref().to_owned());
                if path.first().is_some_and(|root| root != "metadata") {
                    return Err(wrong("it is not a list of packages"));
                }
                match &path[1..] {
                    [own] if own == "package" => {
                        package = Listed::default();
                        parts = Parts::default();
                    }
                    [_, own] => match own.as_str() {
                        "checksum" => package.digest.0 = attribute(&start, "type")?,
                        "location" => package.href = attribute(&start, "href")?,
                        "version" => {
                            parts.epoch = attribute(&start, "epoch")?;
                            parts.version = attribute(&start, "ver")?;
                            parts.release = attribute(&start, "rel")?;
                        }
                        _ => {}
                    },
                    _ => {}
                }
            }
            Event::Text(text) => {
                let text: &str = &text;
                if let Some([own]) = path.get(2..) {
                    match own.as_str() {
                        "name" => parts.name.push_str(text),
                        "arch" => parts.arch.push_str(text),
                        "checksum" => package.digest.1.push_str(text.trim()),
                        _ => {}
                    }
                }
            }
            Event::End(_) => {
                if path.len() == 2 {
                    package.nevra = parts.nevra();
                    listed.push(std::mem::take(&mut package));
                }
                path.pop();
                whole = path.is_empty();
            }
            Event::Eof if whole => return Ok(listed),
            Event::Eof => return Err(wrong("it is cut off")),
            Event::Empty(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_)
            | Event::GeneralRef(_) => {}
        }
        buffer.clear();
    }
}

/// The parts of a package's name: name, epoch, version, release and architecture.
#[derive(Default)]
struct Parts {
    name: String,
    epoch: String,
    version: String,
    release: String,
    arch: String,
}

impl Parts {
    fn nevra(&self) -> String {
        nevra(
            &self.name,
            &self.epoch,
            &self.version,
            &self.release,
            &self.arch,
        )
    }
}

/// An attribute; empty if it is absent.
fn attribute(start: &BytesStart<'_>, name: &str) -> io::Result<String> {
    match start.try_get_attribute(name).map_err(wrong)? {
        None => Ok(String::new()),
        Some(attribute) => {
            let value = attribute.normalized_value(quick_xml::XmlVersion::Explicit1_0);
            Ok(value.map_err(wrong)?.into_owned())
        }
    }
}

fn wrong(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const LIST: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" packages="2">
<package type="rpm"><name>a</name><arch>noarch</arch><version epoch="2" ver="1" rel="3"/>
<checksum type="sha256" pkgid="YES">00ff</checksum><location href="x/a&amp;b&#10;.rpm"/>
<format><rpm:provides><rpm:entry name="z"/></rpm:provides><name>other</name></format></package>
<package type="rpm"><name>b</name><arch>src</arch><version epoch="0" ver="1" rel="3"/>
<checksum type="sha" pkgid="YES">01</checksum><location href="b.rpm"/></package>
</metadata>
"#;

    #[test]
    fn packages_are_read_packed_or_not() {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(LIST.as_bytes()).expect("packed");
        let packed = packed.finish().expect("packed");
        for list in [LIST.as_bytes(), &packed] {
            let listed = read(list).expect("a list");
            let shown: Vec<_> = listed
                .iter()
                .map(|it| (&*it.href, &*it.digest.0, &*it.digest.1, &*it.nevra))
                .collect();
            assert_eq!(
                shown,
                [
                    ("x/a&b\n.rpm", "sha256", "00ff", "a-2:1-3.noarch"),
                    ("b.rpm", "sha", "01", "b-1-3.src"),
                ]
            );
            for length in 0..list.len() - 9 {
                read(&list[..length]).expect_err("it is cut off");
            }
        }
    }

    #[test]
    fn an_invalid_package_list_is_refused() {
        for list in [
            "",
            "<html></html>",
            "text",
            "<metadata><package></metadata>",
        ] {
            let error = read(list.as_bytes()).expect_err(list);
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{list}");
        }
    }
}
