//! Container images on a real registry, checked with `skopeo`.

use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use serde_json::Value;

use crate::harness::{Ran, assert_whole, run, stx, tool};
use crate::registry_server::{DockerRegistry, inspect, seen_digest};
use crate::retention::january;

/// A mirror with a registry, and a tree with images to publish repeatedly.
pub(crate) struct Published {
    dir: Utf8TempDir,
    /// The beginning of the names of the images.
    pub(crate) host: String,
}

impl Published {
    pub(crate) fn on(host: &str) -> Self {
        let published = Self {
            dir: Utf8TempDir::new().expect("a temporary directory"),
            host: host.to_owned(),
        };
        published.configure("");
        published.write("outputs/CONTEXT", "the same in every build");
        published.layout("stx-nova", "stable", "one");
        published.layout("stx-audit", "stx.6.0-v1.0.2", "audit");
        published
    }

    pub(crate) fn at(&self, name: &str) -> Utf8PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the configuration, with more keys in its `[registry]`.
    pub(crate) fn configure(&self, more: &str) {
        let text = format!(
            "mirror = \"mirror\"\n[registry]\nhost = \"{}\"\nplain_http = true\n{more}\n",
            self.host
        );
        fs_err::write(self.at("stx-builds.toml"), text).expect("a file");
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let file = self.at("tree").join(path);
        fs_err::create_dir_all(file.parent().expect("below")).expect("a directory");
        fs_err::write(file, text).expect("a file");
    }

    /// Makes a layout with one image that contains `text`.
    pub(crate) fn layout(&self, name: &str, tag: &str, text: &str) {
        let layout = self.at("tree/outputs/docker-images").join(name);
        if layout.exists() {
            fs_err::remove_dir_all(&layout).expect("removed");
        }
        make_layout(&layout, tag, text);
    }

    /// Makes a layout with one image, tagged `x`, that is not in the tree.
    pub(crate) fn outside(&self, name: &str, text: &str) {
        make_layout(&self.at(name), "x", text);
    }

    pub(crate) fn stx(&self, args: &[&str]) -> Command {
        let mut command = stx(["--config", self.at("stx-builds.toml").as_str()]);
        command.args(["--format", "json"]).args(args);
        command.env("DOCKER_CONFIG", self.dir.path());
        command
    }

    pub(crate) fn publish(&self, day: u32) -> Command {
        self.publish_as(day, "success")
    }

    pub(crate) fn publish_as(&self, day: u32, result: &str) -> Command {
        let (tree, date) = (self.at("tree"), january(day));
        let args = ["publish", tree.as_str(), "--channel", "master/centos"];
        let mut command = self.stx(&args);
        command.args(["--date", &date, "--result", result]);
        command
    }

    pub(crate) fn build(&self, day: u32) -> Utf8PathBuf {
        self.at("mirror/master/centos").join(january(day))
    }

    pub(crate) fn record(&self, day: u32) -> Value {
        record(&self.build(day))
    }

    pub(crate) fn name(&self, rest: &str) -> String {
        format!("{}/starlingx/{rest}", self.host)
    }

    /// The dated name of `stx-nova` on a day.
    pub(crate) fn nova(&self, day: u32) -> String {
        self.name(&format!("stx-nova:master-centos-stable-{}.0", january(day)))
    }

    pub(crate) fn latest(&self) -> String {
        self.name("stx-nova:master-centos-stable-latest")
    }
}

pub(crate) fn record(build: &Utf8Path) -> Value {
    let text = fs_err::read_to_string(build.join("build.json")).expect("a record");
    serde_json::from_str(&text).expect("JSON")
}

/// The digest of an image in a record.
pub(crate) fn recorded(record: &Value, name: &str) -> String {
    let images = record["images"].as_array().expect("images").iter();
    let mut named = images.filter(|image| image["name"] == name);
    let image = named
        .next()
        .unwrap_or_else(|| panic!("{name} is not in {record:#}"));
    image["digest"].as_str().expect("a digest").to_owned()
}

fn make_layout(layout: &Utf8Path, tag: &str, text: &str) {
    let bundle = Utf8TempDir::new().expect("a temporary directory");
    let image = format!("{layout}:{tag}");
    let bundled = bundle.path().join("bundle");
    fs_err::create_dir_all(layout.parent().expect("below")).expect("a directory");
    run(&mut tool("umoci", ["init", "--layout", layout.as_str()])).ok();
    run(&mut tool("umoci", ["new", "--image", &image])).ok();
    run(&mut tool(
        "umoci",
        ["unpack", "--rootless", "--image", &image, bundled.as_str()],
    ))
    .ok();
    fs_err::write(bundled.join("rootfs/message"), text).expect("a file");
    run(&mut tool(
        "umoci",
        ["repack", "--image", &image, bundled.as_str()],
    ))
    .ok();
    run(&mut tool("umoci", ["gc", "--layout", layout.as_str()])).ok();
}

#[test]
fn build_json_agrees_with_skopeo_and_a_second_publish_sends_nothing() {
    let registry = DockerRegistry::start();
    let here = Published::on(&registry.host());
    // An archive of `docker save`, written by skopeo.
    let heat = here.at("heat");
    make_layout(&heat, "x", "heat");
    let archive = here.at("tree/outputs/docker-images/stx-heat.tar");
    let to = format!("docker-archive:{archive}:starlingx/stx-heat:dev-centos-pike-latest");
    run(&mut tool("skopeo", ["copy", &format!("oci:{heat}:x"), &to])).ok();

    let planned = run(here.publish(1).arg("--dry-run")).code(0).json();
    assert_eq!(
        planned["images"]["images"]
            .as_array()
            .expect("images")
            .len(),
        3
    );
    assert_eq!(
        registry.changes(),
        Vec::<String>::new(),
        "a dry run changes nothing"
    );
    let report = run(&mut here.publish(1)).code(0).json();
    assert_eq!(
        report["images"]["stored"].as_array().expect("names").len(),
        3
    );

    let heat = here.name(&format!("stx-heat:dev-centos-pike-{}", january(1)));
    let audit = here.name("stx-audit:stx.6.0-v1.0.2");
    let record = here.record(1);
    let images = record["images"].as_array().expect("images");
    assert_eq!(images.len(), 3);
    for image in images {
        let name = image["name"].as_str().expect("a name");
        let seen = inspect(name);
        let digest = format!("sha256:{}", image["digest"].as_str().expect("a digest"));
        assert_eq!(seen["Digest"], *digest, "{name}");
        let platform = format!(
            "{}/{}",
            seen["Os"].as_str().expect("an os"),
            seen["Architecture"].as_str().expect("an architecture")
        );
        assert_eq!(image["platform"], *platform, "{name}");
        let layers = seen["Layers"].as_array().expect("layers").len();
        assert_eq!(layers, 1, "{name}");
        assert!(image["size"].as_u64().expect("a size") > 300, "{image}");
    }
    for (moving, fixed) in [
        (here.latest(), here.nova(1)),
        (here.name("stx-heat:dev-centos-pike-latest"), heat.clone()),
    ] {
        assert_eq!(seen_digest(&moving), Some(recorded(&record, &fixed)));
    }
    // The lists in their real form, included in the sums.
    let list = |name: &str| {
        let file = here.build(1).join("outputs/docker-images").join(name);
        fs_err::read_to_string(file).expect("a list")
    };
    assert_eq!(
        list("images-centos-stable-versioned.lst"),
        format!("{audit}\n{}\n", here.nova(1))
    );
    assert_eq!(
        list("images-centos-stable-latest.lst"),
        format!("{}\n", here.latest())
    );
    assert_eq!(
        list("images-centos-pike-versioned.lst"),
        format!("{heat}\n")
    );
    assert_whole(&here.at("mirror"), "master/centos");
    run(&mut here.stx(&["verify"])).ok();

    let before = registry.changes();
    assert!(before.len() > 9, "{before:?}");
    let again = run(&mut here.publish(1)).code(0).json();
    assert_eq!(again["action"], "same");
    assert_eq!(registry.changes(), before, "nothing is sent");
    let pushed = run(&mut here.stx(&["image", "push", &format!("master/centos/{}", january(1))]));
    assert_eq!(pushed.code(0).json()["done"]["blobs"], 0);
    assert_eq!(registry.changes(), before, "nothing is sent");
}

#[test]
fn a_static_tag_with_other_content_is_refused_before_anything_is_published() {
    let registry = DockerRegistry::start();
    let here = Published::on(&registry.host());
    run(&mut here.publish(1)).code(0);
    let (audit, latest) = (
        here.name("stx-audit:stx.6.0-v1.0.2"),
        seen_digest(&here.latest()),
    );
    let (before, shown) = (registry.changes(), seen_digest(&audit));
    here.layout("stx-audit", "stx.6.0-v1.0.2", "another audit");
    here.layout("stx-nova", "stable", "two");
    let refused = run(&mut here.publish(2)).code(4);
    assert!(
        refused.stderr.contains(&audit) && refused.stderr.contains("another tag"),
        "{}",
        refused.stderr
    );
    assert_eq!(registry.changes(), before, "nothing is sent");
    assert_eq!(seen_digest(&audit), shown);
    assert_eq!(seen_digest(&here.latest()), latest);
    assert!(!here.build(2).exists());
}

/// Writes a blob into a layout; returns its descriptor.
fn put_blob(layout: &Utf8Path, kind: &str, text: &str) -> Value {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(text)
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let blobs = layout.join("blobs/sha256");
    fs_err::create_dir_all(&blobs).expect("a directory");
    fs_err::write(blobs.join(&digest), text).expect("a blob");
    serde_json::json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": text.len()})
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Writes an artifact with one layer into a layout; returns the descriptor of its manifest.
fn put_artifact(layout: &Utf8Path, kind: &str, layer: &str, subject: Option<&Value>) -> Value {
    let config = put_blob(layout, kind, "{}");
    let layer = put_blob(layout, "application/octet-stream", layer);
    let mut manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
    });
    if let Some(subject) = subject {
        manifest["subject"] = subject.clone();
    }
    put_blob(layout, MANIFEST, &manifest.to_string())
}

fn put_index(layout: &Utf8Path, manifests: &[Value]) {
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
    });
    fs_err::create_dir_all(layout).expect("a directory");
    fs_err::write(layout.join("index.json"), index.to_string()).expect("an index");
    let mark = "{\"imageLayoutVersion\":\"1.0.0\"}";
    fs_err::write(layout.join("oci-layout"), mark).expect("a mark");
}

/// In the forms of a pushed Helm chart, and of a signed image.
#[test]
fn artifacts_that_are_not_images_are_pushed_unchanged() {
    let registry = DockerRegistry::start();
    let here = Published::on(&registry.host());
    let images = here.at("tree/outputs/docker-images");
    let chart = images.join("stx-nova-chart");
    let kind = "application/vnd.cncf.helm.config.v1+json";
    let mut manifest = put_artifact(&chart, kind, "a chart", None);
    let digest = manifest["digest"].as_str().expect("a digest").to_owned();
    manifest["annotations"] =
        serde_json::json!({"org.opencontainers.image.ref.name": "stx.6.0-v1.0.3"});
    put_index(&chart, &[manifest]);

    let nova = images.join("stx-nova");
    let text = fs_err::read_to_string(nova.join("index.json")).expect("an index");
    let index: Value = serde_json::from_str(&text).expect("JSON");
    let mut listed = index["manifests"].as_array().expect("manifests").clone();
    let mut signed = listed[0].clone();
    signed
        .as_object_mut()
        .expect("a descriptor")
        .remove("annotations");
    let kind = "application/vnd.dev.cosign.artifact.sig.v1+json";
    let signature = put_artifact(&nova, kind, "a signature", Some(&signed));
    listed.push(signature.clone());
    put_index(&nova, &listed);
    put_index(&images.join("nothing"), &[]);

    let published = run(&mut here.publish(1)).code(0);
    assert!(
        published
            .stderr
            .contains("docker-images/nothing/index.json names no image"),
        "{}",
        published.stderr
    );
    let record = here.record(1);
    assert_eq!(record["images"].as_array().expect("images").len(), 3);
    let name = here.name("stx-nova-chart:stx.6.0-v1.0.3");
    assert_eq!(format!("sha256:{}", recorded(&record, &name)), digest);
    let raw = |name: &str| {
        let image = format!("docker://{name}");
        run(&mut tool(
            "skopeo",
            ["inspect", "--raw", "--tls-verify=false", &image],
        ))
        .ok()
    };
    assert!(
        raw(&name).contains("vnd.cncf.helm.config"),
        "{}",
        raw(&name)
    );
    let platform = |name: &str| {
        let mut images = record["images"].as_array().expect("images").iter();
        let image = images.find(|image| image["name"] == name).expect("it");
        image["platform"].clone()
    };
    assert_eq!(platform(&name), Value::Null);
    assert_eq!(platform(&here.nova(1)), "linux/amd64");
    // The signature has no tag; it is found by its digest, in the repository of the image.
    let (repository, _) = here
        .nova(1)
        .rsplit_once(':')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("a tag");
    let by_digest = format!(
        "{repository}@{}",
        signature["digest"].as_str().expect("a digest")
    );
    assert!(raw(&by_digest).contains("cosign"), "{}", raw(&by_digest));
    run(&mut here.stx(&["verify"])).ok();

    // Two without a name.
    let kind = "application/vnd.cncf.helm.config.v1+json";
    let two = [
        put_artifact(&chart, kind, "one", None),
        put_artifact(&chart, kind, "two", None),
    ];
    put_index(&chart, &two);
    let refused = run(&mut here.publish(2)).code(4).stderr;
    for digest in two.map(|manifest| manifest["digest"].clone()) {
        assert!(
            refused.contains(digest.as_str().expect("a digest")),
            "{refused}"
        );
    }
    assert!(refused.contains("give each a name"), "{refused}");
}

#[test]
fn moving_tags_follow_successes_and_never_go_back() {
    let registry = DockerRegistry::start();
    let here = Published::on(&registry.host());
    let publish = |day: u32, result: &str| {
        here.layout("stx-nova", "stable", &format!("day {day}"));
        run(&mut here.publish_as(day, result)).code(0);
        seen_digest(&here.latest())
    };
    let third = publish(3, "success");
    assert_eq!(third, seen_digest(&here.nova(3)));
    assert_eq!(publish(2, "success"), third, "an older build");
    assert_eq!(publish(4, "fail"), third, "a failed one");
    assert!(seen_digest(&here.nova(2)).is_some() && seen_digest(&here.nova(4)).is_some());
    assert_eq!(publish(5, "success"), seen_digest(&here.nova(5)));
    run(&mut here.stx(&["verify"])).ok();
}

#[test]
fn verify_reports_missing_images_and_image_push_restores_them() {
    let registry = DockerRegistry::start();
    let here = Published::on(&registry.host());
    run(&mut here.publish(1)).code(0);
    let nova = here.nova(1);
    run(&mut tool(
        "skopeo",
        ["delete", "--tls-verify=false", &format!("docker://{nova}")],
    ))
    .ok();
    let audit = here.name("stx-audit:stx.6.0-v1.0.2");
    let other = here.at("other");
    make_layout(&other, "x", "another");
    let to = format!("docker://{audit}");
    let args = [
        "copy",
        "--dest-tls-verify=false",
        &format!("oci:{other}:x"),
        &to,
    ];
    run(&mut tool("skopeo", args)).ok();
    let verified = run(&mut here.stx(&["verify"])).code(4);
    let found: Vec<_> = verified.json()["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .map(|finding| {
            (
                finding["path"].as_str().expect("a path").to_owned(),
                finding["kind"].as_str().expect("a kind").to_owned(),
                finding["severity"].as_str().expect("a severity").to_owned(),
            )
        })
        .collect();
    let finding = |path: &str, kind: &str, severity: &str| {
        (path.to_owned(), kind.to_owned(), severity.to_owned())
    };
    for expected in [
        finding(&nova, "image-missing", "error"),
        finding(&audit, "image-changed", "error"),
    ] {
        assert!(
            found.contains(&expected),
            "{expected:?} is not in {found:?}"
        );
    }
    assert!(
        verified.stderr.contains("image push"),
        "{}",
        verified.stderr
    );
    // A tag that points at another image is left for a person to decide.
    let build = format!("master/centos/{}", january(1));
    let refused = run(&mut here.stx(&["image", "push", &build])).code(4);
    assert!(refused.stderr.contains(&audit), "{}", refused.stderr);
    run(&mut tool("skopeo", ["delete", "--tls-verify=false", &to])).ok();
    let pushed = run(&mut here.stx(&["image", "push", &build]))
        .code(0)
        .json();
    // The image of the static tag still exists by its digest.
    assert_eq!(pushed["done"]["stored"], serde_json::json!([nova]));
    assert_eq!(pushed["done"]["tagged"].as_array().expect("names").len(), 3);
    run(&mut here.stx(&["verify"])).ok();
}

#[test]
fn images_of_a_build_published_without_a_registry_are_pushed_later() {
    let registry = DockerRegistry::start();
    let here = Published::on(&registry.host());
    fs_err::write(here.at("stx-builds.toml"), "mirror = \"mirror\"\n").expect("a file");
    run(&mut here.publish(1)).code(0);
    assert_eq!(here.record(1)["images"], serde_json::json!([]));
    here.configure("org = \"mine\"");
    let again = run(&mut here.publish(1)).code(0);
    assert!(again.stderr.contains("image push"), "{}", again.stderr);
    assert_eq!(registry.changes(), Vec::<String>::new());
    let build = "master/centos/latest_build";
    run(&mut here.stx(&["image", "push", build])).code(0);
    let nova = format!(
        "{}/mine/stx-nova:master-centos-stable-{}.0",
        here.host,
        january(1)
    );
    assert!(seen_digest(&nova).is_some());
}

#[test]
fn a_layout_with_wrong_digests_is_refused() {
    let registry = DockerRegistry::start();
    let here = Published::on(&registry.host());
    let blobs = here.at("tree/outputs/docker-images/stx-nova/blobs/sha256");
    let blobs = crate::harness::names(&blobs)
        .into_iter()
        .map(|name| blobs.join(name));
    let layer = blobs
        .max_by_key(|blob| {
            let bytes = fs_err::read(blob).expect("a blob");
            // A layer is gzip.
            bytes.starts_with(&[0x1f, 0x8b])
        })
        .expect("a layer");
    let mut bytes = fs_err::read(&layer).expect("a layer");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs_err::write(&layer, bytes).expect("a layer");
    let refused = run(&mut here.publish(1)).code(4);
    let name = layer.file_name().expect("a name");
    assert!(
        refused.stderr.contains(name) && refused.stderr.contains("claimed"),
        "{}",
        refused.stderr
    );
    assert!(!here.build(1).exists());
    assert_eq!(registry.changes(), Vec::<String>::new());
}

#[test]
fn the_sample_distribution_pushes_its_image_to_a_registry() {
    let registry = DockerRegistry::start();
    let dir = Utf8TempDir::new().expect("a temporary directory");
    let upstream = dir.path().join("upstream");
    let sample = crate::harness::root().join("recipes/sample");
    let script = sample.join("upstream");
    run(&mut tool(script.as_str(), ["create", upstream.as_str()])).ok();
    let config = dir.path().join("stx-builds.toml");
    let text = format!(
        "mirror = \"mirror\"\n[registry]\nhost = \"{}\"\nplain_http = true\n",
        registry.host()
    );
    fs_err::write(&config, text).expect("a file");
    let manifest = format!("MANIFEST_URL={upstream}/manifest");
    let recipe = sample.join("recipe.toml");
    let build = |more: &[&str]| -> Ran {
        let mut command = stx(["--config", config.as_str(), "--format", "json", "build"]);
        command.args(["--recipe", recipe.as_str(), "--set", &manifest]);
        for name in ["STX_BUILDS_CACHE", "XDG_CACHE_HOME"] {
            if let Some(cache) = std::env::var(name).ok().filter(|value| !value.is_empty()) {
                let at = if name == "STX_BUILDS_CACHE" {
                    ""
                } else {
                    "/stx-builds"
                };
                command.args(["--set", &format!("STX_BUILDS_CACHE={cache}{at}")]);
                break;
            }
        }
        run(command.args(more)).code(0)
    };
    let first = build(&[]).json();
    let id = first["published"]["id"].as_str().expect("an id");
    let record = record(&dir.path().join("mirror").join(id));
    let image = &record["images"][0];
    let name = image["name"].as_str().expect("a name");
    assert!(
        name.starts_with(&format!(
            "{}/starlingx/stx-platform-info:master-centos-stable-",
            registry.host()
        )),
        "{name}"
    );
    let seen = inspect(name);
    let digest = format!("sha256:{}", image["digest"].as_str().expect("a digest"));
    assert_eq!(seen["Digest"], *digest);
    println!(
        "build.json: {image}\nskopeo inspect: {} {}",
        seen["Name"], seen["Digest"]
    );
    let (latest, _) = name.rsplit_once('-').expect("a date");
    assert_eq!(
        seen_digest(&format!("{latest}-latest")).as_deref(),
        digest.strip_prefix("sha256:")
    );
    // The same sources again, as another build: the image is the same, and nothing of it is uploaded.
    let before = registry.changes();
    let second = build(&["--force"]).json();
    assert_eq!(registry.changes(), before);
    assert_eq!(second["published"]["images"]["bytes"], 0);
    let mut verify = stx(["--config", config.as_str(), "verify"]);
    println!("{}", run(&mut verify).ok());
}
