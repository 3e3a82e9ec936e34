//! The projects of a `repo` manifest, as `repo` reads it.
//!
//! ```text
//! texts by file ─> flat: includes resolved ─> remotes, default ─> project, extend-project, remove-project in order ─> Project
//! ```
//!
//! The projects are those that `repo init` and `repo sync` select without options on Linux. Local manifests of a work tree and
//! groups of `repo init -g` are not supported.

mod include;

use std::collections::BTreeMap;

use self::include::{Element, flat};
pub use self::include::{IncludeFault, includes};

/// One project of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its repository.
    pub url: String,
    /// The branch, tag or commit that the manifest names.
    pub revision: String,
    /// Its directory in the work tree.
    pub path: String,
}

/// A text that is not a valid manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not XML, or XML of another kind.
    #[error("{file}: not a manifest: {reason}")]
    Xml {
        /// The file.
        file: String,
        /// The reason, for people.
        reason: String,
    },
    /// A file that cannot be included.
    #[error("{file} line {line}: <include name={name:?}/>: {fault}")]
    Include {
        /// The file that includes it.
        file: String,
        /// The line there.
        line: u32,
        /// The name of the file.
        name: String,
        /// The reason.
        fault: IncludeFault,
    },
    /// An unsupported element that affects the list of projects.
    #[error("{file} line {line}: <{element}> is not supported; name the repositories by `watch`")]
    Unsupported {
        /// The file.
        file: String,
        /// The line.
        line: u32,
        /// The element.
        element: String,
    },
    /// An element that `repo` refuses.
    #[error("{file} line {line}: <{element}>: {reason}")]
    Element {
        /// The file.
        file: String,
        /// The line.
        line: u32,
        /// The element.
        element: String,
        /// The reason, for people.
        reason: String,
    },
    /// The manifest has no projects.
    #[error("the manifest has no projects")]
    Empty,
}

/// A project, as defined by the elements so far.
struct Known {
    name: String,
    path: String,
    fetch: String,
    revision: String,
    groups: Vec<String>,
}

/// The defaults for all projects.
#[derive(Default)]
struct Common<'e> {
    remotes: BTreeMap<&'e str, &'e Element>,
    default: Option<&'e Element>,
}

/// Reads the projects of the manifest `file`, whose repository was fetched from `url`. `texts` holds the texts of that file and
/// of the files that it [includes](includes), as far as they exist.
///
/// # Errors
/// See [`ManifestError`].
pub fn projects(
    file: &str,
    texts: &BTreeMap<String, String>,
    url: &str,
) -> Result<Vec<Project>, ManifestError> {
    let elements = flat(file, texts)?;
    let common = Common::of(&elements)?;
    let mut known: Vec<Known> = Vec::new();
    for element in &elements {
        match element.tag.as_str() {
            "project" => common.add(element, None, url, &mut known)?,
            "extend-project" => common.extend(element, url, &mut known)?,
            "remove-project" => remove(element, &mut known)?,
            "submanifest" => {
                return Err(ManifestError::Unsupported {
                    file: element.file.clone(),
                    line: element.line,
                    element: element.tag.clone(),
                });
            }
            _ => {}
        }
    }
    let projects: Vec<_> = known
        .into_iter()
        .filter(|project| is_synced(&project.groups))
        .map(|project| Project {
            url: format!("{}/{}", project.fetch.trim_end_matches('/'), project.name),
            revision: project.revision,
            path: project.path,
        })
        .collect();
    if projects.is_empty() {
        return Err(ManifestError::Empty);
    }
    Ok(projects)
}

/// True if `repo sync` selects a project of these groups without `-g`, which means `default,platform-linux`.
fn is_synced(groups: &[String]) -> bool {
    let has = |group: &str| groups.iter().any(|own| own == group);
    !has("notdefault") || has("default") || has("platform-linux")
}

impl<'e> Common<'e> {
    fn of(elements: &'e [Element]) -> Result<Self, ManifestError> {
        let named = |tag: &'static str| elements.iter().filter(move |element| element.tag == tag);
        let mut common = Self::default();
        for remote in named("remote") {
            let name = remote.needs("name")?;
            remote.needs("fetch")?;
            match common.remotes.get(name) {
                Some(known) if known.attributes != remote.attributes => {
                    let reason =
                        format!("remote {name} is defined with other attributes before it");
                    return Err(remote.refused(reason));
                }
                Some(_) => {}
                None => drop(common.remotes.insert(name, remote)),
            }
        }
        for default in named("default") {
            if default.has("remote") {
                common.remote(default)?;
            }
            match common.default {
                Some(known)
                    if !default.attributes.is_empty() && default.attributes != known.attributes =>
                {
                    return Err(default.refused("another <default> is before it".to_owned()));
                }
                Some(_) => {}
                None => common.default = Some(default),
            }
        }
        Ok(common)
    }

    /// The remote that an element names, otherwise that of `default`.
    fn remote(&self, element: &Element) -> Result<&'e Element, ManifestError> {
        let name = element.get("remote");
        let name = name.or_else(|| self.default.and_then(|default| default.get("remote")));
        let Some(name) = name else {
            return Err(element.refused("it has no remote, and there is no default".to_owned()));
        };
        let found = self.remotes.get(name).copied();
        found.ok_or_else(|| element.refused(format!("there is no remote {name}")))
    }

    fn add(
        &self,
        element: &Element,
        parent: Option<(&str, &str)>,
        url: &str,
        known: &mut Vec<Known>,
    ) -> Result<(), ManifestError> {
        let own = element.needs("name")?;
        let name = parent.map_or_else(|| own.to_owned(), |(parent, _)| format!("{parent}/{own}"));
        let remote = self.remote(element)?;
        let revision = element
            .get("revision")
            .or_else(|| remote.get("revision"))
            .or_else(|| self.default.and_then(|default| default.get("revision")));
        let Some(revision) = revision else {
            return Err(element.refused(format!("project {name} has no revision")));
        };
        let path = element.get("path").unwrap_or(&name).trim_end_matches('/');
        let path = parent.map_or_else(|| path.to_owned(), |(_, dir)| format!("{dir}/{path}"));
        if known.iter().any(|other| other.path == path) {
            return Err(element.refused(format!("another project has path {path}")));
        }
        let project = Known {
            fetch: base(url, remote.needs("fetch")?),
            revision: revision.to_owned(),
            groups: element.groups(),
            name: name.clone(),
            path: path.clone(),
        };
        known.push(project);
        let nested = element.children.iter();
        for child in nested.filter(|child| child.tag == "project") {
            self.add(child, Some((&name, &path)), url, known)?;
        }
        Ok(())
    }

    fn extend(
        &self,
        element: &Element,
        url: &str,
        known: &mut [Known],
    ) -> Result<(), ManifestError> {
        let name = element.needs("name")?;
        let same = known.iter().filter(|project| project.name == name).count();
        if same == 0 {
            return Err(element.refused(format!("there is no project {name} before it")));
        }
        let (path, moved) = (element.get("path"), element.get("dest-path"));
        if moved.is_some() && path.is_none() && same > 1 {
            let reason = format!("`dest-path` needs `path`, as {same} projects are called {name}");
            return Err(element.refused(reason));
        }
        for project in known.iter_mut().filter(|project| project.name == name) {
            if path.is_some_and(|path| path != project.path) {
                continue;
            }
            project.groups.extend(element.groups());
            if let Some(revision) = element.get("revision") {
                based(element, project)?;
                revision.clone_into(&mut project.revision);
            }
            if element.has("remote") {
                project.fetch = base(url, self.remote(element)?.needs("fetch")?);
            }
            if let Some(moved) = moved {
                moved.trim_end_matches('/').clone_into(&mut project.path);
            }
        }
        Ok(())
    }
}

/// Fails if an element was written for another revision of a project.
fn based(element: &Element, project: &Known) -> Result<(), ManifestError> {
    match element.get("base-rev") {
        Some(base) if base != project.revision => Err(element.refused(format!(
            "it is for revision {base} of {}, which is at {}",
            project.name, project.revision
        ))),
        Some(_) | None => Ok(()),
    }
}

fn remove(element: &Element, known: &mut Vec<Known>) -> Result<(), ManifestError> {
    let (name, path) = (element.get("name"), element.get("path"));
    if name.is_none() && path.is_none() {
        return Err(element.refused("it needs `name` or `path`".to_owned()));
    }
    let is_meant = |project: &Known| {
        name.is_none_or(|name| name == project.name) && path.is_none_or(|path| path == project.path)
    };
    for project in known.iter().filter(|project| is_meant(project)) {
        based(element, project)?;
    }
    let before = known.len();
    known.retain(|project| !is_meant(project));
    let optional = element.get("optional");
    let optional = optional.is_some_and(|is| matches!(is, "true" | "True" | "1" | "yes"));
    if known.len() == before && !optional {
        let what = name.or(path).unwrap_or_default();
        return Err(element.refused(format!("there is no project {what} before it")));
    }
    Ok(())
}

/// The base URL of a remote's repositories: `fetch` itself, or `fetch` resolved against the manifest's URL like a link.
fn base(url: &str, fetch: &str) -> String {
    let (url, fetch) = (with_scheme(url), with_scheme(fetch));
    if fetch.contains("://") {
        return fetch;
    }
    let (root, path) = match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            (format!("{scheme}://{host}"), path)
        }
        None => (String::new(), url.as_str()),
    };
    if fetch.starts_with('/') {
        return format!("{root}{fetch}");
    }
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

/// Converts git's form `HOST:PATH` into a URL; other texts are unchanged.
fn with_scheme(url: &str) -> String {
    match url.split_once(':') {
        Some((host, path))
            if !host.is_empty() && !host.contains('/') && !path.starts_with("//") =>
        {
            format!("ssh://{host}/{}", path.trim_start_matches('/'))
        }
        Some(_) | None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests;
