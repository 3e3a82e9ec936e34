//! Keyrings, and the mirrors that they vouch for.

use std::io;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use stx_publish::{MirrorRead, Scope, VerifyError, VerifyReport};
pub(crate) use stx_trust::openpgp::Keyring;
use stx_trust::openpgp::{
    SeenSerials, TrustedMirror, verify_packages, verify_releases, verify_signatures,
};

use super::TrustOptions;
use crate::Site;
use crate::error::{Error, ErrorKind, chain};
use crate::files::{self, Durable};

/// A mirror that a keyring vouches for, and its remembered state.
pub struct Trusted {
    mirror: TrustedMirror,
    memory: Option<Memory>,
}

/// The file that remembers the serials of a mirror.
struct Memory {
    file: Utf8PathBuf,
    mirror: String,
}

/// The form of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    /// The mirror's URL or directory.
    mirror: String,
    /// The serials, by key and index.
    serials: SeenSerials,
}

impl Site {
    /// The keys of `--keyring`, or of the configuration.
    pub fn keyring(&self, given: Option<&Utf8Path>) -> Result<Option<Keyring>, Error> {
        let file = given.or(self.options.keyring());
        let Some(file) = file else {
            return Ok(None);
        };
        let bytes = fs_err::read(file).map_err(Error::usage)?;
        let keyring = Keyring::read(&bytes).map_err(|error| {
            Error::usage(format!("{file}: {}", chain(&error))).hint(
                "`gpg --armor --export KEY > FILE` writes a public key; several may stand in one file",
            )
        });
        keyring.map(Some)
    }
}

/// The fault of a keyring's text, if it has one.
pub(crate) fn keyring_problem(text: &[u8]) -> Option<String> {
    Some(chain(&Keyring::read(text).err()?).to_string())
}

/// Checks the signatures of a mirror, of its builds and of their packages with a keyring, and adds the findings to a report.
pub(crate) async fn verify(
    site: &Site,
    (store, shared): (&dyn MirrorRead, Arc<dyn MirrorRead>),
    keyring: &Keyring,
    scope: &Scope,
    report: &mut VerifyReport,
) -> Result<(), VerifyError> {
    let now = site.now;
    verify_signatures(shared, keyring.clone(), scope, now, report).await?;
    verify_releases(store, keyring, scope, now, report).await?;
    if site.options.signing.signs_packages() {
        verify_packages(store, keyring, scope, now, report).await?;
    }
    Ok(())
}

impl Trusted {
    /// The mirror `store`, which users call `name`, restricted to data that `keyring` vouches for and that is not older than before.
    pub(crate) fn open(
        site: &Site,
        store: Arc<dyn MirrorRead>,
        name: &str,
        keyring: Keyring,
        options: &TrustOptions,
    ) -> Result<Self, Error> {
        let memory = Memory::of(name);
        if memory.is_none() {
            site.note("note: neither XDG_STATE_HOME nor HOME is set: a mirror that goes back in time is not noticed");
        }
        let known = memory.as_ref().map(Memory::read).transpose()?;
        let known = known.unwrap_or_default();
        Ok(Self {
            mirror: TrustedMirror::new(store, keyring, known, site.now, options.allow_stale),
            memory,
        })
    }

    /// The store that returns only data that the keyring vouches for.
    pub(crate) fn store(&self) -> &dyn MirrorRead {
        &self.mirror
    }

    /// Remembers the serials that were accepted so far. Called after the checks, never before.
    pub fn remember(&self) -> Result<(), Error> {
        let seen = self.mirror.seen();
        match &self.memory {
            Some(memory) if seen != SeenSerials::default() => memory.write(&seen),
            Some(_) | None => Ok(()),
        }
    }
}

impl Memory {
    /// The file for a mirror: `$XDG_STATE_HOME/stx-builds/mirrors/DIGEST.json`.
    fn of(mirror: &str) -> Option<Self> {
        let set = |name| {
            std::env::var(name)
                .ok()
                .filter(|text| text.starts_with('/'))
                .map(Utf8PathBuf::from)
        };
        let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
        let digest = stx_layout::Sha256(sha2::Sha256::digest(mirror).into());
        Some(Self {
            file: state.join(format!("stx-builds/mirrors/{digest}.json")),
            mirror: mirror.to_owned(),
        })
    }

    /// Reads the remembered serials. A file that cannot be understood is an error, not an empty memory.
    fn read(&self) -> Result<SeenSerials, Error> {
        let text = match fs_err::read_to_string(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(SeenSerials::default());
            }
            text => text.map_err(Error::usage)?,
        };
        let remembered: Remembered = serde_json::from_str(&text).map_err(|error| {
            Error::usage(format!("{}: {error}", self.file)).hint(
                "it remembers how new the mirror was; without it, a mirror that goes back in time is not noticed once",
            )
        })?;
        Ok(remembered.serials)
    }

    /// Merges the seen serials with those that other processes may have written meanwhile.
    fn write(&self, seen: &SeenSerials) -> Result<(), Error> {
        let dir = self.file.parent().unwrap_or(Utf8Path::new("/"));
        fs_err::create_dir_all(dir).map_err(Error::usage)?;
        let lock = fs_err::File::create(dir.join("lock")).map_err(Error::usage)?;
        lock.file().lock().map_err(Error::usage)?;
        let mut serials = self.read()?;
        serials.merge(seen);
        let remembered = Remembered {
            mirror: self.mirror.clone(),
            serials,
        };
        let mut text = serde_json::to_string_pretty(&remembered)
            .map_err(|error| Error::new(ErrorKind::Bug, error))?;
        text.push('\n');
        files::replace(&self.file, text.as_bytes(), Durable::Yes).map_err(Error::usage)
    }
}
