//! The signature header of a package: the tags that contain signatures, and a writer that replaces them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use stx_layout::rpm::{Header, Headers};

/// Tags of signature headers, as defined in rpm's `rpmtag.h`.
mod tag {
    /// The region: the whole header.
    pub(super) const REGION: u32 = 62;
    /// A signature of the main header by a DSA or elliptic curve key.
    pub(super) const DSA: u32 = 267;
    /// A signature of the main header by an RSA key.
    pub(super) const RSA: u32 = 268;
    /// Signatures of the main header, as texts, by any keys: rpm 6.
    pub(super) const OPENPGP: u32 = 278;
    /// A signature of header and payload by an RSA key.
    pub(super) const PGP: u32 = 1002;
    /// The MD5 of header and payload.
    pub(super) const MD5: u32 = 1004;
    /// A signature of header and payload by a DSA or elliptic curve key.
    pub(super) const GPG: u32 = 1005;
    /// In the main header: the digest of the payload, since rpm 4.14.
    pub(super) const PAYLOADDIGEST: u32 = 5092;
    /// In the main header: the version of the format, if it is not 4.
    pub(super) const RPMFORMAT: u32 = 5114;
}

/// True if the main header contains a digest of the payload, so that a signature of the header covers the payload as well.
pub(super) fn has_payload_digest(main: Header<'_>) -> bool {
    main.tag(tag::PAYLOADDIGEST).is_some()
}

/// True if the signature header contains the digest of main header and payload, as it does since rpm 2.
pub(super) fn has_md5(signature: Header<'_>) -> bool {
    signature.binary(tag::MD5).is_some()
}

/// The signatures of the main header, as packets.
pub(super) fn header_signatures(signature: Header<'_>) -> Vec<Vec<u8>> {
    let texts = signature.strings(tag::OPENPGP).into_iter();
    let texts = texts.filter_map(|text| BASE64_STANDARD.decode(text).ok());
    let old = [tag::RSA, tag::DSA].into_iter();
    let old = old
        .filter_map(|tag| signature.binary(tag))
        .map(<[u8]>::to_vec);
    texts.chain(old).collect()
}

/// The signatures of main header and payload, as packets.
pub(super) fn whole_signatures(signature: Header<'_>) -> impl Iterator<Item = &[u8]> {
    let tags = [tag::PGP, tag::GPG].into_iter();
    tags.filter_map(move |tag| signature.binary(tag))
}

/// Signatures to be written into a header, as packets.
pub(super) struct Signatures {
    /// True if the key is an RSA key.
    pub(super) rsa: bool,
    /// The signature of the main header.
    pub(super) header: Vec<u8>,
    /// The signature of main header and payload, if the header contains no digest of the payload.
    pub(super) whole: Option<Vec<u8>>,
    /// The MD5 of main header and payload, if it is missing and the header contains no digest of the payload: one of the two is
    /// required.
    pub(super) md5: Option<[u8; 16]>,
}

/// The signature header with these signatures in place of all others, and the padding before the main header. All other tags are
/// kept, such as digests and sizes, which old clients need too.
pub(super) fn signed(headers: &Headers<'_>, signatures: Signatures) -> Vec<u8> {
    const BINARY: u32 = 7;
    const TEXTS: u32 = 8;
    let mut tags: Vec<(u32, u32, u32, Vec<u8>)> = headers
        .signature
        .tags()
        .filter(|tag| {
            let replaced = [
                tag::REGION,
                tag::DSA,
                tag::RSA,
                tag::OPENPGP,
                tag::PGP,
                tag::GPG,
            ];
            !replaced.contains(&tag.tag)
        })
        .map(|tag| (tag.tag, tag.kind, tag.count, tag.data.to_vec()))
        .collect();
    let Signatures {
        rsa,
        header,
        whole,
        md5,
    } = signatures;
    let count = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a signature is short");
    if headers.main.number(tag::RPMFORMAT).unwrap_or(4) > 4 {
        let text = BASE64_STANDARD.encode(header) + "\0";
        tags.push((tag::OPENPGP, TEXTS, 1, text.into_bytes()));
    } else {
        let tag = if rsa { tag::RSA } else { tag::DSA };
        tags.push((tag, BINARY, count(&header), header));
    }
    if let Some(whole) = whole {
        let tag = if rsa { tag::PGP } else { tag::GPG };
        tags.push((tag, BINARY, count(&whole), whole));
    }
    tags.extend(md5.map(|md5| (tag::MD5, BINARY, count(&md5), md5.to_vec())));
    written(tags)
}

/// A signature header of these tags, padded.
fn written(mut tags: Vec<(u32, u32, u32, Vec<u8>)>) -> Vec<u8> {
    const ENTRY: usize = 16;
    tags.sort_by_key(|(tag, ..)| *tag);
    let number = |size: usize| u32::try_from(size).expect("no longer than what was read");
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (tag, kind, count, bytes) in &tags {
        let alignment = match kind {
            3 => 2,
            4 => 4,
            5 => 8,
            _ => 1,
        };
        data.resize(data.len().next_multiple_of(alignment), 0);
        index.extend([*tag, *kind, number(data.len()), *count]);
        data.extend_from_slice(bytes);
    }
    // The region's entry comes first and points to its trailer, which ends the data and points back to the first entry.
    let entries = number(tags.len() + 1);
    let region = [tag::REGION, 7, number(data.len()), number(ENTRY)];
    let back = (number(ENTRY) * entries).wrapping_neg();
    data.extend(
        [tag::REGION, 7, back, number(ENTRY)]
            .map(u32::to_be_bytes)
            .concat(),
    );
    let intro = [0x8ead_e801, 0, entries, number(data.len())];
    let words = intro.into_iter().chain(region).chain(index);
    let mut header: Vec<_> = words.flat_map(u32::to_be_bytes).collect();
    header.append(&mut data);
    header.resize(header.len().next_multiple_of(8), 0);
    header
}
