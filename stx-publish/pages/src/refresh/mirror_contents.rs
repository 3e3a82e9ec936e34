//! Reads everything from which the pages of a mirror, or of some of its channels, are made.

use std::collections::BTreeMap;

use futures_util::future::{try_join3, try_join4};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use stx_layout::{BuildId, Catalog, RootAlias, RootEntry, VerdictEntry};
use stx_publish::store::{MirrorStore, Retired, Scope, StoreError};
use stx_publish::verdicts::{ReadableVerdicts, readable_verdicts};

use crate::site::PARALLEL;

/// The contents of a mirror from which its pages are made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MirrorContents {
    /// Channels, builds and their aliases.
    pub catalog: Catalog,
    /// All verdicts that can be read.
    pub verdicts: Vec<VerdictEntry>,
    /// The builds whose verdicts cannot be read, with the reason in one line.
    pub unclear: BTreeMap<BuildId, String>,
    /// The builds and sections in the trash.
    pub retired: Vec<Retired>,
    /// The aliases of releases.
    pub aliases: BTreeMap<RootAlias, RootEntry>,
}

impl MirrorContents {
    /// Reads them at the same time: a remote mirror answers all questions in the time of one.
    pub async fn read(store: &dyn MirrorStore) -> Result<Self, StoreError> {
        let verdicts = async {
            match store.verdicts(&Scope::All).await {
                Err(StoreError::Damaged { .. }) => Ok(None),
                verdicts => verdicts.map(Some),
            }
        };
        let (catalog, verdicts, retired, aliases) = try_join4(
            store.catalog(&Scope::All),
            verdicts,
            store.retired(),
            store.root_aliases(),
        )
        .await?;
        let read = match verdicts {
            Some(history) => ReadableVerdicts {
                history,
                ..ReadableVerdicts::default()
            },
            // One by one, which takes longer.
            None => readable_verdicts(store, &Scope::All, &catalog).await?,
        };
        Ok(Self {
            catalog,
            verdicts: read.history,
            unclear: read.unreadable,
            retired,
            aliases,
        })
    }

    /// Reads the other contents that the pages of these channels need, at the same time.
    pub async fn read_part(store: &dyn MirrorStore, catalog: Catalog) -> Result<Self, StoreError> {
        let scopes = catalog.channels.keys().cloned().map(Scope::Channel);
        let scopes: Vec<_> = scopes.collect();
        let verdicts = scopes.iter();
        let verdicts = verdicts.map(|scope| readable_verdicts(store, scope, &catalog));
        let verdicts = stream::iter(verdicts.collect::<Vec<_>>()).buffered(PARALLEL);
        let (verdicts, retired, aliases) = try_join3(
            verdicts.try_collect::<Vec<_>>(),
            store.retired(),
            store.root_aliases(),
        )
        .await?;
        let (mut history, mut unclear) = (Vec::new(), BTreeMap::new());
        for read in verdicts {
            history.extend(read.history);
            unclear.extend(read.unreadable);
        }
        Ok(Self {
            catalog,
            verdicts: history,
            unclear,
            retired,
            aliases,
        })
    }
}
