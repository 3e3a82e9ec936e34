//! The recipes of StarlingX against programs of the real names, which check how they are called; `recipes/rehearsal/README.md`.

use std::process::{Child, Command, Stdio};

use camino::Utf8PathBuf;
use camino_tempfile::Utf8TempDir;

use crate::harness::{Started, assert_whole, root, run, stx, tool};
use crate::places::wait;

/// The pod that `stx shell` enters, as docs/starlingx.md has it.
const BUILDER: &str = r#"
[place.builder]
kind = "exec"
late = true
command = ["env", "STX_BUILD_HOME=${STX_BUILD_HOME}", "STX_PLATFORM=${STX_PLATFORM}", "STX_K8S_NAMESPACE=${STX_K8S_NAMESPACE}",
  "KUBECONFIG=${KUBECONFIG}", "PROJECT=${PROJECT}", "OS_CODENAME=${OS_CODENAME}",
  "bash", "-c", "cd \"$1\" && { . ./import-stx; } >&2 && exec stx -d shell --no-tty -c \"$2\"", "stx", "${DESIGNER}/stx-tools"]
one_argument = true
paths = { "STATE/${CHANNEL}" = "/localdisk/stx-builds", "${STX_BUILD_HOME}/localdisk" = "/localdisk", "${STX_BUILD_HOME}/mirrors/starlingx" = "/import/mirrors/starlingx" }

[[place-rule]]
phases = ["docker-login", "download", "packages", "secure-boot", "iso", "wheels", "base-image", "images", "charts", "remote-cli"]
place = "builder"
"#;

/// The container of CentOS, as docs/starlingx.md has it.
const CONTAINER: &str = r#"
[site]
url = "http://mirror.example.org"

[[branch]]
name = "master"
recipe = "RECIPES/starlingx-centos-containers.toml"
after = "master/centos/flock"

[place.container]
kind = "exec"
late = true
command = ["docker", "exec", "--interactive", "--user=${MYUNAME}", "${PROJECT}"]
keep = ["PATH", "HOME"]

[place.container-root]
kind = "exec"
late = true
command = ["docker", "exec", "--interactive", "${PROJECT}"]
keep = ["PATH", "HOME"]

[[place-rule]]
phases = ["sync", "container", "stop-container"]
place = "local"

[[place-rule]]
phases = ["download"]
place = "container-root"

[[place-rule]]
phases = ["*"]
place = "container"
"#;

/// A build server with a mirror.
struct Site {
    dir: Utf8TempDir,
}

/// A channel of it, with the builders' home and what runs pods.
struct Home<'a> {
    site: &'a Site,
    recipe: &'static str,
    branch: &'static str,
    channel: String,
    /// The builders' home, or where the node of the container works.
    builders: Utf8PathBuf,
    /// The state of the channel.
    state: Utf8PathBuf,
    node: Option<Child>,
    /// The tags of its rows in the table.
    tags: &'static str,
    /// Expectations of the programs, without the date.
    expect: String,
}

impl Site {
    fn new(places: &str) -> Self {
        let dir = Utf8TempDir::new().expect("a temporary directory");
        let site = Self { dir };
        let docker = site.at("user/.docker");
        fs_err::create_dir_all(&docker).expect("a home");
        let accounts = r#"{ "auths": { "docker.io": { "auth": "eDp5" } } }"#;
        fs_err::write(docker.join("config.json"), accounts).expect("accounts");
        let builder = places.replace("STATE", site.at("state").as_str());
        let builder = builder.replace("RECIPES", root().join("recipes").as_str());
        let answers = crate::recipes::answers();
        let answers = answers.replace("/srv/stx", site.at("stx").as_str());
        // The container has the server's directories under the same path.
        let localdisk = site.dir.path();
        let config = format!(
            "mirror = \"mirror\"\nstate = \"state\"\n{answers}LOCALDISK = \"{localdisk}\"\n{builder}"
        );
        fs_err::write(site.at("stx-builds.toml"), config).expect("a configuration");
        site
    }

    fn at(&self, name: &str) -> Utf8PathBuf {
        self.dir.path().join(name)
    }

    fn stx(&self, args: &[&str]) -> Command {
        let mut command = stx(args);
        let path = std::env::var("PATH").unwrap_or_default();
        let programs = root().join("recipes/rehearsal/bin");
        command.env("PATH", format!("{programs}:{path}"));
        command.env("HOME", self.at("user")).env("USER", "root");
        command.current_dir(self.dir.path());
        command
    }

    /// The channel of a Debian recipe.
    fn debian(
        &self,
        codename: &str,
        layer: &str,
        recipe: &'static str,
        branch: &'static str,
        release: &str,
    ) -> Home<'_> {
        let channel = format!("{release}/debian/{codename}/amd64/{layer}");
        let builders = self.at("stx").join(project(&channel));
        // The pods have to see the state of the channel.
        let inside = builders.join("localdisk/stx-builds");
        fs_err::create_dir_all(&inside).expect("a home");
        let state = self.at("state").join(&channel);
        fs_err::create_dir_all(state.parent().expect("a directory")).expect("a directory");
        fs_err::os::unix::fs::symlink(&inside, &state).expect("a link");
        let mut home = self.home(recipe, branch, channel, builders);
        let (project, builders) = (project(&home.channel), &home.builders);
        home.expect = format!(
            "KIND=debian TABLE=debian.calls BUILDER=root MANIFEST=default.xml ONLY= CODENAME={codename}\n\
             BUILDERS={builders} DESIGNER={builders}/localdisk/designer/root/{project} INSIDE_JOB=/localdisk/stx-builds/work\n\
             POD_REPO=/localdisk/designer/root/{project}/cgcs-root POD_WORKSPACE=/localdisk/loadbuild/root/{project}/\n"
        );
        home.run_node();
        home
    }

    /// The channel of a CentOS recipe, in a container with the same paths.
    fn centos(
        &self,
        recipe: &'static str,
        branch: &'static str,
        channel: &str,
        layer: &str,
        tags: &'static str,
    ) -> Home<'_> {
        let builders = self.at("user/containers").join(project(channel));
        let mut home = self.home(recipe, branch, channel.to_owned(), builders);
        home.tags = tags;
        home.expect = format!(
            "KIND=centos TABLE=centos.calls LAYER={layer} WORK={0}/work SOURCES={0}/sources LOCALDISK={1}\n",
            home.state,
            self.dir.path()
        );
        home.run_node();
        home
    }

    fn home(
        &self,
        recipe: &'static str,
        branch: &'static str,
        channel: String,
        builders: Utf8PathBuf,
    ) -> Home<'_> {
        let state = self.at("state").join(&channel);
        fs_err::create_dir_all(state.join("kept/rehearsal")).expect("a directory");
        Home {
            site: self,
            recipe,
            branch,
            channel,
            builders,
            state,
            node: None,
            tags: "done iso",
            expect: String::new(),
        }
    }
}

/// The name that no other channel has.
fn project(channel: &str) -> String {
    channel.replace(['/', '.'], "-")
}

impl Home<'_> {
    /// Starts what runs the pod.
    fn run_node(&mut self) {
        fs_err::create_dir_all(&self.builders).expect("a directory");
        let node = root().join("recipes/rehearsal/node");
        let project = project(&self.channel);
        let mut command = tool(node.as_str(), [self.builders.as_str(), &project]);
        command.env("USER", "root").stdin(Stdio::null());
        self.node = Some(command.spawn().expect("it starts; it needs root"));
        wait("the node runs", || {
            self.builders.join("node.ready").exists()
        });
    }

    fn rehearsal(&self, name: &str) -> Utf8PathBuf {
        self.state.join("kept/rehearsal").join(name)
    }

    /// Writes what the programs expect, and starts a build.
    fn start(&self, date: &str) -> Started {
        let expect = format!(
            "BRANCH={} PROJECT={} CHANNEL={} TIMESTAMP={date} PREFIX={} TAGS='{}'\n{}\n",
            self.branch,
            project(&self.channel),
            self.channel,
            self.branch.replace('/', "-"),
            self.tags,
            self.expect,
        );
        fs_err::write(self.rehearsal("expect"), expect).expect("expectations");
        for name in ["calls", "passes", "resumed"] {
            fs_err::remove_file(self.rehearsal(name)).ok();
        }
        let recipe = root().join("recipes").join(self.recipe);
        let args = [
            "build",
            "--branch",
            self.branch,
            "--date",
            date,
            "--recipe",
            recipe.as_str(),
            "--force",
        ];
        let mut build = self.site.stx(&args);
        build.stdout(Stdio::null()).stderr(Stdio::piped());
        Started::new(&mut build)
    }

    #[track_caller]
    fn ends_well(&self, build: Started) {
        let ended = build.output();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let refused = self.refused();
        assert!(
            ended.status.success() && refused.is_empty(),
            "{said}\n{refused}{}",
            self.logs()
        );
    }

    /// The calls that the programs refused, and why.
    fn refused(&self) -> String {
        fs_err::read_to_string(self.rehearsal("refused")).unwrap_or_default()
    }

    fn logs(&self) -> String {
        let dir = self.state.join("logs");
        let names = crate::harness::names(&dir).into_iter();
        names
            .map(|name| fs_err::read_to_string(dir.join(&name)).unwrap_or_default())
            .collect()
    }

    /// How often each row of the table was called.
    fn calls(&self) -> Vec<usize> {
        let text = fs_err::read_to_string(self.rehearsal("calls")).expect("calls");
        let mut counts = Vec::new();
        for row in text.lines() {
            let row: usize = row.parse().expect("a row");
            counts.resize(counts.len().max(row + 1), 0);
            counts[row] += 1;
        }
        counts
    }

    /// The files of a build, by names without its date.
    fn published(&self, date: &str) -> String {
        let dir = self.site.at("mirror").join(&self.channel).join(date);
        let args = [dir.as_str(), "-not", "-type", "d", "-printf", "%P\\n"];
        let found = run(&mut tool("find", args)).ok().replace(date, "DATE");
        let mut names: Vec<_> = found.lines().collect();
        // Names that are digests of files with the date in them.
        let digest = |name: &str| name.contains("/by-hash/") || name.contains(".xml.");
        names.retain(|name| !digest(name));
        names.sort_unstable();
        names.join("\n")
    }
}

impl Drop for Home<'_> {
    fn drop(&mut self) {
        let Some(mut node) = self.node.take() else {
            return;
        };
        // A node that is gone already cannot be asked.
        fs_err::write(self.builders.join("node.requests"), "quit\n").ok();
        node.wait().ok();
    }
}

const FIRST: &str = "20260701T041000Z";
const SECOND: &str = "20260702T041000Z";

#[test]
fn two_branches_of_debian_are_built_side_by_side_and_one_is_killed_and_resumed() {
    let site = Site::new(BUILDER);
    let recipe = "starlingx-debian-trixie.toml";
    let master = site.debian("trixie", "monolithic", recipe, "master", "master");
    let release = site.debian("trixie", "monolithic", recipe, "r/stx.12.0", "rc/12.0");
    // It is killed in the middle of the images, and its client with it.
    fs_err::write(master.rehearsal("hold"), "build-stx-images.sh").expect("a file");
    let mut killed = master.start(FIRST);
    let other = release.start(FIRST);
    wait("the images are being built", || {
        master.rehearsal("held").exists() || master.rehearsal("refused").exists()
    });
    assert_eq!(master.refused(), "");
    killed.kill().expect("a running process");
    killed.wait().expect("it ends");
    release.ends_well(other);
    // Each row of the table once, in its order.
    let calls = release.calls();
    assert!(
        calls.len() > 20 && calls.iter().all(|count| *count == 1),
        "{calls:?}"
    );
    insta::assert_snapshot!("debian_trixie", release.published(FIRST));
    fs_err::remove_file(master.rehearsal("hold")).expect("a file");
    fs_err::write(master.rehearsal("resumed"), "").expect("a file");
    let mut resume = site.stx(&["resume", &master.channel]);
    resume.stderr(Stdio::piped()).stdout(Stdio::null());
    master.ends_well(Started::new(&mut resume));
    let calls = master.calls();
    // The phase that was cut short runs again, no other does.
    assert_eq!(
        calls.iter().filter(|count| **count == 2).count(),
        1,
        "{calls:?}"
    );
    assert_eq!(master.published(FIRST), release.published(FIRST));
    assert_whole(&site.at("mirror"), &master.channel);
}

#[test]
fn debian_bullseye_and_openstack_are_built_as_their_tables_have_it_after_an_older_build_too() {
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
    let builds = [&bullseye, &openstack].map(|home| home.start(FIRST));
    for (home, build) in [&bullseye, &openstack].into_iter().zip(builds) {
        home.ends_well(build);
        let calls = home.calls();
        assert!(calls.iter().all(|count| *count == 1), "{calls:?}");
    }
    insta::assert_snapshot!("debian_bullseye", bullseye.published(FIRST));
    insta::assert_snapshot!("debian_openstack", openstack.published(FIRST));
    // The second build removes what the first one left, but for the downloads.
    let kept = bullseye
        .builders
        .join("mirrors/starlingx/binaries/obsolete_1.0-1_amd64.deb");
    let old = bullseye.builders.join("localdisk/deploy/old.iso");
    fs_err::write(&old, "").expect("a file");
    bullseye.tags = "done iso py2 old";
    bullseye.ends_well(bullseye.start(SECOND));
    assert!(kept.exists() && !old.exists());
    assert_eq!(bullseye.published(SECOND), bullseye.published(FIRST));
}

#[test]
fn a_call_that_the_table_does_not_have_fails_the_build() {
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
    // The pods are stopped in any case.
    assert!(!home.builders.join("pod/ready").exists());
}

#[test]
fn the_recipes_of_centos_are_built_as_their_table_has_it_and_layers_upon_each_other() {
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
    let homes = [
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
            "later std iso images",
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
            "layer packages std iso flock",
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
        published.extend([home.recipe, "\n", &home.published(FIRST), "\n\n"]);
    }
    // Its images get the packages of the flock build.
    let recipe = "starlingx-centos-containers.toml";
    let mut containers = layer(recipe, "containers", "layer images");
    let flock = "PACKAGES=http://mirror.example.org/master/centos/flock/";
    containers.expect.extend([flock, FIRST, "\n"]);
    containers.ends_well(containers.start(SECOND));
    assert!(containers.calls().iter().all(|count| *count == 1));
    published.extend([recipe, "\n", &containers.published(SECOND), "\n"]);
    insta::assert_snapshot!("centos", published);
}

#[test]
fn the_images_of_the_builders_are_built_and_pushed_as_the_table_has_it() {
    let site = Site::new("");
    let channel = "master/debian/build-containers";
    let builders = site.at("user/containers");
    let recipe = "starlingx-debian-build-containers.toml";
    let mut home = site.home(recipe, "master", channel.to_owned(), builders);
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
    let list = site
        .at("mirror")
        .join(channel)
        .join(FIRST)
        .join("outputs/docker-images");
    let list =
        fs_err::read_to_string(list.join("builder-images-debian-latest.lst")).expect("a list");
    insta::assert_snapshot!(list);
}
