//! Searches a tree before it is published: logs are redacted, other texts with findings are refused.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::tempdir;
use flate2::read::MultiGzDecoder;
use flate2::{Compression, GzBuilder};
use fs_err as fs;
use rayon::prelude::*;
use stx_layout::derived::Repositories;
use stx_layout::rpm::{HeadError, Headers, read_head};
use stx_layout::{BuildPath, BuildRecord};

use super::Cleared;
use super::packages::{self, InPackage};
use crate::incoming::{CHUNK, Entry, Incoming, Problem, ProblemKind};
use crate::ingest::Source;
use crate::metadata::{Carried, is_carried};
use crate::privacy::urls::Urls;
use crate::privacy::{
    Content, Findings, HEAD, PackageSearch, Privacy, PrivacyReport, Search, is_log,
};

/// A tree that was searched and must not be published, or could not be searched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClearError {
    /// The tree contains private data.
    #[error("{} must not be published", stx_layout::counted(.0.len(), "thing"))]
    Problems(Vec<Problem>),
    /// The redacted copies could not be written.
    #[error("redacted copies cannot be written")]
    Copies(#[from] io::Error),
}

/// The result of searching one entry.
#[derive(Debug, Default)]
struct Outcome {
    searched: bool,
    redacted: Option<(Entry, Findings)>,
    packaged: BTreeMap<String, Findings>,
    unsearched: Option<String>,
    allowed: bool,
    problems: Vec<ProblemKind>,
}

/// Searches the record of a build and its names, links and texts, several files in parallel. Logs are also searched for
/// credentials in URLs, which are always redacted.
///
/// Each file whose first bytes are text is read once. Redacted copies are written to a new directory below the system's
/// directory for temporary files; the same text and `privacy` give the same copy. The metadata of RPM repositories is left out,
/// because publishing makes it anew, except for the files in `carried`, which are carried over.
///
/// # Errors
/// [`ClearError::Problems`] lists everything that must not be published.
pub fn clear(
    mut incoming: Incoming,
    record: &BuildRecord,
    carried: &BTreeMap<BuildPath, Carried>,
    privacy: &Privacy,
) -> Result<Cleared, ClearError> {
    let copies = tempdir()?;
    let number = AtomicUsize::new(0);
    let repositories = Repositories::of(incoming.entries.keys());
    let outcomes: Vec<_> = incoming
        .entries
        .par_iter()
        .filter(|(path, _)| !repositories.is_metadata(path) || is_carried(carried, path))
        .map(|(path, entry)| {
            let guard = Guard {
                privacy,
                path,
                copies: copies.path(),
                number: &number,
            };
            let mut outcome = Outcome::default();
            if let Err(kind) = guard.look(entry, &mut outcome) {
                outcome.problems.push(kind);
            }
            (path.clone(), outcome)
        })
        .collect();
    let mut report = PrivacyReport::default();
    let mut problems = Vec::new();
    for (path, outcome) in outcomes {
        report.searched += u64::from(outcome.searched);
        let of_path = outcome.problems.into_iter().map(|kind| Problem {
            path: path.to_string(),
            kind,
        });
        problems.extend(of_path);
        if outcome.allowed {
            report.allowed.insert(path.clone());
        }
        if !outcome.packaged.is_empty() {
            report.packages.insert(path.clone(), outcome.packaged);
        }
        if let Some(reason) = outcome.unsearched {
            report.unsearched.insert(path.clone(), reason);
        }
        if let Some((entry, findings)) = outcome.redacted {
            report.redacted.insert(path.clone(), findings);
            incoming.entries.insert(path, entry);
        }
    }
    let of_record = private(privacy.find(record.to_json().as_bytes()));
    problems.extend(of_record.into_iter().map(|kind| Problem {
        path: BuildRecord::FILE_NAME.to_owned(),
        kind,
    }));
    if !problems.is_empty() {
        return Err(ClearError::Problems(problems));
    }
    let mut cleared = Cleared::new(incoming, report);
    cleared.keep(copies);
    Ok(cleared)
}

/// One problem for each kind of finding.
fn private(findings: Findings) -> Vec<ProblemKind> {
    let each = findings.0.into_iter();
    each.map(|(what, seen)| ProblemKind::Private { what, seen })
        .collect()
}

/// The private data and the credentials of URLs that were found in a text.
#[derive(Debug, Default)]
struct Found {
    /// Of the build server.
    private: Findings,
    /// Of URLs; in logs only.
    urls: Findings,
}

impl Found {
    fn is_empty(&self) -> bool {
        self.private.is_empty() && self.urls.is_empty()
    }
}

/// The result of reading a text.
enum Looked {
    Done(Found),
    /// It is not a text, or is a damaged one.
    NotText(String),
}

/// The search of one entry.
struct Guard<'a> {
    privacy: &'a Privacy,
    path: &'a BuildPath,
    copies: &'a Utf8Path,
    number: &'a AtomicUsize,
}

impl Guard<'_> {
    fn look(&self, entry: &Entry, outcome: &mut Outcome) -> Result<(), ProblemKind> {
        if self.privacy.allows(self.path) {
            outcome.allowed = true;
            return Ok(());
        }
        let mut name = vec![self.path.as_str()];
        if let Entry::Symlink { target } = entry {
            name.push(target);
        }
        for name in name {
            for what in self.privacy.find(name.as_bytes()).0.into_keys() {
                outcome.problems.push(ProblemKind::PrivateName { what });
            }
        }
        match entry {
            Entry::Symlink { .. } => Ok(()),
            Entry::Generated(text) => {
                outcome.searched = true;
                if is_log(self.path) {
                    let mut redacted = Vec::with_capacity(text.len());
                    let found = self
                        .search(&text[..], Some(&mut redacted))
                        .map_err(|error| unreadable(&error))?;
                    if !found.is_empty() {
                        let entry = Entry::Generated(Bytes::from(redacted));
                        outcome.redacted = Some((entry, found.private.with(found.urls)));
                    }
                } else {
                    outcome.problems.extend(private(self.privacy.find(text)));
                }
                Ok(())
            }
            Entry::File {
                source,
                size,
                executable,
                ..
            } => self.file(source, *size, *executable, outcome),
        }
    }

    fn file(
        &self,
        from: &Utf8Path,
        size: u64,
        executable: bool,
        outcome: &mut Outcome,
    ) -> Result<(), ProblemKind> {
        let mut source = Source::open(from).map_err(|error| unreadable(&error))?;
        if source.stamp.size != size {
            return Err(ProblemKind::Changed);
        }
        let head = head(&mut source.file).map_err(|error| unreadable(&error))?;
        let log = is_log(self.path);
        // Checked first: its members may be packed so well that its first bytes contain no NUL and look like text.
        if head.starts_with(DEB) && !log {
            return self.deb(&mut source, outcome);
        }
        let gzip = match Content::of(&head) {
            Content::Text => false,
            Content::Gzip => true,
            Content::Packed(how) if log => {
                return Err(ProblemKind::Unsearchable {
                    reason: format!("it is packed by {how}"),
                });
            }
            Content::Packed(how) => {
                if is_text_name(self.path) {
                    outcome.unsearched = Some(format!("packed by {how}"));
                }
                return Ok(());
            }
            // A log with a NUL in it is searched, but not rewritten, except for credentials in URLs.
            Content::Binary if log => false,
            Content::Binary => {
                if head.starts_with(RPM) {
                    self.rpm(&head, &mut source, outcome)?;
                }
                return Ok(());
            }
        };
        let text = Content::of(&head) != Content::Binary;
        let copy = self
            .copies
            .join(self.number.fetch_add(1, Ordering::Relaxed).to_string());
        let read = self.read(&mut source, &head, gzip, log.then_some(&*copy));
        let read = read.map_err(|error| unreadable(&error))?;
        if !source.is_unchanged().map_err(|error| unreadable(&error))? {
            return Err(ProblemKind::Changed);
        }
        match read {
            Looked::NotText(reason) if log => Err(ProblemKind::Unsearchable { reason }),
            Looked::NotText(reason) => {
                if is_text_name(self.path) {
                    outcome.unsearched = Some(reason);
                }
                Ok(())
            }
            Looked::Done(found) => {
                outcome.searched = true;
                if found.is_empty() {
                    return Ok(());
                }
                let ours = log && text;
                if !ours && !found.private.is_empty() {
                    outcome.problems.extend(private(found.private));
                    return Ok(());
                }
                let entry =
                    redacted(copy, &source, executable).map_err(|error| unreadable(&error))?;
                outcome.redacted = Some((entry, found.private.with(found.urls)));
                Ok(())
            }
        }
    }

    /// Searches a file; writes the redacted text to `copy` if something was found.
    fn read(
        &self,
        source: &mut Source,
        head: &[u8],
        gzip: bool,
        copy: Option<&Utf8Path>,
    ) -> io::Result<Looked> {
        let whole = head.chain(&mut source.file);
        if !gzip {
            let found = self.search(whole, None)?;
            if let (Some(copy), false) = (copy, found.is_empty()) {
                io::Seek::rewind(&mut source.file)?;
                let mut out = fs::File::create(copy)?;
                self.search(&mut source.file, Some(&mut out))?;
            }
            return Ok(Looked::Done(found));
        }
        let mut unpacked = MultiGzDecoder::new(BufReader::with_capacity(CHUNK, whole));
        let damaged = |error: io::Error| format!("it cannot be unpacked: {error}");
        let head = match self::head(&mut unpacked) {
            Ok(head) if Content::of(&head) != Content::Text => {
                return Ok(Looked::NotText(
                    "its packed contents are not text".to_owned(),
                ));
            }
            Ok(head) => head,
            Err(error) => return Ok(Looked::NotText(damaged(error))),
        };
        let found = match self.search(head.chain(unpacked), None) {
            Ok(found) => found,
            Err(error) => return Ok(Looked::NotText(damaged(error))),
        };
        if let (Some(copy), false) = (copy, found.is_empty()) {
            io::Seek::rewind(&mut source.file)?;
            let unpacked = MultiGzDecoder::new(BufReader::with_capacity(CHUNK, &mut source.file));
            // No name and no time in the header: the same text gives the same bytes.
            let mut out = GzBuilder::new().write(fs::File::create(copy)?, Compression::new(6));
            self.search(unpacked, Some(&mut out))?;
            out.finish()?;
        }
        Ok(Looked::Done(found))
    }

    fn search(&self, from: impl Read, mut to: Option<&mut dyn Write>) -> io::Result<Found> {
        let mut search = Search::new(self.privacy);
        let mut urls = is_log(self.path).then(Urls::new);
        let mut written = Ok(());
        let mut write = |piece: &[u8]| {
            if let (Some(to), true) = (&mut to, written.is_ok()) {
                written = to.write_all(piece);
            }
        };
        each_chunk(from, |chunk| match &mut urls {
            Some(urls) => urls.push(chunk, |piece| search.push(piece, &mut write)),
            None => search.push(chunk, &mut write),
        })?;
        let mut found = Found::default();
        if let Some(urls) = urls {
            found.urls = urls.finish(|piece| search.push(piece, &mut write));
        }
        found.private = search.finish(&mut write);
        written.map(|()| found)
    }

    /// Refuses a package whose header names the build server as its build host; searches the rest.
    fn rpm(
        &self,
        head: &[u8],
        source: &mut Source,
        outcome: &mut Outcome,
    ) -> Result<(), ProblemKind> {
        let head = match read_head(&mut head.chain(&mut source.file)) {
            Ok(head) => head,
            Err(HeadError::Io { source }) => return Err(unreadable(&source)),
            Err(HeadError::Frame { source }) => {
                outcome.unsearched = Some(source.to_string());
                return Ok(());
            }
        };
        let headers = match Headers::parse(&head) {
            Ok(headers) => headers,
            Err(error) => {
                outcome.unsearched = Some(error.to_string());
                return Ok(());
            }
        };
        let host = headers.main.string(BUILDHOST).unwrap_or_default();
        if self.privacy.is_host(&String::from_utf8_lossy(host)) {
            return Err(ProblemKind::PackageHost);
        }
        if !self.unpacks() {
            return Ok(());
        }
        // The header was read to its last byte, and no further.
        let after = io::SeekFrom::Start(head.len() as u64);
        let found = io::Seek::seek(&mut source.file, after)
            .and_then(|_| packages::rpm(self.privacy, &head, &source.file));
        self.packaged(found, source, outcome)
    }

    /// True if the package is unpacked. Those below `inputs/` were made elsewhere, and unpacking is the main cost of a search.
    fn unpacks(&self) -> bool {
        self.privacy.packages() != PackageSearch::Off
            && self.path.segments().next() == Some("outputs")
    }

    fn deb(&self, source: &mut Source, outcome: &mut Outcome) -> Result<(), ProblemKind> {
        if !self.unpacks() {
            return Ok(());
        }
        let found = io::Seek::rewind(&mut source.file)
            .and_then(|()| packages::deb(self.privacy, &mut source.file));
        self.packaged(found, source, outcome)
    }

    /// Reports or refuses the findings in a package.
    fn packaged(
        &self,
        found: io::Result<InPackage>,
        source: &Source,
        outcome: &mut Outcome,
    ) -> Result<(), ProblemKind> {
        let found = found.map_err(|error| unreadable(&error))?;
        if !source.is_unchanged().map_err(|error| unreadable(&error))? {
            return Err(ProblemKind::Changed);
        }
        outcome.searched = true;
        outcome.unsearched = found.unsearched;
        if self.privacy.packages() == PackageSearch::Refuse {
            for (file, findings) in found.found {
                let each = findings.0.into_iter();
                outcome.problems.extend(each.map(|(what, seen)| {
                    let file = file.clone();
                    ProblemKind::PrivateInPackage { file, what, seen }
                }));
            }
        } else {
            outcome.packaged = found.found;
        }
        Ok(())
    }
}

/// Hands the bytes of a reader to `each`, piece by piece.
pub(super) fn each_chunk(mut from: impl Read, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => each(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The first bytes of an RPM package.
const RPM: &[u8] = b"\xed\xab\xee\xdb";

/// The first bytes of a Debian package.
const DEB: &[u8] = b"!<arch>\ndebian-binary";

/// The tag of a package's header that names the host on which it was built.
const BUILDHOST: u32 = 1007;

fn unreadable(error: &io::Error) -> ProblemKind {
    ProblemKind::Unreadable {
        reason: error.to_string(),
    }
}

/// The first bytes, enough to tell the kind of a file.
pub(super) fn head(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    from.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// A redacted copy as an entry, with the modification time of its source.
fn redacted(copy: Utf8PathBuf, source: &Source, executable: bool) -> io::Result<Entry> {
    let file = fs::OpenOptions::new().write(true).open(&copy)?;
    file.file()
        .set_modified(source.file.metadata()?.modified()?)?;
    Ok(Entry::File {
        size: file.metadata()?.len(),
        source: copy,
        executable,
        digest: None,
    })
}

/// True if a packed file has the name of a text, so that the report must say that it was not searched.
fn is_text_name(path: &BuildPath) -> bool {
    const TEXTS: [&str; 12] = [
        "cfg", "conf", "csv", "html", "ini", "json", "ks", "lst", "md", "txt", "xml", "yaml",
    ];
    let stem = path.as_path().file_stem().unwrap_or_default();
    let suffix = Utf8Path::new(stem).extension();
    suffix.is_some_and(|suffix| TEXTS.contains(&suffix))
}
