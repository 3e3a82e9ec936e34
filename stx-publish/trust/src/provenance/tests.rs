use std::collections::BTreeMap;

use stx_layout::{
    BuildId, BuildOutcome, BuildRecord, ImageRecord, PhaseRecord, PhaseStatus, RecipeFileRecord,
    Sha256, SourceRecord, SumLine, Sums,
};

use super::statement::{BUILT, PUBLISHED};
use super::*;

fn sums(paths: &[&str]) -> Sums {
    (0..)
        .zip(paths)
        .map(|(number, path)| SumLine {
            path: path.parse().expect("a path"),
            digest: Sha256([number; 32]),
        })
        .collect()
}

fn id() -> BuildId {
    "master/centos/20181105T060000Z".parse().expect("a build")
}

fn record() -> BuildRecord {
    let mut record = BuildRecord::new(id(), BuildOutcome::Success);
    record.trigger = Some("manual: for QA".to_owned());
    record.branch = Some("master".to_owned());
    record.recipe = Some("starlingx-centos".to_owned());
    record.recipe_files = vec![RecipeFileRecord {
        path: "starlingx-centos.toml".to_owned(),
        sha256: Sha256([7; 32]),
    }];
    record.sources = vec![SourceRecord {
        path: "cgcs-root/stx/config".to_owned(),
        url: Some("https://opendev.org/starlingx/config".to_owned()),
        commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
    }];
    record.phases = vec![PhaseRecord {
        name: "iso".to_owned(),
        status: PhaseStatus::Succeeded,
        required: true,
        attempts: 1,
        started: None,
        finished: "2018-11-05T07:30:00.25Z".parse().ok(),
        reason: None,
    }];
    record.images = vec![ImageRecord {
        name: "starlingx/stx-keystone:dev-centos-pike".to_owned(),
        digest: Sha256([0xab; 32]),
        platform: None,
        size: None,
    }];
    record
}

const FILES: [&str; 6] = [
    "inputs/RPMS/bash-4.2-1.x86_64.rpm",
    "inputs/RPMS/repodata/repomd.xml",
    "outputs/RPMS/std/config-1-1.x86_64.rpm",
    "outputs/RPMS/std/repodata/repomd.xml",
    "outputs/iso/bootimage.iso",
    "outputs/success",
];

fn builder() -> Builder {
    Builder {
        id: "https://builds.example.org/stx/v1".parse().expect("a URI"),
        version: BTreeMap::from([("stx-builds".to_owned(), "0.1.0".to_owned())]),
    }
}

#[test]
fn a_statement_names_the_inputs_and_outputs_of_the_build() {
    let statement = statement(&record(), &sums(&FILES), &builder());
    insta::assert_snapshot!(statement.to_json());
    let read = Statement::from_json(statement.to_json().as_bytes()).expect("a statement");
    assert_eq!(read, statement);
    assert_eq!(statement.predicate.build_definition.build_type, BUILT);
}

#[test]
fn a_tree_built_elsewhere_is_stated_as_published_only() {
    let mut record = BuildRecord::new(id(), BuildOutcome::Success);
    record.trigger = Some("publish".to_owned());
    let statement = statement(&record, &sums(&FILES), &builder());
    let definition = statement.predicate.build_definition;
    assert_eq!(definition.build_type, PUBLISHED);
    assert_eq!(statement.predicate.run_details.metadata.finished_on, None);
}

#[test]
fn unknown_fields_of_a_statement_are_ignored() {
    let mut json: serde_json::Value =
        serde_json::from_str(&statement(&record(), &sums(&FILES), &builder()).to_json())
            .expect("JSON");
    json["predicate"]["runDetails"]["byproducts"] = serde_json::json!([{"name": "x"}]);
    json["subject"][0]["annotations"] = serde_json::json!({"a": 1});
    let read = Statement::from_json(json.to_string().as_bytes()).expect("a statement");
    assert_eq!(read, statement(&record(), &sums(&FILES), &builder()));

    json["predicateType"] = "https://spdx.dev/Document".into();
    let refused = Statement::from_json(json.to_string().as_bytes()).expect_err("another type");
    assert!(refused.to_string().contains("spdx.dev"), "{refused}");
}

/// A statement and its build agree until either of them changes.
#[test]
fn every_disagreement_is_found() {
    let (record, sums) = (record(), sums(&FILES));
    let stated = statement(&record, &sums, &builder());
    assert_eq!(check(&stated, &record, &sums), []);

    let without = |path: &str| -> Sums {
        let lines = sums
            .lines()
            .iter()
            .filter(|line| line.path.as_str() != path);
        lines.cloned().collect()
    };
    let changed = |path: &str| -> Sums {
        let lines = sums.lines().iter().cloned().map(|mut line| {
            if line.path.as_str() == path {
                line.digest = Sha256([0xff; 32]);
            }
            line
        });
        lines.collect()
    };
    for path in FILES {
        let named = |found: &[Disagreement]| -> Vec<String> {
            found.iter().map(ToString::to_string).collect()
        };
        let removed = named(&check(&stated, &record, &without(path)));
        let altered = named(&check(&stated, &record, &changed(path)));
        let added = named(&check(
            &statement(&record, &without(path), &builder()),
            &record,
            &sums,
        ));
        if path == "inputs/RPMS/repodata/repomd.xml" {
            let none = removed.is_empty() && altered.is_empty() && added.is_empty();
            assert!(none, "{path}");
            continue;
        }
        for found in [&removed, &altered, &added] {
            let first = found.iter().find(|line| line.starts_with(path));
            assert!(first.is_some(), "{path}: {found:?}");
        }
    }

    let mut other = record.clone();
    other.sources[0].commit = "f".repeat(40);
    other.images[0].digest = Sha256([0; 32]);
    other.id.date = "20181106T060000Z".parse().expect("a date");
    assert_eq!(
        check(&stated, &other, &sums),
        [
            Disagreement::Build {
                found: id().to_string()
            },
            Disagreement::Digest {
                path: "starlingx/stx-keystone:dev-centos-pike".to_owned()
            },
            Disagreement::Commit {
                path: "cgcs-root/stx/config".to_owned()
            },
        ]
    );
    let mut more = record.clone();
    more.sources.clear();
    more.images.clear();
    assert_eq!(check(&stated, &more, &sums).len(), 2);
    let less = statement(&more, &sums, &builder());
    assert_eq!(check(&less, &record, &sums).len(), 2);
}

/// A signer whose signature of a message is the message itself.
#[derive(Debug)]
pub(crate) struct Mirroring;

impl EnvelopeSigner for Mirroring {
    fn key_id(&self) -> &'static str {
        "mirroring"
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(message.to_vec())
    }
}

impl EnvelopeKey for Mirroring {
    fn id(&self) -> &'static str {
        "mirroring"
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        message == signature
    }
}

#[test]
fn an_envelope_round_trips_and_its_signature_covers_payload_and_type() {
    let attestation = Attestation {
        builder: builder(),
        signer: Some(Arc::new(Mirroring)),
    };
    let files = attestation.attest(&record(), &sums(&FILES));
    let [(path, bytes)] = &files.expect("signed")[..] else {
        panic!("one file is made")
    };
    assert_eq!(path.as_str(), ENVELOPE_FILE);
    assert!(is_provenance(path));
    assert_eq!(bytes.split(|byte| *byte == b'\n').count(), 2);
    let read = Provenance::from_bytes(path.as_str(), bytes).expect("provenance");
    let Provenance::Signed {
        statement: stated,
        envelope,
    } = read
    else {
        panic!("it is signed: {read:?}")
    };
    assert_eq!(*stated, statement(&record(), &sums(&FILES), &builder()));
    envelope.verify([&Mirroring]).expect("its signature");

    let mut other = envelope.clone();
    other.payload[100] ^= 1;
    let refused = other.verify([&Mirroring]).expect_err("another payload");
    assert!(refused.to_string().contains("mirroring"), "{refused}");
    let mut other = envelope.clone();
    other.payload_type.push('x');
    assert!(other.verify([&Mirroring]).is_err());
    assert!(envelope.verify([] as [&Mirroring; 0]).is_err());
}

#[test]
fn an_invalid_envelope_is_refused() {
    let payload = "e30=";
    let form = |kind: &str, payload: &str, signatures: &str| {
        format!(
            r#"{{"payloadType": "{kind}", "payload": "{payload}", "signatures": [{signatures}]}}"#
        )
    };
    let in_toto = dsse::PAYLOAD_TYPE;
    let signature = r#"{"keyid": "", "sig": "AA=="}"#;
    let read = |text: &str| Envelope::from_jsonl(text.as_bytes());
    read(&form(in_toto, payload, signature)).expect("an envelope");
    read(&form(in_toto, payload, r#"{"sig": "AA=="}"#)).expect("the key need not be named");
    for (text, word) in [
        (form("text/plain", payload, signature), "text/plain"),
        (form(in_toto, "e30", signature), "payload is not in base64"),
        (
            form(in_toto, payload, r#"{"sig": "?"}"#),
            "signature is not in base64",
        ),
        (form(in_toto, payload, ""), "no signature"),
        ("{}".to_owned(), "line 1"),
        (form(in_toto, payload, signature).repeat(2), "line 1"),
    ] {
        let refused = read(&text).expect_err(&text);
        assert!(refused.to_string().contains(word), "{refused}");
    }
}

#[cfg(feature = "dsse")]
mod keys {
    use super::super::key::{KeyError, PublicKey, SigningKey};
    use super::*;

    /// The example of RFC 8410, section 10.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn a_signature_is_valid_only_for_the_public_key_of_its_signer() {
        let key = SigningKey::from_pem(PRIVATE.as_bytes()).expect("a key");
        let public = PublicKey::from_pem(PUBLIC.as_bytes()).expect("a key");
        assert_eq!(key.public(), &public);
        let signed = key.sign(b"message").expect("signed");
        assert!(public.verifies(b"message", &signed));
        assert!(!public.verifies(b"massage", &signed));
        assert!(!public.verifies(b"message", &signed[1..]));
        assert!(!public.verifies(b"message", b""));
        assert!(!format!("{key:?}").contains("d4ee72"), "{key:?}");
    }

    #[test]
    fn other_texts_are_not_keys() {
        let p384 = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE\n-----END PUBLIC KEY-----\n";
        for text in ["", PRIVATE, p384] {
            assert!(PublicKey::from_pem(text.as_bytes()).is_err(), "{text}");
        }
        assert!(matches!(
            PublicKey::from_pem(PRIVATE.as_bytes()),
            Err(KeyError::Pem { .. })
        ));
        assert!(matches!(
            PublicKey::from_pem(p384.as_bytes()),
            Err(KeyError::Kind { .. })
        ));
        assert!(SigningKey::from_pem(PUBLIC.as_bytes()).is_err());
    }
}
