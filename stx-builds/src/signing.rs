//! Signs builds, their packages and the indexes if `[signing]` is configured; refuses such a configuration without the feature
//! `openpgp`.

#[cfg(feature = "openpgp")]
mod openpgp;
#[cfg(not(feature = "openpgp"))]
mod refused;

#[cfg(feature = "openpgp")]
pub(crate) use openpgp::{index_seal, packages, seal};
#[cfg(not(feature = "openpgp"))]
pub(crate) use refused::{index_seal, packages, seal};
