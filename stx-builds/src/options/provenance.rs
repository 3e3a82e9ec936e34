//! `[provenance]` and `[sbom]`: the statements about builds, and their signer.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use stx_trust::provenance::key::{PublicKey, SigningCommand, SigningKey};
use stx_trust::provenance::{BuilderId, EnvelopeSigner};

use crate::error::Error;

const HINT: &str = "docs/provenance.md describes [provenance]; nothing was changed";

/// The table `[provenance]` of the configuration. It names the place of a key, and does not contain the key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProvenanceTable {
    /// True if builds get provenance.
    pub enabled: bool,
    /// The URI that identifies the builder.
    builder: Option<String>,
    /// An Ed25519 key in PKCS#8 and PEM form.
    key_file: Option<Utf8PathBuf>,
    /// A program that signs, with its arguments.
    command: Option<Vec<String>>,
    /// The public half of the key that the program signs with.
    public_key: Option<Utf8PathBuf>,
    /// The public keys one of which must have signed every build, for `verify` and `show`.
    trusted_keys: Vec<Utf8PathBuf>,
}

impl Default for ProvenanceTable {
    fn default() -> Self {
        Self {
            enabled: true,
            builder: None,
            key_file: None,
            command: None,
            public_key: None,
            trusted_keys: Vec::new(),
        }
    }
}

/// The table `[sbom]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SbomTable {
    /// True if ISO images get a bill of materials.
    pub enabled: bool,
    /// True if a build is refused when no bill of materials can be made for one of its images.
    pub required: bool,
}

impl Default for SbomTable {
    fn default() -> Self {
        Self {
            enabled: true,
            required: false,
        }
    }
}

impl ProvenanceTable {
    /// Makes relative paths relative to `dir`.
    pub(super) fn resolve(&mut self, dir: &Utf8Path) {
        let files = [&mut self.key_file, &mut self.public_key];
        for file in files.into_iter().flatten().chain(&mut self.trusted_keys) {
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

    /// The identity of the builder.
    pub fn builder(&self) -> Result<BuilderId, Error> {
        match &self.builder {
            None => Ok(BuilderId::default()),
            Some(text) => text.parse().map_err(|error| Error::usage(error).hint(HINT)),
        }
    }

    /// The signer of the statements; `None` if none is configured.
    pub fn signer(&self) -> Result<Option<Arc<dyn EnvelopeSigner>>, Error> {
        let wrong = |what: &str| Err(Error::usage(format!("[provenance]: {what}")).hint(HINT));
        match (&self.key_file, &self.command, &self.public_key) {
            (None, None, None) => Ok(None),
            (Some(file), None, None) => {
                let key = SigningKey::from_pem(&secret(file)?);
                let key = key.map_err(|error| unreadable(file, &error))?;
                Ok(Some(Arc::new(key)))
            }
            (None, Some(argv), Some(file)) if !argv.is_empty() => {
                Ok(Some(Arc::new(SigningCommand {
                    argv: argv.clone(),
                    public: public_key(file)?,
                })))
            }
            (None, Some(_), Some(_)) => wrong("`command` is empty"),
            (None, Some(_), None) => {
                wrong("`command` needs `public_key`, the file of its public key")
            }
            (Some(_), Some(_), _) => wrong("only one of `key_file` and `command` can sign"),
            (_, None, Some(_)) => {
                wrong("`public_key` belongs to `command`; readers are given `trusted_keys`")
            }
        }
    }

    /// The trusted keys: those in the files `given`, else those of the configuration.
    pub fn trusted(&self, given: &[Utf8PathBuf]) -> Result<Vec<PublicKey>, Error> {
        let files = if given.is_empty() {
            &self.trusted_keys
        } else {
            given
        };
        files.iter().map(|file| public_key(file)).collect()
    }
}

fn public_key(file: &Utf8Path) -> Result<PublicKey, Error> {
    let text = fs_err::read(file).map_err(Error::usage)?;
    PublicKey::from_pem(&text).map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &Utf8Path, error: &dyn std::error::Error) -> Error {
    Error::usage(format!("{file}: {error}")).hint(HINT)
}

/// The content of a file that only its owner can read.
fn secret(file: &Utf8Path) -> Result<Vec<u8>, Error> {
    let found = fs_err::metadata(file).map_err(Error::usage)?;
    if found.permissions().mode() & 0o077 != 0 {
        let failure = Error::usage(format!("{file}: others than its owner can read it"));
        return Err(failure.hint(format!("chmod 600 {file}")));
    }
    fs_err::read(file).map_err(Error::usage)
}
