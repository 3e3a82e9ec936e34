//! Numbers in messages.

use std::fmt::Display;

/// A number with its noun, which is plural unless the number is 1.
///
/// ```
/// use stx_layout::counted;
///
/// assert_eq!(counted(1_u64, "build"), "1 build");
/// assert_eq!(counted(0_u64, "build"), "0 builds");
/// assert_eq!(counted(2_usize, "repository"), "2 repositories");
/// ```
pub fn counted(count: impl Copy + Display + From<u8> + PartialEq, noun: &str) -> String {
    if count == 1.into() {
        return format!("1 {noun}");
    }
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o']) => format!("{count} {stem}ies"),
        Some(_) | None => format!("{count} {noun}s"),
    }
}

/// A number of bytes in readable form, in the largest binary unit that fits. Programs, and readers who compare two sizes, need
/// the number itself.
///
/// ```
/// use stx_layout::size;
///
/// assert_eq!(size(1), "1 byte");
/// assert_eq!(size(999), "999 bytes");
/// assert_eq!(size(2048), "2 KiB");
/// assert_eq!(size(18_203_279), "17.36 MiB");
/// assert_eq!(size(u64::MAX), "16 EiB");
/// ```
pub fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return counted(bytes, "byte");
    }
    humansize::format_size(bytes, humansize::BINARY)
}
