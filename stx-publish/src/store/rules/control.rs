//! The zsync control files that are made of large files while they are added.

use stx_layout::derived::control_of;
use stx_layout::{BuildPath, Sha256, encode_path};
use stx_zsync::{Control, Maker};

use crate::error::StoreError;
use crate::incoming::digest_of;

/// The path of the control file of a file.
///
/// # Errors
/// [`StoreError::Refused`] for a name that would be too long.
pub fn control_path(path: &BuildPath) -> Result<BuildPath, StoreError> {
    control_of(path).map_err(|error| StoreError::Refused {
        what: path.to_string(),
        reason: format!("its control file would have a name that is refused: {error}"),
    })
}

/// Begins the control file of a file of `size` bytes. It names the file, and nothing of the build: that of the same bytes under
/// the same name is the same in every build.
pub fn control_maker(path: &BuildPath, size: u64) -> Maker {
    let name = path.file_name();
    Maker::new(name, &encode_path(name), size)
}

/// The control file of a file whose bytes the mirror has already, out of one that lies beside those, whose digest is `digest`.
/// `None` where it is damaged, or has another form than [`control_maker`] gives it.
pub fn retaken_control(
    path: &BuildPath,
    size: u64,
    control: &[u8],
    digest: &Sha256,
) -> Option<Vec<u8>> {
    if digest_of(control) != *digest {
        return None;
    }
    let control = Control::parse(control).ok()?;
    control_maker(path, size).renamed(control).ok()
}
