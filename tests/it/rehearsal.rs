//! Tests the recipes of StarlingX with programs of the real names that check their arguments; `recipes/rehearsal/README.md`.

mod site;

use std::process::Stdio;

use self::site::{BUILDER, CONTAINER, Site};
use crate::harness::{assert_whole, names, wait};
use crate::registry_server::seen_digest;

const FIRST: &str = "20260701T041000Z";
const SECOND: &str = "20260702T041000Z";
const THIRD: &str = "20260703T041000Z";

/// Signs, builds the tarball of clients, and leaves the latest tags to the publisher.
const SIGNED: &str = r#"
PUSH_LATEST_TAGS = "false"
BUILD_REMOTE_CLI = "true"
SECURE_BOOT = "true"
SIGN_ISO = "true"
SIGNING_SERVER = "signer.example.org"
SIGNING_USER = "signer"
SIGNING_KEY_NAME = "key-1"
"#;

#[test]
fn two_branches_of_debian_are_built_side_by_side_and_one_is_killed_and_resumed() {
    let site = Site::with(BUILDER, SIGNED, true);
    let recipe = "starlingx-debian-trixie.toml";
    let mut master = site.debian("trixie", "monolithic", recipe, "master", "master");
    let mut release = site.debian("trixie", "monolithic", recipe, "r/stx.12.0", "rc/12.0");
    for home in [&mut master, &mut release] {
        home.tags = "done iso signed clients";
    }
    // It is killed while it builds the images, together with its client.
    fs_err::write(master.rehearsal("hold"), "build-stx-images.sh").expect("a file");
    let mut killed = master.start(FIRST);
    let other = release.start(FIRST);
    wait("the images are being built", || {
        master.rehearsal("held").exists() || master.rehearsal("refused").exists()
    });
    assert_eq!(master.refused(), "");
    // The base image is on the registry, but not as the latest one.
    let base = format!(
        "{}/starlingx/stx-debian:master-trixie-amd64-stable-",
        site.registry.host()
    );
    assert!(seen_digest(&format!("{base}{FIRST}")).is_some());
    assert_eq!(seen_digest(&format!("{base}latest")), None);
    killed.kill().expect("a running process");
    killed.wait().expect("it ends");
    release.ends_well(other);
    // Each row of the table is called once, in order.
    let calls = release.calls();
    assert!(
        calls.len() > 20 && calls.iter().all(|count| *count == 1),
        "{calls:?}"
    );
    let published = format!("{}\n\n{}", release.published(FIRST), release.images(FIRST));
    insta::assert_snapshot!("debian_trixie", published);
    // Secure boot signs the packages of the repository, and the signing server the boot image.
    let read = |path: &str| fs_err::read(release.build(FIRST).join("outputs").join(path));
    let read = |path: &str| read(path).expect("a file");
    for (place, deb) in [
        ("s/shim", "shim-unsigned_15.8-1.stx.3_amd64.deb"),
        ("g/grub-efi", "grub-efi-amd64_2.06-1.stx.3_amd64.deb"),
    ] {
        let pool = format!("aptly/deb-local-build/pool/main/{place}/{deb}");
        assert_ne!(read(&pool), read(&format!("std/packages/{deb}")), "{deb}");
    }
    let signature = format!("iso/starlingx-intel-x86-64-{FIRST}-cd.sig");
    assert_eq!(read(&signature), b"formally signed by signer.example.org\n");
    fs_err::remove_file(master.rehearsal("hold")).expect("a file");
    fs_err::write(master.rehearsal("resumed"), "").expect("a file");
    let mut resume = site.stx(&["resume", &master.channel]);
    resume.stderr(Stdio::piped()).stdout(Stdio::null());
    master.ends_well(crate::harness::Started::new(&mut resume));
    let calls = master.calls();
    // Only the interrupted phase runs again.
    assert_eq!(
        calls.iter().filter(|count| **count == 2).count(),
        1,
        "{calls:?}"
    );
    assert_eq!(master.published(FIRST), release.published(FIRST));
    let images = release.images(FIRST).replace("r-stx.12.0-", "master-");
    assert_eq!(master.images(FIRST), images);
    assert_whole(&site.at("mirror"), &master.channel);
}

#[test]
fn debian_bullseye_and_openstack_are_built_as_their_tables_say() {
    let site = Site::new(BUILDER);
    let recipe = "starlingx-debian-bullseye.toml";
    let mut bullseye = site.debian("bullseye", "monolithic", recipe, "master", "master");
    bullseye.tags = "done iso py2";
    let recipe = "starlingx-debian-openstack.toml";
    let mut openstack = site.debian("bullseye", "openstack", recipe, "master", "master");
    openstack.tags = "done py2";
    openstack.expect += "MANIFEST=stx-openstack.xml ONLY=--only=stx-fm-rest-api,stx-libvirt,stx-mariadb,stx-ovs,\
                      stx-pci-irq-affinity-agent,stx-heat,stx-nova,stx-ceilometer,stx-neutron,stx-placement,stx-cinder,\
                      stx-openstackclients,stx-keystone,stx-horizon,stx-ironic,stx-barbican,stx-glance,stx-aodh";
    // Both have images of the same name, so they are built at different times.
    let homes = [(&bullseye, FIRST), (&openstack, SECOND)];
    let builds = homes.map(|(home, date)| home.start(date));
    for ((home, _), build) in homes.into_iter().zip(builds) {
        home.ends_well(build);
        let calls = home.calls();
        assert!(calls.iter().all(|count| *count == 1), "{calls:?}");
    }
    for ((home, date), name) in homes
        .into_iter()
        .zip(["debian_bullseye", "debian_openstack"])
    {
        let published = format!("{}\n\n{}", home.published(date), home.images(date));
        insta::assert_snapshot!(name, published);
    }
    // The second build removes the files of the first one, except the downloads.
    let kept = bullseye
        .builders
        .join("mirrors/starlingx/binaries/obsolete_1.0-1_amd64.deb");
    let old = bullseye.builders.join("localdisk/deploy/old.iso");
    fs_err::write(&old, "").expect("a file");
    bullseye.tags = "done iso py2 old";
    bullseye.ends_well(bullseye.start(THIRD));
    assert!(kept.exists() && !old.exists());
    assert_eq!(bullseye.published(THIRD), bullseye.published(FIRST));
    assert_eq!(bullseye.images(THIRD), bullseye.images(FIRST));
}

#[test]
fn a_call_that_is_not_in_the_table_fails_the_build() {
    let site = Site::new(BUILDER);
    let recipe = "starlingx-debian-trixie.toml";
    let mut home = site.debian("trixie", "monolithic", recipe, "master", "master");
    home.tags = "iso failed";
    let config = site.at("stx-builds.toml");
    let text = fs_err::read_to_string(&config).expect("a configuration");
    let text = text.replace(
        "[variables]\n",
        "[variables]\nBUILD_PKGS_OPTIONS = \"--parallel 4\"\n",
    );
    fs_err::write(&config, text).expect("a configuration");
    let ended = home.start(FIRST).output();
    assert_eq!(ended.status.code(), Some(3));
    let refused = fs_err::read_to_string(home.rehearsal("refused")).expect("what was refused");
    let wanted = "packages: not in the table: build-pkgs -a -b std\\,rt --parallel 4";
    assert!(refused.contains(wanted), "{refused}");
    // The pods are always stopped.
    assert!(!home.builders.join("pod/ready").exists());
}

#[test]
fn the_layers_of_centos_are_built_as_their_table_says() {
    let site = Site::new(CONTAINER);
    let layer = |recipe, layer: &str, tags| {
        site.centos(
            recipe,
            "master",
            &format!("master/centos/{layer}"),
            layer,
            tags,
        )
    };
    let mut homes = [
        site.centos(
            "starlingx-centos.toml",
            "r/2018.10",
            "release/2018.10/centos",
            "",
            "2018 std iso",
        ),
        layer(
            "starlingx-centos-monolithic.toml",
            "monolithic",
            "later std iso images charts",
        ),
        layer(
            "starlingx-centos-compiler.toml",
            "compiler",
            "layer packages compiler",
        ),
        layer(
            "starlingx-centos-distro.toml",
            "distro",
            "layer packages std",
        ),
        layer(
            "starlingx-centos-flock.toml",
            "flock",
            "layer packages std iso flock charts",
        ),
    ];
    let builds: Vec<_> = homes.iter().map(|home| home.start(FIRST)).collect();
    let mut published = String::new();
    for (home, build) in homes.iter().zip(builds) {
        home.ends_well(build);
        let calls = home.calls();
        assert!(
            calls.iter().all(|count| *count == 1),
            "{}: {calls:?}",
            home.recipe
        );
        published.extend([home.recipe, "\n", &home.published(FIRST), "\n"]);
        published.extend([&home.images(FIRST), "\n"]);
    }
    // Its images contain the packages of the flock build.
    let recipe = "starlingx-centos-containers.toml";
    let mut containers = layer(recipe, "containers", "layer images");
    let flock = "PACKAGES=http://mirror.example.org/master/centos/flock/";
    containers.expect.extend([flock, FIRST, "\n"]);
    containers.ends_well(containers.start(SECOND));
    assert!(containers.calls().iter().all(|count| *count == 1));
    published.extend([recipe, "\n", &containers.published(SECOND), "\n"]);
    published.extend([&containers.images(SECOND), "\n\n"]);
    // The charts of the flock layer refer to the images of the containers layer, once these exist.
    let lists = containers.build(SECOND).join("outputs/docker-images");
    let config = site.at("stx-builds.toml");
    let text = fs_err::read_to_string(&config).expect("a configuration");
    let text = text.replace(
        "[variables]\n",
        &format!("[variables]\nIMAGE_LISTS_URL = \"file://{lists}\"\n"),
    );
    fs_err::write(&config, text).expect("a configuration");
    let [.., flock] = &mut homes;
    flock.tags = "layer packages std iso flock lists charts";
    flock.ends_well(flock.start(SECOND));
    assert!(flock.calls().iter().all(|count| *count == 1));
    let charts = flock.build(SECOND).join("outputs/helm-charts");
    published.extend(["flock upon containers\n", &names(&charts).join("\n"), "\n"]);
    insta::assert_snapshot!("centos", published);
}

#[test]
fn the_images_of_the_builders_are_built_and_pushed_as_the_table_says() {
    // With a registry that the site configures, and with an unknown one.
    for has_table in [true, false] {
        let site = Site::with("", "", has_table);
        let channel = "master/debian/build-containers";
        let builders = site.at("user/containers");
        let recipe = "starlingx-debian-build-containers.toml";
        let mut home = site.home(recipe, "master", channel.to_owned(), builders);
        home.tags = "latest";
        home.expect = format!(
            "KIND=containers TABLE=containers.calls WORK={0}/work SOURCES={0}/sources\n",
            home.state
        );
        home.ends_well(home.start(FIRST));
        let calls = home.calls();
        assert!(
            calls.len() > 20 && calls.iter().all(|count| *count == 1),
            "{calls:?}"
        );
        let lists = home.build(FIRST).join("outputs/docker-images");
        let list = |name: &str| {
            let file = lists.join(format!("builder-images-debian-{name}.lst"));
            let list = fs_err::read_to_string(file).expect("a list");
            list.replace(&site.registry.host(), "REGISTRY")
        };
        insta::allow_duplicates! {
            insta::assert_snapshot!("builder_images", format!("{}\n{}", list("versioned"), list("latest")));
        }
        let mut images: Vec<_> = list("versioned")
            .replace(FIRST, "DATE")
            .lines()
            .map(str::to_owned)
            .collect();
        images.sort_unstable();
        let recorded = if has_table {
            images.join("\n")
        } else {
            String::new()
        };
        assert_eq!(home.images(FIRST), recorded);
    }
}

#[test]
fn a_recipe_that_pushes_to_a_foreign_registry_is_not_started() {
    let site = Site::new("");
    let config = site.at("stx-builds.toml");
    let text = fs_err::read_to_string(&config).expect("a configuration");
    let host = site.registry.host();
    let text = text.replace(&format!("DOCKER_REGISTRY = \"{host}\"\n"), "");
    fs_err::write(&config, text).expect("a configuration");
    let channel = "master/debian/build-containers".to_owned();
    let builders = site.at("user/containers");
    let home = site.home(
        "starlingx-debian-build-containers.toml",
        "master",
        channel,
        builders,
    );
    let refused = home.start(FIRST).output();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let wanted = format!("the phases push images to docker.io, and `host` of [registry] is {host}");
    assert!(said.contains(&wanted), "{said}");
    assert!(!home.rehearsal("calls").exists(), "no phase has run");
}
