//! Manifests, and the projects that `repo` itself (35bbf701d of its repository) reads from them.
//!
//! The table was made with its own `XmlManifest`: the result of `Load` for these files, with the groups that `repo sync` uses
//! without options on Linux. `None` means that `repo` refuses the manifest.

use std::collections::BTreeMap;

use super::*;

/// A name, the files, and a line for each project: path, URL, revision.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    Option<&'static [&'static str]>,
);

/// The URL of the manifest in all cases.
const URL: &str = "https://h.example/a/b/manifest";

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("plain", &[
      ("default.xml", r#"<remote name="x" fetch=".."/><remote name="y" fetch="https://y.example/g/" revision="main"/><default remote="x" revision="master"/><project name="config" path="a/b"/><project name="integ" revision="r/1"/><project name="other" remote="y"/>"#),
    ], Some(&[
      "a/b https://h.example/a/config master",
      "integ https://h.example/a/integ r/1",
      "other https://y.example/g/other main",
    ])),
    ("layers", &[
      ("default.xml", r#"<include name="distro.xml"/><project name="flock" path="stx/flock"/>"#),
      ("distro.xml", r#"<include name="compiler.xml"/><project name="distro"/>"#),
      ("compiler.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><project name="compiler" path="stx/compiler"/>"#),
    ], Some(&[
      "stx/compiler https://h.example/a/compiler master",
      "distro https://h.example/a/distro master",
      "stx/flock https://h.example/a/flock master",
    ])),
    ("include revision", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><include name="sub.xml" revision="r/5"/><project name="own"/>"#),
      ("sub.xml", r#"<project name="a"/><project name="b" revision="r/6"/><include name="deep.xml"/><include name="deeper.xml" revision="r/7"/>"#),
      ("deep.xml", r#"<project name="c"/>"#),
      ("deeper.xml", r#"<project name="d"/>"#),
    ], Some(&[
      "a https://h.example/a/a r/5",
      "b https://h.example/a/b r/6",
      "c https://h.example/a/c r/5",
      "d https://h.example/a/d r/7",
      "own https://h.example/a/own master",
    ])),
    ("include groups", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><include name="sub.xml" groups="notdefault"/><project name="own"/>"#),
      ("sub.xml", r#"<project name="a"/><project name="b" groups="platform-linux"/>"#),
    ], Some(&[
      "b https://h.example/a/b master",
      "own https://h.example/a/own master",
    ])),
    ("notdefault", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><project name="a" groups="notdefault"/><project name="b" groups="pdk,notdefault,platform-linux"/><project name="c" groups="x y"/><project name="d" groups="notdefault,platform-darwin"/><project name="e" groups="notdefault,all"/>"#),
    ], Some(&[
      "b https://h.example/a/b master",
      "c https://h.example/a/c master",
    ])),
    ("extend", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><remote name="z" fetch="https://z.example"/><project name="a" path="p1"/><project name="a" path="p2" revision="r/2"/><project name="b"/><extend-project name="a" path="p2" revision="r/9" base-rev="r/2"/><extend-project name="b" remote="z" dest-path="new/b" upstream="u"/>"#),
    ], Some(&[
      "p1 https://h.example/a/a master",
      "p2 https://h.example/a/a r/9",
      "new/b https://z.example/b master",
    ])),
    ("extend all", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><project name="a" path="p1"/><project name="a" path="p2"/><extend-project name="a" revision="r/3"/>"#),
    ], Some(&[
      "p1 https://h.example/a/a r/3",
      "p2 https://h.example/a/a r/3",
    ])),
    ("extend groups", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><project name="a"/><project name="b"/><extend-project name="b" groups="notdefault"/>"#),
    ], Some(&[
      "a https://h.example/a/a master",
    ])),
    ("remove", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><include name="sub.xml"/><remove-project name="a"/><project name="a" path="mine"/>"#),
      ("sub.xml", r#"<project name="a"/><project name="b"/>"#),
    ], Some(&[
      "b https://h.example/a/b master",
      "mine https://h.example/a/a master",
    ])),
    ("remove path", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><project name="a" path="p1"/><project name="a" path="p2"/><remove-project path="p2"/><remove-project name="none" optional="true"/>"#),
    ], Some(&[
      "p1 https://h.example/a/a master",
    ])),
    ("remove then extend", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><project name="a"/><project name="b"/><remove-project name="b"/><extend-project name="b" revision="x"/>"#),
    ], None),
    ("remove missing", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><project name="a"/><remove-project name="b"/>"#),
    ], None),
    ("base-rev", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><project name="a"/><remove-project name="a" base-rev="other"/>"#),
    ], None),
    ("same remote twice", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><include name="sub.xml"/>"#),
      ("sub.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><project name="a"/>"#),
    ], Some(&[
      "a https://h.example/a/a master",
    ])),
    ("other remote", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><include name="sub.xml"/>"#),
      ("sub.xml", r#"<remote name="o" fetch="../x"/><project name="a"/>"#),
    ], None),
    ("other default", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><include name="sub.xml"/>"#),
      ("sub.xml", r#"<default remote="o" revision="other"/><project name="a"/>"#),
    ], None),
    ("empty default", &[
      ("default.xml", r#"<default/><include name="sub.xml"/>"#),
      ("sub.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><project name="a" remote="o" revision="x"/>"#),
    ], None),
    ("duplicate path", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><project name="a"/><project name="b" path="a"/>"#),
    ], None),
    ("no remote", &[
      ("default.xml", r#"<project name="a" revision="x"/>"#),
    ], None),
    ("unknown remote", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><project name="a" remote="q"/>"#),
    ], None),
    ("no revision", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o"/><project name="a"/>"#),
    ], None),
    ("remote revision", &[
      ("default.xml", r#"<remote name="o" fetch=".." revision="r/8"/><default remote="o" revision="m"/><project name="a"/>"#),
    ], Some(&[
      "a https://h.example/a/a r/8",
    ])),
    ("nested", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><project name="a" path="p"><project name="b" path="q"/><project name="c"/></project>"#),
    ], Some(&[
      "p https://h.example/a/a master",
      "p/q https://h.example/a/a/b master",
      "p/a/c https://h.example/a/a/c master",
    ])),
    ("missing include", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><include name="no.xml"/>"#),
    ], None),
    ("bad nested include", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><include name="sub.xml"/>"#),
      ("sub.xml", r#"<include name="../x.xml"/>"#),
    ], None),
    ("forward include", &[
      ("default.xml", r#"<include name="x/sub.xml"/><remote name="o" fetch=".."/><default remote="o" revision="master"/>"#),
      ("x/sub.xml", r#"<project name="a"/>"#),
    ], Some(&[
      "a https://h.example/a/a master",
    ])),
    ("extend before", &[
      ("default.xml", r#"<remote name="o" fetch=".."/><default remote="o" revision="master"/><extend-project name="a" revision="x"/><project name="a"/>"#),
    ], None),
];

/// The URL of a manifest, the `fetch` of a remote, and the URL of its project `p`.
#[rustfmt::skip]
const FETCHED: &[(&str, &str, &str)] = &[
    ("https://h.example/a/manifest", "..", "https://h.example/p"),
    ("https://h.example/a/manifest.git", ".", "https://h.example/a/p"),
    ("https://h.example/a/b/manifest", "../..", "https://h.example/p"),
    ("ssh://git@h:29418/a/manifest", "..", "ssh://git@h:29418/p"),
    ("git@h:a/manifest", "..", "ssh://git@h/p"),
    ("git@h:a/b/manifest", "../..", "ssh://git@h/p"),
    ("https://h.example/a/manifest/", "..", "https://h.example/p"),
    ("https://h.example/a/manifest", "/abs", "https://h.example/abs/p"),
    ("https://h.example/a/manifest", "../x/", "https://h.example/x/p"),
    ("/srv/git/manifest", "..", "/srv/p"),
    ("file:///srv/git/manifest", "..", "file:///srv/p"),
    ("https://h.example/manifest", "../../..", "https://h.example/p"),
    ("https://h.example/a/manifest", "ssh://o.example/", "ssh://o.example/p"),
    ("https://h.example/a/manifest", "sub/dir", "https://h.example/a/sub/dir/p"),
];

fn read(url: &str, files: &[(&str, &str)]) -> Result<Vec<Project>, ManifestError> {
    let texts = files.iter().map(|(file, text)| {
        let text = format!("<manifest>\n{text}\n</manifest>");
        ((*file).to_owned(), text)
    });
    projects("default.xml", &texts.collect::<BTreeMap<_, _>>(), url)
}

#[test]
fn manifests_are_read_as_repo_reads_them() {
    for (name, files, expected) in CASES {
        let found = read(URL, files);
        let found = found.map(|projects| {
            let line = |it: &Project| format!("{} {} {}", it.path, it.url, it.revision);
            projects.iter().map(line).collect::<Vec<_>>()
        });
        match expected {
            Some(lines) => assert_eq!(found.as_deref(), Ok(&lines.map_owned()[..]), "{name}"),
            None => assert!(found.is_err(), "{name}: {found:?}"),
        }
    }
    for (url, fetch, expected) in FETCHED {
        let text = format!(
            "<remote name='o' fetch='{fetch}'/><default remote='o' revision='m'/><project name='p'/>"
        );
        let found = read(url, &[("default.xml", &text)]).expect("a manifest");
        assert_eq!(found[0].url, *expected, "{fetch} from {url}");
    }
}

trait Owned {
    fn map_owned(&self) -> Vec<String>;
}

impl Owned for &[&str] {
    fn map_owned(&self) -> Vec<String> {
        self.iter().map(|line| (*line).to_owned()).collect()
    }
}

#[test]
fn an_include_error_names_the_file_and_line() {
    let error = |files: &[(&str, &str)]| {
        let error = read(URL, files).expect_err("it is refused");
        error.to_string()
    };
    let missing = error(&[
        ("default.xml", "\n<include name='a.xml'/>"),
        ("a.xml", "<include name='b.xml'/>"),
    ]);
    assert_eq!(
        missing,
        "a.xml line 2: <include name=\"b.xml\"/>: there is no such file in the manifest's repository"
    );
    let circle = error(&[
        ("default.xml", "\n<include name='a.xml'/>"),
        ("a.xml", "\n\n<include name='b.xml'/>"),
        ("b.xml", "<include name='a.xml'/>"),
    ]);
    assert_eq!(
        circle,
        "b.xml line 2: <include name=\"a.xml\"/>: the files include each other: a.xml > b.xml > a.xml"
    );
    for name in ["/etc/x.xml", "../x.xml", "a/./x.xml", ".repo/x.xml", "a/"] {
        let text = format!("<include name='{name}'/>");
        let error = error(&[("default.xml", &text)]);
        assert!(error.starts_with("default.xml line 2: "), "{error}");
        assert!(error.contains("a path within the repository"), "{error}");
        assert!(includes("d", &format!("<manifest>{text}</manifest>")).is_err());
    }
    // Each file includes the next one twice.
    let files: Vec<_> = (0..40)
        .map(|n| {
            (
                format!("{n}.xml"),
                format!("<include name='{0}.xml'/><include name='{0}.xml'/>", n + 1),
            )
        })
        .collect();
    let mut files: Vec<_> = files
        .iter()
        .map(|(file, text)| (&**file, &**text))
        .collect();
    files.extend([("default.xml", "<include name='0.xml'/>"), ("40.xml", "")]);
    assert!(error(&files).contains("at most 1000 includes"));
}

#[test]
fn other_texts_are_not_manifests() {
    for text in ["", "<manifest>", "<html/>", "<manifest/>"] {
        let texts = [("default.xml".to_owned(), text.to_owned())].into();
        assert!(projects("default.xml", &texts, "/x").is_err(), "{text}");
    }
    let submanifest = read(URL, &[("default.xml", "<submanifest name='x'/>")]);
    let error = submanifest.expect_err("not understood").to_string();
    assert!(
        error.starts_with("default.xml line 2: <submanifest>"),
        "{error}"
    );
}
