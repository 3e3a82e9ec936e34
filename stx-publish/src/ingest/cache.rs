//! Small files of the private area that are only hints: losing one costs time, nothing else.
//!
//! A cache is a line that names its format, the SHA-256 of the rest, and the rest. A cache of another version, or a torn or
//! damaged one, counts as missing. So a cache is not synced, and an error while writing one is ignored.

use camino::Utf8Path;
use fs_err as fs;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::incoming::digest_of;

/// Bytes of a SHA-256 digest.
const DIGEST: usize = 32;

/// Parses the bytes of a cache in the format `form`; `None` if they are damaged or in another format.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], form: &str) -> Option<T> {
    let rest = bytes
        .strip_prefix(form.as_bytes())?
        .strip_prefix(b"\n".as_slice())?;
    let (digest, rest) = rest.split_at_checked(DIGEST)?;
    if digest_of(rest).0 != *digest {
        return None;
    }
    postcard::from_bytes(rest).ok()
}

/// The bytes of a cache in the format `form`.
pub(crate) fn bytes<T: Serialize>(form: &str, value: &T) -> Option<Vec<u8>> {
    let rest = postcard::to_stdvec(value).ok()?;
    Some([form.as_bytes(), b"\n", &digest_of(&rest).0, &rest].concat())
}

/// Reads a cache in the format `form`.
pub(crate) fn read<T: DeserializeOwned>(path: &Utf8Path, form: &str) -> Option<T> {
    parse(&fs::read(path).ok()?, form)
}

/// Writes a cache in the format `form` by way of `temporary`, which is on the same file system.
pub(crate) fn write<T: Serialize>(path: &Utf8Path, temporary: &Utf8Path, form: &str, value: &T) {
    let Some(bytes) = bytes(form, value) else {
        return;
    };
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    let written = made
        .and_then(|()| fs::write(temporary, bytes))
        .and_then(|()| fs::rename(temporary, path));
    if written.is_err() {
        // A cache that could not be written counts as missing, so its temporary file is removed.
        fs::remove_file(temporary).ok();
    }
}

#[cfg(test)]
mod tests {
    use camino_tempfile::tempdir;

    use super::*;

    #[test]
    fn only_a_complete_cache_of_the_same_version_is_read() {
        let dir = tempdir().expect("a directory");
        let (path, temporary) = (dir.path().join("a/cache"), dir.path().join("temporary"));
        let value = vec![("one".to_owned(), 1_u64), ("two".to_owned(), 2)];
        let back = |form: &str| read::<Vec<(String, u64)>>(&path, form);
        assert_eq!(back("form 1"), None, "not there");
        write(&path, &temporary, "form 1", &value);
        assert_eq!(back("form 1"), Some(value));
        assert_eq!(back("form 2"), None, "another version");
        let whole = fs::read(&path).expect("a file");
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("written");
            assert_eq!(back("form 1"), None, "torn after {length} bytes");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).expect("written");
            assert_eq!(back("form 1"), None, "damaged at byte {at}");
        }
    }
}
