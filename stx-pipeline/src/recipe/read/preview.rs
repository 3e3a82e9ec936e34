//! Reads the table `[preview]`.

use serde::Deserialize;
use toml::Spanned;

use super::Reader;
use crate::recipe::Preview;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviewTable {
    phases: Option<Vec<Spanned<String>>>,
}

impl Reader {
    /// Reads the table once all phases are known. The name of a phase with a matrix means all its phases.
    pub(super) fn preview(&mut self, table: Option<PreviewTable>) -> Option<Preview> {
        let phases = table?.phases.map(|names| {
            let mut phases = Vec::new();
            for name in names {
                let (at, name) = (name.span().start, name.into_inner());
                if self.phases.contains(&name) {
                    phases.push(name);
                } else if let Some(family) = self.families.get(&name) {
                    phases.extend(family.iter().cloned());
                } else {
                    self.fault(at, format!("there is no phase `{name}`"));
                }
            }
            phases
        });
        Some(Preview { phases })
    }
}
