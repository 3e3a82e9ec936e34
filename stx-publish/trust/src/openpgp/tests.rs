//! Signed indexes while they are replaced, and packages whose copies are damaged.
//!
//! The keys are those of `fixtures/`, made by `gpg` in 2018. The tests of the whole program cover other kinds of keys, and the
//! judgement of `gpg`, `rpm` and `dnf` on the signatures.

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, TimeDelta, Utc};
use stx_layout::{AliasEntry, AliasName, BuildOutcome};

use super::*;
use stx_pages::{IndexSeal, Site, refresh_sealed};
use stx_publish::conformance::{sample_id, sample_request};
use stx_publish::faulty::{Fault, FaultyStore};
use stx_publish::index::{PageId, PageName};
use stx_publish::memory::MemoryStore;
use stx_publish::publish::{prepare, publish};
use stx_publish::seal::{Seal, Signer as _};
use stx_publish::store::{MirrorRead, MirrorStore, Scope, StoreError, read_all};

const KEY: &str = include_str!("fixtures/signing.key");
const LOCKED: &str = include_str!("fixtures/locked.key");

fn now() -> DateTime<Utc> {
    sample_id(20).date.time()
}

fn signer() -> OpenPgp {
    static SIGNER: OnceLock<OpenPgp> = OnceLock::new();
    let signer = SIGNER.get_or_init(|| OpenPgp::key(KEY, None, now()).expect("a key"));
    signer.clone()
}

fn seal(now: DateTime<Utc>) -> IndexSeal {
    let signer = signer();
    IndexSeal {
        keys: signer.public().armored().expect("armored"),
        signer: Arc::new(signer),
        lasts: TimeDelta::days(7),
        now,
    }
}

/// A store that signs, with a build.
async fn signed(day: u32) -> MemoryStore {
    let store = MemoryStore::new().with_seal(Seal {
        signer: Some(Arc::new(signer())),
        attester: None,
        mirrors: Vec::new(),
    });
    put(&store, day).await;
    store
}

async fn put(store: &dyn MirrorStore, day: u32) {
    let request = sample_request(day, BuildOutcome::Success, &format!("day {day}"));
    let plan = prepare(store, request).await.expect("a plan");
    publish(store, &plan).await.expect("published");
}

fn trusted(store: &MemoryStore, known: SeenSerials, now: DateTime<Utc>) -> TrustedMirror {
    let keyring = signer().public().clone();
    TrustedMirror::new(Arc::new(store.clone()), keyring, known, now, false)
}

async fn shown(mirror: &TrustedMirror) -> Result<Option<AliasEntry>, StoreError> {
    let latest = AliasName::latest_build();
    mirror.alias(&sample_id(1).channel, &latest).await
}

#[tokio::test]
async fn an_index_is_valid_at_every_step_of_its_replacement() {
    let site = Site::default();
    let mut steps = 0;
    for at in 0.. {
        let store = signed(1).await;
        let first = refresh_sealed(&store, &site, Some(&seal(now()))).await;
        first.expect("made");
        put(&store, 2).await;
        let faulty = FaultyStore::new(store.clone(), Fault::FromThenOn, at);
        let next = now() + TimeDelta::hours(1);
        let done = refresh_sealed(&faulty, &site, Some(&seal(next))).await;
        let mirror = trusted(&store, SeenSerials::default(), next);
        let alias = shown(&mirror)
            .await
            .expect("whatever was written is signed");
        let days = [1, 2].map(|day| Some(AliasEntry::Build(sample_id(day).date)));
        assert!(days.contains(&alias), "step {at}: {alias:?}");
        mirror.catalog(&Scope::All).await.expect("the root as well");

        let again = refresh_sealed(&store, &site, Some(&seal(next))).await;
        again.expect("made");
        let page = PageId {
            channel: Some(sample_id(1).channel),
            name: PageName::IndexSignature,
        };
        let signature = store.page(&page).await.expect("read").expect("a page");
        let signature = String::from_utf8_lossy(&signature).into_owned();
        assert_eq!(signature.matches("BEGIN").count(), 1, "step {at}");
        let alias = shown(&trusted(&store, SeenSerials::default(), next)).await;
        assert_eq!(alias.expect("signed"), days[1]);
        steps = at;
        if done.is_ok() {
            break;
        }
    }
    assert!(steps > 10, "only {steps} steps");
}

#[tokio::test]
async fn serials_grow_and_old_ones_are_refused() {
    let (store, site) = (signed(1).await, Site::default());
    let made = refresh_sealed(&store, &site, Some(&seal(now()))).await;
    assert_eq!(made.expect("made").written.len(), 9);
    let made = refresh_sealed(&store, &site, Some(&seal(now()))).await;
    assert_eq!(made.expect("made").written, [], "nothing changed");
    let mirror = trusted(&store, SeenSerials::default(), now());
    shown(&mirror).await.expect("signed");
    let first = mirror.seen();
    let key = signer().public().fingerprints().concat();
    let path = "master/centos/index.json";
    let serial = first.serial(&key, path).expect("seen");
    assert_eq!(serial, now().timestamp().unsigned_abs());

    // A clock that is set back does not set the serial back.
    put(&store, 2).await;
    let earlier = now() - TimeDelta::days(1);
    let made = refresh_sealed(&store, &site, Some(&seal(earlier))).await;
    made.expect("made");
    let mirror = trusted(&store, first, earlier);
    shown(&mirror).await.expect("newer");
    let second = mirror.seen();
    assert_eq!(second.serial(&key, path), Some(serial + 1));

    // Half of the time until the expiry has passed: the indexes are made again, and nothing else is.
    let half = earlier + TimeDelta::hours(84);
    let made = refresh_sealed(&store, &site, Some(&seal(half))).await;
    assert_eq!(made.expect("made").written.len(), 4, "two indexes, signed");

    let known: SeenSerials =
        serde_json::from_value(serde_json::json!({ key: { path: u64::MAX } })).expect("a memory");
    let refused = shown(&trusted(&store, known, half)).await;
    assert!(
        matches!(refused, Err(StoreError::Stale { .. })),
        "{refused:?}"
    );
    let late = trusted(&store, SeenSerials::default(), half + TimeDelta::days(7));
    let refused = shown(&late).await;
    assert!(
        matches!(refused, Err(StoreError::Stale { .. })),
        "{refused:?}"
    );
    assert_eq!(
        late.seen(),
        SeenSerials::default(),
        "what is refused is not seen"
    );
}

#[tokio::test]
async fn an_older_build_under_the_name_of_a_newer_one_is_refused() {
    let store = signed(1).await;
    put(&store, 2).await;
    let (older, newer) = (sample_id(1), sample_id(2));
    for name in ["build.json", "SHA256SUMS", "SHA256SUMS.asc"] {
        let path = name.parse().expect("a path");
        let bytes = read_all(&store, &older, &path, 1 << 20).await;
        store.tamper_file(&newer, &path, Some(bytes.expect("a file").into()));
    }
    let mirror = trusted(&store, SeenSerials::default(), now());
    mirror.sums(&older).await.expect("signed");
    let refused = mirror.sums(&newer).await;
    assert!(
        matches!(refused, Err(StoreError::Untrusted { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_record_that_the_sums_do_not_name_is_refused() {
    let (store, id) = (signed(1).await, sample_id(1));
    let mirror = trusted(&store, SeenSerials::default(), now());
    mirror.record(&id).await.expect("signed");
    let path = "build.json".parse().expect("a path");
    let other = stx_layout::BuildRecord::new(id.clone(), BuildOutcome::Success).to_json();
    store.tamper_file(&id, &path, Some(other.into()));
    assert!(mirror.record(&id).await.is_err());
    let sums = "SHA256SUMS".parse().expect("a path");
    store.tamper_file(&id, &sums, Some("".into()));
    let refused = trusted(&store, SeenSerials::default(), now())
        .sums(&id)
        .await;
    assert!(
        matches!(refused, Err(StoreError::Untrusted { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_signature_is_never_older_than_its_key() {
    let signer = signer();
    let old = DateTime::from_timestamp(0, 0).expect("a time");
    let signature = signer.sign(b"bytes", old).expect("signed");
    let good = signer
        .public()
        .verify(b"bytes", signature.as_bytes(), now());
    assert!(good.expect("good").at > old);
    assert_eq!(signer.sign(b"bytes", old).expect("signed"), signature);
}

#[test]
fn a_locked_key_needs_its_passphrase() {
    let sign = |passphrase| {
        let signer = OpenPgp::key(LOCKED, passphrase, now())?;
        signer.sign(b"bytes", now())
    };
    assert!(sign(Some("open sesame")).is_ok());
    let text = |passphrase| OpenPgp::key(LOCKED, passphrase, now())?.sign_text("text", now());
    assert!(text(Some("open sesame")).is_ok_and(|message| message.is_some()));
    assert!(text(Some("wrong")).is_err());
    assert!(sign(Some("wrong")).is_err());
    assert!(sign(None).is_err());
    assert!(OpenPgp::key("nothing", None, now()).is_err());
    let before = DateTime::from_timestamp(0, 0).expect("a time");
    assert!(OpenPgp::key(KEY, None, before).is_err(), "not made yet");
}

#[test]
fn a_signed_message_contains_exactly_its_text() {
    let (signer, text) = (signer(), "Origin: x\nSHA256:\n 00 1 Packages\n");
    let message = signer.sign_text(text, now()).expect("signed");
    let message = message.expect("a message");
    assert_eq!(
        Some(&message),
        signer.sign_text(text, now()).expect("signed").as_ref()
    );
    let judged = signer.public().verify_message(&message, now());
    let (good, found) = judged.expect("good");
    assert_eq!((good.at, found.as_str()), (now(), text.trim_end()));

    let detached = signer.sign(text.as_bytes(), now()).expect("signed");
    let begin = "-----BEGIN PGP SIGNATURE-----";
    let (head, tail) = message.split_once(begin).expect("a signature");
    let of_the_text = format!("{begin}{tail}");
    let in_a_message = format!("{head}{detached}");
    for wrong in [
        message.replace("00 1", "00 2"),
        message.replace("Origin: x\n", ""),
        format!("Origin: y\n\n{message}"),
        in_a_message,
        text.to_owned(),
        String::new(),
    ] {
        let judged = signer.public().verify_message(&wrong, now());
        judged.expect_err(&wrong);
    }
    let trimmed = text.trim_end().as_bytes();
    for bytes in [text.as_bytes(), trimmed] {
        let judged = signer.public().verify(bytes, of_the_text.as_bytes(), now());
        assert!(matches!(judged, Err(TrustError::Weak { .. })), "{judged:?}");
    }
}

#[tokio::test]
async fn repositories_that_apt_refuses_are_found() {
    use stx_publish::conformance::{sample_control, sample_deb};
    use stx_publish::incoming::Entry;
    use stx_publish::verify::VerifyReport;

    const RELEASE: &str = "outputs/std/packages/Release";
    let path = |text: &str| text.parse().expect("a path");
    let publish_to = async |store: &MemoryStore| {
        let mut request = sample_request(1, BuildOutcome::Success, "text");
        let package = Entry::Generated(sample_deb(&sample_control("a", "1")));
        let entries = &mut request.tree.incoming_mut().entries;
        entries.insert(path("outputs/std/packages/a.deb"), package);
        let plan = prepare(store, request).await.expect("a plan");
        publish(store, &plan).await.expect("published");
    };
    let found = async |store: &MemoryStore, now| {
        let (mut report, scope) = (VerifyReport::default(), Scope::All);
        let keyring = signer().public().clone();
        let verified = verify_releases(store, &keyring, &scope, now, &mut report).await;
        verified.expect("verified");
        let findings = report.findings.into_iter();
        findings
            .map(|it| format!("{}: {}", it.path.unwrap_or_default(), it.message))
            .collect::<Vec<_>>()
    };
    let unsigned = MemoryStore::new();
    publish_to(&unsigned).await;
    let said = format!("{RELEASE}: clients refuse it: not signed");
    assert_eq!(found(&unsigned, now()).await, [said]);

    let signing = || {
        MemoryStore::new().with_seal(Seal {
            signer: Some(Arc::new(signer())),
            attester: None,
            mirrors: Vec::new(),
        })
    };
    for (name, said) in [
        ("", &[][..]),
        (
            "Release",
            &[
                "Release: clients refuse it: ",
                "InRelease: clients refuse it: signed, but another",
            ],
        ),
        ("Release.gpg", &["Release: clients refuse it: "]),
        ("InRelease", &["InRelease: clients refuse it: "]),
    ] {
        let store = signing();
        publish_to(&store).await;
        if !name.is_empty() {
            let file = path(&format!("outputs/std/packages/{name}"));
            let bytes = read_all(&store, &sample_id(1), &file, 1 << 20).await;
            let mut bytes = bytes.expect("there");
            let at = bytes.windows(5).position(|it| it == b"maste").unwrap_or(90);
            bytes[at] ^= 1;
            store.tamper_file(&sample_id(1), &file, Some(bytes.into()));
        }
        let found = found(&store, now()).await;
        assert_eq!(found.len(), said.len(), "{name}: {found:?}");
        for said in said {
            assert!(
                found.iter().any(|it| it.contains(said)),
                "{name}: {found:?}"
            );
        }
    }
}
