//! Where a build comes from: an in-toto statement with SLSA provenance, and the envelope in which it is signed.
//!
//! ```text
//! record + sums + builder ──> Statement ──┬──────────────────> provenance.json
//!                                         └─ signed ─> Envelope ─> provenance.intoto.jsonl
//! ```
//!
//! | module | is |
//! |---|---|
//! | [`statement`](mod@statement) | what is stated of a build, and how it follows from the record and the sums |
//! | [`dsse`] | the signed envelope, who signs it and who checks it |
//! | [`check`](mod@check) | a statement against the build that it lies in |
//! | `key` | Ed25519 and ECDSA keys, feature `dsse` |
//!
//! A build has one of the two files: without a key nothing is put into an envelope. Both are summed in `SHA256SUMS` as every
//! other file is. `docs/provenance.md` says how readers check them without this program.

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

/// Bytes that a statement or an envelope has at most.
const LONGEST: u64 = 256 << 20;

/// Whether a file of a build is its provenance.
pub fn is_provenance(path: &BuildPath) -> bool {
    [STATEMENT_FILE, ENVELOPE_FILE].contains(&path.as_str())
}

/// The provenance of a build, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provenance {
    /// A statement that nobody signed.
    Bare(Box<Statement>),
    /// A statement in an envelope; whose signatures these are was not checked yet.
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

/// Provenance that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvenanceError {
    /// The envelope is none.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The statement is none, or one of another kind.
    #[error(transparent)]
    Statement(#[from] statement::StatementError),
}

/// Reads the provenance of a build whose sums these are; `None` where it has none, as builds of earlier versions have.
///
/// # Errors
/// [`StoreError::Damaged`] for what cannot be understood; otherwise as [`MirrorRead::read`].
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

/// States where each build comes from, when it is committed.
#[derive(Debug, Clone, Default)]
pub struct Attestation {
    /// Who builds.
    pub builder: Builder,
    /// Signs the statement; without one it is published as it is.
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
