//! The statement about a build: an in-toto statement v1 whose predicate is SLSA provenance v1.
//!
//! The forms are those of <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md> and
//! <https://slsa.dev/spec/v1.1/provenance>. Unknown fields are ignored, as both demand of readers.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SubsecRound as _, Utc};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use stx_layout::derived::Repositories;
use stx_layout::{BuildRecord, Origin, RecipeFileRecord, Sha256, SourceRecord, Sums, encode_path};
use stx_publish::plan::ORIGIN;

/// The type of every in-toto statement v1.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// The predicate type of SLSA provenance v1.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// The build type of a build that this program ran by a recipe. It is a name; `docs/provenance.md` defines it.
pub const BUILT: &str = "https://starlingx.io/stx-builds/build/v1";

/// The build type of a finished tree that was published; its builder is unknown. It is a name, like [`BUILT`].
pub const PUBLISHED: &str = "https://starlingx.io/stx-builds/publish/v1";

/// The build type of a promoted build: the bytes are those of another build, whose own provenance is in [`ORIGIN`]. It is a name,
/// like [`BUILT`].
pub const PROMOTED: &str = "https://starlingx.io/stx-builds/promote/v1";

/// The builder: a URI that names it to readers who decide on their trust in it.
///
/// ```
/// # use stx_trust::provenance::BuilderId;
/// assert!("https://builds.example.org/stx/v1".parse::<BuilderId>().is_ok());
/// assert!("our build server".parse::<BuilderId>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuilderId(String);

impl BuilderId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for BuilderId {
    /// The builder that has no configured name.
    fn default() -> Self {
        Self("https://starlingx.io/stx-builds/unnamed-builder".to_owned())
    }
}

impl fmt::Display for BuilderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A builder's name that is not a URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}: a builder is named by a URI, such as https://builds.example.org/stx/v1")]
#[non_exhaustive]
pub struct BuilderIdError {
    /// The text.
    pub text: String,
}

impl FromStr for BuilderId {
    type Err = BuilderIdError;

    fn from_str(text: &str) -> Result<Self, BuilderIdError> {
        let scheme = text.split_once(':').filter(|(scheme, rest)| {
            let mut bytes = scheme.bytes();
            bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte))
                && !rest.is_empty()
        });
        let plain = text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte));
        if scheme.is_some() && plain {
            return Ok(Self(text.to_owned()));
        }
        Err(BuilderIdError {
            text: text.to_owned(),
        })
    }
}

/// The builder of a build, and its parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Builder {
    /// Its name.
    pub id: BuilderId,
    /// The versions of its parts.
    pub version: BTreeMap<String, String>,
}

/// An in-toto statement v1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// Its subject: the outputs of the build by their paths in it, and its container images by their names.
    pub subject: Vec<Resource>,
    /// [`PREDICATE_TYPE`].
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// The provenance of these subjects.
    pub predicate: Predicate,
}

/// SLSA provenance v1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Predicate {
    /// The inputs of the build: the request, and the sources and files that it was made from.
    pub build_definition: BuildDefinition,
    /// The builder and the times of the build.
    pub run_details: RunDetails,
}

/// The inputs of the build: the request, and the sources and files that it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// [`BUILT`], [`PUBLISHED`] or [`PROMOTED`].
    pub build_type: String,
    /// The parameters of the request.
    pub external_parameters: ExternalParameters,
    /// The parameters that the builder chose.
    #[serde(default, skip_serializing_if = "InternalParameters::is_empty")]
    pub internal_parameters: InternalParameters,
    /// The commits of the sources by their paths in the source tree, then the `SHA256SUMS` of the build below by its path on the
    /// mirror, then the files of `inputs/` by their paths in the build; for a promoted build, also those of [`ORIGIN`].
    #[serde(default)]
    pub resolved_dependencies: Vec<Resource>,
}

/// The parameters of the request to build.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalParameters {
    /// The channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The git branch or tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The recipe's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// The reason for the build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The build that was promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_from: Option<String>,
    /// The person or program that promoted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_by: Option<String>,
    /// The reason for the promotion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_for: Option<String>,
}

/// The parameters that the builder chose, beyond the request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InternalParameters {
    /// The phases whose files later phases could read over HTTP while the build ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previewed_phases: Vec<String>,
}

impl InternalParameters {
    fn is_empty(&self) -> bool {
        self.previewed_phases.is_empty()
    }
}

/// The builder and the times of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDetails {
    /// The builder.
    pub builder: BuilderDetails,
    /// The build and its times.
    pub metadata: RunMetadata,
}

/// The builder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuilderDetails {
    /// The URI that names it.
    pub id: String,
    /// The versions of its parts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub version: BTreeMap<String, String>,
}

/// A build and its times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunMetadata {
    /// The build.
    pub invocation_id: String,
    /// The time at which its source sync started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_on: Option<DateTime<Utc>>,
    /// The time at which its last phase ended; absent if no phase ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_on: Option<DateTime<Utc>>,
}

/// A file, a commit or an image: the fields of in-toto's resource descriptor that are used here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// The path in the build or in the source tree, or the name of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Its digests by algorithm.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, String>,
}

/// The name of a recipe file among the dependencies.
pub(super) fn recipe_file(file: &RecipeFileRecord) -> String {
    format!("recipe/{}", file.path)
}

impl Resource {
    /// The name of the digest of a commit.
    pub const GIT_COMMIT: &'static str = "gitCommit";

    /// The name of the digest of a file, and of an image's manifest.
    pub const SHA256: &'static str = "sha256";

    fn file(name: &str, digest: Sha256) -> Self {
        Self {
            name: Some(name.to_owned()),
            uri: None,
            digest: [(Self::SHA256.to_owned(), digest.to_string())].into(),
        }
    }

    fn commit(source: &SourceRecord) -> Self {
        let url = source.url.as_deref();
        Self {
            name: Some(source.path.clone()),
            uri: url.and_then(|url| git_uri(url, &source.commit)),
            digest: [(Self::GIT_COMMIT.to_owned(), source.commit.clone())].into(),
        }
    }

    /// Its name, or an empty text.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The SHA-256 digest, if it has one in the usual form.
    pub fn sha256(&self) -> Option<Sha256> {
        self.digest.get(Self::SHA256)?.parse().ok()
    }

    /// The commit, if it has one.
    pub fn git_commit(&self) -> Option<&str> {
        self.digest.get(Self::GIT_COMMIT).map(String::as_str)
    }
}

/// A text that is not a statement, or one of another kind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Not the JSON of a provenance statement.
    #[error("the statement, line {}, column {}", source.line(), source.column())]
    Json {
        /// The JSON error, with its line and column.
        #[from]
        source: serde_json::Error,
    },
    /// A statement of another type or about something else.
    #[error("a statement of type {found}, not {expected}")]
    Type {
        /// Its type.
        found: String,
        /// The expected type.
        expected: &'static str,
    },
}

impl Statement {
    /// Reads the JSON of a statement.
    pub fn from_json(bytes: &[u8]) -> Result<Self, StatementError> {
        #[derive(Deserialize)]
        struct Types {
            #[serde(rename = "_type")]
            statement: String,
            #[serde(rename = "predicateType")]
            predicate: String,
        }
        let Types {
            statement,
            predicate,
        } = serde_json::from_slice(bytes)?;
        for (found, expected) in [(statement, STATEMENT_TYPE), (predicate, PREDICATE_TYPE)] {
            if found != expected {
                return Err(StatementError::Type { found, expected });
            }
        }
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The text of `provenance.json`: indented, a newline at its end.
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("keys are texts");
        text + "\n"
    }

    /// The bytes that are signed.
    pub fn to_payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("keys are texts")
    }
}

/// The statement about the build of `record`, whose files have these `sums`.
///
/// Pure: the same record, sums and builder give the same statement. Repository metadata of `inputs/` is left out, because the
/// publisher makes it.
pub fn statement(record: &BuildRecord, sums: &Sums, builder: &Builder) -> Statement {
    let repositories = Repositories::of(sums.lines().iter().map(|line| &line.path));
    let below = |section: &'static str| {
        sums.lines()
            .iter()
            .filter(move |line| line.path.segments().next() == Some(section))
    };
    let outputs = below("outputs").map(|line| Resource::file(line.path.as_str(), line.digest));
    let images = record.images.iter();
    let images = images.map(|image| Resource::file(&image.name, image.digest));
    let inputs = below("inputs")
        .filter(|line| !repositories.is_metadata(&line.path))
        .map(|line| Resource::file(line.path.as_str(), line.digest));
    let commits = record.sources.iter().map(Resource::commit);
    let recipe = record.recipe_files.iter();
    let recipe = recipe.map(|file| Resource::file(&recipe_file(file), file.sha256));
    let after = record.after.iter().map(|after| {
        // A path on the mirror, independent of the mirror's address.
        let sums = format!("{}/{}", after.build, Sums::FILE_NAME);
        Resource::file(&sums, after.sums)
    });
    let finished = record.phases.iter().filter_map(|phase| phase.finished);
    let origin = below(ORIGIN).map(|line| Resource::file(line.path.as_str(), line.digest));
    let mut parameters = ExternalParameters {
        channel: Some(record.id.channel.to_string()),
        branch: record.branch.clone(),
        recipe: record.recipe.clone(),
        trigger: record.trigger.clone(),
        ..ExternalParameters::default()
    };
    let build_type = match (&record.origin, &record.recipe) {
        (
            Some(Origin::Promoted {
                from, by, reason, ..
            }),
            _,
        ) => {
            parameters.promoted_from = Some(from.to_string());
            parameters.promoted_by = Some(by.clone());
            parameters.promoted_for.clone_from(reason);
            PROMOTED
        }
        (_, Some(_)) => BUILT,
        (_, None) => PUBLISHED,
    };
    Statement {
        statement_type: STATEMENT_TYPE.to_owned(),
        subject: outputs.chain(images).collect(),
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate: Predicate {
            build_definition: BuildDefinition {
                build_type: build_type.to_owned(),
                external_parameters: parameters,
                internal_parameters: InternalParameters {
                    previewed_phases: record.previewed_phases.clone(),
                },
                resolved_dependencies: commits
                    .chain(after)
                    .chain(recipe)
                    .chain(inputs)
                    .chain(origin)
                    .collect(),
            },
            run_details: RunDetails {
                builder: BuilderDetails {
                    id: builder.id.to_string(),
                    version: builder.version.clone(),
                },
                metadata: RunMetadata {
                    invocation_id: record.id.to_string(),
                    started_on: Some(record.id.date.time()),
                    // Whole seconds, which every reader of timestamps accepts.
                    finished_on: finished.max().map(|time| time.trunc_subsecs(0)),
                },
            },
        },
    }
}

/// The characters that a URI cannot hold; `%` is kept, because it escapes others.
const NOT_IN_A_URI: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// `git+URL@COMMIT`, the notation of SPDX for the origin of a source; `None` for a path that is valid on one machine only.
fn git_uri(url: &str, commit: &str) -> Option<String> {
    let url = match url.split_once("://") {
        // Already a URL: its delimiters cannot be told apart from characters that should be escaped.
        Some(_) => utf8_percent_encode(url, NOT_IN_A_URI).to_string(),
        None if url.starts_with('/') => format!("file://{}", encode_path(url)),
        None => match url.split_once(':') {
            // Text that git reads as `ssh://` without a scheme. Its path is taken literally, including `%`.
            Some((host, path)) if !host.is_empty() && !host.contains('/') => {
                let host = utf8_percent_encode(host, NOT_IN_A_URI);
                format!("ssh://{host}/{}", encode_path(path.trim_start_matches('/')))
            }
            Some(_) | None => return None,
        },
    };
    Some(format!("git+{url}@{commit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_git_url_becomes_a_uri_or_is_omitted() {
        for (url, uri) in [
            (
                "https://opendev.org/starlingx/config",
                Some("git+https://opendev.org/starlingx/config@c0ffee"),
            ),
            (
                "git@host.example:a b/c.git",
                Some("git+ssh://git@host.example/a%20b/c.git@c0ffee"),
            ),
            ("/srv/git/x", Some("git+file:///srv/git/x@c0ffee")),
            (
                "/srv/git/c++#1%20",
                Some("git+file:///srv/git/c%2B%2B%231%2520@c0ffee"),
            ),
            ("host:c++^1", Some("git+ssh://host/c%2B%2B%5E1@c0ffee")),
            (
                "https://host.example/a b%20c^d",
                Some("git+https://host.example/a%20b%20c%5Ed@c0ffee"),
            ),
            ("../x", None),
            ("./a:b", None),
            (":x", None),
        ] {
            assert_eq!(git_uri(url, "c0ffee").as_deref(), uri, "{url}");
        }
    }

    #[test]
    fn a_builder_is_a_uri() {
        for text in ["https://example.org/b@v1", "urn:example:b", "x:y"] {
            assert!(text.parse::<BuilderId>().is_ok(), "{text}");
        }
        for text in [
            "",
            "builder",
            "1:x",
            "https:",
            "https://a b",
            "https://\u{e9}",
            "https://<x>",
        ] {
            assert!(text.parse::<BuilderId>().is_err(), "{text}");
        }
        let default = BuilderId::default();
        assert_eq!(default.as_str().parse::<BuilderId>(), Ok(default));
    }
}
