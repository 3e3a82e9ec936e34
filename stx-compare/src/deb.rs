//! Debian packages as values, by `stx-deb`.
//!
//! | function | reads |
//! |---|---|
//! | [`extent`] | the number of bytes that the control member needs |
//! | [`package`] | the control member: fields, relations, scripts, the digests of `md5sums` |
//! | [`read_files`] | the payload: every file with mode, owner, digest and target, and the changelog |
//! | [`source`] | a source package's `.dsc` |
//!
//! The control member alone does not describe directories, symlinks, modes and owners, nor the bytes of configuration files:
//! [`Listing`] tells which part is known.

use std::collections::{BTreeMap, BTreeSet};

use sha2::Digest as _;
use stx_deb::{
    Control, ControlError, DebError, Extent, Paragraph, Version, control_extent, paragraphs,
};
use stx_layout::in_utf8;

use crate::package::{Dependency, File, Listing, Package, Payload, Relation, Scriptlet};
use crate::version::Format;

mod changelog;
mod libraries;
mod payload;
mod relations;

pub use payload::read_files;

/// A Debian package that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebianError {
    /// The archive, or a member of it, is damaged.
    #[error(transparent)]
    Archive {
        /// The problem with it.
        #[from]
        source: DebError,
    },
    /// The description of a source package is malformed.
    #[error("the description of the source package cannot be read")]
    Description {
        /// The problem with it.
        #[from]
        source: ControlError,
    },
    /// A required field of a source package is missing.
    #[error("the description of the source package has no field `{field}`")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// Its version is invalid.
    #[error("{version:?} is not a version of a Debian package")]
    Version {
        /// The text of the version.
        version: String,
    },
}

/// The relations that fields of `control` and `.dsc` state.
const RELATIONS: [(&str, Relation); 18] = [
    ("Depends", Relation::Depends),
    ("Pre-Depends", Relation::PreDepends),
    ("Recommends", Relation::Recommends),
    ("Suggests", Relation::Suggests),
    ("Enhances", Relation::Enhances),
    ("Breaks", Relation::Breaks),
    ("Conflicts", Relation::Conflicts),
    ("Replaces", Relation::Replaces),
    ("Provides", Relation::Provides),
    ("Built-Using", Relation::BuiltUsing),
    ("Static-Built-Using", Relation::StaticBuiltUsing),
    ("Build-Depends", Relation::BuildDepends),
    ("Build-Depends-Arch", Relation::BuildDependsArch),
    ("Build-Depends-Indep", Relation::BuildDependsIndep),
    ("Build-Conflicts", Relation::BuildConflicts),
    ("Build-Conflicts-Arch", Relation::BuildConflictsArch),
    ("Build-Conflicts-Indep", Relation::BuildConflictsIndep),
    // The former name of that field.
    ("X-Static-Built-Using", Relation::StaticBuiltUsing),
];

/// Maintainer scripts; the first line of each names its program.
const SCRIPTS: [&str; 5] = ["config", "postinst", "postrm", "preinst", "prerm"];

/// Size of the header of a member of the outer archive.
const HEADER: u64 = 60;

/// The number of bytes of a package that [`package`] needs: the control member, and the header of the member after it.
///
/// # Errors
/// When the bytes are not those of a package.
pub fn extent(prefix: &[u8]) -> Result<Extent, DebError> {
    Ok(match control_extent(prefix)? {
        Extent::Whole(end) => Extent::Whole(end.next_multiple_of(2) + HEADER),
        more @ Extent::More(_) => more,
    })
}

/// The package whose file begins with `bytes`, which must contain its control member completely.
///
/// # Errors
/// The problem, and its position in the file.
pub fn package(format: Format, bytes: &[u8]) -> Result<Package, DebianError> {
    let Control {
        paragraph, files, ..
    } = stx_deb::read_control(bytes)?;
    let mut package = described(format, &paragraph, "Package")?;
    let arch = paragraph.get("Architecture").unwrap_or_default();
    arch.clone_into(&mut package.arch);
    package.attributes = attributes(&paragraph, &["Package", "Version", "Architecture"]);
    package.listing = Listing::Nothing;
    control_files(&mut package, files);
    package.payload = Payload {
        format: "tar".to_owned(),
        compression: compression(bytes).unwrap_or_default(),
        ..Payload::default()
    };
    package.origin.time = built(bytes);
    Ok(package)
}

/// The source package that a `.dsc` describes. Its signature is not checked.
///
/// # Errors
/// The problem, and its line.
pub fn source(bytes: &[u8]) -> Result<Package, DebianError> {
    let text = in_utf8(bytes);
    let text = String::from_utf8_lossy(&text);
    let found = paragraphs(&text)?;
    let paragraph = found
        .first()
        .ok_or(DebianError::Missing { field: "Source" })?;
    let mut package = described(Format::Dsc, paragraph, "Source")?;
    "source".clone_into(&mut package.arch);
    package.attributes = attributes(
        paragraph,
        &[
            "Source",
            "Version",
            "Files",
            "Checksums-Sha1",
            "Checksums-Sha256",
        ],
    );
    package.files = source_files(paragraph);
    package.origin.signatures = signature(&text).into_iter().collect();
    Ok(package)
}

/// Name, version and relations of a paragraph.
fn described(
    format: Format,
    paragraph: &Paragraph,
    name: &'static str,
) -> Result<Package, DebianError> {
    let field = |field: &'static str| {
        let value = paragraph.get(field).filter(|value| !value.is_empty());
        value.ok_or(DebianError::Missing { field })
    };
    let text = field("Version")?;
    let version: Version = text.parse().map_err(|_| DebianError::Version {
        version: text.to_owned(),
    })?;
    let mut dependencies = BTreeMap::<Relation, BTreeSet<Dependency>>::new();
    for (field, relation) in RELATIONS {
        if let Some(value) = paragraph.get(field) {
            let found = relations::relations(value);
            dependencies.entry(relation).or_default().extend(found);
        }
    }
    dependencies.retain(|_, found| !found.is_empty());
    Ok(Package {
        format,
        name: field(name)?.to_owned(),
        epoch: version.epoch,
        version: version.upstream_version,
        release: version.debian_revision.unwrap_or_default(),
        dependencies,
        ..Package::default()
    })
}

/// The fields that do not become part of another field, in the capitalization of dpkg; names are not case sensitive.
fn attributes(paragraph: &Paragraph, read: &[&str]) -> BTreeMap<String, String> {
    let is_read = |field: &str| {
        let relations = RELATIONS.iter().map(|(name, _)| name);
        let mut read = read.iter().chain(relations);
        read.any(|name| field.eq_ignore_ascii_case(name))
    };
    let fields = paragraph.fields().filter(|(name, _)| !is_read(name));
    fields
        .map(|(name, value)| (capitalized(name), value.to_owned()))
        .collect()
}

/// `Multi-Arch` for `multi-arch`.
fn capitalized(field: &str) -> String {
    let words = field.split('-').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        let rest = letters.map(|letter| letter.to_ascii_lowercase());
        first.into_iter().chain(rest).collect::<String>()
    });
    words.collect::<Vec<_>>().join("-")
}

/// Adds the files of the control member other than `control`.
fn control_files(package: &mut Package, mut files: BTreeMap<String, Vec<u8>>) {
    for name in SCRIPTS {
        if let Some(bytes) = files.remove(name) {
            package.scriptlets.insert(name.to_owned(), script(&bytes));
        }
    }
    let mut texts: BTreeMap<_, _> = files
        .into_iter()
        .map(|(name, bytes)| (name, text(&bytes)))
        .collect();
    let mut keep = |name: &str, rest: String| {
        if !rest.is_empty() {
            package.control.insert(name.to_owned(), rest);
        }
    };
    if let Some(text) = texts.remove("md5sums") {
        package.listing = Listing::Digests;
        keep("md5sums", md5sums(&text, &mut package.files));
    }
    if let Some(text) = texts.remove("conffiles") {
        conffiles(&text, &mut package.files);
    }
    let mut provided = BTreeSet::new();
    if let Some(text) = texts.remove("shlibs") {
        keep("shlibs", libraries::shlibs(&text, &mut provided));
    }
    if let Some(text) = texts.remove("symbols") {
        keep("symbols", libraries::symbols(&text, &mut provided));
    }
    package.control.extend(texts);
    if !provided.is_empty() {
        let relation = package.dependencies.entry(Relation::Provides);
        relation.or_default().extend(provided);
    }
}

/// A file of the control member as a text, or as its digest if it is binary.
fn text(bytes: &[u8]) -> String {
    if bytes.contains(&0) {
        return digest(bytes);
    }
    String::from_utf8_lossy(&in_utf8(bytes)).into_owned()
}

fn digest(bytes: &[u8]) -> String {
    let digest = stx_layout::Sha256(sha2::Sha256::digest(bytes).into());
    format!("sha256:{digest}")
}

/// A maintainer script: the program of its first line, and the text after that.
fn script(bytes: &[u8]) -> Scriptlet {
    let text = text(bytes);
    let (program, script) = match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => (first, rest),
        Some(_) | None => ("", text.as_str()),
    };
    let words = program.trim_start_matches("#!").split_ascii_whitespace();
    Scriptlet {
        program: words.map(ToOwned::to_owned).collect(),
        script: script.to_owned(),
        flags: None,
    }
}

/// Reads `DIGEST  PATH` lines; returns the lines in any other form.
fn md5sums(text: &str, files: &mut BTreeMap<String, File>) -> String {
    let mut odd = String::new();
    for line in text.lines() {
        let found = line.split_once(' ').filter(|(digest, _)| {
            digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        let Some((digest, path)) = found else {
            odd.push_str(line);
            odd.push('\n');
            continue;
        };
        let path = path.trim_start_matches([' ', '*']);
        let file = File {
            digest: Some(format!("md5:{}", digest.to_ascii_lowercase())),
            ..File::default()
        };
        files.insert(absolute(path), file);
    }
    odd
}

/// Marks the configuration files, from lines `PATH` or `FLAG PATH`.
fn conffiles(text: &str, files: &mut BTreeMap<String, File>) {
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (flag, path) = match line.split_once(' ') {
            Some((flag, path)) if !line.starts_with('/') => (Some(flag), path.trim_start()),
            Some(_) | None => (None, line),
        };
        let flags = &mut files.entry(absolute(path)).or_default().flags;
        flags.insert("conffile".to_owned());
        flags.extend(flag.map(ToOwned::to_owned));
    }
}

fn absolute(path: &str) -> String {
    format!("/{}", path.trim_start_matches("./").trim_start_matches('/'))
}

/// The files of a source package, by name, with the strongest available digest of each.
fn source_files(paragraph: &Paragraph) -> BTreeMap<String, File> {
    let mut files = BTreeMap::new();
    for (field, algorithm) in [
        ("Files", "md5"),
        ("Checksums-Sha1", "sha1"),
        ("Checksums-Sha256", "sha256"),
    ] {
        for line in paragraph.get(field).unwrap_or_default().lines() {
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            let [digest, size, name] = words[..] else {
                continue;
            };
            let file = File {
                size: size.parse().unwrap_or_default(),
                digest: Some(format!("{algorithm}:{}", digest.to_ascii_lowercase())),
                ..File::default()
            };
            files.insert(name.to_owned(), file);
        }
    }
    files
}

/// The digest of the signature of a clear-signed text.
fn signature(text: &str) -> Option<String> {
    let at = text.find("-----BEGIN PGP SIGNATURE-----")?;
    Some(digest(&text.as_bytes()[at..]))
}

/// The compression of the payload, by the name of its member.
fn compression(bytes: &[u8]) -> Option<String> {
    let Ok(Extent::Whole(end)) = control_extent(bytes) else {
        return None;
    };
    let at = usize::try_from(end.next_multiple_of(2)).ok()?;
    let name = str::from_utf8(bytes.get(at..at + 16)?).ok()?;
    let packed = name.trim_end_matches([' ', '/']).strip_prefix("data.tar")?;
    Some(packed.trim_start_matches('.').to_owned())
}

/// The time at which the archive was made: that of its first member, in seconds since 1970.
fn built(bytes: &[u8]) -> Option<u64> {
    let time = str::from_utf8(bytes.get(24..36)?).ok()?;
    time.trim_end().parse().ok()
}
