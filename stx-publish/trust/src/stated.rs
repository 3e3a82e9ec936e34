//! Compares the provenance and the bills of materials of builds with their files.

use stx_layout::derived::image_of_bill;
use stx_layout::{
    BuildId, BuildOutcome, BuildPath, BuildRecord, BuildState, Origin, SumLine, Sums,
};
use stx_publish::plan::{ORIGIN, promoted_path};

use crate::provenance::{self, ENVELOPE_FILE, EnvelopeKey, Provenance, STATEMENT_FILE};
use crate::sbom::{Bill, LONGEST};
use stx_publish::store::{MirrorRead, Scope, StoreError, read_all};
use stx_publish::verify::{Finding, FindingKind, VerifyError, VerifyReport, chain};

/// The name of a build's sums.
const SUMS: &str = "SHA256SUMS";

/// Compares the provenance and the bills of materials of all builds of `scope` with their sums and records, and adds the
/// disagreements to `report`. Reads no other file.
///
/// With `keys`, every build must have provenance that one of them signed; without keys, a build may have none, and signatures are
/// not checked. A build that is retired meanwhile is left out.
pub async fn verify_stated<K: EnvelopeKey>(
    store: &dyn MirrorRead,
    scope: &Scope,
    keys: &[K],
    report: &mut VerifyReport,
) -> Result<(), VerifyError> {
    let fail = |source| VerifyError::new(scope, source);
    let catalog = store.catalog(scope).await.map_err(fail)?;
    for (id, build) in catalog.builds() {
        // The check of sums and records reports those that cannot be read.
        let (BuildState::Known(record), Ok(sums)) = (&build.state, store.sums(&id).await) else {
            continue;
        };
        let mut findings = Vec::new();
        let read = provenance::read(store, &id, &sums).await;
        findings.extend(check_provenance(&id, record, &sums, read, keys));
        if record
            .origin
            .as_ref()
            .and_then(Origin::promoted_from)
            .is_some()
        {
            findings.extend(check_origin(store, &id, record, &sums, keys).await);
        }
        for line in sums.lines() {
            let Some(image) = image_of_bill(&line.path) else {
                continue;
            };
            let text = read_all(store, &id, &line.path, LONGEST).await;
            // A bill that retention removed with its section no longer states anything.
            if !matches!(text, Err(StoreError::NotFound { .. })) {
                findings.extend(check_bill(&id, line, &image, &sums, text));
            }
        }
        if !findings.is_empty() {
            let now = store.catalog(&Scope::Build(id.clone())).await;
            if now.map_err(fail)?.build(&id).is_some() {
                report.findings.append(&mut findings);
            }
        }
    }
    report.findings.sort();
    Ok(())
}

/// Compares the provenance of a build with its record and sums.
pub fn check_provenance<K: EnvelopeKey>(
    id: &BuildId,
    record: &BuildRecord,
    sums: &Sums,
    read: Result<Option<Provenance>, StoreError>,
    keys: &[K],
) -> Vec<Finding> {
    let path = sums
        .lines()
        .iter()
        .map(|line| line.path.as_str())
        .find(|path| STATEMENT_FILE == *path || ENVELOPE_FILE == *path);
    let find = |kind, message: String| Finding::build(id, path, kind, message);
    let provenance = match read {
        Ok(Some(provenance)) => provenance,
        Ok(None) if keys.is_empty() => return Vec::new(),
        Ok(None) => {
            let message = "it has no provenance, which must exist and be signed".to_owned();
            return vec![find(FindingKind::ProvenanceUntrusted, message)];
        }
        Err(error) => {
            let kind = FindingKind::ProvenanceUnreadable;
            return vec![find(kind, chain(&error))];
        }
    };
    let mut findings = Vec::new();
    if !keys.is_empty() {
        let refused = match &provenance {
            Provenance::Bare(_) => Some("it is not signed".to_owned()),
            Provenance::Signed { envelope, .. } => {
                envelope.verify(keys).err().map(|error| error.to_string())
            }
        };
        findings.extend(refused.map(|message| find(FindingKind::ProvenanceUntrusted, message)));
    }
    let disagreements = provenance::check(provenance.statement(), record, sums);
    findings.extend(
        disagreements
            .into_iter()
            .map(|disagreement| find(FindingKind::ProvenanceDiffers, disagreement.to_string())),
    );
    findings
}

/// Follows a promoted build to its origin, and on to that one's origin: the files in `origin/` must describe a success of the
/// name in the record, its sums must be those of the files here, and its provenance must match its record and sums. The original
/// build itself may have expired.
async fn check_origin<K: EnvelopeKey>(
    store: &dyn MirrorRead,
    id: &BuildId,
    record: &BuildRecord,
    sums: &Sums,
    keys: &[K],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut record, mut sums, mut dir) = (record.clone(), sums.clone(), String::new());
    while let Some(from) = record.origin.as_ref().and_then(Origin::promoted_from) {
        dir = format!("{dir}{ORIGIN}/");
        let at = |name: &str| format!("{dir}{name}");
        let find = |name: &str, message: String| {
            Finding::build(id, Some(&at(name)), FindingKind::ProvenanceDiffers, message)
        };
        let read = async |name: &str| {
            let path = at(name).parse();
            let path: BuildPath =
                path.map_err(|error: stx_layout::ParseError| error.to_string())?;
            let bytes = read_all(store, id, &path, LONGEST).await;
            bytes.map_err(|error| chain(&error))
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|error| error.to_string());
        let before = read(BuildRecord::FILE_NAME).await.and_then(text);
        let before = before
            .and_then(|text| BuildRecord::from_json(&text).map_err(|error| error.to_string()));
        let before = match before {
            Ok(before) => before,
            Err(why) => {
                findings.push(find(BuildRecord::FILE_NAME, why));
                return findings;
            }
        };
        let listed = read(SUMS).await.and_then(text);
        let listed =
            listed.and_then(|text| text.parse::<Sums>().map_err(|error| error.to_string()));
        let listed = match listed {
            Ok(listed) => listed,
            Err(why) => {
                findings.push(find(SUMS, why));
                return findings;
            }
        };
        if before.id != *from {
            let message = format!("it is the record of {}, and {from} was promoted", before.id);
            findings.push(find(BuildRecord::FILE_NAME, message));
        }
        if before.result != BuildOutcome::Success {
            let message = "the build that was promoted failed".to_owned();
            findings.push(find(BuildRecord::FILE_NAME, message));
        }
        for line in listed.lines() {
            let here = sums.get(&promoted_path(&line.path));
            if here != Some(line.digest) {
                let message = format!("{}: not promoted with the bytes that it names", line.path);
                findings.push(find(SUMS, message));
            }
        }
        let mut stated = listed.lines().iter().map(|line| line.path.as_str());
        let stated = stated.find(|path| [STATEMENT_FILE, ENVELOPE_FILE].contains(path));
        let provenance = match stated {
            None => Ok(None),
            Some(name) => match read(name).await {
                Ok(bytes) => Provenance::from_bytes(name, &bytes)
                    .map(Some)
                    .map_err(|error| StoreError::Damaged {
                        what: format!("{id}/{}", at(name)),
                        source: error.into(),
                    }),
                Err(why) => Err(StoreError::Damaged {
                    what: format!("{id}/{}", at(name)),
                    source: why.into(),
                }),
            },
        };
        let found = check_provenance(id, &before, &listed, provenance, keys).into_iter();
        findings.extend(found.map(|finding| Finding {
            path: finding.path.map(|path| format!("{dir}{path}")),
            ..finding
        }));
        (record, sums) = (before, listed);
    }
    findings
}

/// Checks a bill of materials against the sums of its build.
fn check_bill(
    id: &BuildId,
    line: &SumLine,
    image: &BuildPath,
    sums: &Sums,
    text: Result<Vec<u8>, StoreError>,
) -> Vec<Finding> {
    let find = |kind, message: String| Finding::build(id, Some(line.path.as_str()), kind, message);
    let bill: Bill = match text.map(|text| serde_json::from_slice(&text)) {
        Ok(Ok(bill)) => bill,
        Ok(Err(error)) => return vec![find(FindingKind::SbomUnreadable, error.to_string())],
        Err(error) => return vec![find(FindingKind::SbomUnreadable, chain(&error))],
    };
    let differences = bill.differences(image, |path| sums.get(path)).into_iter();
    let differences = differences.map(|message| find(FindingKind::SbomDiffers, message));
    differences.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use stx_layout::BuildOutcome;

    use super::*;
    use crate::provenance::tests::Mirroring;
    use crate::provenance::{Attestation, ENVELOPE_FILE, STATEMENT_FILE};
    use stx_publish::conformance::{sample_id, sample_request};
    use stx_publish::incoming::{Entry, digest_of};
    use stx_publish::memory::MemoryStore;
    use stx_publish::publish::{prepare, publish};
    use stx_publish::seal::Seal;

    const BILL: &str = "outputs/iso/b+c.iso.cdx.json";

    fn path(text: &str) -> BuildPath {
        text.parse().expect("a path")
    }

    /// A bill of the image `image` that contains the file at `published`, with these bytes.
    fn bill(image: &str, published: &str, bytes: &str) -> Bytes {
        let hash = |text: &str| serde_json::json!([{"alg": "SHA-256", "content": digest_of(text.as_bytes())}]);
        let json = serde_json::json!({
            "metadata": {"component": {"hashes": hash(image)}},
            "components": [
                {"hashes": hash("unsigned"), "externalReferences": [
                    {"type": "website", "url": "https://example.org/"},
                    {"type": "distribution", "url": published, "hashes": hash(bytes)},
                ]},
                {"name": "a kernel", "hashes": hash("kernel")},
            ],
        });
        json.to_string().into()
    }

    async fn mirror(signed: bool, bill: Bytes) -> MemoryStore {
        let attestation = Attestation {
            signer: signed.then(|| Arc::new(Mirroring) as _),
            ..Attestation::default()
        };
        let store = MemoryStore::new().with_seal(Seal {
            attester: Some(Arc::new(attestation)),
            ..Seal::default()
        });
        let mut request = sample_request(1, BuildOutcome::Success, "x");
        for (name, bytes) in [
            ("outputs/iso/b+c.iso", Bytes::from_static(b"image")),
            ("outputs/RPMS/std/a b.rpm", Bytes::from_static(b"package")),
            (BILL, bill),
        ] {
            let entries = &mut request.tree.incoming_mut().entries;
            entries.insert(path(name), Entry::Generated(bytes));
        }
        let plan = prepare(&store, request).await.expect("a plan");
        publish(&store, &plan).await.expect("published");
        store
    }

    async fn found(store: &MemoryStore, keys: &[Mirroring]) -> Vec<(FindingKind, String)> {
        let mut report = VerifyReport::default();
        let verified = verify_stated(store, &Scope::All, keys, &mut report).await;
        verified.expect("verified");
        let findings = report.findings.into_iter();
        findings
            .map(|finding| (finding.kind, finding.message))
            .collect()
    }

    fn good() -> Bytes {
        bill("image", "../RPMS/std/a%20b.rpm", "package")
    }

    #[tokio::test]
    async fn a_signed_build_is_valid_until_its_statement_changes() {
        let store = mirror(true, good()).await;
        assert_eq!(found(&store, &[Mirroring]).await, []);
        assert_eq!(found(&store, &[]).await, []);
        let (id, file) = (sample_id(1), path(ENVELOPE_FILE));
        let whole = read_all(&store, &id, &file, LONGEST).await.expect("read");
        let mut envelope = provenance::Envelope::from_jsonl(&whole).expect("an envelope");
        let text = String::from_utf8(envelope.payload).expect("JSON");
        envelope.payload = text.replace("outputs/success", "outputs/excess").into();
        store.tamper_file(&id, &file, Some(envelope.to_jsonl().into()));
        let kinds = |found: Vec<(FindingKind, String)>| -> Vec<FindingKind> {
            found.into_iter().map(|(kind, _)| kind).collect()
        };
        let differs = [FindingKind::ProvenanceDiffers; 2];
        assert_eq!(kinds(found(&store, &[]).await), differs);
        assert_eq!(
            kinds(found(&store, &[Mirroring]).await),
            [&differs[..], &[FindingKind::ProvenanceUntrusted]].concat()
        );
        store.tamper_file(&id, &file, Some(Bytes::from_static(b"{}")));
        assert_eq!(
            kinds(found(&store, &[Mirroring]).await),
            [FindingKind::ProvenanceUnreadable]
        );
    }

    #[tokio::test]
    async fn with_keys_an_unsigned_build_is_a_finding() {
        let store = mirror(false, good()).await;
        assert_eq!(found(&store, &[]).await, []);
        let unsigned = found(&store, &[Mirroring]).await;
        assert_eq!(
            unsigned,
            [(
                FindingKind::ProvenanceUntrusted,
                "it is not signed".to_owned()
            )]
        );
        let store = MemoryStore::new();
        let request = sample_request(1, BuildOutcome::Success, "x");
        let plan = prepare(&store, request).await.expect("a plan");
        publish(&store, &plan).await.expect("published");
        assert_eq!(found(&store, &[]).await, []);
        let [(kind, _)] = &found(&store, &[Mirroring]).await[..] else {
            panic!("one finding")
        };
        assert_eq!(*kind, FindingKind::ProvenanceUntrusted);
    }

    #[tokio::test]
    async fn a_missing_statement_is_found() {
        let store = mirror(false, good()).await;
        store.tamper_file(&sample_id(1), &path(STATEMENT_FILE), None);
        let [(kind, _)] = &found(&store, &[]).await[..] else {
            panic!("one finding")
        };
        assert_eq!(*kind, FindingKind::ProvenanceUnreadable);
    }

    #[tokio::test]
    async fn a_bill_must_match_its_image_and_the_published_packages() {
        let there = "../RPMS/std/a%20b.rpm";
        for (bill, kinds) in [
            (good(), &[][..]),
            (bill("image", "https://example.org/x.rpm", "x"), &[]),
            (bill("other", there, "package"), &[FindingKind::SbomDiffers]),
            (bill("image", there, "other"), &[FindingKind::SbomDiffers]),
            (bill("image", "../x.rpm", "x"), &[FindingKind::SbomDiffers]),
            (Bytes::from_static(b"[]"), &[FindingKind::SbomUnreadable]),
        ] {
            let store = mirror(true, bill).await;
            let found = found(&store, &[Mirroring]).await;
            let found: Vec<_> = found.into_iter().map(|(kind, _)| kind).collect();
            assert_eq!(found, kinds);
        }
    }
}
