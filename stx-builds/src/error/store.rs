//! A store's refusal as the error of an operation.

use std::io;

use stx_publish::{StoreError, WebPage};

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

/// The hint for an error of a store, where the error alone is enough to give one.
pub(crate) fn hint_of(error: &StoreError) -> Option<String> {
    match error {
        StoreError::Io { path, source, .. } => {
            (source.kind() == io::ErrorKind::PermissionDenied).then(|| denied(path.as_ref()))
        }
        StoreError::NotAMirror { instead, .. } => Some(match instead.as_slice() {
            [] => "the root of a mirror is what holds the channels, such as `master/centos`; a new mirror needs a directory that is empty, or not there"
                .to_owned(),
            [one] => format!("the mirror is {one}"),
            several => format!("these are mirrors: {}", several.join(", ")),
        }),
        StoreError::Untrusted { .. } => Some(
            "nothing of it was taken; docs/signing.md says what has to be signed, and by whom"
                .to_owned(),
        ),
        StoreError::Stale { .. } => {
            Some("nothing was taken; `--allow-stale` accepts it".to_owned())
        }
        StoreError::NotDurable { .. } => {
            Some("the change can be seen; check the disk that the mirror lies on".to_owned())
        }
        StoreError::Damaged { source, .. } if source.is::<WebPage>() => {
            Some("is it the URL of a mirror, and is no login or proxy in between?".to_owned())
        }
        StoreError::Damaged { what, .. }
            if [".stx/verdicts/", ".stx/pins/"].iter().any(|dir| what.contains(dir)) =>
        {
            Some("move this file away, and record again what it said".to_owned())
        }
        StoreError::Network { .. } => {
            Some("is the URL right, and does this machine reach the server?".to_owned())
        }
        // The refusal itself says all that is known: its kind decides the exit code, and adds nothing to do.
        _ => None,
    }
}

/// A store's refusal as an error.
pub fn refused(error: StoreError) -> Error {
    let hint = hint_of(&error);
    Error {
        hint,
        ..Error::new(error.kind().into(), error)
    }
}
