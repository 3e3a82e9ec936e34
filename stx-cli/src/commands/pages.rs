//! `pages`: rewrite the catalog pages.

use super::Context;
use crate::exit::Failure;
use crate::output;

pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let report = context.site.rewrite_pages().await?;
    output::print(context.format(), &report, || {
        let written = report.written.iter().map(|path| format!("wrote {path}\n"));
        let removed = report.removed.iter();
        written
            .chain(removed.map(|path| format!("removed {path}\n")))
            .collect::<String>()
    })
}
