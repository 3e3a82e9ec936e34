//! `--keyring`: what is read of a mirror is believed as far as its keys vouch for it, and what was seen once is remembered.
//!
//! | module | is |
//! |---|---|
//! | `checked` | with the feature `openpgp`: keyrings, and the mirrors that they vouch for |
//! | `refused` | without it: a keyring that is asked for is an error, which names the feature |

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

/// The error about a keyring. Tests have this with every feature, since the gate tests no other program.
#[cfg(any(test, not(feature = "openpgp")))]
fn refused(keyring: &camino::Utf8Path) -> crate::error::Error {
    crate::error::Error::without(
        "openpgp",
        &format!("{keyring}: OpenPGP signatures cannot be checked"),
    )
}

/// Whose signatures are believed.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TrustOptions {
    /// A file of public keys, instead of that of the site's options.
    pub keyring: Option<Utf8PathBuf>,
    /// Whether an index that has expired, or is older than one seen before, is accepted.
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
