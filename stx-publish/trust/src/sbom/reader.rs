//! The parts of a bill of materials that can be compared with a build.

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use stx_layout::{BuildPath, Sha256};

/// The largest bill of materials, in bytes.
pub(crate) const LONGEST: u64 = 64 << 20;

/// The fields of a bill of materials that are read.
#[derive(Deserialize)]
pub(crate) struct Bill {
    metadata: BillMetadata,
    #[serde(default)]
    components: Vec<BillComponent>,
}

#[derive(Deserialize)]
struct BillMetadata {
    component: BillComponent,
    #[cfg(feature = "sbom")]
    #[serde(default)]
    tools: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BillComponent {
    #[serde(default)]
    hashes: Vec<BillHash>,
    #[serde(default)]
    external_references: Vec<BillReference>,
}

#[derive(Deserialize)]
struct BillHash {
    alg: String,
    content: String,
}

#[derive(Deserialize)]
struct BillReference {
    #[serde(rename = "type")]
    kind: String,
    url: String,
    #[serde(default)]
    hashes: Vec<BillHash>,
}

impl Bill {
    /// True if `name` is one of the programs that made it.
    #[cfg(feature = "sbom")]
    pub(crate) fn is_made_by(&self, name: &str) -> bool {
        let tools = self.metadata.tools["components"].as_array();
        let mut tools = tools.into_iter().flatten();
        tools.any(|tool| tool["name"] == name)
    }

    /// The differences from the files of its build, of which `digest` gives the digests: it must describe the image beside it, and
    /// the packages that it states as published must be published, with the stated bytes.
    pub(crate) fn differences(
        &self,
        image: &BuildPath,
        mut digest: impl FnMut(&BuildPath) -> Option<Sha256>,
    ) -> Vec<String> {
        let mut differences = Vec::new();
        // An image in another place, or in none, has no digest to compare with.
        let found = digest(image);
        if found.is_none() || sha256(&self.metadata.component.hashes) != found {
            differences.push(format!("it describes another image than {image}"));
        }
        for component in &self.components {
            let references = component.external_references.iter();
            for reference in references.filter(|reference| reference.kind == "distribution") {
                let Some(path) = resolve(image, &reference.url) else {
                    continue;
                };
                let found = digest(&path);
                if found.is_none() || found != sha256(&reference.hashes) {
                    differences.push(format!(
                        "{path}: not published with the bytes that it names"
                    ));
                }
            }
        }
        differences
    }
}

fn sha256(hashes: &[BillHash]) -> Option<Sha256> {
    let hash = hashes.iter().find(|hash| hash.alg == "SHA-256")?;
    hash.content.parse().ok()
}

/// The file of the build to which a relative reference of an image's bill leads; `None` for a reference to another place.
fn resolve(image: &BuildPath, reference: &str) -> Option<BuildPath> {
    let parent = image.parent();
    let mut at: Vec<_> = parent.iter().flat_map(BuildPath::segments).collect();
    let decoded = percent_decode_str(reference).decode_utf8().ok()?;
    if decoded.contains("://") || decoded.starts_with('/') {
        return None;
    }
    for segment in decoded.split('/') {
        if segment == ".." {
            at.pop()?;
        } else {
            at.push(segment);
        }
    }
    at.join("/").parse().ok()
}
