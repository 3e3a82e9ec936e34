//! Pins: users' requests to keep a build.

use chrono::{DateTime, Utc};
use serde::Serialize;
use stx_layout::{Channel, Pin};
use stx_publish::{Scope, StoreError};

use crate::error::{Error, ErrorKind};
use crate::users::my_name;
use crate::{Site, build_ref, refused};

/// The user's name, if it is known. In a container or below cron, the environment often has none.
pub(super) fn user() -> Option<String> {
    let names = ["LOGNAME", "USER"].into_iter();
    let mut known = names.filter_map(|name| std::env::var(name).ok());
    let known = known.find(|name| !name.trim().is_empty());
    known.or_else(my_name)
}

/// The author: the name that an option gives, else the user's name.
pub(crate) fn author(given: Option<&String>, option: &str) -> Result<String, Error> {
    let author = given.cloned().or_else(user);
    author
        .filter(|author| !author.trim().is_empty())
        .ok_or_else(|| {
            Error::usage("the author is not known").hint(format!(
                "give `{option} NAME`; LOGNAME and USER are not set, and this user has no name"
            ))
        })
}

/// A pin to set.
#[derive(Debug, Clone)]
pub struct NewPin {
    /// The build, by its date or an alias.
    pub build: String,
    /// The reason for keeping it.
    pub reason: String,
    /// The owner of the pin; the user, by `LOGNAME`, `USER` or the system's user database, if absent.
    pub author: Option<String>,
    /// The end of the pin.
    pub until: Option<DateTime<Utc>>,
}

/// A pin that was removed.
#[derive(Debug)]
pub struct Unpinned {
    /// The pin.
    pub pin: Pin,
    /// The number of pins of other owners that still keep the build.
    pub others: usize,
}

impl Site {
    /// Pins a build, so that retention keeps it.
    pub async fn pin(&self, wanted: &NewPin) -> Result<Pin, Error> {
        let store = self.mirror()?;
        if wanted.until.is_some_and(|until| until <= self.now) {
            return Err(Error::usage("the end of the pin is in the past"));
        }
        let pin = Pin {
            build: build_ref::resolve(&*store, &wanted.build).await?,
            reason: wanted.reason.clone(),
            author: author(wanted.author.as_ref(), "--author")?,
            until: wanted.until,
        };
        let writer = store.lock(&pin.build.channel).await.map_err(refused)?;
        let scope = Scope::Build(pin.build.clone());
        let catalog = store.catalog(&scope).await.map_err(refused)?;
        let mut retired = store.retired().await.map_err(refused)?.into_iter();
        if catalog.build(&pin.build).is_none() && retired.any(|it| it.is_whole(&pin.build)) {
            // The store would accept it, but the build would be purged anyway.
            let error = format!("{}: it is in the trash", pin.build);
            let hint = format!("run `stx-builds undelete {}` to restore it", pin.build);
            return Err(Error::new(ErrorKind::NotFound, error).hint(hint));
        }
        writer.pin(&pin).await.map_err(|error| {
            let is_missing = matches!(error, StoreError::NotFound { .. });
            let failure = refused(error);
            if is_missing {
                failure.hint("run `stx-builds list` to list the existing builds")
            } else {
                failure
            }
        })?;
        Ok(pin)
    }

    /// Removes the pin of `author`, else of the user, from a build.
    pub async fn unpin(&self, build: &str, by: Option<&String>) -> Result<Unpinned, Error> {
        let store = self.mirror()?;
        let build = build_ref::resolve(&*store, build).await?;
        let author = author(by, "--author")?;
        let writer = store.lock(&build.channel).await.map_err(refused)?;
        let scope = Scope::Build(build.clone());
        let pins = store.pins(&scope).await.map_err(refused)?;
        match writer.unpin(build.date, &author).await {
            Ok(pin) => Ok(Unpinned {
                pin,
                others: pins.len() - 1,
            }),
            Err(error @ StoreError::NotFound { .. }) => {
                let authors: Vec<_> = pins.iter().map(|pin| pin.author.as_str()).collect();
                let hint = match authors.as_slice() {
                    [] => "it is not pinned".to_owned(),
                    authors => format!(
                        "it is pinned by {}; select the pin with `--author`",
                        authors.join(", ")
                    ),
                };
                Err(Error::new(ErrorKind::NotFound, error).hint(hint))
            }
            Err(error) => Err(refused(error)),
        }
    }

    /// The pins of the mirror, or of a channel.
    pub async fn pins(&self, channel: Option<&Channel>) -> Result<Vec<PinState>, Error> {
        let store = self.mirror()?;
        let scope = channel.cloned().map_or(Scope::All, Scope::Channel);
        let catalog = store.catalog(&scope).await.map_err(refused)?;
        let pins = store.pins(&scope).await.map_err(refused)?;
        if let Scope::Channel(channel) = &scope
            && pins.is_empty()
            && !catalog.channels.contains_key(channel)
        {
            let all = store.catalog(&Scope::All).await.map_err(refused)?;
            return Err(build_ref::missing_channel(&all, channel));
        }
        let pins = pins.into_iter().map(|pin| PinState {
            holds: pin.holds(self.now),
            there: catalog.build(&pin.build).is_some(),
            pin,
        });
        Ok(pins.collect())
    }
}

/// A pin, with its effect.
#[derive(Debug, Serialize)]
pub struct PinState {
    /// The pin.
    #[serde(flatten)]
    pub pin: Pin,
    /// True if it is in force.
    pub holds: bool,
    /// True if its build exists.
    pub there: bool,
}
