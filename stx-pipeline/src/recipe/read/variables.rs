//! Checks variables: their definitions and their uses.

use std::collections::BTreeMap;

use toml::Spanned;

use super::Reader;
use super::form::Assignments;
use crate::recipe::{Preview, Recipe};
use crate::scope::{Part, Scope, ScopeFault, Way, is_name, parts};

impl Reader {
    /// Reports an invalid variable name.
    pub(super) fn variable(&mut self, name: &Spanned<String>) {
        let (at, name) = (name.span().start, name.get_ref());
        if Recipe::RESERVED.contains(&name.as_str()) {
            self.fault(at, format!("`{name}` is set by the build"));
        } else if !is_name(name) {
            self.fault(at, format!("`{name}` cannot name a variable"));
        }
    }

    pub(super) fn assignments(&mut self, table: &Assignments) {
        for name in table.keys() {
            self.variable(name);
        }
    }

    pub(super) fn variables(&mut self, table: &Assignments) -> BTreeMap<String, String> {
        self.assignments(table);
        self.known.extend(Recipe::RESERVED.map(str::to_owned));
        self.known.extend(Recipe::INHERITED.map(str::to_owned));
        self.known
            .extend(table.keys().map(|name| name.get_ref().clone()));
        for text in table.values() {
            self.expandable(text.span().start, text.get_ref(), &[], false);
        }
        let texts = table.iter();
        let variables = texts
            .map(|(name, text)| (name.get_ref().clone(), text.get_ref().clone()))
            .collect();
        self.circular(table, &[&variables]);
        variables
    }

    /// Reports definitions that refer to themselves in a circle.
    pub(super) fn circular(&mut self, found: &Assignments, layers: &[&BTreeMap<String, String>]) {
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
        for (name, text) in found {
            let (name, at) = (name.get_ref(), text.span().start);
            match scope.check(name, &mut way) {
                Err(fault @ ScopeFault::Cycle { .. }) => self.fault(at, fault),
                Err(fault @ (ScopeFault::TooDeep | ScopeFault::TooLong)) => {
                    self.fault(at, format!("`{name}`: {fault}"));
                }
                // The error would repeat for every variable after it.
                Err(fault @ ScopeFault::TooMuch) => return self.fault(at, fault),
                // A variable that refers only to itself has no value in a lower layer.
                Err(fault @ ScopeFault::Unknown { .. })
                    if !self.faults.any_begins(&fault.to_string()) =>
                {
                    self.fault(at, fault);
                }
                Err(ScopeFault::Malformed { .. } | ScopeFault::Unknown { .. }) | Ok(()) => {}
            }
        }
    }

    /// Checks the uses of variables, `${NAME}`, in a text.
    pub(super) fn expandable(&mut self, at: usize, text: &str, more: &[String], epoch: bool) {
        match parts(text) {
            Err(fault) => self.fault(at, fault),
            Ok(parts) => {
                for part in parts {
                    let Part::Variable(name) = part else { continue };
                    if name == "SOURCE_DATE_EPOCH" && !epoch {
                        self.fault(at, "`${SOURCE_DATE_EPOCH}` is known only in `run` and `env` of a phase after the source phase");
                    } else if name == Preview::URL && !self.previewed {
                        self.fault(at, "`${PREVIEW_URL}` needs the table `[preview]`");
                    } else if !self.known.contains(name) && !more.iter().any(|known| known == name)
                    {
                        self.fault(at, format!("unknown variable `${{{name}}}`"));
                    }
                }
            }
        }
    }

    /// Reports variables that the caller's environment may replace, but that have no value.
    pub(super) fn inherit(
        &mut self,
        names: &[Spanned<String>],
        variables: &BTreeMap<String, String>,
    ) {
        for name in names {
            let (at, name) = (name.span().start, name.get_ref());
            if !variables.contains_key(name) {
                self.fault(
                    at,
                    format!("`{name}` is inherited and has no value in `[variables]`"),
                );
            }
        }
    }
}
