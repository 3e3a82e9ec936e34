//! The contract of a store that signs.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use stx_layout::{BuildOutcome, BuildRecord};

use super::{path, put, sample_id, sample_request};
use crate::incoming::{Entry, digest_of};
use crate::publish::{prepare, publish};
use crate::seal::{SUMS_SIGNATURE, Seal, Sealed, SignError, Signer};
use crate::store::{Depth, MirrorStore, Scope, StoreError, read_all};
use crate::verify::verify;

/// Signs with the digest and the time, which anyone can compute; for tests.
#[derive(Debug)]
pub struct TestSigner;

impl Signer for TestSigner {
    fn sign(&self, bytes: &[u8], at: DateTime<Utc>) -> Result<String, SignError> {
        let (digest, at) = (digest_of(bytes), at.to_rfc3339());
        Ok(format!("signed {digest} at {at}\n"))
    }

    fn sign_text(&self, text: &str, at: DateTime<Utc>) -> Result<Option<String>, SignError> {
        let signature = self.sign(text.as_bytes(), at)?;
        Ok(Some(format!("{text}{signature}")))
    }
}

/// A seal with a [`TestSigner`].
pub fn test_seal() -> Seal {
    Seal {
        signer: Some(Arc::new(TestSigner)),
        attester: None,
        mirrors: Vec::new(),
    }
}

/// Runs the part of the suite that needs a store with the [`test_seal`]; the store must be empty.
///
/// # Panics
/// If the store breaks the contract.
pub async fn sealed(store: &dyn MirrorStore) {
    put(store, 1, BuildOutcome::Success).await;
    sums_are_signed(store).await;
    repositories_are_signed(store).await;
    copies_keep_their_seal(store).await;
    super::apt::run(store).await;
    super::controls::run(store).await;
    let report = verify(store, &Scope::All).await.expect("verified");
    assert_eq!(report.findings, [], "signatures are no strays");
}

async fn read(store: &dyn MirrorStore, day: u32, name: &str) -> Vec<u8> {
    let read = read_all(store, &sample_id(day), &path(name), 1 << 20).await;
    read.expect("read")
}

/// The signature that a file of a build must have.
fn signature(bytes: &[u8], day: u32) -> String {
    let signature = TestSigner.sign(bytes, sample_id(day).date.time());
    signature.expect("signed")
}

async fn sums_are_signed(store: &dyn MirrorStore) {
    let sums = read(store, 1, "SHA256SUMS").await;
    let found = read(store, 1, SUMS_SIGNATURE).await;
    assert_eq!(found, signature(&sums, 1).into_bytes());
    assert!(!String::from_utf8_lossy(&sums).contains(SUMS_SIGNATURE));
    let seen = store.inspect(&sample_id(1), Depth::Listing).await;
    assert!(
        !seen
            .expect("seen")
            .found
            .contains_key(&path(SUMS_SIGNATURE))
    );
    let again = sample_request(1, BuildOutcome::Success, "day 1");
    let again = prepare(store, again).await.expect("a plan");
    assert!(again.is_noop(), "{again}");
}

async fn repositories_are_signed(store: &dyn MirrorStore) {
    let repository = || {
        let mut request = sample_request(2, BuildOutcome::Success, "day 2");
        let package = Entry::Generated(Bytes::from_static(b"no package"));
        let at = path("outputs/RPMS/std/a.rpm");
        request.tree.incoming_mut().entries.insert(at, package);
        request
    };
    let plan = prepare(store, repository()).await.expect("a plan");
    publish(store, &plan).await.expect("published");
    let repomd = read(store, 2, "outputs/RPMS/std/repodata/repomd.xml").await;
    let found = read(store, 2, "outputs/RPMS/std/repodata/repomd.xml.asc").await;
    assert_eq!(found, signature(&repomd, 2).into_bytes());
    let sums = store.sums(&sample_id(2)).await.expect("sums");
    let listed = sums.get(&path("outputs/RPMS/std/repodata/repomd.xml.asc"));
    assert_eq!(listed, Some(digest_of(&found)));
    let again = prepare(store, repository()).await.expect("a plan");
    assert!(again.is_noop(), "{again}");
}

/// Copies a build with the seal of another mirror to a store that would otherwise sign it.
async fn copies_keep_their_seal(store: &dyn MirrorStore) {
    let id = sample_id(3);
    let mut record = BuildRecord::new(id.clone(), BuildOutcome::Fail);
    record.recipe = Some("of another mirror".to_owned());
    let marker = BuildRecord::marker(record.result);
    let line = format!("{}  {marker}\n", digest_of(b""));
    let unsigned = Seal::default().seal(&line.parse().expect("sums"), 0, record);
    let mut original = unsigned.expect("sealed");
    original
        .files
        .insert(1, (path(SUMS_SIGNATURE), Bytes::from_static(b"theirs\n")));

    let empty = Entry::Generated(Bytes::new());
    let writer = store.lock(&id.channel).await.expect("locked");
    let staged = writer.begin(id.date).await.expect("begun");
    let other = staged.commit_as(original.clone()).await;
    assert!(
        matches!(other, Err(StoreError::Refused { .. })),
        "{other:?}: a file is missing"
    );
    let staged = writer.begin(id.date).await.expect("begun");
    staged.add(&marker, &empty).await.expect("added");
    staged.commit_as(original.clone()).await.expect("committed");
    let copied = Sealed::read(store, &id).await.expect("read");
    assert_eq!(copied, original);
}
