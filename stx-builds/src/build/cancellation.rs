//! Requests that a running build end, by a file in its state directory.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::BuildId;
use stx_pipeline::Cancel;

use crate::error::{Error, ErrorKind};

/// The interval at which a build looks for a request to end.
pub(crate) const LOOK: Duration = Duration::from_millis(200);

/// The file that asks the build of a state directory to end.
const REQUEST: &str = "cancel";

/// Waits for a request to end the build that works in `state`, then triggers `cancel`.
pub(super) async fn wait_for_request(state: Utf8PathBuf, cancel: Cancel) {
    let file = state.join(REQUEST);
    while !file.exists() {
        tokio::time::sleep(LOOK).await;
    }
    cancel.cancel();
}

/// Removes a request to end; the caller holds the lock of the state directory.
pub(crate) fn clear_request(state: &Utf8Path) -> Result<(), Error> {
    match fs_err::remove_file(state.join(REQUEST)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(ErrorKind::Bug, error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Requests that the build that works in `state` end.
pub(crate) fn request(state: &Utf8Path, build: &BuildId) -> Result<(), Error> {
    fs_err::write(state.join(REQUEST), build.to_string())
        .map_err(|error| Error::new(ErrorKind::Bug, error))
}
