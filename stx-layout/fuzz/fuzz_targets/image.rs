//! Any text as an image name: no panic; what is accepted prints back, and its parts make it again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stx_layout::report::{self, ImageReport};
use stx_layout::{ImageName, ImageNameRef, Tag};

fuzz_target!(|text: &str| {
    match ImageNameRef::parse(text) {
        Ok(name) => {
            assert_eq!(name.to_string(), text);
            assert_eq!(name.compose().as_ref().map(ImageName::as_str), Ok(text));
            assert_eq!(ImageReport::parse(text).map(|report| report.form), Ok(name.tag.form()));
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
});
