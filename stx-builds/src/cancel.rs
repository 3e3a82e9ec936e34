//! Cancel a running or interrupted build.

use std::str::FromStr;
use std::time::Duration;

use stx_layout::{BuildId, Channel};

use crate::Site;
use crate::build::{BuildArea, cancellation, give_up, lock, unfinished};
use crate::error::{Error, ErrorKind, is_there};

/// A channel, or one build of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The channel.
    pub channel: Channel,
    /// The required build, if one was named.
    pub build: Option<BuildId>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(build) = text.parse::<BuildId>() {
            return Ok(Self {
                channel: build.channel.clone(),
                build: Some(build),
            });
        }
        let channel = text
            .parse::<Channel>()
            .map_err(|error| format!("{error}; expected CHANNEL or CHANNEL/BUILD-DATE"))?;
        Ok(Self {
            channel,
            build: None,
        })
    }
}

impl Site {
    /// Requests that the running build of a channel end, and waits for its end; abandons an interrupted build. The request is a file,
    /// not a signal: the process of the build may run other builds, too.
    pub async fn cancel(&self, target: &Target, wait: Duration) -> Result<BuildId, Error> {
        let area = BuildArea::new(self)?;
        let channel = &target.channel;
        let state = area.channel(channel);
        let none = || {
            Error::new(
                ErrorKind::NotFound,
                format!("{channel}: no build is running or interrupted"),
            )
        };
        if !is_there(&state)? {
            return Err(none());
        }
        let locked = lock(&state, channel).ok();
        let journal = unfinished(&area, channel)?.ok_or_else(none)?;
        let id = journal.started.plan.id;
        if let Some(build) = target.build.as_ref().filter(|build| **build != id) {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("{build}: is neither running nor interrupted; {id} is"),
            ));
        }
        if let Some(lock) = locked {
            check_unpublished(&area, &id).await?;
            give_up(&area, channel, &|line| self.note(line)).await?;
            drop(lock);
            return Ok(id);
        }
        cancellation::request(&state, &id)?;
        self.note(&format!("ending {id}"));
        let over = async {
            loop {
                match lock(&state, channel) {
                    Ok(lock) => break lock,
                    Err(_) => tokio::time::sleep(cancellation::LOOK / 4).await,
                }
            }
        };
        let Ok(lock) = tokio::time::timeout(wait, over).await else {
            return Err(Error::new(
                ErrorKind::Busy,
                format!("{id}: still runs after {} s", wait.as_secs()),
            )
            .hint("it was asked to end, and ends as soon as its processes do"));
        };
        cancellation::clear_request(&state)?;
        drop(lock);
        check_unpublished(&area, &id).await?;
        Ok(id)
    }
}

/// Fails if the mirror has the build.
async fn check_unpublished(area: &BuildArea, id: &BuildId) -> Result<(), Error> {
    let there = match area.published()? {
        None => false,
        Some(mirror) => mirror.record(id).await.is_ok(),
    };
    if there {
        let error = format!("{id}: cannot be cancelled, because it was just published");
        return Err(Error::new(ErrorKind::Mirror, error));
    }
    Ok(())
}
