//! Whether a server keeps writers apart: asked before the first change.

use object_store::Error;

use super::failure::RequestFailure;
use super::keys::PRIVATE;
use super::nonce::nonce;
use super::objects::Objects;
use stx_publish::store::StoreError;

/// Creates an object twice; the second time has to be refused. Locks and aliases are nothing without that, and some servers
/// ignore the condition (`If-None-Match: *`, RFC 9110, 13.1.2) without a word.
///
/// Returns the object, which [`check`] has to look at; after an error it is deleted already.
pub(super) async fn probe(objects: &Objects) -> Result<String, StoreError> {
    let name = format!("{PRIVATE}/probe/{}", nonce()?);
    match ask(objects, &name).await {
        Ok(()) => Ok(name),
        Err(error) => {
            // The first error is the one to report.
            objects.delete([name]).await.ok();
            Err(error)
        }
    }
}

/// Looks whether the object that was created first is still there, and deletes it.
pub(super) async fn check(objects: &Objects, name: &str) -> Result<(), StoreError> {
    let is_right = match objects.get(name).await? {
        Some((bytes, _)) if bytes == "the first" => Ok(()),
        Some(_) => Err(refuse(
            objects,
            "its server says that it refused to write an object over, and wrote it over",
        )),
        None => Err(refuse(
            objects,
            "its server does not show what was written to it",
        )),
    };
    let deleted = objects.delete([name.to_owned()]).await;
    is_right.and(deleted)
}

fn refuse(objects: &Objects, reason: &str) -> StoreError {
    StoreError::Refused {
        what: format!("{objects:?}"),
        reason: format!("{reason}: two publishers could not be kept apart"),
    }
}

async fn ask(objects: &Objects, name: &str) -> Result<(), StoreError> {
    let refuse = |reason: &str| refuse(objects, reason);
    let unknown = "its server knows no `If-None-Match: *`";
    let failed = |error| match objects.failed(name, error) {
        StoreError::Network { source, .. }
            if source
                .downcast_ref()
                .is_some_and(RequestFailure::is_unknown) =>
        {
            refuse(unknown)
        }
        error => error,
    };
    match objects.create_once(name, "the first").await {
        // Nobody else knows the name: it is there by an attempt whose answer was lost.
        Ok(()) | Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
        Err(Error::NotSupported { .. } | Error::NotImplemented { .. }) => {
            return Err(refuse(unknown));
        }
        Err(error) => return Err(failed(error)),
    }
    match objects.create_once(name, "the second").await {
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(()),
        Ok(()) => Err(refuse("its server ignores `If-None-Match: *`")),
        Err(Error::NotSupported { .. } | Error::NotImplemented { .. }) => Err(refuse(unknown)),
        Err(error) => Err(failed(error)),
    }
}
