//! The signed envelope: DSSE v1, <https://github.com/secure-systems-lab/dsse/blob/master/envelope.md>.
//!
//! A signature covers the *pre-authentication encoding* of payload and type, so it is not valid for the same bytes under another
//! type.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use stx_publish::seal::SignError;

/// The type of a payload that is an in-toto statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Signs envelopes with one key, which may be kept anywhere.
///
/// # Contract
/// - The signature covers exactly these bytes, and is made by the key that [`key_id`](Self::key_id) names. May block.
pub trait EnvelopeSigner: fmt::Debug + Send + Sync {
    /// The identifier of the key: the SHA-256 digest of its public half in DER form, in lower-case hexadecimal digits.
    /// A hint for readers, on which they must not rely.
    fn key_id(&self) -> &str;

    /// Signs `message`.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// The public half of a key: checks signatures.
pub trait EnvelopeKey: fmt::Debug + Send + Sync {
    /// The identifier of the key, as for [`EnvelopeSigner::key_id`].
    fn id(&self) -> &str;

    /// True if this is the key's signature of `message`.
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool;
}

/// Bytes with their type, and signatures of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The media type of the payload.
    pub payload_type: String,
    /// The signed bytes: a statement as JSON.
    pub payload: Vec<u8>,
    /// The signatures, at least one.
    pub signatures: Vec<Signature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The identifier of the key as the signer wrote it; empty if it wrote none.
    pub key_id: String,
    /// The signature.
    pub bytes: Vec<u8>,
}

/// An invalid envelope, or one without a trusted signature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Not the JSON of an envelope.
    #[error("the envelope, line {}, column {}", source.line(), source.column())]
    Json {
        /// The JSON error, with its line and column.
        #[from]
        source: serde_json::Error,
    },
    /// The payload or a signature is not base64.
    #[error("the envelope's {what} is not in base64")]
    Base64 {
        /// The field.
        what: &'static str,
        /// The error of the decoder.
        source: base64::DecodeError,
    },
    /// The payload is not a statement.
    #[error("the envelope holds {found}, not {PAYLOAD_TYPE}")]
    PayloadType {
        /// The type that the envelope states.
        found: String,
    },
    /// The envelope has no signature.
    #[error("the envelope has no signature")]
    Unsigned,
    /// None of the keys made a signature of it.
    #[error("not signed by a trusted key; it claims to be signed by {}", .named.join(", "))]
    Untrusted {
        /// The keys that the signatures name.
        named: Vec<String>,
    },
}

/// The form on disk.
#[derive(Serialize, Deserialize)]
struct Form {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<FormSignature>,
}

#[derive(Serialize, Deserialize)]
struct FormSignature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

/// The bytes that are signed: `DSSEv1`, and type and payload with their lengths in bytes.
///
/// ```
/// # use stx_trust::provenance::dsse::pae;
/// // The example of the specification.
/// assert_eq!(pae("http://example.com/HelloWorld", b"hello world"), b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
/// ```
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut bytes = format!("DSSEv1 {} {payload_type} {length} ", payload_type.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

impl Envelope {
    /// Puts a statement into an envelope and signs it.
    ///
    /// # Errors
    /// The errors of the signer.
    pub fn sign(payload: Vec<u8>, signer: &dyn EnvelopeSigner) -> Result<Self, SignError> {
        let bytes = signer.sign(&pae(PAYLOAD_TYPE, &payload))?;
        Ok(Self {
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload,
            signatures: vec![Signature {
                key_id: signer.key_id().to_owned(),
                bytes,
            }],
        })
    }

    /// Checks that one of these keys signed it. The key identifiers in the signatures are not trusted.
    pub fn verify<'k, K: EnvelopeKey>(
        &self,
        keys: impl IntoIterator<Item = &'k K>,
    ) -> Result<&'k K, EnvelopeError> {
        let message = pae(&self.payload_type, &self.payload);
        let signed = |key: &&K| {
            let mut signatures = self.signatures.iter();
            signatures.any(|signature| key.verifies(&message, &signature.bytes))
        };
        let found = keys.into_iter().find(signed);
        found.ok_or_else(|| EnvelopeError::Untrusted {
            named: self
                .signatures
                .iter()
                .map(|signature| match signature.key_id.as_str() {
                    "" => "a key without a name".to_owned(),
                    name => name.to_owned(),
                })
                .collect(),
        })
    }

    /// Reads a bundle of one line.
    pub fn from_jsonl(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let Form {
            payload_type,
            payload,
            signatures,
        } = serde_json::from_slice(bytes)?;
        if payload_type != PAYLOAD_TYPE {
            return Err(EnvelopeError::PayloadType {
                found: payload_type,
            });
        }
        let decode = |what: &'static str, text: &str| {
            let decoded = STANDARD.decode(text);
            decoded.map_err(|source| EnvelopeError::Base64 { what, source })
        };
        let mut read = Vec::with_capacity(signatures.len());
        for FormSignature { keyid, sig } in signatures {
            read.push(Signature {
                key_id: keyid,
                bytes: decode("signature", &sig)?,
            });
        }
        if read.is_empty() {
            return Err(EnvelopeError::Unsigned);
        }
        Ok(Self {
            payload: decode("payload", &payload)?,
            payload_type,
            signatures: read,
        })
    }

    /// The text of the bundle: one line.
    pub fn to_jsonl(&self) -> String {
        let signatures = self.signatures.iter().map(|signature| FormSignature {
            keyid: signature.key_id.clone(),
            sig: STANDARD.encode(&signature.bytes),
        });
        let form = Form {
            payload_type: self.payload_type.clone(),
            payload: STANDARD.encode(&self.payload),
            signatures: signatures.collect(),
        };
        let text = serde_json::to_string(&form).expect("keys are texts");
        text + "\n"
    }
}
