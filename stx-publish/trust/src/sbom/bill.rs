//! The document: CycloneDX 1.5, the newest that its own Rust library writes. Values in, text out.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::SecondsFormat;
use cyclonedx_bom::external_models::date_time::DateTime;
use cyclonedx_bom::external_models::normalized_string::NormalizedString;
use cyclonedx_bom::external_models::spdx::SpdxExpression;
use cyclonedx_bom::external_models::uri::Uri;
use cyclonedx_bom::models::bom::{Bom, BomReference, SpecVersion, UrnUuid};
use cyclonedx_bom::models::component::{Classification, Component, Components};
use cyclonedx_bom::models::composition::{AggregateType, Composition, Compositions};
use cyclonedx_bom::models::dependency::{Dependencies, Dependency};
use cyclonedx_bom::models::external_reference::{
    ExternalReference, ExternalReferenceType, ExternalReferences,
};
use cyclonedx_bom::models::hash::{Hash, HashAlgorithm, HashValue, Hashes};
use cyclonedx_bom::models::license::{License, LicenseChoice, Licenses};
use cyclonedx_bom::models::metadata::Metadata;
use cyclonedx_bom::models::organization::OrganizationalEntity;
use cyclonedx_bom::models::property::{Properties, Property};
use cyclonedx_bom::models::tool::Tools;
use cyclonedx_bom::validation::Validate as _;
use stx_layout::{BuildId, BuildPath, Sha256, encode_segment};

use super::iso::{File, Format, Image, Package};
use stx_publish::incoming::digest_of;

/// Where packages of an image are published, by their digests in the image; with the digests of what is published, which
/// are others where it is signed anew.
pub(super) type Published = BTreeMap<Sha256, Vec<(BuildPath, Sha256)>>;

/// A package of the build, of which it is not known whether the image has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) path: BuildPath,
    pub(super) digest: Sha256,
    pub(super) package: Package,
}

/// The bill of materials of the image at `path` of a build, whose packages are `published` where these paths say. Of an image
/// that tells of no package, the `declared` ones are named, and that they are those of the build.
///
/// The same image, build and version give the same bytes.
///
/// # Errors
/// The violations of the specification.
pub(super) fn write(
    id: &BuildId,
    path: &BuildPath,
    image: &Image,
    published: &Published,
    declared: &[Declared],
    version: &str,
) -> Result<Bytes, String> {
    let files = image.files.iter();
    let mut components: Vec<_> = files
        .map(|file| component(id, path, file, published))
        .collect();
    let root = path.as_str().to_owned();
    for file in &image.files {
        let listed = file.listed.iter();
        components.extend(listed.map(|package| listed_component(id, file, package)));
    }
    let contained: Vec<_> = components
        .iter()
        .filter_map(|component| component.bom_ref.clone())
        .collect();
    let declared_ones = declared.iter();
    components.extend(declared_ones.map(|one| declared_component(id, path, one)));
    let dependency = Dependency {
        dependency_ref: root.clone(),
        dependencies: contained,
    };
    let bom = Bom {
        version: 1,
        serial_number: Some(serial(id, path, image)),
        metadata: Some(metadata(id, path, image, declared, version)?),
        components: Some(Components(components)),
        services: None,
        external_references: None,
        dependencies: Some(Dependencies(vec![dependency])),
        compositions: Some(Compositions(compositions(root, declared))),
        properties: None,
        vulnerabilities: None,
        signature: None,
        annotations: None,
        formulation: None,
        spec_version: SpecVersion::V1_5,
    };
    let validation = bom.validate_version(SpecVersion::V1_5);
    if !validation.passed() {
        return Err(format!("{validation:?}"));
    }
    let mut text = Vec::new();
    bom.output_as_json_v1_5(&mut text)
        .map_err(|error| error.to_string())?;
    text.push(b'\n');
    Ok(text.into())
}

fn compositions(root: String, declared: &[Declared]) -> Vec<Composition> {
    let composition = |aggregate| Composition {
        bom_ref: None,
        aggregate,
        assemblies: None,
        dependencies: None,
        vulnerabilities: None,
        signature: None,
    };
    let root = vec![BomReference(root)];
    let mut all = vec![Composition {
        // Every file of the image is listed. What is in a file system image or an initrd is not looked into.
        assemblies: Some(root.clone()),
        ..composition(AggregateType::Complete)
    }];
    if !declared.is_empty() {
        all.push(Composition {
            // Which of the build's packages the image was made of, it does not tell.
            dependencies: Some(root),
            ..composition(AggregateType::Unknown)
        });
    }
    all
}

/// A number of its own for each image of each build, which is the same whenever it is made.
fn serial(id: &BuildId, path: &BuildPath, image: &Image) -> UrnUuid {
    let digest = digest_of(format!("{id}/{path} {}", image.digest).as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.0[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().into()
}

fn metadata(
    id: &BuildId,
    path: &BuildPath,
    image: &Image,
    declared: &[Declared],
    version: &str,
) -> Result<Metadata, String> {
    let mut properties = vec![
        property("stx:build", &id.to_string()),
        property("stx:path", path.as_str()),
    ];
    if !declared.is_empty() {
        properties.push(property("stx:packages-from", FROM_BUILD));
    }
    let lists = image.files.iter().filter(|file| !file.listed.is_empty());
    properties.extend(lists.map(|file| property("stx:packages-from", &file.path)));
    let root = Component {
        hashes: Some(sha256(image.digest)),
        properties: Some(Properties(properties)),
        ..Component::new(
            Classification::File,
            path.file_name(),
            &id.date.to_string(),
            Some(path.to_string()),
        )
    };
    let tool = Component::new(Classification::Application, "stx-builds", version, None);
    // As old as the build, so that it does not matter when it was made.
    let time = id.date.time().to_rfc3339_opts(SecondsFormat::Secs, true);
    Ok(Metadata {
        timestamp: Some(DateTime::try_from(time).map_err(|error| error.to_string())?),
        tools: Some(Tools::Object {
            services: None,
            components: Some(Components(vec![tool])),
        }),
        component: Some(root),
        ..Metadata::default()
    })
}

fn component(id: &BuildId, image: &BuildPath, file: &File, published: &Published) -> Component {
    let mut references = Vec::new();
    for (path, digest) in published.get(&file.digest).into_iter().flatten() {
        let url = Uri::new(&relative(image, path));
        references.push(ExternalReference {
            hashes: Some(sha256(*digest)),
            ..ExternalReference::new(ExternalReferenceType::Distribution, url)
        });
    }
    let mut properties = vec![property("stx:path-in-image", &file.path)];
    let described = match &file.package {
        Some(package) => {
            let website = package.url.as_ref();
            if let Some(url) = website.and_then(|url| Uri::try_from(url.clone()).ok()) {
                references.push(ExternalReference::new(ExternalReferenceType::Website, url));
            }
            let source = package.source.as_ref();
            properties.extend(source.map(|source| property("stx:source-package", source)));
            of_package(id, package)
        }
        None => Component {
            version: None,
            ..Component::new(Classification::File, file.name(), "", None)
        },
    };
    Component {
        bom_ref: Some(reference(&file.path)),
        hashes: Some(sha256(file.digest)),
        external_references: (!references.is_empty()).then_some(ExternalReferences(references)),
        properties: Some(Properties(properties)),
        ..described
    }
}

/// Stands for the path of packages that the image does not name.
const FROM_BUILD: &str = "the build: the image tells of no package";

/// A package that a list in the image names.
fn listed_component(id: &BuildId, list: &File, package: &Package) -> Component {
    // No file of the image is called so, and no name of a package has a `#`.
    let name = format!("listed:/{}#{}:{}", list.path, package.name, package.arch);
    Component {
        bom_ref: Some(name),
        properties: Some(Properties(vec![property("stx:listed-in", &list.path)])),
        ..of_package(id, package)
    }
}

/// A package of the build.
fn declared_component(id: &BuildId, image: &BuildPath, declared: &Declared) -> Component {
    let url = Uri::new(&relative(image, &declared.path));
    let place = ExternalReference {
        hashes: Some(sha256(declared.digest)),
        ..ExternalReference::new(ExternalReferenceType::Distribution, url)
    };
    let mut properties = vec![property("stx:packages-from", FROM_BUILD)];
    let source = declared.package.source.as_ref();
    properties.extend(source.map(|source| property("stx:source-package", source)));
    Component {
        bom_ref: Some(format!("build:{}", declared.path)),
        hashes: Some(sha256(declared.digest)),
        external_references: Some(ExternalReferences(vec![place])),
        properties: Some(Properties(properties)),
        ..of_package(id, &declared.package)
    }
}

fn of_package(id: &BuildId, package: &Package) -> Component {
    let name = &package.name;
    let version = match package.epoch {
        None | Some(0) => released(package),
        Some(epoch) => format!("{epoch}:{}", released(package)),
    };
    let summary = package.summary.as_deref();
    let vendor = package.vendor.as_deref();
    Component {
        description: summary.map(NormalizedString::new),
        supplier: vendor.map(|vendor| OrganizationalEntity {
            // Not as its `new`, which takes line breaks over.
            name: Some(NormalizedString::new(vendor)),
            ..OrganizationalEntity::new("")
        }),
        licenses: package.license.as_deref().map(licenses),
        purl: purl(id, package).parse().ok(),
        ..Component::new(Classification::Library, name, &version, None)
    }
}

/// Version and release: `1.0-2`, `1.0` of a native Debian package.
fn released(package: &Package) -> String {
    let Package {
        version, release, ..
    } = package;
    match package.format {
        Format::Deb if release.is_empty() => version.clone(),
        Format::Rpm | Format::Deb => format!("{version}-{release}"),
    }
}

/// `pkg:rpm/centos/NAME@VERSION-RELEASE?arch=…`, `pkg:deb/debian/NAME@VERSION?arch=…`, as
/// <https://github.com/package-url/purl-spec> has it for RPM and Debian: the epoch of RPM is a qualifier, that of Debian is in
/// the version.
///
/// Written here, because the `purl` crate leaves `+` as it is: the specification has all but unreserved characters encoded,
/// and whoever compares such texts finds `libstdc%2B%2B` only.
fn purl(id: &BuildId, package: &Package) -> String {
    let distro = encode_segment(id.channel.distro.as_str());
    let name = encode_segment(&package.name);
    let epoch = package.epoch.filter(|epoch| *epoch != 0);
    let epoch = epoch.map(|epoch| epoch.to_string());
    let arch = ("arch", Some(package.arch.clone()));
    let upstream = ("upstream", package.source.clone());
    // By name, as the specification has them; one without a value is left out.
    let (kind, version, qualifiers) = match package.format {
        Format::Rpm => ("rpm", released(package), [arch, ("epoch", epoch), upstream]),
        Format::Deb => {
            let version = epoch.map_or_else(
                || released(package),
                |epoch| format!("{epoch}:{}", released(package)),
            );
            let platform = id.channel.platform.as_ref();
            let codename = platform.map(|platform| platform.codename.to_string());
            // The name of the source package; its version stands behind it where it is another.
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

/// A licence as SPDX writes it, else under the name that the package gives it.
fn licenses(license: &str) -> Licenses {
    Licenses(vec![match SpdxExpression::try_from(license.to_owned()) {
        Ok(expression) => LicenseChoice::Expression(expression),
        Err(_) => LicenseChoice::License(License::named_license(license)),
    }])
}

fn sha256(digest: Sha256) -> Hashes {
    Hashes(vec![Hash {
        alg: HashAlgorithm::SHA_256,
        content: HashValue(digest.to_string()),
    }])
}

fn property(name: &str, value: &str) -> Property {
    Property {
        name: name.to_owned(),
        value: NormalizedString::new(value),
    }
}

/// The name of a file of the image in the document; the image itself never has such a name.
fn reference(path: &str) -> String {
    format!("/{path}")
}

/// The way from the image's directory to another file of the build, as a URI reference.
fn relative(image: &BuildPath, to: &BuildPath) -> String {
    let from = image.parent();
    let from: Vec<_> = from.iter().flat_map(BuildPath::segments).collect();
    let to: Vec<_> = to.segments().collect();
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from[shared..].iter().map(|_| "..".to_owned());
    let down = to[shared..].iter().map(|segment| encode_segment(segment));
    up.chain(down).collect::<Vec<_>>().join("/")
}
