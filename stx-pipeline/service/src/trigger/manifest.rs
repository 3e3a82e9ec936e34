//! The projects of a `repo` manifest.

use roxmltree::{Document, Node};

/// One project of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its repository.
    pub url: String,
    /// The branch, tag or commit that the manifest names.
    pub revision: String,
}

/// A text that is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not XML.
    #[error("the manifest is not XML: {reason}")]
    Xml {
        /// The reason, as a text for people.
        reason: String,
    },
    /// A part of the format that is needed to find the projects, and that is not understood.
    #[error(
        "the manifest has <{element}>, which is not understood; name the repositories by `watch`"
    )]
    Unsupported {
        /// The element.
        element: String,
    },
    /// A project without what it needs.
    #[error("the manifest's project {name} has no {what}")]
    Project {
        /// Its name.
        name: String,
        /// The missing part: `name`, `known remote`, `revision` or `fetch URL`.
        what: &'static str,
    },
    /// There is none.
    #[error("the manifest has no projects")]
    Empty,
}

/// Reads the projects of a manifest that was fetched from `url`: elements `remote`, `default` and `project` of the format of
/// Google's `repo`; of `include` and its like it cannot know what they bring, and refuses them.
///
/// # Errors
/// See [`ManifestError`].
pub fn projects(xml: &str, url: &str) -> Result<Vec<Project>, ManifestError> {
    let document = Document::parse(xml).map_err(|error| ManifestError::Xml {
        reason: error.to_string(),
    })?;
    let root = document.root_element();
    let elements: Vec<_> = root.children().filter(Node::is_element).collect();
    if let Some(other) = elements.iter().find(|element| {
        matches!(
            element.tag_name().name(),
            "include" | "extend-project" | "remove-project" | "submanifest"
        )
    }) {
        return Err(ManifestError::Unsupported {
            element: other.tag_name().name().to_owned(),
        });
    }
    let named = |tag: &'static str| {
        let elements = elements.iter();
        elements.filter(move |element| element.has_tag_name(tag))
    };
    let default = |attribute| named("default").find_map(|node| node.attribute(attribute));
    let mut projects = Vec::new();
    for project in named("project") {
        let name = project.attribute("name").unwrap_or_default();
        let lacks = |what| ManifestError::Project {
            name: name.to_owned(),
            what,
        };
        if name.is_empty() {
            return Err(lacks("name"));
        }
        let remote = project.attribute("remote").or_else(|| default("remote"));
        let remote = named("remote")
            .find(|node| remote.is_some() && node.attribute("name") == remote)
            .ok_or_else(|| lacks("known remote"))?;
        let revision = project
            .attribute("revision")
            .or_else(|| remote.attribute("revision"))
            .or_else(|| default("revision"))
            .ok_or_else(|| lacks("revision"))?;
        let fetch = remote
            .attribute("fetch")
            .ok_or_else(|| lacks("fetch URL"))?;
        projects.push(Project {
            url: format!("{}/{name}", base(url, fetch).trim_end_matches('/')),
            revision: revision.to_owned(),
        });
    }
    if projects.is_empty() {
        return Err(ManifestError::Empty);
    }
    Ok(projects)
}

/// Where a remote's repositories lie: `fetch` itself, or relative to the manifest's URL as a link is to its page.
fn base(url: &str, fetch: &str) -> String {
    if fetch.contains("://") || fetch.starts_with('/') {
        return fetch.to_owned();
    }
    let (root, path) = match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            (format!("{scheme}://{host}"), path)
        }
        None => (String::new(), url),
    };
    let mut segments: Vec<_> = path.trim_end_matches('/').split('/').collect();
    segments.pop();
    for segment in fetch.split('/') {
        match segment {
            ".." if segments.len() > 1 => drop(segments.pop()),
            "" | "." | ".." => {}
            segment => segments.push(segment),
        }
    }
    format!("{root}{}", segments.join("/"))
}
