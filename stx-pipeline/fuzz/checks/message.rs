//! Any bytes as a message in the spool: no panic; what is accepted is written and read again as the same, and is no longer than
//! a message may be; what is refused is refused in a short text.

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
            // Control characters take six bytes where they came in one.
            if written.len() <= Ask::LONGEST {
                let again = Ask::from_json(&written).expect("a message that was written");
                assert_eq!(again, ask);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
