//! The zsync control files that a store makes for large files.

use bytes::Bytes;
use stx_layout::{BuildOutcome, BuildPath};

use super::{path, sample_id, sample_request};
use crate::incoming::{Entry, digest_of};
use crate::plan::{ControlRules, PublishRequest};
use crate::publish::{prepare, publish};
use crate::store::{MirrorStore, StoreError, read_all};
use stx_zsync::{Control, Maker};

const IMAGE: &str = "outputs/iso/large.iso";
const OTHER: &str = "outputs/iso/a+b.iso";
const OWN: &str = "outputs/iso/own.iso";

/// Bytes of an image whose first block contains `text`.
fn image(text: &str) -> Bytes {
    let mut bytes = text.as_bytes().to_vec();
    bytes.extend((0..10_000_u32).flat_map(u32::to_be_bytes));
    bytes.into()
}

/// A build with two large files, one that is too small, and one that brings its control file.
fn request(day: u32) -> PublishRequest {
    let mut request = sample_request(day, BuildOutcome::Success, &format!("day {day}"));
    for (name, bytes) in [
        (IMAGE, image("an image")),
        (OTHER, image(&format!("that of {day}"))),
        (OWN, image("with its own")),
        ("outputs/iso/own.iso.zsync", Bytes::from_static(b"its own")),
        ("outputs/large.log", image("a log")),
    ] {
        let entry = Entry::Generated(bytes);
        let entries = &mut request.tree.incoming_mut().entries;
        entries.insert(path(name), entry);
    }
    request.controls = ControlRules::new(["**/*.iso"], 1_000).expect("a glob");
    request
}

/// The control file that every store must make.
fn expected(name: &str, url: &str, bytes: &Bytes) -> Bytes {
    let mut maker = Maker::new(name, url, bytes.len() as u64);
    maker.update(bytes);
    maker.finish().expect("all of it").into()
}

async fn read(store: &dyn MirrorStore, day: u32, name: &str) -> Result<Bytes, StoreError> {
    let read = read_all(store, &sample_id(day), &path(name), 1 << 20).await;
    read.map(Bytes::from)
}

/// Every store makes the same control files, for large files only, and lists them in the sums.
pub(super) async fn run(store: &dyn MirrorStore) {
    for day in [7, 8] {
        let plan = prepare(store, request(day)).await.expect("a plan");
        let chosen: Vec<_> = plan.controls.iter().map(BuildPath::as_str).collect();
        assert_eq!(chosen, [OTHER, IMAGE]);
        let report = publish(store, &plan).await.expect("published");
        let sums = store.sums(&sample_id(day)).await.expect("sums");
        assert_eq!(
            report.files,
            sums.lines().len() as u64 - 1,
            "they are counted"
        );
        for (name, expected) in [
            (
                IMAGE,
                expected("large.iso", "large.iso", &image("an image")),
            ),
            (
                OTHER,
                expected("a+b.iso", "a%2Bb.iso", &image(&format!("that of {day}"))),
            ),
            (OWN, Bytes::from_static(b"its own")),
        ] {
            let control = format!("{name}.zsync");
            let made = read(store, day, &control).await.expect("it is there");
            assert_eq!(made, expected, "{control}");
            assert_eq!(sums.get(&path(&control)), Some(digest_of(&made)));
            if name != OWN {
                let control = Control::parse(&made).expect("a control file");
                assert_eq!(control.length(), 40_000 + if name == IMAGE { 8 } else { 9 });
            }
        }
        for name in ["outputs/iso/bootimage.iso.zsync", "outputs/large.log.zsync"] {
            let none = read(store, day, name).await;
            assert!(matches!(none, Err(StoreError::NotFound { .. })), "{name}");
        }
        let again = prepare(store, request(day)).await.expect("a plan");
        assert!(again.is_noop(), "{again}");
        // Without control files the build counts as the same, too.
        let mut without = request(day);
        without.controls = ControlRules::none();
        let again = prepare(store, without).await.expect("a plan");
        assert!(again.is_noop(), "{again}");
    }
}
