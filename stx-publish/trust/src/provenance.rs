//! The origin of a build: an in-toto statement with SLSA provenance, and the envelope in which it is signed.
//!
//! ```text
//! record + sums + builder ──> Statement ──┬──────────────────> provenance.json
//!                                         └─ signed ─> Envelope ─> provenance.intoto.jsonl
//! ```
//!
//! | module | is |
//! |---|---|
//! | [`statement`](mod@statement) | the statement about a build, as a function of the record and the sums |
//! | [`dsse`] | the signed envelope, its signers and its public keys |
//! | [`check`](mod@check) | the comparison of a statement with its build |
//! | `key` | Ed25519 and ECDSA keys, feature `dsse` |
//!
//! A build has one of the two files: without a key, there is no envelope. Both are summed in `SHA256SUMS` like every other file.
//! `docs/provenance.md` describes the way to check them without this program.

use std::sync::Arc;

use bytes::Bytes;
use stx_layout::{BuildId, BuildPath, BuildRecord, Sums};

use stx_publish::seal::{Attester, SignError};
use stx_publish::store::{MirrorRead, StoreError, read_all};

pub mod check;
pub mod dsse;
#[cfg(feature = "dsse")]
pub mod key;
pub mod statement;
#[cfg(test)]
pub(crate) mod tests;

pub use check::{Disagreement, check};
pub use dsse::{Envelope, EnvelopeError, EnvelopeKey, EnvelopeSigner};
pub use statement::{Builder, BuilderId, Statement, statement};

/// The name of the statement in the directory of a build whose statement is not signed.
pub const STATEMENT_FILE: &str = "provenance.json";

/// The name of the envelope in the directory of a build whose statement is signed: a bundle of one line.
pub const ENVELOPE_FILE: &str = "provenance.intoto.jsonl";

/// The largest statement or envelope, in bytes.
const LONGEST: u64 = 256 << 20;

/// True if a file of a build is its provenance.
pub fn is_provenance(path: &BuildPath) -> bool {
    [STATEMENT_FILE, ENVELOPE_FILE].contains(&path.as_str())
}

/// The provenance of a build, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provenance {
    /// An unsigned statement.
    Bare(Box<Statement>),
    /// A statement in an envelope, whose signatures were not checked yet.
    Signed {
        /// The statement.
        statement: Box<Statement>,
        /// The envelope that it came in.
        envelope: Box<Envelope>,
    },
}

impl Provenance {
    /// Reads the bytes of one of the two files.
    pub fn from_bytes(path: &str, bytes: &[u8]) -> Result<Self, ProvenanceError> {
        if path == ENVELOPE_FILE {
            let envelope = Envelope::from_jsonl(bytes)?;
            let statement = Box::new(Statement::from_json(&envelope.payload)?);
            return Ok(Self::Signed {
                statement,
                envelope: Box::new(envelope),
            });
        }
        Ok(Self::Bare(Box::new(Statement::from_json(bytes)?)))
    }

    /// The statement.
    pub fn statement(&self) -> &Statement {
        match self {
            Self::Bare(statement) | Self::Signed { statement, .. } => statement,
        }
    }
}

/// Provenance that cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvenanceError {
    /// It is not an envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// It is not a statement, or one of another kind.
    #[error(transparent)]
    Statement(#[from] statement::StatementError),
}

/// Reads the provenance of a build with these sums; `None` if it has none, like builds of earlier versions.
///
/// # Errors
/// [`StoreError::Damaged`] if it cannot be parsed; otherwise as for [`MirrorRead::read`].
pub async fn read(
    store: &dyn MirrorRead,
    id: &BuildId,
    sums: &Sums,
) -> Result<Option<Provenance>, StoreError> {
    let Some(path) = sums
        .lines()
        .iter()
        .map(|line| &line.path)
        .find(|path| is_provenance(path))
    else {
        return Ok(None);
    };
    let bytes = read_all(store, id, path, LONGEST).await?;
    let provenance = Provenance::from_bytes(path.as_str(), &bytes);
    provenance.map(Some).map_err(|error| StoreError::Damaged {
        what: format!("{id}/{path}"),
        source: error.into(),
    })
}

/// States the origin of each build when it is committed.
#[derive(Debug, Clone, Default)]
pub struct Attestation {
    /// The builder.
    pub builder: Builder,
    /// Signs the statement; without a signer, it is published unsigned.
    pub signer: Option<Arc<dyn EnvelopeSigner>>,
}

impl Attester for Attestation {
    fn attest(
        &self,
        record: &BuildRecord,
        sums: &Sums,
    ) -> Result<Vec<(BuildPath, Bytes)>, SignError> {
        let statement = statement(record, sums, &self.builder);
        let (name, text) = match &self.signer {
            None => (STATEMENT_FILE, statement.to_json()),
            Some(signer) => {
                let envelope = Envelope::sign(statement.to_payload(), &**signer)?;
                (ENVELOPE_FILE, envelope.to_jsonl())
            }
        };
        Ok(vec![(name.parse().expect("a valid path"), text.into())])
    }
}
