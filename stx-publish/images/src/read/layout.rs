//! OCI image layouts: `oci-layout`, `index.json`, `blobs/sha256/…` (OCI image specification 1.1, "Image Layout").
//!
//! Each manifest is read once and each blob is hashed once, however often they are named: indexes may name others many times
//! over, and following every path to a manifest would multiply the work.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;
use stx_layout::{BuildPath, Sha256, counted};

use super::{FoundImage, Image, ReadError, ReadImages, Tree, once, platform};
use crate::registry::{Blob, Manifest};

/// The annotation that holds the name of an image in its layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The deepest nesting of an index in others.
const DEEPEST: usize = 4;

/// The largest manifest or index below `index.json`, in bytes. Registries accept none that is larger.
const LARGEST_MANIFEST: u64 = 4 << 20;

/// The limit for the manifests, configurations and layers that all images of a layout name together.
const MOST_NAMED: usize = 1 << 20;

/// The longest chain of signatures of signatures that belongs to an image.
const LONGEST_CHAIN: usize = 8;

/// The manifests below each image, in the order of its index.
type Orders = BTreeMap<Sha256, Vec<Sha256>>;

/// A manifest or index of a layout.
struct Node {
    manifest: Manifest,
    /// The manifests that it names, if it is an index.
    children: Vec<Sha256>,
    /// The configuration and the layers that it names, if it is a manifest.
    blobs: Vec<Blob>,
    platform: Option<String>,
    /// Its subject: the manifest that a signature signs.
    subject: Option<Sha256>,
}

/// Reads a layout.
struct Reader<'a> {
    tree: &'a Tree,
    known: BTreeMap<Sha256, Node>,
    /// The number of objects that the finished images name.
    named: usize,
}

/// The images of a layout, each with all its references, and a note if the layout names none.
pub(super) fn read(tree: &Tree, origin: &BuildPath) -> Result<ReadImages, ReadError> {
    let index: ImageIndex = tree.json("index.json")?;
    let mut reader = Reader {
        tree,
        known: BTreeMap::new(),
        named: 0,
    };
    // In the order of the index.
    let mut order = Vec::new();
    let mut references: BTreeMap<Sha256, Vec<String>> = BTreeMap::new();
    for descriptor in index.manifests() {
        let annotations = descriptor.annotations().as_ref();
        let reference = annotations.and_then(|texts| texts.get(REF_NAME)).cloned();
        let digest = reader.visit(descriptor, 0)?;
        let known = references.entry(digest).or_insert_with(|| {
            order.push(digest);
            Vec::new()
        });
        known.extend(reference);
    }
    let orders = reader.orders(&order)?;
    let about = reader.referrers(&references, &orders);
    let referrers: BTreeSet<_> = about.values().flatten().copied().collect();
    let mut read = ReadImages::default();
    for digest in order.iter().filter(|digest| !referrers.contains(digest)) {
        read.images.push(FoundImage {
            origin: origin.clone(),
            references: references.remove(digest).unwrap_or_default(),
            image: reader.image(*digest, &about, &orders)?,
        });
    }
    if index.manifests().is_empty() {
        read.empty.push(tree.path("index.json"));
    }
    let indexes = reader.known.iter().filter(|(_, node)| node.names_nothing());
    let names = indexes.map(|(digest, _)| tree.path(&blob_name(*digest)));
    read.empty.extend(names);
    Ok(read)
}

fn blob_name(digest: Sha256) -> String {
    format!("blobs/sha256/{digest}")
}

fn is_index(kind: &MediaType) -> Option<bool> {
    match kind {
        MediaType::ImageIndex => Some(true),
        MediaType::ImageManifest => Some(false),
        MediaType::Other(kind) => match kind.as_str() {
            "application/vnd.docker.distribution.manifest.list.v2+json" => Some(true),
            "application/vnd.docker.distribution.manifest.v2+json" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// True if a configuration belongs to an image, and not to another artifact such as a Helm chart or a signature.
fn is_image(config: &MediaType) -> bool {
    match config {
        MediaType::ImageConfig => true,
        MediaType::Other(kind) => kind == "application/vnd.docker.container.image.v1+json",
        _ => false,
    }
}

/// True if a layer may be missing from a layout, because every machine that runs the image fetches it from elsewhere.
fn is_foreign(layer: &Descriptor) -> bool {
    let kind = layer.media_type().as_ref();
    kind.contains(".nondistributable.")
        || kind.contains(".foreign.")
        || layer.urls().as_ref().is_some_and(|urls| !urls.is_empty())
}

/// The fields that are read from a configuration. Configurations of signatures may lack them.
#[derive(Deserialize)]
struct Configuration {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

impl Node {
    fn names_nothing(&self) -> bool {
        self.children.is_empty() && self.blobs.is_empty()
    }
}

impl Reader<'_> {
    /// The digest that a descriptor claims.
    fn digest(&self, descriptor: &Descriptor) -> Result<Sha256, ReadError> {
        let digest = descriptor
            .as_digest_sha256()
            .and_then(|digest| digest.parse().ok());
        digest.ok_or_else(|| {
            let digest = descriptor.digest();
            self.tree.wrong(
                "blobs",
                format!("{digest} is not a digest that can be computed here"),
            )
        })
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Blob, ReadError> {
        let digest = self.digest(descriptor)?;
        let name = blob_name(digest);
        let blob = self.tree.claimed(&name, digest)?;
        if blob.size != descriptor.size() {
            let claimed = descriptor.size();
            let size = counted(blob.size, "byte");
            let reason = format!("has {size}, and {claimed} are claimed");
            return Err(self.tree.wrong(&name, reason));
        }
        Ok(blob)
    }

    /// Reads the manifest or index that a descriptor names, and all below it.
    fn visit(&mut self, descriptor: &Descriptor, depth: usize) -> Result<Sha256, ReadError> {
        let Blob { digest, size, .. } = self.blob(descriptor)?;
        if self.known.contains_key(&digest) {
            return Ok(digest);
        }
        let name = blob_name(digest);
        let kind = descriptor.media_type();
        let Some(several) = is_index(kind) else {
            return Err(self.tree.wrong(&name, format!("{kind} is not an image")));
        };
        if size > LARGEST_MANIFEST {
            let reason =
                format!("is larger than {LARGEST_MANIFEST} bytes, which no registry takes");
            return Err(self.tree.wrong(&name, reason));
        }
        if several && depth >= DEEPEST {
            return Err(self
                .tree
                .wrong(&name, "is nested too deeply in other indexes"));
        }
        let manifest = Manifest {
            media_type: kind.to_string(),
            bytes: self.tree.bytes(&name)?,
        };
        let node = if several {
            let index: ImageIndex = self.tree.parsed(&name, &manifest.bytes)?;
            let children = index.manifests().iter();
            Node {
                children: children
                    .map(|child| self.visit(child, depth + 1))
                    .collect::<Result<_, _>>()?,
                blobs: Vec::new(),
                platform: None,
                subject: self.subject(index.subject().as_ref())?,
                manifest,
            }
        } else {
            self.one(&name, manifest)?
        };
        self.known.insert(digest, node);
        Ok(digest)
    }

    fn subject(&self, subject: Option<&Descriptor>) -> Result<Option<Sha256>, ReadError> {
        subject.map(|subject| self.digest(subject)).transpose()
    }

    /// The manifest of one image, or of another artifact, which is taken unchanged.
    fn one(&self, name: &str, manifest: Manifest) -> Result<Node, ReadError> {
        let parsed: ImageManifest = self.tree.parsed(name, &manifest.bytes)?;
        let config = self.blob(parsed.config())?;
        let platform = if is_image(parsed.config().media_type()) {
            let name = blob_name(config.digest);
            let says: Configuration = self.tree.json(&name)?;
            platform(
                says.os.as_deref().unwrap_or_default(),
                says.architecture.as_deref().unwrap_or_default(),
                says.variant.as_deref(),
            )
        } else {
            None
        };
        let mut blobs = vec![config];
        for layer in parsed.layers() {
            let digest = self.digest(layer)?;
            if is_foreign(layer) && !self.tree.parts.contains_key(&blob_name(digest)) {
                let urls = layer.urls().as_deref().unwrap_or_default();
                let from = match urls.first() {
                    Some(url) => format!("at {url}"),
                    None => "elsewhere".to_owned(),
                };
                let reason = format!(
                    "its layer sha256:{digest} is a foreign layer ({}), whose bytes are {from} and not in the layout; \
                     put them there, or publish an image without foreign layers",
                    layer.media_type()
                );
                return Err(self.tree.wrong(name, reason));
            }
            blobs.push(self.blob(layer)?);
        }
        Ok(Node {
            children: Vec::new(),
            blobs: once(blobs),
            platform,
            subject: self.subject(parsed.subject().as_ref())?,
            manifest,
        })
    }

    /// All manifests and indexes below each root, without duplicates, each before the index that names it.
    fn orders(&mut self, roots: &[Sha256]) -> Result<Orders, ReadError> {
        fn add(
            known: &BTreeMap<Sha256, Node>,
            digest: Sha256,
            seen: &mut BTreeSet<Sha256>,
            order: &mut Vec<Sha256>,
        ) {
            for child in known.get(&digest).iter().flat_map(|node| &node.children) {
                if seen.insert(*child) {
                    add(known, *child, seen, order);
                    order.push(*child);
                }
            }
        }
        let mut orders = BTreeMap::new();
        for root in roots {
            let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
            add(&self.known, *root, &mut seen, &mut order);
            self.count(1 + order.len())?;
            orders.insert(*root, order);
        }
        Ok(orders)
    }

    /// Objects without a name that refer to an image of the layout, by that image: a registry finds them by their subject, not by
    /// a tag.
    fn referrers(
        &self,
        references: &BTreeMap<Sha256, Vec<String>>,
        orders: &Orders,
    ) -> BTreeMap<Sha256, Vec<Sha256>> {
        let mut homes: BTreeMap<_, _> = orders.keys().map(|root| (*root, *root)).collect();
        for (root, order) in orders {
            for below in order {
                homes.entry(*below).or_insert(*root);
            }
        }
        let subject_of = |digest: Sha256| {
            let unnamed = references.get(&digest).is_some_and(Vec::is_empty);
            let subject = self.known.get(&digest)?.subject.filter(|_| unnamed)?;
            homes.get(&subject).copied().filter(|home| *home != digest)
        };
        let mut about: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for digest in orders.keys().copied() {
            // A signature of a signature belongs to the object that the first one signs. Indexes that refer to each other belong
            // to no object.
            let mut chain = vec![digest];
            while let Some(next) = chain.last().and_then(|last| subject_of(*last)) {
                chain.push(next);
                if chain.len() > LONGEST_CHAIN {
                    chain.truncate(1);
                    break;
                }
            }
            if let [_, .., home] = chain[..] {
                about.entry(home).or_default().push(digest);
            }
        }
        about
    }

    /// Assembles an image, with the objects that refer to it.
    fn image(
        &mut self,
        root: Sha256,
        about: &BTreeMap<Sha256, Vec<Sha256>>,
        orders: &Orders,
    ) -> Result<Image, ReadError> {
        let below = |digest: &Sha256| orders.get(digest).map_or(&[][..], Vec::as_slice);
        let referrers = about.get(&root).map_or(&[][..], Vec::as_slice);
        let referring = referrers.iter();
        let referring = referring.flat_map(|digest| below(digest).iter().chain([digest]));
        let platforms: BTreeSet<_> = below(&root)
            .iter()
            .chain([&root])
            .filter_map(|digest| self.known.get(digest)?.platform.clone())
            .collect();
        let mut seen = BTreeSet::from([root]);
        let order: Vec<_> = below(&root)
            .iter()
            .chain(referring)
            .copied()
            .filter(|digest| seen.insert(*digest))
            .collect();
        let (mut parts, mut blobs) = (Vec::new(), BTreeMap::new());
        for digest in order.iter().chain([&root]) {
            let named = self.known.get(digest).map_or(0, |node| node.blobs.len());
            self.count(1 + named)?;
            if let Some(node) = self.known.get(digest) {
                blobs.extend(node.blobs.iter().map(|blob| (blob.digest, blob.clone())));
                parts.push(node.manifest.clone());
            }
        }
        // The manifest of the image itself is the last one.
        let manifest = parts
            .pop()
            .ok_or_else(|| self.tree.wrong(&blob_name(root), "is missing"))?;
        Ok(Image {
            manifest,
            parts,
            blobs: blobs.into_values().collect(),
            platform: (!platforms.is_empty()).then(|| Vec::from_iter(platforms).join(",")),
        })
    }

    /// Counts the named objects, and refuses a layout whose images name too many.
    fn count(&mut self, named: usize) -> Result<(), ReadError> {
        self.named += named;
        if self.named > MOST_NAMED {
            let reason = format!(
                "its images name more than {MOST_NAMED} manifests, configurations and layers together"
            );
            return Err(self.tree.wrong("index.json", reason));
        }
        Ok(())
    }
}
