//! `[signing]`: the signer of builds, packages and indexes.

#[cfg(feature = "openpgp")]
use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
#[cfg(feature = "openpgp")]
use stx_trust::openpgp::OpenPgp;

use crate::error::Error;

/// The table `[signing]` of the configuration. It names the place of a key, and does not contain the key.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningTable {
    /// The key with which `gpg` signs.
    gpg: Option<String>,
    /// Its home directory.
    gpg_home: Option<Utf8PathBuf>,
    /// A program that signs, with its arguments.
    command: Option<Vec<String>>,
    /// The public half of the key that the program signs with.
    public_key: Option<Utf8PathBuf>,
    /// An armored secret key.
    key_file: Option<Utf8PathBuf>,
    /// The file with its passphrase.
    passphrase_file: Option<Utf8PathBuf>,
    /// True (the default) if packages are signed.
    packages: Option<bool>,
    /// The number of days for which an index is valid.
    index_days: Option<u32>,
}

impl SigningTable {
    /// Makes relative paths relative to `dir`.
    pub(super) fn resolve(&mut self, dir: &Utf8Path) {
        for file in [
            &mut self.gpg_home,
            &mut self.public_key,
            &mut self.key_file,
            &mut self.passphrase_file,
        ]
        .into_iter()
        .flatten()
        {
            *file = dir.join(&file);
        }
        // A program without a slash is searched in `PATH`.
        if let Some(program) = self.command.as_mut().and_then(|argv| argv.first_mut())
            && program.contains('/')
        {
            *program = dir.join(&program).into_string();
        }
    }

    /// The program that signs, if one is configured.
    pub(super) fn program(&self) -> Option<&str> {
        self.command.as_ref()?.first().map(String::as_str)
    }

    /// True if a signer is configured.
    pub fn signs(&self) -> bool {
        self.gpg.is_some() || self.command.is_some() || self.key_file.is_some()
    }

    /// True if packages are signed, provided that a signer is configured.
    pub fn signs_packages(&self) -> bool {
        self.packages.unwrap_or(true)
    }

    /// The time for which an index is valid.
    pub fn index_lasts(&self) -> TimeDelta {
        TimeDelta::days(self.index_days.unwrap_or(7).max(1).into())
    }

    /// Checks that the configured signer can sign at `now`.
    #[cfg(feature = "openpgp")]
    pub(crate) fn check(&self, now: DateTime<Utc>) -> Result<(), Error> {
        self.signer(now).map(drop)
    }

    /// Refuses every table that requests a signature.
    #[cfg(not(feature = "openpgp"))]
    pub(crate) fn check(&self, _: DateTime<Utc>) -> Result<(), Error> {
        self.refuse()
    }

    /// Refuses a table that requests a signature. Tests compile this with every feature, because they do not run without `openpgp`.
    #[cfg(any(test, not(feature = "openpgp")))]
    fn refuse(&self) -> Result<(), Error> {
        if self.signs() || self.says_something() {
            return Err(Error::without(
                "openpgp",
                "[signing]: nothing can be signed",
            ));
        }
        Ok(())
    }

    /// The OpenPGP signer; `None` if none is configured.
    #[cfg(feature = "openpgp")]
    pub fn signer(&self, now: DateTime<Utc>) -> Result<Option<OpenPgp>, Error> {
        let wrong = |what: &str| Err(Error::usage(format!("[signing]: {what}")).hint(HINT));
        let signer = match (&self.gpg, &self.command, &self.key_file) {
            (None, None, None) if self.says_something() => {
                return wrong("neither `gpg` nor `command` nor `key_file` says what signs");
            }
            (None, None, None) => return Ok(None),
            (Some(key), None, None) => {
                let home = self.gpg_home.clone().map(Utf8PathBuf::into_string);
                OpenPgp::gpg(key, home, now)
            }
            (None, Some(argv), None) => {
                if argv.is_empty() {
                    return wrong("`command` is empty");
                }
                let Some(file) = &self.public_key else {
                    return wrong("`command` needs `public_key`, the file of its public key");
                };
                let public = fs_err::read(file).map_err(Error::usage)?;
                OpenPgp::command(argv.clone(), &public, now)
            }
            (None, None, Some(file)) => {
                let key = secret(file)?;
                let passphrase = self.passphrase_file.as_deref().map(secret).transpose()?;
                let passphrase = passphrase
                    .as_deref()
                    .map(|text| text.trim_end_matches('\n'));
                OpenPgp::key(&key, passphrase, now)
            }
            _ => return wrong("only one of `gpg`, `command` and `key_file` can sign"),
        };
        signer
            .map(Some)
            .map_err(|error| Error::usage(error).hint(HINT))
    }

    fn says_something(&self) -> bool {
        self.gpg_home.is_some() || self.public_key.is_some() || self.passphrase_file.is_some()
    }
}

#[cfg(feature = "openpgp")]
const HINT: &str = "docs/signing.md describes [signing]; nothing was changed";

/// The text of a file that only its owner can read.
#[cfg(feature = "openpgp")]
fn secret(file: &Utf8Path) -> Result<String, Error> {
    let found = fs_err::metadata(file).map_err(Error::usage)?;
    if found.permissions().mode() & 0o077 != 0 {
        return Err(
            Error::usage(format!("{file}: others than its owner can read it"))
                .hint(format!("chmod 600 {file}")),
        );
    }
    fs_err::read_to_string(file).map_err(Error::usage)
}

#[cfg(test)]
mod tests {
    use super::super::read_table;
    use crate::ErrorKind;

    #[test]
    fn without_openpgp_a_signature_is_refused() {
        for (text, is_refused) in [
            ("gpg = \"builds@example.org\"", true),
            ("command = [\"sign\"]", true),
            ("key_file = \"key.asc\"", true),
            ("public_key = \"key.asc\"", true),
            ("packages = false", false),
            ("index_days = 3", false),
        ] {
            let table = read_table(&format!("[signing]\n{text}\n"), |options| options.signing);
            let refused = table.expect("a table").refuse();
            assert_eq!(refused.is_err(), is_refused, "{text}");
            let Err(error) = refused else { continue };
            assert_eq!(error.kind, ErrorKind::Usage);
            let line = error.line();
            for words in ["[signing]", "built without `openpgp`", "--features openpgp"] {
                assert!(line.contains(words), "{words}: {line}");
            }
        }
    }
}
