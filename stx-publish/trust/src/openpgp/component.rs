//! The keys of a certificate, and their validity.

use std::io::Read;

use chrono::{DateTime, TimeDelta, Utc};
use pgp::composed::SignedPublicKey;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, Tag};

use super::keyring::{KeyState, time};

/// A primary key or a subkey.
#[derive(Clone, Copy)]
pub(super) enum Key<'a> {
    Primary(&'a pgp::packet::PublicKey),
    Sub(&'a pgp::composed::SignedPublicSubKey),
}

/// A key with the certificate that it belongs to.
#[derive(Clone, Copy)]
pub(super) struct Component<'a> {
    pub(super) of: &'a SignedPublicKey,
    pub(super) key: Key<'a>,
}

/// The primary key, then the subkeys.
pub(super) fn components(of: &SignedPublicKey) -> impl Iterator<Item = Component<'_>> {
    let subkeys = of.public_subkeys.iter().map(Key::Sub);
    std::iter::once(Key::Primary(&of.primary_key))
        .chain(subkeys)
        .map(move |key| Component { of, key })
}

impl<'a> Key<'a> {
    pub(super) fn details(self) -> &'a dyn KeyDetails {
        match self {
            Self::Primary(key) => key,
            Self::Sub(sub) => &sub.key,
        }
    }

    pub(super) fn created(self) -> DateTime<Utc> {
        time(self.details().created_at())
    }

    pub(super) fn fingerprint(self) -> Vec<u8> {
        self.details().fingerprint().as_bytes().to_vec()
    }

    pub(super) fn verify(self, signature: &Signature, bytes: impl Read) -> pgp::errors::Result<()> {
        match self {
            Self::Primary(key) => signature.verify(key, bytes),
            Self::Sub(sub) => signature.verify(&sub.key, bytes),
        }
    }
}

impl<'a> Component<'a> {
    /// Checks that it may sign at `now`. The error contains the key that prevents it: a subkey may sign no longer than its
    /// primary key.
    pub(super) fn state(&self, now: DateTime<Utc>) -> Result<(), (Key<'a>, KeyState)> {
        let binding = self.primary(now);
        let binding = binding.map_err(|state| (Key::Primary(&self.of.primary_key), state))?;
        self.own(binding, now).map_err(|state| (self.key, state))
    }

    /// The signature that binds the primary key, if that key is valid at `now`.
    fn primary(&self, now: DateTime<Utc>) -> Result<&'a Signature, KeyState> {
        let primary = &self.of.primary_key;
        let revocations = self.of.details.revocation_signatures.iter();
        revoked(revocations.filter(|by| by.verify_key(primary).is_ok()))?;
        let binding = newest(self.self_signatures()).ok_or(KeyState::Unbound)?;
        lasts(primary, binding, now)?;
        Ok(binding)
    }

    /// Checks the key itself; `binding` is the binding of its primary key.
    fn own(&self, binding: &Signature, now: DateTime<Utc>) -> Result<(), KeyState> {
        let primary = &self.of.primary_key;
        let (key, binding) = match self.key {
            Key::Primary(_) => (self.key, binding),
            Key::Sub(sub) => {
                let bound = sub
                    .signatures
                    .iter()
                    .filter(|by| by.verify_subkey_binding(primary, &sub.key).is_ok());
                let of = |kind| bound.clone().filter(move |by| by.typ() == Some(kind));
                revoked(of(SignatureType::SubkeyRevocation))?;
                // A subkey that signs must state that it belongs to its primary key.
                let bindings = of(SignatureType::SubkeyBinding).filter(|by| {
                    !by.key_flags().sign()
                        || by.embedded_signature().is_some_and(|back| {
                            back.verify_primary_key_binding(&sub.key, primary).is_ok()
                        })
                });
                let binding = newest(bindings).ok_or(KeyState::Unbound)?;
                lasts(&sub.key, binding, now)?;
                (self.key, binding)
            }
        };
        let flags = binding.key_flags();
        // A primary key without flags, such as an old one, may be used for everything.
        let unflagged = matches!(key, Key::Primary(_)) && flags == pgp::packet::KeyFlags::default();
        if flags.sign() || unflagged {
            Ok(())
        } else {
            Err(KeyState::NotForSigning)
        }
    }

    /// The signatures of the primary key on itself.
    fn self_signatures(&self) -> impl Iterator<Item = &'a Signature> + use<'a> {
        let primary = &self.of.primary_key;
        let details = &self.of.details;
        let direct = details
            .direct_signatures
            .iter()
            .filter(move |by| by.verify_key(primary).is_ok());
        let users = details.users.iter().flat_map(move |user| {
            user.signatures.iter().filter(move |by| {
                by.typ() != Some(SignatureType::CertRevocation)
                    && by
                        .verify_certification(primary, Tag::UserId, &user.id)
                        .is_ok()
            })
        });
        direct.chain(users)
    }
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.max_by_key(|signature| signature.created())
}

fn revoked<'a>(mut revocations: impl Iterator<Item = &'a Signature>) -> Result<(), KeyState> {
    match revocations.next() {
        None => Ok(()),
        Some(by) => {
            let reason = by.revocation_reason_string();
            let reason = reason.map(|text| String::from_utf8_lossy(text).into_owned());
            let reason = reason.unwrap_or_default();
            Err(KeyState::Revoked { reason })
        }
    }
}

/// Checks that a key exists and has not expired at `now`, by the signature that binds it.
fn lasts(key: &impl KeyDetails, binding: &Signature, now: DateTime<Utc>) -> Result<(), KeyState> {
    let from = time(key.created_at());
    if from > now {
        return Err(KeyState::NotYet { from });
    }
    let lasts = binding
        .key_expiration_time()
        .filter(|lasts| lasts.as_secs() > 0);
    let since = lasts.map(|lasts| from + TimeDelta::seconds(lasts.as_secs().into()));
    match since {
        Some(since) if since <= now => Err(KeyState::Expired { since }),
        Some(_) | None => Ok(()),
    }
}
