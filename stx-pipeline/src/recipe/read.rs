//! Reading a recipe, mistake by mistake.

mod form;
mod globs;
mod graph;
mod matrix;
mod phase;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use stx_layout::Platform;
use stx_layout::config::{ConfigErrors, Faults, PositiveDuration, Within, from_toml};
use toml::Spanned;

pub(super) use self::form::ToolForm;
use self::form::{RecipeTable, SourceTable};
use self::graph::Edge;
use self::matrix::cells;
use super::Recipe;

pub(super) fn read(text: &str) -> Result<Recipe, ConfigErrors> {
    let mut reader = Reader::default();
    let table = from_toml(text, &mut reader.faults);
    let recipe = table.and_then(|table| reader.recipe(table));
    reader.faults.locate(text).or(recipe)
}

#[derive(Default)]
struct Reader {
    faults: Faults,
    /// The variables that `${NAME}` may name anywhere in the recipe.
    known: BTreeSet<String>,
    /// The phases, those of a matrix one by one.
    phases: BTreeSet<String>,
    /// The phases that a phase with a matrix stands for, by its name.
    families: BTreeMap<String, Vec<String>>,
    source: String,
    /// The phase that publishes a file or a glob, by its place below `outputs/`.
    outputs: BTreeMap<String, String>,
}

impl Reader {
    fn fault(&mut self, at: usize, message: impl Display) {
        self.faults.add(at, message);
    }

    /// Adds that a key of the recipe itself is missing.
    fn needed<T>(&mut self, key: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.faults.missing(0, key);
        }
        value
    }

    fn recipe(&mut self, table: RecipeTable) -> Option<Recipe> {
        if let Some(schema) = self.needed("schema", table.schema)
            && *schema.get_ref() != Recipe::SCHEMA
        {
            let message = format!("`schema` must be {}", Recipe::SCHEMA);
            self.fault(schema.span().start, message);
        }
        let name = self.needed("name", table.name);
        if let Some(name) = &name
            && name.get_ref().parse::<stx_layout::Name>().is_err()
        {
            self.fault(name.span().start, "`name` must be one word without `/`");
        }
        let distro = self.needed("distro", table.distro);
        let (codename, arch) = (table.codename, table.arch);
        for (one, other) in [
            (codename.as_ref().map(Spanned::span), "arch"),
            (arch.as_ref().map(Spanned::span), "codename"),
        ] {
            let alone = codename.is_some() != arch.is_some() && !self.faults.is_wrong(0, other);
            if let Some(one) = one.filter(|_| alone) {
                self.fault(one.start, "`codename` and `arch` go together");
            }
        }
        let variables = self.variables(&table.variables);
        let phases = self.needed_list(table.phase);
        for phase in &phases {
            self.declare(phase.get_ref());
        }
        let repositories = self.source(table.source);
        self.inherit(&table.inherit, &variables);
        let log_limit = table.log_limit.map(|bytes| bytes.0);
        let mut edges: Vec<Edge> = Vec::new();
        let mut read = Vec::new();
        for phase in &phases {
            let at = phase.span().start;
            for cell in cells(phase.get_ref()) {
                read.extend(self.phase(
                    at,
                    phase.get_ref(),
                    &cell,
                    &variables,
                    log_limit,
                    &mut edges,
                ));
            }
        }
        self.circles(&edges);
        Some(Recipe {
            name: name?.into_inner(),
            description: table.description,
            distro: distro?,
            platform: codename.zip(arch).map(|(codename, arch)| Platform {
                codename: codename.into_inner(),
                arch: arch.into_inner(),
            }),
            layer: table.layer,
            timeout: table.timeout.map(PositiveDuration::get),
            jobs: table.jobs.map(Within::get),
            tools: table.tools,
            inherit: texts(table.inherit),
            variables,
            source_phase: self.source.clone(),
            repositories,
            phases: read,
        })
    }

    fn needed_list<T>(&mut self, phases: Option<Vec<T>>) -> Vec<T> {
        if phases.is_none() && !self.faults.is_wrong(0, "phase") {
            self.fault(0, "there is no `[[phase]]`");
        }
        phases.unwrap_or_default()
    }

    fn source(&mut self, source: Option<SourceTable>) -> Vec<String> {
        let Some(source) = source else {
            if !self.faults.is_wrong(0, "source") {
                self.fault(0, "`[source]` is missing");
            }
            return Vec::new();
        };
        let name = source.phase.get_ref();
        if !self.phases.contains(name) {
            let message = format!("there is no phase `{name}`");
            self.fault(source.phase.span().start, message);
        }
        self.source.clone_from(name);
        for glob in &source.repositories {
            self.glob(glob.span().start, glob.get_ref());
        }
        texts(source.repositories)
    }
}

fn texts(texts: Vec<Spanned<String>>) -> Vec<String> {
    texts.into_iter().map(Spanned::into_inner).collect()
}
