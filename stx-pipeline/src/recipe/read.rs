//! Reading a recipe, mistake by mistake.

mod globs;
mod graph;
mod matrix;
mod phase;
mod values;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use stx_layout::{Arch, Codename, Platform};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::graph::Edge;
use self::matrix::cells;
use super::{Finding, Recipe, RecipeError, Tool};

type Value<'t> = Spanned<DeValue<'t>>;

pub(super) fn read(text: &str) -> Result<Recipe, RecipeError> {
    let mut reader = Reader::default();
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        reader.fault(error.span().map_or(0, |span| span.start), error.message());
    }
    // A text that is not TOML would only be misread further.
    let recipe = if reader.faults.is_empty() {
        reader.recipe(document.get_ref())
    } else {
        None
    };
    reader.faults.sort();
    reader.faults.dedup();
    match recipe {
        Some(recipe) if reader.faults.is_empty() => Ok(recipe),
        Some(_) | None => Err(RecipeError {
            findings: reader
                .faults
                .into_iter()
                .map(|(at, message)| Finding::at(text, at, message))
                .collect(),
        }),
    }
}

impl Finding {
    /// A mistake at a byte offset of `text`.
    pub fn at(text: &str, at: usize, message: String) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            message,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

#[derive(Default)]
struct Reader {
    faults: Vec<(usize, String)>,
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

fn get<'a, 't>(table: &'a DeTable<'t>, key: &str) -> Option<&'a Value<'t>> {
    table
        .iter()
        .find(|(name, _)| name.get_ref() == key)
        .map(|(_, value)| value)
}

impl Reader {
    fn fault(&mut self, at: usize, message: impl Display) {
        self.faults.push((at, message.to_string()));
    }

    fn recipe(&mut self, root: &DeTable<'_>) -> Option<Recipe> {
        self.keys(
            root,
            &[
                "schema",
                "name",
                "description",
                "distro",
                "codename",
                "arch",
                "layer",
                "timeout",
                "jobs",
                "log_limit",
                "inherit",
                "tools",
                "variables",
                "source",
                "phase",
            ],
        );
        match get(root, "schema") {
            None => self.fault(0, "`schema` is missing"),
            Some(value) => {
                if self.number::<i64>(root, "schema", "1") != Some(Recipe::SCHEMA) {
                    self.wrong(value, "schema", "1");
                }
            }
        }
        let name = self.needed(root, 0, "name");
        if let Some((at, text)) = &name
            && text.parse::<stx_layout::Name>().is_err()
        {
            self.fault(*at, "`name` has to be one word without `/`");
        }
        let distro = self.needed(root, 0, "distro");
        let distro = self.parsed(distro);
        let layer = self.text(root, "layer");
        let (codename, arch) = (self.text(root, "codename"), self.text(root, "arch"));
        if let (Some((at, _)), None) | (None, Some((at, _))) = (&codename, &arch) {
            self.fault(*at, "`codename` and `arch` go together");
        }
        let codename: Option<Codename> = self.parsed(codename);
        let arch: Option<Arch> = self.parsed(arch);
        let jobs = self.number::<usize>(root, "jobs", "a number from 1");
        if jobs == Some(0)
            && let Some(value) = get(root, "jobs")
        {
            self.wrong(value, "jobs", "a number from 1");
        }
        let variables = self.variables(root);
        let tools = self.tools(root);
        let tables = self.tables(root, "phase");
        if tables.is_empty() {
            self.fault(0, "there is no `[[phase]]`");
        }
        for (at, table) in &tables {
            self.declare(*at, table);
        }
        let repositories = self.source(root);
        let log_limit = self.bytes(root, "log_limit");
        let inherit = self.inherit(root, &variables);
        let mut edges: Vec<Edge> = Vec::new();
        let mut phases = Vec::new();
        for (at, table) in tables {
            for cell in cells(table) {
                phases.extend(self.phase(at, table, &cell, &variables, log_limit, &mut edges));
            }
        }
        self.circles(&edges);
        let timeout = self.duration(root, "timeout");
        Some(Recipe {
            name: name?.1,
            description: self.text(root, "description").map(|(_, text)| text),
            distro: distro?,
            platform: codename
                .zip(arch)
                .map(|(codename, arch)| Platform { codename, arch }),
            layer: self.parsed(layer),
            timeout,
            jobs,
            tools,
            inherit,
            variables,
            source_phase: self.source.clone(),
            repositories,
            phases,
        })
    }

    fn source(&mut self, root: &DeTable<'_>) -> Vec<String> {
        let Some(source) = self.table(root, "source") else {
            if get(root, "source").is_none() {
                self.fault(0, "`[source]` is missing");
            }
            return Vec::new();
        };
        self.keys(source, &["phase", "repositories"]);
        let at = get(root, "source").map_or(0, |value| value.span().start);
        if let Some((at, name)) = self.needed(source, at, "phase") {
            if !self.phases.contains(&name) {
                self.fault(at, format!("there is no phase `{name}`"));
            }
            self.source = name;
        }
        let globs = self.texts(source, "repositories").unwrap_or_default();
        for (at, glob) in &globs {
            self.glob(*at, glob);
        }
        globs.into_iter().map(|(_, glob)| glob).collect()
    }

    fn tools(&mut self, root: &DeTable<'_>) -> BTreeMap<String, Tool> {
        let mut tools = BTreeMap::new();
        let Some(table) = self.table(root, "tools") else {
            return tools;
        };
        for (key, value) in table {
            let program = key.get_ref().clone().into_owned();
            match value.get_ref() {
                DeValue::String(package) => {
                    let (apt, dnf) = (package.clone().into_owned(), package.clone().into_owned());
                    tools.insert(program, Tool { apt, dnf });
                }
                DeValue::Table(packages) => {
                    self.keys(packages, &["apt", "dnf"]);
                    let apt = self.text(packages, "apt").map(|(_, text)| text);
                    let dnf = self.text(packages, "dnf").map(|(_, text)| text);
                    match apt.clone().or_else(|| dnf.clone()) {
                        None => self.wrong(value, &program, "a package, or { apt = …, dnf = … }"),
                        Some(either) => {
                            let tool = Tool {
                                apt: apt.unwrap_or_else(|| either.clone()),
                                dnf: dnf.unwrap_or(either),
                            };
                            tools.insert(program, tool);
                        }
                    }
                }
                _ => self.wrong(value, &program, "a package, or { apt = …, dnf = … }"),
            }
        }
        tools
    }
}
