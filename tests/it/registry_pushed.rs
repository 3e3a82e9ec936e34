//! Images that a build itself pushed to a real registry, checked with `skopeo`.

use camino::Utf8Path;

use crate::harness::{run, tool};
use crate::registry::{Published, recorded};
use crate::registry_server::{DockerRegistry, seen_digest};
use crate::retention::january;

/// The directory of the build's lists.
const LISTS: &str = "outputs/docker-images";

/// Pushes an image from a layout, as the phases of a build do; returns its digest.
fn push(layout: &Utf8Path, name: &str) -> String {
    let from = format!("oci:{layout}:x");
    let to = format!("docker://{name}");
    run(&mut tool(
        "skopeo",
        ["copy", "--dest-tls-verify=false", &from, &to],
    ))
    .ok();
    seen_digest(name).expect("it was pushed")
}

/// A tree whose images are on the registry, and not in the tree.
fn tree(registry: &DockerRegistry) -> Published {
    let here = Published::on(&registry.host());
    let images = here.at("tree/outputs/docker-images");
    fs_err::remove_dir_all(images).expect("removed");
    here.outside("nova", "one");
    here.outside("other", "two");
    here
}

fn publish(here: &Published, day: u32, more: &[&str]) -> std::process::Command {
    let mut command = here.publish(day);
    command.arg("--pushed-images").args(more);
    command
}

#[test]
fn images_that_a_build_pushed_are_recorded_by_their_digests_and_never_sent() {
    let registry = DockerRegistry::start();
    let here = tree(&registry);
    let dated = here.name(&format!(
        "stx-nova:master-debian-trixie-amd64-stable-{}.0",
        january(1)
    ));
    let legacy = here.name(&format!("stx-nova:master-debian-stable-{}.0", january(1)));
    let fixed = here.name("dex:stx.4.0-v2.14.0-1");
    let list = format!("{LISTS}/images-debian-trixie-amd64-stable-versioned.lst");
    here.write(&list, &format!("{dated}\n{fixed}\n"));
    here.write(
        &format!("{LISTS}/images-debian-stable-versioned.lst"),
        &format!("{legacy}\n{fixed}\n"),
    );
    let latest = here.name("stx-nova:master-debian-trixie-amd64-stable-latest");
    here.write(
        &format!("{LISTS}/images-debian-trixie-amd64-stable-latest.lst"),
        &format!("{latest}\n"),
    );

    // Each image that the lists name has to be on the registry.
    let refused = run(&mut publish(&here, 1, &[])).code(4);
    assert!(
        refused.stderr.contains(&format!(
            "the registry does not have {fixed}, {legacy}, {dated}"
        )),
        "{}",
        refused.stderr
    );
    assert!(!here.build(1).exists());
    let digest = push(&here.at("nova"), &dated);
    let other = push(&here.at("other"), &fixed);
    assert_eq!(push(&here.at("nova"), &legacy), digest);

    let before = registry.changes();
    run(&mut publish(&here, 1, &[])).code(0);
    let changes = registry.changes().split_off(before.len());
    let tags = [
        "PUT /v2/starlingx/stx-nova/manifests/master-debian-trixie-amd64-stable-latest",
        "PUT /v2/starlingx/stx-nova/manifests/master-debian-stable-latest",
    ];
    assert!(
        changes
            .iter()
            .all(|change| tags.iter().any(|tag| change.starts_with(tag))),
        "{changes:?}"
    );
    assert_eq!(changes.len(), 2, "{changes:?}");
    let record = here.record(1);
    assert_eq!(
        record["images"].as_array().map(Vec::len),
        Some(3),
        "{record:#}"
    );
    for (name, digest) in [(&dated, &digest), (&legacy, &digest), (&fixed, &other)] {
        assert_eq!(recorded(&record, name), *digest, "{name}");
    }
    assert_eq!(
        seen_digest(&latest),
        Some(digest.clone()),
        "the moving tag is set after the commit"
    );
    let published = fs_err::read_to_string(here.build(1).join(list)).expect("a list");
    assert_eq!(
        published,
        format!("{dated}\n{fixed}\n"),
        "the lists are those of the build"
    );

    let before = registry.changes();
    assert_eq!(
        run(&mut publish(&here, 1, &[])).code(0).json()["action"],
        "same"
    );
    assert_eq!(registry.changes(), before);
    run(&mut here.stx(&["verify"])).ok();

    // A tag that was moved since is noticed, and the build is not published over it again.
    push(&here.at("other"), &dated);
    let found = run(&mut here.stx(&["verify"])).code(4);
    assert!(found.stdout.contains("image-changed"), "{}", found.stdout);
}

#[test]
fn staging_tags_are_replaced_by_build_tags_after_the_commit() {
    let registry = DockerRegistry::start();
    let here = tree(&registry);
    let name = |tag: &str| here.name(&format!("stx-builder:{tag}"));
    let tag = format!("master-debian-trixie-amd64-{}", january(1));
    let staged = name(&format!("staging-{tag}"));
    let list = format!("{LISTS}/images-debian-stable-versioned.lst");
    here.write(&list, &format!("{staged}\n"));
    let digest = push(&here.at("nova"), &staged);
    let publish = |more: &[&str]| run(publish(&here, 1, &["--staging", "staging-"]).args(more));
    let planned = publish(&["--dry-run"]).code(0).json();
    assert_eq!(
        planned["images"]["images"][0]["name"],
        name(&tag),
        "{planned:#}"
    );
    assert_eq!(seen_digest(&name(&tag)), None, "a plan makes no tag");
    publish(&[]).code(0);
    assert_eq!(recorded(&here.record(1), &name(&tag)), digest);
    for shown in [name(&tag), name("master-debian-trixie-amd64-latest")] {
        assert_eq!(seen_digest(&shown), Some(digest.clone()), "{shown}");
    }
    let published = fs_err::read_to_string(here.build(1).join(&list)).expect("a list");
    assert_eq!(published, format!("{}\n", name(&tag)));
    assert_eq!(publish(&[]).code(0).json()["action"], "same");

    let lists = here.at("tree").join(&list);
    fs_err::write(lists, format!("{}\n", name(&tag))).expect("a list");
    let refused = publish(&[]).code(4);
    for word in [
        "images-debian-stable-versioned.lst line 1",
        "does not begin with",
    ] {
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
    }
}

/// The recipe of a build whose phase pushes an image and writes the list.
const RECIPE: &str = r#"
schema = 1
name = "images"
distro = "centos"

[images]
pushed = true
staging = "staging-"

[source]
phase = "sync"

[[phase]]
name = "sync"
script = "git init -q $MY_REPO_ROOT/x && git -C $MY_REPO_ROOT/x -c user.name=a -c user.email=a@example.org commit -q --allow-empty -m x"

[[phase]]
name = "images"
script = '''
name=HOST/starlingx/stx-nova:staging-master-centos-stable-$TIMESTAMP.0
skopeo copy -q --dest-tls-verify=false oci:LAYOUT:x docker://$name
echo $name > images-centos-stable-versioned.lst
'''
publish = [{ from = "images-*.lst", to = "outputs/docker-images" }]
"#;

#[test]
fn a_build_whose_phases_push_its_images_is_published_with_them() {
    let registry = DockerRegistry::start();
    let here = tree(&registry);
    let recipe = RECIPE
        .replace("HOST", &registry.host())
        .replace("LAYOUT", here.at("nova").as_str());
    fs_err::write(here.at("recipe.toml"), &recipe).expect("a recipe");
    let date = january(1);
    let recipe = here.at("recipe.toml");
    let args = [
        "build",
        "--recipe",
        recipe.as_str(),
        "--branch",
        "master",
        "--date",
        &date,
    ];
    run(&mut here.stx(&args)).code(0);
    let (name, latest) = (here.nova(1), here.latest());
    let digest = recorded(&here.record(1), &name);
    for shown in [name, latest] {
        assert_eq!(seen_digest(&shown), Some(digest.clone()), "{shown}");
    }

    // Without a registry no phase starts: they could run for hours in vain.
    fs_err::write(here.at("stx-builds.toml"), "mirror = \"mirror\"\n").expect("a configuration");
    let refused =
        run(&mut here.stx(&["build", "--recipe", recipe.as_str(), "--branch", "master"])).code(2);
    assert!(
        refused.stderr.contains("no registry is named"),
        "{}",
        refused.stderr
    );
}
