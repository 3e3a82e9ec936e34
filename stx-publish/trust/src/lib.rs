//! Trust in a StarlingX mirror: who signed it, where its builds come from, and what their images contain.
//!
//! | item | is | feature |
//! |---|---|---|
//! | `openpgp` | keyrings, signers, signed packages, and a mirror as far as a keyring vouches for it | `openpgp` |
//! | [`provenance`] | where a build comes from, stated and signed | `dsse`: keys, and programs that sign |
//! | [`sbom`] | the bill of materials of an ISO image | `sbom`: to make one |
//! | [`verify_stated`], [`check_provenance`] | the comparison of provenance and bills of materials with the builds that they are about | |
//!
//! The crate extends `stx-publish`: [`Attestation`](provenance::Attestation) and `OpenPgp` are what a
//! [`Seal`](stx_publish::Seal) is made of, `TrustedMirror` is a [`MirrorRead`](stx_publish::MirrorRead), and what is wrong is a
//! [`Finding`](stx_publish::Finding) of a [`VerifyReport`](stx_publish::VerifyReport). Without features it does no I/O but
//! that of the stores which it is given.

#[cfg(feature = "openpgp")]
pub mod openpgp;
pub mod provenance;
#[cfg(any(feature = "dsse", feature = "openpgp"))]
mod run;
pub mod sbom;
mod stated;

pub use stated::{check_provenance, verify_stated};
