//! A process as a value.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};
use stx_layout::redact_urls;

pub use crate::scope::is_name;

/// An environment. Names and values are shared, because the phases of a build have most of them in common.
pub type Env = BTreeMap<Arc<str>, Arc<str>>;

/// One process: its program, environment and directory.
///
/// `Display` writes program and arguments as for a shell, without the credentials of URLs, for logs and events. Environment and
/// directory are left to the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// The program: a name to find in the `PATH` of [`env`](Self::env), or a path.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: Env,
    /// The directory it starts in.
    pub dir: Utf8PathBuf,
    /// The file that standard output and error are appended to.
    pub log: Utf8PathBuf,
    /// The most bytes of output that one run adds to the log, from its start and its end; the runner's default if unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_limit: Option<u64>,
    /// The time limit, after which it is ended.
    #[serde(with = "crate::duration_text", default)]
    pub timeout: Option<Duration>,
    /// The time between asking it to end and killing it; the runner's default if unset.
    #[serde(
        with = "crate::duration_text",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub stop_grace: Option<Duration>,
}

impl Invocation {
    /// The variable that is known only once the sources are: seconds since 1970.
    pub const SOURCE_DATE_EPOCH: &'static str = "SOURCE_DATE_EPOCH";

    /// The value of a variable; empty if it has none.
    pub fn variable(&self, name: &str) -> &str {
        self.env.get(name).map_or("", |value| value)
    }

    /// The same process with a value of [`SOURCE_DATE_EPOCH`](Self::SOURCE_DATE_EPOCH), in seconds since 1970.
    #[must_use]
    pub(crate) fn at_source_date(self, seconds: i64) -> Self {
        self.knowing(Self::SOURCE_DATE_EPOCH, &seconds.to_string())
    }

    /// The same process with the value of a variable that is unknown when the build is planned.
    #[must_use]
    pub fn knowing(mut self, name: &str, value: &str) -> Self {
        let unknown = format!("${{{name}}}");
        for text in &mut self.args {
            *text = text.replace(&unknown, value);
        }
        for text in self.env.values_mut() {
            if text.contains(&unknown) {
                *text = text.replace(&unknown, value).into();
            }
        }
        self.env.insert(name.into(), value.into());
        self
    }
}

impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = std::iter::once(&self.program).chain(&self.args);
        // Redact each word before it is quoted: a quotation mark in it would end a URL.
        f.write_str(&shell_words::join(words.map(|word| redact_urls(word))))
    }
}
