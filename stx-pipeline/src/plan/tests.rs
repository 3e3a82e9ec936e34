use super::planner::split;
use super::*;
use crate::RecipeFiles;

fn request(recipe: &Recipe) -> BuildRequest {
    BuildRequest {
        channel: recipe.channel(stx_layout::ReleaseId::Master),
        branch: "master".into(),
        date: "20181105T060000Z".parse().unwrap(),
        trigger: Some("manual".into()),
        after: None,
        overrides: BTreeMap::new(),
        recipe_dir: "/etc/stx".into(),
        source_root: "/src".into(),
        workspace: "/ws".into(),
        logs: "/logs".into(),
        state_dir: "/kept".into(),
        jobs: 8,
        base_env: [
            ("PATH".into(), "/bin".into()),
            ("HOME".into(), "/home/builder".into()),
            ("USER".into(), "builder".into()),
            ("SECRET".into(), "x".into()),
        ]
        .into(),
    }
}

/// A recipe of `recipes/`, with the values that it asks for.
fn real(name: &str) -> Recipe {
    let dir = camino::Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes");
    let mut read = |file: &camino::Utf8Path| {
        let text = fs_err::read_to_string(dir.join(file));
        text.map_err(|error| error.to_string())
    };
    let file = format!("starlingx-{name}.toml");
    let file = camino::Utf8Path::new(&file);
    let files = RecipeFiles::gather(file, read(file).unwrap(), &mut read);
    let asked = [
        ("STX_BUILD_HOME", "/srv/stx/${PROJECT}"),
        ("GIT_USER", "Builder"),
        ("GIT_EMAIL", "builder@example.org"),
        ("BUILDRC", "/home/builder/buildrc"),
        ("CONTAINER_BUILD_OPTIONS", "--build-arg MYUID=1000"),
    ];
    let asked = asked.map(|(name, value)| (name.to_owned(), value.to_owned()));
    files.read(&asked.into()).unwrap()
}

#[test]
fn the_real_recipes_can_be_planned() {
    for name in ["centos", "debian-bullseye"] {
        let recipe = real(name);
        let plan = plan(&recipe, &request(&recipe)).unwrap();
        insta::assert_snapshot!(name, plan);
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<BuildPlan>(&json).unwrap(), plan);
    }
}

#[test]
fn every_mistake_is_found_at_once() {
    let text = r#"schema = 2
name = "x"
distro = "centos"
timeout = "soon"
colour = "red"
[variables]
A = "${B}"
B = "${A}"
TIMESTAMP = "now"
[source]
phase = "snyc"
[[phase]]
name = "sync"
run = ["repo", "${NOPE}"]
script = "true"
[[phase]]
name = "a"
run = ["a"]
needs = ["b", "c"]
publish = [{ from = "x[", to = "public" }]
[[phase]]
name = "b"
needs = ["a"]
[[phase]]
name = "b"
script = "echo ${anything:-goes}"
"#;
    insta::assert_snapshot!(Recipe::from_toml(text).unwrap_err());
    insta::assert_snapshot!(Recipe::from_toml("schema = \n").unwrap_err());
}

#[test]
fn overrides_replace_variables_and_unknown_ones_are_refused() {
    let recipe = real("debian-trixie");
    let mut request = request(&recipe);
    request.overrides.insert("BUILD_TYPES".into(), "std".into());
    let planned = plan(&recipe, &request).unwrap();
    let download = planned.phases.iter().find(|phase| phase.name == "download");
    assert_eq!(&*download.unwrap().invocation.env["BUILD_TYPES"], "std");
    assert!(!planned.env.contains_key("SECRET"));
    request.overrides.insert("TYPO".into(), "1".into());
    assert!(
        matches!(plan(&recipe, &request), Err(PlanError::NoSuchVariable { name, .. }) if name == "TYPO")
    );
}

#[test]
fn a_glob_is_split_before_its_first_wildcard() {
    assert_eq!(split("charts/**/*.tgz"), ("charts", Some("**/*.tgz")));
    assert_eq!(split("*.rpm"), ("", Some("*.rpm")));
    assert_eq!(split("${A}/b/{c,d}/e"), ("${A}/b", Some("{c,d}/e")));
    assert_eq!(split("a/b.iso"), ("a/b.iso", None));
}

const FEATURES: &str = r#"
schema = 1
name = "x"
distro = "debian"
codename = "trixie"
arch = "amd64"
layer = "monolithic"
state_dirs = ["downloads", "docker/var"]
clean = [["docker", "run", "rm", "${MY_WORKSPACE}"]]
variables = { BUILD_ISO = "true", HOME_DIR = "/srv/${PROJECT}" }
source = { phase = "sync", root = "home/${MUNGED_BRANCH}" }
[[phase]]
name = "sync"
run = ["sync", "${CHANNEL}", "${CODENAME}-${ARCH}-${LAYER}", "${STATE_DIR}"]
[[phase]]
name = "packages"
run = ["a"]
[[phase]]
name = "iso"
run = ["a"]
needs = ["packages"]
if = "${BUILD_ISO}"
[[phase]]
name = "sign"
run = ["a"]
needs = ["iso"]
[[phase]]
name = "no-iso"
run = ["a"]
if = "!${BUILD_ISO}"
"#;

fn planned(text: &str, set: &[(&str, &str)]) -> Result<BuildPlan, PlanError> {
    let recipe = Recipe::from_toml(text).unwrap();
    let mut request = request(&recipe);
    request.branch = "r/stx.12.0".into();
    for (name, value) in set {
        request.overrides.insert((*name).into(), (*value).into());
    }
    plan(&recipe, &request)
}

fn names(plan: &BuildPlan) -> Vec<&str> {
    plan.phases.iter().map(|phase| &*phase.name).collect()
}

#[test]
fn an_omitted_phase_passes_its_needs_to_its_dependents() {
    for yes in ["true", "Yes", "on", "1"] {
        let plan = planned(FEATURES, &[("BUILD_ISO", yes)]).unwrap();
        assert_eq!(names(&plan), ["sync", "packages", "iso", "sign"]);
        assert_eq!(plan.omitted, ["no-iso"]);
    }
    for no in ["false", "no", "OFF", "0", ""] {
        let plan = planned(FEATURES, &[("BUILD_ISO", no)]).unwrap();
        assert_eq!(names(&plan), ["sync", "packages", "sign", "no-iso"]);
        assert_eq!(plan.phases[2].needs, ["sync", "packages"]);
        assert!(
            plan.to_string().ends_with("\nleft out by `if`: iso\n"),
            "{plan}"
        );
    }
    let error = planned(FEATURES, &[("BUILD_ISO", "maybe")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "phase iso: `if = \"${BUILD_ISO}\"` is \"maybe\"; expected true, yes, on, 1, or false, no, off, 0, or nothing"
    );
}

#[test]
fn phases_have_variables_for_the_channel_and_its_kept_directories() {
    let plan = planned(FEATURES, &[]).unwrap();
    let channel = "master/debian/trixie/amd64/monolithic";
    let wanted = [channel, "trixie-amd64-monolithic", "/kept"];
    assert_eq!(plan.phases[0].invocation.args, wanted);
    let project = "master-debian-trixie-amd64-monolithic";
    assert_eq!(&*plan.env["PROJECT"], project);
    assert_eq!(&*plan.env["HOME_DIR"], format!("/srv/{project}"));
    assert_eq!(plan.source_root, "/src/home/r-stx.12.0");
    assert_eq!(&*plan.env["MY_REPO_ROOT"], "/src");
    assert_eq!(plan.state_dirs, ["/kept/downloads", "/kept/docker/var"]);
    assert_eq!(plan.clean[0].to_string(), "docker run rm /ws");
    assert_eq!(plan.clean[0].variable("PHASE"), "clean");
    let own = FEATURES.replace("variables = {", "variables = { PROJECT = \"mine\",");
    let plan = planned(&own, &[]).unwrap();
    assert_eq!(&*plan.env["HOME_DIR"], "/srv/mine");
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<BuildPlan>(&json).unwrap(), plan);
}

#[test]
fn mistakes_of_conditions_final_phases_and_kept_directories_are_found() {
    let text = r#"schema = 1
name = "x"
distro = "centos"
state_dirs = ["../x", "/y", "a//b"]
clean = [[], ["rm", "${NOPE}"]]
source = { phase = "sync", root = "${NOPE}" }
[[phase]]
name = "sync"
run = ["a"]
when = "always"
if = "${JOBS}"
[[phase]]
name = "stop"
run = ["a"]
when = "always"
if = "true"
publish = [
  { from = "a/*", to = "outputs/a", on = "failure", min = 1 },
  { from = "b/*", to = "outputs/a", from-list = "${NOPE}" },
]
[[phase]]
name = "clean"
run = ["a"]
needs = ["stop"]
"#;
    insta::assert_snapshot!(Recipe::from_toml(text).unwrap_err());
    let when = text.replace("when = \"always\"\nif = \"true\"", "when = \"sometimes\"");
    let error = Recipe::from_toml(&when).unwrap_err().to_string();
    assert!(
        error.contains(
            "line 15, column 8: `when`: unknown word `sometimes`, expected one of success, always"
        ),
        "{error}"
    );
}

const PREVIEWED: &str = r#"
schema = 1
name = "x"
distro = "centos"
source = { phase = "sync" }
[preview]
phases = ["rpms", "iso"]
[[phase]]
name = "sync"
script = "true"
[[phase]]
name = "rpms"
matrix = { TYPE = ["std", "rt"] }
script = "true"
publish = [{ from = "${TYPE}/*", to = "outputs/${TYPE}" }, { from = "log", to = "outputs/log-${TYPE}", on = "failure" }]
[[phase]]
name = "iso"
run = ["a", "${PREVIEW_URL}/outputs"]
env = { REPO = "deb ${PREVIEW_URL} ./" }
publish = [{ from = "iso", to = "outputs/iso" }]
[[phase]]
name = "sums"
run = ["a"]
"#;

#[test]
fn a_preview_has_the_named_phases_and_a_url_at_run_time() {
    let recipe = Recipe::from_toml(PREVIEWED).unwrap();
    let date = "20181105T060000Z".parse().unwrap();
    let channel = recipe.channel(stx_layout::ReleaseId::Master);
    let request = BuildRequest::new(channel, "master", date, "/b");
    let previewed = plan(&recipe, &request).unwrap();
    let offered = previewed.preview.clone().unwrap();
    assert_eq!(offered, ["rpms-std", "rpms-rt", "iso"]);
    let iso = previewed.phases.iter().find(|phase| phase.name == "iso");
    let planned = &iso.unwrap().invocation;
    assert!(!planned.env.contains_key("PREVIEW_URL"));
    let runs = planned.clone().knowing("PREVIEW_URL", "http://h/b");
    assert_eq!(runs.args, ["http://h/b/outputs"]);
    assert_eq!(runs.variable("REPO"), "deb http://h/b ./");
    assert_eq!(runs.variable("PREVIEW_URL"), "http://h/b");

    let (succeeded, failed) = (
        stx_layout::PhaseStatus::Succeeded,
        stx_layout::PhaseStatus::Failed,
    );
    let over = |name: &str, status| stx_layout::PhaseRecord {
        name: name.to_owned(),
        status,
        required: true,
        attempts: 1,
        started: None,
        finished: None,
        reason: None,
    };
    // A failed phase without a rule for failures offers nothing.
    let records = [
        over("sync", succeeded),
        over("rpms-std", succeeded),
        over("rpms-rt", failed),
        over("iso", failed),
    ];
    let record = crate::conclude(&previewed, &[], &records, &crate::Collection::default());
    assert_eq!(record.previewed_phases, ["rpms-std", "rpms-rt"]);

    for (old, new, said) in [
        (
            "[preview]\nphases = [\"rpms\", \"iso\"]",
            "",
            "`${PREVIEW_URL}` needs the table `[preview]`",
        ),
        ("\"iso\"]", "\"rpmz\"]", "there is no phase `rpmz`"),
        ("phases = [", "phaze = [", "unknown key `phaze`"),
        (
            "REPO =",
            "PREVIEW_URL =",
            "`PREVIEW_URL` is set by the build",
        ),
    ] {
        assert!(PREVIEWED.contains(old), "{old}");
        let errors = Recipe::from_toml(&PREVIEWED.replacen(old, new, 1)).unwrap_err();
        assert!(errors.to_string().contains(said), "{said}: {errors}");
    }
    // Variables are expanded when a phase runs; paths are expanded before.
    let common = "[variables]\nPUBLISHED = \"${PREVIEW_URL}/x\"\n[preview]\n";
    let text = PREVIEWED.replace("[preview]\n", common);
    let planned = plan(&Recipe::from_toml(&text).unwrap(), &request).unwrap();
    let sync = planned.phases[0].invocation.clone();
    let sync = sync.knowing("PREVIEW_URL", "http://h/b");
    assert_eq!(sync.variable("PUBLISHED"), "http://h/b/x");
    for (old, new) in [
        ("from = \"iso\"", "from = \"${PUBLISHED}\""),
        (
            "name = \"sums\"",
            "name = \"sums\"\ndir = \"${PREVIEW_URL}\"",
        ),
    ] {
        let recipe = Recipe::from_toml(&text.replacen(old, new, 1)).unwrap();
        let error = plan(&recipe, &request).unwrap_err().to_string();
        assert!(
            error.contains("is known only when the phase runs"),
            "{error}"
        );
    }
}

const PUSHING: &str = r#"
schema = 1
name = "x"
distro = "debian"
source = { phase = "sync" }
[variables]
REGISTRY = "docker.io"
IMAGES = "true"
[images]
pushed = true
host = "${REGISTRY}"
required = false
[[phase]]
name = "sync"
script = "true"
[[phase]]
name = "images"
script = "true"
if = "${IMAGES}"
publish = [{ from = "*.lst", to = "outputs/docker-images" }]
"#;

#[test]
fn pushed_images_are_planned_only_with_their_phase() {
    let images = |text: &str| {
        let recipe = Recipe::from_toml(text).unwrap();
        let channel = recipe.channel(stx_layout::ReleaseId::Master);
        let date = "20181105T060000Z".parse().unwrap();
        let request = BuildRequest::new(channel, "master", date, "/b");
        plan(&recipe, &request).unwrap().images
    };
    let planned = images(PUSHING).unwrap();
    assert_eq!(planned.host.as_deref(), Some("docker.io"));
    assert!(planned.optional);
    let required = images(&PUSHING.replace("required = false\n", "")).unwrap();
    assert!(!required.optional);
    assert_eq!(
        images(&PUSHING.replace("\"true\"\n[images]", "\"no\"\n[images]")),
        None
    );

    for (old, new, said) in [
        (
            "pushed = true",
            "pushed = false",
            "`host` needs `pushed = true`",
        ),
        (
            "pushed = true",
            "pushed = false",
            "`required` needs `pushed = true`",
        ),
        ("${REGISTRY}", "${REGISTRI}", "REGISTRI"),
    ] {
        let errors = Recipe::from_toml(&PUSHING.replacen(old, new, 1)).unwrap_err();
        assert!(errors.to_string().contains(said), "{said}: {errors}");
    }
}
