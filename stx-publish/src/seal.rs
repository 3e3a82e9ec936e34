//! The files that a commit writes of its own: the record, the sums, and what vouches for them.
//!
//! ```text
//! sums of the added files ──> Attester ──> files about the build, summed like the others
//! record, with the counts ──────────────> build.json, summed too
//! all of these ─────────────────────────> SHA256SUMS ──> Signer ──> SHA256SUMS.asc
//! ```
//!
//! Everything follows from values, so that each store writes the same, and a crash in between is made good by doing it
//! again. A signature is as old as its build, whenever it is made: the same build has the same seal.

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

/// Signs bytes with one OpenPGP key, wherever that is kept.
///
/// # Contract
/// - The result is one armored detached signature of exactly these bytes, made at `at`, or when the key was made if that
///   is later: no signature is older than its key.
/// - The same bytes and time give a signature that verifies, not always the same one.
/// - Writes nothing that a reader of the mirror sees. May block.
pub trait Signer: fmt::Debug + Send + Sync {
    /// Signs `bytes`.
    fn sign(&self, bytes: &[u8], at: DateTime<Utc>) -> Result<String, SignError>;

    /// Signs a text in a message of its own that holds both (RFC 9580, section 7), at the same time as [`sign`](Self::sign)
    /// would; `None` from a signer that cannot. No line of the text begins with `-` or ends with a blank.
    fn sign_text(&self, _text: &str, _at: DateTime<Utc>) -> Result<Option<String>, SignError> {
        Ok(None)
    }
}

/// States something about a build in files of its own, such as where it comes from.
///
/// # Contract
/// - The files lie beside `inputs` and `outputs`, and have no name that something else has.
/// - The same record and sums give the same statements. May block.
pub trait Attester: fmt::Debug + Send + Sync {
    /// The files that are added to the build of `record`, whose other files are those of `sums`.
    fn attest(
        &self,
        record: &BuildRecord,
        sums: &Sums,
    ) -> Result<Vec<(BuildPath, Bytes)>, SignError>;
}

/// How the builds of a mirror are sealed. The default signs and states nothing.
#[derive(Debug, Clone, Default)]
pub struct Seal {
    /// Signs `SHA256SUMS`, and `repomd.xml` or `Release` of each repository.
    pub signer: Option<Arc<dyn Signer>>,
    /// Adds statements about the build.
    pub attester: Option<Arc<dyn Attester>>,
    /// The URLs of mirrors, the preferred one first: metalink files of large files name them. Without any there are no such files.
    pub mirrors: Vec<String>,
}

/// The files that a commit writes, beside the files that were added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The record, as `build.json` says it.
    pub record: BuildRecord,
    /// Every file of the build but `SHA256SUMS` and its signature.
    pub sums: Sums,
    /// The sections that had been taken from the original of a copy.
    pub thinned: Thinned,
    /// The files, in the order in which a store without a rename writes them: `build.json` is the last, and makes the
    /// build visible.
    pub files: Vec<(BuildPath, Bytes)>,
}

impl Seal {
    /// Seals a build whose added files have these `sums`, and together so many `bytes`. The counts of `record` are filled in.
    ///
    /// # Errors
    /// The errors of the signer and of the attester.
    pub fn seal(&self, sums: &Sums, bytes: u64, record: BuildRecord) -> Result<Sealed, SignError> {
        self.seal_with(sums, bytes, record, Vec::new())
    }

    /// As [`seal`](Self::seal), with files that were made of the added ones and are sealed with them.
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

    /// The signature of a file of the build `id`; `None` where nothing is signed.
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

    /// A text of the build `id` with its signature in one file; `None` where nothing is signed, or the signer cannot.
    ///
    /// # Errors
    /// A refusal of the signer.
    pub fn sign_text(&self, text: &[u8], id: &BuildId) -> Result<Option<Bytes>, SignError> {
        let (Some(signer), Ok(text)) = (&self.signer, str::from_utf8(text)) else {
            return Ok(None);
        };
        let message = signer.sign_text(text, id.date.time())?;
        Ok(message.map(Bytes::from))
    }
}

impl Sealed {
    /// Refuses a record or sums that readers would refuse for their length.
    ///
    /// # Errors
    /// [`StoreError::Refused`], naming the file.
    pub fn readable(self) -> Result<Self, StoreError> {
        for (path, bytes) in &self.files {
            if [sums_path(), record_path()].contains(path) {
                check_length(format_args!("{}/{path}", self.record.id), bytes)?;
            }
        }
        Ok(self)
    }

    /// Refuses a seal that is not that of the build `id` with files of these sums.
    ///
    /// # Errors
    /// [`StoreError::Refused`], naming the first file that differs.
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

/// Refuses sums that do not name as many files as the record counts: some of their lines were lost.
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

/// Refuses the record of another build than the one that is committed.
pub fn check_record(id: &BuildId, record: &BuildRecord) -> Result<(), StoreError> {
    if record.id == *id {
        return Ok(());
    }
    Err(StoreError::Refused {
        what: id.to_string(),
        reason: format!("the record is that of {}", record.id),
    })
}

/// Bytes that an `index.json`, `build.json` or `SHA256SUMS` has at most. Readers refuse longer ones, so nobody writes them.
pub const LONGEST_TEXT: u64 = 64 << 20;

/// Refuses a text that readers would refuse for its length.
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

/// Whether a file is one that no `SHA256SUMS` names, because it holds or signs the sums.
pub fn is_beyond_sums(name: &str) -> bool {
    name == Sums::FILE_NAME || name == SUMS_SIGNATURE
}

/// The path of the record of what was taken from a build.
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
    fn what_no_reader_accepts_is_not_written() {
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
