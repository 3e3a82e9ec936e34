//! `pin`, `unpin` and `pins`: manage the pins that keep builds.

use stx_builds::retention::{NewPin, PinState};
use stx_layout::Pin;

use super::until;
use crate::args;
use crate::commands::Context;
use crate::exit::Failure;
use crate::output;

pub(crate) async fn pin(context: &Context, args: &args::Pin) -> Result<(), Failure> {
    let wanted = NewPin {
        build: args.build.clone(),
        reason: args.reason.clone(),
        author: args.author.clone(),
        until: args.until,
    };
    let pin = context.site.pin(&wanted).await?;
    output::print(context.format(), &pin, || {
        let until = until(pin.until);
        format!("{} is pinned by {}{until}", pin.build, pin.author)
    })
}

pub(crate) async fn unpin(context: &Context, args: &args::Unpin) -> Result<(), Failure> {
    let unpinned = context
        .site
        .unpin(&args.build, args.author.as_ref())
        .await?;
    let Pin { build, author, .. } = &unpinned.pin;
    output::print(context.format(), &unpinned.pin, || {
        let rest = match unpinned.others {
            0 => "no other pin keeps it".to_owned(),
            others => format!("{others} of others keep it"),
        };
        format!("{build} is no longer pinned by {author}, {rest}")
    })
}

fn state(listed: &PinState) -> String {
    match (listed.there, listed.holds, listed.pin.until) {
        (false, _, _) => "no such build".to_owned(),
        (true, false, _) => "ended".to_owned(),
        (true, true, None) => "for ever".to_owned(),
        (true, true, Some(until)) => until.format("until %Y-%m-%d").to_string(),
    }
}

pub(crate) async fn pins(context: &Context, args: &args::Pins) -> Result<(), Failure> {
    let pins = context.site.pins(args.channel.as_ref()).await?;
    output::print(context.format(), &pins, || {
        if pins.is_empty() {
            return "no pins".to_owned();
        }
        let row = |listed: &PinState| {
            let Pin {
                build,
                reason,
                author,
                ..
            } = &listed.pin;
            vec![
                build.to_string(),
                state(listed),
                author.clone(),
                reason.clone(),
            ]
        };
        output::columns(&pins.iter().map(row).collect::<Vec<_>>())
    })
}
