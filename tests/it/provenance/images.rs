//! Bills of materials: for the real image of the sample, and for images made by the tests.

use super::*;

/// The components of a bill for the files of its image, by their paths.
fn components(bill: &Value) -> BTreeMap<String, Value> {
    let list = bill["components"].as_array().expect("components").iter();
    let path = |component: &Value| {
        let properties = component["properties"].as_array().expect("properties");
        let mut properties = properties.iter();
        let path = properties.find(|property| property["name"] == "stx:path-in-image");
        path.expect("a path")["value"]
            .as_str()
            .expect("a text")
            .to_owned()
    };
    list.map(|component| (path(component), component.clone()))
        .collect()
}

fn sha256(component: &Value) -> &str {
    let hash = &component["hashes"][0];
    assert_eq!(hash["alg"], "SHA-256");
    hash["content"].as_str().expect("a digest")
}

/// The answer of rpm about a package.
fn query(package: &Utf8Path) -> [String; 4] {
    let format = "%{NAME}\\n%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\\n%{LICENSE}\\n%{ARCH}\\n";
    let mut rpm = tool("rpm", ["-qp", "--nosignature", "--qf", format]);
    let said = run(rpm.arg(package)).ok();
    let lines: Vec<_> = said.lines().map(str::to_owned).collect();
    lines.try_into().expect("four lines")
}

#[test]
fn the_bill_of_the_sample_agrees_with_xorriso_and_rpm() {
    let build = demo().build(1);
    let (image, file) = (
        build.join("outputs/iso/bootimage.iso"),
        build.join("outputs/iso/bootimage.iso.cdx.json"),
    );
    read(&["bill", file.as_str()]).ok();
    let bill = json(&file);
    let component = &bill["metadata"]["component"];
    let digest = run(&mut tool("sha256sum", [image.as_str()])).ok();
    assert_eq!(sha256(component), &digest[..64]);

    let work = Utf8TempDir::new().expect("a temporary directory");
    let out = work.path().join("out");
    let args = [
        "-osirrox",
        "on",
        "-indev",
        image.as_str(),
        "-extract",
        "/",
        out.as_str(),
    ];
    run(&mut tool("xorriso", args)).ok();
    run(&mut tool("chmod", ["-R", "u+rwX", out.as_str()])).ok();
    let extracted: BTreeMap<_, _> = hashed(&out, ".")
        .into_iter()
        .map(|(path, digest)| (path.trim_start_matches("./").to_owned(), digest))
        .collect();
    let components = components(&bill);
    let said: BTreeMap<_, _> = components
        .iter()
        .map(|(path, component)| (path.clone(), sha256(component).to_owned()))
        .collect();
    assert_eq!(said, extracted);

    let mut packages = 0;
    for (path, component) in &components {
        let Some(purl) = component["purl"].as_str() else {
            assert_ne!(Utf8Path::new(path).extension(), Some("rpm"), "{path}");
            continue;
        };
        packages += 1;
        let [name, version, license, arch] = query(&out.join(path));
        assert_eq!(component["name"], name);
        assert_eq!(component["version"], version);
        let licenses = component["licenses"][0].to_string();
        assert!(licenses.contains(&license), "{licenses} {license}");
        assert!(
            purl.starts_with(&format!("pkg:rpm/centos/{name}@")),
            "{purl}"
        );
        assert!(purl.contains(&format!("arch={arch}")), "{purl}");
        let references = component["externalReferences"]
            .as_array()
            .expect("references");
        let published = references
            .iter()
            .find(|reference| reference["type"] == "distribution");
        let url = published.expect("it is published")["url"]
            .as_str()
            .expect("a URL");
        let published = build.join("outputs/iso").join(url);
        run(&mut tool(
            "cmp",
            [out.join(path).as_str(), published.as_str()],
        ))
        .ok();
    }
    assert!(packages >= 5, "{packages}");
}

/// A tree with an image of a package and a kernel.
struct Images {
    dir: Utf8TempDir,
}

impl Images {
    fn new() -> Self {
        let images = Self {
            dir: Utf8TempDir::new().expect("a temporary directory"),
        };
        for dir in ["disc/Packages", "tree/outputs/iso", "tree/outputs/RPMS/std"] {
            fs_err::create_dir_all(images.at(dir)).expect("a directory");
        }
        let name = package().file_name().expect("a name");
        for dir in ["disc/Packages", "tree/outputs/RPMS/std"] {
            fs_err::copy(package(), images.at(dir).join(name)).expect("a copy");
        }
        fs_err::write(images.at("disc/vmlinuz"), "a kernel").expect("a file");
        images
    }

    fn at(&self, path: &str) -> Utf8PathBuf {
        self.dir.path().join(path)
    }

    /// Makes the image from the files in `disc`.
    fn press(&self, image: &str, options: &[&str]) {
        let image = self.at("tree/outputs/iso").join(image);
        let mut xorriso = tool("xorriso", ["-outdev", image.as_str(), "-joliet", "on"]);
        xorriso
            .args(options)
            .args(["-map", self.at("disc").as_str(), "/", "-commit"]);
        run(&mut xorriso).ok();
    }

    fn publish(&self, config: &str) -> Ran {
        fs_err::write(self.at("stx-builds.toml"), config).expect("a file");
        let mut publish = stx(["--mirror", "mirror", "publish", "tree"]);
        publish.args([
            "--channel",
            "master/centos",
            "--date",
            DATE,
            "--result",
            "success",
        ]);
        run(publish.current_dir(self.dir.path()))
    }

    fn build(&self) -> Utf8PathBuf {
        self.at("mirror/master/centos").join(DATE)
    }
}

#[test]
fn an_image_with_any_kind_of_names_is_read_as_linux_reads_it() {
    let images = Images::new();
    images.press("rock-ridge.iso", &[]);
    images.press("joliet.iso", &["-rockridge", "off"]);
    images.publish("").code(0);
    let iso = images.build().join("outputs/iso");
    let bills = ["rock-ridge", "joliet"].map(|name| iso.join(format!("{name}.iso.cdx.json")));
    let files: Vec<_> = bills.iter().map(|bill| bill.as_str()).collect();
    read(&[&["bill"][..], &files].concat()).ok();
    let [rock_ridge, joliet] = bills.each_ref().map(|bill| json(bill));
    assert_ne!(rock_ridge["serialNumber"], joliet["serialNumber"]);
    assert_eq!(rock_ridge["components"], joliet["components"]);
    let components = components(&joliet);
    let paths: Vec<_> = components.keys().map(String::as_str).collect();
    assert_eq!(paths, ["Packages/message-1-1.noarch.rpm", "vmlinuz"]);
    let message = &components["Packages/message-1-1.noarch.rpm"];
    assert_eq!(message["licenses"][0]["expression"], "Apache-2.0");
    assert_eq!(
        message["externalReferences"][0]["url"],
        "../RPMS/std/message-1-1.noarch.rpm"
    );

    let statement = json(&images.build().join(STATEMENT));
    let definition = &statement["predicate"]["buildDefinition"];
    assert_eq!(
        definition["buildType"],
        "https://starlingx.io/stx-builds/publish/v1"
    );
    let stated: BTreeSet<_> = resources(&statement["subject"], "sha256")
        .into_keys()
        .collect();
    assert!(
        stated.contains("outputs/iso/joliet.iso.cdx.json"),
        "{stated:?}"
    );

    // Published again, with and without bills, it is the same build.
    for config in ["", "[sbom]\nenabled = false\n"] {
        let again = images.publish(config).ok();
        assert!(again.contains("was published already"), "{again}");
    }
    run(stx(["--mirror", "mirror", "verify"]).current_dir(images.dir.path())).code(0);
}

#[test]
fn an_unreadable_image_is_reported_or_refused() {
    let images = Images::new();
    images.press("good.iso", &[]);
    fs_err::write(images.at("tree/outputs/iso/bad.iso"), "no image").expect("a file");
    let refused = images.publish("[sbom]\nrequired = true\n").code(4);
    assert!(
        refused.stderr.contains("outputs/iso/bad.iso: no bill"),
        "{}",
        refused.stderr
    );
    assert!(builds(&images.at("mirror"), "master/centos").is_empty());
    let warned = images.publish("").code(0);
    assert!(
        warned
            .stderr
            .contains("warning: outputs/iso/bad.iso: no bill of materials can be made"),
        "{}",
        warned.stderr
    );
    let found = names(&images.build().join("outputs/iso"));
    assert_eq!(found, ["bad.iso", "good.iso", "good.iso.cdx.json"]);
    run(stx(["--mirror", "mirror", "verify"]).current_dir(images.dir.path())).code(0);
}

#[test]
fn names_of_the_build_server_are_not_in_a_bill() {
    let images = Images::new();
    let spec = images.at("told.spec");
    let text = "Name: told\nVersion: 1\nRelease: 1\nSummary: Told\nLicense: MIT\nBuildArch: noarch\n\
        Vendor: builders of yow-lab7\n%description\nTold.\n%files\n";
    fs_err::write(&spec, text).expect("a file");
    let top = format!("_topdir {}", images.dir.path());
    let mut rpmbuild = tool("rpmbuild", ["-bb", "--quiet", "--define", &top]);
    run(rpmbuild.args(["--define", "_buildhost builder", spec.as_str()])).ok();
    fs_err::copy(
        images.at("RPMS/noarch/told-1-1.noarch.rpm"),
        images.at("disc/Packages/told.rpm"),
    )
    .expect("a copy");
    images.press("told.iso", &[]);
    let hosts = "[privacy]\nhosts = [\"yow-lab7\"]\n";
    let refused = images.publish(hosts).code(4);
    assert!(
        refused.stderr.contains("told.iso.cdx.json"),
        "{}",
        refused.stderr
    );
    assert!(builds(&images.at("mirror"), "master/centos").is_empty());
    images
        .publish(&format!("{hosts}[sbom]\nenabled = false\n"))
        .code(0);
}

/// The hand-made bill of an image, with the digest of the image and of a published package.
fn foreign(image: &str, package: &str) -> String {
    let hashes =
        |digest: &str| format!("\"hashes\": [{{\"alg\": \"SHA-256\", \"content\": \"{digest}\"}}]");
    format!(
        "{{\"metadata\": {{\"component\": {{{}}}}}, \"components\": [{{\"externalReferences\": [{{\"type\": \"distribution\", \
         \"url\": \"../RPMS/std/message-1-1.noarch.rpm\", {}}}]}}]}}",
        hashes(image),
        hashes(package)
    )
}

#[test]
fn a_tree_from_before_the_mirror_signed_is_published_again_with_right_bills() {
    let images = Images::new();
    images.press("a.iso", &[]);
    images.publish("").code(0);
    let [tree, aside] = ["tree", "aside"].map(|name| images.at(name));
    fs_err::rename(&tree, &aside).expect("moved");
    fs_err::create_dir(&tree).expect("a directory");
    let outputs = images.build().join("outputs");
    run(&mut tool("cp", ["-r", outputs.as_str(), tree.as_str()])).ok();
    fs_err::rename(images.at("mirror"), images.at("old")).expect("moved");

    let key = Key::new("Release <release@example.org>");
    let signing = key.signing();
    let bill = tree.join("outputs/iso/a.iso.cdx.json");
    // If no bill can be made, the old one is refused with the way out, and nothing is published.
    let without = format!("{signing}\n[sbom]\nenabled = false\n");
    let refused = images.publish(&without).code(4);
    for words in [
        "outputs/iso/a.iso.cdx.json: does not match the files to publish: outputs/RPMS/std/message",
        "remove the bill of materials",
    ] {
        assert!(
            refused.stderr.contains(words),
            "{words}: {}",
            refused.stderr
        );
    }
    assert!(builds(&images.at("mirror"), "master/centos").is_empty());
    let published = images.publish(&signing).code(0);
    assert!(
        published.stderr.contains("a.iso.cdx.json: made again"),
        "{}",
        published.stderr
    );
    let verify = || run(stx(["--mirror", "mirror", "verify"]).current_dir(images.dir.path()));
    verify().code(0);
    let again = images.publish(&signing).ok();
    assert!(again.contains("was published already"), "{again}");

    // The bill of another program is never changed.
    fs_err::rename(images.at("mirror"), images.at("older")).expect("moved");
    let digest =
        |file: Utf8PathBuf| run(&mut tool("sha256sum", [file.as_str()])).ok()[..64].to_owned();
    let image = digest(tree.join("outputs/iso/a.iso"));
    let unsigned = digest(tree.join("outputs/RPMS/std/message-1-1.noarch.rpm"));
    let signed = digest(
        images
            .at("older/master/centos")
            .join(DATE)
            .join("outputs/RPMS/std/message-1-1.noarch.rpm"),
    );
    for (package, config, code) in [
        (&unsigned, &*signing, 4),
        (&signed, &*signing, 0),
        (&signed, "", 4),
    ] {
        drop(fs_err::remove_dir_all(images.at("mirror")));
        let text = foreign(&image, package);
        fs_err::write(&bill, &text).expect("a bill");
        let ran = images.publish(config).code(code);
        if code == 0 {
            let published = images.build().join("outputs/iso/a.iso.cdx.json");
            assert_eq!(fs_err::read_to_string(published).expect("a bill"), text);
            verify().code(0);
        } else {
            assert!(ran.stderr.contains("does not match"), "{}", ran.stderr);
        }
    }
}
