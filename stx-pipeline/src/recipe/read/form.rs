//! The structure of a recipe file, before its parts are compared with each other.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use stx_layout::config::{PositiveDuration, Within};
use stx_layout::{Arch, BuildPath, Codename, Distro, Layer};
use toml::Spanned;

use super::ask::Variable;
use super::images::ImagesTable;
use super::preview::PreviewTable;
use crate::recipe::{On, Tool};

/// Variables with their texts, both with their positions.
pub(super) type Assignments = BTreeMap<Spanned<String>, Spanned<String>>;

/// The variables of a matrix with their values.
pub(super) type Matrix = BTreeMap<Spanned<String>, Spanned<Vec<Spanned<String>>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecipeTable {
    pub(super) schema: Option<Spanned<i64>>,
    /// Read before, when the files were merged; named here for the hint about a misspelled key.
    #[serde(rename = "include")]
    pub(super) _include: Option<IgnoredAny>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) description: Option<String>,
    pub(super) distro: Option<Distro>,
    pub(super) codename: Option<Spanned<Codename>>,
    pub(super) arch: Option<Spanned<Arch>>,
    pub(super) layer: Option<Layer>,
    pub(super) timeout: Option<PositiveDuration>,
    pub(super) jobs: Option<Within<usize, 1, { u64::MAX }>>,
    pub(super) log_limit: Option<Bytes>,
    #[serde(default)]
    pub(super) inherit: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) tools: BTreeMap<String, Tool>,
    #[serde(default)]
    pub(super) variables: BTreeMap<Spanned<String>, Spanned<Variable>>,
    #[serde(default)]
    pub(super) state_dirs: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) clean: Vec<Spanned<Vec<Spanned<String>>>>,
    pub(super) preview: Option<PreviewTable>,
    pub(super) images: Option<ImagesTable>,
    pub(super) source: Option<SourceTable>,
    pub(super) phase: Option<Vec<Spanned<PhaseTable>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceTable {
    pub(super) phase: Spanned<String>,
    pub(super) root: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) repositories: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PhaseTable {
    pub(super) name: Spanned<String>,
    pub(super) matrix: Option<Spanned<Matrix>>,
    pub(super) run: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) script: Option<Spanned<String>>,
    pub(super) dir: Option<Spanned<String>>,
    pub(super) timeout: Option<PositiveDuration>,
    pub(super) stop_grace: Option<PositiveDuration>,
    #[serde(default)]
    pub(super) retries: u32,
    pub(super) backoff: Option<Spanned<PositiveDuration>>,
    pub(super) log_limit: Option<Bytes>,
    #[serde(default)]
    pub(super) env: Assignments,
    #[serde(default)]
    pub(super) needs: Vec<Spanned<String>>,
    pub(super) required: Option<Spanned<bool>>,
    pub(super) when: Option<Spanned<When>>,
    #[serde(rename = "if")]
    pub(super) condition: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) publish: Vec<PublishTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishTable {
    pub(super) from: Spanned<String>,
    #[serde(default)]
    pub(super) except: Vec<Spanned<String>>,
    pub(super) to: Spanned<String>,
    #[serde(default)]
    pub(super) min: usize,
    #[serde(default)]
    pub(super) flat: bool,
    #[serde(rename = "from-list")]
    pub(super) from_list: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) on: On,
}

/// The condition under which a phase runs.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum When {
    #[default]
    Success,
    Always,
}

/// A package, or one for each kind of distribution.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a package, or { apt = …, dnf = … }")]
pub(crate) enum ToolForm {
    Both(String),
    Each(ToolTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolTable {
    apt: Option<String>,
    dnf: Option<String>,
}

impl TryFrom<ToolForm> for Tool {
    type Error = &'static str;

    fn try_from(form: ToolForm) -> Result<Self, Self::Error> {
        let (apt, dnf) = match form {
            ToolForm::Both(package) => (Some(package), None),
            ToolForm::Each(ToolTable { apt, dnf }) => (apt, dnf),
        };
        let either = apt.clone().or_else(|| dnf.clone());
        let either = either.ok_or("expected a package, or { apt = …, dnf = … }")?;
        Ok(Self {
            apt: apt.unwrap_or_else(|| either.clone()),
            dnf: dnf.unwrap_or(either),
        })
    }
}

/// A number of bytes such as `64 MiB`.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Bytes(pub(super) u64);

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let read = || {
            let digits = text.find(|other: char| !other.is_ascii_digit())?;
            let (number, unit) = text.split_at(digits);
            let unit = match unit.trim_start() {
                "KiB" => 1024,
                "MiB" => 1024 * 1024,
                "GiB" => 1024 * 1024 * 1024,
                _ => return None,
            };
            let bytes = number.parse::<u64>().ok()?.checked_mul(unit);
            bytes.filter(|bytes| *bytes > 0)
        };
        let bytes = read();
        bytes
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a size such as `64 MiB`, from 1 KiB"))
    }
}

/// The path that an expanded text names.
pub(super) fn build_path(text: &str) -> Result<BuildPath, String> {
    if !matches!(text.split('/').next(), Some("inputs" | "outputs")) {
        return Err(format!(
            "`to` must be `inputs` or `outputs` or below, not `{text}`"
        ));
    }
    text.parse()
        .map_err(|error: stx_layout::ParseError| error.to_string())
}
