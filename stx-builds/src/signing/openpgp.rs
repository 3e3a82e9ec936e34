//! Signs with OpenPGP.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use stx_layout::counted;
use stx_pages::IndexSeal;
use stx_publish::{PublishRequest, Seal};
use stx_trust::openpgp::{OpenPgp, SignPackagesError, sign_packages};

use crate::Site;
use crate::error::Error;

/// The OpenPGP signer, with a key that may sign at `now`; `None` if none is configured.
fn signer(site: &Site, now: DateTime<Utc>) -> Result<Option<OpenPgp>, Error> {
    site.options.signing.signer(now)
}

/// The seal for the builds of the mirror.
pub(crate) fn seal(site: &Site) -> Result<Seal, Error> {
    let signer = signer(site, site.now)?;
    Ok(Seal {
        signer: signer.map(|signer| Arc::new(signer) as _),
        mirrors: site.options.mirrors.urls().to_vec(),
        ..Seal::default()
    })
}

/// The seal for the indexes of the mirror at `now`; `None` if they are not signed.
pub(crate) fn index_seal(site: &Site, now: DateTime<Utc>) -> Result<Option<IndexSeal>, Error> {
    let Some(signer) = signer(site, now)? else {
        return Ok(None);
    };
    let keys = signer.public().armored().map_err(Error::usage)?;
    Ok(Some(IndexSeal {
        keys,
        signer: Arc::new(signer),
        lasts: site.options.signing.index_lasts(),
        now,
    }))
}

/// Signs the packages of a request, on copies that last as long as its tree.
pub(crate) fn packages(site: &Site, mut request: PublishRequest) -> Result<PublishRequest, Error> {
    if !site.options.signing.signs_packages() {
        return Ok(request);
    }
    let Some(signer) = signer(site, site.now)? else {
        return Ok(request);
    };
    let state = site.options.state(&site.root()?)?;
    let cache = state
        .join(".signed")
        .join(request.record.id.channel.to_string());
    let incoming = std::mem::take(request.tree.incoming_mut());
    let packages = sign_packages(incoming, &signer, &cache, site.now);
    let mut packages = packages.map_err(unsigned)?;
    if packages.signed > 0 {
        site.note(&format!(
            "{} signed, {} were",
            counted(packages.signed, "package"),
            packages.known + packages.left
        ));
    }
    for (path, reason) in &packages.unsigned {
        site.note(&format!("warning: {path} is not signed: {reason}"));
    }
    *request.tree.incoming_mut() = std::mem::take(&mut packages.incoming);
    request.tree.keep(packages);
    Ok(request)
}

fn unsigned(error: SignPackagesError) -> Error {
    Error::new(error.kind().into(), error)
        .hint("nothing was published; the same command again signs what is left")
}
