//! Determines the kind of a file from its path and its first bytes.

use stx_layout::BuildPath;

/// The number of first bytes that determine the kind of a file.
#[cfg(feature = "local")]
pub(crate) const HEAD: usize = 8 * 1024;

/// The kind of a file's contents, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Probably text: it contains no NUL.
    Text,
    /// Data compressed by gzip.
    Gzip,
    /// Data compressed by another program, which is not searched.
    Packed(&'static str),
    /// Anything else.
    Binary,
}

impl Content {
    /// The kind of a file with these first bytes, 8 KiB of them if the file has that many.
    pub fn of(head: &[u8]) -> Self {
        const PACKED: [(&[u8], &str); 4] = [
            (b"\xfd7zXZ\0", "xz"),
            (b"\x28\xb5\x2f\xfd", "zstd"),
            (b"BZh", "bzip2"),
            (b"PK\x03\x04", "zip"),
        ];
        if head.starts_with(b"\x1f\x8b") {
            return Self::Gzip;
        }
        if let Some((_, name)) = PACKED.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Self::Packed(name);
        }
        if memchr::memchr(0, head).is_some() {
            Self::Binary
        } else {
            Self::Text
        }
    }
}

/// True if a file is a log, which may be redacted: it is below a directory `logs`, or is named `NAME.log`, perhaps followed by a
/// number or the suffix of a compression.
pub fn is_log(path: &BuildPath) -> bool {
    if path
        .parent()
        .is_some_and(|parent| parent.segments().any(|segment| segment == "logs"))
    {
        return true;
    }
    let mut name = path.file_name();
    while let Some((stem, suffix)) = name.rsplit_once('.') {
        let packed = matches!(suffix, "gz" | "xz" | "zst" | "bz2");
        if suffix == "log" && !stem.is_empty() {
            return true;
        }
        if !packed && !suffix.bytes().all(|byte| byte.is_ascii_digit()) {
            return false;
        }
        name = stem;
    }
    false
}
