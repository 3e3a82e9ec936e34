//! Trust in a StarlingX mirror: its signatures, the provenance of its builds, and the contents of their images.
//!
//! | item | is | feature |
//! |---|---|---|
//! | `openpgp` | keyrings, signers, signed packages, and a reader that checks a mirror against a keyring | `openpgp` |
//! | [`provenance`] | signed statements about the origin of builds | `dsse`: keys, and programs that sign |
//! | [`sbom`] | the bill of materials of an ISO image | `sbom`: to make one |
//! | [`verify_stated`], [`check_provenance`] | the comparison of provenance and bills of materials with their builds | |
//!
//! The crate extends `stx-publish`: [`Attestation`](provenance::Attestation) and `OpenPgp` are the parts of a
//! [`Seal`](stx_publish::Seal), `TrustedMirror` is a [`MirrorRead`](stx_publish::MirrorRead), and problems are
//! [`Finding`](stx_publish::Finding)s of a [`VerifyReport`](stx_publish::VerifyReport). Without features, its only I/O is that of
//! the stores that are passed to it.

#[cfg(feature = "openpgp")]
pub mod openpgp;
pub mod provenance;
#[cfg(any(feature = "dsse", feature = "openpgp"))]
mod run;
pub mod sbom;
mod stated;

pub use stated::{check_provenance, verify_stated};
