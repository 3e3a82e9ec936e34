//! A simulated build server for a recipe: its configuration, the node that runs pods and containers, a registry.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

use camino::Utf8PathBuf;
use camino_tempfile::Utf8TempDir;

use crate::harness::{Started, root, run, stx, tool, wait};
use crate::registry::record;
use crate::registry_server::{DockerRegistry, seen_digest};

/// The pod that `stx shell` enters, as in docs/starlingx.md.
pub(super) const BUILDER: &str = r#"
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

/// The container of CentOS, as in docs/starlingx.md.
pub(super) const CONTAINER: &str = r#"
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
pub(super) struct Site {
    dir: Utf8TempDir,
    /// The registry to which the builders push their images.
    pub(super) registry: DockerRegistry,
    /// True if the builders push the latest tags.
    pushes_latest: bool,
}

/// A channel of it, with the builders' home and the node that runs pods.
pub(super) struct Home<'a> {
    site: &'a Site,
    pub(super) recipe: &'static str,
    branch: &'static str,
    pub(super) channel: String,
    /// The builders' home, or the working directory of the container's node.
    pub(super) builders: Utf8PathBuf,
    /// The state of the channel.
    pub(super) state: Utf8PathBuf,
    node: Option<Child>,
    /// The tags of its rows in the table.
    pub(super) tags: &'static str,
    /// The expected arguments of the programs, without the date.
    pub(super) expect: String,
}

impl Site {
    /// A site whose builds record the images that they push.
    pub(super) fn new(places: &str) -> Self {
        Self::with(places, "", true)
    }

    /// A site with more variables; without the table `[registry]`, it does not record images.
    pub(super) fn with(places: &str, variables: &str, has_table: bool) -> Self {
        let dir = Utf8TempDir::new().expect("a temporary directory");
        let site = Self {
            dir,
            registry: DockerRegistry::start(),
            pushes_latest: !variables.contains("PUSH_LATEST_TAGS = \"false\""),
        };
        let docker = site.at("user/.docker");
        fs_err::create_dir_all(&docker).expect("a home");
        let accounts = r#"{ "auths": { "docker.io": { "auth": "eDp5" } } }"#;
        fs_err::write(docker.join("config.json"), accounts).expect("accounts");
        let builder = places.replace("STATE", site.at("state").as_str());
        let builder = builder.replace("RECIPES", root().join("recipes").as_str());
        let answers = crate::recipes::answers();
        let answers = answers.replace("/srv/stx", site.at("stx").as_str());
        // The container sees the server's directories under the same paths.
        let localdisk = site.dir.path();
        let host = site.registry.host();
        let table = format!("[registry]\nhost = \"{host}\"\nplain_http = true\n");
        let table = if has_table { table } else { String::new() };
        let config = format!(
            "mirror = \"mirror\"\nstate = \"state\"\n{table}{answers}LOCALDISK = \"{localdisk}\"\n\
             DOCKER_REGISTRY = \"{host}\"\n{variables}{builder}"
        );
        fs_err::write(site.at("stx-builds.toml"), config).expect("a configuration");
        site
    }

    pub(super) fn at(&self, name: &str) -> Utf8PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn stx(&self, args: &[&str]) -> Command {
        let mut command = stx(args);
        let path = std::env::var("PATH").unwrap_or_default();
        let programs = root().join("recipes/rehearsal/bin");
        command.env("PATH", format!("{programs}:{path}"));
        command.env("HOME", self.at("user")).env("USER", "root");
        command.current_dir(self.dir.path());
        command
    }

    /// The channel of a Debian recipe.
    pub(super) fn debian(
        &self,
        codename: &str,
        layer: &str,
        recipe: &'static str,
        branch: &'static str,
        release: &str,
    ) -> Home<'_> {
        let channel = format!("{release}/debian/{codename}/amd64/{layer}");
        let builders = self.at("stx").join(project(&channel));
        // The pods must see the state of the channel.
        let inside = builders.join("localdisk/stx-builds");
        fs_err::create_dir_all(&inside).expect("a home");
        let state = self.at("state").join(&channel);
        fs_err::create_dir_all(state.parent().expect("a directory")).expect("a directory");
        fs_err::os::unix::fs::symlink(&inside, &state).expect("a link");
        let mut home = self.home(recipe, branch, channel, builders);
        let (project, builders) = (project(&home.channel), &home.builders);
        home.expect = format!(
            "KIND=debian TABLE=debian.calls BUILDER=root MANIFEST=default.xml ONLY= CODENAME={codename}\n\
             BUILDERS={builders} DESIGNER={builders}/localdisk/designer/root/{project} INSIDE_JOB=/localdisk/stx-builds/work \
             WORK={builders}/localdisk/stx-builds/work\n\
             POD_REPO=/localdisk/designer/root/{project}/cgcs-root POD_WORKSPACE=/localdisk/loadbuild/root/{project}/\n"
        );
        home.run_node();
        home
    }

    /// The channel of a CentOS recipe, in a container with the same paths.
    pub(super) fn centos(
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

    pub(super) fn home(
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

/// A unique name for a channel.
pub(super) fn project(channel: &str) -> String {
    channel.replace(['/', '.'], "-")
}

impl Home<'_> {
    /// Starts the node that runs the pod.
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

    pub(super) fn rehearsal(&self, name: &str) -> Utf8PathBuf {
        self.state.join("kept/rehearsal").join(name)
    }

    /// Writes the expected arguments of the programs, and starts a build.
    pub(super) fn start(&self, date: &str) -> Started {
        let expect = format!(
            "BRANCH={} PROJECT={} CHANNEL={} TIMESTAMP={date} PREFIX={} TAGS='{}' REGISTRY={} LATEST={}\n{}\n",
            self.branch,
            project(&self.channel),
            self.channel,
            self.prefix(),
            self.tags,
            self.site.registry.host(),
            if self.site.pushes_latest {
                "--latest"
            } else {
                ""
            },
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
    pub(super) fn ends_well(&self, build: Started) {
        let ended = build.output();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let refused = self.refused();
        assert!(
            ended.status.success() && refused.is_empty(),
            "{said}\n{refused}{}",
            self.logs()
        );
    }

    /// The calls that the programs refused, with the reasons.
    pub(super) fn refused(&self) -> String {
        fs_err::read_to_string(self.rehearsal("refused")).unwrap_or_default()
    }

    pub(super) fn logs(&self) -> String {
        let dir = self.state.join("logs");
        let names = crate::harness::names(&dir).into_iter();
        names
            .map(|name| fs_err::read_to_string(dir.join(&name)).unwrap_or_default())
            .collect()
    }

    /// The number of calls of each row of the table.
    pub(super) fn calls(&self) -> Vec<usize> {
        let text = fs_err::read_to_string(self.rehearsal("calls")).expect("calls");
        let mut counts = Vec::new();
        for row in text.lines() {
            let row: usize = row.parse().expect("a row");
            counts.resize(counts.len().max(row + 1), 0);
            counts[row] += 1;
        }
        counts
    }

    /// The directory of a build on the mirror.
    pub(super) fn build(&self, date: &str) -> Utf8PathBuf {
        self.site.at("mirror").join(&self.channel).join(date)
    }

    /// The images of a build, by names without its date. Checks that the registry has each one, with the digest of the record and the
    /// latest tag, and no other tag of this date.
    #[track_caller]
    pub(super) fn images(&self, date: &str) -> String {
        let record = record(&self.build(date));
        let host = self.site.registry.host();
        let mut names = BTreeSet::new();
        let mut repositories = BTreeSet::new();
        for image in record["images"].as_array().into_iter().flatten() {
            let name = image["name"].as_str().expect("a name");
            let digest = image["digest"].as_str().expect("a digest").to_owned();
            let (head, rest) = name.split_once(date).expect("a dated tag");
            assert!(matches!(rest, "" | ".0"), "{name}");
            for shown in [name, &format!("{head}latest")] {
                assert_eq!(seen_digest(shown), Some(digest.clone()), "{shown}");
            }
            repositories.extend(
                name.rsplit_once(':')
                    .map(|(repository, _)| repository.to_owned()),
            );
            names.insert(name.replace(&host, "REGISTRY"));
        }
        let mut tagged = BTreeSet::new();
        for repository in repositories {
            let image = format!("docker://{repository}");
            let tags = run(&mut tool(
                "skopeo",
                ["list-tags", "--tls-verify=false", &image],
            ));
            let tags = tags.code(0).json()["Tags"].as_array().cloned();
            let of_build = |tag: &str| tag.starts_with(&self.prefix()) && tag.contains(date);
            for tag in tags.expect("tags") {
                let tag = tag.as_str().expect("a tag");
                if of_build(tag) {
                    tagged.insert(format!("{repository}:{tag}").replace(&host, "REGISTRY"));
                }
            }
        }
        assert_eq!(names, tagged);
        let names: Vec<_> = names.into_iter().collect();
        names.join("\n").replace(date, "DATE")
    }

    /// The beginning of the tags of its images.
    fn prefix(&self) -> String {
        self.branch.replace('/', "-")
    }

    /// The files of a build, by names without its date.
    pub(super) fn published(&self, date: &str) -> String {
        let dir = self.build(date);
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
        // The node may have ended already.
        fs_err::write(self.builders.join("node.requests"), "quit\n").ok();
        node.wait().ok();
    }
}
