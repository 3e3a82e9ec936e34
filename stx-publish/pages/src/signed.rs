//! Signed indexes: their serials, their expiry, and the order in which index and signature are replaced.
//!
//! ```text
//! index.json.asc := new signature, old signature    either index of a reader has its signature
//! index.json     := new index
//! index.json.asc := new signature
//! ```
//!
//! A crash in between leaves a good pair; the next refresh removes the old signature.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use stx_layout::index::{PageId, PageName};
use stx_layout::printable_json;
use stx_publish::seal::Signer;
use stx_publish::seal::check_length;
use stx_publish::store::StoreError;

use crate::locked::LockedPages;

/// The settings for signing the indexes of a mirror.
#[derive(Clone)]
pub struct IndexSeal {
    /// Signs them.
    pub signer: Arc<dyn Signer>,
    /// Its public key, armored, which is published as `KEYS`.
    pub keys: String,
    /// The time for which an index is valid. It is made again when something changed, or when half of that time has passed.
    pub lasts: TimeDelta,
    /// The present time.
    pub now: DateTime<Utc>,
}

impl fmt::Debug for IndexSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            signer, lasts, now, ..
        } = self;
        write!(f, "IndexSeal({signer:?}, {lasts}, {now})")
    }
}

/// The serial and the expiry of an index.
pub(super) type Dates = (Option<u64>, Option<DateTime<Utc>>);

/// The serial and the expiry of an index: unchanged as long as nothing else changed and the expiry is not near.
///
/// `with` returns the text of the index with given dates; `old` is the existing text, with its dates.
pub(super) fn dated(
    seal: Option<&IndexSeal>,
    old: Option<(&Bytes, Dates)>,
    with: impl Fn(Dates) -> String,
) -> Dates {
    let Some(seal) = seal else {
        return (None, None);
    };
    let old_serial = match old {
        Some((text, (Some(serial), Some(expires)))) => {
            let fresh = expires - seal.now > seal.lasts / 2 && expires - seal.now <= seal.lasts;
            let same = with((Some(serial), Some(expires)));
            if fresh && printable_json(&same).as_bytes() == &text[..] {
                return (Some(serial), Some(expires));
            }
            serial
        }
        Some((_, (serial, _))) => serial.unwrap_or_default(),
        None => 0,
    };
    // If the old index is lost, the time is higher than its serial was.
    let least = u64::try_from(seal.now.timestamp()).unwrap_or_default();
    let serial = least.max(old_serial.saturating_add(1));
    (Some(serial), Some(seal.now + seal.lasts))
}

/// The time from which an index with that expiry is signed again, even if nothing changes.
pub(super) fn good_until(
    seal: &IndexSeal,
    expires: Option<DateTime<Utc>>,
) -> Option<DateTime<Utc>> {
    expires?.checked_sub_signed(seal.lasts / 2)
}

/// Replaces an index and its signature; returns the pages that were written.
pub(super) async fn replace(
    pages: &LockedPages<'_>,
    seal: Option<&IndexSeal>,
    index: &PageId,
    text: Bytes,
) -> Result<Vec<PageId>, StoreError> {
    let beside = PageId {
        channel: index.channel.clone(),
        name: PageName::IndexSignature,
    };
    // The old index is kept, because readers can at least read it.
    check_length(index.path(), &text)?;
    let old = pages.page(index).await?;
    let mut written = Vec::new();
    let Some(seal) = seal else {
        if old.as_ref() != Some(&text) {
            pages.write(index, text).await?;
            written.push(index.clone());
        }
        return Ok(written);
    };
    let signed = pages.page(&beside).await?;
    let same = old.as_ref() == Some(&text);
    if same && let Some(signed) = &signed {
        let first = first_block(signed);
        if first.len() != signed.len() {
            pages.write(&beside, signed.slice(..first.len())).await?;
            written.push(beside);
        }
        return Ok(written);
    }
    let signature = seal.signer.sign(&text, seal.now);
    let signature = signature.map_err(|source| StoreError::Unsigned {
        what: index.path(),
        source,
    })?;
    let signature = Bytes::from(signature);
    if let Some(old) = signed.filter(|_| !same) {
        let both = [&signature[..], first_block(&old)].concat();
        pages.write(&beside, both.into()).await?;
    }
    if !same {
        // A reader that finds no signature reports that, as for any mirror that does not sign yet.
        pages.write(index, text).await?;
        written.push(index.clone());
    }
    pages.write(&beside, signature).await?;
    written.push(beside);
    Ok(written)
}

/// The first of several armored blocks.
fn first_block(armored: &[u8]) -> &[u8] {
    const END: &[u8] = b"-----END PGP SIGNATURE-----\n";
    let mut at = armored.windows(END.len());
    let end = at.position(|window| window == END);
    &armored[..end.map_or(armored.len(), |end| end + END.len())]
}
