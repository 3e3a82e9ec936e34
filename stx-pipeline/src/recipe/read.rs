//! Reading a recipe, mistake by mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use globset::GlobBuilder;
use stx_layout::{Arch, BuildPath, Codename, Platform};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Command, Finding, Phase, Publish, Recipe, RecipeError, Tool};
use crate::scope::{Part, Scope, is_name, parts};

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
    pub(crate) fn at(text: &str, at: usize, message: String) -> Self {
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
    /// What `${NAME}` may name anywhere.
    known: BTreeSet<String>,
    phases: BTreeSet<String>,
    source: String,
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

    fn keys(&mut self, table: &DeTable<'_>, known: &[&str]) {
        for key in table.keys() {
            if !known.contains(&key.get_ref().as_ref()) {
                self.fault(
                    key.span().start,
                    format!(
                        "unknown key `{}`, expected one of {}",
                        key.get_ref(),
                        known.join(", ")
                    ),
                );
            }
        }
    }

    fn wrong(&mut self, value: &Value<'_>, key: &str, expected: &str) {
        self.fault(value.span().start, format!("`{key}` has to be {expected}"));
    }

    fn text(&mut self, table: &DeTable<'_>, key: &str) -> Option<(usize, String)> {
        let value = get(table, key)?;
        if let DeValue::String(text) = value.get_ref() {
            Some((value.span().start, text.clone().into_owned()))
        } else {
            self.wrong(value, key, "a text");
            None
        }
    }

    fn needed(&mut self, table: &DeTable<'_>, at: usize, key: &str) -> Option<(usize, String)> {
        if get(table, key).is_none() {
            self.fault(at, format!("`{key}` is missing"));
        }
        self.text(table, key)
    }

    fn texts(&mut self, table: &DeTable<'_>, key: &str) -> Option<Vec<(usize, String)>> {
        let value = get(table, key)?;
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(value, key, "a list of texts");
            return None;
        };
        let mut texts = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => texts.push((item.span().start, text.clone().into_owned())),
                _ => self.wrong(item, key, "a list of texts"),
            }
        }
        Some(texts)
    }

    fn parsed<T: FromStr<Err: Display>>(&mut self, text: Option<(usize, String)>) -> Option<T> {
        let (at, text) = text?;
        text.parse().map_err(|error| self.fault(at, error)).ok()
    }

    fn number<T: FromStr>(&mut self, table: &DeTable<'_>, key: &str, expected: &str) -> Option<T> {
        let value = get(table, key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            _ => None,
        };
        if number.is_none() {
            self.wrong(value, key, expected);
        }
        number
    }

    fn duration(&mut self, table: &DeTable<'_>, key: &str) -> Option<Duration> {
        let (at, text) = self.text(table, key)?;
        match humantime::parse_duration(&text) {
            Ok(duration) if !duration.is_zero() => return Some(duration),
            Ok(_) => self.fault(at, format!("`{key}` has to be longer than nothing")),
            Err(error) => self.fault(at, format!("`{key}` is no duration such as `90m`: {error}")),
        }
        None
    }

    fn table<'a, 't>(&mut self, table: &'a DeTable<'t>, key: &str) -> Option<&'a DeTable<'t>> {
        let value = get(table, key)?;
        if let DeValue::Table(table) = value.get_ref() {
            Some(table)
        } else {
            self.wrong(value, key, "a table");
            None
        }
    }

    fn tables<'a, 't>(
        &mut self,
        table: &'a DeTable<'t>,
        key: &str,
    ) -> Vec<(usize, &'a DeTable<'t>)> {
        let Some(value) = get(table, key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(value, key, "a list of tables");
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::Table(table) => tables.push((item.span().start, table)),
                _ => self.wrong(item, key, "a list of tables"),
            }
        }
        tables
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
            if let Some((at, name)) = self.needed(table, *at, "name") {
                let bytes = name.as_bytes();
                if !bytes.first().is_some_and(u8::is_ascii_alphanumeric)
                    || !bytes.iter().all(|byte| {
                        byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-'
                    })
                {
                    self.fault(
                        at,
                        format!("phase name `{name}` has to be of the form [a-z0-9][a-z0-9-]*"),
                    );
                }
                if !self.phases.insert(name.clone()) {
                    self.fault(at, format!("there is a phase `{name}` already"));
                }
            }
        }
        let repositories = self.source(root);
        let mut edges = Vec::new();
        let phases: Vec<_> = tables
            .into_iter()
            .filter_map(|(at, table)| self.phase(at, table, &variables, &mut edges))
            .collect();
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

    fn assignments(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
    ) -> Vec<(usize, String, usize, String)> {
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

    fn variables(&mut self, root: &DeTable<'_>) -> BTreeMap<String, String> {
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
    fn circular(
        &mut self,
        found: &[(usize, String, usize, String)],
        layers: &[&BTreeMap<String, String>],
    ) {
        let base = Recipe::RESERVED
            .iter()
            .chain(&Recipe::INHERITED)
            .map(|name| ((*name).to_owned(), String::new()))
            .collect();
        let mut all = vec![&base];
        all.extend(layers);
        for (_, name, at, _) in found {
            let fault = Scope { layers: &all }.expand(&format!("${{{name}}}"));
            match fault {
                Err(fault @ crate::scope::ScopeFault::Cycle { .. }) => self.fault(*at, fault),
                // A name that stands only for itself has no value below it.
                Err(fault @ crate::scope::ScopeFault::Unknown { .. })
                    if self
                        .faults
                        .iter()
                        .all(|(_, said)| !said.starts_with(&fault.to_string())) =>
                {
                    self.fault(*at, fault);
                }
                Err(_) | Ok(_) => {}
            }
        }
    }

    /// Checks the `${NAME}`s of a text.
    fn expandable(&mut self, at: usize, text: &str, more: &[String], epoch: bool) {
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

    fn glob(&mut self, at: usize, glob: &str) {
        let plain: String = parts(glob)
            .unwrap_or_default()
            .into_iter()
            .map(|part| match part {
                Part::Text(text) => text,
                Part::Variable(_) => "x",
            })
            .collect();
        if let Err(error) = GlobBuilder::new(&plain).literal_separator(true).build() {
            self.fault(at, format!("bad glob: {error}"));
        }
        if plain.is_empty()
            || plain.starts_with('/')
            || plain.ends_with('/')
            || plain.split('/').any(|segment| segment == "..")
        {
            self.fault(
                at,
                format!("bad glob `{glob}`: it has to be relative, without `..`, and name files"),
            );
        }
    }

    fn phase(
        &mut self,
        at: usize,
        table: &DeTable<'_>,
        variables: &BTreeMap<String, String>,
        edges: &mut Vec<(String, usize, String)>,
    ) -> Option<Phase> {
        self.keys(
            table,
            &[
                "name", "run", "script", "dir", "timeout", "retries", "env", "needs", "required",
                "publish",
            ],
        );
        let (name_at, name) = self.text(table, "name")?;
        let is_source = name == self.source;
        let assigned = self.assignments(table, "env");
        let names: Vec<_> = assigned
            .iter()
            .map(|(_, name, _, _)| name.clone())
            .collect();
        for (_, _, at, text) in &assigned {
            self.expandable(*at, text, &names, !is_source);
        }
        let env = assigned
            .iter()
            .map(|(_, name, _, text)| (name.clone(), text.clone()))
            .collect();
        self.circular(&assigned, &[variables, &env]);
        let run = self.texts(table, "run");
        let script = self.text(table, "script");
        for (at, text) in run.iter().flatten() {
            self.expandable(*at, text, &names, !is_source);
        }
        let command = match (run, script) {
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
        };
        let dir = self.text(table, "dir");
        if let Some((at, dir)) = &dir {
            self.expandable(*at, dir, &names, false);
        }
        let mut needs = Vec::new();
        for (at, need) in self.texts(table, "needs").unwrap_or_default() {
            if is_source {
                self.fault(
                    at,
                    "the source phase comes before every other and needs none",
                );
            } else if !self.phases.contains(&need) {
                self.fault(at, format!("there is no phase `{need}`"));
            } else {
                edges.push((name.clone(), at, need.clone()));
                needs.push(need);
            }
        }
        let required = match get(table, "required") {
            None => true,
            Some(value) => match value.get_ref() {
                DeValue::Boolean(false) if is_source => {
                    self.wrong(value, "required", "true for the source phase");
                    true
                }
                DeValue::Boolean(required) => *required,
                _ => {
                    self.wrong(value, "required", "true or false");
                    true
                }
            },
        };
        let publish = self
            .tables(table, "publish")
            .into_iter()
            .filter_map(|(at, table)| self.publish(at, table, &names))
            .collect();
        Some(Phase {
            name,
            command: command?,
            dir: dir.map(|(_, text)| text),
            timeout: self.duration(table, "timeout"),
            retries: self
                .number(table, "retries", "a number from 0")
                .unwrap_or(0),
            env,
            needs,
            required,
            publish,
        })
    }

    fn publish(&mut self, at: usize, table: &DeTable<'_>, names: &[String]) -> Option<Publish> {
        self.keys(table, &["from", "except", "to", "min"]);
        let from = self.needed(table, at, "from");
        if let Some((at, from)) = &from {
            self.expandable(*at, from, names, false);
            self.glob(*at, from);
        }
        let except = self.texts(table, "except").unwrap_or_default();
        for (at, glob) in &except {
            self.glob(*at, glob);
        }
        let to = self.needed(table, at, "to");
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
        Some(Publish {
            from: from?.1,
            except: except.into_iter().map(|(_, glob)| glob).collect(),
            to: to?,
            min,
        })
    }

    /// Reports each circle of needs once, where the entry stands that closes it.
    fn circles(&mut self, edges: &[(String, usize, String)]) {
        let mut done = BTreeSet::new();
        for (start, _, _) in edges {
            let mut path = Vec::new();
            self.follow(start, edges, &mut path, &mut done);
        }
    }

    fn follow<'e>(
        &mut self,
        name: &'e str,
        edges: &'e [(String, usize, String)],
        path: &mut Vec<&'e str>,
        done: &mut BTreeSet<&'e str>,
    ) {
        if done.contains(name) {
            return;
        }
        path.push(name);
        for (_, at, need) in edges.iter().filter(|(of, _, _)| of == name) {
            if let Some(start) = path.iter().position(|on| on == need) {
                self.fault(
                    *at,
                    format!(
                        "phases need each other in a circle: {} -> {need}",
                        path[start..].join(" -> ")
                    ),
                );
            } else {
                self.follow(need, edges, path, done);
            }
        }
        path.pop();
        done.insert(name);
    }
}
