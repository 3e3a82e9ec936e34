//! Signers: `gpg`, another program, a key in a file.

use std::fmt;
use std::io::{self, Read};

use chrono::{DateTime, Utc};
use pgp::composed::{ArmorOptions, Deserializable as _, DetachedSignature, SignedSecretKey};
use rpm::signature::Signing as _;

use super::cleartext::TextKey;
use super::keyring::{Keyring, KeyringError};
use crate::run::run;
use stx_publish::seal::{SignError, Signer};

/// The means by which signatures are made.
#[derive(Clone)]
pub enum SigningBackend {
    /// `gpg`; the key is in its agent or on a token, never in this process.
    Gpg {
        /// The program.
        program: String,
        /// The key, in any form that `--local-user` takes.
        key: String,
        /// Its home directory; `None` for its own default.
        home: Option<String>,
    },
    /// A program that reads bytes on standard input and writes an armored detached signature to standard output, for hardware
    /// modules and signing services. `SOURCE_DATE_EPOCH` in its environment is the time of the signature; `SIGNATURE_TYPE` is
    /// `text` if the signature must be one of a text.
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
    },
    /// A secret key, in this process.
    Key(Box<rpm::signature::pgp::Signer>),
}

impl fmt::Debug for SigningBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpg { key, .. } => write!(f, "Gpg({key})"),
            Self::Command { argv } => write!(f, "Command({argv:?})"),
            Self::Key(_) => f.write_str("Key"),
        }
    }
}

/// The signer's name in errors.
impl fmt::Display for SigningBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpg { key, .. } => write!(f, "the gpg key {key}"),
            Self::Command { argv } => write!(f, "the signing command {}", argv.join(" ")),
            Self::Key(_) => f.write_str("the key file"),
        }
    }
}

/// Signs with one OpenPGP key, and judges each signature by the public key before it is returned.
#[derive(Debug, Clone)]
pub struct OpenPgp {
    pub(super) backend: SigningBackend,
    /// The same key for texts, if it is in this process.
    pub(super) text: Option<Box<TextKey>>,
    pub(super) public: Keyring,
    /// The time at which the signing key was made.
    pub(super) since: DateTime<Utc>,
}

impl OpenPgp {
    /// Signs with a key of `gpg`; requests its public half at once.
    ///
    /// # Errors
    /// The errors of `gpg`; [`SignError::Refused`] if there is no such key, more than one, or one that may not sign at `now`.
    pub fn gpg(key: &str, home: Option<String>, now: DateTime<Utc>) -> Result<Self, SignError> {
        let program = "gpg".to_owned();
        let mut args = gpg_args(home.as_deref());
        args.extend(["--export", "--armor", "--", key].map(str::to_owned));
        let exported = run(&program, GPG_PACKAGES, &args, &[], io::empty())?;
        let public = public(&program, &exported, key)?;
        let key = key.to_owned();
        Self::new(SigningBackend::Gpg { program, key, home }, public, now)
    }

    /// Signs by a program, with the key whose public half is `public`.
    ///
    /// # Errors
    /// [`SignError::Refused`] if `public` is not one key that may sign at `now`.
    pub fn command(
        argv: Vec<String>,
        public_key: &[u8],
        now: DateTime<Utc>,
    ) -> Result<Self, SignError> {
        let name = argv.first().cloned().unwrap_or_default();
        let public = public(&name, public_key, "its public key")?;
        Self::new(SigningBackend::Command { argv }, public, now)
    }

    /// Signs with an armored secret key, in this process.
    ///
    /// # Errors
    /// [`SignError::Refused`] if the text is not one key that may sign at `now`, or if the passphrase is wrong.
    pub fn key(
        armored: &str,
        passphrase: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Self, SignError> {
        let (secret, _) = SignedSecretKey::from_string(armored).map_err(key_file)?;
        let public = Keyring::of(secret.to_public_key());
        let (which, _) = public.signing_key(now).map_err(key_file)?;
        let signer = rpm::signature::pgp::Signer::from_asc(armored).map_err(key_file)?;
        let mut signer = signer.with_signing_key(&which).map_err(key_file)?;
        if let Some(passphrase) = passphrase {
            signer = signer.with_key_passphrase(passphrase);
        }
        let mut signer = Self::new(SigningBackend::Key(Box::new(signer)), public, now)?;
        signer.text = Some(Box::new(TextKey::new(secret, which, passphrase)));
        Ok(signer)
    }

    fn new(
        backend: SigningBackend,
        public: Keyring,
        now: DateTime<Utc>,
    ) -> Result<Self, SignError> {
        let (_, since) = public
            .signing_key(now)
            .map_err(|error| refused(&format!("{backend:?}"), error))?;
        Ok(Self {
            backend,
            text: None,
            public,
            since,
        })
    }

    /// The public key.
    pub fn public(&self) -> &Keyring {
        &self.public
    }
}

impl OpenPgp {
    /// Signs the bytes that `open` returns. They are read twice: to sign them, and to judge the signature.
    pub(super) fn sign_reader<R: Read + Send>(
        &self,
        open: impl Fn() -> io::Result<R>,
        at: DateTime<Utc>,
    ) -> Result<String, SignError> {
        let at = at.max(self.since);
        let (mut signature, made) = self.sign_once(&open, at)?;
        if made.timestamp() != at.timestamp() && matches!(self.backend, SigningBackend::Gpg { .. })
        {
            // gpg's clock is not frozen at the present second, and gpg finished in a later one. The present second is over now,
            // so the next signature has the requested time, like any later signature of the same bytes.
            (signature, _) = self.sign_once(&open, at)?;
        }
        String::from_utf8(signature)
            .ok()
            .filter(|text| text.contains("-----BEGIN PGP SIGNATURE-----"))
            .ok_or_else(|| refused(&self.backend.to_string(), "its signature is not armored"))
    }

    /// Signs and judges once; returns the signature, and its time.
    fn sign_once<R: Read + Send>(
        &self,
        open: &impl Fn() -> io::Result<R>,
        at: DateTime<Utc>,
    ) -> Result<(Vec<u8>, DateTime<Utc>), SignError> {
        let unread = |source| SignError::Io {
            signer: "the bytes to sign".to_owned(),
            source,
        };
        let bytes = open().map_err(unread)?;
        let seconds = at.timestamp();
        let signature = match &self.backend {
            SigningBackend::Gpg { program, key, home } => {
                let mut args = gpg_args(home.as_deref());
                let time = at.format("%Y%m%dT%H%M%S!").to_string();
                args.extend(["--faked-system-time".to_owned(), time]);
                args.extend(["--local-user".to_owned(), key.clone()]);
                args.extend(
                    ["--digest-algo", "SHA256", "--detach-sign", "--armor"].map(str::to_owned),
                );
                run(program, GPG_PACKAGES, &args, &[], bytes)?
            }
            SigningBackend::Command { argv } => {
                let (program, args) = argv
                    .split_first()
                    .ok_or_else(|| refused("the signing command", "is empty"))?;
                let env = [("SOURCE_DATE_EPOCH", seconds.to_string())];
                run(program, "that it belongs to", args, &env, bytes)?
            }
            SigningBackend::Key(signer) => {
                let seconds = u32::try_from(seconds).unwrap_or_default();
                let made = signer
                    .sign(bytes, rpm::Timestamp(seconds))
                    .map_err(key_file)?;
                let made = DetachedSignature::from_bytes(made.as_slice()).map_err(key_file)?;
                let armored = made.to_armored_string(ArmorOptions::default());
                armored.map_err(key_file)?.into_bytes()
            }
        };
        // A wrong signature would be noticed by every reader, after it was published.
        let signer = self.backend.to_string();
        let bytes = open().map_err(unread)?;
        let judged = self.public.verify_reader(bytes, &signature, at);
        let good =
            judged.map_err(|why| refused(&signer, format!("its signature is not valid: {why}")))?;
        Ok((signature, good.at))
    }
}

impl Signer for OpenPgp {
    fn sign(&self, bytes: &[u8], at: DateTime<Utc>) -> Result<String, SignError> {
        self.sign_reader(|| Ok(bytes), at)
    }

    fn sign_text(&self, text: &str, at: DateTime<Utc>) -> Result<Option<String>, SignError> {
        self.sign_message(text, at)
    }
}

/// The packages that provide `gpg`.
pub(super) const GPG_PACKAGES: &str = "gpg (apt) or gnupg2 (dnf)";

/// The first arguments of every call of `gpg`: it never prompts, and its output does not depend on the machine.
pub(super) fn gpg_args(home: Option<&str>) -> Vec<String> {
    let mut args: Vec<_> = [
        "--batch",
        "--no-tty",
        "--quiet",
        "--pinentry-mode",
        "error",
        "--no-comments",
        "--no-emit-version",
    ]
    .map(str::to_owned)
    .into();
    args.extend(
        home.into_iter()
            .flat_map(|home| ["--homedir".to_owned(), home.to_owned()]),
    );
    args
}

/// The one key of `bytes`.
fn public(signer: &str, bytes: &[u8], key: &str) -> Result<Keyring, SignError> {
    let none = || refused(signer, format!("{key}: there is no such key"));
    let public = match Keyring::read(bytes) {
        Err(KeyringError::Empty) => return Err(none()),
        Err(_) if bytes.is_empty() => return Err(none()),
        public => public.map_err(|error| refused(signer, format!("{key}: {error}")))?,
    };
    match public.fingerprints().as_slice() {
        [_] => Ok(public),
        several => Err(refused(
            signer,
            format!("{key}: which of {}?", several.join(", ")),
        )),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "calls read better without a borrow"
)]
pub(super) fn refused(signer: &str, reason: impl ToString) -> SignError {
    SignError::Refused {
        signer: signer.to_owned(),
        reason: reason.to_string(),
    }
}

pub(super) fn key_file(error: impl std::error::Error) -> SignError {
    refused("the secret key", stx_publish::verify::chain(&error))
}
