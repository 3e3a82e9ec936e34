//! `--keyring`: only data of a mirror that is signed by its keys is trusted, and the newest state seen is remembered.
//!
//! | module | content |
//! |---|---|
//! | `checked` | with the feature `openpgp`: keyrings, and the mirrors that they vouch for |
//! | `refused` | without it: requesting a keyring is an error that names the feature |

#[cfg(feature = "openpgp")]
mod checked;
#[cfg(not(feature = "openpgp"))]
mod refused;

use camino::Utf8PathBuf;

#[cfg(feature = "openpgp")]
pub use checked::Trusted;
#[cfg(feature = "openpgp")]
pub(crate) use checked::{Keyring, keyring_problem, verify};
#[cfg(not(feature = "openpgp"))]
pub use refused::Trusted;
#[cfg(not(feature = "openpgp"))]
pub(crate) use refused::{Keyring, keyring_problem, verify};

/// The error about a keyring. Tests compile this with every feature, because they do not run without `openpgp`.
#[cfg(any(test, not(feature = "openpgp")))]
fn refused(keyring: &camino::Utf8Path) -> crate::error::Error {
    crate::error::Error::without(
        "openpgp",
        &format!("{keyring}: OpenPGP signatures cannot be checked"),
    )
}

/// The signatures to trust.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TrustOptions {
    /// A file of public keys, used instead of that of the site's options.
    pub keyring: Option<Utf8PathBuf>,
    /// True to accept an index that has expired, or is older than one seen before.
    pub allow_stale: bool,
}

#[cfg(test)]
mod tests {
    use super::refused;
    use crate::ErrorKind;

    #[test]
    fn without_openpgp_a_keyring_is_refused() {
        let error = refused("keys.asc".into());
        assert_eq!(error.kind, ErrorKind::Usage);
        let line = error.line();
        for words in [
            "keys.asc: ",
            "built without `openpgp`",
            "--features openpgp",
        ] {
            assert!(line.contains(words), "{words}: {line}");
        }
    }
}
