//! The metadata of the sample distribution's repositories says what `createrepo_c` says.

use camino::Utf8Path;
use camino_tempfile::Utf8TempDir;

use crate::demo::demo;
use crate::harness::{builds, names, run, tool};

/// Prints all that a `repodata/` says of each package, a fact a line, in an order that does not depend on the file's. What is
/// said twice is printed once: `createrepo_c` repeats requirements that differ in nothing that it writes.
const FACTS: &str = r#"
import glob, gzip, sys
import xml.etree.ElementTree as xml

def facts(element, path):
    path += "/" + element.tag + str(sorted(element.attrib.items()))
    yield path + ": " + (element.text or "").strip()
    for child in element:
        yield from facts(child, path)

for kind in "primary", "filelists", "other":
    [file] = glob.glob(sys.argv[1] + "/*-" + kind + ".xml.gz")
    root = xml.parse(gzip.open(file)).getroot()
    assert int(root.attrib["packages"]) == len(root)
    for package in sorted(sorted(set(facts(package, ""))) for package in root):
        print(kind, *package, sep="\n")
"#;

fn facts(repodata: &Utf8Path) -> String {
    run(&mut tool(
        "/usr/bin/python3",
        ["-I", "-c", FACTS, repodata.as_str()],
    ))
    .ok()
}

#[test]
fn the_sample_s_metadata_says_what_createrepo_c_says() {
    let channel = "master/centos";
    let mirror = demo().mirror();
    let mut repositories = 0;
    // The first build's is made from the packages alone, the second one's from the first one's as well.
    for build in builds(&mirror, channel) {
        let build = mirror.join(channel).join(build);
        for dir in [
            "inputs/RPMS",
            "outputs/RPMS/std",
            "outputs/RPMS/rt",
            "outputs/RPMS/installer",
            "outputs/SRPMS/std",
        ] {
            let (dir, copy) = (build.join(dir), Utf8TempDir::new().expect("a directory"));
            run(&mut tool(
                "cp",
                ["-a", &format!("{dir}/."), copy.path().as_str()],
            ))
            .ok();
            let ours = facts(&copy.path().join("repodata"));
            fs_err::remove_dir_all(copy.path().join("repodata")).expect("removed");
            let theirs = ["--quiet", "--no-database", copy.path().as_str()];
            run(&mut tool("createrepo_c", theirs)).ok();
            let theirs = facts(&copy.path().join("repodata"));
            assert_eq!(ours, theirs, "{dir}");
            let packages = names(&dir)
                .iter()
                .filter(|name| Utf8Path::new(name).extension() == Some("rpm"))
                .count();
            assert!(packages == 0 || ours.contains("pkgid"), "{dir}: {ours}");
            repositories += 1;
        }
    }
    assert_eq!(repositories, 10);
}
