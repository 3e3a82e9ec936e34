//! `pin`, `unpin` and `pins`: wishes to keep a build.

use serde::Serialize;
use stx_layout::{Catalog, Pin};
use stx_publish::{Scope, StoreError};

use crate::args;
use crate::commands::{Context, asked, refused};
use crate::exit::{Exit, Failure};
use crate::output;

/// The user's name, if it is known.
pub(super) fn user() -> Option<String> {
    let names = ["LOGNAME", "USER"].into_iter();
    let mut known = names.filter_map(|name| std::env::var(name).ok());
    known.find(|name| !name.trim().is_empty())
}

/// Who says so: the name that was given, else the user's.
fn author(given: Option<&String>) -> Result<String, Failure> {
    let author = given.cloned().or_else(user);
    author
        .filter(|author| !author.trim().is_empty())
        .ok_or_else(|| {
            Failure::usage("nobody can be named as the pin's author")
                .hint("give `--author NAME`; LOGNAME and USER are not set")
        })
}

pub(crate) async fn pin(context: &Context, args: &args::Pin) -> Result<(), Failure> {
    let store = context.open()?;
    if args.until.is_some_and(|until| until <= context.now) {
        return Err(Failure::usage("the pin's end is over already"));
    }
    let pin = Pin {
        build: asked::resolve(&*store, &args.build).await?,
        reason: args.reason.clone(),
        author: author(args.author.as_ref())?,
        until: args.until,
    };
    let writer = store.lock(&pin.build.channel).await.map_err(refused)?;
    let scope = Scope::Build(pin.build.clone());
    let catalog = store.catalog(&scope).await.map_err(refused)?;
    let mut retired = store.retired().await.map_err(refused)?.into_iter();
    if catalog.build(&pin.build).is_none() && retired.any(|it| it.is_whole(&pin.build)) {
        // The store would take it, and the build would be purged all the same.
        let error = format!("{}: it is in the trash", pin.build);
        let hint = format!("`stx-builds undelete {}` brings it back", pin.build);
        return Err(Failure::new(Exit::NotFound, error).hint(hint));
    }
    writer.pin(&pin).await.map_err(|error| {
        let is_missing = matches!(error, StoreError::NotFound { .. });
        let failure = refused(error);
        if is_missing {
            failure.hint("`stx-builds list` names the builds that are there")
        } else {
            failure
        }
    })?;
    output::print(context.format(), &pin, || {
        format!(
            "{} is pinned by {}{}",
            pin.build,
            pin.author,
            super::until(pin.until)
        )
    })
}

pub(crate) async fn unpin(context: &Context, args: &args::Unpin) -> Result<(), Failure> {
    let store = context.open()?;
    let build = asked::resolve(&*store, &args.build).await?;
    let author = author(args.author.as_ref())?;
    let writer = store.lock(&build.channel).await.map_err(refused)?;
    let scope = Scope::Build(build.clone());
    let pins = store.pins(&scope).await.map_err(refused)?;
    match writer.unpin(build.date, &author).await {
        Ok(pin) => output::print(context.format(), &pin, || {
            let others = pins.len() - 1;
            let rest = match others {
                0 => "no pin keeps it any more".to_owned(),
                others => format!("{others} of others keep it"),
            };
            format!("{build} is not pinned by {author} any more, {rest}")
        }),
        Err(error @ StoreError::NotFound { .. }) => {
            let authors: Vec<_> = pins.iter().map(|pin| pin.author.as_str()).collect();
            let hint = match authors.as_slice() {
                [] => "it is not pinned at all".to_owned(),
                authors => format!(
                    "it is pinned by {}; `--author` names whose pin goes",
                    authors.join(", ")
                ),
            };
            Err(Failure::new(Exit::NotFound, error).hint(hint))
        }
        Err(error) => Err(refused(error)),
    }
}

/// A pin, and whether it does something.
#[derive(Debug, Serialize)]
struct Listed {
    #[serde(flatten)]
    pin: Pin,
    /// Whether it holds now.
    holds: bool,
    /// Whether there is such a build.
    there: bool,
}

impl Listed {
    fn new(context: &Context, catalog: &Catalog, pin: Pin) -> Self {
        Self {
            holds: pin.holds(context.now),
            there: catalog.build(&pin.build).is_some(),
            pin,
        }
    }

    fn state(&self) -> String {
        match (self.there, self.holds, self.pin.until) {
            (false, _, _) => "no such build".to_owned(),
            (true, false, _) => "ended".to_owned(),
            (true, true, None) => "for ever".to_owned(),
            (true, true, Some(until)) => until.format("until %Y-%m-%d").to_string(),
        }
    }
}

pub(crate) async fn pins(context: &Context, args: &args::Pins) -> Result<(), Failure> {
    let store = context.open()?;
    let scope = args.channel.clone().map_or(Scope::All, Scope::Channel);
    let catalog = store.catalog(&scope).await.map_err(refused)?;
    let pins = store.pins(&scope).await.map_err(refused)?;
    if let Scope::Channel(channel) = &scope
        && pins.is_empty()
        && !catalog.channels.contains_key(channel)
    {
        let all = store.catalog(&Scope::All).await.map_err(refused)?;
        return Err(asked::missing_channel(&all, channel));
    }
    let pins = pins.into_iter();
    let pins: Vec<_> = pins
        .map(|pin| Listed::new(context, &catalog, pin))
        .collect();
    output::print(context.format(), &pins, || {
        if pins.is_empty() {
            return "no pins".to_owned();
        }
        let row = |listed: &Listed| {
            let Pin {
                build,
                reason,
                author,
                ..
            } = &listed.pin;
            vec![
                build.to_string(),
                listed.state(),
                author.clone(),
                reason.clone(),
            ]
        };
        output::columns(&pins.iter().map(row).collect::<Vec<_>>())
    })
}
