//! The facts of other channels that decisions on the builds of one channel need.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use stx_layout::Channel;
use stx_publish::{MirrorStore, Scope};
use stx_retention::Bearing;

use super::note::{Note, Seen};
use crate::error::Error;
use crate::refused;

/// The facts of all channels but one: those in the note beside the pages, and of channels that changed since, from their records.
/// `None` if there is no note, or if this user may not read it; then only the whole catalog has them.
pub(crate) async fn elsewhere(
    store: &dyn MirrorStore,
    channel: &Channel,
    now: DateTime<Utc>,
) -> Result<Option<BTreeMap<Channel, Bearing>>, Error> {
    // If the mirror cannot be read at all, reading the catalog reports why.
    let (Ok(Some(seen)), Ok(Some(note))) = (Seen::look(store).await, Note::read(store).await)
    else {
        return Ok(None);
    };
    let mut found = BTreeMap::new();
    for other in seen.outlines.keys().filter(|other| *other != channel) {
        if let Some(bearing) = note.bearing(other, &seen, now) {
            found.insert(other.clone(), bearing.clone());
            continue;
        }
        let scope = Scope::Channel(other.clone());
        let catalog = store.catalog(&scope).await.map_err(refused)?;
        let read = catalog.channels.into_iter();
        found.extend(read.map(|(channel, entry)| {
            let bearing = Bearing::of(&channel, &entry, now);
            (channel, bearing)
        }));
    }
    Ok(Some(found))
}
