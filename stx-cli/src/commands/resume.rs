//! `resume` and `cancel`: builds that were interrupted, and builds that shall be.

use std::str::FromStr;
use std::time::Duration;

use camino::Utf8PathBuf;
use serde::Serialize;
use stx_layout::{BuildId, Channel};
use stx_pipeline::Cancel;

use super::Context;
use super::build::{OnInterrupt, Site, lock, report, resume, unfinished, watched};
use crate::args::{self, Resume};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::users::is_there;

/// How often a build looks whether it shall end.
const LOOK: Duration = Duration::from_millis(200);

/// The file that asks the build of a state directory to end.
const REQUEST: &str = "cancel";

/// A channel, or one build of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) channel: Channel,
    pub(crate) build: Option<BuildId>,
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

pub(crate) async fn run(context: &Context, args: &Resume) -> Result<(), Failure> {
    let site = Site::new(context)?;
    let how = if args.as_failed {
        OnInterrupt::Fail
    } else {
        context.config.on_interrupt()
    };
    let (channel, only) = (&args.target.channel, args.target.build.as_ref());
    let cancel = Cancel::new();
    let built = watched(context, args.events.as_deref(), &cancel, async |watch| {
        resume(&site, channel, only, how, watch).await
    })
    .await?;
    report(context, &site, built)
}

/// Waits until somebody asks the build that works in `state` to end, and switches `cancel` then.
pub(crate) async fn requested(state: Utf8PathBuf, cancel: Cancel) {
    let file = state.join(REQUEST);
    while !file.exists() {
        tokio::time::sleep(LOOK).await;
    }
    cancel.cancel();
}

/// Forgets that a build should end; the lock of the state directory has to be held.
pub(crate) fn unrequested(state: &camino::Utf8Path) -> Result<(), Failure> {
    match fs_err::remove_file(state.join(REQUEST)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(Exit::Bug, error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What came of `cancel`.
#[derive(Debug, Serialize)]
struct Cancelled {
    cancelled: BuildId,
}

/// Asks the running build of a channel to end, and waits until it did. It is asked by a file, not by a signal: the program
/// that runs it may run others too.
pub(crate) async fn cancel(context: &Context, args: &args::Cancel) -> Result<(), Failure> {
    let site = Site::new(context)?;
    let channel = &args.target.channel;
    let state = site.channel(channel);
    let none = || Failure::new(Exit::NotFound, format!("{channel}: no build is running"));
    if !is_there(&state)? || lock(&state, channel).is_ok() {
        return Err(none());
    }
    let journal = unfinished(&site, channel)?.ok_or_else(none)?;
    let id = journal.started.plan.id;
    if let Some(build) = args.target.build.as_ref().filter(|build| **build != id) {
        return Err(Failure::new(
            Exit::NotFound,
            format!("{build}: is not running; {id} is"),
        ));
    }
    fs_err::write(state.join(REQUEST), id.to_string())
        .map_err(|error| Failure::new(Exit::Bug, error))?;
    context.say(&format!("ending {id}"));
    let over = async {
        loop {
            match lock(&state, channel) {
                Ok(lock) => break lock,
                Err(_) => tokio::time::sleep(LOOK / 4).await,
            }
        }
    };
    let wait = Duration::from_secs(args.wait);
    let Ok(lock) = tokio::time::timeout(wait, over).await else {
        return Err(Failure::new(
            Exit::Busy,
            format!("{id}: still runs after {} s", args.wait),
        )
        .hint("it was asked to end, and ends as soon as its processes do"));
    };
    unrequested(&state)?;
    drop(lock);
    let there = match site.published()? {
        None => false,
        Some(mirror) => mirror.record(&id).await.is_ok(),
    };
    if there {
        return Err(Failure::new(
            Exit::Mirror,
            format!("{id}: was being published already, and is"),
        ));
    }
    let cancelled = Cancelled { cancelled: id };
    output::print(context.format(), &cancelled, || {
        format!(
            "{} was cancelled; nothing was published",
            cancelled.cancelled
        )
    })
}
