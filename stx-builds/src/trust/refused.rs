//! No OpenPGP: requesting a keyring is an error. Without a keyring, everything works as with OpenPGP.

use std::convert::Infallible;
use std::sync::Arc;

use camino::Utf8Path;
use stx_publish::{MirrorRead, Scope, VerifyError, VerifyReport};

use super::{TrustOptions, refused};
use crate::Site;
use crate::error::Error;

/// A keyring, which cannot exist.
pub(crate) type Keyring = Infallible;

/// A mirror that a keyring vouches for, which cannot exist without the feature `openpgp`.
pub struct Trusted(Infallible);

impl Site {
    /// Refuses the keys of `--keyring`, or of the configuration.
    pub(crate) fn keyring(&self, given: Option<&Utf8Path>) -> Result<Option<Keyring>, Error> {
        match given.or(self.options.keyring()) {
            None => Ok(None),
            Some(file) => Err(refused(file)),
        }
    }
}

/// The reason why keyrings cannot be read.
#[expect(
    clippy::unnecessary_wraps,
    reason = "it is what a program with OpenPGP finds, or not"
)]
pub(crate) fn keyring_problem(_: &[u8]) -> Option<String> {
    Some(Error::without("openpgp", "OpenPGP signatures cannot be checked").chain())
}

/// Never called.
pub(crate) async fn verify(
    _: &Site,
    _: (&dyn MirrorRead, Arc<dyn MirrorRead>),
    keyring: &Keyring,
    _: &Scope,
    _: &mut VerifyReport,
) -> Result<(), VerifyError> {
    match *keyring {}
}

impl Trusted {
    /// Never called.
    pub(crate) fn open(
        _: &Site,
        _: Arc<dyn MirrorRead>,
        _: &str,
        keyring: Keyring,
        _: &TrustOptions,
    ) -> Result<Self, Error> {
        match keyring {}
    }

    /// Never called.
    pub(crate) fn store(&self) -> &dyn MirrorRead {
        match self.0 {}
    }

    /// Never called.
    pub fn remember(&self) -> Result<(), Error> {
        match self.0 {}
    }
}
