//! The tags that a mirror in a bucket still has to have removed: one small object per build.

use stx_layout::{BuildDate, BuildId};

use super::Inner;
use super::keys::{self, OWED};
use super::lease::Lease;
use super::objects::Keep;
use stx_publish::store::rules::is_within;
use stx_publish::store::{OwedTags, Scope, StoreError};

impl Inner {
    pub(super) async fn owed(&self, scope: &Scope) -> Result<Vec<OwedTags>, StoreError> {
        let listed = self.objects.list(OWED).await?;
        let mut owed = Vec::new();
        for it in listed {
            let id = it.name.strip_suffix(".json").and_then(|name| {
                let (channel, date) = name.rsplit_once('/')?;
                let date: BuildDate = date.parse().ok()?;
                Some(BuildId::new(channel.parse().ok()?, date))
            });
            let Some(id) = id.filter(|id| is_within(id, scope)) else {
                continue;
            };
            let name = keys::owed(&id);
            if let Some((text, _)) = self.objects.get(&name).await? {
                owed.push(OwedTags::read(&id, &name, &text)?);
            }
        }
        owed.sort();
        Ok(owed)
    }

    pub(super) async fn owe(&self, lease: &Lease, owed: &OwedTags) -> Result<(), StoreError> {
        lease.check(&self.objects).await?;
        let name = keys::owed(&owed.build);
        if owed.tags.is_empty() {
            return self.objects.delete([name]).await;
        }
        self.objects.put(&name, owed.to_json(), Keep::Not).await
    }
}
