//! Checks, before the first change, that a server keeps writers apart.

use object_store::Error;

use super::failure::RequestFailure;
use super::keys::PRIVATE;
use super::nonce::nonce;
use super::objects::Objects;
use stx_publish::store::StoreError;

/// Creates an object twice; the server must refuse the second time. Locks and aliases depend on that, and some servers silently
/// ignore the condition (`If-None-Match: *`, RFC 9110, 13.1.2).
///
/// Returns the object, which [`check`] must examine; after an error it is already deleted.
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

/// Checks that the object that was created first still exists, and deletes it.
pub(super) async fn check(objects: &Objects, name: &str) -> Result<(), StoreError> {
    let is_right = match objects.get(name).await? {
        Some((bytes, _)) if bytes == "the first" => Ok(()),
        Some(_) => Err(refuse(
            objects,
            "its server reported that it refused to overwrite an object, but overwrote it",
        )),
        None => Err(refuse(
            objects,
            "its server does not return an object that was written",
        )),
    };
    let deleted = objects.delete([name.to_owned()]).await;
    is_right.and(deleted)
}

fn refuse(objects: &Objects, reason: &str) -> StoreError {
    StoreError::Refused {
        what: format!("{objects:?}"),
        reason: format!("{reason}: two publishers could not exclude each other"),
    }
}

async fn ask(objects: &Objects, name: &str) -> Result<(), StoreError> {
    let refuse = |reason: &str| refuse(objects, reason);
    let unknown = "its server does not support `If-None-Match: *`";
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
        // No other writer knows the name, so an attempt whose answer was lost has created the object.
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
