//! Assembles the files to publish: deliverables, logs, and the generated texts about the build.

use stx_layout::ChannelEntry;
use stx_pipeline::process::Built;
use stx_publish::{Entry, Incoming, gather};

use crate::error::{Error, ErrorKind};

pub(super) fn incoming(channel: &ChannelEntry, mut built: Built) -> Result<Incoming, Error> {
    let files = std::mem::take(&mut built.collection.deliverables)
        .into_iter()
        .map(|file| (file.path, file.source));
    let mut incoming = gather(files).map_err(|error| {
        Error::new(ErrorKind::Mirror, error).hint(
            "nothing was published; the recipe's phases produced files that no mirror accepts",
        )
    })?;
    let last = channel
        .newest_success()
        .filter(|date| *date != built.plan.id.date)
        .and_then(|date| channel.builds.get(&date)?.record());
    let last = last
        .map(|record| record.sources.as_slice())
        .unwrap_or_default();
    let texts = built
        .texts(last)
        .map_err(|error| Error::new(ErrorKind::Bug, error))?;
    for (path, text) in texts {
        incoming
            .entries
            .entry(path)
            .or_insert(Entry::Generated(text.into()));
    }
    Ok(incoming)
}
