//! Updates paths without a date.

use stx_layout::{AliasEntry, AliasName, BuildId};

use super::{ChannelWriter, MirrorRead, StoreError, rules};

/// Offers the sections of the build that `latest_build` of the writer's channel points at under paths without a date, in place of
/// those of an earlier build. Does nothing if `latest_build` does not exist.
///
/// # Errors
/// Those of [`MirrorRead::sums`] and [`ChannelWriter::offer`].
pub async fn offer_latest(
    store: &dyn MirrorRead,
    writer: &dyn ChannelWriter,
) -> Result<(), StoreError> {
    let channel = writer.channel();
    let latest = store.alias(channel, &AliasName::latest_build()).await?;
    let Some(AliasEntry::Build(date)) = latest else {
        return Ok(());
    };
    let sums = store.sums(&BuildId::new(channel.clone(), date)).await?;
    let sections = rules::sections_of(sums.lines().iter().map(|line| &line.path));
    writer.offer(&sections).await
}
