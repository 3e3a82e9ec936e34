//! The kinds of executors, and the places of a configuration file; all mistakes are collected.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use camino::Utf8Path;
use globset::GlobBuilder;
use serde::Deserialize;
use stx_layout::config::{self, ConfigErrors, Faults, Spanned};
use stx_layout::meant;
use toml::de::{DeTable, DeValue};

use stx_pipeline::{Env, Invocation};

use super::{
    Check, Container, Exec, Executor, ExecutorTable, Job, Placed, Places, Rule, Slurm, Ssh,
};

type Make = dyn Fn(&mut ExecutorTable<'_>) -> Option<Arc<dyn Executor>> + Send + Sync;

/// The kinds of executors that a configuration can name.
///
/// `Executors::default()` knows `local`, `ssh`, `container`, `exec` and `slurm`.
#[derive(Clone)]
pub struct Executors(Vec<(String, Arc<Make>)>);

impl Default for Executors {
    fn default() -> Self {
        let mut executors = Self(Vec::new());
        executors.add("local", Local::from_table);
        executors.add("ssh", Ssh::from_table);
        executors.add("container", Container::from_table);
        executors.add("exec", Exec::from_table);
        executors.add("slurm", Slurm::from_table);
        executors
    }
}

impl Executors {
    /// Adds a kind, or replaces the kind of that name. `make` reads the table of a place. If it cannot, it returns `None` after
    /// it has noted a fault of the table.
    pub fn add(
        &mut self,
        kind: impl Into<String>,
        make: impl Fn(&mut ExecutorTable<'_>) -> Option<Arc<dyn Executor>> + Send + Sync + 'static,
    ) {
        let kind = kind.into();
        self.0.retain(|(known, _)| *known != kind);
        self.0.push((kind, Arc::new(make)));
    }

    /// The names of the kinds, in the order in which they were added.
    pub fn kinds(&self) -> Vec<&str> {
        self.0.iter().map(|(kind, _)| kind.as_str()).collect()
    }

    fn get(&self, kind: &str) -> Option<&Make> {
        let found = self.0.iter().find(|(known, _)| known == kind);
        found.map(|(_, make)| &**make)
    }

    /// Reads the tables `place.NAME` and the list `place-rule` of a configuration file; other keys are ignored. Relative paths
    /// are relative to `dir`, the file's directory.
    ///
    /// # Errors
    /// All mistakes in them, at once.
    pub fn places(&self, text: &str, dir: &Utf8Path) -> Result<Places, ConfigErrors> {
        read(text, dir, self)
    }
}

impl fmt::Debug for Executors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Executors").field(&self.kinds()).finish()
    }
}

/// The build server itself.
#[derive(Debug, Clone, Copy)]
struct Local;

impl Local {
    fn from_table(table: &mut ExecutorTable<'_>) -> Option<Arc<dyn Executor>> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {}
        let Table {} = table.read()?;
        Some(Arc::new(Self))
    }
}

impl Executor for Local {
    fn rewrite(&self, invocation: &Invocation, _: &Job, _: &Env) -> Placed {
        Placed::Direct(invocation.clone())
    }

    fn check(&self, _: &Utf8Path, _: &Job, _: &Env) -> Option<Check> {
        None
    }
}

type Value<'t> = Spanned<DeValue<'t>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    phases: Spanned<Vec<Spanned<String>>>,
    place: Spanned<String>,
}

struct Reader<'a> {
    faults: Faults,
    dir: &'a Utf8Path,
    executors: &'a Executors,
}

fn read(text: &str, dir: &Utf8Path, executors: &Executors) -> Result<Places, ConfigErrors> {
    let mut reader = Reader {
        faults: Faults::default(),
        dir,
        executors,
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        reader.faults.add(at, error.message());
    }
    let places = errors.is_empty().then(|| reader.places(document.get_ref()));
    reader.faults.locate(text).or(places)
}

impl Reader<'_> {
    fn places(&mut self, document: &DeTable<'_>) -> Places {
        // The place `local` exists without a table.
        let local: Arc<dyn Executor> = Arc::new(Local);
        let mut places = BTreeMap::from([("local".to_owned(), local)]);
        let mut named = vec!["local".to_owned()];
        match get(document, "place").map(|value| (value.span().start, value.get_ref())) {
            None => {}
            Some((_, DeValue::Table(tables))) => {
                for (name, table) in tables {
                    let (at, name) = (name.span().start, name.get_ref());
                    named.push(name.to_string());
                    let place = self.place(at, name, table);
                    places.extend(place.map(|place| (name.to_string(), place)));
                }
            }
            Some((at, _)) => self
                .faults
                .add(at, "`place` must be tables, as `[place.NAME]`"),
        }
        let mut rules = Vec::new();
        match get(document, "place-rule").map(|value| (value.span().start, value.get_ref())) {
            None => {}
            Some((_, DeValue::Array(tables))) => {
                rules.extend(tables.iter().filter_map(|table| self.rule(table, &named)));
            }
            Some((at, _)) => self
                .faults
                .add(at, "`place-rule` must be a list, as `[[place-rule]]`"),
        }
        Places { places, rules }
    }

    fn place(&mut self, at: usize, name: &str, value: &Value<'_>) -> Option<Arc<dyn Executor>> {
        let kinds = self.executors.kinds();
        if !is_name(name) {
            let message = format!("place {name:?}: a name is made of a-z, 0-9 and `-`");
            self.faults.add(at, message);
        }
        let mut value = value.clone();
        let DeValue::Table(table) = value.get_mut() else {
            self.faults
                .add(at, format!("`place.{name}` must be a table"));
            return None;
        };
        let Some(kind) = table.remove("kind") else {
            let message = format!("`kind` is missing, one of {}", kinds.join(", "));
            self.faults.add(at, message);
            return None;
        };
        let at = kind.span().start;
        let Some(kind) = kind.get_ref().as_str() else {
            self.faults.add(at, "`kind` must be a text");
            return None;
        };
        let Some(make) = self.executors.get(kind) else {
            let message = format!("unknown kind {kind:?}{}", meant(kind, &kinds));
            self.faults.add(at, message);
            return None;
        };
        let faults = self.faults.len();
        let place = make(&mut ExecutorTable {
            value,
            dir: self.dir,
            faults: &mut self.faults,
        });
        if place.is_none() && self.faults.len() == faults {
            self.faults
                .add(at, format!("cannot create an executor of kind {kind:?}"));
        }
        place
    }

    fn rule(&mut self, value: &Value<'_>, named: &[String]) -> Option<Rule> {
        let rule: RuleTable = config::read(value.clone(), &mut self.faults)?;
        let at = rule.place.span().start;
        let place = rule.place.into_inner();
        if !named.contains(&place) {
            self.faults.add(
                at,
                format!("unknown place {place:?}, there are {}", named.join(", ")),
            );
        }
        if rule.phases.get_ref().is_empty() {
            self.faults
                .add(rule.phases.span().start, "`phases` names no phase");
        }
        let mut globs = Vec::new();
        for text in rule.phases.into_inner() {
            match GlobBuilder::new(text.get_ref()).build() {
                Ok(glob) => globs.push(glob.compile_matcher()),
                Err(error) => self.faults.add(text.span().start, error.to_string()),
            }
        }
        Some(Rule { globs, place })
    }
}

fn get<'a, 't>(table: &'a DeTable<'t>, key: &str) -> Option<&'a Value<'t>> {
    table
        .iter()
        .find(|(name, _)| name.get_ref() == key)
        .map(|(_, value)| value)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
