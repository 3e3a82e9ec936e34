//! Unique names.

use std::fmt::Write as _;
use std::io;

use stx_publish::store::StoreError;

/// 128 random bits, in hexadecimal.
pub(super) fn nonce() -> Result<String, StoreError> {
    let mut bytes = [0; 16];
    let read = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    // A read of so few bytes is never short.
    read.map_err(|error| StoreError::Io {
        op: "read",
        path: "random bytes".to_owned(),
        source: io::Error::from(error),
    })?;
    let mut text = String::with_capacity(32);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}
