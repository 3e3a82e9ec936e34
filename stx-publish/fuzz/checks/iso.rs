//! Any bytes as an ISO image: no panic; an image that can be described has a bill of materials that is JSON, names each file
//! once, and is the same when it is made again; of any other it is said why not.
//!
//! The 32 KiB that an image begins with, and that no reader of its files looks at, are left out of the inputs.

use std::collections::BTreeSet;

use serde_json::Value;
use stx_layout::BuildId;
use stx_publish::{Entry, Incoming};
use stx_trust::sbom::describe;

use super::scratch;

/// Bytes before the first descriptor of an image.
const SYSTEM_AREA: usize = 32 * 1024;

/// Reads `bytes` as what follows in an image.
pub(crate) fn check(bytes: &[u8]) {
    let mut image = vec![0; SYSTEM_AREA];
    image.extend_from_slice(bytes);
    let id: BuildId = "master/centos/20200101T000000Z".parse().expect("a build");
    scratch::with(|dir, _| {
        let path = "outputs/iso/bootimage.iso";
        let incoming = scratch::build_of(path, dir.join("bootimage.iso"), &image);
        let (mut once, mut twice) = (incoming.clone(), incoming);
        let failed = describe(&mut once, &id, "0.0.0").failed;
        let again = describe(&mut twice, &id, "0.0.0").failed;
        assert_eq!(once, twice);
        assert_eq!(failed.len(), again.len());
        match bill(&once) {
            Some(bill) => {
                assert!(failed.is_empty());
                let bill: Value = serde_json::from_slice(bill).expect("JSON");
                let mut names = BTreeSet::new();
                for component in bill["components"].as_array().into_iter().flatten() {
                    let reference = component["bom-ref"].as_str().expect("a name");
                    assert!(names.insert(reference.to_owned()), "{reference} twice");
                }
            }
            None => assert_eq!(failed.len(), 1, "neither a bill nor a reason"),
        }
    });
}

fn bill(incoming: &Incoming) -> Option<&[u8]> {
    incoming.entries.values().find_map(|entry| match entry {
        Entry::Generated(bytes) => Some(&**bytes),
        Entry::File { .. } | Entry::Symlink { .. } => None,
    })
}
