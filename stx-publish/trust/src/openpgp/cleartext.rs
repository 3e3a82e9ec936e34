//! Texts and their signature in one message (RFC 9580, section 7), as `apt` reads `InRelease`.
//!
//! Such a signature has another type than a detached one, and covers the text without its last line end: neither can replace the
//! other. `gpg` makes the whole message; other programs make only the signature, and the message is assembled here.

use std::fmt;
use std::io;

use chrono::{DateTime, Utc};
use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, Deserializable as _, DetachedSignature, SignedSecretKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{KeyDetails as _, KeyVersion, Password, SigningKey, Timestamp};
use sha2::Digest as _;
use stx_publish::seal::SignError;

use super::keyring::{Keyring, TrustError, ValidSignature};
use super::signer::{GPG_PACKAGES, OpenPgp, SigningBackend, gpg_args, key_file, refused};
use crate::run::run;

/// The variable that tells a signing program the type of the signature.
const TYPE: &str = "SIGNATURE_TYPE";

/// A secret key that signs texts in this process.
#[derive(Clone)]
pub(super) struct TextKey {
    secret: SignedSecretKey,
    /// The fingerprint of the key that signs, the primary one or a subkey.
    which: Vec<u8>,
    passphrase: String,
}

impl fmt::Debug for TextKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextKey").finish_non_exhaustive()
    }
}

impl TextKey {
    pub(super) fn new(secret: SignedSecretKey, which: Vec<u8>, passphrase: Option<&str>) -> Self {
        Self {
            secret,
            which,
            passphrase: passphrase.unwrap_or_default().to_owned(),
        }
    }

    fn sign(&self, text: &str, at: DateTime<Utc>) -> pgp::errors::Result<Signature> {
        let primary = &self.secret.primary_key;
        if primary.fingerprint().as_bytes() == self.which {
            return self.sign_with(primary, text, at);
        }
        let mut subkeys = self.secret.secret_subkeys.iter();
        let subkey = subkeys.find(|subkey| subkey.key.fingerprint().as_bytes() == self.which);
        let subkey = subkey.ok_or_else(|| io::Error::other("the signing key is missing"))?;
        self.sign_with(&subkey.key, text, at)
    }

    fn sign_with(
        &self,
        key: &impl SigningKey,
        text: &str,
        at: DateTime<Utc>,
    ) -> pgp::errors::Result<Signature> {
        let at = Timestamp::from_secs(u32::try_from(at.timestamp()).unwrap_or_default());
        let hash = HashAlgorithm::Sha256;
        let (kind, algorithm) = (SignatureType::Text, key.algorithm());
        let mut said = vec![
            SubpacketData::SignatureCreationTime(at),
            SubpacketData::IssuerFingerprint(key.fingerprint()),
        ];
        let mut config = if let (KeyVersion::V6, Some(length)) = (key.version(), hash.salt_len()) {
            // The salt is derived from the text, so that the same text has the same signature.
            let mut salt = sha2::Sha256::digest(text).to_vec();
            salt.truncate(length);
            SignatureConfig::v6_with_salt(kind, algorithm, hash, salt)
        } else {
            said.push(SubpacketData::IssuerKeyId(key.legacy_key_id()));
            SignatureConfig::v4(kind, algorithm, hash)
        };
        let said = said.into_iter().map(Subpacket::regular);
        config.hashed_subpackets = said.collect::<Result<_, _>>()?;
        let passphrase = Password::from(self.passphrase.as_str());
        config.sign(key, &passphrase, text.as_bytes())
    }
}

impl OpenPgp {
    /// Signs a text and judges the message; `None` for a program that makes only detached signatures of bytes.
    pub(super) fn sign_message(
        &self,
        text: &str,
        at: DateTime<Utc>,
    ) -> Result<Option<String>, SignError> {
        let at = at.max(self.since);
        let text = text.trim_end_matches('\n');
        let Some((mut message, made)) = self.sign_message_once(text, at)? else {
            return Ok(None);
        };
        if made.timestamp() != at.timestamp() && matches!(self.backend, SigningBackend::Gpg { .. })
        {
            // gpg's clock advanced, as for a detached signature.
            if let Some((again, _)) = self.sign_message_once(text, at)? {
                message = again;
            }
        }
        Ok(Some(message))
    }

    fn sign_message_once(
        &self,
        text: &str,
        at: DateTime<Utc>,
    ) -> Result<Option<(String, DateTime<Utc>)>, SignError> {
        let signer = self.backend.to_string();
        let message = match &self.backend {
            SigningBackend::Gpg { program, key, home } => {
                let mut args = gpg_args(home.as_deref());
                let time = at.format("%Y%m%dT%H%M%S!").to_string();
                args.extend(["--faked-system-time".to_owned(), time]);
                args.extend(["--local-user".to_owned(), key.clone()]);
                args.extend(["--digest-algo", "SHA256", "--clearsign"].map(str::to_owned));
                let message = run(program, GPG_PACKAGES, &args, &[], text.as_bytes())?;
                String::from_utf8(message).map_err(|error| refused(&signer, error))?
            }
            SigningBackend::Command { argv } => {
                let (program, args) = argv
                    .split_first()
                    .ok_or_else(|| refused("the signing command", "is empty"))?;
                let env = [
                    ("SOURCE_DATE_EPOCH", at.timestamp().to_string()),
                    (TYPE, "text".to_owned()),
                ];
                let made = run(program, "that it belongs to", args, &env, text.as_bytes())?;
                let made = DetachedSignature::from_armor_single(made.as_slice());
                let (made, _) = made.map_err(|error| refused(&signer, error))?;
                if made.signature.typ() != Some(SignatureType::Text) {
                    return Ok(None);
                }
                message(text, made.signature).map_err(|error| refused(&signer, error))?
            }
            SigningBackend::Key(_) => {
                let Some(key) = &self.text else {
                    return Ok(None);
                };
                let made = key.sign(text, at).map_err(key_file)?;
                message(text, made).map_err(key_file)?
            }
        };
        // A wrong message would be noticed by every reader, after it was published.
        let useless = |why: String| refused(&signer, format!("its message is not valid: {why}"));
        let judged = self.public.verify_message(&message, at);
        let (good, found) = judged.map_err(|why| useless(why.to_string()))?;
        if found != text {
            return Err(useless("it holds another text".to_owned()));
        }
        Ok(Some((message, good.at)))
    }
}

/// A text with its signature.
fn message(text: &str, signature: Signature) -> pgp::errors::Result<String> {
    let message = CleartextSignedMessage::new_many(text, |_| Ok(vec![signature]))?;
    message.to_armored_string(ArmorOptions::default())
}

impl Keyring {
    /// Judges a message of a text and its signature, and returns the text, without its last line end. Of several signatures, one
    /// good one is enough.
    pub fn verify_message(
        &self,
        message: &str,
        now: DateTime<Utc>,
    ) -> Result<(ValidSignature, String), TrustError> {
        let unreadable = |error: pgp::errors::Error| TrustError::Unreadable {
            reason: error.to_string(),
        };
        // A careless reader would take any text before the message for a part of it.
        if !message.starts_with("-----BEGIN PGP SIGNED MESSAGE-----") {
            return Err(TrustError::Unsigned);
        }
        let (message, _) = CleartextSignedMessage::from_string(message).map_err(unreadable)?;
        let signed = message.signed_text();
        let mut why = TrustError::Unsigned;
        for signature in message.signatures() {
            match self.judge(signed.as_bytes(), signature, SignatureType::Text, now) {
                Ok(good) => return Ok((good, signed.replace("\r\n", "\n"))),
                Err(reason) => why = why.max(reason),
            }
        }
        Err(why)
    }
}
