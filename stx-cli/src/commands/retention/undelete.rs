//! `undelete`: a build, and the sections that went before it, come back.

use chrono::SubsecRound as _;
use serde::Serialize;
use stx_layout::{BuildId, Pin};
use stx_publish::{Retired, Scope, StoreError};

use super::pins::user;
use super::prune::GRACE;
use crate::args::Undelete;
use crate::commands::{Context, refused};
use crate::exit::{Exit, Failure, chain};
use crate::output;

/// What came back.
#[derive(Debug, Serialize)]
struct Undeleted<'a> {
    build: &'a BuildId,
    restored: Vec<Retired>,
    /// What keeps the next `prune` from taking it away again.
    pin: Pin,
}

/// Whose pin it is. A build has one pin an author: that of a person stays as it is.
const AUTHOR: &str = "undelete";

/// The newest retired build of that id comes back, if the build is not there, and every section that was taken from it. It is
/// pinned for as long as it could have been brought back: the rule by which it was removed still holds, and the next `prune` would
/// remove it at once.
pub(crate) async fn undelete(context: &Context, args: &Undelete) -> Result<(), Failure> {
    let store = context.open()?;
    let build = &args.build;
    let writer = store.lock(&build.channel).await.map_err(refused)?;
    let retired = store.retired().await.map_err(refused)?;
    let catalog = store.catalog(&Scope::Build(build.clone())).await;
    let is_there = catalog.map_err(refused)?.build(build).is_some();
    let own = || retired.iter().filter(|retired| retired.id == *build);
    let whole = own().rfind(|retired| retired.section.is_none());
    let whole = whole.filter(|_| !is_there);
    let sections = own().filter(|retired| retired.section.is_some());
    let coming: Vec<_> = whole.into_iter().chain(sections).cloned().collect();
    if coming.is_empty() {
        return Err(not_there(build, &retired, is_there));
    }
    let pin = Pin {
        build: build.clone(),
        reason: match user() {
            Some(user) => format!("brought back by {user}"),
            None => "brought back".to_owned(),
        },
        author: AUTHOR.to_owned(),
        until: Some((context.now + GRACE).trunc_subsecs(0)),
    };
    // Before it is back: a `prune` that comes after a crash in between must find the pin.
    match writer.pin(&pin).await {
        Ok(()) => {}
        // Pins that cannot be understood keep their build.
        Err(error @ StoreError::Damaged { .. }) => {
            context.say(&format!("note: not pinned: {}", chain(&error)));
        }
        Err(error) => return Err(refused(error)),
    }
    for retired in &coming {
        writer.restore(retired).await.map_err(refused)?;
    }
    let undeleted = Undeleted {
        build,
        restored: coming,
        pin,
    };
    output::print(context.format(), &undeleted, || human(&undeleted))
}

fn human(undeleted: &Undeleted<'_>) -> String {
    let names = undeleted.restored.iter();
    let mut lines: Vec<_> = names.map(|name| format!("{name} is back")).collect();
    let until = undeleted.pin.until;
    let until = until.map_or_else(String::new, |until| {
        until.format(" until %Y-%m-%d %H:%M UTC").to_string()
    });
    lines.push(format!("pinned{until}; to keep it longer, run"));
    lines.push(format!(
        "  stx-builds pin {} --reason TEXT [--until DATE]",
        undeleted.build
    ));
    lines.join("\n")
}

fn not_there(build: &BuildId, retired: &[Retired], is_there: bool) -> Failure {
    if is_there {
        return Failure::new(Exit::NotFound, format!("{build}: it is there, whole"));
    }
    let known: Vec<_> = retired.iter().map(ToString::to_string).collect();
    let failure = Failure::new(
        Exit::NotFound,
        format!("{build}: not among the retired builds"),
    );
    match known.as_slice() {
        [] => failure.hint("there are none"),
        known => failure.hint(format!("there are: {}", known.join(", "))),
    }
}
