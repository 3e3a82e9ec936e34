//! A distribution in the layers compiler, distro and flock: real packages, a real service, and a verifiable chain.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{binary, builds, names, run, stx, tool, wait_or_show};

/// The layers, lowest first.
const LAYERS: [&str; 3] = ["compiler", "distro", "flock"];

/// Two packages of each layer. One contains the text of the layer below, followed by the text of its own layer.
const SPEC: &str = r"
Name: @LAYER@-base
Version: 1.0
Release: 1
Summary: The base of the @LAYER@ layer
License: Apache-2.0
BuildArch: noarch
%description
%{summary}.
%package -n @LAYER@-config
Summary: The configuration of the @LAYER@ layer
%description -n @LAYER@-config
%{summary}.
%install
mkdir -p %{buildroot}/usr/share/stx %{buildroot}/etc/stx
cat %{below} %{_sourcedir}/text > %{buildroot}/usr/share/stx/@LAYER@
echo @LAYER@ > %{buildroot}/etc/stx/@LAYER@.conf
%files
/usr/share/stx/@LAYER@
%files -n @LAYER@-config
/etc/stx/@LAYER@.conf
";

/// Takes the packages of the layer below from the mirror, and builds on them. Fails if the build below has no pin without an end
/// while a phase reads it.
const RECIPE: &str = r#"
schema = 1
name = "@LAYER@"
distro = "centos"
layer = "@LAYER@"

[tools]
git = "git"
cpio = "cpio"
rpmbuild = { apt = "rpm", dnf = "rpm-build" }
rpm2cpio = { apt = "rpm2cpio", dnf = "rpm" }

[source]
phase = "sync"
repositories = ["*"]

[[phase]]
name = "sync"
dir = "${MY_REPO_ROOT}"
script = '''
test -d @LAYER@ || git clone -q "$RECIPE_DIR/@LAYER@" @LAYER@
git -C @LAYER@ fetch -q origin "$BRANCH"
git -C @LAYER@ checkout -q -f FETCH_HEAD
'''

[[phase]]
name = "below"
script = '''
mkdir -p below; touch below/none
test -n "$AFTER_URL" || exit 0
"@STX@" --mirror "${AFTER_URL%/"$AFTER_BUILD"}" pins > pins
grep "^$AFTER_BUILD  *for ever  *master/centos/@LAYER@ " pins
cd below
for package in "$AFTER_URL"/outputs/RPMS/std/*.rpm; do
    rpm2cpio "$package" | cpio -idm --quiet
done
'''

[[phase]]
name = "packages"
needs = ["below"]
script = '''
below=$(echo below/usr/share/stx/*)
test -e "$below" || below=below/none
rpmbuild -bb --quiet --define "_topdir $MY_WORKSPACE/rpmbuild" --define "_sourcedir $MY_REPO_ROOT/@LAYER@" \
    --define "below $MY_WORKSPACE/$below" --define "_buildhost stx" "$MY_REPO_ROOT/@LAYER@/package.spec"
'''
publish = [{ from = "rpmbuild/RPMS/**/*.rpm", to = "outputs/RPMS/std", flat = true, min = 2 }]
"#;

/// Only the compiler layer is polled for commits.
const CONFIG: &str = r#"
mirror = "mirror"
state = "state"

[service]
survey = "1s"
max_builds = 2
on_stop = "interrupt"

[[branch]]
name = "master"
recipe = "compiler.toml"
watch = ["compiler"]
poll = "1s"
paths = ["!compiler/docs/**"]

[[branch]]
name = "master"
recipe = "distro.toml"
after = "master/centos/compiler"

[[branch]]
name = "master"
recipe = "flock.toml"
after = "master/centos/distro"
"#;

struct Layers {
    dir: Utf8TempDir,
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // A failed test must not leave the service running.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Layers {
    fn new() -> Self {
        let dir = Utf8TempDir::new().expect("a temporary directory");
        let layers = Self { dir };
        for layer in LAYERS {
            fs_err::create_dir(layers.at(layer)).expect("a git");
            run(tool("git", ["init", "-q", "-b", "master"]).current_dir(layers.at(layer))).ok();
            layers.commit(layer, "package.spec", SPEC);
            layers.commit(layer, "text", "@LAYER@ one\n");
            let recipe = RECIPE.replace("@LAYER@", layer);
            let recipe = recipe.replace("@STX@", binary().as_str());
            fs_err::write(layers.at(&format!("{layer}.toml")), recipe).expect("a recipe");
        }
        fs_err::write(layers.at("stx-builds.toml"), CONFIG).expect("a configuration");
        layers
    }

    fn at(&self, name: &str) -> Utf8PathBuf {
        self.dir.path().join(name)
    }

    fn commit(&self, layer: &str, file: &str, text: &str) {
        let git = self.at(layer);
        fs_err::create_dir_all(git.join(file).parent().expect("a directory")).expect("a directory");
        let text = text.replace("@LAYER@", layer);
        fs_err::write(git.join(file), text).expect("a file");
        run(tool("git", ["add", "."]).current_dir(&git)).ok();
        let author = ["-c", "user.name=A", "-c", "user.email=a@example.org"];
        let commit = ["commit", "-q", "-m", "change"];
        run(tool("git", [author.as_slice(), &commit].concat()).current_dir(&git)).ok();
    }

    fn stx(&self, args: &[&str]) -> Command {
        let mut command = stx(args.iter().copied());
        command.current_dir(self.dir.path());
        command
    }

    fn start(&self) -> Daemon {
        let mut log = fs_err::OpenOptions::new();
        let log = log.create(true).append(true).open(self.at("daemon.log"));
        let child = self
            .stx(&["daemon"])
            .stdout(Stdio::null())
            .stderr(Stdio::from(log.expect("a log").into_parts().0))
            .spawn();
        Daemon(child.expect("the service starts"))
    }

    fn builds(&self, layer: &str) -> Vec<String> {
        builds(&self.at("mirror"), &format!("master/centos/{layer}"))
    }

    /// The builds of each layer.
    fn counts(&self) -> [usize; 3] {
        LAYERS.map(|layer| self.builds(layer).len())
    }

    #[track_caller]
    fn until(&self, what: &str, so: impl FnMut() -> bool) {
        wait_or_show(what, so, || {
            fs_err::read_to_string(self.at("daemon.log")).unwrap_or_default()
        });
    }

    /// The file of a build.
    fn build(&self, layer: &str, date: &str) -> Utf8PathBuf {
        self.at("mirror/master/centos").join(layer).join(date)
    }

    fn record(&self, layer: &str, date: &str) -> Value {
        let file = self.build(layer, date).join("build.json");
        serde_json::from_str(&fs_err::read_to_string(file).expect("a record")).expect("JSON")
    }

    /// The build below, as the record names it.
    fn after(&self, layer: &str, date: &str) -> Option<String> {
        Some(
            self.record(layer, date)["after"]["build"]
                .as_str()?
                .to_owned(),
        )
    }

    /// The text of a layer's package, by rpm's own tools.
    fn text(&self, layer: &str, date: &str) -> String {
        let package = self.build(layer, date).join("outputs/RPMS/std");
        let package = package.join(format!("{layer}-base-1.0-1.noarch.rpm"));
        let unpack = "rpm2cpio \"$1\" | cpio -i --quiet --to-stdout \"./usr/share/stx/$2\"";
        run(&mut tool(
            "sh",
            ["-c", unpack, "sh", package.as_str(), layer],
        ))
        .ok()
    }

    fn history(&self) -> String {
        run(&mut self.stx(&["history"])).ok()
    }
}

fn sha256(file: &Utf8Path) -> String {
    let sum = run(&mut tool("sha256sum", [file.as_str()])).ok();
    sum.split(' ').next().expect("a digest").to_owned()
}

fn signal(daemon: &Daemon, signal: Signal) {
    kill_process(Pid::from_child(&daemon.0), signal).expect("the service runs");
}

#[test]
fn a_commit_in_the_lowest_layer_builds_each_layer_once() {
    let layers = Layers::new();
    let mut daemon = layers.start();
    layers.until("the first builds", || layers.counts() == [1, 1, 1]);

    // A failure in the layer below starts no build.
    layers.commit("compiler", "package.spec", "no spec\n");
    layers.until("the failure", || layers.counts() == [2, 1, 1]);

    // The service dies as soon as there is a success, and is started again.
    layers.commit("compiler", "package.spec", SPEC);
    layers.commit("compiler", "text", "compiler two\n");
    layers.until("the success", || layers.counts()[0] >= 3);
    signal(&daemon, Signal::KILL);
    daemon.0.wait().expect("it ends");
    let mut daemon = layers.start();
    layers.until("the ripple", || layers.counts() == [3, 2, 2]);

    // Long enough for another look at everything.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(layers.counts(), [3, 2, 2], "{}", layers.history());
    signal(&daemon, Signal::TERM);
    assert_eq!(daemon.0.wait().expect("it ends").code(), Some(0));

    // Each record names the build below, and the packages contain its text.
    let compiler = layers.builds("compiler");
    let good = [&compiler[0], &compiler[2]];
    let (distro, flock) = (layers.builds("distro"), layers.builds("flock"));
    for (number, word) in ["one", "two"].into_iter().enumerate() {
        assert_eq!(layers.after("compiler", good[number]), None);
        for (layer, date, below, lower) in [
            ("distro", &distro[number], "compiler", good[number]),
            ("flock", &flock[number], "distro", &distro[number]),
        ] {
            let upon = format!("master/centos/{below}/{lower}");
            assert_eq!(layers.after(layer, date).as_ref(), Some(&upon));
            let sums = sha256(&layers.build(below, lower).join("SHA256SUMS"));
            assert_eq!(layers.record(layer, date)["after"]["sums"], *sums);
            let trigger = layers.record(layer, date)["trigger"].clone();
            assert_eq!(trigger, format!("after {upon}"));
            // The provenance names the build below as a dependency.
            let provenance = layers.build(layer, date).join("provenance.json");
            let provenance = fs_err::read_to_string(provenance).expect("a provenance");
            let provenance: Value = serde_json::from_str(&provenance).expect("JSON");
            let dependencies = &provenance["predicate"]["buildDefinition"]["resolvedDependencies"];
            let stated = dependencies.as_array().expect("a list").iter();
            let stated: Vec<_> = stated
                .filter(|one| one["name"] == format!("{upon}/SHA256SUMS"))
                .map(|one| one["digest"]["sha256"].clone())
                .collect();
            assert_eq!(stated, [Value::from(sums)]);
        }
        let text = layers.text("flock", &flock[number]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [&format!("compiler {word}"), "distro one", "flock one"]
        );
    }

    let status = run(&mut layers.stx(&["status", "--format", "json"])).json();
    let shown = status["layers"].as_array().expect("a list").iter();
    let shown: Vec<_> = shown
        .map(|layer| {
            format!(
                "{} {} {}",
                layer["channel"], layer["state"], layer["starts"]
            )
        })
        .map(|line| line.replace('"', ""))
        .collect();
    assert_eq!(
        shown,
        [
            "master/centos/compiler up-to-date [master/centos/distro]",
            "master/centos/distro up-to-date [master/centos/flock]",
            "master/centos/flock up-to-date []",
        ]
    );
    graph(&layers, "up to date", "up to date");
    by_hand(&layers);
    graph(&layers, "up to date", "behind");
    by_channel(&layers);
    retention(&layers, &distro[0], good[0]);
    chain(&layers, &flock[1], &distro[1]);
}

/// Three entries build `master`: a request names one of them by its channel.
fn by_channel(layers: &Layers) {
    let refused = run(&mut layers.stx(&["trigger", "master"])).code(2).stderr;
    let names = LAYERS.map(|layer| format!("master/centos/{layer}"));
    for wanted in [
        format!(
            "several entries of the configuration build master: {}",
            names.join(", ")
        ),
        format!("name the channel, as in `stx-builds trigger {}`", names[0]),
    ] {
        assert!(refused.contains(&wanted), "{refused}");
    }
    let flock = ["trigger", "master/centos/flock"];
    let tag = [&flock[..], &["--tag", "v1"]].concat();
    run(&mut layers.stx(&tag)).code(2);
    let asked = run(&mut layers.stx(&flock)).ok();
    assert!(
        asked.contains("asked for master/centos/flock of master"),
        "{asked}"
    );
}

/// The root page shows the layers, each in the list of the layer below, with its state. The pages are made without the configuration,
/// like those of a copy.
fn graph(layers: &Layers, distro: &str, flock: &str) {
    let mirror = layers.at("mirror");
    let mut pages = stx(["--mirror", mirror.as_str(), "pages"]);
    run(pages
        .current_dir(mirror.parent().expect("a directory"))
        .args(["--config", "/dev/null"]))
    .ok();
    let html = fs_err::read_to_string(mirror.join("index.html")).expect("a page");
    let (_, list) = html.split_once("<ul class=\"layers\"").expect("a list");
    let text = list.replace("<wbr>", "").replace(['<', '>'], "\n");
    let shown = text.lines().filter(|line| {
        LAYERS
            .iter()
            .any(|layer| *line == format!("master/centos/{layer}"))
            || ["ul", "/ul", "up to date", "behind"].contains(line)
    });
    let shown: Vec<_> = shown.collect();
    let wanted = [
        "master/centos/compiler",
        "ul",
        "master/centos/distro",
        distro,
        "ul",
        "master/centos/flock",
        flock,
        "/ul",
        "/ul",
        "/ul",
    ];
    assert_eq!(shown, wanted, "{list}");
}

/// A `build` by hand decides like the service: it finds nothing new, and with `--force` builds upon the newest build below.
fn by_hand(layers: &Layers) {
    let build = ["build", "--branch", "master", "--recipe", "distro.toml"];
    let unchanged = run(&mut layers.stx(&build)).code(0);
    assert!(
        unchanged.stderr.contains("nothing changed since"),
        "{}",
        unchanged.stderr
    );
    // A commit counts by the path of its repository in the source tree, too.
    layers.commit("compiler", "docs/a.md", "words\n");
    let docs = ["build", "--branch", "master", "--recipe", "compiler.toml"];
    let unchanged = run(&mut layers.stx(&docs)).code(0);
    assert!(
        unchanged
            .stderr
            .contains("only files changed that `paths` leaves out"),
        "{}",
        unchanged.stderr
    );
    let newest = layers.builds("compiler").pop().expect("a build");
    let upon = format!("master/centos/compiler/{newest}");
    let plan = run(&mut layers.stx(&[&build[..], &["--dry-run"]].concat())).ok();
    let url = layers.at("mirror").join(&upon);
    assert!(
        plan.contains(&format!("AFTER_BUILD={upon}")) && plan.contains(&format!("AFTER_URL={url}")),
        "{plan}"
    );
    run(&mut layers.stx(&[&build[..], &["--force"]].concat())).ok();
    let forced = layers.builds("distro").pop().expect("a build");
    assert_eq!(layers.after("distro", &forced), Some(upon));
    let status = run(&mut layers.stx(&["status"])).ok();
    // An alarm of the killed service may have widened the columns.
    let words = status.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = "layer master/centos/flock behind, after master/centos/distro, built upon ";
    assert!(words.contains(line), "{status}");
}

/// A build on which others are based is kept, and pins end with the builds that needed them.
fn retention(layers: &Layers, distro: &str, compiler: &str) {
    let build = format!("master/centos/compiler/{compiler}");
    let now = ["--now", "2999-01-01T00:00:00Z"];
    let why = run(&mut layers.stx(&[&now[..], &["explain", &build]].concat())).ok();
    let by = format!("in use by master/centos/distro/{distro}, which was built upon it");
    assert!(why.contains(&by), "{why}");
    // Readers see the same.
    let show = run(&mut layers.stx(&[&now[..], &["show", &build]].concat())).ok();
    assert!(show.contains(&by), "{show}");
    let list = ["list", "master/centos/compiler", "--format", "json"];
    let list = run(&mut layers.stx(&[&now[..], &list].concat())).json();
    let listed = list["builds"].as_array().expect("builds").iter();
    let listed = { listed }.find(|listed| listed["build"] == *build);
    let reasons = listed.expect("the build")["retention"].to_string();
    assert!(
        reasons.contains(by.trim_start_matches("in use by ")),
        "{reasons}"
    );
    let pins = run(&mut layers.stx(&["pins", "--format", "json"])).json();
    let pins = pins.as_array().expect("a list").clone();
    assert!(!pins.is_empty());
    for pin in pins {
        assert!(pin["until"].is_string(), "{pin}");
    }
}

/// `verify` follows the chain down, and reports where it breaks.
fn chain(layers: &Layers, flock: &str, distro: &str) {
    run(&mut layers.stx(&["verify"])).ok();
    let build = format!("master/centos/flock/{flock}");
    run(&mut layers.stx(&["verify", &build])).ok();
    let kinds = || {
        let found = run(&mut layers.stx(&["verify", &build, "--format", "json"])).json();
        let found = found["findings"].as_array().expect("a list").clone();
        let about = |one: &Value| format!("{} {}", one["kind"], one["build"]).replace('"', "");
        found.iter().map(about).collect::<Vec<_>>()
    };
    assert_eq!(kinds(), Vec::<String>::new());
    // Two layers down, seen from the top.
    let lower = layers.after("distro", distro).expect("a build below");
    let sums = layers.at("mirror").join(&lower).join("SHA256SUMS");
    let text = fs_err::read_to_string(&sums).expect("the sums");
    fs_err::write(&sums, text.replacen('1', "2", 1)).expect("other sums");
    let expected = format!("after-differs master/centos/distro/{distro}");
    assert_eq!(kinds(), [expected]);
    fs_err::remove_dir_all(layers.at("mirror").join(&lower)).expect("a build");
    let expected = format!("after-gone master/centos/distro/{distro}");
    assert_eq!(kinds(), [expected]);
    assert!(names(&layers.at("mirror/master/centos/flock")).contains(&flock.to_owned()));
}
