//! No OpenPGP: a configured signer is an error, so that nothing is published unsigned by mistake.

use chrono::{DateTime, Utc};
use stx_pages::IndexSeal;
use stx_publish::{PublishRequest, Seal};

use crate::Site;
use crate::error::Error;

/// The seal for the builds of the mirror.
pub(crate) fn seal(site: &Site) -> Result<Seal, Error> {
    site.options.signing.check(site.now)?;
    Ok(Seal {
        mirrors: site.options.mirrors.urls().to_vec(),
        ..Seal::default()
    })
}

/// Indexes are not signed.
pub(crate) fn index_seal(site: &Site, now: DateTime<Utc>) -> Result<Option<IndexSeal>, Error> {
    site.options.signing.check(now)?;
    Ok(None)
}

/// Leaves the packages of a request as they are.
pub(crate) fn packages(site: &Site, request: PublishRequest) -> Result<PublishRequest, Error> {
    if site.options.signing.signs_packages() {
        site.options.signing.check(site.now)?;
    }
    Ok(request)
}
