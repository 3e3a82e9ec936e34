//! A recipe file and the files that it includes, read as one.
//!
//! ```text
//! include = ["common.toml"]     relative to the file with this line
//! ```
//! An included file is read before the file that includes it, and each file once. The tables of a later file add keys to those
//! of an earlier file, and replace them. A phase with the name of an earlier phase changes that phase; other phases are
//! appended.

mod merge;
mod questions;

use std::collections::BTreeMap;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use stx_layout::config::{ConfigErrors, Faults, Texts};
use toml::Spanned;
use toml::de::DeValue;

use self::merge::{list, merge};
use super::{Recipe, read};

/// The most files of a recipe.
const MOST_FILES: usize = 100;

/// The texts of a recipe file and of the files that it includes.
#[derive(Debug, Clone, Default)]
pub struct RecipeFiles {
    texts: Texts,
    /// The numbers of the texts, included ones first.
    order: Vec<usize>,
    /// The mistakes in `include`, by offset.
    faults: Vec<(usize, String)>,
}

/// Gathers the files of one recipe.
struct Gathering<'a> {
    files: RecipeFiles,
    load: &'a mut dyn FnMut(&Utf8Path) -> Result<String, String>,
    /// The files that are already included, without `.` and `..`.
    known: Vec<Utf8PathBuf>,
    /// The files that are being read, each included by the one before.
    open: Vec<Utf8PathBuf>,
}

impl RecipeFiles {
    /// A recipe file of this text, with the files that it includes. `load` reads these, or returns the reason that it cannot.
    pub fn gather(
        file: &Utf8Path,
        text: String,
        load: &mut dyn FnMut(&Utf8Path) -> Result<String, String>,
    ) -> Self {
        Self::gathered(Some(file), text, load)
    }

    /// A text without a file name, which cannot include files.
    pub(super) fn of_text(text: &str) -> Self {
        let mut none = |_: &Utf8Path| Err("this text is not a file".to_owned());
        Self::gathered(None, text.to_owned(), &mut none)
    }

    fn gathered(
        file: Option<&Utf8Path>,
        text: String,
        load: &mut dyn FnMut(&Utf8Path) -> Result<String, String>,
    ) -> Self {
        let mut gathering = Gathering {
            files: Self::default(),
            load,
            known: Vec::new(),
            open: Vec::new(),
        };
        gathering.add(file, text);
        gathering.files
    }

    /// The files with their texts, the recipe file itself first.
    pub fn iter(&self) -> impl Iterator<Item = (&Utf8Path, &str)> {
        let files = self.texts.iter();
        files.filter_map(|(file, text)| Some((file?, text)))
    }

    /// Reads the recipe. `values` holds the values of variables that ask for one; values of other variables are ignored.
    ///
    /// # Errors
    /// All mistakes in its files, at once.
    pub fn read(&self, values: &BTreeMap<String, String>) -> Result<Recipe, ConfigErrors> {
        self.read_with(Some(values))
    }

    /// Reads the recipe, with empty values for variables that ask for one. Such a recipe can be shown, but not built.
    ///
    /// # Errors
    /// All mistakes in its files, at once.
    pub fn read_unanswered(&self) -> Result<Recipe, ConfigErrors> {
        self.read_with(None)
    }

    fn read_with(&self, values: Option<&BTreeMap<String, String>>) -> Result<Recipe, ConfigErrors> {
        let mut faults = Faults::default();
        for (at, message) in &self.faults {
            faults.add(*at, message);
        }
        let (mut merged, mut whole) = (None, self.faults.is_empty());
        for number in &self.order {
            let Some(mut table) = self.texts.table(*number, &mut faults) else {
                whole = false;
                continue;
            };
            table.remove("include");
            if *number != 0 {
                let start = self.texts.start(*number);
                schema(start, table.remove("schema").as_ref(), &mut faults);
            }
            match &mut merged {
                None => merged = Some(table),
                Some(merged) => merge(merged, table),
            }
        }
        // If a file is unreadable, further errors would be misleading.
        let merged = merged.filter(|_| whole);
        let recipe = merged.and_then(|table| {
            let end = self.iter().map(|(_, text)| text.len() + 1).sum();
            let table = Spanned::new(0..end, DeValue::Table(table));
            read::read(table, values, &mut faults)
        });
        self.texts.locate(faults).or(recipe)
    }
}

/// Checks the version of an included file.
fn schema(start: usize, schema: Option<&Spanned<DeValue<'_>>>, faults: &mut Faults) {
    let Some(schema) = schema else {
        return faults.missing(start, "schema");
    };
    let known = Recipe::SCHEMA.to_string();
    if !matches!(schema.get_ref(), DeValue::Integer(it) if it.as_str() == known) {
        faults.add(schema.span().start, format!("`schema` must be {known}"));
    }
}

impl Gathering<'_> {
    /// Adds a file after those that it includes.
    fn add(&mut self, file: Option<&Utf8Path>, text: String) {
        let number = self.files.texts.add(file, text);
        let name = plain(file.unwrap_or(Utf8Path::new("")));
        self.known.push(name.clone());
        self.open.push(name);
        let dir = file.and_then(Utf8Path::parent);
        let dir = dir.unwrap_or(Utf8Path::new("")).to_owned();
        for (at, include) in self.includes(number) {
            self.include(at, &dir.join(include));
        }
        self.open.pop();
        self.files.order.push(number);
    }

    /// The paths that a text includes, with their offsets.
    fn includes(&mut self, number: usize) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        // The mistakes of the text are reported when the recipe is read.
        let mut faults = Faults::default();
        let table = self.files.texts.table(number, &mut faults);
        let include = table.and_then(|mut table| table.remove("include"));
        let Some(include) = include else { return found };
        match list(&include) {
            Some(paths) => found.extend(paths),
            None => self.fault(
                include.span().start,
                "`include` must be a list of files".to_owned(),
            ),
        }
        found
    }

    fn include(&mut self, at: usize, file: &Utf8Path) {
        let name = plain(file);
        if let Some(from) = self.open.iter().position(|open| *open == name) {
            let mut circle: Vec<_> = self.open[from..].iter().map(ToString::to_string).collect();
            circle.push(name.into_string());
            let message = format!(
                "files include each other in a circle: {}",
                circle.join(" -> ")
            );
            return self.fault(at, message);
        }
        if self.known.contains(&name) {
            return;
        }
        if self.known.len() == MOST_FILES {
            return self.fault(at, format!("a recipe has at most {MOST_FILES} files"));
        }
        match (self.load)(file) {
            Ok(text) => self.add(Some(file), text),
            Err(reason) => self.fault(at, format!("cannot include {file}: {reason}")),
        }
    }

    fn fault(&mut self, at: usize, message: String) {
        self.files.faults.push((at, message));
    }
}

/// A path without `.`, and without a `..` that follows a name.
fn plain(path: &Utf8Path) -> Utf8PathBuf {
    let mut plain = Utf8PathBuf::new();
    for component in path.components() {
        match component {
            Utf8Component::CurDir => {}
            Utf8Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            Utf8Component::ParentDir
            | Utf8Component::Normal(_)
            | Utf8Component::RootDir
            | Utf8Component::Prefix(_) => plain.push(component),
        }
    }
    plain
}

#[cfg(test)]
mod tests;
