//! `undelete`: a build, and the sections that went before it, come back.

use serde::Serialize;
use stx_layout::BuildId;
use stx_publish::{Retired, Scope};

use crate::args::Undelete;
use crate::commands::{Context, refused};
use crate::exit::{Exit, Failure};
use crate::output;

/// What came back.
#[derive(Debug, Serialize)]
struct Restored<'a> {
    build: &'a BuildId,
    restored: Vec<Retired>,
}

/// The newest retired build of that id comes back, if the build is not there, and every section that was taken from it.
pub(crate) async fn undelete(context: &Context, args: &Undelete) -> Result<(), Failure> {
    let store = context.open()?;
    let build = &args.build;
    let writer = store.lock(&build.channel).await.map_err(refused)?;
    let retired = store.retired().await.map_err(refused)?;
    let catalog = store.catalog(&Scope::Build(build.clone())).await;
    let is_there = catalog.map_err(refused)?.build(build).is_some();
    let own = || retired.iter().filter(|retired| retired.id == *build);
    let whole = own().rfind(|retired| retired.section.is_none());
    let mut restored = Vec::new();
    if let Some(whole) = whole.filter(|_| !is_there) {
        writer.restore(whole).await.map_err(refused)?;
        restored.push(whole.clone());
    }
    for section in own().filter(|retired| retired.section.is_some()) {
        writer.restore(section).await.map_err(refused)?;
        restored.push(section.clone());
    }
    if restored.is_empty() {
        return Err(not_there(build, &retired, is_there));
    }
    let restored = Restored { build, restored };
    output::print(context.format(), &restored, || {
        let names = restored.restored.iter();
        let names: Vec<_> = names.map(|name| format!("{name} is back")).collect();
        names.join("\n")
    })
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
