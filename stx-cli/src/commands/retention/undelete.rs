//! `undelete`: restore a build, and the sections that were removed before it.

use stx_builds::retention::Restored;

use crate::args::Undelete;
use crate::commands::Context;
use crate::exit::Failure;
use crate::output;

pub(crate) async fn undelete(context: &Context, args: &Undelete) -> Result<(), Failure> {
    let restored = context.site.undelete(&args.build).await?;
    output::print(context.format(), &restored, || human(&restored))
}

fn human(restored: &Restored) -> String {
    let names = restored.restored.iter();
    let mut lines: Vec<_> = names.map(|name| format!("restored {name}")).collect();
    let until = restored.pin.until;
    let until = until.map_or_else(String::new, |until| {
        until.format(" until %Y-%m-%d %H:%M UTC").to_string()
    });
    lines.push(format!("pinned{until}; to keep it longer, run"));
    lines.push(format!(
        "  stx-builds pin {} --reason TEXT [--until DATE]",
        restored.build
    ));
    lines.join("\n")
}
