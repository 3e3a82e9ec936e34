//! OpenPGP (RFC 9580): trusted keys, and signers.
//!
//! A [`Keyring`] holds public keys and judges signatures in process. An [`OpenPgp`] signs: with `gpg` and its agent, with another
//! program, or with a key in a file; it judges each signature before it returns it. [`sign_packages`] signs RPMs,
//! [`TrustedMirror`] is a mirror that returns only signed, current data.

mod audit;
mod cleartext;
mod component;
mod keyring;
mod packages;
mod signer;
#[cfg(test)]
mod tests;
mod trusted_mirror;

pub use audit::{verify_packages, verify_releases, verify_signatures};
pub use keyring::{KeyState, Keyring, KeyringError, TrustError, ValidSignature};
pub use packages::{Refused, SignPackagesError, SignedPackages, check_package, sign_packages};
pub use signer::{OpenPgp, SigningBackend};
pub use trusted_mirror::{IndexError, SeenSerials, TrustedMirror};
