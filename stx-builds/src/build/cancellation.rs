//! How a running build is asked to end: by a file in its state directory.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::BuildId;
use stx_pipeline::Cancel;

use crate::error::{Error, ErrorKind};

/// How often a build looks whether it shall end.
pub(crate) const LOOK: Duration = Duration::from_millis(200);

/// The file that asks the build of a state directory to end.
const REQUEST: &str = "cancel";

/// Waits until somebody asks the build that works in `state` to end, and switches `cancel` then.
pub(super) async fn wait_for_request(state: Utf8PathBuf, cancel: Cancel) {
    let file = state.join(REQUEST);
    while !file.exists() {
        tokio::time::sleep(LOOK).await;
    }
    cancel.cancel();
}

/// Forgets that a build should end; the lock of the state directory has to be held.
pub(crate) fn clear_request(state: &Utf8Path) -> Result<(), Error> {
    match fs_err::remove_file(state.join(REQUEST)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(ErrorKind::Bug, error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Asks the build that works in `state` to end.
pub(crate) fn request(state: &Utf8Path, build: &BuildId) -> Result<(), Error> {
    fs_err::write(state.join(REQUEST), build.to_string())
        .map_err(|error| Error::new(ErrorKind::Bug, error))
}
