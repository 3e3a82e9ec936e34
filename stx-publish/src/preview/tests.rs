use camino_tempfile::Utf8TempDir;

use super::*;
use crate::conformance::{sample_control, sample_deb, sample_id};
use crate::metadata::Repodata;
use crate::metadata::apt::PACKAGES;

const DIR: &str = "outputs/std/packages";

struct Place {
    dir: Utf8TempDir,
    tree: PreviewTree,
}

impl Place {
    fn new() -> Self {
        let dir = camino_tempfile::tempdir().unwrap();
        let preview = dir.path().join("preview");
        // The files of a killed build are removed.
        fs::create_dir_all(preview.join("served/old")).unwrap();
        let below = Utf8Path::new("m").join(sample_id(5).to_string());
        let metadata = Arc::new(Repodata);
        let tree = PreviewTree::create(&preview, &below, sample_id(5), metadata).unwrap();
        Self { dir, tree }
    }

    /// A package of the workspace, at its path in the build.
    fn deb(&self, name: &str, version: &str) -> (BuildPath, Utf8PathBuf) {
        let file = self.dir.path().join(format!("{name}.deb"));
        fs::write(&file, sample_deb(&sample_control(name, version))).unwrap();
        (format!("{DIR}/{name}.deb").parse().unwrap(), file)
    }

    fn served(&self, name: &str) -> Utf8PathBuf {
        let build = self.tree.root().join("m").join(sample_id(5).to_string());
        build.join(DIR).join(name)
    }

    /// Versions by the names of packages.
    fn packages(&self) -> String {
        let text = fs::read_to_string(self.served(PACKAGES)).unwrap();
        let of_interest = ["Package:", "Version:"];
        let lines = text.lines().filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            of_interest.contains(&name).then_some(value)
        });
        lines.collect::<Vec<_>>().join(" ")
    }

    fn by_hash(&self) -> usize {
        fs::read_dir(self.served("by-hash/SHA256")).unwrap().count()
    }
}

#[tokio::test]
async fn previewed_files_are_linked_and_listed_with_their_current_content() {
    let mut place = Place::new();
    assert!(!place.tree.root().join("old").exists());
    let a = place.deb("a", "1");
    let shown = place.tree.show(vec![a.clone()]).await.unwrap();
    assert_eq!(shown.apt, BTreeSet::from([DIR.parse().unwrap()]));
    assert_eq!(place.packages(), "a 1");
    assert_eq!(fs::read_link(place.served("a.deb")).unwrap(), a.1);
    let release = || fs::metadata(place.served(apt::RELEASE)).unwrap();
    let ino = |metadata: std::fs::Metadata| std::os::unix::fs::MetadataExt::ino(&metadata);
    let (lists, first) = (place.by_hash(), ino(release()));

    // Showing the same files again changes nothing.
    place.tree.show(vec![a.clone()]).await.unwrap();
    let release = || fs::metadata(place.served(apt::RELEASE)).unwrap();
    assert_eq!(ino(release()), first);

    // A later phase adds a package, and another one rewrites a shown one; readers with the earlier lists can still read those.
    let b = place.deb("b", "1");
    place.tree.show(vec![a.clone(), b.clone()]).await.unwrap();
    assert_eq!(place.packages(), "a 1 b 1");
    assert_eq!(place.by_hash(), 2 * lists);
    place.deb("a", "2");
    place.tree.show(vec![a, b.clone()]).await.unwrap();
    assert_eq!(place.packages(), "a 2 b 1");

    // A package that no longer exists is neither shown nor listed.
    place.tree.show(vec![b.clone()]).await.unwrap();
    assert_eq!(place.packages(), "b 1");
    assert!(fs::symlink_metadata(place.served("a.deb")).is_err());

    place.tree.remove().unwrap();
    assert!(!place.tree.root().exists() && b.1.exists());
}

#[tokio::test]
async fn metadata_of_a_previewed_build_is_replaced() {
    let mut place = Place::new();
    let own = place.dir.path().join("own");
    fs::write(&own, "of the build itself").unwrap();
    let own = |name: &str| (format!("{DIR}/{name}").parse().unwrap(), own.clone());
    let a = place.deb("a", "1");
    let files = vec![own(PACKAGES), own("InRelease"), a.clone()];
    place.tree.show(files).await.unwrap();
    assert_eq!(place.packages(), "a 1");
    // `apt` would read it instead of the `Release` that is made here.
    assert!(fs::symlink_metadata(place.served("InRelease")).is_err());

    let link = |name: &str, target: &str| {
        let file = place.dir.path().join(name);
        symlink(target, &file).unwrap();
        (format!("outputs/{name}").parse().unwrap(), file)
    };
    // The target of the first may be made later; a link out of the build never becomes valid.
    let (later, out) = (link("later", "x"), link("out", "/etc/passwd"));
    place.tree.show(vec![a.clone(), later]).await.unwrap();
    let refused = place.tree.show(vec![a, out]).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("absolute path \"/etc/passwd\""),
        "{refused}"
    );
}
