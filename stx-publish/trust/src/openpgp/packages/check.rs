//! Decides if a client accepts a package: the checks of `rpm -K` and `dnf`, in one pass over its bytes.

use std::io::{self, Read};

use chrono::{DateTime, Utc};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};
use stx_layout::rpm::{FrameError, HeadError, Headers, is_hex, read_head};

use super::form::{has_md5, has_payload_digest, header_signatures, whole_signatures};
use crate::openpgp::{Keyring, TrustError, ValidSignature};

/// The reason that a client refuses a package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not a package.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// No key of the keyring signed its header.
    #[error("its header is not signed by a trusted key: {0}")]
    Header(TrustError),
    /// No key of the keyring made the signature of header and payload.
    #[error("the signature of its header and payload is not of a trusted key: {0}")]
    Whole(TrustError),
    /// Its bytes differ from one of its digests.
    #[error("its {0} differs from the one in its header")]
    Digest(&'static str),
    /// No digest covers the bytes of its payload.
    #[error("no digest covers its payload")]
    Uncovered,
}

/// Tags that contain digests.
mod tag {
    /// In the signature header: the SHA-1 of the main header.
    pub(super) const SHA1: u32 = 269;
    /// In the signature header: the SHA-256 of the main header.
    pub(super) const SHA256: u32 = 273;
}

/// Reads a package to its end; returns the reason if a client that trusts `keyring` refuses it.
///
/// # Errors
/// A package that cannot be read.
pub fn check_package(
    mut package: impl Read,
    keyring: &Keyring,
    now: DateTime<Utc>,
) -> io::Result<Result<(), Refused>> {
    let head = match read_head(&mut package) {
        Ok(head) => head,
        Err(HeadError::Io { source }) => return Err(source),
        Err(HeadError::Frame { source }) => return Ok(Err(source.into())),
    };
    match Headers::parse(&head) {
        Ok(headers) => check(&headers, package, keyring, now),
        Err(error) => Ok(Err(error.into())),
    }
}

fn check(
    headers: &Headers<'_>,
    payload: impl Read,
    keyring: &Keyring,
    now: DateTime<Utc>,
) -> io::Result<Result<(), Refused>> {
    if let Err(why) = header(headers, keyring, now) {
        return Ok(Err(Refused::Header(why)));
    }
    let (main, signature) = (headers.main, headers.signature);
    for (name, tag, digest) in [
        (
            "SHA-1 of the header",
            tag::SHA1,
            Sha1::digest(main.bytes()).to_vec(),
        ),
        (
            "SHA-256 of the header",
            tag::SHA256,
            Sha256::digest(main.bytes()).to_vec(),
        ),
    ] {
        if signature
            .string(tag)
            .is_some_and(|expected| !is_hex(expected, &digest))
        {
            return Ok(Err(Refused::Digest(name)));
        }
    }
    let mut hashing = Hashing {
        payload,
        header: main.bytes(),
        md5: Md5::new(),
        sha256: Sha256::new(),
        sha512: Sha512::new(),
        error: None,
    };
    let mut wholes = whole_signatures(signature);
    let whole = wholes.next();
    let whole = whole.map(|whole| keyring.verify_reader(&mut hashing, whole, now));
    io::copy(&mut hashing, &mut io::sink())?;
    if let Some(error) = hashing.error {
        return Err(error);
    }
    if let Some(Err(why)) = whole {
        return Ok(Err(Refused::Whole(why)));
    }
    let stated = headers.stated();
    let md5 = stated.md5;
    if md5.is_some_and(|expected| expected != &hashing.md5.finalize()[..]) {
        return Ok(Err(Refused::Digest("MD5")));
    }
    let digest = match stated.algorithm {
        Some(8) => Some(hashing.sha256.finalize().to_vec()),
        Some(10) => Some(hashing.sha512.finalize().to_vec()),
        // A package in a form that rpm never made.
        Some(_) | None => None,
    };
    let known = digest.zip(stated.payload);
    if let Some((digest, expected)) = &known
        && !is_hex(expected, digest)
    {
        return Ok(Err(Refused::Digest("digest of the payload")));
    }
    // If the signed header does not cover the payload, rpm demands a digest of both, and dnf a signature too.
    if known.is_none() && whole.is_none() {
        return Ok(Err(Refused::Whole(TrustError::Unsigned)));
    }
    if known.is_none() && md5.is_none() {
        return Ok(Err(Refused::Uncovered));
    }
    Ok(Ok(()))
}

/// The signature of the main header.
fn header(
    headers: &Headers<'_>,
    keyring: &Keyring,
    now: DateTime<Utc>,
) -> Result<ValidSignature, TrustError> {
    let mut why = TrustError::Unsigned;
    for signature in header_signatures(headers.signature) {
        match keyring.verify(headers.main.bytes(), &signature, now) {
            Ok(good) => return Ok(good),
            Err(reason) => why = why.max(reason),
        }
    }
    Err(why)
}

/// True if a key of `keyring` signed a package in a way that clients of any age accept, as far as its headers show.
pub(super) fn is_signed(headers: &Headers<'_>, keyring: &Keyring, now: DateTime<Utc>) -> bool {
    let signature = headers.signature;
    let is_covered = has_payload_digest(headers.main)
        || (whole_signatures(signature).next().is_some() && has_md5(signature));
    is_covered && header(headers, keyring, now).is_ok()
}

/// Main header and payload, hashed while they are read.
struct Hashing<'a, R> {
    payload: R,
    /// The part of the header that was not read yet.
    header: &'a [u8],
    md5: Md5,
    sha256: Sha256,
    sha512: Sha512,
    /// An error of the payload, which a reader of this type could mistake for a bad signature.
    error: Option<io::Error>,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.header.is_empty() {
            let count = self.header.read(buffer)?;
            self.md5.update(&buffer[..count]);
            return Ok(count);
        }
        if self.error.is_some() {
            return Ok(0);
        }
        let count = loop {
            match self.payload.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.error = Some(error);
                    return Ok(0);
                }
                Ok(count) => break count,
            }
        };
        self.md5.update(&buffer[..count]);
        self.sha256.update(&buffer[..count]);
        self.sha512.update(&buffer[..count]);
        Ok(count)
    }
}
