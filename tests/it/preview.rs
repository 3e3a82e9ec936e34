//! The preview of a running build: images that `dnf` and `apt` build from packages of the same build; its readers, and its end.

use std::process::Stdio;

use camino::Utf8PathBuf;
use camino_tempfile::Utf8TempDir;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Ran, Started, assert_whole, run, stx, tool, wait};

/// The parts of a recipe that both distributions share: the commands of an image phase before and after it installs packages.
const BEFORE: &str = r#"
echo "$PREVIEW_URL" > "$RECIPE_DIR/url"
# The mirror has nothing of the build, and shows nothing.
test -z "$(find "$RECIPE_DIR/mirror" -path "*$TIMESTAMP*" -print -quit)"
mkdir -p images/message seen
umoci init --layout images/message/layout
umoci new --image images/message/layout:1
umoci unpack --rootless --image images/message/layout:1 bundle
root=$PWD/bundle/rootfs
get() { curl -sf --noproxy '*' -o "$1" "$2"; }
"#;

const AFTER: &str = r#"
umoci repack --image images/message/layout:1 bundle
rm -r bundle
test -z "$(find "$RECIPE_DIR/mirror" -path "*$TIMESTAMP*" -print -quit)"
"#;

const SPEC: &str = "Name: message\nVersion: 1\nRelease: 1\nSummary: A message\nLicense: Apache-2.0\nBuildArch: noarch\n\
    %description\nA message.\n%install\nmkdir -p %{buildroot}/etc\necho just built > %{buildroot}/etc/message\n\
    %files\n/etc/message\n";

/// A recipe of two phases; the second installs the packages of the first.
fn recipe(distro: &str, packages: &str, publish: &str, image: &str) -> String {
    format!(
        "schema = 1\nname = \"preview\"\n{distro}\n[preview]\n[source]\nphase = \"sync\"\n[[phase]]\nname = \"sync\"\n\
         script = \"true\"\n[[phase]]\nname = \"packages\"\nscript = '''\n{packages}'''\npublish = [{publish}]\n[[phase]]\n\
         name = \"image\"\nneeds = [\"packages\"]\nscript = '''\n{BEFORE}{image}{AFTER}'''\n\
         publish = [{{ from = \"images/**\", to = \"outputs/docker-images\", min = 4 }}]\n"
    )
}

fn rpm_recipe() -> String {
    let packages = "rpmbuild -bb --quiet --define \"_topdir $PWD/rpmbuild\" --define '_buildhost builder' \
                    \"$RECIPE_DIR/message.spec\"\n";
    let publish =
        "{ from = \"rpmbuild/RPMS/*/*.rpm\", to = \"outputs/RPMS/std\", flat = true, min = 1 }";
    let image = r#"
get seen/repomd.xml "$PREVIEW_URL/outputs/RPMS/std/repodata/repomd.xml"
mkdir repos
get repos/build.repo "$PREVIEW_URL.repo"
printf '[main]\nreposdir=%s/repos\ncachedir=%s/cache\nlogdir=%s/log\npersistdir=%s/persist\n' "$PWD" "$PWD" "$PWD" "$PWD" > dnf.conf
dnf -c dnf.conf --disableplugin=local --releasever=7 -y --installroot "$root" install message
grep -q 'just built' "$root/etc/message"
"#;
    recipe("distro = \"centos\"", packages, publish, image)
}

fn deb_recipe() -> String {
    let packages = r"
mkdir -p tree/DEBIAN tree/etc std/packages/message
echo just built > tree/etc/message
printf 'Package: message\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: sample\n' > tree/DEBIAN/control
dpkg-deb --root-owner-group -b tree std/packages/message/message_1_all.deb
";
    let publish =
        "{ from = \"std/packages/*/*.deb\", to = \"outputs/std/packages\", flat = true, min = 1 }";
    let image = r#"
get seen/Packages "$PREVIEW_URL/outputs/std/packages/Packages"
for dir in etc/apt/{apt.conf,sources.list,preferences}.d var/lib/apt/lists/partial var/cache/apt/archives/partial var/lib/dpkg/{info,updates} var/log/apt; do
    mkdir -p "$root/$dir"
done
: > "$root/var/lib/dpkg/status"
get "$root/etc/apt/sources.list.d/build.sources" "$PREVIEW_URL.sources"
cat > apt.conf << END
Dir "$root";
Dir::State::status "$root/var/lib/dpkg/status";
Dir::Bin::Methods "/usr/lib/apt/methods";
Dir::Bin::dpkg "/usr/bin/dpkg";
APT::Architecture "amd64";
APT::Sandbox::User "root";
Acquire::http::Proxy "DIRECT";
Acquire::Languages "none";
DPkg::Options { "--root=$root"; "--force-not-root"; "--force-script-chrootless"; "--log=/dev/null"; };
END
export APT_CONFIG=$PWD/apt.conf DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q -y install message
grep -q 'just built' "$root/etc/message"
# Nothing of the builder is in the image.
rm -r "$root"/etc/apt "$root"/var/lib/apt "$root"/var/cache "$root"/var/log
"#;
    let distro =
        "distro = \"debian\"\ncodename = \"bookworm\"\narch = \"amd64\"\nlayer = \"flock\"";
    recipe(distro, packages, publish, image)
}

struct Place {
    dir: Utf8TempDir,
    channel: &'static str,
}

const DATE: &str = "20200101T000000Z";

impl Place {
    fn new(channel: &'static str, recipe: &str, config: &str) -> Self {
        let dir = Utf8TempDir::new().expect("a temporary directory");
        let place = Self { dir, channel };
        for (name, text) in [
            ("recipe.toml", recipe),
            ("message.spec", SPEC),
            (
                "stx-builds.toml",
                &format!("mirror = \"mirror\"\nstate = \"state\"\n{config}"),
            ),
        ] {
            fs_err::write(place.at(name), text).expect("a file");
        }
        place
    }

    fn at(&self, name: &str) -> Utf8PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = stx(args.iter().copied());
        command.current_dir(self.dir.path());
        command
    }

    fn build(&self) -> std::process::Command {
        self.command(&["build", "--recipe", "recipe.toml", "--date", DATE])
    }

    fn published(&self, name: &str) -> Utf8PathBuf {
        let build = self.at("mirror").join(self.channel).join(DATE);
        build.join(name)
    }

    fn json(&self, name: &str) -> Value {
        let text = fs_err::read_to_string(self.published(name)).expect("a file");
        serde_json::from_str(&text).expect("JSON")
    }

    /// The URL that the phase received.
    fn url(&self) -> String {
        let url = fs_err::read_to_string(self.at("url")).expect("a URL");
        url.trim().to_owned()
    }

    /// The preview's directory.
    fn tree(&self) -> Utf8PathBuf {
        self.at("state").join(self.channel).join("preview")
    }

    /// Asserts that the server has ended, and no files are left.
    fn assert_gone(&self) {
        // 7: cannot connect.
        curl(&[&self.url()]).code(7);
        assert!(!self.tree().exists());
    }
}

fn curl(args: &[&str]) -> Ran {
    let common = ["-s", "--noproxy", "*", "-m", "10"];
    run(&mut tool("curl", [&common[..], args].concat()))
}

/// The status of an answer.
fn status(args: &[&str]) -> String {
    let status = ["-o", "/dev/null", "-w", "%{http_code}"];
    curl(&[&status[..], args].concat()).ok()
}

/// The image phase of each recipe reads from the preview, byte for byte, the files that are later published.
fn assert_image_of_packages_just_built(place: &Place, seen: &str, published: &str) {
    let ran = run(&mut place.build());
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.stdout, ran.stderr);
    place.assert_gone();
    assert_whole(&place.at("mirror"), place.channel);
    let path = format!("/{}/{DATE}", place.channel);
    let url = place.url();
    assert!(
        url.starts_with("http://127.0.0.1:") && url.ends_with(&path),
        "{url}"
    );
    let work = place.at("state").join(place.channel).join("work");
    let read = |file: Utf8PathBuf| fs_err::read_to_string(file).expect("a file");
    assert_eq!(
        read(work.join("seen").join(seen)),
        read(place.published(published))
    );

    let bundle = place.at("bundle");
    let image = place.published("outputs/docker-images/message/layout");
    let image = format!("{image}:1");
    let args = ["unpack", "--rootless", "--image", &image, bundle.as_str()];
    run(&mut tool("umoci", args)).ok();
    assert_eq!(read(bundle.join("rootfs/etc/message")), "just built\n");

    assert_eq!(
        place.json("build.json")["previewed_phases"],
        json!(["packages", "image"])
    );
    let provenance = place.json("provenance.json");
    let definition = &provenance["predicate"]["buildDefinition"];
    assert_eq!(
        definition["internalParameters"],
        json!({ "previewedPhases": ["packages", "image"] })
    );
}

#[test]
fn dnf_makes_an_image_of_packages_just_built() {
    let place = Place::new("master/centos", &rpm_recipe(), "");
    let repomd = "outputs/RPMS/std/repodata/repomd.xml";
    assert_image_of_packages_just_built(&place, "repomd.xml", repomd);
}

#[test]
fn apt_makes_an_image_of_packages_just_built() {
    let channel = "master/debian/bookworm/amd64/flock";
    let place = Place::new(channel, &deb_recipe(), "");
    let packages = "outputs/std/packages/Packages";
    assert_image_of_packages_just_built(&place, "Packages", packages);
}

/// Publishes files in two phases, then waits for permission to continue with `end`.
fn waiting(end: &str) -> String {
    format!(
        r#"
schema = 1
name = "waits"
distro = "centos"
jobs = 1
[preview]
phases = ["one", "many"]
[source]
phase = "sync"
[[phase]]
name = "sync"
script = "true"
publish = [{{ from = "BUILD_INFO", to = "outputs/sync" }}]
[[phase]]
name = "one"
script = '''
mkdir -p deep/er; echo one > deep/er/one.whl; echo two > listed; echo three > unlisted; echo listed > list
'''
publish = [
  {{ from = "deep/*/*.whl", to = "outputs/wheels", flat = true, min = 1 }},
  {{ from = "*listed", from-list = "list", to = "outputs/listed", min = 1 }},
  {{ from = "deep/*/*.whl", to = "outputs/failed", on = "failure" }},
]
[[phase]]
name = "many"
matrix = {{ NAME = ["a", "b"] }}
needs = ["one"]
required = false
script = "echo $NAME > own-$NAME; ln -s own-$NAME to-$NAME; ln -s later later-$NAME; exit 1"
publish = [{{ from = "{{own-,to-,later-}}${{NAME}}", to = "outputs/many", on = "failure" }}]
[[phase]]
name = "last"
run = ["bash", "-c", 'test "$0" = "$PREVIEW_URL" && echo "$0" > "$RECIPE_DIR/url"; until test -e "$RECIPE_DIR/go"; do sleep 0.05; done; touch later; {end}', "${{PREVIEW_URL}}"]
needs = ["one"]
publish = [{{ from = "later", to = "outputs/many" }}]
"#
    )
}

impl Place {
    fn start(&self, mut command: std::process::Command) -> Started {
        fs_err::remove_file(self.at("url")).ok();
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = Started::new(&mut command);
        wait("the last phase runs", || {
            fs_err::read_to_string(self.at("url")).is_ok_and(|url| url.ends_with('\n'))
        });
        child
    }

    /// The paths of the shown files, below the build.
    fn shown(&self) -> Vec<String> {
        let url = self.url();
        let path = url.splitn(4, '/').nth(3).expect("a path");
        let build = self.tree().join("served").join(path);
        let files = walkdir::WalkDir::new(&build).sort_by_file_name();
        let files = files.into_iter().map(|entry| entry.expect("readable"));
        let files = files.filter(|entry| !entry.file_type().is_dir());
        let below = |path: &std::path::Path| {
            let below = path.strip_prefix(&build).expect("below");
            below.to_str().expect("UTF-8").to_owned()
        };
        files.map(|entry| below(entry.path())).collect()
    }
}

#[test]
fn a_preview_shows_the_published_files_to_holders_of_its_token() {
    let config = "[site]\nurl = \"https://mirror.example.org/mirror/starlingx/\"\n[preview]\ntoken = true\naddress = \"127.0.0.2\"\n";
    let place = Place::new("master/centos", &waiting("exit 0"), config);
    let mut child = place.start(place.build());
    let url = place.url();
    let parts: Vec<_> = url.split('/').collect();
    assert!(parts[2].starts_with("127.0.0.2:"), "{url}");
    assert_eq!(parts[3].len(), 32, "{url}");
    let path = parts[4..].join("/");
    assert_eq!(path, format!("mirror/starlingx/master/centos/{DATE}"));

    let shown = place.shown();
    assert_eq!(
        shown,
        [
            "outputs/listed/listed",
            "outputs/many/own-a",
            "outputs/many/own-b",
            "outputs/many/to-a",
            "outputs/many/to-b",
            "outputs/wheels/one.whl",
        ]
    );
    assert_eq!(
        curl(&[&format!("{url}/outputs/wheels/one.whl")]).ok(),
        "one\n"
    );
    assert_eq!(curl(&[&format!("{url}/outputs/many/to-b")]).ok(), "b\n");
    let range = ["-r", "1-2"];
    let part = curl(&[&range[..], &[&format!("{url}/outputs/wheels/one.whl")]].concat());
    assert_eq!(part.ok(), "ne");
    // Access is denied without the token; there are no listings that would reveal it, no files of the workspace, and no writes.
    let host = format!("http://{}", parts[2]);
    let wheel = "outputs/wheels/one.whl";
    for closed in [
        format!("{host}/{path}/{wheel}"),
        format!("{host}/"),
        format!("{host}/{}/", parts[3]),
        format!("{url}/outputs/wheels/"),
        format!("{url}/{}work/unlisted", "../".repeat(6)),
        format!("{url}/outputs/%2e%2e/%2e%2e/new"),
    ] {
        assert_eq!(status(&["--path-as-is", &closed]), "404", "{closed}");
    }
    for method in ["PUT", "POST", "DELETE"] {
        assert_eq!(status(&["-X", method, &format!("{url}/{wheel}")]), "405");
    }
    assert!(!place.published("").exists());

    fs_err::write(place.at("go"), "").expect("a file");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    place.assert_gone();
    // A symlink led to a file that was created later.
    assert!(place.published("outputs/many/later-a").exists());
    for path in &shown {
        assert!(place.published(path).exists(), "{path} is not published");
    }
    assert_eq!(
        place.json("build.json")["previewed_phases"],
        json!(["one", "many-a", "many-b"])
    );
}

#[test]
fn a_preview_ends_with_its_build_whatever_the_outcome() {
    let recipe = waiting("exit 1").replace("later-}", "}");
    let place = Place::new("master/centos", &recipe, "");
    let go = place.at("go");
    let mut child = place.start(place.build());
    run(&mut place.command(&["cancel", "master/centos"])).ok();
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
    place.assert_gone();

    let mut child = place.start(place.build());
    let (url, shown) = (place.url(), place.shown());
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    curl(&[&url]).code(7);
    // A resumed build offers the same files, including those of phases that it does not run again.
    let resume = || place.command(&["resume", "master/centos"]);
    let mut child = place.start(resume());
    assert_eq!(place.shown(), shown);
    let wheel = format!("{}/outputs/wheels/one.whl", place.url());
    assert_eq!(curl(&[&wheel]).ok(), "one\n");
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).expect("a running process");
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
    place.assert_gone();

    let mut child = place.start(resume());
    fs_err::write(&go, "").expect("a file");
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
    place.assert_gone();
    assert_eq!(place.json("build.json")["first_failing_phase"], "last");

    // A build that abandons a killed one removes its preview.
    fs_err::remove_file(&go).expect("a file");
    let later = [
        "build",
        "--recipe",
        "recipe.toml",
        "--date",
        "20200102T000000Z",
    ];
    let mut child = place.start(place.command(&later));
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    assert!(place.tree().is_dir());
    run(&mut place.command(&["resume", "master/centos", "--as-failed"])).code(3);
    place.assert_gone();
}

#[test]
fn a_preview_that_fails_stops_the_next_phase() {
    let recipe = waiting("exit 0").replace("echo one > deep/er/one.whl", "mkfifo deep/er/one.whl");
    let stop =
        "[[phase]]\nname = \"stop\"\nwhen = \"always\"\nscript = 'touch $RECIPE_DIR/stopped'\n";
    let recipe = format!("{recipe}{stop}");
    let place = Place::new("master/centos", &recipe, "");
    let failed = run(&mut place.build());
    assert!(place.at("stopped").exists(), "{}", failed.stderr);
    assert!(!place.at("url").exists());
    let log = place.at("state/master/centos/logs");
    assert!(!log.join("last.log").exists());
    // Such a build cannot be published either.
    assert_eq!(failed.code, Some(4), "{}", failed.stderr);
    assert!(
        failed.stderr.contains("a FIFO, not a file"),
        "{}",
        failed.stderr
    );

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let config = format!("[preview]\nport = {port}\n");
    let place = Place::new("master/centos", &waiting("exit 0"), &config);
    let refused = run(&mut place.build()).code(2);
    assert!(
        refused
            .stderr
            .contains("cannot offer a preview of the build on 127.0.0.1:"),
        "{}",
        refused.stderr
    );
}
