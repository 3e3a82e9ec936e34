//! Bills of materials of images with Debian packages: as files, as lists, and for images without any.

use super::*;

const CHANNEL: &str = "master/debian/bookworm/amd64/flock";

/// A tree with a package, and an image to be made from the directory `disc`.
struct Debian {
    dir: Utf8TempDir,
}

impl Debian {
    fn new() -> Self {
        let debian = Self {
            dir: Utf8TempDir::new().expect("a temporary directory"),
        };
        for dir in ["disc/pool", "tree/outputs/iso", "tree/outputs/std/packages"] {
            fs_err::create_dir_all(debian.at(dir)).expect("a directory");
        }
        let control = "Package: libhello++\nVersion: 1:1.0~rc1-2\nArchitecture: all\nSource: hellos (1.0)\n\
                       Maintainer: A B <a@example.org>\nHomepage: https://example.org/\nDescription: greets\n twice\n";
        debian.write("packed/DEBIAN/control", control);
        debian.write("packed/usr/share/hello/greeting", "hello");
        let file = debian.deb();
        let mut pack = tool("dpkg-deb", ["--root-owner-group", "-b"]);
        run(pack.args([debian.at("packed"), file])).ok();
        debian
    }

    fn at(&self, path: &str) -> Utf8PathBuf {
        self.dir.path().join(path)
    }

    fn deb(&self) -> Utf8PathBuf {
        self.at("tree/outputs/std/packages/libhello++_1.0~rc1-2_all.deb")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs_err::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs_err::write(path, text).expect("a file");
    }

    /// Publishes the tree with an image of the disc; returns the output, and its bill.
    fn bill(&self) -> (Ran, Value) {
        let image = self.at("tree/outputs/iso/a.iso");
        let mut xorriso = tool("xorriso", ["-outdev", image.as_str()]);
        run(xorriso.args(["-map", self.at("disc").as_str(), "/", "-commit"])).ok();
        let mut publish = stx(["--mirror", "mirror", "publish", "tree"]);
        publish.args(["--channel", CHANNEL, "--date", DATE, "--result", "success"]);
        let ran = run(publish.current_dir(self.dir.path())).code(0);
        let bill = self.at(&format!(
            "mirror/{CHANNEL}/{DATE}/outputs/iso/a.iso.cdx.json"
        ));
        // The library of the format's authors accepts it.
        read(&["bill", bill.as_str()]).ok();
        let mut verify = stx(["--mirror", "mirror", "verify", CHANNEL]);
        run(verify.current_dir(self.dir.path())).code(0);
        (ran, json(&bill))
    }
}

/// The value of a property.
fn property<'a>(component: &'a Value, name: &str) -> Option<&'a str> {
    let mut properties = component["properties"].as_array()?.iter();
    properties.find(|property| property["name"] == name)?["value"].as_str()
}

/// The packages of a bill, by their package URLs.
fn packages(bill: &Value) -> BTreeMap<String, Value> {
    let list = bill["components"].as_array().expect("components").iter();
    let packages = list.filter(|component| component["purl"].is_string());
    packages
        .map(|component| {
            let purl = component["purl"].as_str().expect("a text");
            (purl.to_owned(), component.clone())
        })
        .collect()
}

const PURL: &str =
    "pkg:deb/debian/libhello%2B%2B@1%3A1.0~rc1-2?arch=all&distro=bookworm&upstream=hellos";

#[test]
fn packages_in_the_pool_of_an_image_are_read_as_dpkg_deb_reads_them() {
    let debian = Debian::new();
    let name = debian.deb().file_name().expect("a name").to_owned();
    fs_err::copy(debian.deb(), debian.at("disc/pool").join(&name)).expect("a copy");
    debian.write("disc/pool/broken_1.0_all.deb", "!<arch>\nbroken");
    let (ran, bill) = debian.bill();
    assert!(!ran.stderr.contains("lists no packages"), "{}", ran.stderr);
    let packages = packages(&bill);
    assert_eq!(packages.keys().collect::<Vec<_>>(), [PURL]);
    let package = &packages[PURL];
    let field = |field: &str| {
        let said = run(&mut tool("dpkg-deb", ["-f", debian.deb().as_str(), field])).ok();
        said.lines().next().expect("a line").to_owned()
    };
    assert_eq!(package["name"], field("Package"));
    assert_eq!(package["version"], field("Version"));
    assert_eq!(package["description"], field("Description"));
    assert_eq!(package["supplier"]["name"], field("Maintainer"));
    assert_eq!(
        property(package, "stx:source-package"),
        Some("hellos (1.0)")
    );
    let references = package["externalReferences"]
        .as_array()
        .expect("references");
    let published = references
        .iter()
        .find(|reference| reference["type"] == "distribution");
    let url = published.expect("it is published")["url"]
        .as_str()
        .expect("a URL");
    assert_eq!(url, "../std/packages/libhello%2B%2B_1.0~rc1-2_all.deb");
    // A file that is not a package is listed as any other file.
    let list = bill["components"].as_array().expect("components");
    assert!(
        list.iter()
            .any(|component| component["name"] == "broken_1.0_all.deb")
    );
}

#[test]
fn packages_listed_in_the_image_are_in_its_bill() {
    let debian = Debian::new();
    let status = run(&mut tool(
        "dpkg-query",
        [
            "-W",
            "-f",
            "${binary:Package}\\t${Version}\\n",
            "dpkg",
            "libc6",
            "tar",
        ],
    ))
    .ok();
    debian.write("disc/live/filesystem.manifest", &status);
    debian.write("disc/boot/other.manifest", "<xml/>\n");
    let (ran, bill) = debian.bill();
    assert!(!ran.stderr.contains("lists no packages"), "{}", ran.stderr);
    let packages = packages(&bill);
    assert_eq!(packages.len(), 3, "{packages:#?}");
    for line in status.lines() {
        let (name, version) = line.split_once('\t').expect("two words");
        let name = name.split(':').next().expect("a name");
        let mut of_name = packages.values().filter(|package| package["name"] == name);
        let package = of_name.next().expect("it is listed");
        assert_eq!(package["version"], version);
        assert_eq!(
            property(package, "stx:listed-in"),
            Some("live/filesystem.manifest")
        );
    }
    let root = &bill["metadata"]["component"];
    assert_eq!(
        property(root, "stx:packages-from"),
        Some("live/filesystem.manifest")
    );
}

#[test]
fn the_bill_of_an_image_without_packages_lists_those_of_the_build() {
    let debian = Debian::new();
    debian.write("disc/vmlinuz", "a kernel");
    let (ran, bill) = debian.bill();
    let note = "outputs/iso/a.iso: the image lists no packages; its bill of materials names the Debian packages of the build";
    assert!(ran.stderr.contains(note), "{}", ran.stderr);
    let packages = packages(&bill);
    assert_eq!(packages.keys().collect::<Vec<_>>(), [PURL]);
    let from = Some("the build: the image tells of no package");
    assert_eq!(property(&packages[PURL], "stx:packages-from"), from);
    assert_eq!(
        property(&bill["metadata"]["component"], "stx:packages-from"),
        from
    );
    let digest = run(&mut tool("sha256sum", [debian.deb().as_str()])).ok();
    assert_eq!(packages[PURL]["hashes"][0]["content"], digest[..64]);
    // The bill does not claim that the image contains it.
    let contained = bill["dependencies"][0]["dependsOn"]
        .as_array()
        .expect("files");
    assert_eq!(contained.len(), 1, "{contained:?}");
    let aggregates = bill["compositions"]
        .as_array()
        .expect("compositions")
        .iter();
    let aggregates: Vec<_> = aggregates
        .map(|one| one["aggregate"].as_str().expect("a word"))
        .collect();
    assert_eq!(aggregates, ["complete", "unknown"]);
}
