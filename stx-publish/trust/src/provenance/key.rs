//! Keys of envelopes: Ed25519 to sign and to check, ECDSA on P-256 to check signatures of hardware and key services.
//!
//! They are read in PEM form, as written by `openssl genpkey` and `openssl pkey -pubout`.

use std::fmt;

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey,
    VerificationAlgorithm,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem};

use super::dsse::{EnvelopeKey, EnvelopeSigner};
use crate::run::run;
use stx_publish::incoming::digest_of;
use stx_publish::seal::SignError;

/// A public key in DER form is one of these prefixes, followed by the key itself; DER has only one encoding. Ed25519: RFC 8410,
/// section 4. P-256: RFC 5480, section 2, with an uncompressed point.
const ED25519_PREFIX: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
const P256_PREFIX: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

/// The bytes of a key after its prefix.
const ED25519_LENGTH: usize = 32;
const P256_LENGTH: usize = 65;

/// A text that is not a key of these kinds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not PEM, or without a block of the expected kind.
    #[error("no {wanted} in PEM form")]
    Pem {
        /// The kind of PEM block that was expected.
        wanted: &'static str,
        /// The error of the PEM parser.
        source: pem::Error,
    },
    /// A key of another algorithm, or a damaged one.
    #[error("{what}; `openssl genpkey -algorithm ed25519` makes one")]
    Kind {
        /// The mismatch in words: `no Ed25519 key`.
        what: &'static str,
    },
}

/// The public half of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    point: Vec<u8>,
    id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Ed25519,
    P256,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?}, {})", self.algorithm, self.id)
    }
}

impl PublicKey {
    /// Reads `-----BEGIN PUBLIC KEY-----`: Ed25519, or ECDSA on P-256.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text);
        let der = der.map_err(|source| KeyError::Pem {
            wanted: "public key",
            source,
        })?;
        let known = [
            (Algorithm::Ed25519, ED25519_PREFIX, ED25519_LENGTH),
            (Algorithm::P256, P256_PREFIX, P256_LENGTH),
        ];
        let mut known = known.into_iter().filter_map(|(algorithm, prefix, length)| {
            let point = der.strip_prefix(prefix)?;
            (point.len() == length).then(|| (algorithm, point.to_vec()))
        });
        let (algorithm, point) = known.next().ok_or(KeyError::Kind {
            what: "neither an Ed25519 nor a P-256 key",
        })?;
        Ok(Self {
            algorithm,
            point,
            id: digest_of(&der).to_string(),
        })
    }
}

impl EnvelopeKey for PublicKey {
    fn id(&self) -> &str {
        &self.id
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self.algorithm {
            Algorithm::Ed25519 => &ED25519,
            Algorithm::P256 => &ECDSA_P256_SHA256_ASN1,
        };
        let key = UnparsedPublicKey::new(algorithm, &self.point);
        key.verify(message, signature).is_ok()
    }
}

/// A program that signs, for keys in hardware modules and signing services: it reads the bytes to sign on its standard input, and
/// writes the signature and nothing else to its standard output.
#[derive(Debug, Clone)]
pub struct SigningCommand {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The public half of the signing key. A signature that it does not verify is not returned.
    pub public: PublicKey,
}

impl EnvelopeSigner for SigningCommand {
    fn key_id(&self) -> &str {
        self.public.id()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let refused = |reason: &str| SignError::Refused {
            signer: self.argv.join(" "),
            reason: reason.to_owned(),
        };
        let Some((program, args)) = self.argv.split_first() else {
            return Err(refused("no program is named"));
        };
        let signature = run(program, "of the signing service", args, &[], message)?;
        if self.public.verifies(message, &signature) {
            return Ok(signature);
        }
        Err(refused(
            "its output is not a signature by the key whose public half is configured",
        ))
    }
}

/// A key to sign with. Its `Debug` text does not contain the secret.
#[derive(Debug)]
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// Reads `-----BEGIN PRIVATE KEY-----`: PKCS#8 of an Ed25519 key.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text);
        let der = der.map_err(|source| KeyError::Pem {
            wanted: "private key (PKCS#8)",
            source,
        })?;
        // OpenSSL writes no public half that could be compared.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
        let pair = pair.map_err(|_| KeyError::Kind {
            what: "no Ed25519 key",
        })?;
        let point = pair.public_key().as_ref().to_vec();
        let public = PublicKey {
            algorithm: Algorithm::Ed25519,
            id: digest_of(&[ED25519_PREFIX, &point].concat()).to_string(),
            point,
        };
        Ok(Self { pair, public })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl EnvelopeSigner for SigningKey {
    fn key_id(&self) -> &str {
        self.public.id()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.pair.sign(message).as_ref().to_vec())
    }
}
