//! Writes the document: a pure function.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use chrono::SecondsFormat;
use fluent_uri::UriRef;
use stx_layout::{BuildId, BuildPath, Sha256, encode_segment};

use super::cyclonedx::{
    Aggregate, Bom, Component, Composition, Dependency, FORMAT, Kind, License, Line, Metadata,
    Organization, Property, Reference, ReferenceKind, SPEC_VERSION, Tools,
};
use super::iso::{File, Format, Image, Package};
use stx_publish::incoming::digest_of;

/// The program that makes bills, as they name it.
pub(super) const TOOL: &str = "stx-builds";

/// The published paths of an image's packages, by their digests in the image; with the published digests, which differ for
/// packages that were signed anew.
pub(super) type Published = BTreeMap<Sha256, Vec<(BuildPath, Sha256)>>;

/// A package of the build that may or may not be in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) path: BuildPath,
    pub(super) digest: Sha256,
    pub(super) package: Package,
}

/// The bill of materials of the image at `path` of a build. `published` holds the paths of its published packages. If the image
/// lists no packages, the bill names the `declared` ones, and states that they are those of the build.
///
/// The same image, build and version give the same bytes.
pub(super) fn write(
    id: &BuildId,
    path: &BuildPath,
    image: &Image,
    published: &Published,
    declared: &[Declared],
    version: &str,
) -> Bytes {
    let files = image.files.iter();
    let mut components: Vec<_> = files
        .map(|file| component(id, path, file, published))
        .collect();
    let root = path.as_str().to_owned();
    for file in &image.files {
        let listed = file.listed.iter();
        components.extend(listed.map(|package| listed_component(id, file, package)));
    }
    let contained = components.len();
    let declared_ones = declared.iter();
    components.extend(declared_ones.map(|one| declared_component(id, path, one)));
    tell_apart(&mut components, &root);
    let contained = components[..contained].iter();
    let contained = contained.filter_map(|component| component.bom_ref.clone());
    let contained = contained.collect();
    let bom = Bom {
        format: FORMAT,
        spec_version: SPEC_VERSION,
        version: 1,
        serial_number: serial(id, path, image),
        metadata: metadata(id, path, image, declared, version),
        components,
        dependencies: vec![Dependency {
            of: root.clone(),
            depends_on: contained,
        }],
        compositions: compositions(&root, declared),
    };
    let mut text = serde_json::to_vec_pretty(&bom).expect("a document has no map");
    text.push(b'\n');
    text.into()
}

/// Numbers components with the same reference: a directory of the image can contain a name twice, and a list can name a package
/// in two versions. The time is linear, even for an image with only such names.
fn tell_apart(components: &mut [Component], root: &str) {
    let mut known = HashMap::from([(root.to_owned(), 1)]);
    for name in components.iter_mut().filter_map(|it| it.bom_ref.as_mut()) {
        let first = name.clone();
        while known.contains_key(name) {
            let number = known.entry(first.clone()).or_insert(1);
            *number += 1;
            *name = format!("{first}#{number}");
        }
        known.insert(name.clone(), 1);
    }
}

fn compositions(root: &str, declared: &[Declared]) -> Vec<Composition> {
    let root = vec![root.to_owned()];
    let mut all = vec![Composition {
        aggregate: Aggregate::Complete,
        // Every file of the image is listed. The contents of file system images and initrds are not.
        assemblies: root.clone(),
        dependencies: Vec::new(),
    }];
    if !declared.is_empty() {
        all.push(Composition {
            aggregate: Aggregate::Unknown,
            assemblies: Vec::new(),
            // The image does not tell which of the build's packages it contains.
            dependencies: root,
        });
    }
    all
}

/// A unique number for each image of each build, which is the same whenever it is made.
fn serial(id: &BuildId, path: &BuildPath, image: &Image) -> uuid::Uuid {
    let digest = digest_of(format!("{id}/{path} {}", image.digest).as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.0[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn metadata(
    id: &BuildId,
    path: &BuildPath,
    image: &Image,
    declared: &[Declared],
    version: &str,
) -> Metadata {
    let mut properties = vec![
        Property::new("stx:build", &id.to_string()),
        Property::new("stx:path", path.as_str()),
    ];
    if !declared.is_empty() {
        properties.push(Property::new("stx:packages-from", FROM_BUILD));
    }
    let lists = image.files.iter().filter(|file| !file.listed.is_empty());
    properties.extend(lists.map(|file| Property::new("stx:packages-from", &file.path)));
    let root = Component {
        bom_ref: Some(path.to_string()),
        version: Some(Line::new(&id.date.to_string())),
        hashes: vec![image.digest.into()],
        properties,
        ..Component::new(Kind::File, path.file_name())
    };
    let tool = Component {
        version: Some(Line::new(version)),
        ..Component::new(Kind::Application, TOOL)
    };
    Metadata {
        // The date of the build, so that the text does not depend on the time at which it is made.
        timestamp: id.date.time().to_rfc3339_opts(SecondsFormat::Secs, true),
        tools: Tools {
            components: vec![tool],
        },
        component: root,
    }
}

fn component(id: &BuildId, image: &BuildPath, file: &File, published: &Published) -> Component {
    let mut references = Vec::new();
    for (path, digest) in published.get(&file.digest).into_iter().flatten() {
        references.push(Reference {
            kind: ReferenceKind::Distribution,
            url: relative(image, path),
            hashes: vec![(*digest).into()],
        });
    }
    let mut properties = vec![Property::new("stx:path-in-image", &file.path)];
    let described = match &file.package {
        Some(package) => {
            let website = package.url.as_ref();
            let website = website.filter(|url| UriRef::parse(url.as_str()).is_ok());
            references.extend(website.map(|url| Reference {
                kind: ReferenceKind::Website,
                url: url.clone(),
                hashes: Vec::new(),
            }));
            let source = package.source.as_ref();
            properties.extend(source.map(|source| Property::new("stx:source-package", source)));
            of_package(id, package)
        }
        None => Component::new(Kind::File, file.name()),
    };
    Component {
        bom_ref: Some(reference(&file.path)),
        hashes: vec![file.digest.into()],
        external_references: references,
        properties,
        ..described
    }
}

/// Replaces the path of packages that the image does not name.
const FROM_BUILD: &str = "the build: the image tells of no package";

/// A package that a list in the image names.
fn listed_component(id: &BuildId, list: &File, package: &Package) -> Component {
    // No file of the image has this name, and no package name contains a `#`.
    let name = format!("listed:/{}#{}:{}", list.path, package.name, package.arch);
    Component {
        bom_ref: Some(name),
        properties: vec![Property::new("stx:listed-in", &list.path)],
        ..of_package(id, package)
    }
}

/// A package of the build.
fn declared_component(id: &BuildId, image: &BuildPath, declared: &Declared) -> Component {
    let place = Reference {
        kind: ReferenceKind::Distribution,
        url: relative(image, &declared.path),
        hashes: vec![declared.digest.into()],
    };
    let mut properties = vec![Property::new("stx:packages-from", FROM_BUILD)];
    let source = declared.package.source.as_ref();
    properties.extend(source.map(|source| Property::new("stx:source-package", source)));
    Component {
        bom_ref: Some(format!("build:{}", declared.path)),
        hashes: vec![declared.digest.into()],
        external_references: vec![place],
        properties,
        ..of_package(id, &declared.package)
    }
}

fn of_package(id: &BuildId, package: &Package) -> Component {
    let name = &package.name;
    let version = match package.epoch {
        None | Some(0) => released(package),
        Some(epoch) => format!("{epoch}:{}", released(package)),
    };
    let vendor = package.vendor.as_deref();
    let license = package.license.as_deref();
    Component {
        version: Some(Line::new(&version)),
        description: package.summary.as_deref().map(Line::new),
        supplier: vendor.map(|vendor| Organization {
            name: Line::new(vendor),
        }),
        licenses: license.into_iter().map(License::new).collect(),
        purl: Some(purl(id, package)),
        ..Component::new(Kind::Library, name)
    }
}

/// Version and release: `1.0-2`; `1.0` for a native Debian package.
fn released(package: &Package) -> String {
    let Package {
        version, release, ..
    } = package;
    match package.format {
        Format::Deb if release.is_empty() => version.clone(),
        Format::Rpm | Format::Deb => format!("{version}-{release}"),
    }
}

/// `pkg:rpm/centos/NAME@VERSION-RELEASE?arch=…`, `pkg:deb/debian/NAME@VERSION?arch=…`, as defined by
/// <https://github.com/package-url/purl-spec> for RPM and Debian: the epoch of RPM is a qualifier, that of Debian is in the
/// version.
///
/// Written here because the `purl` crate does not encode `+`: the specification encodes all but unreserved characters, and tools
/// that compare such texts find only `libstdc%2B%2B`.
fn purl(id: &BuildId, package: &Package) -> String {
    let distro = encode_segment(id.channel.distro.as_str());
    let name = encode_segment(&package.name);
    let epoch = package.epoch.filter(|epoch| *epoch != 0);
    let epoch = epoch.map(|epoch| epoch.to_string());
    let arch = ("arch", Some(package.arch.clone()));
    let upstream = ("upstream", package.source.clone());
    // Sorted by name, as the specification demands; a qualifier without a value is left out.
    let (kind, version, qualifiers) = match package.format {
        Format::Rpm => ("rpm", released(package), [arch, ("epoch", epoch), upstream]),
        Format::Deb => {
            let version = epoch.map_or_else(
                || released(package),
                |epoch| format!("{epoch}:{}", released(package)),
            );
            let platform = id.channel.platform.as_ref();
            let codename = platform.map(|platform| platform.codename.to_string());
            // The name of the source package; if its version differs, it follows the name.
            let source = package
                .source
                .as_deref()
                .and_then(|it| it.split(' ').next());
            let upstream = ("upstream", source.map(ToOwned::to_owned));
            ("deb", version, [arch, ("distro", codename), upstream])
        }
    };
    let version = encode_segment(&version);
    let qualifiers = qualifiers.iter().filter_map(|(key, value)| {
        let value = value.as_deref().filter(|value| !value.is_empty())?;
        Some(format!("{key}={}", encode_segment(value)))
    });
    let qualifiers = qualifiers.collect::<Vec<_>>().join("&");
    let mark = if qualifiers.is_empty() { "" } else { "?" };
    format!("pkg:{kind}/{distro}/{name}@{version}{mark}{qualifiers}")
}

/// The name of a file of the image in the document; the image itself never has such a name.
fn reference(path: &str) -> String {
    format!("/{path}")
}

/// The path from the image's directory to another file of the build, as a URI reference.
fn relative(image: &BuildPath, to: &BuildPath) -> String {
    let from = image.parent();
    let from: Vec<_> = from.iter().flat_map(BuildPath::segments).collect();
    let to: Vec<_> = to.segments().collect();
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from[shared..].iter().map(|_| "..".to_owned());
    let down = to[shared..].iter().map(|segment| encode_segment(segment));
    up.chain(down).collect::<Vec<_>>().join("/")
}
