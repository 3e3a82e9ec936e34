//! Searches the texts inside packages: control files, scriptlets and the files that they install.
//!
//! A package cannot be redacted: its bytes are summed and perhaps signed. So a finding is reported, or the package is refused, as
//! [`PackageSearch`](crate::privacy::PackageSearch) says. The unpackers bound the memory of a search, [`MOST_UNPACKED`] its time.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use fs_err::File;
use rpm::PackageReader;
use stx_deb::{EntryKind, read_control, read_payload};
use stx_layout::rpm::Headers;

use super::clear::{each_chunk, head};
use crate::error::chain;
use crate::incoming::CHUNK;
use crate::privacy::{Content, Findings, Privacy, Search};

/// The most bytes of one package's files that are unpacked. Only kernels with debugging information and firmware have more.
const MOST_UNPACKED: u64 = 256 << 20;

/// The findings in a package.
#[derive(Debug, Default)]
pub(super) struct InPackage {
    /// The findings, by file: `/etc/build.info`, `DEBIAN/postinst`, `(header)`.
    pub(super) found: BTreeMap<String, Findings>,
    /// The reason why some of it was not searched.
    pub(super) unsearched: Option<String>,
}

/// Searches one package.
struct Walk<'a> {
    privacy: &'a Privacy,
    found: BTreeMap<String, Findings>,
    /// The number of bytes that may still be unpacked.
    left: u64,
}

impl<'a> Walk<'a> {
    fn new(privacy: &'a Privacy) -> Self {
        Self {
            privacy,
            found: BTreeMap::new(),
            left: MOST_UNPACKED,
        }
    }

    /// Searches a file if it is a text, gzipped or not. Returns whether the package may be unpacked further.
    fn file(&mut self, path: &str, bytes: &mut dyn Read) -> io::Result<bool> {
        let mut bytes = bytes.take(self.left);
        let first = head(&mut bytes)?;
        let is_packed = Content::of(&first) == Content::Gzip;
        let mut whole = BufReader::with_capacity(CHUNK, first.chain(&mut bytes));
        if is_packed {
            let mut text = MultiGzDecoder::new(&mut whole).take(self.left);
            // A file that cannot be unpacked is not a text that anyone can read.
            if let Ok(first) = head(&mut text)
                && Content::of(&first) == Content::Text
            {
                let found = search(self.privacy, first.chain(&mut text));
                self.add(path, found.unwrap_or_default());
            }
        } else if Content::of(&first) == Content::Text {
            let found = search(self.privacy, &mut whole)?;
            self.add(path, found);
        }
        drop(whole);
        // The rest is unpacked in any case, to reach the next file.
        io::copy(&mut bytes, &mut io::sink())?;
        self.left = bytes.limit();
        Ok(self.left > 0)
    }

    fn add(&mut self, path: &str, found: Findings) {
        if !found.is_empty() {
            self.found.insert(path.to_owned(), found);
        }
    }

    fn finish(self, unsearched: Option<String>) -> InPackage {
        let unsearched = if self.left == 0 {
            let most = MOST_UNPACKED >> 20;
            Some(format!(
                "only the first {most} MiB of its files were searched"
            ))
        } else {
            unsearched
        };
        InPackage {
            found: self.found,
            unsearched,
        }
    }
}

/// Searches a Debian package; `package` must be positioned at its first byte.
pub(super) fn deb(privacy: &Privacy, package: &mut File) -> io::Result<InPackage> {
    let mut all = Walk::new(privacy);
    match read_control(&mut *package) {
        Ok(control) => {
            all.add("DEBIAN/control", privacy.find(control.text.as_bytes()));
            for (name, mut bytes) in control.files.iter().map(|(name, it)| (name, &it[..])) {
                all.file(&format!("DEBIAN/{name}"), &mut bytes)?;
            }
        }
        Err(stx_deb::DebError::Io { source }) => return Err(source),
        Err(error) => return Ok(all.finish(Some(chain(&error)))),
    }
    io::Seek::rewind(package)?;
    let read = read_payload(&mut *package, |entry, bytes| {
        let is_file = entry.kind == EntryKind::File;
        if is_file && !all.file(&entry.path, bytes)? {
            return Err(io::Error::other("enough was unpacked"));
        }
        Ok(())
    });
    match read {
        Ok(()) => Ok(all.finish(None)),
        Err(stx_deb::DebError::Io { source }) => Err(source),
        Err(error) => Ok(all.finish(Some(chain(&error)))),
    }
}

/// Searches an RPM package: its lead and its valid headers, which are in `head`, and its payload, at which `package` is positioned.
pub(super) fn rpm(privacy: &Privacy, head: &[u8], package: &File) -> io::Result<InPackage> {
    let mut all = Walk::new(privacy);
    // Scriptlets, descriptions and changelogs are texts in the header, between binary numbers.
    let header = Headers::parse(head).map_or(head, |headers| &head[headers.begin..headers.payload]);
    all.add("(header)", privacy.find(header));
    let payload = BufReader::with_capacity(CHUNK, package.try_clone()?);
    let read = || -> Result<(), rpm::Error> {
        let mut reader = PackageReader::parse(Cursor::new(head.to_vec()).chain(payload))?;
        while let Some(mut file) = reader.next_file()? {
            let path = [file.metadata.dirname(), file.metadata.basename()].concat();
            let goes_on = !file.has_payload() || all.file(&path, &mut file)?;
            if !goes_on {
                return Ok(());
            }
            file.finish()?;
        }
        Ok(())
    };
    let read = read();
    Ok(all.finish(read.err().map(|error| chain(&error))))
}

/// Searches a text while it is read.
fn search(privacy: &Privacy, text: impl Read) -> io::Result<Findings> {
    let mut search = Search::new(privacy);
    each_chunk(text, |chunk| search.push(chunk, |_| {}))?;
    Ok(search.finish(|_| {}))
}
