//! Any text as a control file: no panic; an accepted text prints back as the same paragraphs.

use stx_deb::{cmp_versions, paragraphs};

/// Reads `bytes`, if they are text, as a control file, and its versions as versions.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    match paragraphs(text) {
        Ok(found) => {
            let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(paragraphs(&shown.join("\n")).as_ref(), Ok(&found));
            let versions: Vec<_> = found.iter().filter_map(|it| it.get("Version")).collect();
            for pair in versions.windows(2) {
                let order = cmp_versions(pair[0], pair[1]);
                assert_eq!(order.reverse(), cmp_versions(pair[1], pair[0]));
            }
        }
        Err(error) => assert!(error.line >= 1 && error.line <= text.split('\n').count()),
    }
}
