//! Any text as a `build.json`: no panic; an accepted text is written and read again as the same record, and a second writing
//! gives the same bytes.

use stx_layout::BuildRecord;

/// Reads `bytes`, if they are text, as the record of a build.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    match BuildRecord::from_json(text) {
        Ok(record) => {
            assert!(record.schema <= BuildRecord::SCHEMA);
            let written = record.to_json();
            let again = BuildRecord::from_json(&written).expect("a record that was written");
            assert_eq!(again, record);
            assert_eq!(again.to_json(), written);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
