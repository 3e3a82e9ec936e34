use super::planner::split;
use super::*;

fn request(recipe: &Recipe) -> BuildRequest {
    BuildRequest {
        channel: recipe.channel(stx_layout::ReleaseId::Master),
        branch: "master".into(),
        date: "20181105T060000Z".parse().unwrap(),
        trigger: Some("manual".into()),
        overrides: BTreeMap::new(),
        recipe_dir: "/etc/stx".into(),
        source_root: "/src".into(),
        workspace: "/ws".into(),
        logs: "/logs".into(),
        jobs: 8,
        base_env: [
            ("PATH".into(), "/bin".into()),
            ("SECRET".into(), "x".into()),
        ]
        .into(),
    }
}

#[test]
fn the_real_recipes_plan() {
    for (name, text) in [
        (
            "centos",
            include_str!("../../../recipes/starlingx-centos.toml"),
        ),
        (
            "debian",
            include_str!("../../../recipes/starlingx-debian.toml"),
        ),
    ] {
        let recipe = Recipe::from_toml(text).unwrap();
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
    let recipe = Recipe::from_toml(include_str!("../../../recipes/starlingx-debian.toml")).unwrap();
    let mut request = request(&recipe);
    request.overrides.insert("BUILD_TYPES".into(), "std".into());
    let planned = plan(&recipe, &request).unwrap();
    assert_eq!(planned.phases[1].invocation.args, ["-b", "-s", "-B", "std"]);
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
