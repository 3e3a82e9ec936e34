//! The first configuration.

use camino::Utf8PathBuf;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Directory for the configuration, made if it does not exist
    #[arg(default_value = ".")]
    pub(crate) dir: Utf8PathBuf,

    /// Ask nothing: take the defaults, and the answers of --set
    #[arg(long)]
    pub(crate) yes: bool,

    /// Answer a question: mirror, state, distro, recipe, branch, schedule, keep, newest, signing, key, builder, or variables.NAME for a value that the recipe asks for; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = answer)]
    pub(crate) set: Vec<(String, String)>,
}

fn answer(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
