//! One phase.

use std::collections::BTreeMap;

use stx_layout::BuildPath;
use toml::de::{DeTable, DeValue};

use super::graph::Edge;
use super::matrix::{Cell, fill, instance};
use super::{Reader, get};
use crate::recipe::{Command, Phase, Publish};

/// A phase as it is being read: its name, that of the variables it sees beyond everybody's, and whether it is the source phase.
struct Seen<'a> {
    phase: &'a str,
    names: &'a [String],
    is_source: bool,
}

impl Reader {
    /// Reads the phase of a combination.
    pub(super) fn phase(
        &mut self,
        at: usize,
        table: &DeTable<'_>,
        cell: &Cell,
        variables: &BTreeMap<String, String>,
        log_limit: Option<u64>,
        edges: &mut Vec<Edge>,
    ) -> Option<Phase> {
        self.keys(
            table,
            &[
                "name",
                "matrix",
                "run",
                "script",
                "dir",
                "timeout",
                "retries",
                "backoff",
                "log_limit",
                "env",
                "needs",
                "required",
                "publish",
            ],
        );
        let (name_at, family) = self.text(table, "name")?;
        let name = instance(&family, cell);
        let is_source = family == self.source;
        if is_source && !cell.is_empty() {
            self.fault(name_at, "the source phase cannot have a `matrix`");
        }
        let mut env: BTreeMap<_, _> = cell.iter().cloned().collect();
        let assigned = self.assignments(table, "env");
        let names: Vec<_> = assigned
            .iter()
            .map(|(_, name, _, _)| name.clone())
            .chain(env.keys().cloned())
            .collect();
        for (at, name, value_at, text) in &assigned {
            self.expandable(*value_at, text, &names, !is_source);
            if env.insert(name.clone(), text.clone()).is_some() {
                self.fault(*at, format!("`{name}` is a variable of the `matrix`"));
            }
        }
        self.circular(&assigned, &[variables, &env]);
        let seen = Seen {
            phase: &name,
            names: &names,
            is_source,
        };
        let command = self.command(at, name_at, table, &seen);
        let dir = self.text(table, "dir");
        if let Some((at, dir)) = &dir {
            self.expandable(*at, dir, &names, false);
        }
        let needs = self.needs(table, cell, &seen, edges);
        let required = self.required(table, is_source);
        let mut publish = Vec::new();
        for (at, table) in self.tables(table, "publish") {
            publish.extend(self.publish(at, table, cell, &seen));
        }
        let retries = self.number(table, "retries", "a number from 0");
        let backoff = self.duration(table, "backoff");
        if backoff.is_some()
            && retries.unwrap_or(0) == 0
            && let Some(value) = get(table, "backoff")
        {
            self.fault(value.span().start, "`backoff` needs `retries`");
        }
        Some(Phase {
            command: command?,
            dir: dir.map(|(_, text)| text),
            timeout: self.duration(table, "timeout"),
            retries: retries.unwrap_or(0),
            backoff,
            log_limit: self.bytes(table, "log_limit").or(log_limit),
            env,
            needs,
            required,
            publish,
            name,
        })
    }

    fn command(
        &mut self,
        at: usize,
        name_at: usize,
        table: &DeTable<'_>,
        seen: &Seen<'_>,
    ) -> Option<Command> {
        let name = seen.phase;
        let run = self.texts(table, "run");
        let script = self.text(table, "script");
        for (at, text) in run.iter().flatten() {
            self.expandable(*at, text, seen.names, !seen.is_source);
        }
        match (run, script) {
            (Some(run), None) => {
                if run.first().is_none_or(|(_, program)| program.is_empty()) {
                    self.fault(name_at, "`run` names no program");
                }
                Some(Command::Run(
                    run.into_iter().map(|(_, text)| text).collect(),
                ))
            }
            (None, Some((_, script))) => Some(Command::Script(script)),
            (Some(_), Some((at, _))) => {
                self.fault(at, format!("phase `{name}` has both `run` and `script`"));
                None
            }
            (None, None) => {
                if get(table, "run").is_none() && get(table, "script").is_none() {
                    self.fault(at, format!("phase `{name}` has neither `run` nor `script`"));
                }
                None
            }
        }
    }

    /// The phases that are needed; the name of one with a matrix means all that it stands for.
    fn needs(
        &mut self,
        table: &DeTable<'_>,
        cell: &Cell,
        seen: &Seen<'_>,
        edges: &mut Vec<Edge>,
    ) -> Vec<String> {
        let mut needs: Vec<String> = Vec::new();
        for (at, need) in self.texts(table, "needs").unwrap_or_default() {
            let need = fill(&need, cell);
            if seen.is_source {
                self.fault(
                    at,
                    "the source phase comes before every other and needs none",
                );
                continue;
            }
            let meant = if self.phases.contains(&need) {
                vec![need]
            } else if let Some(family) = self.families.get(&need) {
                family.clone()
            } else {
                self.fault(at, format!("there is no phase `{need}`"));
                continue;
            };
            for need in meant {
                edges.push((seen.phase.to_owned(), at, need.clone()));
                if !needs.contains(&need) {
                    needs.push(need);
                }
            }
        }
        needs
    }

    fn required(&mut self, table: &DeTable<'_>, is_source: bool) -> bool {
        let Some(value) = get(table, "required") else {
            return true;
        };
        match value.get_ref() {
            DeValue::Boolean(false) if is_source => {
                self.wrong(value, "required", "true for the source phase");
                true
            }
            DeValue::Boolean(required) => *required,
            _ => {
                self.wrong(value, "required", "true or false");
                true
            }
        }
    }

    fn publish(
        &mut self,
        at: usize,
        table: &DeTable<'_>,
        cell: &Cell,
        seen: &Seen<'_>,
    ) -> Option<Publish> {
        self.keys(table, &["from", "except", "to", "min"]);
        let from = self.needed(table, at, "from");
        let from = from.map(|(at, from)| (at, fill(&from, cell)));
        if let Some((at, from)) = &from {
            self.expandable(*at, from, seen.names, false);
            self.glob(*at, from);
        }
        let mut except = Vec::new();
        for (at, glob) in self.texts(table, "except").unwrap_or_default() {
            let glob = fill(&glob, cell);
            self.glob(at, &glob);
            except.push(glob);
        }
        let to = self.needed(table, at, "to");
        let to = to.map(|(at, to)| (at, fill(&to, cell)));
        if let Some((at, to)) = &to
            && !matches!(to.split('/').next(), Some("inputs" | "outputs"))
        {
            self.fault(
                *at,
                format!("`to` has to be `inputs` or `outputs` or below, not `{to}`"),
            );
        }
        let to: Option<BuildPath> = self.parsed(to);
        let min = self.number(table, "min", "a number from 0").unwrap_or(0);
        let (from_at, from) = from?;
        let rule = Publish {
            from,
            except,
            to: to?,
            min,
        };
        self.output(from_at, seen.phase, &rule);
        Some(rule)
    }
}
