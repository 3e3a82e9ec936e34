//! The leftovers of dead publishers in a channel, and how each operation is finished.
//!
//! A mark is written before any operation that takes more than one request, and removed at its end. A publisher that finds a mark
//! under the lock of its channel knows that the mark's writer is dead.

use futures_util::future::try_join3;
use stx_layout::{BuildId, Channel};

use super::Inner;
use super::alias::Listed;
use super::keys::{self, Going, MARKS};
use super::lease;
use super::objects::Keep;
use super::retired::Entries;
use stx_publish::store::{Leftover, Retired, Scope, StoreError};

/// The objects of a channel that other publishers may have left unfinished.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) marks: Vec<(Going, BuildId)>,
    /// The names of the aliases.
    pub(super) aliases: Listed,
    /// The retired builds.
    pub(super) entries: Entries,
}

impl Inner {
    /// Asks for the objects that other publishers may have left unfinished in a channel. Each answer is one request.
    pub(super) async fn left(&self, channel: &Channel) -> Result<Left, StoreError> {
        let asked = try_join3(
            self.marks(Some(channel)),
            self.alias_names(Some(channel)),
            self.entries(Some(channel)),
        );
        let (marks, aliases, entries) = asked.await?;
        Ok(Left {
            marks,
            aliases,
            entries,
        })
    }

    /// Marks the start of an operation on a build; `what` holds the facts needed to finish it.
    pub(super) async fn mark(
        &self,
        id: &BuildId,
        going: Going,
        what: Option<&Retired>,
    ) -> Result<(), StoreError> {
        let text = match what {
            None => String::new(),
            Some(retired) => serde_json::to_string(retired).expect("names and a date") + "\n",
        };
        let name = keys::mark(id, going);
        self.objects.put(&name, text, Keep::Not).await
    }

    pub(super) async fn unmark(&self, id: &BuildId, going: Going) -> Result<(), StoreError> {
        self.objects.delete([keys::mark(id, going)]).await
    }

    /// The marks of one channel, or of all; purges first.
    pub(super) async fn marks(
        &self,
        only: Option<&Channel>,
    ) -> Result<Vec<(Going, BuildId)>, StoreError> {
        let prefix = match only {
            None => MARKS.to_owned(),
            Some(channel) => format!("{MARKS}/{channel}"),
        };
        let listed = self.objects.list(&prefix).await?;
        let mut marks: Vec<_> = listed
            .iter()
            .filter_map(|it| {
                let name = match only {
                    None => it.name.clone(),
                    // Deeper ones belong to a deeper channel.
                    Some(channel) if !it.name.contains('/') => format!("{channel}/{}", it.name),
                    Some(_) => return None,
                };
                let (id, going) = keys::parse_mark(&name)?;
                Some((going, id))
            })
            .collect();
        marks.sort();
        Ok(marks)
    }

    pub(super) async fn leftovers(&self, scope: &Scope) -> Result<Vec<Leftover>, StoreError> {
        let only = match scope {
            Scope::All => None,
            Scope::Channel(channel) | Scope::Build(BuildId { channel, .. }) => Some(channel),
        };
        let mut found = Vec::new();
        for (going, id) in self.marks(only).await? {
            found.push(Leftover {
                what: keys::mark(&id, going),
                channel: id.channel,
            });
        }
        let channels = match only {
            Some(channel) => vec![channel.clone()],
            None => self.aliases(None).await?.into_keys().collect(),
        };
        for channel in channels {
            for (alias, _) in self.outdated_aliases(&channel).await? {
                found.push(Leftover {
                    what: keys::shown_alias(&channel, &alias),
                    channel: channel.clone(),
                });
            }
        }
        found.sort();
        let mut dead = Vec::with_capacity(found.len());
        for leftover in found {
            let lock = keys::lock(Some(&leftover.channel));
            if !lease::is_held(&self.objects, &lock, &self.terms.clock).await? {
                dead.push(leftover);
            }
        }
        Ok(dead)
    }

    /// Finishes or undoes the unfinished operations in a channel whose lock the caller holds. A staged build is
    /// left alone unless `staged` is set; the build `but` is always left alone.
    pub(super) async fn sweep(
        &self,
        channel: &Channel,
        staged: bool,
        but: Option<&BuildId>,
    ) -> Result<Vec<Leftover>, StoreError> {
        let marks = self.marks(Some(channel)).await?;
        let mut swept = self.finish_marked(marks, staged, but).await?;
        for what in self.show_aliases(channel).await? {
            swept.push(Leftover {
                channel: channel.clone(),
                what,
            });
        }
        Ok(swept)
    }

    /// Finishes or undoes the operations of these marks, like [`sweep`](Self::sweep).
    pub(super) async fn finish_marked(
        &self,
        marks: Vec<(Going, BuildId)>,
        staged: bool,
        but: Option<&BuildId>,
    ) -> Result<Vec<Leftover>, StoreError> {
        let mut swept = Vec::new();
        for (going, id) in marks {
            match going {
                Going::Publish if !staged || but == Some(&id) => continue,
                Going::Publish => self.drop_staged(&id).await?,
                Going::Purge => self.finish_purge(&id).await?,
                Going::Restore => self.finish_restore(&id).await?,
                Going::Sections => drop(self.finish_sections(&id).await?),
            }
            self.unmark(&id, going).await?;
            swept.push(Leftover {
                what: keys::mark(&id, going),
                channel: id.channel,
            });
        }
        Ok(swept)
    }

    /// The contents of a mark.
    pub(super) async fn marked(
        &self,
        id: &BuildId,
        going: Going,
    ) -> Result<Option<Retired>, StoreError> {
        let name = keys::mark(id, going);
        let Some((text, _)) = self.objects.get(&name).await? else {
            return Ok(None);
        };
        let retired = serde_json::from_slice(&text).map_err(|error| StoreError::Damaged {
            what: name,
            source: error.into(),
        })?;
        Ok(Some(retired))
    }

    /// Removes the files of a build that was never committed; for a committed build, only the mark remains to be removed.
    pub(super) async fn drop_staged(&self, id: &BuildId) -> Result<(), StoreError> {
        self.abort_uploads(id).await?;
        if self.objects.head(&keys::record(id)).await?.is_none() {
            self.objects.delete_below(&keys::build(id)).await?;
        }
        Ok(())
    }
}
