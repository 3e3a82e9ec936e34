//! Reads one phase of a recipe.

use std::collections::BTreeMap;

use stx_layout::config::PositiveDuration;
use toml::Spanned;

use super::Reader;
use super::form::{PhaseTable, PublishTable, build_path};
use super::graph::Edge;
use super::matrix::{Cell, fill, instance, is_always};
use crate::recipe::{Command, On, Phase, Publish};

/// The context of a phase that is being read: its name, the names of its additional variables, and true if it is the source
/// phase.
struct Seen<'a> {
    phase: &'a str,
    names: &'a [String],
    is_source: bool,
}

impl Reader {
    /// Reads the phase of one combination.
    pub(super) fn phase(
        &mut self,
        at: usize,
        table: &PhaseTable,
        cell: &Cell,
        variables: &BTreeMap<String, String>,
        log_limit: Option<u64>,
        edges: &mut Vec<Edge>,
    ) -> Option<Phase> {
        let family = table.name.get_ref();
        let name = instance(family, cell);
        let is_source = *family == self.source;
        if is_source && !cell.is_empty() {
            let message = "the source phase cannot have a `matrix`";
            self.fault(table.name.span().start, message);
        }
        let mut env: BTreeMap<_, _> = cell.iter().cloned().collect();
        self.assignments(&table.env);
        let assigned = table.env.keys().map(Spanned::get_ref);
        let names: Vec<_> = assigned.chain(env.keys()).cloned().collect();
        for (name, text) in &table.env {
            self.expandable(text.span().start, text.get_ref(), &names, !is_source);
            let before = env.insert(name.get_ref().clone(), text.get_ref().clone());
            if before.is_some() {
                let message = format!("`{}` is a variable of the `matrix`", name.get_ref());
                self.fault(name.span().start, message);
            }
        }
        self.circular(&table.env, &[variables, &env]);
        let seen = Seen {
            phase: &name,
            names: &names,
            is_source,
        };
        let command = self.command(at, table, &seen);
        if let Some(dir) = &table.dir {
            self.expandable(dir.span().start, dir.get_ref(), &names, false);
        }
        let needs = self.needs(table, cell, &seen, edges);
        let required = table.required.as_ref();
        if let Some(required) = required.filter(|required| is_source && !*required.get_ref()) {
            let message = "`required` must be true for the source phase";
            self.fault(required.span().start, message);
        }
        let always = is_always(table);
        if let Some(when) = table.when.as_ref().filter(|_| is_source && always) {
            let message = "the source phase comes first: it cannot always run";
            self.fault(when.span().start, message);
        }
        if let Some(condition) = &table.condition {
            let at = condition.span().start;
            self.expandable(at, condition.get_ref(), &names, false);
            if is_source {
                self.fault(at, "the source phase cannot have an `if`");
            } else if !condition.get_ref().contains("${") {
                self.fault(at, "`if` names no variable, as `${NAME}`");
            }
        }
        let mut publish = Vec::new();
        for table in &table.publish {
            publish.extend(self.publish(table, cell, &seen));
        }
        let backoff = table.backoff.as_ref();
        if let Some(backoff) = backoff.filter(|_| table.retries == 0)
            && !self.faults.is_wrong(at, "retries")
        {
            self.fault(backoff.span().start, "`backoff` needs `retries`");
        }
        Some(Phase {
            command: command?,
            dir: table.dir.clone().map(Spanned::into_inner),
            timeout: table.timeout.map(PositiveDuration::get),
            stop_grace: table.stop_grace.map(PositiveDuration::get),
            retries: table.retries,
            backoff: backoff.map(|backoff| backoff.get_ref().get()),
            log_limit: table.log_limit.map(|bytes| bytes.0).or(log_limit),
            env,
            needs,
            // Phases that always run, such as cleanups, are seldom the purpose of a build.
            required: required.map_or(!always, |required| is_source || *required.get_ref()),
            always,
            condition: table.condition.clone().map(Spanned::into_inner),
            publish,
            name,
        })
    }

    fn command(&mut self, at: usize, table: &PhaseTable, seen: &Seen<'_>) -> Option<Command> {
        let name = seen.phase;
        for text in table.run.iter().flat_map(Spanned::get_ref) {
            let at = text.span().start;
            self.expandable(at, text.get_ref(), seen.names, !seen.is_source);
        }
        match (&table.run, &table.script) {
            (Some(run), None) => {
                let (list, run) = (run.span().start, run.get_ref());
                let program = run.first().map_or("", |program| program.get_ref());
                if program.is_empty() && !self.faults.is_damaged(list) {
                    self.fault(table.name.span().start, "`run` names no program");
                }
                Some(Command::Run(super::texts(run.clone())))
            }
            (None, Some(script)) => Some(Command::Script(script.get_ref().clone())),
            (Some(_), Some(script)) => {
                let message = format!("phase `{name}` has both `run` and `script`");
                self.fault(script.span().start, message);
                None
            }
            (None, None) => {
                if !["run", "script"]
                    .iter()
                    .any(|key| self.faults.is_wrong(at, key))
                {
                    self.fault(at, format!("phase `{name}` has neither `run` nor `script`"));
                }
                None
            }
        }
    }

    /// The needs of a phase. The name of a phase with a matrix means all its phases.
    fn needs(
        &mut self,
        table: &PhaseTable,
        cell: &Cell,
        seen: &Seen<'_>,
        edges: &mut Vec<Edge>,
    ) -> Vec<String> {
        let mut needs: Vec<String> = Vec::new();
        for need in &table.needs {
            let at = need.span().start;
            let need = fill(need.get_ref(), cell);
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
                if self.always.contains(&need) && !self.always.contains(seen.phase) {
                    let message = format!(
                        "phase `{need}` always runs, so that only another such phase can need it"
                    );
                    self.fault(at, message);
                }
                edges.push((seen.phase.to_owned(), at, need.clone()));
                if !needs.contains(&need) {
                    needs.push(need);
                }
            }
        }
        needs
    }

    fn publish(&mut self, table: &PublishTable, cell: &Cell, seen: &Seen<'_>) -> Option<Publish> {
        let from_at = table.from.span().start;
        let from = fill(table.from.get_ref(), cell);
        self.expandable(from_at, &from, seen.names, false);
        self.glob(from_at, &from);
        let mut except = Vec::new();
        for glob in &table.except {
            let at = glob.span().start;
            let glob = fill(glob.get_ref(), cell);
            self.glob(at, &glob);
            except.push(glob);
        }
        let to = build_path(&fill(table.to.get_ref(), cell))
            .map_err(|error| self.fault(table.to.span().start, error));
        let mut from_list = None;
        if let Some(list) = &table.from_list {
            let text = fill(list.get_ref(), cell);
            self.expandable(list.span().start, &text, seen.names, false);
            from_list = Some(text);
        }
        if table.on == On::Failure && table.min > 0 {
            self.fault(from_at, "a rule with `on = \"failure\"` cannot have `min`");
        }
        let rule = Publish {
            from,
            except,
            to: to.ok()?,
            min: table.min,
            flat: table.flat,
            from_list,
            on: table.on,
        };
        self.output(from_at, seen.phase, &rule);
        Some(rule)
    }
}
