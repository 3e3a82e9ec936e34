//! Finds and redacts traces of the build server in texts: host names, addresses, accounts, secrets.
//!
//! ```text
//! Identity* ──> Privacy ──┬─ Search ──> Findings        (text is refused)
//!                         └─ Search ──> redacted text   (logs are redacted)
//! ```
//!
//! # Findings
//! | item | is found |
//! |---|---|
//! | a distinctive name of the machine | anywhere, unless a letter or digit touches it |
//! | a name of the machine that is a plain word | only after `account@` and `://` |
//! | a configured name | anywhere if it is distinctive, otherwise where no letter, digit, `-` or `_` touches it |
//! | an IPv4 address | unless a letter, a digit, or a dot and a digit touches it |
//! | an IPv6 address | in its short, long and padded form, unless more of an address touches it |
//! | an account | before `@` and a name or an address of the machine, up to 128 bytes |
//! | `BUILD_HOST` | the value after `BUILD_HOST=` or `BUILD_HOST:`, unless it is empty, a variable, or `localhost` |
//! | a secret | its exact bytes anywhere, also percent-encoded as in a URL; one of several lines line by line |
//!
//! In logs, userinfo and query of every URL are always replaced, too: see [`redact_urls`](stx_layout::redact_urls). Other texts may
//! contain them.
//!
//! Names are found in either case, together with the domain that follows them. A name is *distinctive* if it has a dot, or at
//! least four characters, a digit or a hyphen, and a word that is not that of an operating system or an architecture:
//! `yow-lab7` is, `build`, `vm` and `debian-12` are not. `localhost`, loopback and unspecified addresses, and the default
//! addresses of docker, libvirt and QEMU (`172.17.0.1`, `192.168.122.1`, `10.0.2.15`) identify no machine and are not searched
//! for.
//!
//! ```
//! use stx_publish::privacy::{Identity, Privacy};
//!
//! let privacy = Privacy::new([Identity::machine("yow-lab7"), Identity::machine("build")], []).unwrap();
//! let (text, findings) = privacy.redact(b"jenkins@yow-lab7.example.com: rpmbuild of build-tools on yow-lab7");
//! assert_eq!(text, b"[redacted account]: rpmbuild of build-tools on [redacted host]");
//! assert_eq!(findings.total(), 2);
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use aho_corasick::AhoCorasick;
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize, Serializer};
use stx_layout::{BuildPath, REDACTED, printable};

mod content;
mod rules;
mod search;
mod stretch;
#[cfg(test)]
mod tests;
#[cfg(feature = "local")]
pub(crate) mod urls;

#[cfg(feature = "local")]
pub(crate) use content::HEAD;
pub use content::{Content, is_log};
pub use search::Search;

use rules::{Pattern, Rule};

/// A shorter secret would be found everywhere.
const SHORTEST_SECRET: usize = 6;

/// Data that identifies the build server, or a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Identity {
    /// A name of the machine, with or without its domain. A plain word is only found at places where it must be a host name.
    Machine(String),
    /// A configured name, which is found anywhere.
    Host(String),
    /// An address of the machine.
    Address(IpAddr),
    /// Bytes that must not be published.
    Secret {
        /// Its name in reports.
        label: String,
        /// The bytes.
        value: Vec<u8>,
    },
}

impl Identity {
    /// A name of the machine.
    pub fn machine(name: &str) -> Self {
        Self::Machine(name.to_owned())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(name) => f.debug_tuple("Machine").field(name).finish(),
            Self::Host(name) => f.debug_tuple("Host").field(name).finish(),
            Self::Address(address) => f.debug_tuple("Address").field(address).finish(),
            // The bytes are never printed.
            Self::Secret { label, .. } => f.debug_tuple("Secret").field(label).finish(),
        }
    }
}

/// The kind of private data that was found, without the data itself, so that it can be printed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Private {
    /// An account on the build server, with the server's name.
    Account,
    /// An address of the build server.
    Address,
    /// A name of the build server.
    Host,
    /// The value of `BUILD_HOST`.
    BuildHost,
    /// A secret, by its label.
    Secret(String),
    /// The userinfo or query of a URL, which may give access to its target.
    Url,
}

impl Private {
    /// The text that replaces such data in a redacted text.
    pub fn replacement(&self) -> &'static [u8] {
        match self {
            Self::Account => b"[redacted account]",
            Self::Address => b"[redacted address]",
            Self::Host => b"[redacted host]",
            Self::BuildHost => b"[redacted build host]",
            Self::Secret(_) => b"[redacted secret]",
            Self::Url => REDACTED.as_bytes(),
        }
    }
}

impl fmt::Display for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account => f.write_str("account"),
            Self::Address => f.write_str("address"),
            Self::Host => f.write_str("host"),
            Self::BuildHost => f.write_str("build host"),
            Self::Secret(label) => write!(f, "secret {label}"),
            Self::Url => f.write_str("credential in a URL"),
        }
    }
}

impl Serialize for Private {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The number of findings of one kind, and the first lines.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Occurrences {
    /// The number of findings.
    pub count: u64,
    /// The first lines, counted from 1, without duplicates.
    pub lines: Vec<u64>,
}

/// The private data found in one text, by kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Findings(pub BTreeMap<Private, Occurrences>);

impl Findings {
    /// The number of lines that are named.
    const NAMED: usize = 5;

    /// The number of all findings.
    pub fn total(&self) -> u64 {
        self.0.values().map(|seen| seen.count).sum()
    }

    /// True if nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These findings together with those of `other`, which must be of other kinds.
    #[cfg(feature = "local")]
    pub(crate) fn with(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    fn add(&mut self, what: &Private, line: u64) {
        let seen = self.0.entry(what.clone()).or_default();
        seen.count += 1;
        if seen.lines.len() < Self::NAMED && seen.lines.last() != Some(&line) {
            seen.lines.push(line);
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self
            .0
            .iter()
            .map(|(what, seen)| format!("{} × {what}", seen.count))
            .collect();
        f.write_str(&all.join(", "))
    }
}

/// The result of searching a build for private data.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PrivacyReport {
    /// The number of searched files.
    pub searched: u64,
    /// The private data that was redacted, by log.
    pub redacted: BTreeMap<BuildPath, Findings>,
    /// The findings in packages that are published anyway, by package and by the file in it: `/etc/build.info`,
    /// `DEBIAN/postinst`, `(header)`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub packages: BTreeMap<BuildPath, BTreeMap<String, Findings>>,
    /// Texts that could not be searched, with the reason.
    pub unsearched: BTreeMap<BuildPath, String>,
    /// Files that were not searched because the configuration allows them.
    pub allowed: BTreeSet<BuildPath>,
    /// The reason why nothing was searched; absent if a search was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

impl fmt::Display for PrivacyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, findings) in &self.redacted {
            writeln!(f, "redacted in {path}: {findings}")?;
        }
        for (path, files) in &self.packages {
            for (file, findings) in files {
                let file = printable(file);
                writeln!(f, "found in the package {path}, in {file}: {findings}")?;
            }
        }
        for (path, reason) in &self.unsearched {
            writeln!(f, "not searched: {path}: {reason}")?;
        }
        for path in &self.allowed {
            writeln!(f, "not searched, allowed: {path}")?;
        }
        Ok(())
    }
}

/// The action on private data inside a package, whose bytes cannot be redacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageSearch {
    /// The package is refused.
    Refuse,
    /// The package is published, and the report names the files.
    #[default]
    Report,
    /// Packages are not unpacked.
    Off,
}

/// Identities that cannot be searched for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivacyError {
    /// The secret is so short that it would be found everywhere.
    #[error("secret {label}: shorter than {SHORTEST_SECRET} bytes, or all of its lines are")]
    ShortSecret {
        /// The label of the secret.
        label: String,
    },
    /// The text is not a host name.
    #[error("host {name:?}: not the name of a host that can be told from others")]
    Host {
        /// The name.
        name: String,
    },
    /// A glob that cannot be parsed.
    #[error("allow {glob:?}: cannot be understood")]
    Glob {
        /// The glob.
        glob: String,
        /// The error that caused it.
        source: globset::Error,
    },
    /// There are too many patterns.
    #[error("too many or too long names and secrets")]
    Size(#[from] aho_corasick::BuildError),
}

/// The patterns to search for, compiled.
#[derive(Clone)]
pub struct Privacy {
    automaton: AhoCorasick,
    patterns: Vec<Pattern>,
    /// The longest pattern, in bytes.
    longest: usize,
    allow: GlobSet,
    plain: BTreeSet<String>,
    packages: PackageSearch,
}

impl fmt::Debug for Privacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Privacy")
            .field("patterns", &self.patterns.len())
            .finish_non_exhaustive()
    }
}

impl Privacy {
    /// Searches for `identities` and for `BUILD_HOST` in every file that matches none of the globs `allow`.
    pub fn new(
        identities: impl IntoIterator<Item = Identity>,
        allow: impl IntoIterator<Item = String>,
    ) -> Result<Self, PrivacyError> {
        let mut patterns = vec![Pattern::assignment()];
        let mut plain = BTreeSet::new();
        for identity in identities {
            match identity {
                Identity::Machine(name) => {
                    let of_name = Pattern::of_machine(&name);
                    plain.extend(
                        of_name
                            .iter()
                            .filter(|pattern| pattern.rule == Rule::Position)
                            .map(Pattern::shown),
                    );
                    patterns.extend(of_name);
                }
                Identity::Host(name) => match Pattern::of_host(&name) {
                    Some(pattern) => patterns.push(pattern),
                    None => return Err(PrivacyError::Host { name }),
                },
                Identity::Address(address) => patterns.extend(Pattern::of_address(address)),
                Identity::Secret { label, value } => {
                    let of_secret = Pattern::of_secret(&label, &value);
                    if of_secret.is_empty() {
                        return Err(PrivacyError::ShortSecret { label });
                    }
                    patterns.extend(of_secret);
                }
            }
        }
        patterns.sort_by(|a, b| (&a.text, &a.what, &a.rule).cmp(&(&b.text, &b.what, &b.rule)));
        patterns.dedup();
        let wide: BTreeSet<_> = patterns
            .iter()
            .filter(|pattern| pattern.rule != Rule::Position)
            .map(Pattern::shown)
            .collect();
        plain.retain(|name| !wide.contains(name));
        let mut globs = GlobSetBuilder::new();
        for glob in allow {
            globs.add(Glob::new(&glob).map_err(|source| PrivacyError::Glob { glob, source })?);
        }
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(patterns.iter().map(|pattern| &pattern.text))?;
        let longest = patterns.iter().map(|pattern| pattern.text.len()).max();
        Ok(Self {
            automaton,
            longest: longest.unwrap_or(0),
            patterns,
            allow: globs.build().map_err(|source| PrivacyError::Glob {
                glob: String::new(),
                source,
            })?,
            plain,
            packages: PackageSearch::default(),
        })
    }

    /// The same with another action on findings inside packages.
    #[must_use]
    pub fn with_packages(mut self, packages: PackageSearch) -> Self {
        self.packages = packages;
        self
    }

    /// The action on findings inside packages.
    pub fn packages(&self) -> PackageSearch {
        self.packages
    }

    /// True if a file may be published without a search.
    pub fn allows(&self, path: &BuildPath) -> bool {
        self.allow.is_match(path.as_str())
    }

    /// Names of the machine that are plain words, and are only found after `account@` and `://`.
    pub fn plain_names(&self) -> &BTreeSet<String> {
        &self.plain
    }

    /// True if `name`, as a whole or up to its first dot, is a name of the build server.
    pub fn is_host(&self, name: &str) -> bool {
        let short = name.split('.').next().unwrap_or(name);
        self.patterns
            .iter()
            .filter(|pattern| pattern.rule.is_name())
            .any(|pattern| {
                [name, short]
                    .iter()
                    .any(|name| name.as_bytes().eq_ignore_ascii_case(&pattern.text))
            })
    }

    /// Finds private data in a text in memory.
    pub fn find(&self, text: &[u8]) -> Findings {
        let mut search = Search::new(self);
        search.push(text, |_| {});
        search.finish(|_| {})
    }

    /// Redacts a text in memory, and returns the findings.
    pub fn redact(&self, text: &[u8]) -> (Vec<u8>, Findings) {
        let mut redacted = Vec::with_capacity(text.len());
        let mut search = Search::new(self);
        search.push(text, |piece| redacted.extend_from_slice(piece));
        let findings = search.finish(|piece| redacted.extend_from_slice(piece));
        (redacted, findings)
    }
}
