//! Recipe files and their includes.

use std::collections::BTreeMap;

use camino::Utf8Path;
use stx_layout::RecipeFileRecord;
use stx_layout::config::ConfigErrors;
use stx_pipeline::{Recipe, RecipeFiles};
use stx_publish::incoming::digest_of;

use crate::error::{Error, unusable};

/// The hint of errors in recipes.
pub const RECIPE_FORM: &str = "docs/recipe.md describes the form; `[variables]` of stx-builds.toml, or --set, gives variables their values";

/// Reads a recipe file and the files that it includes.
pub fn recipe_files(file: &Utf8Path) -> Result<RecipeFiles, Error> {
    let text = fs_err::read_to_string(file).map_err(|error| unusable(file, error))?;
    Ok(RecipeFiles::gather(file, text, &mut |included| {
        fs_err::read_to_string(included).map_err(|error| {
            // The message already contains the path.
            let text = error.to_string();
            let why = text.split_once("`: ").map(|(_, why)| why.to_owned());
            why.unwrap_or(text)
        })
    }))
}

/// Reads a recipe file, or lists its mistakes. `values` are the values of its variables.
pub fn recipe_findings(
    file: &Utf8Path,
    values: &BTreeMap<String, String>,
) -> Result<Result<Recipe, ConfigErrors>, Error> {
    Ok(recipe_files(file)?.read(values))
}

/// Reads a recipe file. `values` are the values of its variables.
pub fn read_recipe(file: &Utf8Path, values: &BTreeMap<String, String>) -> Result<Recipe, Error> {
    let recipe = recipe_findings(file, values)?;
    recipe.map_err(|errors| Error::config(errors, RECIPE_FORM))
}

/// The files as the record of a build names them, without the directories of the build server.
pub(super) fn recorded(files: &RecipeFiles, dir: &Utf8Path) -> Vec<RecipeFileRecord> {
    let record = |(file, text): (&Utf8Path, &str)| {
        let below = file.strip_prefix(dir).ok();
        let below = below.filter(|path| !path.as_str().split('/').any(|it| it == ".."));
        let path = below.map_or(file.file_name().unwrap_or_default(), Utf8Path::as_str);
        RecipeFileRecord {
            path: path.to_owned(),
            sha256: digest_of(text.as_bytes()),
        }
    };
    files.iter().map(record).collect()
}
