//! The zsync control files that are made for large files while they are added.

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

/// Begins the control file of a file of `size` bytes. It contains the file's name, but nothing about the build: the same bytes under
/// the same name have the same control file in every build.
pub fn control_maker(path: &BuildPath, size: u64) -> Maker {
    let name = path.file_name();
    Maker::new(name, &encode_path(name), size)
}

/// The control file of a file whose bytes the mirror already has, made from the one beside those bytes, whose digest is `digest`.
/// `None` if that one is damaged, or differs in form from those of [`control_maker`].
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
