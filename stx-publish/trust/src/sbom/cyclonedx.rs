//! The parts of CycloneDX 1.5 that bills of materials of images use, in the order in which its JSON is usually written.
//!
//! <https://cyclonedx.org/docs/1.5/json/>. The types only allow valid values; the tests read whole documents with the reader of
//! the CycloneDX project. The types are defined here because the library for Rust supports every version, in XML as well, and took a
//! twentieth of the time of a first compilation.

use serde::{Serialize, Serializer};
use spdx::{Expression, ParseMode};
use stx_layout::Sha256;

pub(super) const FORMAT: &str = "CycloneDX";
pub(super) const SPEC_VERSION: &str = "1.5";

/// A bill of materials.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bom {
    #[serde(rename = "bomFormat")]
    pub(super) format: &'static str,
    pub(super) spec_version: &'static str,
    /// The revision of this document.
    pub(super) version: u32,
    #[serde(serialize_with = "as_urn")]
    pub(super) serial_number: uuid::Uuid,
    pub(super) metadata: Metadata,
    pub(super) components: Vec<Component>,
    pub(super) dependencies: Vec<Dependency>,
    pub(super) compositions: Vec<Composition>,
}

#[derive(Debug, Serialize)]
pub(super) struct Metadata {
    /// In the format of RFC 3339.
    pub(super) timestamp: String,
    pub(super) tools: Tools,
    pub(super) component: Component,
}

#[derive(Debug, Serialize)]
pub(super) struct Tools {
    pub(super) components: Vec<Component>,
}

/// A file, a package or a program. Empty lists are left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Component {
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    #[serde(rename = "bom-ref", skip_serializing_if = "Option::is_none")]
    pub(super) bom_ref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) supplier: Option<Organization>,
    pub(super) name: Line,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<Line>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<Line>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) licenses: Vec<License>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) external_references: Vec<Reference>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) properties: Vec<Property>,
}

impl Component {
    pub(super) fn new(kind: Kind, name: &str) -> Self {
        Self {
            kind,
            bom_ref: None,
            supplier: None,
            name: Line::new(name),
            version: None,
            description: None,
            hashes: Vec::new(),
            licenses: Vec::new(),
            purl: None,
            external_references: Vec::new(),
            properties: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Application,
    File,
    Library,
}

#[derive(Debug, Serialize)]
pub(super) struct Organization {
    pub(super) name: Line,
}

/// A digest of a file.
#[derive(Debug, Serialize)]
pub(super) struct Hash {
    alg: &'static str,
    content: String,
}

impl From<Sha256> for Hash {
    fn from(digest: Sha256) -> Self {
        Self {
            alg: "SHA-256",
            content: digest.to_string(),
        }
    }
}

/// A licence as an SPDX expression, or else the name that the package gives.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum License {
    Expression(String),
    License { name: Line },
}

impl License {
    pub(super) fn new(license: &str) -> Self {
        let mode = ParseMode {
            allow_deprecated: true,
            ..ParseMode::STRICT
        };
        match Expression::parse_mode(license, mode) {
            Ok(_) => Self::Expression(license.to_owned()),
            Err(_) => Self::License {
                name: Line::new(license),
            },
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Reference {
    #[serde(rename = "type")]
    pub(super) kind: ReferenceKind,
    /// A URI reference.
    pub(super) url: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) hashes: Vec<Hash>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ReferenceKind {
    Distribution,
    Website,
}

#[derive(Debug, Serialize)]
pub(super) struct Property {
    name: &'static str,
    value: Line,
}

impl Property {
    pub(super) fn new(name: &'static str, value: &str) -> Self {
        Self {
            name,
            value: Line::new(value),
        }
    }
}

/// The parts of a component, by reference.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Dependency {
    #[serde(rename = "ref")]
    pub(super) of: String,
    pub(super) depends_on: Vec<String>,
}

/// The completeness of the document's description of a component.
#[derive(Debug, Serialize)]
pub(super) struct Composition {
    pub(super) aggregate: Aggregate,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) assemblies: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) dependencies: Vec<String>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Aggregate {
    Complete,
    Unknown,
}

/// A text without line breaks and tabs: each becomes a space.
#[derive(Debug, Serialize)]
pub(super) struct Line(String);

impl Line {
    pub(super) fn new(text: &str) -> Self {
        Self(text.replace("\r\n", " ").replace(['\r', '\n', '\t'], " "))
    }
}

fn as_urn<S: Serializer>(number: &uuid::Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&number.urn())
}
