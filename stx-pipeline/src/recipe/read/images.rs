//! Reads the table `[images]`.

use serde::Deserialize;
use stx_layout::Tag;
use toml::Spanned;

use super::Reader;
use crate::recipe::PushedImages;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImagesTable {
    pushed: bool,
    staging: Option<Spanned<String>>,
    host: Option<Spanned<String>>,
    required: Option<Spanned<bool>>,
}

impl Reader {
    /// Reads the table; `None` if the publisher pushes the images to the registry.
    pub(super) fn images(&mut self, table: Option<ImagesTable>) -> Option<PushedImages> {
        let table = table?;
        if let Some(staging) = &table.staging {
            let at = staging.span().start;
            if !table.pushed {
                self.fault(at, "`staging` needs `pushed = true`");
            } else if Tag::parse(staging.get_ref()).is_err() {
                self.fault(
                    at,
                    "`staging` must be the beginning of a tag, such as `staging-`",
                );
            }
        }
        if let Some(host) = &table.host {
            self.expandable(host.span().start, host.get_ref(), &[], false);
        }
        for (key, at) in [
            ("host", table.host.as_ref().map(Spanned::span)),
            ("required", table.required.as_ref().map(Spanned::span)),
        ] {
            if let Some(at) = at.filter(|_| !table.pushed) {
                self.fault(at.start, format!("`{key}` needs `pushed = true`"));
            }
        }
        table.pushed.then_some(PushedImages {
            staging: table.staging.map(Spanned::into_inner),
            host: table.host.map(Spanned::into_inner),
            optional: table
                .required
                .is_some_and(|required| !required.into_inner()),
        })
    }
}
