//! Reads a recipe; all mistakes are collected.

mod ask;
mod form;
mod globs;
mod graph;
mod images;
mod matrix;
mod phase;
mod preview;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use stx_layout::Platform;
use stx_layout::config::{self, Faults, PositiveDuration, Within};
use toml::Spanned;
use toml::de::DeValue;

pub(super) use self::form::ToolForm;
use self::form::{RecipeTable, SourceTable};
use self::graph::Edge;
use self::matrix::cells;
use super::{CLEAN, Phase, Recipe};

/// Reads a recipe that was merged from its files. `values` holds the values of variables that ask for one; if it is `None`,
/// these variables are empty.
pub(super) fn read(
    table: Spanned<DeValue<'_>>,
    values: Option<&BTreeMap<String, String>>,
    faults: &mut Faults,
) -> Option<Recipe> {
    let mut reader = Reader {
        faults: std::mem::take(faults),
        values: values.cloned(),
        ..Reader::default()
    };
    let table = config::read(table, &mut reader.faults);
    let recipe = table.and_then(|table| reader.recipe(table));
    *faults = reader.faults;
    recipe
}

#[derive(Default)]
struct Reader {
    faults: Faults,
    /// The values of variables that ask for one; `None` leaves them empty.
    values: Option<BTreeMap<String, String>>,
    /// The variables that `${NAME}` may name anywhere in the recipe.
    known: BTreeSet<String>,
    /// The phases; each phase of a matrix is listed.
    phases: BTreeSet<String>,
    /// The phases of each phase with a matrix, by its name.
    families: BTreeMap<String, Vec<String>>,
    source: String,
    /// The phase that publishes a file or a glob, by its path below `outputs/`.
    outputs: BTreeMap<String, String>,
    /// The phases that always run.
    always: BTreeSet<String>,
    /// True if the recipe has a `[preview]`.
    previewed: bool,
}

impl Reader {
    fn fault(&mut self, at: usize, message: impl Display) {
        self.faults.add(at, message);
    }

    /// Reports that a key of the recipe itself is missing.
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
                self.fault(one.start, "`codename` and `arch` require each other");
            }
        }
        self.previewed = table.preview.is_some();
        let variables = self.answered(table.variables);
        let variables = self.variables(&variables);
        let phases = self.needed_list(table.phase);
        for phase in &phases {
            self.declare(phase.get_ref());
        }
        let (source_root, repositories) = self.source(table.source);
        let state_dirs = self.state_dirs(table.state_dirs);
        let clean = self.clean(table.clean);
        let preview = self.preview(table.preview);
        let images = self.images(table.images);
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
        last_of_all(&mut read);
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
            state_dirs,
            clean,
            preview,
            images,
            source_phase: self.source.clone(),
            source_root,
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

    fn state_dirs(&mut self, dirs: Vec<Spanned<String>>) -> Vec<String> {
        for dir in &dirs {
            let text = dir.get_ref();
            let odd = |segment: &str| matches!(segment, "" | "." | "..");
            if text.split('/').any(odd) {
                let message = format!("`{text}` must be a directory below STATE_DIR, without `..`");
                self.fault(dir.span().start, message);
            }
        }
        texts(dirs)
    }

    fn clean(&mut self, commands: Vec<Spanned<Vec<Spanned<String>>>>) -> Vec<Vec<String>> {
        for command in &commands {
            let (at, words) = (command.span().start, command.get_ref());
            if words
                .first()
                .is_none_or(|program| program.get_ref().is_empty())
            {
                self.fault(at, "a command of `clean` names no program");
            }
            for word in words {
                self.expandable(word.span().start, word.get_ref(), &[], false);
            }
        }
        if let Some(first) = commands.first()
            && self.phases.contains(CLEAN)
        {
            let message =
                format!("no phase can be named `{CLEAN}`: these commands run under that name");
            self.fault(first.span().start, message);
        }
        let commands = commands.into_iter();
        commands.map(|words| texts(words.into_inner())).collect()
    }

    fn source(&mut self, source: Option<SourceTable>) -> (Option<String>, Vec<String>) {
        let Some(source) = source else {
            if !self.faults.is_wrong(0, "source") {
                self.fault(0, "`[source]` is missing");
            }
            return (None, Vec::new());
        };
        if let Some(root) = &source.root {
            self.expandable(root.span().start, root.get_ref(), &[], false);
        }
        let name = source.phase.get_ref();
        if !self.phases.contains(name) {
            let message = format!("there is no phase `{name}`");
            self.fault(source.phase.span().start, message);
        }
        self.source.clone_from(name);
        for glob in &source.repositories {
            self.glob(glob.span().start, glob.get_ref());
        }
        let root = source.root.map(Spanned::into_inner);
        (root, texts(source.repositories))
    }
}

/// Makes the phases that always run and name no need run after all others.
fn last_of_all(phases: &mut [Phase]) {
    let others = phases.iter().filter(|phase| !phase.always);
    let others: Vec<_> = others.map(|phase| phase.name.clone()).collect();
    for phase in phases {
        if phase.always && phase.needs.is_empty() {
            phase.needs.clone_from(&others);
        }
    }
}

fn texts(texts: Vec<Spanned<String>>) -> Vec<String> {
    texts.into_iter().map(Spanned::into_inner).collect()
}
