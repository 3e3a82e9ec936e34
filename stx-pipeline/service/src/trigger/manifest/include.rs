//! Merges the files of a manifest into one list of elements.

use std::collections::BTreeMap;
use std::fmt;

use roxmltree::{Document, Node};

use super::ManifestError;

/// The reason that a file cannot be included.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IncludeFault {
    /// The repository of the manifest does not contain it.
    Missing,
    /// Its name is not a path within that repository.
    Path,
    /// It includes itself through these files; the first one is repeated at the end.
    Circle(Vec<String>),
    /// There are too many includes.
    TooMany,
}

impl fmt::Display for IncludeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such file in the manifest's repository"),
            Self::Path => {
                f.write_str("expected a path within the repository, without `.` and `..`")
            }
            Self::Circle(files) => {
                write!(f, "the files include each other: {}", files.join(" > "))
            }
            Self::TooMany => write!(f, "at most {INCLUDES} includes are followed"),
        }
    }
}

/// An element below `<manifest>`, and its position.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) tag: String,
    /// The attributes that have a value.
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) children: Vec<Element>,
    pub(super) file: String,
    pub(super) line: u32,
}

impl Element {
    fn new(node: Node<'_, '_>, file: &str) -> Self {
        let attributes = node.attributes();
        let attributes = attributes.filter(|attribute| !attribute.value().is_empty());
        let children = node.children().filter(Node::is_element);
        Self {
            tag: node.tag_name().name().to_owned(),
            attributes: attributes
                .map(|attribute| (attribute.name().to_owned(), attribute.value().to_owned()))
                .collect(),
            children: children.map(|child| Self::new(child, file)).collect(),
            file: file.to_owned(),
            line: node.document().text_pos_at(node.range().start).row,
        }
    }

    pub(super) fn get(&self, attribute: &str) -> Option<&str> {
        self.attributes.get(attribute).map(String::as_str)
    }

    pub(super) fn has(&self, attribute: &str) -> bool {
        self.attributes.contains_key(attribute)
    }

    pub(super) fn needs(&self, attribute: &str) -> Result<&str, ManifestError> {
        self.get(attribute)
            .ok_or_else(|| self.refused(format!("it has no `{attribute}`")))
    }

    pub(super) fn groups(&self) -> Vec<String> {
        let groups = self.get("groups").unwrap_or_default();
        let groups = groups.split([',', ' ']).filter(|group| !group.is_empty());
        groups.map(str::to_owned).collect()
    }

    pub(super) fn refused(&self, reason: String) -> ManifestError {
        ManifestError::Element {
            file: self.file.clone(),
            line: self.line,
            element: self.tag.clone(),
            reason,
        }
    }

    fn not_included(&self, name: &str, fault: IncludeFault) -> ManifestError {
        ManifestError::Include {
            file: self.file.clone(),
            line: self.line,
            name: name.to_owned(),
            fault,
        }
    }
}

/// The elements of one file.
fn elements(file: &str, text: &str) -> Result<Vec<Element>, ManifestError> {
    let wrong = |reason: String| ManifestError::Xml {
        file: file.to_owned(),
        reason,
    };
    let document = Document::parse(text).map_err(|error| wrong(error.to_string()))?;
    let root = document.root_element();
    if !root.has_tag_name("manifest") {
        let name = root.tag_name().name();
        return Err(wrong(format!("it is <{name}>, not <manifest>")));
    }
    let nodes = root.children().filter(Node::is_element);
    Ok(nodes.map(|node| Element::new(node, file)).collect())
}

/// The files that the text of a manifest file includes.
///
/// # Errors
/// A text that is not a manifest, and names that are not paths within the repository.
pub fn includes(file: &str, text: &str) -> Result<Vec<String>, ManifestError> {
    let elements = elements(file, text)?;
    let includes = elements.iter().filter(|element| element.tag == "include");
    includes
        .map(|element| {
            let name = element.needs("name")?;
            if !is_local(name) {
                return Err(element.not_included(name, IncludeFault::Path));
            }
            Ok(name.to_owned())
        })
        .collect()
}

/// True if `repo` accepts a path as one within the repository.
fn is_local(path: &str) -> bool {
    let part = |part: &str| {
        let part = part.to_ascii_lowercase();
        !matches!(part.as_str(), "" | "." | ".." | ".git") && !part.starts_with(".repo")
    };
    !path.contains(['~', '\n', '\r', '\0']) && path.split('/').all(part)
}

/// The elements of `file` and of the files that it includes, in the order in which `repo` reads them.
pub(super) fn flat(
    file: &str,
    texts: &BTreeMap<String, String>,
) -> Result<Vec<Element>, ManifestError> {
    let Some(text) = texts.get(file) else {
        return Err(ManifestError::Xml {
            file: file.to_owned(),
            reason: "there is no such file in the manifest's repository".to_owned(),
        });
    };
    let mut reader = Reader {
        texts,
        open: vec![file.to_owned()],
        left: INCLUDES,
        found: Vec::new(),
    };
    reader.add(file, text, None)?;
    Ok(reader.found)
}

/// The most includes that are followed; each is counted as often as it is followed. A few files, each of which includes the
/// next one twice, would otherwise take forever to read.
const INCLUDES: u32 = 1000;

/// The files that are being read, and the elements so far.
struct Reader<'t> {
    texts: &'t BTreeMap<String, String>,
    open: Vec<String>,
    left: u32,
    found: Vec<Element>,
}

impl Reader<'_> {
    fn add(
        &mut self,
        file: &str,
        text: &str,
        includer: Option<&Element>,
    ) -> Result<(), ManifestError> {
        for mut element in elements(file, text)? {
            if let Some(includer) = includer {
                inherit(&mut element, includer);
            }
            if element.tag != "include" {
                self.found.push(element);
                continue;
            }
            let name = element.needs("name")?.to_owned();
            if !is_local(&name) {
                return Err(element.not_included(&name, IncludeFault::Path));
            }
            if let Some(start) = self.open.iter().position(|file| *file == name) {
                let mut files = self.open[start..].to_vec();
                files.push(name.clone());
                return Err(element.not_included(&name, IncludeFault::Circle(files)));
            }
            let Some(text) = self.texts.get(&name) else {
                return Err(element.not_included(&name, IncludeFault::Missing));
            };
            if self.left == 0 {
                return Err(element.not_included(&name, IncludeFault::TooMany));
            }
            self.left -= 1;
            self.open.push(name.clone());
            self.add(&name, text, Some(&element))?;
            self.open.pop();
        }
        Ok(())
    }
}

/// Adds the groups of an `<include>` to those of an element of the included file, and sets its revision if the element has none,
/// as `repo` does.
fn inherit(element: &mut Element, includer: &Element) {
    let is = |tag: &str| element.tag == tag;
    let revised = (is("project") || is("include")) && !element.has("revision");
    let grouped = is("project") || is("extend-project") || is("include");
    let mut values = Vec::new();
    if let Some(revision) = includer.get("revision").filter(|_| revised) {
        values.push(("revision", revision.to_owned()));
    }
    if let Some(groups) = includer.get("groups").filter(|_| grouped) {
        let own = element.get("groups").unwrap_or_default();
        values.push(("groups", format!("{groups},{own}")));
    }
    for (name, value) in values {
        element.attributes.insert(name.to_owned(), value);
    }
}
