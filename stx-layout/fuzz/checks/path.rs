//! Any bytes as a path: no panic; an accepted path prints back and does not leave the mirror; a suggestion is accepted.

use stx_layout::report::{self, PathReport};
use stx_layout::{BuildId, MirrorPath, MirrorPathRef};

/// Reads `bytes` as a path.
pub(crate) fn check(bytes: &[u8]) {
    match MirrorPathRef::from_bytes(bytes) {
        Ok(path) => {
            assert_eq!(path.to_string().as_bytes(), bytes);
            let bare = MirrorPathRef::parse(path.path()).expect("the path of a path");
            assert_eq!(bare.path(), path.path());
            for segment in path.path().split('/').filter(|segment| !segment.is_empty()) {
                assert!(segment != "." && segment != "..");
                assert!(
                    segment
                        .chars()
                        .all(|c| stx_layout::is_printable(c) && c != '\\')
                );
            }
            if let Some(id) = path.build_id() {
                assert_eq!(id.to_string().parse::<BuildId>().as_ref(), Ok(&id));
                assert!(path.path().starts_with(&id.to_string()));
                MirrorPath::of_build(&id).expect("the directory of a build");
            }
            let report = PathReport::from(path);
            assert_eq!(report.path, path.path());
        }
        Err(error) => {
            assert!(
                error.input.is_char_boundary(error.offset) || std::str::from_utf8(bytes).is_err()
            );
            if let Some(suggestion) = &error.suggestion {
                assert!(MirrorPathRef::is_accepted(suggestion));
            }
            report::caret(&error);
        }
    }
}
