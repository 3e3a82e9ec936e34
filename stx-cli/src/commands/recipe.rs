//! `recipe check` and `recipe graph`.

use camino::Utf8PathBuf;
use serde::Serialize;
use stx_builds::Error;
use stx_layout::config::{ConfigError, Position};
use stx_layout::counted;
use stx_pipeline::recipe;

use super::Context;
use crate::args::{Drawing, RecipeCheck, RecipeGraph};
use crate::exit::Failure;
use crate::output;
use stx_builds::build::{RECIPE_FORM, recipe_files};

/// The output of `recipe check`.
#[derive(Debug, Serialize)]
struct Checked {
    file: Utf8PathBuf,
    /// The files that the recipe includes.
    includes: Vec<Utf8PathBuf>,
    /// The recipe's name; null if the file is not a recipe.
    name: Option<String>,
    phases: usize,
    findings: Vec<Finding>,
}

/// One mistake.
#[derive(Debug, Serialize)]
struct Finding {
    file: Option<Utf8PathBuf>,
    message: String,
    #[serde(flatten)]
    at: Option<Position>,
}

pub(crate) fn check(context: &Context, args: &RecipeCheck) -> Result<(), Failure> {
    let file = &args.file;
    let mut lines = Vec::new();
    let files = recipe_files(file)?;
    let includes = files.iter().skip(1).map(|(file, _)| file.to_owned());
    let includes = includes.collect();
    let mut values = context.site.options.variables.clone();
    values.extend(args.set.iter().cloned());
    let checked = match files.read(&values) {
        Ok(recipe) => Checked {
            file: file.clone(),
            includes,
            name: Some(recipe.name),
            phases: recipe.phases.len(),
            findings: Vec::new(),
        },
        Err(errors) => {
            lines.extend(errors.iter().map(|error| format!("{error}\n")));
            let finding = |ConfigError { file, at, message }| Finding { file, message, at };
            Checked {
                file: file.clone(),
                includes,
                name: None,
                phases: 0,
                findings: errors.into_iter().map(finding).collect(),
            }
        }
    };
    output::print(context.format(), &checked, || {
        if let Some(name) = &checked.name {
            let phases = counted(checked.phases, "phase");
            return format!("{file}: recipe {name}, {phases}");
        }
        lines.concat()
    })?;
    match checked.findings.len() {
        0 => Ok(()),
        count => {
            Err(Failure::usage(format!("{file}: {}", counted(count, "mistake"))).hint(RECIPE_FORM))
        }
    }
}

pub(crate) fn graph(context: &Context, args: &RecipeGraph) -> Result<(), Failure> {
    let recipe = recipe_files(&args.file)?.read_unanswered();
    let recipe = recipe.map_err(|errors| Error::config(errors, RECIPE_FORM))?;
    let text = match args.drawing {
        Drawing::Mermaid => recipe::mermaid(&recipe),
        Drawing::Dot => recipe::dot(&recipe),
    };
    output::print(context.format(), &recipe::edges(&recipe), || text)
}
