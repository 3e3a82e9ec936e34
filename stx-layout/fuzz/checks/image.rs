//! Any text as an image name: no panic; an accepted name prints back, and can be composed from its parts.

use stx_layout::report::{self, ImageReport};
use stx_layout::{ImageName, ImageNameRef, Tag};

/// Reads `bytes`, if they are text, as an image name and as a tag.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    match ImageNameRef::parse(text) {
        Ok(name) => {
            assert_eq!(name.to_string(), text);
            assert_eq!(name.compose().as_ref().map(ImageName::as_str), Ok(text));
            let form = ImageReport::parse(text).map(|report| report.form);
            assert_eq!(form, Ok(name.tag.form()));
        }
        Err(error) => {
            assert!(error.offset <= text.len());
            if let Some(suggestion) = &error.suggestion {
                assert!(ImageNameRef::parse(suggestion).is_ok());
            }
            report::caret(&error);
        }
    }
    if let Ok(tag) = Tag::parse(text) {
        assert_eq!(tag.compose().as_deref(), Ok(text));
    }
}
