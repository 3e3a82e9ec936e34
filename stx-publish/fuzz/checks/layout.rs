//! Any documents as an OCI image layout: no panic; of a layout that is accepted, what `images` asks for.
//!
//! Documents are divided by lines of `%%`; the last one is the layout's `index.json`, the others are blobs. `@N@` stands for
//! the digest of the document of that number, from 0, and `#N#` for its size: who makes a layout makes them fit, too.

use std::collections::BTreeMap;

use sha2::Digest as _;
use stx_layout::{BuildPath, Sha256};
use stx_publish::{Entry, Incoming};

use super::images;

/// The directory of the layout in the build.
const LAYOUT: &str = "outputs/docker-images/layout";

/// Reads `bytes` as documents of a layout.
pub(crate) fn check(bytes: &[u8]) {
    let mut known: Vec<(String, usize)> = Vec::new();
    let mut files = BTreeMap::from([(
        "oci-layout".to_owned(),
        br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
    )]);
    let documents = split(bytes);
    let Some((index, blobs)) = documents.split_last() else {
        return;
    };
    for blob in blobs.iter().take(200) {
        let blob = fill(blob, &known);
        let digest = Sha256(sha2::Sha256::digest(&blob).into()).to_string();
        known.push((digest.clone(), blob.len()));
        files.insert(format!("blobs/sha256/{digest}"), blob);
    }
    files.insert("index.json".to_owned(), fill(index, &known));
    let mut incoming = Incoming::default();
    for (name, bytes) in files {
        let path: BuildPath = format!("{LAYOUT}/{name}").parse().expect("a path");
        incoming
            .entries
            .insert(path, Entry::Generated(bytes.into()));
    }
    images::check(&incoming);
}

/// The documents.
fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    const BETWEEN: &[u8] = b"\n%%\n";
    let mut documents = Vec::new();
    while let Some(at) = bytes
        .windows(BETWEEN.len())
        .position(|found| found == BETWEEN)
    {
        documents.push(&bytes[..at]);
        bytes = &bytes[at + BETWEEN.len()..];
    }
    documents.push(bytes);
    documents
}

/// A document with the digests and sizes of those before it.
fn fill(document: &[u8], known: &[(String, usize)]) -> Vec<u8> {
    let mut filled = Vec::with_capacity(document.len());
    let mut rest = document;
    while let Some((first, after)) = rest.split_first() {
        let number = matches!(first, b'@' | b'#')
            .then(|| after.iter().position(|byte| byte == first))
            .flatten()
            .filter(|length| *length < 4)
            .and_then(|length| str::from_utf8(&after[..length]).ok())
            .and_then(|number| Some((number.len(), known.get(number.parse::<usize>().ok()?)?)));
        if let Some((length, (digest, size))) = number {
            if *first == b'@' {
                filled.extend_from_slice(digest.as_bytes());
            } else {
                filled.extend_from_slice(size.to_string().as_bytes());
            }
            rest = &after[length + 1..];
        } else {
            filled.push(*first);
            rest = after;
        }
    }
    filled
}
