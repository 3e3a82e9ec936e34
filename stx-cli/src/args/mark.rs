//! The arguments of `mark`.

use clap::Args;
use stx_layout::Verdict;

#[derive(Debug, Args)]
pub(crate) struct Mark {
    /// `CHANNEL` for its newest good build, `CHANNEL/ALIAS`, `CHANNEL/BUILD-DATE` or the beginning of the date, or the build's URL
    pub(crate) build: String,

    /// The result of its tests
    #[arg(value_name = "green|yellow|red", value_parser = verdict)]
    pub(crate) verdict: Verdict,

    /// Reason for the verdict
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) reason: Option<String>,

    /// Link to the test results
    #[arg(long)]
    pub(crate) url: Option<String>,

    /// Author of the verdict, a person or a test lab [default: your user name]
    #[arg(long, value_name = "NAME", conflicts_with = "spool")]
    pub(crate) by: Option<String>,

    /// Leave the verdict in the spool of the build service, which records it in your name; for members of the build group who cannot write to the mirror
    #[arg(long)]
    pub(crate) spool: bool,
}

fn verdict(text: &str) -> Result<Verdict, String> {
    text.parse()
        .map_err(|_| "expected `green`, `yellow` or `red`".to_owned())
}
