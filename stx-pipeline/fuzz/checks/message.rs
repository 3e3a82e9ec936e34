//! Reads any bytes as a message in the spool. There is no panic. An accepted message equals itself after it is written and read
//! again, and is no longer than a message may be. An error has a short text.

use stx_service::Ask;

/// Reads `bytes` as a message.
pub(crate) fn check(bytes: &[u8]) {
    match Ask::from_json(bytes) {
        Ok(ask) => {
            assert!(bytes.len() <= Ask::LONGEST);
            if let Err(error) = ask.check() {
                assert!(error.to_string().len() < 4096, "a log line without an end");
            }
            let written = serde_json::to_vec(&ask).expect("JSON");
            // An escaped control character takes six bytes instead of one.
            if written.len() <= Ask::LONGEST {
                let again = Ask::from_json(&written).expect("a message that was written");
                assert_eq!(again, ask);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
