//! Finds files in which only embedded times differ.
//!
//! | format | excluded from the comparison |
//! |---|---|
//! | `gzip` | the modification time of its header (RFC 1952, MTIME) |
//! | `zip`: also jar, wheel, egg | the modification times of its members; their packed bytes are compared |
//! | `ar`: static libraries, deb | the modification times of its members |
//! | `pyc` | the modification time of the source (Python 2.7, 3.0 and later; see PEP 3147, PEP 552) |
//!
//! Other formats, times within members or within compressed contents, and build ids of programs are not examined.

use std::io::{Cursor, Read as _};

/// The format of two files of the same name in which only times differ; `None` if more differs, or the format is unknown.
pub fn only_times(path: &str, from: &[u8], to: &[u8]) -> Option<&'static str> {
    if from.starts_with(b"PK\x03\x04") && to.starts_with(b"PK\x03\x04") {
        return (members(from)? == members(to)?).then_some("zip");
    }
    let (format, from) = without_times(path, from)?;
    let (other, to) = without_times(path, to)?;
    (format == other && from == to).then_some(format)
}

/// A file with zeros for its times.
fn without_times(path: &str, bytes: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    let mut bytes = bytes.to_vec();
    let format = if bytes.starts_with(&[0x1f, 0x8b]) {
        bytes.get_mut(4..8)?.fill(0);
        "gzip"
    } else if bytes.starts_with(AR) {
        clear_ar(&mut bytes)?;
        "ar"
    } else if matches!(path.rsplit('.').next(), Some("pyc" | "pyo")) {
        clear_pyc(&mut bytes)?;
        "pyc"
    } else {
        return None;
    };
    Some((format, bytes))
}

/// The magic bytes of an `ar` archive.
const AR: &[u8] = b"!<arch>\n";

/// Clears the time of each member. Its header has a name (16), time (12), user (6), group (6), mode (8), size (10) and ``
/// `\n ``; then follow that many bytes, and one more after an odd number.
fn clear_ar(bytes: &mut [u8]) -> Option<()> {
    let mut at = AR.len();
    while at < bytes.len() {
        let header = bytes.get_mut(at..at.checked_add(60)?)?;
        header[16..28].fill(b' ');
        let size: usize = str::from_utf8(&header[48..58]).ok()?.trim().parse().ok()?;
        at = at.checked_add(60)?.checked_add(size)?.next_multiple_of(2);
    }
    Some(())
}

/// Clears the time of the source in bytes 4 to 8. Since Python 3.7, with magic number 3390 and up, these bytes hold flags, and
/// the time is in bytes 8 to 12, unless a flag marks them as a hash.
fn clear_pyc(bytes: &mut [u8]) -> Option<()> {
    if bytes.get(2..4)? != b"\r\n" {
        return None;
    }
    let magic = u16::from_le_bytes([bytes[0], bytes[1]]);
    if (3390..20_000).contains(&magic) {
        if bytes.get(4..8)? == [0; 4] {
            bytes.get_mut(8..12)?.fill(0);
        }
    } else {
        bytes.get_mut(4..8)?.fill(0);
    }
    Some(())
}

/// A member of a zip archive: its name, compression, mode, and packed bytes.
type Member = (Vec<u8>, String, Option<u32>, u64, Vec<u8>);

/// The members of a zip archive, in order. Their packed bytes are no larger than the archive. An archive whose members share
/// bytes is rejected as crafted.
fn members(bytes: &[u8]) -> Option<(Vec<u8>, Vec<Member>)> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).ok()?;
    let mut left = bytes.len() as u64;
    let mut members = Vec::new();
    for index in 0..archive.len() {
        let mut member = archive.by_index_raw(index).ok()?;
        left = left.checked_sub(member.compressed_size())?;
        let mut packed = Vec::new();
        let most = member.compressed_size();
        (&mut member).take(most).read_to_end(&mut packed).ok()?;
        members.push((
            member.name_raw().to_vec(),
            format!("{:?} {:08x}", member.compression(), member.crc32()),
            member.unix_mode(),
            member.size(),
            packed,
        ));
    }
    Some((archive.comment().to_vec(), members))
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, DateTime, ZipWriter};

    use super::only_times;

    fn zip(year: u16, text: &str, mode: u32) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let time = DateTime::from_date_and_time(year, 1, 2, 3, 4, 6).expect("a time");
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(time)
            .unix_permissions(mode);
        writer.start_file("a.txt", options).expect("a member");
        writer.write_all(text.as_bytes()).expect("written");
        writer.finish().expect("an archive").into_inner()
    }

    fn ar(time: &str, text: &str) -> Vec<u8> {
        let size = text.len();
        let odd = if size % 2 == 1 { "\n" } else { "" };
        let member = format!(
            "{:16}{time:12}{:6}{:6}{:8}{size:<10}`\n{text}{odd}",
            "a.o/", 0, 0, 644
        );
        format!("!<arch>\n{member}{member}").into_bytes()
    }

    fn pyc(magic: u16, head: [&[u8]; 3]) -> Vec<u8> {
        let magic = magic.to_le_bytes();
        [&magic, b"\r\n", head[0], head[1], head[2], b"code"].concat()
    }

    #[test]
    fn embedded_times_are_distinguished_from_content() {
        let gzip =
            |time: u8, text: &[u8]| [&[0x1f, 0x8b, 8, 0, time, 0, 0, 0, 0, 3], text].concat();
        let (early, late, size) = (
            &[1_u8, 2, 3, 4][..],
            &[2_u8, 2, 3, 4][..],
            &[9_u8, 0, 0, 0][..],
        );
        let zero = &[0_u8; 4][..];
        let cases = [
            ("a.gz", gzip(1, b"x"), gzip(2, b"x"), Some("gzip")),
            ("a.gz", gzip(1, b"x"), gzip(2, b"y"), None),
            (
                "a.jar",
                zip(2019, "x", 0o644),
                zip(2020, "x", 0o644),
                Some("zip"),
            ),
            ("a.jar", zip(2019, "x", 0o644), zip(2020, "y", 0o644), None),
            ("a.jar", zip(2019, "x", 0o644), zip(2020, "x", 0o755), None),
            ("a.a", ar("1", "x"), ar("2", "x"), Some("ar")),
            ("a.a", ar("1", "xy"), ar("2", "xy"), Some("ar")),
            ("a.a", ar("1", "x"), ar("2", "y"), None),
            // Python 2.7, 3.6, 3.9 by time, 3.9 by hash.
            (
                "a.pyc",
                pyc(62211, [early, b"", b""]),
                pyc(62211, [late, b"", b""]),
                Some("pyc"),
            ),
            (
                "a.pyo",
                pyc(3379, [early, size, b""]),
                pyc(3379, [late, size, b""]),
                Some("pyc"),
            ),
            (
                "a.pyc",
                pyc(3425, [zero, early, size]),
                pyc(3425, [zero, late, size]),
                Some("pyc"),
            ),
            (
                "a.pyc",
                pyc(3425, [&[1, 0, 0, 0], early, size]),
                pyc(3425, [&[1, 0, 0, 0], late, size]),
                None,
            ),
            (
                "a.pyc",
                pyc(3425, [zero, early, size]),
                pyc(3425, [zero, early, late]),
                None,
            ),
            ("a.txt", b"1".to_vec(), b"2".to_vec(), None),
        ];
        for (path, from, to, expected) in cases {
            assert_eq!(
                only_times(path, &from, &to),
                expected,
                "{path} {from:?} {to:?}"
            );
            assert_eq!(
                only_times(path, &to, &from),
                expected,
                "{path}, the other way"
            );
        }
    }

    #[test]
    fn a_truncated_file_has_no_known_format() {
        for whole in [
            zip(2019, "x", 0o644),
            ar("1", "x"),
            pyc(3425, [&[0; 4], &[1; 4], &[2; 4]]),
        ] {
            for length in 0..whole.len() {
                let mut other = whole.clone();
                other[length] ^= 0x55;
                let cut = &whole[..length];
                assert_eq!(only_times("a.pyc", cut, &whole), None, "{length}");
                // A changed byte may give any answer, as long as there is one.
                let format = only_times("a.pyc", &other, &whole);
                assert!(format.is_none_or(|format| ["zip", "ar", "pyc"].contains(&format)));
            }
        }
    }
}
