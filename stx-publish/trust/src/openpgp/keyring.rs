//! Public keys, and the judgement of signatures by them.

use std::cmp::Reverse;
use std::fmt::{self, Write as _};
use std::io::Read;

use chrono::{DateTime, TimeDelta, Utc};
use pgp::composed::{ArmorOptions, Deserializable as _, DetachedSignature, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, Tag, Timestamp};

use super::component::{Component, Key, components};

/// The longest time that a signature may be ahead of the clock: the date of a build comes from another machine's clock.
const AHEAD: TimeDelta = TimeDelta::days(1);

const PUBLIC_KEY: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const SECRET_KEY: &[u8] = b"-----BEGIN PGP PRIVATE KEY BLOCK-----";

/// Public keys whose owners are trusted.
#[derive(Debug, Clone)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

/// A keyring that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// Not OpenPGP, or in a form that cannot be read.
    #[error("not public keys as `gpg --export` writes them")]
    Form {
        /// The error that caused it.
        source: pgp::errors::Error,
    },
    /// It contains no key.
    #[error("holds no OpenPGP public key")]
    Empty,
    /// It holds secret keys, which no reader needs.
    #[error("holds a secret key, not public keys")]
    Secret,
}

/// A signature that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidSignature {
    /// The fingerprint of the primary key, in capital hexadecimal digits.
    pub key: String,
    /// The time at which it was made.
    pub at: DateTime<Utc>,
}

/// The reason that a signature is not trusted. Of several signatures, the last reason in this order counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// There is no signature.
    #[error("not signed")]
    Unsigned,
    /// The bytes are not a signature.
    #[error("its signature cannot be read: {reason}")]
    Unreadable {
        /// The reason.
        reason: String,
    },
    /// The key that signed is not in the keyring.
    #[error("signed by {key}, which is not in the keyring")]
    UnknownKey {
        /// The key that the signature names.
        key: String,
    },
    /// The signature is of a type that does not cover a file, or uses a digest that can be forged.
    #[error("signed in a way that proves nothing ({how})")]
    Weak {
        /// The kind or digest.
        how: String,
    },
    /// The signature covers other bytes.
    #[error("{key} signed other bytes than these")]
    Bad {
        /// The key.
        key: String,
    },
    /// The key may not sign.
    #[error("signed by {key}, which {state}")]
    Key {
        /// The key: a subkey with its primary key, `FINGERPRINT (subkey of FINGERPRINT)`.
        key: String,
        /// The reason that it may not sign.
        state: KeyState,
    },
    /// The signature itself has expired.
    #[error("the signature of {key} expired at {until}")]
    Expired {
        /// The key.
        key: String,
        /// The time at which it expired.
        until: DateTime<Utc>,
    },
    /// The signature is dated more than a day ahead.
    #[error("{key} signed it at {at}, which is in the future; is the clock right?")]
    Ahead {
        /// The key.
        key: String,
        /// The time at which it claims to be made.
        at: DateTime<Utc>,
    },
}

/// The reason that a key may not sign.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyState {
    /// Nothing binds it to its owner: it has no valid self-signature, or none of its primary key.
    Unbound,
    /// It is meant for another purpose.
    NotForSigning,
    /// It was made later than the signature, or than now.
    NotYet {
        /// The time at which it was made.
        from: DateTime<Utc>,
    },
    /// It has expired.
    Expired {
        /// The time at which it expired.
        since: DateTime<Utc>,
    },
    /// Its owner revoked it.
    Revoked {
        /// The reason that the owner gave.
        reason: String,
    },
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unbound => f.write_str("is not bound to an identity"),
            Self::NotForSigning => f.write_str("is not for signing"),
            Self::NotYet { from } => write!(f, "was created only at {from}"),
            Self::Expired { since } => write!(f, "expired at {since}"),
            Self::Revoked { reason } if reason.is_empty() => f.write_str("was revoked"),
            Self::Revoked { reason } => write!(f, "was revoked: {reason}"),
        }
    }
}

impl Keyring {
    /// Reads public keys, armored (one block after the other) or as bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, KeyringError> {
        let form = |source| KeyringError::Form { source };
        let mut keys = Vec::new();
        match str::from_utf8(bytes) {
            Ok(text) if text.contains(PUBLIC_KEY) => {
                for block in text.split(PUBLIC_KEY).skip(1) {
                    let block = format!("{PUBLIC_KEY}{block}");
                    let (found, _) = SignedPublicKey::from_string_many(&block).map_err(form)?;
                    keys.extend(found.collect::<Result<Vec<_>, _>>().map_err(form)?);
                }
            }
            Ok(_) | Err(_) => {
                if is_secret(bytes) {
                    return Err(KeyringError::Secret);
                }
                // The highest bit of a packet's first byte is set (RFC 9580, 4.2).
                if bytes.first().is_none_or(|first| first & 0x80 == 0) {
                    return Err(KeyringError::Empty);
                }
                let found = SignedPublicKey::from_bytes_many(bytes).map_err(form)?;
                keys.extend(found.collect::<Result<Vec<_>, _>>().map_err(form)?);
            }
        }
        if keys.is_empty() {
            return Err(KeyringError::Empty);
        }
        Ok(Self { keys })
    }

    /// A keyring of one key.
    pub(super) fn of(key: SignedPublicKey) -> Self {
        Self { keys: vec![key] }
    }

    /// The fingerprints of the primary keys, in capital hexadecimal digits.
    pub fn fingerprints(&self) -> Vec<String> {
        self.keys.iter().map(|key| name(&key.primary_key)).collect()
    }

    /// The keys, armored.
    pub fn armored(&self) -> Result<String, KeyringError> {
        let keys = self.keys.iter();
        let blocks = keys.map(|key| key.to_armored_string(ArmorOptions::default()));
        let blocks = blocks.collect::<Result<Vec<_>, _>>();
        Ok(blocks
            .map_err(|source| KeyringError::Form { source })?
            .concat())
    }

    /// Judges a detached signature, armored or not, of `bytes`. Of several signatures, one good one is enough.
    pub fn verify(
        &self,
        bytes: &[u8],
        signature: &[u8],
        now: DateTime<Utc>,
    ) -> Result<ValidSignature, TrustError> {
        let mut why = TrustError::Unsigned;
        for signature in signatures(signature)? {
            match self.judge(bytes, &signature, SignatureType::Binary, now) {
                Ok(good) => return Ok(good),
                Err(reason) => why = why.max(reason),
            }
        }
        Err(why)
    }

    /// Judges one signature, a packet, of the bytes of `bytes`, which is read to its end if the keyring has the key.
    pub(super) fn verify_reader(
        &self,
        bytes: impl Read,
        signature: &[u8],
        now: DateTime<Utc>,
    ) -> Result<ValidSignature, TrustError> {
        match &signatures(signature)?[..] {
            [signature] => self.judge(bytes, signature, SignatureType::Binary, now),
            [] => Err(TrustError::Unsigned),
            [_, _, ..] => Err(TrustError::Unreadable {
                reason: "expected one signature, found several".to_owned(),
            }),
        }
    }

    /// The fingerprint of the newest key that may sign at `now`, and the time at which it was made; or the reason that prevents
    /// the first one.
    pub(super) fn signing_key(
        &self,
        now: DateTime<Utc>,
    ) -> Result<(Vec<u8>, DateTime<Utc>), TrustError> {
        let mut why = TrustError::Unsigned;
        let mut usable = Vec::new();
        for key in self.keys.iter().flat_map(components) {
            match key.state(now) {
                Ok(()) => usable.push((key.key.created(), key.key.fingerprint())),
                Err((barred, state)) => {
                    let key = key_name(&key, barred);
                    why = why.max(TrustError::Key { key, state });
                }
            }
        }
        usable.sort_by_key(|(created, _)| Reverse(*created));
        let newest = usable.into_iter().next();
        newest.map(|(at, key)| (key, at)).ok_or(why)
    }

    /// Judges a signature, which must have this type.
    pub(super) fn judge(
        &self,
        bytes: impl Read,
        signature: &Signature,
        kind: SignatureType,
        now: DateTime<Utc>,
    ) -> Result<ValidSignature, TrustError> {
        let issuers = issuers(signature);
        let mut keys = self.keys.iter().flat_map(components);
        let Some(key) = keys.find(|key| issued(signature, key.key.details())) else {
            return Err(TrustError::UnknownKey { key: issuers });
        };
        let name = name(&key.of.primary_key);
        check_kind(signature, kind)?;
        if key.key.verify(signature, bytes).is_err() {
            return Err(TrustError::Bad { key: name });
        }
        let at = signature.created().map(time).unwrap_or_default();
        if at > now + AHEAD {
            return Err(TrustError::Ahead { key: name, at });
        }
        if let Some(lasts) = signature.signature_expiration_time()
            && let until = at + TimeDelta::seconds(lasts.as_secs().into())
            && lasts.as_secs() > 0
            && until <= now
        {
            return Err(TrustError::Expired { key: name, until });
        }
        let from = key.key.created();
        let state = if at < from {
            Err((key.key, KeyState::NotYet { from }))
        } else {
            // A signature may be dated up to a day ahead, and so may its key.
            key.state(now.max(at))
        };
        match state {
            Ok(()) => Ok(ValidSignature { key: name, at }),
            Err((barred, state)) => Err(TrustError::Key {
                key: key_name(&key, barred),
                state,
            }),
        }
    }
}

/// True for an export of secret keys, armored or as bytes.
fn is_secret(bytes: &[u8]) -> bool {
    let is_armored = bytes
        .windows(SECRET_KEY.len())
        .any(|part| part == SECRET_KEY);
    // The tag of the first packet, in the new form or the old one (RFC 9580, 4.2).
    let tag = bytes.first().map(|first| match first {
        0xC0.. => first & 0x3F,
        0x80..0xC0 => first >> 2 & 0x0F,
        _ => 0,
    });
    is_armored || tag == Some(u8::from(Tag::SecretKey))
}

/// The fingerprint of the key that invalidates a signature; a subkey is given with its primary key, which identifies the owner.
fn key_name(key: &Component<'_>, barred: Key<'_>) -> String {
    let primary = name(&key.of.primary_key);
    match barred {
        Key::Primary(_) => primary,
        Key::Sub(sub) => format!("{} (subkey of {primary})", name(&sub.key)),
    }
}

/// The signatures of a file; it may contain several armored blocks.
fn signatures(bytes: &[u8]) -> Result<Vec<Signature>, TrustError> {
    const BEGIN: &str = "-----BEGIN PGP SIGNATURE-----";
    let unreadable = |error: pgp::errors::Error| TrustError::Unreadable {
        reason: error.to_string(),
    };
    let mut found = Vec::new();
    match str::from_utf8(bytes) {
        Ok(text) if text.trim().is_empty() => {}
        Ok(text) if text.contains(BEGIN) => {
            for block in text.split(BEGIN).skip(1) {
                let block = format!("{BEGIN}{block}");
                let (all, _) = DetachedSignature::from_string_many(&block).map_err(unreadable)?;
                found.extend(all.collect::<Result<Vec<_>, _>>().map_err(unreadable)?);
            }
        }
        Ok(_) | Err(_) => {
            let all = DetachedSignature::from_bytes_many(bytes).map_err(unreadable)?;
            found.extend(all.collect::<Result<Vec<_>, _>>().map_err(unreadable)?);
        }
    }
    Ok(found.into_iter().map(|found| found.signature).collect())
}

/// Refuses a signature of another type, such as one of a text where one of a file is expected: it does not cover line ends.
/// Refuses one with a digest that can be forged.
fn check_kind(signature: &Signature, expected: SignatureType) -> Result<(), TrustError> {
    let weak = |how: String| Err(TrustError::Weak { how });
    match signature.typ() {
        Some(kind) if kind == expected => {}
        kind => return weak(kind.map_or_else(|| "unknown".to_owned(), |kind| format!("{kind:?}"))),
    }
    match signature.hash_alg() {
        Some(
            HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512,
        ) => Ok(()),
        digest => weak(digest.map_or_else(|| "unknown".to_owned(), |digest| digest.to_string())),
    }
}

/// The key that a signature names.
fn issuers(signature: &Signature) -> String {
    let prints = signature.issuer_fingerprint();
    let ids = signature.issuer_key_id();
    let print = prints.first().map(|print| hex(print.as_bytes()));
    let id = ids.first().map(|id| hex(id.as_ref()));
    print
        .or(id)
        .unwrap_or_else(|| "a key that is not named".to_owned())
}

fn issued(signature: &Signature, key: &(impl KeyDetails + ?Sized)) -> bool {
    let (print, id) = (key.fingerprint(), key.legacy_key_id());
    signature.issuer_fingerprint().contains(&&print) || signature.issuer_key_id().contains(&&id)
}

pub(super) fn time(at: Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp(at.as_secs().into(), 0).unwrap_or_default()
}

/// A key's fingerprint, in capital hexadecimal digits as `gpg` shows it.
fn name(key: &(impl KeyDetails + ?Sized)) -> String {
    hex(key.fingerprint().as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}
