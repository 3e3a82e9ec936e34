//! The note that a mirror exists.
//!
//! An unmounted file system looks like a mirror that is still to be made: its directory is empty, or does not exist. A build that was
//! published into that directory would fill the wrong disk, and the mount would later hide it. So builds note in their state
//! directory on which mirror they are published, and that mirror is not created a second time.

use std::io::ErrorKind as Io;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use stx_publish::LocalStore;

use crate::error::{Error, ErrorKind, unusable};
use crate::files::{self, Durable};
use crate::options::{MirrorLocation, absolute};
use crate::{Site, refused};

/// The file in the state directory, with the path of the mirror.
const NOTE: &str = "mirror";

/// The note of a site whose mirror is in a directory, and the mirror's path.
fn note_of(site: &Site, root: &Utf8Path) -> Result<Option<(Utf8PathBuf, Utf8PathBuf)>, Error> {
    if MirrorLocation::of(root) != MirrorLocation::Directory {
        return Ok(None);
    }
    let root = absolute(root)?;
    let state = absolute(&site.options.state(&root)?)?;
    Ok(Some((state.join(NOTE), root)))
}

/// Refuses a mirror that does not exist, if builds were published on it before.
pub(crate) fn check_known(site: &Site, root: &Utf8Path) -> Result<(), Error> {
    let Some((note, root)) = note_of(site, root)? else {
        return Ok(());
    };
    let noted = match fs::read_to_string(&note) {
        // A user who publishes by hand may have no access to the state of the builds.
        Err(error)
            if matches!(
                error.kind(),
                Io::NotFound | Io::NotADirectory | Io::PermissionDenied
            ) =>
        {
            return Ok(());
        }
        read => read.map_err(|error| unusable(&note, error))?,
    };
    if noted.trim_end() != root || LocalStore::is_there(&root).map_err(refused)? {
        return Ok(());
    }
    let error = format!("{root}: holds no mirror, but builds were published there before");
    Err(Error::new(ErrorKind::Mirror, error).hint(format!(
        "is its file system mounted? to begin a new mirror there, remove {note}"
    )))
}

/// Notes that builds are published on a mirror, which exists.
pub(crate) fn note_known(site: &Site, root: &Utf8Path) -> Result<(), Error> {
    let Some((note, root)) = note_of(site, root)? else {
        return Ok(());
    };
    let text = format!("{root}\n");
    if fs::read_to_string(&note).is_ok_and(|noted| noted == text) {
        return Ok(());
    }
    let state = note.parent().unwrap_or(Utf8Path::new("/"));
    fs::create_dir_all(state).map_err(|error| unusable(state, error))?;
    files::replace(&note, text.as_bytes(), Durable::Yes).map_err(|error| unusable(&note, error))
}
