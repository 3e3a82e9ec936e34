//! Searches the texts inside of packages: control files, scriptlets, and what they install.
//!
//! A package cannot be redacted: its bytes are summed and perhaps signed. So what is found is reported, or the package is
//! refused, as [`PackageSearch`](crate::privacy::PackageSearch) says. The search is bounded: memory by that of what unpacks, time by [`MOST_UNPACKED`].

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

/// Bytes of one package's files that are unpacked at most. Only kernels with debugging information and firmware have more.
const MOST_UNPACKED: u64 = 256 << 20;

/// The findings in a package.
#[derive(Debug, Default)]
pub(super) struct InPackage {
    /// The findings, by file: `/etc/build.info`, `DEBIAN/postinst`, `(header)`.
    pub(super) found: BTreeMap<String, Findings>,
    /// Why not all of it was searched.
    pub(super) unsearched: Option<String>,
}

/// Searches one package.
struct Walk<'a> {
    privacy: &'a Privacy,
    found: BTreeMap<String, Findings>,
    /// Bytes that may be unpacked still.
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

    /// Searches a file if it is a text, packed by gzip or not. Tells whether the package may be unpacked further.
    fn file(&mut self, path: &str, bytes: &mut dyn Read) -> io::Result<bool> {
        let mut bytes = bytes.take(self.left);
        let first = head(&mut bytes)?;
        let is_packed = Content::of(&first) == Content::Gzip;
        let mut whole = BufReader::with_capacity(CHUNK, first.chain(&mut bytes));
        if is_packed {
            let mut text = MultiGzDecoder::new(&mut whole).take(self.left);
            // What cannot be unpacked is no text that anybody reads.
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

/// Searches a Debian package; `package` is at its first byte.
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

/// Searches an RPM package by its lead and headers, in `head` and sound, and its payload, which `package` is at.
pub(super) fn rpm(privacy: &Privacy, head: &[u8], package: &File) -> io::Result<InPackage> {
    let mut all = Walk::new(privacy);
    // Scriptlets, descriptions and changelogs are texts of the header, between numbers.
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

/// Searches a text as it comes.
fn search(privacy: &Privacy, text: impl Read) -> io::Result<Findings> {
    let mut search = Search::new(privacy);
    each_chunk(text, |chunk| search.push(chunk, |_| {}))?;
    Ok(search.finish(|_| {}))
}
