//! `doctor`: reports all mistakes of a configuration at once, and nothing for a correct one.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use camino::Utf8PathBuf;
use camino_tempfile::Utf8TempDir;
use serde_json::Value;

use crate::full_disk::Disk;
use crate::harness::{in_memory, publish_args, root, run, stx};

/// A directory with a configuration.
struct Bed {
    dir: Utf8TempDir,
}

impl Bed {
    fn new() -> Self {
        // The real disk may be full, which would be a finding.
        Self { dir: in_memory() }
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs_err::write(self.path(name), text).expect("a file");
    }

    fn make(&self, name: &str, mode: u32) {
        fs_err::create_dir(self.path(name)).expect("a directory");
        // Regardless of the umask.
        fs_err::set_permissions(self.path(name), PermissionsExt::from_mode(mode)).expect("a mode");
    }

    fn stx(&self, args: &[&str]) -> Command {
        let mut command = stx(args.iter().copied());
        command.current_dir(self.dir.path());
        command
    }

    /// The findings, from the JSON output.
    fn findings(&self, code: i32, args: &[&str]) -> Vec<Value> {
        let ran = run(self.stx(&["doctor", "--format", "json"]).args(args));
        let diagnosis = ran.code(code).json();
        let findings = diagnosis["findings"].as_array().expect("a list").clone();
        let severe = |severity: &str| {
            findings
                .iter()
                .filter(|it| it["severity"] == severity)
                .count()
        };
        assert_eq!(diagnosis["errors"], severe("error"));
        assert_eq!(diagnosis["warnings"], severe("warning"));
        findings
    }
}

const RECIPE: &str = "schema = 1\nname = \"x\"\ndistro = \"centos\"\n[source]\nphase = \"sync\"\nrepositories = []\n\
    [[phase]]\nname = \"sync\"\nrun = [\"true\"]\n";

/// Each comment numbers the mistake of its line.
const TWELVE: &str = r#"mirror = "mirror"
state = "state"
recipe = "tools.toml"              # 1: a program that is not there
policy = "policy.toml"             # 2: a rule that matches no channel
on_interrupt = "never"             # 3: a wrong word

[service]
spool = "spool"                    # 4: everybody can write it
max_build = 2                      # 5: a misspelt key
min_free_percent = 100             # 6: a number out of its range
hook = ["./notify"]                # 7: not executable
metrics = "gone/x.prom"            # 8: no such directory

[signing]
key_file = "gone.asc"              # 9: no such key

[[branch]]
name = "master"
schedule = "0 6 30 2 *"            # 10: it never fires

[[branch]]
name = "r/2018.10"
recipe = "wrong.toml"              # 11: a mistake in the recipe

[[lab]]
name = "sanity"
channel = "release/*"
command = ["/nonexistent/lab"]     # 12: no such program
"#;

#[test]
fn twelve_mistakes_are_twelve_findings() {
    let bed = Bed::new();
    bed.write("stx-builds.toml", TWELVE);
    let tools = "distro = \"centos\"\n[tools]\nno-such-tool = { apt = \"toolbox\", dnf = \"toolbox-dnf\" }\n";
    bed.write(
        "tools.toml",
        &RECIPE.replace("distro = \"centos\"\n", tools),
    );
    bed.write(
        "wrong.toml",
        &RECIPE.replace("run = [\"true\"]", "run = \"true\""),
    );
    bed.write(
        "policy.toml",
        "[[channel]]\nmatch = \"mastre/*\"\nkeep = \"30 days\"\n",
    );
    bed.write("notify", "#!/bin/sh\n");
    bed.make("spool", 0o777);
    let findings = bed.findings(2, &[]);
    assert_eq!(findings.len(), 12, "{findings:#?}");
    for finding in &findings {
        for key in ["why", "fix", "message", "subject", "file"] {
            let text = finding[key].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{key}: {finding:#}");
        }
        assert!(
            finding["line"].is_u64() && finding["column"].is_u64(),
            "{finding:#}"
        );
    }
    let human = run(&mut bed.stx(&["doctor"])).code(2);
    let said = human
        .stdout
        .replace(&format!("{}/", bed.dir.path()), "DIR/");
    insta::assert_snapshot!(said);
    assert!(
        human.stderr.contains("error: 11 errors, 1 warning"),
        "{}",
        human.stderr
    );
    // The older spelling gives the same result.
    let check = run(&mut bed.stx(&["daemon", "--check"])).code(2);
    assert_eq!((check.stdout, check.stderr), (human.stdout, human.stderr));
}

/// The sample configuration in a directory of its own, with its text modified by `change`.
fn sample(change: impl Fn(String) -> String) -> Bed {
    let bed = Bed::new();
    let file = root().join("stx-cli/src/commands/manual/sample.toml");
    let text = fs_err::read_to_string(file).expect("the sample");
    let recipe = root().join("recipes/sample/recipe.toml");
    let text = text
        .replace(
            "/usr/share/stx-builds/recipes/starlingx-centos.toml",
            recipe.as_str(),
        )
        .replace("/srv/mirror/starlingx", "mirror")
        .replace("/var/lib/stx-builds\"", "state\"")
        .replace("/var/spool/stx-builds", "spool");
    bed.write("stx-builds.toml", &change(text));
    bed.make("spool", 0o3770);
    bed
}

#[test]
fn the_sample_has_no_mistake() {
    let bed = sample(|text| text + "[[branch]]\nname = \"master\"\nschedule = \"0 6 * * *\"\n");
    assert_eq!(bed.findings(0, &[]), Vec::<Value>::new());
    let ran = run(&mut bed.stx(&["doctor", "--now", "2020-02-28T12:00:00Z"])).code(0);
    assert_eq!(
        ran.stdout,
        "master/centos  master  `0 6 * * *`, next 2020-02-29 06:00:00\n"
    );
    assert_eq!(ran.stderr, "no problems found\n");
    // Nothing was created.
    assert!(!bed.path("mirror").exists() && !bed.path("state").exists());
}

#[test]
fn doctor_contacts_other_machines_unless_offline() {
    let bed = sample(|text| {
        text + "[mirrors]\nurls = [\"http://127.0.0.1:1/\"]\n[place.pod]\nkind = \"exec\"\ncommand = [\"false\"]\n\
            [[place-rule]]\nphases = [\"sync\"]\nplace = \"pod\"\n"
    });
    let findings = bed.findings(2, &[]);
    let subjects: Vec<_> = findings
        .iter()
        .map(|it| (&it["subject"], &it["severity"]))
        .collect();
    assert_eq!(
        subjects,
        [
            (&"places".into(), &"error".into()),
            (&"mirrors".into(), &"warning".into())
        ],
        "{findings:#?}"
    );
    assert_eq!(bed.findings(0, &["--offline"]), Vec::<Value>::new());
}

/// The owner of the state directory is the builder, who cannot use a mirror of another user.
#[test]
fn directories_of_another_user_are_found() {
    let bed = sample(|text| text);
    let owned = |name: &str, uid| {
        std::os::unix::fs::chown(bed.path(name), Some(uid), None).expect("an owner");
    };
    bed.make("state", 0o700);
    bed.make("mirror", 0o755);
    // The owner of the directory determines whether a missing one could be made.
    fs_err::set_permissions(bed.dir.path(), PermissionsExt::from_mode(0o755)).expect("a mode");
    owned("state", 65_534);
    owned("spool", 65_534);
    let findings = bed.findings(2, &[]);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let message = findings[0]["message"].as_str().expect("a text");
    assert!(
        message.ends_with("mirror belongs to root, and nobody cannot write it"),
        "{message}"
    );
    owned("mirror", 65_534);
    assert_eq!(bed.findings(0, &[]), Vec::<Value>::new());
}

/// The state directory records that builds were published before.
#[test]
fn a_mirror_that_is_not_mounted_is_found() {
    let bed = sample(|text| text);
    bed.make("state", 0o700);
    bed.write("state/mirror", &format!("{}\n", bed.path("mirror")));
    for is_there in [false, true] {
        if is_there {
            bed.make("mirror", 0o755);
        }
        let findings = bed.findings(2, &[]);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        let fix = findings[0]["fix"].as_str().expect("a text");
        assert!(fix.starts_with("is its file system mounted?"), "{fix}");
    }
}

/// One build per day, with room for a few on the disk.
#[test]
fn a_disk_that_will_be_full_is_found_before_it_is() {
    let disk = Disk::new();
    let bed = sample(|text| text.replace("\"mirror\"", &format!("\"{}/mirror\"", disk.path())));
    for day in 1..=3 {
        let tree = bed.path(&format!("tree{day}"));
        fs_err::create_dir_all(tree.join("outputs/iso")).expect("a directory");
        let image = format!("image of day {day}\n").repeat(20_000);
        fs_err::write(tree.join("outputs/iso/bootimage.iso"), image).expect("a file");
        let date = format!("2020010{day}T060000Z");
        let args = publish_args(tree.as_str(), "master/centos", &date, "success");
        run(&mut bed.stx(&args)).ok();
    }
    let at = ["--now", "2020-01-03T12:00:00Z"];
    let found = bed.findings(0, &at);
    let [one] = &found[..] else {
        panic!("{found:#?}")
    };
    let forecast = run(bed.stx(&["forecast", "--format", "json"]).args(at));
    let forecast = forecast.code(0).json();
    let full = forecast["full"].as_str().expect("it will be full");
    let day = full.get(..10).expect("a date");
    assert!(("2020-01-08".."2020-01-15").contains(&day), "{day}");
    assert_eq!(
        one["message"],
        format!("according to the forecast, the mirror's disk is full on {day}"),
        "{one:#}"
    );
    assert_eq!(
        (&one["severity"], &one["subject"]),
        (&"warning".into(), &"space".into())
    );
    assert!(one["line"].is_u64(), "{one:#}");

    // The finding's own correction.
    let policy = "[kind.master]\nkeep = \"2 days\"\n";
    bed.write("retention.toml", policy);
    let file = bed.path("stx-builds.toml");
    let text = fs_err::read_to_string(&file).expect("the configuration");
    bed.write(
        "stx-builds.toml",
        &format!("policy = \"retention.toml\"\n{text}"),
    );
    assert_eq!(bed.findings(0, &at), Vec::<Value>::new());
}

#[test]
fn without_a_configuration_doctor_suggests_init() {
    let bed = Bed::new();
    let ran = run(&mut bed.stx(&["doctor"])).code(2);
    assert!(
        ran.stdout.contains("`stx-builds init` writes one"),
        "{}",
        ran.stdout
    );
}
