//! Reads the images of a build twice, and holds what was found against the bytes that there are.

use std::io::{Read as _, Seek as _, SeekFrom};

use sha2::Digest as _;
use stx_images::FoundImage;
use stx_images::read::read;
use stx_images::registry::{Blob, BlobSource};
use stx_layout::Sha256;
use stx_publish::Incoming;

/// Reads the images of a build: every digest is that of the bytes, every blob is there once, and reading again finds the same.
pub(crate) fn check(incoming: &Incoming) {
    let found = match read(incoming) {
        Ok(found) => found,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    for FoundImage { image, .. } in &found.images {
        let mut sizes = image.manifest.bytes.len() as u64;
        for part in &image.parts {
            sizes += part.bytes.len() as u64;
        }
        let mut last = None;
        for blob in &image.blobs {
            assert!(last < Some(blob.digest), "a blob twice");
            last = Some(blob.digest);
            sizes += blob.size;
            assert_eq!(digest(blob), blob.digest);
        }
        assert_eq!(image.size(), sizes);
        assert_eq!(image.digest(), sha256(&image.manifest.bytes));
    }
    assert_eq!(read(incoming).expect("the same images"), found);
}

fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

/// The digest of the bytes of a blob, which are there to the last one.
fn digest(blob: &Blob) -> Sha256 {
    match &blob.source {
        BlobSource::Bytes(bytes) => {
            assert_eq!(bytes.len() as u64, blob.size);
            sha256(bytes)
        }
        BlobSource::File { path, offset } => {
            let mut file = fs_err::File::open(path).expect("its file");
            file.seek(SeekFrom::Start(*offset)).expect("its place");
            let mut bytes = Vec::new();
            file.take(blob.size)
                .read_to_end(&mut bytes)
                .expect("its bytes");
            assert_eq!(bytes.len() as u64, blob.size);
            sha256(&bytes)
        }
    }
}
