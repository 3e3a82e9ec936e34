//! What is signed where `[signing]` says so: the seal of builds, their packages, and the indexes.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use stx_layout::counted;
use stx_publish::site::IndexSeal;
use stx_publish::{PublishRequest, Seal, SignError};
use stx_trust::openpgp::{OpenPgp, SignPackagesError, SignedPackages, sign_packages};

use super::Context;
use crate::exit::{Exit, Failure};

/// What signs at `now`; `None` where nothing does.
fn signer(context: &Context, now: DateTime<Utc>) -> Result<Option<OpenPgp>, Failure> {
    context.config.signing.signer(now)
}

/// How the builds of the mirror are sealed.
pub(crate) fn seal(context: &Context) -> Result<Seal, Failure> {
    let signer = signer(context, context.now)?;
    Ok(Seal {
        signer: signer.map(|signer| Arc::new(signer) as _),
        ..Seal::default()
    })
}

/// How the indexes of the mirror are signed at `now`; `None` where they are not.
pub(crate) fn index_seal(
    context: &Context,
    now: DateTime<Utc>,
) -> Result<Option<IndexSeal>, Failure> {
    let Some(signer) = signer(context, now)? else {
        return Ok(None);
    };
    let keys = signer.public().armored().map_err(Failure::usage)?;
    Ok(Some(IndexSeal {
        keys,
        signer: Arc::new(signer),
        lasts: context.config.signing.index_lasts(),
        now,
    }))
}

/// Signs the packages of a request, on copies that last as long as what is returned beside it.
pub(crate) fn packages(
    context: &Context,
    mut request: PublishRequest,
) -> Result<(PublishRequest, Option<SignedPackages>), Failure> {
    if !context.config.signing.signs_packages() {
        return Ok((request, None));
    }
    let Some(signer) = signer(context, context.now)? else {
        return Ok((request, None));
    };
    let state = context.config.state(&context.mirror()?)?;
    let cache = state
        .join(".signed")
        .join(request.record.id.channel.to_string());
    let incoming = std::mem::take(&mut request.incoming);
    let packages = sign_packages(incoming, &signer, &cache, context.now);
    let mut packages = packages.map_err(unsigned)?;
    if packages.signed > 0 {
        context.say(&format!(
            "{} signed, {} were",
            counted(packages.signed, "package"),
            packages.known + packages.left
        ));
    }
    for (path, reason) in &packages.unsigned {
        context.say(&format!("warning: {path} is not signed: {reason}"));
    }
    request.incoming = std::mem::take(&mut packages.incoming);
    Ok((request, Some(packages)))
}

fn unsigned(error: SignPackagesError) -> Failure {
    let exit = match &error {
        SignPackagesError::Sign {
            source: SignError::MissingTool { .. },
            ..
        } => Exit::Usage,
        SignPackagesError::Sign { .. }
        | SignPackagesError::Changed { .. }
        | SignPackagesError::Io { .. } => Exit::Mirror,
    };
    Failure::new(exit, error)
        .hint("nothing was published; the same command again signs what is left")
}
