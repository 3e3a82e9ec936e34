//! Converts texts of a header that are not UTF-8, so that distinct texts remain distinct.
//!
//! The package reader replaces each byte outside of a character with U+FFFD, which makes `caf\xe9` and `caf\xe8` equal. So such
//! texts are converted [to UTF-8](in_utf8) before the reader sees them.

use std::borrow::Cow;

use stx_layout::in_utf8;
use stx_layout::rpm::{Header, Tag};

/// The same header with all its texts in UTF-8, and still distinct; `None` if all are in UTF-8 already.
pub(crate) fn exact(header: &Header<'_>) -> Option<Vec<u8>> {
    let plain = |tag: Tag<'_>| !is_text(&tag) || matches!(in_utf8(tag.data), Cow::Borrowed(_));
    if header.tags().all(plain) {
        return None;
    }
    let (mut index, mut data) = (Vec::new(), Vec::new());
    let mut count = 0_u32;
    for tag in header.tags() {
        let align = match tag.kind {
            3 => 2,
            4 => 4,
            5 => 8,
            _ => 1,
        };
        data.resize(data.len().next_multiple_of(align), 0);
        let offset = u32::try_from(data.len()).ok()?;
        let words = [tag.tag, tag.kind, offset, tag.count];
        index.extend(words.map(u32::to_be_bytes).concat());
        if is_text(&tag) {
            data.extend_from_slice(&in_utf8(tag.data));
        } else {
            data.extend_from_slice(tag.data);
        }
        count += 1;
    }
    // The magic number and the reserved bytes, followed by the two sizes.
    let mut exact = header.bytes().get(..8)?.to_vec();
    exact.extend(count.to_be_bytes());
    exact.extend(u32::try_from(data.len()).ok()?.to_be_bytes());
    exact.append(&mut index);
    exact.append(&mut data);
    Some(exact)
}

/// True if a tag holds texts: one, several, or one for each language.
fn is_text(tag: &Tag<'_>) -> bool {
    matches!(tag.kind, 6 | 8 | 9)
}
