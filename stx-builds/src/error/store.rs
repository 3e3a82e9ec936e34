//! Converts the errors of stores.

use std::error::Error as StdError;
use std::io;

use stx_publish::net::{CertificateFault, certificate_fault, is_not_tls, proxy};
use stx_publish::{NoLength, StoreError, WebPage};
use stx_publish_s3::RequestFailure;

use super::{Error, ErrorKind};
use crate::users::denied;

impl From<stx_publish::ErrorKind> for ErrorKind {
    fn from(kind: stx_publish::ErrorKind) -> Self {
        match kind {
            stx_publish::ErrorKind::Usage => Self::Usage,
            stx_publish::ErrorKind::Mirror => Self::Mirror,
            stx_publish::ErrorKind::NotFound => Self::NotFound,
            stx_publish::ErrorKind::Busy => Self::Busy,
        }
    }
}

/// The hint for a failed request whose cause is known, so that another attempt would fail as well.
pub(crate) fn unreached(url: &str, source: &(dyn StdError + 'static)) -> Option<String> {
    if let Some(failure) = source.downcast_ref::<RequestFailure>() {
        let hint = failure.hint().map(ToOwned::to_owned);
        return hint.or_else(|| unreached(failure.endpoint(), failure.cause()));
    }
    if source.is::<NoLength>() {
        return Some(
            "the web server of a mirror must send the length of each file; see docs/serving.md"
                .to_owned(),
        );
    }
    if let Some(fault) = certificate_fault(source) {
        return Some(refused_certificate(fault).to_owned());
    }
    if is_not_tls(source) {
        return Some(
            "the server speaks no TLS: a mirror begins with http:// then, and a registry on this machine needs `plain_http = true` in [registry]"
                .to_owned(),
        );
    }
    let proxy = proxy(url)?;
    Some(format!(
        "requests for this URL pass through the proxy {proxy}, which the environment names (http_proxy, https_proxy or all_proxy); \
         no_proxy names hosts that are reached without it"
    ))
}

/// The next step after a server's certificate was refused.
fn refused_certificate(fault: CertificateFault) -> &'static str {
    match fault {
        CertificateFault::Expired => {
            "the server's certificate has expired: its operator must renew it; if it is valid elsewhere, check the clock of this machine"
        }
        CertificateFault::NotYetValid => {
            "the server's certificate is not valid yet: check the clock of this machine"
        }
        CertificateFault::OtherName => {
            "the server's certificate was issued for other names: use one of them in the URL, or ask the operator of the server"
        }
        CertificateFault::Authority => {
            "the server presents the certificate of an authority as its own, which clients refuse: its operator must issue one \
             with `basicConstraints=CA:FALSE`"
        }
        // Includes reasons that a later version of the library adds.
        _ => {
            "this machine does not trust the server's certificate: install that of its authority, or name it in SSL_CERT_FILE"
        }
    }
}

/// The hint if another publisher is at work.
pub(crate) const DONE: &str = "run the same command again when the other one has ended; \
     the lock of a killed process ends with it, in a bucket 75 seconds later";

/// The hint for an error of a store, if the error alone determines one.
pub(crate) fn hint_of(error: &StoreError) -> Option<String> {
    match error {
        StoreError::Io { path, source, .. } => {
            (source.kind() == io::ErrorKind::PermissionDenied).then(|| denied(path.as_ref()))
        }
        StoreError::Busy { .. } => Some(DONE.to_owned()),
        StoreError::NotFound { what } if what.ends_with(": no such bucket") => {
            Some("create the bucket, or correct its name; `endpoint` in [object-store], or AWS_ENDPOINT_URL, names the server".to_owned())
        }
        StoreError::NotAMirror { instead, .. } => Some(match instead.as_slice() {
            [] => "the root of a mirror is the directory that contains the channels, such as `master/centos`; \
                   a new mirror needs a directory that is empty or does not exist"
                .to_owned(),
            [one] => format!("the mirror is {one}"),
            several => format!("these are mirrors: {}", several.join(", ")),
        }),
        StoreError::Untrusted { .. } => Some(
            "nothing of it was used; docs/signing.md describes which files must be signed, and by whom"
                .to_owned(),
        ),
        StoreError::Stale { .. } => {
            Some("nothing of it was used; `--allow-stale` accepts an outdated mirror".to_owned())
        }
        StoreError::NotDurable { .. } => {
            Some("the change is visible; check the disk of the mirror".to_owned())
        }
        StoreError::Refused { reason, .. } if reason.contains("(401 ") => {
            Some("a user and a password for the server belong in the URL, `https://USER:PASSWORD@HOST/PATH`".to_owned())
        }
        StoreError::Damaged { source, .. } if source.is::<WebPage>() => {
            Some("is it the URL of a mirror, without a login or proxy in between?".to_owned())
        }
        StoreError::Damaged { what, .. }
            if [".stx/verdicts/", ".stx/pins/"].iter().any(|dir| what.contains(dir)) =>
        {
            Some("move this file away, and record its content again".to_owned())
        }
        StoreError::Damaged { what, .. }
            if ["aliases", "root", "held", "locks", "marks"]
                .iter()
                .any(|area| what.starts_with(&format!(".stx/{area}/"))) =>
        {
            Some("remove this object, which the program did not write, and run `stx-builds verify --repair`".to_owned())
        }
        StoreError::Network { url, source } => {
            Some(unreached(url, source.as_ref()).unwrap_or_else(|| {
                "is the URL right, and does this machine reach the server?".to_owned()
            }))
        }
        // The error itself contains all that is known: its kind determines the exit code, and no next step.
        _ => None,
    }
}

/// An error and its causes, outermost first.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The hint for an error that was caused by an error of a store.
pub(crate) fn hint_below(error: &(dyn StdError + 'static)) -> Option<String> {
    causes(error).find_map(|error| error.downcast_ref().and_then(hint_of))
}

/// The hint for an error that the same call would meet again in a bucket: by the answer of its server, or by a damaged object.
pub(crate) fn answer_below(error: &(dyn StdError + 'static)) -> Option<String> {
    causes(error).find_map(|error| match error.downcast_ref() {
        Some(error @ StoreError::Damaged { .. }) => hint_of(error),
        _ => Some(error.downcast_ref::<RequestFailure>()?.hint()?.to_owned()),
    })
}

/// The error of a store as the error of an operation.
pub fn refused(error: StoreError) -> Error {
    let hint = hint_of(&error);
    Error {
        hint,
        ..Error::new(error.kind().into(), error)
    }
}
