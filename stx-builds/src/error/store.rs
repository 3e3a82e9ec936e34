//! A store's refusal as the error of an operation.

use std::io;

use stx_publish::{SignError, StoreError, WebPage};

use super::{Error, ErrorKind};
use crate::users::denied;

/// The kind of a store's refusal.
pub(crate) fn kind_of(error: &StoreError) -> ErrorKind {
    match error {
        StoreError::Busy { .. } => ErrorKind::Busy,
        StoreError::NotFound { .. } | StoreError::NotAMirror { .. } => ErrorKind::NotFound,
        StoreError::MissingTool { .. }
        | StoreError::Unsigned {
            source: SignError::MissingTool { .. },
            ..
        } => ErrorKind::Usage,
        StoreError::AlreadyExists { .. }
        | StoreError::Conflict { .. }
        | StoreError::NotDurable { .. }
        | StoreError::Refused { .. }
        | StoreError::Changed { .. }
        | StoreError::Tool { .. }
        | StoreError::Unsigned { .. }
        | StoreError::Untrusted { .. }
        | StoreError::Stale { .. }
        | StoreError::Unsupported { .. }
        | StoreError::Damaged { .. }
        | StoreError::Network { .. }
        | StoreError::Io { .. } => ErrorKind::Mirror,
    }
}

/// The next step after a store's refusal, where that can be told from the refusal alone.
pub(crate) fn hint_of(error: &StoreError) -> Option<String> {
    match error {
        StoreError::Io { path, source, .. } => {
            (source.kind() == io::ErrorKind::PermissionDenied).then(|| denied(path.as_ref()))
        }
        StoreError::NotAMirror { instead, .. } => Some(match instead.as_slice() {
            [] => "the root of a mirror is what holds the channels, such as `master/centos`"
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
        StoreError::Busy { .. }
        | StoreError::NotFound { .. }
        | StoreError::MissingTool { .. }
        | StoreError::Unsigned { .. }
        | StoreError::AlreadyExists { .. }
        | StoreError::Conflict { .. }
        | StoreError::Refused { .. }
        | StoreError::Changed { .. }
        | StoreError::Tool { .. }
        | StoreError::Unsupported { .. } => None,
        StoreError::Damaged { source, .. } => source
            .is::<WebPage>()
            .then(|| "is it the URL of a mirror, and is no login or proxy in between?".to_owned()),
        StoreError::Network { .. } => {
            Some("is the URL right, and does this machine reach the server?".to_owned())
        }
    }
}

/// A store's refusal as an error.
pub fn refused(error: StoreError) -> Error {
    let hint = hint_of(&error);
    Error {
        hint,
        ..Error::new(kind_of(&error), error)
    }
}
