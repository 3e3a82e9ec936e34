//! Any bytes as an archive of `docker save`: no panic; of an archive that is accepted, what `images` asks for.
//!
//! The checksums of tar headers are put right first: who makes an archive makes them, too.

use super::{images, scratch};

/// The size of a block of tar.
const BLOCK: usize = 512;

/// Reads `bytes` as an archive.
pub(crate) fn check(bytes: &[u8]) {
    let bytes = put_right(bytes);
    scratch::with(|dir, _| {
        let file = dir.join("archive.tar");
        let incoming = scratch::build_of("outputs/docker-images/archive.tar", file, &bytes);
        images::check(&incoming);
    });
}

/// Writes the checksum of each header.
fn put_right(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(header) = bytes.get_mut(at..at + BLOCK) {
        at += BLOCK;
        if header.iter().all(|byte| *byte == 0) {
            continue;
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let digits = header[124..136].iter().map(|digit| char::from(*digit));
        let digits: String = digits.filter(char::is_ascii_digit).collect();
        let size = usize::from_str_radix(&digits, 8).unwrap_or(0);
        at = at.saturating_add(size).next_multiple_of(BLOCK);
    }
    bytes
}
