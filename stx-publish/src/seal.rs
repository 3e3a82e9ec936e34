//! The files that a commit adds: the record, the sums, and the signature and statements about them.
//!
//! ```text
//! sums of the added files ──> Attester ──> files about the build, in the sums like the others
//! record, with the counts ──────────────> build.json, also in the sums
//! all of these ─────────────────────────> SHA256SUMS ──> Signer ──> SHA256SUMS.asc
//! ```
//!
//! All of this is a function of values, so each store writes the same files, and a repetition repairs an interrupted commit. A
//! signature has the time of its build, whenever it is made: the same build has the same seal.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use stx_layout::{BuildId, BuildPath, BuildRecord, SumLine, Sums, counted};

use crate::error::StoreError;
use crate::incoming::digest_of;
use crate::thinning::Thinned;

pub use crate::error::SignError;

/// The name of the signature of a build's `SHA256SUMS`, beside it.
pub const SUMS_SIGNATURE: &str = "SHA256SUMS.asc";

/// The name of the signature of an RPM repository's `repomd.xml`, beside it, where `dnf` looks for it.
pub const REPOMD_SIGNATURE: &str = "repomd.xml.asc";

/// Signs bytes with one OpenPGP key, wherever the key is kept.
///
/// # Contract
/// - The result is one armored detached signature of exactly these bytes, made at `at`, or when the key was made if that
///   is later: no signature is older than its key.
/// - The same bytes and time give a valid signature, not always the same one.
/// - Nothing is written that a reader of the mirror sees. Calls may block.
pub trait Signer: fmt::Debug + Send + Sync {
    /// Signs `bytes`.
    fn sign(&self, bytes: &[u8], at: DateTime<Utc>) -> Result<String, SignError>;

    /// Makes a message that contains both a text and its signature (RFC 9580, section 7), with the same time as [`sign`](Self::sign);
    /// `None` if the signer cannot. No line of the text may begin with `-` or end with a blank.
    fn sign_text(&self, _text: &str, _at: DateTime<Utc>) -> Result<Option<String>, SignError> {
        Ok(None)
    }
}

/// States something about a build, such as its origin, in separate files.
///
/// # Contract
/// - The files are beside `inputs` and `outputs`, under names that nothing else has.
/// - The same record and sums give the same statements. Calls may block.
pub trait Attester: fmt::Debug + Send + Sync {
    /// The files to add to the build of `record`, whose other files are listed in `sums`.
    fn attest(
        &self,
        record: &BuildRecord,
        sums: &Sums,
    ) -> Result<Vec<(BuildPath, Bytes)>, SignError>;
}

/// The way in which the builds of a mirror are sealed. The default signs and states nothing.
#[derive(Debug, Clone, Default)]
pub struct Seal {
    /// Signs `SHA256SUMS`, and `repomd.xml` or `Release` of each repository.
    pub signer: Option<Arc<dyn Signer>>,
    /// Adds statements about the build.
    pub attester: Option<Arc<dyn Attester>>,
    /// The URLs of mirrors, the preferred one first: metalink files of large files name them. Without any, no metalink files are made.
    pub mirrors: Vec<String>,
}

/// The files that a commit writes in addition to the added files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The record, as in `build.json`.
    pub record: BuildRecord,
    /// Every file of the build except `SHA256SUMS` and its signature.
    pub sums: Sums,
    /// For a copy, the sections that had been removed from the original.
    pub thinned: Thinned,
    /// The files, in the order in which a store without a rename writes them: `build.json` is last, and makes the build visible.
    pub files: Vec<(BuildPath, Bytes)>,
}

impl Seal {
    /// Seals a build whose added files have these `sums` and `bytes` bytes in total. Fills in the counts of `record`.
    ///
    /// # Errors
    /// The errors of the signer and of the attester.
    pub fn seal(&self, sums: &Sums, bytes: u64, record: BuildRecord) -> Result<Sealed, SignError> {
        self.seal_with(sums, bytes, record, Vec::new())
    }

    /// Like [`seal`](Self::seal), with files that were made from the added ones and are sealed with them.
    pub(crate) fn seal_with(
        &self,
        sums: &Sums,
        bytes: u64,
        mut record: BuildRecord,
        mut files: Vec<(BuildPath, Bytes)>,
    ) -> Result<Sealed, SignError> {
        let line = |(path, bytes): &(BuildPath, Bytes)| SumLine {
            path: path.clone(),
            digest: digest_of(bytes),
        };
        if let Some(attester) = &self.attester {
            let lines = sums.lines().iter().cloned();
            let all: Sums = lines.chain(files.iter().map(line)).collect();
            files.extend(attester.attest(&record, &all)?);
        }
        record.files = (sums.lines().len() + files.len()) as u64;
        record.bytes = bytes + files.iter().map(|(_, file)| file.len() as u64).sum::<u64>();
        let own = (record_path(), Bytes::from(record.to_json()));
        let lines = sums.lines().iter().cloned();
        let sums: Sums = lines.chain(files.iter().chain([&own]).map(line)).collect();
        let text = Bytes::from(sums.to_string());
        let signature = self.sign(&text, &record.id)?;
        files.push((sums_path(), text));
        files.extend(signature.map(|signature| (signature_path(), signature)));
        files.push(own);
        Ok(Sealed {
            record,
            sums,
            thinned: Thinned::default(),
            files,
        })
    }

    /// The signature of a file of the build `id`; `None` without a signer.
    ///
    /// # Errors
    /// The errors of the signer.
    pub fn sign(&self, bytes: &[u8], id: &BuildId) -> Result<Option<Bytes>, SignError> {
        let Some(signer) = &self.signer else {
            return Ok(None);
        };
        let signature = signer.sign(bytes, id.date.time())?;
        Ok(Some(Bytes::from(signature)))
    }

    /// A text of the build `id` with its signature in one file; `None` without a signer, or if the signer cannot make one.
    ///
    /// # Errors
    /// The errors of the signer.
    pub fn sign_text(&self, text: &[u8], id: &BuildId) -> Result<Option<Bytes>, SignError> {
        let (Some(signer), Ok(text)) = (&self.signer, str::from_utf8(text)) else {
            return Ok(None);
        };
        let message = signer.sign_text(text, id.date.time())?;
        Ok(message.map(Bytes::from))
    }
}

impl Sealed {
    /// Refuses a record or sums that are too long for readers.
    ///
    /// # Errors
    /// [`StoreError::Refused`], which names the file.
    pub fn readable(self) -> Result<Self, StoreError> {
        for (path, bytes) in &self.files {
            if [sums_path(), record_path()].contains(path) {
                check_length(format_args!("{}/{path}", self.record.id), bytes)?;
            }
        }
        Ok(self)
    }

    /// Refuses a seal that does not belong to the build `id` with files of these sums.
    ///
    /// # Errors
    /// [`StoreError::Refused`], which names the first file that differs.
    pub fn check(&self, id: &BuildId, added: &Sums) -> Result<(), StoreError> {
        let refuse = |reason: String| StoreError::Refused {
            what: id.to_string(),
            reason,
        };
        check_record(id, &self.record)?;
        let files: BTreeMap<_, _> = self
            .files
            .iter()
            .map(|(path, bytes)| (path, bytes))
            .collect();
        let record = files.get(&record_path()).map(|bytes| digest_of(bytes));
        if record.is_none() || self.sums.get(&record_path()) != record {
            return Err(refuse("SHA256SUMS names another build.json".to_owned()));
        }
        let text = files.get(&sums_path());
        let sums = text.and_then(|text| str::from_utf8(text).ok()?.parse::<Sums>().ok());
        if sums.as_ref() != Some(&self.sums) {
            return Err(refuse("the sums are not those of SHA256SUMS".to_owned()));
        }
        for line in self.sums.lines() {
            let own = files.get(&line.path).map(|bytes| digest_of(bytes));
            match added.get(&line.path).or(own) {
                Some(digest) if digest == line.digest => {}
                None if self.thinned.covers(&line.path).is_some() => {}
                Some(_) | None => {
                    return Err(refuse(format!("{} is not the original", line.path)));
                }
            }
        }
        let mut added = added.lines().iter();
        match added.find(|line| self.sums.get(&line.path).is_none()) {
            Some(line) => Err(refuse(format!("{} is not in the original", line.path))),
            None => Ok(()),
        }
    }
}

/// Refuses sums whose number of files differs from the count in the record: some of their lines were lost.
///
/// # Errors
/// [`StoreError::Refused`], with both numbers.
pub fn check_counts(id: &BuildId, sums: &Sums, record: &BuildRecord) -> Result<(), StoreError> {
    let lines = sums.lines().iter();
    let files = lines.filter(|line| line.path != record_path()).count() as u64;
    if files == record.files {
        return Ok(());
    }
    let named = counted(files, "file");
    Err(StoreError::Refused {
        what: format!("{id}/{}", sums_path()),
        reason: format!("it names {named}, and build.json says {}", record.files),
    })
}

/// Refuses the record of a build other than the one that is committed.
pub fn check_record(id: &BuildId, record: &BuildRecord) -> Result<(), StoreError> {
    if record.id == *id {
        return Ok(());
    }
    Err(StoreError::Refused {
        what: id.to_string(),
        reason: format!("the record is that of {}", record.id),
    })
}

/// The largest `index.json`, `build.json` or `SHA256SUMS`, in bytes. Readers refuse longer ones, so writers do, too.
pub const LONGEST_TEXT: u64 = 64 << 20;

/// Refuses a text that is too long for readers.
pub fn check_length(what: impl fmt::Display, bytes: &[u8]) -> Result<(), StoreError> {
    if bytes.len() as u64 <= LONGEST_TEXT {
        return Ok(());
    }
    Err(StoreError::Refused {
        what: what.to_string(),
        reason: format!(
            "it has {} bytes, and readers accept at most {} MiB",
            bytes.len(),
            LONGEST_TEXT >> 20
        ),
    })
}

/// True if a file is never listed in `SHA256SUMS`, because it contains or signs the sums.
pub fn is_beyond_sums(name: &str) -> bool {
    name == Sums::FILE_NAME || name == SUMS_SIGNATURE
}

/// The path of the record of the sections that were removed from a build.
pub(crate) fn thinned_path() -> BuildPath {
    Thinned::FILE_NAME.parse().expect("a valid path")
}

/// The path of a build's record.
pub fn record_path() -> BuildPath {
    BuildRecord::FILE_NAME.parse().expect("a valid path")
}

/// The path of a build's sums.
pub fn sums_path() -> BuildPath {
    Sums::FILE_NAME.parse().expect("a valid path")
}

/// The path of the signature of a build's sums.
pub fn signature_path() -> BuildPath {
    SUMS_SIGNATURE.parse().expect("a valid path")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::retention::sample_section;
    use crate::conformance::{TestSigner, sample_id};
    use stx_layout::BuildOutcome;

    #[derive(Debug)]
    struct Says(&'static str);

    impl Attester for Says {
        fn attest(
            &self,
            record: &BuildRecord,
            sums: &Sums,
        ) -> Result<Vec<(BuildPath, Bytes)>, SignError> {
            let text = format!("{} {} {}\n", self.0, record.id, sums.lines().len());
            Ok(vec![(
                "statement.txt".parse().expect("a path"),
                text.into(),
            )])
        }
    }

    fn sums() -> Sums {
        let line = format!("{}  outputs/success\n", digest_of(b""));
        line.parse().expect("sums")
    }

    fn sealed() -> Sealed {
        let seal = Seal {
            signer: Some(Arc::new(TestSigner)),
            attester: Some(Arc::new(Says("made by hand:"))),
            mirrors: Vec::new(),
        };
        let record = BuildRecord::new(sample_id(5), BuildOutcome::Success);
        seal.seal(&sums(), 0, record).expect("sealed")
    }

    #[test]
    fn everything_is_summed_and_the_sums_are_signed() {
        let sealed = sealed();
        let names: Vec<_> = sealed.files.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            names,
            [
                "statement.txt",
                "SHA256SUMS",
                "SHA256SUMS.asc",
                "build.json"
            ]
        );
        for (path, bytes) in &sealed.files {
            let beyond = is_beyond_sums(path.as_str());
            assert_eq!(sealed.sums.get(path), (!beyond).then(|| digest_of(bytes)));
        }
        let (_, text) = &sealed.files[1];
        assert_eq!(text[..], *sealed.sums.to_string().as_bytes());
        let (_, signature) = &sealed.files[2];
        let expected = TestSigner.sign(text, sample_id(5).date.time());
        assert_eq!(signature[..], *expected.expect("signed").as_bytes());
        assert_eq!(sealed.record.files, 2);
        assert_eq!(
            sealed.record.bytes,
            sealed.files[0].1.len() as u64,
            "what is stated counts, like what was added"
        );
    }

    #[test]
    fn a_seal_fits_its_build_only() {
        let (id, good) = (sample_id(5), sealed());
        good.check(&id, &sums()).expect("it is the seal of these");
        let said = |sealed: &Sealed, added: &Sums| {
            let error = sealed.check(&id, added).expect_err("another one");
            error.to_string()
        };
        assert!(said(&good, &Sums::default()).contains("outputs/success is not the original"));
        let more = format!("{}{}  outputs/x\n", sums(), digest_of(b"x"));
        assert!(said(&good, &more.parse().expect("sums")).contains("x is not in the original"));
        let mut thinned = good.clone();
        thinned
            .thinned
            .sections
            .push(sample_section("outputs/success", 6));
        let without = thinned.check(&id, &Sums::default());
        without.expect("what had gone from the original need not be there");
        let mut other = good.clone();
        other.record.id = sample_id(6);
        assert!(said(&other, &sums()).contains("the record is that of"));
        let mut other = good.clone();
        other.files[3].1 = Bytes::from_static(b"{}");
        assert!(said(&other, &sums()).contains("names another build.json"));
        let mut other = good.clone();
        other.files[1].1 = Bytes::from_static(b"");
        assert!(said(&other, &sums()).contains("not those of SHA256SUMS"));
        let mut other = good;
        other.files[0].1 = Bytes::from_static(b"");
        assert!(said(&other, &sums()).contains("statement.txt is not the original"));
    }

    #[test]
    fn a_text_longer_than_readers_accept_is_not_written() {
        for (index, name) in [(1, "SHA256SUMS"), (3, "build.json")] {
            let length = usize::try_from(LONGEST_TEXT).expect("a length");
            let mut long = sealed();
            long.files[index].1 = Bytes::from(vec![b' '; length]);
            assert!(long.clone().readable().is_ok(), "{name}");
            long.files[index].1 = Bytes::from(vec![b' '; length + 1]);
            let refused = long.readable().expect_err(name).to_string();
            assert!(
                refused.contains(name) && refused.contains("64 MiB"),
                "{refused}"
            );
        }
    }
}
