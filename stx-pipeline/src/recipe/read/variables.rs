//! Variables: where they are set, and where they are named.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::Reader;
use crate::recipe::Recipe;
use crate::scope::{Part, Scope, ScopeFault, Way, is_name, parts};

/// A variable: where its name stands, the name, where its value stands, the value.
pub(super) type Assigned = (usize, String, usize, String);

impl Reader {
    pub(super) fn assignments(&mut self, table: &DeTable<'_>, key: &str) -> Vec<Assigned> {
        let mut found = Vec::new();
        let Some(entries) = self.table(table, key) else {
            return found;
        };
        for (name, value) in entries {
            let at = name.span().start;
            let name = name.get_ref().clone().into_owned();
            if Recipe::RESERVED.contains(&name.as_str()) {
                self.fault(at, format!("`{name}` is set by the build"));
            } else if !is_name(&name) {
                self.fault(at, format!("`{name}` cannot name a variable"));
            }
            match value.get_ref() {
                DeValue::String(text) => {
                    found.push((at, name, value.span().start, text.clone().into_owned()));
                }
                _ => self.wrong(value, &name, "a text"),
            }
        }
        found
    }

    pub(super) fn variables(&mut self, root: &DeTable<'_>) -> BTreeMap<String, String> {
        let found = self.assignments(root, "variables");
        self.known.extend(Recipe::RESERVED.map(str::to_owned));
        self.known.extend(Recipe::INHERITED.map(str::to_owned));
        self.known
            .extend(found.iter().map(|(_, name, _, _)| name.clone()));
        for (_, _, at, text) in &found {
            self.expandable(*at, text, &[], false);
        }
        let variables = found
            .iter()
            .map(|(_, name, _, text)| (name.clone(), text.clone()))
            .collect();
        self.circular(&found, &[&variables]);
        variables
    }

    /// Reports definitions that lead back to themselves.
    pub(super) fn circular(&mut self, found: &[Assigned], layers: &[&BTreeMap<String, String>]) {
        if found.is_empty() {
            return;
        }
        let base = Recipe::RESERVED
            .iter()
            .chain(&Recipe::INHERITED)
            .map(|name| ((*name).to_owned(), String::new()))
            .collect();
        let mut all = vec![&base];
        all.extend(layers);
        let scope = Scope { layers: &all };
        let mut way = Way::default();
        for (_, name, at, _) in found {
            match scope.check(name, &mut way) {
                Err(fault @ ScopeFault::Cycle { .. }) => self.fault(*at, fault),
                Err(fault @ (ScopeFault::TooDeep | ScopeFault::TooLong)) => {
                    self.fault(*at, format!("`{name}`: {fault}"));
                }
                // So would be all after it.
                Err(fault @ ScopeFault::TooMuch) => return self.fault(*at, fault),
                // A name that stands only for itself has no value below it.
                Err(fault @ ScopeFault::Unknown { .. })
                    if self
                        .faults
                        .iter()
                        .all(|(_, said)| !said.starts_with(&fault.to_string())) =>
                {
                    self.fault(*at, fault);
                }
                Err(ScopeFault::Malformed { .. } | ScopeFault::Unknown { .. }) | Ok(()) => {}
            }
        }
    }

    /// Checks the `${NAME}`s of a text.
    pub(super) fn expandable(&mut self, at: usize, text: &str, more: &[String], epoch: bool) {
        match parts(text) {
            Err(fault) => self.fault(at, fault),
            Ok(parts) => {
                for part in parts {
                    let Part::Variable(name) = part else { continue };
                    if name == "SOURCE_DATE_EPOCH" && !epoch {
                        self.fault(at, "`${SOURCE_DATE_EPOCH}` is known only in `run` and `env` of a phase after the source phase");
                    } else if !self.known.contains(name) && !more.iter().any(|known| known == name)
                    {
                        self.fault(at, format!("unknown variable `${{{name}}}`"));
                    }
                }
            }
        }
    }

    /// The variables that the caller's environment may replace.
    pub(super) fn inherit(
        &mut self,
        root: &DeTable<'_>,
        variables: &BTreeMap<String, String>,
    ) -> Vec<String> {
        let names = self.texts(root, "inherit").unwrap_or_default();
        for (at, name) in &names {
            if !variables.contains_key(name) {
                self.fault(
                    *at,
                    format!("`{name}` is inherited and has no value in `[variables]`"),
                );
            }
        }
        names.into_iter().map(|(_, name)| name).collect()
    }
}
