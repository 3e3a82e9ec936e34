//! A file that cannot be used as the error of an operation.

use std::io;

use camino::Utf8Path;

use super::Error;
use crate::users::denied;

/// The error about a file that could not be used; if access was denied, with the owner of the file.
pub(crate) fn unusable(path: &Utf8Path, error: io::Error) -> Error {
    let is_denied = error.kind() == io::ErrorKind::PermissionDenied;
    let failure = Error::usage(error);
    if is_denied {
        failure.hint(denied(path))
    } else {
        failure
    }
}

/// True if a path exists. Fails if the caller may not look, as in a directory that only its owner may enter.
pub(crate) fn is_there(path: &Utf8Path) -> Result<bool, Error> {
    match path.metadata() {
        Ok(_) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(unusable(
            path,
            io::Error::new(error.kind(), format!("{path}: {error}")),
        )),
    }
}
