//! Checks that an RPM package is complete and undamaged, as `rpm -K --nosignature` does.
//!
//! The sums of a build verify the packages on a mirror. For any other file, only its own headers can: the digest of the payload
//! since rpm 4.14, or the MD5 of header and payload, the only digest that rpm 4.11 of CentOS 7 wrote.

use std::io::{self, Read};

use md5::Md5;
use sha2::{Digest as _, Sha256, Sha512};
use stx_layout::rpm::{FrameError, HeadError, Headers, Stated, is_hex, read_head};

/// A package that is incomplete or damaged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WholeError {
    /// The file cannot be read.
    #[error("the package cannot be read")]
    Io {
        /// The error that caused it.
        #[source]
        source: io::Error,
    },
    /// The headers of the package are damaged.
    #[error(transparent)]
    Frame {
        /// The reason.
        #[from]
        source: FrameError,
    },
    /// Header and payload have a wrong size.
    #[error("its payload differs from its header: {found} bytes instead of {expected}")]
    Size {
        /// The size according to the signature header, without that of the main header.
        expected: u64,
        /// The size of the payload.
        found: u64,
    },
    /// The bytes differ from the digest.
    #[error("its payload differs from its header: another {digest}")]
    Digest {
        /// The digest that does not match: `SHA-256`, `SHA-512`, `MD5`.
        digest: &'static str,
    },
}

/// Reads an RPM package to its end, and checks the payload against the digests of its headers, or against the size if they have
/// no digest. [`package`](crate::header::package) checks the digests of the main header itself.
///
/// # Errors
/// [`WholeError`] for a truncated, damaged or unreadable package.
pub fn check(mut package: impl Read) -> Result<(), WholeError> {
    let head = read_head(&mut package).map_err(|error| match error {
        HeadError::Io { source } => WholeError::Io { source },
        HeadError::Frame { source } => source.into(),
    })?;
    let headers = Headers::parse(&head)?;
    let Stated {
        md5,
        payload,
        algorithm,
        size,
        ..
    } = headers.stated();
    // rpm assumes SHA-256 for a digest without an algorithm.
    let is_sha256 = payload.is_some() && matches!(algorithm, None | Some(8));
    let is_sha512 = payload.is_some() && algorithm == Some(10);
    let main = headers.main.bytes();
    let mut whole = md5.map(|_| Md5::new_with_prefix(main));
    let mut sha256 = is_sha256.then(Sha256::new);
    let mut sha512 = is_sha512.then(Sha512::new);
    let mut found = 0;
    let mut buffer = vec![0; 128 << 10];
    loop {
        let count = match package.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(WholeError::Io { source }),
        };
        let bytes = &buffer[..count];
        found += count as u64;
        if let Some(hash) = &mut whole {
            hash.update(bytes);
        }
        if let Some(hash) = &mut sha256 {
            hash.update(bytes);
        }
        if let Some(hash) = &mut sha512 {
            hash.update(bytes);
        }
    }
    let payload = payload.unwrap_or_default();
    let whole = whole.map(|hash| ("MD5", md5 == Some(&hash.finalize()[..])));
    let sha256 = sha256.map(|hash| ("SHA-256", is_hex(payload, &hash.finalize())));
    let sha512 = sha512.map(|hash| ("SHA-512", is_hex(payload, &hash.finalize())));
    let digests = [sha256, sha512, whole];
    let mut digests = digests.into_iter().flatten().peekable();
    let is_covered = digests.peek().is_some();
    let other = digests.find(|(_, is_right)| !is_right);
    let expected = size.map(|size| size.saturating_sub(main.len() as u64));
    match (other, expected) {
        // For a truncated file, the size explains more than a digest. If all digests match, a wrong size is accepted, because
        // rpm ignores it.
        (other, Some(expected)) if expected != found && (other.is_some() || !is_covered) => {
            Err(WholeError::Size { expected, found })
        }
        (Some((digest, _)), _) => Err(WholeError::Digest { digest }),
        (None, _) => Ok(()),
    }
}
